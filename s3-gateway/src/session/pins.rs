//! Packs that the collector leaves alone: those whose shards were written and which no ledger entry names yet, and those that
//! are being read.
//!
//! Not persistent: after a crash the ended lease tells the collector the same. Invariants: a pack is pinned from before its
//! first shard goes out until the index has applied the entry that names it; a pin that ends without such an entry makes the
//! pack an orphan, which the collector may delete at once. A pack that is held is not retired here, and one that is being retired
//! is not held: a reader that holds its packs and then finds their entries in the view reads them to the end. Another gateway may
//! retire one that is held here: its entry is kept then, from before the view shows it no more, and its shards stay as long as the horizon is
//! before that.

use engine::pack::PackId;
use engine::slots::Sequence;
use net::PackEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
struct Kept {
    entry: Vec<u8>,
    /// Whether the view may show it still, and so more readers come.
    shown: bool,
}

#[derive(Debug, Default)]
struct State {
    pinned: HashMap<PackId, u32>,
    /// Readers of each pack.
    held: BTreeMap<PackId, u32>,
    /// Entries that another gateway removed, of packs that are held; of others only while the view is being changed.
    kept: BTreeMap<PackId, Kept>,
    /// How many pins and holds there are from each state of the view.
    relied_on: BTreeMap<u64, u32>,
    /// Packs whose entries are being removed.
    retiring: HashSet<PackId>,
    /// Packs un-pinned without an entry since the collector last asked.
    orphans: u64,
}

/// The pins of one open vault; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    state: Arc<Mutex<State>>,
    /// The newest sequence in the view.
    applied: Arc<AtomicU64>,
}

impl State {
    /// Notes that something relies on the view from `applied` on; it is to say so when it does no longer.
    fn begin(&mut self, applied: &AtomicU64) -> u64 {
        // Read under the lock: whoever asks for the horizon sees this, or what is newer.
        let since = applied.load(Ordering::Acquire);
        *self.relied_on.entry(since).or_insert(0) += 1;
        since
    }

    fn end(&mut self, since: u64) {
        if let Some(count) = self.relied_on.get_mut(&since) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.relied_on.remove(&since);
            }
        }
    }

    fn drop_unneeded(&mut self, id: &PackId) {
        let shown = self.kept.get(id).is_some_and(|kept| kept.shown);
        if !shown && !self.held.contains_key(id) {
            self.kept.remove(id);
        }
    }

    fn let_go(&mut self, id: &PackId) {
        if let Some(count) = self.held.get_mut(id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.held.remove(id);
                self.drop_unneeded(id);
            }
        }
    }
}

#[derive(Debug)]
struct Held {
    entry: PackEntry,
    since: u64,
    named: AtomicBool,
    pins: Pins,
}

/// One pack held back from the collector; clones hold it together.
#[derive(Clone, Debug)]
pub(crate) struct Pin(Arc<Held>);

/// Packs held back from the collector while they are read.
#[derive(Debug)]
pub(crate) struct ReadHold {
    packs: Vec<PackId>,
    since: u64,
    pins: Pins,
}

/// Packs that nobody may hold while their entries are removed.
#[derive(Debug)]
pub(crate) struct Retiring {
    packs: Vec<PackId>,
    pins: Pins,
}

impl Pins {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned lock holds plain sets, which no panic leaves half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None yet, over a view whose newest sequence `applied` says.
    pub(crate) fn new(applied: Arc<AtomicU64>) -> Self {
        Self {
            state: Arc::default(),
            applied,
        }
    }

    /// Nothing that is pinned or held relies on a state of the view before this.
    pub(crate) fn horizon(&self) -> Sequence {
        let state = self.state();
        let applied = self.applied.load(Ordering::Acquire);
        Sequence(
            state
                .relied_on
                .keys()
                .next()
                .map_or(applied, |since| applied.min(*since)),
        )
    }

    /// Every pack that is held.
    pub(crate) fn held(&self) -> BTreeSet<PackId> {
        self.state().held.keys().copied().collect()
    }

    /// Keeps the entry of a pack that the view is about to show no more, whether somebody holds it or will before that;
    /// [`Self::drop_unheld`] follows.
    pub(crate) fn keep(&self, id: PackId, entry: Vec<u8>) {
        self.state().kept.insert(id, Kept { entry, shown: true });
    }

    /// The view shows these packs no more, so that nobody begins to read them: those that nobody holds are let go.
    pub(crate) fn drop_unheld<'p>(&self, packs: impl IntoIterator<Item = &'p PackId>) {
        let mut state = self.state();
        for id in packs {
            if let Some(kept) = state.kept.get_mut(id) {
                kept.shown = false;
            }
            state.drop_unneeded(id);
        }
    }

    /// The entry of a pack that is held and that another gateway has retired.
    pub(crate) fn kept(&self, id: &PackId) -> Option<Vec<u8>> {
        self.state().kept.get(id).map(|kept| kept.entry.clone())
    }

    /// Pins a pack that is about to be written.
    pub(crate) fn pin(&self, entry: PackEntry) -> Pin {
        let mut state = self.state();
        *state.pinned.entry(entry.summary.id).or_insert(0) += 1;
        let since = state.begin(&self.applied);
        drop(state);
        Pin(Arc::new(Held {
            entry,
            since,
            named: AtomicBool::new(false),
            pins: self.clone(),
        }))
    }

    /// Holds packs for a reader, who then looks whether they still have entries. None if one is being retired.
    pub(crate) fn hold(&self, packs: Vec<PackId>) -> Option<ReadHold> {
        let mut state = self.state();
        if !state.retiring.is_empty() && packs.iter().any(|id| state.retiring.contains(id)) {
            return None;
        }
        for id in &packs {
            *state.held.entry(*id).or_insert(0) += 1;
        }
        let since = state.begin(&self.applied);
        drop(state);
        Some(ReadHold {
            packs,
            since,
            pins: self.clone(),
        })
    }

    /// Keeps readers off those of the packs that nobody holds or has pinned, until what is returned is dropped.
    pub(crate) fn retire(&self, packs: impl Iterator<Item = PackId>) -> Retiring {
        let mut state = self.state();
        let free: Vec<PackId> = packs
            .filter(|id| !state.held.contains_key(id) && !state.pinned.contains_key(id))
            .collect();
        state.retiring.extend(free.iter().copied());
        drop(state);
        Retiring {
            packs: free,
            pins: self.clone(),
        }
    }

    /// Every pack that is pinned or held.
    pub(crate) fn pinned(&self) -> HashSet<PackId> {
        let state = self.state();
        state.pinned.keys().chain(state.held.keys()).copied().collect()
    }

    /// How many packs were un-pinned without an entry since the last call: whether the drives are worth looking through.
    pub(crate) fn take_orphans(&self) -> u64 {
        std::mem::take(&mut self.state().orphans)
    }
}

impl Pin {
    /// The pack's entry, as the append that names it carries it.
    pub(crate) fn entry(&self) -> &PackEntry {
        &self.0.entry
    }

    /// Notes that an applied ledger entry names the pack.
    pub(crate) fn named(&self) {
        self.0.named.store(true, Ordering::Release);
    }
}

impl Retiring {
    /// The packs.
    pub(crate) fn packs(&self) -> &[PackId] {
        &self.packs
    }
}

impl Drop for ReadHold {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        for id in &self.packs {
            state.let_go(id);
        }
        state.end(self.since);
    }
}

impl Drop for Retiring {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        for id in &self.packs {
            state.retiring.remove(id);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        let id = self.entry.summary.id;
        state.end(self.since);
        if let Some(count) = state.pinned.get_mut(&id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.pinned.remove(&id);
                state.orphans += u64::from(!self.named.load(Ordering::Acquire));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PackId, Pins};

    const PACK: PackId = PackId([4; 32]);

    #[test]
    fn the_entry_of_a_retired_pack_is_kept_for_whoever_held_it_before_the_view_changed_and_for_nobody_else() {
        let pins = Pins::new(std::sync::Arc::default());
        pins.keep(PACK, vec![1]);
        // One comes and goes, another comes, and only then the view shows it no more.
        drop(pins.hold(vec![PACK]));
        let hold = pins.hold(vec![PACK]);
        assert!(hold.is_some());
        pins.drop_unheld([&PACK]);
        assert_eq!(pins.kept(&PACK), Some(vec![1]));
        drop(hold);
        assert_eq!(pins.kept(&PACK), None);
        pins.keep(PACK, vec![2]);
        pins.drop_unheld([&PACK]);
        assert_eq!(pins.kept(&PACK), None);
    }
}
