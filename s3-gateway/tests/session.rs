//! What an open vault promises, over a real directory: reads what was written, refuses what it cannot keep, collects what is
//! dead, and comes back after a restart, a lost drive, a lost view and a lost ledger.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use engine::disk::{Disk, RealDisk};
use rig::{DRIVES, Rig, body, drive_dir, object_key};
use s3_gateway::session::{
    CollectOptions, Condition, CopyChanges, ETagMatch, NewCredential, Secret, SessionError,
};
use scopes::{OperationSet, ScopeSet, Window};
use std::path::Path;
use std::sync::Arc;

async fn open(root: &Path, create: bool) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Rig::open(disk, root, create).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_every_shape_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), true).await;
    let bucket = rig.bucket("shapes").await;
    let sizes = [
        0, 1, 4_096, 65_519, 65_520, 65_521, 131_040, 1_000_000, 2_097_153, 8_386_560, 8_386_561, 20_000_000,
    ];
    for (seed, size) in sizes.into_iter().enumerate() {
        rig.put(&bucket, &format!("o{size}"), &body(seed as u64, size))
            .await
            .unwrap();
    }
    for (seed, size) in sizes.into_iter().enumerate() {
        assert_eq!(
            rig.get(&bucket, &format!("o{size}")).await.unwrap(),
            body(seed as u64, size),
            "{size}"
        );
    }
    rig.close().await;
    let rig = open(dir.path(), false).await;
    let bucket = rig.bucket("shapes").await;
    for (seed, size) in sizes.into_iter().enumerate() {
        let whole = body(seed as u64, size);
        assert_eq!(
            rig.get(&bucket, &format!("o{size}")).await.unwrap(),
            whole,
            "{size}"
        );
        let stored = rig
            .session
            .object(&bucket, &object_key(&format!("o{size}")))
            .await
            .unwrap();
        for range in [0..1, 65_519..65_522, 8_386_550..8_386_570, 0..size as u64] {
            let want = whole
                .get(range.start.min(size as u64) as usize..range.end.min(size as u64) as usize)
                .unwrap();
            assert_eq!(
                rig.read(&bucket, &stored, range.clone()).await.unwrap(),
                want,
                "{size} {range:?}"
            );
        }
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_is_a_true_compare_and_swap() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Arc::new(open(dir.path(), true).await);
    let bucket = rig.bucket("race").await;
    for round in 0..20u64 {
        let key = format!("k{round}");
        let writers = (0..8u64).map(|writer| {
            let (rig, bucket, key) = (Arc::clone(&rig), bucket.clone(), key.clone());
            tokio::spawn(async move {
                rig.put_if(
                    &bucket,
                    &key,
                    &body(writer, 100),
                    Condition::IfNoneMatch(ETagMatch::Any),
                )
                .await
            })
        });
        let mut won = 0;
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                Ok(_) => won += 1,
                Err(SessionError::PreconditionFailed { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
    let unconditional = (0..16u64).map(|writer| {
        let (rig, bucket) = (Arc::clone(&rig), bucket.clone());
        tokio::spawn(async move { rig.put(&bucket, "hot", &body(writer, 100)).await })
    });
    for writer in unconditional.collect::<Vec<_>>() {
        writer.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lost_drives_read_and_refuse_writes_and_repair_brings_them_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), true).await;
    let bucket = rig.bucket("drives").await;
    let sizes = [10, 5_000, 300_000, 9_000_000];
    for size in sizes {
        rig.put(&bucket, &format!("o{size}"), &body(size as u64, size))
            .await
            .unwrap();
    }
    for (a, b) in [(0, 1), (4, 5), (2, 3)] {
        for lost in [a, b] {
            std::fs::remove_dir_all(drive_dir(dir.path(), lost)).unwrap();
        }
        rig.cluster.check_drives().await;
        for size in sizes {
            assert_eq!(
                rig.get(&bucket, &format!("o{size}")).await.unwrap(),
                body(size as u64, size),
                "{size} without {a} {b}"
            );
        }
        let refused = rig.put(&bucket, "refused", b"x").await.unwrap_err();
        assert_eq!(
            refused,
            SessionError::NotWritable {
                have: DRIVES - 2,
                need: 5
            }
        );
        let ledger = rig.ledger.clone();
        let packs = || net::cluster::packs_of(&ledger);
        let options = net::cluster::RepairOptions {
            recreate: true,
            ..Default::default()
        };
        let report = rig.cluster.repair(&packs, &options, &mut |_| {}).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        rig.put(&bucket, "writable", b"again").await.unwrap();
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_many_objects_deleted_leaves_disk_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Arc::new(open(dir.path(), true).await);
    let bucket = rig.bucket("half").await;
    let count = 1_500u64;
    let mut at = 0;
    while at < count {
        let together = (at..(at + 64).min(count)).map(|n| {
            let (rig, bucket) = (Arc::clone(&rig), bucket.clone());
            tokio::spawn(async move { rig.put(&bucket, &format!("o{n}"), &body(n, 4_096)).await.unwrap() })
        });
        for put in together.collect::<Vec<_>>() {
            put.await.unwrap();
        }
        at += 64;
    }
    let gone = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1;
    for n in (0..count).filter(|n| gone(*n)) {
        assert!(rig.delete(&bucket, &format!("o{n}")).await.unwrap());
    }
    let report = rig
        .session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    println!("{report:?}");
    let page = rig.cluster.listed_packs(rig.session.vault().0, None, 1_000).await;
    for pack in rig.cluster.stored_packs(rig.session.vault().0, page.packs).await {
        let geometry = &pack.summary.geometry;
        println!(
            "{:?} {:?} {:?} {}",
            geometry.shard_bytes,
            geometry.lane_bytes,
            geometry.trailer,
            pack.scope == rig::vault_id().0
        );
    }
    for drive in rig.cluster.status().drives {
        println!("{drive:?}");
    }
    for n in 0..count {
        match rig.get(&bucket, &format!("o{n}")).await {
            Ok(read) => assert!(!gone(n) && read == body(n, 4_096), "{n}"),
            Err(error) => assert!(gone(n) && error == SessionError::NoSuchKey, "{n}: {error}"),
        }
    }
    let bound = report.live_bytes as f64 * 1.2 * 1.5;
    assert!(
        (report.allocated_bytes as f64) <= bound,
        "{} allocated, {bound} allowed",
        report.allocated_bytes
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_its_bytes_when_its_source_is_deleted_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), true).await;
    let (bucket, other) = (rig.bucket("copies").await, rig.bucket("others").await);
    let bytes = body(1, 9_000_000);
    let stored = rig.put(&bucket, "source", &bytes).await.unwrap();
    for (to, key) in [(&bucket, "near"), (&other, "far")] {
        let changes = CopyChanges::none(&stored);
        rig.session
            .copy_object(
                &rig.caller,
                (&bucket, &stored),
                (to, &object_key(key)),
                changes,
                Condition::None,
            )
            .await
            .unwrap();
    }
    rig.session
        .delete_object(&rig.caller, &bucket, &object_key("source"), Condition::None)
        .await
        .unwrap();
    rig.session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    assert_eq!(rig.get(&bucket, "near").await.unwrap(), bytes);
    assert_eq!(rig.get(&other, "far").await.unwrap(), bytes);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_was_in_use_changes_from_the_moment_its_change_returns() {
    let dir = tempfile::tempdir().unwrap();
    let rig = open(dir.path(), true).await;
    let session = &rig.session;
    let make = async |secret: &str| {
        let new = NewCredential {
            label: "phone".to_owned(),
            scopes: ScopeSet::All,
            operations: OperationSet::all(),
            window: Window::default(),
            owner: false,
            fixed: Some(("PHONE".to_owned(), Secret::new(secret.to_owned()))),
        };
        session.create_credential(new).await.unwrap();
    };
    let seen = || {
        let found = session.credential("PHONE").unwrap().unwrap();
        (found.secret.expose().to_owned(), found.credential.revoked)
    };
    assert!(session.credential("PHONE").unwrap().is_none());
    make("first").await;
    for _ in 0..2 {
        assert_eq!(seen(), ("first".to_owned(), false));
    }
    session.revoke_credential("PHONE").await.unwrap();
    for _ in 0..2 {
        assert_eq!(seen(), ("first".to_owned(), true));
    }
    make("second").await;
    assert_eq!(seen(), ("second".to_owned(), false));
    rig.close().await;
}
