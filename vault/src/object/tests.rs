use std::collections::HashMap;

use engine::codec::Writer;
use engine::pack::{CHUNK_BYTES_MAX, PackId};
use proptest::prelude::*;

use super::samples::{bucket, customer_object, object, part, part_entry, upload};
use super::*;
use crate::seal::CHUNK_PLAIN_BYTES;
use crate::testing::{SCOPE, assert_golden, cases};

const PLAIN: u64 = CHUNK_PLAIN_BYTES as u64;

#[test]
fn manifest_and_object_are_the_golden_bytes() {
    let parts = vec![part(1, 3 * PLAIN + 7, 0x10), part(2, 100, 0x20)];
    let mut writer = Writer::new();
    Manifest::Inline(parts.clone()).encode(&mut writer);
    assert_golden("manifest-inline.bin", writer.as_slice());
    let mut writer = Writer::new();
    Manifest::Indirect {
        parts: 2,
        stream: Box::new(part(0, 5000, 0x30)),
    }
    .encode(&mut writer);
    assert_golden("manifest-indirect.bin", writer.as_slice());
    assert_golden("object.bin", &object("a/key", parts).encode());
    let customers = customer_object("a/key", vec![part(1, PLAIN, 0x30), part(2, 1, 0x31)]);
    assert_golden("object-customer.bin", &customers.encode());
    assert_golden("bucket.bin", &bucket("photos", SCOPE).encode());
    assert_golden("upload.bin", &upload("a/key", 1).encode());
    assert_golden("part-entry.bin", &part_entry(1, part(3, PLAIN, 0x40)).encode());
}

fn any_object() -> impl Strategy<Value = Object> {
    let parts = proptest::collection::vec((0..20 * PLAIN, any::<u8>()), 0..4);
    (
        parts,
        "[a-z/\u{0}-\u{7f}]{1,40}",
        any::<bool>(),
        any::<u64>(),
        proptest::collection::vec((".{0,9}", ".{0,9}"), 0..4),
    )
        .prop_map(|(parts, key, delete_marker, modified_ms, metadata)| {
            let parts = parts
                .into_iter()
                .zip(1..)
                .map(|((bytes, seed), number)| part(number, bytes, seed));
            let mut object = object(&key, parts.collect());
            (object.delete_marker, object.modified_ms, object.metadata) =
                (delete_marker, modified_ms, metadata);
            object.metadata.sort_by(|a, b| a.0.cmp(&b.0));
            object
        })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn an_object_reads_back_and_no_truncation_does(object in any_object(), cut: prop::sample::Index) {
        let encoded = object.encode();
        let decoded = Object::decode(&encoded);
        prop_assert_eq!(decoded.as_ref(), Ok(&object));
        prop_assert!(Object::decode(&encoded[..cut.index(encoded.len())]).is_err());
        let listed = Listed::decode(&encoded).unwrap();
        prop_assert_eq!((listed.etag(), listed.key), (object.etag(), object.key));
    }

    #[test]
    fn altered_bytes_are_refused_or_read_as_exactly_what_they_say(object in any_object(), at: prop::sample::Index, to: u8) {
        let mut encoded = object.encode();
        let at = at.index(encoded.len());
        encoded[at] = to;
        if let Ok(other) = Object::decode(&encoded) {
            prop_assert_eq!(&other.encode(), &encoded);
        }
        let _ = (Bucket::decode(&encoded), Upload::decode(&encoded), PartEntry::decode(&encoded));
    }

    #[test]
    fn small_entries_read_back(name in ".{0,30}", created_ms: u64, epoch: u64, id: u8, bytes in 0..9 * PLAIN) {
        let mut a_bucket = bucket(&name, SCOPE);
        (a_bucket.created_ms, a_bucket.epoch) = (created_ms, epoch);
        prop_assert_eq!(Bucket::decode(&a_bucket.encode()), Ok(a_bucket));
        prop_assert_eq!(Upload::decode(&upload("k", id).encode()), Ok(upload("k", id)));
        let entry = part_entry(id, part(9, bytes, id));
        prop_assert_eq!(PartEntry::decode(&entry.encode()), Ok(entry));
    }

    /// Against a table of every byte's chunk, written out.
    #[test]
    fn a_range_gives_exactly_the_chunks_that_hold_it(sizes in proptest::collection::vec(0..3 * PLAIN, 1..5), a: prop::sample::Index, b: prop::sample::Index) {
        let parts: Vec<Part> = sizes.iter().zip(1u16..).map(|(bytes, number)| part(number, *bytes, number as u8 * 16)).collect();
        let total: u64 = sizes.iter().sum();
        let (a, b) = (a.index(total as usize + 1) as u64, b.index(total as usize + 1) as u64);
        let (from, to) = (a.min(b), a.max(b));
        let mut at = from;
        for chunk in Manifest::Inline(parts.clone()).chunks(from..to).unwrap() {
            prop_assert_eq!(chunk.plaintext_offset + chunk.wanted.start as u64, at);
            at = chunk.plaintext_offset + chunk.wanted.end as u64;
            let owner = parts.iter().find(|part| part.stream == chunk.stream).unwrap();
            prop_assert_eq!(chunk.last, chunk.index + 1 == owner.chunks());
            prop_assert_eq!(u64::from(chunk.sealed_bytes), owner.plain_bytes_of(chunk.index) + 16);
            let (lane, offset) = chunk.place.on(4).unwrap();
            let nth = chunk.index % 8;
            prop_assert_eq!((u64::from(lane), u64::from(offset)), (nth % 4, nth / 4 * CHUNK_BYTES_MAX as u64));
            prop_assert_eq!(chunk.pack, PackId([chunk.stream.0[0].wrapping_add((chunk.index / 8) as u8); 32]));
        }
        prop_assert_eq!(at, to.max(from));
    }

    /// Wherever the packer puts chunks, the extents give each of them back.
    #[test]
    fn extents_remember_every_place(places in proptest::collection::vec((0u8..3, 0u8..4, 0u32..4), 1..60), k in 1u8..5) {
        let mut builder = ExtentBuilder::new(k, 0);
        let mut kept = HashMap::new();
        for (index, (pack, lane, row)) in places.iter().enumerate() {
            let (pack, lane, offset) = (PackRef::Id(PackId([*pack; 32])), lane % k, row * CHUNK_BYTES_MAX as u32);
            builder.push(pack, lane, offset, CHUNK_BYTES_MAX as u32);
            kept.insert(index as u64, (pack, lane, offset));
        }
        let extents = builder.finish();
        for (index, (pack, lane, offset)) in kept {
            let extent = extents.iter().find(|extent| extent.place(index).is_some()).unwrap();
            prop_assert_eq!(extent.pack, pack);
            prop_assert_eq!(extent.place(index).unwrap().on(k), Some((lane, offset)));
        }
    }
}

#[test]
fn a_stream_over_whole_packs_takes_one_extent_each_and_runs_are_found() {
    let bytes = 128 * PLAIN * 4;
    let mut extents = ExtentBuilder::new(4, 0);
    for index in 0..512u64 {
        let nth = index % 128;
        let pack = PackRef::Id(PackId([(index / 128) as u8; 32]));
        extents.push(
            pack,
            (nth % 4) as u8,
            (nth / 4 * CHUNK_BYTES_MAX as u64) as u32,
            CHUNK_BYTES_MAX as u32,
        );
    }
    assert_eq!(extents.len(), 4);
    let part = Part {
        extents: extents.finish(),
        plaintext_bytes: bytes,
        ..part(0, 1, 1)
    };
    assert_eq!(
        Manifest::Inline(vec![part]).chunks(0..bytes).unwrap().count(),
        512
    );
    let mut run = ExtentBuilder::new(4, 0);
    for row in 0..5 {
        run.push(
            PackRef::This,
            2,
            row * CHUNK_BYTES_MAX as u32,
            CHUNK_BYTES_MAX as u32,
        );
    }
    assert_eq!(run.finish()[0].form, Form::Run { lane: 2 });
}

#[test]
fn moving_chunks_out_of_a_pack_keeps_the_rest_and_opens_the_same_range() {
    let before = part(0, 20 * PLAIN - 9, 1);
    let from = PackId([2; 32]);
    let after = before
        .relocated(&from, 4, |index| {
            Some((PackRef::This, 1, (index as u32 - 8) * CHUNK_BYTES_MAX as u32))
        })
        .unwrap();
    after.check().unwrap();
    assert!(after.names_this_pack());
    let mut after = after;
    after.resolve_this_pack(PackId([99; 32]));
    let packs = Manifest::Inline(vec![after]).pack_bytes();
    assert_eq!(packs.get(&PackId([99; 32])), Some(&(8 * CHUNK_BYTES_MAX as u64)));
    assert!(!packs.contains_key(&from));
    assert_eq!(before.relocated(&from, 4, |_| None), None);
}

#[test]
fn chunks_of_an_unresolved_manifest_are_refused() {
    let indirect = Manifest::Indirect {
        parts: 7,
        stream: Box::new(part(0, 10, 1)),
    };
    assert!(matches!(
        indirect.chunks(0..1),
        Err(NeedsResolving::Indirect { parts: 7 })
    ));
    let mut this = part(0, 10, 1);
    this.extents[0].pack = PackRef::This;
    assert!(matches!(
        Manifest::Inline(vec![this]).chunks(0..1),
        Err(NeedsResolving::ThisPack)
    ));
    let mut gap = part(0, 2 * PLAIN, 1);
    gap.extents[0].first_chunk = 1;
    assert!(matches!(
        Manifest::Inline(vec![gap]).chunks(0..1),
        Err(NeedsResolving::Extents { part: 0 })
    ));
}

#[test]
fn a_long_parts_list_goes_to_a_stream_and_reads_back() {
    let parts: Vec<Part> = (1..=2000).map(|number| part(number, 10, number as u8)).collect();
    let parts = Manifest::inline(parts).unwrap_err();
    let whole = Manifest::decode_parts(&Manifest::encode_parts(&parts)).unwrap();
    assert_eq!(whole, Manifest::Inline(parts));
}

#[test]
fn an_object_whose_parts_do_not_add_up_is_refused() {
    let mut object = object("k", vec![part(0, 10, 1)]);
    object.plaintext_bytes = 11;
    assert!(Object::decode(&object.encode()).is_err());
}

#[test]
fn an_object_whose_streams_disagree_about_a_customers_key_is_refused() {
    let whole = customer_object("k", vec![part(1, 10, 1), part(2, 10, 2)]);
    assert_eq!(Object::decode(&whole.encode()).as_ref(), Ok(&whole));
    let Manifest::Inline(parts) = &whole.manifest else {
        unreachable!()
    };
    let mut mixed = parts.clone();
    mixed[1].customer = false;
    let listed = Part {
        customer: true,
        ..part(0, 10, 1)
    };
    for bad in [
        Object {
            customer: None,
            ..whole.clone()
        },
        Object {
            manifest: Manifest::Inline(mixed),
            ..whole.clone()
        },
        Object {
            manifest: Manifest::Indirect {
                parts: 2,
                stream: Box::new(listed),
            },
            ..whole.clone()
        },
        Object {
            delete_marker: true,
            plaintext_bytes: 0,
            manifest: Manifest::Inline(Vec::new()),
            ..whole.clone()
        },
    ] {
        assert!(Object::decode(&bad.encode()).is_err(), "{bad:?}");
    }
}

#[test]
fn etags_and_upload_ids_have_their_s3_forms() {
    assert_eq!(object("k", vec![part(0, 1, 1)]).etag(), "e7".repeat(16));
    assert_eq!(
        object("k", vec![part(1, 1, 1), part(2, 1, 1)]).etag(),
        format!("{}-2", "e7".repeat(16))
    );
    let id = UploadId([0xa0; 16]);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("A0".repeat(16).parse::<UploadId>().is_err());
    assert!("a0".parse::<UploadId>().is_err());
}
