//! What an S3 client sends before anything is known of it: credentials, chunk framing, checksum headers.
//!
//! A request's head is text here: a line `METHOD target`, then `name: value` lines. A framed body is the body. Sources: "Authenticating Requests (AWS Signature Version 4)" and "Checking object
//! integrity" of the S3 documentation.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use s3_gateway::auth::canonical::{Query, canonical_headers, decode_utf8, encode, encode_path};
use s3_gateway::auth::chunked::{ChunkError, Decoder};
use s3_gateway::auth::parse::parse;
use s3_gateway::auth::payload::Payload;
use s3_gateway::auth::signing::{ChunkSigner, SigningKey};
use s3_gateway::auth::{AuthError, Request, SigningCredential, Verifier, VerifierConfig};
use s3_gateway::checksum::{Algorithm, Declared, Value};
use scopes::{Credential, CredentialName, OperationSet, ScopeSet, VaultId};
use zeroize::Zeroizing;

/// The access key id that requests of the corpus are signed with.
pub const ACCESS_KEY_ID: &str = "AKIDEXAMPLE000000000000000000000";
/// Its secret.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// When the requests of the corpus were signed: 2026-06-10T08:14:02Z, in ms since 1970.
pub const SIGNED_MS: u64 = 1_781_079_242_000;
/// The region they are signed for.
pub const REGION: &str = "us-east-1";

/// The input as the head of a signed request.
pub fn sigv4(input: &[u8]) -> bool {
    let Some((method, target, headers)) = head(input) else {
        return false;
    };
    let (raw_path, raw_query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    spelling(raw_path);
    let (Ok(path), Ok(query)) = (decode_utf8(raw_path), Query::parse(raw_query)) else {
        return false;
    };
    let canonical = query.canonical(|_| false);
    let again = Query::parse(Some(&canonical));
    assert!(
        again.is_ok_and(|again| again.canonical(|_| false) == canonical),
        "a query has two spellings"
    );
    if let Ok(claimed) = parse(&headers, &query) {
        assert!(claimed.expires_s.is_none_or(|s| (1..=604_800).contains(&s)));
        assert_eq!(claimed.day.len(), 8);
    }
    let request = Request {
        method: &method,
        path: &path,
        query: &query,
        headers: &headers,
    };
    let verified = verify(&request).is_ok();
    if verified {
        let Ok(claimed) = parse(&headers, &query) else {
            panic!("verified, and cannot be parsed")
        };
        let signed = |name: &str| claimed.signed_headers.iter().any(|signed| signed == name);
        assert!(signed("host"), "verified without host");
        let amz = headers.keys().filter(|name| name.as_str().starts_with("x-amz-"));
        assert!(
            amz.map(HeaderName::as_str).all(signed),
            "verified with an unsigned x-amz header"
        );
        assert!(canonical_headers(&headers, &claimed.signed_headers).is_some());
        assert_eq!(claimed.region, REGION);
    }
    verified
}

/// Decoding and encoding are each other's inverse.
fn spelling(raw: &str) {
    let Ok(text) = decode_utf8(raw) else { return };
    for encoded in [encode(&text), encode_path(&text)] {
        assert_eq!(
            decode_utf8(&encoded).as_deref(),
            Ok(text.as_str()),
            "a path has two readings"
        );
    }
}

fn verify(request: &Request<'_>) -> Result<(), AuthError> {
    let verifier = Verifier::new(VerifierConfig {
        region: REGION.to_owned(),
    });
    let pending = verifier.begin(request, SIGNED_MS)?;
    let found = credential_of(pending.access_key_id());
    verifier.finish(pending, found).map(|_| ())
}

fn credential_of(access_key_id: &str) -> Option<SigningCredential> {
    let mut credential = Credential::without_rights(VaultId([1; 16]), 0);
    credential.scopes = ScopeSet::All;
    credential.operations = OperationSet::all();
    let secret = Zeroizing::new(SECRET.as_bytes().to_vec());
    (access_key_id == ACCESS_KEY_ID).then(|| SigningCredential {
        secret,
        credential,
        name: CredentialName([2; 8]),
    })
}

/// The input as an aws-chunked body in each of the three modes, whole and in pieces.
pub fn aws_chunked(input: &[u8]) -> bool {
    let mut taken = false;
    let modes = [
        Payload::SignedChunks,
        Payload::SignedChunksTrailer,
        Payload::UnsignedChunksTrailer,
    ];
    for mode in modes {
        let whole = decode(mode, input, input.len());
        assert!(whole.bytes.len() <= input.len(), "a body grew by decoding");
        taken |= whole.end.is_ok();
        for step in [1, 7, 64] {
            let pieces = decode(mode, input, step);
            assert_eq!(
                whole.end.is_ok(),
                pieces.end.is_ok(),
                "pieces end otherwise than the whole"
            );
            // Where a body breaks off with an error, pieces may have been released that the whole was not asked for.
            if whole.end.is_ok() {
                assert!(whole == pieces, "pieces decode otherwise than the whole");
            }
        }
    }
    taken
}

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    bytes: Vec<u8>,
    end: Result<Vec<(String, String)>, ChunkError>,
}

/// The chain of signatures that framed bodies of the corpus continue.
pub fn chunk_signer() -> ChunkSigner {
    let key = SigningKey::derive(SECRET.as_bytes(), "20260610", REGION, "s3");
    let scope = format!("20260610/{REGION}/s3/aws4_request");
    ChunkSigner::new(key, "20260610T081402Z".to_owned(), scope, [8; 32])
}

fn decode(mode: Payload, input: &[u8], step: usize) -> Decoded {
    let Some(mut decoder) = Decoder::new(mode, chunk_signer()) else {
        panic!("the mode is chunked")
    };
    let mut bytes = Vec::new();
    for piece in input.chunks(step.max(1)) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(decoded)) => bytes.extend_from_slice(&decoded),
                Ok(None) => break,
                Err(error) => {
                    return Decoded {
                        bytes,
                        end: Err(error),
                    };
                }
            }
        }
        assert!(piece.is_empty(), "the decoder wants more and has left input");
    }
    Decoded {
        bytes,
        end: decoder.finish(),
    }
}

/// The input as the checksum headers of a request, and as the text of each checksum.
pub fn checksum_headers(input: &[u8]) -> bool {
    let mut taken = false;
    if let Ok(text) = std::str::from_utf8(input) {
        for algorithm in Algorithm::ALL {
            if let Ok(value) = Value::parse(algorithm, text) {
                assert_eq!(value.bytes.len(), algorithm.bytes());
                assert_eq!(value.to_base64(), text.trim(), "a checksum has two spellings");
                taken = true;
            }
        }
        if let Some(algorithm) = Algorithm::from_name(text) {
            assert_eq!(Algorithm::from_header(algorithm.header()), Some(algorithm));
        }
    }
    let Some((_, _, headers)) = head(input) else {
        return taken;
    };
    let Ok(declared) = Declared::from_headers(&headers) else {
        return taken;
    };
    assert!(
        declared.value.is_none() || declared.trailer.is_none(),
        "two checksums were accepted"
    );
    if let Some(value) = &declared.value {
        assert_eq!(declared.wanted(), Some(value.algorithm));
        assert_eq!(
            Value::parse(value.algorithm, &value.to_base64()).as_ref(),
            Ok(value)
        );
    }
    true
}

type Head<'a> = (Method, &'a str, HeaderMap);

fn head(input: &[u8]) -> Option<Head<'_>> {
    let mut lines = input.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut headers = HeaderMap::new();
    for line in lines.take(HEADERS_MAX) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        let name = HeaderName::from_bytes(name).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.trim_ascii()).ok()?);
    }
    Some((method.parse().ok()?, target, headers))
}

/// As many as hyper takes by default.
const HEADERS_MAX: usize = 100;
