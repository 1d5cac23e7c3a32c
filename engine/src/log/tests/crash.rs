//! What a crash at any moment leaves of a log: everything acknowledged, nothing torn, no gap.

use super::*;
use crate::disk::CrashChoice;

/// Appends, syncs, idles and rotates; a marker n says that frames 0 to n - 1 were acknowledged.
fn history(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let (mut log, ..) = open(&disk, small()).unwrap();
    for number in 0..60_u64 {
        append(&mut log, number).unwrap();
        if (number + seed).is_multiple_of(4) {
            log.sync().unwrap();
            disk.marker(number + 1);
        }
        if (number + seed).is_multiple_of(17) {
            log.idle().unwrap();
            disk.marker(number + 1);
        }
        if (number + seed).is_multiple_of(23) {
            log.trim().unwrap();
        }
    }
    disk
}

fn check(state: &SimDisk, acknowledged: u64, context: &str) -> u64 {
    let (mut log, _, seen) = open(state, small()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let seen: Vec<u64> = seen.iter().map(number_of).collect();
    assert!(
        seen.iter().copied().eq(0..seen.len() as u64),
        "{context}: gap or reorder in {seen:?}"
    );
    assert!(
        seen.len() as u64 >= acknowledged,
        "{context}: {} of {acknowledged}",
        seen.len()
    );
    assert_eq!(numbers(&log), seen, "{context}");
    // The new run goes on where the old one ended, and another opening agrees.
    let next = seen.len() as u64;
    append(&mut log, next).unwrap();
    log.sync().unwrap();
    drop(log);
    let (log, recovery, _) = open(state, small()).unwrap();
    assert_eq!(numbers(&log).len() as u64, next + 1, "{context}");
    assert_eq!(
        recovery.torn, None,
        "{context}: a synced frame was taken for torn"
    );
    next
}

#[test]
fn every_prefix_and_sampled_reorderings_recover_to_what_was_acknowledged() {
    let mut states = 0;
    for seed in 0..3 {
        let disk = history(seed);
        for at in 0..=disk.ops() {
            let acknowledged = disk.markers_before(at).last().copied().unwrap_or(0);
            let choices = [CrashChoice::KeepAll, CrashChoice::DropAll].into_iter();
            for choice in choices.chain((0..10).map(CrashChoice::Seeded)) {
                let state = disk.crash_state(at, choice);
                check(&state, acknowledged, &format!("seed {seed} op {at} {choice:?}"));
                states += 1;
            }
        }
    }
    println!("{states} states");
    assert!(states > 6000, "{states}");
}

#[test]
fn a_crash_during_recovery_recovers_again() {
    let disk = history(7);
    let mut states = 0;
    for at in (0..disk.ops()).step_by(5) {
        let acknowledged = disk.markers_before(at).last().copied().unwrap_or(0);
        for seed in 0..4 {
            let first = disk.crash_state(at, CrashChoice::Seeded(seed));
            let (mut log, _, seen) = open(&first, small()).unwrap();
            append(&mut log, seen.len() as u64).unwrap();
            for again in 0..=first.ops() {
                let second = first.crash_state(again, CrashChoice::Seeded(seed + 99));
                check(
                    &second,
                    acknowledged,
                    &format!("op {at} seed {seed} again at {again}"),
                );
                states += 1;
            }
        }
    }
    println!("{states} states");
    assert!(states > 1000, "{states}");
}

#[test]
fn a_failed_sync_fences_for_good() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    append(&mut log, 0).unwrap();
    log.sync().unwrap();
    append(&mut log, 1).unwrap();
    disk.fail_sync(Path::new(DIR));
    assert!(matches!(log.sync(), Err(LogError::Io { .. })));
    disk.heal();
    assert!(matches!(log.sync(), Err(LogError::Fenced { segment: 0 })));
    assert!(matches!(append(&mut log, 2), Err(LogError::Fenced { .. })));
    assert!(log.idle().is_err() && log.trim().is_err() && log.seal_current().is_err());
    assert_eq!(log.durable_to(), log.reader().durable_to());
    let (log, ..) = open(&disk.crash_state(disk.ops(), CrashChoice::DropAll), small()).unwrap();
    assert_eq!(numbers(&log), [0]);
}

#[test]
fn what_an_opening_accepts_after_a_failed_sync_survives_a_crash() {
    for appended in [1, 2, 3, 5, 20] {
        for rotate in [false, true] {
            let disk = SimDisk::new(1);
            let (mut log, ..) = open(&disk, small()).unwrap();
            append(&mut log, 0).unwrap();
            log.sync().unwrap();
            // The sync fails, the process ends, and the next one finds whole frames in the system's cache.
            let mut number = 1;
            while number < appended {
                append(&mut log, number).unwrap();
                number += 1;
            }
            disk.fail_sync(Path::new(DIR));
            let failed = if rotate {
                log.seal_current()
            } else {
                log.sync().map(|_| ())
            };
            assert!(failed.is_err() || appended == 1);
            drop(log);
            disk.heal();
            let (log, _, seen) = open(&disk, small()).unwrap();
            assert_eq!(seen.len() as u64, number);
            assert_eq!(log.durable_to(), log.end());
            drop(log);
            let state = disk.crash_state(disk.ops(), CrashChoice::DropAll);
            let (log, ..) = open(&state, small()).unwrap();
            let context = format!("{appended} frames, rotate {rotate}");
            assert!(numbers(&log).into_iter().eq(0..number), "{context}");
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_space() {
    let disk = SimDisk::new(1);
    let (mut log, ..) = open(&disk, small()).unwrap();
    let mut appended = 0;
    let mut refused = 0;
    for round in 0..40 {
        if round % 2 == 1 {
            disk.fail_write_enospc(Path::new(DIR));
        }
        for _ in 0..5 {
            match append(&mut log, appended) {
                Ok(_) => appended += 1,
                Err(LogError::Full { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        disk.heal();
    }
    assert!(refused > 10 && appended > 100, "{refused} {appended}");
    log.sync().unwrap();
    assert_eq!(numbers(&log).len() as u64, appended);
    let (log, ..) = open(&disk.crash_state(disk.ops(), CrashChoice::DropAll), small()).unwrap();
    assert!(numbers(&log).into_iter().eq(0..appended));
}
