//! The leader's desk: appends are decided one after another, gathered into entries of at most a mebibyte, and proposed to the members.
//!
//! Several entries may be on their way; each is decided on what those before it will leave behind. Invariants: an answer is given
//! only once the entry that it rests on is agreed on and applied; when an entry fails, nothing more is decided until every entry
//! on its way has been told of or this member is deposed, and then from the applied state anew.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::codec::Writer;
use engine::slots::{Append, AppliedAppend, BadAppend, Decision, Outcome, Sequence, Write};
use openraft::raft::ClientWriteResult;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::super::apply::Leader;
use super::super::frames::{Lineage, ValueAt};
use super::super::local::clip;
use super::super::operation::operation;
use super::super::replica::Replica;
use super::super::wire::{AppendReply, LedgerRefusal};
use super::super::{Ledger, LedgerError};
use super::agreement::Agreement;
use super::aside::{Aside, Why};
use super::codec::{APPENDS_MAX, COMMAND_BYTES_MAX};
use super::leading::{Applying, confirmed, deposed, not_leader, term_led};
use super::member::RaftOf;
use super::raft::{Command, Raft};
use crate::peer::PeerId;

/// Bytes of appends in one entry, unless one alone is longer.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Entries that may be on their way: what comes meanwhile makes the next, so that under load there are few of them.
const UNDER_WAY_MAX: usize = 1;

/// What is asked of the desk.
pub(super) enum Proposal {
    Append {
        append: Append,
        urgent: bool,
        reply: Reply<AppendReply>,
        /// Its room among what waits.
        room: OwnedSemaphorePermit,
    },
    Lease {
        caller: PeerId,
        holder: String,
        now_ms: u64,
        above: u64,
        reply: Reply<(u64, bool)>,
    },
    RecordsThrough {
        sequence: Sequence,
        reply: Reply<()>,
    },
    Begin {
        lineage: Lineage,
        after: Sequence,
        reply: Reply<()>,
    },
    /// Write an entry under no lease.
    Write {
        write: Write,
        reply: Reply<()>,
    },
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, LedgerRefusal>>;

/// What waits for an entry.
enum Waiting {
    Append(Reply<AppendReply>, Decision<ValueAt>, OwnedSemaphorePermit),
    Lease(Reply<(u64, bool)>, u64, bool),
    Done(Reply<()>),
}

impl Waiting {
    fn refuse(self, refusal: LedgerRefusal) {
        // Whoever no longer waits is no error.
        match self {
            Self::Append(reply, ..) => drop(reply.send(Err(refusal))),
            Self::Lease(reply, ..) => drop(reply.send(Err(refusal))),
            Self::Done(reply) => drop(reply.send(Err(refusal))),
        }
    }
}

/// An entry that was proposed.
struct UnderWay {
    /// The term in which this member proposed it as the leader.
    term: u64,
    /// None if it could not even be proposed.
    told: Option<oneshot::Receiver<ClientWriteResult<Raft>>>,
    agreed: Option<bool>,
    waiting: Vec<Waiting>,
}

impl UnderWay {
    /// Whether it was agreed on and applied, as far as it is ever told to a leader that is deposed. May be asked again.
    async fn agreed(&mut self, raft: &RaftOf) -> bool {
        if self.agreed.is_none() {
            self.agreed = Some(match &mut self.told {
                Some(told) => tokio::select! {
                    biased;
                    told = told => matches!(told, Ok(Ok(written)) if written.data),
                    () = deposed(raft, self.term) => false,
                },
                None => false,
            });
        }
        self.agreed == Some(true)
    }
}

/// See the module.
pub(super) struct Desk {
    own: u64,
    raft: RaftOf,
    replica: Arc<Replica>,
    agreement: Agreement,
    progress: Applying,
    aside: Arc<Aside>,
    leading: Option<Leader>,
    /// The newest sequence that was decided.
    decided: Sequence,
    under_way: VecDeque<UnderWay>,
}

impl Desk {
    pub(super) fn new(
        own: u64,
        raft: RaftOf,
        replica: Arc<Replica>,
        agreement: Agreement,
        progress: Applying,
        aside: Arc<Aside>,
    ) -> Self {
        Self {
            own,
            raft,
            replica,
            agreement,
            progress,
            aside,
            leading: None,
            decided: Sequence(0),
            under_way: VecDeque::new(),
        }
    }

    /// Works until nobody can propose any more.
    pub(super) async fn run(mut self, mut proposals: mpsc::Receiver<Proposal>) {
        let mut batch = Vec::new();
        loop {
            if self.under_way.len() >= UNDER_WAY_MAX {
                self.finish_oldest().await;
            }
            let more = tokio::select! {
                biased;
                () = oldest_told(&mut self.under_way, &self.raft) => {
                    self.finish_oldest().await;
                    continue;
                }
                more = proposals.recv_many(&mut batch, APPENDS_MAX) => more,
            };
            if more == 0 {
                return;
            }
            self.take(std::mem::take(&mut batch)).await;
        }
    }

    /// The leader that this member is, once it has applied everything that came before it.
    fn leads(&self) -> Option<Leader> {
        let leader = Leader {
            term: term_led(&self.raft)?,
            member: self.own,
        };
        let applied = self.progress.newest()?.leader_id;
        ((applied.term, applied.node_id) == (leader.term, leader.member)).then_some(leader)
    }

    async fn take(&mut self, batch: Vec<Proposal>) {
        let mut batch = VecDeque::from(batch);
        while !batch.is_empty() {
            let leads = self.leads();
            if leads.is_none() || leads != self.leading {
                self.finish_all().await;
                self.replica.lead(leads);
                self.leading = leads;
                self.decided = self.replica.copy().position();
            }
            let Some(leader) = self.leading.filter(|_| !self.aside.is_silent()) else {
                let refusal = self.not_leader();
                batch.drain(..).for_each(|proposal| refuse(proposal, refusal));
                return;
            };
            let begins = matches!(batch.front(), Some(Proposal::Begin { .. }));
            if (self.replica.lineage() == Lineage::default()) != begins {
                let refusal = match begins {
                    true => LedgerRefusal::Begun,
                    false => LedgerRefusal::NoLedger,
                };
                batch
                    .pop_front()
                    .into_iter()
                    .for_each(|proposal| refuse(proposal, refusal));
                continue;
            }
            match batch.front() {
                Some(Proposal::Append { .. }) => self.append_some(leader, &mut batch).await,
                _ => {
                    // On its own, on what is applied.
                    self.finish_all().await;
                    if self.leading == Some(leader)
                        && let Some(proposal) = batch.pop_front()
                    {
                        self.alone(leader, proposal).await;
                        self.finish_all().await;
                    }
                }
            }
        }
    }

    fn not_leader(&self) -> LedgerRefusal {
        not_leader(&self.raft)
    }

    /// Decides and proposes the appends at the front of the batch, one entry's worth.
    async fn append_some(&mut self, leader: Leader, batch: &mut VecDeque<Proposal>) {
        let base = self.decided;
        let (mut encoded, mut bytes, mut waiting) = (Vec::new(), 0, Vec::new());
        let is_full = self.replica.is_full() || self.agreement.is_full();
        while bytes < ENTRY_BYTES_MAX {
            let Some(Proposal::Append { .. }) = batch.front() else {
                break;
            };
            let Some(Proposal::Append {
                append,
                urgent,
                reply,
                room,
            }) = batch.pop_front()
            else {
                break;
            };
            if append.encoded_bytes_at_most() > COMMAND_BYTES_MAX - 1_024 {
                let _ = reply.send(Ok(AppendReply::Bad));
                continue;
            }
            // One that was applied is not refused for want of space, whoever applied it.
            if is_full
                && !urgent
                && let Some(decision) = self.replica.repeated(&append)
            {
                waiting.push(Waiting::Append(reply, decision, room));
                continue;
            }
            if is_full && !urgent {
                // Others may have room; where they do not, it says so the next time.
                let answer = match self.aside.begin(Why::Full) {
                    true => Err(self.not_leader()),
                    false => Ok(AppendReply::Full),
                };
                let _ = reply.send(answer);
                continue;
            }
            match self.replica.decide(leader, &append) {
                None => {
                    let _ = reply.send(Err(self.not_leader()));
                    self.leading = None;
                    break;
                }
                Some(Err(_)) => drop(reply.send(Ok(AppendReply::Bad))),
                Some(Ok(decision)) => {
                    if let Decision::Apply { sequence } = decision {
                        let mut writer = Writer::with_capacity(512);
                        append.applied(sequence).encode(&mut writer);
                        bytes += writer.len();
                        encoded.push(writer.into_vec());
                        self.decided = sequence;
                    }
                    waiting.push(Waiting::Append(reply, decision, room));
                }
            }
        }
        if encoded.is_empty() {
            // It rests on what is on its way already.
            match self.under_way.back_mut() {
                Some(last) => last.waiting.extend(waiting),
                // Nothing that is agreed on will say that this member still leads: it is asked.
                None => match confirmed(&self.raft, &self.progress).await {
                    Ok(()) => self.answer(waiting).await,
                    Err(_) => {
                        self.leading = None;
                        let refusal = self.not_leader();
                        waiting.into_iter().for_each(|waiting| waiting.refuse(refusal));
                    }
                },
            }
            return;
        }
        self.propose(leader, Command::appends(leader, base.0, &encoded), waiting)
            .await;
    }

    async fn propose(&mut self, leader: Leader, command: Command, waiting: Vec<Waiting>) {
        let told = self.raft.client_write_ff(command).await.ok();
        self.under_way.push_back(UnderWay {
            term: leader.term,
            told,
            agreed: None,
            waiting,
        });
    }

    /// A proposal that nothing else is decided beside.
    async fn alone(&mut self, leader: Leader, proposal: Proposal) {
        match proposal {
            Proposal::Append { .. } => {}
            Proposal::RecordsThrough { sequence, reply } => {
                let waiting = vec![Waiting::Done(reply)];
                self.propose(leader, Command::records_through(sequence.0), waiting)
                    .await;
            }
            Proposal::Begin {
                lineage,
                after,
                reply,
            } => {
                let waiting = vec![Waiting::Done(reply)];
                self.propose(leader, Command::begin(&lineage, after.0), waiting)
                    .await;
                // Its first append comes after another sequence now.
                self.leading = None;
            }
            Proposal::Write { write, reply } => {
                let base = self.decided;
                let append = written(base, write);
                let mut writer = Writer::new();
                append.encode(&mut writer);
                // Not staged: it is alone, and every copy takes it as one that was decided elsewhere.
                self.decided = append.sequence;
                let command = Command::appends(leader, base.0, &[writer.into_vec()]);
                self.propose(leader, command, vec![Waiting::Done(reply)]).await;
                // What is decided next is decided on a copy that has it.
                self.finish_all().await;
                self.leading = None;
            }
            Proposal::Lease {
                caller,
                holder,
                now_ms,
                above,
                reply,
            } => {
                let holder = format!("{caller} {holder}");
                if let Some(granted) = self.replica.granted(clip(&holder), caller, now_ms) {
                    let confirmed = confirmed(&self.raft, &self.progress).await;
                    let _ = reply.send(confirmed.map(|()| granted).map_err(|_| self.not_leader()));
                    return;
                }
                let (number, other_holder, append) =
                    self.replica.lease_append(clip(&holder), caller, now_ms, above);
                let base = self.decided;
                match self.replica.decide(leader, &append) {
                    Some(Ok(Decision::Apply { sequence })) => {
                        let mut writer = Writer::new();
                        append.applied(sequence).encode(&mut writer);
                        self.decided = sequence;
                        let command = Command::appends(leader, base.0, &[writer.into_vec()]);
                        let waiting = vec![Waiting::Lease(reply, number, other_holder)];
                        self.propose(leader, command, waiting).await;
                    }
                    Some(Err(LedgerError::Bad(BadAppend::LiveLeases { .. }))) => {
                        let _ = reply.send(Err(LedgerRefusal::TooManyLeases));
                    }
                    _ => drop(reply.send(Err(self.not_leader()))),
                }
            }
        }
    }

    async fn finish_all(&mut self) {
        while !self.under_way.is_empty() {
            self.finish_oldest().await;
        }
    }

    async fn finish_oldest(&mut self) {
        let Some(mut oldest) = self.under_way.pop_front() else {
            return;
        };
        let agreed = oldest.agreed(&self.raft).await;
        let waiting = oldest.waiting;
        if agreed {
            return self.answer(waiting).await;
        }
        // What comes behind it was decided on it: nobody applies that either, or another leader's entry stands between.
        self.leading = None;
        let refusal = self.not_leader();
        waiting.into_iter().for_each(|waiting| waiting.refuse(refusal));
    }

    async fn answer(&self, waiting: Vec<Waiting>) {
        let copy = self.replica.copy();
        for waiting in waiting {
            match waiting {
                Waiting::Append(reply, decision, _room) => {
                    let answer: Result<Outcome, _> = copy.outcome_of(decision).await;
                    let answer = answer
                        .map(AppendReply::Decided)
                        .map_err(|_| LedgerRefusal::Failed);
                    let _ = reply.send(answer);
                }
                Waiting::Lease(reply, number, other_holder) => {
                    let _ = reply.send(Ok((number, other_holder)));
                }
                Waiting::Done(reply) => {
                    let _ = reply.send(Ok(()));
                }
            }
        }
    }
}

/// The append of a write under no lease, behind `base`.
fn written(base: Sequence, write: Write) -> AppliedAppend {
    let sequence = Sequence(base.0.saturating_add(1));
    let mut hasher = blake3::Hasher::new_derive_key("cairn v1 membership operation");
    hasher.update(&sequence.0.to_le_bytes());
    AppliedAppend {
        sequence,
        operation: operation(&hasher),
        lease: 0,
        vault: [0; 16],
        writes: vec![write],
        record: None,
    }
}

/// Resolves when the oldest entry has been told of; never if none is on its way.
async fn oldest_told(under_way: &mut VecDeque<UnderWay>, raft: &RaftOf) {
    match under_way.front_mut() {
        None => std::future::pending().await,
        Some(oldest) => drop(oldest.agreed(raft).await),
    }
}

fn refuse(proposal: Proposal, refusal: LedgerRefusal) {
    match proposal {
        Proposal::Append { reply, .. } => drop(reply.send(Err(refusal))),
        Proposal::Lease { reply, .. } => drop(reply.send(Err(refusal))),
        Proposal::RecordsThrough { reply, .. }
        | Proposal::Begin { reply, .. }
        | Proposal::Write { reply, .. } => {
            let _ = reply.send(Err(refusal));
        }
    }
}
