//! What the flusher and the readers of a local ledger share: the slot machine over positions, figures per segment, the
//! tail index.
//!
//! Only the flusher changes it. Invariant: the machine shows committed appends only, and the live bytes of a segment are
//! those of the entries whose values lie in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use engine::log::{LogReader, Position};
use engine::slots::{AppliedAppend, Entry, ReplayError, Sequence, SlotMachine, ValueRange};
use tokio::sync::{oneshot, watch};

use super::LedgerError;
use super::apply::{Agreed, Leader};
use super::frames::{Lineage, Mark, ValueAt};
use super::tail::TailIndex;
use crate::queue::Queue;

/// The slot machine, and what compaction needs to know beside it.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) machine: SlotMachine<ValueAt>,
    live_by_segment: BTreeMap<u32, u64>,
    pub(super) live_bytes: u64,
    /// For each segment the highest sequence in it that carries a record.
    records: BTreeMap<u32, u64>,
    pub(super) records_through: u64,
    /// Of a member of a replicated ledger.
    pub(super) mark: Option<Mark>,
    /// Which ledger it is a copy of; zeros until that has begun.
    pub(super) lineage: Lineage,
    /// The leader, this process, that decided what is staged.
    pub(super) staged_by: Option<Leader>,
}

impl Table {
    /// For a new ledger: the first append comes after `sequence`, and so do the first records.
    pub(super) fn begin_after(&mut self, sequence: Sequence) {
        self.machine.raise_sequence(sequence);
        self.records_through = self.records_through.max(sequence.0);
    }

    fn settle(&mut self, added: &[ValueAt], gone: &[ValueAt]) {
        for value in added {
            *self.live_by_segment.entry(value.frame.segment()).or_default() += value.live_bytes();
            self.live_bytes += value.live_bytes();
        }
        for value in gone {
            let live = self.live_by_segment.entry(value.frame.segment()).or_default();
            *live = live.saturating_sub(value.live_bytes());
            self.live_bytes = self.live_bytes.saturating_sub(value.live_bytes());
        }
    }

    fn note_record(&mut self, frame: Position, append: &AppliedAppend) {
        if append.record.is_some() {
            self.records.insert(frame.segment(), append.sequence.0);
        }
    }

    /// Commits the append that was decided first.
    pub(super) fn commit(
        &mut self,
        frame: Position,
        append: &AppliedAppend,
        ranges: &[Option<ValueRange>],
    ) -> Result<(), ReplayError> {
        let (at, added) = places(frame, ranges);
        let mut gone = Vec::new();
        self.machine
            .commit(append.sequence, at, |old| gone.push(old.value))?;
        self.settle(&added, &gone);
        self.note_record(frame, append);
        Ok(())
    }

    /// Takes back what this member decided and nobody agreed on.
    pub(super) fn forget_staged(&mut self) {
        self.machine.forget_staged();
        self.staged_by = None;
    }

    /// Applies an append read from the log, or one that was decided elsewhere.
    pub(super) fn replay(
        &mut self,
        frame: Position,
        append: &AppliedAppend,
        ranges: &[Option<ValueRange>],
    ) -> Result<(), ReplayError> {
        let (at, added) = places(frame, ranges);
        let mut gone = Vec::new();
        self.machine.replay(append, at, |old| gone.push(old.value))?;
        self.settle(&added, &gone);
        self.note_record(frame, append);
        Ok(())
    }

    /// Applies a carried entry read from the log.
    pub(super) fn restore(&mut self, entry: &Entry, value: ValueAt) -> Result<(), ReplayError> {
        let mut gone = None;
        if self.machine.restore(entry, value, |old| gone = Some(old.value))? {
            self.settle(&[value], gone.as_slice());
        }
        Ok(())
    }

    /// Notes that compaction copied an entry, unless another has replaced it.
    pub(super) fn relocate(&mut self, entry: &Entry, value: ValueAt) {
        if let Some(old) = self.machine.relocate(&entry.address, entry.sequence, value) {
            self.settle(&[value], &[old]);
        }
    }

    /// Whether a segment holds a record that the activity log does not hold yet.
    pub(super) fn holds_records(&self, segment: u32) -> bool {
        self.records
            .get(&segment)
            .is_some_and(|sequence| *sequence > self.records_through)
    }

    /// Forgets a removed segment.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        self.live_by_segment.remove(&segment);
        self.records.remove(&segment);
    }
}

fn places(frame: Position, ranges: &[Option<ValueRange>]) -> (impl FnMut(usize) -> ValueAt, Vec<ValueAt>) {
    let added = ranges
        .iter()
        .flatten()
        .map(|range| ValueAt::new(frame, *range))
        .collect();
    let nowhere = ValueRange { offset: 0, bytes: 0 };
    // Asked only for writes with a value, which have a range.
    let at = move |index: usize| ValueAt::new(frame, ranges.get(index).copied().flatten().unwrap_or(nowhere));
    (at, added)
}

/// What a flusher is asked.
pub(super) enum Request {
    Append {
        append: engine::slots::Append,
        urgent: bool,
        reply: oneshot::Sender<Result<Answer, LedgerError>>,
    },
    Lease {
        holder: String,
        now_ms: u64,
        above: u64,
        reply: oneshot::Sender<Result<u64, LedgerError>>,
    },
    RecordsThrough {
        sequence: Sequence,
        reply: oneshot::Sender<Result<(), LedgerError>>,
    },
    /// Apply what the members of a replicated ledger agreed on, in order.
    Apply {
        agreed: Vec<Agreed>,
        reply: oneshot::Sender<Result<Vec<bool>, LedgerError>>,
    },
    /// Make durable all that was applied.
    Sync {
        reply: oneshot::Sender<Result<(), LedgerError>>,
    },
    /// Compact until nothing more can be let go.
    Compact {
        reply: oneshot::Sender<Result<(), LedgerError>>,
    },
    Close,
}

/// The flusher's answer to an append: the value of a conflicting entry is read by whoever asked.
pub(super) type Answer = engine::slots::Decision<ValueAt>;

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) appends: AtomicU64,
    pub(super) flushes: AtomicU64,
    pub(super) carried_bytes: AtomicU64,
    pub(super) full: AtomicBool,
}

/// The log cannot be trusted any more. Made by [`Shared::fence`] alone.
pub(super) struct Fence(());

/// Shared by the flusher and the readers.
pub(super) struct Shared {
    pub(super) queue: Queue<Request>,
    table: RwLock<Table>,
    tail: Mutex<TailIndex>,
    pub(super) reader: LogReader,
    pub(super) durable: watch::Sender<Sequence>,
    pub(super) fenced: watch::Sender<bool>,
    /// Held by snapshots: while one lives no segment is removed.
    pub(super) snapshots: Arc<()>,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(queue_bytes: u32, reader: LogReader, table: Table, tail: TailIndex) -> Self {
        Self {
            queue: Queue::new(queue_bytes),
            durable: watch::Sender::new(table.machine.sequence()),
            table: RwLock::new(table),
            tail: Mutex::new(tail),
            reader,
            fenced: watch::Sender::new(false),
            snapshots: Arc::new(()),
            counters: Counters::default(),
        }
    }

    pub(super) fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, TailIndex> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the log cannot be trusted any more, before anyone who waits hears that there is no answer.
    pub(super) fn fence(&self) -> Fence {
        self.fenced.send_replace(true);
        Fence(())
    }

    /// Why nothing is answered any more.
    pub(super) fn end_error(&self) -> LedgerError {
        if *self.fenced.borrow() {
            LedgerError::Fenced
        } else {
            LedgerError::Closed
        }
    }
}
