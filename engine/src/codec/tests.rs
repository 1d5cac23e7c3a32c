use proptest::prelude::*;

use super::*;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_field_reads_back_and_nothing_is_left(
        a: u8, b: u16, c: u32, d: u64, v: u64,
        e in proptest::collection::vec(any::<u8>(), 0..300),
        s in ".{0,40}", o: Option<u32>, l in proptest::collection::vec(any::<u64>(), 0..50),
    ) {
        let mut writer = Writer::new();
        writer.u8(a);
        writer.u16(b);
        writer.u32(c);
        writer.u64(d);
        writer.varint(v);
        writer.bytes(&e);
        writer.string(&s);
        writer.option_with(o, Writer::u32);
        writer.list_with(&l, |w, x| w.varint(*x));
        writer.zeros(3);
        let encoded = writer.into_vec();
        let mut reader = Reader::new(&encoded);
        prop_assert_eq!(reader.u8().unwrap(), a);
        prop_assert_eq!(reader.u16().unwrap(), b);
        prop_assert_eq!(reader.u32().unwrap(), c);
        prop_assert_eq!(reader.u64().unwrap(), d);
        prop_assert_eq!(reader.varint().unwrap(), v);
        prop_assert_eq!(reader.bytes(300).unwrap(), &e[..]);
        prop_assert_eq!(reader.string(160).unwrap(), &s);
        prop_assert_eq!(reader.option_with(Reader::u32).unwrap(), o);
        prop_assert_eq!(reader.list_with(50, Reader::varint).unwrap(), l);
        reader.zeros(3, "padding").unwrap();
        reader.finish().unwrap();
    }

    #[test]
    fn whatever_decodes_as_a_varint_has_that_one_encoding(input in proptest::collection::vec(any::<u8>(), 0..12)) {
        let mut reader = Reader::new(&input);
        if let Ok(value) = reader.varint() {
            let mut writer = Writer::new();
            writer.varint(value);
            prop_assert_eq!(writer.as_slice(), &input[..input.len() - reader.remaining()]);
        }
    }
}

#[test]
fn varints_at_the_edges_have_the_expected_bytes() {
    for (value, bytes) in [
        (0u64, vec![0u8]),
        (127, vec![0x7f]),
        (128, vec![0x80, 1]),
        (300, vec![0xac, 2]),
        (
            u64::MAX,
            vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ),
    ] {
        let mut writer = Writer::new();
        writer.varint(value);
        assert_eq!(writer.as_slice(), bytes);
        assert_eq!(Reader::new(&bytes).varint(), Ok(value));
    }
}

#[test]
fn long_and_overflowing_varints_are_refused() {
    for input in [
        &[0x80, 0][..],
        &[0xff, 0x80, 0],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
    ] {
        assert!(
            matches!(Reader::new(input).varint(), Err(DecodeError::BadValue { .. })),
            "{input:?}"
        );
    }
    assert_eq!(
        Reader::new(&[0x80]).varint(),
        Err(DecodeError::Truncated { need: 1, have: 0 })
    );
    let over = [0xff, 0xff, 0xff, 0xff, 0x1f];
    assert!(matches!(
        Reader::new(&over).varint_u32(),
        Err(DecodeError::TooLong { .. })
    ));
}

#[test]
fn a_hostile_count_allocates_nothing() {
    let mut writer = Writer::new();
    writer.varint(u64::MAX);
    let encoded = writer.into_vec();
    assert_eq!(
        Reader::new(&encoded).list_with(1000, Reader::u64),
        Err(DecodeError::TooLong {
            limit: 1000,
            got: u64::MAX
        })
    );
    // Within the limit, but the items are not there: refused after none, even for items of no bytes.
    let mut writer = Writer::new();
    writer.varint(1 << 40);
    let encoded = writer.into_vec();
    let read = Reader::new(&encoded).list_with(usize::MAX, |_| Ok::<_, DecodeError>(()));
    assert_eq!(read, Err(DecodeError::Truncated { need: 1, have: 0 }));
    assert!(matches!(
        Reader::new(&encoded).bytes(usize::MAX),
        Err(DecodeError::Truncated { have: 0, .. })
    ));
}

#[test]
fn trailing_bytes_bad_options_versions_padding_and_text_are_refused() {
    assert_eq!(
        Reader::new(&[1, 2]).finish(),
        Err(DecodeError::Trailing { bytes: 2 })
    );
    assert_eq!(
        Reader::new(&[2]).option_with(Reader::u8),
        Err(DecodeError::BadValue {
            what: "option",
            got: 2
        })
    );
    assert_eq!(
        Reader::new(&[0]).version(1),
        Err(DecodeError::BadVersion { got: 0, newest: 1 })
    );
    assert_eq!(
        Reader::new(&[2]).version(1),
        Err(DecodeError::BadVersion { got: 2, newest: 1 })
    );
    assert_eq!(
        Reader::new(&[0, 7]).zeros(2, "padding"),
        Err(DecodeError::BadValue {
            what: "padding",
            got: 7
        })
    );
    assert_eq!(Reader::new(&[1, 0xff]).string(9), Err(DecodeError::Utf8));
    assert_eq!(
        Reader::new(&[1, 2, 3]).u32(),
        Err(DecodeError::Truncated { need: 4, have: 3 })
    );
}
