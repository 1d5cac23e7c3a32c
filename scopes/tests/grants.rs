//! Grants: one byte form, signed by whom they say, bound to vault, owner, agent and cluster; every rule of their members.

#![expect(clippy::unwrap_used, reason = "tests")]

mod making;

use making::*;
use proptest::prelude::*;
use scopes::grant::{
    self, Budget, Commitment, DEPTH_MAX, ListRefused, Parent, SCOPES_PER_GRANT_MAX, SEALED_BYTES_MAX, Wrapped,
};
use scopes::{
    Algorithm, ClusterId, Grant, Metadata, Moment, OperationSet, Salt, ScopeId, Signed, StatementError,
    Unverified, VaultId, Wallet,
};

/// The last version, as the protocol shows one that was revoked.
fn taken_back() -> Grant {
    Grant {
        version: 2,
        revoked: true,
        created_at: Moment::from_ms(NOON_MS),
        wrapped: None,
        ..full()
    }
}

fn full() -> Grant {
    Grant {
        budget: Budget {
            bytes: Some(u64::MAX),
            requests: Some(1_000),
        },
        prefix_commitment: Some(Commitment([0xab; 32])),
        wrapped: Some(Wrapped {
            format: 1,
            sealed: vec![0xde, 0xad],
        }),
        ..by_owner(&agent(1))
    }
}

#[test]
fn grants_are_the_golden_bytes() {
    let bytes = envelope(&full(), &owner());
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        include_str!("../golden/grant.json").trim_end()
    );
    let handed_on = envelope(&under(&full(), &agent(2)), &agent(1));
    assert_eq!(
        String::from_utf8_lossy(&handed_on),
        include_str!("../golden/grant-handed-on.json").trim_end()
    );
    let revoked = envelope(&taken_back(), &owner());
    assert_eq!(
        String::from_utf8_lossy(&revoked),
        include_str!("../golden/grant-revoked.json").trim_end()
    );
    assert_eq!(*grant::verify(&bytes).unwrap().statement(), full());
    assert_eq!(grant::verify(&bytes).unwrap().encode().unwrap(), bytes);
}

/// The members that the protocol shows are there under its names, with its nesting.
#[test]
fn a_grant_has_the_shape_that_the_protocol_shows() {
    let shown: serde_json::Value = serde_json::from_slice(&envelope(&full(), &owner())).unwrap();
    for member in [
        "agent_service_pub_key",
        "user_pub_key",
        "created_at",
        "expires_at",
        "revoked",
        "metadata",
        "signature",
    ] {
        assert!(shown.get(member).is_some(), "{member}");
    }
    assert_eq!(
        shown["metadata"]["scopes"][0]["context"]["vaultId"],
        vault().to_string()
    );
    assert_eq!(
        shown["metadata"]["scopes"][0]["context"]["scopeId"],
        CALENDAR.to_string()
    );
    assert_eq!(shown["created_at"], "2026-06-10T08:14:02Z");
    assert_eq!(shown["revoked"], false);
    assert_eq!(shown["signature"]["algorithm"], "ed25519");
    let (_, digits) = shown["user_pub_key"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(shown["signature"]["signer"], digits);
}

#[test]
fn wallets_of_every_algorithm_grant_and_are_granted() {
    for algorithm in Algorithm::ALL {
        let wallet = Wallet::of(algorithm, &[9; 32]).unwrap();
        let vault = VaultId::derive(&key(&wallet), &SALT);
        let grant = named(Grant {
            agent_service_pub_key: key(&wallet),
            user_pub_key: key(&wallet),
            issuer_pub_key: key(&wallet),
            vault_id: vault,
            metadata: Metadata::of(vault, [CALENDAR]),
            ..by_owner(&agent(1))
        });
        assert_eq!(*carried(&grant, &wallet).statement(), grant, "{algorithm:?}");
    }
}

/// Nobody reads a grant before its signature was checked, and whoever checks it is told nothing but that it does not hold.
#[test]
fn any_altered_inserted_or_deleted_byte_of_a_grant_is_refused() {
    let bytes = envelope(&full(), &owner());
    assert!(grant::verify(&bytes).is_ok());
    for place in 0..=bytes.len() {
        if place < bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut other = bytes.clone();
                other[place] ^= flip;
                assert!(grant::verify(&other).is_err(), "flip {flip:02x} at {place}");
            }
            let mut other = bytes.clone();
            other.remove(place);
            assert!(grant::verify(&other).is_err(), "delete at {place}");
        }
        for extra in *b" 0\n" {
            let mut other = bytes.clone();
            other.insert(place, extra);
            assert!(grant::verify(&other).is_err(), "insert {extra:02x} at {place}");
        }
    }
}

#[test]
fn forged_zero_and_foreign_signatures_of_grants_are_refused() {
    let bytes = String::from_utf8(envelope(&full(), &owner())).unwrap();
    let value = bytes.find("\"value\":\"0x").unwrap() + 11;
    let mut zeros = bytes.clone();
    zeros.replace_range(value..value + 128, &"0".repeat(128));
    assert!(matches!(
        grant::verify(zeros.as_bytes()),
        Err(StatementError::Signature(_))
    ));
    // Another's signature over the same content, in the other's name: it is not among those who may sign.
    let mallory = agent(66);
    assert_eq!(
        Signed::sign(full(), &mallory).map(|_| ()),
        Err(StatementError::Rule { member: "signature" })
    );
    // The other's signature in the owner's name.
    let theirs = envelope(
        &named(Grant {
            issuer_pub_key: key(&mallory),
            user_pub_key: key(&mallory),
            vault_id: VaultId::derive(&key(&mallory), &SALT),
            metadata: Metadata::of(VaultId::derive(&key(&mallory), &SALT), [CALENDAR]),
            ..full()
        }),
        &mallory,
    );
    let theirs = String::from_utf8(theirs).unwrap();
    let at = theirs.find("\"value\":\"0x").unwrap() + 11;
    let mut forged = bytes.clone();
    forged.replace_range(value..value + 128, theirs.get(at..at + 128).unwrap());
    assert!(matches!(
        grant::verify(forged.as_bytes()),
        Err(StatementError::Signature(_))
    ));
    // The algorithm that the message names is not the key's.
    let other = bytes.replace("\"algorithm\":\"ed25519\"", "\"algorithm\":\"sr25519\"");
    assert!(grant::verify(other.as_bytes()).is_err());
    let none = bytes.replace("\"algorithm\":\"ed25519\"", "\"algorithm\":\"none\"");
    assert!(matches!(
        grant::verify(none.as_bytes()),
        Err(StatementError::Key(_))
    ));
}

#[test]
fn a_grant_is_signed_by_its_issuer_and_nobody_else() {
    let (first, second) = (agent(1), agent(2));
    let parent = by_owner(&first);
    let child = under(&parent, &second);
    let foreign = Err(StatementError::Rule { member: "signature" });
    let revoked = changed(child.clone(), |grant| grant.revoked = true);
    for grant in [child, revoked] {
        assert!(Signed::sign(grant.clone(), &first).is_ok());
        for wallet in [owner(), agent(2), agent(3)] {
            assert_eq!(Signed::sign(grant.clone(), &wallet).map(|_| ()), foreign);
        }
    }
}

/// The id of a grant and the id of its vault hold what they name together: swapping any of it makes another grant.
#[test]
fn vault_owner_agent_issuer_cluster_and_parent_cannot_be_swapped() {
    let good = full();
    let other = VaultId([9; 16]);
    let member = |grant: Grant| Signed::sign(grant, &owner()).map(|_| ()).unwrap_err();
    let rule = |member| StatementError::Rule { member };
    let swapped = Grant {
        vault_id: other,
        metadata: Metadata::of(other, [CALENDAR]),
        ..good.clone()
    };
    assert_eq!(member(named(swapped)), rule("vault_id"));
    let salted = Grant {
        vault_salt: Salt([1; 16]),
        ..good.clone()
    };
    assert_eq!(member(named(salted)), rule("vault_id"));
    let agent_swapped = Grant {
        agent_service_pub_key: key(&agent(2)),
        ..good.clone()
    };
    let cluster_swapped = Grant {
        cluster_id: ClusterId([2; 16]),
        ..good.clone()
    };
    let nonce_swapped = Grant {
        grant_nonce: Salt([8; 16]),
        ..good.clone()
    };
    let issuer_swapped = Grant {
        issuer_pub_key: key(&agent(2)),
        ..good.clone()
    };
    let prolonged = Grant {
        ends_by: Moment::from_ms(END_MS + 7_200_000),
        ..good.clone()
    };
    for swapped in [
        prolonged,
        agent_swapped,
        cluster_swapped,
        nonce_swapped,
        issuer_swapped,
    ] {
        assert_eq!(member(swapped), rule("grant_id"));
    }
    let child = under(&good, &agent(2));
    let elsewhere = Grant {
        parent: child.parent.map(|parent| Parent {
            grant_id: child.grant_id,
            ..parent
        }),
        ..child
    };
    assert_eq!(
        Signed::sign(elsewhere, &agent(1)).map(|_| ()),
        Err(rule("grant_id"))
    );
    let mixed = Grant {
        metadata: Metadata {
            scopes: [
                Metadata::of(other, [CALENDAR]).scopes,
                Metadata::of(vault(), [CALENDAR]).scopes,
            ]
            .concat(),
        },
        ..good
    };
    assert_eq!(member(mixed), rule("metadata"));
}

fn sealed(format: u8, bytes: usize) -> Option<Wrapped> {
    let sealed = vec![1; bytes];
    Some(Wrapped { format, sealed })
}

fn scopes(number: usize) -> Metadata {
    Metadata::of(vault(), (0..number).map(|n| ScopeId((n as u128).to_be_bytes())))
}

#[test]
fn every_member_of_a_grant_has_its_rule() {
    let cases: [(&str, Change); 14] = [
        ("ends_by", |g| g.ends_by = Moment::from_ms(END_MS - 1_000)),
        ("metadata", |g| {
            g.metadata = Metadata::of(vault(), [ScopeId::vault_wide(vault())])
        }),
        ("version", |g| g.version = 0),
        ("expires_at", |g| g.expires_at = Moment::from_ms(BEGIN_MS)),
        ("expires_at", |g| g.not_before = Moment::from_ms(END_MS)),
        ("operations", |g| g.operations = OperationSet::NONE),
        ("depth_left", |g| g.depth_left = DEPTH_MAX + 1),
        ("metadata", |g| g.metadata = scopes(0)),
        ("metadata", |g| g.metadata = scopes(SCOPES_PER_GRANT_MAX + 1)),
        ("metadata", |g| g.metadata.scopes.reverse()),
        ("metadata", |g| g.metadata.scopes = g.metadata.scopes.repeat(2)),
        ("wrapped", |g| g.wrapped = sealed(0, 1)),
        ("wrapped", |g| g.wrapped = sealed(1, 0)),
        ("wrapped", |g| g.wrapped = sealed(1, SEALED_BYTES_MAX + 1)),
    ];
    for (member, change) in cases {
        assert_eq!(
            Signed::sign(named(changed(full(), change)), &owner()).map(|_| ()),
            Err(StatementError::Rule { member })
        );
    }
    let largest = changed(full(), |g| {
        g.metadata = scopes(SCOPES_PER_GRANT_MAX);
        g.wrapped = sealed(u8::MAX, SEALED_BYTES_MAX);
        g.depth_left = DEPTH_MAX;
    });
    assert_eq!(*carried(&largest, &owner()).statement(), largest);
}

#[test]
fn whoever_is_not_the_owner_names_what_it_was_given_and_the_owner_was_given_nothing() {
    let child = || under(&full(), &agent(2));
    let parent = child().parent;
    let adopted = named(changed(full(), |g| g.parent = parent));
    let orphan = named(changed(child(), |g| g.parent = None));
    let unversioned = changed(child(), |g| {
        g.parent = parent.map(|parent| Parent { version: 0, ..parent });
    });
    let deep = changed(child(), |g| g.depth_left = DEPTH_MAX);
    let rule = Err(StatementError::Rule { member: "parent" });
    assert_eq!(Signed::sign(adopted, &owner()).map(|_| ()), rule);
    for grant in [orphan, unversioned, deep] {
        assert_eq!(Signed::sign(grant, &agent(1)).map(|_| ()), rule);
    }
    assert!(Signed::sign(child(), &agent(1)).is_ok());
}

#[test]
fn another_spelling_of_a_grant_is_refused_also_if_it_is_signed() {
    let text = String::from_utf8(envelope(&full(), &owner())).unwrap();
    for (written, other) in [
        ("\"version\":\"1\"", "\"version\":1"),
        ("\"version\":\"1\"", "\"version\":\"01\""),
        ("\"depth_left\":2", "\"depth_left\":2.0"),
        ("\"read\",\"list\"", "\"list\",\"read\""),
        ("2026-06-10T08:14:02Z", "2026-06-10T08:14:02.000Z"),
        ("2026-06-10T08:14:02Z", "2026-06-10T08:14:02+00:00"),
        ("\"sealed\":\"dead\"", "\"sealed\":\"DEAD\""),
        ("\"revoked\":false", "\"revoked\":false,\"role\":\"admin\""),
        ("\"revoked\":false", "\"revoked\":false,\"revoked\":false"),
        ("\"parent\":null,", ""),
    ] {
        let spelt = text.replace(written, other);
        assert_ne!(spelt, text);
        assert!(grant::verify(spelt.as_bytes()).is_err(), "{other}");
        // The same with a signature that holds for these very bytes.
        let Ok(serde_json::Value::Object(mut members)) = serde_json::from_str(&spelt) else {
            panic!("{spelt}");
        };
        let mut signature = members.remove("signature").unwrap();
        let unsigned = serde_json::to_vec(&members).unwrap();
        let message = [b"cairn v1 grant\0".as_slice(), &unsigned].concat();
        signature["value"] = format!("0x{}", owner().sign(&message)).into();
        members.insert("signature".to_owned(), signature);
        let signed = serde_json::to_vec(&members).unwrap();
        if signed != text.as_bytes() {
            assert!(grant::verify(&signed).is_err(), "signed: {other}");
        }
    }
    assert!(Unverified::<Grant>::decode(b"{}").is_err());
    assert!(Unverified::<Grant>::decode(b"[]").is_err());
}

#[test]
fn a_grant_that_is_too_long_is_refused_unread() {
    let long = vec![b' '; grant::GRANT_BYTES_MAX + 1];
    assert_eq!(
        grant::verify(&long).map(|_| ()),
        Err(StatementError::TooLong {
            bytes: long.len(),
            bytes_max: grant::GRANT_BYTES_MAX
        })
    );
}

#[test]
fn a_list_of_grants_with_one_bad_signature_is_refused_whole() {
    let mut list: Vec<Vec<u8>> = (1..=5)
        .map(|n| envelope(&by_owner(&agent(n)), &owner()))
        .collect();
    assert_eq!(grant::verify_all(&list, 5).unwrap().len(), 5);
    let last = list[3].len() - 10;
    list[3] = String::from_utf8(list[3].clone())
        .unwrap()
        .replace("\"depth_left\":2", "\"depth_left\":3")
        .into_bytes();
    assert!(last > 0);
    let refused = grant::verify_all(&list, 5).map(|_| ()).unwrap_err();
    assert!(matches!(
        refused,
        ListRefused::Grant {
            index: 3,
            error: StatementError::Signature(_)
        }
    ));
    let refused = grant::verify_all(&list, 4).map(|_| ()).unwrap_err();
    let (grants, grants_max) = (5, 4);
    assert_eq!(refused, ListRefused::TooLong { grants, grants_max });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = grant::verify(&bytes);
        let _ = scopes::registry::StoredGrant::decode(&bytes).map(|stored| stored.verify());
    }
}
