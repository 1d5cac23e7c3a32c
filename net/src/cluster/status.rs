//! Figures of the cluster, for `status`, `/metrics` and tests.
//!
//! Invariant: asking waits for no peer, and for no disk but one call for free bytes per drive.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use engine::placement::DomainId;

use super::Cluster;
use super::challenging::Challenged;
use super::layout::Standing;
use super::place::Place;
use crate::drives::Misdeeds;
use crate::entry::DriveId;
use crate::peer::PeerId;

/// Whether a drive is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveState {
    /// There, and takes puts.
    Present,
    /// There, but full: reads and deletes only.
    Full,
    /// Not there.
    Lost,
}

/// Figures of one drive. All sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct DriveStatus {
    /// Its place in the layout, from 0.
    pub number: usize,
    /// Its id.
    pub id: DriveId,
    /// Its directory.
    pub dir: PathBuf,
    /// What it fails together with.
    pub domain: DomainId,
    /// How it stands in the membership; one that is gone is lost for good.
    pub standing: Standing,
    /// Whether it is there.
    pub state: DriveState,
    /// Why it is lost, if it was there before.
    pub reason: Option<String>,
    /// Shards on it.
    pub shards: u64,
    /// Bytes of its live shards.
    pub live_bytes: u64,
    /// Bytes that compaction could give back.
    pub garbage_bytes: u64,
    /// Bytes that its files take, preallocation included.
    pub allocated_bytes: u64,
    /// Bytes free on its file system.
    pub free_bytes: u64,
    /// Shards since the start that it gave wrong, or said it had and had not.
    pub bad_answers: u64,
    /// The same by kind, with those that it lost.
    pub misdeeds: Misdeeds,
    /// How it answered challenges lately.
    pub challenged: Challenged,
    /// What 95 of 100 recent reads stay under, in microseconds; 0 before the first.
    pub read_p95_us: u64,
}

/// A peer whose drives are places of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub id: PeerId,
    /// How it stands in the membership.
    pub standing: Standing,
    /// Why it did not answer when it was asked last, if it did not.
    pub why_silent: Option<Silence>,
}

/// Why a peer does not count as there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// It runs, and has not heard from the ledger for so long that it serves no shards.
    #[error("it runs, and is cut off from the ledger")]
    CutOff,
    /// It took too long.
    #[error("no answer in time")]
    Late,
    /// What came instead of an answer.
    #[error("{0}")]
    Other(String),
}

/// Figures of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterStatus {
    /// Every drive of the layout.
    pub drives: Vec<DriveStatus>,
    /// Packs known to lack shards, which takes a census after the start; [`Cluster::tally`] counts them all.
    pub packs_at_risk: u64,
    /// Of these, packs known to lack more than their parity.
    pub packs_unreadable: u64,
    /// Flushes of drives since the start.
    pub flushes: u64,
    /// Packs acknowledged since the start.
    pub packs_put: u64,
    /// Shards made durable since the start.
    pub shards_put: u64,
    /// Lane reads since the start, those of whole shards among them.
    pub reads: u64,
    /// Reads for which others were asked because the drive was slow.
    pub hedges: u64,
    /// Ranges computed from other shards.
    pub reconstructed: u64,
    /// Shards made again.
    pub rebuilt: u64,
}

impl Cluster {
    /// The peers, in the order of the layout.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = |peer: &super::remote::RemotePeer| PeerStatus {
            id: peer.line.peer,
            standing: peer.standing(),
            why_silent: peer
                .why_silent
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        };
        let layout = self.inner.layout();
        layout.peers().iter().map(|peer| status(peer)).collect()
    }

    /// Figures of now.
    pub fn status(&self) -> ClusterStatus {
        let inner = &self.inner;
        let (packs_at_risk, packs_unreadable) = inner.missing.figures();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        ClusterStatus {
            drives: inner
                .layout()
                .places()
                .iter()
                .map(|place| self.drive_status(place))
                .collect(),
            packs_at_risk,
            packs_unreadable,
            flushes: inner.own.flushes(),
            packs_put: count(&inner.counters.packs_put),
            shards_put: count(&inner.counters.shards_put),
            reads: count(&inner.counters.reads),
            hedges: count(&inner.counters.hedges),
            reconstructed: count(&inner.counters.reconstructed),
            rebuilt: count(&inner.counters.rebuilt),
        }
    }

    fn drive_status(&self, place: &Place) -> DriveStatus {
        let state = match (place.is_present(), place.is_full()) {
            (false, _) => DriveState::Lost,
            (true, true) => DriveState::Full,
            (true, false) => DriveState::Present,
        };
        let misdeeds = place.conduct().counts();
        let p95 = place.latency().p95().unwrap_or_default();
        let mut status = DriveStatus {
            number: place.number(),
            id: place.id(),
            domain: place.domain(),
            standing: place.standing(),
            dir: place.dir().to_owned(),
            state,
            reason: None,
            shards: 0,
            live_bytes: 0,
            garbage_bytes: 0,
            allocated_bytes: 0,
            free_bytes: 0,
            bad_answers: misdeeds.altered + misdeeds.claimed,
            misdeeds,
            challenged: self.challenged(&place.id()),
            read_p95_us: u64::try_from(p95.as_micros()).unwrap_or(u64::MAX),
        };
        match place {
            Place::Local(drive) => {
                status.reason = drive.lost_reason().flatten().map(|reason| reason.to_string());
                if let Some(usage) = drive.present().map(|drive| drive.usage()) {
                    status.shards = usage.shards;
                    status.live_bytes = usage.live;
                    status.garbage_bytes = usage.garbage;
                    status.allocated_bytes = usage.allocated;
                    status.free_bytes = self.inner.own.free_bytes(drive);
                }
            }
            Place::Remote(drive) => {
                status.reason = drive.why_lost();
                if drive.is_present() {
                    let report = drive.report();
                    status.shards = report.shards;
                    status.live_bytes = report.live_bytes;
                    status.garbage_bytes = report.garbage_bytes;
                    status.allocated_bytes = report.allocated_bytes;
                    status.free_bytes = report.free_bytes;
                }
            }
        }
        status
    }
}
