//! One memory budget for all that uploads hold before their shards are durable: sealed chunks and the parity they will have.
//!
//! Not a limit on connections. A ninth of it is kept for streams of a single chunk, which hold room only while they are on
//! their way to the drives: clients that send slowly cannot keep them out. Invariant: an upload that cannot get room gives up
//! what it holds (as a short pack) before it waits, so that uploads never wait for each other in a circle.

use engine::pack::{CHUNK_BYTES_MAX, Code};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The least budget, in units: a full pack, and the share of the small.
const UNITS_MIN: u64 = 144;
/// One unit in so many is kept for streams of one chunk.
const SMALL_SHARE: u32 = 9;

/// The budget; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    small: Arc<Semaphore>,
    total: u32,
    /// What a chunk comes to with its share of the parity.
    unit_bytes: u64,
}

/// Room for some chunks; given back on drop.
#[derive(Debug)]
pub(crate) struct Room {
    permit: Option<OwnedSemaphorePermit>,
    small: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// A budget of `bytes` for packs of this code, at least one full pack.
    pub(crate) fn new(bytes: u64, code: Code) -> Self {
        let unit_bytes = (CHUNK_BYTES_MAX * code.shards()).div_ceil(code.data()) as u64;
        let total = (bytes / unit_bytes).clamp(UNITS_MIN, u64::from(u32::MAX >> 4)) as u32;
        let small = total / SMALL_SHARE;
        Self {
            units: Arc::new(Semaphore::new((total - small) as usize)),
            small: Arc::new(Semaphore::new(small as usize)),
            total,
            unit_bytes,
        }
    }

    /// Room for one chunk, if there is any now. `whole`: the chunk is a whole stream.
    pub(crate) fn try_chunk(&self, whole: bool) -> Option<Room> {
        if let Ok(permit) = Arc::clone(&self.units).try_acquire_owned() {
            return Some(Room::common(permit));
        }
        let permit = whole.then(|| Arc::clone(&self.small).try_acquire_owned().ok());
        permit.flatten().map(Room::small)
    }

    /// Room for so many chunks of a long stream, if less than half of the budget is taken then.
    pub(crate) fn try_chunks(&self, chunks: usize) -> Option<Room> {
        let chunks = u32::try_from(chunks).ok()?;
        if self.used().saturating_add(chunks) > self.total / 2 {
            return None;
        }
        let permit = Arc::clone(&self.units).try_acquire_many_owned(chunks);
        permit.ok().map(Room::common)
    }

    /// Waits for room for one chunk, at most `patience`. The caller must hold none. `whole`: the chunk is a whole stream.
    pub(crate) async fn chunk(&self, whole: bool, patience: Duration) -> Option<Room> {
        let common = Arc::clone(&self.units).acquire_owned();
        let small = async {
            if whole {
                Arc::clone(&self.small).acquire_owned().await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            permit = common => permit.ok().map(Room::common),
            permit = small => permit.ok().map(Room::small),
            () = tokio::time::sleep(patience) => None,
        }
    }

    /// Whether more than half of it is taken, so that whoever holds room without need should give it back.
    pub(crate) fn is_tight(&self) -> bool {
        self.used() > self.total / 2
    }

    /// Bytes in use now, for the metrics.
    pub(crate) fn used_bytes(&self) -> u64 {
        u64::from(self.used()) * self.unit_bytes
    }

    fn used(&self) -> u32 {
        let free = self.units.available_permits() + self.small.available_permits();
        self.total.saturating_sub(u32::try_from(free).unwrap_or(u32::MAX))
    }
}

impl Room {
    /// Room for nothing, to merge others into.
    pub(crate) const fn none() -> Self {
        Self {
            permit: None,
            small: None,
        }
    }

    const fn common(permit: OwnedSemaphorePermit) -> Self {
        Self {
            permit: Some(permit),
            small: None,
        }
    }

    const fn small(permit: OwnedSemaphorePermit) -> Self {
        Self {
            permit: None,
            small: Some(permit),
        }
    }

    /// Takes over what `other` holds.
    pub(crate) fn merge(&mut self, other: Self) {
        merge(&mut self.permit, other.permit);
        merge(&mut self.small, other.small);
    }
}

fn merge(mine: &mut Option<OwnedSemaphorePermit>, theirs: Option<OwnedSemaphorePermit>) {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) => mine.merge(theirs),
        (mine @ None, theirs) => *mine = theirs,
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the default code 4+2.
    const UNIT_BYTES: u64 = 98_304;
    const MOMENT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn room_is_given_back_on_drop_and_counts_chunks() {
        let budget = Budget::new(144 * UNIT_BYTES, Code::DEFAULT);
        let mut held = Room::none();
        for _ in 0..128 {
            held.merge(budget.try_chunk(false).expect("room"));
        }
        assert_eq!(budget.used_bytes(), 128 * UNIT_BYTES);
        assert!(budget.is_tight() && budget.try_chunk(false).is_none());
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.try_chunks(73).is_none(), "more than half");
        let many = budget.try_chunks(70);
        assert_eq!(budget.used_bytes(), 70 * UNIT_BYTES);
        drop(many);
        let _room = budget.chunk(false, MOMENT).await.expect("room");
        assert_eq!(budget.used_bytes(), UNIT_BYTES);
    }

    #[tokio::test]
    async fn long_streams_that_hold_everything_leave_room_for_small_ones() {
        let budget = Budget::new(144 * UNIT_BYTES, Code::DEFAULT);
        let mut held = Room::none();
        while let Some(room) = budget.try_chunk(false) {
            held.merge(room);
        }
        assert!(budget.chunk(false, MOMENT).await.is_none());
        let mut small = Vec::new();
        while let Some(room) = budget.try_chunk(true) {
            small.push(room);
        }
        assert_eq!(small.len(), 16);
        assert!(budget.chunk(true, MOMENT).await.is_none());
        held.merge(small.pop().expect("room"));
        drop(held);
        assert!(budget.chunk(true, MOMENT).await.is_some());
    }
}
