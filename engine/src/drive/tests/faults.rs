//! Damage, loss and full disks, on the simulated disk.

use super::*;

#[test]
fn a_flipped_bit_in_any_shard_is_found_by_reading_and_by_scrub() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    (0..40).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    let drive = writer.drive();
    for number in (0..40).step_by(3) {
        let location = drive.info(&key(number)).unwrap();
        let frame = writer
            .log
            .reader()
            .frames(crate::log::Position(0))
            .map(Result::unwrap)
            .find(|frame| frame.tag.starts_with(&key(number).pack.0))
            .unwrap();
        let last = u64::from(frame.position.offset()) + 64 + u64::from(frame.payload_bytes) - 1;
        assert!(disk.flip_bit(&segment_path(frame.position.segment()), last - number % 50));
        assert!(location.stored_bytes > 0);
        assert!(
            matches!(drive.read(&key(number)), Err(DriveError::Damaged { .. })),
            "{number}"
        );
    }
    let mut bad = Vec::new();
    let mut after = None;
    let mut pages = 0;
    loop {
        let page = drive.scrub(after, 7).unwrap();
        bad.extend(page.bad.into_iter().map(|(key, _)| key));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut expected: Vec<ShardKey> = (0..40).step_by(3).map(key).collect();
    expected.sort_unstable();
    assert_eq!((bad, pages), (expected, 6));
}

#[test]
fn a_flipped_bit_anywhere_in_a_shards_header_is_found_by_reading_the_header() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    put(&mut writer, 1);
    writer.close().unwrap();
    let drive = open(&disk).unwrap().0.drive();
    // The payload of the first frame after the segment head: tag, geometry, three hashes.
    let (from, bytes) = (72 + 64, 80 + 24 + 3 * 32);
    for at in from..from + bytes {
        assert!(disk.flip_bit(&segment_path(0), at));
        assert!(drive.header(&key(1)).is_err(), "byte {}", at - from);
        assert!(disk.flip_bit(&segment_path(0), at));
    }
    assert_eq!(drive.header(&key(1)).unwrap(), plain(1).0);
}

#[test]
fn a_bit_rotten_shard_is_reported_by_compaction_and_never_copied() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    put(&mut writer, 1);
    put(&mut writer, 2);
    writer.commit().unwrap();
    assert!(disk.flip_bit(&segment_path(0), 72 + 64 + 250));
    writer.delete(key(2)).unwrap();
    let done = writer.compact(0.000_1, u64::MAX).unwrap();
    assert_eq!(done.damaged, [key(1)]);
    assert!(matches!(
        writer.drive().read(&key(1)),
        Err(DriveError::NoShard(_))
    ));
    put(&mut writer, 1);
    writer.commit().unwrap();
    assert!(
        writer.drive().read(&key(1)).is_ok(),
        "a repaired shard can be put again"
    );
}

#[test]
fn a_drive_that_is_gone_acknowledges_nothing() {
    for what in ["/drives/0", "/drives/0/drive.json", "/drives/0/log"] {
        let disk = SimDisk::unrecorded(1);
        let mut writer = fresh(&disk);
        put(&mut writer, 1);
        writer.commit().unwrap();
        disk.unlink(Path::new(what));
        put(&mut writer, 2);
        assert!(matches!(writer.commit(), Err(DriveError::Lost(_))), "{what}");
        assert!(writer.drive().is_lost().is_some());
        let (header, content) = plain(3);
        assert!(matches!(writer.put(&header, &content), Err(DriveError::Lost(_))));
        assert!(matches!(writer.drive().read(&key(1)), Err(DriveError::Lost(_))));
        let again = open(&disk).map(|_| ());
        let refused = if what == "/drives/0/log" {
            matches!(again, Err(DriveError::NoLog))
        } else {
            matches!(again, Err(DriveError::NoDrive(_)))
        };
        assert!(refused, "{what} is not made anew: {again:?}");
    }
}

#[test]
fn a_log_without_segments_is_refused_unless_the_drive_was_never_opened() {
    let disk = SimDisk::unrecorded(1);
    drop(fresh(&disk));
    disk.unlink(&segment_path(0));
    for _ in 0..2 {
        assert!(
            matches!(open(&disk), Err(DriveError::NoLog)),
            "also the second time"
        );
    }
    // A drive that was made and not opened yet, at every crash until then.
    let disk = SimDisk::new(1);
    drop(fresh(&disk));
    for at in 0..=disk.ops() {
        for seed in 0..8 {
            let state = disk.crash_state(at, crate::disk::CrashChoice::Seeded(seed));
            if state.exists(&DriveIdentity::path(Path::new(DIR))) {
                open(&state).unwrap_or_else(|error| panic!("op {at} seed {seed}: {error}"));
            }
        }
    }
}

#[test]
fn another_drive_in_the_place_is_refused_at_opening_and_noticed_while_running() {
    let disk = SimDisk::unrecorded(1);
    let writer = fresh(&disk);
    let other = DriveIdentity {
        drive: [9; 16],
        ..IDENTITY
    };
    disk.unlink(Path::new("/drives/0/drive.json"));
    other.create(&disk, Path::new(DIR)).unwrap();
    assert!(writer.drive().check_present().is_err());
    assert_eq!(writer.drive().is_lost(), Some(LostReason::IdentityReplaced));
    assert!(matches!(open(&disk), Err(DriveError::WrongDrive { got, .. }) if got == other));
}

#[test]
fn a_failed_flush_takes_the_drive_out_and_shows_nothing_of_the_commit() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    put(&mut writer, 1);
    disk.fail_sync(Path::new(DIR));
    assert!(matches!(
        writer.commit(),
        Err(DriveError::Lost(LostReason::WriteFailed))
    ));
    disk.heal();
    assert!(matches!(
        writer.commit(),
        Err(DriveError::Lost(LostReason::WriteFailed))
    ));
    assert_eq!(writer.drive().keys_after(None, 10), []);
}

#[test]
fn a_full_drive_refuses_puts_serves_reads_and_goes_on_after_space_returns() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    disk.fail_write_enospc(Path::new(DIR));
    let mut stored = 0;
    let full = loop {
        let (header, content) = plain(stored);
        match writer.put(&header, &content) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, DriveError::Full { .. }) && stored > 0, "{full}");
    writer.commit().unwrap();
    assert_eq!(writer.drive().available_bytes().unwrap(), 0);
    (0..stored).for_each(|number| drop(writer.drive().read(&key(number)).unwrap()));
    disk.heal();
    (stored..60).for_each(|number| put(&mut writer, number));
    for number in 0..50 {
        writer.delete(key(number)).unwrap();
    }
    writer.commit().unwrap();
    // The disk fills up in the middle of a compaction.
    disk.fail_write_enospc(Path::new(DIR));
    while writer.compact(0.000_1, u64::MAX).is_ok_and(|done| done.more) {}
    (50..60).for_each(|number| drop(writer.drive().read(&key(number)).unwrap()));
    disk.heal();
    writer.delete(key(59)).unwrap();
    writer.compact(0.000_1, u64::MAX).unwrap();
    drop(writer);
    let (writer, _) = open(&disk).unwrap();
    for number in 0..60 {
        assert_eq!(
            writer.drive().contains(&key(number)),
            (50..59).contains(&number),
            "{number}"
        );
    }
}

#[test]
fn a_drive_that_cannot_be_looked_at_keeps_what_is_staged_and_is_not_lost() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    put(&mut writer, 1);
    writer.commit().unwrap();
    for errno in [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::ACCESS,
        rustix::io::Errno::IO,
    ] {
        put(&mut writer, 2);
        writer.delete(key(1)).unwrap();
        disk.fail_open(&DriveIdentity::path(Path::new(DIR)), errno.raw_os_error());
        assert!(
            matches!(writer.commit(), Err(DriveError::Unchecked(_))),
            "{errno}"
        );
        assert!(matches!(
            writer.drive().check_present(),
            Err(DriveError::Unchecked(_))
        ));
        assert_eq!(writer.drive().is_lost(), None);
        assert!(writer.drive().contains(&key(1)) && !writer.drive().contains(&key(2)));
        // The next look succeeds, and what was staged shows as if nothing had been.
        disk.heal();
        writer.commit().unwrap();
        assert!(writer.drive().contains(&key(2)) && !writer.drive().contains(&key(1)));
        put(&mut writer, 1);
        writer.delete(key(2)).unwrap();
        writer.commit().unwrap();
    }
    drop(writer);
    let drive = open(&disk).unwrap().0.drive();
    assert!(drive.contains(&key(1)) && !drive.contains(&key(2)));
}

#[test]
fn a_full_drive_ends_its_log_in_reserved_space_and_is_never_lost_for_being_full() {
    let disk = SimDisk::unrecorded(1);
    let mut writer = fresh(&disk);
    disk.fail_write_enospc(Path::new(DIR));
    let full = (0..100).find_map(|number| {
        let (header, content) = plain(number);
        writer.put(&header, &content).err()
    });
    assert!(matches!(full, Some(DriveError::Full { .. })), "{full:?}");
    writer.idle().unwrap();
    let state = open(&disk).unwrap().1;
    assert!(state.log.clean, "the closing frame lies in what was reserved");
    // Without anything reserved it is Full, and later it goes on.
    let mut writer = open(&disk).unwrap().0;
    disk.heal();
    put(&mut writer, 300);
    disk.fail_write_enospc(Path::new(DIR));
    writer.trim().unwrap();
    assert!(matches!(writer.idle(), Err(DriveError::Full { .. })));
    assert_eq!(writer.drive().is_lost(), None);
    assert!(
        writer.drive().read(&key(300)).is_ok(),
        "what was staged is committed"
    );
    disk.heal();
    writer.close().unwrap();
    assert!(open(&disk).unwrap().1.log.clean);
}
