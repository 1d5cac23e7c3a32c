//! A storage peer: answers other peers from the drives of this machine, one shard on one drive at a time.
//!
//! It knows no vault's key and no name, places nothing and decides nothing about what is garbage. Who may call it is
//! told by its configuration, until the membership in the ledger says it (`directory`).
//!
//! Invariants: a shard is stored only if it has the hash that its header names, whoever brings it; it is deleted only on the order
//! of a collector that its vault's owner named (who the owner is, see `orders`); and what a caller asks about a drive is answered by
//! that drive alone.

mod answer;
mod directory;
mod ledger;
mod orders;
mod records;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use engine::disk::Disk;
use futures::future::BoxFuture;

use crate::drives::{DriveFailure, Drives, DrivesConfig, DrivesOpenError, LocalDrive};
use crate::entry::DriveId;
use crate::peer::message::{DriveReport, DriveStanding};
use crate::peer::{Answer, Call, OnSent, PeerId, Refusal, Reply, Service};

pub use directory::{Directory, SERVES_FOR};
pub use ledger::NodeLedger;
pub use records::{NodeRecords, OPERATIONS, RecordsConfig, newest, open_entry};

/// What a node is opened with.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its drives.
    pub drives: DrivesConfig,
    /// Who may call it.
    pub directory: Arc<Directory>,
    /// Milliseconds since 1970: delegations hold for a time.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// See the module.
pub struct Node {
    drives: Arc<Drives>,
    directory: Arc<Directory>,
    ledger: OnceLock<Arc<NodeLedger>>,
    /// Where shard operations are written down.
    records: OnceLock<Arc<NodeRecords>>,
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("drives", &self.drives.drives.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the drives that are there. Must be called inside a tokio runtime, on which the drive checker then runs.
    ///
    /// # Errors
    /// See [`DrivesOpenError`].
    pub async fn open(disk: Arc<dyn Disk>, config: NodeConfig) -> Result<Arc<Self>, DrivesOpenError> {
        Ok(Arc::new(Self {
            drives: Drives::open(disk, config.drives).await?,
            directory: config.directory,
            ledger: OnceLock::new(),
            records: OnceLock::new(),
            now_ms: config.now_ms,
        }))
    }

    /// Takes part in the ledger from now on. Once.
    pub fn join_ledger(&self, ledger: Arc<NodeLedger>) {
        if self.ledger.set(ledger).is_err() {
            tracing::error!("a node takes part in a ledger already");
        }
    }

    /// Writes down every shard operation from now on. Once.
    pub fn keep_records(&self, records: Arc<NodeRecords>) {
        if self.records.set(records).is_err() {
            tracing::error!("a node keeps records already");
        }
    }

    /// How its drives are.
    pub fn reports(&self) -> Vec<DriveReport> {
        self.drives
            .drives
            .iter()
            .map(|drive| self.report(drive))
            .collect()
    }

    /// Closes every drive cleanly. Puts that are not answered by then fail.
    pub async fn close(&self) {
        self.drives.close().await;
    }

    fn report(&self, drive: &LocalDrive) -> DriveReport {
        let present = drive.present();
        let usage = present.as_ref().map(|drive| drive.usage()).unwrap_or_default();
        let (log_id, flushed) = present.as_ref().map(|drive| drive.flushed()).unwrap_or_default();
        DriveReport {
            id: drive.id,
            standing: match (&present, drive.is_full()) {
                (None, _) => DriveStanding::Lost,
                (Some(_), true) => DriveStanding::Full,
                (Some(_), false) => DriveStanding::Present,
            },
            default: drive.default,
            shards: usage.shards,
            live_bytes: usage.live,
            garbage_bytes: usage.garbage,
            allocated_bytes: usage.allocated,
            free_bytes: present.as_ref().map_or(0, |_| drive.free_bytes()),
            highest_lease: present.map_or(0, |drive| drive.highest_lease()),
            losses: self.drives.changes.losses(),
            log_id,
            flushed: flushed.0,
        }
    }

    /// Deletes a shard behind everybody's back.
    #[cfg(test)]
    pub(crate) async fn lose_shard(&self, key: engine::drive::ShardKey) {
        for drive in &self.drives.drives {
            drive.delete(key).await.unwrap();
        }
    }

    /// Looks whether its drives are there.
    #[cfg(test)]
    pub(crate) async fn look(&self) {
        self.drives.check(true).await;
    }

    fn drive(&self, id: &DriveId) -> Result<&Arc<LocalDrive>, Refusal> {
        self.drives.of(id).ok_or(Refusal::NoDrive)
    }
}

impl Service for Node {
    fn admits(&self, caller: &PeerId) -> bool {
        self.directory.knows(caller)
    }

    fn answer(&self, caller: PeerId, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (reply, on_sent) = self.answer_to_send(caller, call).await;
            // Whoever asks this way takes all of it.
            if let Some(on_sent) = on_sent {
                on_sent(reply.body.len() as u64);
            }
            reply
        })
    }

    fn answer_to_send(&self, caller: PeerId, call: Call) -> BoxFuture<'_, (Reply, Option<OnSent>)> {
        Box::pin(async move {
            let of_ledger = match self.ledger.get() {
                Some(ledger) => ledger.answer(caller, &call).await,
                None => None,
            };
            let answered = match of_ledger {
                Some(answered) => answered.map(|reply| (reply, None)),
                None => self.of_shards(caller, call).await,
            };
            answered.unwrap_or_else(|refusal| (Answer::Refused(refusal).into(), None))
        })
    }
}

/// What a drive's failure is called between peers.
fn refusal(failure: DriveFailure) -> Refusal {
    match failure {
        DriveFailure::Lost | DriveFailure::Closed => Refusal::Lost,
        DriveFailure::Full => Refusal::Full,
        DriveFailure::LeaseEnded { lowest_live } => Refusal::LeaseEnded { lowest_live },
        DriveFailure::Absent => Refusal::Absent,
        DriveFailure::Damaged => Refusal::Damaged,
        DriveFailure::Io => Refusal::Io,
    }
}
