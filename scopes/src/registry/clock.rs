//! The time that decisions are made at: what the clock says, and the latest that it ever said.
//!
//! It reads no clock. It is the process's and not the registry's: the registry is the same everywhere and is shared by all who ask, and no two
//! machines have seen the same time.
//!
//! Invariant: a clock that goes back lets nothing in that had ended, and one that was ahead for a moment begins nothing that has not begun. What it
//! costs: after a clock was far ahead, what would have ended by then is refused until the process starts again.

use std::sync::atomic::{AtomicU64, Ordering};

/// The latest time seen, in milliseconds since 1970, UTC.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

/// An instant, made by [`Clock::now`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    said_ms: u64,
    latest_ms: u64,
}

impl Clock {
    /// One that has seen `latest_ms`: the time of the newest record on disk, or 0.
    #[must_use]
    pub const fn new(latest_ms: u64) -> Self {
        Self(AtomicU64::new(latest_ms))
    }

    /// The machine's clock says `said_ms`.
    #[must_use]
    pub fn now(&self, said_ms: u64) -> Now {
        let latest_ms = self.0.fetch_max(said_ms, Ordering::Relaxed).max(said_ms);
        Now { said_ms, latest_ms }
    }
}

impl Now {
    /// What the clock said, in milliseconds since 1970, UTC.
    #[must_use]
    pub const fn said_ms(&self) -> u64 {
        self.said_ms
    }

    /// Whether something that begins then has begun.
    #[must_use]
    pub const fn is_from(&self, begin_ms: u64) -> bool {
        self.said_ms >= begin_ms
    }

    /// Whether something that ends then has ended.
    #[must_use]
    pub const fn is_after(&self, end_ms: u64) -> bool {
        self.latest_ms >= end_ms
    }
}
