//! What is sealed under a customer's key (SSE-C): through collections, lost drives, flipped bits and a rebuild nobody but its
//! customer can open it, and it comes back bit for bit.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod crash;
mod rig;

use crash::rebuilding::rebuild;
use crash::work::ROOT;
use engine::disk::{Disk, SimDisk};
use engine::pack::PackId;
use futures::StreamExt as _;
use rig::frames::shard_frames;
use rig::{Opening, Rig, body, drive_dir, object_key};
use s3_gateway::session::{
    Bucket, CollectOptions, CompletePart, Completion, Condition, CustomerKeyError, GcReport, NewPart,
    NewUpload, SessionError, Stored,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use vault::customer::CustomerKey;
use vault::object::{Manifest, PackRef, UploadId};

/// On one lane, on several, on all of them, in a short pack of its own and in a full one with a tail.
const SIZES: [usize; 7] = [0, 1, 5_000, 130_000, 1_900_000, 2_300_000, 9_000_000];

fn customer(seed: u8) -> CustomerKey {
    CustomerKey::from_bytes([seed; 32])
}

async fn open(disk: &SimDisk, create: bool) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Rig::open_with(disk, Path::new(ROOT), Opening::large_packs(create))
        .await
        .unwrap()
}

/// Objects of all sizes under a customer's key, put at the same time as neighbours that share their packs and are deleted again.
async fn put_all(rig: &Rig, bucket: &Bucket) {
    let nine = customer(9);
    let mut puts = Vec::new();
    for size in SIZES {
        for beside in 0..3 {
            let (key, bytes) = (format!("beside{beside}/{size}"), body(beside, size / 2 + 9));
            puts.push((key, bytes, None));
        }
        puts.push((format!("o{size}"), body(size as u64, size), Some(&nine)));
    }
    let put = async |(key, bytes, customer): (String, Vec<u8>, Option<&CustomerKey>)| {
        let put = rig.put_under(bucket, &key, &bytes, customer, Condition::None);
        put.await.unwrap();
    };
    futures::future::join_all(puts.into_iter().map(put)).await;
    for size in SIZES {
        for beside in 0..3 {
            let key = format!("beside{beside}/{size}");
            assert!(rig.delete(bucket, &key).await.unwrap());
        }
    }
    rig.settle().await;
}

async fn object(rig: &Rig, bucket: &Bucket, size: usize) -> Stored {
    let key = object_key(&format!("o{size}"));
    rig.session.object(bucket, &key).await.unwrap()
}

async fn assert_reads(rig: &Rig, bucket: &Bucket, when: &str) {
    for size in SIZES {
        let stored = object(rig, bucket, size).await;
        assert_eq!(rig.session.check_key(bucket, &stored, Some(&customer(9))), Ok(()));
        let read = rig
            .read_under(bucket, &stored, Some(&customer(9)), 0..size as u64)
            .await;
        assert!(
            read.as_ref() == Ok(&body(size as u64, size)),
            "{size} {when}: {:?}",
            read.err()
        );
    }
}

async fn collect(rig: &Rig) -> GcReport {
    let options = CollectOptions { everything: true };
    rig.session.collect(options, &|_| {}).await.unwrap()
}

fn packs_of(stored: &Stored) -> BTreeSet<[u8; 32]> {
    let Manifest::Inline(parts) = &stored.object.manifest else {
        panic!("an indirect manifest")
    };
    let extents = parts.iter().flat_map(|part| &part.extents);
    let id = |pack: &PackRef| match pack {
        PackRef::Id(id) => id.0,
        PackRef::This => panic!("this pack"),
    };
    extents.map(|extent| id(&extent.pack)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collection_repair_and_rebuild_bring_it_back_bit_for_bit() {
    let disk = SimDisk::new(70);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    put_all(&rig, &bucket).await;
    assert_reads(&rig, &bucket, "as it was written").await;
    let report = collect(&rig).await;
    assert!(!report.incomplete && report.bytes_moved > 100_000, "{report:?}");
    assert_reads(&rig, &bucket, "after a collection").await;
    rig.close().await;
    disk.unlink(&drive_dir(Path::new(ROOT), 2));
    let rig = open(&disk, false).await;
    assert_reads(&rig, &bucket, "with a drive lost").await;
    assert!(rig.repair().await.is_complete());
    rig.settle().await;
    rig.close().await;
    for drive in [0, 5] {
        disk.unlink(&drive_dir(Path::new(ROOT), drive));
    }
    let rig = open(&disk, false).await;
    assert_reads(&rig, &bucket, "from the drives that were made anew").await;
    assert!(rig.repair().await.is_complete());
    rig.settle().await;
    rig.close().await;
    rebuild(&disk).await;
    let rig = open(&disk, false).await;
    let bucket = rig.session.bucket("sealed").await.unwrap();
    assert_reads(&rig, &bucket, "after a rebuild").await;
    collect(&rig).await;
    assert_reads(&rig, &bucket, "after a rebuild and a collection").await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_reads_a_shard_once_for_all_that_it_moves_out_of_it() {
    const OBJECTS: usize = 200;
    let disk = SimDisk::new(76);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    let nine = customer(9);
    let puts = (0..OBJECTS).map(async |number| {
        let (key, beside) = (format!("o{number}"), format!("beside{number}"));
        let put = rig.put_under(&bucket, &key, b"small", Some(&nine), Condition::None);
        let (put, beside) = tokio::join!(put, rig.put(&bucket, &beside, &[0; 5_000]));
        assert!(
            put.is_ok() && beside.is_ok(),
            "{:?} {:?}",
            put.err(),
            beside.err()
        );
    });
    futures::future::join_all(puts).await;
    let mut packs = BTreeSet::new();
    for number in 0..OBJECTS {
        packs.append(&mut packs_of(&object(&rig, &bucket, number).await));
        assert!(rig.delete(&bucket, &format!("beside{number}")).await.unwrap());
    }
    rig.settle().await;
    let lanes_max = 8 * packs.len() as u64;
    assert!(lanes_max < OBJECTS as u64, "{} packs", packs.len());
    let before = rig.cluster.status().reads;
    let report = collect(&rig).await;
    assert!(!report.incomplete && report.bytes_moved > 1_000, "{report:?}");
    let reads = rig.cluster.status().reads - before;
    assert!(
        (1..=lanes_max).contains(&reads),
        "{reads} reads, {} packs",
        packs.len()
    );
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_shard_is_mended_from_the_others_before_its_chunks_are_moved() {
    let disk = SimDisk::new(71);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    put_all(&rig, &bucket).await;
    // Two lanes of each pack lie, all over: as many shards as the others can make again.
    for frame in shard_frames(&disk, Path::new(ROOT), Opening::large_packs(false).drive_log) {
        let first = frame.from + frame.bytes - frame.shard_bytes;
        for at in (0..frame.shard_bytes).step_by(4_999).filter(|_| frame.index < 2) {
            assert!(disk.flip_bit(&frame.file, first + at));
        }
    }
    let report = collect(&rig).await;
    assert!(!report.incomplete && report.bytes_moved > 100_000, "{report:?}");
    assert_reads(&rig, &bucket, "after a collection over damage").await;
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_checked_any_more_is_left_where_it_lies() {
    let disk = SimDisk::new(72);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    put_all(&rig, &bucket).await;
    let before: Vec<_> = [5_000, 2_300_000].into_iter().collect();
    let mut doomed = BTreeSet::new();
    for size in &before {
        doomed.append(&mut packs_of(&object(&rig, &bucket, *size).await));
    }
    // A put is answered before its last shard is written, and one good shard makes a small pack readable.
    let entry = |pack: &[u8; 32]| rig.session.pack_entry(&PackId(*pack)).unwrap().unwrap();
    let stored: usize = doomed.iter().map(|pack| entry(pack).stored().count()).sum();
    let log = Opening::large_packs(false).drive_log;
    let frames = loop {
        let frames = shard_frames(&disk, Path::new(ROOT), log).into_iter();
        let frames: Vec<_> = frames.filter(|frame| doomed.contains(&frame.pack)).collect();
        if frames.len() >= stored {
            break frames;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    for frame in frames {
        assert!(disk.flip_bit(&frame.file, frame.from + frame.bytes - frame.shard_bytes));
    }
    let report = collect(&rig).await;
    assert!(report.incomplete, "{report:?}");
    for size in before {
        let stored = object(&rig, &bucket, size).await;
        assert!(packs_of(&stored).is_subset(&doomed), "{size} was moved");
        let read = rig
            .read_under(&bucket, &stored, Some(&customer(9)), 0..size as u64)
            .await;
        assert!(
            matches!(read, Err(SessionError::Unreadable { .. })),
            "{size}: {read:?}"
        );
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_and_with_another_not_a_byte_is_read() {
    let disk = SimDisk::new(73);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    put_all(&rig, &bucket).await;
    let plain = rig.put(&bucket, "plain", b"plain").await.unwrap();
    let session = &rig.session;
    for size in SIZES {
        let stored = object(&rig, &bucket, size).await;
        let check = |key: Option<&CustomerKey>| session.check_key(&bucket, &stored, key);
        assert_eq!(check(None), Err(CustomerKeyError::Missing));
        assert_eq!(check(Some(&customer(8))), Err(CustomerKeyError::Wrong));
        assert_eq!(check(Some(&customer(9))), Ok(()));
        // Whoever does not ask first gets nothing either.
        for key in [None, Some(customer(8))] {
            let read = session.read(&rig.caller, &bucket, &stored, key, 0..size as u64);
            let pieces: Vec<_> = read.collect().await;
            assert!(
                pieces.iter().all(Result::is_err) && pieces.len() == usize::from(size > 0),
                "{size}"
            );
        }
    }
    let needless = session.check_key(&bucket, &plain, Some(&customer(9)));
    assert_eq!(needless, Err(CustomerKeyError::Needless));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_under_the_same_key_have_other_etags_and_never_their_md5() {
    let disk = SimDisk::new(74);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    let mut etags = BTreeSet::new();
    for key in ["a", "b"] {
        let nine = customer(9);
        let put = rig.put_under(&bucket, key, b"same", Some(&nine), Condition::None);
        let stored = put.await.unwrap();
        assert_ne!(stored.object.etag_md5, [0; 16], "the MD5 that the rig hands in");
        etags.insert(stored.object.etag());
        let Manifest::Inline(parts) = &stored.object.manifest else {
            panic!()
        };
        assert!(parts.iter().all(|part| part.customer && part.md5.is_none()));
    }
    assert_eq!(etags.len(), 2);
    rig.close().await;
}

async fn part(
    rig: &Rig,
    target: (&Bucket, &str, UploadId),
    number: u16,
    bytes: &[u8],
    key: Option<&CustomerKey>,
) -> Result<CompletePart, SessionError> {
    let (bucket, name, id) = target;
    let upload = rig.session.upload(bucket, &object_key(name), id).await?;
    let mut stream = rig.session.part_stream(bucket, &upload, key).await?;
    stream.write(bytes::Bytes::copy_from_slice(bytes)).await?;
    let new = NewPart {
        number,
        etag_md5: [number as u8; 16],
        checksum: None,
        operation: "UploadPart",
    };
    let stored = rig
        .session
        .put_part(
            &rig.caller,
            (bucket, &object_key(name), id),
            new,
            stream.finish().await?,
        )
        .await?;
    assert_eq!(stored.entry.part.md5.is_none(), key.is_some());
    Ok(CompletePart {
        number,
        etag: stored.entry.etag(),
        checksum: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_takes_parts_under_its_key_alone_and_outlives_a_rebuild() {
    let disk = SimDisk::new(75);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("sealed").await;
    let (session, name) = (&rig.session, object_key("o"));
    let new = NewUpload {
        customer: Some(customer(9)),
        ..NewUpload::default()
    };
    let id = session
        .create_upload(&rig.caller, &bucket, &name, new)
        .await
        .unwrap();
    let upload = session.upload(&bucket, &name, id).await.unwrap();
    let check = |key: Option<&CustomerKey>| session.check_upload_key(&bucket, &upload, key);
    assert_eq!(check(None), Err(CustomerKeyError::UploadLacks));
    assert_eq!(check(Some(&customer(8))), Err(CustomerKeyError::UploadDiffers));
    assert_eq!(check(Some(&customer(9))), Ok(()));
    let target = (&bucket, "o", id);
    let refused = part(&rig, target, 1, b"plain", None).await;
    let lacks = SessionError::CustomerKey(CustomerKeyError::UploadLacks);
    assert_eq!(refused.err(), Some(lacks));
    let differs = SessionError::CustomerKey(CustomerKeyError::UploadDiffers);
    let refused = part(&rig, target, 1, b"other", Some(&customer(8))).await;
    assert_eq!(refused.err(), Some(differs.clone()));
    // Nor does a stream become a part that was begun as an object of its own, under the same key though.
    let key = customer(9);
    let stray = session.stream(&bucket, Some(&key)).await.unwrap();
    let new = NewPart {
        number: 1,
        etag_md5: [1; 16],
        checksum: None,
        operation: "UploadPart",
    };
    let stray = stray.finish().await.unwrap();
    let stray = session
        .put_part(&rig.caller, (&bucket, &name, id), new, stray)
        .await;
    assert_eq!(stray.err(), Some(differs.clone()));
    let first = part(&rig, target, 1, &body(1, 5 << 20), Some(&customer(9)))
        .await
        .unwrap();
    let plain = session
        .create_upload(&rig.caller, &bucket, &name, NewUpload::default())
        .await
        .unwrap();
    let refused = part(&rig, (&bucket, "o", plain), 1, b"sealed", Some(&customer(9))).await;
    assert_eq!(refused.err(), Some(differs));
    // Sent again, a part has the ETag that it had.
    let again = part(&rig, target, 1, &body(1, 5 << 20), Some(&customer(9)))
        .await
        .unwrap();
    assert_eq!(again.etag, first.etag);
    rig.settle().await;
    rig.close().await;
    rebuild(&disk).await;
    let rig = open(&disk, false).await;
    let bucket = rig.session.bucket("sealed").await.unwrap();
    let second = part(&rig, (&bucket, "o", id), 2, &body(2, 70_000), Some(&customer(9)))
        .await
        .unwrap();
    let completion = Completion {
        parts: vec![first, second],
        expected: None,
        expected_bytes: None,
        customer: None,
    };
    let stored = rig
        .session
        .complete_upload(&rig.caller, (&bucket, &name, id), completion, Condition::None)
        .await
        .unwrap();
    let total = stored.object.plaintext_bytes;
    let read = rig
        .read_under(&bucket, &stored, Some(&customer(9)), 0..total)
        .await
        .unwrap();
    assert!(read == [body(1, 5 << 20), body(2, 70_000)].concat());
    rig.close().await;
}
