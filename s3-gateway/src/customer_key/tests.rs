//! What is taken for a key, what is refused, and what stays behind.

use super::*;

const KEY: &str = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=";
const MD5: &str = "DWygnHRtgiJ77HCm+1rvHw==";

fn headers(start: &str, fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (end, value) in fields {
        let name: http::HeaderName = format!("{start}{end}").parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn whole(start: &str) -> HeaderMap {
    headers(start, &[("algorithm", "AES256"), ("key", KEY), ("key-md5", MD5)])
}

#[test]
fn a_key_is_taken_out_of_the_request_and_never_printed() {
    let mut request = whole(TARGET);
    request.extend(whole(SOURCE));
    let keys = CustomerKeys::take(&mut request, "CopyObject", true).unwrap();
    assert!(request.is_empty());
    let bytes: [u8; 32] = STANDARD.decode(KEY).unwrap().try_into().unwrap();
    assert_eq!(keys.target_key(), Some(&CustomerKey::from_bytes(bytes)));
    assert_eq!(keys.source_key(), keys.target_key());
    assert_eq!(keys.target.as_ref().map(|sent| sent.md5.as_str()), Some(MD5));
    let printed = format!("{keys:?}");
    assert!(
        !printed.contains(KEY) && !printed.contains("164, 237"),
        "{printed}"
    );
}

#[test]
fn an_operation_without_use_for_a_key_throws_it_away_unread() {
    let mut request = headers(TARGET, &[("key", "nonsense")]);
    request.extend(whole(SOURCE));
    let keys = CustomerKeys::take(&mut request, "DeleteObject", false).unwrap();
    assert!(request.is_empty() && keys.target.is_none() && keys.source.is_none());
    let mut request = whole(SOURCE);
    let keys = CustomerKeys::take(&mut request, "PutObject", true).unwrap();
    assert!(request.is_empty() && keys.source.is_none());
}

#[test]
fn what_is_no_whole_key_is_refused_for_its_reason() {
    let short = STANDARD.encode([1; 31]);
    let other = STANDARD.encode([1; 16]);
    let cases: [(&[(&str, &str)], SentKeyError); 8] = [
        (&[("key", KEY), ("key-md5", MD5)], SentKeyError::AlgorithmMissing),
        (
            &[("algorithm", "AES192"), ("key", KEY), ("key-md5", MD5)],
            SentKeyError::Algorithm,
        ),
        (&[("algorithm", "AES256")], SentKeyError::KeyMissing),
        (
            &[("algorithm", "AES256"), ("key", &short), ("key-md5", MD5)],
            SentKeyError::Key,
        ),
        (
            &[("algorithm", "AES256"), ("key", "?"), ("key-md5", MD5)],
            SentKeyError::Key,
        ),
        (&[("algorithm", "AES256"), ("key", KEY)], SentKeyError::Md5Missing),
        (
            &[("algorithm", "AES256"), ("key", KEY), ("key-md5", &other)],
            SentKeyError::Md5,
        ),
        (
            &[
                ("algorithm", "AES256"),
                ("key", KEY),
                ("key", KEY),
                ("key-md5", MD5),
            ],
            SentKeyError::KeyMissing,
        ),
    ];
    for (fields, error) in cases {
        let taken = CustomerKeys::take(&mut headers(TARGET, fields), "GetObject", true);
        assert_eq!(taken.err(), Some(error), "{fields:?}");
    }
    let taken = CustomerKeys::take(&mut whole(TARGET), "GetObject", false);
    assert_eq!(taken.err(), Some(SentKeyError::Insecure));
}

#[test]
fn only_the_headers_with_the_keys_themselves_are_secret() {
    for name in [
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-key",
    ] {
        assert!(is_secret(name));
    }
    for name in [
        "x-amz-server-side-encryption-customer-key-md5",
        "x-amz-server-side-encryption-customer-algorithm",
    ] {
        assert!(!is_secret(name));
    }
}
