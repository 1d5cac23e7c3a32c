//! The epoch of a vault, what is heard, and clocks that go back.

use super::*;

#[test]
fn the_epoch_counts_everything_that_was_looked_at_in_its_vault_and_nothing_else() {
    let [first, second, _] = family();
    let mut registry = Registry::new(CLUSTER);
    let epoch = |registry: &Registry| {
        let Epoch { sequence, count } = registry.epoch(&vault());
        (sequence, count)
    };
    assert_eq!(epoch(&registry), (0, 0));
    put(&mut registry, &own(&first), 3).unwrap();
    assert_eq!(epoch(&registry), (3, 1));
    // Two changes within one append.
    put(&mut registry, &own(&second), 3).unwrap();
    assert_eq!(epoch(&registry), (3, 2));
    // Without an effect: known, refused, taken back twice.
    assert_eq!(put(&mut registry, &own(&second), 4), Ok(Inserted::Known));
    let wider = next(&second, |grant| grant.operations = operations("all"));
    assert!(put(&mut registry, &own(&wider), 5).is_err());
    assert_eq!(epoch(&registry), (5, 1));
    for sequence in [6, 7] {
        registry.revoke(&revocation(&second, &owner()), sequence).unwrap();
    }
    assert!(registry.revoke(&revocation(&first, &agent(9)), 8).is_err());
    assert_eq!(epoch(&registry), (8, 1));
    assert!(registry.remove(&first.grant_id, NOON_MS, 9).is_err());
    assert_eq!(epoch(&registry), (9, 1));
    // Another vault's, and appends about anything else.
    let before = decided(&registry, &reading(&first)).unwrap();
    let (theirs, mallory) = of_another_vault();
    put(&mut registry, &carried(&theirs, &mallory), 10).unwrap();
    registry.applied_through(11);
    assert_eq!((epoch(&registry), registry.applied()), ((9, 1), 11));
    assert!(before.is_still_good(&registry, &SILENCE, at(NOON_MS), 0));
    // The same after a start from what the ledger has, and the epochs of its snapshot.
    let mut started = Registry::new(CLUSTER);
    for grant in [&first, &second] {
        found(&mut started, StoredGrant::of(&own(grant)).unwrap(), 3).unwrap();
    }
    for (vault, epoch) in registry.epochs() {
        started.load_epoch(vault, epoch);
    }
    assert_eq!(started.epoch(&vault()), registry.epoch(&vault()));
    started.load_epoch(vault(), Epoch::default());
    assert_eq!(
        started.epoch(&vault()),
        registry.epoch(&vault()),
        "an epoch went back"
    );
}

fn of_another_vault() -> (Grant, Wallet) {
    let mallory = agent(9);
    let vault = VaultId::derive(&key(&mallory), &SALT);
    let grant = named(Grant {
        user_pub_key: key(&mallory),
        issuer_pub_key: key(&mallory),
        vault_id: vault,
        metadata: Metadata::of(vault, [CALENDAR]),
        ..by_owner(&agent(1))
    });
    (grant, mallory)
}

#[test]
fn a_second_change_within_one_sequence_ends_a_decision_made_after_the_first() {
    let [first, second, _] = family();
    let mut registry = registry(&[first.clone(), second.clone()]);
    let other = by_owner(&agent(4));
    put(&mut registry, &own(&other), 7).unwrap();
    let granted = decided(&registry, &reading(&second)).unwrap();
    registry.revoke(&revocation(&second, &owner()), 7).unwrap();
    assert!(!granted.is_still_good(&registry, &SILENCE, at(NOON_MS), 0));
}

/// An answer of the ledger that is not applied yet is not heard.
#[test]
fn what_the_ledger_answered_counts_once_it_is_applied() {
    let [first, ..] = family();
    let mut registry = registry(std::slice::from_ref(&first));
    let asked = Asked {
        epoch: 9,
        ..reading(&first)
    };
    assert_eq!(
        decided(&registry, &asked),
        Err(Denied::Behind { epoch: 1, asked: 9 })
    );
    registry.applied_through(8);
    assert_eq!(
        decided(&registry, &asked),
        Err(Denied::Behind { epoch: 8, asked: 9 })
    );
    registry.applied_through(9);
    assert!(decided(&registry, &asked).is_ok());
    registry.applied_through(2);
    assert_eq!(registry.applied(), 9);
}

#[test]
fn a_clock_that_goes_back_revives_nothing_and_one_that_was_ahead_begins_nothing() {
    let [first, ..] = family();
    let registry = registry(std::slice::from_ref(&first));
    let clock = Clock::new(0);
    let ask = |said_ms| {
        let asked = Asked {
            now: clock.now(said_ms),
            ..reading(&first)
        };
        decided(&registry, &asked)
    };
    let early = Err(Denied::NotYetValid {
        not_before_ms: BEGIN_MS,
    });
    let late = Err(Denied::Expired { expires_ms: END_MS });
    assert!(ask(NOON_MS).is_ok());
    assert_eq!(
        ask(BEGIN_MS - 1_000),
        early,
        "a clock was believed that it had been later"
    );
    let granted = ask(NOON_MS).unwrap();
    assert!(!granted.is_still_good(&registry, &SILENCE, clock.now(BEGIN_MS), 0));
    assert!(granted.is_still_good(&registry, &SILENCE, clock.now(NOON_MS), 0));
    assert_eq!(ask(END_MS), late);
    assert_eq!(ask(NOON_MS), late, "a clock that went back was believed");
    assert!(!granted.is_still_good(&registry, &SILENCE, clock.now(NOON_MS), 0));
    // As of the newest time on disk.
    let asked = Asked {
        now: Clock::new(END_MS).now(NOON_MS),
        ..reading(&first)
    };
    assert_eq!(decided(&registry, &asked), late);
}
