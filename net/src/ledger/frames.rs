//! The ledger's frames: appends, carried entries and records-through (FORMAT.md section 6).
//!
//! Invariant: where a value lies is known without decoding again: frame, offset in the payload, length.

use bytes::Bytes;
use engine::codec::{DecodeError, Reader, Writer};
use engine::log::Position;
use engine::slots::{AppliedAppend, Entry, Sequence, ValueRange};

/// Frame kind of an applied append.
pub(super) const KIND_APPEND: u8 = 16;
/// Frame kind of entries copied forward by compaction.
pub(super) const KIND_CARRIED: u8 = 17;
/// Frame kind of the sequence through which records were let go.
pub(super) const KIND_RECORDS_THROUGH: u8 = 18;

/// Frame kind of how far a member of a replicated ledger has applied what was agreed on.
pub(super) const KIND_MARK: u8 = 19;
/// The longest state of a mark, in bytes.
const MARK_STATE_BYTES_MAX: usize = 64 << 10;

/// What an entry takes in the log beside its value, in bytes, about.
pub(super) const ENTRY_BYTES: u64 = 48;

/// Where a value lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueAt {
    /// The frame.
    pub(super) frame: Position,
    /// Offset in the frame's payload.
    pub(super) offset: u32,
    /// Length.
    pub(super) bytes: u32,
}

impl ValueAt {
    pub(super) fn new(frame: Position, range: ValueRange) -> Self {
        Self {
            frame,
            offset: range.offset,
            bytes: range.bytes,
        }
    }

    /// What the entry weighs in the log.
    pub(super) fn live_bytes(&self) -> u64 {
        u64::from(self.bytes) + ENTRY_BYTES
    }

    /// The value out of its frame's payload.
    pub(super) fn slice(&self, payload: &Bytes) -> Option<Bytes> {
        let start = self.offset as usize;
        let end = start.checked_add(self.bytes as usize)?;
        (end <= payload.len()).then(|| payload.slice(start..end))
    }
}

/// Which ledger a log is a copy of, random.
pub type Lineage = [u8; 16];

/// How far a member of a replicated ledger has applied what was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// The newest append of the last agreed entry that was applied whole.
    pub(super) sequence: u64,
    /// Which ledger it is: one that is begun anew has another.
    pub(super) lineage: Lineage,
    /// Which entry that was, and who the members are; the ledger's log does not read it.
    pub(super) state: Bytes,
}

impl Mark {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(16 + self.state.len());
        writer.u64(self.sequence);
        writer.fixed(&self.lineage);
        writer.bytes(&self.state);
        writer.into_vec()
    }

    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let mark = Self {
            sequence: reader.u64()?,
            lineage: reader.fixed()?,
            state: Bytes::copy_from_slice(reader.bytes(MARK_STATE_BYTES_MAX)?),
        };
        reader.finish()?;
        Ok(mark)
    }
}

/// A decoded frame. Values come with where they lie in the payload.
pub(super) enum LedgerFrame {
    Append(AppliedAppend, Vec<Option<ValueRange>>),
    Carried(Vec<(Entry, ValueRange)>),
    RecordsThrough(Sequence),
    Mark(Mark),
}

impl LedgerFrame {
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Self, DecodeError> {
        match kind {
            KIND_APPEND => {
                let (append, ranges) = AppliedAppend::decode_with_ranges(payload)?;
                Ok(Self::Append(append, ranges))
            }
            KIND_CARRIED => decode_carried(payload).map(Self::Carried),
            KIND_RECORDS_THROUGH => {
                let mut reader = Reader::new(payload);
                let sequence = Sequence(reader.u64()?);
                reader.finish()?;
                Ok(Self::RecordsThrough(sequence))
            }
            KIND_MARK => Mark::decode(payload).map(Self::Mark),
            got => Err(DecodeError::BadValue {
                what: "ledger frame kind",
                got: u64::from(got),
            }),
        }
    }
}

fn range_before(payload_bytes: usize, remaining: usize, value_bytes: usize) -> ValueRange {
    let offset = payload_bytes
        .saturating_sub(remaining)
        .saturating_sub(value_bytes);
    // A frame is at most one segment, so both fit.
    ValueRange {
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
        bytes: u32::try_from(value_bytes).unwrap_or(u32::MAX),
    }
}

fn decode_carried(payload: &[u8]) -> Result<Vec<(Entry, ValueRange)>, DecodeError> {
    let mut reader = Reader::new(payload);
    let count = reader.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = Entry::decode(&mut reader)?;
        // The value is the last field of an entry, so it ends where the reader stands.
        let range = range_before(payload.len(), reader.remaining(), entry.value.len());
        entries.push((entry, range));
    }
    reader.finish()?;
    Ok(entries)
}

/// The payload of a carried frame, and where each value lies in it.
pub(super) fn encode_carried(entries: &[Entry]) -> (Vec<u8>, Vec<ValueRange>) {
    let values: usize = entries.iter().map(|entry| entry.value.len()).sum();
    let mut writer = Writer::with_capacity(4 + values + entries.len() * 64);
    writer.u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    let mut ranges = Vec::with_capacity(entries.len());
    for entry in entries {
        entry.encode(&mut writer);
        ranges.push(range_before(writer.len(), 0, entry.value.len()));
    }
    (writer.into_vec(), ranges)
}

#[cfg(test)]
mod tests {
    use engine::slots::{Address, EntryKind};

    use super::*;

    #[test]
    fn carried_entries_read_back_with_the_places_of_their_values() {
        let entries: Vec<Entry> = (0..5u8)
            .map(|number| Entry {
                address: Address {
                    scope: [number; 16],
                    kind: EntryKind::ObjectCurrent,
                    slot: [9; 16],
                },
                sequence: Sequence(u64::from(number)),
                value: Bytes::from(vec![number; usize::from(number) * 100]),
            })
            .collect();
        let (payload, ranges) = encode_carried(&entries);
        let Ok(LedgerFrame::Carried(read)) = LedgerFrame::decode(KIND_CARRIED, &payload) else {
            panic!("carried entries do not decode");
        };
        let (read, read_ranges): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        assert_eq!(read, entries);
        assert_eq!(read_ranges, ranges);
        let payload = Bytes::from(payload);
        for (entry, range) in entries.iter().zip(ranges) {
            assert_eq!(
                ValueAt::new(Position(0), range).slice(&payload).as_ref(),
                Some(&entry.value)
            );
        }
    }

    #[test]
    fn a_frame_of_an_unknown_kind_or_a_wrong_length_is_refused() {
        assert!(LedgerFrame::decode(20, &[0; 8]).is_err());
        assert!(LedgerFrame::decode(KIND_MARK, &[0; 8]).is_err());
        assert!(LedgerFrame::decode(KIND_RECORDS_THROUGH, &[0; 7]).is_err());
        assert!(LedgerFrame::decode(KIND_CARRIED, &[255; 4]).is_err());
    }
}
