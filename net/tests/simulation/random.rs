//! The one source of chance of a run.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Numbers that follow from a seed: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(Mutex<u64>);

/// One step of SplitMix64's output function.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(mix(seed ^ 0x6361_6972_6e21)))
    }

    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(*state)
    }

    /// Below `end`, which is not 0.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// From `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&self, of_1000: u64) -> bool {
        self.below(1_000) < of_1000
    }

    pub fn index(&self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    pub fn ms(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}
