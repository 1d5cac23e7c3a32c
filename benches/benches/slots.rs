//! The slot machine: what deciding and applying one append costs, without the log under it.

use benches::{Amount, Case, Stage, noise};
use bytes::Bytes;
use engine::slots::{
    Address, Append, AppliedAppend, Decision, EntryKind, Expectation, RecordPart, Sequence, SlotMachine,
    Write,
};

const LIVE: u64 = 100_000;

fn main() {
    let mut stage = Stage::new("slots");
    let mut machine = SlotMachine::<u64>::new();
    let lease = 1;
    let granted = machine.lease_append(lease, ("bench", 0), [0; 16], |_| true);
    assert!(apply(&mut machine, &granted).is_some());
    let value = Bytes::from(noise(400));
    let mut number = 0_u64;
    let mut put = |machine: &mut SlotMachine<u64>| {
        number += 1;
        apply(machine, &append(lease, number, &value))
    };
    for _ in 0..LIVE {
        assert!(put(&mut machine).is_some());
    }
    let case = Case::new(
        "decide and commit an append of 2 writes, 100,000 entries",
        Amount::Operations(1),
        None,
    );
    stage.case(case, || put(&mut machine));

    let one = append(lease, 0, &value);
    stage.case(
        Case::new(
            "encode and decode an append of 2 writes",
            Amount::Operations(1),
            None,
        ),
        || {
            let mut writer = engine::codec::Writer::with_capacity(1024);
            one.applied(Sequence(1)).encode(&mut writer);
            AppliedAppend::decode(writer.as_slice())
        },
    );
    stage.finish();
}

/// What a PUT of a small object asks for: its entry and its pack's, the bucket unchanged.
fn append(lease: u64, number: u64, value: &Bytes) -> Append {
    let mut operation = [0; 16];
    operation
        .iter_mut()
        .zip(number.to_le_bytes())
        .for_each(|(to, from)| *to = from);
    // Slots are keyed hashes, so they come in no order; half of the names are written again.
    let mut hash = *blake3::hash(&(number % (2 * LIVE)).to_le_bytes()).as_bytes();
    let slot = |bytes: &[u8]| bytes.first_chunk().copied().unwrap_or([0; 16]);
    let object = Address {
        scope: [3; 16],
        kind: EntryKind::ObjectCurrent,
        slot: slot(&hash),
    };
    hash.reverse();
    let pack = Address {
        scope: [3; 16],
        kind: EntryKind::Pack,
        slot: slot(&hash),
    };
    let bucket = Address {
        scope: [1; 16],
        kind: EntryKind::Bucket,
        slot: [9; 16],
    };
    Append {
        operation,
        lease,
        vault: [1; 16],
        expectations: vec![Expectation::Absent(bucket)],
        writes: [object, pack]
            .map(|address| Write {
                address,
                value: Some(value.clone()),
            })
            .to_vec(),
        record: Some(RecordPart {
            commitment: [7; 32],
            body: value.clone(),
        }),
    }
}

fn apply(machine: &mut SlotMachine<u64>, append: &Append) -> Option<Sequence> {
    let Ok(Decision::Apply { sequence }) = machine.decide(append) else {
        return None;
    };
    let committed = machine.commit(sequence, |write| sequence.0 << 8 | write as u64, |_| {});
    committed.ok().map(|()| sequence)
}
