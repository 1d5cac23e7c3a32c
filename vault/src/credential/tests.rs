use proptest::prelude::*;

use super::*;
use crate::testing::{assert_golden, cases, keyring, keyring_of, seeded};

const ID: &str = "CAIRN0123456789ABCDEF0123456789AB";

fn sealed() -> SealedCredential {
    let rights = Credential::without_rights(keyring().vault(), 5);
    let secret = Secret::new("a secret access key".to_owned());
    SealedCredential::seal(&keyring(), ID, &secret, &rights, &mut seeded(1)).unwrap()
}

#[test]
fn a_credential_is_the_golden_bytes() {
    assert_golden("credential.bin", &sealed().encode());
    assert!(is_credential(&sealed().encode()));
}

#[test]
fn the_access_key_id_alone_opens_the_record_and_the_root_alone_the_copy() {
    let sealed = SealedCredential::decode(&sealed().encode()).unwrap();
    let opened = sealed.open(keyring().vault(), ID).unwrap();
    assert_eq!(opened.secret.expose(), "a secret access key");
    let address = credential_address(keyring().vault(), ID);
    assert_eq!(sealed.open_copy(&keyring(), &address).unwrap(), opened);
    assert!(
        sealed
            .open(keyring().vault(), "CAIRN0123456789ABCDEF0123456789AC")
            .is_err()
    );
    assert!(sealed.open(keyring_of(9).vault(), ID).is_err());
    let other_root = Keyring::new(crate::keys::RootKey::from_bytes([9; 32]), keyring().vault());
    assert!(sealed.open_copy(&other_root, &address).is_err());
}

#[test]
fn the_stored_form_and_debug_show_neither_id_nor_secret() {
    let encoded = sealed().encode();
    let holds = |needle: &[u8]| encoded.windows(needle.len()).any(|window| window == needle);
    assert!(!holds(ID.as_bytes()) && !holds(b"a secret access key"));
    let shown = format!("{:?}", sealed().open(keyring().vault(), ID).unwrap());
    assert!(!shown.contains(ID) && !shown.contains("a secret"), "{shown}");
}

#[test]
fn a_credential_for_another_vault_is_not_sealed() {
    let rights = Credential::without_rights(keyring_of(9).vault(), 5);
    let secret = Secret::new("s".to_owned());
    assert!(SealedCredential::seal(&keyring(), ID, &secret, &rights, &mut seeded(1)).is_err());
}

#[test]
fn an_epoch_that_no_key_depends_on_is_still_bound() {
    let address = credential_address(keyring().vault(), ID);
    let mut altered = sealed();
    altered.record[1] = 1;
    altered.copy[1] = 1;
    assert!(altered.open(keyring().vault(), ID).is_err());
    assert!(altered.open_copy(&keyring(), &address).is_err());
    let mut body = keyring().seal_record(b"{}", &mut seeded(1)).unwrap();
    body[1] = 1;
    assert!(keyring().open_record(&body).is_err());
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn altered_records_never_open_and_never_panic(at: prop::sample::Index, bit in 0u8..8) {
        let mut encoded = sealed().encode();
        let at = at.index(encoded.len());
        encoded[at] ^= 1 << bit;
        if let Ok(altered) = SealedCredential::decode(&encoded) {
            let address = credential_address(keyring().vault(), ID);
            prop_assert!(altered.open(keyring().vault(), ID).is_err() || altered.open_copy(&keyring(), &address).is_err());
        }
    }
}
