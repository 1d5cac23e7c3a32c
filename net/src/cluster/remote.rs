//! Drives of peers: what the cluster client asks of them over [`Transport`], and what it knows of them meanwhile.
//!
//! It decides nothing. Invariants: nothing that a peer says is taken for true but that the peer said it: lengths and orders are
//! checked here, bytes by whoever opens them; a peer that does not answer is lost until it does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::drive::{ShardHeader, ShardKey};
use engine::placement::DomainId;

use super::place::CompactStep;
use crate::drives::{CompactReport, DriveFailure, LATENCY_UNIT_BYTES, Scrubbed};
use crate::entry::DriveId;
use crate::latency::{Latency, UnderWay};
use crate::peer::message::{
    DRIVES_MAX, DriveReport, DriveStanding, KEYS_MAX, PutMode, RestoreMode, Restored,
};
use crate::peer::{Answer, Call, CallError, Context, PeerId, Purpose, Refusal, Reply, Request, Transport};

/// How long a peer may take to say how its drives are.
const POLL_PATIENCE: Duration = Duration::from_secs(2);

/// A peer whose drives are places of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer.
    pub id: PeerId,
    /// What it fails together with: its site, its rack or itself.
    pub domain: DomainId,
    /// Its drives.
    pub drives: Vec<DriveId>,
}

/// The way to the peers of a cluster.
#[derive(Clone)]
pub struct Peers {
    /// What carries calls.
    pub transport: Arc<dyn Transport>,
    /// Who they are.
    pub peers: Vec<PeerConfig>,
}

/// Numbers the operations of this process: a random half and a counting one.
pub(super) struct Operations {
    pub(super) random: u64,
    pub(super) next: AtomicU64,
}

impl Operations {
    fn next(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let (high, low) = id.split_at_mut(8);
        high.copy_from_slice(&self.random.to_be_bytes());
        low.copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        id
    }
}

/// The way to one peer.
pub(super) struct Line {
    pub(super) peer: PeerId,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) operations: Arc<Operations>,
}

impl Line {
    pub(super) async fn call(
        &self,
        purpose: Purpose,
        request: Request,
        body: Bytes,
    ) -> Result<Reply, CallError> {
        let context = Context {
            operation: self.operations.next(),
            attempt: 0,
            purpose,
        };
        let call = Call {
            context,
            request,
            body,
        };
        self.transport.call(self.peer, call).await
    }
}

/// A peer and its drives.
pub(super) struct RemotePeer {
    pub(super) line: Arc<Line>,
    pub(super) drives: Vec<Arc<RemoteDrive>>,
    /// Held while it is asked how its drives are.
    pub(super) polling: Arc<tokio::sync::Mutex<()>>,
    /// Why it did not answer when it was asked last.
    pub(super) why_silent: RwLock<Option<String>>,
}

impl RemotePeer {
    /// Asks the peer how its drives are. Whether one of them is there that was not. One that comes back refuses ended leases first.
    pub(super) async fn poll(&self, lowest_lease: u64) -> bool {
        let drives = match tokio::time::timeout(POLL_PATIENCE, self.ask_reports(lowest_lease)).await {
            Ok(Ok(drives)) => {
                self.note_silence(None);
                drives
            }
            Ok(Err(why)) => {
                self.lost(&why);
                return false;
            }
            Err(_) => {
                self.lost("no answer in time");
                return false;
            }
        };
        let mut back = false;
        for drive in &self.drives {
            match drives.iter().find(|report| report.id == drive.id) {
                Some(report) => back |= drive.take_report(*report),
                None => drive.lose("the peer has no such drive"),
            }
        }
        back
    }

    async fn ask_reports(&self, lowest_lease: u64) -> Result<Vec<DriveReport>, String> {
        let some_lost = self.drives.iter().any(|drive| !drive.is_present());
        if some_lost && lowest_lease > 0 {
            let request = Request::EndLeases { lowest: lowest_lease };
            self.simple(request).await?;
        }
        match self.simple(Request::Drives).await? {
            Answer::Drives(drives) if drives.len() <= DRIVES_MAX => Ok(drives),
            _ => Err("its answer makes no sense".to_owned()),
        }
    }

    async fn simple(&self, request: Request) -> Result<Answer, String> {
        let reply = self.line.call(Purpose::Repair, request, Bytes::new()).await;
        match reply.map_err(|error| error.to_string())?.answer {
            Answer::Refused(refusal) => Err(refusal.to_string()),
            answer => Ok(answer),
        }
    }

    fn note_silence(&self, why: Option<&str>) {
        let mut silent = self.why_silent.write().unwrap_or_else(PoisonError::into_inner);
        *silent = why.map(str::to_owned);
    }

    fn lost(&self, why: &str) {
        self.note_silence(Some(why));
        if self.drives.iter().any(|drive| drive.is_present()) {
            tracing::error!(peer = %self.line.peer, why, "a peer is lost");
        }
        for drive in &self.drives {
            drive.lose(why);
        }
    }

    /// Refuses puts under leases below `lowest` from now on.
    pub(super) async fn end_leases_below(&self, lowest: u64) {
        if let Err(why) = self.simple(Request::EndLeases { lowest }).await {
            // It hears of it again before it counts as present.
            self.lost(&why);
        }
    }
}

const PRESENT: u8 = 1;
const FULL: u8 = 2;
const LOST: u8 = 3;

/// See the module.
pub(super) struct RemoteDrive {
    pub(super) number: usize,
    pub(super) id: DriveId,
    pub(super) domain: DomainId,
    pub(super) label: PathBuf,
    pub(super) line: Arc<Line>,
    pub(super) latency: Latency,
    pub(super) under_way: UnderWay,
    standing: AtomicU8,
    known: RwLock<Known>,
}

/// What the peer said last.
#[derive(Clone)]
struct Known {
    report: DriveReport,
    why_lost: Option<String>,
}

impl RemoteDrive {
    pub(super) fn new(number: usize, id: DriveId, domain: DomainId, line: Arc<Line>) -> Self {
        let report = DriveReport {
            id,
            standing: DriveStanding::Lost,
            default: false,
            shards: 0,
            live_bytes: 0,
            garbage_bytes: 0,
            allocated_bytes: 0,
            free_bytes: 0,
            highest_lease: 0,
        };
        let short: String = line.peer.to_string().chars().take(16).collect();
        let drive: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self {
            number,
            id,
            domain,
            label: PathBuf::from(format!("{short}/{drive}")),
            line,
            latency: Latency::default(),
            under_way: UnderWay::default(),
            standing: AtomicU8::new(LOST),
            known: RwLock::new(Known {
                report,
                why_lost: None,
            }),
        }
    }

    pub(super) fn is_present(&self) -> bool {
        self.standing.load(Ordering::Acquire) != LOST
    }

    pub(super) fn is_full(&self) -> bool {
        self.standing.load(Ordering::Acquire) == FULL
    }

    pub(super) fn is_default(&self) -> bool {
        self.report().default
    }

    /// What the peer said last.
    pub(super) fn report(&self) -> DriveReport {
        self.known.read().unwrap_or_else(PoisonError::into_inner).report
    }

    /// Why it is lost, if it was there before.
    pub(super) fn why_lost(&self) -> Option<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.why_lost.clone().filter(|_| !self.is_present())
    }

    /// Takes the peer's word; whether the drive is there again, or takes puts again.
    fn take_report(&self, report: DriveReport) -> bool {
        let standing = match report.standing {
            DriveStanding::Present => PRESENT,
            DriveStanding::Full => FULL,
            DriveStanding::Lost => LOST,
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.report = report;
        known.why_lost = (standing == LOST).then(|| "the peer has lost it".to_owned());
        drop(known);
        let before = self.standing.swap(standing, Ordering::AcqRel);
        if before == LOST && standing != LOST {
            tracing::info!(drive = self.number, peer = %self.line.peer, "a drive of a peer is there");
        }
        standing != LOST && before == LOST || standing == PRESENT && before == FULL
    }

    fn lose(&self, why: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.why_lost = Some(why.to_owned());
        drop(known);
        self.standing.store(LOST, Ordering::Release);
    }

    /// Asks for something that has no body, either way.
    pub(super) async fn ask(&self, purpose: Purpose, request: Request) -> Result<Answer, DriveFailure> {
        self.call(purpose, request, Bytes::new())
            .await
            .map(|reply| reply.answer)
    }

    async fn call(&self, purpose: Purpose, request: Request, body: Bytes) -> Result<Reply, DriveFailure> {
        if !self.is_present() {
            return Err(DriveFailure::Lost);
        }
        match self.line.call(purpose, request, body).await {
            Ok(Reply {
                answer: Answer::Refused(refusal),
                ..
            }) => Err(self.refused(refusal)),
            Ok(reply) => Ok(reply),
            Err(error @ (CallError::NoAddress(_) | CallError::Unreachable { .. })) => {
                self.lose(&error.to_string());
                Err(DriveFailure::Lost)
            }
            Err(error) => {
                tracing::debug!(drive = self.number, %error, "a call of a peer failed");
                Err(DriveFailure::Io)
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> DriveFailure {
        match refusal {
            Refusal::Lost | Refusal::NoDrive => {
                self.lose("the peer has lost it");
                DriveFailure::Lost
            }
            Refusal::Full => {
                // Not if it was lost meanwhile.
                let _ = self
                    .standing
                    .compare_exchange(PRESENT, FULL, Ordering::AcqRel, Ordering::Acquire);
                DriveFailure::Full
            }
            Refusal::LeaseEnded { lowest_live } => DriveFailure::LeaseEnded { lowest_live },
            Refusal::Absent => DriveFailure::Absent,
            Refusal::Damaged => DriveFailure::Damaged,
            other => {
                tracing::warn!(drive = self.number, peer = %self.line.peer, refusal = %other, "a peer refused a request");
                DriveFailure::Io
            }
        }
    }

    /// An answer that does not go with the question.
    pub(super) fn unexpected(&self, _: &Answer) -> DriveFailure {
        self.nonsense("an answer to another question")
    }

    /// An answer that no honest peer gives.
    pub(super) fn nonsense(&self, what: &str) -> DriveFailure {
        tracing::error!(drive = self.number, peer = %self.line.peer, what, "a peer's answer makes no sense");
        DriveFailure::Io
    }

    pub(super) async fn put(
        &self,
        header: ShardHeader,
        shard: Bytes,
        mode: PutMode,
        purpose: Purpose,
    ) -> Result<(), DriveFailure> {
        let request = Request::Put {
            drive: self.id,
            header: Box::new(header),
            mode,
        };
        match self.call(purpose, request, shard).await?.answer {
            Answer::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Reads a range and notes how long it took. Not verified, but for its length.
    pub(super) async fn read_range(
        &self,
        key: ShardKey,
        offset: u32,
        bytes: u32,
        purpose: Purpose,
    ) -> Result<Bytes, DriveFailure> {
        let request = Request::Range {
            drive: self.id,
            key,
            offset,
            bytes,
        };
        let _begun = self.under_way.begin();
        let start = Instant::now();
        let read = self.call(purpose, request, Bytes::new()).await;
        // A long read counts as several short ones, so that sizes can be compared.
        let units = bytes.div_ceil(LATENCY_UNIT_BYTES).max(1);
        self.latency.record(start.elapsed() / units);
        match read? {
            Reply {
                answer: Answer::Bytes,
                body,
            } if body.len() == bytes as usize => Ok(body),
            // Another length than the shard has there: it is not the shard.
            Reply {
                answer: Answer::Bytes,
                ..
            } => Err(DriveFailure::Damaged),
            Reply { answer, .. } => Err(self.unexpected(&answer)),
        }
    }

    pub(super) async fn prove(&self, key: ShardKey, offset: u32, bytes: u32) -> Result<Bytes, DriveFailure> {
        let request = Request::Challenge {
            drive: self.id,
            key,
            offset,
            bytes,
        };
        match self.call(Purpose::Challenge, request, Bytes::new()).await? {
            Reply {
                answer: Answer::Bytes,
                body,
            } => Ok(body),
            Reply { answer, .. } => Err(self.unexpected(&answer)),
        }
    }

    pub(super) async fn compact(
        &self,
        min_garbage: f64,
        budget_bytes: u64,
    ) -> Result<CompactStep, DriveFailure> {
        let request = Request::Compact {
            drive: self.id,
            // Rounded up, so that nothing is copied that was not asked for.
            min_garbage: (min_garbage.clamp(0.0, 1.0) * 1_000.0).ceil() as u16,
            budget_bytes,
        };
        match self.ask(Purpose::Collect, request).await? {
            Answer::Compacted {
                copied_bytes,
                freed_bytes,
                more,
                damaged,
            } => Ok(CompactStep {
                report: CompactReport {
                    copied_bytes,
                    freed_bytes,
                },
                more,
                damaged,
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(super) async fn scrub(&self, after: Option<ShardKey>, max: usize) -> Result<Scrubbed, DriveFailure> {
        let request = Request::Scrub {
            drive: self.id,
            after,
            max: u16::try_from(max.min(KEYS_MAX)).unwrap_or(u16::MAX),
        };
        match self.ask(Purpose::Repair, request).await? {
            Answer::Scrubbed {
                shards,
                bytes,
                bad,
                unread,
                last,
            } if last.is_none_or(|last| after.is_none_or(|after| last > after)) => Ok(Scrubbed {
                shards,
                bytes,
                bad,
                unread,
                last,
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Has the peer bring the drive back, also while it is lost.
    pub(super) async fn restore(&self, mode: RestoreMode) -> Result<Restored, String> {
        let request = Request::Restore { drive: self.id, mode };
        let reply = self.line.call(Purpose::Repair, request, Bytes::new()).await;
        match reply.map_err(|error| error.to_string())?.answer {
            Answer::Restored(restored) => Ok(restored),
            Answer::Refused(refusal) => Err(refusal.to_string()),
            _ => Err("its answer makes no sense".to_owned()),
        }
    }
}
