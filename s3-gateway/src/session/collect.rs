//! Carrying out the collector's plans: live chunks moved, dead packs retired from the ledger and then from the drives.
//!
//! `vault::collect` decides what is dead and what is worth moving. Invariant: shards are deleted only of packs that no ledger
//! entry names at the moment of the order, that nobody has pinned, and that the ledger will never name again.

use super::commit::{Submitted, Urgency, detached};
use super::record::Note;
use super::{Inner, Progress, Session, SessionError, fill_random};
use activity::Purpose;
use engine::pack::PackId;
use scopes::{DeleteOrder, PACKS_PER_ORDER_MAX, Signed};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vault::collect::{CollectPlan, Holds, PlannedPack, Thresholds, plan};
use vault::commit::Commit;

/// How often the background collector looks for work.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Garbage share of a drive's segment from which `gc` rewrites it, and the background does.
const SEGMENT_GARBAGE_THOROUGH: f64 = 0.05;
const SEGMENT_GARBAGE_BACKGROUND: f64 = 0.40;
/// Bytes that one round rewrites on the drives.
const COMPACT_BYTES_MAX: u64 = 1 << 30;
/// The most rounds one call makes; each makes progress or is the last.
const ROUNDS_MAX: usize = 10_000;
/// Appends after which the background writes an index checkpoint.
const CHECKPOINT_EVERY: u64 = 50_000;
/// Packs retired with one append, and listed from the drives in one go.
const RETIRE_MAX: usize = 1_024;

/// How thorough a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectOptions {
    /// Until nothing more can be collected, as `cairn gc` does; otherwise what is worth it in the background.
    pub everything: bool,
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
    /// Plaintext bytes of all current objects of this vault.
    pub live_bytes: u64,
    /// Whether shards of lost drives or unreachable packs were left behind.
    pub incomplete: bool,
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
        self.inner.collect(options, progress).await
    }
}

/// Starts the background collector of a session; it ends with the session.
pub(crate) fn start(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let mut stop = inner.stop.subscribe();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let Some(inner) = weak.upgrade() else { return };
            if let Err(error) = inner.collect(CollectOptions { everything: false }, &|_| {}).await {
                tracing::warn!(%error, "the background collector stopped early; it will try again");
            }
        }
    });
}

impl Inner {
    async fn collect(
        self: &Arc<Self>,
        options: CollectOptions,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<GcReport, SessionError> {
        let _one_at_a_time = self.collecting.lock().await;
        let mut report = GcReport::default();
        let thresholds = if options.everything {
            Thresholds::THOROUGH
        } else {
            Thresholds::BACKGROUND
        };
        self.catch_up().await?;
        if self.checkpoint_due(options)? {
            self.write_checkpoint().await?;
        }
        self.remove_orphan_entries().await?;
        // The first time, for what a crash left; later only when there is something to find.
        if self.pins.take_orphans() > 0 || options.everything || !self.scanned.swap(true, Ordering::Relaxed) {
            self.delete_unnamed(&mut report).await?;
        }
        let mut skip = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            if *self.stop.borrow() {
                break;
            }
            let mut pinned = self.pins.pinned();
            pinned.extend(skip.iter().copied());
            let holds = Holds {
                pinned: &pinned,
                live_lease: self.lease,
            };
            let next = tokio::task::block_in_place(|| plan(&self.index, holds, thresholds))?;
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
            self.retire(&next.dead_packs, &mut report).await?;
            for packs in [next.repack, next.merge] {
                let left = self.move_packs(&packs, &mut report).await?;
                skip.extend(left);
            }
            if options.everything && next.waiting_for_checkpoint > 0 {
                self.write_checkpoint().await?;
            }
        }
        if options.everything {
            // What was moved left claims-only packs and old checkpoints behind; a last checkpoint settles them.
            self.write_checkpoint().await?;
            let holds = Holds {
                pinned: &self.pins.pinned(),
                live_lease: self.lease,
            };
            let last = plan(&self.index, holds, thresholds)?;
            self.retire(&last.dead_packs, &mut report).await?;
        }
        self.compact(options, &mut report).await;
        self.sum_up(&mut report)?;
        Ok(report)
    }

    fn checkpoint_due(&self, options: CollectOptions) -> Result<bool, SessionError> {
        let through = self.index.checkpoint()?.map_or(0, |row| row.value.through.0);
        let since = self.applied().0.saturating_sub(through);
        Ok(if options.everything {
            since > 1
        } else {
            since >= CHECKPOINT_EVERY
        })
    }

    /// Parts and uploads that no append had room to remove.
    async fn remove_orphan_entries(self: &Arc<Self>) -> Result<(), SessionError> {
        loop {
            let orphans = self.index.orphans(RETIRE_MAX)?;
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
            let retired: Vec<_> = some
                .iter()
                .map(|pack| (pack.scope, pack.id, pack.sequence))
                .collect();
            let mut operation = [0; 16];
            fill_random(&mut operation);
            let note = Note::of("RetirePacks", None, Purpose::Gc);
            let append = Commit::new(&self.keyring, operation, self.lease)
                .with_record(self.own_record_part(note)?)
                .retire_packs(&retired)?;
            let inner = Arc::clone(self);
            let submitted = detached(async move { inner.submit(append, &[], Urgency::Frees).await }).await?;
            if let Submitted::Applied(_) = submitted {
                let ids: Vec<PackId> = some.iter().map(|pack| pack.id).collect();
                self.order_delete(&ids, report).await?;
            }
        }
        Ok(())
    }

    /// Deletes packs that stand on the drives and that no entry names: what a crash or a refused write left behind.
    async fn delete_unnamed(self: &Arc<Self>, report: &mut GcReport) -> Result<(), SessionError> {
        let mut after = None;
        loop {
            // The order matters: what is listed, not pinned and not named by an entry applied after the listing is dead, for a
            // pack is pinned from before its first shard until its entry is applied.
            let stored = self.cluster.stored_packs(after, RETIRE_MAX);
            let Some(last) = stored.last() else { return Ok(()) };
            after = Some(last.summary.id);
            let pinned = self.pins.pinned();
            self.catch_up().await?;
            let mut dead = Vec::new();
            for pack in stored {
                let own = pack.vault == self.vault.0 && pack.lease <= self.lease;
                if own && !pinned.contains(&pack.summary.id) && self.index.pack(&pack.summary.id)?.is_none() {
                    dead.push(pack.summary.id);
                }
            }
            self.order_delete(&dead, report).await?;
        }
    }

    async fn order_delete(&self, packs: &[PackId], report: &mut GcReport) -> Result<(), SessionError> {
        for some in packs.chunks(PACKS_PER_ORDER_MAX) {
            let number = self.next_order.fetch_add(1, Ordering::Relaxed);
            let ids = some.iter().map(|id| id.0).collect();
            let order = DeleteOrder::new(self.vault, self.collector.public_key(), ids, number);
            let order = Signed::sign(order, &self.collector).map_err(|_| SessionError::Internal {
                what: "a delete order that does not sign",
            })?;
            let deleted = self.cluster.delete_packs(&order).await;
            let deleted = deleted.map_err(|_| SessionError::Internal {
                what: "a delete order was refused",
            })?;
            report.packs_deleted += some.len() as u64;
            report.incomplete |= deleted.failed > 0;
        }
        Ok(())
    }

    async fn compact(&self, options: CollectOptions, report: &mut GcReport) {
        let share = if options.everything {
            SEGMENT_GARBAGE_THOROUGH
        } else {
            SEGMENT_GARBAGE_BACKGROUND
        };
        let budget = if options.everything {
            u64::MAX
        } else {
            COMPACT_BYTES_MAX
        };
        let done = self.cluster.compact(share, budget).await;
        report.bytes_rewritten += done.copied_bytes;
        report.bytes_freed += done.freed_bytes;
        if options.everything {
            self.cluster.trim().await;
        }
    }

    fn sum_up(&self, report: &mut GcReport) -> Result<(), SessionError> {
        let drives = self.cluster.status().drives;
        report.allocated_bytes = drives.iter().map(|drive| drive.allocated_bytes).sum();
        report.live_bytes = self.used_bytes()?;
        Ok(())
    }
}

fn planned_packs(plan: &CollectPlan) -> u64 {
    (plan.dead_packs.len() + plan.repack.len() + plan.merge.len()) as u64
}
