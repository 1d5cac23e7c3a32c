//! Wallets, grants and questions that the tests of grants and of their registry are made of.

#![allow(dead_code, reason = "each test takes its part")]

use scopes::grant::{self, Budget, Metadata, Parent};
use scopes::registry::{
    Applied, Asked, Clock, Hearsay, Inserted, Now, Page, Refused, Registry, Row, StoredGrant, Used,
};
use scopes::{
    ClusterId, Grant, GrantId, Moment, Operation, OperationSet, PublicKey, Revocation, Salt, ScopeId, Signed,
    VaultId, Wallet, revocation,
};

pub(crate) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub(crate) const SALT: Salt = Salt([0x5a; 16]);
pub(crate) const CALENDAR: ScopeId = ScopeId([1; 16]);
pub(crate) const PHOTOS: ScopeId = ScopeId([2; 16]);
pub(crate) const MAILS: ScopeId = ScopeId([3; 16]);

/// 2026-06-10T08:14:02Z, when grants begin, and the end of them a day later.
pub(crate) const BEGIN_MS: u64 = 1_781_079_242_000;
pub(crate) const END_MS: u64 = BEGIN_MS + 86_400_000;
/// A time well inside.
pub(crate) const NOON_MS: u64 = BEGIN_MS + 3_600_000;

pub(crate) fn owner() -> Wallet {
    Wallet::from_seed(&[1; 32])
}

pub(crate) fn agent(number: u8) -> Wallet {
    Wallet::from_seed(&[number.wrapping_add(100); 32])
}

pub(crate) fn vault() -> VaultId {
    VaultId::derive(&owner().public_key(), &SALT)
}

/// With the id that its members give.
pub(crate) fn named(mut grant: Grant) -> Grant {
    grant.grant_id = grant.id_of();
    grant
}

/// Something that is done to a grant.
pub(crate) type Change = fn(&mut Grant);

/// Changed; its id stays.
pub(crate) fn changed(mut grant: Grant, change: impl FnOnce(&mut Grant)) -> Grant {
    change(&mut grant);
    grant
}

/// An owner's grant: read and list in calendar and photos, for a day, to be handed on twice.
pub(crate) fn by_owner(agent: &Wallet) -> Grant {
    let owner = owner().public_key();
    named(Grant {
        agent_service_pub_key: agent.public_key(),
        user_pub_key: owner,
        issuer_pub_key: owner,
        cluster_id: CLUSTER,
        vault_id: vault(),
        vault_salt: SALT,
        grant_id: GrantId([0; 16]),
        grant_nonce: Salt([7; 16]),
        version: 1,
        revoked: false,
        created_at: Moment::from_ms(BEGIN_MS),
        not_before: Moment::from_ms(BEGIN_MS),
        expires_at: Moment::from_ms(END_MS),
        ends_by: Moment::from_ms(END_MS + 3_600_000),
        operations: [Operation::Read, Operation::List].into_iter().collect(),
        budget: Budget::default(),
        depth_left: 2,
        metadata: Metadata::of(vault(), [CALENDAR, PHOTOS]),
        prefix_commitment: None,
        parent: None,
        wrapped: None,
    })
}

/// What the agent of `parent` hands on to another: all of it, once less.
pub(crate) fn under(parent: &Grant, to: &Wallet) -> Grant {
    named(Grant {
        agent_service_pub_key: to.public_key(),
        issuer_pub_key: parent.agent_service_pub_key,
        version: 1,
        depth_left: parent.depth_left.saturating_sub(1),
        parent: Some(Parent {
            grant_id: parent.grant_id,
            version: parent.version,
        }),
        ..parent.clone()
    })
}

pub(crate) fn signed(grant: &Grant, by: &Wallet) -> Signed<Grant> {
    Signed::sign(grant.clone(), by).unwrap()
}

pub(crate) fn envelope(grant: &Grant, by: &Wallet) -> Vec<u8> {
    signed(grant, by).encode().unwrap()
}

/// Signed, written and read back.
pub(crate) fn carried(grant: &Grant, by: &Wallet) -> Signed<Grant> {
    grant::verify(&envelope(grant, by)).unwrap()
}

/// Nothing was heard.
pub(crate) static SILENCE: Hearsay = Hearsay::new();

pub(crate) fn revocation(grant: &Grant, by: &Wallet) -> Signed<Revocation> {
    let signed = Signed::sign(Revocation::of(grant, &by.public_key(), NOON_MS), by).unwrap();
    revocation::verify(&signed.encode().unwrap()).unwrap()
}

pub(crate) fn unused(_: &GrantId) -> Used {
    Used::default()
}

/// To read the calendar, at noon, by a fresh registry.
pub(crate) fn reading(grant: &Grant) -> Asked<'static> {
    Asked {
        grant: grant.grant_id,
        agent: grant.agent_service_pub_key,
        vault: grant.vault_id,
        scope: CALENDAR,
        operation: Operation::Read,
        now: at(NOON_MS),
        heard_ms_ago: 0,
        epoch: 0,
        hearsay: &SILENCE,
        cost: Used {
            bytes: 0,
            requests: 1,
        },
        used: &unused,
    }
}

/// An instant by a clock that was never wrong.
pub(crate) fn at(now_ms: u64) -> Now {
    Clock::default().now(now_ms)
}

pub(crate) const fn applied(sequence: u64) -> Applied {
    Applied {
        sequence,
        vault_is_known: true,
    }
}

/// What a list shows at noon.
pub(crate) fn listed(registry: &Registry, vault: VaultId, after: Option<GrantId>, max: usize) -> Vec<Row> {
    let page = Page { vault, after, max };
    registry.of_vault(page, &SILENCE, at(NOON_MS), &mut 1_000).rows
}

/// What the ledger applied.
pub(crate) fn put(
    registry: &mut Registry,
    signed: &Signed<Grant>,
    sequence: u64,
) -> Result<Inserted, Refused> {
    registry.insert(signed, applied(sequence))
}

/// What a start finds.
pub(crate) fn found(registry: &mut Registry, stored: StoredGrant, sequence: u64) -> Result<(), Refused> {
    registry.load(stored, sequence, &mut 1_000)
}

pub(crate) fn registry_of(grants: &[Signed<Grant>]) -> Registry {
    let mut registry = Registry::new(CLUSTER);
    for (signed, sequence) in grants.iter().zip(1..) {
        put(&mut registry, signed, sequence).unwrap();
    }
    registry
}

pub(crate) fn operations(names: &str) -> OperationSet {
    names.parse().unwrap()
}

pub(crate) fn key(wallet: &Wallet) -> PublicKey {
    wallet.public_key()
}
