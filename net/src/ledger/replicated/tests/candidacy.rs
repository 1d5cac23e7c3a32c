//! Elections: not because somebody comes back, and not never because somebody hears a leader that leads nobody.

use super::super::leading::term_led;
use super::*;

/// Heartbeats of the rig, in which time passes.
const HEARTBEAT: Duration = Duration::from_millis(60);

/// Who leads, and in which term.
async fn leads(rig: &Rig) -> (usize, u64) {
    let looking = async {
        loop {
            for number in 0..rig.disks.len() {
                if let Some(term) = term_led(&rig.member(number).raft) {
                    return (number, term);
                }
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .expect("nobody leads")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_cut_off_for_long_deposes_nobody_when_it_comes_back() {
    let rig = Rig::begun(3).await;
    let lease = rig.lease().await;
    let before = leads(&rig).await;
    let cut_off = (before.0 + 1) % 3;
    rig.wire.cut_off(cut_off, true);
    // Three elections long.
    tokio::time::sleep(HEARTBEAT * 24).await;
    rig.wire.cut_off(cut_off, false);
    rig.append(put(lease, 1, 1, b"meanwhile")).await;
    rig.settled().await;
    assert_eq!(leads(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_taken_out_deposes_nobody() {
    let rig = Rig::begun(4).await;
    let lease = rig.lease().await;
    let out = (leads(&rig).await.0 + 1) % 4;
    // It does not hear that it is none any more.
    rig.wire.cut_off(out, true);
    let stay = (0..4).filter(|number| *number != out).map(peer);
    assert_eq!(
        rig.ask(LedgerCall::SetMembers(stay.collect())).await,
        LedgerReply::Done
    );
    let before = leads(&rig).await;
    rig.wire.cut_off(out, false);
    tokio::time::sleep(HEARTBEAT * 24).await;
    rig.append(put(lease, 1, 1, b"meanwhile")).await;
    assert_eq!(leads(&rig).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whom_a_minority_alone_hears_makes_way_for_one_that_a_majority_reaches() {
    let rig = Rig::begun(5).await;
    let lease = rig.lease().await;
    let (alone, _) = leads(&rig).await;
    let [hears, reaches, first, second] = [1, 2, 3, 4].map(|after| (alone + after) % 5);
    for other in [reaches, first, second] {
        rig.wire.set_apart(alone, other);
    }
    // Without these two a majority wants the one that hears the leader.
    rig.wire.cut_off(first, true);
    rig.wire.cut_off(second, true);
    rig.append(put(lease, 1, 1, b"by another")).await;
    assert!(
        term_led(&rig.member(hears).raft).is_some(),
        "only this one reaches both"
    );
}
