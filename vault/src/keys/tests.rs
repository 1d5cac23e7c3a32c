use std::collections::HashSet;

use super::*;
use crate::testing::{SCOPE, keyring, keyring_of};

#[test]
fn every_key_of_the_hierarchy_differs_from_every_other() {
    let (ring, other) = (keyring(), keyring_of(9));
    let stream = StreamId([1; 32]);
    let keys = [
        ring.scope_key(SCOPE, 1),
        ring.scope_key(SCOPE, 2),
        ring.scope_key(ring.vault_wide(), 1),
        other.scope_key(SCOPE, 1),
        ring.stream_key(SCOPE, 1, stream),
        ring.stream_key(SCOPE, 1, StreamId([2; 32])),
        ring.stream_key(SCOPE, 2, stream),
        ring.customer_stream_key(SCOPE, 1, stream, &CustomerKey::from_bytes([3; 32])),
        ring.customer_stream_key(SCOPE, 1, stream, &CustomerKey::from_bytes([4; 32])),
        ring.customer_etag_key(SCOPE, 1, &[1; 16], &CustomerKey::from_bytes([3; 32])),
        ring.customer_check(SCOPE, 1, &[1; 16], &CustomerKey::from_bytes([3; 32])),
        ring.slot_key(SCOPE),
        ring.entry_key(SCOPE, 1),
        ring.entry_key(SCOPE, 2),
        ring.credential_copy_key(),
        ring.record_body_key(),
        credential_record_key("AKIA"),
        credential_record_key("AKIB"),
    ];
    let distinct: HashSet<[u8; 32]> = keys.iter().map(|key| *key.expose()).collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn derivations_are_those_of_the_format() {
    let mut material = [0x11; 32].to_vec();
    material.extend([0x22; 16]);
    material.extend([0x5c; 16]);
    material.extend(3u64.to_le_bytes());
    let scope_key = blake3::derive_key("cairn v1 scope key", &material);
    assert_eq!(keyring().scope_key(SCOPE, 3).expose(), &scope_key);
    let stream_key = blake3::derive_key("cairn v1 stream key", &[scope_key, [7; 32]].concat());
    assert_eq!(
        keyring().stream_key(SCOPE, 3, StreamId([7; 32])).expose(),
        &stream_key
    );
    let slot_key = blake3::derive_key("cairn v1 slot key", &material[..64]);
    let slot = blake3::keyed_hash(&slot_key, b"\x02name");
    assert_eq!(
        keyring().object_address(SCOPE, b"name").slot,
        slot.as_bytes()[..16]
    );
}

#[test]
fn a_slot_depends_on_name_kind_scope_and_vault() {
    let ring = keyring();
    let addresses = [
        ring.object_address(SCOPE, b"a").slot,
        ring.object_address(SCOPE, b"b").slot,
        ring.object_address(ScopeId([1; 16]), b"a").slot,
        ring.slot(SCOPE, EntryKind::Upload, b"a"),
        keyring_of(9).object_address(SCOPE, b"a").slot,
        ring.version_address(SCOPE, b"a", VersionId([0; 16])).slot,
        ring.part_address(SCOPE, UploadId([1; 16]), 1).slot,
        ring.part_address(SCOPE, UploadId([1; 16]), 256).slot,
    ];
    assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), addresses.len());
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!(
        "{:?} {:?} {:?}",
        keyring(),
        RootKey::from_bytes([0x11; 32]),
        keyring().slot_key(SCOPE)
    );
    assert!(!shown.contains("17") && !shown.contains("11, "), "{shown}");
}

#[test]
fn the_log_name_of_an_access_key_is_keyed_and_short() {
    let name = keyring().access_key_log_name("AKIAEXAMPLE");
    assert_eq!(name.len(), 16);
    assert_ne!(
        name,
        Keyring::new(RootKey::from_bytes([1; 32]), VaultId([0x22; 16])).access_key_log_name("AKIAEXAMPLE")
    );
}
