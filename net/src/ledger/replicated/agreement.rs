//! What the members agree on, before it is applied: entries, votes, and how far the log was cut at either end, on engine's log.
//!
//! It applies nothing. Every frame's tag says what it is about, so opening reads tags alone. Invariants: an entry or a vote is
//! answered for only once it is durable; entries have no hole; what was cut off the end stays readable on disk until its segment
//! goes, and is never shown again.

mod index;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use engine::codec::{DecodeError, Reader, Writer};
use engine::disk::Disk;
use engine::log::{FrameInfo, Log, LogError, LogReader, OpenError, Position, ReadError};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader, StorageIOError, Vote};
use tokio::sync::watch;

use super::super::LedgerSizes;
use super::codec;
use super::raft::{Entry, LogId, Raft, StorageError};
use crate::offload::Offload;
use crate::reserve::Reserve;
use index::Index;

/// Frame kind of an entry: tag its log id.
const KIND_ENTRY: u8 = 16;
/// Frame kind of a vote.
const KIND_VOTE: u8 = 17;
/// Frame kind of a cut: entries from this index on are not part of the log any more.
const KIND_CUT: u8 = 18;
/// Frame kind of a purge: entries up to this log id are not needed any more.
const KIND_PURGE: u8 = 19;
/// Frame kind of the log id up to which entries are known to be agreed on.
const KIND_AGREED: u8 = 20;

/// Bytes of entries that one reading returns, unless one alone is longer.
const READ_BYTES_MAX: usize = 1 << 20;

/// Why the log of a member does not open.
#[derive(Debug, thiserror::Error)]
pub enum AgreementOpenError {
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// A frame that checks is not of the format.
    #[error("the frame at {position} of what the members agreed on is not valid: {source}")]
    Frame {
        /// Where it begins.
        position: Position,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// What the copy holds durably, or holds as soon as it is flushed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) upto: Option<LogId>,
    /// Another copy was to take its place and did not.
    pub(super) has_failed: bool,
}

/// See the module. Clones share it.
#[derive(Clone)]
pub(super) struct Agreement {
    /// This member.
    own: u64,
    log: Arc<Mutex<Log>>,
    index: Arc<Mutex<Index>>,
    reader: LogReader,
    offload: Offload,
    fenced: watch::Sender<bool>,
    /// What the copy holds; set once there is one.
    holds: Arc<OnceLock<watch::Receiver<Held>>>,
    /// So that what frees space can still be agreed on when the disk is full.
    reserve: Arc<Mutex<Reserve>>,
}

impl Agreement {
    /// Opens the log in `dir`, or makes one. Blocks.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        log_id: u64,
        own: u64,
        offload: Offload,
        sizes: &LedgerSizes,
    ) -> Result<Self, AgreementOpenError> {
        let mut index = Index::default();
        let mut failed = None;
        let mut visit = |frame: FrameInfo| {
            let position = frame.position;
            if failed.is_none()
                && let Err(source) = index.read(&frame)
            {
                failed = Some(AgreementOpenError::Frame { position, source });
            }
        };
        let (log, _) = Log::open(Arc::clone(&disk), dir, sizes.agreement, log_id, &mut visit)?;
        let mut reserve = Reserve::find(
            disk,
            dir,
            "what the ledger's members agree on",
            sizes.reserve_bytes,
        );
        reserve.refill();
        if let Some(error) = failed {
            return Err(error);
        }
        let reader = log.reader();
        Ok(Self {
            own,
            log: Arc::new(Mutex::new(log)),
            index: Arc::new(Mutex::new(index)),
            reader,
            offload,
            fenced: watch::Sender::new(false),
            reserve: Arc::new(Mutex::new(reserve)),
            holds: Arc::default(),
        })
    }

    /// Names the copy to which entries are applied: none is let go that it does not hold. Once.
    pub(super) fn set_copy(&self, holds: watch::Receiver<Held>) {
        if self.holds.set(holds).is_err() {
            tracing::error!("a log of what the members agreed on has a copy already");
        }
    }

    /// Waits until the copy holds everything up to an entry. openraft lets entries go as soon as a received copy is to take their place, and not only once
    /// it has: a crash between the two would leave neither.
    async fn held(&self, upto: LogId) -> Result<(), StorageError> {
        let Some(mut holds) = self.holds.get().cloned() else {
            return Ok(());
        };
        let held = holds
            .wait_for(|held| held.has_failed || held.upto >= Some(upto))
            .await;
        match held {
            Ok(held) if !held.has_failed => Ok(()),
            _ => {
                let why =
                    std::io::Error::other("the copy that was to hold what is let go was not taken over");
                Err(StorageIOError::write_logs(&why).into())
            }
        }
    }

    /// Becomes true once a flush has failed: the process ends then.
    pub(super) fn fenced(&self) -> watch::Receiver<bool> {
        self.fenced.subscribe()
    }

    /// Bytes and entries that are kept, and the index of the newest.
    pub(super) fn kept(&self) -> (u64, u64, u64) {
        let index = self.index();
        (index.bytes(), index.len(), index.last().map_or(0, |id| id.index))
    }

    /// Whether the disk was full when space was last needed.
    pub(super) fn is_full(&self) -> bool {
        !lock(&self.reserve).is_held()
    }

    /// The newest entry that was let go.
    pub(super) fn purged(&self) -> Option<LogId> {
        self.index().purged
    }

    /// The highest index such that entries behind it have at most so many bytes.
    pub(super) fn index_before(&self, bytes: u64) -> Option<u64> {
        self.index().index_before(bytes)
    }

    /// Ends the log cleanly. Blocks.
    pub(super) fn close(&self) {
        if let Err(error) = lock(&self.log).idle() {
            tracing::error!(%error, "what the members agreed on was not closed cleanly");
        }
    }

    pub(super) fn offload(&self) -> &Offload {
        &self.offload
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Runs what writes, one after another.
    async fn write<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Log) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, std::io::Error> {
        let (log, reserve) = (Arc::clone(&self.log), Arc::clone(&self.reserve));
        let done = self.offload.run(move || {
            let (mut log, mut reserve) = (lock(&log), lock(&reserve));
            match work(&mut log) {
                // What was written of it is written once more, and the later one counts.
                Err(LogError::Full { .. }) if reserve.release() => work(&mut log),
                done => {
                    if !reserve.is_held() {
                        reserve.refill();
                    }
                    done
                }
            }
        });
        match done.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if !matches!(error, LogError::Full { .. }) {
                    self.fenced.send_replace(true);
                }
                Err(std::io::Error::other(error))
            }
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    fn read(&self, position: Position) -> Result<Entry, ReadError> {
        let frame = self.reader.read(position)?;
        let mut reader = Reader::new(&frame.payload);
        let damaged = ReadError::BadPayload {
            segment: position.segment(),
            offset: position.offset(),
            bytes: frame.info.payload_bytes,
        };
        let entry = codec::entry(&mut reader).ok().filter(|_| reader.remaining() == 0);
        entry.ok_or(damaged)
    }

    /// Entries of a range in order, those that are there; about `bytes_max` of them at most, but one at least.
    async fn entries(&self, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let wanted = self.index().range(from, until, bytes_max);
        if wanted.iter().all(|(_, cached)| cached.is_some()) {
            return Ok(wanted.into_iter().filter_map(|(_, cached)| cached).collect());
        }
        let this = self.clone();
        let reading = self.offload.run(move || {
            let read = |(position, cached): (Position, Option<Entry>)| match cached {
                Some(entry) => Ok(entry),
                None => this.read(position),
            };
            wanted.into_iter().map(read).collect::<Result<Vec<_>, _>>()
        });
        let failed = |error: std::io::Error| StorageIOError::read_logs(&error).into();
        match reading.await {
            Ok(read) => read.map_err(|error| failed(std::io::Error::other(error))),
            Err(error) => Err(failed(std::io::Error::other(error))),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftLogReader<Raft> for Agreement {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(until) => *until,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, until, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.entries(start, end, READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<Raft> for Agreement {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Raft>, StorageError> {
        let index = self.index();
        Ok(LogState {
            last_purged_log_id: index.purged,
            last_log_id: index.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        let vote = *vote;
        let saved = self.write(move |log| {
            log.append(KIND_VOTE, &vote_tag(&vote), &[])?;
            log.sync_linked()
        });
        saved.await.map_err(|error| StorageIOError::write_vote(&error))?;
        self.index().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        // A leader that starts again would go on in its term: openraft lets it say at once how far everything is agreed on, which it no longer knows, for that
        // is not flushed. It has to be elected again, in a term whose first entry comes behind all that it answered for.
        let led = |vote: Vote<u64>| vote.committed && vote.leader_id.node_id == self.own;
        let vote = self.index().vote;
        Ok(vote.map(|vote| match led(vote) {
            true => Vote::new(vote.leader_id.term, vote.leader_id.node_id),
            false => vote,
        }))
    }

    /// Not flushed: it only tells how far may be applied before the leader says it again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let Some(agreed) = committed.filter(|agreed| self.index().agreed < Some(*agreed)) else {
            return Ok(());
        };
        let mut log = lock(&self.log);
        let written = log.append(KIND_AGREED, &id_tag(&agreed), &[]);
        drop(log);
        match written {
            // Only a hint.
            Err(LogError::Full { .. }) => return Ok(()),
            written => written.map_err(|error| StorageIOError::write_logs(&error))?,
        };
        self.index().agreed = Some(agreed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let index = self.index();
        // It was not flushed with what it tells of.
        Ok(index.agreed.min(index.last()))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Raft>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let writing = entries.clone();
        let written = self.write(move |log| {
            let mut places = Vec::with_capacity(writing.len());
            for entry in &writing {
                let mut writer = Writer::with_capacity(codec::entry_bytes(entry));
                codec::put_payload(&mut writer, entry);
                let tag = id_tag(&entry.log_id);
                places.push(log.append(KIND_ENTRY, &tag, &[writer.as_slice()])?);
            }
            log.sync_linked()?;
            Ok(places)
        });
        match written.await {
            Ok(places) => {
                let mut index = self.index();
                for (entry, place) in entries.into_iter().zip(places) {
                    index.push(entry, place);
                }
                drop(index);
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                let failed = StorageIOError::write_logs(&error).into();
                callback.log_io_completed(Err(error));
                Err(failed)
            }
        }
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let from = log_id.index;
        let written = self.write(move |log| {
            log.append(KIND_CUT, &from.to_le_bytes(), &[])?;
            log.sync_linked()
        });
        written
            .await
            .map_err(|error| StorageIOError::write_logs(&error))?;
        self.index().cut(from);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.held(log_id).await?;
        let (vote, agreed, oldest_needed) = {
            let mut index = self.index();
            index.purge(log_id);
            (index.vote, index.agreed, index.oldest_segment())
        };
        let written = self.write(move |log| {
            // What stands in the segments that go, once more.
            if let Some(vote) = vote {
                log.append(KIND_VOTE, &vote_tag(&vote), &[])?;
            }
            if let Some(agreed) = agreed {
                log.append(KIND_AGREED, &id_tag(&agreed), &[])?;
            }
            log.append(KIND_PURGE, &id_tag(&log_id), &[])?;
            log.sync_linked()?;
            let newest = log.end().segment();
            let goes = |number: u32| number < newest && oldest_needed.is_none_or(|oldest| number < oldest);
            for segment in log.segments() {
                if !segment.sealed || !goes(segment.number) {
                    break;
                }
                log.remove_segment(segment.number)?;
            }
            Ok(())
        });
        Ok(written
            .await
            .map_err(|error| StorageIOError::write_logs(&error))?)
    }
}

fn id_tag(id: &LogId) -> Vec<u8> {
    let mut writer = Writer::with_capacity(24);
    codec::put_log_id(&mut writer, id);
    writer.into_vec()
}

fn vote_tag(vote: &Vote<u64>) -> Vec<u8> {
    let mut writer = Writer::with_capacity(17);
    codec::put_vote(&mut writer, vote);
    writer.into_vec()
}
