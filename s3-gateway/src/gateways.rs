//! The gateways that serve a cluster together, as one of them sees them: how far each is, which one holds the collector back, and which does
//! the background work.
//!
//! They talk through the entries of their leases in the ledger, and only while more than one lives. Invariants: what a gateway says of itself
//! never goes back, and nothing that runs there relies on a state of the ledger before it; no lease ends here, so one that is silent is passed
//! over for the background work alone, and still holds back what only its word can free.

use crate::session::{Inner, Recorder, RecorderError};
use engine::slots::{
    AppliedAppend, EntryKind, LeaseEntry, LeaseProgress, LeaseState, Sequence, lease_address,
};
use net::ledger::lease;
use net::{Cluster, Ledger, LedgerError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked how far everybody is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A gateway says how far it is no more often than this, while there is anything new, ...
const TELL_EVERY: Duration = Duration::from_secs(2);
/// ... and no less often than this while others live, so that they know that it is there.
const TELL_AT_LEAST_EVERY: Duration = Duration::from_secs(20);
/// One that has said nothing for so long on the observer's clock is passed over for the background work.
const SILENT_AFTER: Duration = Duration::from_secs(60);
/// How often those who wait for others look.
const WAIT_LOOK: Duration = Duration::from_millis(100);

/// One of the gateways, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRow {
    /// Its lease.
    pub lease: u64,
    /// Who it is: a peer's id, and what it calls itself.
    pub holder: String,
    /// Whether it is this one.
    pub is_own: bool,
    /// Whether it does the background work, as far as this one sees.
    pub works: bool,
    /// Whether it has said nothing for a minute.
    pub is_silent: bool,
    /// Whether the collector waits for it here.
    pub holds_back: bool,
    /// Whether it is silent and the ledger keeps records until it takes them, or is said to be lost.
    pub holds_records: bool,
}

/// Why the records of a lost gateway were not taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The activity log did not take them.
    #[error(transparent)]
    Log(#[from] RecorderError),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What was last said of a lease, and when it was noticed.
#[derive(Debug, Clone, Copy)]
struct Heard {
    progress: Option<LeaseProgress>,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    heard: BTreeMap<u64, Heard>,
    told: Option<Instant>,
    /// The sequence that somebody waited for last and did not see everybody pass.
    waits_for: Sequence,
}

/// See the module.
pub struct Gateways {
    ledger: Arc<dyn Ledger>,
    cluster: Arc<Cluster>,
    recorder: Recorder,
    lease: u64,
    sessions: Mutex<Vec<Weak<Inner>>>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Gateways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateways")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Whether an append says no more than how far gateways are, or who they are.
pub(crate) fn is_progress(append: &AppliedAppend) -> bool {
    let mut writes = append.writes.iter();
    let of_leases = writes.all(|write| matches!(write.address.kind, EntryKind::Lease | EntryKind::Fence));
    append.record.is_none() && !append.writes.is_empty() && of_leases
}

impl Gateways {
    /// Of the gateway whose lease is `lease`.
    pub fn new(ledger: Arc<dyn Ledger>, cluster: Arc<Cluster>, recorder: Recorder, lease: u64) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            cluster,
            recorder,
            lease,
            sessions: Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// Looks at intervals from now on, until it is dropped.
    pub fn start(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(this) = weak.upgrade() else { return };
                if let Err(error) = this.look().await {
                    tracing::debug!(%error, "the other gateways could not be told how far this one is");
                }
            }
        });
    }

    /// Takes note of what is new: tells the drives which leases have ended and the others how far this one is, and takes over the records of
    /// a gateway that was lost, if that is this one's to do.
    ///
    /// # Errors
    /// The ledger or the activity log did not take it; it is tried again with the next look.
    pub async fn look(&self) -> Result<(), AdoptError> {
        let leases = self.ledger.leases();
        let accepted = leases.accepted();
        let known = self.cluster.accepted_leases();
        if known.and(&accepted) != known {
            self.cluster.end_leases(self.lease, &accepted).await;
        }
        self.hear(leases.live());
        if !leases.is_live(self.lease) {
            return Ok(());
        }
        if leases.live().len() > 1 {
            self.tell(leases.live().get(&self.lease)).await?;
        }
        if self.does_background_work() {
            for (lost, entry) in leases.lost() {
                self.adopt(*lost, entry.records()).await?;
            }
        }
        Ok(())
    }

    /// Takes over the records of a lease that was lost, those after `after`, and says so.
    ///
    /// # Errors
    /// As [`Self::look`]. What was taken over stays; it is begun again.
    pub async fn adopt(&self, lost: u64, after: Sequence) -> Result<(), AdoptError> {
        // The copy says that the lease has ended before it gives the appends up to there.
        let entry = self.ledger.get(lease_address(lost)).await?;
        let through = entry.map_or(Sequence(0), |entry| entry.sequence);
        lease::shown(&*self.ledger, through).await?;
        self.recorder.adopt(lost, after).await?;
        let ended = |entry: &LeaseEntry| (entry.state == LeaseState::Lost).then(|| entry.ended());
        lease::change(&*self.ledger, self.lease, lost, ended).await?;
        Ok(())
    }

    /// Whether the background work is this one's: of the gateways that are heard of it has the lowest lease.
    pub fn does_background_work(&self) -> bool {
        let leases = self.ledger.leases();
        if leases.live().len() <= 1 {
            return true;
        }
        self.worker(leases.live()) == Some(self.lease)
    }

    /// Nothing that runs at any other gateway relies on a state of the ledger before this; `None` without others.
    pub(crate) fn lowest_horizon(&self) -> Option<Sequence> {
        self.horizons().into_values().min()
    }

    /// The horizons of the other leases that live.
    pub(crate) fn horizons(&self) -> BTreeMap<u64, Sequence> {
        let leases = self.ledger.leases();
        let others = leases.live().iter().filter(|(lease, _)| **lease != self.lease);
        others.map(|(lease, entry)| (*lease, entry.horizon())).collect()
    }

    /// Whether nothing that runs at any other gateway relies on a state of the ledger before `sequence`.
    pub(crate) fn is_passed(&self, sequence: Sequence) -> bool {
        let passed = self.lowest_horizon().is_none_or(|horizon| horizon >= sequence);
        let mut state = self.state();
        if passed {
            if state.waits_for <= sequence {
                state.waits_for = Sequence(0);
            }
        } else {
            state.waits_for = state.waits_for.max(sequence);
        }
        passed
    }

    /// Waits for that, up to `patience`. Whether it is so.
    pub(crate) async fn wait_until_passed(&self, sequence: Sequence, patience: Duration) -> bool {
        let began = Instant::now();
        while !self.is_passed(sequence) {
            if began.elapsed() > patience {
                return false;
            }
            tokio::time::sleep(WAIT_LOOK).await;
        }
        true
    }

    /// Everyone whose lease lives, by lease.
    pub fn rows(&self) -> Vec<GatewayRow> {
        let leases = self.ledger.leases();
        let worker = self.worker(leases.live());
        let waits_for = self.state().waits_for;
        let row = |(lease, entry): (&u64, &LeaseEntry)| GatewayRow {
            lease: *lease,
            holder: entry.holder.clone(),
            is_own: *lease == self.lease,
            works: worker == Some(*lease),
            is_silent: self.is_silent(*lease),
            holds_back: *lease != self.lease && entry.horizon() < waits_for,
            holds_records: self.is_silent(*lease) && entry.records() < self.recorder.taken(),
        };
        leases.live().iter().map(row).collect()
    }

    pub(crate) fn add(&self, session: &Arc<Inner>) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(session));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self, lease: u64) -> bool {
        let heard = self.state().heard.get(&lease).map(|heard| heard.at.elapsed());
        lease != self.lease && heard.is_some_and(|since| since > SILENT_AFTER)
    }

    fn worker(&self, live: &BTreeMap<u64, LeaseEntry>) -> Option<u64> {
        live.keys().copied().find(|lease| !self.is_silent(*lease))
    }

    /// Notes whose entries have changed.
    fn hear(&self, live: &BTreeMap<u64, LeaseEntry>) {
        let mut state = self.state();
        state.heard.retain(|lease, _| live.contains_key(lease));
        for (lease, entry) in live {
            let progress = entry.progress;
            let known = state.heard.get(lease);
            if known.is_none_or(|known| known.progress != progress) {
                let at = Instant::now();
                state.heard.insert(*lease, Heard { progress, at });
            }
        }
    }

    /// How far this gateway is, and the newest append that says more than that.
    fn now(&self) -> (LeaseProgress, Sequence) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<Arc<Inner>> = sessions.iter().filter_map(Weak::upgrade).collect();
        drop(sessions);
        let position = self.ledger.position();
        let horizon = open.iter().map(|session| session.horizon()).min();
        let news = open.iter().map(|session| session.news()).max();
        let progress = LeaseProgress {
            horizon: horizon.unwrap_or(position),
            records: self.recorder.taken(),
        };
        (progress, news.unwrap_or(position))
    }

    /// Says how far this one is, if anybody may wait for it.
    async fn tell(&self, said: Option<&LeaseEntry>) -> Result<(), LedgerError> {
        let Some(said) = said else { return Ok(()) };
        let (now, news) = self.now();
        let is_news = said.horizon() < news && said.horizon() < now.horizon
            || said.records() < news && said.records() < now.records;
        let since = self.state().told.map(|told| told.elapsed());
        let due = if is_news { TELL_EVERY } else { TELL_AT_LEAST_EVERY };
        if since.is_some_and(|since| since < due) {
            return Ok(());
        }
        self.state().told = Some(Instant::now());
        lease::change(&*self.ledger, self.lease, self.lease, |entry| {
            let before = entry.progress.unwrap_or_default();
            (entry.state == LeaseState::Live).then(|| LeaseEntry {
                progress: Some(LeaseProgress {
                    horizon: before.horizon.max(now.horizon),
                    records: before.records.max(now.records),
                }),
                ..entry.clone()
            })
        })
        .await?;
        Ok(())
    }
}
