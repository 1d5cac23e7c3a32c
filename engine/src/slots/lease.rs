//! Leases: entries in the clear by which the ledger knows which gateways may still write (FORMAT.md section 6, kind 7).
//!
//! Nothing ends by elapsed time: a lease ends when an append says so. Invariant: a lease number is used once.

use std::collections::BTreeMap;

use super::{Address, EntryKind};
use crate::codec::{DecodeError, Reader, Writer};

/// The scope id of every lease entry.
pub const LEASE_SCOPE: [u8; 16] = [0; 16];
/// The longest holder text, in bytes.
pub const HOLDER_BYTES_MAX: usize = 256;

const VERSION: u8 = 1;

/// Whether the holder may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It may.
    Live,
    /// It may not, ever again.
    Ended,
}

/// The value of a lease entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseEntry {
    /// Whether the holder may write.
    pub state: LeaseState,
    /// Who holds it, for people; at most [`HOLDER_BYTES_MAX`] bytes.
    pub holder: String,
    /// When it was granted, by the granter's clock, in milliseconds since 1970. Shown, never compared.
    pub granted_ms: u64,
}

impl LeaseEntry {
    /// Encodes the entry's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.u8(match self.state {
            LeaseState::Live => 1,
            LeaseState::Ended => 2,
        });
        writer.string(&self.holder);
        writer.u64(self.granted_ms);
        writer.into_vec()
    }

    /// Decodes an entry's value.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        reader.version(VERSION)?;
        let state = match reader.u8()? {
            1 => LeaseState::Live,
            2 => LeaseState::Ended,
            got => {
                return Err(DecodeError::BadValue {
                    what: "lease state",
                    got: u64::from(got),
                });
            }
        };
        let holder = reader.string(HOLDER_BYTES_MAX)?.to_owned();
        let granted_ms = reader.u64()?;
        reader.finish()?;
        Ok(Self {
            state,
            holder,
            granted_ms,
        })
    }
}

/// Where the entry of lease `number` stands.
pub fn lease_address(number: u64) -> Address {
    let slot = (u128::from(number)).to_le_bytes();
    Address {
        scope: LEASE_SCOPE,
        kind: EntryKind::Lease,
        slot,
    }
}

/// The number of the lease whose entry stands at `address`; `None` if that is no lease's address.
pub fn lease_number(address: &Address) -> Option<u64> {
    let number = u64::try_from(u128::from_le_bytes(address.slot)).ok()?;
    (lease_address(number) == *address).then_some(number)
}

/// The leases that are live, and the highest number ever seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    live: BTreeMap<u64, LeaseEntry>,
    highest: u64,
}

/// What a write to a lease's address does.
#[derive(Debug, Clone)]
pub(super) enum LeaseChange {
    /// The lease is granted, or its entry is written anew.
    Grant(u64, LeaseEntry),
    /// The lease is ended, or its entry is removed.
    End(u64),
}

impl Leases {
    pub(super) fn live(&self) -> &BTreeMap<u64, LeaseEntry> {
        &self.live
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn is_live(&self, number: u64) -> bool {
        self.live.contains_key(&number)
    }

    /// The lowest live lease; one above the highest ever if none is.
    pub(super) fn lowest_live(&self) -> u64 {
        self.live
            .keys()
            .next()
            .copied()
            .unwrap_or(self.highest.saturating_add(1))
    }

    /// Whether `change` keeps the rule that a number is used once.
    pub(super) fn admits(&self, change: &LeaseChange) -> bool {
        match change {
            LeaseChange::Grant(number, _) => *number > self.highest || self.is_live(*number),
            LeaseChange::End(_) => true,
        }
    }

    pub(super) fn apply(&mut self, change: &LeaseChange) {
        let number = match change {
            LeaseChange::Grant(number, entry) => {
                self.live.insert(*number, entry.clone());
                *number
            }
            LeaseChange::End(number) => {
                self.live.remove(number);
                *number
            }
        };
        self.highest = self.highest.max(number);
    }
}

impl LeaseChange {
    /// What a write of `value` to `address` does to the leases: nothing if it is not of their kind.
    pub(super) fn of(address: &Address, value: Option<&[u8]>) -> Result<Option<Self>, DecodeError> {
        if address.kind != EntryKind::Lease {
            return Ok(None);
        }
        let bad = DecodeError::BadValue {
            what: "address of a lease",
            got: 0,
        };
        let number = lease_number(address).ok_or(bad)?;
        let entry = value.map(LeaseEntry::decode).transpose()?;
        Ok(Some(match entry {
            Some(entry) if entry.state == LeaseState::Live => Self::Grant(number, entry),
            _ => Self::End(number),
        }))
    }
}
