//! Marks of the newest batches, by which a view that lost one of them is known.
//!
//! fjall replays its journals after a crash up to the first place that does not read, journal by journal: damage in one of them
//! would leave a hole under what the next one holds, and the view would name a position that it is not at. Each batch therefore
//! carries its number, in one of [`MARKS`] places that are used in turn; batches too old to have a mark are in tables, which
//! have checksums. Invariant: as long as no batch is missing, each place holds the newest number that belongs there.

use std::sync::atomic::{AtomicU64, Ordering};

use ::fjall::Keyspace;

/// The first byte of a mark's key.
const MARK: u8 = b'b';
/// Places. Tables are written before a quarter of as many batches came (`Store::rotate`).
pub(super) const MARKS: u64 = 1 << 18;

/// What a batch writes besides its rows.
pub(super) struct Mark {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// The number of the next batch.
pub(super) struct Marks(AtomicU64);

impl Marks {
    /// Reads and checks the marks; nothing if a batch is missing.
    pub(super) fn read(rows: &Keyspace) -> Result<Option<Self>, ::fjall::Error> {
        let mut seen = Vec::new();
        for entry in rows.prefix([MARK]) {
            let (key, value) = entry.into_inner()?;
            let number = value.as_ref().try_into().map(u64::from_be_bytes);
            let (Ok(number), true) = (number, key.len() == KEY_BYTES) else {
                return Ok(None);
            };
            if mark_key(number) != *key {
                return Ok(None);
            }
            seen.push(number);
        }
        let next = seen.iter().max().map_or(0, |newest| newest.saturating_add(1));
        // No number belongs in two places, so as many as there are places in use, none of them old, are all of them.
        let oldest = next.saturating_sub(MARKS);
        let whole = seen.len() as u64 == next.min(MARKS) && seen.iter().all(|number| *number >= oldest);
        Ok(whole.then(|| Self(AtomicU64::new(next))))
    }

    /// The mark of the next batch.
    pub(super) fn next(&self) -> Mark {
        let number = self.0.load(Ordering::Relaxed);
        Mark {
            key: mark_key(number),
            value: number.to_be_bytes().to_vec(),
        }
    }

    /// That number.
    pub(super) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that the batch with the mark was applied.
    pub(super) fn applied(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const KEY_BYTES: usize = 9;

pub(super) fn mark_key(number: u64) -> Vec<u8> {
    [&[MARK][..], &(number % MARKS).to_be_bytes()].concat()
}
