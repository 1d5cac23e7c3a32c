//! Changes that could not be written any more, in memory, over a store that still reads.
//!
//! fjall takes no write after one that failed, as on a full disk, until it is opened again, and may then be as of an earlier
//! batch. So it is not opened again while the process runs: what comes after is kept here, bounded, and the next start applies it
//! from the log once more. Invariant: a key that has a change here is shown as that change says.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Change;

/// Bytes of keys and values that are kept; beyond it batches are refused.
pub(super) const OVERLAY_BYTES_MAX: usize = 128 << 20;

#[derive(Default)]
pub(super) struct Overlay {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The change of a key, if it has one: its value, or that it is gone.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.changes.get(key).cloned()
    }

    /// Takes a batch, whole; or gives it back when there is no room.
    pub(super) fn take(&mut self, batch: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> bool {
        let size = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            // And what a place in the map costs.
            key.len() + value.as_ref().map_or(0, Vec::len) + 64
        };
        let more: usize = batch.iter().map(size).sum();
        if self.bytes + more > OVERLAY_BYTES_MAX {
            return false;
        }
        // What it replaces is counted twice: the bound is for memory, not for accounting.
        self.bytes += more;
        self.changes.extend(batch);
        true
    }

    /// The changes between `from` and `to`, in order or against it.
    pub(super) fn range(&self, from: &[u8], to: Option<&[u8]>, reverse: bool) -> Vec<Change> {
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.changes.range::<[u8], _>((Bound::Included(from), upper));
        let copied = range.map(|(key, value)| (key.clone(), value.clone()));
        if reverse {
            copied.rev().collect()
        } else {
            copied.collect()
        }
    }
}
