//! What a peer answers.

use engine::codec::{DecodeError, Reader, Writer};
use engine::drive::{ListedShard, ShardHeader, ShardKey};
use engine::log::Position;

use super::{DRIVES_MAX, HEADERS_MAX, KEYS_MAX, bad, put_header, put_key, read_header, read_key};
use crate::entry::DriveId;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done, and durable.
    Done,
    /// The node's drives.
    Drives(Vec<DriveReport>),
    /// The bytes of a range or of a proof are in the body.
    Bytes,
    /// For each key that was asked about, in order, whether the drive holds it.
    Held(Vec<bool>),
    /// A page of shards in order.
    Listed {
        /// The shards.
        shards: Vec<ListedShard>,
        /// Whether there may be more.
        more: bool,
    },
    /// A delete order was carried out.
    Deleted {
        /// Shards deleted.
        shards: u64,
        /// Shards of other vaults, left alone.
        refused: u64,
        /// Shards whose drive failed meanwhile.
        failed: u64,
    },
    /// For each key that was asked about, in order, its header if the shard is there and its header reads.
    Headers(Vec<Option<ShardHeader>>),
    /// Some of a drive's shards were read.
    Scrubbed {
        /// Shards that were read, those that do not check among them.
        shards: u64,
        /// Their bytes.
        bytes: u64,
        /// Shards that do not check.
        bad: Vec<ShardKey>,
        /// Shards that could not be read just now.
        unread: u64,
        /// The last one that was looked at; none at the drive's end.
        last: Option<ShardKey>,
    },
    /// A step of compaction was done.
    Compacted {
        /// Bytes of live shards copied.
        copied_bytes: u64,
        /// Bytes given back.
        freed_bytes: u64,
        /// Whether another step may give back more.
        more: bool,
        /// Whether shards were found damaged, and are not there any more.
        damaged: bool,
    },
    /// What became of a lost drive.
    Restored(Restored),
    /// Not done.
    Refused(Refusal),
}

/// What became of a lost drive that was to be brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Restored {
    /// Its directory holds it: it was opened again.
    Reattached = 1,
    /// It was made anew.
    Recreated = 2,
    /// There is something in its directory that is not to be trusted as it is. Nothing was done.
    Doubtful = 3,
    /// It is lost still.
    StillLost = 4,
}

/// Why a peer did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The caller may not ask this.
    #[error("the caller may not ask this")]
    NotAllowed,
    /// The node has no such drive.
    #[error("the node has no such drive")]
    NoDrive,
    /// The drive is lost.
    #[error("the drive is lost")]
    Lost,
    /// The drive is full.
    #[error("the drive is full")]
    Full,
    /// The lease of the put has ended.
    #[error("the lease has ended; the lowest live one is {lowest_live}")]
    LeaseEnded {
        /// The lowest lease still accepted.
        lowest_live: u64,
    },
    /// The drive is there and does not hold the shard.
    #[error("the shard is not on the drive")]
    Absent,
    /// The shard is there and does not check.
    #[error("the shard is damaged")]
    Damaged,
    /// The shard of a put does not have the hash that its header names.
    #[error("the shard does not have the hash of its header")]
    WrongHash,
    /// The drive could not read or write just now.
    #[error("the drive failed a request")]
    Io,
    /// The node has too much to do; ask again later.
    #[error("the node has too much to do")]
    Busy,
    /// The request does not read.
    #[error("the request does not read")]
    Malformed,
    /// A delete order that is not signed by the vault's collector, or that comes after a later one.
    #[error("the delete order does not hold")]
    BadOrder,
    /// The node has not heard from the ledger for too long to know who may still read and write.
    #[error("the node is cut off from the ledger")]
    CutOff,
}

impl Refusal {
    /// Those without a number, in the order of their numbers from 1.
    const PLAIN: [Self; 12] = [
        Self::NotAllowed,
        Self::NoDrive,
        Self::Lost,
        Self::Full,
        Self::Absent,
        Self::Damaged,
        Self::WrongHash,
        Self::Io,
        Self::Busy,
        Self::Malformed,
        Self::BadOrder,
        Self::CutOff,
    ];
    const LEASE_ENDED: u8 = 64;

    fn encode(self, writer: &mut Writer) {
        if let Self::LeaseEnded { lowest_live } = self {
            writer.u8(Self::LEASE_ENDED);
            writer.u64(lowest_live);
            return;
        }
        let place = Self::PLAIN.iter().position(|refusal| *refusal == self);
        // All the others are in the list, which is shorter than a byte counts.
        writer.u8(place.map_or(0, |place| place as u8 + 1));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            Self::LEASE_ENDED => Ok(Self::LeaseEnded {
                lowest_live: reader.u64()?,
            }),
            got => {
                let plain = usize::from(got).checked_sub(1).and_then(|at| Self::PLAIN.get(at));
                plain.copied().ok_or(bad("refusal", got.into()))
            }
        }
    }
}

/// Whether a drive is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DriveStanding {
    /// There, and takes puts.
    Present = 1,
    /// There, but full.
    Full = 2,
    /// Not there.
    Lost = 3,
}

/// A drive of a node. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveReport {
    /// Its id.
    pub id: DriveId,
    /// Whether it is there.
    pub standing: DriveStanding,
    /// Whether its directory is one of the program's own defaults, which a repair may recreate.
    pub default: bool,
    /// Shards on it.
    pub shards: u64,
    /// Bytes of its live shards.
    pub live_bytes: u64,
    /// Bytes that compaction could give back.
    pub garbage_bytes: u64,
    /// Bytes that its files take.
    pub allocated_bytes: u64,
    /// Bytes free on its file system.
    pub free_bytes: u64,
    /// The highest lease that it has seen, in a shard or as the lowest that it accepts.
    pub highest_lease: u64,
    /// Changes whenever the node lost shards that it cannot name: a restart, damage, a drive that came back.
    pub losses: u64,
    /// The id of its log, another one when it was made anew.
    pub log_id: u64,
    /// How far that log is flushed: segment · 2^32 + byte. It never goes back on a disk that keeps what it flushed.
    pub flushed: u64,
}

impl DriveReport {
    /// Of a drive that nothing is known of: it counts as lost.
    pub(crate) const fn unknown(id: DriveId) -> Self {
        Self {
            id,
            standing: DriveStanding::Lost,
            default: false,
            shards: 0,
            live_bytes: 0,
            garbage_bytes: 0,
            allocated_bytes: 0,
            free_bytes: 0,
            highest_lease: 0,
            losses: 0,
            log_id: 0,
            flushed: 0,
        }
    }

    fn encode(&self, writer: &mut Writer) {
        writer.fixed(&self.id);
        writer.u8(self.standing as u8);
        writer.u8(self.default.into());
        for number in [
            self.shards,
            self.live_bytes,
            self.garbage_bytes,
            self.allocated_bytes,
            self.free_bytes,
            self.highest_lease,
            self.losses,
            self.log_id,
            self.flushed,
        ] {
            writer.u64(number);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: reader.fixed()?,
            standing: match reader.u8()? {
                1 => DriveStanding::Present,
                2 => DriveStanding::Full,
                3 => DriveStanding::Lost,
                got => return Err(bad("standing of a drive", got.into())),
            },
            default: reader.bool("default")?,
            shards: reader.u64()?,
            live_bytes: reader.u64()?,
            garbage_bytes: reader.u64()?,
            allocated_bytes: reader.u64()?,
            free_bytes: reader.u64()?,
            highest_lease: reader.u64()?,
            losses: reader.u64()?,
            log_id: reader.u64()?,
            flushed: reader.u64()?,
        })
    }
}

impl Answer {
    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Done => writer.u8(1),
            Self::Drives(drives) => {
                writer.u8(2);
                writer.list_with(drives, |writer, drive| drive.encode(writer));
            }
            Self::Bytes => writer.u8(3),
            Self::Held(held) => {
                writer.u8(4);
                writer.list_with(held, |writer, held| writer.u8((*held).into()));
            }
            Self::Listed { shards, more } => {
                writer.u8(5);
                writer.list_with(shards, |writer, shard| {
                    put_key(writer, &shard.key);
                    writer.u64(shard.lease);
                    writer.u64(shard.at.0);
                });
                writer.u8((*more).into());
            }
            Self::Deleted {
                shards,
                refused,
                failed,
            } => {
                writer.u8(6);
                for number in [shards, refused, failed] {
                    writer.u64(*number);
                }
            }
            Self::Refused(refusal) => {
                writer.u8(7);
                refusal.encode(writer);
            }
            Self::Headers(headers) => {
                writer.u8(8);
                writer.list_with(headers, |writer, header| {
                    writer.option_with(header.as_ref(), put_header);
                });
            }
            Self::Scrubbed {
                shards,
                bytes,
                bad,
                unread,
                last,
            } => {
                writer.u8(9);
                writer.u64(*shards);
                writer.u64(*bytes);
                writer.list_with(bad, put_key);
                writer.u64(*unread);
                writer.option_with(last.as_ref(), put_key);
            }
            Self::Compacted {
                copied_bytes,
                freed_bytes,
                more,
                damaged,
            } => {
                writer.u8(10);
                writer.u64(*copied_bytes);
                writer.u64(*freed_bytes);
                writer.u8((*more).into());
                writer.u8((*damaged).into());
            }
            Self::Restored(restored) => {
                writer.u8(11);
                writer.u8(*restored as u8);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => Self::Done,
            2 => Self::Drives(reader.list_with(DRIVES_MAX, DriveReport::decode)?),
            3 => Self::Bytes,
            4 => Self::Held(reader.list_with(KEYS_MAX, |reader| reader.bool("held"))?),
            5 => Self::Listed {
                shards: reader.list_with(KEYS_MAX, |reader| {
                    Ok::<_, DecodeError>(ListedShard {
                        key: read_key(reader)?,
                        lease: reader.u64()?,
                        at: Position(reader.u64()?),
                    })
                })?,
                more: reader.bool("more")?,
            },
            6 => Self::Deleted {
                shards: reader.u64()?,
                refused: reader.u64()?,
                failed: reader.u64()?,
            },
            7 => Self::Refused(Refusal::decode(reader)?),
            8 => Self::Headers(reader.list_with(HEADERS_MAX, |reader| reader.option_with(read_header))?),
            9 => Self::Scrubbed {
                shards: reader.u64()?,
                bytes: reader.u64()?,
                bad: reader.list_with(KEYS_MAX, read_key)?,
                unread: reader.u64()?,
                last: reader.option_with(read_key)?,
            },
            10 => Self::Compacted {
                copied_bytes: reader.u64()?,
                freed_bytes: reader.u64()?,
                more: reader.bool("more")?,
                damaged: reader.bool("damaged")?,
            },
            11 => Self::Restored(match reader.u8()? {
                1 => Restored::Reattached,
                2 => Restored::Recreated,
                3 => Restored::Doubtful,
                4 => Restored::StillLost,
                got => return Err(bad("what became of a drive", got.into())),
            }),
            got => return Err(bad("answer", got.into())),
        })
    }
}
