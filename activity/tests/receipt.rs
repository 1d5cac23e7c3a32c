//! Receipts: what they prove, that no byte of one can be changed, and that other software reads them.

#![expect(clippy::unwrap_used, reason = "tests")]

use activity::merkle::leaf_hash;
use activity::{
    Compute, LogIdentity, LogKey, OperationId, Purpose, Receipt, ReceiptError, Record, RecordId, ResultHash,
    SignedCheckpoint, Timestamp, Tree, commitment, vault_scope,
};
use proptest::prelude::*;
use scopes::{VaultId, Wallet};
use signed_note::{Note, StandardVerifier, VerifierList};

const ORIGIN: &str = "cairn.example/v-7c21/activity";

fn identity() -> LogIdentity {
    LogIdentity::new(ORIGIN, Wallet::from_seed(&[8; 32])).unwrap()
}

fn record(number: u8) -> Record {
    let mut record = Record {
        record_id: RecordId([number; 16]),
        agent: "credential:c4c4c4c4c4c4c4c4".into(),
        vault_scope: vault_scope(VaultId([0x7c; 16]), "calendar"),
        operation: "GetObject".into(),
        compute: Compute::default(),
        result_hash: ResultHash::None,
        signatures: Vec::new(),
        grant_id: None,
        bytes: 4_096,
        time: Timestamp::from_ms(1_781_079_242_123),
        operation_id: OperationId([number; 16]),
        attempt: 1,
        purpose: Purpose::Read,
        status: "ok".into(),
    };
    record.sign(&Wallet::from_seed(&[5; 32])).unwrap();
    record
}

/// A log of `size` records and the receipt of the one at `index`.
fn receipt(index: u8, size: u8) -> (Receipt, SignedCheckpoint) {
    let mut tree = Tree::default();
    let blind = |number: u8| [number ^ 0x33; 32];
    for number in 0..size {
        tree.push(leaf_hash(&commitment(
            &blind(number),
            &record(number).canonical_bytes().unwrap(),
        )));
    }
    let checkpoint = identity().sign(u64::from(size), tree.root());
    let proof = tree
        .inclusion_proof(u64::from(index), u64::from(size), &[])
        .unwrap();
    let bytes = record(index).canonical_bytes().unwrap();
    (
        Receipt::assemble(&bytes, &blind(index), u64::from(index), proof, &checkpoint).unwrap(),
        checkpoint,
    )
}

fn holds(bytes: &[u8], pinned: Option<&LogKey>) -> bool {
    Receipt::parse(bytes)
        .and_then(|receipt| receipt.verify(pinned))
        .is_ok()
}

#[test]
fn a_receipt_is_the_golden_bytes() {
    let text = receipt(5, 11).0.to_string();
    assert_eq!(text, include_str!("../golden/receipt.tlog-proof"));
}

#[test]
fn a_receipt_proves_its_record_offline() {
    for (index, size) in [(0, 1), (0, 2), (1, 2), (6, 7), (5, 11), (199, 200)] {
        let (receipt, _) = receipt(index, size);
        let parsed = Receipt::parse(receipt.to_string().as_bytes()).unwrap();
        let verified = parsed.verify(None).unwrap();
        assert_eq!(verified.record, record(index));
        assert_eq!(
            (verified.index, verified.tree_size),
            (u64::from(index), u64::from(size))
        );
        assert_eq!(verified.signers, [Wallet::from_seed(&[5; 32]).public_key()]);
        assert!(!verified.pinned);
        assert!(parsed.verify(Some(identity().key())).unwrap().pinned);
    }
}

#[test]
fn no_byte_of_a_receipt_can_be_changed_added_or_taken_out() {
    let text = receipt(5, 11).0.to_string().into_bytes();
    let identity = identity();
    for pinned in [None, Some(identity.key())] {
        assert!(holds(&text, pinned));
        for place in 0..=text.len() {
            let mut other = text.clone();
            for extra in *b"\n A=" {
                other.insert(place, extra);
                assert!(!holds(&other, pinned), "insert {extra:02x} at {place}");
                other.remove(place);
            }
            let Some(&byte) = text.get(place) else { continue };
            for bit in 0..8 {
                other[place] = byte ^ 1 << bit;
                assert!(!holds(&other, pinned), "flip bit {bit} at {place}");
            }
            other.remove(place);
            assert!(!holds(&other, pinned), "delete at {place}");
        }
    }
}

#[test]
fn windows_line_ends_and_doubled_parts_are_refused() {
    let text = receipt(5, 11).0.to_string();
    let signature = text.lines().last().unwrap().to_owned();
    for other in [
        text.replace('\n', "\r\n"),
        format!("{text}\n"),
        format!("\u{feff}{text}"),
        format!("{text}{signature}\n"),
        text.replace("index 5", "index 05"),
        text.replace("index 5", "index 5\nindex 5"),
    ] {
        assert!(!holds(other.as_bytes(), None), "{other}");
    }
}

#[test]
fn a_receipt_of_another_log_is_refused_when_the_key_is_pinned() {
    let (receipt, _) = receipt(5, 11);
    let same_name = LogKey::new(ORIGIN, Wallet::from_seed(&[9; 32]).public_key()).unwrap();
    let same_key = LogKey::new("other.example", Wallet::from_seed(&[8; 32]).public_key()).unwrap();
    for key in [same_name, same_key] {
        let refused = receipt.verify(Some(&key)).map(|_| ());
        assert_eq!(
            refused,
            Err(ReceiptError::OtherKey {
                found: identity().key().clone()
            })
        );
    }
}

#[test]
fn a_proof_of_another_entry_makes_no_receipt() {
    let mut tree = Tree::default();
    let bytes = record(1).canonical_bytes().unwrap();
    for number in 0..4 {
        tree.push(leaf_hash(&commitment(&[number; 32], &bytes)));
    }
    let checkpoint = identity().sign(4, tree.root());
    for (index, proof_of) in [(0, 1), (1, 0), (2, 1), (4, 1)] {
        let proof = tree.inclusion_proof(proof_of, 4, &[]).unwrap();
        let made = Receipt::assemble(&bytes, &[1; 32], index, proof, &checkpoint).map(|_| ());
        assert_eq!(made, Err(ReceiptError::NotIncluded { index, size: 4 }));
    }
}

#[test]
fn other_software_reads_keys_and_checkpoints() {
    let (_, checkpoint) = receipt(5, 11);
    let verifier = StandardVerifier::new(&identity().key().to_string()).unwrap();
    let note = Note::from_bytes(checkpoint.note().as_bytes()).unwrap();
    let (verified, unknown) = note.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    let head = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(
        (head.origin(), head.size(), head.hash().0),
        (ORIGIN, 11, checkpoint.checkpoint().root)
    );
    assert_eq!(
        identity().key().to_string().parse::<LogKey>().unwrap(),
        *identity().key()
    );
}

#[test]
fn other_software_accepts_the_proof_in_a_receipt() {
    let text = receipt(5, 11).0.to_string();
    let (head, note) = text.split_once("\n\n").unwrap();
    let proof = head
        .lines()
        .skip(3)
        .map(|line| tlog_tiles::Hash::parse_hash(line).unwrap())
        .collect();
    let checkpoint = SignedCheckpoint::parse(note, identity().key())
        .unwrap()
        .checkpoint();
    let leaf = tlog_tiles::record_hash(&commitment(
        &[5 ^ 0x33; 32],
        &record(5).canonical_bytes().unwrap(),
    ));
    tlog_tiles::check_record(&proof, 11, tlog_tiles::Hash(checkpoint.root), 5, leaf).unwrap();
}

/// The form of a checkpoint says that its signature is one of ed25519.
#[test]
fn a_log_is_signed_by_a_key_of_ed25519_and_no_other() {
    for algorithm in scopes::Algorithm::ALL {
        let wallet = || Wallet::of(algorithm, &[8; 32]).unwrap();
        let is_ed25519 = algorithm == scopes::Algorithm::Ed25519;
        assert_eq!(LogKey::new(ORIGIN, wallet().public_key()).is_ok(), is_ed25519);
        assert_eq!(LogIdentity::new(ORIGIN, wallet()).is_ok(), is_ed25519);
    }
}

#[test]
fn origins_and_log_keys_are_read_strictly() {
    let key = Wallet::from_seed(&[8; 32]).public_key();
    for origin in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "\u{7}", &"x".repeat(256)] {
        assert!(LogKey::new(origin, key).is_err(), "{origin:?}");
    }
    let text = LogKey::new(ORIGIN, key).unwrap().to_string();
    for place in 0..text.len() {
        let mut other = text.clone().into_bytes();
        other[place] ^= 1;
        if let Ok(other) = String::from_utf8(other) {
            assert!(other.parse::<LogKey>().is_err(), "{other}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(
        cut: proptest::sample::Index,
        middle in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let text = include_bytes!("../golden/receipt.tlog-proof");
        let (head, tail) = text.split_at(cut.index(text.len()));
        let tail = &tail[middle.len().min(tail.len())..];
        let _ = Receipt::parse(&[head, &middle, tail].concat()).and_then(|receipt| receipt.verify(None));
        let _ = Receipt::parse(&middle);
    }
}
