//! Appends, leaders that go, members that come back, late ones that need a whole copy.

use super::super::leading::not_leader;
use super::*;

fn applied(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Applied { sequence } => sequence.0,
        other => panic!("not applied: {other:?}"),
    }
}

fn leader(rig: &Rig) -> Option<usize> {
    let told = rig.running().into_iter().map(|member| not_leader(&member.raft));
    let told = told.map(|refusal| match refusal {
        LedgerRefusal::NotLeader { leader } => leader,
        other => panic!("{other:?}"),
    });
    let leader = told.flatten().next()?;
    (0..16).find(|number| peer(*number) == leader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_hold_the_same_and_a_repeated_append_gets_its_first_answer() {
    let rig = Rig::begun(3).await;
    let lease = rig.lease().await;
    let first = applied(&rig.append(put(lease, 1, 1, b"one")).await);
    for number in 2..50u64 {
        applied(
            &rig.append(put(lease, number, (number % 9) as u8, &number.to_le_bytes()))
                .await,
        );
    }
    assert_eq!(applied(&rig.append(put(lease, 1, 1, b"one")).await), first);
    let state = rig.settled().await;
    // Nine slots and the lease.
    assert_eq!(state.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_swaps_at_one_slot_each_round_has_one_winner_while_leaders_go() {
    let rig = Arc::new(Rig::begun(3).await);
    let lease = rig.lease().await;
    applied(&rig.append(put(lease, 1, 1, &0u64.to_le_bytes())).await);
    let tasks = (0..4u64).map(|task| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            let mut wins = 0u64;
            let mut current = (Sequence(2), 0u64);
            for round in 0..30u64 {
                let next = (current.1 + 1).to_le_bytes();
                let operation = 1_000 * (task + 1) + round;
                let swap = swap(
                    put(lease, operation, 1, &next),
                    Expectation::At(address(1), current.0),
                );
                match rig.append(swap).await {
                    Outcome::Applied { sequence } => {
                        wins += 1;
                        current = (sequence, current.1 + 1);
                    }
                    Outcome::Conflict {
                        current: Some(now), ..
                    } => {
                        let count = u64::from_le_bytes(now.value.as_ref().try_into().unwrap());
                        current = (now.sequence, count);
                    }
                    other => panic!("{other:?}"),
                }
            }
            wins
        })
    });
    let tasks: Vec<_> = tasks.collect();
    for _ in 0..2 {
        if let Some(number) = leader(&rig) {
            rig.wire.cut_off(number, true);
            // Another leads: it answers.
            rig.ask(LedgerCall::ReadIndex).await;
            rig.wire.cut_off(number, false);
        }
    }
    let mut wins = 0;
    for task in tasks {
        wins += task.await.unwrap();
    }
    let state = rig.settled().await;
    let (.., value) = state.iter().find(|(at, ..)| *at == address(1)).unwrap();
    let count = u64::from_le_bytes(value.as_ref().try_into().unwrap());
    assert_eq!(count, wins);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_everything_is_told_it_again_by_the_leader_that_knew_it_before() {
    let rig = Rig::begun(3).await;
    let lease = rig.lease().await;
    for number in 0..20u64 {
        applied(&rig.append(put(lease, number, number as u8, &[1; 100])).await);
    }
    let before = rig.settled().await;
    let leads = leader(&rig).unwrap();
    let loses = (leads + 1) % 3;
    rig.stop(loses).await;
    rig.disks[loses].unlink(std::path::Path::new("/ledger"));
    rig.start(loses).await;
    assert_eq!(rig.settled().await, before);
    assert_eq!(leader(&rig), Some(leads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_starts_again_has_everything_and_goes_on() {
    let rig = Rig::begun(3).await;
    let lease = rig.lease().await;
    for number in 0..20u64 {
        applied(&rig.append(put(lease, number, number as u8, &[1; 100])).await);
    }
    for number in 0..3 {
        rig.stop(number).await;
        applied(
            &rig.append(put(lease, 100 + number as u64, 99, b"meanwhile"))
                .await,
        );
        rig.start(number).await;
        rig.settled().await;
    }
    // All at one time.
    let before = rig.settled().await;
    for number in 0..3 {
        rig.stop(number).await;
    }
    for number in 0..3 {
        rig.start(number).await;
    }
    assert_eq!(rig.settled().await, before);
    applied(&rig.append(put(lease, 999, 5, b"after")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_answers_nothing_and_what_it_decided_alone_is_never_seen() {
    let rig = Rig::begun(3).await;
    let lease = rig.lease().await;
    applied(&rig.append(put(lease, 1, 1, b"agreed")).await);
    let alone = leader(&rig).unwrap();
    rig.wire.cut_off(alone, true);
    let call = LedgerCall::Append {
        urgent: false,
        appends: vec![put(lease, 2, 1, b"alone")],
    };
    let member = rig.member(alone);
    let asked = tokio::spawn(async move { member.answer(peer(50), &ANY_LEDGER, call).await });
    applied(&rig.append(put(lease, 3, 2, b"by the others")).await);
    rig.wire.cut_off(alone, false);
    let answer = tokio::time::timeout(Duration::from_secs(20), asked)
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(answer, LedgerReply::Refused(LedgerRefusal::NotLeader { .. })),
        "{answer:?}"
    );
    let state = rig.settled().await;
    let value = |slot| {
        state
            .iter()
            .find(|(at, ..)| *at == address(slot))
            .map(|(.., value)| value.clone())
    };
    assert_eq!(value(1).as_deref(), Some(&b"agreed"[..]));
    assert_eq!(value(2).as_deref(), Some(&b"by the others"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_takes_a_whole_copy_when_the_entries_are_gone_and_votes_then() {
    let rig = Rig::new(4).await;
    let begin = LedgerCall::Begin {
        lineage: LINEAGE,
        after: Sequence(1_000),
    };
    assert_eq!(
        rig.member(0).answer(peer(0), &ANY_LEDGER, begin.clone()).await,
        LedgerReply::Done
    );
    let again = rig.member(0).answer(peer(0), &ANY_LEDGER, begin).await;
    assert_eq!(again, LedgerReply::Refused(LedgerRefusal::Begun));
    let lease = rig.lease().await;
    for number in 0..200u64 {
        let sequence = applied(&rig.append(put(lease, number, number as u8, &[3; 300])).await);
        assert_eq!(sequence, 1_002 + number);
    }
    assert!(rig.member(0).forget_entries().await);
    let members = LedgerCall::SetMembers((0..3).map(peer).collect());
    assert_eq!(rig.ask(members).await, LedgerReply::Done);
    let state = rig.settled_of(3).await;
    assert_eq!(state.len(), 201);
    // A repeat is known by the copies too: the first member goes, and another leads.
    rig.stop(0).await;
    assert_eq!(applied(&rig.append(put(lease, 7, 7, &[3; 300])).await), 1_009);
    // One takes its place.
    let members = LedgerCall::SetMembers((1..4).map(peer).collect());
    assert_eq!(rig.ask(members).await, LedgerReply::Done);
    rig.stop(1).await;
    applied(&rig.append(put(lease, 5_000, 1, b"two of the new three")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_in_turn_is_replaced_while_it_is_away_and_back_as_one_of_none_keeps_nobody_waiting() {
    let rig = Rig::new(4).await;
    let begin = LedgerCall::Begin {
        lineage: LINEAGE,
        after: Sequence(0),
    };
    assert_eq!(
        rig.member(0).answer(peer(0), &ANY_LEDGER, begin).await,
        LedgerReply::Done
    );
    let lease = rig.lease().await;
    let members = LedgerCall::SetMembers((0..3).map(peer).collect());
    assert_eq!(rig.ask(members).await, LedgerReply::Done);
    for round in 0..8u64 {
        let goes = round as usize % 4;
        rig.stop(goes).await;
        let others = (0..4).filter(|number| *number != goes);
        let members = LedgerCall::SetMembers(others.map(peer).collect());
        assert_eq!(rig.ask(members).await, LedgerReply::Done, "round {round}");
        // It may have led, and takes up again what it had begun: nobody tells it what became of that.
        rig.start(goes).await;
        for number in 0..5u64 {
            applied(
                &rig.append(put(lease, round * 10 + number, number as u8, b"x"))
                    .await,
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_full_makes_way_for_one_that_has_room() {
    let rig = Rig::begun(3).await;
    let lease = rig.lease().await;
    let full = loop {
        if let Some(leader) = leader(&rig) {
            break leader;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let disk = &rig.disks[full];
    disk.set_capacity(disk.used_bytes() + (64 << 10));
    // More than is left there but for what is kept for freeing space; and every one of them is taken.
    for number in 0..12u64 {
        applied(
            &rig.append(put(lease, 100 + number, number as u8, &[7; 200_000]))
                .await,
        );
    }
    let leads = leader(&rig);
    assert!(
        leads.is_some_and(|leads| leads != full),
        "{leads:?} leads, {full} is full"
    );
}
