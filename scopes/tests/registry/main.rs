//! The registry: every state of a grant against every reason to refuse, versions in any order, and what a start finds again.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bound;
mod decisions;
mod epochs;
mod handed_on;
mod kept;
#[path = "../making/mod.rs"]
mod making;
mod revoked;
mod room;
mod versions;

use making::*;
use scopes::grant::{Budget, Limit, Parent, Prefix};
use scopes::registry::{
    Applied, Asked, CLOCK_SKEW_MS, Clock, Epoch, GONE_AFTER_MS, GRANTS_PER_PARENT_MAX, GRANTS_PER_VAULT_MAX,
    Granted, HANDED_ON_PER_VAULT_MAX, Hearsay, Inserted, Opened, Page, Refused, Registry, STALE_AFTER_MS,
    StoredError, StoredGrant, StoredRevocation, Used, grant_slot, revocation_slot,
};
use scopes::{
    ClusterId, Credential, CredentialName, Denied, Grant, GrantId, Identity, Metadata, Moment, Operation,
    Proof, Revocation, Salt, ScopeSet, Signed, StatementError, VaultId, Wallet, revocation,
};

/// An owner's grant to the first agent, handed on to the second and by that to the third.
fn family() -> [Grant; 3] {
    let first = by_owner(&agent(1));
    let second = under(&first, &agent(2));
    let third = under(&second, &agent(3));
    [first, second, third]
}

fn signer(grant: &Grant) -> Wallet {
    let all = [owner(), agent(1), agent(2), agent(3)];
    let issuer = grant.issuer_pub_key;
    all.into_iter().find(|wallet| key(wallet) == issuer).unwrap()
}

fn own(grant: &Grant) -> Signed<Grant> {
    carried(grant, &signer(grant))
}

fn next(grant: &Grant, change: impl FnOnce(&mut Grant)) -> Grant {
    let mut next = Grant {
        version: grant.version + 1,
        ..grant.clone()
    };
    change(&mut next);
    next
}

fn registry(grants: &[Grant]) -> Registry {
    registry_of(&grants.iter().map(own).collect::<Vec<_>>())
}

fn decided(registry: &Registry, asked: &Asked<'_>) -> Result<Granted, Denied> {
    registry.decide(asked)
}
