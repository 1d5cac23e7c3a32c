//! The ledger's door: one ordered, durable log of small facts, read by slot.
//!
//! This is the trait; [`local`] is the ledger of one machine. It opens no value: all but pack, lease and peer entries are
//! sealed by the vault. Invariant (FORMAT.md section 6): an append is applied whole or not at all, its answer is given
//! only once it is durable, and no reader sees what is not durable.

mod apply;
mod compact;
mod fetch;
mod flusher;
mod followed;
mod frames;
pub mod lease;
pub mod local;
mod operation;
mod progress;
mod replay;
mod replica;
mod replicated;
mod sizes;
mod snapshot;
mod state;
mod tail;
#[cfg(test)]
mod tests;
mod transfer;
pub mod wire;

use std::io;

use engine::log::ReadError;
use engine::slots::{Address, Append, AppliedAppend, BadAppend, Entry, EntryKind, Leases, Outcome, Sequence};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::watch;

use crate::entry::PackEntry;
pub(crate) use fetch::{AskError, ask};
pub use followed::{FollowedConfig, FollowedLedger, SOLE_HOLDER_FOR};
pub use frames::Lineage;
pub use local::{LedgerConfig, LocalLedger};
pub use replay::LedgerOpenError;
pub use replicated::{AgreementOpenError, Member, MemberConfig, MemberOpenError};
pub use sizes::LedgerSizes;
pub use snapshot::Snapshot;

/// Why the ledger did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A flush of the ledger failed. Nothing that had not been answered by then is acknowledged, ever; the process
    /// must end and start again.
    #[error("a flush of the ledger failed; nothing more is acknowledged by this process")]
    Fenced,
    /// The disk is full. Nothing of this append was written; it may be tried again when there is space.
    #[error("the ledger's disk is full")]
    Full,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
    /// The member that leads says that no state could apply the append.
    #[error("the ledger's members refuse the append: no state could apply it")]
    RefusedAsBad,
    /// No member of the ledger that leads the others answered in time. What was asked may be done all the same.
    #[error("no member of the ledger that leads answered for 5 s; see `cairn status` for who does not run")]
    Unreachable,
    /// No state could apply the append.
    #[error(transparent)]
    Bad(#[from] BadAppend),
    /// A frame that the ledger holds does not read back.
    #[error("the ledger is damaged in segment {segment} at byte {offset}")]
    Damaged {
        /// The segment's number.
        segment: u32,
        /// Byte offset in the segment.
        offset: u32,
    },
    /// Reading the disk failed.
    #[error("the ledger cannot be read: {0}")]
    Read(io::ErrorKind),
}

impl From<ReadError> for LedgerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::BadHeader { segment, offset, .. } | ReadError::BadPayload { segment, offset, .. } => {
                Self::Damaged { segment, offset }
            }
            ReadError::OutOfBounds { segment, .. } => Self::Damaged { segment, offset: 0 },
            ReadError::NoSegment { .. } => Self::Read(io::ErrorKind::NotFound),
            ReadError::Io { source, .. } => Self::Read(source.kind()),
        }
    }
}

/// What follows a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// The next appends in order; empty at the end.
    Appends(Vec<AppliedAppend>),
    /// The ledger no longer holds them all: start again from a snapshot.
    Compacted,
}

/// Figures of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerStatus {
    /// The newest durable sequence.
    pub position: u64,
    /// Live entries.
    pub entries: u64,
    /// Bytes of live values and of records not yet let go.
    pub live_bytes: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Appends answered since the start.
    pub appends: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// Bytes that compaction carried forward since the start.
    pub carried_bytes: u64,
    /// Records up to this sequence were let go.
    pub records_through: u64,
    /// Every append above this sequence is held; of earlier ones [`Ledger::tail`] says that they are compacted.
    pub tail_above: u64,
    /// The lowest lease that is not ended.
    pub lowest_lease: u64,
    /// The highest lease ever granted.
    pub highest_lease: u64,
    /// Whether a flush failed.
    pub fenced: bool,
    /// Whether the disk was full at the last append that needed space.
    pub full: bool,
}

/// The ordered, durable log of small facts.
pub trait Ledger: Send + Sync {
    /// Decides and applies an append. The answer comes once it is durable, except that a refusal comes once what it was
    /// decided on is durable.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>>;

    /// Like [`Self::append`], for appends that free space (a delete, the collector): on a full disk they may use the
    /// reserve.
    fn append_urgent(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>>;

    /// Sees to it that every append whose submitter heard [`LedgerError::Unreachable`] before this call is applied by the sequence that this gives, or never
    /// will be. What it names may be let go once that sequence was read. Those that are still under way go on.
    ///
    /// # Errors
    /// [`LedgerError::Unreachable`] and [`LedgerError::Full`]: it is to be asked again. [`LedgerError::Fenced`]: the lease has ended, and nothing is applied
    /// under it any more.
    fn settle(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>>;

    /// The newest durable sequence.
    fn position(&self) -> Sequence;

    /// A sequence that a reader must have applied so that it has seen every append answered before this call.
    fn read_index(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>>;

    /// Whether a reader has to take [`Self::read_index`] first to see everything that was answered to anybody: whether somebody else
    /// may write.
    fn must_ask(&self) -> bool {
        false
    }

    /// Follows the newest durable sequence.
    fn changed(&self) -> watch::Receiver<Sequence>;

    /// Up to `max` appends with sequences above `from`, in order. Large appends end a page early.
    fn tail(&self, from: Sequence, max: usize) -> BoxFuture<'_, Result<Tail, LedgerError>>;

    /// Every live entry at one sequence, each once, the versions that are kept beside current ones last, read page by page.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, LedgerError>>;

    /// The live entry at an address.
    fn get(&self, address: Address) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>>;

    /// Lets records up to `sequence` go: the activity log holds them durably.
    fn records_through(&self, sequence: Sequence) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// The leases, as of [`Self::position`] or later.
    fn leases(&self) -> Leases;

    /// The highest number that a lease was ever given, without a copy of them all: it is asked for with each request.
    fn highest_lease(&self) -> u64 {
        self.leases().highest()
    }

    /// Whether a lease is, or was, one of whoever asks: of this process, an earlier one on its data, or one on this machine.
    fn is_own_lease(&self, number: u64) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Takes a new lease (highest ever + 1). This ends those that the same gateway held before. `holder` is for people.
    fn take_lease<'a>(&'a self, holder: &'a str, now_ms: u64) -> BoxFuture<'a, Result<u64, LedgerError>>;

    /// Ends the lease that was taken here: nothing is written under it any more, and nothing read without asking. Records of its operations up to
    /// `records` stand in the activity log here; those after it, of what was still under way, whoever goes on takes over.
    fn end_lease(&self, number: u64, records: Sequence) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// Resolves when a flush has failed. The process then ends.
    fn fenced(&self) -> BoxFuture<'_, ()>;

    /// Figures.
    fn status(&self) -> LedgerStatus;
}

/// The pack entries of a ledger, from a snapshot taken when the stream is first polled. An entry that does not decode is
/// logged and left out.
pub(crate) fn pack_entries(ledger: &dyn Ledger) -> BoxStream<'_, Result<PackEntry, LedgerError>> {
    let pages = futures::stream::unfold(None, move |state: Option<Result<Snapshot, ()>>| async move {
        let mut snapshot = match state {
            None => match ledger.snapshot().await {
                Ok(snapshot) => snapshot,
                Err(error) => return Some((vec![Err(error)], Some(Err(())))),
            },
            Some(Ok(snapshot)) => snapshot,
            Some(Err(())) => return None,
        };
        match snapshot.next_of(EntryKind::Pack, SNAPSHOT_PAGE).await {
            Ok(page) if page.is_empty() => None,
            Ok(page) => Some((
                page.into_iter().filter_map(decode_pack).collect(),
                Some(Ok(snapshot)),
            )),
            Err(error) => Some((vec![Err(error)], Some(Err(())))),
        }
    });
    pages.flat_map(futures::stream::iter).boxed()
}

/// Entries of a snapshot's page.
const SNAPSHOT_PAGE: usize = 512;

fn decode_pack(entry: Entry) -> Option<Result<PackEntry, LedgerError>> {
    match PackEntry::decode(&entry.value) {
        Ok(pack) => Some(Ok(pack)),
        Err(error) => {
            tracing::error!(%error, sequence = entry.sequence.0, "a pack entry does not decode");
            None
        }
    }
}
