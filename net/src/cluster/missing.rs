//! Packs that are known to lack shards: written while a drive was lost, or found damaged by a read or a scrub.
//!
//! It is a to-do list of healing and a figure for `status`, not the truth: `repair` and the census look at every pack.
//! Invariant: bounded; what does not fit is only counted, and a census is asked for when there is room again. A pack
//! that was deleted does not come back on the list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::pack::PackId;
use tokio::time::Instant;

use super::accusable::Accusable;
use crate::entry::{DriveId, PackEntry};

/// Most packs remembered.
const PACKS_MAX: usize = 16_384;
/// Most deleted packs remembered, so that a read or a put that was under way does not bring one back.
const DELETED_MAX: usize = 16_384;
/// Most packs remembered of which the entries changed.
const MOVED_MAX: usize = 16_384;
/// After a pack could not be healed it is tried again after this long, ...
const AGAIN_MIN: Duration = Duration::from_secs(2);
/// ... then after twice as long each time, up to this.
const AGAIN_MAX: Duration = Duration::from_secs(300);

#[derive(Debug)]
struct Lack {
    entry: PackEntry,
    indexes: BTreeSet<usize>,
    /// Those of them that were there and are not: no put of theirs is known to have failed.
    lost: BTreeSet<usize>,
    /// The last census that this was noted in or after.
    census: u64,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug, Default)]
struct Known {
    packs: BTreeMap<PackId, Lack>,
    overflow: u64,
    census: u64,
    /// By the slots of their entries.
    deleted: BTreeSet<[u8; 16]>,
    deleted_order: VecDeque<[u8; 16]>,
    accusable: Accusable,
    /// The drives of packs that were moved a while ago at most.
    moved: BTreeMap<PackId, Vec<DriveId>>,
    moved_order: VecDeque<PackId>,
}

impl Known {
    /// What was missing of a pack where it is no more is missing no longer.
    fn follow(&mut self, entry: &PackEntry) {
        if let Some(drives) = self.moved.get_mut(&entry.id()) {
            drives.clone_from(&entry.drives);
        }
        let Some(lack) = self.packs.get_mut(&entry.id()) else {
            return;
        };
        if lack.entry.drives == entry.drives {
            return;
        }
        let before = std::mem::replace(&mut lack.entry, entry.clone());
        lack.indexes
            .retain(|index| before.drives.get(*index) == entry.drives.get(*index));
        if lack.indexes.is_empty() {
            self.packs.remove(&entry.id());
        }
    }
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Missing {
    known: Mutex<Known>,
}

impl Missing {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that shards of a pack are missing.
    pub(super) fn add(&self, entry: &PackEntry, indexes: impl IntoIterator<Item = usize>) {
        self.note(entry, indexes, false);
    }

    /// Notes that shards of a pack are missing whose drives are there and say that they have them not. They are lost only if it is known that they
    /// were there.
    pub(super) fn add_absent(&self, entry: &PackEntry, indexes: impl IntoIterator<Item = usize>) {
        let were_there = self.lock().accusable.were_there(entry);
        self.note(entry, indexes, were_there);
    }

    /// A put of a pack begins here. Until it ends nobody is accused of having lost a shard that may be on its way.
    pub(super) fn begin_put(&self, entry: &PackEntry) {
        self.lock().accusable.begin_put(entry);
    }

    /// It ended: what it did not store is noted.
    pub(super) fn end_put(&self, pack: PackId) {
        self.lock().accusable.end_put(pack);
    }

    /// Whether a missing shard was there and went; said once.
    pub(super) fn take_lost(&self, pack: PackId, index: usize) -> bool {
        let mut known = self.lock();
        let lack = known.packs.get_mut(&pack);
        lack.is_some_and(|lack| lack.lost.remove(&index))
    }

    fn note(&self, entry: &PackEntry, indexes: impl IntoIterator<Item = usize>, lost: bool) {
        let mut indexes = indexes.into_iter().peekable();
        if indexes.peek().is_none() {
            return;
        }
        let mut known = self.lock();
        let known = &mut *known;
        // Whoever names other drives read the entry before it changed, and says nothing about the new ones.
        let now = known.moved.get(&entry.id()).unwrap_or(&entry.drives).clone();
        let indexes: Vec<usize> = indexes
            .filter(|index| now.get(*index) == entry.drives.get(*index))
            .collect();
        if indexes.is_empty() {
            return;
        }
        if known.deleted.contains(&entry.id().slot()) {
            return;
        }
        if known.packs.len() >= PACKS_MAX && !known.packs.contains_key(&entry.id()) {
            known.overflow += 1;
            known.accusable.overflowed();
            return;
        }
        let lack = known.packs.entry(entry.id()).or_insert_with(|| Lack {
            entry: PackEntry {
                drives: now,
                ..entry.clone()
            },
            indexes: BTreeSet::new(),
            lost: BTreeSet::new(),
            census: 0,
            failures: 0,
            not_before: None,
        });
        lack.census = known.census;
        for index in indexes {
            // Something new is a reason to look again at once.
            if lack.indexes.insert(index) {
                lack.not_before = None;
                if lost {
                    lack.lost.insert(index);
                }
            } else if !lost {
                lack.lost.remove(&index);
            }
        }
    }

    /// Notes that a shard is there again.
    pub(super) fn found(&self, pack: PackId, index: usize) {
        let mut known = self.lock();
        if let Some(lack) = known.packs.get_mut(&pack) {
            lack.indexes.remove(&index);
            if lack.indexes.is_empty() {
                known.packs.remove(&pack);
            }
        }
    }

    /// The pack's entry names other drives from now on, which have their shards.
    pub(super) fn moved(&self, entry: &PackEntry) {
        let mut known = self.lock();
        if known.moved.insert(entry.id(), entry.drives.clone()).is_none() {
            known.moved_order.push_back(entry.id());
        }
        if known.moved_order.len() > MOVED_MAX
            && let Some(oldest) = known.moved_order.pop_front()
        {
            known.moved.remove(&oldest);
        }
        known.follow(entry);
    }

    /// These are the packs' entries of now.
    pub(super) fn refresh(&self, entries: &[PackEntry]) {
        let mut known = self.lock();
        for entry in entries {
            known.follow(entry);
        }
    }

    /// Forgets the pack whose entry stood at a slot for good: it was deleted, or another gateway has retired it and will.
    pub(super) fn forget(&self, slot: [u8; 16]) {
        let mut known = self.lock();
        let at = known
            .packs
            .range(PackId::least_at(&slot)..)
            .next()
            .map(|(pack, _)| *pack);
        if let Some(pack) = at.filter(|pack| pack.slot() == slot) {
            known.packs.remove(&pack);
        }
        if known.deleted.insert(slot) {
            known.deleted_order.push_back(slot);
        }
        if known.deleted_order.len() > DELETED_MAX
            && let Some(oldest) = known.deleted_order.pop_front()
        {
            known.deleted.remove(&oldest);
        }
    }

    /// Whether a pack was deleted a while ago at most.
    pub(super) fn is_deleted(&self, pack: PackId) -> bool {
        self.lock().deleted.contains(&pack.slot())
    }

    /// A pack is put: it counts again, also if one of the same content was deleted before.
    pub(super) fn revive(&self, pack: PackId) {
        let mut known = self.lock();
        if known.deleted.remove(&pack.slot()) {
            known.deleted_order.retain(|deleted| *deleted != pack.slot());
        }
    }

    /// A census of all packs begins: it sees what did not fit here. Its number. Nothing more is put under leases below `lowest_live`.
    pub(super) fn begin_census(&self, lowest_live: u64) -> u64 {
        let mut known = self.lock();
        known.overflow = 0;
        known.census += 1;
        known.accusable.begin_census(lowest_live);
        known.census
    }

    /// A census ended: the packs that it did not meet.
    pub(super) fn end_census(&self, census: u64) -> Vec<PackEntry> {
        let mut known = self.lock();
        if known.census == census {
            known.accusable.end_census();
        }
        let not_met = known.packs.values().filter(|lack| lack.census < census);
        not_met.map(|lack| lack.entry.clone()).collect()
    }

    /// A pack that a census did not meet is no pack any more.
    pub(super) fn drop_not_met(&self, pack: PackId, census: u64) {
        let mut known = self.lock();
        if known.packs.get(&pack).is_some_and(|lack| lack.census < census) {
            known.packs.remove(&pack);
        }
    }

    /// Whether a shard is known to be missing.
    pub(super) fn lacks(&self, pack: PackId, index: usize) -> bool {
        let known = self.lock();
        known
            .packs
            .get(&pack)
            .is_some_and(|lack| lack.indexes.contains(&index))
    }

    /// Whether packs did not fit that would fit now.
    pub(super) fn wants_census(&self) -> bool {
        let known = self.lock();
        known.overflow > 0 && known.packs.len() < PACKS_MAX / 2
    }

    /// What is known to be missing of a pack.
    pub(super) fn of(&self, pack: PackId) -> Vec<usize> {
        let known = self.lock();
        known
            .packs
            .get(&pack)
            .map_or_else(Vec::new, |lack| lack.indexes.iter().copied().collect())
    }

    /// A pack could not be healed: it rests, longer each time.
    pub(super) fn rest(&self, pack: PackId) {
        if let Some(lack) = self.lock().packs.get_mut(&pack) {
            let wait = AGAIN_MIN.saturating_mul(1 << lack.failures.min(10));
            lack.failures = lack.failures.saturating_add(1);
            lack.not_before = Some(Instant::now() + wait.min(AGAIN_MAX));
        }
    }

    /// Something changed, such as a drive that is back: no pack rests any more.
    pub(super) fn wake(&self) {
        for lack in self.lock().packs.values_mut() {
            lack.failures = 0;
            lack.not_before = None;
        }
    }

    /// Up to `max` packs after one, with what they lack, in order of pack id; with `due` set only those that do not
    /// rest.
    pub(super) fn page(&self, after: Option<PackId>, max: usize, due: bool) -> Vec<(PackEntry, Vec<usize>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let now = Instant::now();
        let known = self.lock();
        let page = known
            .packs
            .range((from, Bound::Unbounded))
            .filter(|(_, lack)| !due || lack.not_before.is_none_or(|at| at <= now))
            .take(max);
        page.map(|(_, lack)| (lack.entry.clone(), lack.indexes.iter().copied().collect()))
            .collect()
    }

    /// How many packs are known to lack shards, and how many of them lack more than their parity.
    pub(super) fn figures(&self) -> (u64, u64) {
        let known = self.lock();
        let is_unreadable = |lack: &&Lack| lack.indexes.len() > lack.entry.summary.geometry.code.parity();
        let unreadable = known.packs.values().filter(is_unreadable).count() as u64;
        (known.packs.len() as u64 + known.overflow, unreadable)
    }
}
