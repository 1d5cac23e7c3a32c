//! What is heard of revocations beside the ledger, by gossip: kept apart from what is replicated, and forgotten once the ledger has it.
//!
//! It only takes rights away. It is not a second registry: it holds no grant, decides nothing and is never written down.
//!
//! Invariants: an entry is a revocation whose signature was checked, of a grant that the registry has and that its signer may take back, so there are
//! never more entries than grants; nothing that is heard adds a right.

use std::collections::{BTreeMap, BTreeSet};

use super::{Refused, Registry};
use crate::ids::{GrantId, VaultId};
use crate::revocation::Revocation;
use crate::statement::Signed;

/// See the module.
#[derive(Debug, Default)]
pub struct Hearsay {
    vaults: BTreeMap<VaultId, Told>,
    /// How often something was heard; never less.
    heard: u64,
}

/// What was heard of a vault.
#[derive(Debug, Default)]
struct Told {
    revoked: BTreeSet<GrantId>,
    /// [`Hearsay::heard`] when something of this vault was heard last.
    at: u64,
}

impl Hearsay {
    /// Nothing heard.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            vaults: BTreeMap::new(),
            heard: 0,
        }
    }

    /// Takes a revocation that came by gossip: true if it was not known. Whoever takes it gives it to the ledger as well, which
    /// refuses it if somebody else did.
    ///
    /// # Errors
    /// [`Refused`], as the registry would refuse it.
    pub fn hear(&mut self, registry: &Registry, signed: &Signed<Revocation>) -> Result<bool, Refused> {
        let told = signed.statement();
        if !registry.may_revoke(told)? {
            return Ok(false);
        }
        let vault = self.vaults.entry(told.vault_id).or_default();
        let is_new = vault.revoked.insert(told.grant_id);
        if is_new {
            self.heard = self.heard.saturating_add(1);
            vault.at = self.heard;
        }
        Ok(is_new)
    }

    /// Forgets what the registry has by now, and what is about grants that are gone. A registry that applied anything calls for it.
    pub fn settle(&mut self, registry: &Registry) {
        for told in self.vaults.values_mut() {
            told.revoked.retain(|grant| registry.awaits_revocation(grant));
        }
        self.vaults.retain(|_, told| !told.revoked.is_empty());
    }

    /// Whether a revocation of this grant was heard of.
    #[must_use]
    pub fn revokes(&self, vault: &VaultId, grant: &GrantId) -> bool {
        let told = self.vaults.get(vault);
        told.is_some_and(|told| told.revoked.contains(grant))
    }

    /// How many revocations wait for the ledger.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vaults.values().map(|told| told.revoked.len()).sum()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.vaults.is_empty()
    }

    /// Differs whenever something new of the vault was heard since; 0 while nothing is.
    pub(super) fn mark(&self, vault: &VaultId) -> u64 {
        self.vaults.get(vault).map_or(0, |told| told.at)
    }
}
