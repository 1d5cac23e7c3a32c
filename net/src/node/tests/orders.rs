use engine::slots::AcceptedLeases;
use scopes::{CollectorDelegation, DeleteOrder, Salt, Signed, VaultId, Wallet, Window};

use super::*;

fn delegation(owner: u8, collector: &Wallet, vault: [u8; 16], expires_ms: Option<u64>) -> Bytes {
    numbered(owner, collector, vault, expires_ms, 1)
}

fn numbered(owner: u8, collector: &Wallet, vault: [u8; 16], expires_ms: Option<u64>, number: u64) -> Bytes {
    let statement = CollectorDelegation {
        vault: VaultId(vault),
        salt: Salt([0; 16]),
        collector: collector.public_key(),
        window: Window {
            expires_ms,
            ..Window::default()
        },
        number,
    };
    let signed = Signed::sign(statement, &Wallet::from_seed(&[owner; 32])).unwrap();
    Bytes::from(signed.encode().unwrap())
}

fn order(by: &Wallet, vault: [u8; 16], pack: &Pack, number: u64) -> Bytes {
    let packs = vec![pack.summary.id.0];
    let order = DeleteOrder::new(VaultId(vault), by.public_key(), packs, number);
    Bytes::from(Signed::sign(order, by).unwrap().encode().unwrap())
}

#[tokio::test]
async fn shards_are_deleted_only_on_the_order_of_whom_the_vaults_owner_named() {
    let node = node(&SimDisk::unrecorded(5), 1, true).await;
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let stored = put(drive, header(&pack, 0, VAULT), PutMode::Free);
    ask_with(&node, stored, pack.shards[0].clone()).await;
    let (collector, thief) = (Wallet::from_seed(&[2; 32]), Wallet::from_seed(&[3; 32]));
    let bad = Answer::Refused(Refusal::BadOrder);
    let delete = async |body| ask_with(&node, Request::Delete, body).await.answer;
    let delegate = async |body| ask_with(&node, Request::Delegate, body).await.answer;

    assert_eq!(
        delete(order(&collector, VAULT, &pack, 1)).await,
        bad,
        "nobody was named"
    );
    let theft = delegation(8, &thief, VAULT, None);
    assert_eq!(
        delegate(theft).await,
        bad,
        "the vault is not the signer's, whoever comes first"
    );
    let over = delegation(1, &collector, VAULT, Some(NOW_MS));
    assert_eq!(delegate(over).await, bad, "a delegation that is over");
    assert_eq!(
        delegate(delegation(1, &collector, VAULT, None)).await,
        Answer::Done
    );
    assert_eq!(delete(order(&thief, VAULT, &pack, 1)).await, bad);
    let mut forged = order(&collector, VAULT, &pack, 1).to_vec();
    let at = forged.windows(2).position(|two| two == b"0x").unwrap() + 2;
    forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
    assert_eq!(
        delete(Bytes::from(forged)).await,
        bad,
        "a signature that does not hold"
    );
    assert_eq!(delete(Bytes::from_static(b"{}")).await, bad);

    // The owner of another vault reaches no shard of this one.
    assert_eq!(
        delegate(delegation(8, &thief, OTHER_VAULT, None)).await,
        Answer::Done
    );
    let other = delete(order(&thief, OTHER_VAULT, &pack, 1)).await;
    let nothing = Answer::Deleted {
        shards: 0,
        refused: 1,
        failed: 0,
    };
    assert_eq!((other, node.reports()[0].shards), (nothing, 1));

    let deleted = Answer::Deleted {
        shards: 1,
        refused: 0,
        failed: 0,
    };
    assert_eq!(delete(order(&collector, VAULT, &pack, 2)).await, deleted);
    assert_eq!(delete(order(&collector, VAULT, &pack, 2)).await, bad, "a replay");
    assert_eq!(node.reports()[0].shards, 0);
    node.close().await;
}

#[tokio::test]
async fn each_live_leases_collector_is_obeyed_and_that_of_an_ended_lease_does_not_come_back() {
    let node = node(&SimDisk::unrecorded(10), 1, true).await;
    let pack = pack(1);
    let (first, second) = (Wallet::from_seed(&[2; 32]), Wallet::from_seed(&[3; 32]));
    let bad = Answer::Refused(Refusal::BadOrder);
    let delete = async |body| ask_with(&node, Request::Delete, body).await.answer;
    let delegate = async |collector, number| {
        let body = numbered(1, collector, VAULT, None, number);
        ask_with(&node, Request::Delegate, body).await.answer
    };
    assert_eq!(delegate(&first, 1).await, Answer::Done);
    assert!(matches!(
        delete(order(&first, VAULT, &pack, 7)).await,
        Answer::Deleted { .. }
    ));
    assert_eq!(delegate(&second, 2).await, Answer::Done);
    for (by, number) in [(&second, 5), (&first, 8), (&second, 6)] {
        let deleted = delete(order(by, VAULT, &pack, number)).await;
        assert!(matches!(deleted, Answer::Deleted { .. }), "{number}");
    }
    let accepted = AcceptedLeases::new(3, [2]);
    assert_eq!(ask(&node, Request::Leases { accepted }).await, Answer::Done);
    assert_eq!(
        delete(order(&first, VAULT, &pack, 9)).await,
        bad,
        "its lease has ended"
    );
    assert_eq!(delegate(&first, 1).await, bad, "an earlier delegation");
    assert!(matches!(
        delete(order(&second, VAULT, &pack, 7)).await,
        Answer::Deleted { .. }
    ));
    assert_eq!(
        delegate(&first, 3).await,
        Answer::Done,
        "the first one again, by a later word"
    );
    assert_eq!(delete(order(&first, VAULT, &pack, 8)).await, bad, "a replay");
    assert!(matches!(
        delete(order(&first, VAULT, &pack, 9)).await,
        Answer::Deleted { .. }
    ));
    node.close().await;
}
