//! What lost drives and flipped bits do to what was acknowledged: nothing, up to the parity of the code; beyond it a clear error,
//! and never a wrong byte.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod rig;

use engine::disk::{CrashChoice, Disk, RealDisk, SimDisk};
use engine::log::{Log, LogConfig};
use rig::{DRIVES, Opening, Rig, body, drive_dir};
use s3_gateway::session::{Bucket, SessionError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROOT: &str = "/data";

/// Segments of a few packs, so that the simulated disk keeps little of its history in memory.
fn drive_log() -> LogConfig {
    Opening::large_packs(true).drive_log
}

async fn open_sim(disk: &SimDisk, create: bool) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opening = Opening {
        drive_log: drive_log(),
        ..Opening::usual(create)
    };
    Rig::open_with(disk, Path::new(ROOT), opening).await.unwrap()
}

/// Bodies on one lane, on several, on all of them and in several packs.
const SIZES: [usize; 6] = [1, 5_000, 130_000, 300_000, 1_200_000, 9_000_000];

fn patterns_of(lost: u32) -> impl Iterator<Item = Vec<usize>> {
    let patterns = (0u32..1 << DRIVES).filter(move |pattern| pattern.count_ones() == lost);
    patterns.map(|pattern| (0..DRIVES).filter(|drive| pattern & (1 << drive) != 0).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pattern_of_lost_drives_reads_back_or_is_a_clear_error() {
    let disk = SimDisk::new(1);
    let rig = open_sim(&disk, true).await;
    let bucket = rig.bucket("losses").await;
    for size in SIZES {
        let bytes = body(size as u64, size);
        rig.put(&bucket, &format!("o{size}"), &bytes).await.unwrap();
    }
    rig.settle().await;
    rig.close().await;
    let (mut read, mut unreadable) = (0, 0);
    for lost in (0..=3).flat_map(patterns_of) {
        let disk = disk.crash_state(disk.ops(), CrashChoice::KeepAll);
        for drive in &lost {
            disk.unlink(&drive_dir(Path::new(ROOT), *drive));
        }
        let rig = open_sim(&disk, false).await;
        let bucket = rig.bucket("losses").await;
        for size in SIZES {
            match rig.get(&bucket, &format!("o{size}")).await {
                Ok(bytes) => {
                    assert_eq!(bytes, body(size as u64, size), "{size} without {lost:?}");
                    // Four lanes on three drives: some lane is gone, and nothing is left to compute it from.
                    assert!(lost.len() <= 2 || size < 250_000, "{size} without {lost:?}");
                    read += 1;
                }
                Err(error) => {
                    assert_eq!(error, SessionError::Unreadable { have: 3, need: 4 }, "{size}");
                    assert_eq!(lost.len(), 3, "{size} without {lost:?}");
                    unreadable += 1;
                }
            }
        }
        let refused = rig.session.stream(&bucket).await.err();
        let need = 5;
        let have = DRIVES - lost.len();
        let expected = (lost.len() > 1).then_some(SessionError::NotWritable { have, need });
        assert_eq!(refused, expected, "without {lost:?}");
        rig.close().await;
    }
    assert!(
        read >= 22 * SIZES.len() && unreadable >= 20 * 3,
        "{read} {unreadable}"
    );
}

/// Writers that go on until they are told to stop; what was acknowledged to them is in `acknowledged`.
async fn write_until(
    rig: Arc<Rig>,
    bucket: Bucket,
    writer: u64,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut number = writer << 32;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let bytes = body(number, 1 + (number as usize * 977) % 40_000);
        match rig.put(&bucket, &format!("w{number}"), &bytes).await {
            Ok(_) => {
                acknowledged.push(number);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(SessionError::NotWritable { need: 5, .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    acknowledged
}

async fn written_beyond(done: &AtomicU64, more: u64) {
    let from = done.load(Ordering::Relaxed);
    while done.load(Ordering::Relaxed) < from + more {
        tokio::task::yield_now().await;
    }
}

async fn assert_reads(rig: &Rig, bucket: &Bucket, numbers: &[u64]) {
    for number in numbers {
        let read = rig.get(bucket, &format!("w{number}")).await;
        let want = body(*number, 1 + (*number as usize * 977) % 40_000);
        assert!(read.as_ref() == Ok(&want), "w{number}: {:?}", read.err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drives_removed_under_load_take_nothing_acknowledged_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut all: Vec<u64> = Vec::new();
    for (round, (first, second)) in [(0, 1), (5, 2), (3, 4), (1, 5)].into_iter().enumerate() {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let rig = Arc::new(Rig::open(disk, dir.path(), round == 0).await.unwrap());
        let bucket = rig.bucket("load").await;
        rig.repair().await;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writers = (0..8).map(|writer| {
            let number = (round as u64) << 8 | writer;
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(write_until(Arc::clone(&rig), bucket.clone(), number, stop, done))
        });
        let writers: Vec<_> = writers.collect();
        written_beyond(&done, 40).await;
        // One is deleted, the other moved away with all its files still linked.
        std::fs::remove_dir_all(drive_dir(dir.path(), first)).unwrap();
        written_beyond(&done, 40).await;
        let away = dir.path().join(format!("away{round}"));
        std::fs::rename(drive_dir(dir.path(), second), &away).unwrap();
        while rig.session.writable().is_ok() {
            rig.cluster.check_drives().await;
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            all.extend(writer.await.unwrap());
        }
        assert_reads(&rig, &bucket, &all).await;
        Arc::into_inner(rig).unwrap().close().await;
        // What the process had in memory is gone as well now; the two drives still are.
        std::fs::remove_dir_all(away).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let rig = Rig::open(disk, dir.path(), false).await.unwrap();
        assert_reads(&rig, &bucket, &all).await;
        assert!(rig.repair().await.is_complete());
        rig.close().await;
    }
    assert!(all.len() >= 320, "{}", all.len());
}

/// A shard frame on a drive: its pack, its file and where the frame lies in it.
struct Frame {
    pack: [u8; 32],
    file: PathBuf,
    from: u64,
    bytes: u64,
}

/// Every shard frame of every drive, read from a copy of the disk.
fn shard_frames(disk: &SimDisk) -> Vec<Frame> {
    const HEADER_BYTES: u64 = 64;
    const KIND_SHARD: u8 = 16;
    let copy: Arc<dyn Disk> = Arc::new(disk.crash_state(disk.ops(), CrashChoice::KeepAll));
    let mut frames = Vec::new();
    for drive in 0..DRIVES {
        let log = drive_dir(Path::new(ROOT), drive).join("log");
        let mut take = |frame: engine::log::FrameInfo| {
            if frame.kind == KIND_SHARD {
                frames.push(Frame {
                    pack: frame.tag[..32].try_into().unwrap(),
                    file: log.join(format!("{:08x}.seg", frame.position.segment())),
                    from: u64::from(frame.position.offset()),
                    bytes: HEADER_BYTES + u64::from(frame.payload_bytes),
                });
            }
        };
        Log::open(Arc::clone(&copy), &log, drive_log(), 1, &mut take).unwrap();
    }
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flipped_bit_in_each_of_a_thousand_shards_is_found_and_mended() {
    const OBJECTS: u64 = 520;
    const FLIPS: u64 = 1_000;
    let disk = SimDisk::new(2);
    let rig = open_sim(&disk, true).await;
    let bucket = rig.bucket("flips").await;
    let bytes_of = |number: u64| body(number, if number.is_multiple_of(10) { 270_000 } else { 4_096 });
    for number in 0..OBJECTS {
        rig.put(&bucket, &format!("o{number}"), &bytes_of(number))
            .await
            .unwrap();
    }
    rig.settle().await;
    let mut frames = shard_frames(&disk);
    // Neighbours on a drive are of different packs; ordered by a hash, so are those that are flipped.
    let mixed = |frame: &Frame| {
        engine::pack::ShardHash::of(format!("{}{}", frame.file.display(), frame.from).as_bytes()).0
    };
    frames.sort_by_key(mixed);
    let (mut flipped, mut in_pack) = (0, std::collections::HashMap::<[u8; 32], u32>::new());
    for frame in frames {
        let of_pack = in_pack.entry(frame.pack).or_default();
        if *of_pack == 2 || flipped == FLIPS {
            continue;
        }
        *of_pack += 1;
        let hash = mixed(&frame);
        let at = u64::from_le_bytes(hash[..8].try_into().unwrap()) % frame.bytes;
        assert!(disk.flip_bit(&frame.file, frame.from + at));
        flipped += 1;
    }
    assert_eq!(flipped, FLIPS);
    for number in 0..OBJECTS {
        let read = rig.get(&bucket, &format!("o{number}")).await;
        assert!(
            read.as_ref() == Ok(&bytes_of(number)),
            "o{number}: {:?}",
            read.err()
        );
    }
    rig.cluster.heal().await;
    let on_read = rig.cluster.status().rebuilt;
    let scrub = rig.scrub().await;
    println!("{on_read} mended after reads, {scrub:?}");
    assert!(on_read > 100, "{on_read}");
    // One that healing and scrub met at the same time may count twice.
    assert!(on_read + scrub.shards_rebuilt >= FLIPS, "{on_read} and {scrub:?}");
    assert_eq!((scrub.unrepaired, scrub.orphans), (0, 0));
    assert_eq!(rig.scrub().await.shards_bad, 0);
    let census = rig.census().await;
    assert!(census.is_complete() && census.packs_unreadable == 0, "{census:?}");
    for number in 0..OBJECTS {
        assert_eq!(
            rig.get(&bucket, &format!("o{number}")).await.unwrap(),
            bytes_of(number)
        );
    }
    rig.close().await;
    // Nor does a restart, which reads the logs anew, find anything.
    let rig = open_sim(&disk, false).await;
    assert_eq!(rig.scrub().await.shards_bad, 0);
    assert!(rig.census().await.is_complete());
    rig.close().await;
}
