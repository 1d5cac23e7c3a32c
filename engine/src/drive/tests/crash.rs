//! What a crash at any moment leaves of a drive: what was committed, whole; deletes that were committed, done.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::disk::CrashChoice;

/// The shards that were there at each commit, and those that the changes after it touch.
#[derive(Default)]
struct History {
    committed: Vec<BTreeSet<u64>>,
    touched: BTreeMap<usize, BTreeSet<u64>>,
}

fn run(seed: u64) -> (SimDisk, History) {
    let disk = SimDisk::new(seed);
    let mut writer = fresh(&disk);
    let mut history = History {
        committed: vec![BTreeSet::new()],
        ..History::default()
    };
    disk.marker(0);
    let mut now = BTreeSet::new();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % most
    };
    for _ in 0..90 {
        let batch = history.committed.len();
        let number = draw(24);
        match draw(10) {
            0..=4 => {
                put(&mut writer, number);
                now.insert(number);
                history.touched.entry(batch).or_default().insert(number);
            }
            5 | 6 => {
                writer.delete(key(number)).unwrap();
                now.remove(&number);
                history.touched.entry(batch).or_default().insert(number);
            }
            7 | 8 => writer.commit().unwrap(),
            _ => {
                // It commits first, so from its return on everything counts; until then the batch is open.
                writer.compact(0.2, 1500).unwrap();
            }
        }
        if writer.staged() == 0 {
            disk.marker(history.committed.len() as u64);
            history.committed.push(now.clone());
        }
    }
    (disk, history)
}

fn check(state: &SimDisk, history: &History, acknowledged: usize, context: &str) {
    if acknowledged == 0 && !state.exists(&DriveIdentity::path(Path::new(DIR))) {
        return;
    }
    let (mut writer, _) = open(state).unwrap_or_else(|error| panic!("{context}: {error}"));
    let committed = &history.committed[acknowledged];
    let nothing = BTreeSet::new();
    let touched = history.touched.get(&(acknowledged + 1)).unwrap_or(&nothing);
    let look = |writer: &DriveWriter, when: &str| -> BTreeSet<u64> {
        let drive = writer.drive();
        let there: BTreeSet<u64> = (0..24).filter(|number| drive.contains(&key(*number))).collect();
        for number in &there {
            let read = drive
                .read(&key(*number))
                .unwrap_or_else(|error| panic!("{context} {when}: {error}"));
            assert_eq!(&read.1[..], &plain(*number).1[..], "{context} {when}");
        }
        there
    };
    let there = look(&writer, "opened");
    for number in (0..24).filter(|number| !touched.contains(number)) {
        assert_eq!(
            there.contains(&number),
            committed.contains(&number),
            "{context}: shard {number}"
        );
    }
    // Nothing comes back or goes away when everything is compacted and opened once more.
    writer
        .compact(0.000_1, u64::MAX)
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(look(&writer, "compacted"), there, "{context}");
    drop(writer);
    assert_eq!(look(&open(state).unwrap().0, "opened again"), there, "{context}");
}

#[test]
fn every_prefix_and_sampled_reorderings_keep_what_was_committed() {
    let mut states = 0;
    for seed in 1..6 {
        let (disk, history) = run(seed);
        assert!(history.committed.len() > 10);
        for at in 0..=disk.ops() {
            let acknowledged = disk.markers_before(at).last().copied().unwrap_or(0);
            let acknowledged = usize::try_from(acknowledged).unwrap();
            let choices = [CrashChoice::KeepAll, CrashChoice::DropAll].into_iter();
            for choice in choices.chain((0..4).map(CrashChoice::Seeded)) {
                let state = disk.crash_state(at, choice);
                check(
                    &state,
                    &history,
                    acknowledged,
                    &format!("seed {seed} op {at} {choice:?}"),
                );
                states += 1;
            }
        }
    }
    println!("{states} states");
    assert!(states > 3400, "{states}");
}

#[test]
fn a_delete_after_an_interrupted_compaction_also_holds_for_the_older_copy() {
    let disk = SimDisk::new(9);
    let mut writer = fresh(&disk);
    (0..8).for_each(|number| put(&mut writer, number));
    writer.commit().unwrap();
    writer.log.seal_current().unwrap();
    writer.delete(key(7)).unwrap();
    writer.commit().unwrap();
    let from = disk.ops();
    writer.compact(0.000_1, u64::MAX).unwrap();
    let mut interrupted = 0;
    for at in from..disk.ops() {
        let state = disk.crash_state(at, CrashChoice::KeepAll);
        let (mut writer, _) = open(&state).unwrap();
        let older = writer.drive().info(&key(0)).unwrap().stored_bytes < writer.drive().usage().garbage;
        interrupted += u32::from(older);
        // Only the segment with the copies is bad enough; the one with the older frames stays.
        writer.delete(key(0)).unwrap();
        writer.delete(key(1)).unwrap();
        writer.compact(0.9, u64::MAX).unwrap();
        drop(writer);
        let drive = open(&state).unwrap().0.drive();
        let there: Vec<u64> = (0..8).filter(|number| drive.contains(&key(*number))).collect();
        assert_eq!(there, [2, 3, 4, 5, 6], "op {at}");
    }
    assert!(interrupted > 3, "{interrupted}");
}
