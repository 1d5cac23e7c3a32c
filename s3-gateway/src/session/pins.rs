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

#[derive(Debug, Default)]
struct State {
    pinned: HashMap<PackId, u32>,
    /// Packs un-pinned without an entry since the collector last asked.
    orphans: u64,
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

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.pins.state();
        let id = self.entry.summary.id;
        if let Some(count) = state.pinned.get_mut(&id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.pinned.remove(&id);
                state.orphans += u64::from(!self.named.load(Ordering::Acquire));
            }
        }
    }
}
