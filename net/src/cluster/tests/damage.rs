//! Damage and failing reads: nothing is deleted that cannot be replaced, nothing on account of a failed read.

use std::collections::HashMap;

use engine::pack::PackId;

use super::slow::{Fault, with_faulty_drive};
use super::*;
use crate::drives::DriveFailure;
use crate::peer::Purpose;

fn lookup(
    stored: &[Stored],
) -> impl Fn(PackId) -> futures::future::BoxFuture<'static, Result<Option<PackEntry>, LedgerError>> + use<> {
    let entries: HashMap<PackId, PackEntry> = stored
        .iter()
        .map(|stored| (stored.entry.id(), stored.entry.clone()))
        .collect();
    move |pack| {
        let found = entries.get(&pack).cloned();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test]
async fn a_failing_read_neither_deletes_nor_blames_a_shard() {
    let (cluster, fault, stored) = with_faulty_drive(51, 2).await;
    fault.set(Fault::FailReads);
    let entry = Arc::new(stored[0].entry.clone());
    let index = (0..6)
        .find(|index| entry.drives[*index] == super::local(&cluster, 2).id)
        .unwrap();
    let failed = cluster
        .inner
        .read_verified(&entry, index, Purpose::Repair.into())
        .await;
    assert_eq!(failed, Err(DriveFailure::Io));
    assert_reads(&cluster, &stored[0]).await;
    for (range, chunk) in &stored[0].chunks {
        let verified = cluster.read_lane_verified(&entry, *range).await.unwrap();
        assert_eq!(&verified.bytes, chunk);
        assert!(verified.bad.is_empty());
    }
    cluster.heal().await;
    let report = cluster.scrub(&lookup(&stored), &mut |_| {}).await.unwrap();
    assert_eq!((report.shards_bad, report.unrepaired), (0, 1));
    fault.set(Fault::None);
    assert_eq!(cluster.inner.absent(&entry).await, [0usize; 0]);
    assert_eq!(
        cluster.status().drives[2].garbage_bytes,
        0,
        "nothing was deleted or written anew"
    );
    cluster.close().await;
}

#[tokio::test]
async fn a_damaged_shard_that_cannot_be_replaced_stays_and_serves_its_other_ranges() {
    let disk = SimDisk::unrecorded(52);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[9_000; 8]).await.unwrap()];
    settle(&cluster, &stored).await;
    let entry = &stored[0].entry;
    let bad = mending::drive_of(&cluster, &stored[0], 1);
    mending::flip_inside(&disk, bad, &stored[0], 1);
    // With two drives lost the pack has one shard too few to make the damaged one again, and none to spare.
    for number in (0..6).filter(|number| *number != bad).take(2) {
        disk.unlink(&dir(number));
    }
    cluster.check_drives().await;
    let in_lane = |(range, _): &&(LaneRange, Vec<u8>)| range.lane == 1;
    let (first, _) = stored[0].chunks.iter().find(in_lane).unwrap();
    let (last, chunk) = stored[0].chunks.iter().rfind(in_lane).unwrap();
    assert_ne!(first, last);
    assert!(cluster.read_lane_verified(entry, *first).await.is_err());
    cluster.heal().await;
    let report = cluster.scrub(&lookup(&stored), &mut |_| {}).await.unwrap();
    assert_eq!((report.shards_bad, report.unrepaired), (1, 1));
    let options = crate::cluster::RepairOptions {
        deep: true,
        ..Default::default()
    };
    let report = cluster
        .repair(&packs(&stored), &options, &mut |_| {})
        .await
        .unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.shards_bad, report.unrepaired), (1, 1));
    assert_eq!(&read(&cluster, entry, *last).await.unwrap(), chunk);
    cluster.close().await;
}
