//! What is being read stays readable, whatever the collector does meanwhile; and a read that ends early is on record.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use engine::disk::{Disk, RealDisk};
use futures::StreamExt;
use rig::{Rig, body, object_key};
use s3_gateway::session::{ActivityQuery, CollectOptions, Condition, GcReport};
use std::path::Path;
use std::sync::Arc;

async fn open(root: &Path) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Rig::open(disk, root, true).await.unwrap()
}

async fn gc(rig: &Rig) -> GcReport {
    let thorough = CollectOptions { everything: true };
    rig.session.collect(thorough, &|_| {}).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_deleted_and_collected_while_it_is_read_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path()).await;
    let bucket = rig.bucket("held").await;
    let bytes = body(1, 40_000_000);
    let stored = rig.put(&bucket, "long", &bytes).await.unwrap();
    let mut pieces = rig
        .session
        .read(&rig.caller, &bucket, &stored, None, 0..bytes.len() as u64);
    let mut read = pieces.next().await.unwrap().unwrap().to_vec();
    let deleted = rig
        .session
        .delete_object(&rig.caller, &bucket, &object_key("long"), Condition::None)
        .await;
    deleted.unwrap();
    gc(&rig).await;
    while let Some(piece) = pieces.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read == bytes);
    drop(pieces);
    // And then it goes.
    let after = gc(&rig).await;
    assert!(after.packs_deleted >= 4, "{after:?}");
    assert!(after.allocated_bytes < 4_000_000, "{after:?}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_moved_since_it_was_looked_up_is_read_where_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path()).await;
    let bucket = rig.bucket("moved").await;
    let mut looked_up = Vec::new();
    for number in 0..40 {
        let bytes = body(number, 30_000);
        let stored = rig.put(&bucket, &format!("o{number}"), &bytes).await.unwrap();
        looked_up.push((stored, bytes));
    }
    assert!(gc(&rig).await.bytes_moved > 0);
    for (stored, bytes) in looked_up {
        let read = rig.read(&bucket, &stored, 0..bytes.len() as u64).await.unwrap();
        assert!(read == bytes, "{}", stored.object.key);
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_its_client_leaves_is_on_record_with_the_bytes_that_went_out() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path()).await;
    let bucket = rig.bucket("left").await;
    let bytes = body(1, 10_000_000);
    let stored = rig.put(&bucket, "o", &bytes).await.unwrap();
    let mut pieces = rig
        .session
        .read(&rig.caller, &bucket, &stored, None, 0..bytes.len() as u64);
    let mut out = 0;
    for _ in 0..3 {
        out += pieces.next().await.unwrap().unwrap().len() as u64;
    }
    drop(pieces);
    let records = rig.session.activity(&ActivityQuery::default()).await.unwrap();
    let left = records
        .iter()
        .filter(|opened| opened.record.operation == "GetObject")
        .map(|opened| (opened.record.status.as_str(), opened.record.bytes))
        .collect::<Vec<_>>();
    assert_eq!(left, [("aborted", out)]);
    rig.close().await;
}
