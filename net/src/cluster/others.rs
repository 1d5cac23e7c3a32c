//! What other gateways did to packs, as whoever follows the ledger tells it: the list of what is missing is kept by it.
//!
//! It reads no ledger. Invariant: an append of another gateway is told before this one says that it is past it, so that no drive is accused of having
//! lost what another gateway deleted or moved away.

use std::sync::atomic::Ordering;

use super::Cluster;
use crate::entry::PackEntry;

impl Cluster {
    /// The packs of a vault that are known to lack shards, with the entries that they had when that was noted: for whoever reads the ledger anew
    /// and has not heard of each append.
    pub fn lacking(&self, vault: [u8; 16]) -> Vec<PackEntry> {
        let all = self.inner.missing.page(None, usize::MAX, false);
        let entries = all.into_iter().map(|(entry, _)| entry);
        entries.filter(|entry| entry.vault == vault).collect()
    }

    /// Another gateway has put a pack: one of the same content that was deleted before counts again.
    pub fn note_put_elsewhere(&self, entry: &PackEntry) {
        self.inner.missing.revive(entry.id());
    }

    /// Another gateway has moved shards of a pack to the drives that its entry names now.
    pub fn note_moved_elsewhere(&self, entry: &PackEntry) {
        self.inner.missing.moved(entry);
        // What it left behind under this gateway's lease nobody else deletes.
        if self.inner.known_leases().own == Some(entry.lease) {
            self.inner.strays_left.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Another gateway has retired the pack whose entry stood at this slot.
    pub fn note_retired_elsewhere(&self, slot: [u8; 16]) {
        self.inner.missing.forget(slot);
    }
}
