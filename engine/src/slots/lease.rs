//! Leases: entries in the clear by which the ledger knows which gateways may still write (FORMAT.md section 6, kind 7).
//!
//! Nothing ends by elapsed time: a lease ends when an append says so. Invariant: a lease number is used once.

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
