//! What two gateways collect: nothing that is read at either of them or about to be named, and in the end everything else, whoever left it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;
mod side;

use engine::disk::{Disk, SimDisk};
use engine::pack::PackId;
use engine::slots::{LeaseEntry, LeaseState};
use engine::view::MemoryView;
use futures::StreamExt;
use net::Tail;
use net::ledger::lease;
use rig::{DRIVES, Opening, body, drive_dir, object_key};
use s3_gateway::session::{CollectOptions, Condition, ReadStream, StreamWriter};
use side::gated::GatedView;
use side::gateway::{Gateway, ROOT, telling, two, two_over};
use std::path::Path;
use std::sync::Arc;

const LONG: usize = 40_000_000;

async fn begin(gateway: &Gateway, key: &str) -> (ReadStream, Vec<u8>) {
    let bucket = gateway.session().bucket("shared").await.unwrap();
    let stored = gateway.session().object(&bucket, &object_key(key)).await.unwrap();
    let range = 0..stored.object.plaintext_bytes;
    let caller = &gateway.rig.caller;
    let mut reading = gateway.session().read(caller, &bucket, &stored, None, range);
    let first = reading.next().await.unwrap().unwrap().to_vec();
    (reading, first)
}

async fn end((mut reading, mut read): (ReadStream, Vec<u8>)) -> Vec<u8> {
    while let Some(piece) = reading.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    read
}

/// Half an object, whose packs are on the drives and named by nothing, and these packs.
async fn half(gateway: &Gateway) -> (StreamWriter, Vec<PackId>) {
    let before = gateway.all().await;
    let bucket = gateway.bucket().await;
    let mut stream = gateway.session().stream(&bucket, None).await.unwrap();
    for piece in body(8, 17_000_000).chunks(1 << 20) {
        stream.write(bytes::Bytes::copy_from_slice(piece)).await.unwrap();
    }
    // Two whole packs, with all of their shards.
    loop {
        let page = gateway
            .rig
            .cluster
            .listed_packs(rig::vault_id().0, None, 10_000)
            .await;
        let whole = page.packs.iter().filter(|pack| pack.claims.len() == DRIVES);
        let packs: Vec<_> = whole
            .map(|pack| pack.id)
            .filter(|id| !before.contains(id))
            .collect();
        if packs.len() == 2 {
            return (stream, packs);
        }
        tokio::task::yield_now().await;
    }
}

async fn lose(by: &Gateway, lost: u64) {
    let lose = |entry: &LeaseEntry| {
        let state = LeaseState::Lost;
        Some(LeaseEntry {
            state,
            ..entry.clone()
        })
    };
    lease::change(&*by.ledger, by.lease, lost, lose).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_begins_while_the_view_hears_that_another_retired_its_packs_ends() {
    let view = GatedView::new();
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(92));
    let (one, other) = two_over(disk, Opening::usual(true), Arc::clone(&view) as _).await;
    let whole = body(3, LONG);
    other.put("slow", &whole, Condition::None).await.unwrap();
    one.session().freshen().await.unwrap();
    let gate = view.stop_before(other.packs_of("slow").await);
    let packs = one.retire("slow").await;
    // The view of the other has not changed yet, and is about to.
    view.reached().await;
    let reading = begin(&other, "slow").await;
    drop(gate);
    other.session().freshen().await.unwrap();
    assert!(other.session().pack_entry(&packs[0]).unwrap().is_none());
    assert!(end(reading).await == whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_goes_on_though_the_view_is_made_anew_and_what_others_retired_is_not_missing_any_more() {
    let disk = Arc::new(SimDisk::unrecorded(93));
    let opening = Opening {
        ledger: Opening::tiny(true).ledger,
        ..Opening::usual(true)
    };
    let view = GatedView::new();
    let (one, other) = two_over(Arc::clone(&disk) as _, opening, Arc::clone(&view) as _).await;
    let whole = body(3, LONG);
    other.put("slow", &whole, Condition::None).await.unwrap();
    other
        .put("gate", &body(4, 900_000), Condition::None)
        .await
        .unwrap();
    one.rig.settle().await;
    let reading = begin(&other, "slow").await;
    let gate = view.stop_before(other.packs_of("gate").await);
    one.session().freshen().await.unwrap();
    one.retire("gate").await;
    let before = other.ledger.position();
    view.reached().await;
    let packs = one.retire("slow").await;
    // One that lacks a shard is retired too.
    disk.fail_sync(&drive_dir(Path::new(ROOT), 2));
    one.put("short", &body(5, 900_000), Condition::None)
        .await
        .unwrap();
    // It was answered for before that was noted.
    while one.rig.cluster.lacking(rig::vault_id().0).is_empty() {
        tokio::task::yield_now().await;
    }
    let short = one.retire("short").await;
    one.session().freshen().await.unwrap();
    disk.heal();
    while other.ledger.tail(before, 1).await.unwrap() != Tail::Compacted {
        for number in 0..100 {
            one.set("filling", format!("{number}")).await;
        }
        for gateway in [&one, &other] {
            gateway.rig.recorder.flush().await.unwrap();
            gateway.gateways.look().await.unwrap();
        }
        one.rig.ledger.compact().await.unwrap();
    }
    let lacking = || other.rig.cluster.lacking(rig::vault_id().0);
    assert!(lacking().iter().any(|entry| entry.id() == short[0]));
    drop(gate);
    other.session().freshen().await.unwrap();
    assert!(other.session().pack_entry(&packs[0]).unwrap().is_none());
    assert!(
        lacking().iter().all(|entry| entry.id() != short[0]),
        "{:?}",
        lacking()
    );
    assert!(end(reading).await == whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_begins_to_be_read_while_the_drives_are_looked_through_is_not_deleted() {
    let (one, other) = two().await;
    let (one, other) = (Arc::new(one), Arc::new(other));
    let whole = body(3, LONG);
    one.put("slow", &whole, Condition::None).await.unwrap();
    other.session().freshen().await.unwrap();
    let packs = one.packs_of("slow").await;
    one.side.hold_back();
    let (send, reading) = tokio::sync::oneshot::channel();
    let (reader, writer) = (Arc::clone(&one), Arc::clone(&other));
    // After the drives were listed, and before the view is brought up to what was retired meanwhile.
    one.side.before_asking(2, async move {
        let reading = begin(&reader, "slow").await;
        writer.retire("slow").await;
        writer.pass().await;
        assert!(send.send(reading).is_ok());
    });
    let report = one.session().collect_in_background().await.unwrap().unwrap();
    let reading = reading.await.unwrap();
    assert!(
        one.session().pack_entry(&packs[0]).unwrap().is_none(),
        "{report:?}"
    );
    assert_eq!(one.on_drives(&packs).await.len(), packs.len(), "{report:?}");
    assert!(end(reading).await == whole);
    one.side.go_on();
    other.session().freshen().await.unwrap();
    other.pass().await;
    one.rest().await;
    assert!(one.on_drives(&packs).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_another_gateway_goes_though_nobody_writes_any_more() {
    let (one, other) = two().await;
    one.put("o", &body(3, 3_000_000), Condition::None).await.unwrap();
    one.put("stays", &body(4, 1_000), Condition::None).await.unwrap();
    other.session().freshen().await.unwrap();
    other.pass().await;
    let packs = one.packs_of("o").await;
    let bucket = one.bucket().await;
    assert!(one.rig.delete(&bucket, "o").await.unwrap());
    one.rest().await;
    assert!(one.session().pack_entry(&packs[0]).unwrap().is_none());
    assert_eq!(one.on_drives(&packs).await.len(), packs.len());
    other.session().freshen().await.unwrap();
    other.pass().await;
    one.session().collect_in_background().await.unwrap().unwrap();
    assert!(one.on_drives(&packs).await.is_empty());
    one.rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_had_yet_to_delete_when_it_started_again_is_found_by_whoever_works_then() {
    let (one, other) = two().await;
    other
        .put("o", &body(3, 3_000_000), Condition::None)
        .await
        .unwrap();
    one.session().freshen().await.unwrap();
    other.rest().await;
    let packs = other.packs_of("o").await;
    let retired = one.retire("o").await;
    assert_eq!(retired, packs);
    one.close().await;
    let one = one.start_again().await;
    assert!(other.gateways.does_background_work() && !one.gateways.does_background_work());
    other.session().freshen().await.unwrap();
    one.pass().await;
    other.rest().await;
    assert!(other.on_drives(&packs).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_gateway_had_under_way_is_found_by_those_that_are_left() {
    let (one, other) = two().await;
    one.rest().await;
    let (stream, packs) = half(&other).await;
    lose(&one, other.lease).await;
    one.rest().await;
    assert!(one.on_drives(&packs).await.is_empty());
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_live_gateway_left_is_collected_once_it_is_past_it_and_what_it_has_under_way_never() {
    let (one, other) = two().await;
    other
        .put("o", &body(3, 3_000_000), Condition::None)
        .await
        .unwrap();
    let packs = other.retire("o").await;
    other.session().freshen().await.unwrap();
    let (mut stream, under_way) = half(&other).await;
    let telling = telling(&[&one, &other]);
    one.session().freshen().await.unwrap();
    let held = one.gc().await;
    assert!(held.incomplete && held.held_back, "{held:?}");
    assert_eq!(one.on_drives(&under_way).await.len(), under_way.len());
    stream.write(bytes::Bytes::from(body(9, 5_000))).await.unwrap();
    let finished = stream.finish().await.unwrap();
    let (bucket, name) = (other.bucket().await, object_key("half"));
    let (session, caller) = (other.session(), &other.rig.caller);
    let new = s3_gateway::session::NewObject::default();
    let put = session.put_object(caller, &bucket, &name, finished, new, Condition::None);
    put.await.unwrap();
    let report = one.gc().await;
    assert!(!report.incomplete, "{report:?}");
    assert!(one.on_drives(&packs).await.is_empty());
    assert_eq!(one.get("half").await.unwrap().len(), 17_005_000);
    telling.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_deleted_from_a_drive_that_was_away_goes_when_the_drive_is_back() {
    let disk = Arc::new(SimDisk::unrecorded(94));
    let view = Arc::new(MemoryView::default());
    let (one, other) = two_over(Arc::clone(&disk) as _, Opening::usual(true), view).await;
    one.put("o", &body(3, 3_000_000), Condition::None).await.unwrap();
    one.rig.settle().await;
    other.end().await;
    one.rest().await;
    let packs = one.packs_of("o").await;
    let drive = drive_dir(Path::new(ROOT), 3);
    let (here, away) = (drive.join("drive.json"), drive.join("away.json"));
    disk.rename(&here, &away).unwrap();
    one.rig.cluster.check_drives().await;
    assert_eq!(one.rig.cluster.present(), DRIVES - 1);
    let bucket = one.bucket().await;
    assert!(one.rig.delete(&bucket, "o").await.unwrap());
    one.session()
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    one.rest().await;
    disk.rename(&away, &here).unwrap();
    let repaired = one.rig.repair().await;
    assert_eq!(repaired.reattached.len(), 1, "{repaired:?}");
    assert!(!one.on_drives(&packs).await.is_empty());
    one.rest().await;
    assert!(one.on_drives(&packs).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_ordered_to_go_is_ordered_again() {
    let (one, other) = two().await;
    other.end().await;
    one.put("o", &body(3, 3_000_000), Condition::None).await.unwrap();
    one.rest().await;
    let packs = one.packs_of("o").await;
    let bucket = one.bucket().await;
    assert!(one.rig.delete(&bucket, "o").await.unwrap());
    one.trust([99; 32]);
    let options = CollectOptions { everything: true };
    let refused = one.session().collect(options, &|_| {}).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(one.session().pack_entry(&packs[0]).unwrap().is_none());
    one.trust(one.collector_seed());
    one.rest().await;
    assert!(one.on_drives(&packs).await.is_empty());
}
