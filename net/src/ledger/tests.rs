use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::disk::{CrashChoice, Disk, SimDisk};
use engine::log::{Log, LogConfig};
use engine::slots::{Address, Append, EntryKind, Expectation, Outcome, RecordPart, Sequence, Write};
use proptest::prelude::*;

use super::replay::replay;
use super::{Ledger, LedgerConfig, LedgerError, LocalLedger, Tail};

const DIR: &str = "/ledger";

fn config(segment_bytes: u32) -> LedgerConfig {
    LedgerConfig {
        log: LogConfig {
            segment_bytes,
            preallocate_bytes: 4096,
            ..LogConfig::ledger()
        },
        reserve_bytes: 4096,
        ..LedgerConfig::new(77)
    }
}

fn open(disk: &SimDisk, segment_bytes: u32) -> LocalLedger {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    LocalLedger::open(disk, Path::new(DIR), config(segment_bytes))
        .unwrap()
        .0
}

fn address(slot: u8) -> Address {
    Address {
        scope: [1; 16],
        kind: EntryKind::ObjectCurrent,
        slot: [slot; 16],
    }
}

fn append(
    lease: u64,
    operation: u64,
    expectations: Vec<Expectation>,
    writes: Vec<(u8, Option<Vec<u8>>)>,
) -> Append {
    let writes = writes.into_iter().map(|(slot, value)| Write {
        address: address(slot),
        value: value.map(Bytes::from),
    });
    Append {
        operation: u128::from(operation).to_le_bytes(),
        lease,
        vault: [2; 16],
        expectations,
        writes: writes.collect(),
        record: None,
    }
}

fn put(lease: u64, operation: u64, slot: u8, value: &[u8]) -> Append {
    append(lease, operation, Vec::new(), vec![(slot, Some(value.to_vec()))])
}

fn sequence_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Applied { sequence } => sequence.0,
        other => panic!("not applied: {other:?}"),
    }
}

async fn value(ledger: &LocalLedger, slot: u8) -> Option<Vec<u8>> {
    ledger
        .get(address(slot))
        .await
        .unwrap()
        .map(|entry| entry.value.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_concurrent_compare_and_swaps_each_round_has_one_winner() {
    let disk = SimDisk::unrecorded(1);
    let ledger = open(&disk, 1 << 20);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    let tasks = (0..16u64).map(|task| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let mut wins = 0u64;
            for round in 0..40u64 {
                let current = ledger.get(address(1)).await.unwrap();
                let (expected, count) = match &current {
                    None => (Expectation::Absent(address(1)), 0),
                    Some(entry) => (
                        Expectation::At(address(1), entry.sequence),
                        u64::from_le_bytes(entry.value.as_ref().try_into().unwrap()),
                    ),
                };
                let next = (count + 1).to_le_bytes().to_vec();
                let swap = append(lease, task * 1_000 + round, vec![expected], vec![(1, Some(next))]);
                match ledger.append(swap).await.unwrap() {
                    Outcome::Applied { .. } => wins += 1,
                    Outcome::Conflict { expectation, current } => {
                        let now = current.expect("the slot is never removed");
                        assert_eq!(expectation, 0);
                        assert!(u64::from_le_bytes(now.value.as_ref().try_into().unwrap()) > count);
                    }
                    Outcome::LeaseEnded { .. } => panic!("the lease lives"),
                }
            }
            wins
        })
    });
    let mut wins = 0;
    for task in tasks.collect::<Vec<_>>() {
        wins += task.await.unwrap();
    }
    let counted = value(&ledger, 1).await.unwrap();
    assert_eq!(u64::from_le_bytes(counted.try_into().unwrap()), wins);
    let status = ledger.status();
    assert!(status.flushes <= status.appends + 1, "{status:?}");
    ledger.close().await;
}

#[tokio::test]
async fn a_restart_finds_entries_leases_sequences_and_records_through() {
    let disk = SimDisk::unrecorded(2);
    let ledger = open(&disk, 8192);
    let first = ledger.take_lease("one", 5).await.unwrap();
    for number in 0..100u64 {
        let outcome = ledger
            .append(put(first, number, (number % 7) as u8, &number.to_le_bytes()))
            .await;
        sequence_of(&outcome.unwrap());
    }
    ledger.records_through(Sequence(50)).await.unwrap();
    let position = ledger.position();
    ledger.close().await;

    let ledger = open(&disk, 8192);
    assert_eq!(ledger.position(), position);
    assert_eq!(ledger.status().records_through, 50);
    assert_eq!(value(&ledger, 1).await.unwrap(), 99u64.to_le_bytes());
    // A repeated operation gets its first answer, also after the restart.
    let repeated = ledger
        .append(put(first, 99, 1, &99u64.to_le_bytes()))
        .await
        .unwrap();
    assert_eq!(sequence_of(&repeated), position.0);
    let second = ledger.take_lease("two", 6).await.unwrap();
    assert_eq!(second, first + 1);
    let refused = ledger.append(put(first, 1_000, 1, b"late")).await.unwrap();
    assert_eq!(refused, Outcome::LeaseEnded { lowest_live: second });
    assert_eq!(ledger.take_lease_above("three", 7, 500).await.unwrap(), 501);
    ledger.close().await;
}

#[tokio::test]
async fn after_a_failed_flush_nothing_is_acknowledged() {
    let disk = SimDisk::unrecorded(3);
    let ledger = open(&disk, 1 << 20);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    ledger.append(put(lease, 1, 1, b"before")).await.unwrap();
    disk.fail_sync(Path::new(DIR));
    let pending = (2..6u64).map(|number| ledger.append(put(lease, number, 2, b"lost")));
    for outcome in futures::future::join_all(pending).await {
        assert_eq!(outcome, Err(LedgerError::Fenced));
    }
    ledger.fenced().await;
    disk.heal();
    assert_eq!(
        ledger.append(put(lease, 9, 2, b"later")).await,
        Err(LedgerError::Fenced)
    );
    assert_eq!(ledger.get(address(1)).await, Err(LedgerError::Fenced));
    assert_eq!(ledger.read_index().await, Err(LedgerError::Fenced));
    assert!(ledger.status().fenced);
}

#[tokio::test]
async fn nothing_is_acknowledged_into_files_that_were_removed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("ledger");
    let disk: Arc<dyn Disk> = Arc::new(engine::disk::RealDisk);
    let (ledger, _) = LocalLedger::open(disk, &dir, config(1 << 20)).unwrap();
    let lease = ledger.take_lease("test", 5).await.unwrap();
    ledger.append(put(lease, 1, 1, b"before")).await.unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let outcome = ledger.append(put(lease, 2, 2, b"lost")).await;
    assert_eq!(outcome, Err(LedgerError::Fenced));
    ledger.fenced().await;
}

#[tokio::test]
async fn a_full_disk_refuses_appends_lets_urgent_ones_through_and_recovers() {
    let disk = SimDisk::unrecorded(4);
    let ledger = open(&disk, 1 << 20);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    let mut sequence = 0;
    for number in 0..20u64 {
        sequence = sequence_of(
            &ledger
                .append(put(lease, number, number as u8, &[1; 500]))
                .await
                .unwrap(),
        );
    }
    disk.fail_write_enospc(Path::new(DIR));
    // What is preallocated is still used; then the disk is full.
    let mut number = 100u64;
    let full = loop {
        match ledger.append(put(lease, number, 200, &[2; 500])).await {
            Ok(outcome) => sequence = sequence_of(&outcome),
            Err(error) => break error,
        }
        number += 1;
        assert!(number < 200, "the disk never became full");
    };
    assert_eq!(full, LedgerError::Full);
    assert!(ledger.status().full);
    assert_eq!(
        ledger.append(put(lease, 300, 1, &[3; 500])).await,
        Err(LedgerError::Full)
    );
    // Reads go on, and what was there is there.
    assert_eq!(value(&ledger, 19).await.unwrap(), [1; 500]);
    assert_eq!(ledger.position().0, sequence);
    disk.heal();
    let outcome = ledger.append(put(lease, 400, 1, b"space again")).await.unwrap();
    assert_eq!(sequence_of(&outcome), sequence + 1);
    assert_eq!(value(&ledger, 1).await.unwrap(), b"space again");
    assert!(!ledger.status().full);
    ledger.close().await;
    let ledger = open(&disk, 1 << 20);
    assert_eq!(ledger.position().0, sequence + 1);
    assert_eq!(value(&ledger, 1).await.unwrap(), b"space again");
    ledger.close().await;
}

#[tokio::test]
async fn without_the_reserve_only_urgent_appends_are_written() {
    let disk = SimDisk::unrecorded(5);
    disk.set_available_bytes(1000);
    let ledger = open(&disk, 1 << 20);
    let lease = ledger.take_lease_above("test", 5, 0).await.unwrap();
    assert_eq!(
        ledger.append(put(lease, 1, 1, b"x")).await,
        Err(LedgerError::Full)
    );
    sequence_of(&ledger.append_urgent(put(lease, 2, 1, b"x")).await.unwrap());
    disk.set_available_bytes(1 << 30);
    sequence_of(&ledger.append(put(lease, 3, 1, b"y")).await.unwrap());
    ledger.close().await;
}

#[tokio::test]
async fn the_tail_gives_every_append_in_order_or_says_compacted() {
    let disk = SimDisk::unrecorded(6);
    let ledger = open(&disk, 8192);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    let changed = ledger.changed();
    for number in 0..400u64 {
        ledger
            .append(put(lease, number, (number % 3) as u8, &[7; 200]))
            .await
            .unwrap();
    }
    assert_eq!(*changed.borrow(), ledger.position());
    ledger.compact().await.unwrap();
    assert!(ledger.status().segments <= 5, "{:?}", ledger.status());
    ledger.close().await;
    // Without the cache: out of the log.
    let ledger = open(&disk, 8192);
    assert_eq!(ledger.tail(Sequence(0), 10).await.unwrap(), Tail::Compacted);
    let mut from = Sequence(390);
    let mut seen = Vec::new();
    loop {
        let Tail::Appends(page) = ledger.tail(from, 3).await.unwrap() else {
            panic!("the newest are there");
        };
        let Some(last) = page.last() else { break };
        from = last.sequence;
        seen.extend(page.iter().map(|append| append.sequence.0));
    }
    assert_eq!(seen, (391..=401).collect::<Vec<_>>());
    let mut snapshot = ledger.snapshot().await.unwrap();
    assert_eq!(snapshot.sequence(), Sequence(401));
    let entries = snapshot.next(100).await.unwrap();
    assert_eq!(entries.len(), 4);
    let addresses: std::collections::HashSet<_> = entries.iter().map(|entry| entry.address).collect();
    assert_eq!(addresses.len(), 4, "each once");
    assert!(snapshot.next(100).await.unwrap().is_empty());
    ledger.close().await;
}

#[tokio::test]
async fn records_keep_their_segments_until_they_are_let_go() {
    let disk = SimDisk::unrecorded(7);
    let ledger = open(&disk, 8192);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    for number in 0..200u64 {
        let mut with_record = put(lease, number, 1, &[7; 100]);
        with_record.record = Some(RecordPart {
            commitment: [3; 32],
            body: Bytes::from_static(&[4; 100]),
        });
        ledger.append(with_record).await.unwrap();
    }
    ledger.compact().await.unwrap();
    let Tail::Appends(page) = ledger.tail(Sequence(1), 500).await.unwrap() else {
        panic!("records are held");
    };
    assert_eq!(page.len(), 200);
    let held = ledger.status().segments;
    ledger.records_through(ledger.position()).await.unwrap();
    ledger.compact().await.unwrap();
    assert!(ledger.status().segments < held);
    ledger.close().await;
}

#[tokio::test]
async fn an_idle_ledger_ends_in_a_closing_frame() {
    let disk = SimDisk::new(8);
    let ledger = open(&disk, 1 << 20);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    ledger.append(put(lease, 1, 1, b"x")).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let now: Arc<dyn Disk> = Arc::new(disk.crash_state(disk.ops(), CrashChoice::DropAll));
        let (_, recovery) = Log::open(now, Path::new(DIR), config(1 << 20).log, 1, &mut |_| {}).unwrap();
        if recovery.clean {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no closing frame after 5 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ledger.close().await;
}

type Model = BTreeMap<u8, Vec<u8>>;

fn state_of(disk: &SimDisk, segment_bytes: u32) -> (u64, Model) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = Log::open(disk, Path::new(DIR), config(segment_bytes).log, 1, &mut |_| {}).unwrap();
    let reader = log.reader();
    let (table, _) = replay(&reader).unwrap();
    let entries = table.machine.entries_after(None);
    let objects = entries.filter(|(address, _, _)| address.kind == EntryKind::ObjectCurrent);
    let model = objects.map(|(address, _, value)| {
        (
            address.slot[0],
            super::snapshot::read_value(&reader, value).unwrap().to_vec(),
        )
    });
    (table.machine.sequence().0, model.collect())
}

/// Runs writes and removals, marking each answer; the model after each sequence.
async fn run(disk: &SimDisk, segment_bytes: u32, steps: &[(u8, Option<u16>)]) -> Vec<Model> {
    let ledger = open(disk, segment_bytes);
    let lease = ledger.take_lease("test", 5).await.unwrap();
    let mut models = vec![Model::new(), Model::new()];
    disk.marker(1);
    for (number, (slot, bytes)) in steps.iter().enumerate() {
        let value = bytes.map(|bytes| vec![number as u8; usize::from(bytes)]);
        let mut model = models.last().unwrap().clone();
        match &value {
            Some(value) => model.insert(*slot, value.clone()),
            None => model.remove(slot),
        };
        models.push(model);
        let outcome = ledger
            .append(append(lease, number as u64, Vec::new(), vec![(*slot, value)]))
            .await;
        disk.marker(sequence_of(&outcome.unwrap()));
    }
    ledger.close().await;
    models
}

#[tokio::test]
async fn every_crash_state_recovers_to_a_prefix_with_everything_acknowledged() {
    const SEGMENT_BYTES: u32 = 4096;
    let disk = SimDisk::new(9);
    let steps: Vec<(u8, Option<u16>)> = (0..90u16)
        .map(|number| ((number % 5) as u8, (number % 7 != 3).then_some(60 + number % 90)))
        .collect();
    let models = run(&disk, SEGMENT_BYTES, &steps).await;
    let mut states = 0;
    for at_op in 0..=disk.ops() {
        let acknowledged = disk.markers_before(at_op).into_iter().max().unwrap_or(0);
        for choice in [CrashChoice::KeepAll, CrashChoice::DropAll]
            .into_iter()
            .chain((0..4).map(CrashChoice::Seeded))
        {
            let crashed = disk.crash_state(at_op, choice);
            let (sequence, state) = state_of(&crashed, SEGMENT_BYTES);
            assert!(
                sequence >= acknowledged,
                "op {at_op} {choice:?}: {sequence} < {acknowledged}"
            );
            assert_eq!(
                &state, &models[sequence as usize],
                "op {at_op} {choice:?} sequence {sequence}"
            );
            states += 1;
        }
    }
    println!("{states} states");
    assert!(states > 1_400, "only {states} states");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn compaction_and_restarts_keep_the_state(
        steps in prop::collection::vec((0u8..12, prop::option::weighted(0.8, 0u16..600)), 1..300)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let disk = SimDisk::unrecorded(10);
        let models = runtime.block_on(run(&disk, 4096, &steps));
        let ledger = open(&disk, 4096);
        runtime.block_on(async {
            ledger.compact().await.unwrap();
            let status = ledger.status();
            prop_assert!(status.segments <= 5 || status.live_bytes * 2 >= status.log_bytes, "{status:?}");
            ledger.close().await;
            Ok(())
        })?;
        let (sequence, state) = state_of(&disk, 4096);
        prop_assert_eq!(sequence as usize, models.len() - 1);
        prop_assert_eq!(&state, models.last().unwrap());
    }
}
