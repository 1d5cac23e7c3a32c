//! The cluster client over simulated and real drives.

mod back;
mod damage;
mod faults;
mod mending;
mod order;
mod remote;
mod slow;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use engine::disk::{Disk, SimDisk};
use engine::erasure::Coder;
use engine::pack::{Code, Pack, PackBuilder};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Cluster, ClusterConfig, DriveConfig, LaneRange, PutError, PutSpace, ReadError, drive_id};
use crate::drives::LocalDrive;
use crate::entry::PackEntry;
use crate::ledger::LedgerError;

const CLUSTER: [u8; 16] = [9; 16];
/// Of the owner whose wallet has the seed of ones, with a salt of zeros.
const VAULT: [u8; 16] = [
    180, 180, 141, 78, 159, 16, 9, 33, 32, 181, 236, 213, 87, 22, 128, 57,
];
const SCOPE: [u8; 16] = [3; 16];
const LEASE: u64 = 1;

fn config(root: &Path, drives: usize, create: bool) -> ClusterConfig {
    static LOG_ID: AtomicU64 = AtomicU64::new(1);
    let dirs = (0..drives).map(|number| DriveConfig {
        dir: root.join(number.to_string()),
        default: true,
    });
    let fresh = Arc::new(|| LOG_ID.fetch_add(1, Ordering::Relaxed));
    let mut config = ClusterConfig::new(CLUSTER, Code::DEFAULT, dirs.collect(), fresh);
    config.own.create = create;
    config
}

async fn open(disk: &SimDisk, drives: usize, create: bool) -> Cluster {
    open_at(disk.clone(), config(Path::new("/d"), drives, create)).await
}

async fn open_at(disk: impl Disk + 'static, config: ClusterConfig) -> Cluster {
    Cluster::open(Arc::new(disk), config).await.unwrap()
}

fn dir(number: usize) -> PathBuf {
    Path::new("/d").join(number.to_string())
}

/// A pack of chunks of these lengths, and each chunk with its place.
fn pack(seed: u8, chunks: &[usize]) -> (Pack, Vec<(LaneRange, Vec<u8>)>) {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    let mut placed = Vec::new();
    for (number, bytes) in chunks.iter().enumerate() {
        let chunk: Vec<u8> = (0..*bytes)
            .map(|at| (at * 31 + number * 7) as u8 ^ seed)
            .collect();
        let place = builder.place(&chunk).unwrap();
        let range = LaneRange {
            lane: place.lane,
            offset: place.offset,
            bytes: *bytes as u32,
        };
        placed.push((range, chunk));
    }
    (builder.finish(&Coder::new(Code::DEFAULT), None).unwrap(), placed)
}

struct Stored {
    entry: PackEntry,
    chunks: Vec<(LaneRange, Vec<u8>)>,
}

async fn put(cluster: &Cluster, seed: u8, chunks: &[usize]) -> Result<Stored, PutError> {
    let (pack, chunks) = pack(seed, chunks);
    let entry = cluster.put_pack(pack, VAULT, SCOPE, LEASE).await?;
    Ok(Stored { entry, chunks })
}

async fn read(cluster: &Cluster, entry: &PackEntry, range: LaneRange) -> Result<Bytes, ReadError> {
    cluster
        .read_lane(entry, range.lane, range.offset, range.bytes)
        .await
}

async fn assert_reads(cluster: &Cluster, stored: &Stored) {
    let ranges: Vec<LaneRange> = stored.chunks.iter().map(|(range, _)| *range).collect();
    let all = cluster.read_lanes(&stored.entry, &ranges).await.unwrap();
    for ((range, chunk), together) in stored.chunks.iter().zip(all) {
        assert_eq!(read(cluster, &stored.entry, *range).await.unwrap(), chunk);
        assert_eq!(together, chunk);
    }
}

/// A stream over entries, as repair wants it.
fn packs(
    stored: &[Stored],
) -> impl Fn() -> BoxStream<'static, Result<PackEntry, LedgerError>> + Send + Sync + use<> {
    let entries: Vec<PackEntry> = stored.iter().map(|stored| stored.entry.clone()).collect();
    move || futures::stream::iter(entries.clone().into_iter().map(Ok)).boxed()
}

/// Waits until what acknowledged puts were still writing is written.
async fn settle(cluster: &Cluster, stored: &[Stored]) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    for stored in stored {
        while !cluster.inner.absent(&stored.entry).await.is_empty() {
            assert!(std::time::Instant::now() < deadline, "shards are still missing");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
}

/// The drive of this number.
fn local(cluster: &Cluster, number: usize) -> &Arc<LocalDrive> {
    &cluster.inner.own.drives[number]
}

#[tokio::test]
async fn a_pack_reads_back_also_after_a_restart() {
    let disk = SimDisk::unrecorded(1);
    let cluster = open(&disk, 6, true).await;
    let stored = [
        put(&cluster, 1, &[65_536; 9]).await.unwrap(),
        put(&cluster, 2, &[100]).await.unwrap(),
    ];
    settle(&cluster, &stored).await;
    for stored in &stored {
        assert_reads(&cluster, stored).await;
    }
    let flushes = cluster.status().flushes;
    assert!(flushes >= 6, "{flushes}");
    cluster.close().await;
    let cluster = open(&disk, 6, false).await;
    for stored in &stored {
        assert_reads(&cluster, stored).await;
        let beyond = LaneRange {
            lane: stored.chunks[0].0.lane,
            offset: u32::MAX,
            bytes: 2,
        };
        assert!(matches!(
            read(&cluster, &stored.entry, beyond).await,
            Err(ReadError::OutOfRange { .. })
        ));
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_lone_small_chunk_takes_one_data_shard_and_the_parity() {
    let disk = SimDisk::unrecorded(2);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[4_096]).await.unwrap()];
    settle(&cluster, &stored).await;
    let shards: u64 = cluster.status().drives.iter().map(|drive| drive.shards).sum();
    assert_eq!(shards, 3);
    let mut drives = stored[0].entry.drives.clone();
    drives.sort_unstable();
    drives.dedup();
    assert_eq!(drives.len(), 6, "each index has its own drive");
    cluster.close().await;
}

#[tokio::test]
async fn every_pattern_of_two_lost_drives_reads_back_and_three_are_a_clear_error() {
    let disk = SimDisk::new(3);
    let cluster = open(&disk, 6, true).await;
    let stored = [
        put(&cluster, 1, &[60_000; 6]).await.unwrap(),
        put(&cluster, 2, &[5_000, 4_000]).await.unwrap(),
    ];
    settle(&cluster, &stored).await;
    cluster.close().await;
    for lost in 0u32..64 {
        if !(1..=3).contains(&lost.count_ones()) {
            continue;
        }
        let disk = disk.crash_state(disk.ops(), engine::disk::CrashChoice::KeepAll);
        let lost: Vec<usize> = (0..6).filter(|number| lost & (1 << number) != 0).collect();
        lost.iter().for_each(|number| disk.unlink(&dir(*number)));
        let cluster = open(&disk, 6, false).await;
        assert_eq!(cluster.present(), 6 - lost.len());
        if lost.len() <= 2 {
            for stored in &stored {
                assert_reads(&cluster, stored).await;
            }
        } else {
            assert_three_lost(&cluster, &stored[0], &lost).await;
        }
        cluster.close().await;
    }
}

async fn assert_three_lost(cluster: &Cluster, stored: &Stored, lost: &[usize]) {
    for (range, chunk) in &stored.chunks {
        let drive = stored.entry.drives[usize::from(range.lane)];
        let is_lost = lost.iter().any(|number| drive_id(&CLUSTER, *number) == drive);
        match read(cluster, &stored.entry, *range).await {
            Ok(bytes) => assert_eq!(bytes, chunk),
            Err(error) => {
                assert!(is_lost);
                assert_eq!(error, ReadError::NotEnoughShards { have: 3, need: 4 });
            }
        }
    }
}

#[tokio::test]
async fn writes_go_on_with_one_drive_lost_and_are_refused_with_two() {
    let disk = SimDisk::unrecorded(4);
    let cluster = open(&disk, 6, true).await;
    disk.unlink(&dir(2));
    cluster.check_drives().await;
    let stored = put(&cluster, 1, &[50_000; 5]).await.unwrap();
    assert_reads(&cluster, &stored).await;
    let small = put(&cluster, 2, &[100]).await.unwrap();
    assert_reads(&cluster, &small).await;
    cluster.writable().unwrap();
    disk.unlink(&dir(5));
    cluster.check_drives().await;
    let refused = PutError::NotEnoughDrives { have: 4, need: 5 };
    assert_eq!(cluster.writable(), Err(refused));
    assert_eq!(put(&cluster, 3, &[50_000; 5]).await.err(), Some(refused));
    assert_eq!(put(&cluster, 4, &[100]).await.err(), Some(refused));
    assert_reads(&cluster, &stored).await;
    assert_reads(&cluster, &small).await;
    cluster.close().await;
}

#[tokio::test]
async fn with_more_drives_than_shards_new_packs_use_the_present_ones() {
    let disk = SimDisk::unrecorded(5);
    let cluster = open(&disk, 8, true).await;
    disk.unlink(&dir(0));
    disk.unlink(&dir(1));
    cluster.check_drives().await;
    for seed in 0..20 {
        let stored = put(&cluster, seed, &[1_000; 4]).await.unwrap();
        assert!(!stored.entry.drives.contains(&drive_id(&CLUSTER, 0)));
        assert!(!stored.entry.drives.contains(&drive_id(&CLUSTER, 1)));
    }
    cluster.close().await;
}

#[tokio::test]
async fn swapped_directories_keep_their_drives_and_foreign_ones_are_refused() {
    let disk = SimDisk::unrecorded(6);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[50_000; 5]).await.unwrap()];
    settle(&cluster, &stored).await;
    cluster.close().await;
    let mut swapped = config(Path::new("/d"), 6, false);
    swapped.own.drives.reverse();
    let cluster = open_at(disk.clone(), swapped).await;
    assert_reads(&cluster, &stored[0]).await;
    cluster.close().await;
    let mut foreign = config(Path::new("/d"), 6, false);
    foreign.own.cluster = [1; 16];
    let disk: Arc<dyn Disk> = Arc::new(disk);
    assert!(Cluster::open(disk, foreign).await.is_err());
}

#[tokio::test]
async fn every_crash_state_keeps_every_acknowledged_pack() {
    let disk = SimDisk::new(7);
    let cluster = open(&disk, 6, true).await;
    let ready = disk.ops();
    let mut stored = Vec::new();
    for seed in 0..10u8 {
        let sizes: &[usize] = if seed % 2 == 0 { &[600] } else { &[900; 5] };
        stored.push(put(&cluster, seed, sizes).await.unwrap());
        disk.marker(u64::from(seed));
    }
    cluster.close().await;
    let mut states = 0;
    for at_op in (ready..=disk.ops()).step_by(3) {
        let acknowledged = disk.markers_before(at_op);
        for choice in [
            engine::disk::CrashChoice::DropAll,
            engine::disk::CrashChoice::Seeded(at_op as u64),
        ] {
            let crashed = disk.crash_state(at_op, choice);
            let cluster = open(&crashed, 6, false).await;
            for stored in acknowledged.iter().map(|number| &stored[*number as usize]) {
                assert_reads(&cluster, stored).await;
            }
            cluster.close().await;
            states += 1;
        }
    }
    println!("{states} states");
    assert!(states > 50, "only {states} states");
}
