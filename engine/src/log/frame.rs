//! The 64-byte frame header: FORMAT.md section 1.
//!
//! Not the payload, whose checksum it only carries. Invariant: a decoded header has had its own checksum, magic and
//! version checked, and names the log, run and position it was written for. Source: XXH3 of xxHash 0.8.

use std::fmt;

use std::hash::Hasher as _;
use twox_hash::XxHash3_64;

use super::Position;

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
    /// Checksum of the payload.
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
            (4, &[FORMAT_VERSION, self.kind, 0, 0]),
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
        let [_, _, _, _, version, kind, reserved @ ..] = first.to_le_bytes();
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version(version));
        }
        if reserved != [0, 0] {
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
            payload_checksum,
        };
        if header.tag_bytes > header.payload_bytes {
            Err(HeaderFault::TagBytes)
        } else {
            Ok(header)
        }
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
        payload.len() as u64 == u64::from(self.payload_bytes)
            && XxHash3_64::oneshot_with_seed(self.log_id, payload) == self.payload_checksum
    }
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
