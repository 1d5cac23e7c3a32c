//! Revocations: statements of their own that nothing takes the place of and nothing follows, and what is heard of them beside the ledger.

use super::*;

#[test]
fn a_revocation_ends_the_grant_and_everything_under_it_for_good() {
    for revoked in 0..3 {
        let all = family();
        let by = [signer(&all[revoked]), owner()];
        for by in by {
            let mut registry = registry(&all);
            let revocation = revocation(&all[revoked], &by);
            assert_eq!(registry.revoke(&revocation, 9), Ok(Inserted::New));
            assert_eq!(registry.applied(), 9);
            for (place, grant) in all.iter().enumerate() {
                let decision = decided(&registry, &reading(grant)).map(|_| ());
                let expected = if place < revoked {
                    Ok(())
                } else {
                    Err(Denied::Revoked)
                };
                assert_eq!(decision, expected, "{revoked} revoked, {place} asked");
            }
            // Nothing follows it, however high, and nothing that was there comes back.
            for version in [2, 50, u64::MAX] {
                let back = next(&all[revoked], |grant| grant.version = version);
                assert_eq!(put(&mut registry, &own(&back), 10), Err(Refused::Revoked));
            }
            for grant in &all {
                let _ = put(&mut registry, &own(grant), 11);
            }
            assert_eq!(registry.revoke(&revocation, 12), Ok(Inserted::Known));
            assert_eq!(decided(&registry, &reading(&all[revoked])), Err(Denied::Revoked));
        }
    }
}

#[test]
fn only_the_owner_and_the_issuer_take_a_grant_back() {
    let [first, second, third] = family();
    let mut registry = registry(&[first.clone(), second.clone()]);
    let grant = second.grant_id;
    let refused = Err(Refused::NotTheirs { grant });
    for wallet in [agent(2), agent(3), agent(9)] {
        assert_eq!(registry.revoke(&revocation(&second, &wallet), 3), refused);
    }
    // An owner of another vault, who names that.
    let mallory = agent(9);
    let theirs = Revocation {
        vault_id: VaultId::derive(&key(&mallory), &SALT),
        vault_salt: Some(SALT),
        ..Revocation::of(&second, &key(&mallory), NOON_MS)
    };
    let theirs = Signed::sign(theirs, &mallory).unwrap();
    assert_eq!(registry.revoke(&theirs, 3), refused);
    let elsewhere = Revocation {
        vault_id: VaultId([9; 16]),
        ..Revocation::of(&second, &key(&agent(1)), NOON_MS)
    };
    assert_eq!(
        registry.revoke(&Signed::sign(elsewhere, &agent(1)).unwrap(), 3),
        refused
    );
    let cluster = ClusterId([8; 16]);
    let other = Revocation {
        cluster_id: cluster,
        ..Revocation::of(&second, &key(&owner()), NOON_MS)
    };
    let other = Signed::sign(other, &owner()).unwrap();
    assert_eq!(registry.revoke(&other, 3), Err(Refused::OtherCluster { cluster }));
    let grant = third.grant_id;
    let unknown = Err(Refused::UnknownGrant { grant });
    assert_eq!(registry.revoke(&revocation(&third, &owner()), 3), unknown);
    assert!(decided(&registry, &reading(&second)).is_ok());
    assert_eq!(
        registry.revoke(&revocation(&second, &agent(1)), 3),
        Ok(Inserted::New)
    );
}

#[test]
fn whoever_names_a_salt_is_the_owner() {
    let [first, second, _] = family();
    let by_owner = Revocation::of(&second, &key(&owner()), NOON_MS);
    assert!(by_owner.is_by_owner());
    let by_issuer = Revocation::of(&second, &key(&agent(1)), NOON_MS);
    assert!(!by_issuer.is_by_owner() && by_issuer.vault_salt.is_none());
    let false_owner = Revocation {
        vault_salt: Some(SALT),
        ..by_issuer
    };
    let rule = |member| Err(StatementError::Rule { member });
    assert_eq!(
        Signed::sign(false_owner, &agent(1)).map(|_| ()),
        rule("vault_salt")
    );
    // Signed by another than it names.
    let named = Revocation::of(&first, &key(&owner()), NOON_MS);
    assert_eq!(Signed::sign(named, &agent(1)).map(|_| ()), rule("signature"));
}

#[test]
fn a_revocation_is_the_golden_bytes_and_any_changed_byte_is_refused() {
    let [first, ..] = family();
    let bytes = revocation(&first, &owner()).encode().unwrap();
    let golden = include_str!("../../golden/revocation.json").trim_end();
    assert_eq!(String::from_utf8_lossy(&bytes), golden);
    for place in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut other = bytes.clone();
            other[place] ^= flip;
            assert!(revocation::verify(&other).is_err(), "flip {flip:02x} at {place}");
        }
        let mut other = bytes.clone();
        other.remove(place);
        assert!(revocation::verify(&other).is_err(), "delete at {place}");
    }
    let stored = StoredRevocation::of(&revocation(&first, &owner()))
        .unwrap()
        .encode();
    assert!(StoredRevocation::decode(&stored).unwrap().verify().is_ok());
    for place in 1..33 {
        let mut other = stored.clone();
        other[place] ^= 1;
        let read = StoredRevocation::decode(&other).unwrap();
        assert_eq!(read.verify().map(|_| ()), Err(StoredError::OtherHead), "{place}");
    }
    for bad in [&[][..], &stored[..33], &[2; 60], &[1; 2_000]] {
        assert!(StoredRevocation::decode(bad).is_err());
    }
}

#[test]
fn what_is_heard_by_gossip_takes_away_at_once_and_is_forgotten_when_the_ledger_has_it() {
    let [first, second, third] = family();
    let mut registry = registry(&[first.clone(), second.clone(), third.clone()]);
    let told = revocation(&second, &owner());
    let before = decided(&registry, &reading(&second)).unwrap();
    let above = decided(&registry, &reading(&first)).unwrap();
    let mut hearsay = Hearsay::new();
    assert!(before.is_still_good(&registry, &hearsay, at(NOON_MS), 0));
    assert_eq!(hearsay.hear(&registry, &told), Ok(true));
    assert_eq!(hearsay.hear(&registry, &told), Ok(false));
    assert!(!before.is_still_good(&registry, &hearsay, at(NOON_MS), 0));
    assert!(!above.is_still_good(&registry, &hearsay, at(NOON_MS), 0));
    for (grant, answer) in [
        (&first, Ok(())),
        (&second, Err(Denied::Revoked)),
        (&third, Err(Denied::Revoked)),
    ] {
        let asked = Asked {
            hearsay: &hearsay,
            ..reading(grant)
        };
        let decision = decided(&registry, &asked);
        assert_eq!(decision.map(|_| ()), answer);
        assert!(
            decision.is_err()
                || decision
                    .unwrap()
                    .is_still_good(&registry, &hearsay, at(NOON_MS), 0)
        );
    }
    // Nothing of it is in what is replicated.
    assert!(decided(&registry, &reading(&third)).is_ok());
    hearsay.settle(&registry);
    assert_eq!(hearsay.len(), 1);
    registry.revoke(&told, 4).unwrap();
    hearsay.settle(&registry);
    assert!(hearsay.is_empty());
    assert_eq!(hearsay.hear(&registry, &told), Ok(false));
    assert_eq!(decided(&registry, &reading(&third)), Err(Denied::Revoked));
    assert!(!before.is_still_good(&registry, &hearsay, at(NOON_MS), 0));
}

#[test]
fn only_what_its_signer_may_take_back_is_heard_and_only_of_grants_that_are_there() {
    let [first, second, third] = family();
    let registry = registry(&[first, second.clone()]);
    let mut hearsay = Hearsay::new();
    let grant = second.grant_id;
    let stranger = revocation(&second, &agent(9));
    assert_eq!(
        hearsay.hear(&registry, &stranger),
        Err(Refused::NotTheirs { grant })
    );
    let grant = third.grant_id;
    let unknown = revocation(&third, &owner());
    assert_eq!(
        hearsay.hear(&registry, &unknown),
        Err(Refused::UnknownGrant { grant })
    );
    assert!(hearsay.is_empty());
    assert_eq!(hearsay.hear(&registry, &revocation(&second, &agent(1))), Ok(true));
    // Gone with the registry that knew the grant.
    hearsay.settle(&Registry::new(CLUSTER));
    assert!(hearsay.is_empty());
}
