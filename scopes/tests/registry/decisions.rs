//! What is decided about one grant: every state of it against every reason to refuse.

use super::*;

#[test]
fn an_agent_may_what_its_grant_says_and_nothing_else() {
    let [first, ..] = family();
    let registry = registry(std::slice::from_ref(&first));
    for scope in [CALENDAR, PHOTOS, MAILS] {
        for operation in Operation::ALL {
            let asked = Asked {
                scope,
                operation,
                ..reading(&first)
            };
            let expected = match (operation, scope) {
                (Operation::Read | Operation::List, MAILS) => Err(Denied::Scope),
                (Operation::Read | Operation::List, _) => Ok(()),
                _ => Err(Denied::Operation { operation }),
            };
            assert_eq!(decided(&registry, &asked).map(|_| ()), expected);
        }
    }
    let granted = decided(&registry, &reading(&first)).unwrap();
    assert_eq!(granted.grant(), first.grant_id);
    assert_eq!((granted.vault(), granted.scope()), (vault(), CALENDAR));
    assert_eq!((granted.operation(), granted.version()), (Operation::Read, 1));
    assert_eq!(granted.links().collect::<Vec<_>>(), [first.grant_id]);
    assert_eq!(*granted.agent(), key(&agent(1)));
}

/// Its name, a registry, what is asked differently, and the answers about an owner's grant and what was handed on of it.
type State<'a> = (&'a str, &'a Registry, fn(&mut Asked<'_>), [Result<(), Denied>; 2]);

const NONE: GrantId = GrantId([0; 16]);

/// The table that the gateway's grows by: what each operation is answered in each state of a grant.
#[test]
fn every_operation_is_decided_for_every_state_of_a_grant() {
    let all = named(Grant {
        operations: operations("all"),
        ..by_owner(&agent(1))
    });
    let child = under(&all, &agent(2));
    let fork = Grant {
        depth_left: 1,
        ..all.clone()
    };
    let live = registry(&[all.clone(), child.clone()]);
    let mut revoked = registry(&[all.clone(), child.clone()]);
    revoked.revoke(&revocation(&all, &owner()), 3).unwrap();
    let mut forked = registry(&[all.clone(), child.clone()]);
    found(&mut forked, StoredGrant::of(&own(&fork)).unwrap(), 3).unwrap();
    let narrowed = registry(&[
        all.clone(),
        child.clone(),
        next(&all, |grant| grant.depth_left = 0),
    ]);
    let as_is: fn(&mut Asked<'_>) = |_| {};
    let late = Err(Denied::Expired { expires_ms: END_MS });
    let early = Err(Denied::NotYetValid {
        not_before_ms: BEGIN_MS,
    });
    let stale = Err(Denied::Stale { heard_ms_ago: 20_000 });
    let behind = Err(Denied::Behind { epoch: 2, asked: 3 });
    let wider = Err(Denied::Wider { limit: Limit::Depth });
    let unknown = Err(Denied::Unknown);
    let states: [State<'_>; 12] = [
        ("live", &live, as_is, [Ok(()); 2]),
        ("revoked", &revoked, as_is, [Err(Denied::Revoked); 2]),
        ("forked", &forked, as_is, [Err(Denied::Forked); 2]),
        ("narrowed", &narrowed, as_is, [Ok(()), wider]),
        ("expired", &live, |asked| asked.now = at(END_MS), [late; 2]),
        ("early", &live, |asked| asked.now = at(BEGIN_MS), [early; 2]),
        ("stale", &live, |asked| asked.heard_ms_ago = 20_000, [stale; 2]),
        ("behind", &live, |asked| asked.epoch = 3, [behind; 2]),
        ("unknown", &live, |asked| asked.grant = NONE, [unknown; 2]),
        (
            "other agent",
            &live,
            |asked| asked.agent = key(&agent(3)),
            [unknown; 2],
        ),
        (
            "other vault",
            &live,
            |asked| asked.vault = VaultId(NONE.0),
            [Err(Denied::Scope); 2],
        ),
        (
            "other scope",
            &live,
            |asked| asked.scope = MAILS,
            [Err(Denied::Scope); 2],
        ),
    ];
    for state in &states {
        for operation in Operation::ALL {
            answers_as_told(state, [&all, &child], operation);
        }
    }
}

fn answers_as_told(
    (name, registry, change, expected): &State<'_>,
    grants: [&Grant; 2],
    operation: Operation,
) {
    for (grant, expected) in grants.into_iter().zip(expected) {
        let mut asked = Asked {
            operation,
            ..reading(grant)
        };
        change(&mut asked);
        let decision = registry.decide(&asked).map(|_| ());
        assert_eq!(decision, *expected, "{name}, {operation}");
    }
}

#[test]
fn what_nobody_knows_is_refused() {
    let [first, second, _] = family();
    let registry = registry(std::slice::from_ref(&first));
    let unknown = |asked| assert_eq!(decided(&registry, &asked), Err(Denied::Unknown));
    unknown(reading(&second));
    // The grant is there, and another asks.
    unknown(Asked {
        agent: key(&agent(2)),
        ..reading(&first)
    });
    unknown(Asked {
        agent: key(&owner()),
        ..reading(&first)
    });
    assert_eq!(
        decided(&Registry::new(CLUSTER), &reading(&first)),
        Err(Denied::Unknown)
    );
}

#[test]
fn a_grant_counts_in_its_vault_only() {
    let [first, ..] = family();
    let registry = registry(std::slice::from_ref(&first));
    let elsewhere = Asked {
        vault: VaultId([1; 16]),
        ..reading(&first)
    };
    assert_eq!(decided(&registry, &elsewhere), Err(Denied::Scope));
}

#[test]
fn a_grant_for_another_cluster_is_refused() {
    let other = named(Grant {
        cluster_id: ClusterId([0xee; 16]),
        ..by_owner(&agent(1))
    });
    let mut registry = Registry::new(CLUSTER);
    let cluster = other.cluster_id;
    assert_eq!(
        put(&mut registry, &own(&other), 1),
        Err(Refused::OtherCluster { cluster })
    );
    found(&mut registry, StoredGrant::of(&own(&other)).unwrap(), 1).unwrap();
    assert_eq!(decided(&registry, &reading(&other)), Err(Denied::Unknown));
}

/// With a clock that is off by up to the skew, either way, nobody is let in outside of the window.
#[test]
fn a_grant_counts_only_where_every_clock_within_the_skew_agrees() {
    let [first, ..] = family();
    let registry = registry(std::slice::from_ref(&first));
    let at = |now_ms| {
        let asked = Asked {
            now: at(now_ms),
            ..reading(&first)
        };
        decided(&registry, &asked).map(|_| ())
    };
    let early = Err(Denied::NotYetValid {
        not_before_ms: BEGIN_MS,
    });
    let late = Err(Denied::Expired { expires_ms: END_MS });
    assert_eq!(CLOCK_SKEW_MS, 5_000);
    assert_eq!(at(0), early);
    assert_eq!(at(BEGIN_MS + 4_999), early);
    assert_eq!(at(BEGIN_MS + 5_000), Ok(()));
    assert_eq!(at(END_MS - 5_001), Ok(()));
    assert_eq!(at(END_MS - 5_000), late);
    assert_eq!(at(END_MS), late);
    assert_eq!(at(u64::MAX), late);
}

#[test]
fn stale_and_behind_mean_no_before_anything_else() {
    let [first, ..] = family();
    let registry = registry(std::slice::from_ref(&first));
    assert_eq!((registry.applied(), STALE_AFTER_MS), (1, 20_000));
    let asked = |heard_ms_ago, epoch| Asked {
        heard_ms_ago,
        epoch,
        ..reading(&first)
    };
    assert!(decided(&registry, &asked(19_999, 1)).is_ok());
    let heard_ms_ago = 20_000;
    assert_eq!(
        decided(&registry, &asked(heard_ms_ago, 1)),
        Err(Denied::Stale { heard_ms_ago })
    );
    assert_eq!(
        decided(&registry, &asked(0, 2)),
        Err(Denied::Behind { epoch: 1, asked: 2 })
    );
}

#[test]
fn grants_of_one_agent_differ_by_their_nonce() {
    let first = by_owner(&agent(1));
    let other = named(Grant {
        grant_nonce: Salt([8; 16]),
        operations: operations("write"),
        ..first.clone()
    });
    let registry = registry(&[first.clone(), other.clone()]);
    assert_eq!(registry.len(), 2);
    assert!(decided(&registry, &reading(&first)).is_ok());
    assert!(decided(&registry, &reading(&other)).is_err());
}
