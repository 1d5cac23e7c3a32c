//! Questions that members share, and those that they must not.

use super::*;

/// Whoever leads, after it has answered.
async fn leader(rig: &Rig) -> usize {
    let asking = async {
        loop {
            for number in 0..3 {
                let answer = rig
                    .member(number)
                    .answer(peer(50), &ANY_LEDGER, LedgerCall::Peers)
                    .await;
                if matches!(answer, LedgerReply::Peers(_)) {
                    return number;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), asking).await;
    found.expect("nobody leads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_ask_who_the_peers_are_the_members_are_asked_once_a_while() {
    let rig = Rig::begun(3).await;
    let leads = rig.member(leader(&rig).await);
    let before = rig.wire.words.load(Ordering::Relaxed);
    let asking = (0..1_000).map(|_| {
        let leads = Arc::clone(&leads);
        tokio::spawn(async move { leads.answer(peer(50), &ANY_LEDGER, LedgerCall::Peers).await })
    });
    let asking: Vec<_> = asking.collect();
    for answer in asking {
        assert!(matches!(answer.await.unwrap(), LedgerReply::Peers(_)));
    }
    let words = rig.wire.words.load(Ordering::Relaxed) - before;
    // Two for each question, and two for each heartbeat of 60 ms.
    assert!(words < 1_000, "{words} words for 1,000 questions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_who_the_peers_are_after_a_leader_was_cut_off_gets_no_answer_from_before() {
    let rig = Rig::begun(3).await;
    let number = leader(&rig).await;
    let leads = rig.member(number);
    rig.wire.cut_off(number, true);
    let answer = leads.answer(peer(50), &ANY_LEDGER, LedgerCall::Peers).await;
    assert!(matches!(answer, LedgerReply::Refused(_)), "{answer:?}");
}
