//! The footer: the list of a full segment's owner frames, so that a view is rebuilt without reading every byte.
//!
//! Not trusted beyond its checksums: a segment whose footer does not check is read frame by frame. Invariant: the
//! entries stand in the order of the frames, and room for them is known before a frame is accepted.

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::frame::frame_bytes;
use super::{FrameInfo, HEADER_BYTES, OWNER_KIND_MIN, Position};

/// Bytes of the tail after the footer frame, the last of a sealed file.
pub(super) const TAIL_BYTES: usize = 16;

const TAIL_MAGIC: [u8; 4] = *b"CRNE";
const ENTRY_BYTES: usize = 4 + 4 + 1 + 2;

/// The footer of the segment being filled.
#[derive(Debug, Clone)]
pub(super) struct FooterBuilder {
    payload: Vec<u8>,
    count: u32,
}

impl FooterBuilder {
    pub(super) fn new() -> Self {
        Self {
            payload: vec![0; 4],
            count: 0,
        }
    }

    /// Bytes of footer frame and tail if another frame with so long a tag is added, or if none is.
    pub(super) fn bytes_with(&self, tag_bytes: Option<usize>) -> u64 {
        let entry = tag_bytes.map_or(0, |bytes| ENTRY_BYTES + bytes);
        frame_bytes((self.payload.len() + entry) as u64) + TAIL_BYTES as u64
    }

    pub(super) fn push(&mut self, offset: u32, payload_bytes: u32, kind: u8, tag: &[u8]) {
        self.payload.extend_from_slice(&offset.to_le_bytes());
        self.payload.extend_from_slice(&payload_bytes.to_le_bytes());
        self.payload.push(kind);
        let tag_bytes = u16::try_from(tag.len()).unwrap_or(u16::MAX);
        self.payload.extend_from_slice(&tag_bytes.to_le_bytes());
        self.payload.extend(tag.iter().take(usize::from(tag_bytes)));
        self.count += 1;
        if let Some(count) = self.payload.first_chunk_mut() {
            *count = self.count.to_le_bytes();
        }
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Reads a footer's payload: the owner frames of `segment`, whose footer begins at `footer_offset`. None if it does not
/// describe frames one after another, of owner kinds, below the footer, or if bytes are left over.
pub fn parse_footer(payload: &Bytes, segment: u32, footer_offset: u32) -> Option<Vec<FrameInfo>> {
    let mut at = 0_usize;
    let mut take = |bytes: usize| {
        let end = at.checked_add(bytes).filter(|end| *end <= payload.len())?;
        let taken = payload.slice(at..end);
        at = end;
        Some(taken)
    };
    let count = u32_from(&take(4)?)?;
    let most = payload.len() / ENTRY_BYTES;
    let mut frames = Vec::with_capacity(usize::try_from(count).ok().filter(|count| *count <= most)?);
    let mut free_from = 0_u64;
    for _ in 0..count {
        let offset = u32_from(&take(4)?)?;
        let payload_bytes = u32_from(&take(4)?)?;
        let kind = *take(1)?.first()?;
        let tag_bytes = u16::from_le_bytes(*take(2)?.first_chunk()?);
        let tag = take(usize::from(tag_bytes))?;
        let end = u64::from(offset) + frame_bytes(u64::from(payload_bytes));
        if kind < OWNER_KIND_MIN
            || u32::from(tag_bytes) > payload_bytes
            || u64::from(offset) < free_from
            || !offset.is_multiple_of(8)
            || end > u64::from(footer_offset)
        {
            return None;
        }
        free_from = end;
        frames.push(FrameInfo {
            position: Position::new(segment, offset),
            kind,
            payload_bytes,
            tag,
        });
    }
    (at == payload.len()).then_some(frames)
}

pub(super) fn encode_tail(footer_offset: u32, log_id: u64) -> [u8; TAIL_BYTES] {
    let mut tail = [0; TAIL_BYTES];
    let (named, checksum) = tail.split_at_mut(8);
    let (magic, offset) = named.split_at_mut(4);
    magic.copy_from_slice(&TAIL_MAGIC);
    offset.copy_from_slice(&footer_offset.to_le_bytes());
    checksum.copy_from_slice(&XxHash3_64::oneshot_with_seed(log_id, named).to_le_bytes());
    tail
}

/// Where the footer begins, if these are the last bytes of a sealed segment of this log.
pub(super) fn decode_tail(tail: &[u8; TAIL_BYTES], log_id: u64) -> Option<u32> {
    let [_, _, _, _, offset @ .., _, _, _, _, _, _, _, _] = tail;
    let offset = u32::from_le_bytes(*offset);
    let plausible = offset.is_multiple_of(8) && offset >= u32::try_from(HEADER_BYTES).ok()?;
    (plausible && encode_tail(offset, log_id) == *tail).then_some(offset)
}

fn u32_from(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.first_chunk()?))
}
