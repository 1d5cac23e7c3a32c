//! Writers of one key without a condition: none waits for another, none is refused, and what they supersede is released.

mod rig;

use engine::disk::{Disk, SimDisk};
use net::Ledger;
use rig::{Opening, Rig, body};
use s3_gateway::session::CollectOptions;
use std::path::Path;
use std::sync::Arc;

const WRITERS: u64 = 64;
const BYTES: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_key_without_a_condition_need_one_append_each() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(9));
    let rig = Rig::open_with(disk, Path::new("/vault"), Opening::tiny(true)).await;
    let rig = Arc::new(rig.unwrap());
    let bucket = rig.bucket("contended").await;
    let before = rig.ledger.status().appends;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let (rig, bucket) = (Arc::clone(&rig), bucket.clone());
        writers.spawn(async move { (number, rig.put(&bucket, "key", &body(number, BYTES)).await) });
    }
    let stored: Vec<_> = writers.join_all().await;
    let winner = stored
        .iter()
        .max_by_key(|(_, stored)| stored.as_ref().unwrap().sequence);
    assert_eq!(rig.ledger.status().appends - before, WRITERS);
    let winner = winner.unwrap().0;
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), body(winner, BYTES));

    let options = CollectOptions { everything: true };
    let report = rig.session.collect(options, &|_| {}).await.unwrap();
    assert_eq!(report.live_bytes, BYTES as u64);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), body(winner, BYTES));
    let mut deleters = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let (rig, bucket) = (Arc::clone(&rig), bucket.clone());
        deleters.spawn(async move { rig.delete(&bucket, "key").await });
    }
    assert!(deleters.join_all().await.iter().all(Result::is_ok));
    let report = rig.session.collect(options, &|_| {}).await.unwrap();
    assert_eq!(report.live_bytes, 0);
    Arc::into_inner(rig).unwrap().close().await;
}
