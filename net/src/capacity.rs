//! What a drive can hold, as placement weighs it: rounded, and slow to change.
//!
//! Bytes come and go on a file system that others write to as well; were each of them to count, the same pack would be placed
//! differently every second. Invariant: the figure changes only when the drive's capacity is an eighth more or less than it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The significant bits that are kept.
const KEPT_BITS: u32 = 4;

/// See the module. In bytes; 0 until something was noted.
#[derive(Debug, Default)]
pub(crate) struct Capacity(AtomicU64);

impl Capacity {
    /// Notes what the drive can hold now.
    pub(crate) fn note(&self, bytes: u64) {
        let known = self.0.load(Ordering::Relaxed);
        if known == 0 || bytes.abs_diff(known) > known / 8 {
            self.0.store(rounded(bytes), Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn rounded(bytes: u64) -> u64 {
    let dropped = (u64::BITS - bytes.leading_zeros()).saturating_sub(KEPT_BITS);
    bytes >> dropped << dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_stays_until_it_is_an_eighth_more_or_less() {
        let capacity = Capacity::default();
        capacity.note(1_000_000);
        let first = capacity.get();
        assert!(first <= 1_000_000 && first > 900_000, "{first}");
        for bytes in [first, first - first / 8, first + first / 8] {
            capacity.note(bytes);
            assert_eq!(capacity.get(), first, "{bytes}");
        }
        capacity.note(first + first / 4);
        assert!(capacity.get() > first);
        capacity.note(u64::MAX);
        assert_eq!(capacity.get(), 0xf000_0000_0000_0000);
        capacity.note(3);
        assert_eq!(capacity.get(), 3);
    }
}
