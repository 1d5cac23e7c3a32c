use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..4)
}

fn batch() -> impl Strategy<Value = Vec<Change>> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..5));
    proptest::collection::vec((key(), value), 0..20)
}

fn scan(
    view: &dyn View,
    from: &[u8],
    to: Option<&[u8]>,
    reverse: bool,
    most: usize,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    view.scan(from, to, reverse, &mut |key, value| {
        // A visitor may use the view.
        assert_eq!(view.get(key).unwrap().as_deref(), Some(value));
        seen.push((key.to_vec(), value.to_vec()));
        seen.len() < most
    })
    .unwrap();
    seen
}

/// From, to, and after how many entries the visitor stops.
type Ask = (Vec<u8>, Option<Vec<u8>>, usize);

/// Runs the same changes and questions on a view and on a B-tree.
fn conforms(view: &dyn View, batches: &[Vec<Change>], asks: &[Ask]) {
    view.clear().unwrap();
    let mut model = BTreeMap::new();
    for batch in batches {
        view.apply(batch.clone()).unwrap();
        for (key, value) in batch {
            match value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(key),
            };
        }
    }
    view.flush().unwrap();
    for (from, to, most) in asks {
        assert_eq!(view.get(from).unwrap(), model.get(from).cloned());
        let inside = |key: &Vec<u8>| key >= from && to.as_ref().is_none_or(|to| key < to);
        let mut expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| inside(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let most = *most;
        let forward: Vec<_> = expected.iter().take(most).cloned().collect();
        assert_eq!(scan(view, from, to.as_deref(), false, most), forward);
        expected.reverse();
        expected.truncate(most);
        assert_eq!(scan(view, from, to.as_deref(), true, most), expected);
    }
}

fn check(view: &dyn View) {
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let asks = proptest::collection::vec((key(), proptest::option::of(key()), 1usize..200), 1..10);
    let input = (proptest::collection::vec(batch(), 0..6), asks);
    proptest::test_runner::TestRunner::new(config)
        .run(&input, |(batches, asks)| {
            conforms(view, &batches, &asks);
            Ok(())
        })
        .unwrap();
    // More than one page, in both directions.
    let many: Vec<Change> = (0..1000u32)
        .map(|n| (n.to_be_bytes().to_vec(), Some(vec![n as u8])))
        .collect();
    conforms(
        view,
        &[many],
        &[(vec![], None, 2000), (vec![0, 0, 1], Some(vec![0, 0, 3]), 2000)],
    );
    // Each key is the one before it and a zero byte: the closest that two keys can be, across pages.
    let close: Vec<Change> = (0..300usize).map(|n| (vec![0; n], Some(vec![n as u8]))).collect();
    conforms(
        view,
        &[close],
        &[(vec![], None, 2000), (vec![0; 10], Some(vec![0; 200]), 2000)],
    );
}

#[test]
fn the_memory_view_is_an_ordered_map() {
    check(&MemoryView::new());
}

#[test]
fn the_sled_view_is_an_ordered_map() {
    let dir = tempfile::tempdir().unwrap();
    check(&SledView::open(dir.path(), 1 << 20).unwrap());
}

#[test]
fn a_sled_view_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    {
        let view = SledView::open(&path, 1 << 20).unwrap();
        view.apply(vec![(vec![1], Some(vec![2]))]).unwrap();
        assert!(
            matches!(SledView::open(&path, 1 << 20), Err(ViewError::Io { .. })),
            "two at once"
        );
    }
    let view = SledView::open(&path, 1 << 20).unwrap();
    assert_eq!(view.get(&[1]).unwrap(), Some(vec![2]));
    assert!(view.disk_bytes().unwrap() > 0);
}

#[test]
fn a_damaged_sled_directory_is_an_error_and_can_be_rebuilt() {
    for file in ["conf", "db"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("view");
        {
            let view = SledView::open(&path, 1 << 20).unwrap();
            let changes = (0..20_000u32)
                .map(|n| (n.to_be_bytes().to_vec(), Some(vec![7; 100])))
                .collect();
            view.apply(changes).unwrap();
            view.flush().unwrap();
        }
        let damaged = path.join(file);
        let mut bytes = std::fs::read(&damaged).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&damaged, bytes).unwrap();
        match SledView::open(&path, 1 << 20) {
            // sled drops what it cannot read of a log's tail: then the view is older, and says so by its own position.
            Ok(view) => assert!(view.get(&0u32.to_be_bytes()).unwrap().is_none(), "{file}"),
            Err(error) => assert!(matches!(error, ViewError::Damaged { .. }), "{file}: {error:?}"),
        }
        std::fs::remove_dir_all(&path).unwrap();
        let view = SledView::open(&path, 1 << 20).unwrap();
        assert_eq!(view.get(&0u32.to_be_bytes()).unwrap(), None);
    }
}

#[test]
fn prefixes_end_where_the_next_key_begins() {
    assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
    assert_eq!(prefix_end(&[1, 255, 255]), Some(vec![2]));
    assert_eq!(prefix_end(&[255]), None);
    assert_eq!(prefix_end(&[]), None);
}
