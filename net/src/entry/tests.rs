use engine::codec::DecodeError;
use engine::pack::{Code, PackGeometry, PackSummary, ShardHash};

use super::PackEntry;

pub(crate) fn entry() -> PackEntry {
    let geometry = PackGeometry {
        code: Code::DEFAULT,
        shard_bytes: 100,
        lane_bytes: vec![100, 40, 0, 0],
        trailer: None,
    };
    let hashes = (0..6u8).map(|index| ShardHash([index; 32])).collect();
    PackEntry {
        summary: PackSummary::new(geometry, hashes).unwrap(),
        vault: [7; 16],
        lease: 3,
        drives: (0..6u8).map(|drive| [drive; 16]).collect(),
    }
}

#[test]
fn an_entry_reads_back_as_it_was_written() {
    let entry = entry();
    assert_eq!(PackEntry::decode(&entry.encode()).unwrap(), entry);
    assert_eq!(entry.stored().collect::<Vec<_>>(), [0, 1, 4, 5]);
}

#[test]
fn a_cut_entry_and_one_with_more_bytes_are_refused() {
    let bytes = entry().encode();
    for end in 0..bytes.len() {
        assert!(PackEntry::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(
        PackEntry::decode(&longer),
        Err(DecodeError::Trailing { bytes: 1 })
    );
}

#[test]
fn an_entry_whose_id_is_not_that_of_its_hashes_is_refused() {
    let mut bytes = entry().encode();
    let inside_a_hash = bytes.len() - 6 * 16 - 5;
    bytes[inside_a_hash] ^= 1;
    assert!(PackEntry::decode(&bytes).is_err());
}

#[test]
fn an_entry_that_names_a_drive_twice_is_refused() {
    let mut twice = entry();
    twice.drives[4] = twice.drives[1];
    assert!(PackEntry::decode(&twice.encode()).is_err());
}
