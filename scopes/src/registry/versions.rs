//! What is known of one grant id: its newest version, whether that is one content or two, and whether any version revoked it.
//!
//! Invariant: what a slot comes to does not depend on the order in which versions came. A stored version counts for nothing until its
//! signature was checked, which is done once, when it is first asked for.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::stored::StoredGrant;
use crate::grant::{Grant, Limit, Parent, Rights};
use crate::ids::{ClusterId, VaultId};
use crate::statement::Signed;
use crate::wallet::PublicKey;

/// How many versions of one grant wait to be checked. More are checked at once, so that no grant takes room without end.
const UNCHECKED_MAX: usize = 16;

/// The newest version, checked.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) version: u64,
    /// BLAKE3 of the content. Two signatures of one content are no fork.
    content: [u8; 32],
    pub(super) forked: bool,
    /// Whether this or any other version revoked it.
    pub(super) revoked: bool,
    pub(super) agent: PublicKey,
    pub(super) issuer: PublicKey,
    pub(super) vault: VaultId,
    pub(super) parent: Option<Parent>,
    /// None while it is forked.
    pub(super) rights: Rights,
}

/// What a version would do to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Counts,
    Forks,
}

impl Head {
    pub(super) fn of(signed: &Signed<Grant>) -> Self {
        let grant = signed.statement();
        Self {
            version: grant.version,
            content: *blake3::hash(signed.canonical()).as_bytes(),
            forked: false,
            revoked: grant.revoked,
            agent: grant.agent_service_pub_key,
            issuer: grant.issuer_pub_key,
            vault: grant.vault_id,
            parent: grant.parent,
            rights: grant.rights(),
        }
    }

    /// What `new` would do.
    pub(super) fn effect_of(&self, new: &Self) -> Effect {
        if new.version > self.version {
            Effect::Counts
        } else if new.version == self.version && new.content != self.content {
            match self.forked && (self.revoked || !new.revoked) {
                true => Effect::None,
                false => Effect::Forks,
            }
        } else if new.revoked && !self.revoked {
            Effect::Counts
        } else {
            Effect::None
        }
    }

    /// Both, whichever came first.
    fn and(self, other: Self) -> Self {
        let revoked = self.revoked || other.revoked;
        let forks = self.version == other.version && (self.content != other.content || self.forked);
        let newest = match self.version >= other.version {
            true => self,
            false => other,
        };
        match forks {
            // Neither content counts, so neither shows.
            true => Self {
                revoked,
                forked: true,
                rights: Rights::default(),
                ..newest
            },
            false => Self { revoked, ..newest },
        }
    }

    /// Whether it is within a parent's newest version and was made by the parent's agent.
    pub(super) fn fit(&self, parent: &Self) -> Result<(), Limit> {
        if self.vault != parent.vault {
            Err(Limit::Vault)
        } else if self.issuer != parent.agent {
            Err(Limit::Issuer)
        } else {
            self.rights.fit(&parent.rights)
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Slot {
    unchecked: Mutex<Vec<StoredGrant>>,
    head: OnceLock<Option<Head>>,
}

impl Slot {
    /// The newest version; none if nothing here holds.
    pub(super) fn head(&self, cluster: ClusterId) -> Option<&Head> {
        self.head
            .get_or_init(|| {
                let unchecked =
                    std::mem::take(&mut *self.unchecked.lock().unwrap_or_else(PoisonError::into_inner));
                let heads = unchecked
                    .iter()
                    .filter_map(|stored| stored.verify().ok())
                    .filter(|signed| signed.statement().cluster_id == cluster)
                    .map(|signed| Head::of(&signed));
                heads.reduce(Head::and)
            })
            .as_ref()
    }

    /// Whether its signatures were checked.
    pub(super) fn is_checked(&self) -> bool {
        self.head.get().is_some()
    }

    /// Takes a checked version.
    pub(super) fn take(&mut self, cluster: ClusterId, new: Head) {
        self.head(cluster);
        let head = self.head.take().flatten();
        let both = match head {
            Some(head) => head.and(new),
            None => new,
        };
        self.head = OnceLock::from(Some(both));
    }

    /// Takes an unchecked version: at once where the others were looked at, or later with them.
    pub(super) fn load(&mut self, cluster: ClusterId, stored: StoredGrant) {
        if !self.is_checked() {
            let unchecked = self.unchecked.get_mut().unwrap_or_else(PoisonError::into_inner);
            unchecked.push(stored);
            if unchecked.len() >= UNCHECKED_MAX {
                self.head(cluster);
            }
            return;
        }
        let verified = stored.verify().ok();
        if let Some(signed) = verified.filter(|signed| signed.statement().cluster_id == cluster) {
            self.take(cluster, Head::of(&signed));
        }
    }
}
