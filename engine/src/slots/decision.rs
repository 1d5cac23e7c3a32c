//! What becomes of an append, and the faults of appends and logs that the state machine names.
//!
//! Types only: the deciding is in `machine`. Invariant: each error says where the fault lies, in numbers.

use bytes::Bytes;

use super::{Address, AppendLimit, Entry, LIVE_LEASES_MAX, Outcome, Sequence};
use crate::codec::DecodeError;

/// An append that no state could apply: a fault of the one who asks, not a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadAppend {
    /// It is too big.
    #[error(transparent)]
    Limit(#[from] AppendLimit),
    /// Two of its writes have the same address.
    #[error("write {index} has the address of an earlier one")]
    DuplicateWrite {
        /// The second of the two.
        index: usize,
    },
    /// It writes something that is no lease to a lease's address.
    #[error("write {index} is not a lease: {error}")]
    Lease {
        /// The write.
        index: usize,
        /// What is wrong.
        error: DecodeError,
    },
    /// It removes the entry of the highest lease, by which the next number is known. It can be ended instead.
    #[error("write {index} removes the highest lease")]
    HighestLease {
        /// The write.
        index: usize,
    },
    /// More leases would live than may.
    #[error(
        "{live} leases would live at one time, at most {LIVE_LEASES_MAX}: end one that nobody needs first"
    )]
    LiveLeases {
        /// How many.
        live: usize,
    },
}

/// A log that this machine cannot have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// An append does not follow the one before it.
    #[error("append {got} follows append {last}")]
    Order {
        /// The last one.
        last: u64,
        /// The one that came.
        got: u64,
    },
    /// A lease entry cannot be read.
    #[error("the lease entry of append {sequence} cannot be read: {error}")]
    Lease {
        /// The append.
        sequence: u64,
        /// What is wrong.
        error: DecodeError,
    },
}

/// What is to become of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<V> {
    /// It is applied under this sequence: write it to the log, flush, then [`SlotMachine::commit`] it.
    Apply {
        /// Its number.
        sequence: Sequence,
    },
    /// It was decided before, perhaps in this batch: write nothing, answer after the flush.
    Repeated {
        /// Its first number.
        sequence: Sequence,
    },
    /// An expectation does not hold.
    Conflict {
        /// The first that does not hold.
        expectation: usize,
        /// The entry at its address, if there is one.
        current: Option<Current<V>>,
    },
    /// Its lease is not live.
    LeaseEnded {
        /// The lowest live lease; one above the highest ever if none is.
        lowest_live: u64,
    },
}

/// An entry that stands in the way of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current<V> {
    /// Where it stands.
    pub address: Address,
    /// The append that wrote it.
    pub sequence: Sequence,
    /// Its value.
    pub value: CurrentValue<V>,
}

/// The value of a [`Current`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrentValue<V> {
    /// Committed: where it is.
    Stored(V),
    /// Decided and not yet committed: what it is. To be shown only after the flush.
    Staged(Bytes),
}

impl<V> Decision<V> {
    /// The outcome to answer with, where `read` fetches a stored value.
    pub fn into_outcome<E>(self, read: impl FnOnce(V) -> Result<Bytes, E>) -> Result<Outcome, E> {
        Ok(match self {
            Self::Apply { sequence } | Self::Repeated { sequence } => Outcome::Applied { sequence },
            Self::LeaseEnded { lowest_live } => Outcome::LeaseEnded { lowest_live },
            Self::Conflict {
                expectation,
                current: None,
            } => Outcome::Conflict {
                expectation,
                current: None,
            },
            Self::Conflict {
                expectation,
                current:
                    Some(Current {
                        address,
                        sequence,
                        value,
                    }),
            } => {
                let value = match value {
                    CurrentValue::Stored(place) => read(place)?,
                    CurrentValue::Staged(value) => value,
                };
                Outcome::Conflict {
                    expectation,
                    current: Some(Entry {
                        address,
                        sequence,
                        value,
                    }),
                }
            }
        })
    }
}

/// An entry that another replaced, or that was removed: where its value was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superseded<V> {
    /// Where it stood.
    pub address: Address,
    /// The append that wrote it.
    pub sequence: Sequence,
    /// Where its value is.
    pub value: V,
}
