use scopes::{CollectorDelegation, DeleteOrder, Salt, Signed, VaultId, Wallet, Window};

use super::*;
use crate::cluster::{DeleteError, DeleteReport};

fn delegation(owner: &Wallet, collector: &Wallet) -> Signed<CollectorDelegation> {
    let statement = CollectorDelegation {
        vault: VaultId(VAULT),
        salt: Salt([0; 16]),
        collector: collector.public_key(),
        window: Window::default(),
        number: 1,
    };
    Signed::sign(statement, owner).unwrap()
}

fn order(vault: [u8; 16], by: &Wallet, stored: &Stored, number: u64) -> Signed<DeleteOrder> {
    let order = DeleteOrder::new(VaultId(vault), by.public_key(), vec![stored.entry.id().0], number);
    Signed::sign(order, by).unwrap()
}

#[tokio::test]
async fn packs_go_only_on_the_order_of_the_vaults_collector() {
    let disk = SimDisk::unrecorded(31);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let (owner, collector, other) = (
        Wallet::from_seed(&[1; 32]),
        Wallet::from_seed(&[2; 32]),
        Wallet::from_seed(&[3; 32]),
    );
    let good = order(VAULT, &collector, &stored[0], 5);
    assert_eq!(
        cluster.delete_packs(&good).await,
        Err(DeleteError::NotTheCollector)
    );
    cluster.trust_collector(&delegation(&owner, &collector));
    let forged = order(VAULT, &other, &stored[0], 5);
    assert_eq!(
        cluster.delete_packs(&forged).await,
        Err(DeleteError::NotTheCollector)
    );
    assert_reads(&cluster, &stored[0]).await;
    let report = cluster.delete_packs(&good).await.unwrap();
    assert_eq!(
        report,
        DeleteReport {
            shards: 6,
            ..DeleteReport::default()
        }
    );
    let replayed = cluster.delete_packs(&good).await;
    assert_eq!(replayed, Err(DeleteError::Replayed { got: 5, seen: 5 }));
    assert!(cluster.listed_packs(VAULT, None, 10).await.packs.is_empty());
    cluster.heal().await;
    assert_eq!(
        cluster.inner.absent(&stored[0].entry).await.len(),
        6,
        "a deleted pack stays deleted"
    );
    cluster.compact(0.1, u64::MAX).await;
    cluster.trim().await;
    let garbage: u64 = cluster
        .status()
        .drives
        .iter()
        .map(|drive| drive.garbage_bytes)
        .sum();
    assert!(garbage < 6 * 9_000, "{garbage}");
    cluster.close().await;
}

#[tokio::test]
async fn an_order_for_one_vault_deletes_nothing_of_another() {
    let disk = SimDisk::unrecorded(32);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[9_000; 4]).await.unwrap()];
    settle(&cluster, &stored).await;
    let (owner, collector) = (Wallet::from_seed(&[1; 32]), Wallet::from_seed(&[2; 32]));
    let mut statement = delegation(&owner, &collector).statement().clone();
    statement.vault = VaultId([8; 16]);
    cluster.trust_collector(&Signed::sign(statement, &owner).unwrap());
    let report = cluster
        .delete_packs(&order([8; 16], &collector, &stored[0], 1))
        .await
        .unwrap();
    assert_eq!((report.shards, report.refused), (0, 6));
    assert_reads(&cluster, &stored[0]).await;
    cluster.close().await;
}

#[tokio::test]
async fn the_drives_alone_name_their_packs_page_by_page() {
    let disk = SimDisk::unrecorded(33);
    let cluster = open(&disk, 6, true).await;
    let mut stored = Vec::new();
    for seed in 0..25 {
        stored.push(
            put(&cluster, seed, if seed % 2 == 0 { &[700; 4] } else { &[300] })
                .await
                .unwrap(),
        );
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
    assert_eq!(found.len(), 25);
    let other = cluster.listed_packs([8; 16], None, 10).await;
    assert!(other.packs.is_empty(), "packs of another vault");
    assert!(found.is_sorted_by_key(|pack| pack.summary.id));
    for pack in &found {
        let stored = stored
            .iter()
            .find(|stored| stored.entry.id() == pack.summary.id)
            .unwrap();
        assert_eq!((pack.vault, pack.scope, pack.lease), (VAULT, SCOPE, LEASE));
        let entry = cluster.entry_of(pack).unwrap();
        let again = Stored {
            entry,
            chunks: stored.chunks.clone(),
        };
        assert_reads(&cluster, &again).await;
        if pack.found.len() == 6 {
            assert_eq!(again.entry, stored.entry);
        }
    }
    cluster.close().await;
}
