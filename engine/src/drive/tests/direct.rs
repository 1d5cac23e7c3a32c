//! Shards that are long enough to be written around the system's page cache: where they lie, and that they are as safe as others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};

use super::*;
use crate::disk::{CrashChoice, DIRECT_ALIGN, RealDisk};
use crate::erasure::Coder;
use crate::log::Position;
use crate::pack::{LanePool, Pack, PackBuilder};

/// The shortest shard that is written so.
const LONG: usize = 256 << 10;
const PAGE: u64 = DIRECT_ALIGN as u64;

fn roomy() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 20,
        preallocate_bytes: 128 << 10,
        ..small()
    }
}

fn open_roomy(disk: &SimDisk) -> DriveWriter {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = DriveWriter::open_with(disk, Path::new(DIR), Some(IDENTITY), 0xaa, roomy());
    opened.unwrap().0
}

/// Long and short ones by turns, of every residue.
fn mixed(number: u64) -> (ShardHeader, Vec<u8>) {
    let odd = usize::try_from(number * 1_237 % 9_000).unwrap();
    match number % 3 {
        0 => shard(number, 300 + odd),
        _ => shard(number, LONG + odd),
    }
}

fn put_mixed(writer: &mut DriveWriter, number: u64) {
    let (header, content) = mixed(number);
    writer.put(&header, &content).unwrap();
}

/// Where the first byte of a shard lies in its segment.
fn first_byte(writer: &DriveWriter, key: &ShardKey) -> Position {
    let at = writer.current(key).unwrap();
    let offset = at.position.offset() + crate::log::HEADER_BYTES as u32 + at.header_bytes();
    Position::new(at.position.segment(), offset)
}

fn reads_back(writer: &DriveWriter, number: u64, context: &str) {
    let (header, content) = mixed(number);
    let drive = writer.drive();
    let (read, bytes) = drive
        .read(&header.key())
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(read == header && bytes == content, "{context}: shard {number}");
    assert_eq!(drive.header(&header.key()).unwrap(), header, "{context}");
    let range = drive.read_range(&header.key(), 7, 250).unwrap();
    assert_eq!(&range[..], &content[7..257], "{context}");
    let offset = first_byte(writer, &header.key()).offset();
    let aligned = u64::from(offset).is_multiple_of(PAGE);
    assert!(aligned || content.len() < LONG, "{context}: {number} at {offset}");
}

#[test]
fn long_shards_begin_at_a_page_wherever_they_are_put_copied_or_found_again() {
    let disk = SimDisk::unrecorded(1);
    IDENTITY.create(&disk, Path::new(DIR)).unwrap();
    let mut writer = open_roomy(&disk);
    (0..24).for_each(|number| put_mixed(&mut writer, number));
    writer.commit().unwrap();
    (0..24).for_each(|number| reads_back(&writer, number, "put"));
    let before: BTreeMap<u64, Position> = (1..24)
        .map(|number| (number, first_byte(&writer, &mixed(number).0.key())))
        .collect();
    (0..24).step_by(4).for_each(|number| {
        writer.delete(mixed(number).0.key()).unwrap();
    });
    writer.compact(0.000_1, u64::MAX).unwrap();
    let left = |number: &u64| !number.is_multiple_of(4);
    let moved = |number: &u64| first_byte(&writer, &mixed(*number).0.key()) != before[number];
    assert!((0..24).filter(left).filter(moved).count() > 9);
    (0..24)
        .filter(left)
        .for_each(|number| reads_back(&writer, number, "copied"));
    let (used, live) = (writer.log.used_bytes(), writer.drive().usage());
    assert!(live.live + live.garbage <= used);
    writer.close().unwrap();
    let writer = open_roomy(&disk);
    (0..24)
        .filter(left)
        .for_each(|number| reads_back(&writer, number, "found"));
    assert_eq!(writer.drive().usage().live, live.live);
}

#[test]
fn a_crash_leaves_what_was_committed_before_between_and_behind_long_shards() {
    let disk = SimDisk::new(5);
    IDENTITY.create(&disk, Path::new(DIR)).unwrap();
    let mut writer = open_roomy(&disk);
    disk.marker(0);
    let begun = disk.ops();
    for number in 0..6 {
        put_mixed(&mut writer, number);
        if number % 2 == 1 {
            writer.commit().unwrap();
            disk.marker(number + 1);
        }
    }
    writer.delete(mixed(1).0.key()).unwrap();
    writer.commit().unwrap();
    disk.marker(7);
    writer.compact(0.000_1, u64::MAX).unwrap();
    let mut states = 0;
    for at in begun..=disk.ops() {
        let committed = disk.markers_before(at).last().copied().unwrap();
        let choices = [CrashChoice::KeepAll, CrashChoice::DropAll].into_iter();
        for choice in choices.chain((0..2).map(CrashChoice::Seeded)) {
            let context = format!("op {at} {choice:?}");
            let mut writer = open_roomy(&disk.crash_state(at, choice));
            for number in 0..committed.min(6) {
                let there = writer.drive().contains(&mixed(number).0.key());
                assert!(
                    there || number == 1 && committed >= 6,
                    "{context}: shard {number}"
                );
                assert!(
                    !there || number != 1 || committed < 7,
                    "{context}: it was deleted"
                );
            }
            let there: Vec<u64> = (0..6)
                .filter(|number| writer.drive().contains(&mixed(*number).0.key()))
                .collect();
            there
                .iter()
                .for_each(|number| reads_back(&writer, *number, &context));
            put_mixed(&mut writer, 20);
            writer.commit().unwrap();
            reads_back(&writer, 20, &context);
            states += 1;
        }
    }
    println!("{states} states");
    assert!(states > 80, "{states}");
}

#[test]
fn between_a_clear_header_and_its_shard_lie_fewer_zeros_than_a_page_and_nothing_else() {
    let (header, content) = shard(3, 40);
    let before = [header.encode_tag(), header.encode_clear()].concat();
    let decode = |between: &[u8]| {
        let bytes = [&before, between, &content].concat();
        ShardHeader::decode(&bytes, bytes.len() as u32)
    };
    for zeros in [0, 1, 8, 4_095] {
        assert_eq!(decode(&vec![0; zeros]).unwrap(), header, "{zeros}");
    }
    assert!(decode(&[0; 4_096]).is_err());
    for at in [0, 50, 99] {
        let mut between = [0; 100];
        between[at] = 1;
        assert!(decode(&between).is_err(), "byte {at}");
    }
}

/// Which of the pages that begin at these offsets are in the system's page cache.
fn cached_pages(path: &Path, offsets: &[u64]) -> usize {
    let file = File::open(path).unwrap();
    // What is asked for is then all that is read ahead.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let is_cached = |offset: &&u64| {
        let mut page = [0; DIRECT_ALIGN];
        let mut into = [IoSliceMut::new(&mut page)];
        preadv2(&file, &mut into, **offset, ReadWriteFlags::NOWAIT).is_ok()
    };
    offsets.iter().rev().filter(is_cached).count()
}

/// Whether direct writes to files in `dir` leave the page cache alone, and that can be seen.
fn shows_direct_writes(dir: &Path) -> bool {
    let path = dir.join("probe");
    let lane = full_pack(1, LONG).shards.remove(0);
    let mut options = File::options();
    options.write(true).create_new(true);
    let file = options.custom_flags(OFlags::DIRECT.bits() as i32).open(&path);
    let written = file.and_then(|file| file.write_all_at(&lane, 0).and_then(|()| file.sync_all()));
    if written.is_err() || cached_pages(&path, &[0, PAGE]) > 0 {
        return false;
    }
    std::fs::write(&path, [1; 2 * DIRECT_ALIGN]).unwrap();
    cached_pages(&path, &[0, PAGE]) == 2
}

/// A 1+2 pack whose shards have so many bytes.
fn full_pack(seed: u8, bytes: usize) -> Pack {
    let code = Code::new(1, 2).unwrap();
    let mut builder = PackBuilder::with_pool(code, &LanePool::new(1));
    let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8 ^ seed).collect();
    builder.place(&content).unwrap();
    builder.finish(&Coder::new(code), None).unwrap()
}

#[test]
fn nearly_all_bytes_of_a_packs_long_shards_go_around_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    if !shows_direct_writes(dir.path()) {
        println!("skipped: the temporary directory's file system takes no direct writes");
        return;
    }
    IDENTITY.create(&RealDisk, dir.path()).unwrap();
    let (mut writer, _) = DriveWriter::open(Arc::new(RealDisk), dir.path(), Some(IDENTITY), 0xaa).unwrap();
    let mut packs = Vec::new();
    for (seed, bytes) in [LONG, LONG + 1, 1_000_003, 2 << 20].into_iter().enumerate() {
        let pack = full_pack(seed as u8, bytes);
        for (index, content) in pack.shards.iter().enumerate() {
            let header = ShardHeader {
                summary: pack.summary.clone(),
                index: index as u8,
                lease: 5,
                vault: [1; 16],
                scope: [2; 16],
            };
            writer.put(&header, content).unwrap();
            packs.push((header, content.clone()));
            put(&mut writer, packs.len() as u64);
        }
    }
    // Looked at before the commit, which lets go of what is cached.
    let staged: Vec<(ShardKey, Position)> = packs
        .iter()
        .map(|(header, _)| (header.key(), first_byte(&writer, &header.key())))
        .collect();
    for (key, first) in staged {
        let (_, content) = packs.iter().find(|(header, _)| header.key() == key).unwrap();
        let whole = (content.len() / DIRECT_ALIGN) as u64;
        let pages: Vec<u64> = (0..whole)
            .map(|page| u64::from(first.offset()) + page * PAGE)
            .collect();
        let path = dir.path().join(format!("log/{:08x}.seg", first.segment()));
        // The kernel may bring one in with a neighbour that goes through the cache, as it does now and then under load.
        let cached = cached_pages(&path, &pages);
        assert!(cached <= 1, "{cached} pages of {} bytes", content.len());
    }
    writer.commit().unwrap();
    for (header, content) in &packs {
        let (_, read) = writer.drive().read(&header.key()).unwrap();
        assert!(read == content, "{} bytes", content.len());
    }
}
