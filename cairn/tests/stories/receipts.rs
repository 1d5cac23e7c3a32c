//! The activity log by command: records, receipts, and receipts that were tampered with.

use std::path::Path;
use std::process::Output;

use super::process::{Place, content, make_bucket, put, text};

/// `cairn verify` of these bytes, somewhere without a data directory.
fn verify(place: &Place, receipt: &[u8], extra: &[&str]) -> Output {
    let file = place.root().join("receipt");
    std::fs::write(&file, receipt).unwrap();
    let mut command = place.command(["verify"]);
    command
        .env("CAIRN_DATA", Path::new("/nonexistent"))
        .arg(&file)
        .args(extra);
    command.output().unwrap()
}

#[tokio::test]
async fn a_receipt_holds_offline_and_no_changed_byte_passes() {
    let place = Place::new();
    let running = place.up();
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    for n in 0..5 {
        put(&mut client, "first", &format!("object {n}"), content("x", 1_000))
            .await
            .unwrap();
    }
    let records = place.json(["activity", "list"]);
    let records = records["records"].as_array().unwrap();
    let puts: Vec<_> = records
        .iter()
        .filter(|record| record["operation"] == "PutObject")
        .collect();
    assert_eq!(puts.len(), 5, "every operation that was answered is in the list");
    let id = puts[2]["record_id"].as_str().unwrap();
    assert_eq!(place.json(["activity", "show", id])["record"], *puts[2]);

    let receipt = place.run(["activity", "receipt", id]).stdout;
    let key = place.json(["status"])["activity"]["log_key"]
        .as_str()
        .unwrap()
        .to_owned();
    drop(client);
    running.stop();

    let output = verify(&place, &receipt, &[]);
    assert!(
        output.status.success() && text(&output).contains("key not pinned"),
        "{}",
        text(&output)
    );
    let output = verify(&place, &receipt, &["--log-key", &key]);
    assert!(
        output.status.success() && !text(&output).contains("not pinned"),
        "{}",
        text(&output)
    );
    let other = verify(&place, &receipt, &["--log-key", &other_log_key()]);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));
    assert_eq!(
        verify(&place, &receipt, &["--log-key", "nonsense"]).status.code(),
        Some(2)
    );

    let empty = verify(&place, b"", &["--json"]);
    assert_eq!(empty.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&empty.stdout).unwrap();
    assert_eq!(
        (answer["valid"].as_bool(), answer["reason"].as_str()),
        (Some(false), Some("the file is empty"))
    );

    // Every byte in the room that owns receipts; here a sample through the whole program.
    for at in (0..receipt.len()).step_by(receipt.len() / 40) {
        let mut changed = receipt.clone();
        changed[at] ^= 1;
        let output = verify(&place, &changed, &[]);
        assert_eq!(output.status.code(), Some(1), "byte {at}: {}", text(&output));
    }
    assert_eq!(
        verify(&place, &receipt[..receipt.len() - 1], &[]).status.code(),
        Some(1)
    );
    assert_eq!(
        verify(&place, &[&receipt[..], b"\n"].concat(), &[]).status.code(),
        Some(1)
    );
}

/// The key of another log: that of another data directory.
fn other_log_key() -> String {
    let place = Place::new();
    place.up().stop();
    place.json(["status"])["activity"]["log_key"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn the_log_shows_neither_object_names_nor_access_keys() {
    let place = Place::new();
    let running = place.up();
    let key = place.root_key();
    let mut client = running.client(&key).await;
    make_bucket(&mut client, "first").await;
    put(
        &mut client,
        "first",
        "canary-name",
        b"canary-plaintext-canary-plaintext".to_vec(),
    )
    .await
    .unwrap();
    let listed = place.run(["activity", "list", "--json"]);
    for secret in ["canary", key.id.as_str(), key.secret.as_str()] {
        assert!(!text(&listed).contains(secret), "{secret}");
    }
    drop(client);
    running.stop();
    let shards = match place.data().join("peers").exists() {
        true => "peers",
        false => "drives",
    };
    for room in [shards, "ledger", "activity"] {
        for canary in [
            "canary-name",
            "canary-plaintext",
            key.secret.as_str(),
            key.id.as_str(),
        ] {
            assert!(
                !holds(&place.data().join(room), canary.as_bytes()),
                "{room} holds {canary}"
            );
        }
    }
}

fn holds(directory: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = std::fs::read(path).unwrap();
        // Runs of zeros are preallocation; skipping to the needle's first byte keeps the search fast.
        let mut rest = bytes.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
            rest = &rest[at..];
            if rest.starts_with(needle) {
                return true;
            }
            rest = &rest[1..];
        }
        false
    })
}

#[test]
fn a_name_that_no_record_has_is_a_usage_error_that_lists_the_names() {
    let place = Place::new();
    let _running = place.up();
    let unknown = place.run(["activity", "list", "--operation", "putobject"]);
    assert_eq!(unknown.status.code(), Some(2));
    for name in ["PutObject", "VaultRebuild", "RetirePacks", "Refused", "Unknown"] {
        assert!(text(&unknown).contains(name), "{}", text(&unknown));
    }
    let made = place.json(["activity", "list", "--operation", "CreateCredential"]);
    assert_eq!(made["records"].as_array().unwrap().len(), 1, "{made}");
    let none = place.run(["activity", "list", "--limit", "0"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none));
}
