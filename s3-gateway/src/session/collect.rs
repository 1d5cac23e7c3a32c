//! Carrying out the collector's plans: live chunks moved, dead packs retired from the ledger and then from the drives.
//!
//! `vault::collect` decides what is dead and what is worth moving. Invariant: shards are deleted only of packs that no ledger
//! entry names at the moment of the order, that nobody has pinned, that the ledger will never name again, and on which nothing relies that
//! runs at another gateway.

mod background;
mod departing;
mod looks;
mod orders;

use super::commit::{Submitted, Urgency, detached};
use super::record::Note;
use super::{Inner, Progress, Session, SessionError, fill_random};
use crate::operations;
use activity::Purpose;
pub(crate) use background::start;
use engine::pack::PackId;
use engine::slots::Sequence;
use looks::Depth;
pub(crate) use looks::Looks;
use orders::Whose;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vault::collect::{CollectPlan, Holds, PlannedPack, Thresholds, plan};
use vault::commit::Commit;

/// Garbage share of a drive's segment from which it is rewritten: by `gc` and when nobody writes, and otherwise.
const SEGMENT_GARBAGE_THOROUGH: f64 = 0.02;
const SEGMENT_GARBAGE_BACKGROUND: f64 = 0.30;
/// Bytes that one round rewrites on the drives.
const COMPACT_BYTES_MAX: u64 = 1 << 30;
/// The most rounds one call makes; each makes progress or is the last.
const ROUNDS_MAX: usize = 10_000;
/// The most rounds in which one call moves what is in a pack; more only when others write there meanwhile.
const MOVES_MAX: u32 = 3;
/// The most plans of dead packs behind the last checkpoint.
const LAST_ROUNDS_MAX: usize = 1_000;
/// Appends after which the background writes an index checkpoint, if they are as many as this part of the versions: it is written
/// whole, and would else cost the more for each change the more objects there are.
const CHECKPOINT_EVERY: u64 = 50_000;
const CHECKPOINT_SHARE: u64 = 4;
/// The background also writes one when dead packs that wait for it hold more than this, and an eighth of what is alive.
const WAITING_BYTES_MIN: u64 = 16 << 20;
const WAITING_SHARE: u64 = 8;
/// When nobody writes, this part of what is alive is enough, however little it is.
const WAITING_SHARE_IDLE: u64 = 100;
/// When nobody writes, drives are compacted thoroughly if this part of what lives on them is garbage in all.
const GARBAGE_SHARE_IDLE: u64 = 50;
/// Packs retired with one append, and listed from the drives in one go.
const RETIRE_MAX: usize = 1_024;

/// How thorough a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectOptions {
    /// Until nothing more can be collected, as `cairn gc` does; otherwise what is worth it in the background.
    pub everything: bool,
}

/// Packs that nothing refers to and that wait for a checkpoint to settle their claims.
#[derive(Default)]
struct Waiting {
    packs: u64,
    /// Bytes of their chunks and trailers.
    bytes: u64,
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GcReport {
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Live sealed bytes written again into other packs.
    pub bytes_moved: u64,
    /// Bytes that drives copied forward to free whole segments.
    pub bytes_rewritten: u64,
    /// Bytes given back to the drives' file systems.
    pub bytes_freed: u64,
    /// Allocated bytes of all drives afterwards.
    pub allocated_bytes: u64,
    /// Plaintext bytes of all current objects of this vault, and of the parts of its open uploads.
    pub live_bytes: u64,
    /// Whether shards of lost drives or unreachable packs were left behind.
    pub incomplete: bool,
    /// Whether something was left because another gateway may be reading it.
    pub held_back: bool,
}

impl Session {
    /// Collects garbage.
    ///
    /// # Errors
    /// What the drives or the ledger refuse; what was done until then stays done.
    pub async fn collect(
        &self,
        options: CollectOptions,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<GcReport, SessionError> {
        let _one_at_a_time = self.inner.collecting.lock().await;
        let depth = if options.everything {
            Depth::Everything
        } else {
            Depth::Background
        };
        self.inner.collect(depth, progress).await
    }

    /// One look of the background collector, as the session makes one every minute: a round of what is worth it, a thorough one
    /// if nothing changed since the last look, and `None`, with nothing read or written, if there was nothing left to do.
    ///
    /// # Errors
    /// As [`Self::collect`].
    pub async fn collect_in_background(&self) -> Result<Option<GcReport>, SessionError> {
        self.inner.look().await
    }
}

impl Depth {
    const fn thresholds(self) -> Thresholds {
        match self {
            Self::Background => Thresholds::BACKGROUND,
            Self::Idle | Self::Everything => Thresholds::THOROUGH,
        }
    }
}

impl Inner {
    /// The caller holds `collecting`.
    async fn collect(
        self: &Arc<Self>,
        depth: Depth,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<GcReport, SessionError> {
        let mut report = GcReport::default();
        loop {
            let freed = report.bytes_freed;
            let done = self.collect_packs(depth, &mut report, progress).await;
            // On a full disk, what could be retired makes room for the rest.
            let full = match done {
                Ok(()) => false,
                Err(SessionError::DiskFull) => true,
                Err(error) => return Err(error),
            };
            self.compact(depth, &mut report).await;
            if !full {
                break;
            }
            if report.bytes_freed == freed {
                return Err(SessionError::DiskFull);
            }
        }
        self.sum_up(&mut report)?;
        Ok(report)
    }

    /// Retires what is dead and moves what is worth it.
    async fn collect_packs(
        self: &Arc<Self>,
        depth: Depth,
        report: &mut GcReport,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), SessionError> {
        self.catch_up().await?;
        let everything = depth == Depth::Everything;
        if everything {
            self.wait_for_others(report).await;
        }
        self.delete_departed(report).await?;
        let start = self.applied();
        let thresholds = depth.thresholds();
        let written = if self.checkpoint_due(depth)? {
            self.write_checkpoint().await.map(drop)
        } else {
            Ok(())
        };
        let no_room = written == Err(SessionError::DiskFull);
        if !no_room {
            written?;
        }
        self.remove_orphan_entries().await?;
        if everything {
            self.scanned.store(0, Ordering::Relaxed);
        }
        self.look_through(Whose::All, report).await?;
        if no_room {
            // What is dead needs no room to go.
            let dead = self.planned(self.pins.pinned(), thresholds).await?.dead_packs;
            self.retire(&dead, report).await?;
            return Err(SessionError::DiskFull);
        }
        // What others write from here on is for the next collection, or one on a busy vault would not end.
        let left = self.rounds(start, thresholds, report, progress).await?;
        // What was moved left claims-only packs and old checkpoints behind; a last checkpoint settles them.
        let settle = match depth {
            Depth::Background => left.bytes > WAITING_BYTES_MIN.max(self.used_bytes()? / WAITING_SHARE),
            Depth::Idle => {
                left.bytes.saturating_add(self.outdated_bytes()?) > self.used_bytes()? / WAITING_SHARE_IDLE
            }
            Depth::Everything => left.packs > 0 || self.checkpoint_due(depth)?,
        };
        if settle {
            if everything {
                self.wait_for_others(report).await;
            }
            self.write_checkpoint().await?;
        }
        if settle || everything {
            for _ in 0..LAST_ROUNDS_MAX {
                let last = self.planned(self.pins.pinned(), thresholds).await?;
                self.retire(&last.dead_packs, report).await?;
                if !last.more || last.dead_packs.is_empty() {
                    break;
                }
            }
        }
        if everything {
            self.wait_for_others(report).await;
            self.wait_for_departing(report).await;
        }
        self.delete_departed(report).await?;
        if everything && self.newest_departing().is_some() {
            report.incomplete = true;
        }
        Ok(())
    }

    /// Retires and moves until nothing is worth it among the packs whose entries are not above `start`. Returns what then waits
    /// for a checkpoint.
    async fn rounds(
        self: &Arc<Self>,
        start: Sequence,
        thresholds: Thresholds,
        report: &mut GcReport,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Waiting, SessionError> {
        let mut left = Waiting::default();
        let mut skip = HashSet::new();
        let mut tries: HashMap<PackId, u32> = HashMap::new();
        for _ in 0..ROUNDS_MAX {
            if *self.stop.borrow() {
                break;
            }
            let mut pinned = self.pins.pinned();
            pinned.extend(skip.iter().copied());
            let mut next = self.planned(pinned, thresholds).await?;
            left = Waiting {
                packs: next.waiting_for_checkpoint,
                bytes: next.waiting_bytes,
            };
            for packs in [&mut next.repack, &mut next.merge] {
                packs.retain(|pack| {
                    let tried = tries.entry(pack.id).or_insert(0);
                    *tried += 1;
                    pack.sequence <= start && *tried <= MOVES_MAX
                });
            }
            // One alone would only be copied.
            if next.merge.len() == 1 {
                next.merge.clear();
            }
            if next.is_empty() {
                break;
            }
            let done = report.packs_deleted;
            progress(Progress {
                done,
                total: done + planned_packs(&next),
                unit: "packs",
                note: "collecting".to_owned(),
            });
            self.retire(&next.dead_packs, report).await?;
            for packs in [next.repack, next.merge] {
                skip.extend(self.move_packs(&packs, report).await?);
            }
        }
        Ok(left)
    }

    async fn planned(
        &self,
        pinned: HashSet<PackId>,
        thresholds: Thresholds,
    ) -> Result<CollectPlan, SessionError> {
        let highest_lease = self.ledger.highest_lease();
        let horizons = self.gateways.horizons();
        let index = self.index.clone();
        let planned = move || {
            let holds = Holds {
                pinned: &pinned,
                highest_lease,
                horizons: &horizons,
            };
            Ok(plan(&index, holds, thresholds)?)
        };
        off_the_workers(planned).await
    }

    fn checkpoint_due(&self, depth: Depth) -> Result<bool, SessionError> {
        let through = self.index.checkpoint()?.map_or(0, |row| row.value.through.0);
        let changed = self.index.changed_through()?.0;
        if changed <= through || depth == Depth::Everything {
            return Ok(changed > through);
        }
        let behind = self.applied().0.saturating_sub(through);
        Ok(behind >= CHECKPOINT_EVERY && behind >= self.versions()? / CHECKPOINT_SHARE)
    }

    /// About so many bytes of the last checkpoint tell of objects that are gone; all of it when nobody knows, as after a start.
    fn outdated_bytes(&self) -> Result<u64, SessionError> {
        let Some(row) = self.index.checkpoint()? else {
            return Ok(0);
        };
        if self.index.changed_through()? <= row.value.through {
            return Ok(0);
        }
        let bytes = row.value.stream.plaintext_bytes;
        let then = self.checkpoint_objects.load(Ordering::Relaxed);
        let now = self.objects()?.min(then);
        let outdated = u128::from(bytes) * u128::from(then - now) / u128::from(then.max(1));
        Ok(if then == u64::MAX {
            bytes
        } else {
            u64::try_from(outdated).unwrap_or(bytes)
        })
    }

    /// Objects of the vault, every version of them.
    fn versions(&self) -> Result<u64, SessionError> {
        let mut versions = 0u64;
        for bucket in self.index.buckets()? {
            let usage = self.index.usage(bucket.value.scope)?;
            versions = versions
                .saturating_add(usage.objects)
                .saturating_add(usage.history);
        }
        Ok(versions)
    }

    /// Current objects of the vault.
    pub(super) fn objects(&self) -> Result<u64, SessionError> {
        let mut objects = 0u64;
        for bucket in self.index.buckets()? {
            objects = objects.saturating_add(self.index.usage(bucket.value.scope)?.objects);
        }
        Ok(objects)
    }

    /// Parts and uploads that no append had room to remove.
    async fn remove_orphan_entries(self: &Arc<Self>) -> Result<(), SessionError> {
        loop {
            let index = self.index.clone();
            let orphans = off_the_workers(move || Ok(index.orphans(RETIRE_MAX)?)).await?;
            if orphans.is_empty() {
                return Ok(());
            }
            let mut operation = [0; 16];
            fill_random(&mut operation);
            let append = Commit::new(&self.keyring, operation, self.lease).remove_orphans(&orphans)?;
            if let Submitted::Conflict = self.submit(append, &[], Urgency::Frees).await? {
                return Ok(());
            }
        }
    }

    /// Removes dead packs from the ledger, then from the drives.
    async fn retire(
        self: &Arc<Self>,
        dead: &[PlannedPack],
        report: &mut GcReport,
    ) -> Result<(), SessionError> {
        for some in dead.chunks(RETIRE_MAX) {
            let retiring = self.pins.retire(some.iter().map(|pack| pack.id));
            let free: HashSet<PackId> = retiring.packs().iter().copied().collect();
            // What is being read is retired another time.
            report.incomplete |= free.len() < some.len();
            if free.is_empty() {
                continue;
            }
            let retired: Vec<_> = some
                .iter()
                .filter(|pack| free.contains(&pack.id))
                .map(|pack| (pack.scope, pack.id, pack.sequence))
                .collect();
            let mut operation = [0; 16];
            fill_random(&mut operation);
            let note = Note::of(operations::RETIRE_PACKS, None, Purpose::Gc);
            let append = Commit::new(&self.keyring, operation, self.lease)
                .with_record(self.own_record_part(note)?)
                .retire_packs(&retired)?;
            let inner = Arc::clone(self);
            let submitted = detached(async move { inner.submit(append, &[], Urgency::Frees).await }).await;
            // It may be applied all the same, and what it retired is found on the drives alone.
            let submitted = submitted.inspect_err(|_| self.scanned.store(0, Ordering::Relaxed))?;
            if let Submitted::Applied(sequence) = submitted {
                self.depart(retiring.packs(), sequence, report).await?;
            }
        }
        Ok(())
    }

    async fn compact(&self, depth: Depth, report: &mut GcReport) {
        let (share, budget) = match depth {
            Depth::Everything => (SEGMENT_GARBAGE_THOROUGH, u64::MAX),
            Depth::Idle if self.much_garbage() => (SEGMENT_GARBAGE_THOROUGH, u64::MAX),
            Depth::Background | Depth::Idle => (SEGMENT_GARBAGE_BACKGROUND, COMPACT_BYTES_MAX),
        };
        let done = self.cluster.compact(share, budget).await;
        report.bytes_rewritten += done.copied_bytes;
        report.bytes_freed += done.freed_bytes;
        if depth != Depth::Background {
            self.cluster.trim().await;
        }
    }

    /// Whether the garbage on the drives is worth it to write whole segments for a small part each.
    fn much_garbage(&self) -> bool {
        let drives = self.cluster.status().drives;
        let live: u64 = drives.iter().map(|drive| drive.live_bytes).sum();
        let garbage: u64 = drives.iter().map(|drive| drive.garbage_bytes).sum();
        garbage > live / GARBAGE_SHARE_IDLE
    }

    fn sum_up(&self, report: &mut GcReport) -> Result<(), SessionError> {
        let drives = self.cluster.status().drives;
        report.allocated_bytes = drives.iter().map(|drive| drive.allocated_bytes).sum();
        report.live_bytes = self.used_bytes()?;
        Ok(())
    }
}

/// Runs what reads much of the view where it holds up no request.
async fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SessionError> + Send + 'static,
) -> Result<T, SessionError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| SessionError::Internal {
        what: "a plan stopped",
    })?
}

fn planned_packs(plan: &CollectPlan) -> u64 {
    (plan.dead_packs.len() + plan.repack.len() + plan.merge.len()) as u64
}
