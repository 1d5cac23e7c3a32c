use std::collections::HashMap;

use engine::pack::PackId;

use super::*;
use crate::cluster::{RepairOptions, packs_of};

#[tokio::test]
async fn repair_brings_back_two_removed_drives_and_then_any_other_two_may_go() {
    let disk = SimDisk::unrecorded(21);
    let cluster = open(&disk, 6, true).await;
    let mut stored = Vec::new();
    for seed in 0..12 {
        stored.push(
            put(&cluster, seed, if seed % 2 == 0 { &[20_000; 6] } else { &[500] })
                .await
                .unwrap(),
        );
    }
    settle(&cluster, &stored).await;
    disk.unlink(&dir(0));
    disk.unlink(&dir(3));
    let packs = packs(&stored);
    let mut shown = Vec::new();
    let untouched = cluster
        .repair(&packs, &RepairOptions::default(), &mut |progress| {
            shown.push(progress)
        })
        .await
        .unwrap();
    assert!(!untouched.is_complete());
    assert_eq!(untouched.lost, [dir(0), dir(3)]);
    assert!(!disk.exists(&dir(0)), "a lost drive is never recreated silently");
    let options = RepairOptions {
        recreate: true,
        ..RepairOptions::default()
    };
    let report = cluster
        .repair(&packs, &options, &mut |progress| shown.push(progress))
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.packs, 12);
    assert_eq!(report.shards_rebuilt, untouched.still_missing);
    assert_eq!(report.recreated, [dir(0), dir(3)]);
    assert!(shown.iter().any(|progress| progress.total == 12));
    assert_eq!(cluster.status().packs_at_risk, 0);
    put(&cluster, 99, &[20_000; 6]).await.unwrap();
    disk.unlink(&dir(1));
    disk.unlink(&dir(5));
    cluster.check_drives().await;
    for stored in &stored {
        assert_reads(&cluster, stored).await;
    }
    cluster.close().await;
}

#[tokio::test]
async fn what_was_written_while_a_drive_was_lost_is_healed_when_it_is_back() {
    let disk = SimDisk::unrecorded(22);
    let cluster = open(&disk, 6, true).await;
    disk.unlink(&dir(2));
    cluster.check_drives().await;
    let stored = [put(&cluster, 1, &[20_000; 6]).await.unwrap()];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while cluster.inner.absent(&stored[0].entry).await.len() > 1 || cluster.status().packs_at_risk == 0 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    cluster.inner.own.create(super::local(&cluster, 2)).unwrap();
    cluster.heal().await;
    assert_eq!(cluster.inner.absent(&stored[0].entry).await, [0usize; 0]);
    assert_eq!(cluster.status().packs_at_risk, 0);
    cluster.close().await;
}

/// The files of a drive's log, biggest shard bytes first found: flips one bit well inside each shard.
pub(super) fn flip_inside(disk: &SimDisk, drive: usize, stored: &Stored, index: usize) {
    let geometry = &stored.entry.summary.geometry;
    let (range, chunk) = stored
        .chunks
        .iter()
        .find(|(range, _)| usize::from(range.lane) == index)
        .unwrap();
    assert!(!geometry.is_implied(index));
    let log = dir(drive).join("log");
    for name in disk.list_dir(&log).unwrap() {
        let path = log.join(name);
        let file = disk.open(&path, engine::disk::OpenMode::Read).unwrap();
        let mut content = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut content, 0).unwrap();
        if let Some(at) = content.windows(chunk.len()).position(|window| window == chunk) {
            assert_eq!(range.bytes as usize, chunk.len());
            assert!(disk.flip_bit(&path, at as u64 + 5));
            return;
        }
    }
    panic!("the chunk is not on drive {drive}");
}

pub(super) fn drive_of(cluster: &Cluster, stored: &Stored, index: usize) -> usize {
    cluster.inner.place(stored.entry.drives[index]).unwrap().number()
}

#[tokio::test]
async fn a_flipped_bit_is_named_read_around_and_repaired() {
    let disk = SimDisk::unrecorded(23);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let bad = drive_of(&cluster, &stored[0], 1);
    flip_inside(&disk, bad, &stored[0], 1);
    let (range, chunk) = stored[0]
        .chunks
        .iter()
        .find(|(range, _)| range.lane == 1)
        .unwrap();
    let plain = read(&cluster, &stored[0].entry, *range).await.unwrap();
    assert_ne!(
        &plain, chunk,
        "an unverified read shows the flip to the caller's own check"
    );
    let verified = cluster
        .read_lane_verified(&stored[0].entry, *range)
        .await
        .unwrap();
    assert_eq!(&verified.bytes, chunk);
    assert_eq!(verified.bad.len(), 1);
    assert_eq!(verified.bad[0].drive, drive_id(&CLUSTER, bad));
    cluster.heal().await;
    let again = read(&cluster, &stored[0].entry, *range).await.unwrap();
    assert_eq!(&again, chunk);
    assert_eq!(cluster.status().packs_at_risk, 0);
    let verified = cluster
        .read_lane_verified(&stored[0].entry, *range)
        .await
        .unwrap();
    assert!(verified.bad.is_empty());
    cluster.close().await;
}

#[tokio::test]
async fn scrub_finds_and_mends_every_flipped_shard() {
    let disk = SimDisk::unrecorded(24);
    let cluster = open(&disk, 6, true).await;
    let mut stored = Vec::new();
    for seed in 0..10 {
        stored.push(put(&cluster, seed, &[2_000, 2_100, 2_200, 2_300]).await.unwrap());
    }
    settle(&cluster, &stored).await;
    for (number, stored) in stored.iter().enumerate() {
        for index in [number % 4, (number + 1) % 4] {
            flip_inside(&disk, drive_of(&cluster, stored, index), stored, index);
        }
    }
    let entries: HashMap<PackId, PackEntry> = stored
        .iter()
        .map(|stored| (stored.entry.id(), stored.entry.clone()))
        .collect();
    let entries = &entries;
    let lookup = move |pack: PackId| -> futures::future::BoxFuture<'_, _> {
        Box::pin(async move { Ok(entries.get(&pack).cloned()) })
    };
    let report = cluster.scrub(&lookup, &mut |_| {}).await.unwrap();
    assert_eq!(report.unrepaired, 0, "{report:?}");
    let again = cluster.scrub(&lookup, &mut |_| {}).await.unwrap();
    assert_eq!(again.shards_bad, 0, "{again:?}");
    assert_eq!(again.shards_checked, 60);
    for stored in &stored {
        for (range, chunk) in &stored.chunks {
            let verified = cluster.read_lane_verified(&stored.entry, *range).await.unwrap();
            assert!(verified.bad.is_empty());
            assert_eq!(&verified.bytes, chunk);
        }
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_deep_repair_checks_hashes() {
    let disk = SimDisk::unrecorded(25);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    flip_inside(&disk, drive_of(&cluster, &stored[0], 2), &stored[0], 2);
    let packs = packs(&stored);
    let shallow = cluster
        .repair(&packs, &RepairOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!((shallow.shards_bad, shallow.shards_rebuilt), (0, 0));
    let options = RepairOptions {
        deep: true,
        ..RepairOptions::default()
    };
    let deep = cluster.repair(&packs, &options, &mut |_| {}).await.unwrap();
    assert_eq!((deep.shards_bad, deep.shards_rebuilt), (1, 1));
    assert!(deep.is_complete());
    cluster.close().await;
}

#[tokio::test]
async fn repair_takes_its_packs_from_the_ledger() {
    use engine::slots::{Append, Write};

    use crate::ledger::{Ledger, LedgerConfig, LocalLedger, local::pack_address};

    let disk = SimDisk::unrecorded(26);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (ledger, _) = LocalLedger::open(shared, Path::new("/ledger"), LedgerConfig::new(5)).unwrap();
    let lease = ledger.take_lease("test", 1).await.unwrap();
    let cluster = open(&disk, 6, true).await;
    for seed in 0..5 {
        let stored = put(&cluster, seed, &[3_000; 5]).await.unwrap();
        let append = Append {
            operation: [seed; 16],
            lease,
            vault: VAULT,
            expectations: Vec::new(),
            writes: vec![Write {
                address: pack_address(SCOPE, &stored.entry.id()),
                value: Some(Bytes::from(stored.entry.encode())),
            }],
            record: None,
        };
        ledger.append(append).await.unwrap();
    }
    disk.unlink(&dir(1));
    let options = RepairOptions {
        recreate: true,
        ..RepairOptions::default()
    };
    let report = cluster
        .repair(&|| packs_of(&ledger), &options, &mut |_| {})
        .await
        .unwrap();
    assert_eq!(report.packs, 5);
    assert!(report.is_complete(), "{report:?}");
    cluster.close().await;
    ledger.close().await;
}

#[tokio::test]
async fn a_census_after_the_start_knows_what_a_lost_log_took_and_healing_mends_it() {
    use engine::slots::{Append, Write};

    use crate::ledger::{Ledger, LedgerConfig, LocalLedger, local::pack_address};

    let disk = SimDisk::unrecorded(27);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (ledger, _) = LocalLedger::open(shared, Path::new("/ledger"), LedgerConfig::new(5)).unwrap();
    let lease = ledger.take_lease("test", 1).await.unwrap();
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[3_000; 5]).await.unwrap()];
    settle(&cluster, &stored).await;
    let append = Append {
        operation: [1; 16],
        lease,
        vault: VAULT,
        expectations: Vec::new(),
        writes: vec![Write {
            address: pack_address(SCOPE, &stored[0].entry.id()),
            value: Some(Bytes::from(stored[0].entry.encode())),
        }],
        record: None,
    };
    ledger.append(append).await.unwrap();
    // A shard goes without anybody noticing; only the ledger says that it should be there.
    let place = cluster.inner.place(stored[0].entry.drives[1]).unwrap();
    let drive = place.local().unwrap();
    let key = crate::cluster::put::key(&stored[0].entry, 1);
    drive.delete(key).await.unwrap();
    assert_eq!(cluster.status().packs_at_risk, 0);
    cluster.start_census(Arc::new(ledger.clone()));
    settle(&cluster, &stored).await;
    cluster.close().await;
    ledger.close().await;
}

#[tokio::test]
async fn a_deleted_pack_does_not_come_back_as_missing() {
    let disk = SimDisk::unrecorded(28);
    let cluster = open(&disk, 6, true).await;
    let stored = put(&cluster, 1, &[3_000; 5]).await.unwrap();
    let missing = &cluster.inner.missing;
    missing.add(&stored.entry, [1]);
    assert_eq!(missing.figures().0, 1);
    missing.forget(stored.entry.id().slot());
    missing.add(&stored.entry, [1]);
    assert_eq!(missing.figures().0, 0);
    missing.revive(stored.entry.id());
    missing.add(&stored.entry, [1]);
    assert_eq!(missing.page(None, 9, true).len(), 1);
    missing.rest(stored.entry.id());
    assert_eq!(missing.page(None, 9, true).len(), 0, "it rests");
    assert_eq!(missing.page(None, 9, false).len(), 1);
    missing.wake();
    assert_eq!(missing.page(None, 9, true).len(), 1);
    cluster.close().await;
}
