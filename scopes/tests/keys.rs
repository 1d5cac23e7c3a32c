//! Keys and signatures: strictness against published and hand-made bad inputs, and secrecy of the secret.

use proptest::prelude::*;
use scopes::{Algorithm, KeyError, PublicKey, Salt, ScopeId, Signature, SignatureRefused, VaultId, Wallet};

/// RFC 8032 section 7.1, test 2.
#[test]
fn ed25519_agrees_with_the_rfc_8032_vector() {
    let seed: [u8; 32] = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
        .unwrap()
        .try_into()
        .unwrap();
    let wallet = Wallet::from_seed(&seed);
    assert_eq!(
        wallet.public_key().to_string(),
        "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    );
    assert_eq!(
        wallet.sign(&[0x72]).to_string(),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    assert_eq!(*wallet.seed(), seed);
    assert_eq!(wallet.public_key().algorithm(), Algorithm::Ed25519);
}

/// The eight points of small order, and the encodings of y that are p or above (RFC 8032 section 5.1.3 refuses them).
#[test]
fn small_order_and_non_canonical_keys_are_refused() {
    let small = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    for text in small {
        assert_eq!(
            format!("ed25519:{text}").parse::<PublicKey>(),
            Err(KeyError::SmallOrder),
            "{text}"
        );
    }
    // y = p + 1 .. p + 18: the same points as y = 1 .. 18, spelt a second way.
    let mut refused = 0;
    for low in 0xee..=0xff_u8 {
        let mut bytes = [0xff; 32];
        bytes[0] = low;
        bytes[31] = 0x7f;
        assert!(PublicKey::ed25519(&bytes).is_err(), "{low:02x}");
        refused += 1;
    }
    assert_eq!(refused, 18);
}

#[test]
fn other_algorithms_and_sloppy_texts_are_refused() {
    let good = Wallet::from_seed(&[7; 32]).public_key().to_string();
    assert!(good.parse::<PublicKey>().is_ok());
    let digits = good.strip_prefix("ed25519:").unwrap();
    for algorithm in ["p256", "ED25519", "ed25519 ", ""] {
        assert_eq!(
            format!("{algorithm}:{digits}").parse::<PublicKey>(),
            Err(KeyError::UnknownAlgorithm)
        );
    }
    for text in [
        digits.to_owned(),
        good.to_uppercase(),
        format!("{good}0"),
        format!(" {good}"),
        format!("{good}\n"),
    ] {
        assert!(text.parse::<PublicKey>().is_err(), "{text:?}");
    }
    assert_eq!(
        format!("ed25519:{}", digits.to_uppercase()).parse::<PublicKey>(),
        Err(KeyError::Form)
    );
}

#[test]
fn an_all_zero_signature_is_refused_by_every_key() {
    for seed in 0..8 {
        let key = Wallet::from_seed(&[seed; 32]).public_key();
        assert_eq!(
            key.verify(b"anything", &Signature([0; 64])),
            Err(SignatureRefused)
        );
    }
}

/// s + L is the classic second form of a signature: RFC 8032 section 5.1.7 requires s < L.
#[test]
fn a_signature_with_s_plus_the_group_order_is_refused() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let wallet = Wallet::from_seed(&[9; 32]);
    let mut signature = wallet.sign(b"message");
    assert_eq!(wallet.public_key().verify(b"message", &signature), Ok(()));
    let mut carry = 0;
    for (byte, add) in signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(
        wallet.public_key().verify(b"message", &signature),
        Err(SignatureRefused)
    );
}

/// Test vector 2 of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko; SSR 2020): R has small order, and both
/// verification equations hold all the same.
#[test]
fn a_signature_with_a_small_order_r_is_refused() {
    let key: PublicKey = "ed25519:f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
        .parse()
        .unwrap();
    let message = hex::decode("aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab").unwrap();
    let signature = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
                     8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e";
    assert_eq!(
        key.verify(&message, &signature.parse().unwrap()),
        Err(SignatureRefused)
    );
}

#[test]
fn a_wallet_shows_its_public_key_and_not_its_seed() {
    let wallet = Wallet::from_seed(&[0xab; 32]);
    let shown = format!("{wallet:?}");
    assert!(shown.contains(&wallet.public_key().to_string()), "{shown}");
    assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
}

#[test]
fn ids_have_one_text_form() {
    let vault = VaultId::derive(&Wallet::from_seed(&[1; 32]).public_key(), &Salt([2; 16]));
    assert_eq!(vault.to_string().parse(), Ok(vault));
    assert_ne!(
        vault,
        VaultId::derive(&Wallet::from_seed(&[1; 32]).public_key(), &Salt([3; 16]))
    );
    assert_ne!(
        vault,
        VaultId::derive(&Wallet::from_seed(&[4; 32]).public_key(), &Salt([2; 16]))
    );
    for bad in [
        "",
        "v-",
        "7c21",
        "v-7C21000000000000000000000000000a",
        "V-7c21000000000000000000000000000a",
    ] {
        assert!(bad.parse::<VaultId>().is_err(), "{bad}");
    }
    assert!("7c21000000000000000000000000000a".parse::<ScopeId>().is_ok());
    assert!("7c21000000000000000000000000000A".parse::<ScopeId>().is_err());
    assert_eq!(ScopeId::vault_wide(vault).0, vault.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_of_message_or_signature_is_refused(
        seed: [u8; 32],
        message in proptest::collection::vec(any::<u8>(), 1..64),
        place: proptest::sample::Index,
        bit in 0..8_u32,
    ) {
        let wallet = Wallet::from_seed(&seed);
        let signature = wallet.sign(&message);
        prop_assert_eq!(wallet.public_key().verify(&message, &signature), Ok(()));
        let mut other = message.clone();
        other[place.index(message.len())] ^= 1 << bit;
        prop_assert_eq!(wallet.public_key().verify(&other, &signature), Err(SignatureRefused));
        let mut other = signature;
        other.0[place.index(64)] ^= 1 << bit;
        prop_assert_eq!(wallet.public_key().verify(&message, &other), Err(SignatureRefused));
    }
}
