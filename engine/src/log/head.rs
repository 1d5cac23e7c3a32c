//! The segment head, a segment's first frame, and segment file names.
//!
//! Not the frame around it. Invariant: a segment says which log kind it is of and which number it has, so that a file
//! moved or copied under another name is refused.

use super::frame::frame_bytes;
use super::{LogKind, OpenError};

/// Payload bytes of a segment head.
pub(super) const HEAD_PAYLOAD_BYTES: usize = 8;

/// Bytes of the whole head frame.
pub(super) const HEAD_FRAME_BYTES: u64 = frame_bytes(HEAD_PAYLOAD_BYTES as u64);

pub(super) fn head_payload(kind: LogKind, number: u32) -> [u8; HEAD_PAYLOAD_BYTES] {
    let [a, b, c, d] = number.to_le_bytes();
    [kind.byte(), super::frame::FORMAT_VERSION, 0, 0, a, b, c, d]
}

pub(super) fn check_head(payload: &[u8], kind: LogKind, number: u32) -> Result<bool, OpenError> {
    let Ok([got, version, 0, 0, named @ ..]) = <[u8; HEAD_PAYLOAD_BYTES]>::try_from(payload) else {
        return Ok(false);
    };
    if version != super::frame::FORMAT_VERSION {
        return Err(OpenError::Version {
            segment: number,
            got: version,
        });
    }
    if got != kind.byte() {
        return Err(OpenError::WrongKind {
            segment: number,
            expected: kind.byte(),
            got,
        });
    }
    Ok(u32::from_le_bytes(named) == number)
}

pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08x}.seg")
}

/// The number in a segment's file name; none for any other name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}
