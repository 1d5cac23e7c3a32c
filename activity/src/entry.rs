//! The frames of the activity log: entries and checkpoints, as engine/FORMAT.md section 7 lays them out.
//!
//! What recovery needs is in the tags, which segment footers repeat: so a log of a million entries opens without
//! reading its payloads.
//!
//! The blind of a commitment is inside the sealed body: in the clear it would let whoever holds the disk test guesses.
//!
//! | frame | tag | then |
//! |---|---|---|
//! | 16 entry | index u64, ledger sequence u64, record id 16, commitment 32 | body |
//! | 17 checkpoint | tree size u64, root 32 | the signed note |

use bytes::Bytes;
use engine::log::Frame;

use crate::merkle::Hash;
use crate::note::Checkpoint;
use crate::record::RecordId;

/// Frame kind of an entry.
pub(crate) const ENTRY_KIND: u8 = 16;

/// Frame kind of a checkpoint.
pub(crate) const CHECKPOINT_KIND: u8 = 17;

/// The longest body of an entry, in bytes.
pub const BODY_BYTES_MAX: usize = 65_536;

/// An entry to append.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The record's id, new in this log.
    pub record_id: RecordId,
    /// The ledger append that carried the record; 0 when it did not come through the ledger.
    pub ledger_sequence: u64,
    /// `SHA-256(blind ‖ record)`: the leaf of the tree.
    pub commitment: Hash,
    /// Blind and record, sealed by the log's owner: opaque here.
    pub body: Bytes,
}

/// An entry of the log, its frame's checksum verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log and the tree.
    pub index: u64,
    /// The record's id.
    pub record_id: RecordId,
    /// The ledger append that carried the record; 0 when it did not come through the ledger.
    pub ledger_sequence: u64,
    /// The leaf of the tree.
    pub commitment: Hash,
    /// Blind and record, sealed by the log's owner.
    pub body: Bytes,
}

/// The tag of an entry's frame.
#[derive(Clone, Copy)]
pub(crate) struct EntryTag {
    pub(crate) index: u64,
    pub(crate) ledger_sequence: u64,
    pub(crate) record_id: RecordId,
    pub(crate) commitment: Hash,
}

impl EntryTag {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let sequence = self.ledger_sequence.to_le_bytes();
        [
            &self.index.to_le_bytes()[..],
            &sequence,
            &self.record_id.0,
            &self.commitment,
        ]
        .concat()
    }

    pub(crate) fn decode(tag: &[u8]) -> Option<Self> {
        let (index, rest) = tag.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (record_id, commitment) = rest.split_first_chunk()?;
        Some(Self {
            index: u64::from_le_bytes(*index),
            ledger_sequence: u64::from_le_bytes(*sequence),
            record_id: RecordId(*record_id),
            commitment: commitment.try_into().ok()?,
        })
    }
}

impl Entry {
    /// The entry in a frame of kind [`ENTRY_KIND`]; `None` when it is not shaped as one.
    pub(crate) fn decode(frame: &Frame) -> Option<Self> {
        let tag = EntryTag::decode(&frame.info.tag)?;
        let body = frame.payload.get(frame.info.tag.len()..)?;
        Some(Self {
            index: tag.index,
            record_id: tag.record_id,
            ledger_sequence: tag.ledger_sequence,
            commitment: tag.commitment,
            body: frame.payload.slice_ref(body),
        })
    }
}

pub(crate) fn encode_checkpoint_tag(checkpoint: Checkpoint) -> Vec<u8> {
    [&checkpoint.size.to_le_bytes()[..], &checkpoint.root].concat()
}

pub(crate) fn decode_checkpoint_tag(tag: &[u8]) -> Option<Checkpoint> {
    let (size, root) = tag.split_first_chunk()?;
    Some(Checkpoint {
        size: u64::from_le_bytes(*size),
        root: root.try_into().ok()?,
    })
}

/// The note in a frame of kind [`CHECKPOINT_KIND`].
pub(crate) fn note_of(frame: &Frame) -> Option<&str> {
    std::str::from_utf8(frame.payload.get(frame.info.tag.len()..)?).ok()
}
