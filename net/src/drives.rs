//! The drives of this machine: one shard put on one drive, read, checked, deleted on order, and its space given back.
//!
//! It places nothing and knows no pack beyond what a shard's header says. The cluster client stands on it for drives of its own
//! process, a node answers other peers from it. Invariants: a put that was answered is durable on a drive that was in place after
//! the flush; a lost drive stays lost until somebody brings it back, and is never recreated silently; a shard is deleted only on
//! the order of the collector that its vault's owner named, or taken back by the very put that wrote it.

mod check;
mod conduct;
mod drive;
mod flusher;
mod open;
mod orders;
mod recreate;
mod scrub;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use engine::disk::Disk;
use engine::log::LogConfig;
use engine::slots::AcceptedLeases;
use tokio::sync::Notify;

use crate::entry::DriveId;
use crate::offload::Offload;
use flusher::Flusher;
use orders::Collectors;

pub(crate) use conduct::Conduct;
pub use conduct::Misdeeds;
pub use drive::DriveFailure;
pub(crate) use drive::{INLINE_BYTES_MAX, LATENCY_UNIT_BYTES, LocalDrive};
pub use open::{DrivesOpenError, cluster_id_of, drive_id};

pub use orders::{DeleteError, DeleteReport};
pub(crate) use recreate::Tried;
pub(crate) use scrub::Scrubbed;

/// Draws log ids for new logs; each call must give a fresh random number.
pub type FreshLogId = Arc<dyn Fn() -> u64 + Send + Sync>;

/// One drive directory of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveConfig {
    /// The directory.
    pub dir: PathBuf,
    /// Whether the directory is one of the program's own defaults, which `repair` may recreate.
    pub default: bool,
}

/// What drives are opened with.
#[derive(Clone)]
pub struct DrivesConfig {
    /// The cluster's id, which every drive carries.
    pub cluster: [u8; 16],
    /// Every drive of this machine, lost ones included.
    pub drives: Vec<DriveConfig>,
    /// Whether drives that are not there are made: on the first start, never later.
    pub create: bool,
    /// What the ids of new drives are derived from, beside their numbers: the cluster id, or on a node its own.
    pub id_seed: [u8; 16],
    /// Bytes that stay free on a drive's file system for deletes and the collector: a put that finds less is refused.
    pub headroom_bytes: u64,
    /// Most bytes of shards that wait for one device.
    pub queue_bytes: u32,
    /// Segment sizes of the drives' logs: what crash tests make small, so that a few writes fill segments.
    pub log: LogConfig,
    /// Fresh log ids.
    pub fresh_log_id: FreshLogId,
    /// Where the drives flush and read.
    pub offload: Offload,
}

impl DrivesConfig {
    /// Free bytes that puts leave on a file system, unless configured.
    pub const HEADROOM_BYTES: u64 = 32 << 20;
    /// Most bytes that wait for one device, unless configured.
    pub const QUEUE_BYTES: u32 = 48 << 20;

    /// A configuration with the usual bounds.
    pub fn new(cluster: [u8; 16], drives: Vec<DriveConfig>, fresh_log_id: FreshLogId) -> Self {
        Self {
            cluster,
            drives,
            create: false,
            id_seed: cluster,
            headroom_bytes: Self::HEADROOM_BYTES,
            queue_bytes: Self::QUEUE_BYTES,
            log: LogConfig::drive(),
            fresh_log_id,
            offload: Offload::Threads,
        }
    }
}

/// What space a shard may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutSpace {
    /// What is free beyond the headroom.
    Free,
    /// The headroom as well: for what the collector writes in order to give more back.
    Headroom,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Bytes of live shards copied.
    pub copied_bytes: u64,
    /// Bytes given back.
    pub freed_bytes: u64,
}

/// What happened to the drives that the cluster client wants to know.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Drives lost shards of packs that are not known here: a census is wanted.
    pub(crate) census: Notify,
    /// There is something to heal.
    pub(crate) heal: Notify,
    back: AtomicBool,
    losses: AtomicU64,
}

impl Changes {
    /// `first` is random, so that another start of the same drives is told from this one.
    fn new(first: u64) -> Self {
        Self {
            census: Notify::new(),
            heal: Notify::new(),
            back: AtomicBool::new(false),
            losses: AtomicU64::new(first),
        }
    }

    /// A number that changes with each loss.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Shards went that nobody here can name a pack of.
    pub(crate) fn lost_shards(&self) {
        self.losses.fetch_add(1, Ordering::AcqRel);
        self.census.notify_one();
    }

    /// A drive is back, or takes puts again.
    pub(crate) fn came_back(&self) {
        self.back.store(true, Ordering::Release);
        self.heal.notify_one();
    }

    /// Whether a drive came back since this was asked last.
    pub(crate) fn take_back(&self) -> bool {
        self.back.swap(false, Ordering::AcqRel)
    }
}

/// See the module.
pub(crate) struct Drives {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: DrivesConfig,
    pub(crate) drives: Vec<Arc<LocalDrive>>,
    /// One flusher for each physical device, by device number.
    flushers: Mutex<BTreeMap<u64, Arc<Flusher>>>,
    collectors: Mutex<Collectors>,
    /// Under which leases shards are taken, as far as any of the drives has heard.
    accepted: RwLock<AcceptedLeases>,
    pub(crate) changes: Arc<Changes>,
}

impl Drives {
    /// The drive of this id.
    pub(crate) fn of(&self, id: &DriveId) -> Option<&Arc<LocalDrive>> {
        self.drives.iter().find(|drive| drive.id == *id)
    }

    fn flushers(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Flusher>>> {
        self.flushers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes of drives since the start.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushers().values().map(|flusher| flusher.flushes()).sum()
    }

    /// Bytes free on a drive's file system.
    pub(crate) fn free_bytes(&self, drive: &LocalDrive) -> u64 {
        self.disk.available_bytes(&drive.dir).unwrap_or(0)
    }

    /// Refuses puts under leases that `said` does not accept on every drive from now on. A drive that is lost hears of it when it is
    /// opened again.
    pub(crate) async fn end_leases(&self, said: &AcceptedLeases) {
        let accepted = self.hear_of_leases(said);
        let ending = self.drives.iter().map(|drive| drive.end_leases(accepted.clone()));
        futures::future::join_all(ending).await;
    }

    /// Under which leases shards are taken.
    pub(crate) fn accepted_leases(&self) -> AcceptedLeases {
        let accepted = self.accepted.read();
        accepted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what was said of leases; what is known with it.
    fn hear_of_leases(&self, said: &AcceptedLeases) -> AcceptedLeases {
        let mut accepted = self.accepted.write().unwrap_or_else(PoisonError::into_inner);
        *accepted = accepted.and(said);
        accepted.clone()
    }
}

impl Drop for Drives {
    fn drop(&mut self) {
        // Without a close the threads still end, each after a clean close of its drives; nobody waits for them.
        for flusher in self.flushers().values() {
            let _ = flusher.push_control(flusher::Job::Close);
        }
        // Whoever waits for a census sees that there are no drives any more.
        self.changes.census.notify_one();
    }
}
