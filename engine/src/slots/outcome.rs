//! What an append gets, and an entry as it is handed out.
//!
//! Invariant: an outcome carries all that the gateway needs to evaluate the client's condition again.

use bytes::Bytes;

use super::{APPEND_BYTES_MAX, Address, EXPECTATIONS_MAX, Sequence};
use crate::codec::{DecodeError, Reader, Writer};

/// A live entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub address: Address,
    /// The append that wrote it.
    pub sequence: Sequence,
    /// Its value, sealed for most kinds.
    pub value: Bytes,
}

/// The result of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied, now or when the same operation came first.
    Applied {
        /// Its number.
        sequence: Sequence,
    },
    /// An expectation does not hold; nothing was written.
    Conflict {
        /// The first that does not hold, by its index in the append.
        expectation: usize,
        /// The entry at the expectation's address, if there is one. `None` for a scope that is not empty.
        current: Option<Entry>,
    },
    /// The append's lease is not live; nothing was written.
    LeaseEnded {
        /// The lowest live lease; one above the highest ever if none is.
        lowest_live: u64,
    },
}

impl Entry {
    /// Writes address, sequence and value.
    pub fn encode(&self, writer: &mut Writer) {
        self.address.encode(writer);
        writer.u64(self.sequence.0);
        writer.bytes(&self.value);
    }

    /// Reads address, sequence and value.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (address, sequence) = (Address::decode(reader)?, Sequence(reader.u64()?));
        Ok(Self {
            address,
            sequence,
            value: Bytes::copy_from_slice(reader.bytes(APPEND_BYTES_MAX)?),
        })
    }
}

impl Outcome {
    /// Writes form u8, then: 1 *applied*: sequence u64; 2 *conflict*: expectation varint, entry option; 3 *lease ended*:
    /// lowest live lease u64.
    pub fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Applied { sequence } => {
                writer.u8(1);
                writer.u64(sequence.0);
            }
            Self::Conflict { expectation, current } => {
                writer.u8(2);
                writer.varint(*expectation as u64);
                writer.option_with(current.as_ref(), |writer, entry| entry.encode(writer));
            }
            Self::LeaseEnded { lowest_live } => {
                writer.u8(3);
                writer.u64(*lowest_live);
            }
        }
    }

    /// Reads an outcome that fills `input`.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let outcome = match reader.u8()? {
            1 => Self::Applied {
                sequence: Sequence(reader.u64()?),
            },
            2 => Self::Conflict {
                expectation: reader.count(EXPECTATIONS_MAX - 1)?,
                current: reader.option_with(Entry::decode)?,
            },
            3 => Self::LeaseEnded {
                lowest_live: reader.u64()?,
            },
            got => {
                return Err(DecodeError::BadValue {
                    what: "outcome form",
                    got: u64::from(got),
                });
            }
        };
        reader.finish()?;
        Ok(outcome)
    }
}
