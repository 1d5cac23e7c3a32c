//! A registry with many live grants: what a decision and a start take, and that every grant is still decided rightly.
//!
//! `CAIRN_GRANTS=100000 cargo test --release -p scopes --test scale -- --nocapture` prints the figures; a release build checks the bounds too.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod making;

use std::hint::black_box;
use std::time::{Duration, Instant};

use making::*;
use scopes::registry::{Asked, Registry, StoredGrant};
use scopes::{Denied, Grant, Metadata, Operation, Salt, ScopeId, VaultId, Wallet};

const GRANTS: usize = 300;
/// A chain of this many grants in each vault, the rest are the owner's own.
const HANDED_ON: usize = 3;
/// Grants of a vault.
const PER_VAULT: usize = 20;
const ROUNDS: usize = 3;
const DECISION_MAX: Duration = Duration::from_micros(20);
const START_MAX: Duration = Duration::from_secs(2);

/// The grants of a vault: the first is handed on and handed on again.
fn of_vault(owner: &Wallet, agents: &[Wallet]) -> Vec<(Grant, StoredGrant)> {
    let user = owner.public_key();
    let vault = VaultId::derive(&user, &SALT);
    let mut grants: Vec<(Grant, StoredGrant)> = Vec::new();
    let keep = |grant: Grant, by: &Wallet| (grant.clone(), StoredGrant::of(&signed(&grant, by)).unwrap());
    for number in 0..PER_VAULT {
        let to = &agents[number % agents.len()];
        let made = match grants.last() {
            Some((parent, _)) if number < HANDED_ON => keep(under(parent, to), &agents[number - 1]),
            _ => {
                let grant = Grant {
                    user_pub_key: user,
                    issuer_pub_key: user,
                    vault_id: vault,
                    grant_nonce: Salt([number as u8; 16]),
                    metadata: Metadata::of(vault, [CALENDAR, PHOTOS, ScopeId([number as u8; 16])]),
                    ..by_owner(to)
                };
                keep(named(grant), owner)
            }
        };
        grants.push(made);
    }
    grants
}

fn least(rounds: usize, mut round: impl FnMut() -> Duration) -> Duration {
    (0..rounds).map(|_| round()).min().unwrap_or_default()
}

#[test]
fn many_live_grants_are_found_again_soon_and_decided_quickly() {
    let wanted = std::env::var("CAIRN_GRANTS").map_or(GRANTS, |text| text.parse().unwrap());
    let agents: Vec<Wallet> = (0..8).map(agent).collect();
    let mut all = Vec::new();
    for vault in 0_u64.. {
        if all.len() >= wanted {
            break;
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&vault.to_le_bytes());
        all.extend(of_vault(&Wallet::from_seed(&seed), &agents));
    }
    let encoded: Vec<Vec<u8>> = all.iter().map(|(_, stored)| stored.encode()).collect();
    let bytes: usize = encoded.iter().map(Vec::len).sum();

    let mut registry = Registry::new(CLUSTER);
    let start = least(ROUNDS, || {
        let begun = Instant::now();
        let mut fresh = Registry::new(CLUSTER);
        for (bytes, sequence) in encoded.iter().zip(1..) {
            found(&mut fresh, StoredGrant::decode(bytes).unwrap(), sequence).unwrap();
        }
        let took = begun.elapsed();
        registry = fresh;
        took
    });
    assert_eq!(registry.len(), all.len());

    // The first decision checks signatures.
    let begun = Instant::now();
    for (grant, _) in &all {
        assert!(registry.decide(&reading(grant)).is_ok());
    }
    let first = begun.elapsed() / all.len() as u32;
    // In an order that no cache likes: by grant id, which is a hash.
    let mut order: Vec<&Grant> = all.iter().map(|(grant, _)| grant).collect();
    order.sort_by_key(|grant| grant.grant_id.0[3]);
    let decision = least(ROUNDS, || {
        let begun = Instant::now();
        for grant in &order {
            black_box(registry.decide(&reading(grant))).unwrap();
        }
        begun.elapsed() / order.len() as u32
    });
    let refused = least(ROUNDS, || {
        let begun = Instant::now();
        for grant in &order {
            let asked = Asked {
                operation: Operation::Write,
                ..reading(grant)
            };
            assert!(matches!(registry.decide(&asked), Err(Denied::Operation { .. })));
        }
        begun.elapsed() / order.len() as u32
    });
    let checked: Vec<_> = all.iter().take(2_000).map(|(_, stored)| stored).collect();
    let begun = Instant::now();
    let mut inserted = Registry::new(CLUSTER);
    for (stored, sequence) in checked.iter().zip(1..) {
        put(&mut inserted, &stored.verify().unwrap(), sequence).unwrap();
    }
    let insert = begun.elapsed() / checked.len() as u32;
    println!(
        "{} grants, {} bytes each: start {start:?}, first decision {first:?}, decision {decision:?}, refusal {refused:?}, \
         check and insert {insert:?}",
        all.len(),
        bytes / all.len(),
    );
    if !cfg!(debug_assertions) {
        assert!(
            decision < DECISION_MAX && refused < DECISION_MAX,
            "{decision:?} {refused:?}"
        );
        assert!(start < START_MAX, "{start:?}");
    }
}
