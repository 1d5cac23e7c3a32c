//! One memory budget for all sealed bytes that uploads hold before their shards are durable.
//!
//! Not a limit on connections or on small requests. Invariant: an upload that cannot get room gives up what it holds (as a
//! short pack) before it waits, so that uploads never wait for each other in a circle.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one unit of the budget stands for: one chunk.
pub(crate) const UNIT_BYTES: u64 = 65_536;

/// The budget; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

/// Room for some chunks; given back on drop.
#[derive(Debug)]
pub(crate) struct Room {
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of `bytes`, at least one full pack.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(128, u64::from(u32::MAX >> 4)) as u32;
        Self {
            units: Arc::new(Semaphore::new(units as usize)),
            total: units,
        }
    }

    /// Room for one chunk, if there is any now.
    pub(crate) fn try_chunk(&self) -> Option<Room> {
        let permit = Arc::clone(&self.units).try_acquire_owned().ok()?;
        Some(Room { permit: Some(permit) })
    }

    /// Waits for room for one chunk. The caller must hold none.
    pub(crate) async fn chunk(&self) -> Room {
        // The semaphore is never closed; were it, going on without room is the lesser harm.
        Room {
            permit: Arc::clone(&self.units).acquire_owned().await.ok(),
        }
    }

    /// Bytes in use now, for the metrics.
    pub(crate) fn used_bytes(&self) -> u64 {
        let free = self.units.available_permits() as u64;
        u64::from(self.total).saturating_sub(free) * UNIT_BYTES
    }
}

impl Room {
    /// Room for nothing, to merge others into.
    pub(crate) const fn none() -> Self {
        Self { permit: None }
    }

    /// Takes over what `other` holds.
    pub(crate) fn merge(&mut self, other: Self) {
        match (&mut self.permit, other.permit) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, theirs) => *mine = theirs,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_back_on_drop_and_counts_chunks() {
        let budget = Budget::new(128 * UNIT_BYTES);
        let mut held = Room::none();
        for _ in 0..128 {
            held.merge(budget.try_chunk().expect("room"));
        }
        assert_eq!(budget.used_bytes(), 128 * UNIT_BYTES);
        assert!(budget.try_chunk().is_none());
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
        let _room = budget.chunk().await;
        assert_eq!(budget.used_bytes(), UNIT_BYTES);
    }
}
