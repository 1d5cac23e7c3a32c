use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::pack::PackId;
use engine::slots::Sequence;
use engine::view::MemoryView;
use proptest::prelude::*;
use scopes::ScopeId;

use super::*;
use crate::commit::Packs;
use crate::keys::pack_address;
use crate::object::samples::{object, part, part_entry, upload};
use crate::object::{Object, UploadId};
use crate::testing::{SCOPE, TestVault, cases, keyring, keyring_of, written};

/// What the listing of S3 says, in the plainest way.
mod versions;

fn naive(keys: &BTreeSet<String>, query: &ListQuery) -> (Vec<String>, Vec<String>, bool) {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    let group = |key: &str| {
        let rest = key.strip_prefix(query.prefix.as_str())?;
        let at = if query.delimiter.is_empty() {
            None
        } else {
            rest.find(&query.delimiter)
        }?;
        Some(key[..query.prefix.len() + at + query.delimiter.len()].to_owned())
    };
    let marker_group = query
        .start_after
        .as_deref()
        .filter(|marker| group(marker).as_deref() == Some(marker));
    for key in keys.iter().filter(|key| key.starts_with(&query.prefix)) {
        if query.start_after.as_ref().is_some_and(|after| key <= after)
            || marker_group.is_some_and(|marker| key.starts_with(marker))
        {
            continue;
        }
        let item = group(key);
        if item.is_some() && prefixes.last() == item.as_ref() {
            continue;
        }
        if objects.len() + prefixes.len() == query.max_keys {
            return (objects, prefixes, query.max_keys > 0);
        }
        match item {
            Some(group) => prefixes.push(group),
            None => objects.push(key.clone()),
        }
    }
    (objects, prefixes, false)
}

fn name() -> impl Strategy<Value = String> {
    // Few letters, so that prefixes are shared; some with bytes high in UTF-8.
    proptest::collection::vec(
        prop::sample::select(vec!["a", "b", "/", "//", "-", "é", "\u{10ffff}", "\u{1}"]),
        1..7,
    )
    .prop_map(|letters| letters.concat())
}

fn query() -> impl Strategy<Value = ListQuery> {
    let delimiter = prop::sample::select(vec!["", "/", "//", "a", "-é", "\u{10ffff}"]);
    (
        prop_oneof![Just(String::new()), name()],
        delimiter,
        proptest::option::of(name()),
        0usize..8,
    )
        .prop_map(|(prefix, delimiter, start_after, max_keys)| ListQuery {
            prefix: prefix.chars().take(2).collect(),
            delimiter: delimiter.to_owned(),
            start_after,
            max_keys,
        })
}

fn listed(page: &ListPage) -> Vec<String> {
    page.objects
        .iter()
        .map(|listed| listed.object.key.clone())
        .collect()
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn lists_what_a_plain_walk_over_all_keys_lists(keys in proptest::collection::btree_set(name(), 0..60), queries in proptest::collection::vec(query(), 12)) {
        let mut vault = TestVault::new();
        for key in &keys {
            vault.put(&object(key, vec![])).unwrap();
        }
        for query in queries {
            let page = vault.index.list(SCOPE, &query).unwrap();
            let (objects, prefixes, truncated) = naive(&keys, &query);
            prop_assert_eq!((listed(&page), &page.common_prefixes, page.truncated), (objects, &prefixes, truncated), "{:?}", query);
            // Page by page from there comes to the same as all at once.
            if query.max_keys > 0 {
                let mut items = BTreeSet::new();
                let mut next = query.clone();
                loop {
                    let page = vault.index.list(SCOPE, &next).unwrap();
                    items.extend(listed(&page));
                    items.extend(page.common_prefixes);
                    match page.next {
                        Some(_) => next.start_after = page.next,
                        None => break,
                    }
                }
                let all = naive(&keys, &ListQuery { max_keys: usize::MAX, ..query });
                prop_assert_eq!(items, all.0.into_iter().chain(all.1).collect::<BTreeSet<_>>());
            }
        }
    }

    /// Puts, overwrites and deletes against a map; then again from a snapshot.
    #[test]
    fn the_index_is_what_a_map_of_the_writes_is(steps in proptest::collection::vec((0u8..12, 0u64..300_000, any::<bool>()), 1..60)) {
        let mut vault = TestVault::new();
        let mut model: BTreeMap<String, Object> = BTreeMap::new();
        for (name, bytes, delete) in steps {
            let key = format!("k{name}");
            if delete && model.remove(&key).is_some() {
                vault.delete(&key).unwrap();
            } else {
                let object = object(&key, vec![part(0, bytes, name)]);
                vault.put(&object).unwrap();
                model.insert(key, object);
            }
        }
        let reloaded = Index::new(Arc::new(MemoryView::new()), keyring()).unwrap();
        let mut loader = reloaded.load().unwrap();
        for page in vault.ledger.snapshot().chunks(7) {
            loader.entries(page, &Resolved::new()).unwrap();
        }
        loader.finish(Sequence(vault.ledger.sequence), None).unwrap();
        for index in [&vault.index, &reloaded] {
            prop_assert_eq!(index.applied_through().unwrap(), Sequence(vault.ledger.sequence));
            let mut live: BTreeMap<PackId, (u64, u64)> = BTreeMap::new();
            for (key, object) in &model {
                prop_assert_eq!(&index.object(SCOPE, key).unwrap().unwrap().value, object);
                for (pack, bytes) in object.manifest.pack_bytes() {
                    let count = live.entry(pack).or_default();
                    *count = (count.0 + bytes, count.1 + 1);
                }
            }
            let bytes = model.values().map(|object| object.plaintext_bytes).sum();
            prop_assert_eq!(index.usage(SCOPE).unwrap(), Usage { objects: model.len() as u64, bytes, ..Usage::default() });
            index.packs(&mut |pack| {
                assert_eq!((pack.live_bytes, pack.references), live.get(&pack.id).copied().unwrap_or_default());
                assert_eq!(index.refs_of_pack(&pack.id, 100).unwrap().len() as u64, pack.references);
                true
            }).unwrap();
            for (pack, (bytes, _)) in &live {
                prop_assert_eq!(index.pack(pack).unwrap().unwrap().live_bytes, *bytes);
            }
        }
    }
}

#[test]
fn a_group_of_many_names_is_skipped_and_counts_once() {
    let mut vault = TestVault::new();
    for number in 0..200 {
        vault.put(&object(&format!("dir/{number:03}"), vec![])).unwrap();
    }
    vault.put(&object("dir0", vec![])).unwrap();
    let query = ListQuery {
        delimiter: "/".to_owned(),
        max_keys: 1,
        ..ListQuery::default()
    };
    let page = vault.index.list(SCOPE, &query).unwrap();
    assert_eq!(
        (page.common_prefixes.as_slice(), page.truncated),
        (&["dir/".to_owned()][..], true)
    );
    let page = vault
        .index
        .list(
            SCOPE,
            &ListQuery {
                start_after: page.next,
                ..query
            },
        )
        .unwrap();
    assert_eq!((listed(&page), page.truncated), (vec!["dir0".to_owned()], false));
}

#[test]
fn applying_an_append_again_changes_nothing_and_a_gap_is_refused() {
    let mut vault = TestVault::new();
    vault.put(&object("k", vec![part(0, 10, 1)])).unwrap();
    let entries = vault.ledger.entries.clone();
    let (address, (sequence, value)) = entries
        .iter()
        .find(|(address, _)| address.kind == engine::slots::EntryKind::ObjectCurrent)
        .unwrap();
    let write = engine::slots::Write {
        address: *address,
        value: Some(value.clone()),
    };
    let again = AppliedAppend {
        sequence: *sequence,
        operation: [0; 16],
        lease: 5,
        vault: keyring().vault().0,
        writes: vec![write],
        record: None,
    };
    vault
        .index
        .apply(std::slice::from_ref(&again), &Resolved::new())
        .unwrap();
    assert_eq!(vault.index.usage(SCOPE).unwrap().objects, 1);
    let gap = AppliedAppend {
        sequence: Sequence(99),
        ..again
    };
    assert!(matches!(
        vault.index.apply(&[gap], &Resolved::new()),
        Err(IndexError::Gap { .. })
    ));
}

#[test]
fn an_entry_that_does_not_open_is_named_and_one_of_another_vault_is_passed_over() {
    let vault = TestVault::new();
    let address = keyring().object_address(SCOPE, b"k");
    let write = engine::slots::Write {
        address,
        value: Some(vec![1; 100].into()),
    };
    let append = |of: [u8; 16]| AppliedAppend {
        sequence: Sequence(2),
        operation: [0; 16],
        lease: 5,
        vault: of,
        writes: vec![write.clone()],
        record: None,
    };
    let refused = vault
        .index
        .apply(&[append(keyring().vault().0)], &Resolved::new());
    assert!(matches!(refused, Err(IndexError::Unopenable { address: named, .. }) if named == address));
    assert_eq!(vault.index.applied_through().unwrap(), Sequence(1));
    vault.index.apply(&[append([9; 16])], &Resolved::new()).unwrap();
    assert_eq!(vault.index.applied_through().unwrap(), Sequence(2));
}

#[test]
fn a_manifest_in_a_stream_of_its_own_keeps_all_its_packs_alive() {
    let mut vault = TestVault::new();
    let parts = vec![part(1, 1000, 0x10), part(2, 1000, 0x20)];
    let mut long = object("k", parts.clone());
    long.manifest = Manifest::Indirect {
        parts: 2,
        stream: Box::new(part(0, 300, 0x30)),
    };
    let address = keyring().object_address(SCOPE, b"k");
    let bucket = vault.bucket();
    let append = crate::commit::Commit::new(&keyring(), [0; 16], 5)
        .put_object(&bucket, &long, None, &Packs::default(), &mut *vault.random)
        .unwrap();
    let applied = vault.ledger.append(&append).unwrap();
    let unresolved = vault.index.unresolved(std::slice::from_ref(&applied)).unwrap();
    assert_eq!(unresolved, [(address, part(0, 300, 0x30))]);
    assert!(matches!(
        vault
            .index
            .apply(std::slice::from_ref(&applied), &Resolved::new()),
        Err(IndexError::Unresolved { .. })
    ));
    vault.resolved.insert(address, Manifest::Inline(parts));
    vault.index.apply(&[applied], &vault.resolved).unwrap();
    for (seed, sealed) in [(0x10, 1016), (0x20, 1016), (0x30, 316)] {
        let id = PackId([seed; 32]);
        assert_eq!(vault.index.refs_of_pack(&id, 9).unwrap(), [(address, sealed)]);
    }
}

#[test]
fn a_copy_of_the_view_for_another_vault_or_half_loaded_starts_empty() {
    let view: Arc<dyn View> = Arc::new(MemoryView::new());
    let index = Index::new(Arc::clone(&view), keyring()).unwrap();
    index.load().unwrap().finish(Sequence(7), None).unwrap();
    assert_eq!(
        Index::new(Arc::clone(&view), keyring())
            .unwrap()
            .applied_through()
            .unwrap(),
        Sequence(7)
    );
    let other = Index::new(Arc::clone(&view), keyring_of(9)).unwrap();
    assert_eq!(other.applied_through().unwrap(), Sequence(0));
    other.load().unwrap().finish(Sequence(8), None).unwrap();
    drop(other.load().unwrap());
    assert_eq!(
        Index::new(view, keyring_of(9))
            .unwrap()
            .applied_through()
            .unwrap(),
        Sequence(0)
    );
}

#[test]
fn uploads_list_by_key_then_id_and_their_parts_by_number() {
    let mut vault = TestVault::new();
    let bucket = vault.bucket();
    for (key, id) in [("a", 2), ("a", 1), ("a/b", 3), ("a/c", 4), ("b", 5)] {
        vault
            .run(|commit, random| commit.create_upload(&bucket, &upload(key, id), &Packs::default(), random))
            .unwrap();
    }
    let ids = |page: &UploadPage| {
        page.uploads
            .iter()
            .map(|upload| upload.id.0[0])
            .collect::<Vec<_>>()
    };
    let all = UploadQuery {
        max_uploads: 10,
        ..UploadQuery::default()
    };
    assert_eq!(ids(&vault.index.uploads(SCOPE, &all).unwrap()), [1, 2, 3, 4, 5]);
    let grouped = UploadQuery {
        delimiter: "/".to_owned(),
        ..all.clone()
    };
    let page = vault.index.uploads(SCOPE, &grouped).unwrap();
    assert_eq!(
        (ids(&page), page.common_prefixes),
        (vec![1, 2, 5], vec!["a/".to_owned()])
    );
    let (mut seen, mut next) = (
        Vec::new(),
        UploadQuery {
            max_uploads: 1,
            ..grouped
        },
    );
    loop {
        let page = vault.index.uploads(SCOPE, &next).unwrap();
        seen.extend(ids(&page));
        let Some((key, id)) = page.next else { break };
        (next.key_marker, next.upload_marker) = (Some(key), id);
    }
    assert_eq!(seen, [1, 2, 5]);
    let after_key = UploadQuery {
        key_marker: Some("a".to_owned()),
        ..all.clone()
    };
    assert_eq!(ids(&vault.index.uploads(SCOPE, &after_key).unwrap()), [3, 4, 5]);
    let stored = vault.index.upload(SCOPE, UploadId([3; 16])).unwrap().unwrap();
    for number in [300, 2, 1] {
        let entry = part_entry(3, part(number, 10, 1));
        vault
            .run(|commit, random| commit.put_part(&bucket, &stored, &entry, None, &Packs::default(), random))
            .unwrap();
    }
    let numbers: Vec<u16> = vault
        .index
        .parts(SCOPE, stored.value.id, 1, 9)
        .unwrap()
        .iter()
        .map(|part| part.value.part.number)
        .collect();
    assert_eq!(numbers, [2, 300]);
    vault
        .run(|commit, _| commit.abort_upload(&bucket, &stored, &[1, 2]))
        .unwrap();
    assert!(vault.index.upload(SCOPE, stored.value.id).unwrap().is_none());
    let orphans = vault.index.orphans(10).unwrap();
    assert_eq!(orphans.len(), 1, "the part that the abort did not name");
    vault.run(|commit, _| commit.remove_orphans(&orphans)).unwrap();
    assert_eq!(vault.index.parts(SCOPE, stored.value.id, 0, 9).unwrap(), []);
    assert_eq!(vault.index.refs_of_pack(&PackId([1; 32]), 9).unwrap(), []);
}

#[test]
fn a_deleted_bucket_leaves_no_row_but_its_packs() {
    let mut vault = TestVault::new();
    vault.put(&object("k", vec![part(0, 10, 1)])).unwrap();
    vault.delete("k").unwrap();
    let bucket = vault.bucket();
    vault.run(|commit, _| commit.delete_bucket(&bucket)).unwrap();
    assert_eq!(vault.index.buckets().unwrap(), []);
    assert_eq!(vault.index.bucket_of_scope(SCOPE).unwrap(), None);
    let id = written(BTreeMap::from([(PackId([1; 32]), 10)]))[0].id;
    let row = vault.index.pack(&id).unwrap().unwrap();
    assert_eq!((row.references, row.scope), (0, SCOPE));
    vault
        .run(|commit, _| commit.retire_packs(&[(SCOPE, id, row.sequence)]))
        .unwrap();
    assert_eq!(vault.index.pack(&id).unwrap(), None);
    assert!(
        !vault
            .ledger
            .entries
            .contains_key(&pack_address(ScopeId([0x5c; 16]), &id))
    );
}
