//! Every live entry at one sequence, in the order of the log but for the versions beside the
//! current ones, which come last; read page by page.
//!
//! Invariant: while a snapshot lives, the segments that its values lie in are not removed.

use std::sync::Arc;

use bytes::Bytes;
use engine::log::{Frame, LogReader, ReadError};
use engine::slots::{Address, Entry, EntryKind, Sequence};

use super::LedgerError;
use super::frames::ValueAt;
use crate::offload::Offload;

/// A page ends after so many bytes of values.
const PAGE_BYTES_MAX: u64 = 8 << 20;

/// A snapshot of a ledger. It takes about 60 bytes of memory an entry; values are read when asked for.
pub struct Snapshot {
    pub(super) sequence: Sequence,
    pub(super) entries: Arc<Vec<(Address, Sequence, ValueAt)>>,
    pub(super) next: usize,
    pub(super) reader: LogReader,
    pub(super) offload: Offload,
    pub(super) _held: Arc<()>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sequence, entries) = (self.sequence, self.entries.len());
        write!(f, "Snapshot({entries} entries at {sequence:?})")
    }
}

impl Snapshot {
    /// The address of every entry; nothing is read.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.entries.iter().map(|(address, ..)| *address)
    }

    /// The sequence at which it was taken: follow the tail from there.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next entries, at most `max`; empty at the end.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Entry>, LedgerError> {
        self.page(max, None).await
    }

    /// The next entries of one kind, at most `max`; empty at the end.
    pub async fn next_of(&mut self, kind: EntryKind, max: usize) -> Result<Vec<Entry>, LedgerError> {
        self.page(max, Some(kind)).await
    }

    async fn page(&mut self, max: usize, kind: Option<EntryKind>) -> Result<Vec<Entry>, LedgerError> {
        let mut wanted = Vec::new();
        let mut bytes = 0;
        while let Some((address, _, value)) = self.entries.get(self.next) {
            if wanted.len() >= max || bytes > PAGE_BYTES_MAX {
                break;
            }
            if kind.is_none_or(|kind| address.kind == kind) {
                wanted.push(self.next);
                bytes += u64::from(value.bytes);
            }
            self.next += 1;
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (entries, reader) = (Arc::clone(&self.entries), self.reader.clone());
        let reading = self.offload.run(move || read_page(&entries, wanted, &reader));
        reading.await.unwrap_or(Err(LedgerError::Closed))
    }
}

/// Reads values, which are in the order of the log: a frame with many of them is read once.
fn read_page(
    entries: &[(Address, Sequence, ValueAt)],
    wanted: Vec<usize>,
    reader: &LogReader,
) -> Result<Vec<Entry>, LedgerError> {
    let mut frame: Option<Frame> = None;
    let mut page = Vec::with_capacity(wanted.len());
    for (address, sequence, value) in wanted.iter().filter_map(|at| entries.get(*at)) {
        let read = match frame.take() {
            Some(frame) if frame.info.position == value.frame => frame,
            _ => reader.read(value.frame)?,
        };
        page.push(Entry {
            address: *address,
            sequence: *sequence,
            value: slice(value, &read)?,
        });
        frame = Some(read);
    }
    Ok(page)
}

fn slice(value: &ValueAt, frame: &Frame) -> Result<Bytes, ReadError> {
    value.slice(&frame.payload).ok_or(ReadError::OutOfBounds {
        segment: value.frame.segment(),
        offset: u64::from(value.frame.offset()),
        bytes: u64::from(value.bytes),
    })
}

/// Reads one value, verified.
pub(super) fn read_value(reader: &LogReader, value: &ValueAt) -> Result<Bytes, ReadError> {
    slice(value, &reader.read(value.frame)?)
}
