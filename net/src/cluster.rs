//! The cluster client: packs onto drives and back, over the drives of this machine and those of peers.
//!
//! It places shards, acknowledges by rule, reads the cheapest shard, hedges, rebuilds, repairs, scrubs and deletes. It
//! opens nothing that it carries and knows no name.
//!
//! Invariants: a pack is acknowledged only when k + ceil(m/2) of its shards are durable on drives that are still in
//! place; a lost drive stays in the layout and is never recreated silently; bytes that do not check are never returned
//! by a verified read.

mod accusable;
mod budget;
mod cause;
mod census;
mod challenge;
mod challenging;
mod collect;
mod delete;
mod durability;
mod heal;
mod holdings;
mod layout;
mod leases;
mod missing;
mod moving;
mod open;
mod others;
mod place;
mod presence;
mod put;
mod read;
mod rebalance;
mod rebuild;
mod recreate;
mod remote;
mod repair;
mod replace;
mod replacing;
mod scrub;
mod status;
mod strays;
mod tally;
#[cfg(test)]
mod tests;
mod verify;
mod votes;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use engine::erasure::Coder;
use engine::pack::Code;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::drives::{DriveConfig, Drives, DrivesConfig, FreshLogId};
use crate::entry::{DriveId, PackEntry};
use challenge::Draws;
use challenging::Answers;
use layout::{Layout, Way};
use missing::Missing;
use place::Place;
use remote::Operations;

pub use crate::drives::{
    CompactReport, DeleteError, DeleteReport, DriveFailure, Misdeeds, PutSpace, cluster_id_of, drive_id,
};
pub use cause::Cause;
pub use challenge::{ChallengeReport, SAMPLES_MAX, detection};
pub use challenging::{CHALLENGES_PER_HOUR, CHALLENGES_PER_HOUR_MAX, Challenged};
pub use collect::{ClaimedCopy, ListedPack, ListedPage, StoredPack};
pub use durability::DurabilityReport;
pub use holdings::{DrainState, Holding, Holdings};
pub use layout::{LayoutError, PeerConfig, Standing};
pub use moving::MoveError;
pub use open::ClusterOpenError;
pub use put::PutError;
pub use read::{LaneRange, ReadError};
pub use rebalance::{Fullness, PlannedMove, RebalanceOptions, RebalancePlan, RebalanceReport};
pub use remote::Peers;
pub use repair::{PackStream, Progress, RepairError, RepairOptions, RepairReport, packs_of};
pub use replace::{ReplaceOptions, ReplaceReport};
pub use scrub::{PackLookup, ScrubReport};
pub use status::{ClusterStatus, DriveState, DriveStatus, PeerStatus, Silence};
pub use strays::HeldStrays;
pub use tally::Tally;
pub use verify::{BadShard, VerifiedRange};

/// What a cluster is opened with.
#[derive(Clone)]
pub struct ClusterConfig {
    /// The drives of this machine.
    pub own: DrivesConfig,
    /// The code of new packs.
    pub code: Code,
    /// The peers whose drives are part of the layout, behind those of this machine.
    pub peers: Option<Peers>,
}

impl ClusterConfig {
    /// A configuration over drives of this machine, with the usual bounds.
    pub fn new(cluster: [u8; 16], code: Code, drives: Vec<DriveConfig>, fresh_log_id: FreshLogId) -> Self {
        Self {
            own: DrivesConfig::new(cluster, drives, fresh_log_id),
            code,
            peers: None,
        }
    }
}

/// The drives of a layout. Clones share it.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
    /// What its reads and puts are done for, if somebody said.
    cause: Option<Cause>,
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
    /// Milliseconds that shards were watched, all of them together.
    shard_ms: AtomicU64,
}

struct Inner {
    /// The drives of this machine.
    own: Arc<Drives>,
    /// Replaced whole when it changes: whoever takes it keeps what it took.
    layout: RwLock<Arc<Layout>>,
    /// How new peers are reached.
    way: Option<Way>,
    /// Held while the layout is changed.
    changing: tokio::sync::Mutex<()>,
    /// Grows with each change of the layout.
    layout_changes: AtomicU64,
    operations: Arc<Operations>,
    /// What challenges are drawn from.
    draws: Mutex<Draws>,
    /// How they were answered lately.
    answers: Mutex<Answers>,
    /// Since when drives have been lost.
    lost_since: Mutex<BTreeMap<DriveId, Instant>>,
    /// Copies of shards that are being moved to where they are, or deleted.
    busy: Mutex<BTreeSet<strays::Copy>>,
    /// How often moves left copies behind that no entry names.
    strays_left: AtomicU64,
    /// Moves of which the ledger has not said what became of them.
    swaps_in_doubt: AtomicUsize,
    /// What moves hold in memory, in KiB.
    moving_memory: Semaphore,
    /// How far the placing anew of shards is, while it is under way.
    replacing: Mutex<Option<Progress>>,
    code: Code,
    missing: Missing,
    /// The delegations of the vaults' collectors, for peers that have not heard of them.
    delegations: Mutex<BTreeMap<[u8; 16], Bytes>>,
    leases: RwLock<leases::KnownLeases>,
    /// Packs being rebuilt or read whole at one time: each may hold k + m shards in memory.
    whole_packs: Arc<Semaphore>,
    /// The same for clients' reads, which must not wait behind rebuilds.
    verified_reads: Arc<Semaphore>,
    /// Bytes of shards that acknowledged puts are still writing.
    background_bytes: Arc<Semaphore>,
    /// Rebuilding holds it shared, deleting alone, so that no shard is put back behind a delete.
    rebuild_gate: tokio::sync::RwLock<()>,
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
    fn place(&self, id: DriveId) -> Option<Place> {
        self.layout().place(&id).cloned()
    }

    /// A number for an operation of this process's own.
    fn next_operation(&self) -> [u8; 16] {
        self.operations.next()
    }

    /// The place of shard `index`.
    fn place_of(&self, entry: &PackEntry, index: usize) -> Option<Place> {
        self.place(entry.drive(index)?)
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("drives", &self.inner.layout().places().len())
            .field("present", &self.present())
            .finish_non_exhaustive()
    }
}
