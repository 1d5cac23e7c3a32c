//! A full disk makes the activity log wait; it ends nothing and loses nothing.

use bytes::Bytes;
use engine::disk::{Disk, SimDisk};
use net::ledger::LedgerConfig;
use net::{Ledger, LocalLedger};
use s3_gateway::session::{PreparedRecord, Recorder, RecorderError};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_a_full_disk_waits_for_space_and_the_process_goes_on() {
    let sim = SimDisk::unrecorded(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let ledger = LocalLedger::open(Arc::clone(&disk), Path::new("/ledger"), LedgerConfig::new(1));
    let ledger: Arc<dyn Ledger> = Arc::new(ledger.unwrap().0);
    let recorder = Recorder::open(disk, Path::new("/activity"), "cairn.test/log", &[5; 32], ledger);
    let recorder = recorder.await.unwrap();
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
