//! A member of the ledger on this machine: its Raft, its copy of the slots, and the desk at which it leads.
//!
//! Who may ask it what is for the node to decide. Invariants: one process opens a member's directory at a time; a member that is
//! asked to lead and does not says who does; whatever it keeps for others (transfers) is bounded and ends by itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::codec::DecodeError;
use engine::disk::Disk;
use engine::slots::{Append, Sequence};
use openraft::raft::AppendEntriesResponse;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::super::replay::LedgerOpenError;
use super::super::replica::Replica;
use super::super::wire::{ANY_LEDGER, AppendReply, LedgerCall, LedgerRefusal, LedgerReply};
use super::super::{Ledger, LedgerSizes, Lineage, LocalLedger, Tail};
use super::agreement::{Agreement, AgreementOpenError};
use super::aside::Aside;
use super::candidacy::{self, Candidacy};
use super::chance::with_seed;
use super::leading::{Applying, confirmed, not_leader};
use super::machine::Machine;
use super::network::{Network, TellReply, Told};
use super::propose::{Desk, Proposal};
use super::raft::number;
use super::receive::Receiving;
use super::sending::Sending;
use super::sharing::Sharing;
use super::upkeep::{raft_config, upkeep};
use crate::drives::FreshLogId;
use crate::offload::Offload;
use crate::peer::{PeerId, Transport};

pub(super) type RaftOf = openraft::Raft<super::raft::Raft>;

/// Proposals that may wait.
const PROPOSALS_MAX: usize = 4_096;
/// Bytes of appends that may wait or be on their way.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// A call that waits for an append waits no longer than this.
const TAIL_WAIT_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether entries are gone, and how many times.
const FORGET_LOOK: Duration = Duration::from_millis(10);
const FORGET_TRIES: usize = 500;
/// A change of the members that takes longer goes on, and whoever asked is told to ask again.
const CHANGE_ANSWER: Duration = Duration::from_millis(700);
/// Bytes of appends in a page of a tail.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What a member is opened with.
#[derive(Clone)]
pub struct MemberConfig {
    /// Its directory, its own.
    pub dir: PathBuf,
    /// This peer.
    pub peer: PeerId,
    /// The way to the other members.
    pub transport: Arc<dyn Transport>,
    /// The ids of new logs, and the seed of its chance: random numbers.
    pub fresh_log_id: FreshLogId,
    /// Where blocking work is done.
    pub offload: Offload,
    /// How often a leader is heard of; after seven to eight times as long without a word of it another is elected.
    pub heartbeat: Duration,
    /// How big its logs get.
    pub sizes: LedgerSizes,
}

impl MemberConfig {
    /// The usual [`Self::heartbeat`]: about two seconds from a leader's end to the next one's first answer, less than the only holder of a
    /// lease may answer reads by itself.
    pub const HEARTBEAT: Duration = Duration::from_millis(250);
}

/// Why a member does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberOpenError {
    /// Its copy of the ledger does not open.
    #[error(transparent)]
    Copy(#[from] LedgerOpenError),
    /// What it agreed on does not open.
    #[error(transparent)]
    Agreement(#[from] AgreementOpenError),
    /// Its copy does not say what was applied to it.
    #[error("the copy of the ledger does not say what was applied to it: {0}")]
    Mark(#[from] DecodeError),
    /// Raft does not start.
    #[error("the agreement does not start: {0}")]
    Raft(String),
}

/// See the module.
pub struct Member {
    pub(super) own: PeerId,
    pub(super) raft: RaftOf,
    pub(super) progress: Applying,
    aside: Arc<Aside>,
    candidacy: Arc<Candidacy>,
    pub(super) replica: Arc<Replica>,
    pub(super) agreement: Agreement,
    proposals: mpsc::Sender<Proposal>,
    waiting: Arc<Semaphore>,
    pub(super) transport: Arc<dyn Transport>,
    sending: Arc<Sending>,
    pub(super) sharing: Arc<Sharing>,
    receiving: Mutex<Option<Receiving>>,
    beside: [tokio::task::JoinHandle<()>; 2],
    pub(super) changing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({})", self.own)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop_beside();
    }
}

/// Ends both logs cleanly.
async fn close_logs(replica: &Replica, agreement: &Agreement) {
    let closing = agreement.clone();
    let _ = agreement.offload().run(move || closing.close()).await;
    replica.close().await;
}

impl Member {
    /// Opens what is in the directory, or begins empty: a member of nothing until another takes it in or [`LedgerCall::Begin`].
    ///
    /// # Errors
    /// See [`MemberOpenError`].
    pub async fn open(disk: Arc<dyn Disk>, config: MemberConfig) -> Result<Arc<Self>, MemberOpenError> {
        let opening = config.clone();
        let own = number(&config.peer);
        let opened = config.offload.run(move || {
            let MemberConfig {
                dir,
                fresh_log_id,
                offload,
                sizes,
                ..
            } = opening;
            let log_id = fresh_log_id();
            let replica = Replica::open(
                Arc::clone(&disk),
                &dir.join("slots"),
                fresh_log_id,
                offload.clone(),
                sizes,
            )?;
            let dir = dir.join("agreement");
            let agreement = Agreement::open(disk, &dir, log_id, own, offload, &sizes);
            Ok::<_, MemberOpenError>((Arc::new(replica), agreement))
        });
        let (replica, agreement) = opened
            .await
            .map_err(|error| MemberOpenError::Raft(error.to_string()))??;
        let agreement = match agreement {
            Ok(agreement) => agreement,
            Err(error) => {
                replica.close().await;
                return Err(error.into());
            }
        };
        let taking = Self::take_part(config, own, Arc::clone(&replica), agreement.clone()).await;
        if taking.is_err() {
            // Who tries again must not meet the closing frames of this try.
            close_logs(&replica, &agreement).await;
        }
        taking
    }

    /// Takes part, with both logs open.
    async fn take_part(
        config: MemberConfig,
        own: u64,
        replica: Arc<Replica>,
        agreement: Agreement,
    ) -> Result<Arc<Self>, MemberOpenError> {
        let machine = Machine::new(Arc::clone(&replica))?;
        let network = Network {
            transport: Arc::clone(&config.transport),
            replica: Arc::clone(&replica),
        };
        let progress = machine.progress();
        agreement.set_copy(machine.holds());
        let starting = RaftOf::new(
            own,
            Arc::new(raft_config(config.heartbeat)?),
            network.clone(),
            agreement.clone(),
            machine,
        );
        let raft = with_seed((config.fresh_log_id)(), starting).await;
        let raft = raft.map_err(|error| MemberOpenError::Raft(error.to_string()))?;
        let (proposals, waiting) = mpsc::channel(PROPOSALS_MAX);
        let aside = Arc::new(Aside::new(raft.clone(), config.heartbeat));
        let desk = Desk::new(
            own,
            raft.clone(),
            Arc::clone(&replica),
            agreement.clone(),
            progress.clone(),
            Arc::clone(&aside),
        );
        tokio::spawn(desk.run(waiting));
        let sending = Arc::<Sending>::default();
        let candidacy = Arc::new(Candidacy::new(config.heartbeat));
        let upkeep = upkeep(
            raft.clone(),
            agreement.clone(),
            Arc::clone(&sending),
            config.sizes,
        );
        let watch = candidacy::watch(raft.clone(), network, Arc::clone(&aside), Arc::clone(&candidacy));
        Ok(Arc::new(Self {
            own: config.peer,
            beside: [tokio::spawn(upkeep), tokio::spawn(watch)],
            raft,
            progress,
            aside,
            candidacy,
            replica,
            agreement,
            proposals,
            waiting: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            transport: config.transport,
            sending,
            sharing: Arc::default(),
            receiving: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        }))
    }

    /// This member's copy, as far as it has applied.
    pub fn copy(&self) -> LocalLedger {
        self.replica.copy()
    }

    /// Follows the newest sequence that its copy has applied.
    pub fn changed(&self) -> tokio::sync::watch::Receiver<Sequence> {
        self.replica.changed()
    }

    /// Resolves when a flush has failed. The process then ends.
    pub async fn fenced(&self) {
        let mut agreement = self.agreement.fenced();
        tokio::select! {
            biased;
            _ = agreement.wait_for(|fenced| *fenced) => {}
            () = self.replica.fenced() => {}
        }
    }

    /// Whether its part in the agreement has ended, as on a disk without any room: it takes part again once it was opened anew.
    pub fn has_stopped(&self) -> bool {
        self.raft.metrics().borrow().running_state.is_err()
    }

    /// The newest term that it knows of, and who leads in it as far as it knows.
    pub fn led_by(&self) -> (u64, Option<PeerId>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let leader = metrics
            .current_leader
            .and_then(|leader| membership.get_node(&leader)?.0);
        (metrics.current_term, leader)
    }

    /// Stops taking part, and ends both logs cleanly.
    pub async fn close(&self) {
        self.stop_beside();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "a member of the ledger did not stop cleanly");
        }
        close_logs(&self.replica, &self.agreement).await;
    }

    fn stop_beside(&self) {
        self.beside.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Answers another member's Raft. `None` if what it says does not read.
    pub async fn answer_member(self: &Arc<Self>, caller: PeerId, said: &[u8]) -> Option<Vec<u8>> {
        let (lineage, told) = Told::decode(said).ok()?;
        // Whoever speaks speaks for himself; and of another ledger nothing is taken, however great its numbers.
        if told.speaker() != number(&caller) || self.replica.keeps_other(&lineage) {
            return Some(TellReply::Failed.encode());
        }
        let reply = match told {
            Told::Entries(entries) => {
                // On arrival: a slow disk is no reason to say that nobody leads.
                let leads = entries.vote >= self.raft.metrics().borrow().vote;
                if leads {
                    self.candidacy.note_leader();
                }
                match self.raft.append_entries(entries).await {
                    Ok(reply) => {
                        if !matches!(reply, AppendEntriesResponse::HigherVote(_)) {
                            self.candidacy.note_leader();
                        }
                        TellReply::Entries(reply)
                    }
                    Err(_) => TellReply::Failed,
                }
            }
            // One that has nothing may have lost it, and with it what it promised: it votes once a leader has told it everything.
            Told::Vote(_) if !self.replica.is_begun() => TellReply::Failed,
            Told::Vote(vote) => match self.raft.vote(vote).await {
                Ok(reply) => TellReply::Vote(reply),
                Err(_) => TellReply::Failed,
            },
            Told::Snapshot { vote, meta } => {
                let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
                let (next, reply) = Receiving::go_on(receiving.take(), self, &self.raft, caller, vote, meta);
                *receiving = next;
                reply
            }
            Told::LeaderHeard { .. } => {
                TellReply::LeaderHeard(self.candidacy.hears_leader(&self.raft, &self.aside))
            }
        };
        Some(reply.encode())
    }

    /// Answers a peer that may ask it, and asks the ledger `of`.
    pub async fn answer(self: &Arc<Self>, caller: PeerId, of: &Lineage, call: LedgerCall) -> LedgerReply {
        if self.replica.keeps_other(of) {
            return LedgerReply::Refused(LedgerRefusal::OtherLedger);
        }
        if *of != ANY_LEDGER && !self.replica.is_begun() {
            return LedgerReply::Refused(LedgerRefusal::NoLedger);
        }
        let answered = match call {
            LedgerCall::Append { urgent, appends } => self.append(urgent, appends).await,
            LedgerCall::ReadIndex => self.read_index().await,
            LedgerCall::Tail {
                lineage,
                from,
                max,
                wait_ms,
            } => {
                if !self.replica.is_begun() {
                    return LedgerReply::Refused(LedgerRefusal::NoLedger);
                }
                if lineage != self.replica.lineage() {
                    return LedgerReply::Compacted;
                }
                let wait = Duration::from_millis(wait_ms.into()).min(TAIL_WAIT_MAX);
                self.tail(from, max.into(), wait).await
            }
            LedgerCall::OpenTransfer if !self.replica.is_begun() => Err(LedgerRefusal::NoLedger),
            LedgerCall::OpenTransfer => self.sending.open(self.replica.copy()).await,
            LedgerCall::TransferPage { transfer, page } => self.sending.page(transfer, page).await,
            LedgerCall::RecordsThrough(sequence) => self
                .propose(|reply| Proposal::RecordsThrough { sequence, reply })
                .await
                .map(|()| LedgerReply::Done),
            LedgerCall::TakeLease {
                holder,
                now_ms,
                above,
            } => self
                .propose(|reply| Proposal::Lease {
                    caller,
                    holder,
                    now_ms,
                    above,
                    reply,
                })
                .await
                .map(|(number, other_holder)| LedgerReply::Lease { number, other_holder }),
            LedgerCall::Begin { lineage, after } => self.begin(lineage, after).await,
            LedgerCall::Members { as_known: true } => self.members_known(),
            LedgerCall::Members { as_known: false } => self.members().await,
            LedgerCall::SetMembers(peers) => {
                // It goes on also when whoever asked waits no longer: half of it would be a membership of its own.
                let this = Arc::clone(self);
                let changing = tokio::spawn(async move { this.set_members(peers).await });
                // Whoever asks is answered before he takes this member for one that is lost.
                match tokio::time::timeout(CHANGE_ANSWER, changing).await {
                    Ok(changed) => changed.unwrap_or(Err(LedgerRefusal::Failed)),
                    Err(_) => Err(LedgerRefusal::Busy),
                }
            }
            LedgerCall::SetPeer(entry) => self.set_peer(&entry).await,
            LedgerCall::Peers => self.peers().await,
            // Those are for the node.
            LedgerCall::Introduce(_) | LedgerCall::Join(_) | LedgerCall::Describe => {
                Err(LedgerRefusal::NotAllowed)
            }
        };
        answered.unwrap_or_else(LedgerReply::Refused)
    }

    /// Lets go of every entry that was applied so far. Whether it came to that.
    pub(super) async fn forget_entries(&self) -> bool {
        let metrics = self.raft.metrics().borrow().clone();
        let Some(applied) = metrics.last_applied else {
            return true;
        };
        for _ in 0..FORGET_TRIES {
            // Both are carried out in order by the Raft's own task; one that has stopped does neither.
            let _ = self.raft.trigger().snapshot().await;
            let _ = self.raft.trigger().purge_log(applied.index).await;
            if self.agreement.purged() >= Some(applied) {
                return true;
            }
            tokio::time::sleep(FORGET_LOOK).await;
        }
        false
    }

    pub(super) async fn propose<T>(
        &self,
        proposal: impl FnOnce(oneshot::Sender<Result<T, LedgerRefusal>>) -> Proposal,
    ) -> Result<T, LedgerRefusal> {
        let (reply, answer) = oneshot::channel();
        if self.proposals.send(proposal(reply)).await.is_err() {
            return Err(LedgerRefusal::Failed);
        }
        answer.await.unwrap_or(Err(LedgerRefusal::Failed))
    }

    async fn append(&self, urgent: bool, appends: Vec<Append>) -> Result<LedgerReply, LedgerRefusal> {
        let mut answers = Vec::with_capacity(appends.len());
        for append in appends {
            let bytes = append.encoded_bytes_at_most().min(WAITING_BYTES_MAX);
            let weight = u32::try_from(bytes).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.waiting).acquire_many_owned(weight).await;
            let room = room.map_err(|_| LedgerRefusal::Failed)?;
            let (reply, answer) = oneshot::channel();
            let proposal = Proposal::Append {
                append,
                urgent,
                reply,
                room,
            };
            if self.proposals.send(proposal).await.is_err() {
                return Err(LedgerRefusal::Failed);
            }
            answers.push(answer);
        }
        let mut replies: Vec<AppendReply> = Vec::with_capacity(answers.len());
        for answer in answers {
            // One that failed may be decided all the same: the caller asks again with all of them.
            replies.push(answer.await.unwrap_or(Err(LedgerRefusal::Failed))?);
        }
        Ok(LedgerReply::Outcomes(replies))
    }

    /// Whether it may ask the others to confirm that it leads: not while it makes way.
    pub(super) fn not_aside(&self) -> Result<(), LedgerRefusal> {
        match self.aside.is_silent() {
            true => Err(not_leader(&self.raft)),
            false => Ok(()),
        }
    }

    pub(super) async fn read_index(&self) -> Result<LedgerReply, LedgerRefusal> {
        self.not_aside()?;
        confirmed(&self.raft, &self.progress).await?;
        Ok(LedgerReply::Index {
            lineage: self.replica.lineage(),
            sequence: self.replica.copy().position(),
        })
    }

    async fn tail(&self, from: Sequence, max: usize, wait: Duration) -> Result<LedgerReply, LedgerRefusal> {
        let newer = self.replica.reached(Sequence(from.0.saturating_add(1)));
        // In time or not: an empty page says that there is none.
        let _ = tokio::time::timeout(wait, newer).await;
        let copy = self.replica.copy();
        match copy.tail(from, max).await {
            Ok(Tail::Appends(appends)) => {
                let records_through = Sequence(copy.status().records_through);
                let mut bytes = 0;
                let fits = |append: &engine::slots::AppliedAppend| {
                    let first = bytes == 0;
                    bytes += append.encoded_bytes_about();
                    first || bytes <= PAGE_BYTES_MAX
                };
                Ok(LedgerReply::Tail {
                    records_through,
                    appends: appends.into_iter().take_while(fits).collect(),
                })
            }
            Ok(Tail::Compacted) => Ok(LedgerReply::Compacted),
            Err(_) => Err(LedgerRefusal::Failed),
        }
    }
}
