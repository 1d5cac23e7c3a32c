//! Where each append lies in the log, and the newest appends themselves, for readers that follow the ledger.
//!
//! It holds no truth: all of it is rebuilt by replay. Invariant: bounded memory, and only durable appends.

use std::collections::{BTreeMap, VecDeque};

use engine::log::Position;
use engine::slots::{AppliedAppend, Sequence, Write};

use super::Tail;

/// Positions kept one by one for the newest appends.
const RING_MAX: usize = 65_536;
/// Beyond the ring one position is kept for so many appends.
const SPARSE_EVERY: u64 = 256;
/// The newest appends kept whole, at most so many.
const RECENT_MAX: usize = 16_384;
/// The newest appends kept whole, at most so many bytes.
const RECENT_BYTES_MAX: usize = 16 << 20;
/// A page of a tail ends after so many bytes.
pub(super) const PAGE_BYTES_MAX: usize = 4 << 20;

/// Where to find what follows a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was in memory.
    Known(Tail),
    /// In the log, from this position on, up to the append of sequence `through`.
    Log { from: Position, through: u64 },
}

/// The index of appends.
#[derive(Debug, Default)]
pub(super) struct TailIndex {
    recent: VecDeque<AppliedAppend>,
    recent_bytes: usize,
    /// Positions of the appends `ring_first ..`, one each.
    ring: VecDeque<Position>,
    ring_first: u64,
    sparse: BTreeMap<u64, Position>,
    /// The first sequence from which on the log holds every append.
    oldest: u64,
    newest: u64,
}

/// Memory that an append takes, in bytes, about.
pub(super) fn memory_bytes(append: &AppliedAppend) -> usize {
    let values: usize = append
        .writes
        .iter()
        .filter_map(|write| write.value.as_ref())
        .map(bytes::Bytes::len)
        .sum();
    let record = append.record.as_ref().map_or(0, |record| record.body.len());
    size_of::<AppliedAppend>() + append.writes.len() * size_of::<Write>() + values + record
}

impl TailIndex {
    /// Notes the append that follows the newest.
    pub(super) fn push(&mut self, position: Position, append: AppliedAppend) {
        let sequence = append.sequence.0;
        if self.ring.is_empty() {
            self.ring_first = sequence;
            self.oldest = sequence;
        }
        self.newest = sequence;
        self.ring.push_back(position);
        if self.ring.len() > RING_MAX {
            let (first, position) = (self.ring_first, self.ring.pop_front());
            if let Some(position) = position
                && (first.is_multiple_of(SPARSE_EVERY) || self.sparse.is_empty())
            {
                self.sparse.insert(first, position);
            }
            self.ring_first += 1;
        }
        self.recent_bytes += memory_bytes(&append);
        self.recent.push_back(append);
        while self.recent.len() > RECENT_MAX
            || (self.recent_bytes > RECENT_BYTES_MAX && self.recent.len() > 1)
        {
            if let Some(old) = self.recent.pop_front() {
                self.recent_bytes -= memory_bytes(&old);
            }
        }
    }

    /// Notes that the log no longer holds frames before segment `segment`.
    pub(super) fn forget_before(&mut self, segment: u32) {
        while let Some((first, position)) = self.sparse.first_key_value().map(|(s, p)| (*s, *p)) {
            if position.segment() >= segment {
                break;
            }
            self.sparse.remove(&first);
            // Appends between here and the next known position may be gone as well.
            self.oldest = self.oldest.max(self.next_known_after(first));
        }
        while self
            .ring
            .front()
            .is_some_and(|position| position.segment() < segment)
        {
            self.ring.pop_front();
            self.ring_first += 1;
            self.oldest = self.oldest.max(self.ring_first);
        }
    }

    fn next_known_after(&self, sequence: u64) -> u64 {
        let next = self.sparse.range(sequence + 1..).next();
        next.map_or(self.ring_first, |(known, _)| *known)
    }

    /// Every append above this sequence is held.
    pub(super) fn whole_above(&self) -> u64 {
        self.oldest.saturating_sub(1)
    }

    /// Whether there was no append yet.
    pub(super) fn is_empty(&self) -> bool {
        self.newest == 0
    }

    /// The newest append's position.
    pub(super) fn newest_position(&self) -> Option<Position> {
        self.ring.back().copied()
    }

    /// What follows `from`, from memory, or where in the log it starts.
    pub(super) fn after(&self, from: Sequence, max: usize) -> Place {
        let Some(next) = from.0.checked_add(1).filter(|next| *next <= self.newest) else {
            return Place::Known(Tail::Appends(Vec::new()));
        };
        if next < self.oldest {
            return Place::Known(Tail::Compacted);
        }
        if let Some(first) = self.recent.front().map(|append| append.sequence.0)
            && next >= first
        {
            let skip = usize::try_from(next - first).unwrap_or(usize::MAX);
            let mut bytes = 0;
            let page = self.recent.iter().skip(skip).take(max).take_while(|append| {
                let fits = bytes == 0 || bytes + memory_bytes(append) <= PAGE_BYTES_MAX;
                bytes += memory_bytes(append);
                fits
            });
            return Place::Known(Tail::Appends(page.cloned().collect()));
        }
        let ring_at = next
            .checked_sub(self.ring_first)
            .and_then(|at| usize::try_from(at).ok());
        let from = match ring_at.and_then(|at| self.ring.get(at)) {
            Some(position) => Some(*position),
            None => self
                .sparse
                .range(..=next)
                .next_back()
                .map(|(_, position)| *position),
        };
        match from {
            Some(from) => Place::Log {
                from,
                through: self.newest,
            },
            None => Place::Known(Tail::Compacted),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::slots::{Address, EntryKind};

    use super::*;

    fn append(sequence: u64, value_bytes: usize) -> AppliedAppend {
        AppliedAppend {
            sequence: Sequence(sequence),
            operation: [0; 16],
            lease: 1,
            vault: [0; 16],
            writes: vec![Write {
                address: Address {
                    scope: [0; 16],
                    kind: EntryKind::Bucket,
                    slot: [0; 16],
                },
                value: Some(Bytes::from(vec![0; value_bytes])),
            }],
            record: None,
        }
    }

    fn at(segment: u32, offset: u32) -> Position {
        Position((u64::from(segment) << 32) | u64::from(offset))
    }

    #[test]
    fn old_appends_are_found_in_the_log_and_new_ones_in_memory() {
        let mut index = TailIndex::default();
        for sequence in 1..=100_000u64 {
            let segment = u32::try_from(sequence / 10_000).unwrap();
            index.push(at(segment, 64), append(sequence, 10));
        }
        assert!(index.ring.len() <= RING_MAX && index.recent.len() <= RECENT_MAX);
        let Place::Known(Tail::Appends(page)) = index.after(Sequence(99_990), 5) else {
            panic!("expected a page");
        };
        let sequences: Vec<u64> = page.iter().map(|append| append.sequence.0).collect();
        assert_eq!(sequences, [99_991, 99_992, 99_993, 99_994, 99_995]);
        assert!(matches!(index.after(Sequence(50_000), 5), Place::Log { from, .. } if from.segment() == 5));
        assert!(matches!(index.after(Sequence(0), 5), Place::Log { from, .. } if from.segment() == 0));
        assert!(matches!(index.after(Sequence(12_345), 5), Place::Log { from, .. } if from.segment() == 1));
        assert_eq!(
            index.after(Sequence(100_000), 5),
            Place::Known(Tail::Appends(Vec::new()))
        );
        assert_eq!(
            index.after(Sequence(u64::MAX), 5),
            Place::Known(Tail::Appends(Vec::new()))
        );
    }

    #[test]
    fn what_compaction_removed_is_said_to_be_compacted() {
        let mut index = TailIndex::default();
        for sequence in 1..=100_000u64 {
            index.push(
                at(u32::try_from(sequence / 10_000).unwrap(), 64),
                append(sequence, 10),
            );
        }
        index.forget_before(2);
        assert_eq!(index.after(Sequence(10_000), 5), Place::Known(Tail::Compacted));
        assert!(matches!(index.after(Sequence(20_500), 5), Place::Log { .. }));
        index.forget_before(8);
        assert_eq!(index.after(Sequence(60_000), 5), Place::Known(Tail::Compacted));
        assert!(matches!(index.after(Sequence(79_999), 5), Place::Log { from, .. } if from.segment() == 8));
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let mut index = TailIndex::default();
        for sequence in 1..=100 {
            index.push(at(0, 64), append(sequence, 1 << 20));
        }
        assert!(index.recent_bytes <= RECENT_BYTES_MAX);
        assert!(!index.recent.is_empty());
    }
}
