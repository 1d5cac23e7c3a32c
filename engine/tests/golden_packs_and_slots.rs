//! The bytes of packs, appends, outcomes and leases, pinned: what one version writes, every later one reads.
//!
//! A golden file is changed only together with FORMAT.md and a version number. `CAIRN_WRITE_GOLDEN=1` writes the files
//! that are missing; it never overwrites one.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use bytes::Bytes;
use engine::codec::{Reader, Writer};
use engine::erasure::Coder;
use engine::pack::{Code, Pack, PackBuilder, PackGeometry, PackSummary};
use engine::slots::{
    Address, Append, AppliedAppend, Entry, EntryKind, Expectation, LeaseEntry, LeaseProgress, LeaseState,
    Outcome, RecordPart, Sequence, Write, lease_address,
};

fn assert_golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let text = hex(bytes);
    if !path.exists() && std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(golden == text, "{name} differs from what is written now:\n{text}");
}

/// Lower-case hex, 32 bytes a line.
fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| {
        line.iter()
            .map(|byte| format!("{byte:02x}"))
            .chain(["\n".to_owned()])
            .collect::<String>()
    };
    bytes.chunks(32).map(line).collect()
}

/// Bytes 0, 1, 2 and so on, from `start`.
fn counting(start: u8, count: usize) -> Vec<u8> {
    (0..count).map(|at| start.wrapping_add(at as u8)).collect()
}

/// Two chunks on lanes 0 and 1, a trailer after the second (where it costs least), lanes 2 and 3 implied.
fn pack() -> Pack {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    builder.place(&counting(0, 1000)).unwrap();
    builder.place(&counting(100, 900)).unwrap();
    builder
        .finish(&Coder::new(Code::DEFAULT), Some(&counting(200, 300)))
        .unwrap()
}

fn address(kind: EntryKind, slot: u8) -> Address {
    Address {
        scope: [0x5c; 16],
        kind,
        slot: [slot; 16],
    }
}

fn append() -> Append {
    Append {
        operation: [0x0b; 16],
        lease: 3,
        vault: [0xaa; 16],
        expectations: vec![
            Expectation::Absent(address(EntryKind::ObjectCurrent, 1)),
            Expectation::At(address(EntryKind::Bucket, 2), Sequence(0x0102_0304_0506_0708)),
            Expectation::ScopeEmpty([0x5d; 16]),
        ],
        writes: vec![
            Write {
                address: address(EntryKind::ObjectCurrent, 1),
                value: Some(Bytes::from(counting(0, 200))),
            },
            Write {
                address: address(EntryKind::Upload, 3),
                value: None,
            },
            Write {
                address: address(EntryKind::Part, 4),
                value: Some(Bytes::new()),
            },
        ],
        record: Some(RecordPart {
            commitment: [0xcc; 32],
            body: Bytes::from_static(b"sealed"),
        }),
    }
}

#[test]
fn pack_geometry_id_and_every_shard_are_pinned() {
    let pack = pack();
    let mut writer = Writer::new();
    pack.summary.geometry.encode(&mut writer);
    assert_golden("pack-geometry.hex", writer.as_slice());
    assert_eq!(
        PackGeometry::decode(&mut Reader::new(writer.as_slice())).unwrap(),
        pack.summary.geometry
    );

    let mut writer = Writer::new();
    pack.summary.encode(&mut writer);
    assert_golden("pack-clear-header.hex", writer.as_slice());
    let mut reader = Reader::new(writer.as_slice());
    assert_eq!(PackSummary::decode(&mut reader).unwrap(), pack.summary);
    reader.finish().unwrap();

    assert_golden("pack-id.hex", &pack.summary.id.0);
    let shards: Vec<u8> = pack.shards.iter().flatten().copied().collect();
    assert_golden("pack-shards.hex", &shards);
}

#[test]
fn the_parity_of_a_wide_code_is_pinned() {
    let lanes: Vec<Vec<u8>> = (0..8).map(|lane| counting(lane * 31, 64)).collect();
    let lanes: Vec<&[u8]> = lanes.iter().map(Vec::as_slice).collect();
    let parity = Coder::new(Code::new(8, 4).unwrap()).encode(&lanes, 64);
    assert_golden("parity-8+4.hex", &parity.concat());
}

#[test]
fn the_append_and_its_applied_form_are_pinned() {
    let mut writer = Writer::new();
    append().encode(&mut writer);
    assert_golden("append.hex", writer.as_slice());
    assert_eq!(Append::decode(writer.as_slice()).unwrap(), append());

    let applied = append().applied(Sequence(77));
    let mut writer = Writer::new();
    applied.encode(&mut writer);
    assert_golden("applied-append.hex", writer.as_slice());
    assert_eq!(AppliedAppend::decode(writer.as_slice()).unwrap(), applied);
}

#[test]
fn outcomes_are_pinned() {
    let entry = Entry {
        address: address(EntryKind::ObjectCurrent, 1),
        sequence: Sequence(41),
        value: Bytes::from_static(b"sealed"),
    };
    for (name, outcome) in [
        (
            "outcome-applied.hex",
            Outcome::Applied {
                sequence: Sequence(77),
            },
        ),
        (
            "outcome-conflict.hex",
            Outcome::Conflict {
                expectation: 200,
                current: Some(entry),
            },
        ),
        (
            "outcome-conflict-without-entry.hex",
            Outcome::Conflict {
                expectation: 0,
                current: None,
            },
        ),
        ("outcome-lease-ended.hex", Outcome::LeaseEnded { lowest_live: 9 }),
    ] {
        let mut writer = Writer::new();
        outcome.encode(&mut writer);
        assert_golden(name, writer.as_slice());
        assert_eq!(Outcome::decode(writer.as_slice()).unwrap(), outcome);
    }
}

#[test]
fn a_lease_entry_is_pinned() {
    let lease = LeaseEntry {
        state: LeaseState::Live,
        holder: "gateway".to_owned(),
        granted_ms: 1_700_000_000_123,
        progress: None,
    };
    assert_golden("lease-entry.hex", &lease.encode());
    assert_eq!(LeaseEntry::decode(&lease.encode()).unwrap(), lease);
    let lost = LeaseEntry {
        state: LeaseState::Lost,
        progress: Some(LeaseProgress {
            horizon: Sequence(0x1234),
            records: Sequence(0x1200),
        }),
        ..lease.clone()
    };
    assert_golden("lease-entry-2.hex", &lost.encode());
    assert_eq!(LeaseEntry::decode(&lost.encode()).unwrap(), lost);
    // The first version knows no lost lease, and the entry has no room for the progress.
    let mut first = lost.encode();
    first[0] = 1;
    assert!(LeaseEntry::decode(&first).is_err());
    let mut writer = Writer::new();
    lease_address(3).encode(&mut writer);
    assert_golden("lease-address.hex", writer.as_slice());
}
