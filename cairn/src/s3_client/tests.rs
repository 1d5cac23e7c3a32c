//! The signer against AWS's published example, and the answers.

use time::macros::datetime;
use zeroize::Zeroizing;

use super::*;

/// "Example: GET Object" of AWS's SigV4 documentation for S3.
#[test]
fn the_signature_is_that_of_the_published_example() {
    let secret = Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
    let signer = Signer::new("AKIAIOSFODNN7EXAMPLE".to_owned(), secret, "us-east-1".to_owned());
    let mut headers = vec![
        (http::header::HOST, "examplebucket.s3.amazonaws.com".to_owned()),
        (http::header::RANGE, "bytes=0-9".to_owned()),
    ];
    let now = datetime!(2013-05-24 0:00 UTC);
    signer.sign_at(now, "GET", "/test.txt", "", &mut headers, &payload_hash(b""));
    let (_, authorization) = headers
        .iter()
        .find(|(name, _)| name == http::header::AUTHORIZATION)
        .unwrap();
    assert!(
        authorization.ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        "{authorization}"
    );
    assert!(authorization.contains("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"));
    assert!(!format!("{signer:?}").contains("wJal"));
}

#[test]
fn keys_and_queries_are_encoded_as_they_are_signed() {
    let call = Call::new(Method::GET, "bucket", "a b/ü+%~")
        .query("prefix", "x/y &z")
        .query("list-type", "2");
    assert_eq!(call.path(), "/bucket/a%20b/%C3%BC%2B%25~");
    assert_eq!(call.query_text(), "list-type=2&prefix=x%2Fy%20%26z");
}

#[test]
fn a_listing_is_read_with_its_prefixes_and_its_next_page() {
    let body = br#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
        <Prefix></Prefix><NextContinuationToken>t&amp;1</NextContinuationToken>
        <Contents><ETag>&quot;abc&#x31;&quot;</ETag><Key>a%20b%2Fc+d</Key>
        <LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>12</Size></Contents>
        <CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes></ListBucketResult>"#;
    let page = listing(body).unwrap();
    assert_eq!(page.next.as_deref(), Some("t&1"));
    assert_eq!(page.prefixes, ["dir/"]);
    let [object] = page.objects.as_slice() else {
        panic!("{page:?}")
    };
    assert_eq!(
        (object.key.as_str(), object.bytes, object.etag.as_str()),
        ("a b/c d", 12, "abc1")
    );
}

#[test]
fn scopes_are_read_whatever_the_order_of_their_fields() {
    let body =
        b"<ListAllMyBucketsResult><Buckets><Bucket><CreationDate>d1</CreationDate><Name>a</Name></Bucket>\
        <Bucket><Name>b</Name><CreationDate>d2</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>";
    let pair = |name: &str, date: &str| (name.to_owned(), date.to_owned());
    assert_eq!(scopes(body).unwrap(), [pair("a", "d1"), pair("b", "d2")]);
}

#[test]
fn an_error_keeps_its_code_and_garbage_is_no_error_answer() {
    let body = b"<Error><Code>NoSuchKey</Code><Message>There is no such key.</Message></Error>";
    assert_eq!(
        xml::error(body).unwrap(),
        ("NoSuchKey".to_owned(), "There is no such key.".to_owned())
    );
    assert!(xml::error(b"<html>").is_none());
    assert!(listing(&[0xff]).is_err());
    assert!(upload_id(b"<a></a>").is_err());
}
