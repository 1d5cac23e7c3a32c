//! What a decision binds: one grant, operation and scope, and the prefixes of the whole chain.

use super::*;

const NAME: CredentialName = CredentialName([4; 8]);

/// A credential with every right by name, made under a grant or not.
fn credential(grant: Option<GrantId>) -> Credential {
    Credential {
        scopes: ScopeSet::All,
        operations: operations("all"),
        grant,
        ..Credential::without_rights(vault(), 0)
    }
}

fn identity(grant: Option<GrantId>) -> Identity {
    Identity::verified(&credential(grant), NAME, Proof::signature_verified())
}

fn opened(registry: &Registry, asked: &Asked<'_>) -> Opened {
    decided(registry, asked).unwrap().open(&[]).unwrap()
}

fn writing(grant: &Grant) -> Asked<'static> {
    Asked {
        operation: Operation::Write,
        scope: PHOTOS,
        ..reading(grant)
    }
}

fn reader_and_writer() -> Grant {
    named(Grant {
        operations: operations("read,write"),
        ..by_owner(&agent(1))
    })
}

#[test]
fn a_credential_of_a_grant_allows_nothing_without_a_decision_about_that_very_thing() {
    let first = reader_and_writer();
    let registry = registry(std::slice::from_ref(&first));
    let bare = identity(Some(first.grant_id));
    for operation in Operation::ALL {
        assert_eq!(
            bare.allows(operation, "calendar", NOON_MS),
            Err(Denied::Undecided)
        );
    }
    let who = bare
        .under(opened(&registry, &reading(&first)), "calendar")
        .unwrap();
    assert_eq!(who.agent(), key(&agent(1)).to_string());
    for operation in Operation::ALL {
        for name in ["calendar", "photos"] {
            let expected = match (operation, name) {
                (Operation::Read, "calendar") => Ok(()),
                _ => Err(Denied::Undecided),
            };
            assert_eq!(
                who.allows(operation, name, NOON_MS),
                expected,
                "{operation} {name}"
            );
        }
    }
    // As long as the decision counts.
    let until_ms = who.granted().unwrap().until_ms();
    assert_eq!(who.allows(Operation::Read, "calendar", until_ms - 1), Ok(()));
    assert_eq!(
        who.allows(Operation::Read, "calendar", until_ms),
        Err(Denied::Undecided)
    );
    assert_eq!(who.allows(Operation::Read, "calendar", 0), Err(Denied::Undecided));
    // The credential stays as narrow as it is.
    let narrow = Credential::without_rights(vault(), 0);
    let narrow = Credential {
        grant: Some(first.grant_id),
        ..narrow
    };
    let narrow = Identity::verified(&narrow, NAME, Proof::signature_verified());
    let narrow = narrow
        .under(opened(&registry, &reading(&first)), "calendar")
        .unwrap();
    assert!(narrow.allows(Operation::Read, "calendar", NOON_MS).is_err());
    // The owner's own needs none.
    assert_eq!(
        identity(None).allows(Operation::Read, "calendar", NOON_MS),
        Ok(())
    );
}

#[test]
fn a_decision_binds_to_no_other_grant_and_no_other_vault() {
    let first = reader_and_writer();
    let other = nth_of(&first);
    let registry = registry(&[first.clone(), other.clone()]);
    let grant = other.grant_id;
    let decision = || opened(&registry, &reading(&other));
    for of in [Some(first.grant_id), None] {
        let refused = identity(of).under(decision(), "calendar").map(|_| ());
        assert_eq!(refused, Err(Denied::OtherGrant { grant }));
    }
    let elsewhere = Credential {
        vault: VaultId([1; 16]),
        ..credential(Some(grant))
    };
    let elsewhere = Identity::verified(&elsewhere, NAME, Proof::signature_verified());
    assert_eq!(
        elsewhere.under(decision(), "calendar").map(|_| ()),
        Err(Denied::Scope)
    );
}

fn nth_of(grant: &Grant) -> Grant {
    named(Grant {
        grant_nonce: Salt([8; 16]),
        ..grant.clone()
    })
}

#[test]
fn a_copy_needs_the_decision_to_read_and_the_decision_to_write() {
    let first = reader_and_writer();
    let registry = registry(std::slice::from_ref(&first));
    let read = || opened(&registry, &reading(&first));
    let write = || opened(&registry, &writing(&first));
    let may_copy = |who: &Identity| {
        let source = who.allows(Operation::Read, "calendar", NOON_MS);
        source.and_then(|()| who.allows(Operation::Write, "photos", NOON_MS))
    };
    let bare = || identity(Some(first.grant_id));
    let one = bare().under(read(), "calendar").unwrap();
    assert_eq!(may_copy(&one), Err(Denied::Undecided));
    let other = bare().under(write(), "photos").unwrap();
    assert_eq!(may_copy(&other), Err(Denied::Undecided));
    let both = one.under(write(), "photos").unwrap();
    assert_eq!(may_copy(&both), Ok(()));
    // The same again takes the old one's place; a third has none.
    let both = both.under(read(), "calendar").unwrap();
    assert_eq!(may_copy(&both), Ok(()));
    let third = Asked {
        scope: PHOTOS,
        ..reading(&first)
    };
    let third = both.under(opened(&registry, &third), "photos").map(|_| ());
    assert_eq!(third, Err(Denied::Undecided));
}

#[test]
fn an_agent_that_signs_itself_may_what_was_decided() {
    let first = reader_and_writer();
    let registry = registry(std::slice::from_ref(&first));
    let read = opened(&registry, &reading(&first));
    let who = Identity::of_agent(read, "calendar", Proof::agent_key_verified());
    assert_eq!(who.agent(), key(&agent(1)).to_string());
    assert_eq!(who.allows(Operation::Read, "calendar", NOON_MS), Ok(()));
    assert_eq!(
        who.allows(Operation::Write, "calendar", NOON_MS),
        Err(Denied::Undecided)
    );
    assert_eq!(
        who.allows(Operation::Read, "photos", NOON_MS),
        Err(Denied::Undecided)
    );
    let bare = Credential::without_rights(vault(), 0);
    let bare = Identity::verified(&bare, NAME, Proof::agent_key_verified());
    assert!(bare.allows(Operation::Read, "calendar", NOON_MS).is_err());
}

fn prefix(text: &str) -> Prefix {
    Prefix::new(text, [text.len() as u8; 32]).unwrap()
}

/// Limited to a prefix; its id does not change by that.
fn limited(grant: Grant, to: &Prefix) -> Grant {
    Grant {
        prefix_commitment: Some(to.commitment(&grant.grant_id)),
        ..grant
    }
}

#[test]
fn a_prefix_that_nobody_opens_is_no_permission() {
    let [first, second, third] = family();
    let (outer, inner) = (prefix("a/"), prefix("a/b/"));
    let first = limited(first, &outer);
    let second = limited(second, &inner);
    let third = limited(third, &inner);
    let registry = registry(&[first, second.clone(), third]);
    let granted = decided(&registry, &reading(&second)).unwrap();
    assert_eq!(granted.commitments().count(), 2);
    let wrong = Prefix::new("a/", [9; 32]).unwrap();
    for shown in [
        &[][..],
        std::slice::from_ref(&outer),
        std::slice::from_ref(&inner),
        &[wrong, inner.clone()],
    ] {
        assert_eq!(granted.open(shown).map(|_| ()), Err(Denied::Prefix));
    }
    let opened = granted.open(&[outer, inner]).unwrap();
    assert_eq!(opened.prefix(), "a/b/");
    let who = identity(Some(second.grant_id)).under(opened, "calendar").unwrap();
    let allows = |key| who.allows_under(Operation::Read, "calendar", key, NOON_MS);
    assert_eq!((allows("a/b/"), allows("a/b/c")), (Ok(()), Ok(())));
    for key in ["", "a/", "a/b", "A/b/c", "b/a/b/"] {
        assert_eq!(allows(key), Err(Denied::Prefix), "{key}");
    }
    assert_eq!(
        who.allows(Operation::Read, "calendar", NOON_MS),
        Err(Denied::Prefix)
    );
}

#[test]
fn a_prefix_begins_with_its_parents_and_the_longest_counts() {
    for (parent, child, fits) in [
        (Some("a/"), "a/b", true),
        (Some("a/"), "a/", true),
        (None, "a/", true),
        (Some("a/"), "a", false),
        (Some("a/"), "b/a/", false),
        (Some("a/"), "A/b", false),
    ] {
        let [first, second, _] = family();
        let outer = parent.map(prefix);
        let first = outer.iter().fold(first, limited);
        let inner = prefix(child);
        let second = limited(second, &inner);
        let registry = registry(&[first, second.clone()]);
        let granted = decided(&registry, &reading(&second)).unwrap();
        let shown: Vec<_> = outer.into_iter().chain([inner]).collect();
        let expected = match fits {
            true => Ok(child.to_owned()),
            false => Err(Denied::Wider { limit: Limit::Prefix }),
        };
        assert_eq!(
            granted.open(&shown).map(|opened| opened.prefix().to_owned()),
            expected
        );
    }
}

#[test]
fn a_commitment_is_of_one_grant_one_nonce_and_one_prefix() {
    let [first, second, _] = family();
    let prefix = prefix("a/b");
    let commitment = prefix.commitment(&first.grant_id);
    assert!(prefix.opens(&first.grant_id, &commitment));
    assert!(!prefix.opens(&second.grant_id, &commitment));
    for other in [
        Prefix::new("a/b", [4; 32]),
        Prefix::new("a/c", [3; 32]),
        Prefix::new("a/", [3; 32]),
    ] {
        assert!(!other.unwrap().opens(&first.grant_id, &commitment));
    }
    assert_eq!(commitment.to_string().parse(), Ok(commitment));
    assert!(Prefix::new("", [0; 32]).is_none() && Prefix::new(&"x".repeat(1_025), [0; 32]).is_none());
    assert!(Prefix::new(&"x".repeat(1_024), [0; 32]).is_some());
    assert_eq!(format!("{prefix:?}"), "Prefix { .. }");
}
