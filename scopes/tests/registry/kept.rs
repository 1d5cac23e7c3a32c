//! What a start finds again, and what a list shows.

use super::*;

#[test]
fn a_start_finds_again_what_was_there() {
    let all = family();
    let stored: Vec<_> = all
        .iter()
        .map(|grant| StoredGrant::of(&own(grant)).unwrap().encode())
        .collect();
    let taken_back = StoredRevocation::of(&revocation(&all[2], &owner())).unwrap();
    let taken_back = StoredRevocation::decode(&taken_back.encode()).unwrap();
    assert_eq!(
        (taken_back.grant(), taken_back.vault()),
        (all[2].grant_id, vault())
    );
    // In any order: the child before its parent too, and a revocation before its grant or after.
    for first in [true, false] {
        let mut registry = Registry::new(CLUSTER);
        if first {
            registry.load_revocation(&taken_back, 4).unwrap();
        }
        for (bytes, sequence) in stored.iter().rev().zip((1..=3).rev()) {
            let read = StoredGrant::decode(bytes).unwrap();
            assert_eq!(read.encode(), *bytes);
            found(&mut registry, read, sequence).unwrap();
        }
        if !first {
            registry.load_revocation(&taken_back, 4).unwrap();
        }
        assert_eq!((registry.len(), registry.applied()), (3, 4));
        assert!(decided(&registry, &reading(&all[1])).is_ok());
        assert_eq!(decided(&registry, &reading(&all[2])), Err(Denied::Revoked));
    }
}

#[test]
fn a_start_believes_no_head_and_no_signature() {
    let all = family();
    let stored = [StoredGrant::of(&own(&all[0])).unwrap().encode()];
    let good = &stored[0];
    assert_eq!(good[0], 1);
    let loaded = |bytes: &[u8]| {
        let mut registry = Registry::new(CLUSTER);
        let read = StoredGrant::decode(bytes).unwrap();
        let holds = read.verify().map(|_| ());
        found(&mut registry, read, 1).unwrap();
        (decided(&registry, &reading(&all[0])).map(|_| ()), holds)
    };
    assert_eq!(loaded(good), (Ok(()), Ok(())));
    // Every bit of the head but the version of the form.
    for place in 1..65 {
        let mut other = good.clone();
        other[place] ^= 1;
        assert_eq!(
            loaded(&other),
            (Err(Denied::Unknown), Err(StoredError::OtherHead)),
            "{place}"
        );
    }
    let mut forged = good.clone();
    let last = forged.len() - 1;
    let at = String::from_utf8_lossy(&forged[65..])
        .find("\"value\":\"0x")
        .unwrap()
        + 65
        + 11;
    forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
    assert!(last > at);
    assert!(matches!(
        loaded(&forged),
        (Err(Denied::Unknown), Err(StoredError::Statement(_)))
    ));
    // Rubbish beside a good version does not fork it.
    let mut beside = Registry::new(CLUSTER);
    for bytes in [&forged, good] {
        found(&mut beside, StoredGrant::decode(bytes).unwrap(), 1).unwrap();
    }
    assert!(decided(&beside, &reading(&all[0])).is_ok());
    found(&mut beside, StoredGrant::decode(&forged).unwrap(), 2).unwrap();
    assert!(decided(&beside, &reading(&all[0])).is_ok());
    // Nor does a head that names another vault show the grant there.
    let mut elsewhere = good.clone();
    elsewhere[17..33].fill(9);
    found(&mut beside, StoredGrant::decode(&elsewhere).unwrap(), 3).unwrap();
    assert!(listed(&beside, VaultId([9; 16]), None, 10).is_empty());
    assert_eq!(listed(&beside, vault(), None, 10).len(), 1);
    for bad in [&[][..], &[2; 60], &good[..65], &good[..64]] {
        assert!(StoredGrant::decode(bad).is_err());
    }
}

#[test]
fn grants_that_are_checked_ahead_are_worth_the_same() {
    let all = family();
    let mut registry = Registry::new(CLUSTER);
    for (grant, sequence) in all.iter().zip(1..) {
        found(&mut registry, StoredGrant::of(&own(grant)).unwrap(), sequence).unwrap();
    }
    let mut forged = StoredGrant::of(&own(&by_owner(&agent(4)))).unwrap().encode();
    forged[100] ^= 1;
    found(&mut registry, StoredGrant::decode(&forged).unwrap(), 4).unwrap();
    let mut seen = Vec::new();
    let mut after = None;
    while let Some(last) = registry.check_ahead(after, 1) {
        after = Some(last);
        seen.push(last);
        assert_eq!(registry.unchecked(), 4 - seen.len());
    }
    assert!(seen.is_sorted() && seen.len() == 4);
    assert_eq!(registry.check_ahead(None, 9), seen.last().copied());
    assert!(
        all.iter()
            .all(|grant| decided(&registry, &reading(grant)).is_ok())
    );
    assert_eq!(
        decided(&registry, &reading(&by_owner(&agent(4)))),
        Err(Denied::Unknown)
    );
}

#[test]
fn a_grant_of_very_many_versions_is_found_again_as_the_newest() {
    let [first, ..] = family();
    let mut registry = Registry::new(CLUSTER);
    for version in (1..100).rev() {
        let grant = next(&first, |grant| grant.version = version);
        let stored = StoredGrant::of(&own(&grant)).unwrap();
        found(&mut registry, stored, version).unwrap();
    }
    let granted = decided(&registry, &reading(&first)).unwrap();
    assert_eq!((granted.version(), registry.len()), (99, 1));
}

#[test]
fn all_versions_of_a_grant_have_one_place_in_the_ledger() {
    let [first, second, _] = family();
    let place = |grant: &Grant| grant_slot(StoredGrant::of(&own(grant)).unwrap().grant());
    assert_eq!(place(&first), place(&next(&first, |_| {})));
    assert_ne!(place(&first), place(&second));
    assert_ne!(place(&first), revocation_slot(first.grant_id));
    assert_eq!(hex::encode(place(&first)), "831927d3895154c40264eefb90693ead");
}

#[test]
fn a_list_shows_each_grant_of_the_vault_with_what_it_is_worth() {
    let all = family();
    let mut registry = registry(&all);
    registry.revoke(&revocation(&all[1], &agent(1)), 4).unwrap();
    let mallory = agent(9);
    let theirs = VaultId::derive(&key(&mallory), &SALT);
    let foreign = named(Grant {
        user_pub_key: key(&mallory),
        issuer_pub_key: key(&mallory),
        vault_id: theirs,
        metadata: Metadata::of(theirs, [CALENDAR]),
        ..by_owner(&agent(1))
    });
    put(&mut registry, &carried(&foreign, &mallory), 5).unwrap();
    let rows = listed(&registry, vault(), None, 10);
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let grant = all.iter().find(|grant| grant.grant_id == row.grant).unwrap();
        let revoked = *grant != all[0];
        assert_eq!(row.standing, if revoked { Err(Denied::Revoked) } else { Ok(()) });
        assert_eq!(row.rights, grant.rights());
        assert_eq!(
            (row.agent, row.issuer),
            (grant.agent_service_pub_key, grant.issuer_pub_key)
        );
    }
    let mut paged = Vec::new();
    let mut after = None;
    while let [row] = listed(&registry, vault(), after, 1).as_slice() {
        after = Some(row.grant);
        paged.push(row.clone());
    }
    assert_eq!(paged, rows);
    assert!(listed(&registry, VaultId([0; 16]), None, 10).is_empty());
}
