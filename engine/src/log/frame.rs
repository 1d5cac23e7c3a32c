//! The 64-byte frame header: FORMAT.md section 1.
//!
//! Not the payload, whose checksum it only carries. Invariant: a decoded header has had its own checksum, magic and
//! version checked, and names the log, run and position it was written for. Source: XXH3 of xxHash 0.8.

use std::fmt;

use std::hash::Hasher as _;
use twox_hash::XxHash3_64;

use super::Position;
use crate::disk::DIRECT_ALIGN;

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 64;

pub(super) const MAGIC: [u8; 4] = *b"CRN1";
pub(super) const FORMAT_VERSION: u8 = 1;
pub(super) const KIND_CLOSING: u8 = 0;
pub(super) const KIND_HEAD: u8 = 1;
pub(super) const KIND_FOOTER: u8 = 2;
pub(super) const ALIGN: u64 = 8;

/// Bytes of a frame with so many payload bytes, up to where the next one begins.
pub(super) const fn frame_bytes(payload_bytes: u64) -> u64 {
    (HEADER_BYTES as u64 + payload_bytes).next_multiple_of(ALIGN)
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Frame kind.
    pub kind: u8,
    /// Log id, which also seeds both checksums.
    pub log_id: u64,
    /// Run number.
    pub run: u64,
    /// Where the frame begins.
    pub position: Position,
    /// Every byte below was known to be durable when the frame was written.
    pub durable_to: Position,
    /// Bytes of the payload, the tag included.
    pub payload_bytes: u32,
    /// Bytes of the tag, at most `payload_bytes`.
    pub tag_bytes: u32,
    /// Where the hashed tail begins, in multiples of [`DIRECT_ALIGN`] of the segment file, counted from the one that the frame
    /// begins in; 0: the payload has none.
    pub tail_pages: u8,
    /// Checksum of the payload, in which the BLAKE3 hash of the hashed tail stands for its bytes.
    pub payload_checksum: u64,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// All bytes are zero: nothing was written here.
    Zero,
    /// The magic or the reserved bytes are wrong.
    Magic,
    /// A version that this program does not know.
    Version(u8),
    /// The header's checksum is wrong.
    Checksum,
    /// The tag is longer than the payload.
    TagBytes,
    /// The hashed tail does not begin between the tag and the payload's end.
    Tail(u8),
    /// Written for another log.
    LogId(u64),
    /// Written for another place.
    Position(Position),
    /// Written by a run older than the frame before it.
    Run(u64),
    /// The payload reaches beyond the segment.
    Length(u32),
    /// A kind that does not belong here.
    Kind(u8),
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("nothing was written here"),
            Self::Magic => f.write_str("not a frame header"),
            Self::Version(version) => write!(f, "format version {version}"),
            Self::Checksum => f.write_str("header checksum"),
            Self::TagBytes => f.write_str("tag longer than the payload"),
            Self::Tail(pages) => write!(f, "hashed tail {pages} pages on, outside the payload"),
            Self::LogId(id) => write!(f, "frame of log {id:016x}"),
            Self::Position(position) => write!(f, "frame written for {position}"),
            Self::Run(run) => write!(f, "stale frame of run {run}"),
            Self::Length(bytes) => write!(f, "payload of {bytes} bytes beyond the segment"),
            Self::Kind(kind) => write!(f, "unexpected frame kind {kind}"),
        }
    }
}

impl FrameHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let fields: [(usize, &[u8]); 9] = [
            (0, &MAGIC),
            (4, &[FORMAT_VERSION, self.kind, self.tail_pages, 0]),
            (8, &self.log_id.to_le_bytes()),
            (16, &self.run.to_le_bytes()),
            (24, &self.position.0.to_le_bytes()),
            (32, &self.durable_to.0.to_le_bytes()),
            (40, &self.payload_bytes.to_le_bytes()),
            (44, &self.tag_bytes.to_le_bytes()),
            (48, &self.payload_checksum.to_le_bytes()),
        ];
        for (at, bytes) in fields {
            for (to, from) in out.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        }
        let (covered, checksum) = out.split_at_mut(56);
        checksum.copy_from_slice(&XxHash3_64::oneshot_with_seed(self.log_id, covered).to_le_bytes());
        out
    }

    /// Reads a header that some log wrote; which one and where is for the caller to compare.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderFault> {
        let (fields, checksum) = bytes.split_at(56);
        let mut words = fields.chunks_exact(8).map(u64_from);
        let mut word = || words.next().unwrap_or(0);
        let first = word();
        if first.to_le_bytes().first_chunk() != Some(&MAGIC) {
            return Err(if bytes.iter().all(|byte| *byte == 0) {
                HeaderFault::Zero
            } else {
                HeaderFault::Magic
            });
        }
        let (log_id, run, position, durable_to, lengths) = (word(), word(), word(), word(), word());
        let payload_checksum = word();
        if XxHash3_64::oneshot_with_seed(log_id, fields) != u64_from(checksum) {
            return Err(HeaderFault::Checksum);
        }
        let [_, _, _, _, version, kind, tail_pages, reserved] = first.to_le_bytes();
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version(version));
        }
        if reserved != 0 {
            return Err(HeaderFault::Magic);
        }
        let header = Self {
            kind,
            log_id,
            run,
            position: Position(position),
            durable_to: Position(durable_to),
            payload_bytes: (lengths & 0xffff_ffff) as u32,
            tag_bytes: (lengths >> 32) as u32,
            tail_pages,
            payload_checksum,
        };
        if header.tag_bytes > header.payload_bytes {
            return Err(HeaderFault::TagBytes);
        }
        let in_payload = u64::from(header.tag_bytes)..u64::from(header.payload_bytes);
        match header.tail_at() {
            None if tail_pages > 0 => Err(HeaderFault::Tail(tail_pages)),
            Some(at) if !in_payload.contains(&at) => Err(HeaderFault::Tail(tail_pages)),
            _ => Ok(header),
        }
    }

    /// Where in the payload the hashed tail begins, if there is one.
    fn tail_at(&self) -> Option<u64> {
        if self.tail_pages == 0 {
            return None;
        }
        let (begins, align) = (u64::from(self.position.offset()), DIRECT_ALIGN as u64);
        let tail = (begins / align + u64::from(self.tail_pages)) * align;
        tail.checked_sub(begins + HEADER_BYTES as u64)
    }

    /// Reads a header that must be of this log and position.
    pub fn decode_at(
        bytes: &[u8; HEADER_BYTES],
        log_id: u64,
        position: Position,
    ) -> Result<Self, HeaderFault> {
        let header = Self::decode(bytes)?;
        if header.log_id != log_id {
            return Err(HeaderFault::LogId(header.log_id));
        }
        if header.position != position {
            return Err(HeaderFault::Position(header.position));
        }
        Ok(header)
    }

    /// Whether these are the payload's bytes.
    pub fn payload_matches(&self, payload: &[u8]) -> bool {
        if payload.len() as u64 != u64::from(self.payload_bytes) {
            return false;
        }
        let Some(at) = self.tail_at() else {
            return XxHash3_64::oneshot_with_seed(self.log_id, payload) == self.payload_checksum;
        };
        let parts = usize::try_from(at)
            .ok()
            .and_then(|at| payload.split_at_checked(at));
        parts.is_some_and(|(before, tail)| {
            let hash = blake3::hash(tail);
            checksum_parts(self.log_id, before, &[hash.as_bytes()]) == self.payload_checksum
        })
    }
}

/// How many pages on, as a header says it, a hashed tail begins at offset `tail` of the segment file in a frame at offset `frame`;
/// `None` where a header cannot say it.
pub(super) fn tail_pages(frame: u64, tail: u64) -> Option<u8> {
    let align = DIRECT_ALIGN as u64;
    let pages = (tail / align).checked_sub(frame / align)?;
    u8::try_from(pages)
        .ok()
        .filter(|pages| *pages > 0 && tail.is_multiple_of(align))
}

/// The payload checksum of a payload that lies in several parts.
pub(super) fn checksum_parts(log_id: u64, tag: &[u8], parts: &[&[u8]]) -> u64 {
    let mut hasher = XxHash3_64::with_seed(log_id);
    hasher.write(tag);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

fn u64_from(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
