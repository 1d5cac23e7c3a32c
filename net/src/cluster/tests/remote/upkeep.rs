//! What is done to shards on peers after they were put: orders, listing, scrub, compaction, repair.

use scopes::{CollectorDelegation, DeleteOrder, Salt, Signed, VaultId, Wallet, Window};

use super::*;

fn delegation(owner: u8, collector: &Wallet) -> Signed<CollectorDelegation> {
    let statement = CollectorDelegation {
        vault: VaultId(VAULT),
        salt: Salt([0; 16]),
        collector: collector.public_key(),
        window: Window::default(),
        number: 1,
    };
    Signed::sign(statement, &Wallet::from_seed(&[owner; 32])).unwrap()
}

fn order(by: &Wallet, stored: &[Stored], number: u64) -> Signed<DeleteOrder> {
    let packs = stored.iter().map(|stored| stored.entry.id().0).collect();
    let order = DeleteOrder::new(VaultId(VAULT), by.public_key(), packs, number);
    Signed::sign(order, by).unwrap()
}

fn shards(rig: &Rig) -> u64 {
    (0..PEERS)
        .map(|number| rig.wire.node(number).reports()[0].shards)
        .sum()
}

#[tokio::test]
async fn a_delete_order_reaches_every_peer_also_one_that_has_forgotten_the_collector() {
    let rig = Rig::new(31).await;
    let cluster = rig.open().await;
    let collector = Wallet::from_seed(&[2; 32]);
    cluster.trust_collector(&delegation(1, &collector));
    let stored = [
        put(&cluster, 1, &[9_000; 5]).await.unwrap(),
        put(&cluster, 2, &[9_000; 5]).await.unwrap(),
    ];
    settle(&cluster, &stored).await;
    let report = cluster
        .delete_packs(&order(&collector, &stored[..1], 1))
        .await
        .unwrap();
    assert_eq!((report.shards, report.refused, report.failed), (6, 0, 0));
    assert_eq!(shards(&rig), 6);
    rig.restart(3).await;
    let report = cluster
        .delete_packs(&order(&collector, &stored[1..], 2))
        .await
        .unwrap();
    assert_eq!((report.shards, report.refused, report.failed), (6, 0, 0));
    assert_eq!(shards(&rig), 0);
    cluster.close().await;
}

#[tokio::test]
async fn the_peers_alone_name_their_packs_page_by_page_and_of_one_vault() {
    let rig = Rig::new(32).await;
    let cluster = rig.open().await;
    let mut stored = Vec::new();
    for seed in 0..15 {
        let sizes: &[usize] = if seed % 2 == 0 { &[700; 4] } else { &[300] };
        stored.push(put(&cluster, seed, sizes).await.unwrap());
    }
    settle(&cluster, &stored).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = cluster.listed_packs(VAULT, after, 4).await;
        assert!(!page.incomplete);
        after = page.next;
        found.extend(cluster.stored_packs(VAULT, page.packs).await);
        if after.is_none() {
            break;
        }
    }
    assert!(found.is_sorted_by_key(|pack| pack.summary.id));
    for pack in &found {
        assert_eq!((pack.vault, pack.scope, pack.lease), (VAULT, SCOPE, LEASE));
    }
    let mut ids: Vec<_> = stored.iter().map(|stored| stored.entry.id()).collect();
    ids.sort_unstable();
    assert_eq!(found.iter().map(|pack| pack.summary.id).collect::<Vec<_>>(), ids);
    assert!(cluster.listed_packs([8; 16], None, 10).await.packs.is_empty());
    rig.wire.behave(0, Conduct::Down);
    assert!(cluster.listed_packs(VAULT, None, 10).await.incomplete);
    cluster.close().await;
}

#[tokio::test]
async fn a_shard_that_rots_at_a_peer_is_found_by_a_scrub_and_made_again() {
    let rig = Rig::new(33).await;
    let cluster = rig.open().await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let rotten = Rig::holder(&stored[0], 1);
    let (_, chunk) = in_lane(&stored[0], 1);
    flip(&rig.disks[rotten], &chunk);
    let entry = stored[0].entry.clone();
    let lookup = move |_| -> BoxFuture<'static, _> {
        let entry = entry.clone();
        Box::pin(async move { Ok(Some(entry)) })
    };
    let report = cluster.scrub(&lookup, &mut |_| {}).await.unwrap();
    let found = (report.shards_checked, report.shards_bad, report.shards_rebuilt);
    assert_eq!(found, (6, 1, 1), "{report:?}");
    let again = cluster.scrub(&lookup, &mut |_| {}).await.unwrap();
    assert_eq!((again.shards_checked, again.shards_bad), (6, 0));
    cluster.close().await;
}

/// Flips a bit of a chunk where it lies on a peer's disk.
fn flip(disk: &SimDisk, chunk: &[u8]) {
    let log = Rig::log_dir().join("log");
    for name in disk.list_dir(&log).unwrap() {
        let path = log.join(name);
        let file = disk.open(&path, engine::disk::OpenMode::Read).unwrap();
        let mut content = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut content, 0).unwrap();
        if let Some(at) = content.windows(chunk.len()).position(|window| window == chunk) {
            assert!(disk.flip_bit(&path, at as u64 + 5));
            return;
        }
    }
    panic!("the chunk is not there");
}

#[tokio::test]
async fn deleted_bytes_are_given_back_by_the_peers() {
    let rig = Rig::new(34).await;
    let cluster = rig.open().await;
    let collector = Wallet::from_seed(&[2; 32]);
    cluster.trust_collector(&delegation(1, &collector));
    let mut stored = Vec::new();
    for seed in 0..4 {
        stored.push(put(&cluster, seed, &[60_000; 8]).await.unwrap());
    }
    settle(&cluster, &stored).await;
    cluster
        .delete_packs(&order(&collector, &stored[1..], 1))
        .await
        .unwrap();
    cluster.check_drives().await;
    let garbage = |cluster: &Cluster| -> u64 {
        let drives = cluster.status().drives;
        drives.iter().map(|drive| drive.garbage_bytes).sum()
    };
    let before = garbage(&cluster);
    assert!(before > 3 * 8 * 60_000, "{before}");
    cluster.compact(0.1, u64::MAX).await;
    cluster.trim().await;
    assert!(garbage(&cluster) < before / 10, "{}", garbage(&cluster));
    assert_reads(&cluster, &stored[0]).await;
    cluster.close().await;
}

#[tokio::test]
async fn a_peers_drive_that_was_wiped_is_made_anew_by_a_repair_and_filled() {
    let rig = Rig::new(35).await;
    let cluster = rig.open().await;
    let stored = [
        put(&cluster, 1, &[9_000; 5]).await.unwrap(),
        put(&cluster, 2, &[9_000; 5]).await.unwrap(),
    ];
    settle(&cluster, &stored).await;
    rig.disks[2].unlink(&Rig::log_dir());
    rig.wire.node(2).look().await;
    cluster.check_drives().await;
    assert_eq!(cluster.present(), 5);
    let packs = packs(&stored);
    let untouched = cluster
        .repair(&packs, &RepairOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert_eq!((untouched.still_missing, untouched.lost.len()), (2, 1));
    let options = RepairOptions {
        recreate: true,
        ..RepairOptions::default()
    };
    let report = cluster.repair(&packs, &options, &mut |_| {}).await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.shards_rebuilt, report.recreated.len()), (2, 1));
    assert_eq!(rig.wire.node(2).reports()[0].shards, 2);
    cluster.close().await;
}
