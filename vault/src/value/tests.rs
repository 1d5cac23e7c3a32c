use proptest::prelude::*;

use super::*;
use crate::testing::{SCOPE, assert_golden, cases, keyring, keyring_of, seeded};

fn address() -> Address {
    keyring().object_address(SCOPE, b"a name")
}

#[test]
fn a_sealed_value_is_the_golden_bytes() {
    let sealed = keyring()
        .seal_value(&address(), 1, b"value", &mut |salt| salt.fill(0xaa))
        .unwrap();
    assert_golden("sealed-value.bin", &sealed);
    assert_eq!(sealed.len(), sealed_bytes(5, 1));
    assert_eq!(
        keyring().open_value(&address(), &sealed).unwrap().as_slice(),
        b"value"
    );
    let trailer = keyring()
        .seal_trailer(SCOPE, 1, b"trailer", &mut |salt| salt.fill(0xbb))
        .unwrap();
    assert_golden("sealed-trailer.bin", &trailer);
    assert_eq!(trailer.len(), sealed_trailer_bytes(7, 1));
    assert_eq!(
        keyring().open_trailer(SCOPE, &trailer).unwrap().as_slice(),
        b"trailer"
    );
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn values_open_where_they_were_sealed(plain in proptest::collection::vec(any::<u8>(), 0..9000), epoch: u64, seed: u64) {
        let sealed = keyring().seal_value(&address(), epoch, &plain, &mut seeded(seed)).unwrap();
        prop_assert_eq!(sealed.len(), sealed_bytes(plain.len(), epoch));
        let opened = keyring().open_value(&address(), &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), &plain[..]);
    }

    #[test]
    fn any_flipped_bit_and_any_truncation_is_refused(plain in proptest::collection::vec(any::<u8>(), 0..300), at: prop::sample::Index, bit in 0u8..8, seed: u64) {
        let sealed = keyring().seal_value(&address(), 1, &plain, &mut seeded(seed)).unwrap();
        let mut altered = sealed.clone();
        let at = at.index(sealed.len());
        altered[at] ^= 1 << bit;
        prop_assert!(keyring().open_value(&address(), &altered).is_err());
        prop_assert!(keyring().open_value(&address(), &sealed[..at]).is_err());
    }

    #[test]
    fn garbage_never_opens_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(keyring().open_value(&address(), &bytes).is_err());
        prop_assert!(keyring().open_trailer(SCOPE, &bytes).is_err());
    }

    #[test]
    fn padding_hides_lengths_in_steps_and_costs_at_most_12_percent(bytes in 0usize..VALUE_BYTES_MAX) {
        let padded = padded_bytes(bytes);
        prop_assert!(padded >= bytes + LENGTH_BYTES);
        prop_assert_eq!(padded % 64, 0);
        if bytes + LENGTH_BYTES > PADME_FROM_BYTES {
            prop_assert!((padded - bytes) * 100 <= 12 * padded);
        }
    }
}

#[test]
fn a_value_opens_at_no_other_place() {
    let sealed = keyring()
        .seal_value(&address(), 1, b"value", &mut seeded(1))
        .unwrap();
    let mut elsewhere = [address(); 3];
    elsewhere[0].scope = [1; 16];
    elsewhere[1].kind = EntryKind::ObjectVersion;
    elsewhere[2].slot = [1; 16];
    for place in elsewhere {
        assert!(matches!(
            keyring().open_value(&place, &sealed),
            Err(OpenError::Forged { .. })
        ));
    }
    assert!(keyring_of(9).open_value(&address(), &sealed).is_err());
    let mut other_epoch = sealed.clone();
    other_epoch[1] = 2;
    assert!(keyring().open_value(&address(), &other_epoch).is_err());
    assert!(keyring().open_record(&sealed).is_err());
}

#[test]
fn equal_values_seal_to_different_bytes_of_equal_length() {
    let mut random = seeded(5);
    let one = keyring()
        .seal_value(&address(), 1, b"short", &mut random)
        .unwrap();
    let two = keyring()
        .seal_value(&address(), 1, b"a longer one", &mut random)
        .unwrap();
    let again = keyring()
        .seal_value(&address(), 1, b"short", &mut random)
        .unwrap();
    assert_eq!(one.len(), two.len());
    assert_ne!(one, again);
}

#[test]
fn a_record_body_opens_again_and_too_long_a_value_is_refused() {
    let sealed = keyring().seal_record(b"{}", &mut seeded(1)).unwrap();
    assert_eq!(keyring().open_record(&sealed).unwrap().as_slice(), b"{}");
    let long = vec![0; VALUE_BYTES_MAX + 1];
    assert!(keyring().seal_record(&long, &mut seeded(1)).is_err());
}
