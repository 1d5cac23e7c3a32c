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
use crate::disk::DIRECT_ALIGN;

/// A lane that grows beyond this is given its full room at once, unless it is known how long it will be.
pub(super) const LANE_GROWN_BYTES: usize = 128 * 1024;
/// A lane of a known length up to this has a buffer of its own: short packs of many streams would else take sixteen times
/// the memory that they are counted with.
const LANE_OWN_BYTES: usize = SHARD_BYTES_MAX / 2;

/// Spare buffers with room for a shard of [`SHARD_BYTES_MAX`] bytes, shared by all who hold a clone.
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
        spare.unwrap_or_else(fresh_buffer)
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

/// A lane or shard: bytes whose buffer goes back to a pool. In a buffer of a pool they begin at a multiple of
/// [`DIRECT_ALIGN`], so that the drives can write them from there.
#[derive(Debug)]
pub(super) struct Lane {
    buffer: Vec<u8>,
    /// Where in the buffer the bytes begin.
    start: usize,
    pool: LanePool,
}

/// A buffer with room for a shard that begins at a multiple of [`DIRECT_ALIGN`]. The program's allocator puts one of 2 MiB there
/// by itself; a little more would cost a size class, which is a quarter more memory.
fn fresh_buffer() -> Vec<u8> {
    let exact = Vec::with_capacity(SHARD_BYTES_MAX);
    if aligned_start(&exact) == 0 {
        return exact;
    }
    Vec::with_capacity(SHARD_BYTES_MAX + DIRECT_ALIGN)
}

/// Where the bytes begin in a buffer from a pool.
fn aligned_start(buffer: &[u8]) -> usize {
    let start = buffer.as_ptr().align_offset(DIRECT_ALIGN);
    // Only the interpreter cannot tell.
    if start < DIRECT_ALIGN { start } else { 0 }
}

impl Lane {
    /// An empty lane, which takes no memory.
    pub(super) fn new(pool: &LanePool) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            pool: pool.clone(),
        }
    }

    /// A shard of `bytes` bytes of any content, to be overwritten.
    pub(super) fn of_length(pool: &LanePool, bytes: usize) -> Self {
        let mut lane = Self::new(pool);
        if bytes > LANE_OWN_BYTES {
            // What is left in the buffer is overwritten anyway, so it is not cleared first.
            lane.buffer = pool.take();
            lane.start = aligned_start(&lane.buffer);
        } else {
            lane.expect(bytes);
        }
        lane.buffer.resize(lane.start + bytes, 0);
        lane
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    /// Takes the memory for `bytes` bytes in all, and no more if they are few.
    pub(super) fn expect(&mut self, bytes: usize) {
        if bytes > LANE_GROWN_BYTES && self.buffer.capacity() < self.start + bytes {
            self.move_to(if bytes > LANE_OWN_BYTES {
                self.pool.take()
            } else {
                Vec::with_capacity(bytes + DIRECT_ALIGN)
            });
        }
    }

    /// Makes room for `more` bytes.
    pub(super) fn grow(&mut self, more: usize) {
        let need = self.len() + more;
        if need > LANE_GROWN_BYTES && self.buffer.capacity() < self.start + need {
            self.move_to(self.pool.take());
        }
        self.buffer.reserve(more);
    }

    fn move_to(&mut self, mut buffer: Vec<u8>) {
        let start = aligned_start(&buffer);
        buffer.clear();
        buffer.resize(start, 0);
        buffer.extend_from_slice(self.as_slice());
        (self.buffer, self.start) = (buffer, start);
    }

    /// Appends a copy of `bytes`.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.grow(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Cuts the lane off behind its first `bytes` bytes.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.buffer.truncate(self.start + bytes);
    }

    /// Appends zeros up to `bytes`.
    pub(super) fn pad(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.len());
        self.grow(more);
        self.buffer.resize(self.start + bytes, 0);
    }

    /// The bytes as they can be handed around; the buffer goes back when the last copy is dropped.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.is_empty() {
            Bytes::new()
        } else if self.start > 0 || self.buffer.capacity() >= SHARD_BYTES_MAX {
            Bytes::from_owner(self)
        } else {
            Bytes::from(std::mem::take(&mut self.buffer))
        }
    }
}

impl AsRef<[u8]> for Lane {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}
