use engine::pack::PackId;
use engine::slots::Expectation;

use super::*;
use crate::claim::{Claim, ClaimValue, Trailer, TrailerBuilder};
use crate::keys::credential_address;
use crate::object::Object;
use crate::object::samples::{self, object, part, part_entry, upload};
use crate::object::{Manifest, PackRef};
use crate::testing::{SCOPE, TestVault, keyring, seeded, written_pack};

fn none() -> Packs {
    Packs::default()
}

#[test]
fn a_put_is_a_compare_and_swap_on_what_it_was_decided_on() {
    let mut vault = TestVault::new();
    let bucket = vault.bucket();
    let address = keyring().object_address(SCOPE, b"k");
    let first = vault.put(&object("k", vec![])).unwrap();
    let stale =
        vault.run(|commit, random| commit.put_object(&bucket, &object("k", vec![]), None, &none(), random));
    assert_eq!(stale, Err(Expectation::Absent(address)));
    vault.put(&object("k", vec![part(0, 5, 1)])).unwrap();
    let stale = vault.run(|commit, _| commit.delete_object(&bucket, "k", Some(first)));
    assert_eq!(stale, Err(Expectation::At(address, first)));
    vault.delete("k").unwrap();
    assert!(vault.index.object(SCOPE, "k").unwrap().is_none());
}

#[test]
fn nothing_lands_in_a_deleted_bucket_and_a_full_one_is_not_deleted() {
    let mut vault = TestVault::new();
    let bucket = vault.bucket();
    vault.put(&object("k", vec![])).unwrap();
    let full = vault.run(|commit, _| commit.delete_bucket(&bucket));
    assert_eq!(full, Err(Expectation::ScopeEmpty(SCOPE.0)));
    vault.delete("k").unwrap();
    vault.run(|commit, _| commit.delete_bucket(&bucket)).unwrap();
    let gone = Err(Expectation::At(keyring().bucket_address("b"), bucket.sequence));
    assert_eq!(
        vault.run(|commit, random| commit.put_object(&bucket, &object("k", vec![]), None, &none(), random)),
        gone
    );
    assert_eq!(
        vault.run(|commit, random| commit.create_upload(&bucket, &upload("k", 1), &none(), random)),
        gone
    );
    // Made again, it is another bucket.
    let again = samples::bucket("b", SCOPE);
    vault
        .run(|commit, random| commit.create_bucket(&again, &none(), random))
        .unwrap();
    assert_eq!(
        vault.run(|commit, random| commit.put_object(&bucket, &object("k", vec![]), None, &none(), random)),
        gone
    );
}

#[test]
fn a_copy_loses_against_the_deletion_of_its_source_and_the_collection_of_its_packs() {
    let mut vault = TestVault::new();
    let bucket = vault.bucket();
    let source = object("source", vec![part(0, 5, 1)]);
    let at = vault.put(&source).unwrap();
    let from = keyring().object_address(SCOPE, b"source");
    let copy = object("copy", vec![part(0, 5, 1)]);
    let id = PackId([1; 32]);
    let packs = Packs {
        relied_on: vec![(SCOPE, id, at)],
        ..none()
    };
    vault
        .run(|commit, random| commit.copy_object(&bucket, (from, at), &copy, None, &packs, random))
        .unwrap();
    assert_eq!(vault.index.pack(&id).unwrap().unwrap().references, 2);
    vault.delete("copy").unwrap();
    vault.delete("source").unwrap();
    let late =
        vault.run(|commit, random| commit.copy_object(&bucket, (from, at), &copy, None, &packs, random));
    assert_eq!(
        late,
        Err(Expectation::At(keyring().object_address(SCOPE, b"source"), at))
    );
    vault
        .run(|commit, _| commit.retire_packs(&[(SCOPE, id, at)]))
        .unwrap();
    let late = vault.run(|commit, random| commit.put_object(&bucket, &copy, None, &packs, random));
    assert_eq!(late, Err(Expectation::At(pack_address(SCOPE, &id), at)));
}

#[test]
fn completing_expects_the_upload_and_every_part_that_it_uses() {
    let mut vault = TestVault::new();
    let bucket = vault.bucket();
    vault
        .run(|commit, random| commit.create_upload(&bucket, &upload("k", 1), &none(), random))
        .unwrap();
    let stored = vault.index.upload(SCOPE, upload("k", 1).id).unwrap().unwrap();
    let put = |vault: &mut TestVault, number, seed| {
        let entry = part_entry(1, part(number, 10, seed));
        let current = vault
            .index
            .part(SCOPE, stored.value.id, number)
            .unwrap()
            .map(|part| part.sequence);
        vault
            .run(|commit, random| commit.put_part(&bucket, &stored, &entry, current, &none(), random))
            .unwrap()
    };
    let (one, two, _) = (
        put(&mut vault, 1, 1),
        put(&mut vault, 2, 2),
        put(&mut vault, 3, 3),
    );
    let new_one = put(&mut vault, 1, 4);
    let whole = object("k", vec![part(1, 10, 4), part(2, 10, 2)]);
    let complete = |vault: &mut TestVault, one| {
        let used = [(1, one), (2, two)];
        vault.run(|commit, random| {
            commit.complete_upload(&bucket, &stored, &used, &[3], &whole, None, &none(), random)
        })
    };
    let part_one = keyring().part_address(SCOPE, stored.value.id, 1);
    assert_eq!(complete(&mut vault, one), Err(Expectation::At(part_one, one)));
    complete(&mut vault, new_one).unwrap();
    assert_eq!(vault.index.object(SCOPE, "k").unwrap().unwrap().value, whole);
    assert_eq!(vault.index.parts(SCOPE, stored.value.id, 0, 9).unwrap(), []);
    let twice = complete(&mut vault, new_one);
    assert_eq!(
        twice,
        Err(Expectation::At(
            keyring().upload_address(SCOPE, stored.value.id),
            stored.sequence
        ))
    );
}

#[test]
fn an_upload_of_ten_thousand_parts_completes_in_one_append() {
    let vault = TestVault::new();
    let stored = Stored {
        sequence: Sequence(2),
        value: upload("k", 1),
    };
    let used: Vec<(u16, Sequence)> = (1..=10_000).map(|number| (number, Sequence(9))).collect();
    let mut whole = object("k", vec![]);
    whole.manifest = Manifest::Indirect {
        parts: 10_000,
        stream: Box::new(part(0, 0, 1)),
    };
    let relied_on = (0u32..50_000).map(|n| {
        (
            SCOPE,
            PackId(*blake3::hash(&n.to_le_bytes()).as_bytes()),
            Sequence(3),
        )
    });
    let packs = Packs {
        relied_on: relied_on.collect(),
        ..none()
    };
    let append = Commit::new(&keyring(), [0; 16], 1)
        .complete_upload(
            &vault.bucket(),
            &stored,
            &used,
            &[],
            &whole,
            None,
            &packs,
            &mut seeded(1),
        )
        .unwrap();
    assert_eq!(append.expectations.len(), EXPECTATIONS_MAX - 1);
    assert_eq!(append.writes.len(), 10_002);
}

#[test]
fn a_manifest_that_says_this_pack_is_not_committed() {
    let vault = TestVault::new();
    let mut unresolved = object("k", vec![part(0, 5, 1)]);
    let Manifest::Inline(parts) = &mut unresolved.manifest else {
        panic!("not inline")
    };
    parts[0].extents[0].pack = PackRef::This;
    let refused = Commit::new(&keyring(), [0; 16], 1).put_object(
        &vault.bucket(),
        &unresolved,
        None,
        &none(),
        &mut seeded(1),
    );
    assert_eq!(refused, Err(CommitError::ThisPack));
}

#[test]
fn a_moved_entry_keeps_its_value_and_changes_its_packs() {
    let mut vault = TestVault::new();
    let at = vault.put(&object("k", vec![part(0, 5, 1)])).unwrap();
    let (from, to) = (PackId([1; 32]), PackId([7; 32]));
    let after = part(0, 5, 1)
        .relocated(&from, 4, |_| Some((PackRef::Id(to), 0, 0)))
        .unwrap();
    let address = keyring().object_address(SCOPE, b"k");
    let moved = [Moved {
        address,
        sequence: at,
        epoch: 1,
        value: object("k", vec![after]).encode(),
    }];
    let packs = Packs {
        written: vec![written_pack(SCOPE, to, 21, 5)],
        ..none()
    };
    vault
        .run(|commit, random| commit.move_entries(&moved, &packs, random))
        .unwrap();
    assert_eq!(vault.index.pack(&from).unwrap().unwrap().references, 0);
    assert_eq!(vault.index.pack(&to).unwrap().unwrap().live_bytes, 21);
    let again = vault.run(|commit, random| commit.move_entries(&moved, &packs, random));
    assert_eq!(again, Err(Expectation::At(address, at)));
}

#[test]
fn an_entry_that_would_not_read_back_is_not_appended_and_its_claim_spoils_no_trailer() {
    let vault = TestVault::new();
    let mut wrong = object("k", vec![part(0, 5, 1)]);
    wrong.plaintext_bytes += 1;
    let keyring = keyring();
    let commit = || Commit::new(&keyring, [0; 16], 1);
    let refused = commit().put_object(&vault.bucket(), &wrong, None, &none(), &mut seeded(1));
    let of_object = |refused: &Result<Append, CommitError>| {
        matches!(
            refused,
            Err(CommitError::Unreadable {
                kind: EntryKind::ObjectCurrent,
                ..
            })
        )
    };
    assert!(of_object(&refused), "{refused:?}");
    let moved = Moved {
        address: keyring.object_address(SCOPE, b"k"),
        sequence: Sequence(1),
        epoch: 1,
        value: wrong.encode(),
    };
    let refused = commit().move_entries(&[moved], &none(), &mut seeded(1));
    assert!(of_object(&refused), "{refused:?}");
    let mut pack = written_pack(SCOPE, PackId([7; 32]), 21, 5);
    pack.entry = pack.entry.slice(..60);
    let packs = Packs {
        written: vec![pack],
        ..none()
    };
    let good = object("k", vec![part(0, 5, 1)]);
    let refused = commit().put_object(&vault.bucket(), &good, None, &packs, &mut seeded(1));
    assert!(
        matches!(
            refused,
            Err(CommitError::Unreadable {
                kind: EntryKind::Pack,
                ..
            })
        ),
        "{refused:?}"
    );
    let address = credential_address(keyring.vault(), "id");
    let refused = commit().statement(address, None, Some(bytes::Bytes::from_static(&[2, 9])));
    assert!(
        matches!(
            refused,
            Err(CommitError::Unreadable {
                kind: EntryKind::Statement,
                ..
            })
        ),
        "{refused:?}"
    );

    let claim = |object: &Object| Claim {
        slot: [1; 16],
        epoch: 1,
        clock_ms: 1,
        after: Sequence(1),
        operation: [1; 16],
        value: ClaimValue::Object(object.clone()),
    };
    let mut trailer = TrailerBuilder::new("scope");
    trailer.push(&claim(&wrong));
    trailer.push(&claim(&good));
    assert_eq!(Trailer::decode(&trailer.encode()).unwrap().claims, [claim(&good)]);
}
