//! Lists of a vault's grants, and checking signatures in time that is left.
//!
//! Invariant: a call checks no more signatures than its caller allows.

use super::{Hearsay, Now, Refused, Registry};
use crate::grant::Rights;
use crate::identity::Denied;
use crate::ids::{GrantId, VaultId};
use crate::wallet::PublicKey;

/// A grant as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub grant: GrantId,
    /// Its newest version.
    pub version: u64,
    /// Who may.
    pub agent: PublicKey,
    /// Who gave it.
    pub issuer: PublicKey,
    /// The grant that it was made under.
    pub parent: Option<GrantId>,
    /// What it gives; nothing while its newest version has two contents.
    pub rights: Rights,
    /// Whether it counts at the time asked about.
    pub standing: Result<(), Denied>,
}

/// Some of a vault's grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The rows, by id.
    pub rows: Vec<Row>,
    /// Behind which to go on.
    pub after: Option<GrantId>,
    /// Whether nothing is behind.
    pub is_whole: bool,
}

/// Which part of a vault's grants is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The vault.
    pub vault: VaultId,
    /// Those behind this one, by id; none for the first.
    pub after: Option<GrantId>,
    /// How many at most, from 1.
    pub max: usize,
}

impl Registry {
    /// Grants of a vault. It ends early where more signatures would have to be checked than are left of `signatures`; of five at least
    /// every call gets on.
    #[must_use]
    pub fn of_vault(&self, page: Page, hearsay: &Hearsay, now: Now, signatures: &mut usize) -> List {
        let mut list = List {
            rows: Vec::new(),
            after: page.after,
            is_whole: false,
        };
        for id in self.room.of_vault(&page.vault, page.after) {
            if list.rows.len() >= page.max || spend(signatures, self.unchecked_above(&id)).is_err() {
                return list;
            }
            list.after = Some(id);
            // Where a stored grant said that it belongs counts for nothing before it was verified.
            if let Some(head) = self.head(&id).filter(|head| head.vault == page.vault) {
                list.rows.push(Row {
                    grant: id,
                    version: head.version,
                    agent: head.agent,
                    issuer: head.issuer,
                    parent: head.parent.map(|parent| parent.grant_id),
                    rights: head.rights.clone(),
                    standing: self.standing(&id, hearsay, now),
                });
            }
        }
        list.is_whole = true;
        list
    }

    /// How many grants nobody asked for since they were loaded, so that their signatures are still to be checked.
    #[must_use]
    pub fn unchecked(&self) -> usize {
        self.grants.values().filter(|slot| !slot.is_checked()).count()
    }

    /// Checks the signatures of at most `max` grants behind `after`, so that the first decision about them need not; returns where to go on, or
    /// none where nothing is behind. For whoever has time after a start.
    #[must_use]
    pub fn check_ahead(&self, after: Option<GrantId>, max: usize) -> Option<GrantId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let behind = self.grants.range((after.map_or(Unbounded, Excluded), Unbounded));
        let mut last = None;
        for (id, slot) in behind.take(max) {
            slot.head(self.cluster);
            last = Some(*id);
        }
        last
    }
}

/// Takes signatures off those that may still be checked.
pub(super) fn spend(signatures_max: &mut usize, signatures: usize) -> Result<(), Refused> {
    let left = signatures_max.checked_sub(signatures);
    *signatures_max = left.ok_or(Refused::Work {
        signatures,
        signatures_max: *signatures_max,
    })?;
    Ok(())
}
