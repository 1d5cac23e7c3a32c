//! What lost drives and flipped bits do to what was acknowledged: nothing, up to the parity of the code; beyond it a clear error,
//! and never a wrong byte.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod rig;

use engine::disk::{CrashChoice, Disk, RealDisk, SimDisk};
use rig::frames::{Frame, shard_frames};
use rig::{DRIVES, Opening, Rig, body, drive_dir};
use s3_gateway::session::{Bucket, SessionError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ROOT: &str = "/data";

async fn open_sim(disk: &SimDisk, opening: Opening) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
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
    let rig = open_sim(&disk, Opening::large_packs(true)).await;
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
        let rig = open_sim(&disk, Opening::large_packs(false)).await;
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
                    // Stored shards only: a small pack has fewer than the code's six, and needs fewer.
                    let one_short = |need| error == SessionError::Unreadable { have: need - 1, need };
                    assert!((1..=4).any(one_short), "{size}: {error:?}");
                    assert_eq!(lost.len(), 3, "{size} without {lost:?}");
                    unreadable += 1;
                }
            }
        }
        let refused = rig.session.stream(&bucket, None).await.err();
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

fn written(number: u64) -> Vec<u8> {
    let bytes = if number.is_multiple_of(4) {
        270_000
    } else {
        1 + number * 977 % 40_000
    };
    body(number, bytes as usize)
}

/// What writers under load and the test tell each other.
#[derive(Default)]
struct Load {
    acknowledged: AtomicU64,
    /// Two drives are gone: nothing that begins from now on may be acknowledged.
    gone: AtomicBool,
    /// Puts that began after that and were refused.
    refused: AtomicU64,
}

/// Writes until two drives are gone and that was noticed; the numbers of what was acknowledged.
async fn write_on(rig: Arc<Rig>, bucket: Bucket, writer: u64, load: Arc<Load>) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut number = writer << 32;
    loop {
        number += 1;
        let bytes = written(number);
        let late = load.gone.load(Ordering::SeqCst);
        match rig.put(&bucket, &format!("w{number}"), &bytes).await {
            Ok(_) => {
                assert!(!late, "w{number} was acknowledged without the drives it needs");
                acknowledged.push(number);
                load.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(SessionError::NotWritable { need: 5, .. }) => {
                if late {
                    load.refused.fetch_add(1, Ordering::Relaxed);
                    return acknowledged;
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
}

async fn written_beyond(load: &Load, more: u64) {
    let from = load.acknowledged.load(Ordering::Relaxed);
    while load.acknowledged.load(Ordering::Relaxed) < from + more {
        tokio::task::yield_now().await;
    }
}

async fn assert_reads(rig: &Rig, bucket: &Bucket, numbers: &[u64]) {
    for number in numbers {
        let read = rig.get(bucket, &format!("w{number}")).await;
        let want = written(*number);
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
        let load = Arc::new(Load::default());
        let writers = (0..8).map(|writer| {
            let number = ((round as u64) << 8) | writer;
            tokio::spawn(write_on(
                Arc::clone(&rig),
                bucket.clone(),
                number,
                Arc::clone(&load),
            ))
        });
        let writers: Vec<_> = writers.collect();
        written_beyond(&load, 40).await;
        // One is deleted, the other moved away with all its files still linked.
        std::fs::remove_dir_all(drive_dir(dir.path(), first)).unwrap();
        written_beyond(&load, 40).await;
        let away = dir.path().join(format!("away{round}"));
        std::fs::rename(drive_dir(dir.path(), second), &away).unwrap();
        load.gone.store(true, Ordering::SeqCst);
        for writer in writers {
            all.extend(writer.await.unwrap());
        }
        assert_eq!(load.refused.load(Ordering::Relaxed), 8);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flipped_bit_in_each_of_a_thousand_shards_is_found_and_mended() {
    const OBJECTS: u64 = 520;
    const FLIPS: u64 = 1_000;
    let disk = SimDisk::new(2);
    let rig = open_sim(&disk, Opening::tiny(true)).await;
    let bucket = rig.bucket("flips").await;
    let bytes_of = |number: u64| body(number, if number.is_multiple_of(10) { 270_000 } else { 4_096 });
    for number in 0..OBJECTS {
        rig.put(&bucket, &format!("o{number}"), &bytes_of(number))
            .await
            .unwrap();
    }
    rig.settle().await;
    let mut frames = shard_frames(&disk, Path::new(ROOT), Opening::tiny(false).drive_log);
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
    // Some are mended between the two, in the background. A shard that two healers met at the same time is counted by both.
    let mended = rig.cluster.status().rebuilt;
    assert!(mended >= FLIPS, "{mended}");
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
    let rig = open_sim(&disk, Opening::tiny(false)).await;
    assert_eq!(rig.scrub().await.shards_bad, 0);
    assert!(rig.census().await.is_complete());
    rig.close().await;
}
