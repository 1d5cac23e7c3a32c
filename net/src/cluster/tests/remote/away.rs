//! Peers that are not there, do not answer, or come back.

use std::time::{Duration, Instant};

use super::*;

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn writes_go_on_with_one_peer_down_and_are_refused_with_two_and_reads_go_on() {
    let rig = Rig::new(11).await;
    let cluster = rig.open().await;
    let before = put(&cluster, 1, &[50_000; 5]).await.unwrap();
    rig.wire.behave(2, Conduct::Down);
    cluster.check_drives().await;
    assert_eq!(cluster.present(), 5);
    let stored = put(&cluster, 2, &[50_000; 5]).await.unwrap();
    let small = put(&cluster, 3, &[100]).await.unwrap();
    for stored in [&before, &stored, &small] {
        assert_reads(&cluster, stored).await;
    }
    rig.wire.behave(5, Conduct::Down);
    cluster.check_drives().await;
    let refused = PutError::NotEnoughDrives { have: 4, need: 5 };
    assert_eq!(cluster.writable(), Err(refused));
    assert_eq!(put(&cluster, 4, &[50_000; 5]).await.err(), Some(refused));
    for stored in [&before, &stored, &small] {
        assert_reads(&cluster, stored).await;
    }
    let lost: Vec<_> = cluster
        .status()
        .drives
        .into_iter()
        .filter_map(|drive| drive.reason)
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    cluster.close().await;
}

#[tokio::test]
async fn what_was_written_while_a_peer_was_down_is_healed_when_it_is_back() {
    let rig = Rig::new(12).await;
    let cluster = rig.open().await;
    rig.wire.behave(2, Conduct::Down);
    cluster.check_drives().await;
    let stored = [
        put(&cluster, 1, &[20_000; 6]).await.unwrap(),
        put(&cluster, 2, &[300]).await.unwrap(),
    ];
    until("noted", async || cluster.status().packs_at_risk > 0).await;
    rig.wire.behave(2, Conduct::Honest);
    cluster.check_drives().await;
    cluster.heal().await;
    for stored in &stored {
        assert_eq!(cluster.inner.absent(&stored.entry).await, [0usize; 0]);
    }
    let tally = cluster.tally(&packs(&stored)).await.unwrap();
    assert_eq!((tally.missing, tally.at_risk), (0, 0));
    cluster.close().await;
}

#[tokio::test]
async fn a_peer_that_hears_of_ended_leases_late_refuses_their_puts_before_it_counts_as_there() {
    let rig = Rig::new(13).await;
    let cluster = rig.open().await;
    rig.wire.behave(4, Conduct::Down);
    cluster.check_drives().await;
    cluster.end_leases_below(LEASE + 1).await;
    rig.wire.behave(4, Conduct::Honest);
    cluster.check_drives().await;
    assert_eq!(cluster.present(), 6);
    let ended = PutError::LeaseEnded {
        lowest_live: LEASE + 1,
    };
    assert_eq!(put(&cluster, 1, &[9_000; 5]).await.err(), Some(ended));
    for number in 0..PEERS {
        let reports = rig.wire.node(number).reports();
        assert_eq!(reports[0].highest_lease, LEASE + 1, "peer {number}");
        assert_eq!(reports[0].shards, 0, "peer {number}");
    }
    cluster.check_drives().await;
    assert_eq!(cluster.highest_lease(), LEASE + 1);
    cluster.close().await;
}

#[tokio::test]
async fn a_frozen_peer_holds_up_neither_reads_nor_writes_and_is_lost_soon() {
    let rig = Rig::new(14).await;
    let cluster = rig.open().await;
    let stored = put(&cluster, 1, &[50_000; 5]).await.unwrap();
    settle(&cluster, std::slice::from_ref(&stored)).await;
    let frozen = Rig::holder(&stored, 0);
    rig.wire.behave(frozen, Conduct::Frozen);
    let begun = Instant::now();
    assert_reads(&cluster, &stored).await;
    let while_frozen = put(&cluster, 2, &[50_000; 5]).await.unwrap();
    assert_reads(&cluster, &while_frozen).await;
    // Less than it takes until the peer is given up.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    until("the peer is lost", async || cluster.present() == 5).await;
    rig.wire.behave(frozen, Conduct::Honest);
    until("the peer is back", async || cluster.present() == 6).await;
    cluster.close().await;
}

#[tokio::test]
async fn a_gateway_that_starts_while_a_peer_is_down_has_its_place_all_the_same() {
    let rig = Rig::new(15).await;
    let cluster = rig.open().await;
    let stored = put(&cluster, 1, &[50_000; 5]).await.unwrap();
    cluster.close().await;
    rig.wire.behave(1, Conduct::Down);
    rig.wire.behave(3, Conduct::Frozen);
    let cluster = rig.open().await;
    assert_eq!((cluster.present(), cluster.layout().len()), (4, 6));
    assert!(cluster.has_heard_enough());
    assert_reads(&cluster, &stored).await;
    cluster.close().await;
}

#[tokio::test]
async fn too_few_peers_that_answer_say_nothing_of_leases_and_a_lost_drive_is_an_answer() {
    let rig = Rig::new(16).await;
    for number in 0..4 {
        rig.wire.behave(number, Conduct::Down);
    }
    let cluster = rig.open().await;
    assert_eq!((cluster.heard(), cluster.has_heard_enough()), (2, false));
    cluster.close().await;
    for number in 0..PEERS {
        rig.wire.behave(number, Conduct::Honest);
        rig.disks[number].unlink(&Rig::log_dir());
        rig.wire.node(number).look().await;
    }
    let cluster = rig.open().await;
    let known = (cluster.present(), cluster.heard(), cluster.has_heard_enough());
    assert_eq!(known, (0, 6, true), "else nothing could bring the drives back");
    cluster.close().await;
}

#[tokio::test]
async fn a_frozen_peer_is_waited_for_by_a_few_readers_and_not_by_those_after_them() {
    let rig = Rig::new(13).await;
    let cluster = rig.open().await;
    let stored = put(&cluster, 1, &[3_000; 4]).await.unwrap();
    assert_reads(&cluster, &stored).await;
    let (range, chunk) = &stored.chunks[0];
    let place = cluster
        .inner
        .place_of(&stored.entry, usize::from(range.lane))
        .unwrap();
    let frozen = (0..6)
        .find(|number| Rig::drive_id(*number) == place.id())
        .unwrap();
    rig.wire.behave(frozen, Conduct::Frozen);
    // On a busy machine it may be lost before.
    until("late", async || {
        assert_eq!(&read(&cluster, &stored.entry, *range).await.unwrap(), chunk);
        place.lags() || !place.is_present()
    })
    .await;
    let hedged = cluster.status().hedges;
    for _ in 0..5 {
        assert_eq!(&read(&cluster, &stored.entry, *range).await.unwrap(), chunk);
    }
    assert_eq!(
        cluster.status().hedges,
        hedged,
        "nobody else waits for its time to be up"
    );
    cluster.close().await;
}
