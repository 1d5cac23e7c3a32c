//! What is said to the members of a replicated ledger, and what they answer (FORMAT.md section 10). It travels in the bodies of
//! peers' messages.
//!
//! It decides nothing. Invariant: one value has one form, lists are bounded, and whatever does not read whole is refused.

mod refusal;

use engine::codec::{DecodeError, Reader, Writer};
use engine::slots::{Append, AppliedAppend, HOLDER_BYTES_MAX, Outcome, Sequence};

use super::frames::Lineage;
use super::transfer::Travelling;
use crate::membership::{PEERS_MAX, PeerEntry};
use crate::peer::{BODY_BYTES_MAX, PeerId};

pub use refusal::LedgerRefusal;

/// Most appends of one call.
pub const APPENDS_MAX: usize = 1_024;
/// In the place of the lineage before a call: whichever ledger the peer keeps.
pub const ANY_LEDGER: Lineage = [0; 16];
/// Most members.
const MEMBERS_MAX: usize = 64;

/// What is asked of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerCall {
    /// Decide and apply these, each on its own.
    Append {
        /// Whether they free space.
        urgent: bool,
        /// At most [`APPENDS_MAX`].
        appends: Vec<Append>,
    },
    /// Which sequence a reader must have applied to have seen everything answered so far.
    ReadIndex,
    /// The appends above a sequence.
    Tail {
        /// Of this ledger.
        lineage: Lineage,
        /// Above this one.
        from: Sequence,
        /// At most so many, and at most [`APPENDS_MAX`].
        max: u16,
        /// If there is none, wait for one so long.
        wait_ms: u16,
    },
    /// Begin to send the whole ledger.
    OpenTransfer,
    /// The next page of a transfer.
    TransferPage {
        /// The transfer.
        transfer: u64,
        /// The page, from 0, one after the other.
        page: u32,
    },
    /// Records up to this sequence are held elsewhere.
    RecordsThrough(Sequence),
    /// Grant a lease and end those of the same holder.
    TakeLease {
        /// For people.
        holder: String,
        /// By the caller's clock; shown, never compared.
        now_ms: u64,
        /// The lease gets a number above this one.
        above: u64,
    },
    /// Begin a ledger whose only member this is.
    Begin {
        /// Which ledger it will be.
        lineage: Lineage,
        /// The sequence that its first append comes after.
        after: Sequence,
    },
    /// Who the members are.
    Members {
        /// As the member that is asked last heard, however long ago; otherwise the leader alone answers.
        as_known: bool,
    },
    /// Make these the members: each gets a copy first.
    SetMembers(Vec<PeerId>),
    /// Write a peer's entry.
    SetPeer(Box<PeerEntry>),
    /// Who the peers are, as everyone is told who asks now.
    Peers,
    /// These are peers, until the ledger says otherwise.
    Introduce(Vec<PeerEntry>),
    /// The caller, who is a peer, says where it is and which drives it has.
    Join(Box<PeerEntry>),
    /// What the peer that is asked says of itself, as its entry.
    Describe,
}

/// What a member answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerReply {
    /// Done, and durable.
    Done,
    /// What became of each append, in order.
    Outcomes(Vec<AppendReply>),
    /// A read index.
    Index {
        /// Of this ledger.
        lineage: Lineage,
        /// The sequence.
        sequence: Sequence,
    },
    /// A page of a tail, in order.
    Tail {
        /// Records up to this sequence may be let go.
        records_through: Sequence,
        /// The appends.
        appends: Vec<AppliedAppend>,
    },
    /// The tail is not held so far back, or it is another ledger's: take all of it.
    Compacted,
    /// A transfer was begun.
    Transfer(u64),
    /// A page of it; empty at the end.
    Page(Page),
    /// A lease was granted.
    Lease {
        /// Its number.
        number: u64,
        /// Whether another peer held one until now, which may not know yet that it has ended.
        other_holder: bool,
    },
    /// Who the members are.
    Members {
        /// The leader, as far as it is known.
        leader: Option<PeerId>,
        /// Those that vote.
        voters: Vec<PeerId>,
        /// Those that follow.
        learners: Vec<PeerId>,
        /// Greater than what was said of any membership before.
        since: u64,
    },
    /// Who the peers are.
    Peers(Vec<PeerEntry>),
    /// Not done.
    Refused(LedgerRefusal),
}

/// Frames of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(pub(super) Vec<Travelling>);

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendReply {
    /// It was decided.
    Decided(Outcome),
    /// No state could apply it. The caller knows why from its content.
    Bad,
    /// The ledger's disks are full.
    Full,
}

fn put_entries(writer: &mut Writer, entries: &[PeerEntry]) {
    writer.list_with(entries, |writer, entry| entry.put(writer));
}

fn put_peer(writer: &mut Writer, peer: &PeerId) {
    writer.fixed(peer.public_key().as_bytes());
}

fn read_peer(reader: &mut Reader<'_>) -> Result<PeerId, DecodeError> {
    PeerId::from_bytes(&reader.fixed()?).map_err(|_| bad("peer", 0))
}

const fn bad(what: &'static str, got: u64) -> DecodeError {
    DecodeError::BadValue { what, got }
}

impl LedgerCall {
    /// Its bytes, asked of the ledger `of` and of no other, or of [`ANY_LEDGER`].
    pub fn encode(&self, of: &Lineage) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.fixed(of);
        match self {
            Self::Append { urgent, appends } => {
                writer.u8(1);
                writer.u8(u8::from(*urgent));
                writer.list_with(appends, |writer, append| {
                    let mut inner = Writer::new();
                    append.encode(&mut inner);
                    writer.bytes(inner.as_slice());
                });
            }
            Self::ReadIndex => writer.u8(2),
            Self::Tail {
                lineage,
                from,
                max,
                wait_ms,
            } => {
                writer.u8(3);
                writer.fixed(lineage);
                writer.u64(from.0);
                writer.u16(*max);
                writer.u16(*wait_ms);
            }
            Self::OpenTransfer => writer.u8(4),
            Self::TransferPage { transfer, page } => {
                writer.u8(5);
                writer.u64(*transfer);
                writer.u32(*page);
            }
            Self::RecordsThrough(sequence) => {
                writer.u8(6);
                writer.u64(sequence.0);
            }
            Self::TakeLease {
                holder,
                now_ms,
                above,
            } => {
                writer.u8(7);
                writer.string(holder);
                writer.u64(*now_ms);
                writer.u64(*above);
            }
            Self::Begin { lineage, after } => {
                writer.u8(8);
                writer.fixed(lineage);
                writer.u64(after.0);
            }
            Self::Members { as_known } => {
                writer.u8(9);
                writer.u8(u8::from(*as_known));
            }
            Self::SetMembers(peers) => {
                writer.u8(10);
                writer.list_with(peers, put_peer);
            }
            Self::SetPeer(entry) => {
                writer.u8(11);
                entry.put(&mut writer);
            }
            Self::Peers => writer.u8(12),
            Self::Introduce(peers) => {
                writer.u8(13);
                put_entries(&mut writer, peers);
            }
            Self::Join(entry) => {
                writer.u8(14);
                entry.put(&mut writer);
            }
            Self::Describe => writer.u8(15),
        }
        writer.into_vec()
    }

    /// Reads a call that fills `input`, and of which ledger it is asked.
    ///
    /// # Errors
    /// What does not read whole.
    pub fn decode(input: &[u8]) -> Result<(Lineage, Self), DecodeError> {
        let mut reader = Reader::new(input);
        let of = reader.fixed()?;
        let call = match reader.u8()? {
            1 => Self::Append {
                urgent: reader.bool("urgency")?,
                appends: reader.list_with(APPENDS_MAX, |reader| {
                    Append::decode(reader.bytes(BODY_BYTES_MAX)?)
                })?,
            },
            2 => Self::ReadIndex,
            3 => Self::Tail {
                lineage: reader.fixed()?,
                from: Sequence(reader.u64()?),
                max: match reader.u16()? {
                    max if (1..=APPENDS_MAX).contains(&usize::from(max)) => max,
                    got => return Err(bad("appends of a page", got.into())),
                },
                wait_ms: reader.u16()?,
            },
            4 => Self::OpenTransfer,
            5 => Self::TransferPage {
                transfer: reader.u64()?,
                page: reader.u32()?,
            },
            6 => Self::RecordsThrough(Sequence(reader.u64()?)),
            7 => Self::TakeLease {
                holder: reader.string(HOLDER_BYTES_MAX)?.to_owned(),
                now_ms: reader.u64()?,
                above: reader.u64()?,
            },
            8 => Self::Begin {
                lineage: reader.fixed()?,
                after: Sequence(reader.u64()?),
            },
            9 => Self::Members {
                as_known: reader.bool("age of an answer")?,
            },
            10 => Self::SetMembers(reader.list_with(MEMBERS_MAX, read_peer)?),
            11 => Self::SetPeer(Box::new(PeerEntry::read(&mut reader)?)),
            12 => Self::Peers,
            13 => Self::Introduce(reader.list_with(PEERS_MAX, PeerEntry::read)?),
            14 => Self::Join(Box::new(PeerEntry::read(&mut reader)?)),
            15 => Self::Describe,
            got => return Err(bad("ledger call", got.into())),
        };
        reader.finish()?;
        Ok((of, call))
    }
}

impl LedgerReply {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Done => writer.u8(1),
            Self::Outcomes(outcomes) => {
                writer.u8(2);
                writer.list_with(outcomes, |writer, outcome| match outcome {
                    AppendReply::Decided(outcome) => {
                        let mut inner = Writer::new();
                        outcome.encode(&mut inner);
                        writer.u8(1);
                        writer.bytes(inner.as_slice());
                    }
                    AppendReply::Bad => writer.u8(2),
                    AppendReply::Full => writer.u8(3),
                });
            }
            Self::Index { lineage, sequence } => {
                writer.u8(3);
                writer.fixed(lineage);
                writer.u64(sequence.0);
            }
            Self::Tail {
                records_through,
                appends,
            } => {
                writer.u8(4);
                writer.u64(records_through.0);
                writer.list_with(appends, |writer, append| {
                    let mut inner = Writer::new();
                    append.encode(&mut inner);
                    writer.bytes(inner.as_slice());
                });
            }
            Self::Compacted => writer.u8(5),
            Self::Transfer(transfer) => {
                writer.u8(6);
                writer.u64(*transfer);
            }
            Self::Page(Page(frames)) => {
                writer.u8(7);
                writer.list_with(frames, |writer, frame| frame.encode(writer));
            }
            Self::Lease { number, other_holder } => {
                writer.u8(8);
                writer.u64(*number);
                writer.u8(u8::from(*other_holder));
            }
            Self::Members {
                leader,
                voters,
                learners,
                since,
            } => {
                writer.u8(9);
                writer.option_with(leader.as_ref(), put_peer);
                writer.list_with(voters, put_peer);
                writer.list_with(learners, put_peer);
                writer.u64(*since);
            }
            Self::Peers(peers) => {
                writer.u8(11);
                put_entries(&mut writer, peers);
            }
            Self::Refused(refusal) => {
                writer.u8(10);
                refusal.encode(&mut writer);
            }
        }
        writer.into_vec()
    }

    /// Reads a reply that fills `input`.
    ///
    /// # Errors
    /// What does not read whole.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let reply = match reader.u8()? {
            1 => Self::Done,
            2 => Self::Outcomes(reader.list_with(APPENDS_MAX, |reader| {
                Ok::<_, DecodeError>(match reader.u8()? {
                    1 => AppendReply::Decided(Outcome::decode(reader.bytes(BODY_BYTES_MAX)?)?),
                    2 => AppendReply::Bad,
                    3 => AppendReply::Full,
                    got => return Err(bad("reply to an append", got.into())),
                })
            })?),
            3 => Self::Index {
                lineage: reader.fixed()?,
                sequence: Sequence(reader.u64()?),
            },
            4 => Self::Tail {
                records_through: Sequence(reader.u64()?),
                appends: reader.list_with(APPENDS_MAX, |reader| {
                    AppliedAppend::decode(reader.bytes(BODY_BYTES_MAX)?)
                })?,
            },
            5 => Self::Compacted,
            6 => Self::Transfer(reader.u64()?),
            7 => Self::Page(Page(Travelling::decode_page(&mut reader)?)),
            8 => Self::Lease {
                number: reader.u64()?,
                other_holder: reader.bool("holder of a lease")?,
            },
            9 => Self::Members {
                leader: reader.option_with(read_peer)?,
                voters: reader.list_with(MEMBERS_MAX, read_peer)?,
                learners: reader.list_with(MEMBERS_MAX, read_peer)?,
                since: reader.u64()?,
            },
            10 => Self::Refused(LedgerRefusal::decode(&mut reader)?),
            11 => Self::Peers(reader.list_with(PEERS_MAX, PeerEntry::read)?),
            got => return Err(bad("ledger reply", got.into())),
        };
        reader.finish()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
