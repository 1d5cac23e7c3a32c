//! Opening a layout: the drives of this machine, and those of peers as far as they answer.
//!
//! Invariant: every drive of the layout has its place, also while it is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use engine::disk::Disk;
use engine::erasure::Coder;
use tokio::sync::Semaphore;

use super::challenge::Draws;
use super::layout::{Layout, Way};
use super::missing::Missing;
use super::moving::MEMORY_UNITS;
use super::place::Place;
use super::remote::Operations;
use super::{BACKGROUND_BYTES_MAX, Cluster, ClusterConfig, Counters, Inner, WHOLE_PACKS_MAX, watch};
use crate::drives::{Drives, DrivesOpenError};

/// Why a layout cannot be opened at all. A drive that is not there is not an error: it is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterOpenError {
    /// Fewer drives than a pack has shards.
    #[error("{have} drives for a code of {need} shards")]
    TooFewDrives {
        /// Drives configured.
        have: usize,
        /// Shards of a pack.
        need: usize,
    },
    /// A drive is named twice.
    #[error("two places of the layout are the same drive")]
    Twice,
    /// The drives of this machine do not open.
    #[error(transparent)]
    Drives(#[from] DrivesOpenError),
}

impl Cluster {
    /// Opens the drives of this machine that are there, and asks the peers how theirs are. Must be called inside a tokio
    /// runtime, on which checkers and healing then run.
    pub async fn open(disk: Arc<dyn Disk>, config: ClusterConfig) -> Result<Self, ClusterOpenError> {
        let of_peers = config.peers.iter().flat_map(|peers| &peers.peers);
        let have = config.own.drives.len() + of_peers.map(|peer| peer.drives.len()).sum::<usize>();
        let need = config.code.shards();
        if have < need {
            return Err(ClusterOpenError::TooFewDrives { have, need });
        }
        let random = (config.own.fresh_log_id)();
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&(config.own.fresh_log_id)().to_be_bytes());
        }
        let operations = Arc::new(Operations {
            random,
            next: AtomicU64::new(0),
        });
        let own = Drives::open(disk, config.own).await?;
        let places = own.drives.iter().cloned().map(Place::Local).collect();
        let way = config.peers.as_ref().map(|peers| Way {
            transport: Arc::clone(&peers.transport),
            operations: Arc::clone(&operations),
        });
        let configs = config.peers.map(|peers| peers.peers).unwrap_or_default();
        let layout = Layout::new(places, Vec::new()).and_then(|layout| match &way {
            Some(way) => layout.with(&configs, way),
            None => Some(layout),
        });
        let Some(layout) = layout else {
            own.close().await;
            return Err(ClusterOpenError::Twice);
        };
        let inner = Arc::new(Inner {
            own,
            layout: RwLock::new(Arc::new(layout)),
            way,
            changing: tokio::sync::Mutex::default(),
            layout_changes: AtomicU64::new(0),
            operations,
            draws: Mutex::new(Draws::new(&seed)),
            answers: Mutex::default(),
            lost_since: Mutex::default(),
            busy: Mutex::default(),
            strays_left: AtomicU64::new(0),
            swaps_in_doubt: AtomicUsize::new(0),
            moving_memory: Semaphore::new(MEMORY_UNITS as usize),
            replacing: Mutex::default(),
            code: config.code,
            missing: Missing::default(),
            delegations: Mutex::default(),
            leases: RwLock::default(),
            whole_packs: Arc::new(Semaphore::new(WHOLE_PACKS_MAX)),
            verified_reads: Arc::new(Semaphore::new(WHOLE_PACKS_MAX)),
            background_bytes: Arc::new(Semaphore::new(BACKGROUND_BYTES_MAX)),
            rebuild_gate: tokio::sync::RwLock::new(()),
            closing: AtomicBool::new(false),
            repairs: AtomicUsize::new(0),
            coder: Arc::new(Coder::new(config.code)),
            counters: Counters::default(),
        });
        watch::poll_peers(&inner, true).await;
        watch::spawn(&inner);
        Ok(Self { inner, cause: None })
    }

    /// Closes every drive of this machine cleanly. Puts that are not answered by then fail.
    pub async fn close(&self) {
        self.inner.closing.store(true, Ordering::Release);
        self.inner.layout().peers().iter().for_each(|peer| peer.end());
        self.inner.own.changes.census.notify_one();
        self.inner.own.close().await;
    }
}
