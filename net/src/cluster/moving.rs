//! Moving shards of one pack to other drives: copied where they can be read, made from the others where not.
//!
//! It does not choose; `replace` and `rebalance` do. Invariants, in this order: a shard is durable on its new drive, and a peer has
//! proven that it holds it, before the pack's entry names that drive; the entry is swapped only if it is the one that the
//! move began with, so a pack that was deleted stays deleted; the old copy stays until the collector's order. Stopped
//! anywhere, what is left is a copy that no entry names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::slots::{Address, Append, Entry, EntryKind, Expectation, Outcome, Sequence, Write};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;

use super::Inner;
use super::budget::Budget;
use super::place::Place;
use super::put::{header, key};
use super::read::ReadError;
use super::strays::Reserved;
use crate::drives::DriveFailure;
use crate::entry::{DriveId, PackEntry};
use crate::ledger::{Ledger, LedgerError, Snapshot};
use crate::peer::Purpose;

/// Entries of a snapshot's page.
const PAGE: usize = 512;
/// A drive that failed so many times in one run gets nothing more in it.
pub(super) const FAILURES_MAX: u32 = 3;

/// Moves of which the ledger may not have said what became of them, before no other is begun.
const SWAPS_IN_DOUBT_MAX: usize = 64;
/// How long between two questions for what became of a swap.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Why shards are moved no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The lease under which they are moved has ended.
    #[error("the lease has ended; the lowest live one is {lowest_live}")]
    LeaseEnded {
        /// The lowest lease still accepted.
        lowest_live: u64,
    },
}

/// A pack's entry and where it stands in the ledger.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) address: Address,
    pub(super) sequence: Sequence,
    pub(super) entry: PackEntry,
}

impl Placed {
    /// An entry of a pack; none if it does not decode.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        match PackEntry::decode(&entry.value) {
            Ok(pack) => Some(Self {
                address: entry.address,
                sequence: entry.sequence,
                entry: pack,
            }),
            Err(error) => {
                tracing::error!(%error, sequence = entry.sequence.0, "a pack entry does not decode");
                None
            }
        }
    }
}

/// The packs that a ledger names, with where their entries stand.
pub(super) async fn placed(
    ledger: &dyn Ledger,
) -> Result<BoxStream<'static, Result<Placed, LedgerError>>, LedgerError> {
    let snapshot = ledger.snapshot().await?;
    let pages = futures::stream::try_unfold(snapshot, |mut snapshot: Snapshot| async move {
        let page = snapshot.next_of(EntryKind::Pack, PAGE).await?;
        let page: Option<(Vec<Entry>, Snapshot)> = (!page.is_empty()).then_some((page, snapshot));
        Ok::<_, LedgerError>(page)
    });
    let entries = pages.map_ok(|page| {
        let placed: Vec<_> = page.iter().filter_map(Placed::of).map(Ok).collect();
        futures::stream::iter(placed)
    });
    Ok(entries.try_flatten().boxed())
}

/// What became of a pack's move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Its entry names the new drives.
    Done { copied: u64, rebuilt: u64, bytes: u64 },
    /// It is no pack any more, or another changed its entry meanwhile.
    Changed,
    /// Something is under way with it; it is tried again another time.
    Busy,
    /// Too few of its shards can be read.
    Unreadable,
    /// A new drive did not take or did not prove its shard.
    Failed,
}

/// Moves shards, for one run.
pub(super) struct Mover {
    pub(super) inner: Arc<Inner>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) lease: u64,
    pub(super) budget: Budget,
    /// Bytes of shards that were read for it.
    pub(super) read: AtomicU64,
    failures: Mutex<BTreeMap<DriveId, u32>>,
}

/// The shards to be put, by index; those that were copied and those that were made.
struct Made {
    shards: BTreeMap<usize, Bytes>,
    copied: u64,
    rebuilt: u64,
}

impl Mover {
    pub(super) fn new(
        inner: &Arc<Inner>,
        ledger: &Arc<dyn Ledger>,
        lease: u64,
        bytes_per_second: u64,
    ) -> Self {
        Self {
            inner: Arc::clone(inner),
            ledger: Arc::clone(ledger),
            lease,
            budget: Budget::new(bytes_per_second),
            read: AtomicU64::new(0),
            failures: Mutex::default(),
        }
    }

    /// Whether a drive may be moved to: it did not fail too often.
    pub(super) fn trusts(&self, drive: &DriveId) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .get(drive)
            .is_none_or(|failures| *failures < FAILURES_MAX)
    }

    fn note_failure(&self, drive: DriveId) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry(drive).or_default() += 1;
    }

    /// Moves these shards of a pack, by index, each to the drive beside it.
    ///
    /// # Errors
    /// What ends the whole run.
    pub(super) async fn carry(&self, placed: Placed, moves: &[(usize, DriveId)]) -> Result<Moved, MoveError> {
        let entry = Arc::new(placed.entry.clone());
        let geometry = &entry.summary.geometry;
        let stored: Vec<usize> = moves
            .iter()
            .map(|(index, _)| *index)
            .filter(|index| !geometry.is_implied(*index))
            .collect();
        if self.inner.swaps_in_doubt.load(Ordering::Acquire) >= SWAPS_IN_DOUBT_MAX {
            return Err(LedgerError::Unreachable.into());
        }
        let copies = moves.iter().map(|(index, drive)| (key(&entry, *index), *drive));
        let Some(reserved) = self.inner.reserve(copies.collect()) else {
            return Ok(Moved::Busy);
        };
        self.budget.take(self.cost(&entry, &stored)).await;
        let shard_bytes = u64::from(geometry.shard_bytes);
        let wanted = (shard_bytes * (geometry.code.shards() + stored.len()) as u64).div_ceil(MEMORY_UNIT);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(MEMORY_UNITS);
        let Ok(_memory) = self.inner.moving_memory.acquire_many(wanted).await else {
            return Ok(Moved::Busy);
        };
        let gate = self.inner.rebuild_gate.read().await;
        // Under the gate: what a delete order removed must not come back.
        if self.inner.missing.is_deleted(entry.id()) {
            return Ok(Moved::Changed);
        }
        let made = match self.make(&entry, &stored).await {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(%error, pack = %entry.id(), "a pack's shards cannot be moved");
                return Ok(Moved::Unreadable);
            }
        };
        let scope = placed.address.scope;
        let puts = moves.iter().filter_map(|(index, drive)| {
            let shard = made.shards.get(index)?.clone();
            Some(self.put(&entry, scope, *index, *drive, shard))
        });
        if !futures::future::join_all(puts).await.into_iter().all(|done| done) {
            self.inner.strays_left.fetch_add(1, Ordering::AcqRel);
            return Ok(Moved::Failed);
        }
        // An implied shard has no bytes, but its drive has to be there all the same.
        let is_there =
            |(_, drive): &(usize, DriveId)| self.inner.place(*drive).is_some_and(|place| place.is_present());
        if !moves.iter().all(is_there) {
            return Ok(Moved::Failed);
        }
        drop(gate);
        let done = Moved::Done {
            copied: made.copied,
            rebuilt: made.rebuilt,
            bytes: shard_bytes * stored.len() as u64,
        };
        Ok(match self.swap(placed, moves, reserved).await? {
            true => {
                let rebuilt = &self.inner.counters.rebuilt;
                rebuilt.fetch_add(made.rebuilt, Ordering::Relaxed);
                done
            }
            false => Moved::Changed,
        })
    }

    /// What a move reads and writes, in bytes: k shards for what is made, one for what is copied.
    fn cost(&self, entry: &PackEntry, stored: &[usize]) -> u64 {
        let readable = |index: &&usize| self.inner.holder(entry, **index).is_some();
        let copied = stored.iter().filter(readable).count();
        let geometry = &entry.summary.geometry;
        let made = if copied < stored.len() {
            geometry.code.data()
        } else {
            0
        };
        (copied + made + stored.len()) as u64 * u64::from(geometry.shard_bytes)
    }

    async fn make(&self, entry: &Arc<PackEntry>, stored: &[usize]) -> Result<Made, ReadError> {
        let inner = &self.inner;
        let mut made = Made {
            shards: BTreeMap::new(),
            copied: 0,
            rebuilt: 0,
        };
        let (there, mut lost): (Vec<usize>, Vec<usize>) = stored
            .iter()
            .partition(|index| inner.holder(entry, **index).is_some());
        for index in there {
            match inner.read_verified(entry, index, Purpose::Repair.into()).await {
                Ok(shard) => {
                    self.note_read(entry, 1);
                    made.copied += 1;
                    made.shards.insert(index, shard);
                }
                Err(failure) => {
                    if failure == DriveFailure::Damaged {
                        inner.blame(entry, index);
                    }
                    lost.push(index);
                }
            }
        }
        if lost.is_empty() {
            return Ok(made);
        }
        let gathered = inner.gather(entry, &lost, Purpose::Repair.into()).await?;
        self.note_read(
            entry,
            gathered.shards.iter().flatten().count() + gathered.bad.len(),
        );
        let computed = inner.compute(entry, gathered.shards, lost.clone()).await?;
        made.rebuilt = lost.len() as u64;
        made.shards.extend(lost.into_iter().zip(computed));
        Ok(made)
    }

    fn note_read(&self, entry: &PackEntry, shards: usize) {
        let bytes = shards as u64 * u64::from(entry.summary.geometry.shard_bytes);
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Stores one shard on its new drive, durably; a peer proves that it has it. Whether it is there.
    async fn put(
        &self,
        entry: &PackEntry,
        scope: [u8; 16],
        index: usize,
        drive: DriveId,
        shard: Bytes,
    ) -> bool {
        let Some(place) = self.inner.place(drive) else {
            return false;
        };
        let header = header(entry, scope, index, self.lease);
        let done = match place.put_anew(header, shard, Purpose::Repair.into()).await {
            Ok(()) => self.is_proven(&place, entry, index).await,
            Err(failure) => {
                tracing::debug!(drive = place.number(), %failure, "a drive did not take a shard that is moved to it");
                false
            }
        };
        if !done {
            self.note_failure(drive);
        }
        done
    }

    async fn is_proven(&self, place: &Place, entry: &PackEntry, index: usize) -> bool {
        match self.inner.proves(place, entry, index).await {
            Ok(true) => true,
            Ok(false) | Err(DriveFailure::Absent) => {
                place.conduct().note_claimed();
                tracing::error!(drive = place.number(), pack = %entry.id(), index, "a drive took a shard and has it not");
                false
            }
            Err(_) => false,
        }
    }

    /// Has the pack's entry name the new drives, if it is the same entry still; whether it does. Carried out also when nobody waits
    /// for it any more: until then nobody deletes the new copies.
    async fn swap(
        &self,
        placed: Placed,
        moves: &[(usize, DriveId)],
        reserved: Reserved,
    ) -> Result<bool, MoveError> {
        let mut entry = placed.entry;
        for (index, drive) in moves {
            if let Some(place) = entry.drives.get_mut(*index) {
                *place = *drive;
            }
        }
        let append = Append {
            operation: self.inner.next_operation(),
            lease: self.lease,
            vault: entry.vault,
            expectations: vec![Expectation::At(placed.address, placed.sequence)],
            writes: vec![Write {
                address: placed.address,
                value: Some(entry.encode().into()),
            }],
            record: None,
        };
        let (inner, ledger) = (Arc::clone(&self.inner), Arc::clone(&self.ledger));
        let (told, outcome) = oneshot::channel();
        tokio::spawn(async move {
            let mut outcome = ledger.append(append).await;
            let mut told = Some(told);
            if outcome == Err(LedgerError::Unreachable) {
                // Nobody waits for as long as the ledger may be away.
                let _ = told.take().map(|told| told.send(outcome.clone()));
                inner.swaps_in_doubt.fetch_add(1, Ordering::AcqRel);
                outcome = settled(&*ledger, placed.address, &entry).await;
                inner.swaps_in_doubt.fetch_sub(1, Ordering::AcqRel);
            }
            if matches!(outcome, Ok(Outcome::Applied { .. })) {
                inner.missing.moved(&entry);
            }
            // Either way there is one copy more than entries name.
            inner.strays_left.fetch_add(1, Ordering::AcqRel);
            drop(reserved);
            // Whoever no longer waits is no error.
            let _ = told.map(|told| told.send(outcome));
        });
        match outcome.await.unwrap_or(Err(LedgerError::Closed))? {
            Outcome::Applied { .. } => Ok(true),
            Outcome::Conflict { .. } => Ok(false),
            Outcome::LeaseEnded { lowest_live } => Err(MoveError::LeaseEnded { lowest_live }),
        }
    }
}

/// What became of a swap that was not answered, once the ledger has settled it: as long as it may come, its copies stay reserved.
async fn settled(ledger: &dyn Ledger, address: Address, wanted: &PackEntry) -> Result<Outcome, LedgerError> {
    loop {
        match ledger.settle().await {
            Ok(_) => break,
            Err(LedgerError::Unreachable | LedgerError::Full) => tokio::time::sleep(SETTLE_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
    let current = ledger.get(address).await?;
    Ok(match current {
        Some(entry) if entry.value == wanted.encode() => Outcome::Applied {
            sequence: entry.sequence,
        },
        current => Outcome::Conflict {
            expectation: 0,
            current,
        },
    })
}

/// What moves may hold in memory together, in units of so many bytes.
const MEMORY_UNIT: u64 = 1 << 10;
/// 64 MiB.
pub(super) const MEMORY_UNITS: u32 = 64 << 10;
