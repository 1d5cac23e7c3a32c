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

mod clock;
mod decide;
mod hearsay;
mod list;
mod opened;
mod refused;
mod room;
mod stored;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

pub use clock::{Clock, Now};
pub use decide::{Asked, CLOCK_SKEW_MS, Granted, STALE_AFTER_MS, Used};
pub use hearsay::Hearsay;
pub use list::{List, Page, Row};
pub use opened::Opened;
pub use refused::Refused;
pub use room::{
    Epoch, GONE_AFTER_MS, GRANTS_MAX, GRANTS_PER_PARENT_MAX, GRANTS_PER_VAULT_MAX, HANDED_ON_PER_VAULT_MAX,
};
pub use stored::{StoredError, StoredGrant, StoredRevocation, grant_slot, revocation_slot};

use crate::grant::{Grant, Parent};
use crate::identity::Denied;
use crate::ids::{ClusterId, GrantId, VaultId};
use crate::revocation::Revocation;
use crate::statement::Signed;
use decide::Link;
use list::spend;
use room::Room;
use versions::{Head, Slot};

/// What the ledger says of an append as it applies it.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// The append's sequence.
    pub sequence: u64,
    /// Whether the ledger knows the vault that the grant is of: anybody can make up a vault, and grants of it.
    pub vault_is_known: bool,
}

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

/// See the module.
#[derive(Debug)]
pub struct Registry {
    cluster: ClusterId,
    grants: BTreeMap<GrantId, Slot>,
    room: Room,
    /// What the ledger has revocations of.
    revoked: BTreeSet<GrantId>,
    /// The highest sequence that was applied.
    applied: u64,
}

impl Registry {
    /// A registry without grants.
    #[must_use]
    pub const fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            grants: BTreeMap::new(),
            room: Room::new(),
            revoked: BTreeSet::new(),
            applied: 0,
        }
    }

    /// How far the ledger's word about this vault's grants has come. Only what is said of this vault moves it.
    #[must_use]
    pub fn epoch(&self, vault: &VaultId) -> Epoch {
        self.room.epoch(vault)
    }

    /// Each vault's epoch, for the snapshot that a start begins from: what was looked at without effect leaves no entry to count.
    pub fn epochs(&self) -> impl Iterator<Item = (VaultId, Epoch)> {
        self.room.epochs()
    }

    /// Takes a vault's epoch from a snapshot.
    pub fn load_epoch(&mut self, vault: VaultId, epoch: Epoch) {
        self.room.set_epoch(vault, epoch);
    }

    /// The highest sequence that was applied.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// The ledger applied everything up to `sequence`, whatever it was about.
    pub fn applied_through(&mut self, sequence: u64) {
        self.applied = self.applied.max(sequence);
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

    /// Takes a version of a grant, as the ledger applies it. What is known already changes nothing but the epoch; what is refused neither.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn insert(&mut self, signed: &Signed<Grant>, applied: Applied) -> Result<Inserted, Refused> {
        let inserted = self.judge(signed, applied.vault_is_known);
        let inserted = match inserted {
            Ok(Some((head, inserted))) => {
                let id = signed.statement().grant_id;
                self.set(id, Slot::new(head)).map(|()| inserted)
            }
            Ok(None) => Ok(Inserted::Known),
            Err(refused) => Err(refused),
        };
        self.looked_at(signed.statement().vault_id, applied.sequence);
        inserted
    }

    fn looked_at(&mut self, vault: VaultId, sequence: u64) {
        self.room.looked_at(&vault, sequence);
        self.applied_through(sequence);
    }

    /// What a version would do; nothing if it is there.
    fn judge(
        &self,
        signed: &Signed<Grant>,
        vault_is_known: bool,
    ) -> Result<Option<(Head, Inserted)>, Refused> {
        let grant = signed.statement();
        let (cluster, vault) = (grant.cluster_id, grant.vault_id);
        if cluster != self.cluster {
            return Err(Refused::OtherCluster { cluster });
        }
        if !vault_is_known {
            return Err(Refused::UnknownVault { vault });
        }
        let new = Head::of(signed);
        let id = grant.grant_id;
        let there = self.head(&id);
        if self.revoked.contains(&id) && !there.is_some_and(|head| head.says_what(&new)) {
            return Err(Refused::Revoked);
        }
        let inserted = match there {
            Some(head) if head.says_what(&new) => return Ok(None),
            Some(Head { revoked: true, .. }) => return Err(Refused::Revoked),
            Some(head) if new.version <= head.version => {
                let (version, newest) = (new.version, head.version);
                return Err(Refused::NotNewer { version, newest });
            }
            Some(_) => Inserted::Newer,
            None => Inserted::New,
        };
        self.admits(&new)?;
        if inserted == Inserted::New {
            self.room.has_for(&new.place())?;
        }
        Ok(Some((new, inserted)))
    }

    /// Takes a grant as the ledger keeps it, at a start. Its signature is checked when the grant is first looked at; one that does not hold counts
    /// as if it were not there. A second one of the same id, from beside the ledger, is compared at once: the higher version counts, and of one
    /// version with two contents neither.
    ///
    /// `signatures` is how many may be checked, and what is left of it.
    ///
    /// # Errors
    /// [`Refused::Full`]; [`Refused::Work`], and nothing changed.
    pub fn load(
        &mut self,
        stored: StoredGrant,
        sequence: u64,
        signatures: &mut usize,
    ) -> Result<(), Refused> {
        let (id, vault) = (stored.grant(), stored.vault());
        match self.grants.get(&id) {
            None => self.set(id, Slot::unchecked(stored))?,
            Some(slot) => {
                spend(signatures, 1 + usize::from(!slot.is_checked()))?;
                if let Some(both) = slot.beside(self.cluster, &stored) {
                    self.set(id, Slot::new(both))?;
                }
            }
        }
        self.looked_at(vault, sequence);
        Ok(())
    }

    /// At most `max` grants that may be removed at `by_ms` (milliseconds since 1970, UTC), the longest ended first.
    #[must_use]
    pub fn ended(&self, by_ms: u64, max: usize) -> Vec<GrantId> {
        self.room.ended(by_ms).take(max).collect()
    }

    /// Whether a grant may be removed at `by_ms`: every version of it, also one that was never seen, ended a day before. Nothing that was said
    /// of it has to be remembered then: what comes of it again has ended.
    ///
    /// # Errors
    /// [`Refused::UnknownGrant`] or [`Refused::NotEnded`].
    pub fn may_go(&self, grant: &GrantId, by_ms: u64) -> Result<(), Refused> {
        let slot = self.grants.get(grant);
        let slot = slot.ok_or(Refused::UnknownGrant { grant: *grant })?;
        let ends_by_ms = slot.place.ends_by_ms;
        match room::is_gone(ends_by_ms, by_ms) {
            true => Ok(()),
            false => Err(Refused::NotEnded { ends_by_ms, by_ms }),
        }
    }

    /// Removes a grant and its revocation, which the ledger applied as `sequence`. The time is the append's, so that all judge by the same; that it has come,
    /// whoever puts the append into the ledger makes sure of.
    ///
    /// # Errors
    /// As [`Self::may_go`].
    pub fn remove(&mut self, grant: &GrantId, by_ms: u64, sequence: u64) -> Result<(), Refused> {
        let may = self.may_go(grant, by_ms);
        let Some(place) = self.grants.get(grant).map(|slot| slot.place) else {
            self.applied_through(sequence);
            return may;
        };
        if may.is_ok() {
            self.grants.remove(grant);
            self.revoked.remove(grant);
            self.room.give_back(*grant, &place);
        }
        self.looked_at(place.vault, sequence);
        may
    }

    /// Takes a revocation, which the ledger applied as `sequence`.
    ///
    /// # Errors
    /// [`Refused`]: of a grant that is not known, or by somebody who may not.
    pub fn revoke(&mut self, signed: &Signed<Revocation>, sequence: u64) -> Result<Inserted, Refused> {
        let told = signed.statement();
        let may = self.may_revoke(told);
        if may == Ok(true) {
            self.take_back(told.grant_id);
        }
        self.looked_at(told.vault_id, sequence);
        may.map(|is_new| match is_new {
            true => Inserted::New,
            false => Inserted::Known,
        })
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
        self.looked_at(stored.vault(), sequence);
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
            Some(there) => self.room.give_back(id, &there.place),
        }
        self.room.take(id, &slot.place);
        slot.revoked = self.revoked.contains(&id);
        self.grants.insert(id, slot);
        Ok(())
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
