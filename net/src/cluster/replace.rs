//! Re-placement: shards on drives that are gone, that drain or that have been lost for too long get other drives.
//!
//! It works from pack entries and needs no vault key. Invariants: the packs nearest to loss first, within a budget of bytes a second and a
//! bounded memory; a new placement leaves k shards when any one domain is lost, or there is none; what it did not come to is
//! found again by the next run, for it remembers nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine::pack::PackId;
use engine::placement::{self, DriveWeight};
use engine::slots::Address;
use futures::StreamExt;
use tokio::time::Instant;

use super::layout::{Layout, Standing};
use super::moving::{FAILURES_MAX, MoveError, Moved, Mover, Placed, placed};
use super::place::Place;
use super::repair::Progress;
use super::{Cluster, Inner};
use crate::entry::{DriveId, PackEntry};
use crate::ledger::Ledger;

/// Packs on their way at one time; what they hold in memory has a bound of its own.
const AT_ONCE: usize = 8;
/// Packs that one look through the ledger picks, those nearest to loss.
const BATCH: usize = 8_192;
/// Packs that failed in a run are left alone for the rest of it; more than this end it.
const FAILED_MAX: usize = 65_536;
/// A pack whose new drive failed is tried again so often in a run: by then the drive is trusted no more.
const TRIES_MAX: u32 = FAILURES_MAX + 1;
/// Drives that nobody knows of which it is remembered since when.
const UNKNOWN_MAX: usize = 65_536;

/// What re-placement may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaceOptions {
    /// How long a drive may be lost before its shards are made anew elsewhere.
    pub lost_after: Duration,
    /// Bytes a second that are read from drives and written to them, together.
    pub bytes_per_second: u64,
}

impl Default for ReplaceOptions {
    fn default() -> Self {
        Self {
            lost_after: Duration::from_secs(15 * 60),
            bytes_per_second: 64 << 20,
        }
    }
}

/// What re-placement found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplaceReport {
    /// Packs that had shards to be placed anew when it began.
    pub packs: u64,
    /// Packs whose entries name new drives now.
    pub packs_moved: u64,
    /// Shards that were copied from a drive that is there.
    pub shards_copied: u64,
    /// Shards that were made from others.
    pub shards_rebuilt: u64,
    /// Bytes of both, as they were written.
    pub bytes_moved: u64,
    /// Bytes of shards read for it.
    pub bytes_read: u64,
    /// Packs of which a shard has no drive to go to such that any one domain may be lost.
    pub unplaced: u64,
    /// Packs of which too few shards can be read.
    pub unreadable: u64,
    /// Packs of which a shard did not reach its new drive, or that were busy.
    pub failed: u64,
    /// Packs with shards on drives that are lost, but not for long enough.
    pub waiting: u64,
}

impl ReplaceReport {
    /// Whether nothing is left on drives that are gone, drain or are lost.
    pub fn is_complete(&self) -> bool {
        self.unplaced == 0 && self.unreadable == 0 && self.failed == 0 && self.waiting == 0
    }
}

/// Whether a shard may stay where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Stays,
    /// Its drive is lost, but not for long enough.
    Waits,
    Drains,
    Lost,
}

/// The shards of a pack that are to go elsewhere.
#[derive(Debug, Default)]
struct Leaving {
    lost: Vec<usize>,
    draining: Vec<usize>,
    waits: bool,
}

/// What one look through the ledger found.
#[derive(Default)]
struct Look {
    /// The packs nearest to loss, the nearest first.
    batch: BTreeMap<(Reverse<usize>, PackId), Address>,
    packs: u64,
    waiting: u64,
    /// Bytes of shards to be placed anew.
    bytes: u64,
    named: BTreeSet<DriveId>,
}

impl Inner {
    /// Whether what is on a drive may stay there.
    pub(super) fn stay(&self, layout: &Layout, drive: &DriveId, lost_after: Duration) -> Stay {
        let place = layout.place(drive);
        match place.map(Place::standing) {
            Some(Standing::Gone) => return Stay::Lost,
            Some(standing) if place.is_some_and(Place::is_present) => {
                return match standing {
                    Standing::Draining => Stay::Drains,
                    _ => Stay::Stays,
                };
            }
            _ => {}
        }
        let mut lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if lost_since.len() >= UNKNOWN_MAX && !lost_since.contains_key(drive) {
            return Stay::Waits;
        }
        let since = *lost_since.entry(*drive).or_insert(now);
        match now.duration_since(since) >= lost_after {
            true => Stay::Lost,
            false => Stay::Waits,
        }
    }

    /// Notes which drives are lost, and since when; each second.
    pub(super) fn note_lost(&self) {
        let layout = self.layout();
        let mut lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner);
        for place in layout.places() {
            if place.is_present() {
                lost_since.remove(&place.id());
            } else {
                lost_since.entry(place.id()).or_insert_with(Instant::now);
            }
        }
    }

    fn leaving(&self, layout: &Layout, entry: &PackEntry, lost_after: Duration) -> Leaving {
        let mut leaving = Leaving::default();
        for (index, drive) in entry.drives.iter().enumerate() {
            match self.stay(layout, drive, lost_after) {
                Stay::Stays => {}
                Stay::Waits => leaving.waits = true,
                Stay::Drains => leaving.draining.push(index),
                Stay::Lost => leaving.lost.push(index),
            }
        }
        leaving
    }

    /// How many stored shards of a pack cannot be read as far as is known.
    fn risk(&self, layout: &Layout, entry: &PackEntry) -> usize {
        let missing = self.missing.of(entry.id());
        let is_lost = |index: &usize| {
            let place = entry.drive(*index).and_then(|id| layout.place(&id));
            missing.contains(index) || !place.is_some_and(Place::is_present)
        };
        entry.stored().filter(is_lost).count()
    }

    /// New drives for these shards of a pack, the others where they are; none if no placement leaves k shards when any one domain is
    /// lost. In it a full, draining or lost drive is given nothing.
    fn drives_for(
        &self,
        layout: &Layout,
        entry: &PackEntry,
        moving: &[usize],
        trusts: &dyn Fn(&DriveId) -> bool,
    ) -> Option<Vec<(usize, DriveId)>> {
        let named: BTreeSet<DriveId> = entry.drives.iter().copied().collect();
        let is_new = |place: &&Place| {
            place.standing() == Standing::Active && place.writable() && !named.contains(&place.id())
        };
        let new = layout.places().iter().filter(is_new);
        let mut drives: Vec<DriveWeight> = new
            .map(|place| place.weight())
            .filter(|weight| trusts(&weight.drive))
            .collect();
        let kept = entry.drives.iter().enumerate();
        let kept = kept.filter(|(index, _)| !moving.contains(index));
        drives.extend(kept.map(|(_, id)| match layout.place(id) {
            Some(place) => place.weight(),
            // Nobody knows it: it shares its fate with no other.
            None => DriveWeight {
                drive: *id,
                domain: *id,
                capacity: 1,
            },
        }));
        let parity = entry.summary.geometry.code.parity();
        let replaced =
            (1..=parity).find_map(|cap| placement::replace(&entry.id(), &entry.drives, &drives, cap).ok())?;
        let moves = moving
            .iter()
            .filter_map(|index| Some((*index, *replaced.get(*index)?)));
        Some(moves.collect())
    }

    /// New drives for as many of a pack's leaving shards as can be placed, the lost ones first.
    fn moves_of(
        &self,
        layout: &Layout,
        entry: &PackEntry,
        leaving: &Leaving,
        trusts: &dyn Fn(&DriveId) -> bool,
    ) -> Vec<(usize, DriveId)> {
        let all: Vec<usize> = leaving.lost.iter().chain(&leaving.draining).copied().collect();
        if let Some(moves) = self.drives_for(layout, entry, &all, trusts) {
            return moves;
        }
        let (mut chosen, mut moves) = (Vec::new(), Vec::new());
        for index in all {
            chosen.push(index);
            match self.drives_for(layout, entry, &chosen, trusts) {
                Some(more) => moves = more,
                None => {
                    chosen.pop();
                }
            }
        }
        moves
    }
}

/// One run of re-placement.
struct Run<'a> {
    mover: Mover,
    options: ReplaceOptions,
    report: ReplaceReport,
    /// Packs that are left alone for the rest of this run.
    skipped: BTreeSet<PackId>,
    /// How often packs failed.
    tries: BTreeMap<PackId, u32>,
    started: Instant,
    bytes: u64,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl Cluster {
    /// Places anew what lies on drives that are gone, that drain or that have been lost for too long, as far as there are drives to take it.
    /// The entries are changed under the caller's lease. May be dropped at any time, and begun again.
    ///
    /// # Errors
    /// The ledger did not answer, or the lease has ended.
    pub async fn replace(
        &self,
        ledger: &Arc<dyn Ledger>,
        lease: u64,
        options: ReplaceOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<ReplaceReport, MoveError> {
        let inner = &self.inner;
        inner.note_lost();
        let mut run = Run {
            mover: Mover::new(inner, ledger, lease, options.bytes_per_second),
            options,
            report: ReplaceReport::default(),
            skipped: BTreeSet::new(),
            tries: BTreeMap::new(),
            started: Instant::now(),
            bytes: 0,
            progress,
        };
        let mut first = true;
        loop {
            let look = look(&run.mover, options, &run.skipped).await?;
            if std::mem::take(&mut first) {
                (run.report.packs, run.bytes) = (look.packs, look.bytes);
            }
            run.report.waiting = look.waiting;
            if look.batch.is_empty() {
                inner.forget_gone(&look.named).await;
                break;
            }
            run.carry_all(look.batch).await?;
            if run.skipped.len() > FAILED_MAX {
                break;
            }
        }
        run.report.bytes_read = run.mover.read.load(Ordering::Relaxed);
        if run.report.unplaced > 0 {
            let packs = run.report.unplaced;
            tracing::warn!(
                packs,
                "packs have shards on drives that are to go or are lost, and no other drive may take them: any one failure domain could be lost"
            );
        }
        Ok(run.report)
    }
}

/// Looks through the ledger for what is to be placed anew, but for what is skipped.
async fn look(mover: &Mover, options: ReplaceOptions, skipped: &BTreeSet<PackId>) -> Result<Look, MoveError> {
    let inner = &mover.inner;
    let layout = inner.layout();
    let mut look = Look::default();
    let mut stream = placed(&*mover.ledger).await?;
    while let Some(placed) = stream.next().await {
        let placed = placed?;
        let entry = &placed.entry;
        look.named.extend(entry.drives.iter().copied());
        let leaving = inner.leaving(&layout, entry, options.lost_after);
        look.waiting += u64::from(leaving.waits);
        let mut moving = leaving.lost.iter().chain(&leaving.draining).peekable();
        if moving.peek().is_none() {
            continue;
        }
        look.packs += 1;
        let stored = moving.filter(|index| !entry.summary.geometry.is_implied(**index));
        look.bytes += stored.count() as u64 * u64::from(entry.summary.geometry.shard_bytes);
        if skipped.contains(&entry.id()) {
            continue;
        }
        let rank = (Reverse(inner.risk(&layout, entry)), entry.id());
        look.batch.insert(rank, placed.address);
        if look.batch.len() > BATCH {
            look.batch.pop_last();
        }
    }
    Ok(look)
}

impl Run<'_> {
    async fn carry_all(
        &mut self,
        batch: BTreeMap<(Reverse<usize>, PackId), Address>,
    ) -> Result<(), MoveError> {
        let (mover, options) = (&self.mover, self.options);
        let carried = batch.into_iter().map(|((_, pack), address)| async move {
            let carried = carry_one(mover, address, options).await;
            (pack, carried)
        });
        let mut carried = std::pin::pin!(futures::stream::iter(carried).buffer_unordered(AT_ONCE));
        while let Some((pack, outcome)) = carried.next().await {
            let report = &mut self.report;
            // What has shards left that cannot go anywhere would be met again and again.
            match outcome? {
                Outcome {
                    moved:
                        Some(Moved::Done {
                            copied,
                            rebuilt,
                            bytes,
                        }),
                    all,
                } => {
                    report.packs_moved += 1;
                    report.shards_copied += copied;
                    report.shards_rebuilt += rebuilt;
                    report.bytes_moved += bytes;
                    if !all {
                        report.unplaced += 1;
                        self.skipped.insert(pack);
                    }
                }
                Outcome { moved, .. } => {
                    match moved {
                        None => report.unplaced += 1,
                        Some(Moved::Unreadable) => report.unreadable += 1,
                        Some(Moved::Failed) => {
                            let tries = self.tries.entry(pack).or_insert(0);
                            *tries += 1;
                            if *tries < TRIES_MAX && self.tries.len() <= FAILED_MAX {
                                continue;
                            }
                            report.failed += 1;
                        }
                        Some(Moved::Busy) => report.failed += 1,
                        // Another did it, or it is no pack any more: the next look tells.
                        _ => continue,
                    }
                    self.skipped.insert(pack);
                }
            }
            let done = report.packs_moved + report.unplaced + report.unreadable + report.failed;
            let shown = Progress {
                done: done.min(report.packs),
                total: report.packs,
                shards_rebuilt: report.shards_rebuilt + report.shards_copied,
                bytes_rebuilt: report.bytes_moved,
                seconds_left: time_left(self.started.elapsed(), report.bytes_moved, self.bytes),
            };
            self.mover.inner.show_replacing(Some(shown));
            (self.progress)(shown);
        }
        self.mover.inner.show_replacing(None);
        Ok(())
    }
}

/// What became of one pack, and whether all of its leaving shards had somewhere to go.
struct Outcome {
    moved: Option<Moved>,
    all: bool,
}

/// Moves what is to leave its drive of one pack, as its entry is now.
async fn carry_one(mover: &Mover, address: Address, options: ReplaceOptions) -> Result<Outcome, MoveError> {
    let changed = Outcome {
        moved: Some(Moved::Changed),
        all: true,
    };
    let Some(placed) = mover.ledger.get(address).await?.as_ref().and_then(Placed::of) else {
        return Ok(changed);
    };
    let inner = &mover.inner;
    let layout = inner.layout();
    let leaving = inner.leaving(&layout, &placed.entry, options.lost_after);
    let count = leaving.lost.len() + leaving.draining.len();
    if count == 0 {
        return Ok(changed);
    }
    let moves = inner.moves_of(&layout, &placed.entry, &leaving, &|drive| mover.trusts(drive));
    let all = moves.len() == count;
    if moves.is_empty() {
        return Ok(Outcome { moved: None, all });
    }
    let moved = Some(mover.carry(placed, &moves).await?);
    Ok(Outcome { moved, all })
}

/// How long the rest takes at the pace so far, in seconds.
pub(super) fn time_left(elapsed: Duration, done: u64, total: u64) -> Option<u64> {
    let left = u128::from(total.saturating_sub(done));
    let needed = elapsed
        .as_millis()
        .checked_mul(left)?
        .checked_div(u128::from(done))?;
    u64::try_from(needed.div_ceil(1_000)).ok()
}

impl Inner {
    pub(super) fn show_replacing(&self, progress: Option<Progress>) {
        *self.replacing.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

impl Cluster {
    /// How far the placing anew of shards is that is under way, if one is.
    pub fn replacing(&self) -> Option<Progress> {
        *self
            .inner
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
