//! What peers say to each other: calls and answers.
//!
//! Source: FORMAT.md section 9.

use engine::codec::Reader;
use net::peer::message::{decode_answer, decode_call, encode_answer, encode_call};

/// The input as the length of a body and the head of a call, and as that and the head of an answer.
pub fn peer_message(input: &[u8]) -> bool {
    let mut reader = Reader::new(input);
    let Ok(body_bytes) = reader.u32() else {
        return false;
    };
    let (body_bytes, head) = (body_bytes as usize, reader.rest());
    let call = crate::strict(head, decode_call(head, body_bytes), |(context, request)| {
        encode_call(context, request)
    });
    let answer = crate::strict(head, decode_answer(head, body_bytes), encode_answer);
    call.is_some() || answer.is_some()
}
