//! What a gateway asks of the ledger: an append, and the form in which the ledger's log keeps it once applied.
//!
//! Whether it can be applied is decided in `machine`. Invariant: a decoded append keeps the limits of FORMAT.md
//! section 6, and what one side encodes, the other decodes to an equal value.

use bytes::Bytes;

use super::{Address, Sequence};
use crate::codec::{DecodeError, Reader, Writer};

/// The most expectations of one append.
pub const EXPECTATIONS_MAX: usize = 16_384;
/// The most writes of one append.
pub const WRITES_MAX: usize = 16_384;
/// The longest encoded append, in bytes.
pub const APPEND_BYTES_MAX: usize = 4 << 20;

/// What must hold for an append to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// No entry stands at the address.
    Absent(Address),
    /// The entry at the address is the one of this sequence. The append need not write the address.
    At(Address, Sequence),
    /// The scope holds no object: no entry of kinds object-current and object-version.
    ScopeEmpty([u8; 16]),
}

/// A new value for an address, or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The address.
    pub address: Address,
    /// The value; `None` removes the entry, if there is one.
    pub value: Option<Bytes>,
}

/// The operation's record that an append carries to the activity log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPart {
    /// SHA-256(blind ‖ record).
    pub commitment: [u8; 32],
    /// The record, sealed by the gateway.
    pub body: Bytes,
}

/// What a gateway asks: writes to several addresses, all or none, if every expectation holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The client's operation; a retry has the same id and content and gets the first result.
    pub operation: [u8; 16],
    /// The gateway's lease number.
    pub lease: u64,
    /// The vault.
    pub vault: [u8; 16],
    /// What must hold.
    pub expectations: Vec<Expectation>,
    /// What is written, each address at most once.
    pub writes: Vec<Write>,
    /// The operation's record.
    pub record: Option<RecordPart>,
}

/// An append as the ledger keeps it: applied, with its sequence, without its expectations (ledger frame kind 16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedAppend {
    /// Its number.
    pub sequence: Sequence,
    /// As in [`Append`].
    pub operation: [u8; 16],
    /// As in [`Append`].
    pub lease: u64,
    /// As in [`Append`].
    pub vault: [u8; 16],
    /// As in [`Append`]; each entry written carries [`Self::sequence`].
    pub writes: Vec<Write>,
    /// As in [`Append`].
    pub record: Option<RecordPart>,
}

/// Where a value lies inside an encoded [`AppliedAppend`], in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueRange {
    /// Where it starts.
    pub offset: u32,
    /// Its length.
    pub bytes: u32,
}

/// An append beyond the limits of FORMAT.md section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendLimit {
    /// Too many expectations.
    #[error("{got} expectations, at most {EXPECTATIONS_MAX}")]
    Expectations {
        /// How many.
        got: usize,
    },
    /// Too many writes.
    #[error("{got} writes, at most {WRITES_MAX}")]
    Writes {
        /// How many.
        got: usize,
    },
    /// Too many bytes.
    #[error("an append of {got} bytes, at most {APPEND_BYTES_MAX}")]
    Bytes {
        /// How many, an upper estimate that counts each length as a longest varint.
        got: usize,
    },
}

impl Append {
    /// Checks counts and size.
    pub fn check_limits(&self) -> Result<(), AppendLimit> {
        if self.expectations.len() > EXPECTATIONS_MAX {
            return Err(AppendLimit::Expectations {
                got: self.expectations.len(),
            });
        }
        if self.writes.len() > WRITES_MAX {
            return Err(AppendLimit::Writes {
                got: self.writes.len(),
            });
        }
        let got = self.encoded_bytes_at_most();
        if got > APPEND_BYTES_MAX {
            Err(AppendLimit::Bytes { got })
        } else {
            Ok(())
        }
    }

    /// An upper bound of the encoded length in bytes, without encoding.
    pub fn encoded_bytes_at_most(&self) -> usize {
        const LENGTH: usize = 4;
        // The sequence counts too, so that what is admitted also fits in its applied form.
        let fixed = 8 + 16 + 8 + 16 + 1 + 2 * LENGTH;
        let expectations = self.expectations.len() * (1 + super::ADDRESS_BYTES + 8);
        let values: usize = self
            .writes
            .iter()
            .filter_map(|write| write.value.as_ref())
            .map(Bytes::len)
            .sum();
        let writes = self.writes.len() * (super::ADDRESS_BYTES + 1 + LENGTH) + values;
        let record = self
            .record
            .as_ref()
            .map_or(0, |record| 32 + LENGTH + record.body.len());
        fixed + expectations + writes + record
    }

    /// Writes the append.
    pub fn encode(&self, writer: &mut Writer) {
        writer.fixed(&self.operation);
        writer.u64(self.lease);
        writer.fixed(&self.vault);
        writer.list_with(&self.expectations, |w, expectation| expectation.encode(w));
        encode_writes(writer, &self.writes, 0);
        encode_record(writer, self.record.as_ref());
    }

    /// Reads an append that fills `input`, and checks the limits.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        check_length(input)?;
        let mut reader = Reader::new(input);
        let append = Self {
            operation: reader.fixed()?,
            lease: reader.u64()?,
            vault: reader.fixed()?,
            expectations: reader.list_with(EXPECTATIONS_MAX, Expectation::decode)?,
            writes: reader.list_with(WRITES_MAX, Write::decode)?,
            record: reader.option_with(RecordPart::decode)?,
        };
        reader.finish()?;
        Ok(append)
    }

    /// The form that the ledger keeps, under `sequence`. Values are shared, not copied.
    pub fn applied(&self, sequence: Sequence) -> AppliedAppend {
        AppliedAppend {
            sequence,
            operation: self.operation,
            lease: self.lease,
            vault: self.vault,
            writes: self.writes.clone(),
            record: self.record.clone(),
        }
    }
}

impl AppliedAppend {
    /// Writes the payload of a ledger frame of kind 16. Returns where the value of each write lies, counted from where
    /// the writer stood.
    pub fn encode(&self, writer: &mut Writer) -> Vec<Option<ValueRange>> {
        let start = writer.len();
        writer.u64(self.sequence.0);
        writer.fixed(&self.operation);
        writer.u64(self.lease);
        writer.fixed(&self.vault);
        let ranges = encode_writes(writer, &self.writes, start);
        encode_record(writer, self.record.as_ref());
        ranges
    }

    /// How many bytes it takes encoded, about.
    pub fn encoded_bytes_about(&self) -> usize {
        let values = self.writes.iter().filter_map(|write| write.value.as_ref());
        let record = self.record.as_ref().map_or(0, |record| record.body.len() + 40);
        64 + values.map(Bytes::len).sum::<usize>() + self.writes.len() * 48 + record
    }

    /// Reads the payload of a ledger frame of kind 16.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_with_ranges(input).map(|(applied, _)| applied)
    }

    /// Reads the payload of a ledger frame of kind 16, and says where in it the value of each write lies.
    pub fn decode_with_ranges(input: &[u8]) -> Result<(Self, Vec<Option<ValueRange>>), DecodeError> {
        check_length(input)?;
        let mut reader = Reader::new(input);
        let (sequence, operation) = (Sequence(reader.u64()?), reader.fixed()?);
        let (lease, vault) = (reader.u64()?, reader.fixed()?);
        let mut ranges = Vec::new();
        let writes = reader.list_with(WRITES_MAX, |reader| {
            let write = Write::decode(reader)?;
            // The value is the last field of a write, so it ends where the reader stands. Lengths are checked above.
            let end = input.len() - reader.remaining();
            ranges.push(
                write
                    .value
                    .as_ref()
                    .map(|value| value_range(end - value.len(), value.len())),
            );
            Ok::<_, DecodeError>(write)
        })?;
        let record = reader.option_with(RecordPart::decode)?;
        reader.finish()?;
        Ok((
            Self {
                sequence,
                operation,
                lease,
                vault,
                writes,
                record,
            },
            ranges,
        ))
    }
}

impl Expectation {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Absent(address) => {
                writer.u8(1);
                address.encode(writer);
            }
            Self::At(address, sequence) => {
                writer.u8(2);
                address.encode(writer);
                writer.u64(sequence.0);
            }
            Self::ScopeEmpty(scope) => {
                writer.u8(3);
                writer.fixed(scope);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Absent(Address::decode(reader)?)),
            2 => Ok(Self::At(Address::decode(reader)?, Sequence(reader.u64()?))),
            3 => Ok(Self::ScopeEmpty(reader.fixed()?)),
            got => Err(DecodeError::BadValue {
                what: "expectation form",
                got: u64::from(got),
            }),
        }
    }
}

impl Write {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let address = Address::decode(reader)?;
        let value = reader.option_with(|reader| reader.bytes(APPEND_BYTES_MAX))?;
        Ok(Self {
            address,
            value: value.map(Bytes::copy_from_slice),
        })
    }
}

impl RecordPart {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let commitment = reader.fixed()?;
        Ok(Self {
            commitment,
            body: Bytes::copy_from_slice(reader.bytes(APPEND_BYTES_MAX)?),
        })
    }
}

fn encode_writes(writer: &mut Writer, writes: &[Write], start: usize) -> Vec<Option<ValueRange>> {
    let mut ranges = Vec::with_capacity(writes.len());
    writer.list_with(writes, |writer, write| {
        write.address.encode(writer);
        writer.option_with(write.value.as_ref(), |writer, value| writer.bytes(value));
        let value = write.value.as_ref();
        ranges.push(value.map(|value| value_range(writer.len() - start - value.len(), value.len())));
    });
    ranges
}

fn encode_record(writer: &mut Writer, record: Option<&RecordPart>) {
    writer.option_with(record, |writer, record| {
        writer.fixed(&record.commitment);
        writer.bytes(&record.body);
    });
}

fn check_length(input: &[u8]) -> Result<(), DecodeError> {
    if input.len() > APPEND_BYTES_MAX {
        return Err(DecodeError::TooLong {
            limit: APPEND_BYTES_MAX as u64,
            got: input.len() as u64,
        });
    }
    Ok(())
}

/// Appends are at most 4 MiB, so both numbers fit; a longer one (never checked against its limits) saturates and then
/// fails its bounds check when read.
fn value_range(offset: usize, bytes: usize) -> ValueRange {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    ValueRange {
        offset: narrow(offset),
        bytes: narrow(bytes),
    }
}
