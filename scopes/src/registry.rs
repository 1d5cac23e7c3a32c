//! The registry of grants: a pure state machine over the newest version of each, and the decision that it gives.
//!
//! It is fed what the ledger applied, in order, and decides on that alone; how new that is, what the time is and what was used up are passed
//! in. It replicates nothing and keeps nothing.
//!
//! The invariants: a grant counts only as its newest version, and only if the versions of all its ancestors allow the same now; only a higher version
//! takes the place of one, and none that of a revoked one; of two contents with one id and version, which can only have come from beside the ledger,
//! neither counts; what comes again or late never allows more than it did. Unknown, stale and forked all mean no.
//!
//! Source: the issue of consent; engine/FORMAT.md section 11.

mod decide;
mod hearsay;
mod stored;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

pub use decide::{Asked, CLOCK_SKEW_MS, Granted, STALE_AFTER_MS, Used};
pub use hearsay::Hearsay;
pub use stored::{StoredError, StoredGrant, StoredRevocation, grant_slot, revocation_slot};

use crate::grant::{Grant, Limit, Parent, Rights};
use crate::identity::Denied;
use crate::ids::{ClusterId, GrantId, VaultId};
use crate::revocation::Revocation;
use crate::statement::Signed;
use crate::wallet::PublicKey;
use decide::Link;
use versions::{Head, Slot};

/// The most grants of one registry. Beyond, new ones are refused.
pub const GRANTS_MAX: usize = 1_000_000;

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The first version of a grant.
    New,
    /// It took the place of the version before.
    Newer,
    /// It is the version that was there: nothing changed.
    Known,
}

/// Why a grant is not taken.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// It is for another cluster.
    #[error("the grant is for cluster {cluster}")]
    OtherCluster {
        /// Which.
        cluster: ClusterId,
    },
    /// A version that is as high or higher is there; the ledger's compare-and-swap refuses it before.
    #[error("version {version} of the grant, of which version {newest} is there")]
    NotNewer {
        /// The version that came.
        version: u64,
        /// The one that is there.
        newest: u64,
    },
    /// The grant was revoked: nothing follows that.
    #[error("the grant was revoked")]
    Revoked,
    /// A revocation of a grant that is not known.
    #[error("the grant {grant} is not known")]
    UnknownGrant {
        /// Which.
        grant: GrantId,
    },
    /// A revocation by a key that is neither the vault's owner nor the grant's issuer.
    #[error("the grant {grant} is another's to revoke")]
    NotTheirs {
        /// Which.
        grant: GrantId,
    },
    /// Its parent, or that version of it, is not known.
    #[error("the parent {grant} is not known in version {version}")]
    UnknownParent {
        /// The parent.
        grant: GrantId,
        /// The version asked for.
        version: u64,
    },
    /// A grant that it stands on was revoked.
    #[error("the grant {grant} that it stands on is revoked")]
    ParentRevoked {
        /// Which.
        grant: GrantId,
    },
    /// A grant that it stands on has two contents of one version.
    #[error("the grant {grant} that it stands on has two contents of one version")]
    ParentForked {
        /// Which.
        grant: GrantId,
    },
    /// It gives more than its parent's newest version, or an ancestor more than the one above it.
    #[error("the grant gives more than its parent: {limit}")]
    Wider {
        /// In what.
        limit: Limit,
    },
    /// There is no room.
    #[error("the registry has {GRANTS_MAX} grants and takes no more")]
    Full,
}

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

/// See the module.
#[derive(Debug)]
pub struct Registry {
    cluster: ClusterId,
    grants: BTreeMap<GrantId, Slot>,
    by_vault: BTreeSet<(VaultId, GrantId)>,
    /// What the ledger has revocations of.
    revoked: BTreeSet<GrantId>,
    epoch: u64,
}

impl Registry {
    /// A registry without grants.
    #[must_use]
    pub const fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            grants: BTreeMap::new(),
            by_vault: BTreeSet::new(),
            revoked: BTreeSet::new(),
            epoch: 0,
        }
    }

    /// The ledger sequence of the newest change that was applied; 0 before the first.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many grants it has, whatever they are worth.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Takes a version of a grant, which the ledger applied as `sequence`. What is known already changes nothing; what is refused neither.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn insert(&mut self, signed: &Signed<Grant>, sequence: u64) -> Result<Inserted, Refused> {
        let grant = signed.statement();
        if grant.cluster_id != self.cluster {
            return Err(Refused::OtherCluster {
                cluster: grant.cluster_id,
            });
        }
        let new = Head::of(signed);
        let id = grant.grant_id;
        let there = self.head(&id);
        if self.revoked.contains(&id) && !there.is_some_and(|head| head.says_what(&new)) {
            return Err(Refused::Revoked);
        }
        let inserted = match there {
            Some(head) if head.says_what(&new) => return Ok(Inserted::Known),
            Some(Head { revoked: true, .. }) => return Err(Refused::Revoked),
            Some(head) if new.version <= head.version => {
                let (version, newest) = (new.version, head.version);
                return Err(Refused::NotNewer { version, newest });
            }
            Some(_) => Inserted::Newer,
            None => Inserted::New,
        };
        self.admits(&new)?;
        self.set(id, Slot::new(new))?;
        self.epoch = self.epoch.max(sequence);
        Ok(inserted)
    }

    /// Takes a grant as the ledger keeps it, at a start. Its signature is checked when the grant is first looked at; one that does not hold counts
    /// as if it were not there. A second one of the same id, from beside the ledger, is compared at once: the higher version counts, and of one
    /// version with two contents neither.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn load(&mut self, stored: StoredGrant, sequence: u64) -> Result<(), Refused> {
        let id = stored.grant();
        match self.grants.get(&id) {
            None => self.set(id, Slot::unchecked(stored))?,
            Some(slot) => {
                if let Some(both) = slot.beside(self.cluster, &stored) {
                    self.set(id, Slot::new(both))?;
                }
            }
        }
        self.epoch = self.epoch.max(sequence);
        Ok(())
    }

    /// Takes a revocation, which the ledger applied as `sequence`.
    ///
    /// # Errors
    /// [`Refused`]: of a grant that is not known, or by somebody who may not.
    pub fn revoke(&mut self, signed: &Signed<Revocation>, sequence: u64) -> Result<Inserted, Refused> {
        let grant_id = signed.statement().grant_id;
        if !self.may_revoke(signed.statement())? {
            return Ok(Inserted::Known);
        }
        self.take_back(grant_id);
        self.epoch = self.epoch.max(sequence);
        Ok(Inserted::New)
    }

    /// Takes a revocation as the ledger keeps it, at a start, before its grant or after. It is believed unchecked: the ledger took it only
    /// after its signature, and it can only take away.
    ///
    /// # Errors
    /// [`Refused::Full`].
    pub fn load_revocation(&mut self, stored: &StoredRevocation, sequence: u64) -> Result<(), Refused> {
        if self.revoked.len() >= GRANTS_MAX && !self.revoked.contains(&stored.grant()) {
            return Err(Refused::Full);
        }
        self.take_back(stored.grant());
        self.epoch = self.epoch.max(sequence);
        Ok(())
    }

    fn take_back(&mut self, grant: GrantId) {
        self.revoked.insert(grant);
        if let Some(slot) = self.grants.get_mut(&grant) {
            slot.revoked = true;
        }
    }

    /// Whether a revocation would change something; an error if it may not.
    fn may_revoke(&self, told: &Revocation) -> Result<bool, Refused> {
        let cluster = told.cluster_id;
        if cluster != self.cluster {
            return Err(Refused::OtherCluster { cluster });
        }
        let grant = told.grant_id;
        let head = self.head(&grant).ok_or(Refused::UnknownGrant { grant })?;
        let may = told.signer_pub_key == head.issuer || told.is_by_owner();
        match told.vault_id == head.vault && may {
            true => Ok(!self.revoked.contains(&grant)),
            false => Err(Refused::NotTheirs { grant }),
        }
    }

    /// Whether it has the grant and no revocation of it.
    fn awaits_revocation(&self, grant: &GrantId) -> bool {
        self.grants.contains_key(grant) && !self.revoked.contains(grant)
    }

    /// Puts a slot in the place of what is there, and sees to it that it is counted where it belongs.
    fn set(&mut self, id: GrantId, mut slot: Slot) -> Result<(), Refused> {
        match self.grants.get(&id) {
            None if self.grants.len() >= GRANTS_MAX => return Err(Refused::Full),
            None => {}
            Some(there) => {
                self.by_vault.remove(&(there.place.vault, id));
            }
        }
        self.by_vault.insert((slot.place.vault, id));
        slot.revoked = self.revoked.contains(&id);
        self.grants.insert(id, slot);
        Ok(())
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

    /// At most `max` grants of a vault, by id, behind `after`; at `now_ms`.
    #[must_use]
    pub fn of_vault(
        &self,
        vault: VaultId,
        after: Option<GrantId>,
        max: usize,
        hearsay: &Hearsay,
        now_ms: u64,
    ) -> Vec<Row> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = after.map_or(Included((vault, GrantId([0; 16]))), |id| Excluded((vault, id)));
        let range = self.by_vault.range((from, Unbounded));
        let ids = range
            .take_while(|(of, _)| *of == vault)
            .filter_map(|(_, id)| Some((id, self.head(id)?)));
        // Where a stored grant said that it belongs counts for nothing before it was verified.
        ids.filter(|(_, head)| head.vault == vault)
            .take(max)
            .map(|(id, head)| Row {
                grant: *id,
                version: head.version,
                agent: head.agent,
                issuer: head.issuer,
                parent: head.parent.map(|parent| parent.grant_id),
                rights: head.rights.clone(),
                standing: self.standing(id, hearsay, now_ms),
            })
            .collect()
    }

    fn head(&self, id: &GrantId) -> Option<&Head> {
        self.grants.get(id)?.head(self.cluster)
    }

    /// Whether a version that would count stands on what is known: the whole chain above it, but for the time.
    fn admits(&self, new: &Head) -> Result<(), Refused> {
        let Some(named) = new.parent else {
            return Ok(());
        };
        let unknown = |named: Parent| Refused::UnknownParent {
            grant: named.grant_id,
            version: named.version,
        };
        let above = self.chain(&named).map_err(|denied| match denied {
            Denied::Wider { limit } => Refused::Wider { limit },
            _ => unknown(named),
        })?;
        for Link {
            id: grant,
            head,
            revoked,
        } in above.iter()
        {
            if revoked {
                return Err(Refused::ParentRevoked { grant });
            }
            if head.forked {
                return Err(Refused::ParentForked { grant });
            }
        }
        let mut child = new;
        for Link { head, .. } in above.iter() {
            child.fit(head).map_err(|limit| Refused::Wider { limit })?;
            child = head;
        }
        Ok(())
    }
}
