//! Making a vault's ledger anew from its drives and its keys.

use std::path::Path;
use std::sync::Arc;

use activity::{ActivityLog, LogIdentity};
use engine::disk::{Disk, SimDisk};
use engine::slots::Sequence;
use net::ledger::LedgerConfig;
use net::{Ledger, LocalLedger};
use s3_gateway::session::rebuild::{RebuildParts, RebuildReport, marks, rebuild_vault};

use scopes::Wallet;

use super::work::ROOT;
use crate::rig::{self, Opening, keyring};

/// The newest ledger sequence that the activity log remembers.
fn activity_through(disk: &SimDisk) -> u64 {
    let identity = LogIdentity::new("cairn.test/log", Wallet::from_seed(&[5; 32])).unwrap();
    let (dir, config) = (
        Path::new(ROOT).join("activity"),
        Opening::tiny(false).activity_log,
    );
    let copy: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = ActivityLog::open_with(copy, &dir, identity, 1, config).unwrap();
    log.ledger_sequence_through()
}

/// Throws the ledger away and makes it anew from the drives and the keys.
pub async fn rebuild(disk: &SimDisk) -> RebuildReport {
    disk.unlink(&Path::new(ROOT).join("ledger"));
    let opening = Opening::tiny(false);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let cluster = rig::open_cluster_with(&shared, Path::new(ROOT), &opening).await;
    let cluster = Arc::new(cluster.unwrap());
    let marks = marks(&cluster, &[keyring()]).await.unwrap();
    // The activity log goes on, so the new ledger begins above what it took from the old one.
    let config = LedgerConfig {
        begin_after: marks.sequence.max(activity_through(disk)),
        ..opening.ledger
    };
    let (ledger, _) = LocalLedger::open(shared, &Path::new(ROOT).join("ledger"), config.clone()).unwrap();
    let lease = ledger.take_lease_above("rebuild", 1, marks.lease).await.unwrap();
    ledger
        .records_through(Sequence(config.begin_after))
        .await
        .unwrap();
    let parts = RebuildParts {
        keyring: keyring(),
        cluster: Arc::clone(&cluster),
        ledger: Arc::new(ledger.clone()),
        lease,
    };
    let report = rebuild_vault(parts, &|_| {}).await.unwrap();
    ledger.close().await;
    cluster.close().await;
    report
}
