//! What is known of one grant id: its newest version and nothing of those before.
//!
//! The ledger holds one version at a time, so through it no two contents of one version come. From elsewhere (a checkpoint beside a
//! ledger, another cluster's export) they may: then neither counts until a higher version comes.
//!
//! Invariant: what versions that are loaded come to does not depend on their order. A stored version counts for nothing until its
//! signature was checked, which is done once, when it is first asked for or another comes beside it.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::stored::StoredGrant;
use crate::grant::{Grant, Limit, Parent, Rights};
use crate::ids::{ClusterId, GrantId, VaultId};
use crate::statement::Signed;
use crate::wallet::PublicKey;

/// The newest version, checked.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) version: u64,
    /// BLAKE3 of the content. Two signatures of one content are no fork.
    content: [u8; 32],
    pub(super) forked: bool,
    /// Whether it says so itself, or another version that was loaded beside it does.
    pub(super) revoked: bool,
    pub(super) agent: PublicKey,
    pub(super) issuer: PublicKey,
    pub(super) vault: VaultId,
    pub(super) parent: Option<Parent>,
    pub(super) ends_by_ms: u64,
    /// None while it is forked.
    pub(super) rights: Rights,
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
            ends_by_ms: grant.ends_by.ms(),
            rights: grant.rights(),
        }
    }

    /// Whether it is this very content.
    pub(super) fn says_what(&self, other: &Self) -> bool {
        self.version == other.version && self.content == other.content && !self.forked
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

    /// Where it is counted.
    pub(super) fn place(&self) -> Place {
        Place {
            vault: self.vault,
            parent: self.parent.map(|parent| parent.grant_id),
            ends_by_ms: self.ends_by_ms,
        }
    }

    /// Whether it is within a parent's newest version and was made by the parent's agent.
    pub(super) fn fit(&self, parent: &Self) -> Result<(), Limit> {
        if self.vault != parent.vault {
            Err(Limit::Vault)
        } else if self.issuer != parent.agent {
            Err(Limit::Issuer)
        } else if self.ends_by_ms > parent.ends_by_ms {
            Err(Limit::EndsBy)
        } else {
            self.rights.fit(&parent.rights)
        }
    }
}

/// Where a grant is counted: as its id says once that was checked, as its head says before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) vault: VaultId,
    pub(super) parent: Option<GrantId>,
    /// When every version of it has ended.
    pub(super) ends_by_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) place: Place,
    /// Whether the ledger has a revocation of it.
    pub(super) revoked: bool,
    unchecked: Mutex<Option<StoredGrant>>,
    head: OnceLock<Option<Head>>,
}

impl Slot {
    /// A checked version.
    pub(super) fn new(head: Head) -> Self {
        Self {
            place: head.place(),
            revoked: false,
            unchecked: Mutex::default(),
            head: OnceLock::from(Some(head)),
        }
    }

    /// A version that is checked later.
    pub(super) fn unchecked(stored: StoredGrant) -> Self {
        Self {
            place: Place {
                vault: stored.vault(),
                parent: stored.parent(),
                ends_by_ms: stored.ends_by_ms(),
            },
            revoked: false,
            unchecked: Mutex::new(Some(stored)),
            head: OnceLock::new(),
        }
    }

    /// The newest version; none if nothing here holds.
    pub(super) fn head(&self, cluster: ClusterId) -> Option<&Head> {
        self.head
            .get_or_init(|| {
                let stored = self
                    .unchecked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                stored.and_then(|stored| checked(cluster, &stored))
            })
            .as_ref()
    }

    /// Whether its signature was checked.
    pub(super) fn is_checked(&self) -> bool {
        self.head.get().is_some()
    }

    /// Both what is here and this, of which neither is known to be the later one.
    pub(super) fn beside(&self, cluster: ClusterId, stored: &StoredGrant) -> Option<Head> {
        match (self.head(cluster).cloned(), checked(cluster, stored)) {
            (Some(head), Some(new)) => Some(head.and(new)),
            (head, new) => head.or(new),
        }
    }
}

fn checked(cluster: ClusterId, stored: &StoredGrant) -> Option<Head> {
    let signed = stored.verify().ok()?;
    (signed.statement().cluster_id == cluster).then(|| Head::of(&signed))
}
