//! Memory for what a request makes the gateway hold before it knows whether it is any good: signed chunks, whole bodies.
//!
//! One budget for all connections; what is small enough to be every connection's own is not counted. Invariant: whoever
//! waits here holds none of it, and large holds never take the second half, so that small ones go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many bytes are held without asking.
pub(crate) const FREE_BYTES: u64 = 64 << 10;
/// More than this is given only while half of the budget is free.
const LARGE_BYTES: u64 = 1 << 20;
/// What one permit stands for.
const UNIT_BYTES: u64 = 1 << 10;
/// How long a request waits for memory before it is told to try again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The budget; clones share it.
#[derive(Debug, Clone)]
pub struct Holds {
    units: Arc<Semaphore>,
    total: usize,
    patience: Duration,
}

/// Memory taken out of the budget, given back on drop.
#[derive(Debug)]
pub struct Hold {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Holds {
    /// A budget of so many bytes.
    pub fn new(bytes: u32) -> Self {
        let total = (u64::from(bytes) / UNIT_BYTES) as usize;
        Self {
            units: Arc::new(Semaphore::new(total)),
            total,
            patience: PATIENCE,
        }
    }

    /// Takes memory for `bytes`; `None` when there is too little, also after a wait.
    pub async fn take(self, bytes: u64) -> Option<Hold> {
        if bytes <= FREE_BYTES {
            return Some(Hold { _permit: None });
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let permit = if bytes > LARGE_BYTES {
            let left = self.units.available_permits().checked_sub(units as usize)?;
            if left < self.total / 2 {
                return None;
            }
            self.units.try_acquire_many_owned(units).ok()?
        } else {
            let waited = tokio::time::timeout(self.patience, self.units.acquire_many_owned(units));
            waited.await.ok()?.ok()?
        };
        Some(Hold {
            _permit: Some(permit),
        })
    }
}

impl Default for Holds {
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_holds_leave_half_and_small_ones_wait_and_give_up() {
        let holds = Holds {
            patience: Duration::from_millis(10),
            ..Holds::new(64 << 20)
        };
        let take = |bytes: u64| holds.clone().take(bytes);
        let large = [take(16 << 20).await, take(16 << 20).await];
        assert!(large.iter().all(Option::is_some));
        assert!(take(16 << 20).await.is_none());
        assert!(take((1 << 20) + 1).await.is_none());
        let mut small = Vec::new();
        for _ in 0..32 {
            small.push(take(1 << 20).await.unwrap());
        }
        assert!(take(FREE_BYTES).await.is_some());
        assert!(take(FREE_BYTES + 1).await.is_none());
        drop(small);
        assert!(take(FREE_BYTES + 1).await.is_some());
    }
}
