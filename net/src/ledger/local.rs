//! The ledger of one machine: engine's log under engine's slot machine, and a flusher thread between callers and disk.
//!
//! It keeps positions in memory and values on disk, and the newest appends in a bounded cache, so that the index and
//! the activity log follow it without reading. Invariant: see [`super::Ledger`]; and one process at a time opens a
//! ledger (the data directory's lock sees to that).

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::disk::Disk;
use engine::log::{Log, LogConfig, Position, ReadError, Recovery};
use engine::slots::{Address, Append, AppliedAppend, Entry, EntryKind, Leases, Outcome, Sequence};
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::flusher::Flusher;
use super::frames::{KIND_APPEND, ValueAt};
use super::replay::{LedgerOpenError, replay};
use super::snapshot::{Snapshot, read_value};
use super::state::{Request, Shared, Table};
use super::tail::{PAGE_BYTES_MAX, Place, memory_bytes};
use super::{Ledger, LedgerError, LedgerStatus, Tail, lease};
use crate::offload::{Offload, Worker};

/// How a local ledger is kept.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// A random number: the log's id if it is made now.
    pub fresh_log_id: u64,
    /// A new ledger's first append gets the sequence after this one. 0, except for a rebuilt ledger, which begins above every
    /// sequence that claims, checkpoints and the activity log remember of the one that was lost.
    pub begin_after: u64,
    /// Segment sizes.
    pub log: LogConfig,
    /// Compaction begins with more segments than this.
    pub segments_min: usize,
    /// Most bytes of appends that wait.
    pub queue_bytes: u32,
    /// Bytes set aside for deletes and the collector on a full disk.
    pub reserve_bytes: u64,
    /// Where it flushes and reads.
    pub offload: Offload,
}

impl LedgerConfig {
    /// The usual sizes: 16 MiB segments, compaction above four of them, 16 MiB of waiting appends
    /// and as much in reserve.
    pub const fn new(fresh_log_id: u64) -> Self {
        Self {
            fresh_log_id,
            begin_after: 0,
            log: LogConfig::ledger(),
            segments_min: 4,
            queue_bytes: 16 << 20,
            reserve_bytes: 16 << 20,
            offload: Offload::Threads,
        }
    }
}

/// A ledger on this machine. Dropping the last clone ends its thread; [`LocalLedger::close`] also waits for it.
#[derive(Clone)]
pub struct LocalLedger {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
    offload: Offload,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A fenced or closed ledger has no thread to tell.
        let _ = self.shared.queue.push_control(Request::Close);
    }
}

/// How often a read that met compaction starts again.
const RETRIES: usize = 8;
/// What a queued append weighs beside its values.
pub(super) const REQUEST_BYTES: usize = 256;

impl LocalLedger {
    /// Opens the ledger in `dir`, or makes one, and starts its flusher. Blocks while the log is replayed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LedgerConfig,
    ) -> Result<(Self, Recovery), LedgerOpenError> {
        let (log, recovery) = Log::open(
            Arc::clone(&disk),
            dir,
            config.log,
            config.fresh_log_id,
            &mut |_| {},
        )?;
        let (mut table, tail) = replay(&log.reader())?;
        if tail.is_empty() {
            table.begin_after(Sequence(config.begin_after));
        }
        let shared = Arc::new(Shared::new(config.queue_bytes, log.reader(), table, tail));
        let flusher = Flusher::new(Arc::clone(&shared), log, disk, dir, &config);
        let worker = config.offload.start("ledger".to_owned(), flusher)?;
        let inner = Arc::new(Inner {
            shared,
            worker: Mutex::new(Some(worker)),
            offload: config.offload,
        });
        Ok((Self { inner }, recovery))
    }

    /// Writes what is queued, ends the log cleanly and waits for the thread.
    pub async fn close(&self) {
        let shared = self.shared();
        let _ = shared.queue.push_control(Request::Close);
        let worker = self
            .inner
            .worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(worker) = worker
            && !worker.ended().await
        {
            tracing::error!("the ledger's flusher panicked");
        }
    }

    /// Compacts until nothing more can be let go.
    pub async fn compact(&self) -> Result<(), LedgerError> {
        self.ask(REQUEST_BYTES, |reply| Request::Compact { reply }).await
    }

    /// Takes a lease whose number is above `above` and above every earlier one: for a ledger that is rebuilt below
    /// drives whose frames name leases.
    pub async fn take_lease_above(&self, holder: &str, now_ms: u64, above: u64) -> Result<u64, LedgerError> {
        let holder = clip(holder).to_owned();
        self.ask(REQUEST_BYTES, |reply| Request::Lease {
            holder,
            now_ms,
            above,
            reply,
        })
        .await
    }

    pub(super) fn offload(&self) -> &Offload {
        &self.inner.offload
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(super) async fn ask<T>(
        &self,
        bytes: usize,
        request: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Request,
    ) -> Result<T, LedgerError> {
        let shared = self.shared();
        let (reply, answer) = oneshot::channel();
        if shared.queue.push(request(reply), bytes).await.is_err() {
            return Err(shared.end_error());
        }
        answer.await.unwrap_or_else(|_| Err(shared.end_error()))
    }

    async fn submit(&self, append: Append, urgent: bool) -> Result<Outcome, LedgerError> {
        let values = append.writes.iter().filter_map(|write| write.value.as_ref());
        let bytes = values.map(Bytes::len).sum::<usize>()
            + append.record.as_ref().map_or(0, |record| record.body.len())
            + REQUEST_BYTES
            + 64 * (append.writes.len() + append.expectations.len());
        let decision = self
            .ask(bytes, |reply| Request::Append {
                append,
                urgent,
                reply,
            })
            .await?;
        self.outcome_of(decision).await
    }

    /// What a decision says to whoever asked.
    pub(super) async fn outcome_of(
        &self,
        decision: engine::slots::Decision<ValueAt>,
    ) -> Result<Outcome, LedgerError> {
        let conflicting = match &decision {
            engine::slots::Decision::Conflict {
                expectation,
                current: Some(current),
            } => Some((*expectation, current.address)),
            _ => None,
        };
        match decision.into_outcome(|value: ValueAt| read_value(&self.shared().reader, &value)) {
            Ok(outcome) => Ok(outcome),
            // Compaction moved the value meanwhile: the entry of now serves as well.
            Err(ReadError::NoSegment { .. }) if conflicting.is_some() => {
                let (expectation, address) = conflicting.ok_or(LedgerError::Closed)?;
                let current = self.entry(address).await?;
                Ok(Outcome::Conflict { expectation, current })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check_open(&self) -> Result<(), LedgerError> {
        if *self.shared().fenced.borrow() {
            return Err(LedgerError::Fenced);
        }
        Ok(())
    }

    async fn entry(&self, address: Address) -> Result<Option<Entry>, LedgerError> {
        self.check_open()?;
        for _ in 0..RETRIES {
            let found = {
                let table = self.shared().table();
                table
                    .machine
                    .get(&address)
                    .map(|(sequence, value)| (sequence, *value))
            };
            let Some((sequence, value)) = found else {
                return Ok(None);
            };
            match read_value(&self.shared().reader, &value) {
                Ok(value) => {
                    return Ok(Some(Entry {
                        address,
                        sequence,
                        value,
                    }));
                }
                // Compaction moved it between the look and the read.
                Err(ReadError::NoSegment { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(LedgerError::Read(std::io::ErrorKind::NotFound))
    }

    async fn follow(&self, from: Sequence, max: usize) -> Result<Tail, LedgerError> {
        self.check_open()?;
        for _ in 0..RETRIES {
            let place = self.shared().tail().after(from, max);
            let (position, through) = match place {
                Place::Known(tail) => return Ok(tail),
                Place::Log { from, through } => (from, through),
            };
            let shared = Arc::clone(self.shared());
            let offload = &self.inner.offload;
            let read = offload.run(move || read_tail(&shared, position, from, through, max));
            match read.await {
                Ok(Ok(appends)) => return Ok(Tail::Appends(appends)),
                // Compaction removed the segment: the index knows by now.
                Ok(Err(ReadError::NoSegment { .. })) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(LedgerError::Closed),
            }
        }
        Ok(Tail::Compacted)
    }

    fn take_snapshot(&self) -> Result<Snapshot, LedgerError> {
        self.take_snapshot_with(|_| ()).map(|(snapshot, ())| snapshot)
    }

    /// A snapshot, and what `look` sees at its sequence.
    pub(super) fn take_snapshot_with<T>(
        &self,
        look: impl FnOnce(&Table) -> T,
    ) -> Result<(Snapshot, T), LedgerError> {
        self.check_open()?;
        let shared = self.shared();
        let (sequence, mut entries, held, seen) = {
            let table = shared.table();
            let entries = table.machine.entries_after(None);
            let entries: Vec<_> = entries
                .map(|(address, sequence, value)| (address, sequence, *value))
                .collect();
            // Taken under the table's lock, so that compaction sees it before it removes what is named here.
            let held = Arc::clone(&shared.snapshots);
            (table.machine.sequence(), entries, held, look(&table))
        };
        // Versions beside the current ones last: whoever reads both can tell by then what they stand beside.
        entries.sort_unstable_by_key(|(address, _, value)| {
            let beside = address.kind == EntryKind::ObjectVersion;
            (beside, value.frame, value.offset)
        });
        let snapshot = Snapshot {
            sequence,
            entries: Arc::new(entries),
            next: 0,
            reader: shared.reader.clone(),
            offload: self.inner.offload.clone(),
            _held: held,
        };
        Ok((snapshot, seen))
    }
}

/// Reads appends above `from` out of the log, at most `max` of them or a page of bytes, none above `through`.
fn read_tail(
    shared: &Shared,
    position: Position,
    from: Sequence,
    through: u64,
    max: usize,
) -> Result<Vec<AppliedAppend>, ReadError> {
    let mut appends = Vec::new();
    let mut bytes = 0;
    for frame in shared.reader.frames_with_payload(position) {
        let frame = frame?;
        if frame.info.kind != KIND_APPEND {
            continue;
        }
        let Ok(append) = AppliedAppend::decode(&frame.payload) else {
            return Err(ReadError::BadPayload {
                segment: frame.info.position.segment(),
                offset: frame.info.position.offset(),
                bytes: frame.info.payload_bytes,
            });
        };
        if append.sequence.0 > through || appends.len() >= max || bytes > PAGE_BYTES_MAX {
            break;
        }
        if append.sequence > from {
            bytes += memory_bytes(&append);
            appends.push(append);
        }
    }
    Ok(appends)
}

/// A holder text that fits its entry.
pub(super) fn clip(holder: &str) -> &str {
    let end = holder.floor_char_boundary(engine::slots::HOLDER_BYTES_MAX);
    holder.get(..end).unwrap_or_default()
}

impl Ledger for LocalLedger {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        Box::pin(self.submit(append, false))
    }

    fn append_urgent(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        Box::pin(self.submit(append, true))
    }

    fn settle(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        // Whoever is not answered here hears that the ledger has failed or is closed, and it is replayed before anybody goes on.
        Box::pin(std::future::ready(Ok(self.position())))
    }

    fn position(&self) -> Sequence {
        *self.shared().durable.borrow()
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        // One process: what is durable here is all that was ever answered.
        Box::pin(async move { self.check_open().map(|()| self.position()) })
    }

    fn changed(&self) -> watch::Receiver<Sequence> {
        self.shared().durable.subscribe()
    }

    fn tail(&self, from: Sequence, max: usize) -> BoxFuture<'_, Result<Tail, LedgerError>> {
        Box::pin(self.follow(from, max))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, LedgerError>> {
        Box::pin(async move {
            let this = self.clone();
            let taking = self.inner.offload.run(move || this.take_snapshot());
            taking.await.unwrap_or(Err(LedgerError::Closed))
        })
    }

    fn get(&self, address: Address) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(self.entry(address))
    }

    fn records_through(&self, sequence: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.ask(REQUEST_BYTES, move |reply| Request::RecordsThrough {
            sequence,
            reply,
        }))
    }

    fn take_lease<'a>(&'a self, holder: &'a str, now_ms: u64) -> BoxFuture<'a, Result<u64, LedgerError>> {
        Box::pin(self.take_lease_above(holder, now_ms, 0))
    }

    fn leases(&self) -> Leases {
        self.shared().table().machine.leases().clone()
    }

    fn highest_lease(&self) -> u64 {
        self.shared().table().machine.leases().highest()
    }

    fn is_own_lease(&self, _number: u64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        // One process at a time has this ledger, and nobody else.
        Box::pin(std::future::ready(Ok(true)))
    }

    fn end_lease(&self, number: u64, records: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(lease::end(self, number, records))
    }

    fn fenced(&self) -> BoxFuture<'_, ()> {
        let mut fenced = self.shared().fenced.subscribe();
        Box::pin(async move {
            // The sender lives as long as `self`, so this ends only by a fence.
            let _ = fenced.wait_for(|fenced| *fenced).await;
        })
    }

    fn status(&self) -> LedgerStatus {
        let shared = self.shared();
        let segments = shared.reader.segments();
        let tail_above = shared.tail().whole_above();
        let table = shared.table();
        LedgerStatus {
            position: self.position().0,
            entries: table.machine.len() as u64,
            live_bytes: table.live_bytes,
            log_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segments: segments.len() as u64,
            appends: shared.counters.appends.load(Ordering::Relaxed),
            flushes: shared.counters.flushes.load(Ordering::Relaxed),
            carried_bytes: shared.counters.carried_bytes.load(Ordering::Relaxed),
            records_through: table.records_through,
            tail_above,
            lowest_lease: table.machine.leases().lowest_live(),
            highest_lease: table.machine.leases().highest(),
            fenced: *shared.fenced.borrow(),
            full: shared.counters.full.load(Ordering::Relaxed),
        }
    }
}

/// The pack that an address may name, for lookups by pack id.
pub fn pack_address(scope: [u8; 16], pack: &engine::pack::PackId) -> Address {
    Address {
        scope,
        kind: EntryKind::Pack,
        slot: pack.slot(),
    }
}
