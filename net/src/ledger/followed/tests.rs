//! Gateways that follow three members: what they read and write while members and gateways come and go.

use super::super::replicated::tests::{End, LINEAGE, Rig, address, peer, put, swap};
use super::super::wire::{ANY_LEDGER, AppendReply};
use super::fence::Expected;
use super::sending::CALLS_EVERY;
use super::*;
use engine::disk::SimDisk;
use engine::slots::Expectation;
use futures::FutureExt;

async fn gateway(rig: &Rig, number: usize, disk: &SimDisk) -> FollowedLedger {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let config = FollowedConfig {
        dir: PathBuf::from("/copy"),
        transport: Arc::new(End {
            wire: Arc::clone(&rig.wire),
            own: peer(number),
        }),
        members: (0..3).map(peer).collect(),
        fresh_log_id: Arc::new(|| 5),
        offload: Offload::default(),
        sizes: LedgerSizes::usual(),
    };
    FollowedLedger::open(disk, config).await.unwrap()
}

fn applied(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Applied { sequence } => sequence.0,
        other => panic!("not applied: {other:?}"),
    }
}

async fn value(ledger: &FollowedLedger, slot: u8) -> Option<Vec<u8>> {
    let entry = ledger.get(address(slot)).await.unwrap();
    entry.map(|entry| entry.value.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_reads_what_it_wrote_and_finds_it_again_after_a_restart() {
    let rig = Rig::begun(3).await;
    let disk = SimDisk::unrecorded(9);
    let ledger = gateway(&rig, 20, &disk).await;
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    for number in 0..60u64 {
        applied(
            ledger
                .append(put(lease, number, number as u8, &[number as u8; 40]))
                .await
                .unwrap(),
        );
        assert_eq!(value(&ledger, number as u8).await, Some(vec![number as u8; 40]));
    }
    ledger.records_through(Sequence(30)).await.unwrap();
    let calls = rig.wire.members.lock().unwrap().len();
    assert_eq!(calls, 3);
    let position = ledger.position();
    ledger.close().await;
    drop(ledger);
    // Another gateway writes meanwhile.
    let other = gateway(&rig, 21, &SimDisk::unrecorded(10)).await;
    let next = other.take_lease("another", 6).await.unwrap();
    assert_eq!(next, lease + 1);
    applied(other.append(put(next, 500, 1, b"newer")).await.unwrap());
    let ledger = gateway(&rig, 20, &disk).await;
    assert!(ledger.position() >= position, "the copy was kept");
    let index = ledger.read_index().await.unwrap();
    assert!(ledger.position() >= index);
    assert_eq!(value(&ledger, 1).await, Some(b"newer".to_vec()));
    // Its earlier start's lease goes on until it takes another.
    applied(ledger.append(put(lease, 900, 2, b"late")).await.unwrap());
    let again = ledger.take_lease("a gateway", 7).await.unwrap();
    assert_eq!(again, next + 1);
    let late = ledger.append(put(lease, 901, 2, b"late")).await.unwrap();
    assert_eq!(late, Outcome::LeaseEnded { lowest_live: next });
    applied(other.append(put(next, 902, 1, b"newest")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_go_on_when_a_leader_goes_and_each_takes_effect_once() {
    let rig = Rig::begun(3).await;
    let ledger = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    let mut count = 0u64;
    let mut at = None;
    let mut cut = None;
    for number in 0..400u64 {
        if number % 100 == 50 {
            let members = ledger
                .ask(&LedgerCall::Members { as_known: false })
                .await
                .unwrap();
            let LedgerReply::Members {
                leader: Some(leader), ..
            } = members
            else {
                panic!("{members:?}")
            };
            let leader = (0..3).find(|number| peer(*number) == leader).unwrap();
            rig.wire.cut_off(leader, true);
            cut = Some(leader);
        }
        if number % 100 == 90
            && let Some(number) = cut.take()
        {
            rig.wire.cut_off(number, false);
        }
        let next = (count + 1).to_le_bytes();
        let expected = match at {
            None => Expectation::Absent(address(1)),
            Some(at) => Expectation::At(address(1), at),
        };
        // It would conflict with itself if it took effect twice.
        let sequence = applied(
            ledger
                .append(swap(put(lease, number, 1, &next), expected))
                .await
                .unwrap(),
        );
        (at, count) = (Some(Sequence(sequence)), count + 1);
    }
    assert_eq!(value(&ledger, 1).await, Some(400u64.to_le_bytes().to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_cut_off_answers_no_reads_and_goes_on_when_it_is_back() {
    let rig = Rig::begun(3).await;
    let ledger = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    applied(ledger.append(put(lease, 1, 1, b"before")).await.unwrap());
    ledger.read_index().await.unwrap();
    rig.wire.cut_off(20, true);
    let begun = std::time::Duration::from_secs(0);
    let mut waited = begun;
    loop {
        let asked = Instant::now();
        match ledger.read_index().await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => {
                assert_eq!(error, LedgerError::Unreachable);
                break;
            }
        }
        waited += asked.elapsed();
        assert!(
            waited < SOLE_HOLDER_FOR + PATIENCE,
            "still answered after {waited:?}"
        );
    }
    // Nobody waits for this; it is told when it can be.
    ledger.records_through(Sequence(1)).await.unwrap();
    // The other takes over.
    let other = gateway(&rig, 21, &SimDisk::unrecorded(10)).await;
    let next = other.take_lease("another", 6).await.unwrap();
    applied(other.append(put(next, 2, 1, b"after")).await.unwrap());
    rig.wire.cut_off(20, false);
    let back = tokio::time::timeout(Duration::from_secs(20), async {
        while ledger.read_index().await.is_err() {}
    });
    back.await.unwrap();
    assert_eq!(value(&ledger, 1).await, Some(b"after".to_vec()));
    assert!(!ledger.inner.is_sole_holder());
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        while rig.member(0).copy().status().records_through < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    told.await.unwrap();
}

/// A ledger with 300 values, what gateway 20 has of it on `disk`, and then other members with another ledger: everything was lost and begun anew.
async fn begun_anew(disk: &SimDisk, writes_itself: bool) -> (Rig, Sequence) {
    let rig = Rig::begun(3).await;
    let own = gateway(&rig, 20, disk).await;
    let other = gateway(&rig, 21, &SimDisk::unrecorded(10)).await;
    let writer = if writes_itself { &own } else { &other };
    let lease = writer.take_lease("a gateway", 5).await.unwrap();
    let mut newest = Sequence(0);
    for number in 0..300u64 {
        let append = put(lease, number, number as u8, &[1; 3_000]);
        newest = Sequence(applied(writer.append(append).await.unwrap()));
    }
    own.inner.replica.reached(newest).await;
    own.close().await;
    let rig = Rig::new(3).await;
    let begin = LedgerCall::Begin {
        lineage: [8; 16],
        after: Sequence(10_000),
    };
    assert_ne!(LINEAGE, [8; 16]);
    let begun = rig.member(0).answer(peer(0), &ANY_LEDGER, begin).await;
    assert_eq!(begun, LedgerReply::Done);
    let all = LedgerCall::SetMembers((0..3).map(peer).collect());
    assert_eq!(rig.ask(all).await, LedgerReply::Done);
    (rig, newest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_never_wrote_takes_another_ledger_whole() {
    let disk = SimDisk::unrecorded(9);
    let (rig, _) = begun_anew(&disk, false).await;
    let ledger = gateway(&rig, 20, &disk).await;
    let lease = ledger.take_lease_above("a gateway", 6, 77).await.unwrap();
    assert_eq!(lease, 78);
    assert_eq!(value(&ledger, 1).await, None);
    assert!(applied(ledger.append(put(lease, 1, 1, b"anew")).await.unwrap()) > 10_000);
    assert_eq!(value(&ledger, 1).await, Some(b"anew".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_wrote_in_a_ledger_takes_no_other_and_says_who_keeps_one() {
    let disk = SimDisk::unrecorded(9);
    let (rig, newest) = begun_anew(&disk, true).await;
    let ledger = gateway(&rig, 20, &disk).await;
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        while ledger.of_another().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap();
    assert_eq!(ledger.read_index().await, Err(LedgerError::Unreachable));
    let lease = ledger.take_lease("a gateway", 6).await;
    assert_eq!(lease, Err(LedgerError::Unreachable));
    assert_eq!(ledger.position(), newest);
    assert_eq!(value(&ledger, 1).await, Some(vec![1; 3_000]));
    // Nothing came to the other one, not even a lease.
    let member = rig.member(0).copy();
    assert_eq!((member.position(), member.highest_lease()), (Sequence(10_000), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_came_back_with_another_ledger_is_found_beside_a_leader_and_disturbs_nothing() {
    let rig = Rig::new(4).await;
    for (first, lineage) in [(0, LINEAGE), (3, [8; 16])] {
        let after = Sequence(0);
        let begin = LedgerCall::Begin { lineage, after };
        let begun = rig.member(first).answer(peer(first), &ANY_LEDGER, begin).await;
        assert_eq!(begun, LedgerReply::Done);
    }
    let ledger = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let all = LedgerCall::SetMembers((0..3).map(peer).collect());
    assert_eq!(ledger.ask(&all).await, Ok(LedgerReply::Done));
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    ledger.set_members((0..4).rev().map(peer).collect());
    applied(ledger.append(put(lease, 1, 1, b"one")).await.unwrap());
    let mut members = ledger.members_as_known().await.unwrap();
    members.sort_unstable();
    let mut wanted: Vec<PeerId> = (0..3).map(peer).collect();
    wanted.sort_unstable();
    assert_eq!(members, wanted);
    assert_eq!(ledger.of_another(), [peer(3)]);
    applied(ledger.append(put(lease, 2, 2, b"two")).await.unwrap());
    assert_eq!(rig.member(3).copy().position(), Sequence(0));
}

/// An append that comes when it comes, as one whose caller has given up waiting.
async fn come(ledger: &FollowedLedger, append: &Append) -> Outcome {
    let call = LedgerCall::Append {
        urgent: false,
        appends: vec![append.clone()],
    };
    let LedgerReply::Outcomes(outcomes) = ledger.ask(&call).await.unwrap() else {
        panic!("no outcomes");
    };
    match &outcomes[..] {
        [AppendReply::Decided(outcome)] => outcome.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_submitted_before_settling_is_applied_by_then_or_never() {
    let rig = Rig::begun(3).await;
    let ledger = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    for turn in 0..3u8 {
        let submitted = |slot: u8| {
            let append = put(lease, 100 + u64::from(turn) * 2 + u64::from(slot), slot, &[turn]);
            let Expected::Fence(expected) = ledger.inner.fence.expected(lease) else {
                panic!("in doubt");
            };
            swap(append, expected)
        };
        let (early, late) = (submitted(0), submitted(1));
        let before = value(&ledger, 1).await;
        let came = applied(come(&ledger, &early).await);
        // As whoever submitted them would have heard.
        ledger.inner.fence.doubt(lease);
        // What is submitted next comes behind the fence, or what is late could come over it.
        let settled = match turn {
            0 => ledger.settle().await.unwrap(),
            _ => {
                let next = put(lease, 300 + u64::from(turn), 2, &[turn]);
                let next = applied(ledger.append(next).await.unwrap());
                let settled = ledger.settle().await.unwrap();
                assert!(settled < Sequence(next));
                settled
            }
        };
        assert!(Sequence(came) < settled && ledger.position() >= settled);
        assert_eq!(value(&ledger, 0).await, Some(vec![turn]));
        assert!(matches!(come(&ledger, &late).await, Outcome::Conflict { .. }));
        assert_eq!(value(&ledger, 1).await, before);
        // That is for those who were not answered; whoever submits now is not disturbed, even if it was raised by a call that came late.
        applied(come(&ledger, &ledger.inner.fence.raise().0).await);
        let operation = 200 + u64::from(turn);
        applied(ledger.append(put(lease, operation, 1, &[turn])).await.unwrap());
        assert_eq!(value(&ledger, 1).await, Some(vec![turn]));
    }
    let fence = engine::slots::fence_address(lease);
    assert!(ledger.get(fence).await.unwrap().is_some());
    ledger.end_lease(lease, ledger.position()).await.unwrap();
    assert!(ledger.get(fence).await.unwrap().is_none());
    ledger.inner.fence.doubt(lease);
    assert_eq!(ledger.settle().await, Err(LedgerError::Fenced));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_a_lease_that_comes_again_ends_nothing_and_takes_no_other() {
    let rig = Rig::begun(3).await;
    let ledger = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    let entry = ledger.leases().live()[&lease].clone();
    let (_, holder) = entry.holder.split_once(' ').unwrap();
    let again = LedgerCall::TakeLease {
        holder: holder.to_owned(),
        now_ms: 5,
        above: 0,
    };
    let reply = ledger.ask(&again).await.unwrap();
    assert_eq!(
        reply,
        LedgerReply::Lease {
            number: lease,
            other_holder: false
        }
    );
    applied(ledger.append(put(lease, 1, 1, b"still")).await.unwrap());
    assert_eq!(ledger.take_lease("a gateway", 6).await.unwrap(), lease + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_write_goes_in_calls_some_time_apart() {
    let rig = Rig::begun(3).await;
    let ledger = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let lease = ledger.take_lease("a gateway", 5).await.unwrap();
    let calls = &rig.wire.calls_of_several;
    let (began, before) = (Instant::now(), calls.load(Ordering::Relaxed));
    let writers = (0..16u64).map(|writer| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            for turn in 0..20 {
                let operation = 1_000 * (writer + 1) + turn;
                applied(
                    ledger
                        .append(put(lease, operation, writer as u8, b"one of many"))
                        .await
                        .unwrap(),
                );
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (took, calls) = (began.elapsed(), calls.load(Ordering::Relaxed) - before);
    let most = took.as_millis() / CALLS_EVERY.as_millis() + 1;
    assert!(calls > 0, "nothing was written together");
    assert!(u128::from(calls) <= most, "{calls} calls in {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_write_side_by_side_and_each_reads_what_the_other_was_answered() {
    let rig = Rig::begun(3).await;
    let one = gateway(&rig, 20, &SimDisk::unrecorded(9)).await;
    let first = one.take_lease("one", 5).await.unwrap();
    applied(one.append(put(first, 1, 1, b"alone")).await.unwrap());
    let is_alone = tokio::time::timeout(Duration::from_secs(20), async {
        while one.must_ask() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    is_alone.await.unwrap();
    // An answer may be ahead of the copy: whoever reads then gets an index that the copy has reached.
    one.inner.answered.fetch_add(1, Ordering::AcqRel);
    let mut reading = one.read_index();
    assert!((&mut reading).now_or_never().is_none());
    let next = applied(one.append(put(first, 2, 1, b"still")).await.unwrap());
    assert_eq!(reading.await.unwrap(), Sequence(next));
    let other = gateway(&rig, 21, &SimDisk::unrecorded(10)).await;
    let began = Instant::now();
    let second = other.take_lease("other", 6).await.unwrap();
    assert!(
        began.elapsed() > SOLE_HOLDER_FOR,
        "the one that was alone may still believe it"
    );
    assert_eq!(
        one.leases().live().keys().copied().collect::<Vec<_>>(),
        [first, second]
    );
    assert!(one.is_own_lease(first).await.unwrap() && !one.is_own_lease(second).await.unwrap());
    let gateways = [(&one, first), (&other, second)];
    let mut at = None;
    for number in 0..60u64 {
        let (ledger, lease) = gateways[(number % 2) as usize];
        let expected = match at {
            None => Expectation::Absent(address(2)),
            Some(at) => Expectation::At(address(2), at),
        };
        let value = number.to_le_bytes();
        let swap = swap(put(lease, 10 + number, 2, &value), expected);
        at = Some(Sequence(applied(ledger.append(swap).await.unwrap())));
        // The other one sees it at once, and what it expected before is in its way.
        let (ledger, lease) = gateways[(1 - number % 2) as usize];
        assert!(ledger.must_ask());
        ledger.read_index().await.unwrap();
        let entry = ledger.get(address(2)).await.unwrap().unwrap();
        assert_eq!((entry.value.to_vec(), Some(entry.sequence)), (value.to_vec(), at));
        let late = super::super::replicated::tests::swap(put(lease, 500 + number, 2, b"late"), expected);
        let refused = ledger.append(late).await.unwrap();
        assert!(matches!(refused, Outcome::Conflict { .. }), "{refused:?}");
    }
    // One that stops leaves the other alone again.
    other.end_lease(second, other.position()).await.unwrap();
    assert!(other.must_ask());
    let late = other.append(put(second, 900, 2, b"late")).await.unwrap();
    assert_eq!(late, Outcome::LeaseEnded { lowest_live: first });
    let is_alone = tokio::time::timeout(Duration::from_secs(20), async {
        while one.must_ask() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    is_alone.await.unwrap();
}
