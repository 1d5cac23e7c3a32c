use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 1..4)
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
    let close: Vec<Change> = (1..300usize).map(|n| (vec![0; n], Some(vec![n as u8]))).collect();
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
fn the_view_on_disk_is_an_ordered_map() {
    let dir = tempfile::tempdir().unwrap();
    check(&FjallView::open(&dir.path().join("view"), 1 << 20).unwrap());
}

#[test]
fn a_view_that_takes_no_more_writes_goes_on_in_memory_as_the_same_map() {
    let dir = tempfile::tempdir().unwrap();
    let view = FjallView::open(&dir.path().join("view"), 1 << 20).unwrap();
    let row = |n: u32, value: u8| (vec![1, n as u8], Some(vec![value]));
    let all = |reverse| scan(&view, &[1], Some(&[2]), reverse, 1_000);
    view.apply((0..100).map(|n| row(n, 1)).collect()).unwrap();
    assert!(view.is_on_disk());
    fjall::fail_writes(&view);
    assert!(!view.is_on_disk());
    view.apply((50..150).map(|n| row(n, 2)).collect()).unwrap();
    view.apply((0..150).step_by(3).map(|n| (vec![1, n as u8], None)).collect())
        .unwrap();
    let expected: Vec<_> = (0..150)
        .filter(|n| n % 3 != 0)
        .map(|n| (vec![1, n as u8], vec![1 + u8::from(n >= 50)]))
        .collect();
    assert_eq!(all(false), expected);
    assert_eq!(all(true), expected.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(
        scan(&view, &[1, 40], Some(&[1, 60]), false, 5),
        expected[26..31].to_vec()
    );
    view.flush().unwrap();
    view.clear().unwrap();
    assert!(all(false).is_empty());
}

#[test]
fn what_a_view_keeps_in_memory_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let view = FjallView::open(&dir.path().join("view"), 1 << 20).unwrap();
    fjall::fail_writes(&view);
    let mut taken = 0u64;
    let refused = loop {
        let row = (taken.to_be_bytes().to_vec(), Some(vec![7; 8 << 20]));
        match view.apply(vec![row]) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!((10..17).contains(&taken), "{taken}");
    assert!(
        matches!(refused, ViewError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull)
    );
    assert!(view.get(&(taken - 1).to_be_bytes()).unwrap().is_some());
}

#[test]
fn a_view_on_disk_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    {
        let view = FjallView::open(&path, 1 << 20).unwrap();
        view.apply(vec![(vec![1], Some(vec![2]))]).unwrap();
        assert!(
            matches!(FjallView::open(&path, 1 << 20), Err(ViewError::Io { .. })),
            "two at once"
        );
    }
    let view = FjallView::open(&path, 1 << 20).unwrap();
    assert_eq!(view.get(&[1]).unwrap(), Some(vec![2]));
    assert!(view.disk_bytes().unwrap() > 0);
}

/// The row of step `n`, long enough for a few steps to fill a memtable.
fn row_of(n: u32) -> (Vec<u8>, Vec<u8>) {
    (
        n.wrapping_mul(0x9e37_79b9).to_be_bytes().to_vec(),
        vec![n as u8; 4_000],
    )
}

const STEPS: u32 = 1_200;
const POSITION: &[u8] = b"position";

/// A view of [`STEPS`] batches, each a row and how far it has got.
fn stepped(path: &std::path::Path) {
    let view = FjallView::open(path, 1 << 20).unwrap();
    for n in 0..STEPS {
        let (key, value) = row_of(n);
        let position = n.to_be_bytes().to_vec();
        view.apply(vec![(key, Some(value)), (POSITION.to_vec(), Some(position))])
            .unwrap();
    }
    view.flush().unwrap();
}

/// Whether the view says that it is damaged. Otherwise it must be exactly as of the position that it names.
fn is_found_damaged(path: &std::path::Path) -> bool {
    let read = || {
        let view = FjallView::open(path, 1 << 20)?;
        let position = view.get(POSITION)?;
        let steps = position.map_or(0, |bytes| 1 + u32::from_be_bytes(bytes.try_into().unwrap()));
        for n in 0..STEPS {
            let (key, value) = row_of(n);
            let expected = (n < steps).then_some(value);
            assert_eq!(view.get(&key)?, expected, "{n} of {steps}");
        }
        Ok(())
    };
    match read() {
        Ok(()) => false,
        Err(ViewError::Damaged { .. }) => true,
        Err(error) => panic!("{error:?}"),
    }
}

fn files_under(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| {
        if path.is_dir() {
            files_under(&path)
        } else {
            vec![path]
        }
    });
    below.collect()
}

#[test]
fn whatever_file_is_damaged_a_view_is_as_of_its_position_or_says_so_and_can_be_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    stepped(&whole);
    assert!(!is_found_damaged(&whole));
    let files = files_under(&whole);
    assert!(files.len() > 5, "{files:?}");
    let mut found = 0;
    for (round, file) in files.iter().flat_map(|file| [(0, file), (1, file)]) {
        let path = dir.path().join("damaged");
        for from in &files {
            let to = path.join(from.strip_prefix(&whole).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        }
        let damaged = path.join(file.strip_prefix(&whole).unwrap());
        let mut bytes = std::fs::read(&damaged).unwrap();
        if round == 0 {
            bytes.truncate(bytes.len() / 2);
        } else {
            let middle = bytes.len() / 2;
            bytes
                .iter_mut()
                .skip(middle)
                .take(64)
                .for_each(|byte| *byte ^= 0x5a);
        }
        std::fs::write(&damaged, bytes).unwrap();
        found += usize::from(is_found_damaged(&path));
        std::fs::remove_dir_all(&path).unwrap();
        let view = FjallView::open(&path, 1 << 20).unwrap();
        assert_eq!(view.get(POSITION).unwrap(), None);
        drop(view);
        std::fs::remove_dir_all(&path).unwrap();
    }
    assert!(found > 0, "no damage was noticed");
}

#[test]
fn prefixes_end_where_the_next_key_begins() {
    assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
    assert_eq!(prefix_end(&[1, 255, 255]), Some(vec![2]));
    assert_eq!(prefix_end(&[255]), None);
    assert_eq!(prefix_end(&[]), None);
}

#[test]
fn a_view_that_is_cleared_works_on_also_beside_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let view = FjallView::open(&dir.path().join("view"), 1 << 20).unwrap();
    let rows = |from: u32, to: u32| {
        (from..to)
            .map(|n| (n.to_be_bytes().to_vec(), Some(vec![1])))
            .collect()
    };
    view.apply(rows(0, 100)).unwrap();
    view.apply(rows(100, 200)).unwrap();
    assert_eq!(scan(&view, &[], None, false, 1_000).len(), 200);
    let (begun, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut seen = 0;
            let ended = view.scan(&[], None, false, &mut |key, _| {
                if seen == 0 {
                    begun.wait();
                    go.wait();
                    // While the view is closed nothing is shown, and a scan that asks for more ends.
                    while view.get(key).is_ok_and(|row| row.is_some()) {
                        std::thread::yield_now();
                    }
                    return false;
                }
                seen += 1;
                true
            });
            assert!(ended.is_ok());
        });
        begun.wait();
        go.wait();
        view.clear().unwrap();
    });
    assert!(scan(&view, &[], None, false, 1_000).is_empty());
    view.apply(rows(0, 10)).unwrap();
    assert_eq!(scan(&view, &[], None, false, 1_000).len(), 10);
}

#[test]
fn no_reader_sees_a_part_of_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let view = FjallView::open(&dir.path().join("view"), 1 << 20).unwrap();
    let batch = |n: u32| {
        let keys = (0..500_u32).map(|key| key.to_be_bytes().to_vec());
        keys.map(|key| (key, Some(n.to_be_bytes().to_vec()))).collect()
    };
    view.apply(batch(0)).unwrap();
    let number = |key: u32| {
        let row = view.get(&key.to_be_bytes()).unwrap().unwrap();
        u32::from_be_bytes(row.try_into().unwrap())
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..200).for_each(|n| view.apply(batch(n)).unwrap());
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            // The first key is written first: whoever has seen it new finds the last one as new.
            let first = number(0);
            assert!(number(499) >= first);
        }
    });
    assert_eq!(number(499), 199);
}

#[test]
fn a_view_in_which_a_batch_is_missing_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view");
    let apply = |view: &FjallView, n: u8| view.apply(vec![(vec![n], Some(vec![n]))]).unwrap();
    let view = FjallView::open(&path, 1 << 20).unwrap();
    (0..5).for_each(|n| apply(&view, n));
    drop(view);
    fjall::forget_mark(&path, 3);
    assert!(matches!(
        FjallView::open(&path, 1 << 20),
        Err(ViewError::Damaged { .. })
    ));
    std::fs::remove_dir_all(&path).unwrap();
    let view = FjallView::open(&path, 1 << 20).unwrap();
    (0..5).for_each(|n| apply(&view, n));
    drop(view);
    fjall::forget_mark(&path, 4);
    // That is a view as of an earlier batch, which its rows say: not the marks' to judge.
    FjallView::open(&path, 1 << 20).unwrap();
}
