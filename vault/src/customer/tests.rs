//! Customers' keys: their derivations against independent ones, and what they do not show.

use super::*;
use crate::keys::{FIRST_EPOCH, RootKey};
use crate::object::StreamId;
use scopes::VaultId;

const SCOPE: ScopeId = ScopeId([2; 16]);

fn keyring() -> Keyring {
    Keyring::new(RootKey::from_bytes([1; 32]), VaultId([3; 16]))
}

fn key(seed: u8) -> CustomerKey {
    CustomerKey::from_bytes([seed; 32])
}

#[test]
fn the_derivations_are_those_of_the_format() {
    let (ring, stream) = (keyring(), StreamId([7; 32]));
    let scope_key = *ring.scope_key(SCOPE, FIRST_EPOCH).expose();
    let derive = |context: &str, parts: &[&[u8]]| blake3::derive_key(context, &parts.concat());
    let sealed_under = ring.customer_stream_key(SCOPE, FIRST_EPOCH, stream, &key(9));
    assert_eq!(
        *sealed_under.expose(),
        derive("cairn v1 customer stream key", &[&scope_key, &[7; 32], &[9; 32]])
    );
    let check = CustomerCheck::new(&ring, SCOPE, FIRST_EPOCH, &key(9), &mut |bytes| bytes.fill(5));
    assert_eq!((check.epoch, check.salt), (FIRST_EPOCH, [5; 16]));
    assert_eq!(
        check.value,
        derive("cairn v1 customer key check", &[&scope_key, &[5; 16], &[9; 32]])
    );
    let seal = CustomerSeal::new(&ring, SCOPE, FIRST_EPOCH, &key(9), &mut |bytes| bytes.fill(5));
    let etag_key = derive("cairn v1 customer etag", &[&scope_key, &[5; 16], &[9; 32]]);
    for (number, bytes) in [(0, [0, 0]), (1, [1, 0]), (0x102, [2, 1])] {
        let tag = blake3::keyed_hash(&etag_key, &[&[4; 16][..], &bytes].concat());
        assert_eq!(seal.etag(number, &[4; 16]), tag.as_bytes()[..16]);
    }
    assert_eq!(seal.check(), check);
    let of_part = CustomerSeal::of_part(&ring, SCOPE, check, &key(9));
    assert_eq!(
        of_part.etag(7, &[4; 16]),
        seal.etag(7, &[4; 16]),
        "a part may be sent again"
    );
}

#[test]
fn only_the_same_key_in_the_same_scope_is_accepted() {
    let ring = keyring();
    let check = CustomerCheck::new(&ring, SCOPE, FIRST_EPOCH, &key(9), &mut |bytes| bytes.fill(5));
    assert!(check.accepts(&ring, SCOPE, &key(9)));
    assert!(!check.accepts(&ring, SCOPE, &key(8)));
    assert!(!check.accepts(&ring, ScopeId([4; 16]), &key(9)));
    let other = CustomerCheck {
        salt: [6; 16],
        ..check
    };
    assert!(!other.accepts(&ring, SCOPE, &key(9)));
    let other = CustomerCheck { epoch: 2, ..check };
    assert!(!other.accepts(&ring, SCOPE, &key(9)));
}

#[test]
fn a_customers_key_prints_as_nothing() {
    assert_eq!(format!("{:?}", key(0xab)), "CustomerKey(..)");
    let seal = CustomerSeal::new(&keyring(), SCOPE, 1, &key(0xab), &mut |b| b.fill(0));
    assert!(!format!("{seal:?}").contains("171, 171"));
}
