//! The memory of lanes and shards, used again.
//!
//! A full lane is 2 MiB. Freed and allocated anew it comes from the operating system each time, and its page faults cost
//! as much as coding and hashing it. So long lanes come from a pool and go back to it when the last copy of the shard is
//! dropped, wherever that is.
//!
//! Invariant: a pool keeps no more than it was made for; more is given back to the allocator. What a buffer held before
//! is never seen: it is cleared, or overwritten whole.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::SHARD_BYTES_MAX;

/// A lane that grows beyond this is given its full room at once; a shorter one takes only what it needs.
pub(super) const LANE_GROWN_BYTES: usize = 128 * 1024;

/// Spare buffers of [`SHARD_BYTES_MAX`] bytes, shared by all who hold a clone.
#[derive(Debug, Clone)]
pub struct LanePool {
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
    buffers_max: usize,
}

impl LanePool {
    /// A pool that keeps at most `buffers_max` buffers of 2 MiB when nobody uses them. A full 4+2 pack uses six.
    pub fn new(buffers_max: usize) -> Self {
        Self {
            spare: Arc::new(Mutex::new(Vec::new())),
            buffers_max,
        }
    }

    /// How many buffers are spare now.
    pub fn spare(&self) -> usize {
        self.spare.lock().map_or(0, |spare| spare.len())
    }

    /// A buffer with room for a whole shard. Its length and content are left from before.
    fn take(&self) -> Vec<u8> {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(SHARD_BYTES_MAX))
    }

    fn give(&self, buffer: Vec<u8>) {
        if buffer.capacity() >= SHARD_BYTES_MAX
            && let Ok(mut spare) = self.spare.lock()
            && spare.len() < self.buffers_max
        {
            spare.push(buffer);
        }
    }
}

/// A lane or shard: bytes whose buffer goes back to a pool.
#[derive(Debug)]
pub(super) struct Lane {
    bytes: Vec<u8>,
    pool: LanePool,
}

impl Lane {
    /// An empty lane, which takes no memory.
    pub(super) fn new(pool: &LanePool) -> Self {
        Self {
            bytes: Vec::new(),
            pool: pool.clone(),
        }
    }

    /// A shard of `bytes` bytes of any content, to be overwritten.
    pub(super) fn of_length(pool: &LanePool, bytes: usize) -> Self {
        let mut buffer = if bytes > LANE_GROWN_BYTES {
            pool.take()
        } else {
            Vec::new()
        };
        buffer.resize(bytes, 0);
        Self {
            bytes: buffer,
            pool: pool.clone(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The lane's bytes, with room for `more`.
    pub(super) fn grow(&mut self, more: usize) -> &mut Vec<u8> {
        let need = self.bytes.len() + more;
        if need > LANE_GROWN_BYTES && self.bytes.capacity() < SHARD_BYTES_MAX {
            let mut buffer = self.pool.take();
            buffer.clear();
            buffer.extend_from_slice(&self.bytes);
            self.bytes = buffer;
        }
        self.bytes.reserve(more);
        &mut self.bytes
    }

    /// Cuts the lane off behind its first `bytes` bytes.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.bytes.truncate(bytes);
    }

    /// Appends zeros up to `bytes`.
    pub(super) fn pad(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.len());
        self.grow(more).resize(bytes, 0);
    }

    /// The bytes as they can be handed around; the buffer goes back when the last copy is dropped.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.bytes.is_empty() {
            Bytes::new()
        } else if self.bytes.capacity() >= SHARD_BYTES_MAX {
            Bytes::from_owner(self)
        } else {
            Bytes::from(std::mem::take(&mut self.bytes))
        }
    }
}

impl AsRef<[u8]> for Lane {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}
