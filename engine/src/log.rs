//! The append-only log: a directory of segment files of checksummed frames, with group commit and footers.
//!
//! Not a store: it knows frame kinds, tags and payloads, not what they mean, and it never changes a frame. One owner
//! holds the [`Log`] and appends; any number of [`LogReader`]s read at the same time.
//!
//! Invariant: everything below `durable_to` survives a crash; nothing that was torn is ever shown; a stretch that was
//! durable and no longer reads is reported as damage, never taken for the end of the log. After a failed sync the log is
//! fenced for good. Byte formats: FORMAT.md section 1.

mod append;
mod footer;
mod frame;
mod head;
mod reader;
mod recovery;
mod rotate;
mod scan;
mod segment;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use bytes::Bytes;
use thiserror::Error;

pub use append::Tail;
pub use footer::parse_footer;
pub use frame::{FrameHeader, HEADER_BYTES, HeaderFault};
pub use reader::LogReader;
pub use walk::{Frames, FramesWithPayload};
pub use writer::Log;

/// The lowest frame kind that belongs to the log's owner.
pub const OWNER_KIND_MIN: u8 = 16;

/// The most tag bytes that a frame may have: the footer keeps their number in 16 bits.
pub const TAG_BYTES_MAX: usize = 65_535;

/// From so many bytes on payloads and reads do not stay in the system's page cache: it belongs to what is small and read often.
const LARGE_BYTES_MIN: u32 = 256 << 10;

/// A place in a log: `segment << 32 | byte offset`, so that positions order as the log does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The byte `offset` of segment `segment`.
    pub const fn new(segment: u32, offset: u32) -> Self {
        Self(((segment as u64) << 32) | offset as u64)
    }

    /// Segment number.
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Byte offset in the segment.
    pub const fn offset(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {:08x} offset {}", self.segment(), self.offset())
    }
}

/// What a log is for; written into every segment head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// A drive's shards.
    Drive,
    /// The ledger.
    Ledger,
    /// The activity log.
    Activity,
    /// What the members of a replicated ledger agree on, before it is applied.
    Agreement,
}

impl LogKind {
    /// The byte in the segment head.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Drive => 1,
            Self::Ledger => 2,
            Self::Activity => 3,
            Self::Agreement => 4,
        }
    }
}

/// What opening does about a stretch that was durable and does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Refuse to open and name the place: for logs that are nobody else's copy.
    Refuse,
    /// Go on at the next valid frame and report the stretch: for drives, whose shards can be rebuilt.
    Skip,
}

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogConfig {
    /// What it is for.
    pub kind: LogKind,
    /// The most bytes of a segment, 4 KiB to 2 GiB; a smaller or larger figure is taken as the nearest of these.
    pub segment_bytes: u32,
    /// Bytes reserved at a time.
    pub preallocate_bytes: u32,
    /// What opening does about damage.
    pub on_damage: OnDamage,
}

impl LogConfig {
    /// A drive's log: 64 MiB segments, reserved 4 MiB at a time, damage skipped.
    pub const fn drive() -> Self {
        Self {
            kind: LogKind::Drive,
            segment_bytes: 64 << 20,
            preallocate_bytes: 4 << 20,
            on_damage: OnDamage::Skip,
        }
    }

    /// The ledger's log: 16 MiB segments, reserved 1 MiB at a time, damage refused.
    pub const fn ledger() -> Self {
        Self {
            kind: LogKind::Ledger,
            segment_bytes: 16 << 20,
            preallocate_bytes: 1 << 20,
            on_damage: OnDamage::Refuse,
        }
    }

    /// The log of a ledger's member: as the ledger's.
    pub const fn agreement() -> Self {
        Self {
            kind: LogKind::Agreement,
            ..Self::ledger()
        }
    }

    /// The activity log's: as the ledger's.
    pub const fn activity() -> Self {
        Self {
            kind: LogKind::Activity,
            ..Self::ledger()
        }
    }
}

/// A frame without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameInfo {
    /// Where it begins.
    pub position: Position,
    /// The owner's kind, 16 or above.
    pub kind: u8,
    /// Bytes of the payload, the tag included.
    pub payload_bytes: u32,
    /// The first bytes of the payload that the footer repeats.
    pub tag: Bytes,
}

impl FrameInfo {
    /// Bytes that the frame takes in its segment: header, payload and the zeros up to the next multiple of 8.
    pub fn frame_bytes(&self) -> u64 {
        frame::frame_bytes(u64::from(self.payload_bytes))
    }
}

/// A frame whose payload was read and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Position, kind, lengths, tag.
    pub info: FrameInfo,
    /// The whole payload, the tag first.
    pub payload: Bytes,
}

/// A segment as its log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u32,
    /// Bytes in use, from the head to the end of the last frame or of the footer.
    pub bytes: u64,
    /// Of these, bytes of the segment head, the footer and the tail, which no owner frame occupies.
    pub overhead_bytes: u64,
    /// Whether it is full and never written again.
    pub sealed: bool,
}

/// A stretch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub position: Position,
    /// How long it is.
    pub bytes: u64,
}

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The log did not exist and was made.
    pub created: bool,
    /// The log's id.
    pub log_id: u64,
    /// The run that began.
    pub run: u64,
    /// Segments present.
    pub segments: usize,
    /// Frames shown to the visitor.
    pub frames: u64,
    /// The last frame was a closing frame, or the last segment is sealed: nothing appended can be missing.
    pub clean: bool,
    /// The unfinished end that was cut off.
    pub torn: Option<Stretch>,
    /// Damaged stretches that were skipped, at most [`DAMAGED_MAX`] of them.
    pub damaged: Vec<Stretch>,
    /// How many damaged stretches there are in all.
    pub damaged_count: u64,
}

/// How many damaged stretches a [`Recovery`] lists.
pub const DAMAGED_MAX: usize = 1024;

/// Why a log did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory that must hold a log is missing or has no segment.
    #[error("the log has no segments")]
    NoSegments,
    /// A stretch that was durable does not read.
    #[error("the log is damaged at segment {segment:08x}.seg offset {offset}")]
    Damaged {
        /// Segment number.
        segment: u32,
        /// Offset of the first frame that does not read.
        offset: u32,
    },
    /// A segment between two others is not there.
    #[error("segment {segment:08x}.seg is missing from the log")]
    MissingSegment {
        /// Its number.
        segment: u32,
    },
    /// A segment belongs to another log.
    #[error("segment {segment:08x}.seg belongs to log {got:016x}, not to {expected:016x}")]
    ForeignSegment {
        /// Its number.
        segment: u32,
        /// The log being opened.
        expected: u64,
        /// The log it names.
        got: u64,
    },
    /// A segment file holds what was written under another number.
    #[error("segment {segment:08x}.seg holds what was written for {position}")]
    Misplaced {
        /// The number in its name.
        segment: u32,
        /// The place that its first frame names.
        position: Position,
    },
    /// The directory holds a log of another kind.
    #[error("segment {segment:08x}.seg is of log kind {got}, expected {expected}")]
    WrongKind {
        /// Segment number.
        segment: u32,
        /// The kind asked for.
        expected: u8,
        /// The kind found.
        got: u8,
    },
    /// A newer program wrote the log.
    #[error("segment {segment:08x}.seg has format version {got}; this program reads 1")]
    Version {
        /// Segment number.
        segment: u32,
        /// The version found.
        got: u8,
    },
    /// A frame of a kind that this program does not know.
    #[error("unknown frame kind {kind} at segment {segment:08x}.seg offset {offset}")]
    UnknownFrameKind {
        /// Segment number.
        segment: u32,
        /// Offset of the frame.
        offset: u32,
        /// The kind.
        kind: u8,
    },
    /// The disk failed.
    #[error("the log's files could not be read or written: {0}")]
    Io(#[from] io::Error),
}

/// Why an operation on an open log failed.
#[derive(Debug, Error)]
pub enum LogError {
    /// An earlier failure left it unknown what is durable; the log takes nothing more in this process.
    #[error("the log is fenced since a failure at segment {segment:08x}.seg")]
    Fenced {
        /// The segment that failed.
        segment: u32,
    },
    /// The disk is full. Nothing was lost and the log goes on when there is space.
    #[error("no space for {bytes} bytes in segment {segment:08x}.seg")]
    Full {
        /// The segment being written.
        segment: u32,
        /// Bytes that were to be written.
        bytes: u64,
    },
    /// The frame does not fit into a segment.
    #[error("a frame of {bytes} bytes does not fit into a segment, which takes {limit}")]
    FrameTooLarge {
        /// Bytes of the frame.
        bytes: u64,
        /// The most that fits.
        limit: u64,
    },
    /// The tag is longer than a footer can keep.
    #[error("a tag of {bytes} bytes is above the limit of {limit}", limit = TAG_BYTES_MAX)]
    TagTooLarge {
        /// Bytes of the tag.
        bytes: usize,
    },
    /// A kind below [`OWNER_KIND_MIN`].
    #[error("frame kind {kind} is the log's own")]
    ReservedKind {
        /// The kind.
        kind: u8,
    },
    /// The segment is not there, or is the newest and may not be removed.
    #[error("segment {segment:08x}.seg cannot be removed")]
    NotRemovable {
        /// Its number.
        segment: u32,
    },
    /// There is no segment number or run left.
    #[error("segment numbers are used up")]
    Exhausted,
    /// The disk failed; after a failed write or sync the log is fenced.
    #[error("segment {segment:08x}.seg: {source}")]
    Io {
        /// The segment that failed.
        segment: u32,
        /// The system's error.
        source: io::Error,
    },
}

/// Why a frame could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The segment is not part of the log (any more).
    #[error("segment {segment:08x}.seg is not there")]
    NoSegment {
        /// Its number.
        segment: u32,
    },
    /// There is no frame of this log at the place.
    #[error("no valid frame at segment {segment:08x}.seg offset {offset}: {fault}")]
    BadHeader {
        /// Segment number.
        segment: u32,
        /// Offset.
        offset: u32,
        /// What is wrong with it.
        fault: HeaderFault,
    },
    /// The payload is not what was written.
    #[error("the payload of {bytes} bytes at segment {segment:08x}.seg offset {offset} is damaged")]
    BadPayload {
        /// Segment number.
        segment: u32,
        /// Offset of the frame.
        offset: u32,
        /// Bytes of the payload.
        bytes: u32,
    },
    /// The range or frame reaches beyond what the log holds.
    #[error("{bytes} bytes at segment {segment:08x}.seg offset {offset} reach beyond the log's end")]
    OutOfBounds {
        /// Segment number.
        segment: u32,
        /// Offset of the first byte asked for.
        offset: u64,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The disk failed.
    #[error("segment {segment:08x}.seg: {source}")]
    Io {
        /// Segment number.
        segment: u32,
        /// The system's error.
        source: io::Error,
    },
}
