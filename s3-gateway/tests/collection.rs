//! What collection leaves on the drives: at most a fifth more than what is alive takes when it is coded, at every object size, with
//! everything alive readable; and nothing to do for the next collection.
//!
//! `CAIRN_GC_OBJECTS` sets the number of 4 KiB objects; the other sizes follow in proportion.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use engine::disk::{Disk, RealDisk, SimDisk};
use engine::view::{MemoryView, View};
use net::Ledger;
use net::cluster::ReplaceOptions;
use rig::{DRIVES, Opening, Rig, body, drive_dir};
use s3_gateway::session::{Bucket, CollectOptions, Condition, GcReport, NewObject, SessionError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vault::object::Manifest;

const TOGETHER: u64 = 64;

/// Objects in CI, where `full` are asked for in all.
fn objects(in_ci: u64) -> u64 {
    let asked = std::env::var("CAIRN_GC_OBJECTS").ok();
    asked.map_or(in_ci, |asked| asked.parse::<u64>().unwrap() * in_ci / 4_000)
}

/// Whether an object is one of the half that is deleted.
fn is_deleted(number: u64) -> bool {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 1
}

/// Does something for every object, many at a time.
async fn for_all<F>(numbers: impl Iterator<Item = u64>, work: impl Fn(u64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    for number in numbers {
        if running.len() as u64 >= TOGETHER {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(work(number));
    }
    running.join_all().await;
}

async fn collect(rig: &Rig) -> GcReport {
    let options = CollectOptions { everything: true };
    let report = rig.session.collect(options, &|_| {}).await.unwrap();
    println!("{report:?}");
    report
}

/// Bytes that the drives' files really occupy, as the file system counts them.
fn occupied(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.is_dir() {
            true => occupied(&path),
            false => path.metadata().unwrap().blocks() * 512,
        })
        .sum()
}

async fn half_deleted(count: u64, bytes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let rig = Arc::new(Rig::open(disk, dir.path(), true).await.unwrap());
    let bucket = rig.bucket("half").await;
    let with = |work: fn(Arc<Rig>, Bucket, u64, usize) -> futures::future::BoxFuture<'static, ()>| {
        let (rig, bucket) = (Arc::clone(&rig), bucket.clone());
        move |number| work(Arc::clone(&rig), bucket.clone(), number, bytes)
    };
    for_all(
        0..count,
        with(|rig, bucket, number, bytes| {
            Box::pin(async move {
                let put = rig
                    .put(&bucket, &format!("o{number}"), &body(number, bytes))
                    .await;
                put.unwrap();
            })
        }),
    )
    .await;
    for_all(
        (0..count).filter(|number| is_deleted(*number)),
        with(|rig, bucket, number, _| {
            Box::pin(async move {
                assert!(rig.delete(&bucket, &format!("o{number}")).await.unwrap());
            })
        }),
    )
    .await;
    let report = collect(&rig).await;
    let left = (0..count).filter(|number| !is_deleted(*number)).count() as u64;
    assert_eq!(report.live_bytes, left * bytes as u64);
    assert!(!report.incomplete);
    let bound = report.live_bytes as f64 * 1.2 * 1.5;
    let ratio = report.allocated_bytes as f64 / report.live_bytes as f64;
    println!("{count} objects of {bytes} bytes: {ratio:.3} bytes on disk for each that is alive");
    assert!(report.allocated_bytes as f64 <= bound, "{ratio}");
    let occupied = occupied(&dir.path().join("drives"));
    assert!(
        occupied as f64 <= bound,
        "{occupied} bytes of files, {bound} allowed"
    );
    let again = collect(&rig).await;
    assert_eq!(again.bytes_moved, 0);
    assert!(again.allocated_bytes as f64 <= bound);
    for_all(
        0..count,
        with(|rig, bucket, number, bytes| {
            Box::pin(async move {
                let read = rig.get(&bucket, &format!("o{number}")).await;
                if is_deleted(number) {
                    assert_eq!(read, Err(SessionError::NoSuchKey), "o{number}");
                } else {
                    assert!(read == Ok(body(number, bytes)), "o{number}: {:?}", read.err());
                }
            })
        }),
    )
    .await;
    Arc::into_inner(rig).unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_many_4_kib_objects_deleted_and_collected_is_within_the_bound() {
    half_deleted(objects(4_000), 4 << 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_many_64_kib_objects_deleted_and_collected_is_within_the_bound() {
    half_deleted(objects(800), 64 << 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_many_4_mib_objects_deleted_and_collected_is_within_the_bound() {
    half_deleted(objects(32), 4 << 20).await;
}

/// The least budget that there is, in chunks with their parity.
const BUDGET_BYTES: u64 = 144 * 98_304;
const SLOW_CHUNKS: u64 = 1_024;
const CHUNK_PLAIN_BYTES: usize = 65_520;
/// Small objects are written beside so many chunks of the slow one.
const BESIDE: u64 = 300;
/// Of a slow object of 64 MiB, where the first 128 chunks leave one by one and those after them by eights.
const EXTENTS_MAX: usize = 260;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_object_beside_small_ones_that_are_deleted_is_collected_to_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (mut parts, ledger) = rig::parts(disk, dir.path(), true).await.unwrap();
    parts.options.upload_memory_bytes = BUDGET_BYTES;
    let rig = Rig::over(parts, ledger).await.unwrap();
    let bucket = rig.bucket("slow").await;
    // More than half of the budget is taken by others all the time.
    let mut others = rig.session.stream(&bucket, None).await.unwrap();
    others
        .write(body(1, 80 * CHUNK_PLAIN_BYTES).into())
        .await
        .unwrap();
    let mut slow = rig.session.stream(&bucket, None).await.unwrap();
    let mut whole = Vec::new();
    for number in 0..SLOW_CHUNKS {
        let chunk = body(number, CHUNK_PLAIN_BYTES);
        whole.extend_from_slice(&chunk);
        let slowly = async {
            slow.write(chunk.into()).await.unwrap();
            slow.settle().await.unwrap();
        };
        let small = async {
            if number < BESIDE {
                let key = |half: u64| format!("small-{number}-{half}");
                let small = body(number, 50_000);
                let (first, second) = (key(0), key(1));
                let (first, second) = tokio::join!(
                    rig.put(&bucket, &first, &small),
                    rig.put(&bucket, &second, &small)
                );
                first.and(second).unwrap();
            }
        };
        tokio::join!(slowly, small);
    }
    let finished = slow.finish().await.unwrap();
    let (key, new) = (rig::object_key("slow"), NewObject::default());
    let put = rig
        .session
        .put_object(&rig.caller, &bucket, &key, finished, new, Condition::None);
    put.await.unwrap();
    drop(others);
    for number in 0..BESIDE {
        for half in 0..2 {
            assert!(
                rig.delete(&bucket, &format!("small-{number}-{half}"))
                    .await
                    .unwrap()
            );
        }
    }
    let stored = rig.session.object(&bucket, &key).await.unwrap();
    let Manifest::Inline(parts) = &stored.object.manifest else {
        panic!("a manifest that the collector cannot change");
    };
    let extents: usize = parts.iter().map(|part| part.extents.len()).sum();
    println!("{extents} extents");
    assert!((100..=EXTENTS_MAX).contains(&extents), "{extents} extents");
    let report = collect(&rig).await;
    assert!(!report.incomplete);
    let ratio = report.allocated_bytes as f64 / report.live_bytes as f64;
    assert!(
        ratio <= 1.2 * 1.5,
        "{ratio:.3} bytes on disk for each that is alive"
    );
    assert!(rig.get(&bucket, "slow").await.unwrap() == whole);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_finds_nothing_to_do_writes_nothing() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(5));
    let view: Arc<dyn View> = Arc::new(MemoryView::new());
    let open = async |create| {
        let opening = Opening {
            view: Some(Arc::clone(&view)),
            ..Opening::tiny(create)
        };
        let rig = Rig::open_with(Arc::clone(&disk), Path::new("/vault"), opening).await;
        rig.unwrap()
    };
    let rig = open(true).await;
    let bucket = rig.bucket("quiet").await;
    for number in 0..20 {
        rig.put(&bucket, &format!("o{number}"), &body(number, 3_000))
            .await
            .unwrap();
    }
    rig.delete(&bucket, "o3").await.unwrap();
    collect(&rig).await;
    for round in 0..3 {
        let position = rig.ledger.position();
        assert_eq!(collect(&rig).await.packs_deleted, 0);
        assert_eq!(rig.ledger.position(), position, "round {round}");
    }
    rig.close().await;
    let rig = open(false).await;
    let position = rig.ledger.position();
    collect(&rig).await;
    assert_eq!(rig.ledger.position(), position, "after a restart");
    rig.delete(&bucket, "o4").await.unwrap();
    collect(&rig).await;
    assert!(rig.ledger.position().0 > position.0 + 1, "a deletion is told");
    rig.close().await;
}

/// Looks as the background collector does until it finds nothing to do. Returns how often it looked, and its last report.
async fn look_until_settled(rig: &Rig) -> (u32, GcReport) {
    let mut last = GcReport::default();
    for looks in 1..20 {
        match rig.session.collect_in_background().await.unwrap() {
            Some(report) => last = report,
            None => return (looks, last),
        }
        println!("{last:?}");
    }
    panic!("the background collector does not come to rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_nobody_writes_settles_in_the_background_where_gc_would_leave_it_and_then_rests() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let rig = Arc::new(Rig::open(disk, dir.path(), true).await.unwrap());
    let bucket = rig.bucket("stream").await;
    let count = objects(3_000);
    let put = |number| {
        let (rig, bucket) = (Arc::clone(&rig), bucket.clone());
        async move {
            let body = body(number, 4 << 10);
            rig.put(&bucket, &format!("o{number}"), &body).await.unwrap();
        }
    };
    for_all(0..count, put).await;
    // Merged first; then packs with too little garbage to be worth it while others write; then hardly anything alive.
    for deleted in [0..0, 0..count / 5, count / 5..count - 50] {
        for number in deleted {
            assert!(rig.delete(&bucket, &format!("o{number}")).await.unwrap());
        }
        let (looks, settled) = look_until_settled(&rig).await;
        let ratio = settled.allocated_bytes as f64 / settled.live_bytes as f64;
        println!("{looks} looks: {ratio:.3} bytes on disk for each that is alive");
        assert!(looks <= 5, "{looks}");
        let position = rig.ledger.position();
        for _ in 0..3 {
            assert_eq!(rig.session.collect_in_background().await.unwrap(), None);
        }
        assert_eq!(rig.ledger.position(), position);
        let by_hand = collect(&rig).await;
        assert_eq!(by_hand.bytes_moved, 0);
        let bound = (by_hand.live_bytes as f64 * 1.7).max(by_hand.allocated_bytes as f64 * 1.04);
        assert!(settled.allocated_bytes as f64 <= bound, "{ratio}");
    }
    Arc::into_inner(rig).unwrap().close().await;
}

/// The copies that drives say they have and that no entry names.
async fn copies(rig: &Rig) -> usize {
    let mut strays = 0;
    let page = rig
        .cluster
        .listed_packs(rig.session.vault().0, None, 10_000)
        .await;
    for pack in page.packs {
        let entry = rig.session.pack_entry(&pack.id).unwrap();
        for (index, claims) in &pack.claims {
            for claimed in claims {
                let named = entry.as_ref().and_then(|entry| entry.drive(usize::from(*index)));
                strays += usize::from(named != Some(claimed.drive));
            }
        }
    }
    strays
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_of_a_lost_drive_are_made_anew_and_read_and_what_it_brings_back_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let opening = Opening {
        drives: DRIVES + 1,
        ..Opening::usual(true)
    };
    let rig = Rig::open_with(Arc::new(RealDisk), dir.path(), opening)
        .await
        .unwrap();
    let bucket = rig.bucket("moved").await;
    let sizes = [10usize, 5_000, 130_000, 400_000, 9_000_000];
    for size in sizes {
        rig.put(&bucket, &format!("o{size}"), &body(size as u64, size))
            .await
            .unwrap();
    }
    rig.settle().await;
    let (home, away) = (drive_dir(dir.path(), 2), dir.path().join("away"));
    std::fs::rename(&home, &away).unwrap();
    rig.cluster.check_drives().await;
    assert_eq!(rig.cluster.present(), DRIVES);
    let ledger: Arc<dyn Ledger> = Arc::new(rig.ledger.clone());
    let options = ReplaceOptions {
        lost_after: Duration::ZERO,
        bytes_per_second: u64::MAX,
    };
    let lease = rig.ledger.status().lowest_lease;
    let report = rig
        .cluster
        .replace(&ledger, lease, options, &mut |_| {})
        .await
        .unwrap();
    assert!(report.is_complete() && report.shards_rebuilt > 0, "{report:?}");
    for size in sizes {
        assert_eq!(
            rig.get(&bucket, &format!("o{size}")).await.unwrap(),
            body(size as u64, size)
        );
    }
    rig.put(&bucket, "later", &body(7, 50_000)).await.unwrap();
    std::fs::rename(&away, &home).unwrap();
    rig.repair().await;
    assert_eq!(rig.cluster.present(), DRIVES + 1);
    rig.settle().await;
    assert!(copies(&rig).await > 0);
    let report = rig.session.collect_in_background().await.unwrap();
    assert!(report.is_some_and(|report| !report.incomplete), "{report:?}");
    assert_eq!(copies(&rig).await, 0);
    assert!(rig.census().await.is_complete());
    for size in sizes {
        assert_eq!(
            rig.get(&bucket, &format!("o{size}")).await.unwrap(),
            body(size as u64, size)
        );
    }
    rig.close().await;
}
