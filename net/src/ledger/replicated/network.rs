//! What members' Rafts say to each other, over the carrier of peers.
//!
//! What carries no entry and follows at once on what the member took is not sent: all that it could say, how far entries are agreed
//! on, the next word says as well, which is due with the next entry or heartbeat. openraft's own count of when a member was last heard
//! is therefore a little too late, and nothing here may rest on it; a question whether this member leads has a line of its own, on
//! which nothing was taken before.
//!
//! Invariant: whatever comes in reads whole and names a vote; entries go out in messages that fit; a member is said to hold only what
//! it has said itself.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use engine::codec::{DecodeError, Reader, Writer};
use openraft::error::{
    Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetwork, RaftNetworkFactory, Snapshot, SnapshotMeta, Vote};
use tokio::time::Instant;

use super::super::frames::Lineage;
use super::super::replica::Replica;
use super::codec;
use super::raft::{LogId, Raft, Voter};
use crate::peer::message::{Answer, Request};
use crate::peer::{BODY_BYTES_MAX, Call, PeerId, Transport};

/// Most entries of a message.
const ENTRIES_MAX: usize = 1_024;
/// How long a member that cannot be reached is left alone.
const REST: Duration = Duration::from_millis(200);
/// For this part of a heartbeat's interval nothing needs to be said that carries no entry: the silence between two words grows by no more.
const QUIET_PART: u32 = 4;
/// How often a member is asked how far it is with a snapshot.
const SNAPSHOT_LOOK: Duration = Duration::from_millis(200);

type CallFailed = RPCError<u64, Voter, RaftError<u64>>;

/// What a member's Raft is told.
#[derive(Debug)]
pub(super) enum Told {
    Entries(AppendEntriesRequest<Raft>),
    Vote(VoteRequest<u64>),
    /// Take a whole copy from the caller, who has applied at least what the meta says.
    Snapshot {
        vote: Vote<u64>,
        meta: SnapshotMeta<u64, Voter>,
    },
    /// Says whether it hears of a leader.
    LeaderHeard {
        by: u64,
    },
}

/// What it answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TellReply {
    Entries(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// The copy is under way.
    Receiving,
    Received(Vote<u64>),
    /// It has failed, or is no member.
    Failed,
    LeaderHeard(bool),
}

impl Told {
    /// Which member says it: whose vote it names.
    pub(super) fn speaker(&self) -> u64 {
        match self {
            Self::Entries(told) => told.vote.leader_id.node_id,
            Self::Vote(told) => told.vote.leader_id.node_id,
            Self::Snapshot { vote, .. } => vote.leader_id.node_id,
            Self::LeaderHeard { by } => *by,
        }
    }

    /// With the ledger that it is about, zeros before one has begun.
    pub(super) fn encode(&self, lineage: &Lineage) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1_024);
        writer.fixed(lineage);
        match self {
            Self::Entries(told) => {
                writer.u8(1);
                codec::put_vote(&mut writer, &told.vote);
                writer.option_with(told.prev_log_id.as_ref(), codec::put_log_id);
                writer.option_with(told.leader_commit.as_ref(), codec::put_log_id);
                writer.list_with(&told.entries, codec::put_entry);
            }
            Self::Vote(told) => {
                writer.u8(2);
                codec::put_vote(&mut writer, &told.vote);
                writer.option_with(told.last_log_id.as_ref(), codec::put_log_id);
            }
            Self::Snapshot { vote, meta } => {
                writer.u8(3);
                codec::put_vote(&mut writer, vote);
                writer.option_with(meta.last_log_id.as_ref(), codec::put_log_id);
                codec::put_stored_membership(&mut writer, &meta.last_membership);
            }
            Self::LeaderHeard { by } => {
                writer.u8(4);
                writer.u64(*by);
            }
        }
        writer.into_vec()
    }

    pub(super) fn decode(input: &[u8]) -> Result<(Lineage, Self), DecodeError> {
        let mut reader = Reader::new(input);
        let lineage = reader.fixed()?;
        let told = match reader.u8()? {
            1 => {
                let vote = codec::vote(&mut reader)?;
                Self::Entries(AppendEntriesRequest {
                    vote,
                    prev_log_id: reader.option_with(codec::log_id)?,
                    leader_commit: reader.option_with(codec::log_id)?,
                    entries: reader.list_with(ENTRIES_MAX, codec::entry)?,
                })
            }
            2 => Self::Vote(VoteRequest {
                vote: codec::vote(&mut reader)?,
                last_log_id: reader.option_with(codec::log_id)?,
            }),
            3 => {
                let vote = codec::vote(&mut reader)?;
                let last_log_id = reader.option_with(codec::log_id)?;
                let meta = SnapshotMeta {
                    last_log_id,
                    last_membership: codec::stored_membership(&mut reader)?,
                    snapshot_id: last_log_id.map(|id| id.to_string()).unwrap_or_default(),
                };
                Self::Snapshot { vote, meta }
            }
            4 => Self::LeaderHeard { by: reader.u64()? },
            got => return Err(codec::bad("word between members", got.into())),
        };
        reader.finish()?;
        Ok((lineage, told))
    }
}

impl TellReply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Entries(AppendEntriesResponse::Success) => writer.u8(1),
            Self::Entries(AppendEntriesResponse::PartialSuccess(upto)) => {
                writer.u8(2);
                writer.option_with(upto.as_ref(), codec::put_log_id);
            }
            Self::Entries(AppendEntriesResponse::Conflict) => writer.u8(3),
            Self::Entries(AppendEntriesResponse::HigherVote(vote)) => {
                writer.u8(4);
                codec::put_vote(&mut writer, vote);
            }
            Self::Vote(reply) => {
                writer.u8(5);
                codec::put_vote(&mut writer, &reply.vote);
                writer.u8(u8::from(reply.vote_granted));
                writer.option_with(reply.last_log_id.as_ref(), codec::put_log_id);
            }
            Self::Receiving => writer.u8(6),
            Self::Received(vote) => {
                writer.u8(7);
                codec::put_vote(&mut writer, vote);
            }
            Self::Failed => writer.u8(8),
            Self::LeaderHeard(heard) => {
                writer.u8(9);
                writer.u8(u8::from(*heard));
            }
        }
        writer.into_vec()
    }

    pub(super) fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let reply = match reader.u8()? {
            1 => Self::Entries(AppendEntriesResponse::Success),
            2 => {
                let upto = reader.option_with(codec::log_id)?;
                Self::Entries(AppendEntriesResponse::PartialSuccess(upto))
            }
            3 => Self::Entries(AppendEntriesResponse::Conflict),
            4 => Self::Entries(AppendEntriesResponse::HigherVote(codec::vote(&mut reader)?)),
            5 => Self::Vote(VoteResponse {
                vote: codec::vote(&mut reader)?,
                vote_granted: reader.bool("granted vote")?,
                last_log_id: reader.option_with(codec::log_id)?,
            }),
            6 => Self::Receiving,
            7 => Self::Received(codec::vote(&mut reader)?),
            8 => Self::Failed,
            9 => Self::LeaderHeard(reader.bool("leader heard")?),
            got => return Err(codec::bad("word between members", got.into())),
        };
        reader.finish()?;
        Ok(reply)
    }
}

/// The way to the other members.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) replica: Arc<Replica>,
}

/// The way to one member.
pub(super) struct Line {
    peer: Option<PeerId>,
    network: Network,
    taken: Option<Taken>,
}

/// What a member took last on a line.
struct Taken {
    /// Of whom.
    vote: Vote<u64>,
    /// It holds the leader's entries up to this one.
    upto: Option<LogId>,
    sent: Instant,
}

/// Why a member did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    #[error("a member without a key")]
    NoPeer,
    #[error(transparent)]
    Call(#[from] crate::peer::CallError),
    #[error("no answer in time")]
    Late,
    #[error("the answer makes no sense")]
    Nonsense,
}

impl Network {
    /// Tells a member something and returns what it answers.
    pub(super) async fn tell(
        &self,
        peer: PeerId,
        told: &Told,
        patience: Duration,
    ) -> Result<TellReply, Silence> {
        let call = Call::of_ledger(Request::Agree, told.encode(&self.replica.lineage()));
        let calling = self.transport.call(peer, call);
        let reply = tokio::time::timeout(patience, calling)
            .await
            .map_err(|_| Silence::Late)??;
        match reply.answer {
            Answer::Bytes => TellReply::decode(&reply.body).map_err(|_| Silence::Nonsense),
            _ => Err(Silence::Nonsense),
        }
    }
}

impl RaftNetworkFactory<Raft> for Network {
    type Network = Line;

    async fn new_client(&mut self, _: u64, node: &Voter) -> Line {
        Line {
            peer: node.0,
            network: self.clone(),
            taken: None,
        }
    }
}

impl Line {
    /// Whether the member would hear nothing that cannot wait: it took a word of the same leader a moment ago, and holds what this one
    /// asks about.
    fn can_wait(&self, rpc: &AppendEntriesRequest<Raft>, heartbeat: Duration) -> bool {
        let just_now = |taken: &Taken| {
            taken.vote == rpc.vote
                && rpc.prev_log_id <= taken.upto
                && taken.sent.elapsed() < heartbeat / QUIET_PART
        };
        rpc.entries.is_empty() && self.taken.as_ref().is_some_and(just_now)
    }

    async fn tell(&self, told: &Told, patience: Duration) -> Result<TellReply, Silence> {
        let peer = self.peer.ok_or(Silence::NoPeer)?;
        self.network.tell(peer, told, patience).await
    }
}

fn unreachable(silence: &Silence) -> CallFailed {
    match silence {
        Silence::Nonsense => NetworkError::new(silence).into(),
        _ => Unreachable::new(silence).into(),
    }
}

impl RaftNetwork<Raft> for Line {
    async fn append_entries(
        &mut self,
        mut rpc: AppendEntriesRequest<Raft>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallFailed> {
        // A heartbeat's answer is waited for no longer than until the next one.
        let heartbeat = option.hard_ttl();
        if self.can_wait(&rpc, heartbeat) {
            return Ok(AppendEntriesResponse::Success);
        }
        let mut bytes = 1_024;
        let fits = rpc.entries.iter().take(ENTRIES_MAX).take_while(|entry| {
            let first = bytes == 1_024;
            bytes += codec::entry_bytes(entry);
            first || bytes <= BODY_BYTES_MAX
        });
        let fitting = fits.count();
        let all = fitting == rpc.entries.len();
        rpc.entries.truncate(fitting);
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let taken = Taken {
            vote: rpc.vote,
            upto: last.or(rpc.prev_log_id),
            sent: Instant::now(),
        };
        let answered = self.tell(&Told::Entries(rpc), heartbeat).await;
        let took = matches!(answered, Ok(TellReply::Entries(AppendEntriesResponse::Success)));
        self.taken = took.then_some(taken);
        match answered {
            Ok(TellReply::Entries(AppendEntriesResponse::Success)) if !all => {
                Ok(AppendEntriesResponse::PartialSuccess(last))
            }
            Ok(TellReply::Entries(reply)) => Ok(reply),
            Ok(_) => Err(unreachable(&Silence::Nonsense)),
            Err(silence) => Err(unreachable(&silence)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallFailed> {
        match self.tell(&Told::Vote(rpc), option.hard_ttl()).await {
            Ok(TellReply::Vote(reply)) => Ok(reply),
            Ok(_) => Err(unreachable(&Silence::Nonsense)),
            Err(silence) => Err(unreachable(&silence)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Raft>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Raft, Fatal<u64>>> {
        let told = Told::Snapshot {
            vote,
            meta: snapshot.meta,
        };
        tokio::pin!(cancel);
        loop {
            let telling = self.tell(&told, option.hard_ttl().min(TELL_PATIENCE));
            let reply = tokio::select! {
                biased;
                closed = &mut cancel => return Err(closed.into()),
                reply = telling => reply,
            };
            match reply {
                Ok(TellReply::Receiving) => tokio::time::sleep(SNAPSHOT_LOOK).await,
                Ok(TellReply::Received(vote)) => return Ok(SnapshotResponse::new(vote)),
                Ok(_) => return Err(StreamingError::Network(NetworkError::new(&Silence::Nonsense))),
                Err(silence) => return Err(StreamingError::Unreachable(Unreachable::new(&silence))),
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(REST))
    }
}

/// How long a member may take to say how far it is with a snapshot.
const TELL_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
