//! Damage is told from a torn tail, named, and skipped only where that was asked for.

use super::*;
use crate::disk::CrashChoice;

fn skipping() -> LogConfig {
    LogConfig {
        on_damage: OnDamage::Skip,
        ..small()
    }
}

#[test]
fn a_flipped_bit_below_durable_to_is_damage_and_named() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, config(65_536, OnDamage::Refuse)).unwrap();
    let places: Vec<Position> = (0..10)
        .map(|number| {
            let place = append(&mut log, number).unwrap();
            log.sync().unwrap();
            place
        })
        .collect();
    drop(log);
    for (number, place) in places.iter().enumerate().take(9) {
        for offset in [0, 20, 60, 70] {
            let state = disk.crash_state(disk.ops(), CrashChoice::DropAll);
            assert!(state.flip_bit(&segment_path(0), u64::from(place.offset()) + offset));
            let refused = open(&state, config(65_536, OnDamage::Refuse));
            let Err(OpenError::Damaged {
                segment: 0,
                offset: named,
            }) = refused.map(|_| ())
            else {
                panic!("frame {number} byte {offset}");
            };
            assert_eq!(named, place.offset());
            let (log, recovery, seen) = open(&state, config(65_536, OnDamage::Skip)).unwrap();
            assert_eq!(seen.len(), 9);
            let next = log.reader().read(places[number + 1]).unwrap().info;
            assert_eq!(
                recovery.damaged,
                [Stretch {
                    position: *place,
                    bytes: next.position.0 - place.0
                }]
            );
            assert!(log.reader().read(*place).is_err());
        }
    }
}

#[test]
fn a_bad_last_frame_is_a_torn_tail_until_a_closing_frame_follows_it() {
    for closed in [false, true] {
        let disk = SimDisk::new(1);
        let (mut log, ..) = open(&disk, small()).unwrap();
        append(&mut log, 0).unwrap();
        log.sync().unwrap();
        let last = append(&mut log, 1).unwrap();
        log.sync().unwrap();
        if closed {
            log.idle().unwrap();
        }
        drop(log);
        assert!(disk.flip_bit(&segment_path(0), u64::from(last.offset()) + 70));
        match open(&disk, small()) {
            Ok((_, recovery, seen)) => {
                assert!(!closed && seen.len() == 1);
                assert_eq!(recovery.torn.unwrap().position, last);
            }
            Err(OpenError::Damaged { offset, .. }) => assert!(closed && offset == last.offset()),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_damaged_segment_head_footer_or_frame_of_an_older_segment_never_hides_other_frames() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    for number in 0..40 {
        append(&mut log, number).unwrap();
    }
    log.close().unwrap();
    let segments = open(&disk, small()).unwrap().0.segments();
    assert!(segments.len() > 3);
    for segment in segments.iter().filter(|info| info.sealed) {
        for offset in (0..segment.bytes).step_by(61) {
            let state = disk.crash_state(disk.ops(), CrashChoice::DropAll);
            state.flip_bit(&segment_path(segment.number), offset);
            let (log, _, seen) = open(&state, skipping()).unwrap();
            let readable = seen
                .iter()
                .filter(|frame| log.reader().read(frame.position).is_ok())
                .count();
            assert!(
                readable >= 39,
                "segment {} offset {offset}: {readable}",
                segment.number
            );
        }
    }
}

#[test]
fn a_missing_segment_in_the_middle_is_refused_and_a_lost_prefix_is_not() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    for number in 0..40 {
        append(&mut log, number).unwrap();
    }
    log.sync().unwrap();
    log.remove_segment(0).unwrap();
    assert!(matches!(
        log.remove_segment(0),
        Err(LogError::NotRemovable { segment: 0 })
    ));
    let newest = log.segments().last().unwrap().number;
    assert!(log.remove_segment(newest).is_err());
    drop(log);
    let (_, _, seen) = open(&disk, small()).unwrap();
    assert!(number_of(&seen[0]) > 0);
    disk.unlink(&segment_path(2));
    assert!(matches!(
        open(&disk, small()),
        Err(OpenError::MissingSegment { segment: 2 })
    ));
    assert!(open(&disk, skipping()).is_ok());
}

#[test]
fn another_logs_segment_or_kind_is_refused() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    append(&mut log, 0).unwrap();
    log.close().unwrap();
    let wrong = LogConfig {
        kind: LogKind::Activity,
        ..small()
    };
    assert!(matches!(
        open(&disk, wrong),
        Err(OpenError::WrongKind {
            expected: 3,
            got: 2,
            ..
        })
    ));
    let other = Path::new("/other");
    let (mut log, _) = Log::open(arc(&disk), other, small(), 5, &mut |_| {}).unwrap();
    log.append(16, &[], &[]).unwrap();
    log.seal_current().unwrap();
    log.append(16, &[], &[]).unwrap();
    disk.rename(&other.join("00000001.seg"), &segment_path(1))
        .unwrap();
    assert!(matches!(
        open(&disk, small()),
        Err(OpenError::ForeignSegment {
            segment: 1,
            got: 5,
            ..
        })
    ));
    disk.rename(&segment_path(1), &segment_path(2)).unwrap();
    assert!(matches!(
        open(&disk, small()),
        Err(OpenError::Misplaced { segment: 2, .. })
    ));
}

#[test]
fn stale_bytes_after_a_torn_frame_never_come_back() {
    // Three unsynced frames of one length; the middle one's header is lost, the third is whole.
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let (mut log, ..) = open(&disk, small()).unwrap();
        for number in 0..3_u64 {
            log.append(16, &number.to_le_bytes(), &[&[7; 440]]).unwrap();
        }
        let state = disk.crash_state(disk.ops(), CrashChoice::Seeded(seed));
        let (mut log, _, seen) = open(&state, small()).unwrap();
        log.append(16, &9_u64.to_le_bytes(), &[&[7; 440]]).unwrap();
        log.sync().unwrap();
        drop(log);
        let (_, _, again) = open(&state, small()).unwrap();
        let again: Vec<u64> = again.iter().map(number_of).collect();
        let expected: Vec<u64> = seen.iter().map(number_of).chain([9]).collect();
        assert_eq!(again, expected, "seed {seed}");
    }
}

#[test]
fn an_unreadable_sector_costs_the_frames_on_it_and_no_other() {
    let disk = SimDisk::new(1);
    let segment = |on_damage| config(32_768, on_damage);
    let (mut log, ..) = open(&disk, segment(OnDamage::Skip)).unwrap();
    for number in 0..120 {
        append(&mut log, number).unwrap();
        log.sync().unwrap();
    }
    log.idle().unwrap();
    let segments = log.segments();
    let frames: Vec<FrameInfo> = log.reader().frames(Position(0)).map(Result::unwrap).collect();
    drop(log);
    assert!(segments.len() > 1);
    for info in &segments {
        for sector in (0..info.bytes).step_by(4096) {
            let state = disk.crash_state(disk.ops(), CrashChoice::DropAll);
            state.fail_read(&segment_path(info.number), sector + 512, 512);
            assert!(open(&state, segment(OnDamage::Refuse)).is_err() || info.sealed);
            let (mut log, recovery, seen) = open(&state, segment(OnDamage::Skip)).unwrap();
            let context = format!("segment {} sector {sector}", info.number);
            let hit = |frame: &&FrameInfo| {
                let from = u64::from(frame.position.offset());
                let on_it = from < sector + 4096 && from + frame.frame_bytes() > sector;
                frame.position.segment() == info.number && on_it
            };
            let lost = frames
                .iter()
                .filter(hit)
                .filter(|frame| !seen.contains(frame))
                .count();
            assert_eq!(seen.len() + lost, frames.len(), "{context}");
            assert!(lost == 0 || recovery.damaged_count > 0, "{context}");
            append(&mut log, 900).unwrap();
            log.close().unwrap();
            state.heal();
            let (_, _, again) = open(&state, segment(OnDamage::Skip)).unwrap();
            assert!(again.iter().any(|frame| number_of(frame) == 900), "{context}");
        }
    }
}

#[test]
fn a_disk_that_reads_nothing_is_refused_and_nothing_is_removed() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, skipping()).unwrap();
    for number in 0..20 {
        append(&mut log, number).unwrap();
    }
    log.close().unwrap();
    let names = disk.list_dir(Path::new(DIR)).unwrap();
    for name in &names {
        disk.fail_read(&Path::new(DIR).join(name), 0, u64::MAX);
    }
    assert!(matches!(open(&disk, skipping()), Err(OpenError::Io(_))));
    assert_eq!(disk.list_dir(Path::new(DIR)).unwrap(), names);
    // With one segment readable the newest stays too, and the log goes on behind it.
    disk.heal();
    let newest = names.last().unwrap();
    disk.fail_read(&Path::new(DIR).join(newest), 0, u64::MAX);
    let (mut log, recovery, _) = open(&disk, skipping()).unwrap();
    assert_eq!(recovery.damaged_count, 1);
    log.idle().unwrap();
    append(&mut log, 20).unwrap();
    log.close().unwrap();
    disk.heal();
    let (log, _, seen) = open(&disk, skipping()).unwrap();
    assert!(seen.iter().map(number_of).eq(0..=20), "{}", seen.len());
    assert_eq!(log.segments().len(), names.len() + 1);
}

/// A frame of `filler` bytes, three of which the second is damaged, and a last one that alone says so and does not read itself.
fn damaged_before_a_torn_tail(filler: usize) -> (SimDisk, u32) {
    let disk = SimDisk::new(3);
    let large = config(65_536, OnDamage::Skip);
    let (mut log, ..) = open(&disk, large).unwrap();
    log.append(16, &99_u32.to_le_bytes(), &[&vec![1; filler]])
        .unwrap();
    let places: Vec<Position> = (0..3).map(|number| append(&mut log, number).unwrap()).collect();
    log.sync().unwrap();
    let last = append(&mut log, 3).unwrap();
    drop(log);
    for place in [places[1], last] {
        assert!(disk.flip_bit(&segment_path(0), u64::from(place.offset()) + 70));
    }
    let state = disk.crash_state(disk.ops(), CrashChoice::KeepAll);
    (state, last.offset())
}

#[test]
fn a_second_opening_judges_damage_before_a_torn_tail_as_the_first_did_whenever_that_was_cut_short() {
    // Wherever in a sector the header is that says so, also across two.
    let mut across = 0;
    for filler in (0..512).step_by(24) {
        let (disk, last) = damaged_before_a_torn_tail(filler);
        across += u32::from(last % 512 > 512 - 64);
        judged_the_same(&disk);
    }
    assert!(across > 1);
}

fn judged_the_same(disk: &SimDisk) {
    let large = config(65_536, OnDamage::Skip);
    let (_, first, seen) = open(disk, large).unwrap();
    assert_eq!((seen.len(), first.damaged_count), (3, 1));
    assert!(first.torn.is_some());
    for at_op in 0..=disk.ops() {
        let seeded = (0..8).map(CrashChoice::Seeded);
        for choice in [CrashChoice::KeepAll, CrashChoice::DropAll]
            .into_iter()
            .chain(seeded)
        {
            let state = disk.crash_state(at_op, choice);
            let (mut log, again, seen_again) = open(&state, large).unwrap();
            assert_eq!(seen_again, seen, "after change {at_op}, {choice:?}");
            assert_eq!(again.damaged, first.damaged, "after change {at_op}, {choice:?}");
            append(&mut log, 9).unwrap();
            log.close().unwrap();
            let (_, last, seen_last) = open(&state, large).unwrap();
            assert_eq!((seen_last.len(), last.damaged_count), (4, 1));
        }
    }
}
