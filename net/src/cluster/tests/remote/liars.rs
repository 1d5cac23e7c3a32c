//! Peers that answer something else than what they hold.

use super::*;
use crate::peer::Purpose;

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
    // Healing may have been there before, from what the read met.
    cluster.repair(&packs, &options, &mut |_| {}).await.unwrap();
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
            cluster
                .inner
                .read_verified(&entry, index, Purpose::Repair.into())
                .await
                .is_ok(),
            "shard {index}"
        );
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_challenge_names_whoever_claims_what_it_has_not_and_proves_the_rest() {
    let rig = Rig::new(25).await;
    let cluster = rig.open().await;
    let mut stored = Vec::new();
    for seed in 0..8 {
        stored.push(put(&cluster, seed, &[9_000; 4]).await.unwrap());
    }
    settle(&cluster, &stored).await;
    let packs = packs(&stored);
    let honest = cluster
        .challenge(&packs, 1_000, &[1; 32], &mut |_| {})
        .await
        .unwrap();
    assert_eq!((honest.shards, honest.asked, honest.proven), (48, 48, 48));
    let few = cluster
        .challenge(&packs, 10, &[1; 32], &mut |_| {})
        .await
        .unwrap();
    assert_eq!((few.shards, few.asked, few.proven), (48, 10, 10));

    let liar = Rig::holder(&stored[3], 0);
    for stored in &stored {
        for index in 0..6 {
            if Rig::holder(stored, index) == liar {
                let key = crate::cluster::put::key(&stored.entry, index);
                rig.wire.node(liar).lose_shard(key).await;
            }
        }
    }
    rig.wire.behave(liar, Conduct::Boaster);
    rig.wire.behave((liar + 1) % PEERS, Conduct::Forger);
    let report = cluster
        .challenge(&packs, 1_000, &[2; 32], &mut |_| {})
        .await
        .unwrap();
    let failed = [liar, (liar + 1) % PEERS].map(|number| (Rig::drive_id(number), 8));
    assert_eq!(report.failed, failed.into());
    assert_eq!((report.asked, report.proven), (48, 32));
    for drive in cluster.status().drives {
        let named = failed.iter().any(|(id, _)| *id == drive.id);
        assert_eq!(drive.bad_answers > 0, named, "{drive:?}");
    }
    cluster.close().await;
}

#[test]
fn the_detection_of_a_sample_is_the_chance_of_meeting_a_bad_shard() {
    use crate::cluster::detection;
    // One bad shard of a hundred: each draw is a hundredth.
    assert!((detection(100, 30, 0.01) - 0.3).abs() < 1e-9);
    assert!((detection(100, 100, 0.01) - 1.0).abs() < 1e-9);
    // 1 % of very many: 1 - 0.99^300.
    assert!((detection(10_000_000, 300, 0.01) - (1.0 - 0.99_f64.powi(300))).abs() < 1e-4);
    assert!(detection(0, 10, 0.5) == 0.0 && detection(10, 0, 0.5) == 0.0);
}

#[tokio::test]
async fn a_peer_that_says_that_the_lease_has_ended_stops_no_put() {
    let rig = Rig::new(26).await;
    let cluster = rig.open().await;
    rig.wire.behave(2, Conduct::Fencer);
    let stored = put(&cluster, 1, &[9_000; 4]).await.unwrap();
    assert_reads(&cluster, &stored).await;
    cluster.check_drives().await;
    assert_eq!(cluster.highest_lease(), LEASE, "its word alone moves no lease");
    cluster.close().await;
}

#[tokio::test]
async fn a_peer_that_lists_every_shard_takes_no_other_ones_place() {
    let rig = Rig::new(27).await;
    let cluster = rig.open().await;
    let stored = put(&cluster, 1, &[9_000; 4]).await.unwrap();
    settle(&cluster, std::slice::from_ref(&stored)).await;
    for liar in 0..PEERS {
        rig.wire.behave(liar, Conduct::Lister);
        let page = cluster.listed_packs(VAULT, None, 10).await;
        let packs = cluster.stored_packs(VAULT, page.packs).await;
        assert_eq!(packs.len(), 1);
        assert!(packs[0].is_readable(), "{packs:?}");
        assert_eq!(
            cluster.entry_of(&packs[0]),
            Some(stored.entry.clone()),
            "liar {liar}"
        );
        rig.wire.behave(liar, Conduct::Honest);
    }
    cluster.close().await;
}

#[tokio::test]
async fn a_peer_that_names_another_scope_in_its_headers_is_outvoted() {
    let rig = Rig::new(28).await;
    let cluster = rig.open().await;
    let stored = put(&cluster, 1, &[9_000; 4]).await.unwrap();
    settle(&cluster, std::slice::from_ref(&stored)).await;
    for liar in 0..PEERS {
        rig.wire.behave(liar, Conduct::Mislabeler);
        let page = cluster.listed_packs(VAULT, None, 10).await;
        let packs = cluster.stored_packs(VAULT, page.packs).await;
        assert_eq!(packs.len(), 1, "liar {liar}");
        assert_eq!(packs[0].scope, SCOPE, "liar {liar}");
        rig.wire.behave(liar, Conduct::Honest);
    }
    cluster.close().await;
}
