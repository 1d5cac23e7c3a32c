//! What agents hand on: within what they have, while they have it, and out of the same budget.

use super::*;

#[test]
fn what_is_handed_on_counts_while_its_parent_does() {
    let [first, second, third] = family();
    let shorter = next(&first, |grant| {
        grant.expires_at = Moment::from_ms(NOON_MS + 60_000);
        grant.not_before = Moment::from_ms(NOON_MS - 60_000);
    });
    let registry = registry(&[first, second, third.clone(), shorter]);
    let at = |now_ms| {
        let asked = Asked {
            now: at(now_ms),
            ..reading(&third)
        };
        decided(&registry, &asked).map(|_| ())
    };
    // Its own times are longer than its grandparent's are now.
    let limit = Limit::NotBefore;
    assert_eq!(at(NOON_MS), Err(Denied::Wider { limit }));
}

#[test]
fn a_decision_lasts_no_longer_than_the_shortest_link() {
    let [first, mut second, _] = family();
    second.expires_at = Moment::from_ms(NOON_MS + 60_000);
    let second = named(second);
    let mut third = under(&second, &agent(3));
    third.not_before = Moment::from_ms(NOON_MS - 60_000);
    let third = named(third);
    let mut registry = registry(&[first, second.clone(), third.clone()]);
    let granted = decided(&registry, &reading(&third)).unwrap();
    assert_eq!(granted.until_ms(), NOON_MS + 55_000);
    assert_eq!(granted.links().count(), 3);
    assert!(granted.is_still_good(&registry, &SILENCE, at(NOON_MS + 54_999), 19_999));
    assert!(!granted.is_still_good(&registry, &SILENCE, at(NOON_MS + 55_000), 0));
    assert!(!granted.is_still_good(&registry, &SILENCE, at(NOON_MS - 55_001), 0));
    assert!(!granted.is_still_good(&registry, &SILENCE, at(NOON_MS), STALE_AFTER_MS));
    let other = by_owner(&agent(4));
    put(&mut registry, &own(&other), 4).unwrap();
    assert!(!granted.is_still_good(&registry, &SILENCE, at(NOON_MS), 0));
}

#[test]
fn a_child_without_a_known_parent_is_refused() {
    let [first, second, third] = family();
    let mut registry = Registry::new(CLUSTER);
    let unknown = |grant: &Grant, version| {
        Err(Refused::UnknownParent {
            grant: grant.grant_id,
            version,
        })
    };
    assert_eq!(put(&mut registry, &own(&second), 1), unknown(&first, 1));
    put(&mut registry, &own(&first), 1).unwrap();
    assert_eq!(put(&mut registry, &own(&third), 2), unknown(&second, 1));
    let mut ahead = second.clone();
    ahead.parent.as_mut().unwrap().version = 2;
    assert_eq!(put(&mut registry, &own(&named(ahead)), 2), unknown(&first, 2));
    // A start takes it; the decision does not.
    let ahead = named(Grant {
        parent: second.parent.map(|parent| Parent { version: 2, ..parent }),
        ..second.clone()
    });
    let mut started = registry_of(&[own(&first)]);
    found(&mut started, StoredGrant::of(&own(&ahead)).unwrap(), 2).unwrap();
    assert_eq!(decided(&started, &reading(&ahead)), Err(Denied::Unknown));
    assert_eq!(put(&mut registry, &own(&second), 2), Ok(Inserted::New));
    assert_eq!(put(&mut registry, &own(&third), 3), Ok(Inserted::New));
    assert!(decided(&registry, &reading(&third)).is_ok());
    assert_eq!(registry.len(), 3);
}

/// Not its parent alone: a grandparent that was taken back or became narrower is seen when the grant comes in.
#[test]
fn the_whole_chain_above_is_looked_at_when_a_grant_comes_in() {
    let [first, second, third] = family();
    let mut registry = registry(&[first.clone(), second.clone()]);
    registry.revoke(&revocation(&first, &owner()), 3).unwrap();
    let grant = first.grant_id;
    assert_eq!(
        put(&mut registry, &own(&third), 4),
        Err(Refused::ParentRevoked { grant })
    );
    let narrower = next(&first, |grant| grant.operations = operations("list"));
    let mut registry = making::registry_of(&[&first, &second, &narrower].map(own));
    let limit = Limit::Operations;
    assert_eq!(put(&mut registry, &own(&third), 4), Err(Refused::Wider { limit }));
    let less = changed(third, |grant| grant.operations = operations("list"));
    assert_eq!(put(&mut registry, &own(&less), 4), Err(Refused::Wider { limit }));
}

/// Every limit, at the insertion and, where the parent became narrower since, at the decision.
#[test]
fn a_child_that_is_wider_than_its_parent_is_refused() {
    let prefix = Prefix::new("a/", [1; 32]).unwrap();
    let parent = named(Grant {
        prefix_commitment: Some(prefix.commitment(&GrantId([1; 16]))),
        budget: Budget {
            bytes: Some(100),
            requests: Some(10),
        },
        ..by_owner(&agent(1))
    });
    let child = || under(&parent, &agent(2));
    let mut registry = registry(std::slice::from_ref(&parent));
    let cases: [(Limit, Change); 11] = [
        (Limit::Prefix, |g| g.prefix_commitment = None),
        (Limit::EndsBy, |g| {
            g.ends_by = Moment::from_ms(END_MS + 7_200_000);
            *g = named(g.clone());
        }),
        (Limit::Operations, |g| g.operations = operations("read,delete")),
        (Limit::Scopes, |g| {
            g.metadata = Metadata::of(vault(), [CALENDAR, MAILS]);
        }),
        (Limit::NotBefore, |g| {
            g.not_before = Moment::from_ms(BEGIN_MS - 1_000);
        }),
        (Limit::Expires, |g| {
            g.expires_at = Moment::from_ms(END_MS + 1_000);
        }),
        (Limit::Bytes, |g| g.budget.bytes = Some(101)),
        (Limit::Bytes, |g| g.budget.bytes = None),
        (Limit::Requests, |g| g.budget.requests = Some(11)),
        (Limit::Requests, |g| g.budget.requests = None),
        (Limit::Depth, |g| g.depth_left = 2),
    ];
    for (limit, change) in cases {
        let wider = changed(child(), change);
        assert_eq!(put(&mut registry, &own(&wider), 2), Err(Refused::Wider { limit }));
        // A start takes what the ledger has; the decision does not.
        let stored = StoredGrant::of(&own(&wider)).unwrap();
        let mut started = making::registry_of(&[own(&parent)]);
        found(&mut started, stored, 2).unwrap();
        assert_eq!(decided(&started, &reading(&wider)), Err(Denied::Wider { limit }));
    }
    assert_eq!(put(&mut registry, &own(&child()), 2), Ok(Inserted::New));
    assert!(decided(&registry, &reading(&child())).is_ok());
    let narrower = next(&parent, |grant| grant.depth_left = 0);
    put(&mut registry, &own(&narrower), 3).unwrap();
    assert!(decided(&registry, &reading(&parent)).is_ok());
    let limit = Limit::Depth;
    assert_eq!(
        decided(&registry, &reading(&child())),
        Err(Denied::Wider { limit })
    );
}

#[test]
fn whoever_is_not_the_parents_agent_hands_nothing_on() {
    let [first, ..] = family();
    let mut registry = registry(std::slice::from_ref(&first));
    let stolen = named(Grant {
        issuer_pub_key: key(&agent(3)),
        ..under(&first, &agent(2))
    });
    let limit = Limit::Issuer;
    assert_eq!(
        put(&mut registry, &own(&stolen), 2),
        Err(Refused::Wider { limit })
    );
    found(&mut registry, StoredGrant::of(&own(&stolen)).unwrap(), 2).unwrap();
    assert_eq!(
        decided(&registry, &reading(&stolen)),
        Err(Denied::Wider { limit })
    );
    // An owner of another vault, under this parent.
    let mallory = agent(3);
    let theirs = VaultId::derive(&key(&mallory), &SALT);
    let elsewhere = named(Grant {
        user_pub_key: key(&mallory),
        vault_id: theirs,
        metadata: Metadata::of(theirs, [CALENDAR]),
        ..under(&first, &agent(2))
    });
    let limit = Limit::Vault;
    assert_eq!(
        put(&mut registry, &own(&elsewhere), 3),
        Err(Refused::Wider { limit })
    );
}

#[test]
fn budgets_of_every_link_are_charged_and_end_the_right() {
    let parent = named(Grant {
        budget: Budget {
            bytes: Some(100),
            requests: None,
        },
        ..by_owner(&agent(1))
    });
    let child = named(Grant {
        budget: Budget {
            bytes: Some(50),
            requests: Some(3),
        },
        ..under(&parent, &agent(2))
    });
    let registry = registry(&[parent.clone(), child.clone()]);
    let (of_parent, of_child) = (parent.grant_id, child.grant_id);
    let ask = |parent_bytes, child: Used, cost_bytes| {
        let used = move |id: &GrantId| match *id == of_child {
            true => child,
            false => Used {
                bytes: parent_bytes,
                requests: u64::MAX,
            },
        };
        let asked = Asked {
            cost: Used {
                bytes: cost_bytes,
                requests: 1,
            },
            used: &used,
            ..reading(&child_of(&parent))
        };
        decided(&registry, &asked).map(|granted| granted.links().collect::<Vec<_>>())
    };
    fn child_of(parent: &Grant) -> Grant {
        named(Grant {
            budget: Budget {
                bytes: Some(50),
                requests: Some(3),
            },
            ..under(parent, &agent(2))
        })
    }
    let used = |bytes, requests| Used { bytes, requests };
    assert_eq!(ask(50, used(0, 2), 50), Ok(vec![of_child, of_parent]));
    let over = |limit, used, budget| Err(Denied::Budget { limit, used, budget });
    assert_eq!(ask(50, used(1, 2), 50), over(Limit::Bytes, 1, 50));
    assert_eq!(ask(51, used(0, 2), 50), over(Limit::Bytes, 51, 100));
    assert_eq!(ask(0, used(0, 3), 0), over(Limit::Requests, 3, 3));
    assert_eq!(
        ask(0, used(u64::MAX, 0), u64::MAX),
        over(Limit::Bytes, u64::MAX, 50)
    );
}
