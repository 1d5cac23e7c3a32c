//! Room: whose grants are taken, how many, and what goes when it has ended.

use super::*;

/// The n-th grant of the owner, or under a parent; unlike all others.
fn nth(of: Grant, n: usize) -> Grant {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&n.to_le_bytes());
    named(Grant {
        grant_nonce: Salt(nonce),
        ..of
    })
}

/// As a start finds it: the head alone, which is all that is counted.
fn stored(grant: &Grant, by: &Wallet) -> StoredGrant {
    StoredGrant::of(&signed(grant, by)).unwrap()
}

/// The same head with another id: cheaper than a signature for each.
fn heads(of: &StoredGrant, from: usize, to: usize) -> impl Iterator<Item = StoredGrant> {
    let bytes = of.encode();
    (from..to).map(move |n| {
        let mut bytes = bytes.clone();
        let id = bytes.get_mut(1..9).unwrap();
        id.copy_from_slice(&n.to_be_bytes());
        StoredGrant::decode(&bytes).unwrap()
    })
}

#[test]
fn grants_of_vaults_that_the_ledger_does_not_know_are_refused() {
    let [first, ..] = family();
    let mut registry = Registry::new(CLUSTER);
    let applied = Applied {
        sequence: 1,
        vault_is_known: false,
    };
    let vault = vault();
    assert_eq!(
        registry.insert(&own(&first), applied),
        Err(Refused::UnknownVault { vault })
    );
    assert!(registry.is_empty() && registry.epochs().next().is_none());
    assert_eq!(registry.applied(), 1);
}

#[test]
fn a_vault_has_room_for_its_grants_and_half_of_it_is_the_owners() {
    assert_eq!((GRANTS_PER_VAULT_MAX, HANDED_ON_PER_VAULT_MAX), (100_000, 50_000));
    let first = by_owner(&agent(1));
    let child = under(&first, &agent(2));
    let mut registry = registry(std::slice::from_ref(&first));
    let of_another_parent = |_: usize| {
        let mut bytes = stored(&child, &agent(1)).encode();
        bytes[33..49].fill(0xdd);
        StoredGrant::decode(&bytes).unwrap()
    };
    for one in heads(&of_another_parent(0), 0, HANDED_ON_PER_VAULT_MAX - 1) {
        found(&mut registry, one, 2).unwrap();
    }
    put(&mut registry, &own(&nth(child.clone(), 1)), 3).unwrap();
    let full = |grants_max| {
        Err(Refused::VaultFull {
            vault: vault(),
            grants_max,
        })
    };
    assert_eq!(
        put(&mut registry, &own(&nth(child, 2)), 3),
        full(HANDED_ON_PER_VAULT_MAX)
    );
    for one in heads(
        &stored(&first, &owner()),
        HANDED_ON_PER_VAULT_MAX,
        GRANTS_PER_VAULT_MAX - 2,
    ) {
        found(&mut registry, one, 4).unwrap();
    }
    put(&mut registry, &own(&nth(first.clone(), 3)), 5).unwrap();
    assert_eq!(registry.len(), GRANTS_PER_VAULT_MAX);
    assert_eq!(
        put(&mut registry, &own(&nth(first.clone(), 4)), 6),
        full(GRANTS_PER_VAULT_MAX)
    );
    // A version of one that is there needs no room.
    assert_eq!(
        put(&mut registry, &own(&next(&first, |_| {})), 7),
        Ok(Inserted::Newer)
    );
    // Nor does another vault.
    let mallory = agent(9);
    let theirs = VaultId::derive(&key(&mallory), &SALT);
    let elsewhere = named(Grant {
        user_pub_key: key(&mallory),
        issuer_pub_key: key(&mallory),
        vault_id: theirs,
        metadata: Metadata::of(theirs, [CALENDAR]),
        ..first
    });
    assert_eq!(
        put(&mut registry, &carried(&elsewhere, &mallory), 8),
        Ok(Inserted::New)
    );
}

#[test]
fn under_one_grant_so_many_are_handed_on_and_what_ended_makes_room() {
    assert_eq!(GRANTS_PER_PARENT_MAX, 4_096);
    let first = by_owner(&agent(1));
    let child = under(&first, &agent(2));
    let mut registry = registry(std::slice::from_ref(&first));
    for one in heads(&stored(&child, &agent(1)), 0, GRANTS_PER_PARENT_MAX - 1) {
        found(&mut registry, one, 2).unwrap();
    }
    let last = nth(child.clone(), 1);
    put(&mut registry, &own(&last), 3).unwrap();
    let (parent, grants_max) = (first.grant_id, GRANTS_PER_PARENT_MAX);
    let more = own(&nth(child, 2));
    assert_eq!(
        put(&mut registry, &more, 4),
        Err(Refused::ParentFull { parent, grants_max })
    );
    put(&mut registry, &own(&next(&last, |_| {})), 4).unwrap();
    assert_eq!(
        put(&mut registry, &more, 4),
        Err(Refused::ParentFull { parent, grants_max })
    );
    let by_ms = last.ends_by.ms() + GONE_AFTER_MS;
    registry.remove(&last.grant_id, by_ms, 5).unwrap();
    assert_eq!(put(&mut registry, &more, 6), Ok(Inserted::New));
}

#[test]
fn a_grant_goes_when_all_its_versions_have_ended_and_never_comes_back_to_life() {
    let [first, second, third] = family();
    // The newest version ended early; the first would go on.
    let shorter = next(&first, |grant| grant.expires_at = Moment::from_ms(NOON_MS));
    let mut registry = registry(&[first.clone(), second.clone(), third.clone()]);
    put(&mut registry, &own(&shorter), 4).unwrap();
    registry.revoke(&revocation(&second, &owner()), 5).unwrap();
    let ends_by_ms = END_MS + 3_600_000;
    assert_eq!((first.ends_by.ms(), GONE_AFTER_MS), (ends_by_ms, 86_400_000));
    let gone_ms = ends_by_ms + GONE_AFTER_MS;
    for by_ms in [NOON_MS, END_MS, gone_ms - 1] {
        let stays = Err(Refused::NotEnded { ends_by_ms, by_ms });
        for grant in [&first, &second] {
            assert_eq!(registry.may_go(&grant.grant_id, by_ms), stays);
            assert_eq!(registry.remove(&grant.grant_id, by_ms, 6), stays);
        }
        assert!(registry.ended(by_ms, 9).is_empty());
    }
    let mut ended = registry.ended(gone_ms, 9);
    assert_eq!(registry.ended(gone_ms, 2).len(), 2);
    ended.sort_unstable();
    let mut all: Vec<_> = [&first, &second, &third].map(|grant| grant.grant_id).into();
    all.sort_unstable();
    assert_eq!(ended, all);
    for grant in [&first, &second] {
        registry.remove(&grant.grant_id, gone_ms, 7).unwrap();
        let grant = grant.grant_id;
        assert_eq!(
            registry.remove(&grant, gone_ms, 8),
            Err(Refused::UnknownGrant { grant })
        );
    }
    assert_eq!(registry.len(), 1);
    assert_eq!(decided(&registry, &reading(&third)), Err(Denied::Unknown));
    assert_eq!(listed(&registry, vault(), None, 9).len(), 1);
    // Old versions are put back, of the shortened one and of the revoked one: they have ended, every one that can be.
    for grant in [&first, &second] {
        put(&mut registry, &own(grant), 9).unwrap();
        let asked = Asked {
            now: at(gone_ms),
            ..reading(grant)
        };
        assert_eq!(
            decided(&registry, &asked),
            Err(Denied::Expired { expires_ms: END_MS })
        );
        let later = next(grant, |grant| {
            grant.expires_at = Moment::from_ms(gone_ms + 60_000)
        });
        let rule = StatementError::Rule { member: "ends_by" };
        assert_eq!(Signed::sign(later, &signer(grant)).map(|_| ()), Err(rule));
    }
}

#[test]
fn no_more_signatures_are_checked_for_a_list_or_a_start_than_are_allowed() {
    let all = family();
    let mut registry = Registry::new(CLUSTER);
    let mut none = 0;
    for grant in &all {
        let stored = StoredGrant::of(&own(grant)).unwrap();
        registry.load(stored, 1, &mut none).unwrap();
    }
    let again = || StoredGrant::of(&own(&all[0])).unwrap();
    let work = |signatures, signatures_max| {
        Err(Refused::Work {
            signatures,
            signatures_max,
        })
    };
    assert_eq!(registry.load(again(), 1, &mut 1), work(2, 1));
    assert_eq!(registry.unchecked(), 3);
    let page = |after, max| Page {
        vault: vault(),
        after,
        max,
    };
    let now = at(NOON_MS);
    let list = registry.of_vault(page(None, 9), &SILENCE, now, &mut 0);
    assert!(list.rows.is_empty() && list.after.is_none() && !list.is_whole);
    assert_eq!(registry.unchecked(), 3);
    // However little is allowed at a time, all are seen in the end.
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let mut signatures = 3;
        let before = registry.unchecked();
        let list = registry.of_vault(page(after, 2), &SILENCE, now, &mut signatures);
        assert_eq!(before - registry.unchecked(), 3 - signatures);
        assert!(list.rows.len() <= 2);
        seen.extend(list.rows.iter().map(|row| row.grant));
        after = list.after;
        if list.is_whole {
            break;
        }
    }
    assert_eq!(seen.len(), 3);
    let mut spare = 2;
    registry.load(again(), 1, &mut spare).unwrap();
    assert_eq!(spare, 1, "one of the two was checked before");
}
