//! What one peer asks of another.

use engine::codec::{DecodeError, Reader, Writer};
use engine::drive::{ShardHeader, ShardKey};
use engine::pack::{PackSummary, SHARD_BYTES_MAX};
use scopes::STATEMENT_BYTES_MAX;

use super::{KEYS_MAX, bad, put_key, read_key};
use crate::entry::DriveId;

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
        /// Whether it may use what is kept free for the collector.
        headroom: bool,
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
}

impl Request {
    /// Whether a body of so many bytes belongs to it.
    pub(super) fn goes_with(&self, body_bytes: usize) -> bool {
        match self {
            Self::Put { header, .. } => body_bytes == header.summary.geometry.shard_bytes as usize,
            Self::Delete => (1..=STATEMENT_BYTES_MAX).contains(&body_bytes),
            _ => body_bytes == 0,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Drives => writer.u8(1),
            Self::Put {
                drive,
                header,
                headroom,
            } => {
                writer.u8(2);
                writer.fixed(drive);
                put_header(writer, header);
                writer.u8((*headroom).into());
            }
            Self::Range {
                drive,
                key,
                offset,
                bytes,
            } => put_range(writer, 3, (drive, key), *offset, *bytes),
            Self::Has { drive, keys } => {
                writer.u8(4);
                writer.fixed(drive);
                writer.list_with(keys, put_key);
            }
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
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Drives,
            2 => Self::Put {
                drive: reader.fixed()?,
                header: Box::new(read_header(reader)?),
                headroom: reader.bool("headroom")?,
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
            got => return Err(bad("request", got.into())),
        })
    }
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
