//! What may be thrown away: every view, without a trace; the ledger too, at the price that a deletion since the newest checkpoint
//! may be undone, which the rebuild says.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod rig;

use crash::rebuilding::rebuild;
use crash::states::{crashes, reopen, seeded, share, try_all};
use crash::work::{Draw, ROOT, Work};
use crash::{History, Seen, observe};
use engine::disk::{CrashChoice, Disk, RealDisk, SimDisk};
use engine::slots::{Address, Append, EntryKind, Outcome, Write};
use engine::view::{FjallView, MemoryView, View};
use net::{Ledger, LocalLedger};
use rig::{DRIVES, Opening, Rig, body, drive_dir};
use s3_gateway::session::rebuild::RebuildReport;
use s3_gateway::session::{CollectOptions, NewCredential, SessionError, Usage};
use scopes::{OperationSet, ScopeSet, Window};
use std::path::Path;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_that_are_deleted_are_filled_again_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let views = dir.path().join("views");
    let open = async |create| {
        let view: Arc<dyn View> = Arc::new(FjallView::open(&views, 8 << 20).unwrap());
        let opening = Opening {
            view: Some(view),
            ..Opening::usual(create)
        };
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Rig::open_with(disk, dir.path(), opening).await.unwrap()
    };
    let bytes_of = |number: u64| body(number, (number as usize * 1_777) % 50_000);
    let rig = open(true).await;
    let bucket = rig.bucket("views").await;
    for number in 0..60 {
        let key = format!("o{number}");
        rig.put(&bucket, &key, b"overwritten").await.unwrap();
        rig.put(&bucket, &key, &bytes_of(number)).await.unwrap();
        if number % 3 == 0 {
            rig.delete(&bucket, &key).await.unwrap();
        }
    }
    rig.close().await;
    for round in ["kept", "deleted", "deleted with the ledger compacted"] {
        if round != "kept" {
            std::fs::remove_dir_all(&views).unwrap();
        }
        let rig = open(false).await;
        let bucket = rig.session.bucket("views").await.unwrap();
        for number in 0..60 {
            let read = rig.get(&bucket, &format!("o{number}")).await;
            let want = if number % 3 == 0 {
                Err(SessionError::NoSuchKey)
            } else {
                Ok(bytes_of(number))
            };
            assert!(read == want, "{round}: o{number}");
        }
        let used = rig.session.usage().unwrap();
        let bytes = (0..60).filter(|n| n % 3 != 0).map(|n| bytes_of(n).len() as u64);
        let want = Usage {
            objects: 40,
            bytes: bytes.sum(),
            ..Usage::default()
        };
        assert_eq!(used, [("views".to_owned(), want)], "{round}");
        rig.recorder.flush().await.unwrap();
        rig.ledger.compact().await.unwrap();
        rig.close().await;
    }
}

/// Checks what a rebuild brought back: everything that is acknowledged, and beside it only what once was. Returns how many cells
/// came back that had been removed.
fn undone(history: &History, seen: &Seen, report: &RebuildReport) -> u64 {
    for cell in history.cells() {
        if let Some(value) = history.now(&cell) {
            assert_eq!(seen.get(&cell).map(|v| v.len()), Some(value.len()), "{cell}");
            assert!(seen.get(&cell) == Some(&value), "{cell}: other bytes");
        }
    }
    let mut undone = 0;
    for (cell, value) in seen {
        if history.now(cell).is_none() {
            assert!(
                history.ever(&as_named_before(cell, report), value),
                "{cell} never was"
            );
            undone += 1;
        }
    }
    undone
}

/// A cell as it was called before its bucket was made anew under its name and a suffix.
fn as_named_before(cell: &str, report: &RebuildReport) -> String {
    let made = report
        .buckets_made
        .iter()
        .find(|made| cell.contains(made.as_str()));
    let stem = made.and_then(|made| Some((made, made.rsplit_once('-')?.0)));
    stem.map_or_else(|| cell.to_owned(), |(made, stem)| cell.replace(made, stem))
}

async fn rebuilt(history: &History, lost: &[usize]) -> (RebuildReport, u64) {
    let disk = history.disk.crash_state(history.disk.ops(), CrashChoice::KeepAll);
    for drive in lost {
        disk.unlink(&drive_dir(Path::new(ROOT), *drive));
    }
    let report = rebuild(&disk).await;
    assert_eq!(report.trailers_lost, 0, "{report:?}");
    let rig = reopen(&disk, Opening::tiny(!lost.is_empty())).await.unwrap();
    let seen = observe(&rig).await.unwrap();
    let undone = undone(history, &seen, &report);
    // What came out of the checkpoint may have been deleted after it, what came out of claims at any time.
    assert!(
        undone <= report.from_checkpoint + report.maybe_undeleted,
        "{undone} of {report:?}"
    );
    assert_eq!(
        report.checkpoint_ms.is_some(),
        report.from_checkpoint > 0,
        "{report:?}"
    );
    let objects = seen.keys().filter(|cell| cell.starts_with("object")).count() as u64;
    let buckets = seen.keys().filter(|cell| cell.starts_with("bucket")).count() as u64;
    assert_eq!(report.buckets, buckets, "{report:?}");
    assert_eq!(report.objects, objects, "every object has a bucket: {report:?}");
    // The vault goes on, its activity log too, and what was brought back may be collected around.
    let before = rig.session.activity(&Default::default()).await.unwrap().len();
    let bucket = rig.bucket("after").await;
    rig.put(&bucket, "after", b"the rebuild").await.unwrap();
    let after = rig.session.activity(&Default::default()).await.unwrap();
    assert_eq!(
        after.len(),
        before + 2,
        "CreateBucket and PutObject are on record"
    );
    rig.session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    let mut again = observe_without(&rig, "after").await;
    again.retain(|cell, _| seen.contains_key(cell));
    assert!(again == seen, "collecting after a rebuild lost something");
    rig.close().await;
    (report, undone)
}

/// As [`observe`], without a bucket whose objects carry no sums.
async fn observe_without(rig: &Rig, bucket: &str) -> Seen {
    let own = rig.session.bucket(bucket).await.unwrap();
    rig.delete(&own, bucket).await.unwrap();
    observe(rig).await.unwrap()
}

async fn worked(seed: u64, steps: u64) -> Work {
    let work = Work::begin(seed, Opening::tiny(true)).await;
    work.small(&mut Draw(seed), steps).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drives_and_the_keys_give_everything_acknowledged_back() {
    let (mut undone_in_all, mut from_checkpoint) = (0, 0);
    for seed in 10..22 {
        // Short runs end before any checkpoint or collection, long ones after several.
        let work = worked(seed, 4 + (seed - 10) * 5).await;
        work.rig.settle().await;
        let history = work.finish().await;
        let (report, undone) = rebuilt(&history, &[]).await;
        println!("seed {seed}: {report:?}, {undone} undone");
        undone_in_all += undone;
        from_checkpoint += report.from_checkpoint;
    }
    assert!(
        undone_in_all > 0 && from_checkpoint > 0,
        "{undone_in_all} {from_checkpoint}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lost_drives_and_the_ledger_together_lose_nothing() {
    let work = worked(30, 40).await;
    work.rig.settle().await;
    let history = work.finish().await;
    for lost in [[0, 1], [2, 5], [3, 4]] {
        assert!(lost.iter().all(|drive| *drive < DRIVES));
        rebuilt(&history, &lost).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_right_after_a_checkpoint_undoes_no_deletion() {
    for seed in 40..44 {
        let work = worked(seed, 30).await;
        if seed % 2 == 0 {
            work.collect().await;
        } else {
            work.checkpoint().await;
        }
        work.rig.settle().await;
        let history = work.finish().await;
        let (report, undone) = rebuilt(&history, &[]).await;
        assert_eq!(undone, 0, "seed {seed}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_is_rebuilt_again_from_what_a_rebuild_and_later_work_left() {
    let work = worked(50, 24).await;
    work.rig.settle().await;
    let history = work.finish().await;
    let disk = history.disk.crash_state(history.disk.ops(), CrashChoice::KeepAll);
    rebuild(&disk).await;
    let rig = reopen(&disk, Opening::tiny(false)).await.unwrap();
    let bucket = rig.bucket("later").await;
    for number in 0..5 {
        rig.put(&bucket, &format!("o{number}"), &body(number, 3_000))
            .await
            .unwrap();
    }
    let overwritten = rig.bucket("first").await;
    rig.put(&overwritten, "dir/k0", b"newest").await.unwrap();
    rig.settle().await;
    rig.close().await;
    rebuild(&disk).await;
    let rig = reopen(&disk, Opening::tiny(false)).await.unwrap();
    let bucket = rig.session.bucket("later").await.unwrap();
    for number in 0..5 {
        assert_eq!(
            rig.get(&bucket, &format!("o{number}")).await.unwrap(),
            body(number, 3_000)
        );
    }
    let overwritten = rig.session.bucket("first").await.unwrap();
    assert_eq!(rig.get(&overwritten, "dir/k0").await.unwrap(), b"newest");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_without_records_that_were_compacted_are_not_missed_by_the_activity_log() {
    let work = worked(60, 4).await;
    let history = work.finish().await;
    let disk = history.disk.clone();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opening = Opening::tiny(false);
    let dir = Path::new(ROOT).join("ledger");
    let (ledger, _) = LocalLedger::open(shared, &dir, opening.ledger.clone()).unwrap();
    let lease = ledger.take_lease("another", 1).await.unwrap();
    let before = ledger.status().segments;
    for number in 0..600u64 {
        let address = Address {
            scope: [1; 16],
            kind: EntryKind::Statement,
            slot: [1; 16],
        };
        let value = Some(vec![7; 1_000].into());
        let mut operation = [9; 16];
        operation[..8].copy_from_slice(&number.to_le_bytes());
        let append = Append {
            operation,
            lease,
            vault: [8; 16],
            expectations: Vec::new(),
            writes: vec![Write { address, value }],
            record: None,
        };
        assert!(matches!(ledger.append(append).await, Ok(Outcome::Applied { .. })));
    }
    ledger.compact().await.unwrap();
    let status = ledger.status();
    assert!(status.tail_above > status.records_through, "{before} {status:?}");
    ledger.close().await;
    let rig = reopen(&disk, opening).await.unwrap();
    let answered = history.answered(usize::MAX);
    history.judge_activity(&answered, &rig).await.unwrap();
    rig.put(&rig.bucket("first").await, "more", b"bytes")
        .await
        .unwrap();
    rig.close().await;
}

#[test]
fn a_crash_and_then_the_loss_of_the_ledger_lose_nothing_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let history = runtime.block_on(async { worked(seeded(70), 48).await.finish().await });
    let crashes = crashes(&history, share(3), seeded(70));
    try_all(&crashes, async |crash| {
        let answered = history.answered(crash.at);
        if !answered.opened {
            return Ok(());
        }
        let disk = history.disk.crash_state(crash.at, crash.choice);
        rebuild(&disk).await;
        let rig = reopen(&disk, Opening::tiny(false)).await?;
        let seen = observe(&rig).await?;
        history.judge_rebuilt(&answered, &seen)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credential_but_the_owners_comes_back_in_force_and_the_rebuild_names_those_that_were() {
    let work = Work::begin(80, Opening::tiny(true)).await;
    let session = &work.rig.session;
    let make = async |label: &str, owner| {
        let new = NewCredential {
            label: label.to_owned(),
            scopes: ScopeSet::All,
            operations: OperationSet::all(),
            window: Window::default(),
            owner,
            fixed: None,
        };
        session.create_credential(new).await.unwrap().0
    };
    let (root, revoked_later) = (make("root", true).await, make("leaked", false).await);
    let revoked_before = make("old", false).await;
    session.revoke_credential(&revoked_before).await.unwrap();
    session.checkpoint().await.unwrap();
    session.revoke_credential(&revoked_later).await.unwrap();
    work.rig.settle().await;
    let history = work.finish().await;
    let disk = history.disk.crash_state(history.disk.ops(), CrashChoice::KeepAll);
    let report = rebuild(&disk).await;
    assert_eq!(report.credentials_revoked, std::slice::from_ref(&revoked_later));
    assert_eq!(report.root_credentials, std::slice::from_ref(&root));
    let rig = reopen(&disk, Opening::tiny(false)).await.unwrap();
    for id in [root.clone(), revoked_later, revoked_before] {
        let found = rig.session.credential(&id).unwrap().unwrap();
        assert_eq!(found.credential.revoked, id != root, "{}", found.credential.label);
    }
    assert_eq!(rig.session.credentials().unwrap().len(), 3);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_bucket_that_another_of_its_name_replaced_come_back_where_they_can_be_seen() {
    let disk = SimDisk::unrecorded(81);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let rig = Rig::open_with(shared, Path::new(ROOT), Opening::tiny(true))
        .await
        .unwrap();
    let bucket = rig.bucket("again").await;
    rig.put(&bucket, "old", b"of the first").await.unwrap();
    rig.delete(&bucket, "old").await.unwrap();
    rig.session.delete_bucket(&rig.caller, "again").await.unwrap();
    let bucket = rig.bucket("again").await;
    rig.put(&bucket, "new", b"of the second").await.unwrap();
    rig.settle().await;
    rig.close().await;
    let report = rebuild(&disk).await;
    assert_eq!((report.buckets, report.objects), (2, 2), "{report:?}");
    let [made] = report.buckets_made.as_slice() else {
        panic!("{report:?}")
    };
    let rig = reopen(&disk, Opening::tiny(false)).await.unwrap();
    let bucket = rig.session.bucket("again").await.unwrap();
    assert_eq!(rig.get(&bucket, "new").await.unwrap(), b"of the second");
    assert_eq!(rig.get(&bucket, "old").await, Err(SessionError::NoSuchKey));
    let bucket = rig.session.bucket(made).await.unwrap();
    assert_eq!(rig.get(&bucket, "old").await.unwrap(), b"of the first");
    assert_eq!(rig.delete(&bucket, "old").await, Ok(true));
    rig.session.delete_bucket(&rig.caller, made).await.unwrap();
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_newer_than_a_ledger_put_back_from_a_copy_is_made_anew() {
    let disk = SimDisk::new(82);
    let view: Arc<dyn View> = Arc::new(MemoryView::new());
    let open = async |disk: &SimDisk| {
        let opening = Opening {
            view: Some(Arc::clone(&view)),
            ..Opening::tiny(true)
        };
        let rig = Rig::open_with(Arc::new(disk.clone()), Path::new(ROOT), opening).await;
        rig.unwrap()
    };
    let rig = open(&disk).await;
    let bucket = rig.bucket("home").await;
    rig.put(&bucket, "before", b"in both").await.unwrap();
    rig.recorder.flush().await.unwrap();
    let copy = disk.crash_state(disk.ops(), CrashChoice::KeepAll);
    // As many appends as the next start makes, so that sequences alone tell nothing.
    rig.delete(&bucket, "before").await.unwrap();
    let newer = rig.ledger.position();
    rig.close().await;
    let rig = open(&copy).await;
    assert!(rig.ledger.position() >= newer, "the copy has caught up");
    let bucket = rig.session.bucket("home").await.unwrap();
    assert_eq!(rig.get(&bucket, "before").await.unwrap(), b"in both");
    rig.put(&bucket, "after", b"goes on").await.unwrap();
    assert_eq!(rig.get(&bucket, "after").await.unwrap(), b"goes on");
    rig.close().await;
}
