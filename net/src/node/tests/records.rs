//! What a node writes down.

use activity::{ActivityLog, LogIdentity, Record, audit};
use engine::disk::Disk;
use scopes::Wallet;

use super::*;
use crate::node::{NodeRecords, OPERATIONS, RecordsConfig, newest};

const DIR: &str = "/n/activity";

fn own() -> PeerKey {
    PeerKey::from_seed(&[1; 32])
}

async fn records(disk: &SimDisk) -> Arc<NodeRecords> {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let config = RecordsConfig {
        cluster: [9; 16],
        fresh_log_id: Arc::new(|| NUMBER.fetch_add(1, Ordering::Relaxed)),
        now_ms: Arc::new(|| NOW_MS),
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    NodeRecords::open(disk, Path::new(DIR), &own(), config)
        .await
        .unwrap()
}

async fn written(records: &NodeRecords) -> Vec<Record> {
    records.recorder().flush().await.unwrap();
    let reader = records.recorder().reader();
    audit(reader).unwrap();
    let found = newest(reader, usize::MAX, 0, &|_| true).unwrap();
    found.into_iter().map(|(_, record)| record).collect()
}

fn shown(record: &Record) -> (String, u64, String, activity::Purpose, u32) {
    let Record {
        operation,
        bytes,
        status,
        purpose,
        attempt,
        ..
    } = record.clone();
    (operation, bytes, status, purpose, attempt)
}

#[tokio::test]
async fn each_shard_operation_is_written_down_with_caller_operation_scope_and_bytes() {
    let disk = SimDisk::unrecorded(31);
    let (node, records) = (node(&disk, 1, true).await, records(&disk).await);
    node.keep_records(Arc::clone(&records));
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let shard = pack.shards[0].clone();
    let key = header(&pack, 0, VAULT).key();
    let stored = put(drive, header(&pack, 0, VAULT), PutMode::Free);
    ask_with(&node, stored.clone(), shard.clone()).await;
    ask_with(&node, stored, Bytes::from(vec![1; shard.len()])).await;
    ask(&node, range(drive, key, 3, 1_000)).await;
    let challenge = Request::Challenge {
        drive,
        key,
        offset: 0,
        bytes: 1_024,
    };
    let slice = ask_with(&node, challenge, Bytes::new()).await.body.len() as u64;
    ask_with(&node, Request::Delete, Bytes::from_static(b"no order")).await;
    // Questions of what is there leave no record, and no stranger writes into the log.
    ask(
        &node,
        Request::Has {
            drive,
            keys: vec![key],
        },
    )
    .await;
    let strange = Call {
        context: Context {
            operation: [1; 16],
            attempt: 0,
            purpose: Purpose::Read,
        },
        request: range(drive, key, 0, 10),
        body: Bytes::new(),
    };
    node.answer(PeerKey::from_seed(&[55; 32]).id(), strange).await;

    let found = written(&records).await;
    let length = shard.len() as u64;
    let write = activity::Purpose::Write;
    let expected = [
        ("PutShard", length, "ok"),
        ("PutShard", 0, "WrongHash"),
        ("GetRange", 1_000, "ok"),
        ("ProveShard", slice, "ok"),
        ("DeleteShards", 0, "BadOrder"),
    ];
    let expected =
        expected.map(|(name, bytes, status)| (name.to_owned(), bytes, status.to_owned(), write, 1));
    assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
    for record in &found {
        assert_eq!(record.agent, gateway().id().to_string());
        assert_eq!(record.operation_id.0, [7; 16]);
        assert!(OPERATIONS.contains(&record.operation.as_str()));
    }
    let scope = format!("{} / {}", scopes::VaultId(VAULT), scopes::ScopeId(SCOPE));
    assert!(
        found[..4].iter().all(|record| record.vault_scope == scope),
        "{found:?}"
    );
    records.recorder().close().await.unwrap();
    node.close().await;
}

#[tokio::test]
async fn of_an_answer_that_is_cut_short_the_bytes_count_that_were_handed_over() {
    let disk = SimDisk::unrecorded(32);
    let (node, records) = (node(&disk, 1, true).await, records(&disk).await);
    node.keep_records(Arc::clone(&records));
    let (drive, pack) = (drive_id(&[1; 16], 0), pack(1));
    let stored = put(drive, header(&pack, 0, VAULT), PutMode::Free);
    ask_with(&node, stored, pack.shards[0].clone()).await;
    let hedge = || Call {
        context: Context {
            operation: [8; 16],
            attempt: 1,
            purpose: Purpose::Hedge,
        },
        request: range(drive, header(&pack, 0, VAULT).key(), 0, 1_000),
        body: Bytes::new(),
    };
    let (_, on_sent) = node.answer_to_send(gateway().id(), hedge()).await;
    on_sent.unwrap()(300);
    let (_, on_sent) = node.answer_to_send(gateway().id(), hedge()).await;
    drop(on_sent);
    let found = written(&records).await;
    let hedge = activity::Purpose::Hedge;
    let cut = |bytes, status: &str| ("GetRange".to_owned(), bytes, status.to_owned(), hedge, 2);
    let ended: Vec<_> = found[1..].iter().map(shown).collect();
    assert_eq!(ended, [cut(300, "CutShort"), cut(0, "Abandoned")]);
    records.recorder().close().await.unwrap();
    node.close().await;
}

#[tokio::test]
async fn a_log_goes_on_after_a_start_and_says_where_a_crash_may_have_taken_records() {
    let disk = SimDisk::unrecorded(33);
    let begun = records(&disk).await;
    let key = begun.recorder().reader().key().clone();
    begun.recorder().close().await.unwrap();
    drop(begun);
    let clean = records(&disk).await;
    assert_eq!(*clean.recorder().reader().key(), key);
    assert!(written(&clean).await.is_empty(), "nothing was missed");
    clean.recorder().close().await.unwrap();
    drop(clean);

    // As a crash leaves it: without its closing frame.
    let origin = format!(
        "cairn.log/{}/{}",
        "09".repeat(16),
        own().id().to_string().replace("ed25519:", "")
    );
    let identity = LogIdentity::new(&origin, Wallet::from_seed(&[1; 32])).unwrap();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut log, _) = ActivityLog::open(shared, Path::new(DIR), identity, 1).unwrap();
    let entry = activity::NewEntry {
        record_id: activity::RecordId([4; 16]),
        ledger_sequence: 0,
        commitment: [5; 32],
        body: Bytes::new(),
    };
    log.append(&entry).unwrap();
    log.sync_and_checkpoint().unwrap();
    drop(log);
    let after = records(&disk).await;
    let noted = async {
        loop {
            after.recorder().flush().await.unwrap();
            if after.recorder().reader().len() == 2 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), noted)
        .await
        .expect("the gap is written down");
    let reader = after.recorder().reader();
    let (gap, _) = crate::node::open_entry(&reader.entry(1).unwrap()).unwrap();
    assert_eq!(
        (gap.operation.as_str(), gap.agent),
        ("ActivityGap", own().id().to_string())
    );
    after.recorder().close().await.unwrap();
}
