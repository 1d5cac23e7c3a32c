//! Records: golden bytes, one spelling, signatures, and what the blind hides.

#![expect(clippy::unwrap_used, reason = "tests")]

use activity::{
    Compute, OperationId, Purpose, Record, RecordError, RecordId, ResultHash, Timestamp, commitment,
    vault_scope,
};
use proptest::prelude::*;
use scopes::{VaultId, Wallet};

fn record() -> Record {
    Record {
        record_id: RecordId([0x01, 0x92, 0x83, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        agent: "credential:c4c4c4c4c4c4c4c4".into(),
        vault_scope: vault_scope(VaultId([0x7c; 16]), "calendar"),
        operation: "PutObject".into(),
        compute: Compute {
            cpu_ms: 412,
            gpu_units: 0,
        },
        result_hash: ResultHash::Blake3([0xcf; 32]),
        signatures: Vec::new(),
        grant_id: None,
        bytes: u64::MAX,
        time: Timestamp::from_ms(1_781_079_242_123),
        operation_id: OperationId([0xab; 16]),
        attempt: 1,
        purpose: Purpose::Write,
        status: "ok".into(),
    }
}

fn signed() -> Record {
    let mut record = record();
    record.sign(&Wallet::from_seed(&[5; 32])).unwrap();
    record
}

#[test]
fn a_record_is_the_golden_bytes() {
    let bytes = signed().canonical_bytes().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&bytes),
        include_str!("../golden/record.json").trim_end()
    );
    assert_eq!(Record::parse(&bytes).unwrap(), signed());
}

#[test]
fn a_record_has_the_members_of_the_receipt_that_the_protocol_shows() {
    let value: serde_json::Value = serde_json::from_slice(&signed().canonical_bytes().unwrap()).unwrap();
    assert_eq!(value["record_id"], "dac-01928303-0405-0607-0809-0a0b0c0d0e0f");
    assert_eq!(
        value["vault_scope"],
        "v-7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c7c / calendar"
    );
    assert_eq!(
        value["compute"],
        serde_json::json!({ "cpu_ms": 412, "gpu_units": 0 })
    );
    assert_eq!(
        value["result_hash"].as_str().unwrap().split_once(':').unwrap().0,
        "blake3"
    );
    assert_eq!(value["bytes"], "18446744073709551615");
    assert_eq!(value["time"], "2026-06-10T08:14:02.123Z");
    assert_eq!(value["grant_id"], serde_json::Value::Null);
}

#[test]
fn another_spelling_of_a_record_is_refused() {
    let text = String::from_utf8(signed().canonical_bytes().unwrap()).unwrap();
    let spellings = [
        text.replace("412", "412.0"),
        text.replace("412", "9007199254740992"),
        text.replace("\"18446744073709551615\"", "18446744073709551615"),
        text.replace("\"grant_id\":null,", ""),
        text.replace("\"grant_id\":null", "\"grant_id\":\"\""),
        text.replace("\"attempt\":1", "\"attempt\":1,\"b\":1"),
        text.replace("02.123Z", "02.123+00:00"),
        text.replace("02.123Z", "02Z"),
        text.replace("06-10T", "06-31T"),
        text.replace("dac-01928303-", "dac-01928303"),
        text.replace("blake3:cf", "blake3:CF"),
        text.replace("\"write\"", "\"Write\""),
        text.replace("\"PutObject\"", "\"\""),
        text.replace("\"PutObject\"", &format!("\"{}\"", "x".repeat(513))),
        text.replace("ed25519:", "sr25519:"),
        format!("{text}\n"),
    ];
    for other in spellings {
        assert_ne!(other, text);
        assert!(Record::parse(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn a_signature_covers_every_member_but_the_signatures() {
    let signed = signed();
    let key = Wallet::from_seed(&[5; 32]).public_key();
    assert_eq!(signed.signers(), Ok(vec![key]));
    let mut twice = signed.clone();
    twice.sign(&Wallet::from_seed(&[6; 32])).unwrap();
    assert_eq!(
        twice.signers().unwrap(),
        [key, Wallet::from_seed(&[6; 32]).public_key()]
    );
    let changes: [fn(&mut Record); 13] = [
        |r| r.record_id.0[0] ^= 1,
        |r| r.agent.push('x'),
        |r| r.vault_scope.push('x'),
        |r| r.operation.push('x'),
        |r| r.compute.cpu_ms += 1,
        |r| r.result_hash = ResultHash::None,
        |r| r.grant_id = Some("g".into()),
        |r| r.bytes -= 1,
        |r| r.time = Timestamp::from_ms(r.time.ms() + 1),
        |r| r.operation_id.0[0] ^= 1,
        |r| r.attempt += 1,
        |r| r.purpose = Purpose::Gc,
        |r| r.status.push('x'),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut other = signed.clone();
        change(&mut other);
        assert_eq!(
            other.signers(),
            Err(RecordError::Signature { index: 0 }),
            "change {place}"
        );
    }
}

/// Without the blind a guesser wins; with it the same guess says nothing. The first half proves that the second is a
/// test at all.
#[test]
fn a_commitment_cannot_be_matched_by_guessing_the_record() {
    let secret = Record {
        operation: "GetObject".into(),
        bytes: 4_711,
        ..record()
    }
    .canonical_bytes()
    .unwrap();
    let guesses: Vec<Vec<u8>> = (4_000..5_000)
        .map(|bytes| {
            Record {
                operation: "GetObject".into(),
                bytes,
                ..record()
            }
            .canonical_bytes()
            .unwrap()
        })
        .collect();
    let known_blind = [0; 32];
    let public = commitment(&known_blind, &secret);
    assert_eq!(
        guesses
            .iter()
            .filter(|guess| commitment(&known_blind, guess) == public)
            .count(),
        1
    );
    let public = commitment(&[0x5a; 32], &secret);
    assert_eq!(
        guesses
            .iter()
            .filter(|guess| commitment(&known_blind, guess) == public)
            .count(),
        0
    );
}

#[test]
fn times_agree_with_known_dates() {
    let known = [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (u64::MAX, "9999-12-31T23:59:59.999Z"),
    ];
    for (ms, text) in known {
        assert_eq!(Timestamp::from_ms(ms).to_string(), text);
    }
    for bad in [
        "2100-02-29T00:00:00.000Z",
        "1969-12-31T23:59:59.999Z",
        "2024-02-29T24:00:00.000Z",
        "2024-02-29",
    ] {
        assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_time_comes_back_from_its_text(ms in 0..253_402_300_800_000_u64) {
        prop_assert_eq!(Timestamp::from_ms(ms).to_string().parse(), Ok(Timestamp::from_ms(ms)));
    }

    #[test]
    fn any_record_comes_back_from_its_bytes(id: [u8; 16], agent in "(?s).{1,40}", bytes: u64, ms: u32, attempt: u32) {
        let time = Timestamp::from_ms(u64::from(ms) * 1_000_003);
        let record = Record { record_id: RecordId(id), agent, bytes, time, attempt, ..record() };
        prop_assert_eq!(Record::parse(&record.canonical_bytes().unwrap()).unwrap(), record);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::parse(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn signing_first_gives_the_bytes_that_signing_and_encoding_give(agent in r#"[a-z",\[\]:\\é]{1,60}"#, traps in any::<bool>()) {
        let wallet = Wallet::from_seed(&[5; 32]);
        let mut first = record();
        first.agent = if traps { format!(r#"{agent},"signatures":[],"status":"#) } else { agent };
        let mut second = first.clone();
        let bytes = first.sign_first(&wallet).unwrap();
        second.sign(&wallet).unwrap();
        prop_assert_eq!(&bytes, &second.canonical_bytes().unwrap());
        prop_assert_eq!(&first, &second);
        prop_assert!(first.sign_first(&wallet).is_err(), "signed already");
    }
}
