//! The table against every state of a credential, and the page of the docs that is made of it.

use std::fmt::Write as _;
use std::path::Path;

use scopes::{Credential, CredentialName, OperationSet, Proof, ScopeSet, VaultId};

use super::decision::{OF_OWNER, configures, permission_of};
use super::*;

const NOW_MS: u64 = 500;

fn identity(operations: &str, scopes: &[&str], change: impl FnOnce(&mut Credential)) -> Identity {
    let mut credential = Credential::without_rights(VaultId([7; 16]), 0);
    credential.operations = match operations {
        "" => OperationSet::NONE,
        some => some.parse().unwrap(),
    };
    credential.scopes = ScopeSet::named(scopes.iter().copied());
    credential.window.expires_ms = Some(1000);
    change(&mut credential);
    Identity::verified(&credential, CredentialName([0; 8]), Proof::signature_verified())
}

#[test]
fn a_right_counts_in_its_bucket_only_and_while_the_credential_is_in_force() {
    let reader = identity("read", &["photos"], |_| {});
    let read = Needs::Right(Operation::Read);
    assert!(credential_allows(&reader, read, Some("photos"), 0).is_ok());
    assert!(credential_allows(&reader, read, Some("mails"), 0).is_err());
    assert!(credential_allows(&reader, read, None, 0).is_err());
    assert!(credential_allows(&reader, read, Some("photos"), 1000).is_err());
    assert!(credential_allows(&reader, Needs::AnyRight, Some("mails"), 0).is_err());
    assert!(credential_allows(&reader, Needs::InForce, None, 1000).is_err());
}

#[test]
fn every_operation_is_decided_for_every_state_of_a_credential() {
    let states = [
        ("owner", identity("all", &["photos"], |_| {})),
        ("read-only", identity("read", &["photos"], |_| {})),
        ("without rights", identity("", &[], |_| {})),
        ("other scope", identity("all", &["mails"], |_| {})),
        (
            "expired",
            identity("all", &["photos"], |c| c.window.expires_ms = Some(NOW_MS)),
        ),
        (
            "not yet valid",
            identity("all", &["photos"], |c| c.window.not_before_ms = Some(NOW_MS + 1)),
        ),
        ("revoked", identity("all", &["photos"], |c| c.revoked = true)),
        ("anonymous", Identity::anonymous(VaultId([7; 16]))),
    ];
    for (name, needs, _) in TABLE {
        for (state, identity) in &states {
            let allowed = credential_allows(identity, *needs, Some("photos"), NOW_MS).is_ok();
            let expected = match *state {
                "owner" => true,
                "read-only" => matches!(
                    needs,
                    Needs::AnyRight | Needs::InForce | Needs::Right(Operation::Read)
                ),
                // Their list of buckets is empty.
                "without rights" | "other scope" | "anonymous" => *needs == Needs::InForce,
                _ => false,
            };
            assert_eq!(allowed, expected, "{name}, {state}");
        }
    }
}

#[test]
fn the_table_is_in_order_and_names_each_operation_once() {
    assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
}

/// What others need to be granted by an access control list.
fn list_of(needs: Needs, operation: &str) -> String {
    if OF_OWNER.contains(&operation) || configures(needs, operation) {
        return "never".to_owned();
    }
    permission_of(operation).map_or("-".to_owned(), |(of_object, permission)| {
        let of = if of_object { "object" } else { "bucket" };
        format!("{of}: {}", permission.name())
    })
}

fn page() -> String {
    let mut page = String::from(
        "# Operations and rights\n\nMade by the test `the_page_of_the_docs_is_the_table` with `CAIRN_WRITE_DOCS=1`; do not edit. A credential needs the right in\n\
         its own key, always. In its own vault that is enough unless the bucket's policy denies the action; elsewhere, and without any\n\
         credential, a policy must allow the action or an access control list must grant the permission. `docs/sharing.md` says how.\n\n\
         | operation | a credential needs | action in policies | permission in lists |\n|---|---|---|---|\n",
    );
    for (name, needs, action) in TABLE {
        let list = list_of(*needs, name);
        let needs = match needs {
            Needs::Right(operation) => operation.to_string(),
            Needs::AnyRight => "any right".to_owned(),
            Needs::InForce => "to be in force".to_owned(),
        };
        let _ = writeln!(page, "| {name} | {needs} | {action} | {list} |");
    }
    page
}

#[test]
fn the_page_of_the_docs_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    if std::env::var_os("CAIRN_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        stored,
        page(),
        "run this test with CAIRN_WRITE_DOCS=1 and look at what changed"
    );
}
