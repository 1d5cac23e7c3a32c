//! The decision: whether an agent may do this, in this scope, under this grant, now.
//!
//! It looks at the grant and at each of its ancestors, a handful at most, and remembers nothing: a [`Granted`] is what there is to cache,
//! bound to its vault, scope, operation, grant and epoch.
//!
//! Invariant: a [`Granted`] is made here only, and only if every link of the chain allows what was asked.

use super::versions::Head;
use super::{Epoch, Hearsay, Now, Registry};
use crate::grant::{Commitment, DEPTH_MAX, Limit, Parent};
use crate::identity::Denied;
use crate::ids::{GrantId, ScopeId, VaultId};
use crate::operation::Operation;
use crate::wallet::PublicKey;

/// How far clocks may be off, in milliseconds, either way. A grant counts from so long after its beginning until so long before its end, so that
/// nobody whose clock is this good lets anyone in outside of what was signed.
pub const CLOCK_SKEW_MS: u64 = 5_000;

/// How old what the ledger said may be, in milliseconds since the question was sent. From then on everything is refused.
pub const STALE_AFTER_MS: u64 = 20_000;

/// An owner's grant and what may be below it.
const LINKS_MAX: usize = DEPTH_MAX as usize + 1;

/// What was used, or will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes read and written.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
}

/// The question.
pub struct Asked<'a> {
    /// The grant that the agent names.
    pub grant: GrantId,
    /// The agent, whose key was proved.
    pub agent: PublicKey,
    /// The vault.
    pub vault: VaultId,
    /// The scope.
    pub scope: ScopeId,
    /// What is to be done.
    pub operation: Operation,
    /// The time.
    pub now: Now,
    /// How long ago, on a clock that only goes forward, the newest question was sent to which the ledger answered. An answer is heard once all of it
    /// is applied: [`Self::epoch`] is at least the sequence that it named.
    pub heard_ms_ago: u64,
    /// The highest sequence that the asker knows of: the one that the ledger named in its newest answer, or that of a decision made elsewhere.
    pub epoch: u64,
    /// What was heard of revocations that the ledger has not yet.
    pub hearsay: &'a Hearsay,
    /// What it will take of the budgets.
    pub cost: Used,
    /// What was used of a grant's budget so far, by it and everything below it.
    pub used: &'a dyn Fn(&GrantId) -> Used,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("grant", &self.grant)
            .field("agent", &self.agent)
            .field("vault", &self.vault)
            .field("scope", &self.scope)
            .field("operation", &self.operation)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Leave for one operation of one agent in one scope, as of an epoch. Not made from bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    grant: GrantId,
    version: u64,
    agent: PublicKey,
    vault: VaultId,
    scope: ScopeId,
    operation: Operation,
    epoch: Epoch,
    heard: u64,
    from_ms: u64,
    until_ms: u64,
    links: [Option<(GrantId, Option<Commitment>)>; LINKS_MAX],
}

impl Granted {
    /// The grant.
    #[must_use]
    pub const fn grant(&self) -> GrantId {
        self.grant
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Who may.
    #[must_use]
    pub const fn agent(&self) -> &PublicKey {
        &self.agent
    }

    /// The vault.
    #[must_use]
    pub const fn vault(&self) -> VaultId {
        self.vault
    }

    /// The scope.
    #[must_use]
    pub const fn scope(&self) -> ScopeId {
        self.scope
    }

    /// What may be done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// As of which change of the vault's grants.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The first instant, in milliseconds since 1970, at which it counts no more, whatever the registry says.
    #[must_use]
    pub const fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// The grants whose budgets it takes from: itself first, the owner's last.
    pub fn links(&self) -> impl Iterator<Item = GrantId> {
        self.links.into_iter().flatten().map(|(id, _)| id)
    }

    /// The grants of the chain that are limited to a prefix, and what they committed to; itself first.
    pub fn commitments(&self) -> impl Iterator<Item = (GrantId, Commitment)> {
        let links = self.links.into_iter().flatten();
        links.filter_map(|(id, commitment)| Some((id, commitment?)))
    }

    /// Whether it counts at this time of the clock, whatever else changed.
    pub(crate) const fn is_in_force(&self, now_ms: u64) -> bool {
        self.from_ms <= now_ms && now_ms < self.until_ms
    }

    /// Whether it may still be acted on: nothing of the vault's grants changed or was heard since, it is in force, and the ledger was heard of.
    #[must_use]
    pub fn is_still_good(&self, registry: &Registry, hearsay: &Hearsay, now: Now, heard_ms_ago: u64) -> bool {
        self.epoch == registry.epoch(&self.vault)
            && self.heard == hearsay.mark(&self.vault)
            && now.is_from(self.from_ms)
            && !now.is_after(self.until_ms)
            && heard_ms_ago < STALE_AFTER_MS
    }
}

/// A grant, its parent, and so on to the owner's.
pub(super) struct Chain<'a> {
    links: [Option<Link<'a>>; LINKS_MAX],
}

/// One grant of a chain.
#[derive(Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) id: GrantId,
    pub(super) head: &'a Head,
    /// Whether it, or somebody who may, said so.
    pub(super) revoked: bool,
}

impl<'a> Chain<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Link<'a>> {
        self.links.into_iter().flatten()
    }

    /// Whether every link counts and fits the one above, now; then from and until when it all counts.
    fn standing(&self, hearsay: &Hearsay, now: Now) -> Result<(u64, u64), Denied> {
        for Link { id, head, revoked } in self.iter() {
            if revoked || hearsay.revokes(&head.vault, &id) {
                return Err(Denied::Revoked);
            }
        }
        for Link { head, .. } in self.iter() {
            if head.forked {
                return Err(Denied::Forked);
            }
        }
        for (child, parent) in self.iter().zip(self.iter().skip(1)) {
            child
                .head
                .fit(parent.head)
                .map_err(|limit| Denied::Wider { limit })?;
        }
        let (mut from_ms, mut until_ms) = (0, u64::MAX);
        for Link { head, .. } in self.iter() {
            let (not_before_ms, expires_ms) = (head.rights.not_before_ms, head.rights.expires_ms);
            from_ms = from_ms.max(not_before_ms.saturating_add(CLOCK_SKEW_MS));
            until_ms = until_ms.min(expires_ms.saturating_sub(CLOCK_SKEW_MS));
            if now.is_after(until_ms) {
                return Err(Denied::Expired { expires_ms });
            }
            if !now.is_from(from_ms) {
                return Err(Denied::NotYetValid { not_before_ms });
            }
        }
        Ok((from_ms, until_ms))
    }
}

impl Registry {
    /// Decides. Whoever has the answer may go on by it while [`Granted::is_still_good`].
    ///
    /// # Errors
    /// The first reason against it: stale, behind, unknown, revoked, forked, wider than a parent is now, not in force, operation, scope, budget.
    pub fn decide(&self, asked: &Asked<'_>) -> Result<Granted, Denied> {
        if asked.heard_ms_ago >= STALE_AFTER_MS {
            return Err(Denied::Stale {
                heard_ms_ago: asked.heard_ms_ago,
            });
        }
        if self.applied < asked.epoch {
            return Err(Denied::Behind {
                epoch: self.applied,
                asked: asked.epoch,
            });
        }
        let chain = self.chain(&any_version(asked.grant))?;
        let first = chain.iter().next();
        let Link { head, .. } = first
            .filter(|link| link.head.agent == asked.agent)
            .ok_or(Denied::Unknown)?;
        let (from_ms, until_ms) = chain.standing(asked.hearsay, asked.now)?;
        let operation = asked.operation;
        for Link { head: link, .. } in chain.iter() {
            if !link.rights.operations.contains(operation) {
                return Err(Denied::Operation { operation });
            }
            if link.vault != asked.vault || !link.rights.reach(operation, asked.scope) {
                return Err(Denied::Scope);
            }
        }
        for Link { id, head: link, .. } in chain.iter() {
            let (used, budget, cost) = ((asked.used)(&id), link.rights.budget, asked.cost);
            fits_budget(Limit::Bytes, used.bytes, cost.bytes, budget.bytes)?;
            fits_budget(Limit::Requests, used.requests, cost.requests, budget.requests)?;
        }
        Ok(Granted {
            grant: asked.grant,
            version: head.version,
            agent: head.agent,
            vault: asked.vault,
            scope: asked.scope,
            operation,
            epoch: self.epoch(&asked.vault),
            from_ms,
            until_ms,
            heard: asked.hearsay.mark(&asked.vault),
            links: chain
                .links
                .map(|link| link.map(|link| (link.id, link.head.rights.prefix))),
        })
    }

    /// Whether a grant and all that it stands on count now, whatever they allow.
    ///
    /// # Errors
    /// Unknown, revoked, forked, wider than a parent is now, or not in force.
    pub fn standing(&self, grant: &GrantId, hearsay: &Hearsay, now: Now) -> Result<(), Denied> {
        self.chain(&any_version(*grant))?
            .standing(hearsay, now)
            .map(|_| ())
    }

    /// How many signatures of a grant and what it stands on are still to be checked, as the heads say.
    pub(super) fn unchecked_above(&self, grant: &GrantId) -> usize {
        let mut next = Some(*grant);
        let mut unchecked = 0;
        for _ in 0..LINKS_MAX {
            let Some(slot) = next.and_then(|id| self.grants.get(&id)) else {
                break;
            };
            unchecked += usize::from(!slot.is_checked());
            next = slot.place.parent;
        }
        unchecked
    }

    /// A grant, in the version named or a higher one, and all that it stands on.
    pub(super) fn chain(&self, from: &Parent) -> Result<Chain<'_>, Denied> {
        let mut links = [None; LINKS_MAX];
        let mut next = Some(*from);
        for link in &mut links {
            let Some(named) = next else {
                break;
            };
            let id = named.grant_id;
            let slot = self.grants.get(&id).ok_or(Denied::Unknown)?;
            let head = slot.head(self.cluster);
            let head = head.filter(|head| head.version >= named.version);
            let head = head.ok_or(Denied::Unknown)?;
            let revoked = head.revoked || slot.revoked;
            *link = Some(Link { id, head, revoked });
            next = head.parent;
        }
        match next {
            // Longer than any that fits: depth shrinks by one a link.
            Some(_) => Err(Denied::Wider { limit: Limit::Depth }),
            None => Ok(Chain { links }),
        }
    }
}

const fn any_version(grant_id: GrantId) -> Parent {
    Parent { grant_id, version: 1 }
}

fn fits_budget(limit: Limit, used: u64, cost: u64, budget: Option<u64>) -> Result<(), Denied> {
    match budget {
        Some(budget) if used.saturating_add(cost) > budget => Err(Denied::Budget { limit, used, budget }),
        _ => Ok(()),
    }
}
