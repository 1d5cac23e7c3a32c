mod compaction;
mod crash;
mod direct;
mod faults;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, SimDisk};
use crate::log::{LogConfig, LogKind, OnDamage};
use crate::pack::{Code, PackGeometry, PackSummary, ShardHash};
use crate::slots::AcceptedLeases;

const DIR: &str = "/drives/0";
const IDENTITY: DriveIdentity = DriveIdentity {
    cluster: [0xc1; 16],
    drive: [0xd1; 16],
};

fn small() -> LogConfig {
    LogConfig {
        kind: LogKind::Drive,
        segment_bytes: 8192,
        preallocate_bytes: 4096,
        on_damage: OnDamage::Skip,
    }
}

fn open(disk: &SimDisk) -> Result<(DriveWriter, Recovery), DriveError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    DriveWriter::open_with(disk, Path::new(DIR), Some(IDENTITY), 0xaa, small())
}

fn fresh(disk: &SimDisk) -> DriveWriter {
    IDENTITY.create(disk, Path::new(DIR)).unwrap();
    open(disk).unwrap().0
}

/// Shard 0 of a 1+2 pack of its own, with `bytes` bytes that depend on `number`.
fn shard(number: u64, bytes: usize) -> (ShardHeader, Vec<u8>) {
    let content: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(bytes).collect();
    let shard_bytes = u32::try_from(bytes).unwrap();
    let geometry = PackGeometry {
        code: Code::new(1, 2).unwrap(),
        shard_bytes,
        lane_bytes: vec![shard_bytes],
        trailer: None,
    };
    let summary = PackSummary::new(geometry, vec![ShardHash::of(&content); 3]).unwrap();
    (
        ShardHeader {
            summary,
            index: 0,
            lease: 5,
            vault: [1; 16],
            scope: [2; 16],
        },
        content,
    )
}

fn plain(number: u64) -> (ShardHeader, Vec<u8>) {
    shard(number, 200 + usize::try_from(number * 53 % 700).unwrap())
}

fn put(writer: &mut DriveWriter, number: u64) {
    let (header, content) = plain(number);
    writer.put(&header, &content).unwrap();
}

fn key(number: u64) -> ShardKey {
    plain(number).0.key()
}

fn segment_path(number: u32) -> std::path::PathBuf {
    Path::new(DIR).join(format!("log/{number:08x}.seg"))
}

#[test]
fn puts_show_after_the_commit_and_read_back_whole_and_by_range() {
    let disk = SimDisk::new(1);
    let mut writer = fresh(&disk);
    let drive = writer.drive();
    let (header, content) = plain(3);
    writer.put(&header, &content).unwrap();
    assert!(!drive.contains(&header.key()));
    assert!(matches!(drive.read(&header.key()), Err(DriveError::NoShard(_))));
    writer.commit().unwrap();
    assert_eq!(drive.header(&header.key()).unwrap(), header);
    let (read, bytes) = drive.read(&header.key()).unwrap();
    assert_eq!((read, &bytes[..]), (header.clone(), &content[..]));
    assert_eq!(
        &drive.read_range(&header.key(), 10, 20).unwrap()[..],
        &content[10..30]
    );
    let beyond = drive.read_range(&header.key(), 0, u32::MAX);
    assert!(matches!(
        beyond,
        Err(DriveError::OutOfRange {
            offset: 0,
            bytes: u32::MAX,
            ..
        })
    ));
    let ops = disk.ops();
    writer.put(&header, &content).unwrap();
    assert_eq!(disk.ops(), ops, "a shard that is there is not written again");
    assert!(matches!(
        writer.put(&header, &content[1..]),
        Err(DriveError::WrongLength { .. })
    ));
    writer.close().unwrap();
    let (writer, recovery) = open(&disk).unwrap();
    assert!(recovery.log.clean && recovery.shards == 1);
    assert_eq!(&writer.drive().read(&header.key()).unwrap().1[..], &content[..]);
    assert_eq!(writer.drive().info(&header.key()).unwrap().lease, 5);
}

#[test]
fn compaction_gives_the_garbage_back_and_keeps_every_live_shard() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    (0..200).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    for number in (0..200).filter(|number| number % 3 != 0) {
        assert!(writer.delete(key(number)).unwrap());
    }
    assert!(!writer.delete(key(999)).unwrap());
    writer.commit().unwrap();
    let drive = writer.drive();
    let before = drive.usage();
    assert!(before.garbage > before.live);
    let first = writer.compact(0.5, 1).unwrap();
    assert!(first.more && first.freed_bytes > 0);
    let mut rounds = 0;
    while writer.compact(0.000_1, 4096).unwrap().more {
        rounds += 1;
    }
    assert!(rounds > 3);
    writer.trim().unwrap();
    let after = drive.usage();
    assert_eq!((after.live, after.shards), (before.live, 67));
    assert!(after.garbage <= 512, "{after:?}");
    assert!(after.allocated < after.live * 5 / 4 + 8192, "{after:?}");
    writer.close().unwrap();
    let (writer, _) = open(&disk).unwrap();
    let drive = writer.drive();
    assert_eq!(drive.usage().live, after.live);
    for number in 0..200 {
        assert_eq!(drive.contains(&key(number)), number % 3 == 0, "{number}");
        assert!(number % 3 != 0 || drive.read(&key(number)).is_ok());
    }
    let mut all: Vec<ShardKey> = (0..200).filter(|number| number % 3 == 0).map(key).collect();
    all.sort_unstable();
    assert!(drive.keys().eq(all.iter().copied()));
    assert_eq!(drive.keys_after(Some(all[4]), 2), all[5..7]);
}

#[test]
fn a_delete_outlives_the_compaction_of_its_own_segment() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    // Segment 0: one shard that will be deleted among live ones, so that the segment itself stays.
    (0..8).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    writer.log.seal_current().unwrap();
    writer.delete(key(0)).unwrap();
    (100..104).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    writer.log.seal_current().unwrap();
    for number in 100..104 {
        writer.delete(key(number)).unwrap();
    }
    assert!(writer.compact(0.9, u64::MAX).unwrap().freed_bytes > 0);
    drop(writer);
    let (writer, _) = open(&disk).unwrap();
    assert!(!writer.drive().contains(&key(0)) && writer.drive().contains(&key(1)));
    assert!(
        writer.log.segments().iter().any(|info| info.number == 0),
        "the deleted frame is still there"
    );
}

#[test]
fn ended_leases_are_refused_also_after_compaction_and_opening_again() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    put(&mut writer, 1);
    writer.end_leases(&AcceptedLeases::new(9, [6, 8])).unwrap();
    writer.commit().unwrap();
    let accepted = AcceptedLeases::new(9, [6, 8]);
    assert_eq!(writer.drive().accepted_leases(), accepted);
    writer.delete(key(1)).unwrap();
    writer.compact(0.000_1, u64::MAX).unwrap();
    drop(writer);
    let (mut writer, _) = open(&disk).unwrap();
    let (header, content) = plain(2);
    let refused = writer.put(&header, &content);
    assert!(matches!(
        refused,
        Err(DriveError::LeaseEnded { lease: 5, lowest: 6 })
    ));
    for ended in [0, 7] {
        let header = ShardHeader {
            lease: ended,
            ..header.clone()
        };
        let refused = writer.put(&header, &content);
        assert!(matches!(refused, Err(DriveError::LeaseEnded { .. })), "{ended}");
    }
    // Older word brings none back.
    writer.end_leases(&AcceptedLeases::new(8, [5, 6, 7])).unwrap();
    assert_eq!(writer.drive().accepted_leases(), accepted);
    assert_eq!(writer.drive().highest_lease(), 8);
    writer.put(&ShardHeader { lease: 6, ..header }, &content).unwrap();
}

#[test]
fn what_an_older_build_wrote_of_leases_is_still_known() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    let lowest = 6u64.to_le_bytes();
    writer
        .append(super::shard::KIND_LOWEST_LEASE, &lowest, &[])
        .unwrap();
    writer.close().unwrap();
    let (mut writer, _) = open(&disk).unwrap();
    let drive = writer.drive();
    assert_eq!(drive.accepted_leases(), AcceptedLeases::at_least(6));
    assert_eq!(drive.highest_lease(), 6);
    let (header, content) = plain(2);
    let refused = writer.put(&header, &content);
    assert!(matches!(
        refused,
        Err(DriveError::LeaseEnded { lease: 5, lowest: 6 })
    ));
}

#[test]
fn the_shard_frame_and_drive_json_have_their_golden_bytes() {
    let (mut header, content) = shard(7, 40);
    header.lease = 9;
    let bytes: Vec<u8> = [header.encode_tag(), header.encode_clear(), content].concat();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("../../golden/shard-frame.hex").trim());
    let payload_bytes = u32::try_from(bytes.len()).unwrap();
    assert_eq!(ShardHeader::decode(&bytes, payload_bytes).unwrap(), header);
    assert_eq!(
        ShardHeader::decode(&bytes[..bytes.len() - 40], payload_bytes).unwrap(),
        header
    );
    assert!(ShardHeader::decode(&bytes, payload_bytes + 1).is_err());
    // Every byte but those of lease, vault and scope is bound to the pack id or to the lengths.
    for at in (0..bytes.len() - 40).filter(|at| !(40..80).contains(at) && *at != 32) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(ShardHeader::decode(&changed, payload_bytes).is_err(), "byte {at}");
    }
    let json = IDENTITY.to_json();
    assert_eq!(json, include_str!("../../golden/drive.json").trim_end());
    assert_eq!(DriveIdentity::parse(json.as_bytes()).unwrap(), IDENTITY);
    let newer = json.replace(":1}", ":2}");
    assert!(matches!(
        DriveIdentity::parse(newer.as_bytes()),
        Err(DriveError::Format { got: 2 })
    ));
    for cut in 0..json.len() {
        assert!(DriveIdentity::parse(&json.as_bytes()[..cut]).is_err());
    }
    assert!(DriveIdentity::parse(json.to_uppercase().as_bytes()).is_err());
    assert!(DriveIdentity::parse(format!("{json}\n").as_bytes()).is_err());
}

#[test]
fn readers_never_miss_a_shard_while_compaction_moves_it() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    (0..60).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    let drive = writer.drive();
    let reading = std::thread::spawn(move || {
        for round in 0..400_u64 {
            let (_, bytes) = drive.read(&key(round % 30 * 2)).unwrap();
            assert_eq!(&bytes[..], &plain(round % 30 * 2).1[..]);
        }
    });
    for round in 0..30 {
        writer.delete(key(round * 2 + 1)).unwrap();
        writer.compact(0.000_1, u64::MAX).unwrap();
    }
    reading.join().unwrap();
    assert_eq!(writer.drive().usage().shards, 30);
}

#[test]
fn a_drive_that_is_open_is_not_opened_a_second_time() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(crate::disk::RealDisk);
    IDENTITY.create(&*disk, root.path()).unwrap();
    let open = || DriveWriter::open(Arc::clone(&disk), root.path(), None, 3);
    let (writer, _) = open().unwrap();
    assert!(matches!(open(), Err(DriveError::InUse)));
    // Whoever still reads from it hinders nobody.
    let _reader = writer.drive();
    drop(writer);
    open().unwrap();
}

#[test]
fn a_drive_on_the_real_disk_notices_that_it_was_removed_or_replaced() {
    let root = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(crate::disk::RealDisk);
    for replace in [false, true] {
        let dir = root.path().join(format!("{replace}"));
        IDENTITY.create(&*disk, &dir).unwrap();
        assert!(matches!(IDENTITY.create(&*disk, &dir), Err(DriveError::Exists)));
        let (mut writer, _) = DriveWriter::open(Arc::clone(&disk), &dir, None, 3).unwrap();
        let (header, content) = shard(1, 2_097_152);
        writer.put(&header, &content).unwrap();
        writer.commit().unwrap();
        assert_eq!(&writer.drive().read(&header.key()).unwrap().1[..], &content[..]);
        disk.remove_dir_all(&dir).unwrap();
        if replace {
            IDENTITY.create(&*disk, &dir).unwrap();
        }
        put(&mut writer, 2);
        // A file system may give the new identity file the inode of the old one; then it is the segment without a name that tells.
        let lost = writer.commit();
        assert!(
            matches!(
                lost,
                Err(DriveError::Lost(
                    LostReason::IdentityReplaced | LostReason::SegmentUnlinked
                ))
            ),
            "{lost:?}"
        );
        assert!(!writer.drive().contains(&key(2)));
        assert!(matches!(
            writer.drive().read(&header.key()),
            Err(DriveError::Lost(_))
        ));
    }
}
