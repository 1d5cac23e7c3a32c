//! Versions of one grant, in any order: revoked for good, of no use while there are two contents.

use super::*;

#[test]
fn a_revocation_ends_the_grant_and_everything_under_it_for_good() {
    let [first, second, third] = family();
    for revoked in 0..3 {
        let all = family();
        let revocation = own(&all[revoked].revocation(NOON_MS));
        let mut registry = registry(&all);
        assert_eq!(registry.insert(&revocation, 9), Ok(Inserted::Newer));
        assert_eq!(registry.epoch(), 9);
        for (place, grant) in all.iter().enumerate() {
            let decision = decided(&registry, &reading(grant)).map(|_| ());
            let expected = if place < revoked {
                Ok(())
            } else {
                Err(Denied::Revoked)
            };
            assert_eq!(decision, expected, "{revoked} revoked, {place} asked");
        }
        // A higher version that is not revoked, and the old ones once more, bring nothing back.
        let back = own(&next(&all[revoked].revocation(NOON_MS), |grant| {
            grant.revoked = false
        }));
        let _ = registry.insert(&back, 10);
        for grant in &all {
            let _ = registry.insert(&own(grant), 11);
        }
        assert_eq!(decided(&registry, &reading(&all[revoked])), Err(Denied::Revoked));
    }
    // The owner takes back what an agent gave, whatever that agent says of it.
    let mut registry = registry(&[first, second, third.clone()]);
    let by_owner = carried(&third.revocation(NOON_MS), &owner());
    assert_eq!(registry.insert(&by_owner, 9), Ok(Inserted::Newer));
    let mut higher = next(&third, |grant| grant.version = 50);
    higher.created_at = Moment::from_ms(NOON_MS);
    assert_eq!(registry.insert(&own(&higher), 10), Ok(Inserted::Newer));
    assert_eq!(decided(&registry, &reading(&third)), Err(Denied::Revoked));
}

#[test]
fn a_late_revocation_with_a_low_version_counts() {
    let [first, ..] = family();
    let revocation = own(&first.revocation(NOON_MS));
    let higher = next(&first, |grant| grant.version = 7);
    let mut registry = registry(&[first.clone(), higher]);
    assert!(decided(&registry, &reading(&first)).is_ok());
    assert_eq!(registry.insert(&revocation, 3), Ok(Inserted::Newer));
    assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Revoked));
    assert_eq!(registry.insert(&revocation, 4), Ok(Inserted::Known));
    assert_eq!(registry.epoch(), 3);
}

#[test]
fn two_contents_of_one_version_make_a_grant_useless_until_a_higher_one() {
    let [first, second, _] = family();
    let fork = Grant {
        operations: operations("read"),
        ..first.clone()
    };
    let mut registry = registry(&[first.clone(), second.clone()]);
    assert_eq!(registry.insert(&own(&fork), 5), Ok(Inserted::Forked));
    assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Forked));
    assert_eq!(decided(&registry, &reading(&second)), Err(Denied::Forked));
    for known in [&first, &fork] {
        assert_eq!(registry.insert(&own(known), 6), Ok(Inserted::Known));
        assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Forked));
    }
    let settled = next(&first, |_| {});
    assert_eq!(registry.insert(&own(&settled), 7), Ok(Inserted::Newer));
    assert!(decided(&registry, &reading(&second)).is_ok());
    // Two signatures of one content are one version.
    let revocation = second.revocation(NOON_MS);
    assert_eq!(registry.insert(&own(&revocation), 8), Ok(Inserted::Newer));
    let by_owner = carried(&revocation, &owner());
    assert_eq!(registry.insert(&by_owner, 9), Ok(Inserted::Known));
}

#[test]
fn the_same_versions_in_any_order_come_to_the_same() {
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
    // Every subset, from either end and by load.
    for subset in 1..1_u32 << signed.len() {
        let chosen: Vec<_> = (0..signed.len()).filter(|n| subset >> n & 1 == 1).collect();
        let outcome = |order: &[usize], load: bool| {
            let mut registry = Registry::new(CLUSTER);
            for (place, sequence) in order.iter().zip(1..) {
                if load {
                    let stored = StoredGrant::of(&signed[*place]).unwrap();
                    registry.load(stored, sequence).unwrap();
                } else {
                    registry.insert(&signed[*place], sequence).unwrap();
                }
            }
            let decisions = Operation::ALL.map(|operation| {
                let asked = Asked {
                    operation,
                    ..reading(&first)
                };
                decided(&registry, &asked).map(|granted| granted.version())
            });
            (decisions, registry.of_vault(vault(), None, 10, NOON_MS))
        };
        let forwards = outcome(&chosen, false);
        let backwards: Vec<_> = chosen.iter().rev().copied().collect();
        assert_eq!(outcome(&backwards, false), forwards, "{chosen:?}");
        assert_eq!(outcome(&chosen, true), forwards, "{chosen:?}");
        let mut rotated = chosen.clone();
        rotated.rotate_left(chosen.len() / 2);
        assert_eq!(outcome(&rotated, true), forwards, "{chosen:?}");
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
    assert_eq!(registry.insert(&own(&first), 3), Ok(Inserted::Known));
    registry.load(StoredGrant::of(&own(&first)).unwrap(), 4).unwrap();
    assert_eq!(decided(&registry, &reading(&first)).map(|_| ()), refused);
}

#[test]
fn a_revocation_counts_as_a_third_content_too() {
    let [first, ..] = family();
    let second = next(&first, |grant| grant.operations = operations("read"));
    let fork = next(&first, |grant| grant.operations = operations("list"));
    let mut registry = registry(&[first.clone(), second.clone(), fork]);
    assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Forked));
    assert_eq!(
        registry.insert(&own(&first.revocation(NOON_MS)), 4),
        Ok(Inserted::Forked)
    );
    assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Revoked));
    let higher = next(&second, |_| {});
    assert_eq!(registry.insert(&own(&higher), 5), Ok(Inserted::Newer));
    assert_eq!(decided(&registry, &reading(&first)), Err(Denied::Revoked));
}
