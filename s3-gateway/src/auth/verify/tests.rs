//! The published examples of the S3 API reference, and what may not be accepted as one of them.

use http::HeaderName;
use scopes::{Credential, CredentialName, VaultId};
use zeroize::Zeroizing;

use super::*;
use crate::auth::payload::EMPTY_SHA256;

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z.
const NOW_MS: u64 = 1_369_353_600_000;

fn lookup(id: &str) -> Option<SigningCredential> {
    (id == KEY).then(|| SigningCredential {
        secret: Zeroizing::new(SECRET.as_bytes().to_vec()),
        credential: Credential::without_rights(VaultId([1; 16]), 0),
        name: CredentialName([2; 8]),
    })
}

struct Example {
    method: Method,
    path: &'static str,
    query: Option<String>,
    headers: Vec<(&'static str, String)>,
    now_ms: u64,
}

impl Example {
    fn new(method: Method, path: &'static str, signed: &str, signature: &str) -> Self {
        let mut example = Self {
            method,
            path,
            query: None,
            headers: Vec::new(),
            now_ms: NOW_MS,
        };
        example.set("host", "examplebucket.s3.amazonaws.com");
        example.set("x-amz-date", "20130524T000000Z");
        example.set("x-amz-content-sha256", EMPTY_SHA256);
        let scope = format!("{KEY}/20130524/us-east-1/s3/aws4_request");
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={scope},SignedHeaders={signed},Signature={signature}");
        example.set("authorization", &authorization);
        example
    }

    fn set(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn verify(&self) -> Result<Verified, AuthError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        let query = Query::parse(self.query.as_deref())?;
        let request = Request {
            method: &self.method,
            path: self.path,
            query: &query,
            headers: &headers,
        };
        let verifier = Verifier::new(VerifierConfig {
            region: "us-east-1".into(),
        });
        let pending = verifier.begin(&request, self.now_ms)?;
        let found = lookup(pending.access_key_id());
        verifier.finish(pending, found)
    }
}

fn get_object() -> Example {
    let mut example = Example::new(
        Method::GET,
        "/test.txt",
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    example.set("range", "bytes=0-9");
    example
}

fn presigned() -> Example {
    let mut example = Example::new(Method::GET, "/test.txt", "host", "");
    example.headers.retain(|(name, _)| *name == "host");
    example.query = Some(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F\
         aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
         aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
            .to_owned(),
    );
    example
}

fn error(example: &Example) -> AuthError {
    example.verify().unwrap_err()
}

#[test]
fn the_published_examples_verify() {
    assert!(get_object().verify().is_ok());
    let mut put = Example::new(
        Method::PUT,
        "/test$file.text",
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    put.set("date", "Fri, 24 May 2013 00:00:00 GMT");
    put.set("x-amz-storage-class", "REDUCED_REDUNDANCY");
    put.set(
        "x-amz-content-sha256",
        "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    );
    assert!(put.verify().is_ok());
    let mut lifecycle = Example::new(
        Method::GET,
        "/",
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
    lifecycle.query = Some("lifecycle".into());
    assert!(lifecycle.verify().is_ok());
    let mut list = Example::new(
        Method::GET,
        "/",
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
    list.query = Some("prefix=J&max-keys=2".into());
    assert!(list.verify().is_ok());
    assert!(presigned().verify().is_ok());
}

#[test]
fn any_change_to_what_is_signed_is_noticed() {
    let mut other = get_object();
    other.method = Method::HEAD;
    assert_eq!(error(&other), AuthError::Signature);
    other = get_object();
    other.path = "/test.txT";
    assert_eq!(error(&other), AuthError::Signature);
    other = get_object();
    other.query = Some("versionId=1".into());
    assert_eq!(error(&other), AuthError::Signature);
    other = get_object();
    other.set("range", "bytes=0-10");
    assert_eq!(error(&other), AuthError::Signature);
    other = get_object();
    other.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    assert_eq!(error(&other), AuthError::Signature);
    other = presigned();
    other.query = other.query.map(|q| q.replace("86400", "86401"));
    assert_eq!(error(&other), AuthError::Signature);
}

#[test]
fn an_unsigned_host_or_amz_header_is_refused() {
    let mut example = get_object();
    example.set("x-amz-meta-added", "on the way");
    assert_eq!(
        error(&example),
        AuthError::Unsigned {
            header: "x-amz-meta-added".into()
        }
    );
    let mut example = get_object();
    let signed = "range;x-amz-content-sha256;x-amz-date";
    let text = format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20130524/us-east-1/s3/aws4_request, SignedHeaders={signed}, \
         Signature={}",
        "0".repeat(64)
    );
    example.set("authorization", &text);
    assert_eq!(
        error(&example),
        AuthError::Unsigned {
            header: "host".into()
        }
    );
}

#[test]
fn region_service_and_day_are_checked() {
    let swap = |from: &str, to: &str| {
        let mut example = get_object();
        let (_, text) = example
            .headers
            .iter()
            .find(|(n, _)| *n == "authorization")
            .unwrap();
        let text = text.replace(from, to);
        example.set("authorization", &text);
        error(&example)
    };
    let region = AuthError::Region {
        place: Place::Header,
        expected: "us-east-1".into(),
    };
    assert_eq!(swap("us-east-1", "eu-west-1"), region);
    assert!(matches!(swap("/s3/", "/sts/"), AuthError::Malformed { .. }));
    assert!(matches!(
        swap("/20130524/", "/20130523/"),
        AuthError::Malformed { .. }
    ));
    assert!(matches!(
        swap("aws4_request", "aws4_requesT"),
        AuthError::Malformed { .. }
    ));
    assert_eq!(
        swap("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        AuthError::Algorithm
    );
    assert_eq!(swap(KEY, "AKIAIOSFODNN7OTHERS"), AuthError::UnknownKey);
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let at = |now_ms| {
        let mut example = get_object();
        example.now_ms = now_ms;
        example.verify().err()
    };
    assert_eq!(at(NOW_MS + 900_000), None);
    assert_eq!(at(NOW_MS + 901_000), Some(AuthError::Skew { skew_s: 901 }));
    assert_eq!(at(NOW_MS - 900_000), None);
    assert_eq!(at(NOW_MS - 901_000), Some(AuthError::Skew { skew_s: 901 }));
}

#[test]
fn presigned_urls_live_as_long_as_they_say_and_no_longer_than_a_week() {
    let at = |now_ms| {
        let mut example = presigned();
        example.now_ms = now_ms;
        example.verify().err()
    };
    assert_eq!(at(NOW_MS + 86_399_000), None);
    assert_eq!(at(NOW_MS + 86_400_000), Some(AuthError::UrlExpired));
    assert_eq!(at(NOW_MS - 901_000), Some(AuthError::NotYet));
    for expires in ["604801", "0", "-1", "1e3", "", "99999999999999999999"] {
        let mut example = presigned();
        example.query = example.query.map(|q| q.replace("86400", expires));
        assert!(
            matches!(
                error(&example),
                AuthError::Malformed {
                    place: Place::Query,
                    ..
                }
            ),
            "{expires}"
        );
    }
}

#[test]
fn exactly_one_set_of_credentials_is_looked_at() {
    let mut both = get_object();
    both.query = presigned().query;
    assert_eq!(error(&both), AuthError::Several);
    let mut both = get_object();
    both.query = Some("AWSAccessKeyId=a&Signature=b&Expires=1".into());
    assert_eq!(error(&both), AuthError::Several);
    let mut two = get_object();
    let (_, text) = two
        .headers
        .iter()
        .find(|(n, _)| *n == "authorization")
        .unwrap()
        .clone();
    two.headers.push(("authorization", text));
    assert_eq!(error(&two), AuthError::Several);
    let mut twice = presigned();
    twice.query = twice
        .query
        .map(|q| format!("{q}&X-Amz-Signature={}", "0".repeat(64)));
    assert_eq!(error(&twice), AuthError::Several);
    let mut none = get_object();
    none.headers.retain(|(name, _)| *name != "authorization");
    assert_eq!(error(&none), AuthError::Anonymous);
}

#[test]
fn version_2_and_session_tokens_are_refused() {
    let mut v2 = get_object();
    v2.set(
        "authorization",
        "AWS AKIAIOSFODNN7EXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=",
    );
    assert_eq!(error(&v2), AuthError::Version2);
    let mut v2 = get_object();
    v2.headers.retain(|(name, _)| *name != "authorization");
    v2.query = Some("AWSAccessKeyId=a&Signature=b&Expires=1".into());
    assert_eq!(error(&v2), AuthError::Version2);
    let mut token = get_object();
    token.set("x-amz-security-token", "anything");
    assert_eq!(error(&token), AuthError::SessionToken);
    let mut token = presigned();
    token.query = token.query.map(|q| format!("{q}&X-Amz-Security-Token=anything"));
    assert_eq!(error(&token), AuthError::SessionToken);
}

#[test]
fn the_payload_mode_is_stated_and_known() {
    let mut example = get_object();
    example
        .headers
        .retain(|(name, _)| *name != "x-amz-content-sha256");
    assert_eq!(error(&example), AuthError::PayloadMissing);
    for (text, expected) in [
        (
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            AuthError::PayloadUnsupported,
        ),
        ("STREAMING-SOMETHING-ELSE", AuthError::PayloadInvalid),
        ("unsigned-payload", AuthError::PayloadInvalid),
        ("", AuthError::PayloadInvalid),
    ] {
        let mut example = get_object();
        example.set("x-amz-content-sha256", text);
        assert_eq!(error(&example), expected, "{text}");
    }
    let mut streamed = presigned();
    let signed = "host%3Bx-amz-content-sha256";
    streamed.query = streamed
        .query
        .map(|q| q.replace("SignedHeaders=host", &format!("SignedHeaders={signed}")));
    streamed.set("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    assert_eq!(error(&streamed), AuthError::PayloadUnsupported);
}
