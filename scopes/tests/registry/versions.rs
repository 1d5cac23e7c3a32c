//! Versions of one grant: only a higher one takes the place of one, and of two contents neither counts.

use super::*;

#[test]
fn only_a_higher_version_takes_the_place_of_one() {
    let [first, ..] = family();
    let fourth = next(&first, |grant| grant.version = 4);
    let mut registry = registry(&[first.clone(), fourth.clone()]);
    let same = Grant {
        operations: operations("read,list,write"),
        ..fourth.clone()
    };
    for (version, other) in [
        (4, same),
        (3, next(&first, |grant| grant.version = 3)),
        (1, first.clone()),
    ] {
        let newest = 4;
        assert_eq!(
            put(&mut registry, &own(&other), 3),
            Err(Refused::NotNewer { version, newest })
        );
        assert_eq!(decided(&registry, &reading(&first)).unwrap().version(), 4);
    }
    assert_eq!(put(&mut registry, &own(&fourth), 4), Ok(Inserted::Known));
    let fifth = next(&fourth, |_| {});
    assert_eq!(put(&mut registry, &own(&fifth), 5), Ok(Inserted::Newer));
    assert_eq!(registry.len(), 1);
}

/// Not through the ledger, which has one place for both; from a checkpoint beside it.
#[test]
fn two_contents_of_one_version_make_a_grant_useless_until_a_higher_one() {
    let [first, second, third] = family();
    let fork = Grant {
        operations: operations("read"),
        ..first.clone()
    };
    let mut registry = registry(&[first.clone(), second.clone()]);
    let stored = |grant: &Grant| StoredGrant::of(&own(grant)).unwrap();
    found(&mut registry, stored(&fork), 5).unwrap();
    for known in [&first, &fork] {
        assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Forked));
        assert_eq!(decided(&registry, &reading(&second)), Err(Denied::Forked));
        found(&mut registry, stored(known), 6).unwrap();
        assert!(put(&mut registry, &own(known), 6).is_err());
    }
    let grant = first.grant_id;
    assert_eq!(
        put(&mut registry, &own(&third), 7),
        Err(Refused::ParentForked { grant })
    );
    let settled = next(&first, |_| {});
    assert_eq!(put(&mut registry, &own(&settled), 7), Ok(Inserted::Newer));
    assert!(decided(&registry, &reading(&second)).is_ok());
    found(&mut registry, stored(&fork), 8).unwrap();
    assert!(decided(&registry, &reading(&second)).is_ok());
}

#[test]
fn versions_that_a_start_finds_in_any_order_come_to_the_same() {
    let [first, ..] = family();
    let versions = [
        first.clone(),
        Grant {
            operations: operations("list"),
            ..first.clone()
        },
        Grant {
            operations: operations("read,write"),
            ..first.clone()
        },
        next(&first, |grant| grant.operations = operations("read")),
        next(&first, |grant| grant.operations = operations("write")),
        next(&first, |grant| grant.version = 3),
    ];
    let signed: Vec<_> = versions.iter().map(own).collect();
    // Every subset, from either end and from its middle.
    for subset in 1..1_u32 << signed.len() {
        let chosen: Vec<_> = (0..signed.len()).filter(|n| subset >> n & 1 == 1).collect();
        let outcome = |order: &[usize]| {
            let mut registry = Registry::new(CLUSTER);
            for (place, sequence) in order.iter().zip(1..) {
                let stored = StoredGrant::of(&signed[*place]).unwrap();
                found(&mut registry, stored, sequence).unwrap();
            }
            let decisions = Operation::ALL.map(|operation| {
                let asked = Asked {
                    operation,
                    ..reading(&first)
                };
                decided(&registry, &asked).map(|granted| granted.version())
            });
            (decisions, listed(&registry, vault(), None, 10))
        };
        let forwards = outcome(&chosen);
        let backwards: Vec<_> = chosen.iter().rev().copied().collect();
        assert_eq!(outcome(&backwards), forwards, "{chosen:?}");
        let mut rotated = chosen.clone();
        rotated.rotate_left(chosen.len() / 2);
        assert_eq!(outcome(&rotated), forwards, "{chosen:?}");
    }
}

#[test]
fn a_replay_of_an_older_version_brings_no_right_back() {
    let [first, ..] = family();
    let narrower = next(&first, |grant| grant.operations = operations("list"));
    let mut registry = registry(&[first.clone(), narrower]);
    let refused = Err(Denied::Operation {
        operation: Operation::Read,
    });
    assert_eq!(decided(&registry, &reading(&first)).map(|_| ()), refused);
    assert!(put(&mut registry, &own(&first), 3).is_err());
    found(&mut registry, StoredGrant::of(&own(&first)).unwrap(), 4).unwrap();
    assert_eq!(decided(&registry, &reading(&first)).map(|_| ()), refused);
}

#[test]
fn a_version_that_says_revoked_counts_beside_any_other() {
    let [first, ..] = family();
    let second = next(&first, |grant| grant.operations = operations("read"));
    let fork = next(&first, |grant| grant.operations = operations("list"));
    let revoked = next(&first, |grant| grant.revoked = true);
    let higher = next(&second, |_| {});
    let mut registry = registry(&[first.clone(), second]);
    for (beside, answer) in [
        (fork, Denied::Forked),
        (revoked, Denied::Revoked),
        (higher, Denied::Revoked),
    ] {
        found(&mut registry, StoredGrant::of(&own(&beside)).unwrap(), 4).unwrap();
        assert_eq!(decided(&registry, &reading(&first)), Err(answer));
    }
}
