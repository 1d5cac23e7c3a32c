//! What the ledger takes, keeps and answers: appends, entries, outcomes, and the values that are in the clear.
//!
//! Source: FORMAT.md section 6.

use engine::codec::{Reader, Writer};
use engine::slots::{Append, AppliedAppend, Entry, LeaseEntry, Outcome, ValueRange};
use net::PackEntry;

/// The input as an append, as an applied append, as an entry, as an outcome, as a lease and as a pack entry.
pub fn ledger_entry(input: &[u8]) -> bool {
    let mut taken = false;
    if let Some(append) = strict_with(input, Append::decode(input), Append::encode) {
        let applied = append.applied(engine::slots::Sequence(7));
        let mut writer = Writer::new();
        let ranges = applied.encode(&mut writer);
        check_applied(writer.as_slice(), &applied, &ranges);
        taken = true;
    }
    if let Ok((applied, ranges)) = AppliedAppend::decode_with_ranges(input) {
        check_applied(input, &applied, &ranges);
        taken = true;
    }
    let mut reader = Reader::new(input);
    if let Ok(entry) = Entry::decode(&mut reader) {
        let mut writer = Writer::new();
        entry.encode(&mut writer);
        let used = input.len() - reader.remaining();
        assert!(
            Some(writer.as_slice()) == input.get(..used),
            "an entry has two encodings"
        );
        taken = true;
    }
    taken |= strict_with(input, Outcome::decode(input), Outcome::encode).is_some();
    taken |= crate::strict(input, LeaseEntry::decode(input), LeaseEntry::encode).is_some();
    if let Some(entry) = crate::strict(input, PackEntry::decode(input), PackEntry::encode) {
        let shards = entry.summary.geometry.code.shards();
        assert_eq!(entry.drives.len(), shards);
        assert!(entry.stored().all(|index| entry.drive(index).is_some()));
        assert_eq!(entry.summary.verify(), Ok(()));
        taken = true;
    }
    taken
}

fn strict_with<T, E>(input: &[u8], decoded: Result<T, E>, encode: impl FnOnce(&T, &mut Writer)) -> Option<T> {
    crate::strict(input, decoded, |value| {
        let mut writer = Writer::new();
        encode(value, &mut writer);
        writer.into_vec()
    })
}

/// An applied append reads back from its bytes, and each range leads to the value that it is said to hold.
fn check_applied(bytes: &[u8], applied: &AppliedAppend, ranges: &[Option<ValueRange>]) {
    let mut writer = Writer::new();
    assert_eq!(applied.encode(&mut writer), ranges);
    assert!(writer.as_slice() == bytes, "an applied append has two encodings");
    assert_eq!(
        AppliedAppend::decode_with_ranges(bytes),
        Ok((applied.clone(), ranges.to_vec()))
    );
    assert_eq!(ranges.len(), applied.writes.len());
    for (write, range) in applied.writes.iter().zip(ranges) {
        let at = range.and_then(|range| bytes.get(range.offset as usize..)?.get(..range.bytes as usize));
        assert_eq!(at, write.value.as_deref(), "a value is not where its range says");
    }
}
