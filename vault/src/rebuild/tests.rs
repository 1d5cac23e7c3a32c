use engine::codec::DecodeError;

use super::*;
use crate::object::Object;
use crate::object::samples::{object, part};
use crate::testing::{SCOPE, keyring};

fn named(key: &str, modified_ms: u64) -> Object {
    let mut object = object(key, vec![part(0, 10, 1)]);
    object.modified_ms = modified_ms;
    object
}

fn found(slot: u8, after: u64, clock_ms: u64, operation: u8) -> FoundClaim {
    let key = format!("k{slot}");
    let value = ClaimValue::Object(named(&key, clock_ms));
    let claim = Claim {
        slot: keyring().object_address(SCOPE, key.as_bytes()).slot,
        epoch: 1,
        clock_ms,
        after: Sequence(after),
        operation: [operation; 16],
        value,
    };
    FoundClaim {
        pack: PackId([operation; 32]),
        scope: SCOPE,
        claim,
    }
}

fn kept(slot: u8, sequence: u64, modified_ms: u64) -> CheckpointEntry {
    let key = format!("k{slot}");
    let address = keyring().object_address(SCOPE, key.as_bytes());
    let value = Zeroizing::new(named(&key, modified_ms).encode());
    CheckpointEntry {
        address,
        sequence: Sequence(sequence),
        value,
    }
}

/// Number of the key and modification time of what comes out, by address.
fn rebuild(
    through: u64,
    claims: &[FoundClaim],
    checkpoint: &[CheckpointEntry],
) -> (Vec<(u8, u64)>, RebuildReport) {
    let mut forward = ClaimSet::since(Sequence(through), &keyring());
    let mut backward = ClaimSet::since(Sequence(through), &keyring());
    claims.iter().for_each(|claim| forward.add(claim.clone()));
    claims.iter().rev().for_each(|claim| backward.add(claim.clone()));
    let run = |set: ClaimSet| {
        let mut out = Vec::new();
        let entries = checkpoint.iter().cloned().map(Ok::<_, DecodeError>);
        let report = set.merge(entries, &mut |entry| {
            let object = Object::decode(&entry.value)?;
            out.push((object.key[1..].parse().unwrap(), object.modified_ms));
            Ok(())
        });
        out.sort_unstable();
        (out, report.unwrap())
    };
    let (out, report) = run(forward);
    assert_eq!(run(backward).0, out, "the order of claims matters");
    (out, report)
}

#[test]
fn without_a_checkpoint_the_latest_claim_of_each_slot_comes_out() {
    let claims = [
        found(1, 5, 100, 1),
        found(1, 6, 50, 2),
        found(2, 5, 10, 3),
        found(2, 5, 20, 4),
    ];
    let (out, report) = rebuild(0, &claims, &[]);
    assert_eq!(out, [(1, 50), (2, 20)]);
    assert_eq!((report.from_claims, report.contested), (2, 2));
}

#[test]
fn what_was_deleted_before_the_checkpoint_stays_deleted() {
    let (out, report) = rebuild(10, &[found(1, 9, 100, 1), found(2, 10, 100, 2)], &[]);
    assert_eq!(out, [(2, 100)]);
    assert_eq!((report.settled, report.from_claims), (1, 1));
}

#[test]
fn a_later_claim_replaces_the_checkpoints_entry_and_an_earlier_does_not() {
    let checkpoint = [
        kept(1, 11, 100),
        kept(2, 15, 100),
        kept(3, 15, 100),
        kept(4, 9, 100),
    ];
    // 1: its writer had seen the entry. 2: made before the entry. 3: made after it. 4: no claim.
    let claims = [found(1, 11, 90, 1), found(2, 12, 99, 2), found(3, 12, 101, 3)];
    let (out, report) = rebuild(10, &claims, &checkpoint);
    assert_eq!(out, [(1, 90), (2, 100), (3, 101), (4, 100)]);
    assert_eq!((report.from_checkpoint, report.from_claims), (2, 2));
}

#[test]
fn the_newest_checkpoint_is_the_one_that_goes_furthest() {
    let pointer = |through, written_ms| {
        let value = CheckpointPointer {
            through: Sequence(through),
            written_ms,
            stream: part(0, 5, 1),
        };
        let mut found = found(1, 1, 1, 1);
        found.claim.value = ClaimValue::Checkpoint(value);
        found
    };
    let newest =
        newest_checkpoint([pointer(5, 9), pointer(7, 1), pointer(7, 2), found(1, 99, 99, 1)]).unwrap();
    assert_eq!((newest.through, newest.written_ms), (Sequence(7), 2));
    assert_eq!(newest_checkpoint([found(1, 1, 1, 1)]), None);
}
