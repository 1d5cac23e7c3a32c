//! Compaction on drives that are full, damaged or unreadable in part, and the sums it goes by.

use super::*;
use crate::log::Position;

/// A drive with shards 0 to 19 in several sealed segments, of which every second is deleted.
fn half_deleted(disk: &SimDisk) -> DriveWriter {
    let mut writer = fresh(disk);
    (0..20).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    for number in (0..20).step_by(2) {
        writer.delete(key(number)).unwrap();
    }
    writer.commit().unwrap();
    writer
}

fn position(writer: &DriveWriter, number: u64) -> Position {
    writer.shared.shards()[&key(number)].position
}

/// Usage as the segments give it, one by one.
fn counted(writer: &DriveWriter) -> (u64, u64) {
    let shards = writer.shared.shards();
    let live = shards
        .values()
        .map(super::super::view::Location::frame_bytes)
        .sum();
    let segments = writer.log.segments();
    let garbage = segments.iter().map(|info| writer.books.used_and_garbage(info).1);
    (live, garbage.sum())
}

#[test]
fn an_unreadable_shard_keeps_its_segment_and_no_other_from_being_compacted() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = half_deleted(&disk);
    let bad = position(&writer, 1);
    disk.fail_read(&segment_path(bad.segment()), u64::from(bad.offset()) + 100, 8);
    let done = writer.compact(0.000_1, u64::MAX).unwrap();
    assert_eq!((done.damaged, done.unreadable_segments), (vec![key(1)], 1));
    assert!(done.freed_bytes > 0 && !done.more);
    assert_eq!(position(&writer, 1), bad, "it stays where it is");
    assert!(
        (3..20)
            .step_by(2)
            .all(|number| writer.drive().read(&key(number)).is_ok())
    );
    let again = writer.compact(0.000_1, u64::MAX).unwrap();
    assert_eq!((again.copied_bytes, again.unreadable_segments), (0, 1));
    // What was copied out of it and is deleted then stays deleted, whatever becomes of the copies.
    for number in (3..20).step_by(2) {
        writer.delete(key(number)).unwrap();
    }
    writer.compact(0.000_1, u64::MAX).unwrap();
    drop(writer);
    disk.heal();
    let mut writer = open(&disk).unwrap().0;
    assert_eq!(writer.drive().keys_after(None, 20), [key(1)]);
    assert!(writer.drive().read(&key(1)).is_ok());
    assert_eq!(writer.compact(0.000_1, u64::MAX).unwrap().unreadable_segments, 0);
    assert_ne!(position(&writer, 1).segment(), bad.segment());
}

#[test]
fn a_shard_that_its_segment_does_not_list_any_more_is_reported_when_the_segment_goes() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = half_deleted(&disk);
    let bad = position(&writer, 3);
    let info = writer
        .log
        .segments()
        .into_iter()
        .find(|info| info.number == bad.segment());
    // Neither the footer nor the frame's own header names it.
    assert!(disk.flip_bit(&segment_path(bad.segment()), info.unwrap().bytes - 3));
    assert!(disk.flip_bit(&segment_path(bad.segment()), u64::from(bad.offset()) + 20));
    let done = writer.compact(0.000_1, u64::MAX).unwrap();
    assert_eq!(done.damaged, [key(3)]);
    assert!(!writer.drive().contains(&key(3)));
    put(&mut writer, 3);
    writer.commit().unwrap();
    assert!(writer.drive().read(&key(3)).is_ok());
    let (live, garbage) = counted(&writer);
    let usage = writer.drive().usage();
    assert_eq!((usage.live, usage.garbage), (live, garbage));
}

#[test]
fn compaction_leaves_out_what_has_no_room_and_still_frees_what_nothing_needs() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = half_deleted(&disk);
    let live = writer.drive().usage().live;
    disk.set_available_bytes(4096 + 1000);
    let done = writer.compact_keeping(0.000_1, u64::MAX, 4096).unwrap();
    assert!(
        done.no_room_segments > 0 && done.copied_bytes == 0 && done.freed_bytes == 0,
        "{done:?}"
    );
    let first = position(&writer, 1).segment();
    for number in (1..20).step_by(2) {
        if position(&writer, number).segment() == first {
            writer.delete(key(number)).unwrap();
        }
    }
    let done = writer.compact_keeping(0.000_1, u64::MAX, 4096).unwrap();
    assert!(done.freed_bytes > 0 && done.copied_bytes == 0, "{done:?}");
    disk.set_available_bytes(4096 + 4096 + live);
    let done = writer.compact_keeping(0.000_1, u64::MAX, 4096).unwrap();
    assert!(done.copied_bytes > 0 && done.no_room_segments == 0, "{done:?}");
}

#[test]
fn a_compaction_that_cannot_look_at_the_drive_brings_no_deleted_shard_back() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = half_deleted(&disk);
    let identity = DriveIdentity::path(Path::new(DIR));
    // The look after the copying fails.
    let number = position(&writer, 1).segment();
    let errno = rustix::io::Errno::MFILE.raw_os_error();
    let frames = writer.shared.reader.segment_frames(number).unwrap();
    assert!(!frames.is_empty());
    disk.fail_open(&identity, errno);
    let mut done = Compaction::default();
    let failed = writer.compact_segment(number, &mut done);
    assert!(matches!(failed, Err(DriveError::Unchecked(_))));
    disk.heal();
    assert!(
        (1..20)
            .step_by(2)
            .all(|number| writer.drive().read(&key(number)).is_ok())
    );
    for number in (1..20).step_by(2) {
        writer.delete(key(number)).unwrap();
    }
    writer.commit().unwrap();
    drop(writer);
    let drive = open(&disk).unwrap().0.drive();
    assert_eq!(drive.keys_after(None, 20), []);
}

#[test]
fn the_running_sums_are_what_the_segments_add_up_to() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    for round in 0..60_u64 {
        put(&mut writer, round);
        put(&mut writer, round + 1000);
        if round % 3 != 0 {
            writer.delete(key(round / 2)).unwrap();
        }
        if round % 7 == 0 {
            writer.end_leases(&AcceptedLeases::at_least(round / 20)).unwrap();
        }
        if round % 11 == 0 {
            writer.compact(0.3, 2000).unwrap();
        }
        writer.commit().unwrap();
        if round % 13 == 0 {
            writer.close().unwrap();
            writer = open(&disk).unwrap().0;
        }
        let usage = writer.drive().usage();
        assert_eq!((usage.live, usage.garbage), counted(&writer), "round {round}");
        let files = writer.log.segments().into_iter().map(|info| {
            let file = disk
                .open(&segment_path(info.number), crate::disk::OpenMode::Read)
                .unwrap();
            file.allocated_bytes().unwrap()
        });
        assert_eq!(usage.allocated, files.sum::<u64>(), "round {round}");
    }
}
