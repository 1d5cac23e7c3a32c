//! What failing disks do: a drive whose flush fails goes and the rest go on; a ledger or an activity log whose flush fails takes
//! everything out; a full disk takes no new objects but still reads, deletes and collects, and goes on when space returns.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod rig;

use engine::disk::{CrashChoice, Disk, SimDisk};
use net::Ledger;
use net::cluster::DriveState;
use rig::{DRIVES, Opening, Rig, body, drive_dir};
use s3_gateway::session::{Bucket, CollectOptions, SessionError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ROOT: &str = "/data";

fn dir(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn drive(number: usize) -> PathBuf {
    drive_dir(Path::new(ROOT), number)
}

async fn open(disk: &SimDisk, create: bool) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opening = Opening::large_packs(create);
    Rig::open_with(disk, Path::new(ROOT), opening).await.unwrap()
}

/// An open vault with a bucket and some objects that must stay readable.
async fn vault(disk: &SimDisk) -> (Rig, Bucket) {
    let rig = open(disk, true).await;
    let bucket = rig.bucket("failures").await;
    for number in 0..6 {
        let key = format!("before{number}");
        rig.put(&bucket, &key, &before(number)).await.unwrap();
    }
    rig.settle().await;
    (rig, bucket)
}

fn before(number: u64) -> Vec<u8> {
    body(number, [10, 4_096, 100_000, 300_000][number as usize % 4])
}

async fn assert_before(rig: &Rig, bucket: &Bucket, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let read = rig.get(bucket, &format!("before{number}")).await.unwrap();
        assert_eq!(read, before(number), "before{number}");
    }
}

fn lost(rig: &Rig) -> Vec<usize> {
    let drives = rig.cluster.status().drives.into_iter();
    drives
        .filter(|drive| drive.state == DriveState::Lost)
        .map(|drive| drive.number)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drive_whose_flush_fails_goes_alone_and_what_is_acknowledged_after_it_stands() {
    for number in 0..DRIVES {
        let disk = SimDisk::new(number as u64);
        let (rig, bucket) = vault(&disk).await;
        disk.fail_sync(&drive(number));
        // All lanes: every drive has a shard of it.
        let after = body(7, 400_000);
        rig.put(&bucket, "after", &after).await.unwrap();
        while lost(&rig).is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(lost(&rig), [number]);
        // A flush that works again does not bring it back: what was written before the failure may be gone.
        disk.heal();
        rig.put(&bucket, "later", &after).await.unwrap();
        assert_eq!(lost(&rig), [number]);
        assert_before(&rig, &bucket, 0..6).await;
        // After a power cut with everything unsynced gone, all that was acknowledged is there.
        let state = disk.crash_state(disk.ops(), CrashChoice::DropAll);
        let again = open(&state, false).await;
        assert_before(&again, &bucket, 0..6).await;
        for key in ["after", "later"] {
            assert_eq!(
                again.get(&bucket, key).await.unwrap(),
                after,
                "{key} without {number}"
            );
        }
        again.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_drives_whose_flushes_fail_make_writes_refused_and_reads_go_on() {
    let disk = SimDisk::new(11);
    let (rig, bucket) = vault(&disk).await;
    disk.fail_sync(&drive(1));
    disk.fail_sync(&drive(4));
    let refused = rig.put(&bucket, "after", &body(7, 400_000)).await.unwrap_err();
    assert_eq!(refused, SessionError::NotWritable { have: 4, need: 5 });
    assert_eq!(rig.get(&bucket, "after").await, Err(SessionError::NoSuchKey));
    assert_before(&rig, &bucket, 0..6).await;
    let state = disk.crash_state(disk.ops(), CrashChoice::KeepAll);
    let again = open(&state, false).await;
    assert_eq!(again.get(&bucket, "after").await, Err(SessionError::NoSuchKey));
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_after_a_failed_flush_of_the_ledger() {
    let disk = SimDisk::new(12);
    let (rig, bucket) = vault(&disk).await;
    disk.fail_sync(&dir("ledger"));
    let refused = rig.put(&bucket, "after", b"never").await.unwrap_err();
    assert_eq!(refused, SessionError::Fenced);
    let fenced = tokio::time::timeout(Duration::from_secs(5), rig.ledger.fenced()).await;
    assert_eq!(fenced, Ok(()));
    // For good, also when flushes would work again.
    disk.heal();
    assert_eq!(
        rig.put(&bucket, "later", b"never").await.unwrap_err(),
        SessionError::Fenced
    );
    assert_eq!(rig.delete(&bucket, "before0").await, Err(SessionError::Fenced));
    let name = s3_gateway::key::BucketName::parse("another").unwrap();
    let made = rig.session.create_bucket(&rig.caller, &name).await;
    assert_eq!(made.err(), Some(SessionError::Fenced));
    assert_eq!(rig.session.checkpoint().await.err(), Some(SessionError::Fenced));
    let options = CollectOptions { everything: true };
    let collected = rig.session.collect(options, &|_| {}).await;
    assert_eq!(collected.err(), Some(SessionError::Fenced));
    // What was never acknowledged may be there or not, the rest is.
    for choice in [CrashChoice::DropAll, CrashChoice::KeepAll] {
        let state = disk.crash_state(disk.ops(), choice);
        let again = open(&state, false).await;
        assert_before(&again, &bucket, 0..6).await;
        assert_eq!(again.get(&bucket, "later").await, Err(SessionError::NoSuchKey));
        again.put(&bucket, "again", b"works").await.unwrap();
        again.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_flush_of_the_activity_log_takes_everything_out() {
    let disk = SimDisk::new(13);
    let (rig, bucket) = vault(&disk).await;
    disk.fail_sync(&dir("activity"));
    rig.recorder.flush().await.unwrap_err();
    let fenced = tokio::time::timeout(Duration::from_secs(5), rig.recorder.fenced()).await;
    fenced.unwrap();
    disk.heal();
    // A read's record can no longer be kept, so its last bytes are not released.
    assert_eq!(rig.get(&bucket, "before0").await, Err(SessionError::Fenced));
    let state = disk.crash_state(disk.ops(), CrashChoice::DropAll);
    let again = open(&state, false).await;
    assert_before(&again, &bucket, 0..6).await;
    again.close().await;
}

/// What must go on while the drives, the ledger and the activity log are on a full disk.
async fn assert_goes_on(rig: &Rig, bucket: &Bucket, round: u64) {
    let refused = rig.put(bucket, "refused", &body(9, 300_000)).await.unwrap_err();
    assert_eq!(refused, SessionError::DiskFull, "round {round}");
    assert_eq!(rig.get(bucket, "refused").await, Err(SessionError::NoSuchKey));
    assert_before(rig, bucket, round + 1..6).await;
    assert_eq!(rig.delete(bucket, &format!("before{round}")).await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_drives_refuse_objects_clearly_and_reads_deletes_and_gc_go_on() {
    let disk = SimDisk::new(14);
    let (rig, bucket) = vault(&disk).await;
    for number in 0..DRIVES {
        disk.fail_write_enospc(&drive(number));
    }
    assert_goes_on(&rig, &bucket, 0).await;
    assert_goes_on(&rig, &bucket, 1).await;
    rig.session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .map_or_else(|error| assert_eq!(error, SessionError::DiskFull), drop);
    assert_before(&rig, &bucket, 2..6).await;
    disk.heal();
    rig.cluster.check_drives().await;
    rig.put(&bucket, "after", &body(9, 300_000)).await.unwrap();
    assert_eq!(rig.get(&bucket, "after").await.unwrap(), body(9, 300_000));
    assert!(lost(&rig).is_empty());
    rig.close().await;
}

const MIB: u64 = 1 << 20;

/// A vault of the usual sizes on a disk of so many bytes, filled with objects of a MiB until it takes no more: how many it took.
async fn filled(disk: &SimDisk, capacity: u64) -> (Rig, Bucket, u64) {
    let opening = Opening {
        drive_log: Opening::large_packs(true).drive_log,
        ..Opening::usual(true)
    };
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let rig = Rig::open_with(shared, Path::new(ROOT), opening).await.unwrap();
    disk.set_capacity(capacity);
    let bucket = rig.bucket("full").await;
    for number in 0.. {
        match rig
            .put(&bucket, &format!("o{number}"), &body(number, MIB as usize))
            .await
        {
            Ok(_) => {}
            Err(SessionError::DiskFull) => return (rig, bucket, number),
            Err(other) => panic!("o{number}: {other}"),
        }
    }
    unreachable!("the disk is never full")
}

async fn assert_there(rig: &Rig, bucket: &Bucket, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let read = rig.get(bucket, &format!("o{number}")).await;
        assert!(
            read == Ok(body(number, MIB as usize)),
            "o{number}: {:?}",
            read.err()
        );
    }
}

async fn collect(rig: &Rig) -> Result<(), SessionError> {
    let options = CollectOptions { everything: true };
    rig.session.collect(options, &|_| {}).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_objects_filled_is_emptied_by_deletes_and_gc_and_takes_objects_again() {
    let disk = SimDisk::unrecorded(15);
    let (rig, bucket, count) = filled(&disk, 200 * MIB).await;
    assert!((40..100).contains(&count), "{count} objects fit");
    assert_there(&rig, &bucket, 0..count).await;
    let name = s3_gateway::key::BucketName::parse("another").unwrap();
    let made = rig.session.create_bucket(&rig.caller, &name).await;
    assert_eq!(made.err(), Some(SessionError::DiskFull));
    for number in 0..count / 2 {
        assert_eq!(rig.delete(&bucket, &format!("o{number}")).await, Ok(true));
    }
    collect(&rig).await.unwrap();
    rig.cluster.check_drives().await;
    for number in 0..count / 3 {
        let put = rig
            .put(&bucket, &format!("o{number}"), &body(number, MIB as usize))
            .await;
        put.unwrap_or_else(|error| panic!("o{number} after gc: {error}"));
    }
    assert_there(&rig, &bucket, count / 2..count).await;
    assert_there(&rig, &bucket, 0..count / 3).await;
    assert!(lost(&rig).is_empty());
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_full_to_the_last_byte_still_reads_and_deletes_and_goes_on_when_space_returns() {
    let disk = SimDisk::unrecorded(16);
    let (rig, bucket, count) = filled(&disk, 150 * MIB).await;
    // Somebody else takes what the drives left.
    disk.set_capacity(disk.used_bytes());
    for round in 0..100 {
        assert_there(&rig, &bucket, count - 3..count).await;
        let put = rig.put(&bucket, "refused", &body(round, 1_000)).await;
        assert_eq!(put.err(), Some(SessionError::DiskFull));
    }
    for number in 0..count - 5 {
        assert_eq!(
            rig.delete(&bucket, &format!("o{number}")).await,
            Ok(true),
            "o{number}"
        );
    }
    match collect(&rig).await {
        Ok(()) | Err(SessionError::DiskFull) => {}
        Err(other) => panic!("{other}"),
    }
    assert_there(&rig, &bucket, count - 5..count).await;
    disk.set_capacity(300 * MIB);
    rig.cluster.check_drives().await;
    collect(&rig).await.unwrap();
    let put = async {
        loop {
            match rig.put(&bucket, "after", b"there is space").await {
                Err(SessionError::DiskFull) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    };
    let put = tokio::time::timeout(Duration::from_secs(10), put).await;
    put.unwrap().unwrap();
    rig.recorder.flush().await.unwrap();
    assert!(lost(&rig).is_empty());
    rig.close().await;
    let again = Rig::open(Arc::new(disk.clone()), Path::new(ROOT), false)
        .await
        .unwrap();
    assert_there(&again, &bucket, count - 5..count).await;
    assert_eq!(again.get(&bucket, "o0").await, Err(SessionError::NoSuchKey));
    assert_eq!(again.get(&bucket, "after").await.unwrap(), b"there is space");
    again.close().await;
}
