//! Packs whose shards were written and which no ledger entry names yet.
//!
//! Not persistent: after a crash the ended lease tells the collector the same. Invariant: a pack is pinned from before its
//! first shard goes out until the index has applied the entry that names it; a pin that ends without such an entry makes the
//! pack an orphan, which the collector may delete at once.

use engine::pack::PackId;
use net::PackEntry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The most orphans remembered; the rest is found through their lease after the next start.
const ORPHANS_MAX: usize = 65_536;

#[derive(Debug, Default)]
struct State {
    pinned: HashMap<PackId, u32>,
    orphans: Vec<PackEntry>,
}

/// The pins of one open vault; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Arc<Mutex<State>>);

#[derive(Debug)]
struct Held {
    entry: PackEntry,
    named: AtomicBool,
    pins: Pins,
}

/// One pack held back from the collector; clones hold it together.
#[derive(Clone, Debug)]
pub(crate) struct Pin(Arc<Held>);

impl Pins {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned lock holds plain sets, which no panic leaves half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins a pack that is about to be written.
    pub(crate) fn pin(&self, entry: PackEntry) -> Pin {
        *self.state().pinned.entry(entry.summary.id).or_insert(0) += 1;
        Pin(Arc::new(Held {
            entry,
            named: AtomicBool::new(false),
            pins: self.clone(),
        }))
    }

    /// Every pinned pack.
    pub(crate) fn pinned(&self) -> HashSet<PackId> {
        self.state().pinned.keys().copied().collect()
    }

    /// Whether the pack is pinned.
    pub(crate) fn is_pinned(&self, pack: &PackId) -> bool {
        self.state().pinned.contains_key(pack)
    }

    /// Takes the orphans, for deletion.
    pub(crate) fn take_orphans(&self) -> Vec<PackEntry> {
        std::mem::take(&mut self.state().orphans)
    }

    /// Gives back orphans that could not be deleted now.
    pub(crate) fn return_orphans(&self, orphans: Vec<PackEntry>) {
        let mut state = self.state();
        let free = ORPHANS_MAX.saturating_sub(state.orphans.len());
        state.orphans.extend(orphans.into_iter().take(free));
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

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        let id = self.entry.summary.id;
        if let Some(count) = state.pinned.get_mut(&id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.pinned.remove(&id);
                if !self.named.load(Ordering::Acquire) && state.orphans.len() < ORPHANS_MAX {
                    state.orphans.push(self.entry.clone());
                }
            }
        }
    }
}
