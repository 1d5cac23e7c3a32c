//! The cluster client: packs onto drives and back, over the drives of this machine.
//!
//! It places shards, acknowledges by rule, reads the cheapest shard, hedges, rebuilds, repairs, scrubs and deletes. It
//! opens nothing that it carries and knows no name. Peers later stand where a local drive stands now.
//!
//! Invariants: a pack is acknowledged only when k + ceil(m/2) of its shards are durable on drives that are still in
//! place; a lost drive stays in the layout and is never recreated silently; bytes that do not check are never returned
//! by a verified read.

mod census;
mod delete;
mod drive;
mod flusher;
mod heal;
mod missing;
mod open;
mod put;
mod read;
mod rebuild;
mod recreate;
mod repair;
mod scrub;
mod status;
mod tally;
#[cfg(test)]
mod tests;
mod verify;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use engine::disk::Disk;
use engine::erasure::Coder;
use engine::log::LogConfig;
use engine::pack::Code;
use tokio::sync::{Notify, Semaphore};

use crate::entry::DriveId;
use drive::LocalDrive;
use flusher::Flusher;
use missing::Missing;

pub use delete::{CompactReport, DeleteError, DeleteReport, StoredPack, StoredPage};
pub use drive::DriveFailure;
pub use open::{ClusterOpenError, cluster_id_of, drive_id};
pub use put::{PutError, PutSpace};
pub use read::{LaneRange, ReadError};
pub use repair::{PackStream, Progress, RepairError, RepairOptions, RepairReport, packs_of};
pub use scrub::{PackLookup, ScrubReport};
pub use status::{ClusterStatus, DriveState, DriveStatus};
pub use tally::Tally;
pub use verify::{BadShard, VerifiedRange};

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

/// What a cluster is opened with.
#[derive(Clone)]
pub struct ClusterConfig {
    /// The cluster's id, which every drive carries.
    pub cluster: [u8; 16],
    /// The code of new packs.
    pub code: Code,
    /// Every drive of the layout, lost ones included.
    pub drives: Vec<DriveConfig>,
    /// Whether drives that are not there are made: on the first start, never later.
    pub create: bool,
    /// Bytes that stay free on a drive's file system for deletes and the collector: a put that finds less is refused.
    pub headroom_bytes: u64,
    /// Most bytes of shards that wait for one device.
    pub queue_bytes: u32,
    /// Segment sizes of the drives' logs: what crash tests make small, so that a few writes fill segments.
    pub log: LogConfig,
    /// Fresh log ids.
    pub fresh_log_id: FreshLogId,
}

impl ClusterConfig {
    /// Free bytes that puts leave on a file system, unless configured.
    pub const HEADROOM_BYTES: u64 = 32 << 20;
    /// Most bytes that wait for one device, unless configured.
    pub const QUEUE_BYTES: u32 = 48 << 20;

    /// A configuration with the usual bounds.
    pub fn new(cluster: [u8; 16], code: Code, drives: Vec<DriveConfig>, fresh_log_id: FreshLogId) -> Self {
        Self {
            cluster,
            code,
            drives,
            create: false,
            headroom_bytes: Self::HEADROOM_BYTES,
            queue_bytes: Self::QUEUE_BYTES,
            log: LogConfig::drive(),
            fresh_log_id,
        }
    }
}

/// The drives of this machine. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

/// Counters since the start.
#[derive(Debug, Default)]
struct Counters {
    packs_put: AtomicU64,
    shards_put: AtomicU64,
    reads: AtomicU64,
    hedges: AtomicU64,
    reconstructed: AtomicU64,
    rebuilt: AtomicU64,
}

/// Delete orders taken so far: the collector trusted for each vault and the highest order number seen.
type Collectors = HashMap<[u8; 16], (scopes::PublicKey, Option<u64>)>;

struct Inner {
    disk: Arc<dyn Disk>,
    config: ClusterConfig,
    drives: Vec<Arc<LocalDrive>>,
    by_id: HashMap<DriveId, usize>,
    /// One flusher for each physical device, by device number.
    flushers: Mutex<HashMap<u64, Arc<Flusher>>>,
    missing: Missing,
    collectors: Mutex<Collectors>,
    lowest_lease: AtomicU64,
    /// Packs being rebuilt or read whole at one time: each may hold k + m shards in memory.
    whole_packs: Arc<Semaphore>,
    /// Bytes of shards that acknowledged puts are still writing.
    background_bytes: Arc<Semaphore>,
    /// Rebuilding holds it shared, deleting alone, so that no shard is put back behind a delete.
    rebuild_gate: tokio::sync::RwLock<()>,
    heal: Arc<Notify>,
    /// Drives lost shards of packs that are not known here: a census is wanted.
    census: Arc<Notify>,
    closing: AtomicBool,
    /// Repairs under way: healing leaves the packs to them.
    repairs: AtomicUsize,
    coder: Arc<Coder>,
    counters: Counters,
}

/// Packs that may be whole in memory at once.
const WHOLE_PACKS_MAX: usize = 3;
/// Bytes that acknowledged puts may still be writing; beyond it the rest of a pack is left to healing.
const BACKGROUND_BYTES_MAX: usize = 64 << 20;

impl Inner {
    fn drive(&self, id: DriveId) -> Option<&Arc<LocalDrive>> {
        self.by_id.get(&id).and_then(|number| self.drives.get(*number))
    }

    fn flushers(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Flusher>>> {
        self.flushers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without a close the threads still end, each after a clean close of its drives; nobody waits for them.
        for flusher in self.flushers().values() {
            let _ = flusher.push_control(flusher::Job::Close);
        }
        // The census task sees that there is no cluster any more.
        self.census.notify_one();
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("drives", &self.inner.drives.len())
            .field("present", &self.present())
            .finish_non_exhaustive()
    }
}
