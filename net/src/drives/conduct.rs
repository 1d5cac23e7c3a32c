//! What a drive did that an honest one with a good disk does not do, counted since the start.
//!
//! Invariant: each is counted once it is certain, by bytes that do not have their hash or by two answers that contradict each
//! other; never on a third party's word.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    altered: AtomicU64,
    claimed: AtomicU64,
    absent: AtomicU64,
    rolled_back: AtomicU64,
}

/// The counts of a [`Conduct`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Misdeeds {
    /// Shards that are not what was stored.
    pub altered: u64,
    /// Shards that it says it has and does not give.
    pub claimed: u64,
    /// Shards that it had and says it has no more.
    pub absent: u64,
    /// How often it was in an older state than it had been in, without having been made anew.
    pub rolled_back: u64,
}

impl Conduct {
    pub(crate) fn note_altered(&self) {
        self.altered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_claimed(&self) {
        self.claimed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_absent(&self) {
        self.absent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_rolled_back(&self) {
        self.rolled_back.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Misdeeds {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Misdeeds {
            altered: count(&self.altered),
            claimed: count(&self.claimed),
            absent: count(&self.absent),
            rolled_back: count(&self.rolled_back),
        }
    }
}
