//! Peers that answer something else than what they hold.

use super::*;

#[tokio::test]
async fn a_peer_that_returns_altered_bytes_is_named_and_no_verified_read_takes_them() {
    let rig = Rig::new(21).await;
    let cluster = rig.open().await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let liar = Rig::holder(&stored[0], 1);
    rig.wire.behave(liar, Conduct::Altered);
    let (range, chunk) = in_lane(&stored[0], 1);
    let plain = read(&cluster, &stored[0].entry, range).await.unwrap();
    assert_ne!(plain, chunk, "an unverified read is the caller's to check");
    let verified = cluster.read_lane_verified(&stored[0].entry, range).await.unwrap();
    assert_eq!(verified.bytes, chunk);
    let named: Vec<_> = verified.bad.iter().map(|bad| bad.drive).collect();
    assert_eq!(named, [Rig::drive_id(liar)]);
    let status = cluster.status();
    for drive in &status.drives {
        assert_eq!(
            drive.bad_answers > 0,
            drive.id == Rig::drive_id(liar),
            "{drive:?}"
        );
    }
    // What it holds is as it should be, so that nothing is replaced there; honest again, it is read again.
    rig.wire.behave(liar, Conduct::Honest);
    cluster.heal().await;
    assert_eq!(read(&cluster, &stored[0].entry, range).await.unwrap(), chunk);
    assert_eq!(cluster.status().packs_at_risk, 0);
    cluster.close().await;
}

#[tokio::test]
async fn a_peer_that_claims_to_hold_what_is_gone_is_found_out_by_a_deep_repair_and_named() {
    let rig = Rig::new(22).await;
    let cluster = rig.open().await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let liar = Rig::holder(&stored[0], 2);
    let key = crate::cluster::put::key(&stored[0].entry, 2);
    rig.wire.node(liar).lose_shard(key).await;
    rig.wire.behave(liar, Conduct::Boaster);
    let packs = packs(&stored);
    assert_eq!(cluster.census(&packs).await.unwrap().still_missing, 0, "its word");
    // A reader does not notice.
    let (range, chunk) = in_lane(&stored[0], 2);
    assert_eq!(read(&cluster, &stored[0].entry, range).await.unwrap(), chunk);
    let options = RepairOptions {
        deep: true,
        ..RepairOptions::default()
    };
    let report = cluster.repair(&packs, &options, &mut |_| {}).await.unwrap();
    assert!(report.shards_rebuilt >= 1, "{report:?}");
    let status = cluster.status();
    let named = status.drives.iter().filter(|drive| drive.bad_answers > 0);
    assert_eq!(named.map(|drive| drive.number).collect::<Vec<_>>(), [liar]);
    assert_eq!(rig.wire.node(liar).reports()[0].shards, 1, "made again there");
    cluster.close().await;
}

#[tokio::test]
async fn an_answer_of_another_length_is_not_taken_for_the_range() {
    let rig = Rig::new(24).await;
    let cluster = rig.open().await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    rig.wire.behave(Rig::holder(&stored[0], 0), Conduct::Short);
    let (range, chunk) = in_lane(&stored[0], 0);
    assert_eq!(read(&cluster, &stored[0].entry, range).await.unwrap(), chunk);
    cluster.close().await;
}

#[tokio::test]
async fn altered_bytes_go_into_no_rebuilt_shard() {
    let rig = Rig::new(23).await;
    let cluster = rig.open().await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let lost = Rig::holder(&stored[0], 5);
    let key = crate::cluster::put::key(&stored[0].entry, 5);
    rig.wire.node(lost).lose_shard(key).await;
    rig.wire.behave(Rig::holder(&stored[0], 0), Conduct::Altered);
    let packs = packs(&stored);
    let report = cluster
        .repair(&packs, &RepairOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert!(report.shards_rebuilt >= 1, "{report:?}");
    rig.wire.behave(Rig::holder(&stored[0], 0), Conduct::Honest);
    for index in [0, 5] {
        let entry = Arc::new(stored[0].entry.clone());
        assert!(
            cluster.inner.read_verified(&entry, index).await.is_ok(),
            "shard {index}"
        );
    }
    cluster.close().await;
}
