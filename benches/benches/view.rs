//! Views: batches as the object index writes them, and what it reads, in fjall and in memory.

use benches::{Amount, Case, Stage, noise};
use engine::view::{FjallView, MemoryView, View};

/// Rows of one applied append: the object, its listing row, its pack.
const ROWS: u64 = 3;
const OBJECTS: u64 = 50_000;

fn main() {
    let mut stage = Stage::new("view");
    let memory = MemoryView::new();
    let names = [
        "memory: apply 64 appends",
        "memory: get a row",
        "memory: scan 1,000 rows",
    ];
    measure(&mut stage, &memory, names, [None, None]);
    let Ok(dir) = tempfile::tempdir() else { return };
    let Ok(fjall) = FjallView::open(&dir.path().join("view"), 64 << 20) else {
        return;
    };
    let names = [
        "fjall: apply 64 appends",
        "fjall: get a row",
        "fjall: scan 1,000 rows",
    ];
    // fjall alone: 2.45 CPU-us for an insert; 377,508 gets and 1,664,457 scanned keys per CPU-second.
    measure(
        &mut stage,
        &fjall,
        names,
        [Some(ROWS as f64 * 2.45), Some(1e6 / 377_508.0)],
    );
    stage.finish();
}

fn row(object: u64, kind: u8) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(
        format!(
            "scope/photos/2026/{:012}",
            object.wrapping_mul(0x9e37_79b9) % OBJECTS
        )
        .as_bytes(),
    );
    key
}

fn measure(stage: &mut Stage, view: &dyn View, names: [&'static str; 3], references: [Option<f64>; 2]) {
    let ([apply, get, scan], [apply_us, get_us]) = (names, references);
    let value = noise(300);
    let mut object = 0;
    let mut batch = || {
        let changes = (0..64).flat_map(|_| {
            object += 1;
            (0..ROWS as u8).map(move |kind| row(object, kind))
        });
        assert!(
            view.apply(changes.map(|key| (key, Some(value.clone()))).collect())
                .is_ok()
        );
    };
    for _ in 0..OBJECTS / 64 {
        batch();
    }
    // fjall writes tables on threads of its own.
    stage.case(
        Case::new(apply, Amount::Operations(64), apply_us).of_process(),
        batch,
    );
    let mut number = 0;
    stage.case(Case::new(get, Amount::Operations(1), get_us), || {
        number += 1;
        view.get(&row(number, 0))
    });
    stage.case(
        Case::new(scan, Amount::Operations(1000), Some(1e6 / 1_664_457.0)),
        || {
            let mut left = 1000;
            let mut bytes = 0;
            let walked = view.scan(&[0], None, false, &mut |key, value| {
                bytes += key.len() + value.len();
                left -= 1;
                left > 0
            });
            assert!(walked.is_ok());
            bytes
        },
    );
}
