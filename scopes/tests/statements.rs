//! Statements: canonical form, domains, signers, delete orders.

#![expect(clippy::unwrap_used, reason = "tests")]

use scopes::canonical::{self, CanonicalError};
use scopes::{
    CollectorDelegation, DeleteOrder, OrderRefused, PACKS_PER_ORDER_MAX, Salt, Signed, Statement,
    StatementError, StrayCopy, Unverified, VaultId, Wallet, Window, check_delete_order,
};
use serde::{Deserialize, Serialize};

const VAULT: VaultId = VaultId([0x7c; 16]);

fn owner() -> Wallet {
    Wallet::from_seed(&[1; 32])
}

fn collector() -> Wallet {
    Wallet::from_seed(&[2; 32])
}

fn delegation() -> CollectorDelegation {
    CollectorDelegation {
        vault: VAULT,
        salt: Salt([0x5a; 16]),
        collector: collector().public_key(),
        window: Window {
            not_before_ms: Some(1_000),
            expires_ms: Some(2_000),
        },
        number: 1,
    }
}

fn order() -> DeleteOrder {
    DeleteOrder::new(
        VAULT,
        collector().public_key(),
        vec![[0xbb; 32], [0xaa; 32]],
        u64::MAX,
    )
}

fn stray(pack: u8, index: u8, drive: u8) -> StrayCopy {
    StrayCopy {
        pack: [pack; 32],
        index,
        drive: [drive; 16],
        at: 1 << 60 | u64::from(index),
    }
}

fn strays() -> DeleteOrder {
    let named = [stray(0xcc, 3, 0xdd), stray(0xcc, 0, 0xee)];
    DeleteOrder::new(VAULT, collector().public_key(), vec![], 7).with_strays(&named)
}

fn envelope<T: Statement>(statement: T, wallet: &Wallet) -> Vec<u8> {
    Signed::sign(statement, wallet).unwrap().encode().unwrap()
}

#[test]
fn envelopes_are_the_golden_bytes() {
    let delegation = envelope(delegation(), &owner());
    assert_eq!(
        String::from_utf8_lossy(&delegation),
        include_str!("../golden/collector-delegation.json").trim_end()
    );
    let order = envelope(order(), &collector());
    assert_eq!(
        String::from_utf8_lossy(&order),
        include_str!("../golden/delete-order.json").trim_end()
    );
    let strays = envelope(strays(), &collector());
    assert_eq!(
        String::from_utf8_lossy(&strays),
        include_str!("../golden/delete-order-strays.json").trim_end()
    );
}

#[test]
fn a_statement_comes_back_from_its_envelope() {
    let bytes = envelope(order(), &collector());
    let unverified = Unverified::<DeleteOrder>::decode(&bytes).unwrap();
    assert_eq!(*unverified.claimed_signer(), collector().public_key());
    let signed = unverified.verify(&collector().public_key()).unwrap();
    assert_eq!(*signed.statement(), order());
    assert_eq!(
        signed.statement().pack_ids().collect::<Vec<_>>(),
        [[0xaa; 32], [0xbb; 32]]
    );
    assert_eq!(signed.encode().unwrap(), bytes);
}

#[test]
fn any_altered_inserted_or_deleted_byte_of_an_envelope_is_refused() {
    let bytes = envelope(order(), &collector());
    let holds = |bytes: &[u8]| {
        Unverified::<DeleteOrder>::decode(bytes)
            .and_then(|u| u.verify(&collector().public_key()))
            .is_ok()
    };
    assert!(holds(&bytes));
    for place in 0..=bytes.len() {
        if place < bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut other = bytes.clone();
                other[place] ^= flip;
                assert!(!holds(&other), "flip {flip:02x} at {place}");
            }
            let mut other = bytes.clone();
            other.remove(place);
            assert!(!holds(&other), "delete at {place}");
        }
        for extra in *b" 0\n" {
            let mut other = bytes.clone();
            other.insert(place, extra);
            assert!(!holds(&other), "insert {extra:02x} at {place}");
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lookalike {
    vault: VaultId,
    collector: scopes::PublicKey,
    packs: Vec<String>,
    #[serde(with = "canonical::decimal")]
    number: u64,
}

impl Statement for Lookalike {
    const DOMAIN: &'static str = "cairn v1 lookalike";
}

#[test]
fn a_signature_over_one_kind_of_statement_is_none_over_another() {
    let DeleteOrder {
        vault,
        collector: key,
        packs,
        number,
        ..
    } = order();
    let other = envelope(
        Lookalike {
            vault,
            collector: key,
            packs,
            number,
        },
        &collector(),
    );
    let refused = Unverified::<DeleteOrder>::decode(&other).map(|_| ());
    assert_eq!(
        refused,
        Err(StatementError::Domain {
            expected: "cairn v1 delete order"
        })
    );
    // And with the domain's name exchanged the signature no longer holds.
    let renamed = String::from_utf8(other)
        .unwrap()
        .replace("lookalike", "delete order");
    let refused = Unverified::<DeleteOrder>::decode(renamed.as_bytes())
        .unwrap()
        .verify(&key)
        .map(|_| ());
    assert!(
        matches!(refused, Err(StatementError::Signature(_))),
        "{refused:?}"
    );
}

#[test]
fn another_signer_than_the_trusted_one_is_refused() {
    let bytes = envelope(order(), &owner());
    let refused = Unverified::<DeleteOrder>::decode(&bytes)
        .unwrap()
        .verify(&collector().public_key())
        .map(|_| ());
    assert_eq!(
        refused,
        Err(StatementError::OtherSigner {
            signer: owner().public_key()
        })
    );
}

#[test]
fn unknown_members_and_other_algorithms_are_refused() {
    let text = String::from_utf8(envelope(order(), &collector())).unwrap();
    let other = text.replace("\"algorithm\":\"ed25519\"", "\"algorithm\":\"sr25519\"");
    assert!(matches!(
        Unverified::<DeleteOrder>::decode(other.as_bytes()),
        Err(StatementError::Key(_))
    ));
    let other = text.replace("{\"domain\"", "{\"a\":1,\"domain\"");
    assert!(matches!(
        Unverified::<DeleteOrder>::decode(other.as_bytes()),
        Err(StatementError::Canonical(_))
    ));
    // Members in another order are valid JSON, and still refused.
    let (head, statement) = text.split_once(",\"statement\":").unwrap();
    let statement = statement.strip_suffix('}').unwrap();
    let other = format!(
        "{{\"statement\":{statement},{}}}",
        head.strip_prefix('{').unwrap()
    );
    let refused = Unverified::<DeleteOrder>::decode(other.as_bytes()).map(|_| ());
    assert_eq!(
        refused,
        Err(StatementError::Canonical(CanonicalError::NotCanonical))
    );
}

#[test]
fn only_exact_numbers_are_canonical() {
    for text in [
        "1.5",
        "1.0",
        "-0",
        "1e3",
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551615",
    ] {
        assert!(
            canonical::decode::<serde_json::Value>(text.as_bytes()).is_err(),
            "{text}"
        );
    }
    for text in ["0", "-1", "9007199254740991", "-9007199254740991"] {
        assert!(
            canonical::decode::<serde_json::Value>(text.as_bytes()).is_ok(),
            "{text}"
        );
    }
    assert_eq!(canonical::decimal_exact("18446744073709551615"), Some(u64::MAX));
    for text in ["", "01", "+1", " 1", "18446744073709551616", "1_0"] {
        assert_eq!(canonical::decimal_exact(text), None, "{text}");
    }
}

/// RFC 8785 section 3.2.3: members are sorted by UTF-16 code units, where U+1F600 comes before U+FB33.
#[test]
fn members_are_sorted_as_rfc_8785_says() {
    let canonical =
        "{\"\\r\":1,\"1\":2,\"\u{80}\":3,\"\u{f6}\":4,\"\u{20ac}\":5,\"\u{1f600}\":6,\"\u{fb33}\":7}";
    assert!(canonical::decode::<serde_json::Value>(canonical.as_bytes()).is_ok());
    let bytewise = "{\"\u{fb33}\":7,\"\u{1f600}\":6}";
    assert_eq!(
        canonical::decode::<serde_json::Value>(bytewise.as_bytes()),
        Err(CanonicalError::NotCanonical)
    );
}

#[test]
fn a_delete_order_stands_only_on_a_delegation_in_force() {
    let delegated = Signed::sign(delegation(), &owner()).unwrap();
    let bytes = envelope(order(), &collector());
    let asked = Unverified::decode(&bytes).unwrap();
    assert!(check_delete_order(&delegated, &asked, 1_000).is_ok());
    assert!(check_delete_order(&delegated, &asked, 1_999).is_ok());
    for now_ms in [999, 2_000] {
        let refused = check_delete_order(&delegated, &asked, now_ms).map(|_| ());
        assert_eq!(refused, Err(OrderRefused::OutsideWindow { now_ms }));
    }
    let elsewhere = DeleteOrder {
        vault: VaultId([1; 16]),
        ..order()
    };
    let asked = Unverified::decode(&envelope(elsewhere, &collector())).unwrap();
    assert_eq!(
        check_delete_order(&delegated, &asked, 1_000).map(|_| ()),
        Err(OrderRefused::NotDelegated)
    );
    let asked = Unverified::decode(&envelope(order(), &owner())).unwrap();
    assert!(matches!(
        check_delete_order(&delegated, &asked, 1_000),
        Err(OrderRefused::Statement(_))
    ));
}

#[test]
fn a_delete_order_names_each_pack_once_in_order_and_not_too_many() {
    let refused = Err(StatementError::Rule { member: "packs" });
    let id = |byte: &str| byte.repeat(32);
    let too_many: Vec<String> = (0..=PACKS_PER_ORDER_MAX).map(|n| format!("{n:064x}")).collect();
    let lists = [
        vec![],
        vec![id("bb"), id("aa")],
        vec![id("aa"), id("aa")],
        vec!["aa".into()],
        vec![id("AA")],
        too_many,
    ];
    for packs in lists {
        let sloppy = DeleteOrder { packs, ..order() };
        assert_eq!(Signed::sign(sloppy, &collector()).map(|_| ()), refused);
    }
    let crowded = order().with_strays(&[stray(1, 1, 1)]);
    let crowded = DeleteOrder {
        packs: (1..=PACKS_PER_ORDER_MAX).map(|n| format!("{n:064x}")).collect(),
        ..crowded
    };
    assert_eq!(Signed::sign(crowded, &collector()).map(|_| ()), refused);
    let full: Vec<[u8; 32]> = (0..PACKS_PER_ORDER_MAX)
        .map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes())
        .collect();
    let bytes = envelope(
        DeleteOrder::new(VAULT, collector().public_key(), full, 1),
        &collector(),
    );
    assert!(
        Unverified::<DeleteOrder>::decode(&bytes)
            .unwrap()
            .verify(&collector().public_key())
            .is_ok()
    );
}

#[test]
fn a_delete_order_names_each_stray_shard_once_in_order_and_says_nothing_when_there_is_none() {
    let order = strays();
    assert_eq!(
        order.strays().collect::<Vec<_>>(),
        [stray(0xcc, 0, 0xee), stray(0xcc, 3, 0xdd)]
    );
    let refused = Err(StatementError::Rule { member: "shards" });
    let mut malformed = order.clone();
    malformed.shards[0].drive = "DD".repeat(16);
    let mut reversed = order.clone();
    reversed.shards.reverse();
    let twice = DeleteOrder {
        shards: vec![order.shards[0].clone(), order.shards[0].clone()],
        ..order.clone()
    };
    for sloppy in [malformed, reversed, twice] {
        assert_eq!(Signed::sign(sloppy, &collector()).map(|_| ()), refused);
    }
    let plain = String::from_utf8(envelope(self::order(), &collector())).unwrap();
    assert!(!plain.contains("shards"));
    let full = (0..PACKS_PER_ORDER_MAX as u64).map(|n| stray(0xff, n as u8, n as u8));
    let mut full: Vec<_> = full.collect();
    (0u64..)
        .zip(&mut full)
        .for_each(|(n, stray)| stray.pack[..8].copy_from_slice(&n.to_be_bytes()));
    let order = DeleteOrder::new(VAULT, collector().public_key(), vec![], 1).with_strays(&full);
    assert_eq!(order.shards.len(), PACKS_PER_ORDER_MAX);
    let bytes = envelope(order, &collector());
    assert!(
        Unverified::<DeleteOrder>::decode(&bytes)
            .unwrap()
            .verify(&collector().public_key())
            .is_ok()
    );
}
