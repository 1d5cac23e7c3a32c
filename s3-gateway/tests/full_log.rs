//! A full disk makes the activity log wait; it ends nothing and loses nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

use activity::{ActivityLog, AppendError, LogIdentity, NewEntry, RecordId};
use bytes::Bytes;
use engine::disk::{Disk, OpenMode, SimDisk};
use engine::log::{LogConfig, LogError};
use net::ledger::LedgerConfig;
use net::{Ledger, LocalLedger};
use s3_gateway::session::{OpenedLog, PreparedRecord, Recorder, RecorderError};
use scopes::Wallet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn record(number: u32) -> PreparedRecord {
    PreparedRecord {
        record_id: u128::from(number).to_be_bytes(),
        commitment: [number as u8; 32],
        body: Bytes::from(vec![number as u8; 8_000]),
    }
}

const ORIGIN: &str = "cairn.test/log";
const SEED: [u8; 32] = [5; 32];

fn ledger(disk: &SimDisk) -> Arc<dyn Ledger> {
    let ledger = LocalLedger::open(Arc::new(disk.clone()), Path::new("/ledger"), LedgerConfig::new(1));
    Arc::new(ledger.unwrap().0)
}

async fn recorder(disk: &SimDisk) -> Recorder {
    let log = OpenedLog::open(
        Arc::new(disk.clone()),
        Path::new("/activity"),
        ORIGIN,
        &SEED,
        (LogConfig::activity(), 78),
    );
    Recorder::start(log.unwrap(), Some(ledger(disk))).await.unwrap()
}

/// Fills an activity log to the last byte with entries that no checkpoint covers, as a crash leaves it: how many.
fn filled(disk: &SimDisk) -> u64 {
    let identity = LogIdentity::new(ORIGIN, Wallet::from_seed(&SEED)).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = LogConfig::activity();
    let (mut log, _) = ActivityLog::open_with(shared, Path::new("/activity"), identity, 1, config).unwrap();
    disk.fail_write_enospc(Path::new("/activity"));
    for bytes in [8_000, 8] {
        loop {
            let number = log.len() as u32;
            let record = record(number);
            let entry = NewEntry {
                record_id: RecordId(record.record_id),
                ledger_sequence: 0,
                commitment: record.commitment,
                body: record.body.slice(..bytes),
            };
            match log.append(&entry) {
                Ok(_) => {}
                Err(AppendError::Log(LogError::Full { .. })) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    log.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_disk_is_full_opens_without_a_reserve_and_signs_what_it_holds_when_there_is_space() {
    let disk = SimDisk::unrecorded(2);
    let entries = filled(&disk);
    let recorder = recorder(&disk).await;
    assert_eq!(recorder.reader().len(), 0);
    assert_eq!(recorder.flush().await, Err(RecorderError::Behind));
    disk.heal();
    recorder.flush().await.unwrap();
    assert_eq!(recorder.reader().len(), entries);
    recorder.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reserve_that_a_crash_cut_off_is_made_whole_at_the_next_start() {
    let disk = SimDisk::unrecorded(3);
    disk.create_dir_all(Path::new("/activity")).unwrap();
    let path = Path::new("/activity/reserve");
    let part = disk.open(path, OpenMode::CreateNew).unwrap();
    part.allocate(0, 4096).unwrap();
    let recorder = recorder(&disk).await;
    let whole = disk.open(path, OpenMode::Read).unwrap().allocated_bytes();
    assert_eq!(whole.unwrap(), u64::from(LogConfig::activity().segment_bytes));
    recorder.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_a_full_disk_waits_for_space_and_the_process_goes_on() {
    let sim = SimDisk::unrecorded(1);
    let recorder = recorder(&sim).await;
    sim.fail_write_enospc(Path::new("/activity"));
    let mut taken = 0;
    let waiting = loop {
        let (recorder, number) = (recorder.clone(), taken);
        let mut append = tokio::spawn(async move { recorder.append(record(number)).await });
        match tokio::time::timeout(Duration::from_millis(400), &mut append).await {
            Ok(done) => done.unwrap().unwrap(),
            Err(_) => break append,
        }
        taken += 1;
        assert!(taken < 10_000, "the disk is not full");
    };
    assert_eq!(recorder.flush().await, Err(RecorderError::Behind));
    let fenced = tokio::time::timeout(Duration::from_millis(400), recorder.fenced()).await;
    assert!(fenced.is_err(), "{fenced:?}");
    sim.heal();
    waiting.await.unwrap().unwrap();
    recorder.flush().await.unwrap();
    assert_eq!(recorder.reader().len(), u64::from(taken) + 1);
    recorder.close().await.unwrap();
}
