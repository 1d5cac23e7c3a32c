//! Where grants are counted: how many a vault and a parent may have, what has ended for good, and each vault's epoch.
//!
//! It knows no signature. It counts a grant where its head says, which is where its id says once it was checked.
//!
//! Invariants: every grant of the registry is counted once in its vault and once under its parent; an epoch never goes back and moves with
//! everything that was looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::Refused;
use super::versions::Place;
use crate::ids::{GrantId, VaultId};

/// The most grants of one registry. Beyond, new ones are refused.
pub const GRANTS_MAX: usize = 1_000_000;

/// The most grants of a vault, whoever gave them.
pub const GRANTS_PER_VAULT_MAX: usize = 100_000;

/// The most of them that agents handed on: the rest is the owner's, whatever its agents do.
pub const HANDED_ON_PER_VAULT_MAX: usize = 50_000;

/// The most grants that are handed on under one.
pub const GRANTS_PER_PARENT_MAX: usize = 4_096;

/// How long after its last end a grant stays, in milliseconds: a day, far more than any clock is off.
pub const GONE_AFTER_MS: u64 = 86_400_000;

/// How far the ledger's word about a vault's grants has come: the sequence of the newest append that was looked at, and how many were with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// The sequence; 0 before the first.
    pub sequence: u64,
    /// How many grants, revocations and removals were looked at in it, with an effect or without.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Book {
    grants: BTreeSet<GrantId>,
    handed_on: usize,
    epoch: Epoch,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Room {
    vaults: BTreeMap<VaultId, Book>,
    under: BTreeMap<GrantId, usize>,
    by_end: BTreeSet<(u64, GrantId)>,
}

impl Room {
    pub(super) const fn new() -> Self {
        Self {
            vaults: BTreeMap::new(),
            under: BTreeMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// Whether one more grant has room there.
    pub(super) fn has_for(&self, place: &Place) -> Result<(), Refused> {
        let vault = place.vault;
        let book = self.vaults.get(&vault);
        let grants = book.map_or(0, |book| book.grants.len());
        let grants_max = GRANTS_PER_VAULT_MAX;
        if grants >= grants_max {
            return Err(Refused::VaultFull { vault, grants_max });
        }
        let Some(parent) = place.parent else {
            return Ok(());
        };
        let grants_max = HANDED_ON_PER_VAULT_MAX;
        if book.is_some_and(|book| book.handed_on >= grants_max) {
            return Err(Refused::VaultFull { vault, grants_max });
        }
        let grants_max = GRANTS_PER_PARENT_MAX;
        match self.under.get(&parent).is_some_and(|under| *under >= grants_max) {
            true => Err(Refused::ParentFull { parent, grants_max }),
            false => Ok(()),
        }
    }

    pub(super) fn take(&mut self, id: GrantId, place: &Place) {
        let book = self.vaults.entry(place.vault).or_default();
        book.grants.insert(id);
        self.by_end.insert((place.ends_by_ms, id));
        if let Some(parent) = place.parent {
            book.handed_on = book.handed_on.saturating_add(1);
            let under = self.under.entry(parent).or_default();
            *under = under.saturating_add(1);
        }
    }

    pub(super) fn give_back(&mut self, id: GrantId, place: &Place) {
        let book = self.vaults.entry(place.vault).or_default();
        book.grants.remove(&id);
        self.by_end.remove(&(place.ends_by_ms, id));
        if let Some(parent) = place.parent {
            book.handed_on = book.handed_on.saturating_sub(1);
            if let Some(under) = self.under.get_mut(&parent) {
                *under = under.saturating_sub(1);
                if *under == 0 {
                    self.under.remove(&parent);
                }
            }
        }
    }

    /// Notes that an append about a vault's grants was looked at, if the vault has any.
    pub(super) fn looked_at(&mut self, vault: &VaultId, sequence: u64) {
        if let Some(book) = self.vaults.get_mut(vault) {
            let epoch = &mut book.epoch;
            *epoch = match sequence > epoch.sequence {
                true => Epoch { sequence, count: 1 },
                false => Epoch {
                    count: epoch.count.saturating_add(1),
                    ..*epoch
                },
            };
        }
    }

    pub(super) fn set_epoch(&mut self, vault: VaultId, epoch: Epoch) {
        let book = self.vaults.entry(vault).or_default();
        book.epoch = book.epoch.max(epoch);
    }

    pub(super) fn epoch(&self, vault: &VaultId) -> Epoch {
        self.vaults.get(vault).map(|book| book.epoch).unwrap_or_default()
    }

    pub(super) fn epochs(&self) -> impl Iterator<Item = (VaultId, Epoch)> {
        self.vaults.iter().map(|(vault, book)| (*vault, book.epoch))
    }

    /// The grants of a vault behind `after`, by id.
    pub(super) fn of_vault(&self, vault: &VaultId, after: Option<GrantId>) -> impl Iterator<Item = GrantId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let grants = self.vaults.get(vault).map(|book| &book.grants);
        let from = after.map_or(Unbounded, Excluded);
        grants
            .into_iter()
            .flat_map(move |grants| grants.range((from, Unbounded)).copied())
    }

    /// The grants that may go by then, the longest ended first.
    pub(super) fn ended(&self, by_ms: u64) -> impl Iterator<Item = GrantId> {
        let ended = self.by_end.iter();
        ended
            .take_while(move |(ends_by_ms, _)| is_gone(*ends_by_ms, by_ms))
            .map(|(_, id)| *id)
    }
}

/// Whether a grant whose versions all end by `ends_by_ms` may be removed at `by_ms`.
pub(super) const fn is_gone(ends_by_ms: u64, by_ms: u64) -> bool {
    ends_by_ms.saturating_add(GONE_AFTER_MS) <= by_ms
}
