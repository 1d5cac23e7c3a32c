//! The ledger of several machines as a gateway has it: a copy on this machine that follows the members, and the way to whoever leads.
//!
//! Reads are the copy's own; what must be new asks the leader first. Whoever holds the only lease need not ask: nobody else can have
//! written, as long as the members were heard lately. Invariants: an append is answered for only once the copy has applied it; a
//! question that may have been carried out is asked again with the same operation, which has one effect, and may be withdrawn (`fence`);
//! without a word from the members nothing is answered, after a few seconds' patience.

mod fence;
mod follow;
mod lineage;
mod members;
mod reading;
mod sending;
mod submitting;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::disk::Disk;
use engine::slots::{Address, Append, BadAppend, Entry, LIVE_LEASES_MAX, Leases, Outcome, Sequence};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::fetch::AskError;
use super::local::clip;
use super::replay::LedgerOpenError;
use super::replica::Replica;
use super::wire::{APPENDS_MAX, LedgerCall, LedgerRefusal, LedgerReply};
use super::{Ledger, LedgerError, LedgerSizes, LedgerStatus, Snapshot, Tail, lease};
use crate::drives::FreshLogId;
use crate::membership::PeerEntry;
use crate::offload::Offload;
use crate::peer::{PeerId, Transport};
use fence::Fence;
use members::Members;
use reading::Reading;
use sending::{CALLS_MAX, Waiting};

/// How long an operation tries to find a leader that answers.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one member may take for one answer before another is asked.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// How long to rest when nobody leads.
const REST: Duration = Duration::from_millis(100);
/// How long a whole copy may take at a start.
const COPY_PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of appends that may wait.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Who holds the only lease answers reads so long after the members were last heard, on its own clock.
pub const SOLE_HOLDER_FOR: Duration = Duration::from_secs(3);

/// What a followed ledger is opened with.
#[derive(Clone)]
pub struct FollowedConfig {
    /// The directory of the copy, its own. It holds nothing that the members do not have.
    pub dir: PathBuf,
    /// The way to the members.
    pub transport: Arc<dyn Transport>,
    /// Members that are known; the others are learnt of from them.
    pub members: Vec<PeerId>,
    /// The ids of new logs.
    pub fresh_log_id: FreshLogId,
    /// Where blocking work is done.
    pub offload: Offload,
    /// How big its log gets.
    pub sizes: LedgerSizes,
}

/// See the module. Clones share it; dropping the last ends what runs beside it.
#[derive(Clone)]
pub struct FollowedLedger {
    inner: Arc<Inner>,
}

struct Inner {
    replica: Arc<Replica>,
    transport: Arc<dyn Transport>,
    members: Mutex<Members>,
    appends: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    reading: Reading,
    /// When the question was sent to which the members last gave an answer.
    heard: watch::Sender<Option<Instant>>,
    /// Every append answered so far has at most this sequence.
    answered: AtomicU64,
    /// Records up to this sequence need not be kept.
    let_go: watch::Sender<Sequence>,
    /// The lease that was taken here and not ended, 0 without one.
    lease: AtomicU64,
    /// The lease that was taken here last, 0 before.
    taken: AtomicU64,
    fresh_log_id: FreshLogId,
    /// Of that lease.
    fence: Fence,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl std::fmt::Debug for FollowedLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowedLedger")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl FollowedLedger {
    /// Opens the copy, and follows from then on. It does not wait for the members.
    ///
    /// # Errors
    /// The copy does not open. It may be removed: it is taken anew then.
    pub async fn open(disk: Arc<dyn Disk>, config: FollowedConfig) -> Result<Self, LedgerOpenError> {
        let opening = config.clone();
        let opened = config.offload.run(move || {
            let FollowedConfig {
                dir,
                fresh_log_id,
                offload,
                sizes,
                ..
            } = opening;
            Replica::open(disk, &dir, fresh_log_id, offload, sizes)
        });
        let opened = opened.await.map_err(std::io::Error::other)?;
        let replica = Arc::new(opened?);
        let (appends, waiting) = mpsc::channel(APPENDS_MAX * CALLS_MAX);
        let inner = Arc::new(Inner {
            replica,
            transport: config.transport,
            members: Mutex::new(Members::new(config.members)),
            appends,
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            reading: Reading::default(),
            heard: watch::Sender::new(None),
            answered: AtomicU64::new(0),
            let_go: watch::Sender::new(Sequence(0)),
            lease: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            fresh_log_id: config.fresh_log_id,
            fence: Fence::default(),
            tasks: Mutex::default(),
        });
        let tasks = vec![
            tokio::spawn(follow::follow(Arc::downgrade(&inner))),
            tokio::spawn(follow::keep_heard(Arc::downgrade(&inner))),
            tokio::spawn(follow::let_go(Arc::downgrade(&inner), inner.let_go.subscribe())),
            tokio::spawn(sending::send(Arc::downgrade(&inner), waiting)),
        ];
        *inner.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(Self { inner })
    }

    /// Closes the copy cleanly.
    pub async fn close(&self) {
        let tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.inner.replica.close().await;
    }

    /// Compacts the copy until nothing more can be let go.
    pub async fn compact(&self) -> Result<(), LedgerError> {
        self.inner.replica.copy().compact().await
    }

    /// Members that this gateway knows of, in the order in which they are tried; others are learnt of from them.
    pub fn set_members(&self, members: Vec<PeerId>) {
        self.inner.members().set_known(members);
    }

    /// The peers of this gateway's copy, as old as it may be.
    ///
    /// # Errors
    /// One of the entries cannot be read.
    pub async fn known_peers(&self) -> Result<Vec<PeerEntry>, LedgerError> {
        self.inner.replica.known_peers().await
    }

    /// For how long no leader has answered; `None` if none has since the start.
    pub fn silent_for(&self) -> Option<Duration> {
        self.inner.heard.borrow().map(|heard| heard.elapsed())
    }

    /// Asks whoever leads, for a few seconds.
    pub async fn ask(&self, call: &LedgerCall) -> Result<LedgerReply, LedgerError> {
        self.inner.ask_leader(call, PATIENCE).await
    }

    /// Takes a lease above `above`. If another peer holds one, this waits until that peer knows that it is not alone any more.
    pub async fn take_lease_above(&self, holder: &str, now_ms: u64, above: u64) -> Result<u64, LedgerError> {
        // By this a call that comes again is known, also where a clock begins anew with each start.
        let start = (self.inner.fresh_log_id)() & 0xffff_ffff;
        let asked_as = clip(&format!("{holder}, start {start:08x}")).to_owned();
        let call = LedgerCall::TakeLease {
            holder: asked_as.clone(),
            now_ms,
            above,
        };
        // Whoever began to wait before and did not come to the end waits anew.
        let interrupted = self.inner.replica.note_waiting()?;
        let (reply, tries, _) = self.inner.ask_counted(&call, PATIENCE).await?;
        let LedgerReply::Lease { number, other_holder } = reply else {
            return Err(LedgerError::Unreachable);
        };
        // An earlier try may have been carried out: then it is that one's lease which is no other's.
        if other_holder || tries > 1 || interrupted {
            tokio::time::sleep(SOLE_HOLDER_FOR + SOLE_HOLDER_FOR / 2).await;
        }
        // What the last holder wrote, all of it, before anything is read under this lease.
        let began = Instant::now();
        let (index, lineage) = loop {
            match self.inner.fresh_index_of().await {
                Ok(found) => break found,
                Err(error) if began.elapsed() > COPY_PATIENCE => return Err(error),
                // A copy of another ledger is being replaced.
                Err(_) => {}
            }
        };
        self.inner.applied(index).await?;
        // Granted in the ledger that the copy is of, which may have been another's a moment ago; what is written under it stands there.
        let granted = self.inner.replica.lease(number).await?;
        let holder = granted.as_ref().and_then(|lease| lease.holder.split_once(' '));
        if !holder.is_some_and(|(_, said)| !said.is_empty() && asked_as.starts_with(said)) {
            return Err(LedgerError::Unreachable);
        }
        self.inner.replica.pin(lineage)?;
        self.inner.replica.note_waited();
        self.inner.fence.begin(number);
        self.inner.taken.store(number, Ordering::Release);
        self.inner.lease.store(number, Ordering::Release);
        Ok(number)
    }
}

impl Inner {
    fn members(&self) -> std::sync::MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whoever leads until one answers. What was asked must have one effect however often it is.
    async fn ask_leader(&self, call: &LedgerCall, patience: Duration) -> Result<LedgerReply, LedgerError> {
        self.ask_counted(call, patience).await.map(|(reply, ..)| reply)
    }

    /// The same, how many times somebody was asked, and whether one of these may yet be carried out because nobody said what became of it.
    async fn ask_counted(
        &self,
        call: &LedgerCall,
        patience: Duration,
    ) -> Result<(LedgerReply, u32, bool), LedgerError> {
        let trying = async {
            let mut turn = 0usize;
            let (mut tries, mut is_open) = (0u32, false);
            loop {
                let next = self.members().next(turn);
                let Some(member) = next else {
                    tokio::time::sleep(REST).await;
                    continue;
                };
                turn += 1;
                tries += 1;
                match self.ask_member(member, call, ANSWER_PATIENCE).await {
                    Ok(reply) => {
                        self.members().leader = Some(member);
                        return Ok((reply, tries, is_open));
                    }
                    Err(AskError::Member(LedgerRefusal::TooManyLeases)) => {
                        let live = LIVE_LEASES_MAX + 1;
                        return Err(BadAppend::LiveLeases { live }.into());
                    }
                    Err(AskError::Member(LedgerRefusal::NotLeader { leader })) => {
                        let known = leader.filter(|leader| *leader != member);
                        let refers = {
                            let mut members = self.members();
                            members.refer_to(known);
                            members.leader
                        };
                        if refers.is_none() {
                            tokio::time::sleep(REST).await;
                        }
                    }
                    // Not here, and it has done nothing.
                    Err(AskError::Member(LedgerRefusal::OtherLedger | LedgerRefusal::NoLedger)) => {
                        tokio::time::sleep(REST / 4).await;
                    }
                    // It answers, and will do so again.
                    Err(AskError::Member(LedgerRefusal::Busy)) => tokio::time::sleep(REST).await,
                    Err(why) => {
                        tracing::debug!(%member, %why, "a member of the ledger does not answer");
                        is_open = true;
                        self.members().lost(member);
                        tokio::time::sleep(REST / 4).await;
                    }
                }
            }
        };
        let asked = tokio::time::timeout(patience, trying).await;
        asked.unwrap_or(Err(LedgerError::Unreachable))
    }

    fn heard_at(&self, sent: Instant) {
        self.heard.send_if_modified(|heard| {
            let newer = heard.is_none_or(|heard| heard < sent);
            if newer {
                *heard = Some(sent);
            }
            newer
        });
    }

    /// Waits until the copy has applied `sequence`.
    async fn applied(&self, sequence: Sequence) -> Result<(), LedgerError> {
        let applied = tokio::time::timeout(PATIENCE * 2, self.replica.reached(sequence));
        applied.await.map_err(|_| LedgerError::Unreachable)
    }

    /// Whether nobody else can have written since the members were last heard: the lease taken here is the only one that lives.
    fn is_sole_holder(&self) -> bool {
        let lease = self.lease.load(Ordering::Acquire);
        let lately = |heard: Instant| heard.elapsed() < SOLE_HOLDER_FOR;
        lease > 0 && self.heard.borrow().is_some_and(lately) && self.replica.only_lease() == Some(lease)
    }

    /// The sequence of everything answered by anybody before this call.
    async fn fresh_index(&self) -> Result<Sequence, LedgerError> {
        self.fresh_index_of().await.map(|(sequence, _)| sequence)
    }
}

impl Ledger for FollowedLedger {
    fn must_ask(&self) -> bool {
        !self.inner.is_sole_holder()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        Box::pin(self.submit(append, false))
    }

    fn append_urgent(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        Box::pin(self.submit(append, true))
    }

    fn settle(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        Box::pin(self.withdraw())
    }

    fn position(&self) -> Sequence {
        *self.inner.replica.changed().borrow()
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        Box::pin(async move {
            if self.inner.is_sole_holder() {
                // What the leader has answered for may not have come back to this copy yet.
                let answered = Sequence(self.inner.answered.load(Ordering::Acquire));
                let shown = self.position();
                if shown < answered {
                    self.inner.applied(answered).await?;
                }
                return Ok(answered.max(shown));
            }
            self.inner.caught_up().await
        })
    }

    fn changed(&self) -> watch::Receiver<Sequence> {
        self.inner.replica.changed()
    }

    fn tail(&self, from: Sequence, max: usize) -> BoxFuture<'_, Result<Tail, LedgerError>> {
        Box::pin(async move { self.inner.replica.copy().tail(from, max).await })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, LedgerError>> {
        Box::pin(async move { self.inner.replica.copy().snapshot().await })
    }

    fn get(&self, address: Address) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(async move { self.inner.replica.copy().get(address).await })
    }

    fn records_through(&self, sequence: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        // The members hear of it when they can; until then they keep the records, which is no harm.
        self.inner.let_go.send_if_modified(|let_go| {
            let newer = *let_go < sequence;
            *let_go = (*let_go).max(sequence);
            newer
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn leases(&self) -> Leases {
        self.inner.replica.copy().leases()
    }

    fn highest_lease(&self) -> u64 {
        self.inner.replica.copy().highest_lease()
    }

    fn is_own_lease(&self, number: u64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            let own = self.inner.taken.load(Ordering::Acquire);
            let (own, other) = (
                self.inner.replica.lease(own).await?,
                self.inner.replica.lease(number).await?,
            );
            let pair = own.as_ref().zip(other.as_ref());
            Ok(pair.is_some_and(|(own, other)| own.holder_name() == other.holder_name()))
        })
    }

    fn end_lease(&self, number: u64, records: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            // Before it ends: whoever takes the next one need not wait for this gateway.
            let _ = (self.inner.lease).compare_exchange(number, 0, Ordering::AcqRel, Ordering::Relaxed);
            lease::end(self, number, records).await
        })
    }

    fn take_lease<'a>(&'a self, holder: &'a str, now_ms: u64) -> BoxFuture<'a, Result<u64, LedgerError>> {
        Box::pin(self.take_lease_above(holder, now_ms, 0))
    }

    fn fenced(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.inner.replica.fenced())
    }

    fn status(&self) -> LedgerStatus {
        self.inner.replica.copy().status()
    }
}
