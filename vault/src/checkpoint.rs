//! Index checkpoints: every entry of a vault, opened, as one stream of bytes that is then sealed like any other.
//!
//! Writing and reading are streaming: neither side holds more than one entry. Which claims a checkpoint settles is
//! [`InFlight`]'s business.
//!
//! Invariant: a checkpoint `through` a sequence reflects every write whose claim has an `after` below it: applied, or
//! given up, before the entries were read. So a rebuild may drop such claims, and nothing deleted before comes back.
//!
//! Source: FORMAT.md section 5.

use std::collections::BTreeMap;

use engine::codec::{DecodeError, Reader, Writer};
use engine::slots::{Address, Entry, Sequence};
use zeroize::Zeroizing;

use crate::Random;
use crate::keys::{FIRST_EPOCH, Keyring};
use crate::object::Part;
use crate::value::{OpenError, VALUE_BYTES_MAX, ValueError, is_clear};

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
/// The first byte of the statement entry that names the newest checkpoint; a sealed value follows.
pub const STATEMENT_TAG: u8 = 3;

/// Where the newest checkpoint lies: the value of the vault's checkpoint statement and of the checkpoint's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPointer {
    /// Every claim with an `after` below this is reflected.
    pub through: Sequence,
    /// When it was written, in ms since 1970.
    pub written_ms: u64,
    /// The stream that holds it, in the vault-wide scope.
    pub stream: Part,
}

impl CheckpointPointer {
    /// The plaintext value.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(self.through.0);
        writer.u64(self.written_ms);
        self.stream.encode(&mut writer);
        writer.into_vec()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        reader.version(VERSION)?;
        let pointer = Self {
            through: Sequence(reader.u64()?),
            written_ms: reader.u64()?,
            stream: Part::decode(&mut reader)?,
        };
        reader.finish()?;
        Ok(pointer)
    }

    /// The value of the checkpoint statement: its tag, then the sealed pointer.
    ///
    /// # Errors
    /// [`ValueError`].
    pub fn seal(&self, keyring: &Keyring, random: Random<'_>) -> Result<Vec<u8>, ValueError> {
        let sealed =
            keyring.seal_value(&keyring.checkpoint_address(), FIRST_EPOCH, &self.encode(), random)?;
        let mut value = Vec::with_capacity(sealed.len() + 1);
        value.push(STATEMENT_TAG);
        value.extend_from_slice(&sealed);
        Ok(value)
    }

    /// Opens the value of the checkpoint statement.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(keyring: &Keyring, value: &[u8]) -> Result<Self, OpenError> {
        let mut reader = Reader::new(value);
        match reader.u8()? {
            STATEMENT_TAG => {}
            got => {
                return Err(DecodeError::BadValue {
                    what: "checkpoint tag",
                    got: u64::from(got),
                }
                .into());
            }
        }
        let plain = keyring.open_value(&keyring.checkpoint_address(), reader.rest())?;
        Ok(Self::decode(&plain)?)
    }
}

/// One entry of a checkpoint: as in the ledger, its value opened if it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// Where it stands.
    pub address: Address,
    /// The append that wrote it.
    pub sequence: Sequence,
    /// The plaintext value.
    pub value: Zeroizing<Vec<u8>>,
}

impl CheckpointEntry {
    /// A ledger entry, opened.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(keyring: &Keyring, entry: &Entry) -> Result<Self, OpenError> {
        let value = if is_clear(entry.address.kind) {
            Zeroizing::new(entry.value.to_vec())
        } else {
            keyring.open_value(&entry.address, &entry.value)?
        };
        Ok(Self {
            address: entry.address,
            sequence: entry.sequence,
            value,
        })
    }
}

/// Writes a checkpoint, entry by entry, to a buffer that the caller empties as it likes.
#[derive(Debug)]
pub struct CheckpointWriter {
    left: u64,
}

/// More or fewer entries than were announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a checkpoint of {left} more entries was announced")]
pub struct WrongCount {
    /// Entries still to come; 0 when there were too many.
    pub left: u64,
}

impl CheckpointWriter {
    /// Writes the head: `through`, and how many entries will follow.
    pub fn start(through: Sequence, entries: u64, out: &mut Vec<u8>) -> Self {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u64(through.0);
        writer.varint(entries);
        out.extend_from_slice(writer.as_slice());
        Self { left: entries }
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// [`WrongCount`] when all announced entries were written.
    pub fn entry(&mut self, entry: &CheckpointEntry, out: &mut Vec<u8>) -> Result<(), WrongCount> {
        self.left = self.left.checked_sub(1).ok_or(WrongCount { left: 0 })?;
        let mut writer = Writer::with_capacity(entry.value.len() + 48);
        entry.address.encode(&mut writer);
        writer.u64(entry.sequence.0);
        writer.bytes(&entry.value);
        out.append(&mut writer.into_vec());
        Ok(())
    }

    /// Checks that all entries were written.
    ///
    /// # Errors
    /// [`WrongCount`].
    pub const fn finish(self) -> Result<(), WrongCount> {
        if self.left == 0 {
            Ok(())
        } else {
            Err(WrongCount { left: self.left })
        }
    }
}

/// Reads a checkpoint from its bytes as they come. It holds at most one entry and what was fed last.
#[derive(Debug, Default)]
pub struct CheckpointReader {
    buffer: Zeroizing<Vec<u8>>,
    read: usize,
    /// `through` and the entries left, once the head was read.
    head: Option<(Sequence, u64)>,
}

impl CheckpointReader {
    /// A reader at the start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The sequence that the checkpoint goes through, once enough was fed.
    pub fn through(&self) -> Option<Sequence> {
        self.head.map(|(through, _)| through)
    }

    /// The next entry, or nothing before more is fed (or when all was read).
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a checkpoint.
    pub fn next_entry(&mut self) -> Result<Option<CheckpointEntry>, DecodeError> {
        let rest = self.buffer.get(self.read..).unwrap_or_default();
        let mut reader = Reader::new(rest);
        let parsed = match self.head {
            None => read_head(&mut reader).map(|head| (head, None)),
            Some((_, 0)) => return Ok(None),
            Some((through, left)) => read_entry(&mut reader).map(|entry| ((through, left - 1), Some(entry))),
        };
        let used = rest.len() - reader.remaining();
        match parsed {
            Ok((head, entry)) => {
                self.read += used;
                self.head = Some(head);
                if entry.is_none() {
                    self.next_entry()
                } else {
                    Ok(entry)
                }
            }
            Err(DecodeError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Checks that the whole checkpoint was read and nothing follows it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn finish(self) -> Result<(), DecodeError> {
        let bytes = self.buffer.len() - self.read;
        match self.head {
            Some((_, 0)) if bytes == 0 => Ok(()),
            Some((_, 0)) => Err(DecodeError::Trailing { bytes }),
            _ => Err(DecodeError::Truncated {
                need: bytes as u64 + 1,
                have: bytes,
            }),
        }
    }
}

fn read_head(reader: &mut Reader<'_>) -> Result<(Sequence, u64), DecodeError> {
    reader.version(VERSION)?;
    Ok((Sequence(reader.u64()?), reader.varint()?))
}

fn read_entry(reader: &mut Reader<'_>) -> Result<CheckpointEntry, DecodeError> {
    Ok(CheckpointEntry {
        address: Address::decode(reader)?,
        sequence: Sequence(reader.u64()?),
        value: Zeroizing::new(reader.bytes(VALUE_BYTES_MAX)?.to_vec()),
    })
}

/// Which claims are between their trailer and the end of their append. A checkpoint goes through
/// [`Self::settled_below`], taken before its entries are read.
#[derive(Debug, Default)]
pub struct InFlight {
    by_after: BTreeMap<Sequence, u64>,
}

impl InFlight {
    /// Notes a claim that is about to be written with this `after`.
    pub fn begin(&mut self, after: Sequence) {
        *self.by_after.entry(after).or_default() += 1;
    }

    /// Notes that the append of such a claim was answered, or that it was given up.
    pub fn end(&mut self, after: Sequence) {
        if let Some(count) = self.by_after.get_mut(&after) {
            *count -= 1;
            if *count == 0 {
                self.by_after.remove(&after);
            }
        }
    }

    /// Every claim with an `after` below this has ended. `applied` is the writer's applied sequence now.
    pub fn settled_below(&self, applied: Sequence) -> Sequence {
        self.by_after
            .keys()
            .next()
            .map_or(applied, |lowest| applied.min(*lowest))
    }
}
