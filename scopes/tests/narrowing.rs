//! No chain of sub-grants, updates and replays is ever wider than its parent: random owners' and agents' doings against the registry.
//!
//! Agents ask for whatever they like, sign for each other, bring old versions again and in any order. What is checked does not use the
//! registry's own comparison: a decision has to hold for each ancestor asked by itself, and against what the owner's wallet signed.

#![expect(clippy::unwrap_used, reason = "tests")]

mod making;

use std::collections::BTreeMap;

use making::*;
use proptest::prelude::*;
use proptest::sample::Index;
use scopes::grant::{Budget, DEPTH_MAX};
use scopes::registry::{Asked, Registry, StoredGrant, StoredRevocation, Used};
use scopes::{
    Denied, Grant, GrantId, Metadata, Moment, Operation, OperationSet, Revocation, Salt, ScopeId, Signed,
    Wallet,
};

const SCOPES: [ScopeId; 3] = [CALENDAR, PHOTOS, MAILS];
const AGENTS: u8 = 4;
/// A step of the times that grants begin and end at.
const STEP_MS: u64 = 60_000;
const STEPS: u64 = 5;

/// What a grant asks for.
#[derive(Clone, Debug)]
struct Wish {
    operations: u8,
    scopes: u8,
    begin: u64,
    end: u64,
    bytes: Option<u64>,
    depth: u8,
}

fn wish() -> impl Strategy<Value = Wish> {
    let bytes = proptest::option::of(0..4_u64);
    (1..8_u8, 1..8_u8, 0..STEPS, 0..STEPS, bytes, 0..=DEPTH_MAX).prop_map(
        |(operations, scopes, begin, end, bytes, depth)| Wish {
            operations,
            scopes,
            begin,
            end,
            bytes,
            depth,
        },
    )
}

/// What somebody does.
#[derive(Clone, Debug)]
enum Deed {
    /// The owner grants.
    Grant(u8, Wish),
    /// Somebody hands on a grant, its agent or (sometimes) another; as it is, or as wished.
    HandOn(Index, u8, Option<u8>, Option<Wish>),
    /// The issuer makes another version, so much higher.
    Update(Index, u64, Wish),
    /// The issuer or the owner revokes.
    Revoke(Index, bool),
    /// Something that was there comes again.
    Replay(Index),
    /// The registry starts anew from what it took, in an order that this turns.
    Restart(Index),
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || 0..AGENTS;
    prop_oneof![
        2 => (who(), wish()).prop_map(|(to, wish)| Deed::Grant(to, wish)),
        6 => (any::<Index>(), who(), prop_oneof![4 => Just(None), 1 => who().prop_map(Some)], proptest::option::of(wish()))
            .prop_map(|(of, to, by, wish)| Deed::HandOn(of, to, by, wish)),
        4 => (any::<Index>(), 0..3_u64, wish()).prop_map(|(of, more, wish)| Deed::Update(of, more, wish)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(of, owner)| Deed::Revoke(of, owner)),
        3 => any::<Index>().prop_map(Deed::Replay),
        1 => any::<Index>().prop_map(Deed::Restart),
    ]
}

fn granting(mut grant: Grant, wish: &Wish) -> Grant {
    fn pick<T: Copy>(bits: u8, all: [T; 3]) -> impl Iterator<Item = T> {
        let each = all.into_iter().zip(0..);
        each.filter(move |(_, n)| bits >> n & 1 == 1).map(|(one, _)| one)
    }
    let operations = [Operation::Read, Operation::Write, Operation::List];
    grant.operations = pick(wish.operations, operations).collect::<OperationSet>();
    grant.metadata = Metadata::of(vault(), pick(wish.scopes, SCOPES));
    grant.not_before = Moment::from_ms(BEGIN_MS + wish.begin * STEP_MS);
    grant.expires_at = Moment::from_ms(BEGIN_MS + (wish.begin + wish.end + 1) * STEP_MS);
    grant.budget = Budget {
        bytes: wish.bytes,
        requests: None,
    };
    grant.depth_left = wish.depth;
    grant
}

struct World {
    registry: Registry,
    /// Everything that was ever brought, taken or not.
    brought: Vec<Signed<Grant>>,
    taken: Vec<Signed<Grant>>,
    revoked: Vec<Signed<Revocation>>,
    nonce: u8,
}

impl World {
    fn bring(&mut self, grant: Grant, by: &Wallet) {
        // What breaks a rule of its own is not a grant.
        if let Ok(signed) = Signed::sign(grant, by) {
            self.brought.push(signed.clone());
            self.insert(&signed);
        }
    }

    fn insert(&mut self, signed: &Signed<Grant>) {
        let sequence = self.registry.applied() + 1;
        if put(&mut self.registry, signed, sequence).is_ok() {
            self.taken.push(signed.clone());
        }
    }

    fn picked(&self, index: &Index) -> Option<&Signed<Grant>> {
        (!self.brought.is_empty()).then(|| index.get(&self.brought))
    }

    fn pick(&self, index: &Index) -> Option<Grant> {
        self.picked(index).map(|signed| signed.statement().clone())
    }

    fn carry_out(&mut self, deed: &Deed) {
        self.nonce = self.nonce.wrapping_add(1);
        let salt = Salt([self.nonce; 16]);
        match deed {
            Deed::Grant(to, wish) => {
                let grant = Grant {
                    grant_nonce: salt,
                    ..granting(by_owner(&agent(*to)), wish)
                };
                self.bring(named(grant), &owner());
            }
            Deed::HandOn(of, to, by, wish) => {
                let Some(parent) = self.pick(of) else { return };
                let by = by.map_or_else(|| wallet_of(&parent.agent_service_pub_key), agent);
                let child = Grant {
                    grant_nonce: salt,
                    issuer_pub_key: by.public_key(),
                    ..under(&parent, &agent(*to))
                };
                let child = wish.iter().fold(child, granting);
                self.bring(named(child), &by);
            }
            Deed::Update(of, more, wish) => {
                let Some(grant) = self.pick(of) else { return };
                let issuer = wallet_of(&grant.issuer_pub_key);
                let updated = Grant {
                    version: grant.version + more,
                    revoked: false,
                    ..granting(grant, wish)
                };
                self.bring(updated, &issuer);
            }
            Deed::Revoke(of, by_owner) => {
                let Some(grant) = self.pick(of) else { return };
                let issuer = wallet_of(&grant.issuer_pub_key);
                let by = if *by_owner { owner() } else { issuer };
                let revocation = revocation(&grant, &by);
                let sequence = self.registry.applied() + 1;
                if self.registry.revoke(&revocation, sequence).is_ok() {
                    self.revoked.push(revocation);
                }
            }
            Deed::Replay(of) => {
                if let Some(again) = self.picked(of).cloned() {
                    self.insert(&again);
                }
            }
            Deed::Restart(turn) => self.restart(turn),
        }
    }

    fn restart(&mut self, turn: &Index) {
        let before = answers(&self.registry, &self.taken);
        let mut order = newest(&self.taken);
        if !order.is_empty() {
            let by = turn.index(order.len());
            order.rotate_left(by);
        }
        let mut registry = Registry::new(CLUSTER);
        for revocation in &self.revoked {
            let stored = StoredRevocation::of(revocation).unwrap();
            registry
                .load_revocation(&stored, self.registry.applied())
                .unwrap();
        }
        for signed in order {
            found(
                &mut registry,
                StoredGrant::of(signed).unwrap(),
                self.registry.applied(),
            )
            .unwrap();
        }
        assert_eq!(
            answers(&registry, &self.taken),
            before,
            "a restart changed a decision"
        );
        self.registry = registry;
    }
}

/// What the ledger keeps of what was taken: the last of each grant.
fn newest(taken: &[Signed<Grant>]) -> Vec<&Signed<Grant>> {
    let last = taken.iter().map(|signed| (signed.statement().grant_id, signed));
    last.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn wallet_of(key: &scopes::PublicKey) -> Wallet {
    let all = (0..AGENTS).map(agent).chain([owner()]);
    all.into_iter()
        .find(|wallet| wallet.public_key() == *key)
        .unwrap()
}

/// Every question there is about a grant.
fn questions(grant: &Grant) -> impl Iterator<Item = Asked<'static>> {
    let times = (0..=2 * STEPS).map(|step| BEGIN_MS + step * STEP_MS + STEP_MS / 2);
    let grant = grant.clone();
    times.flat_map(move |now_ms| {
        let grant = grant.clone();
        [Operation::Read, Operation::Write, Operation::List]
            .into_iter()
            .flat_map(move |operation| {
                let grant = grant.clone();
                SCOPES.map(move |scope| Asked {
                    scope,
                    operation,
                    now: at(now_ms),
                    ..reading(&grant)
                })
            })
    })
}

/// The decision on every question about every grant that was ever taken.
fn answers(registry: &Registry, taken: &[Signed<Grant>]) -> Vec<bool> {
    let asked = taken.iter().flat_map(|signed| questions(signed.statement()));
    asked.map(|asked| registry.decide(&asked).is_ok()).collect()
}

/// What the wallet of its issuer said last of a grant, among what was taken; none if it is unclear or was taken back.
fn last_word(world: &World, id: GrantId) -> Option<Grant> {
    let is_revoked = world.revoked.iter().any(|told| told.statement().grant_id == id);
    let all: Vec<_> = world
        .taken
        .iter()
        .map(Signed::statement)
        .filter(|grant| grant.grant_id == id)
        .collect();
    let newest = all.iter().map(|grant| grant.version).max()?;
    let mut last = all.iter().filter(|grant| grant.version == newest);
    let first = last.next()?;
    let clear = last.all(|other| other == first) && !is_revoked;
    clear.then(|| (*first).clone())
}

/// Nothing that is allowed is more than each ancestor allows, asked by itself, nor than what its signer said last.
fn check(world: &World) {
    for signed in &world.taken {
        for asked in questions(signed.statement()) {
            let Ok(granted) = world.registry.decide(&asked) else {
                continue;
            };
            let links: Vec<_> = granted.links().collect();
            assert!(links.len() <= usize::from(DEPTH_MAX) + 1);
            for (below, id) in links.iter().enumerate() {
                let said = last_word(world, *id);
                assert!(
                    said.is_some(),
                    "a grant without a clear last word allows something"
                );
                let said = said.unwrap();
                assert!(usize::from(said.depth_left) >= below, "handed on too often");
                assert!(said.operations.contains(asked.operation));
                assert!(
                    said.metadata
                        .scopes
                        .iter()
                        .any(|entry| entry.context.scope == asked.scope)
                );
                assert!(
                    said.not_before.ms() <= asked.now.said_ms() && asked.now.said_ms() < said.expires_at.ms()
                );
                let parent = said.parent.map(|parent| parent.grant_id);
                assert_eq!(parent, links.get(below + 1).copied());
                assert_eq!(parent.is_none(), said.issuer_pub_key == owner().public_key());
                let of_ancestor = Asked {
                    grant: *id,
                    agent: said.agent_service_pub_key,
                    ..asked
                };
                assert!(
                    world.registry.decide(&of_ancestor).is_ok(),
                    "an ancestor does not allow it"
                );
                // Whatever of the chain has used up its bytes ends it.
                if let Some(bytes) = said.budget.bytes {
                    let spent = move |of: &GrantId| Used {
                        bytes: if of == id { bytes } else { 0 },
                        requests: 0,
                    };
                    let more = Asked {
                        cost: Used {
                            bytes: 1,
                            requests: 1,
                        },
                        used: &spent,
                        ..asked
                    };
                    assert!(matches!(world.registry.decide(&more), Err(Denied::Budget { .. })));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_chain_of_sub_grants_updates_and_replays_is_wider_than_its_parent(
        deeds in proptest::collection::vec(deed(), 1..28),
    ) {
        let mut world = World {
            registry: Registry::new(CLUSTER),
            brought: Vec::new(),
            taken: Vec::new(),
            revoked: Vec::new(),
            nonce: 0,
        };
        for deed in &deeds {
            world.carry_out(deed);
        }
        check(&world);
        // Everything once more, from either end, changes nothing; nor does what was refused.
        let before = answers(&world.registry, &world.taken);
        let taken = world.taken.clone();
        for signed in taken.iter().rev().chain(&taken) {
            let _ = put(&mut world.registry, signed, u64::MAX);
        }
        prop_assert_eq!(answers(&world.registry, &taken), before);
    }

    #[test]
    fn what_fits_allows_nothing_that_the_parent_does_not(child in wish(), parent in wish()) {
        let child = granting(by_owner(&agent(1)), &child).rights();
        let parent = granting(by_owner(&agent(1)), &parent).rights();
        if child.fit(&parent).is_ok() {
            for operation in Operation::ALL {
                for scope in SCOPES {
                    prop_assert!(!child.reach(operation, scope) || parent.reach(operation, scope));
                }
            }
            prop_assert!(child.not_before_ms >= parent.not_before_ms && child.expires_ms <= parent.expires_ms);
            prop_assert!(parent.budget.bytes.is_none_or(|most| child.budget.bytes.is_some_and(|bytes| bytes <= most)));
            prop_assert!(child.depth_left < parent.depth_left);
        }
        let mut once_less = parent.clone();
        prop_assert_eq!(parent.fit(&parent).is_ok(), false);
        if let Some(less) = parent.depth_left.checked_sub(1) {
            once_less.depth_left = less;
            prop_assert_eq!(once_less.fit(&parent), Ok(()));
        }
    }
}
