use proptest::prelude::*;

use super::*;
use crate::object::PackRef;
use crate::object::samples::{bucket, object, part, part_entry, upload};
use crate::testing::{SCOPE, assert_golden, cases, keyring, seeded};

fn claim(value: ClaimValue) -> Claim {
    Claim {
        slot: [1; 16],
        epoch: 1,
        clock_ms: 2,
        after: Sequence(3),
        operation: [4; 16],
        value,
    }
}

fn own_pack_object() -> Object {
    let mut part = part(0, 1000, 1);
    part.extents[0].pack = PackRef::This;
    object("a/key", vec![part])
}

fn trailer() -> TrailerBuilder {
    let mut builder = TrailerBuilder::new("photos");
    builder.push(&claim(ClaimValue::Object(own_pack_object())));
    builder.push(&claim(ClaimValue::Bucket(bucket("photos", SCOPE))));
    builder.push(&claim(ClaimValue::Upload(upload("k", 1))));
    builder.push(&claim(ClaimValue::Part(part_entry(1, part(1, 10, 1)))));
    builder
}

#[test]
fn claim_and_trailer_are_the_golden_bytes() {
    let mut writer = Writer::new();
    claim(ClaimValue::Object(own_pack_object())).encode(&mut writer);
    assert_golden("claim.bin", writer.as_slice());
    assert_golden("trailer.bin", &trailer().encode());
}

#[test]
fn an_opened_trailer_names_its_own_pack() {
    let builder = trailer();
    let sealed = builder.seal(&keyring(), SCOPE, 1, &mut seeded(1)).unwrap();
    assert_eq!(sealed.len(), builder.sealed_bytes_with(None, 1));
    let pack = PackId([0x77; 32]);
    let opened = Trailer::open(&keyring(), SCOPE, pack, &sealed).unwrap();
    assert_eq!((opened.scope_name.as_str(), opened.claims.len()), ("photos", 4));
    let ClaimValue::Object(object) = &opened.claims[0].value else {
        panic!("not an object")
    };
    assert_eq!(object.manifest.pack_bytes().keys().collect::<Vec<_>>(), [&pack]);
    assert!(Trailer::open(&keyring(), keyring().vault_wide(), pack, &sealed).is_err());
}

#[test]
fn a_trailer_knows_how_long_it_would_be_with_one_more_claim() {
    let mut builder = trailer();
    let more = claim(ClaimValue::Object(object("another", vec![part(0, 500_000, 9)])));
    let foretold = builder.sealed_bytes_with(Some(&more), 1);
    builder.push(&more);
    assert_eq!(
        builder.seal(&keyring(), SCOPE, 1, &mut seeded(1)).unwrap().len(),
        foretold
    );
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn truncated_and_altered_trailers_never_panic(cut: prop::sample::Index, at: prop::sample::Index, to: u8) {
        let encoded = trailer().encode();
        prop_assert!(Trailer::decode(&encoded[..cut.index(encoded.len())]).is_err());
        let mut altered = encoded;
        let at = at.index(altered.len());
        altered[at] = to;
        let _ = Trailer::decode(&altered);
    }
}
