use engine::slots::EntryKind;
use proptest::prelude::*;

use super::*;
use crate::object::samples::{object, part};
use crate::testing::{SCOPE, assert_golden, cases, keyring, seeded};

fn entry(kind: EntryKind, slot: u8, value: Vec<u8>) -> CheckpointEntry {
    let address = Address {
        scope: SCOPE.0,
        kind,
        slot: [slot; 16],
    };
    CheckpointEntry {
        address,
        sequence: Sequence(u64::from(slot)),
        value: Zeroizing::new(value),
    }
}

fn write(entries: &[CheckpointEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = CheckpointWriter::start(Sequence(9), entries.len() as u64, &mut out);
    for entry in entries {
        writer.entry(entry, &mut out).unwrap();
    }
    writer.finish().unwrap();
    out
}

#[test]
fn a_checkpoint_and_its_pointer_are_the_golden_bytes() {
    let object = object("k", vec![part(0, 10, 1)]).encode();
    assert_golden(
        "checkpoint.bin",
        &write(&[
            entry(EntryKind::ObjectCurrent, 1, object),
            entry(EntryKind::Pack, 2, vec![1, 2]),
        ]),
    );
    let pointer = CheckpointPointer {
        through: Sequence(9),
        written_ms: 8,
        stream: part(0, 100, 1),
    };
    assert_golden("checkpoint-pointer.bin", &pointer.encode());
    let sealed = pointer.seal(&keyring(), &mut seeded(1)).unwrap();
    assert_eq!(CheckpointPointer::open(&keyring(), &sealed), Ok(pointer));
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_checkpoint_reads_back_however_its_bytes_arrive(values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20), piece in 1usize..300) {
        let entries: Vec<_> = values.into_iter().zip(0..).map(|(value, slot)| entry(EntryKind::Pack, slot, value)).collect();
        let bytes = write(&entries);
        let mut reader = CheckpointReader::new();
        let mut read = Vec::new();
        for fed in bytes.chunks(piece) {
            reader.feed(fed);
            while let Some(entry) = reader.next_entry().unwrap() {
                read.push(entry);
            }
        }
        prop_assert_eq!(reader.through(), Some(Sequence(9)));
        prop_assert_eq!(reader.finish(), Ok(()));
        prop_assert_eq!(read, entries);
        let mut short = CheckpointReader::new();
        short.feed(&bytes[..bytes.len() - 1]);
        while let Ok(Some(_)) = short.next_entry() {}
        prop_assert!(short.finish().is_err());
    }
}

#[test]
fn entries_are_opened_on_the_way_in() {
    let address = keyring().object_address(SCOPE, b"k");
    let value = keyring()
        .seal_value(&address, 1, b"plain", &mut seeded(1))
        .unwrap()
        .into();
    let sealed = Entry {
        address,
        sequence: Sequence(1),
        value,
    };
    assert_eq!(
        CheckpointEntry::open(&keyring(), &sealed)
            .unwrap()
            .value
            .as_slice(),
        b"plain"
    );
    let elsewhere = Entry {
        address: keyring().object_address(SCOPE, b"other"),
        ..sealed
    };
    assert!(CheckpointEntry::open(&keyring(), &elsewhere).is_err());
}

#[test]
fn a_count_that_is_not_kept_is_refused() {
    let mut out = Vec::new();
    let mut writer = CheckpointWriter::start(Sequence(1), 1, &mut out);
    writer
        .entry(&entry(EntryKind::Pack, 1, vec![]), &mut out)
        .unwrap();
    assert!(
        writer
            .entry(&entry(EntryKind::Pack, 2, vec![]), &mut out)
            .is_err()
    );
    assert_eq!(
        CheckpointWriter::start(Sequence(1), 1, &mut out).finish(),
        Err(WrongCount { left: 1 })
    );
}

#[test]
fn a_claim_in_flight_holds_the_checkpoint_back() {
    let mut claims = InFlight::default();
    assert_eq!(claims.settled_below(Sequence(10)), Sequence(10));
    claims.begin(Sequence(7));
    claims.begin(Sequence(7));
    claims.begin(Sequence(9));
    assert_eq!(claims.settled_below(Sequence(10)), Sequence(7));
    claims.end(Sequence(7));
    assert_eq!(claims.settled_below(Sequence(10)), Sequence(7));
    claims.end(Sequence(7));
    assert_eq!(claims.settled_below(Sequence(10)), Sequence(9));
}
