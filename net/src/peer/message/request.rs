//! What one peer asks of another.

use engine::codec::{DecodeError, Reader, Writer};
use engine::drive::{ShardHeader, ShardKey};
use engine::pack::SHARD_BYTES_MAX;
use engine::slots::AcceptedLeases;
use scopes::STATEMENT_BYTES_MAX;

use super::{HEADERS_MAX, KEYS_MAX, bad, put_header, put_key, read_header, read_key};
use crate::entry::DriveId;
use crate::peer::BODY_BYTES_MAX;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Which drives the node has, and how they are.
    Drives,
    /// Store the shard of the body, durably.
    Put {
        /// The drive.
        drive: DriveId,
        /// What the shard is.
        header: Box<ShardHeader>,
        /// In which way.
        mode: PutMode,
    },
    /// Bytes of a shard, unverified.
    Range {
        /// The drive.
        drive: DriveId,
        /// The shard.
        key: ShardKey,
        /// Where they start.
        offset: u32,
        /// How many.
        bytes: u32,
    },
    /// Which of these shards the drive holds.
    Has {
        /// The drive.
        drive: DriveId,
        /// At most [`KEYS_MAX`].
        keys: Vec<ShardKey>,
    },
    /// The shards of a vault on a drive, in order.
    List {
        /// The drive.
        drive: DriveId,
        /// The vault.
        vault: [u8; 16],
        /// From after this one.
        after: Option<ShardKey>,
        /// At most so many, and at most [`KEYS_MAX`].
        max: u16,
    },
    /// Take delete orders of a vault from the collector that the owner's signed delegation in the body names.
    Delegate,
    /// Delete what the collector's signed order in the body names.
    Delete,
    /// A verified slice of a shard, to prove that it is there.
    Challenge {
        /// The drive.
        drive: DriveId,
        /// The shard.
        key: ShardKey,
        /// Where the slice starts.
        offset: u32,
        /// How long it is.
        bytes: u32,
    },
    /// What the shards are: their headers, without their bytes.
    Headers {
        /// The drive.
        drive: DriveId,
        /// At most [`HEADERS_MAX`].
        keys: Vec<ShardKey>,
    },
    /// Refuse puts under lower leases from now on, on every drive: as an older build asks.
    EndLeases {
        /// The lowest that is still accepted.
        lowest: u64,
    },
    /// Refuse puts under other leases than these from now on, on every drive, beside those that are refused already.
    Leases {
        /// Those that are accepted.
        accepted: AcceptedLeases,
    },
    /// Read the drive's next shards and check them.
    Scrub {
        /// The drive.
        drive: DriveId,
        /// From after this one.
        after: Option<ShardKey>,
        /// At most so many, and at most [`KEYS_MAX`].
        max: u16,
    },
    /// Give back the space of what was deleted, one bounded step.
    Compact {
        /// The drive.
        drive: DriveId,
        /// Only of segments of which so much is garbage, in thousandths.
        min_garbage: u16,
        /// Copy about so many bytes at most.
        budget_bytes: u64,
    },
    /// Give back the space that is reserved beyond the log's end.
    Trim {
        /// The drive.
        drive: DriveId,
    },
    /// Bring a lost drive back.
    Restore {
        /// The drive.
        drive: DriveId,
        /// How far it may go.
        mode: RestoreMode,
    },
    /// What one member of the ledger tells another; it is in the body.
    Agree,
    /// What a member of the ledger is asked; it is in the body.
    Ledger,
}

/// How far bringing a lost drive back may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RestoreMode {
    /// Open it where its directory holds it.
    Reattach = 1,
    /// ... or make it anew where its directory holds nothing.
    Recreate = 2,
    /// Give up what its directory holds, and make it anew.
    Wipe = 3,
}

impl RestoreMode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Reattach),
            2 => Ok(Self::Recreate),
            3 => Ok(Self::Wipe),
            got => Err(bad("mode of a restore", got.into())),
        }
    }
}

/// In which way a shard is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PutMode {
    /// Into free space.
    Free = 1,
    /// Also into what is kept free for the collector.
    Headroom = 2,
    /// In the place of one that does not check; one that does stays.
    Replace = 3,
    /// Written anew, also in the place of one that checks: an order to delete that one does not reach it.
    Anew = 4,
}

impl PutMode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Free),
            2 => Ok(Self::Headroom),
            3 => Ok(Self::Replace),
            4 => Ok(Self::Anew),
            got => Err(bad("mode of a put", got.into())),
        }
    }
}

impl Request {
    /// Whether a body of so many bytes belongs to it.
    pub(super) fn goes_with(&self, body_bytes: usize) -> bool {
        match self {
            Self::Put { header, .. } => body_bytes == header.summary.geometry.shard_bytes as usize,
            Self::Delegate | Self::Delete => (1..=STATEMENT_BYTES_MAX).contains(&body_bytes),
            Self::Agree | Self::Ledger => (1..=BODY_BYTES_MAX).contains(&body_bytes),
            _ => body_bytes == 0,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Drives => writer.u8(1),
            Self::Put { drive, header, mode } => {
                writer.u8(2);
                writer.fixed(drive);
                put_header(writer, header);
                writer.u8(*mode as u8);
            }
            Self::Range {
                drive,
                key,
                offset,
                bytes,
            } => put_range(writer, 3, (drive, key), *offset, *bytes),
            Self::Has { drive, keys } => put_keys(writer, 4, drive, keys),
            Self::List {
                drive,
                vault,
                after,
                max,
            } => {
                writer.u8(5);
                writer.fixed(drive);
                writer.fixed(vault);
                writer.option_with(after.as_ref(), put_key);
                writer.u16(*max);
            }
            Self::Delete => writer.u8(6),
            Self::Challenge {
                drive,
                key,
                offset,
                bytes,
            } => put_range(writer, 7, (drive, key), *offset, *bytes),
            Self::Delegate => writer.u8(8),
            Self::Headers { drive, keys } => put_keys(writer, 9, drive, keys),
            Self::EndLeases { lowest } => {
                writer.u8(10);
                writer.u64(*lowest);
            }
            Self::Leases { accepted } => {
                writer.u8(17);
                accepted.encode(writer);
            }
            Self::Scrub { drive, after, max } => {
                writer.u8(11);
                writer.fixed(drive);
                writer.option_with(after.as_ref(), put_key);
                writer.u16(*max);
            }
            Self::Compact {
                drive,
                min_garbage,
                budget_bytes,
            } => {
                writer.u8(12);
                writer.fixed(drive);
                writer.u16(*min_garbage);
                writer.u64(*budget_bytes);
            }
            Self::Trim { drive } => {
                writer.u8(13);
                writer.fixed(drive);
            }
            Self::Restore { drive, mode } => {
                writer.u8(14);
                writer.fixed(drive);
                writer.u8(*mode as u8);
            }
            Self::Agree => writer.u8(15),
            Self::Ledger => writer.u8(16),
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Drives,
            2 => Self::Put {
                drive: reader.fixed()?,
                header: Box::new(read_header(reader)?),
                mode: PutMode::decode(reader)?,
            },
            3 => {
                let (drive, key, offset, bytes) = read_range(reader)?;
                Self::Range {
                    drive,
                    key,
                    offset,
                    bytes,
                }
            }
            4 => Self::Has {
                drive: reader.fixed()?,
                keys: reader.list_with(KEYS_MAX, read_key)?,
            },
            5 => Self::List {
                drive: reader.fixed()?,
                vault: reader.fixed()?,
                after: reader.option_with(read_key)?,
                max: read_max(reader)?,
            },
            6 => Self::Delete,
            7 => {
                let (drive, key, offset, bytes) = read_range(reader)?;
                Self::Challenge {
                    drive,
                    key,
                    offset,
                    bytes,
                }
            }
            8 => Self::Delegate,
            9 => Self::Headers {
                drive: reader.fixed()?,
                keys: reader.list_with(HEADERS_MAX, read_key)?,
            },
            10 => Self::EndLeases {
                lowest: reader.u64()?,
            },
            11 => Self::Scrub {
                drive: reader.fixed()?,
                after: reader.option_with(read_key)?,
                max: read_max(reader)?,
            },
            12 => Self::Compact {
                drive: reader.fixed()?,
                min_garbage: match reader.u16()? {
                    share @ ..=1_000 => share,
                    got => return Err(bad("thousandths of garbage", got.into())),
                },
                budget_bytes: reader.u64()?,
            },
            13 => Self::Trim {
                drive: reader.fixed()?,
            },
            14 => Self::Restore {
                drive: reader.fixed()?,
                mode: RestoreMode::decode(reader)?,
            },
            15 => Self::Agree,
            16 => Self::Ledger,
            17 => Self::Leases {
                accepted: AcceptedLeases::decode(reader)?,
            },
            got => return Err(bad("request", got.into())),
        })
    }
}

fn put_keys(writer: &mut Writer, kind: u8, drive: &DriveId, keys: &[ShardKey]) {
    writer.u8(kind);
    writer.fixed(drive);
    writer.list_with(keys, put_key);
}

fn put_range(writer: &mut Writer, kind: u8, (drive, key): (&DriveId, &ShardKey), offset: u32, bytes: u32) {
    writer.u8(kind);
    writer.fixed(drive);
    put_key(writer, key);
    writer.u32(offset);
    writer.u32(bytes);
}

/// A range that some shard could have: not empty, and inside the longest.
fn read_range(reader: &mut Reader<'_>) -> Result<(DriveId, ShardKey, u32, u32), DecodeError> {
    let (drive, key) = (reader.fixed()?, read_key(reader)?);
    let (offset, bytes) = (reader.u32()?, reader.u32()?);
    let end = u64::from(offset) + u64::from(bytes);
    if bytes == 0 || end > SHARD_BYTES_MAX as u64 {
        return Err(bad("end of a range", end));
    }
    Ok((drive, key, offset, bytes))
}

fn read_max(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    match reader.u16()? {
        max if (1..=KEYS_MAX).contains(&usize::from(max)) => Ok(max),
        got => Err(bad("keys of a page", got.into())),
    }
}
