//! What peers say to each other: the heads of frames (FORMAT.md section 9).
//!
//! It moves no byte and decides nothing. Every head names the operation it is part of, the attempt and the purpose, so that the
//! records of both ends can be joined. Invariant: one message has one form; whatever does not read whole is refused, and so is a
//! list longer than its maximum.

mod answer;
mod request;

use engine::codec::{DecodeError, Reader, Writer};
use engine::drive::{ShardHeader, ShardKey};
use engine::pack::{PackId, PackSummary};

pub use answer::{Answer, DriveReport, DriveStanding, Refusal, Restored};
pub use request::{PutMode, Request, RestoreMode};

/// Most keys of one message.
pub const KEYS_MAX: usize = 1_024;
/// Most headers of one message: as many as fit into a head, however many shards their packs have.
pub const HEADERS_MAX: usize = 48;
/// Most drives of one node.
pub const DRIVES_MAX: usize = 256;

/// Why a shard is read, written or deleted. The words of the activity records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// An object is read.
    Read = 1,
    /// An object is written.
    Write = 2,
    /// An object is read, and another peer was too slow.
    Hedge = 3,
    /// A lost shard is made again.
    Repair = 4,
    /// Garbage goes.
    Collect = 5,
    /// A peer is to prove that it holds what it should.
    Challenge = 6,
    /// Small facts: the ledger.
    Ledger = 7,
}

impl Purpose {
    const ALL: [Self; 7] = [
        Self::Read,
        Self::Write,
        Self::Hedge,
        Self::Repair,
        Self::Collect,
        Self::Challenge,
        Self::Ledger,
    ];

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let got = reader.u8()?;
        let known = Self::ALL.into_iter().find(|purpose| *purpose as u8 == got);
        known.ok_or(bad("purpose", got.into()))
    }
}

/// What a call is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The operation of a gateway or of a repair, random.
    pub operation: [u8; 16],
    /// Which attempt it is, from 0.
    pub attempt: u16,
    /// What for.
    pub purpose: Purpose,
}

impl Context {
    fn encode(&self, writer: &mut Writer) {
        writer.fixed(&self.operation);
        writer.u16(self.attempt);
        writer.u8(self.purpose as u8);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            operation: reader.fixed()?,
            attempt: reader.u16()?,
            purpose: Purpose::decode(reader)?,
        })
    }
}

/// The head of a call.
pub fn encode_call(context: &Context, request: &Request) -> Vec<u8> {
    let mut writer = Writer::new();
    context.encode(&mut writer);
    request.encode(&mut writer);
    writer.into_vec()
}

/// Reads the head of a call whose body has `body_bytes`.
///
/// # Errors
/// What does not read whole, or does not go with its body.
pub fn decode_call(head: &[u8], body_bytes: usize) -> Result<(Context, Request), DecodeError> {
    let mut reader = Reader::new(head);
    let context = Context::decode(&mut reader)?;
    let request = Request::decode(&mut reader)?;
    reader.finish()?;
    if !request.goes_with(body_bytes) {
        return Err(bad("body length", body_bytes as u64));
    }
    Ok((context, request))
}

/// The head of an answer.
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    let mut writer = Writer::new();
    answer.encode(&mut writer);
    writer.into_vec()
}

/// Reads the head of an answer whose body has `body_bytes`.
///
/// # Errors
/// What does not read whole, or has a body and should have none.
pub fn decode_answer(head: &[u8], body_bytes: usize) -> Result<Answer, DecodeError> {
    let mut reader = Reader::new(head);
    let answer = Answer::decode(&mut reader)?;
    reader.finish()?;
    if body_bytes > 0 && answer != Answer::Bytes {
        return Err(bad("body length", body_bytes as u64));
    }
    Ok(answer)
}

fn put_key(writer: &mut Writer, key: &ShardKey) {
    writer.fixed(&key.pack.0);
    writer.u8(key.index);
}

fn read_key(reader: &mut Reader<'_>) -> Result<ShardKey, DecodeError> {
    Ok(ShardKey {
        pack: PackId(reader.fixed()?),
        index: reader.u8()?,
    })
}

const fn bad(what: &'static str, got: u64) -> DecodeError {
    DecodeError::BadValue { what, got }
}

fn put_header(writer: &mut Writer, header: &ShardHeader) {
    header.summary.encode(writer);
    writer.u8(header.index);
    writer.u64(header.lease);
    writer.fixed(&header.vault);
    writer.fixed(&header.scope);
}

/// A shard that is stored has an index of its pack and is not implied: those are zeros that nobody keeps.
fn read_header(reader: &mut Reader<'_>) -> Result<ShardHeader, DecodeError> {
    let header = ShardHeader {
        summary: PackSummary::decode(reader)?,
        index: reader.u8()?,
        lease: reader.u64()?,
        vault: reader.fixed()?,
        scope: reader.fixed()?,
    };
    let (index, geometry) = (usize::from(header.index), &header.summary.geometry);
    if index >= geometry.code.shards() || geometry.is_implied(index) {
        return Err(bad("shard index", header.index.into()));
    }
    Ok(header)
}
