//! Versions against a plain model of them: a list per key, newest first.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::commit::Succession;
use crate::object::{VersionId, VersionRef, Versioning};

/// What the model knows of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    id: VersionId,
    null: bool,
    marker: bool,
    bytes: u64,
}

impl Known {
    fn version(&self) -> VersionRef {
        VersionRef::named(self.null, self.id)
    }
}

type Model = BTreeMap<String, Vec<Known>>;

#[derive(Debug, Clone)]
enum Step {
    Switch(bool),
    Put { name: u8, bytes: u64, marker: bool },
    DeleteVersion { name: u8, nth: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => any::<bool>().prop_map(Step::Switch),
        6 => (0u8..5, 0u64..300_000, proptest::bool::weighted(0.3))
            .prop_map(|(name, bytes, marker)| Step::Put { name, bytes, marker }),
        3 => (0u8..5, 0usize..6).prop_map(|(name, nth)| Step::DeleteVersion { name, nth }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Object keys where one is the beginning of others, with bytes that are escaped in rows.
fn key_of(name: u8) -> String {
    ["a", "a\0", "a\0b", "a/1", "b"][usize::from(name)].to_owned()
}

struct Run {
    vault: TestVault,
    model: Model,
    versioning: Versioning,
    made: u8,
}

impl Run {
    fn put(&mut self, key: &str, bytes: u64, marker: bool) {
        self.made += 1;
        let null = self.versioning != Versioning::Enabled;
        let parts = if marker {
            vec![]
        } else {
            vec![part(0, bytes, self.made)]
        };
        let mut new = object(key, parts);
        (new.version, new.null_version, new.delete_marker) = (VersionId([self.made; 16]), null, marker);
        let bucket = self.vault.bucket();
        let current = self.vault.index.current(SCOPE, key).unwrap();
        let succession = Succession::of(self.versioning, current.as_ref(), false);
        let packs = Packs {
            written: written(new.manifest.pack_bytes()),
            ..Packs::default()
        };
        self.vault
            .run(|commit, random| commit.put_object(&bucket, &new, succession, &packs, random))
            .unwrap();
        let of_key = self.model.entry(key.to_owned()).or_default();
        of_key.retain(|known| !(null && known.null));
        let bytes = new.plaintext_bytes;
        let id = new.version;
        of_key.insert(
            0,
            Known {
                id,
                null,
                marker,
                bytes,
            },
        );
    }

    fn delete_version(&mut self, key: &str, nth: usize) {
        let Some(of_key) = self.model.get_mut(key).filter(|of_key| nth < of_key.len()) else {
            return;
        };
        let version = of_key.remove(nth).version();
        if of_key.is_empty() {
            self.model.remove(key);
        }
        let bucket = self.vault.bucket();
        let (row, is_current) = self.vault.index.version(SCOPE, key, version).unwrap().unwrap();
        assert_eq!(is_current, nth == 0);
        let next = self.vault.index.newest_kept(SCOPE, key).unwrap();
        self.vault
            .run(|commit, random| {
                if is_current {
                    commit.delete_current(&bucket, &row, next.as_ref(), random)
                } else {
                    commit.delete_kept(&bucket, &row)
                }
            })
            .unwrap();
    }
}

fn listed_all(index: &Index, max_keys: usize) -> Vec<(String, VersionRef, bool)> {
    let mut all = Vec::new();
    let mut query = VersionsQuery {
        max_keys,
        ..VersionsQuery::default()
    };
    loop {
        let page = index.versions(SCOPE, &query).unwrap();
        all.extend(page.versions.iter().map(|listed| {
            let object = &listed.object;
            let version = VersionRef::named(object.null_version, object.version);
            (object.key.clone(), version, listed.is_latest)
        }));
        match page.next {
            Some((key, version)) => (query.key_marker, query.version_marker) = (Some(key), version),
            None => return all,
        }
    }
}

fn check(index: &Index, model: &Model) {
    let mut expected = Vec::new();
    let (mut objects, mut history) = ((0, 0), (0, 0));
    for (key, of_key) in model {
        for (nth, known) in of_key.iter().enumerate() {
            let found = index.version(SCOPE, key, known.version()).unwrap().unwrap();
            assert_eq!((found.0.value.version, found.1), (known.id, nth == 0), "{key:?}");
            let counted = if nth == 0 && !known.marker {
                &mut objects
            } else {
                &mut history
            };
            *counted = (counted.0 + 1, counted.1 + known.bytes);
            expected.push((key.clone(), known.version(), nth == 0));
        }
        let live = of_key.first().filter(|known| !known.marker).map(|known| known.id);
        let object = index.object(SCOPE, key).unwrap();
        assert_eq!(object.map(|row| row.value.version), live);
    }
    for max_keys in [1, 2, 1000] {
        assert_eq!(listed_all(index, max_keys), expected);
    }
    let usage = index.usage(SCOPE).unwrap();
    assert_eq!((usage.objects, usage.bytes), objects);
    assert_eq!((usage.history, usage.history_bytes), history);
    let live = model
        .iter()
        .filter(|(_, of_key)| of_key.first().is_some_and(|known| !known.marker));
    let all = ListQuery {
        max_keys: 1000,
        ..ListQuery::default()
    };
    let page = index.list(SCOPE, &all).unwrap();
    assert_eq!(
        listed(&page),
        live.map(|(key, _)| key.clone()).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(cases(150))]

    /// Puts, markers and deletions of versions, with versions kept and not; then again from a snapshot.
    #[test]
    fn versions_are_what_a_list_per_key_is(steps in steps()) {
        let vault = TestVault::new();
        let mut run = Run { vault, model: Model::new(), versioning: Versioning::Never, made: 0 };
        for step in steps {
            match step {
                Step::Switch(on) => run.versioning = if on { Versioning::Enabled } else { Versioning::Suspended },
                // Without versions a deletion leaves nothing behind.
                Step::Put { marker: true, .. } if run.versioning == Versioning::Never => {}
                Step::Put { name, bytes, marker } => run.put(&key_of(name), bytes, marker),
                Step::DeleteVersion { name, nth } => run.delete_version(&key_of(name), nth),
            }
        }
        check(&run.vault.index, &run.model);
        let reloaded = Index::new(Arc::new(MemoryView::new()), keyring()).unwrap();
        let mut loader = reloaded.load().unwrap();
        loader.entries(&run.vault.ledger.snapshot(), &Resolved::new()).unwrap();
        loader.finish(Sequence(run.vault.ledger.sequence), None).unwrap();
        check(&reloaded, &run.model);
    }
}

#[test]
fn a_group_of_versions_is_one_item_and_a_page_goes_on_behind_it() {
    let vault = TestVault::new();
    let mut run = Run {
        vault,
        model: Model::new(),
        versioning: Versioning::Enabled,
        made: 0,
    };
    for key in ["dir/1", "dir/1", "dir/2", "e"] {
        run.put(key, 10, false);
    }
    let mut query = VersionsQuery {
        delimiter: "/".to_owned(),
        max_keys: 1,
        ..VersionsQuery::default()
    };
    let page = run.vault.index.versions(SCOPE, &query).unwrap();
    assert_eq!(page.common_prefixes, ["dir/"]);
    assert_eq!(page.next, Some(("dir/".to_owned(), None)));
    query.key_marker = Some("dir/".to_owned());
    let page = run.vault.index.versions(SCOPE, &query).unwrap();
    assert_eq!((page.versions.len(), page.truncated), (1, false));
    assert_eq!(page.versions[0].object.key, "e");
}

#[test]
fn a_page_goes_on_with_what_is_left_of_a_key_whose_marker_was_deleted() {
    let vault = TestVault::new();
    let mut run = Run {
        vault,
        model: Model::new(),
        versioning: Versioning::Enabled,
        made: 0,
    };
    for _ in 0..3 {
        run.put("k", 10, false);
    }
    let gone = run.model["k"][0].version();
    run.delete_version("k", 0);
    let query = VersionsQuery {
        key_marker: Some("k".to_owned()),
        version_marker: Some(gone),
        max_keys: 10,
        ..VersionsQuery::default()
    };
    let page = run.vault.index.versions(SCOPE, &query).unwrap();
    assert_eq!(page.versions.len(), 2);
}
