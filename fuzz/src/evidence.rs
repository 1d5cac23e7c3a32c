//! Receipts, records and the signed notes in them: text that strangers hand to `cairn verify`.
//!
//! Source: activity/RECEIPT.md; RFC 8785; c2sp.org/signed-note.

use activity::{LogKey, Receipt, Record, SignedCheckpoint};

use crate::strict;

/// The input as a receipt, as a record, as a log's key, and as a signed note.
pub fn receipt(input: &[u8]) -> bool {
    let mut taken = false;
    let encode = |receipt: &Receipt| receipt.to_string().into_bytes();
    if let Some(receipt) = strict(input, Receipt::parse(input), encode)
        && let Ok(verified) = receipt.verify(None)
    {
        assert!(!verified.pinned && verified.index < verified.tree_size);
        let pinned = receipt.verify(Some(&verified.key));
        assert!(pinned.is_ok_and(|pinned| pinned.pinned && pinned.record == verified.record));
        assert!(verified.record.canonical_bytes().is_ok());
        check_every_byte_counts(input);
        taken = true;
    }
    let encode = |record: &Record| record.canonical_bytes().unwrap_or_default();
    if let Some(record) = strict(input, Record::parse(input), encode)
        && let Ok(signers) = record.signers()
    {
        assert_eq!(signers.len(), record.signatures.len());
        taken = true;
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return taken;
    };
    if let Ok(key) = text.parse::<LogKey>() {
        assert_eq!(key.to_string(), text, "a log key has two spellings");
        taken = true;
    }
    // The first line is the key that the rest is checked with.
    if let Some((key, note)) = text.split_once('\n')
        && let Ok(key) = key.parse::<LogKey>()
        && let Ok(checkpoint) = SignedCheckpoint::parse(note, &key)
    {
        assert_eq!(checkpoint.note(), note, "a signed note has two forms");
        taken = true;
    }
    taken
}

/// A receipt that verifies does not once a byte is another: a spread of bytes is tried.
fn check_every_byte_counts(receipt: &[u8]) {
    let step = receipt.len().div_ceil(BYTES_CHANGED);
    for at in (0..receipt.len()).step_by(step.max(1)) {
        let mut altered = receipt.to_vec();
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= 1;
        }
        let verified = Receipt::parse(&altered).is_ok_and(|altered| altered.verify(None).is_ok());
        assert!(!verified, "a receipt verifies with byte {at} changed");
    }
}

const BYTES_CHANGED: usize = 16;
