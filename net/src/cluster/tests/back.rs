//! Lost drives that come back: kept where their data is, never wiped while it may be needed.

use engine::disk::RealDisk;
use engine::drive::{DriveIdentity, LostReason};

use super::*;
use crate::cluster::{RepairError, RepairOptions};

const RECREATE: RepairOptions = RepairOptions {
    recreate: true,
    replace: Vec::new(),
    deep: false,
    accept_risk: false,
};

async fn real(root: &Path) -> (Cluster, Vec<Stored>) {
    let cluster = open_at(RealDisk, config(root, 6, true)).await;
    let mut stored = Vec::new();
    for seed in 0..8 {
        let sizes: &[usize] = if seed % 2 == 0 { &[3_000; 5] } else { &[200] };
        stored.push(put(&cluster, seed, sizes).await.unwrap());
    }
    settle(&cluster, &stored).await;
    (cluster, stored)
}

/// A cluster without drives 0 and 1, and with a drive 3 whose flush failed: every pack needs what may be on it.
async fn doubtful(root: &Path) -> (Cluster, Vec<Stored>) {
    let (cluster, stored) = real(root).await;
    for number in ["0", "1"] {
        std::fs::remove_dir_all(root.join(number)).unwrap();
    }
    cluster.check_drives().await;
    flush_failed(&cluster);
    (cluster, stored)
}

fn flush_failed(cluster: &Cluster) {
    let drive = super::local(cluster, 3).present().unwrap();
    drive.mark_lost(LostReason::WriteFailed);
}

fn away(root: &Path, number: usize) -> (PathBuf, PathBuf) {
    (root.join(number.to_string()), root.join(format!("away{number}")))
}

#[tokio::test]
async fn drives_that_were_moved_away_and_back_lose_nothing_in_a_repair() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, stored) = real(root.path()).await;
    for number in 0..6 {
        let (dir, away) = away(root.path(), number);
        std::fs::rename(dir, away).unwrap();
    }
    cluster.check_drives().await;
    assert_eq!(cluster.present(), 0);
    for number in 0..6 {
        let (dir, away) = away(root.path(), number);
        std::fs::rename(away, dir).unwrap();
    }
    let report = cluster
        .repair(&packs(&stored), &RECREATE, &mut |_| {})
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.reattached.len(), report.recreated.len()), (6, 0));
    assert_eq!(report.shards_rebuilt, 0);
    let more = put(&cluster, 77, &[3_000; 5]).await.unwrap();
    for stored in stored.iter().chain([&more]) {
        assert_reads(&cluster, stored).await;
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_directory_that_holds_another_drive_is_left_alone_and_named() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, stored) = real(root.path()).await;
    let (dir, away) = away(root.path(), 2);
    std::fs::rename(&dir, &away).unwrap();
    let foreign = DriveIdentity {
        cluster: [7; 16],
        drive: [8; 16],
    };
    foreign.create(&RealDisk, &dir).unwrap();
    let refused = cluster.repair(&packs(&stored), &RECREATE, &mut |_| {}).await;
    assert!(
        refused.unwrap_err().to_string().contains(dir.to_str().unwrap()),
        "names the directory"
    );
    assert_eq!(DriveIdentity::read(&RealDisk, &dir).unwrap(), foreign);
    cluster.close().await;
}

#[tokio::test]
async fn a_drive_whose_flush_failed_is_wiped_only_when_no_pack_needs_it() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, stored) = doubtful(root.path()).await;
    let refused = cluster.repair(&packs(&stored), &RECREATE, &mut |_| {}).await;
    assert!(
        matches!(&refused, Err(RepairError::AtRisk { dir, packs: 1.. }) if *dir == root.path().join("3")),
        "{refused:?}"
    );
    assert!(root.path().join("3/log").exists());
    cluster.close().await;
    // A restart takes it as it is, and every pack is whole again.
    let cluster = open_at(RealDisk, config(root.path(), 6, false)).await;
    let report = cluster
        .repair(&packs(&stored), &RECREATE, &mut |_| {})
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    flush_failed(&cluster);
    let report = cluster
        .repair(&packs(&stored), &RECREATE, &mut |_| {})
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.recreated, [root.path().join("3")]);
    for stored in &stored {
        assert_reads(&cluster, stored).await;
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_drive_that_packs_need_is_wiped_when_the_risk_is_accepted() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, stored) = doubtful(root.path()).await;
    let unnamed = RepairOptions {
        accept_risk: true,
        ..RECREATE
    };
    let refused = cluster.repair(&packs(&stored), &unnamed, &mut |_| {}).await;
    assert!(
        matches!(refused, Err(RepairError::AtRisk { .. })),
        "a drive that was not named"
    );
    let accepted = RepairOptions {
        replace: vec![root.path().join("3")],
        ..unnamed
    };
    let report = cluster.repair(&packs(&stored), &accepted, &mut |_| {}).await;
    let report = report.unwrap();
    assert!(report.packs_unreadable > 0, "{report:?}");
    assert_eq!(cluster.present(), 6);
    put(&cluster, 99, &[500; 4]).await.unwrap();
    cluster.close().await;
}
