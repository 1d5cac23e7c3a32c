use std::sync::atomic::AtomicBool;

use engine::disk::RealDisk;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_onto_removed_drives() {
    let root = tempfile::tempdir().unwrap();
    let cluster = open_at(RealDisk, config(root.path(), 6, true)).await;
    let removed = Arc::new(AtomicBool::new(false));
    let writers = (0..4u8).map(|writer| {
        let (cluster, removed) = (cluster.clone(), Arc::clone(&removed));
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for round in 0..120u8 {
                let sizes = if round % 3 == 0 { vec![200] } else { vec![3_000; 5] };
                match put(&cluster, writer.wrapping_mul(61) ^ round, &sizes).await {
                    Ok(stored) => acknowledged.push(stored),
                    Err(PutError::NotEnoughDrives { .. }) => break,
                    Err(error) => panic!("{error}"),
                }
                if acknowledged.len() == 8 && writer == 0 {
                    std::fs::remove_dir_all(root_dir(&cluster, 1)).unwrap();
                    std::fs::remove_dir_all(root_dir(&cluster, 4)).unwrap();
                    removed.store(true, Ordering::Relaxed);
                }
            }
            acknowledged
        })
    });
    let mut acknowledged = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(removed.load(Ordering::Relaxed));
    cluster.check_drives().await;
    assert_eq!(cluster.present(), 4);
    cluster.close().await;
    // What is really there, as a new process finds it.
    let cluster = open_at(RealDisk, config(root.path(), 6, false)).await;
    for stored in &acknowledged {
        assert_reads(&cluster, stored).await;
    }
    cluster.close().await;
}

fn root_dir(cluster: &Cluster, number: usize) -> PathBuf {
    super::local(cluster, number).dir.clone()
}

#[tokio::test]
async fn a_failed_flush_takes_the_drive_out_for_good() {
    let disk = SimDisk::unrecorded(11);
    let cluster = open(&disk, 6, true).await;
    disk.fail_sync(&dir(3));
    let stored = put(&cluster, 1, &[50_000; 5]).await.unwrap();
    // The put was answered by the others; this one may flush later.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while cluster.present() == 6 {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    disk.heal();
    cluster.check_drives().await;
    let status = cluster.status();
    assert_eq!(status.drives[3].state, crate::cluster::DriveState::Lost);
    assert_eq!(cluster.present(), 5);
    assert_reads(&cluster, &stored).await;
    cluster.close().await;
}

#[tokio::test]
async fn full_drives_refuse_puts_keep_reads_and_deletes_and_recover() {
    let disk = SimDisk::unrecorded(12);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[50_000; 5]).await.unwrap()];
    settle(&cluster, &stored).await;
    disk.set_available_bytes(1 << 20);
    let error = put(&cluster, 2, &[50_000; 5]).await.err();
    assert!(
        matches!(error, Some(PutError::DiskFull { need: 5, .. })),
        "{error:?}"
    );
    assert!(matches!(cluster.writable(), Err(PutError::DiskFull { .. })));
    assert_reads(&cluster, &stored[0]).await;
    let key = crate::cluster::put::key(&stored[0].entry, 0);
    let place = cluster.inner.place(stored[0].entry.drives[0]).unwrap();
    let drive = place.local().unwrap();
    drive.delete(key).await.unwrap();
    assert_reads(&cluster, &stored[0]).await;
    disk.set_available_bytes(1 << 40);
    cluster.check_drives().await;
    cluster.writable().unwrap();
    put(&cluster, 3, &[50_000; 5]).await.unwrap();
    cluster.close().await;
}

#[tokio::test]
async fn a_put_under_an_ended_lease_is_refused() {
    let disk = SimDisk::unrecorded(13);
    let cluster = open(&disk, 6, true).await;
    cluster.end_leases_below(LEASE + 1).await;
    let refused = put(&cluster, 1, &[1_000]).await.err();
    assert_eq!(
        refused,
        Some(PutError::LeaseEnded {
            lowest_live: LEASE + 1
        })
    );
    cluster.close().await;
}

#[tokio::test]
async fn lost_drives_are_noticed_without_any_traffic() {
    let disk = SimDisk::unrecorded(14);
    let cluster = open(&disk, 6, true).await;
    disk.unlink(&dir(4));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while cluster.present() == 6 {
        assert!(std::time::Instant::now() < deadline, "not noticed");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_put_that_loses_two_drives_in_its_own_flush_is_not_acknowledged() {
    for (seed, sizes) in [(1u8, vec![50_000; 5]), (2, vec![9_000; 4])] {
        let disk = SimDisk::unrecorded(15);
        let cluster = open(&disk, 6, true).await;
        disk.fail_sync(&dir(1));
        disk.fail_sync(&dir(4));
        let refused = put(&cluster, seed, &sizes).await.err();
        assert_eq!(refused, Some(PutError::NotEnoughDrives { have: 4, need: 5 }));
        cluster.close().await;
    }
}

#[tokio::test]
async fn a_put_onto_drives_that_vanished_unnoticed_is_not_acknowledged() {
    let disk = SimDisk::unrecorded(16);
    let cluster = open(&disk, 6, true).await;
    // No check and no wait in between: the client still takes both for present when it begins to write.
    disk.unlink(&dir(0));
    disk.unlink(&dir(5));
    assert_eq!(cluster.present(), 6);
    let refused = put(&cluster, 1, &[50_000; 5]).await.err();
    assert_eq!(refused, Some(PutError::NotEnoughDrives { have: 4, need: 5 }));
    assert_eq!(cluster.present(), 4, "the commits noticed");
    cluster.close().await;
}

#[tokio::test]
async fn a_drive_of_an_implied_shard_that_vanished_unnoticed_does_not_count() {
    // Whoever looks after the drives may notice first, which is another case.
    for try_number in 0..10 {
        let disk = SimDisk::unrecorded(17 + try_number);
        let cluster = open(&disk, 6, true).await;
        let (small, _) = pack(1, &[100]);
        let entry = cluster.plan(&small, VAULT, LEASE).unwrap();
        let implied = (0..6).filter(|index| entry.summary.geometry.is_implied(*index));
        for index in implied.take(2) {
            disk.unlink(cluster.inner.place(entry.drives[index]).unwrap().dir());
        }
        let is_unnoticed = cluster.present() == 6;
        let refused = cluster
            .put_planned(small, &entry, SCOPE, PutSpace::Free)
            .await
            .err();
        assert_eq!(refused, Some(PutError::NotEnoughDrives { have: 4, need: 5 }));
        cluster.close().await;
        if is_unnoticed {
            return;
        }
    }
    panic!("somebody notices each time");
}
