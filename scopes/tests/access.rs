//! Credentials and identities: no right that was not given, and every reason for a refusal.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use scopes::{
    Credential, CredentialName, CredentialStatus, Denied, Identity, Operation, OperationSet, Proof, ScopeSet,
    VaultId, Window,
};

const NAME: CredentialName = CredentialName([0xc4; 8]);

fn credential() -> Credential {
    Credential {
        scopes: ScopeSet::named(["photos", "calendar", "photos"]),
        operations: "read,list".parse().unwrap(),
        window: Window {
            not_before_ms: Some(1_000),
            expires_ms: Some(u64::MAX),
        },
        label: "phone \u{1f4f1} \"backup\"".into(),
        ..Credential::without_rights(VaultId([0x7c; 16]), 1_760_000_000_000)
    }
}

fn identity(credential: &Credential) -> Identity {
    Identity::verified(credential, NAME, Proof::signature_verified())
}

#[test]
fn a_credential_is_the_golden_bytes() {
    let bytes = credential().encode().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        include_str!("../golden/credential.json").trim_end()
    );
    assert_eq!(Credential::decode(&bytes).unwrap(), credential());
}

#[test]
fn nothing_is_allowed_by_default() {
    let nobody = identity(&Credential::without_rights(VaultId([1; 16]), 0));
    for operation in Operation::ALL {
        assert_eq!(
            nobody.allows(operation, "calendar", 5),
            Err(Denied::Operation { operation })
        );
    }
    let without_scopes = Credential {
        operations: OperationSet::all(),
        ..Credential::without_rights(VaultId([1; 16]), 0)
    };
    assert_eq!(
        identity(&without_scopes).allows(Operation::Read, "calendar", 5),
        Err(Denied::Scope)
    );
    let owner = Credential {
        owner: true,
        ..Credential::without_rights(VaultId([1; 16]), 0)
    };
    assert!(
        identity(&owner).allows(Operation::Read, "calendar", 5).is_err(),
        "the owner mark widens no right"
    );
}

#[test]
fn every_refusal_says_which_right_was_missing() {
    let who = identity(&credential());
    assert_eq!(who.allows(Operation::Read, "photos", 1_000), Ok(()));
    assert_eq!(
        who.allows(Operation::Read, "photos", 999),
        Err(Denied::NotYetValid { not_before_ms: 1_000 })
    );
    assert_eq!(
        who.allows(Operation::Read, "photos", u64::MAX),
        Err(Denied::Expired { expires_ms: u64::MAX })
    );
    let denied = Denied::Operation {
        operation: Operation::Delete,
    };
    assert_eq!(who.allows(Operation::Delete, "photos", 1_000), Err(denied));
    assert_eq!(who.allows(Operation::Read, "photo", 1_000), Err(Denied::Scope));
    let revoked = Credential {
        revoked: true,
        ..credential()
    };
    assert_eq!(
        identity(&revoked).allows(Operation::Read, "photos", u64::MAX),
        Err(Denied::Revoked)
    );
    assert_eq!(revoked.status_at(1_000), CredentialStatus::Revoked);
    assert_eq!(who.agent(), "credential:c4c4c4c4c4c4c4c4");
    let local = Identity::verified(&credential(), NAME, Proof::root_key_held());
    assert_eq!(local.agent(), "owner:c4c4c4c4c4c4c4c4");
}

#[test]
fn all_scopes_and_a_scope_called_all_are_different() {
    let everything = Credential {
        scopes: ScopeSet::All,
        ..credential()
    };
    let one = Credential {
        scopes: ScopeSet::named(["all"]),
        ..credential()
    };
    for written in [&everything, &one] {
        assert_eq!(Credential::decode(&written.encode().unwrap()).unwrap(), *written);
    }
    assert_eq!(
        identity(&everything).allows(Operation::Read, "anything", 1_000),
        Ok(())
    );
    assert_eq!(
        identity(&one).allows(Operation::Read, "anything", 1_000),
        Err(Denied::Scope)
    );
}

#[test]
fn another_spelling_of_a_credential_is_refused() {
    let text = String::from_utf8(credential().encode().unwrap()).unwrap();
    let spellings = [
        text.replace("\"read\",\"list\"", "\"list\",\"read\""),
        text.replace("\"read\",\"list\"", "\"read\",\"read\",\"list\""),
        text.replace("\"calendar\",\"photos\"", "\"photos\",\"calendar\""),
        text.replace("\"1000\"", "1000"),
        text.replace("\"1000\"", "\"01000\""),
        text.replace("\"owner\":false", "\"owner\":false,\"owner\":false"),
        text.replace("\"owner\":false", "\"owner\":false,\"power\":true"),
        text.replace("\"owner\":false,", ""),
        text.replace("\"read\"", "\"fly\""),
        text.replace("[\"calendar\",\"photos\"]", "\"some\""),
        format!("{text} "),
        format!(" {text}"),
    ];
    for other in spellings {
        assert_ne!(other, text);
        assert!(Credential::decode(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn operation_lists_are_read_strictly() {
    assert_eq!("all".parse::<OperationSet>().unwrap(), OperationSet::all());
    let set: OperationSet = "write,read,create-bucket".parse().unwrap();
    assert_eq!(set.to_string(), "read,write,create-bucket");
    assert!(!set.contains(Operation::DeleteBucket));
    for bad in ["", "read,", "Read", "read, write", "all,read", "admin"] {
        assert!(bad.parse::<OperationSet>().is_err(), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_identity_allows_exactly_what_its_credential_says(
        bits in proptest::collection::vec(any::<bool>(), 6),
        asked in 0..6_usize,
        names in proptest::collection::vec("[a-c]{1,2}", 0..4),
        name in "[a-c]{1,2}",
        start in proptest::option::of(0..10_u64),
        end in proptest::option::of(0..10_u64),
        now in 0..10_u64,
        revoked: bool,
    ) {
        let operations = Operation::ALL.into_iter().zip(&bits).filter(|(_, given)| **given).map(|(o, _)| o).collect();
        let credential = Credential {
            operations,
            scopes: ScopeSet::named(names.clone()),
            window: Window { not_before_ms: start, expires_ms: end },
            revoked,
            ..Credential::without_rights(VaultId([1; 16]), 0)
        };
        let expected = !revoked && start.is_none_or(|s| now >= s) && end.is_none_or(|e| now < e)
            && bits[asked] && names.contains(&name);
        prop_assert_eq!(identity(&credential).allows(Operation::ALL[asked], &name, now).is_ok(), expected);
        prop_assert_eq!(Credential::decode(&credential.encode().unwrap()).unwrap(), credential);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Credential::decode(&bytes);
        let _ = scopes::Unverified::<scopes::DeleteOrder>::decode(&bytes);
    }
}
