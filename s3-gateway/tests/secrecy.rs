//! What the drives, the ledger and the activity log show: no body, no object key, no bucket name, no metadata and no credential,
//! in no usual encoding. And what they prove: the records of what was done.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use activity::Receipt;
use base64::Engine as _;
use engine::disk::{Disk, RealDisk};
use rig::{Opening, Rig, object_key};
use s3_gateway::session::{
    Attributes, Bucket, CollectOptions, CompletePart, Completion, Condition, CopyChanges, NewCredential,
    NewObject, NewPart, NewUpload, RefusedOperation,
};
use scopes::{OperationSet, ScopeSet, Window};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::customer::CustomerKey;

/// 32 bytes that nothing writes by chance.
const BODY: &str = "canary-body-pelican-4711-quagga!";
const KEY: &str = "canary-key-heron-0815-okapi/part";
const BUCKET: &str = "canary-bucket-ibis-1234-tapir";
const METADATA: &str = "canary-metadata-egret-5678-lemur";
/// A customer's key, so that it would be found as well.
const CUSTOMER: &str = "canary-client-key-quetzal-0-gnu!";
const LABEL: &str = "canary-label-stork-9012-numbat";

/// A body with the canary at every alignment, repeated over many chunks.
fn body(bytes: usize) -> Vec<u8> {
    let filler = "0123456789abcdef".bytes().cycle();
    let mut body = Vec::with_capacity(bytes + 64);
    for (number, filler) in (0..).zip(filler) {
        if body.len() >= bytes {
            break;
        }
        body.extend_from_slice(BODY.as_bytes());
        body.extend(std::iter::repeat_n(filler, number % 7));
    }
    body
}

/// A text as it may stand in a file: itself, in hex, in base64 and base64url at each of the three alignments, percent-encoded,
/// and in UTF-16.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let bytes = text.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = bytes.iter().map(|byte| format!("%{byte:02X}")).collect();
    let mut forms = vec![
        bytes.to_vec(),
        bytes.iter().rev().copied().collect(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        percent.into_bytes(),
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ];
    for skip in 0..3 {
        // Whole groups of three bytes, so that neither padding nor what follows matters.
        let rest = bytes.get(skip..).unwrap();
        let whole = rest.get(..rest.len() / 3 * 3).unwrap();
        forms.push(
            base64::engine::general_purpose::STANDARD_NO_PAD
                .encode(whole)
                .into_bytes(),
        );
        forms.push(
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .encode(whole)
                .into_bytes(),
        );
    }
    forms
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Which forms of which texts stand in which files, also in their names.
fn leaks(root: &Path, texts: &[&str]) -> Vec<String> {
    let mut leaks = Vec::new();
    let needles: Vec<_> = texts
        .iter()
        .flat_map(|text| forms(text).into_iter().map(move |form| (*text, form)))
        .map(|(text, form)| (text, memchr::memmem::Finder::new(&form).into_owned()))
        .collect();
    for path in files(root) {
        let content = std::fs::read(&path).unwrap();
        let name = path.to_string_lossy().into_owned();
        for (text, needle) in &needles {
            if needle.find(&content).is_some() || needle.find(name.as_bytes()).is_some() {
                leaks.push(format!("{text} in {name}"));
            }
        }
    }
    leaks
}

fn new_object() -> NewObject {
    NewObject {
        attributes: Attributes {
            metadata: vec![
                ("content-type".to_owned(), format!("text/{METADATA}")),
                ("x-amz-meta-canary".to_owned(), METADATA.to_owned()),
            ],
            ..Attributes::default()
        },
        ..NewObject::default()
    }
}

async fn put(rig: &Rig, bucket: &Bucket, key: &str, bytes: &[u8], customer: Option<&CustomerKey>) {
    let mut stream = rig.session.stream(bucket, customer).await.unwrap();
    stream.write(bytes::Bytes::copy_from_slice(bytes)).await.unwrap();
    let body = stream.finish().await.unwrap();
    rig.session
        .put_object(
            &rig.caller,
            bucket,
            &object_key(key),
            body,
            new_object(),
            Condition::None,
        )
        .await
        .unwrap();
}

/// Everything that writes: puts of all sizes, an upload, copies, a listing, refusals, a credential, checkpoint and collection.
async fn everything(rig: &Rig) {
    let bucket = rig.bucket(BUCKET).await;
    for bytes in [32, 5_000, 200_000, 1_500_000] {
        put(rig, &bucket, &format!("{KEY}/{bytes}"), &body(bytes), None).await;
    }
    let key = object_key(&format!("{KEY}/upload"));
    let new = NewUpload {
        attributes: new_object().attributes,
        ..NewUpload::default()
    };
    let (session, caller) = (&rig.session, &rig.caller);
    let id = session.create_upload(caller, &bucket, &key, new).await.unwrap();
    let mut stream = session.stream(&bucket, None).await.unwrap();
    stream.write(body(40_000).into()).await.unwrap();
    let part = stream.finish().await.unwrap();
    let new = NewPart {
        number: 1,
        etag_md5: [1; 16],
        checksum: None,
        operation: "UploadPart",
    };
    let stored = session
        .put_part(caller, (&bucket, &key, id), new, part)
        .await
        .unwrap();
    let parts = vec![CompletePart {
        number: 1,
        etag: stored.entry.etag(),
        checksum: None,
    }];
    let completion = Completion {
        parts,
        expected: None,
        expected_bytes: None,
        customer: None,
    };
    let stored = session
        .complete_upload(caller, (&bucket, &key, id), completion, Condition::None)
        .await
        .unwrap();
    let other = rig.bucket(&format!("{BUCKET}-2")).await;
    for to in [&bucket, &other] {
        let key = object_key(&format!("{KEY}/copy"));
        session
            .copy_object(
                caller,
                (&bucket, &stored),
                (to, &key),
                CopyChanges::none(&stored),
                Condition::None,
            )
            .await
            .unwrap();
    }
    rig.get(&bucket, &format!("{KEY}/32")).await.unwrap();
    rig.get(&bucket, &format!("{KEY}/absent")).await.unwrap_err();
    let refused = RefusedOperation {
        operation_id: caller.operation_id,
        operation: "GetObject",
        bucket: Some(BUCKET),
        code: "AccessDenied",
    };
    session.refused(Some(&caller.identity), refused);
    rig.delete(&bucket, &format!("{KEY}/5000")).await.unwrap();
    session.checkpoint().await.unwrap();
    session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    rig.recorder.flush().await.unwrap();
}

/// What is sealed under a customer's key, small and large, moved by a collection.
async fn under_a_customers_key(rig: &Rig) {
    let customer = CustomerKey::from_bytes(CUSTOMER.as_bytes().try_into().unwrap());
    let bucket = rig.bucket(BUCKET).await;
    for bytes in [32, 5_000, 200_000, 1_500_000] {
        let key = format!("{KEY}/customer/{bytes}");
        put(rig, &bucket, &key, &body(bytes), Some(&customer)).await;
        put(rig, &bucket, &format!("{key}/beside"), &body(bytes), None).await;
        rig.delete(&bucket, &format!("{key}/beside")).await.unwrap();
        let stored = rig.session.object(&bucket, &object_key(&key)).await.unwrap();
        let read = rig
            .read_under(
                &bucket,
                &stored,
                Some(&customer),
                0..stored.object.plaintext_bytes,
            )
            .await;
        assert!(read.unwrap() == body(bytes));
        rig.get(&bucket, &key).await.unwrap_err();
    }
    rig.session
        .collect(CollectOptions { everything: true }, &|_| {})
        .await
        .unwrap();
    rig.recorder.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_written_shows_on_drives_ledger_or_activity_log() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let rig = Rig::open_with(disk, dir.path(), Opening::usual(true))
        .await
        .unwrap();
    let credential = NewCredential {
        label: LABEL.to_owned(),
        scopes: ScopeSet::Named(vec![BUCKET.to_owned()]),
        operations: OperationSet::all(),
        window: Window::default(),
        owner: false,
        fixed: None,
    };
    let (access_key, secret) = rig.session.create_credential(credential).await.unwrap();
    everything(&rig).await;
    under_a_customers_key(&rig).await;
    // The search finds what is there: the same files with a canary put beside them in the clear.
    let texts = [
        BODY,
        KEY,
        BUCKET,
        METADATA,
        CUSTOMER,
        LABEL,
        access_key.as_str(),
        secret.expose(),
    ];
    for (number, form) in texts.iter().flat_map(|text| forms(text)).enumerate() {
        std::fs::write(dir.path().join(format!("activity/clear{number}")), form).unwrap();
    }
    let clear = texts.len() * forms(BODY).len();
    assert!(leaks(dir.path(), &texts).len() >= clear);
    for number in 0..clear {
        std::fs::remove_file(dir.path().join(format!("activity/clear{number}"))).unwrap();
    }
    let open = leaks(dir.path(), &texts);
    assert_eq!(open, Vec::<String>::new());
    rig.close().await;
    assert_eq!(leaks(dir.path(), &texts), Vec::<String>::new(), "after closing");
    let bytes: u64 = files(dir.path())
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(bytes > 5_000_000, "only {bytes} bytes were searched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_has_a_record_whose_receipt_verifies_offline() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let rig = Rig::open(disk, dir.path(), true).await.unwrap();
    everything(&rig).await;
    let records = rig.session.activity(&Default::default()).await.unwrap();
    let done: Vec<&str> = records
        .iter()
        .map(|opened| opened.record.operation.as_str())
        .collect();
    for operation in [
        "CreateBucket",
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "CopyObject",
        "GetObject",
        "DeleteObject",
        "IndexCheckpoint",
    ] {
        assert!(done.contains(&operation), "{operation} is not among {done:?}");
    }
    let count = |wanted| done.iter().filter(|operation| **operation == wanted).count();
    assert_eq!(
        (count("PutObject"), count("CopyObject"), count("DeleteObject")),
        (4, 2, 1)
    );
    let key = rig.recorder.reader().key();
    for opened in &records {
        let text = rig
            .session
            .receipt(&opened.record.record_id.to_string())
            .await
            .unwrap();
        let verified = Receipt::parse(text.as_bytes())
            .unwrap()
            .verify(Some(key))
            .unwrap();
        assert_eq!(verified.record, opened.record);
        assert!(verified.pinned);
        assert_eq!(verified.index, opened.index);
        // It shows its own record and nothing of the vault's content.
        for secret in [BODY, KEY, METADATA] {
            assert!(!text.contains(secret));
        }
    }
    let report = activity::audit(rig.recorder.reader()).unwrap();
    assert_eq!((report.entries, report.uncovered), (records.len() as u64, 0));
    rig.close().await;
}
