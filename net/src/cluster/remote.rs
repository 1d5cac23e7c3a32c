//! Drives of peers: what the cluster client asks of them over [`Transport`], and what it knows of them meanwhile.
//!
//! It decides nothing. Invariants: nothing that a peer says is taken for true but that the peer said it: lengths and orders are
//! checked here, bytes by whoever opens them; a peer that does not answer is lost until it does.

mod flushed;
mod peer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use engine::drive::{ShardHeader, ShardKey};
use engine::placement::DomainId;
use tokio::time::Instant;

use flushed::Flushed;
pub(super) use peer::{Changed, Line, Operations, RemotePeer, within};

use super::cause::Cause;
use super::layout::{PeerConfig, Standing};
use super::place::CompactStep;
use crate::capacity::Capacity;
use crate::drives::{CompactReport, Conduct, DriveFailure, LATENCY_UNIT_BYTES, Scrubbed};
use crate::entry::DriveId;
use crate::latency::{Lag, Latency, UnderWay};
use crate::peer::message::{DriveReport, DriveStanding, KEYS_MAX, PutMode, RestoreMode, Restored};
use crate::peer::{Answer, CallError, Purpose, Refusal, Reply, Request, Transport};

/// How long a peer may take to say what it holds.
const QUESTION_PATIENCE: Duration = Duration::from_secs(5);
/// No size of a drive is taken for more than this, in bytes or shards: sums of many fit.
const SIZE_MAX: u64 = 1 << 48;

/// The way to the peers of a cluster.
#[derive(Clone)]
pub struct Peers {
    /// What carries calls.
    pub transport: Arc<dyn Transport>,
    /// Who they are.
    pub peers: Vec<PeerConfig>,
}

/// A read under way: how long it took is noted when it ends, however it ends.
struct Timed<'a> {
    latency: &'a Latency,
    start: Instant,
    units: u32,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.latency.record(self.start.elapsed() / self.units);
    }
}

const PRESENT: u8 = 1;
const FULL: u8 = 2;
const LOST: u8 = 3;

/// See the module.
pub(super) struct RemoteDrive {
    pub(super) number: usize,
    pub(super) id: DriveId,
    domain: RwLock<DomainId>,
    pub(super) label: PathBuf,
    pub(super) line: Arc<Line>,
    pub(super) latency: Latency,
    pub(super) under_way: UnderWay,
    pub(super) lag: Lag,
    pub(super) conduct: Conduct,
    capacity: Capacity,
    /// How its peer stands in the membership.
    membership: AtomicU8,
    standing: AtomicU8,
    known: RwLock<Known>,
}

/// What the peer said last.
#[derive(Clone)]
struct Known {
    report: DriveReport,
    why_lost: Option<String>,
    flushed: Flushed,
}

impl RemoteDrive {
    pub(super) fn new(number: usize, id: DriveId, domain: DomainId, line: Arc<Line>) -> Self {
        let short: String = line.peer.to_string().chars().take(16).collect();
        let drive: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self {
            number,
            id,
            domain: RwLock::new(domain),
            label: PathBuf::from(format!("{short}/{drive}")),
            line,
            latency: Latency::default(),
            under_way: UnderWay::default(),
            lag: Lag::default(),
            conduct: Conduct::default(),
            capacity: Capacity::default(),
            membership: AtomicU8::new(Standing::Active as u8),
            standing: AtomicU8::new(LOST),
            known: RwLock::new(Known {
                report: DriveReport::unknown(id),
                why_lost: None,
                flushed: Flushed::default(),
            }),
        }
    }

    /// What it fails together with.
    pub(super) fn domain(&self) -> DomainId {
        *self.domain.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its peer stands in the membership.
    pub(super) fn membership(&self) -> Standing {
        Standing::of(self.membership.load(Ordering::Acquire))
    }

    /// What the membership says of it. One that is gone is not there, whatever its peer says.
    pub(super) fn settle(&self, domain: DomainId, membership: Standing) {
        *self.domain.write().unwrap_or_else(PoisonError::into_inner) = domain;
        self.membership.store(membership as u8, Ordering::Release);
        if membership == Standing::Gone {
            self.lose("it was removed from the cluster");
        }
    }

    /// What it can hold, in bytes, as placement weighs it.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity.get()
    }

    pub(super) fn is_present(&self) -> bool {
        self.standing.load(Ordering::Acquire) != LOST && self.membership() != Standing::Gone
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

    /// Takes the peer's word.
    fn take_report(&self, mut report: DriveReport) -> Changed {
        for size in [
            &mut report.shards,
            &mut report.live_bytes,
            &mut report.garbage_bytes,
            &mut report.allocated_bytes,
            &mut report.free_bytes,
        ] {
            *size = (*size).min(SIZE_MAX);
        }
        if report.standing != DriveStanding::Lost {
            self.capacity
                .note(report.allocated_bytes.saturating_add(report.free_bytes));
        }
        let standing = match report.standing {
            DriveStanding::Present => PRESENT,
            DriveStanding::Full => FULL,
            DriveStanding::Lost => LOST,
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let lost = known.report.losses != report.losses;
        known.report = report;
        known.why_lost = (standing == LOST).then(|| "the peer has lost it".to_owned());
        drop(known);
        self.note_flushed(&report);
        let before = self.standing.swap(standing, Ordering::AcqRel);
        if before == LOST && standing != LOST {
            tracing::info!(drive = self.number, peer = %self.line.peer, "a drive of a peer is there");
        }
        let back = standing != LOST && before == LOST;
        Changed {
            back: back || standing == PRESENT && before == FULL,
            lost: back || lost,
        }
    }

    /// Takes the peer's word for how far the drive is flushed, and counts when that is less than it was.
    fn note_flushed(&self, report: &DriveReport) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let went_back = known.flushed.note(report);
        drop(known);
        if let Some((from, to)) = went_back {
            tracing::error!(drive = self.number, peer = %self.line.peer, %from, %to, "a drive is in an older state than it was in: what it stored since is gone");
            self.conduct.note_rolled_back();
        }
    }

    fn lose(&self, why: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.why_lost = Some(why.to_owned());
        drop(known);
        self.standing.store(LOST, Ordering::Release);
    }

    /// Asks for something that has no body, either way.
    pub(super) async fn ask(
        &self,
        cause: impl Into<Cause>,
        request: Request,
    ) -> Result<Answer, DriveFailure> {
        self.call(cause.into(), request, Bytes::new())
            .await
            .map(|reply| reply.answer)
    }

    /// As [`Self::ask`], for what a drive knows without reading much.
    pub(super) async fn question(
        &self,
        cause: impl Into<Cause>,
        request: Request,
    ) -> Result<Answer, DriveFailure> {
        let answered = tokio::time::timeout(QUESTION_PATIENCE, self.ask(cause, request)).await;
        answered.unwrap_or(Err(DriveFailure::Io))
    }

    async fn call(&self, cause: Cause, request: Request, body: Bytes) -> Result<Reply, DriveFailure> {
        if !self.is_present() {
            return Err(DriveFailure::Lost);
        }
        match self.line.call(cause, request, body).await {
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
            Refusal::CutOff => {
                self.lose("the peer is cut off from the ledger");
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
        cause: Cause,
    ) -> Result<(), DriveFailure> {
        let request = Request::Put {
            drive: self.id,
            header: Box::new(header),
            mode,
        };
        match self.call(cause, request, shard).await?.answer {
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
        cause: Cause,
    ) -> Result<Bytes, DriveFailure> {
        let request = Request::Range {
            drive: self.id,
            key,
            offset,
            bytes,
        };
        if !self.is_present() {
            return Err(DriveFailure::Lost);
        }
        let _begun = self.under_way.begin();
        // Noted also when nobody waits for the answer any more: a slow peer would else look as if it had never been asked.
        let _timed = Timed {
            latency: &self.latency,
            start: Instant::now(),
            // A long read counts as several short ones, so that sizes can be compared.
            units: bytes.div_ceil(LATENCY_UNIT_BYTES).max(1),
        };
        match self.call(cause, request, Bytes::new()).await? {
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
        match self
            .call(Purpose::Challenge.into(), request, Bytes::new())
            .await?
        {
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
                    copied_bytes: copied_bytes.min(SIZE_MAX),
                    freed_bytes: freed_bytes.min(SIZE_MAX),
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
            } if last.is_none_or(|last| after.is_none_or(|after| last > after))
                && shards.saturating_add(unread) <= max as u64
                && bad.len() as u64 <= shards
                // A step that looked at nothing and goes on would be taken forever.
                && (last.is_none() || shards.saturating_add(unread) > 0)
                && bad.iter().all(|key| after.is_none_or(|after| *key > after)) =>
            {
                Ok(Scrubbed {
                    shards,
                    bytes: bytes.min(SIZE_MAX),
                    bad,
                    unread,
                    last,
                })
            }
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
