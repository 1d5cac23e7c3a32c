//! A drive: shards by content, on an append-only log in one directory, under an identity that is checked at every commit.
//!
//! Not a policy: which shards belong here, when to delete and when to compact is decided by the callers. One
//! [`DriveWriter`] changes the drive, any number of [`Drive`]s read it.
//!
//! Invariant: after `commit` returned, its puts are durable on this very drive and visible, its deletes stay deleted,
//! whatever crashes; before that none of them shows. Byte formats: FORMAT.md section 3.

mod compact;
mod identity;
mod open;
mod shard;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::io;

use thiserror::Error;

pub use compact::Compaction;
pub use identity::DriveIdentity;
pub use open::Recovery;
pub use shard::{SHARD_TAG_BYTES, ShardHeader, ShardKey};
pub use view::{Drive, DriveUsage, ListedShard, ScrubPage, ShardInfo};
pub use writer::DriveWriter;

use crate::codec::DecodeError;
use crate::log::{LogError, OpenError, ReadError};

/// Changes that may wait for one commit.
pub const STAGED_MAX: usize = 65_536;

/// Why a drive is out of service until it is opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// `drive.json` is gone or is another file than the one opened.
    IdentityReplaced,
    /// The segment being written has no name any more.
    SegmentUnlinked,
    /// A write or sync failed, so that it is unknown what is durable.
    WriteFailed,
    /// The caller took it out.
    TakenOut,
}

impl std::fmt::Display for LostReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IdentityReplaced => "its drive.json is gone or was replaced",
            Self::SegmentUnlinked => "its log was removed",
            Self::WriteFailed => "a write or flush failed",
            Self::TakenOut => "it was taken out of service",
        })
    }
}

/// Why an operation on a drive failed.
#[derive(Debug, Error)]
pub enum DriveError {
    /// The directory has no readable `drive.json`.
    #[error("no drive here: {0}")]
    NoDrive(io::Error),
    /// `drive.json` is there, but its log is gone or has no segments: what the drive held is lost, and it is not begun anew.
    #[error("the drive's log is gone")]
    NoLog,
    /// `drive.json` is not of the format.
    #[error("drive.json is malformed at byte {at}")]
    BadIdentity {
        /// The first byte that is not as it must be.
        at: usize,
    },
    /// A newer program made the drive.
    #[error("the drive has format {got}; this program reads 1")]
    Format {
        /// The format found.
        got: u64,
    },
    /// Another process has the drive open.
    #[error("the drive is in use by another process")]
    InUse,
    /// The directory holds another drive.
    #[error("this is drive {got}, not {expected}")]
    WrongDrive {
        /// Cluster and drive asked for.
        expected: DriveIdentity,
        /// Cluster and drive found.
        got: DriveIdentity,
    },
    /// A drive is there already.
    #[error("the directory already holds a drive")]
    Exists,
    /// The drive was lost while in use.
    #[error("the drive is lost: {0}")]
    Lost(LostReason),
    /// The shard is not on this drive.
    #[error("shard {0} is not on this drive")]
    NoShard(ShardKey),
    /// The range reaches beyond the shard.
    #[error("bytes {offset} to {end} of shard {key}, which has {shard_bytes}", end = u64::from(*offset) + u64::from(*bytes))]
    OutOfRange {
        /// The shard.
        key: ShardKey,
        /// First byte asked for.
        offset: u32,
        /// Bytes asked for.
        bytes: u32,
        /// Bytes that the shard has.
        shard_bytes: u32,
    },
    /// The shard's bytes are not those that its hash names, or its frame is damaged.
    #[error("shard {key} is damaged{}", source.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Damaged {
        /// The shard.
        key: ShardKey,
        /// What the log says; none if the hash disagrees.
        source: Option<ReadError>,
    },
    /// The frame's header contradicts itself or its tag.
    #[error("the header of shard {key} is malformed: {source}")]
    BadHeader {
        /// The shard.
        key: ShardKey,
        /// What is wrong.
        source: DecodeError,
    },
    /// The shard handed in has another length than its header says, or an index beyond its code.
    #[error("shard {key} has {got} bytes, its header says {expected}")]
    WrongLength {
        /// The shard.
        key: ShardKey,
        /// From the header; 0 if the index is beyond the code.
        expected: u32,
        /// Handed in.
        got: usize,
    },
    /// The lease of the put has ended.
    #[error("lease {lease} has ended; the lowest that lives is {lowest}")]
    LeaseEnded {
        /// The put's lease.
        lease: u64,
        /// The lowest that is still accepted.
        lowest: u64,
    },
    /// More changes than one commit takes.
    #[error("{limit} changes already wait for a commit")]
    TooManyStaged {
        /// The limit.
        limit: usize,
    },
    /// The disk is full; nothing was lost.
    #[error("the drive is full: no space for {bytes} bytes")]
    Full {
        /// Bytes that were to be written.
        bytes: u64,
    },
    /// It could not be told whether the drive is still in place. Nothing is lost: what is staged stays staged, and the next
    /// commit looks again.
    #[error("it could not be checked that the drive is in place: {0}")]
    Unchecked(io::Error),
    /// The log did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log failed.
    #[error(transparent)]
    Log(LogError),
    /// A frame could not be read for a reason other than damage.
    #[error(transparent)]
    Read(ReadError),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<LogError> for DriveError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full { bytes, .. } => Self::Full { bytes },
            other => Self::Log(other),
        }
    }
}
