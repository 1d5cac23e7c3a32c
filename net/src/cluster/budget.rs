//! How many bytes a second the moving of shards may take: a pace, not a share.
//!
//! Invariant: over any time the bytes that were let through are no more than the rate times that time, and one turn's besides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_second: u64,
    /// When the next turn may begin.
    next: Mutex<Instant>,
}

impl Budget {
    /// A budget of at least one byte a second.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the turn of so many bytes; whoever comes next waits until they are paid for.
    pub(super) async fn take(&self, bytes: u64) {
        let begins = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody used is not saved up.
            let begins = (*next).max(Instant::now());
            *next = begins + self.time_of(bytes);
            begins
        };
        tokio::time::sleep_until(begins).await;
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX >> 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_budget_is_kept_and_used_up_and_nothing_is_saved() {
        let budget = Budget::new(1_000);
        let start = Instant::now();
        let turns = (0..20).map(|_| budget.take(500));
        futures::future::join_all(turns).await;
        // The last turn of twenty begins once nineteen are paid for.
        assert_eq!(start.elapsed().as_millis(), 9_500);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        budget.take(500).await;
        budget.take(1).await;
        assert_eq!(start.elapsed().as_millis(), 500);
    }
}
