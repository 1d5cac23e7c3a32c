//! A peer: the way to it, and what is asked of it as a whole.
//!
//! Invariants: a peer that does not answer is lost until it does; one that comes back has heard which leases have ended before its
//! drives count as there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use engine::slots::AcceptedLeases;
use tokio::time::Instant;

use super::{QUESTION_PATIENCE, RemoteDrive};
use crate::cluster::cause::Cause;
use crate::cluster::layout::Standing;
use crate::cluster::status::Silence;
use crate::peer::message::{DRIVES_MAX, DriveReport};
use crate::peer::{Answer, Call, CallError, PeerId, Purpose, Refusal, Reply, Request, Transport};

/// How long a peer may take to say how its drives are, or to hear which leases have ended.
const POLL_PATIENCE: Duration = Duration::from_secs(2);

/// A call that has less time than all calls.
pub(in crate::cluster) async fn within(
    peer: PeerId,
    patience: Duration,
    call: impl Future<Output = Result<Reply, CallError>>,
) -> Result<Reply, CallError> {
    let answered = tokio::time::timeout(patience, call).await;
    answered.unwrap_or(Err(CallError::Late {
        peer,
        ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Numbers the operations of this process: a random half and a counting one.
pub(in crate::cluster) struct Operations {
    pub(in crate::cluster) random: u64,
    pub(in crate::cluster) next: AtomicU64,
}

impl Operations {
    pub(in crate::cluster) fn next(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let (high, low) = id.split_at_mut(8);
        high.copy_from_slice(&self.random.to_be_bytes());
        low.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        id
    }
}

/// The way to one peer.
pub(in crate::cluster) struct Line {
    pub(in crate::cluster) peer: PeerId,
    pub(in crate::cluster) transport: Arc<dyn Transport>,
    pub(in crate::cluster) operations: Arc<Operations>,
}

impl Line {
    pub(in crate::cluster) async fn call(
        &self,
        cause: impl Into<Cause>,
        request: Request,
        body: Bytes,
    ) -> Result<Reply, CallError> {
        let call = Call {
            context: cause.into().context(&self.operations),
            request,
            body,
        };
        self.transport.call(self.peer, call).await
    }
}

/// A peer and its drives.
pub(in crate::cluster) struct RemotePeer {
    pub(in crate::cluster) line: Arc<Line>,
    drives: RwLock<Arc<[Arc<RemoteDrive>]>>,
    /// Held while it is asked how its drives are.
    pub(in crate::cluster) polling: Arc<tokio::sync::Mutex<()>>,
    /// Why it did not answer when it was asked last.
    pub(in crate::cluster) why_silent: RwLock<Option<Silence>>,
    /// Whether this process ends: that nobody can be asked any more is no news then.
    ending: AtomicBool,
    /// What it was told of leases.
    told: Mutex<AcceptedLeases>,
    census: Mutex<Census>,
}

/// When a peer last gave reason for a census, and whether it has again.
#[derive(Debug, Default)]
struct Census {
    owed: bool,
    last: Option<Instant>,
}

/// A peer is no more often than this a reason to count every pack's shards.
const CENSUS_EVERY: Duration = Duration::from_secs(30);

/// What has changed with a peer since it was asked before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::cluster) struct Changed {
    /// A drive is there, or takes puts, that did not.
    pub(in crate::cluster) back: bool,
    /// It may have lost shards that nobody can name.
    pub(in crate::cluster) lost: bool,
}

impl RemotePeer {
    pub(in crate::cluster) fn new(line: Arc<Line>) -> Self {
        Self {
            line,
            drives: RwLock::new(Arc::new([])),
            polling: Arc::default(),
            why_silent: RwLock::default(),
            ending: AtomicBool::new(false),
            told: Mutex::default(),
            census: Mutex::default(),
        }
    }

    /// Its drives, those among them that are gone.
    pub(in crate::cluster) fn drives(&self) -> Arc<[Arc<RemoteDrive>]> {
        Arc::clone(&self.drives.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(in crate::cluster) fn set_drives(&self, drives: Vec<Arc<RemoteDrive>>) {
        *self.drives.write().unwrap_or_else(PoisonError::into_inner) = drives.into();
    }

    /// How many of its drives are not gone.
    pub(in crate::cluster) fn members(&self) -> usize {
        let drives = self.drives();
        let members = drives.iter().filter(|drive| drive.membership() != Standing::Gone);
        members.count()
    }

    /// How it stands: as the best of its drives.
    pub(in crate::cluster) fn standing(&self) -> Standing {
        let drives = self.drives();
        let standings = drives.iter().map(|drive| drive.membership());
        standings.min().unwrap_or_default()
    }

    pub(in crate::cluster) fn is_member(&self) -> bool {
        self.standing() != Standing::Gone
    }

    /// Asks the peer how its drives are. One that comes back refuses ended leases first.
    pub(in crate::cluster) async fn poll(&self, accepted: &AcceptedLeases) -> Changed {
        let drives = match tokio::time::timeout(POLL_PATIENCE, self.ask_reports(accepted)).await {
            Ok(Ok(drives)) => {
                self.note_silence(None);
                drives
            }
            Ok(Err(why)) => {
                self.lost(why);
                return Changed::default();
            }
            Err(_) => {
                self.lost(Silence::Late);
                return Changed::default();
            }
        };
        let mut changed = Changed::default();
        for drive in self.drives().iter() {
            match drives.iter().find(|report| report.id == drive.id) {
                Some(report) => {
                    let of_drive = drive.take_report(*report);
                    changed.back |= of_drive.back;
                    changed.lost |= of_drive.lost;
                }
                None => drive.lose("the peer has no such drive"),
            }
        }
        changed.lost = self.is_census_due(changed.lost);
        changed
    }

    /// Whether a census is due for this peer: of many losses one after the other there is one.
    fn is_census_due(&self, lost: bool) -> bool {
        let mut census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        census.owed |= lost;
        let due = census.owed && census.last.is_none_or(|last| last.elapsed() >= CENSUS_EVERY);
        if due {
            *census = Census {
                owed: false,
                last: Some(Instant::now()),
            };
        }
        due
    }

    async fn ask_reports(&self, accepted: &AcceptedLeases) -> Result<Vec<DriveReport>, Silence> {
        let some_lost = self.drives().iter().any(|drive| !drive.is_present());
        let told = self.told();
        if some_lost {
            // Before it writes anything down: an older state could grow past the newer one.
            self.note_flushed(&self.reports().await?);
        }
        if (some_lost || told.and(accepted) != told) && accepted.highest_known() > 0 {
            self.tell_of_ended_leases(accepted).await?;
        }
        self.reports().await
    }

    async fn reports(&self) -> Result<Vec<DriveReport>, Silence> {
        match self.simple(Request::Drives).await? {
            Answer::Drives(drives) if drives.len() <= DRIVES_MAX => Ok(drives),
            _ => Err(Silence::Other("its answer makes no sense".to_owned())),
        }
    }

    fn note_flushed(&self, reports: &[DriveReport]) {
        for drive in self.drives().iter() {
            if let Some(report) = reports.iter().find(|report| report.id == drive.id) {
                drive.note_flushed(report);
            }
        }
    }

    async fn simple(&self, request: Request) -> Result<Answer, Silence> {
        let call = self.line.call(Purpose::Repair, request, Bytes::new());
        let reply = within(self.line.peer, QUESTION_PATIENCE, call).await;
        match reply.map_err(|error| Silence::Other(error.to_string()))?.answer {
            Answer::Refused(Refusal::CutOff) => Err(Silence::CutOff),
            Answer::Refused(refusal) => Err(Silence::Other(refusal.to_string())),
            answer => Ok(answer),
        }
    }

    /// Whether it answered when it was asked last.
    pub(in crate::cluster) fn answers(&self) -> bool {
        let silent = self.why_silent.read().unwrap_or_else(PoisonError::into_inner);
        silent.is_none()
    }

    fn note_silence(&self, why: Option<Silence>) {
        let mut silent = self.why_silent.write().unwrap_or_else(PoisonError::into_inner);
        *silent = why;
    }

    /// From now on the way to it may be closed.
    pub(in crate::cluster) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn lost(&self, why: Silence) {
        let is_news = !self.ending.load(Ordering::Relaxed);
        if is_news && self.drives().iter().any(|drive| drive.is_present()) {
            tracing::error!(peer = %self.line.peer, %why, "a peer is lost");
        }
        for drive in self.drives().iter() {
            drive.lose(&why.to_string());
        }
        self.note_silence(Some(why));
    }

    /// Refuses puts under leases that are not accepted from now on.
    pub(in crate::cluster) async fn end_leases(&self, accepted: &AcceptedLeases) {
        // A question from before may not count it as present after this.
        let _alone = self.polling.lock().await;
        // One that is lost hears of it before it counts as present.
        if !self.drives().iter().any(|drive| drive.is_present()) {
            return;
        }
        match tokio::time::timeout(POLL_PATIENCE, self.tell_of_ended_leases(accepted)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => self.lost(why),
            Err(_) => self.lost(Silence::Late),
        }
    }

    async fn tell_of_ended_leases(&self, accepted: &AcceptedLeases) -> Result<(), Silence> {
        let accepted = accepted.clone();
        self.simple(Request::Leases {
            accepted: accepted.clone(),
        })
        .await?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = told.and(&accepted);
        Ok(())
    }

    fn told(&self) -> AcceptedLeases {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
