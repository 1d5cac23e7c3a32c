//! sr25519 and secp256k1 beside ed25519: published vectors, one encoding of each key and signature, and no way from one
//! algorithm to another.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use scopes::{Algorithm, KeyError, PublicKey, Signature, SignatureRefused, Wallet};

fn secret(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn wallet(algorithm: Algorithm, byte: u8) -> Wallet {
    Wallet::of(algorithm, &[byte; 32]).unwrap()
}

/// Adds a little-endian number to another, without a carry out.
fn add(number: &mut [u8], other: &[u8]) {
    let mut carry = 0;
    for (to, other) in number.iter_mut().zip(other) {
        let sum = u16::from(*to) + u16::from(*other) + carry;
        *to = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
}

/// The pair that the bindings of Substrate's wallets are tested with (sr25519-crust, go-schnorrkel), and the seed of RFC 8032
/// section 7.1 test 1 as `sp-core` expands it.
#[test]
fn sr25519_agrees_with_the_published_vectors() {
    for (seed, public) in [
        (
            "fac7959dbfe72f052e5a0c3c8d6530f202b02fd8f9f5ca3580ec8deb7797479e",
            "46ebddef8cd9bb167dc30878d7113b7e168e6f0646beffd77d69d39bad76b47a",
        ),
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "44a996beb1eef7bdcab976ab6d2ca26104834164ecf28fb375600576fcc6eb0f",
        ),
    ] {
        let wallet = Wallet::of(Algorithm::Sr25519, &secret(seed)).unwrap();
        assert_eq!(wallet.public_key().to_string(), format!("sr25519:{public}"));
        assert_eq!(*wallet.seed(), secret(seed));
        assert_eq!(wallet.public_key().algorithm(), Algorithm::Sr25519);
    }
    let key: PublicKey = "sr25519:46ebddef8cd9bb167dc30878d7113b7e168e6f0646beffd77d69d39bad76b47a"
        .parse()
        .unwrap();
    let signature = "4e172314444b8f820bb54c22e95076f220ed25373e5c178234aa6c211d292712\
                     44b947e3ff3418ff6b45fd1df1140c8cbff69fc58ee6dc96df70936a2bb74b82"
        .parse()
        .unwrap();
    assert_eq!(key.verify(b"this is a message", &signature), Ok(()));
    assert_eq!(
        key.verify(b"this is another message", &signature),
        Err(SignatureRefused)
    );
}

/// The deterministic signatures that implementations of secp256k1 have shared since 2013, `s` in the lower half.
#[test]
fn secp256k1_agrees_with_the_published_vectors() {
    const ONE: &str = "0000000000000000000000000000000000000000000000000000000000000001";
    const LAST: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140";
    let vectors = [
        (
            ONE,
            "Satoshi Nakamoto",
            "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8\
             2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5",
        ),
        (
            ONE,
            "All those moments will be lost in time, like tears in rain. Time to die...",
            "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b\
             547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21",
        ),
        (
            ONE,
            "Everything should be made as simple as possible, but not simpler.",
            "33a69cd2065432a30f3d1ce4eb0d59b8ab58c74f27c41a7fdb5696ad4e6108c9\
             6f807982866f785d3f6418d24163ddae117b7db4d5fdf0071de069fa54342262",
        ),
        (
            LAST,
            "Satoshi Nakamoto",
            "fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d0\
             6b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5",
        ),
    ];
    for (scalar, message, signature) in vectors {
        let wallet = Wallet::of(Algorithm::Secp256k1, &secret(scalar)).unwrap();
        assert_eq!(wallet.sign(message.as_bytes()).to_string(), signature);
        let signature = signature.parse().unwrap();
        assert_eq!(wallet.public_key().verify(message.as_bytes(), &signature), Ok(()));
        assert_eq!(*wallet.seed(), secret(scalar));
    }
    // The generator of SEC 2.
    assert_eq!(
        Wallet::of(Algorithm::Secp256k1, &secret(ONE))
            .unwrap()
            .public_key()
            .to_string(),
        "secp256k1:0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    );
}

/// The neutral element, under which anything verifies, and the bad encodings of RFC 9496 appendix A.3.
#[test]
fn neutral_and_non_canonical_sr25519_keys_are_refused() {
    assert_eq!(PublicKey::sr25519(&[0; 32]), Err(KeyError::SmallOrder));
    let refused = [
        // Not reduced.
        "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        // Negative.
        "0100000000000000000000000000000000000000000000000000000000000000",
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
        // Not a square.
        "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
        "4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f",
        // A negative product of the coordinates.
        "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
        "a45fdc55c76448c049a1ab33f17023edfb2be3581e9c7aade8a6125215e04220",
        // s = -1.
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for text in refused {
        assert_eq!(
            format!("sr25519:{text}").parse::<PublicKey>(),
            Err(KeyError::NotAPoint),
            "{text}"
        );
    }
}

#[test]
fn a_secp256k1_key_has_one_encoding() {
    let good = wallet(Algorithm::Secp256k1, 7).public_key();
    let bytes: [u8; 33] = good.as_bytes().try_into().unwrap();
    assert_eq!(PublicKey::secp256k1(&bytes), Ok(good));
    // Forms of SEC 1 other than the compressed one: infinity, uncompressed, compact, hybrid.
    for tag in [0, 1, 4, 5, 6, 7] {
        let mut other = bytes;
        other[0] = tag;
        assert_eq!(
            PublicKey::secp256k1(&other),
            Err(KeyError::NotAPoint),
            "tag {tag}"
        );
    }
    let digits = hex::encode(bytes);
    for bad in [
        format!("secp256k1:{}", digits.get(2..).unwrap()),
        format!("secp256k1:04{}{}", digits.get(2..).unwrap(), "00".repeat(32)),
        format!("secp256k1:{}", digits.to_uppercase()),
        format!("secp256k1: {digits}"),
    ] {
        assert_eq!(bad.parse::<PublicKey>(), Err(KeyError::Form), "{bad}");
    }
    // x = 5 is on no point; x = p + 1 would be another spelling of 1.
    let mut absent = [0; 33];
    (absent[0], absent[32]) = (2, 5);
    assert_eq!(PublicKey::secp256k1(&absent), Err(KeyError::NotAPoint));
    let beyond = "02fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30";
    assert_eq!(
        format!("secp256k1:{beyond}").parse::<PublicKey>(),
        Err(KeyError::NotAPoint)
    );
    for scalar in [
        [0; 32],
        [0xff; 32],
        secret("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
    ] {
        assert_eq!(
            Wallet::of(Algorithm::Secp256k1, &scalar).map(|_| ()),
            Err(KeyError::Scalar)
        );
    }
}

#[test]
fn all_zero_signatures_are_refused_by_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let key = wallet(algorithm, 3).public_key();
        let mut marked = [0; 64];
        assert_eq!(key.verify(b"message", &Signature(marked)), Err(SignatureRefused));
        // Zeros with schnorrkel's mark: the neutral element and the scalar 0.
        marked[63] = 0x80;
        assert_eq!(key.verify(b"message", &Signature(marked)), Err(SignatureRefused));
        assert_eq!(
            key.verify(b"message", &Signature([0xff; 64])),
            Err(SignatureRefused)
        );
    }
}

#[test]
fn a_secp256k1_signature_with_s_in_the_upper_half_is_refused() {
    const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let wallet = wallet(Algorithm::Secp256k1, 9);
    let signature = wallet.sign(b"message");
    assert_eq!(wallet.public_key().verify(b"message", &signature), Ok(()));
    // n - s, as n + not(s) + 1 without the carry.
    let mut upper = signature;
    let complement: Vec<u8> = signature.0[32..].iter().map(|byte| !byte).collect();
    let mut s = secret(ORDER);
    let mut carry = 1;
    for place in (0..32).rev() {
        let sum = u16::from(s[place]) + u16::from(complement[place]) + carry;
        s[place] = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    upper.0[32..].copy_from_slice(&s);
    // It is the other form of the same signature: k256 itself says so.
    let parsed = k256::ecdsa::Signature::from_slice(&upper.0).unwrap();
    assert_eq!(parsed.normalize_s().to_bytes().as_slice(), signature.0);
    assert_eq!(
        wallet.public_key().verify(b"message", &upper),
        Err(SignatureRefused)
    );
}

#[test]
fn secp256k1_numbers_out_of_range_are_refused() {
    let wallet = wallet(Algorithm::Secp256k1, 9);
    let good = wallet.sign(b"message");
    let order = secret("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    for half in [0..32, 32..64] {
        for number in [[0; 32], order, [0xff; 32]] {
            let mut bad = good;
            bad.0[half.clone()].copy_from_slice(&number);
            assert_eq!(
                wallet.public_key().verify(b"message", &bad),
                Err(SignatureRefused)
            );
        }
    }
}

#[test]
fn an_sr25519_signature_has_its_mark_and_a_canonical_scalar() {
    // The order of the group, little-endian.
    let order = secret("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let wallet = wallet(Algorithm::Sr25519, 9);
    let signature = wallet.sign(b"message");
    assert_eq!(wallet.public_key().verify(b"message", &signature), Ok(()));
    let mut unmarked = signature;
    unmarked.0[63] &= 0x7f;
    assert_eq!(
        wallet.public_key().verify(b"message", &unmarked),
        Err(SignatureRefused)
    );
    let mut larger = unmarked;
    add(&mut larger.0[32..], &order);
    larger.0[63] |= 0x80;
    assert_eq!(
        wallet.public_key().verify(b"message", &larger),
        Err(SignatureRefused)
    );
}

#[test]
fn the_algorithm_is_the_keys_and_the_same_bytes_under_another_are_another_key() {
    for one in Algorithm::ALL {
        let signature = wallet(one, 5).sign(b"message");
        for other in Algorithm::ALL {
            let key = wallet(other, 5).public_key();
            assert_eq!(
                key.verify(b"message", &signature).is_ok(),
                one == other,
                "{one:?} {other:?}"
            );
        }
    }
    // The generator of Ristretto is a point of both encodings' length; as keys they are different, also when hashed.
    let shared = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
    let sr: PublicKey = format!("sr25519:{shared}").parse().unwrap();
    if let Ok(ed) = format!("ed25519:{shared}").parse::<PublicKey>() {
        assert_ne!(ed, sr);
        assert_ne!(ed.prefixed_bytes(), sr.prefixed_bytes());
    }
    let bytes = wallet(Algorithm::Sr25519, 5).public_key();
    assert!(
        format!("secp256k1:{}", hex::encode(bytes.as_bytes()))
            .parse::<PublicKey>()
            .is_err()
    );
}

#[test]
fn no_wallet_shows_its_secret() {
    for algorithm in Algorithm::ALL {
        let shown = format!("{:?}", wallet(algorithm, 0xab));
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_is_refused_by_every_algorithm(
        seed in 1..=u8::MAX,
        message in proptest::collection::vec(any::<u8>(), 1..64),
        place: proptest::sample::Index,
        bit in 0..8_u32,
    ) {
        for algorithm in Algorithm::ALL {
            let wallet = Wallet::of(algorithm, &[seed; 32]).unwrap_or_else(|_| wallet(algorithm, 1));
            let key = wallet.public_key();
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            let signature = wallet.sign(&message);
            prop_assert_eq!(wallet.sign(&message), signature);
            prop_assert_eq!(key.verify(&message, &signature), Ok(()));
            let mut other = message.clone();
            other[place.index(message.len())] ^= 1 << bit;
            prop_assert_eq!(key.verify(&other, &signature), Err(SignatureRefused));
            let mut other = signature;
            other.0[place.index(64)] ^= 1 << bit;
            prop_assert_eq!(key.verify(&message, &other), Err(SignatureRefused));
        }
    }
}
