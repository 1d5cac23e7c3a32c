//! Of which packs it is known here that what no list says is missing was there, so that a drive without it has lost it.
//!
//! A put is acknowledged before its last shard is stored, and the shard that never was is on the list of whoever put the pack: of this process for
//! its own packs, and of nobody for those of others and of earlier processes, until a census has counted them. Invariant: when in doubt no drive is
//! accused; what is missing is made again all the same.

use std::collections::BTreeSet;

use engine::pack::PackId;

use crate::entry::PackEntry;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Accusable {
    /// The lease under which this process puts packs, once it has put one.
    own: Option<u64>,
    /// Packs that are being put. As many as there are puts.
    putting: BTreeSet<PackId>,
    /// Whatever was put under a lower lease was counted.
    counted_below: u64,
    /// The same, once the census that runs has ended.
    counting_below: u64,
    /// Something did not fit on the list and was not counted since.
    has_gaps: bool,
    /// The same, since the census that runs began.
    has_new_gaps: bool,
}

impl Accusable {
    /// Whether a shard of this pack that is not on the list was there.
    pub(super) fn were_there(&self, entry: &PackEntry) -> bool {
        let is_known = self.own == Some(entry.lease) || entry.lease < self.counted_below;
        is_known && !self.has_gaps && !self.putting.contains(&entry.id())
    }

    pub(super) fn begin_put(&mut self, entry: &PackEntry) {
        self.own = Some(entry.lease);
        self.putting.insert(entry.id());
    }

    pub(super) fn end_put(&mut self, pack: PackId) {
        self.putting.remove(&pack);
    }

    /// Something that is missing was not put on the list.
    pub(super) fn overflowed(&mut self) {
        self.has_gaps = true;
        self.has_new_gaps = true;
    }

    /// A census begins: nothing more is put under leases below `lowest_live`.
    pub(super) fn begin_census(&mut self, lowest_live: u64) {
        self.counting_below = lowest_live;
        self.has_new_gaps = false;
    }

    /// It has met every pack.
    pub(super) fn end_census(&mut self) {
        self.has_gaps = self.has_new_gaps;
        if !self.has_gaps {
            self.counted_below = self.counted_below.max(self.counting_below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::entry;

    fn under(lease: u64) -> PackEntry {
        PackEntry { lease, ..entry() }
    }

    #[test]
    fn nobody_is_accused_of_what_may_never_have_been_there() {
        let mut known = Accusable::default();
        let (own, earlier, other) = (under(8), under(5), under(9));
        assert!(!known.were_there(&own) && !known.were_there(&earlier));
        known.begin_put(&own);
        assert!(!known.were_there(&own), "its last shard is on its way");
        known.end_put(own.id());
        assert!(known.were_there(&own));
        assert!(!known.were_there(&earlier), "nobody counted it yet");

        known.begin_census(8);
        assert!(!known.were_there(&earlier));
        known.end_census();
        assert!(known.were_there(&earlier));
        assert!(!known.were_there(&other), "another gateway still puts under it");

        known.overflowed();
        assert!(!known.were_there(&own) && !known.were_there(&earlier));
        known.begin_census(8);
        known.overflowed();
        known.end_census();
        assert!(!known.were_there(&own), "it did not fit again");
        known.begin_census(8);
        known.end_census();
        assert!(known.were_there(&own) && known.were_there(&earlier));
    }
}
