//! Packs that are known to lack shards: written while a drive was lost, or found damaged by a read or a scrub.
//!
//! It is a to-do list of healing and a figure for `status`, not the truth: `repair` looks at every pack. Invariant:
//! bounded; what does not fit is only counted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::pack::PackId;

use crate::entry::PackEntry;

/// Most packs remembered.
const PACKS_MAX: usize = 16_384;

#[derive(Debug, Default)]
struct Known {
    packs: BTreeMap<PackId, (PackEntry, BTreeSet<usize>)>,
    overflow: u64,
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
        let mut indexes = indexes.into_iter().peekable();
        if indexes.peek().is_none() {
            return;
        }
        let mut known = self.lock();
        if known.packs.len() >= PACKS_MAX && !known.packs.contains_key(&entry.id()) {
            known.overflow += 1;
            return;
        }
        let new = || (entry.clone(), BTreeSet::new());
        known
            .packs
            .entry(entry.id())
            .or_insert_with(new)
            .1
            .extend(indexes);
    }

    /// Notes that a shard is there again.
    pub(super) fn found(&self, pack: PackId, index: usize) {
        let mut known = self.lock();
        if let Some((_, indexes)) = known.packs.get_mut(&pack) {
            indexes.remove(&index);
            if indexes.is_empty() {
                known.packs.remove(&pack);
            }
        }
    }

    /// Forgets a pack: it was deleted.
    pub(super) fn forget(&self, pack: PackId) {
        self.lock().packs.remove(&pack);
    }

    /// A full census was taken: what did not fit here was seen by it.
    pub(super) fn forget_overflow(&self) {
        self.lock().overflow = 0;
    }

    /// What is known to be missing of a pack.
    pub(super) fn of(&self, pack: PackId) -> Vec<usize> {
        let known = self.lock();
        known
            .packs
            .get(&pack)
            .map_or_else(Vec::new, |(_, indexes)| indexes.iter().copied().collect())
    }

    /// Up to `max` packs after one, with what they lack, in order of pack id.
    pub(super) fn page(&self, after: Option<PackId>, max: usize) -> Vec<(PackEntry, Vec<usize>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.lock();
        let page = known.packs.range((from, Bound::Unbounded)).take(max);
        page.map(|(_, (entry, indexes))| (entry.clone(), indexes.iter().copied().collect()))
            .collect()
    }

    /// How many packs lack shards, and the most that one of them lacks.
    pub(super) fn figures(&self) -> (u64, usize) {
        let known = self.lock();
        let worst = known
            .packs
            .values()
            .map(|(_, indexes)| indexes.len())
            .max()
            .unwrap_or(0);
        (known.packs.len() as u64 + known.overflow, worst)
    }
}
