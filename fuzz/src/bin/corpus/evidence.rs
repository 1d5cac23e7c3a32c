//! Receipts from trees of several sizes, records, a log's key and its signed note.

use activity::merkle::leaf_hash;
use activity::{
    Compute, LogIdentity, OperationId, Purpose, Receipt, Record, RecordId, ResultHash, Timestamp, Tree,
    commitment, vault_scope,
};
use scopes::{VaultId, Wallet};

use super::Seeds;

fn record(number: u8) -> Record {
    Record {
        record_id: RecordId([number; 16]),
        agent: "credential 0123456789abcdef".to_owned(),
        vault_scope: vault_scope(VaultId([4; 16]), "calendar"),
        operation: "PutObject".to_owned(),
        compute: Compute {
            cpu_ms: 3,
            gpu_units: 0,
        },
        result_hash: ResultHash::Blake3([number; 32]),
        signatures: Vec::new(),
        grant_id: None,
        bytes: u64::MAX,
        time: Timestamp::from_ms(1_781_079_242_123),
        operation_id: OperationId([number; 16]),
        attempt: 1,
        purpose: Purpose::Write,
        status: "ok".to_owned(),
    }
}

pub(super) fn receipt() -> Seeds {
    let identity = LogIdentity::new("cairn.example/log", Wallet::from_seed(&[0x33; 32]))?;
    let mut signed = record(1);
    signed.sign(&Wallet::from_seed(&[0x44; 32]))?;
    let refused = Record {
        status: "AccessDenied".to_owned(),
        result_hash: ResultHash::None,
        ..record(2)
    };
    let records = [
        signed.canonical_bytes()?,
        refused.canonical_bytes()?,
        record(3).canonical_bytes()?,
    ];
    let blind = [0x5b; 32];
    let mut tree = Tree::default();
    let mut seeds = Vec::new();
    let mut receipts = Vec::new();
    for (size, name) in [(1, "receipt-of-1"), (2, "receipt-of-2"), (7, "receipt-of-7")] {
        while tree.size() < size {
            let record = records
                .get(tree.size() as usize % records.len())
                .ok_or("no record")?;
            tree.push(leaf_hash(&commitment(&blind, record)));
        }
        let index = size / 2;
        let record = records.get(index as usize % records.len()).ok_or("no record")?;
        let proof = tree.inclusion_proof(index, size, &[tree.tail()])?;
        let checkpoint = identity.sign(size, tree.root());
        receipts.push((
            name,
            Receipt::assemble(record, &blind, index, proof, &checkpoint)?
                .to_string()
                .into_bytes(),
        ));
    }
    seeds.append(&mut receipts);
    for (record, name) in records
        .into_iter()
        .zip(["record-signed", "record-refused", "record"])
    {
        seeds.push((name, record));
    }
    let key = identity.key().to_string();
    let note = identity.sign(7, tree.root()).note();
    seeds.push(("key-and-note", format!("{key}\n{note}").into_bytes()));
    seeds.push(("key", key.into_bytes()));
    Ok(seeds)
}
