//! Leases: entries in the clear by which the ledger knows which gateways may still write (FORMAT.md section 6, kind 7).
//!
//! Nothing ends by elapsed time: a lease ends when an append says so. Several may live at one time, one of each gateway. Invariant:
//! a lease number is used once.

use std::collections::BTreeMap;

use super::{AcceptedLeases, Address, EntryKind, Sequence, Write};
use crate::codec::{DecodeError, Reader, Writer};

/// The scope id of every lease entry.
pub const LEASE_SCOPE: [u8; 16] = [0; 16];
/// The longest holder text, in bytes.
pub const HOLDER_BYTES_MAX: usize = 256;

/// The most leases that live at one time.
pub const LIVE_LEASES_MAX: usize = 64;

/// An entry that tells no progress has the first version.
const VERSION: u8 = 1;
const VERSION_WITH_PROGRESS: u8 = 2;

/// Whether the holder may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It may.
    Live,
    /// It may not, ever again.
    Ended,
    /// It may not, ever again, and records of its operations may wait in the ledger for somebody to take them: its holder will not come back.
    Lost,
}

/// How far the holder of a lease is, as it last said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseProgress {
    /// Nothing that runs there relies on a state of the ledger before this.
    pub horizon: Sequence,
    /// Its activity log holds every record of its operations up to this, durably.
    pub records: Sequence,
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
    /// How far the holder is; `None` of one that does not say, and holds everything back.
    pub progress: Option<LeaseProgress>,
}

impl LeaseEntry {
    /// The same lease, ended.
    pub fn ended(&self) -> Self {
        Self {
            state: LeaseState::Ended,
            ..self.clone()
        }
    }

    /// Who holds it: the first word of the holder's text, which is a peer's id where the ledger lies with peers.
    pub fn holder_name(&self) -> &str {
        self.holder.split(' ').next().unwrap_or_default()
    }

    /// Nothing that runs under it relies on a state of the ledger before this.
    pub fn horizon(&self) -> Sequence {
        self.progress.unwrap_or_default().horizon
    }

    /// Every record of its operations up to this stands in its holder's activity log.
    pub fn records(&self) -> Sequence {
        self.progress.unwrap_or_default().records
    }

    /// Encodes the entry's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        let (state, version) = match (self.state, self.progress) {
            (LeaseState::Live, None) => (1, VERSION),
            (LeaseState::Ended, None) => (2, VERSION),
            (LeaseState::Live, Some(_)) => (1, VERSION_WITH_PROGRESS),
            (LeaseState::Ended, Some(_)) => (2, VERSION_WITH_PROGRESS),
            (LeaseState::Lost, _) => (3, VERSION_WITH_PROGRESS),
        };
        writer.u8(version);
        writer.u8(state);
        writer.string(&self.holder);
        writer.u64(self.granted_ms);
        if version == VERSION_WITH_PROGRESS {
            let progress = self.progress.unwrap_or_default();
            writer.u64(progress.horizon.0);
            writer.u64(progress.records.0);
        }
        writer.into_vec()
    }

    /// Decodes an entry's value.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let tells_progress = input.first() == Some(&VERSION_WITH_PROGRESS);
        reader.version(if tells_progress {
            VERSION_WITH_PROGRESS
        } else {
            VERSION
        })?;
        let state = match reader.u8()? {
            1 => LeaseState::Live,
            2 => LeaseState::Ended,
            3 if tells_progress => LeaseState::Lost,
            got => {
                return Err(DecodeError::BadValue {
                    what: "lease state",
                    got: u64::from(got),
                });
            }
        };
        let holder = reader.string(HOLDER_BYTES_MAX)?.to_owned();
        let granted_ms = reader.u64()?;
        let progress = match tells_progress {
            true => Some(LeaseProgress {
                horizon: Sequence(reader.u64()?),
                records: Sequence(reader.u64()?),
            }),
            false => None,
        };
        reader.finish()?;
        Ok(Self {
            state,
            holder,
            granted_ms,
            progress,
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

/// Where the fence of lease `number` stands, if one was raised: an append that expects it to be as it was (absent, or of that sequence) is
/// applied before the fence is raised again or never, however late it comes. It goes with the append that ends the lease.
pub fn fence_address(number: u64) -> Address {
    Address {
        kind: EntryKind::Fence,
        ..lease_address(number)
    }
}

/// What an append writes so that lease `number` has this entry: one that is not live takes its fence along.
pub fn lease_writes(number: u64, entry: &LeaseEntry) -> impl Iterator<Item = Write> + use<> {
    let written = Write {
        address: lease_address(number),
        value: Some(entry.encode().into()),
    };
    let unfenced = (entry.state != LeaseState::Live).then(|| Write {
        address: fence_address(number),
        value: None,
    });
    std::iter::once(written).chain(unfenced)
}

/// The number of the lease whose entry stands at `address`; `None` if that is no lease's address.
pub fn lease_number(address: &Address) -> Option<u64> {
    let number = u64::try_from(u128::from_le_bytes(address.slot)).ok()?;
    (lease_address(number) == *address).then_some(number)
}

/// The leases that are live, those whose records wait for somebody, and the highest number ever seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    live: BTreeMap<u64, LeaseEntry>,
    lost: BTreeMap<u64, LeaseEntry>,
    highest: u64,
}

/// What a write to a lease's address does.
#[derive(Debug, Clone)]
pub(super) enum LeaseChange {
    /// The lease is granted, or its entry is written anew.
    Grant(u64, LeaseEntry),
    /// The lease is ended, or its entry is removed.
    End(u64),
    /// The lease is ended, and its records wait.
    Lose(u64, LeaseEntry),
}

impl Leases {
    /// Those that live, by number.
    pub fn live(&self) -> &BTreeMap<u64, LeaseEntry> {
        &self.live
    }

    /// Those that have ended and whose records nobody has taken yet, by number.
    pub fn lost(&self) -> &BTreeMap<u64, LeaseEntry> {
        &self.lost
    }

    /// The highest number ever; 0 if there was none.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether a lease lives.
    pub fn is_live(&self, number: u64) -> bool {
        self.live.contains_key(&number)
    }

    /// Whether a lease was granted and has ended.
    pub fn has_ended(&self, number: u64) -> bool {
        number <= self.highest && !self.is_live(number)
    }

    /// Under which leases shards may still be put.
    pub fn accepted(&self) -> AcceptedLeases {
        AcceptedLeases::new(self.highest.saturating_add(1), self.live.keys().copied())
    }

    /// The lowest live lease; one above the highest ever if none is.
    pub fn lowest_live(&self) -> u64 {
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
            LeaseChange::End(_) | LeaseChange::Lose(..) => true,
        }
    }

    /// How many would live after these changes.
    pub(super) fn live_after(&self, changes: &[LeaseChange]) -> usize {
        let mut after = self.clone();
        changes.iter().for_each(|change| after.apply(change));
        after.live.len()
    }

    pub(super) fn apply(&mut self, change: &LeaseChange) {
        let number = match change {
            LeaseChange::Grant(number, entry) => {
                self.live.insert(*number, entry.clone());
                *number
            }
            LeaseChange::End(number) => {
                self.live.remove(number);
                self.lost.remove(number);
                *number
            }
            LeaseChange::Lose(number, entry) => {
                self.live.remove(number);
                self.lost.insert(*number, entry.clone());
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
            Some(entry) if entry.state == LeaseState::Lost => Self::Lose(number, entry),
            _ => Self::End(number),
        }))
    }
}
