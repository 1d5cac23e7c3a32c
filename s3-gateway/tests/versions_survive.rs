//! Versions, their order, their tags and locks, through a collection, through views that are lost, and through a rebuild from
//! the drives alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod crash;
mod rig;

use std::path::Path;
use std::sync::Arc;

use crash::rebuilding::rebuild;
use crash::states::reopen;
use crash::work::ROOT;
use engine::disk::{Disk, SimDisk};
use rig::{Opening, Rig, body, object_key};
use s3_gateway::session::{Bucket, CollectOptions, Condition, Doomed};
use vault::index::VersionsQuery;
use vault::object::VersionRef;

/// What a test sees of a version: key, name, whether it is the latest, its bytes (none for a marker), its tags.
type Seen = (String, VersionRef, bool, Option<Vec<u8>>, Vec<(String, String)>);

async fn seen(rig: &Rig, bucket: &Bucket) -> Vec<Seen> {
    let query = VersionsQuery {
        max_keys: 1000,
        ..VersionsQuery::default()
    };
    let page = rig.session.versions(bucket, &query).await.unwrap();
    assert!(!page.truncated);
    let mut all = Vec::new();
    for listed in page.versions {
        let object = listed.object;
        let version = VersionRef::named(object.null_version, object.version);
        let key = object_key(&object.key);
        let stored = rig.session.version(bucket, &key, version).await.unwrap();
        let bytes = match object.delete_marker {
            true => None,
            false => Some(
                rig.read(bucket, &stored, 0..object.plaintext_bytes)
                    .await
                    .unwrap(),
            ),
        };
        all.push((object.key, version, listed.is_latest, bytes, stored.object.tags));
    }
    all
}

async fn keep_versions(rig: &Rig, name: &str, on: bool) -> Bucket {
    let change = move |_: &Bucket, settings: &mut vault::object::Settings| {
        settings.set_versioning(on);
        Ok(())
    };
    let session = &rig.session;
    let changed = session.change_bucket(&rig.caller, name, "PutBucketVersioning", change);
    changed.await.unwrap()
}

async fn tag(rig: &Rig, bucket: &Bucket, key: &str, version: VersionRef) {
    let key = object_key(key);
    let amended = rig.session.amend_object(
        &rig.caller,
        (bucket, &key),
        Some(version),
        "PutObjectTagging",
        |_, change| {
            change.tags = vec![("kept".to_owned(), "yes".to_owned())];
            Ok(())
        },
    );
    amended.await.unwrap();
}

async fn delete_version(rig: &Rig, bucket: &Bucket, key: &str, version: VersionRef) {
    let doomed = Doomed {
        version,
        only: None,
        bypass_governance: false,
    };
    let (session, caller) = (&rig.session, &rig.caller);
    session
        .delete_version(caller, bucket, &object_key(key), doomed, Condition::None)
        .await
        .unwrap();
}

/// Writes, tags, deletes and suspends, and ends with every kind of version there is.
async fn history(rig: &Rig, upto_marker: impl AsyncFnOnce()) -> Bucket {
    let bucket = rig.bucket("kept").await;
    rig.put(&bucket, "o", &body(0, 5_000)).await.unwrap();
    rig.put(&bucket, "plain", &body(9, 500)).await.unwrap();
    let bucket = keep_versions(rig, &bucket.name, true).await;
    let mut ids = Vec::new();
    for number in 1..6 {
        let stored = rig.put(&bucket, "o", &body(number, 70_000)).await.unwrap();
        ids.push(VersionRef::of(&stored.object));
    }
    rig.put(&bucket, "gone", b"under a marker").await.unwrap();
    rig.delete(&bucket, "gone").await.unwrap();
    delete_version(rig, &bucket, "o", ids[1]).await;
    delete_version(rig, &bucket, "o", ids[4]).await;
    upto_marker().await;
    tag(rig, &bucket, "o", ids[0]).await;
    tag(rig, &bucket, "o", ids[2]).await;
    rig.put(&bucket, "o", &body(7, 300)).await.unwrap();
    let bucket = keep_versions(rig, &bucket.name, false).await;
    rig.put(&bucket, "o", &body(8, 400)).await.unwrap();
    bucket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_come_back_from_the_drives_alone_in_their_order() {
    let disk = SimDisk::new(60);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let rig = Rig::open_with(shared, Path::new(ROOT), Opening::tiny(true))
        .await
        .unwrap();
    let session = rig.session.clone();
    let bucket = history(&rig, async move || {
        session.checkpoint().await.unwrap();
    })
    .await;
    let before = seen(&rig, &bucket).await;
    assert_eq!(
        before.len(),
        8,
        "{:?}",
        before.iter().map(|v| (&v.0, v.1, v.2)).collect::<Vec<_>>()
    );
    rig.settle().await;
    rig.close().await;
    rebuild(&disk).await;
    let rig = reopen(&disk, Opening::tiny(false)).await.unwrap();
    let bucket = rig.session.bucket("kept").await.unwrap();
    assert!(
        seen(&rig, &bucket).await == before,
        "a rebuild changed the versions"
    );
    assert!(
        !keep_versions(&rig, "kept", false)
            .await
            .settings
            .versioning()
            .eq(&Default::default())
    );
    // And they can be collected around, read and written on.
    let everything = CollectOptions { everything: true };
    rig.session.collect(everything, &|_| {}).await.unwrap();
    assert!(
        seen(&rig, &bucket).await == before,
        "a collection changed the versions"
    );
    rig.put(&bucket, "o", b"newest").await.unwrap();
    assert_eq!(rig.get(&bucket, "o").await.unwrap(), b"newest");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_and_a_lost_view_leave_every_version_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |create| {
        let disk: Arc<dyn Disk> = Arc::new(engine::disk::RealDisk);
        Rig::open_with(disk, dir.path(), Opening::usual(create))
            .await
            .unwrap()
    };
    let rig = open(true).await;
    let bucket = history(&rig, async || {}).await;
    let before = seen(&rig, &bucket).await;
    rig.session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    assert!(
        seen(&rig, &bucket).await == before,
        "a collection changed the versions"
    );
    rig.close().await;
    // The view is in memory: it is filled from the ledger at each start.
    let rig = open(false).await;
    assert!(
        seen(&rig, &bucket).await == before,
        "another view shows other versions"
    );
    rig.close().await;
}
