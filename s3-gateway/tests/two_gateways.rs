//! Two gateways over one ledger and one cluster, each with its own lease, view, pins and activity log: what one was answered the other shows, and what
//! one reads the other does not delete.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;
mod side;

use engine::slots::{Append, LeaseEntry, LeaseState, Outcome, Sequence, Write};
use futures::StreamExt;
use net::ledger::lease;
use rig::{body, object_key};
use s3_gateway::session::{
    CompletePart, Completion, Condition, ETagMatch, NewCredential, NewPart, NewUpload, SessionError,
};
use scopes::{OperationSet, ScopeSet, Window};
use side::gateway::{telling, two};
use std::time::Duration;
use vault::object::Manifest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_was_answered_the_other_reads_lists_and_decides_on() {
    let (one, other) = two().await;
    for number in 0..12usize {
        let (writer, reader) = if number % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let (key, bytes) = (format!("o{number:02}"), body(number as u64, 1 + number * 40_000));
        writer.put(&key, &bytes, Condition::None).await.unwrap();
        assert!(reader.get(&key).await.unwrap() == bytes, "{key}");
        assert_eq!(reader.names().await.len(), number + 1);
        let absent = Condition::IfNoneMatch(ETagMatch::Any);
        let late = reader.put(&key, b"late", absent).await;
        assert!(
            matches!(late, Err(SessionError::PreconditionFailed { .. })),
            "{late:?}"
        );
    }
    // Of two at one time exactly one wins.
    for round in 0..20 {
        let key = format!("race{round}");
        let absent = || Condition::IfNoneMatch(ETagMatch::Any);
        let (a, b) = tokio::join!(
            one.put(&key, b"one", absent()),
            other.put(&key, b"other", absent())
        );
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
        let winner: &[u8] = if a.is_ok() { b"one" } else { b"other" };
        assert_eq!(one.get(&key).await.unwrap(), winner);
        assert_eq!(other.get(&key).await.unwrap(), winner);
    }
    // What one lets in the other lets in, and out.
    let new = NewCredential {
        label: "agent".to_owned(),
        scopes: ScopeSet::All,
        operations: OperationSet::all(),
        window: Window::default(),
        owner: false,
        fixed: None,
    };
    let (id, _) = one.session().create_credential(new).await.unwrap();
    other.session().freshen().await.unwrap();
    assert!(
        other
            .session()
            .credential(&id)
            .unwrap()
            .is_some_and(|found| !found.credential.revoked)
    );
    other.session().revoke_credential(&id).await.unwrap();
    one.session().freshen().await.unwrap();
    assert!(
        one.session()
            .credential(&id)
            .unwrap()
            .is_some_and(|found| found.credential.revoked)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_begun_at_one_goes_on_at_the_other_and_is_completed_at_either() {
    let (one, other) = two().await;
    let key = object_key("long");
    let bucket = one.rig.bucket("shared").await;
    let (session, caller) = (one.session(), &one.rig.caller);
    let id = session
        .create_upload(caller, &bucket, &key, NewUpload::default())
        .await
        .unwrap();
    let mut parts = Vec::new();
    let mut whole = Vec::new();
    for (number, gateway) in [(1u16, &one), (2, &other), (3, &one)] {
        gateway.session().freshen().await.unwrap();
        let bytes = body(number.into(), if number == 3 { 1_000 } else { 5 << 20 });
        let mut stream = gateway.session().stream(&bucket, None).await.unwrap();
        stream.write(bytes.clone().into()).await.unwrap();
        let new = NewPart {
            number,
            etag_md5: [number as u8; 16],
            checksum: None,
            operation: "UploadPart",
        };
        let body = stream.finish().await.unwrap();
        let stored = gateway
            .session()
            .put_part(caller, (&bucket, &key, id), new, body)
            .await
            .unwrap();
        parts.push(CompletePart {
            number,
            etag: stored.entry.etag(),
            checksum: None,
        });
        whole.extend(bytes);
    }
    other.session().freshen().await.unwrap();
    let completion = Completion {
        parts,
        expected: None,
        expected_bytes: None,
        customer: None,
    };
    let completed = other
        .session()
        .complete_upload(caller, (&bucket, &key, id), completion, Condition::None);
    completed.await.unwrap();
    assert!(one.get("long").await.unwrap() == whole);
    assert!(other.get("long").await.unwrap() == whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_at_one_gateway_ends_though_the_other_deletes_the_object_and_collects_meanwhile() {
    let (one, other) = two().await;
    let whole = body(3, 40_000_000);
    other.put("slow", &whole, Condition::None).await.unwrap();
    one.session().freshen().await.unwrap();
    other.session().freshen().await.unwrap();
    let bucket = other.session().bucket("shared").await.unwrap();
    let stored = other
        .session()
        .object(&bucket, &object_key("slow"))
        .await
        .unwrap();
    let mut reading = other
        .session()
        .read(&other.rig.caller, &bucket, &stored, None, 0..whole.len() as u64);
    let mut read = reading.next().await.unwrap().unwrap().to_vec();
    let telling = telling(&[&one, &other]);
    assert!(one.rig.delete(&bucket, "slow").await.unwrap());
    let report = one.gc().await;
    assert!(report.incomplete && report.packs_deleted == 0, "{report:?}");
    let rows = one.gateways.rows();
    assert!(
        rows.iter().any(|row| row.lease == other.lease && row.holds_back),
        "{rows:?}"
    );
    // The view of the reader is past the end of the packs' entries; what it began with is still there.
    other.session().freshen().await.unwrap();
    while let Some(piece) = reading.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert!(read == whole, "{} bytes", read.len());
    drop(reading);
    let report = one.gc().await;
    assert!(!report.incomplete && report.packs_deleted >= 5, "{report:?}");
    assert!(matches!(other.get("slow").await, Err(SessionError::NoSuchKey)));
    telling.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_collects_what_the_other_wrote_and_replaced_but_never_what_it_is_about_to_name() {
    let (one, other) = two().await;
    for number in 0..30 {
        other
            .put("again", &body(number, 300_000), Condition::None)
            .await
            .unwrap();
    }
    let bucket = other.session().bucket("shared").await.unwrap();
    // Half an object: its packs are on the drives, and nothing names them.
    let mut stream = other.session().stream(&bucket, None).await.unwrap();
    let whole = body(7, 20_000_000);
    for piece in whole[..17_000_000].chunks(1 << 20) {
        stream.write(bytes::Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let telling = telling(&[&one, &other]);
    let held = one.gc().await;
    for piece in whole[17_000_000..].chunks(1 << 20) {
        stream.write(bytes::Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let finished = stream.finish().await.unwrap();
    let name = object_key("half");
    let put = other.session().put_object(
        &other.rig.caller,
        &bucket,
        &name,
        finished,
        s3_gateway::session::NewObject::default(),
        Condition::None,
    );
    put.await.unwrap();
    assert!(one.get("half").await.unwrap() == whole);
    let report = one.gc().await;
    assert!(!report.incomplete, "{report:?}");
    assert!(
        held.packs_deleted + report.packs_deleted > 0,
        "{held:?} {report:?}"
    );
    let ratio = report.allocated_bytes as f64 / report.live_bytes as f64;
    assert!(ratio < 1.2 * 1.5 * 1.1, "{ratio}");
    assert!(one.get("half").await.unwrap() == whole);
    assert!(other.get("half").await.unwrap() == whole);
    assert!(other.get("again").await.unwrap() == body(29, 300_000));
    telling.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gateway_takes_its_own_records_and_those_of_a_lost_one_are_adopted_once() {
    let (one, other) = two().await;
    for number in 0..5 {
        one.put(&format!("a{number}"), b"one", Condition::None)
            .await
            .unwrap();
        other
            .put(&format!("b{number}"), b"other", Condition::None)
            .await
            .unwrap();
    }
    one.rig.recorder.flush().await.unwrap();
    other.rig.recorder.flush().await.unwrap();
    let (first, second) = (one.rig.recorder.reader().len(), other.rig.recorder.reader().len());
    assert_eq!((first, second), (6, 5), "a bucket and five puts; five puts");
    // Neither has said how far its log is, so nothing is let go.
    let granted = one.ledger.leases().live()[&other.lease].records();
    assert!(one.ledger.status().records_through <= granted.0);
    for gateway in [&one, &other] {
        gateway.gateways.look().await.unwrap();
    }
    one.put("more", b"one", Condition::None).await.unwrap();
    one.rig.recorder.flush().await.unwrap();
    assert!(one.ledger.status().records_through > granted.0);

    // The other is lost behind two puts that its log does not have.
    let lost = other.ledger.leases().live()[&other.lease].clone();
    let lose = |entry: &LeaseEntry| {
        Some(LeaseEntry {
            state: LeaseState::Lost,
            ..entry.clone()
        })
    };
    lease::change(&*one.ledger, one.lease, other.lease, lose)
        .await
        .unwrap();
    let refused = other.put("late", b"late", Condition::None).await;
    assert_eq!(refused, Err(SessionError::Fenced));
    let before = one.rig.recorder.reader().len();
    one.gateways.look().await.unwrap();
    let leases = one.ledger.leases();
    assert!(leases.lost().is_empty() && leases.has_ended(other.lease));
    let adopted = one.rig.recorder.reader().len() - before;
    assert!(
        adopted <= 5,
        "{adopted}: those that its log said it had are not taken again"
    );
    one.rig.recorder.adopt(other.lease, Sequence(0)).await.unwrap();
    let all = one.rig.recorder.reader().len();
    one.rig.recorder.adopt(other.lease, Sequence(0)).await.unwrap();
    assert_eq!(one.rig.recorder.reader().len(), all, "none is taken twice");
    assert!(lost.records() > Sequence(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_still_under_way_when_a_gateway_stopped_is_on_record_at_the_one_that_goes_on() {
    let (one, other) = two().await;
    other.put("early", b"early", Condition::None).await.unwrap();
    other.rig.recorder.flush().await.unwrap();
    let taken = other.rig.recorder.taken();
    other.put("late", b"late", Condition::None).await.unwrap();
    other.ledger.end_lease(other.lease, taken).await.unwrap();
    let before = one.rig.recorder.reader().len();
    one.gateways.look().await.unwrap();
    assert_eq!(one.rig.recorder.reader().len(), before + 1, "the late one");
    assert!(one.ledger.leases().lost().is_empty());
    assert!(one.get("late").await.unwrap() == b"late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_carries_out_after_the_client_was_told_that_nobody_knows_is_there_to_be_read() {
    let (one, other) = two().await;
    let (before, whole) = (body(40, 300_000), body(41, 300_000));
    one.put("late", &before, Condition::None).await.unwrap();
    one.side.lose_calls();
    let put = one.put("late", &whole, Condition::None).await;
    assert_eq!(put, Err(SessionError::LedgerAway));
    // The collector looks through the drives meanwhile, and the call comes through.
    let told = telling(&[&one, &other]);
    one.gc().await;
    assert!(one.get("late").await.unwrap() == before);
    one.side.carry_out_late().await;
    one.gc().await;
    for gateway in [&one, &other] {
        assert!(gateway.get("late").await.unwrap() == whole);
    }
    told.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_withdrawn_before_the_ledger_carried_it_out_is_collected() {
    let (one, other) = two().await;
    let told = telling(&[&one, &other]);
    one.put("kept", &body(42, 300_000), Condition::None)
        .await
        .unwrap();
    one.gc().await;
    let before = one.all().await;
    one.side.lose_calls();
    let put = one.put("late", &body(43, 3_000_000), Condition::None).await;
    assert_eq!(put, Err(SessionError::LedgerAway));
    one.gc().await;
    let held = one.all().await;
    assert!(held.len() > before.len());
    // None of them comes.
    drop(one.side.find_calls());
    let gone = tokio::time::timeout(Duration::from_secs(30), async {
        while one.all().await != before {
            one.gc().await;
        }
    });
    gone.await.unwrap();
    told.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_with_the_lowest_lease_does_the_background_work() {
    let (one, other) = two().await;
    for gateway in [&one, &other] {
        gateway.gateways.look().await.unwrap();
    }
    assert!(one.gateways.does_background_work() && !other.gateways.does_background_work());
    // Its own drives are looked through once, for what a crash left.
    other.session().collect_in_background().await.unwrap();
    let looked = other.session().collect_in_background().await.unwrap();
    assert_eq!(looked, None);
    let position = one.ledger.position();
    one.ledger.end_lease(one.lease, position).await.unwrap();
    assert!(other.gateways.does_background_work());
    assert!(other.session().collect_in_background().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_and_versions_that_one_changes_are_so_at_the_other_and_neither_undoes_the_others() {
    let (one, other) = two().await;
    for round in 0..10 {
        // Of one bucket's entry, at one time.
        tokio::join!(
            one.set("of-one", format!("{round}")),
            other.set("of-other", format!("{round}"))
        );
        for gateway in [&one, &other] {
            let bucket = gateway.bucket().await;
            for name in ["of-one", "of-other"] {
                assert_eq!(
                    bucket.settings.get(name),
                    Some(round.to_string().as_str()),
                    "{name}"
                );
            }
        }
    }
    one.set("versioning", "enabled".to_owned()).await;
    // The other knows before it writes, so that nothing is written over.
    for number in 0..6u64 {
        let writer = if number % 2 == 0 { &other } else { &one };
        writer
            .put("o", &body(number, 90_000), Condition::None)
            .await
            .unwrap();
    }
    let (a, b) = tokio::join!(
        one.put("o", b"one", Condition::None),
        other.put("o", b"other", Condition::None)
    );
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    let all = one.versions().await;
    assert_eq!(all.len(), 8, "{all:?}");
    assert_eq!(all, other.versions().await);
    let newest = one.get("o").await.unwrap();
    assert!(newest == b"one" || newest == b"other");
    assert_eq!(other.get("o").await.unwrap(), newest);

    let bucket = other.bucket().await;
    assert!(other.rig.delete(&bucket, "o").await.unwrap());
    assert!(matches!(one.get("o").await, Err(SessionError::NoSuchKey)));
    assert!(one.names().await.is_empty());
    let marked = one.versions().await;
    assert!(marked.len() == 9 && marked[0].2, "{marked:?}");
    // One takes the marker away, the other a version in the middle, which one then does not have.
    one.delete_version("o", marked[0].1).await;
    assert_eq!(other.get("o").await.unwrap(), newest);
    let middle = all[4].1;
    other.delete_version("o", middle).await;
    let bucket = one.bucket().await;
    let gone = one.session().version(&bucket, &object_key("o"), middle).await;
    assert_eq!(gone.err(), Some(SessionError::NoSuchVersion));
    let left: Vec<_> = all.iter().filter(|seen| seen.1 != middle).cloned().collect();
    assert_eq!(one.versions().await, left);
    assert_eq!(other.versions().await, left);
    one.set("versioning", "suspended".to_owned()).await;
    other.put("o", b"null", Condition::None).await.unwrap();
    other.put("o", b"null again", Condition::None).await.unwrap();
    assert_eq!(one.versions().await.len(), left.len() + 1);
    assert_eq!(one.get("o").await.unwrap(), b"null again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_alone_shows_what_the_other_was_answered_before_it_stopped() {
    let (one, other) = two().await;
    let bytes = body(5, 100_000);
    // The copy hears of the end of the lease before it gives what came before, and the view is behind both.
    one.side.hold_back();
    other.put("last", &bytes, Condition::None).await.unwrap();
    other.end().await;
    assert!(!one.ledger.must_ask());
    let early = tokio::time::timeout(Duration::from_millis(300), one.get("last")).await;
    assert!(
        early.is_err(),
        "{:?}",
        early.map(|read| read.map(|read| read.len()))
    );
    let (read, ()) = tokio::join!(one.get("last"), async { one.side.go_on() });
    assert!(read.unwrap() == bytes);
    assert!(one.get("last").await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_alone_though_its_view_cannot_follow_what_others_wrote_and_collected_before_they_stopped()
 {
    let (one, other) = two().await;
    let kept = body(6, 100_000);
    other.put("kept", &kept, Condition::None).await.unwrap();
    one.close().await;
    one.end().await;
    other
        .put("long", &body(7, 100_000), Condition::None)
        .await
        .unwrap();
    let bucket = other.bucket().await;
    let (scope, name) = (bucket.scope, object_key("long"));
    let mut object = other.session().object(&bucket, &name).await.unwrap().object;
    assert!(other.rig.delete(&bucket, "long").await.unwrap());
    assert!(other.gc().await.packs_deleted > 0);
    other.close().await;
    // What it would have been with thousands of parts: their list lies in a stream of its own, whose shards are gone.
    let Manifest::Inline(parts) = object.manifest else {
        panic!("a manifest in its entry")
    };
    object.manifest = Manifest::Indirect {
        parts: 1,
        stream: Box::new(parts[0].clone()),
    };
    let keyring = rig::keyring();
    let address = keyring.object_address(scope, b"long");
    let mut random = |bytes: &mut [u8]| bytes.fill(7);
    let value = keyring.seal_value(&address, bucket.epoch, &object.encode(), &mut random);
    for (number, value) in [(1, Some(value.unwrap().into())), (2, None)] {
        let append = Append {
            operation: [number; 16],
            lease: other.lease,
            vault: rig::vault_id().0,
            expectations: Vec::new(),
            writes: vec![Write { address, value }],
            record: None,
        };
        let outcome = other.ledger.append(append).await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
    other.end().await;
    let one = one.start_again().await;
    assert!(one.get("kept").await.unwrap() == kept);
    assert_eq!(one.names().await, ["kept"]);
}
