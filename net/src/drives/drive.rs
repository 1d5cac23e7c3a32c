//! One drive of this machine: present with its shared half of the shard store, or lost.
//!
//! It writes nothing itself; the flusher of its device owns the writer. Invariant: once lost, a drive stays lost until
//! `repair` attaches a writer again; its id never changes.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use engine::drive::{Compaction, Drive, DriveError, LostReason, ShardHeader, ShardKey};
use engine::log::{Position, ReadError};
use engine::slots::AcceptedLeases;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::conduct::Conduct;
use super::flusher::{Flusher, Job};
use super::{DriveConfig, PutSpace};
use crate::capacity::Capacity;
use crate::entry::DriveId;
use crate::latency::{Latency, UnderWay};
use crate::offload::Offload;

/// Why a drive did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriveFailure {
    /// The drive is lost.
    #[error("the drive is lost")]
    Lost,
    /// The drive is full.
    #[error("the drive is full")]
    Full,
    /// The lease of the put has ended.
    #[error("the lease has ended; the lowest live one is {lowest_live}")]
    LeaseEnded {
        /// The lowest lease still accepted.
        lowest_live: u64,
    },
    /// The drive is there and does not hold the shard.
    #[error("the shard is not on the drive")]
    Absent,
    /// The shard is there and does not check: its hash, its header or its payload is wrong.
    #[error("the shard is damaged")]
    Damaged,
    /// The drive could not read or write just now; nothing is known about the shard.
    #[error("the drive failed a request")]
    Io,
    /// The flusher has ended.
    #[error("the drive is closed")]
    Closed,
}

enum State {
    Present { drive: Drive, flusher: Arc<Flusher> },
    Lost(Option<LostReason>),
}

/// A drive of this machine.
pub(crate) struct LocalDrive {
    pub(crate) number: usize,
    pub(crate) id: DriveId,
    pub(crate) dir: PathBuf,
    pub(crate) default: bool,
    pub(crate) latency: Latency,
    pub(crate) under_way: UnderWay,
    pub(crate) conduct: Conduct,
    full: AtomicBool,
    free_bytes: AtomicU64,
    capacity: Capacity,
    /// Reads for other peers that may be under way at one time.
    pub(crate) turns: Arc<tokio::sync::Semaphore>,
    /// Held while the drive is brought back for another peer.
    pub(crate) restoring: tokio::sync::Mutex<()>,
    /// Held while it is checked whether the drive is there.
    pub(crate) checking: Arc<tokio::sync::Mutex<()>>,
    pub(crate) offload: Offload,
    state: RwLock<State>,
}

impl LocalDrive {
    pub(super) fn lost(number: usize, id: DriveId, place: &DriveConfig, offload: Offload) -> Self {
        Self {
            number,
            id,
            dir: place.dir.clone(),
            default: place.default,
            latency: Latency::default(),
            under_way: UnderWay::default(),
            conduct: Conduct::default(),
            full: AtomicBool::new(false),
            free_bytes: AtomicU64::new(0),
            capacity: Capacity::default(),
            turns: Arc::new(tokio::sync::Semaphore::new(TURNS)),
            restoring: tokio::sync::Mutex::default(),
            checking: Arc::default(),
            offload,
            state: RwLock::new(State::Lost(None)),
        }
    }

    /// The drive's store, unless it is lost.
    pub(crate) fn present(&self) -> Option<Drive> {
        self.parts().map(|(drive, _)| drive)
    }

    /// The store and the flusher that owns its writer, unless it is lost.
    pub(super) fn parts(&self) -> Option<(Drive, Arc<Flusher>)> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Present { drive, flusher } if drive.is_lost().is_none() => {
                Some((drive.clone(), Arc::clone(flusher)))
            }
            _ => None,
        }
    }

    /// Why the drive is lost, when it is; the inner option is empty when it was not there at the start.
    pub(crate) fn lost_reason(&self) -> Option<Option<LostReason>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Present { drive, .. } => drive.is_lost().map(Some),
            State::Lost(reason) => Some(*reason),
        }
    }

    /// Puts an opened drive in its place.
    pub(super) fn attach(&self, drive: Drive, flusher: Arc<Flusher>) {
        self.set_full(false);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Present { drive, flusher };
    }

    /// Forgets the store of a lost drive, but not why it is lost; the flusher that may still own its writer.
    pub(super) fn release(&self) -> Option<Arc<Flusher>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Present { drive, flusher } = &*state else {
            return None;
        };
        let (reason, flusher) = (drive.is_lost()?, Arc::clone(flusher));
        *state = State::Lost(Some(reason));
        Some(flusher)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Bytes free on its file system when they were looked at last, at most a second ago.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_free_bytes(&self, free: u64) {
        self.free_bytes.store(free, Ordering::Relaxed);
        if let Some(drive) = self.present() {
            self.capacity.note(drive.usage().allocated.saturating_add(free));
        }
    }

    /// What it can hold, in bytes, as placement weighs it.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.get()
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether the drive is there and holds the shard.
    pub(crate) fn holds(&self, key: &ShardKey) -> Option<Drive> {
        self.present().filter(|drive| drive.contains(key))
    }

    /// Stores a shard, durably.
    pub(crate) async fn put(
        &self,
        header: ShardHeader,
        shard: Bytes,
        space: PutSpace,
    ) -> Result<(), DriveFailure> {
        self.ask(shard.len(), |drive, reply| Job::Put {
            drive,
            header,
            shard,
            space,
            reply,
        })
        .await
    }

    /// Puts a shard in the place of a damaged one, in one commit.
    pub(crate) async fn replace(&self, header: ShardHeader, shard: Bytes) -> Result<(), DriveFailure> {
        self.ask(shard.len(), |drive, reply| Job::Replace {
            drive,
            header,
            shard,
            reply,
        })
        .await
    }

    /// Deletes a shard, durably.
    pub(crate) async fn delete(&self, key: ShardKey) -> Result<(), DriveFailure> {
        self.delete_copy(key, None).await
    }

    /// Deletes a shard, durably; with a place only the copy that lies there.
    pub(crate) async fn delete_copy(&self, key: ShardKey, at: Option<Position>) -> Result<(), DriveFailure> {
        self.ask(0, |drive, reply| Job::Delete {
            drive,
            key,
            at,
            reply,
        })
        .await
    }

    /// Refuses puts under leases that `accepted` does not accept from now on.
    pub(crate) async fn end_leases(&self, accepted: AcceptedLeases) -> Result<(), DriveFailure> {
        self.ask(0, |drive, reply| Job::EndLeases {
            drive,
            accepted,
            reply,
        })
        .await
    }

    /// One step of compaction: segments of which at least the part `min_garbage` (0 to 1) is garbage.
    pub(crate) async fn compact(
        &self,
        min_garbage: f64,
        budget_bytes: u64,
    ) -> Result<Compaction, DriveFailure> {
        self.ask(0, |drive, reply| Job::Compact {
            drive,
            min_garbage,
            budget_bytes,
            reply,
        })
        .await
    }

    /// Gives back the preallocated space.
    pub(crate) async fn trim(&self) -> Result<(), DriveFailure> {
        self.ask(0, |drive, reply| Job::Trim { drive, reply }).await
    }

    /// Reads a shard with its header and checks both; its bytes if they check. Blocks.
    pub(crate) fn check(&self, key: &ShardKey) -> Result<Bytes, DriveFailure> {
        let drive = self.present().ok_or(DriveFailure::Lost)?;
        match drive.read(key) {
            Ok((_, shard)) => Ok(shard),
            Err(error) => Err(self.failure(&drive, &error)),
        }
    }

    /// A slice of a shard that verifies against the shard's hash. Reads the whole shard. Blocks.
    pub(crate) fn prove(&self, key: &ShardKey, offset: u32, bytes: u32) -> Result<Bytes, DriveFailure> {
        let shard = self.check(key)?;
        let slice = engine::proof::slice(&shard, offset, bytes);
        // Beyond the shard's end, which the caller knows.
        slice.map(Bytes::from).map_err(|_| DriveFailure::Absent)
    }

    /// A shard's header. Blocks.
    pub(crate) fn header(&self, key: &ShardKey) -> Result<ShardHeader, DriveFailure> {
        let drive = self.present().ok_or(DriveFailure::Lost)?;
        drive.header(key).map_err(|error| self.failure(&drive, &error))
    }

    /// Hands a job to the device's flusher, once there is room, and waits for its answer.
    async fn ask<T>(
        &self,
        bytes: usize,
        job: impl FnOnce(usize, oneshot::Sender<Result<T, DriveFailure>>) -> Job,
    ) -> Result<T, DriveFailure> {
        let (_, flusher) = self.parts().ok_or(DriveFailure::Lost)?;
        let (reply, answer) = oneshot::channel();
        flusher.push(job(self.number, reply), bytes).await?;
        answer.await.unwrap_or(Err(DriveFailure::Closed))
    }

    /// Whether a read of so many bytes may run on the caller's thread: a short one of a drive that has been fast lately and is not stuck.
    pub(crate) fn is_quick(&self, bytes: u32) -> bool {
        bytes <= INLINE_BYTES_MAX
            && self.latency.is_within(INLINE_MAX)
            && !self.under_way.is_stuck(STUCK_AFTER)
    }

    /// Reads a range of a shard on this thread and notes how long it took. Not verified.
    pub(crate) fn read_range(&self, key: &ShardKey, offset: u32, bytes: u32) -> Result<Bytes, DriveFailure> {
        let drive = self.present().ok_or(DriveFailure::Lost)?;
        let _begun = self.under_way.begin();
        let start = Instant::now();
        let read = drive.read_range(key, offset, bytes);
        // A long read counts as several short ones, so that sizes can be compared.
        let units = bytes.div_ceil(LATENCY_UNIT_BYTES).max(1);
        self.latency.record(start.elapsed() / units);
        read.map_err(|error| self.failure(&drive, &error))
    }

    /// What an error of the store means here; a store that lost its drive says so from now on.
    pub(crate) fn failure(&self, drive: &Drive, error: &DriveError) -> DriveFailure {
        if drive.is_lost().is_some() {
            return DriveFailure::Lost;
        }
        let failure = classify(error);
        if failure != DriveFailure::Absent {
            tracing::warn!(drive = self.number, %error, "a drive failed a request");
        }
        failure
    }
}

/// Reads up to so many bytes may run on the caller's thread ...
pub(crate) const INLINE_BYTES_MAX: u32 = 128 << 10;
/// ... if the drive's last read, and 95 of 100 recent ones, took no longer than this, ...
const INLINE_MAX: Duration = Duration::from_millis(2);
/// ... and none has been under way for longer than this.
const STUCK_AFTER: Duration = Duration::from_millis(10);
/// See [`LocalDrive::turns`].
const TURNS: usize = 32;

/// What an error of the shard store means to who asked for the shard.
pub(super) fn classify(error: &DriveError) -> DriveFailure {
    match error {
        DriveError::Full { .. } => DriveFailure::Full,
        DriveError::LeaseEnded { lowest, .. } => DriveFailure::LeaseEnded { lowest_live: *lowest },
        DriveError::Lost(_) => DriveFailure::Lost,
        DriveError::NoShard(_) => DriveFailure::Absent,
        DriveError::BadHeader { .. }
        | DriveError::OutOfRange { .. }
        | DriveError::Damaged {
            source: None | Some(ReadError::BadHeader { .. } | ReadError::BadPayload { .. }),
            ..
        } => DriveFailure::Damaged,
        // A failed read says nothing about the bytes: nothing may be deleted or replaced on its account.
        _ => DriveFailure::Io,
    }
}

/// The read size that the latency histogram is about, in bytes.
pub(crate) const LATENCY_UNIT_BYTES: u32 = 128 << 10;
