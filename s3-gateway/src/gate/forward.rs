//! What the part behind the gate gets to see: path style, decoded body, no credentials.

use std::borrow::Cow;

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, Uri};

use super::{ForwardBody, Target};
use crate::auth::Place;
use crate::auth::canonical::{Query, encode, encode_path};
use crate::checksum::{Algorithm, Summer};
use crate::copy_source;
use crate::customer_key::is_secret;
use crate::encoded_word;
use crate::errors::Refusal;

/// Turns `x-amz-*` parameters of a presigned URL into the headers they stand for. They were signed with the query;
/// a header of the same name was signed too and wins.
pub(super) fn hoist(headers: &mut HeaderMap, query: &Query, place: Place) -> Result<(), Refusal> {
    if place != Place::Query {
        return Ok(());
    }
    for (name, value) in query.pairs() {
        let lower = name.to_ascii_lowercase();
        if !lower.starts_with("x-amz-") || is_credential(name) || headers.contains_key(lower.as_str()) {
            continue;
        }
        if says_nothing_of_the_body(&lower, value, query) {
            continue;
        }
        let name = HeaderName::from_bytes(lower.as_bytes());
        let value = HeaderValue::from_str(value);
        match (name, value) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => {
                return Err(Refusal::invalid_argument(
                    "A query parameter does not make a valid header",
                ));
            }
        }
    }
    Ok(())
}

/// Whether a parameter is the checksum of an empty body, or the name of its algorithm. SDKs sign these into the URL of an upload whose body
/// they do not know; any other checksum is checked.
fn says_nothing_of_the_body(name: &str, value: &str, query: &Query) -> bool {
    if name == "x-amz-sdk-checksum-algorithm" {
        return query.pairs().any(|(name, value)| {
            let name = name.to_ascii_lowercase();
            name != "x-amz-sdk-checksum-algorithm" && says_nothing_of_the_body(&name, value, query)
        });
    }
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.header() == name);
    algorithm.is_some_and(|algorithm| Summer::new(algorithm).finish().to_base64() == value)
}

/// Gives the name of a copy's source its one form.
pub(super) fn plain_copy_source(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get_mut("x-amz-copy-source") else {
        return Ok(());
    };
    let Ok(text) = value.to_str() else {
        return Ok(());
    };
    if let Cow::Owned(plain) = copy_source::plain(text) {
        let plain = HeaderValue::from_str(&plain);
        *value = plain.map_err(|_| Refusal::invalid_argument("x-amz-copy-source names no object"))?;
    }
    Ok(())
}

/// Rewrites the head: the target in path style, the query without credentials, the length of the decoded body.
pub(super) fn rewrite(
    parts: &mut Parts,
    query: &Query,
    target: &Target,
    body: &ForwardBody,
    stream_bytes: Option<u64>,
) -> Result<(), Refusal> {
    let mut path = String::from("/");
    if let Some(bucket) = &target.bucket {
        path.push_str(&encode(bucket.as_str()));
        if let Some(key) = &target.key {
            path.push('/');
            path.push_str(&encode_path(key.as_str()));
        }
    }
    let forwarded = query.forwarded(|name| is_credential(name) || is_secret(&name.to_ascii_lowercase()));
    if !forwarded.is_empty() {
        path.push('?');
        path.push_str(&forwarded);
    }
    let invalid = |_| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI.");
    parts.uri = path.parse::<Uri>().map_err(invalid)?;
    let headers = &mut parts.headers;
    for name in [AUTHORIZATION, EXPECT, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    for name in [
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
    ] {
        headers.remove(name);
    }
    let bytes = match body {
        ForwardBody::Whole(bytes) => Some(bytes.len() as u64),
        ForwardBody::Checked(_) => stream_bytes,
    };
    headers.remove(CONTENT_LENGTH);
    headers.extend(bytes.map(|bytes| (CONTENT_LENGTH, HeaderValue::from(bytes))));
    strip_aws_chunked(headers);
    Ok(())
}

/// Takes the headers that are kept with an object out of the request: the content headers and `x-amz-meta-*`, and no
/// others, so that nothing else can be set through them.
pub(super) fn take_metadata(headers: &mut HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| CONTENT_HEADERS.contains(&name.as_str()) || is_user_metadata(name.as_str()))
        .cloned()
        .collect();
    let (mut kept, mut user_bytes, mut all_bytes) = (Vec::new(), 0, 0);
    for name in names {
        let mut values = Vec::new();
        for value in headers.get_all(&name) {
            let text = std::str::from_utf8(value.as_bytes());
            values.push(
                text.map_err(|_| Refusal::invalid_argument(format!("{name} is not UTF-8")))?
                    .trim(),
            );
        }
        let mut value = values.join(",");
        if is_user_metadata(name.as_str()) {
            value = encoded_word::decode(&value).into_owned();
        }
        all_bytes += name.as_str().len() + value.len();
        if all_bytes > METADATA_BYTES_MAX {
            return Err(Refusal::metadata_too_large(all_bytes, METADATA_BYTES_MAX));
        }
        if is_user_metadata(name.as_str()) {
            user_bytes += name.as_str().len() - USER_METADATA.len() + value.len();
            if user_bytes > USER_METADATA_BYTES_MAX {
                return Err(Refusal::metadata_too_large(user_bytes, USER_METADATA_BYTES_MAX));
            }
        } else if value.is_empty() {
            continue;
        } else if value.len() > CONTENT_HEADER_BYTES_MAX {
            return Err(Refusal::metadata_too_large(value.len(), CONTENT_HEADER_BYTES_MAX));
        }
        kept.push((name.as_str().to_owned(), value));
    }
    for (name, _) in &kept {
        // The type says how s3s reads a body; it needs none of the others.
        if name != CONTENT_TYPE.as_str() {
            headers.remove(name.as_str());
        }
    }
    kept.sort();
    Ok(kept)
}

fn is_user_metadata(name: &str) -> bool {
    name.len() > USER_METADATA.len() && name.starts_with(USER_METADATA)
}

/// `aws-chunked` names the framing, which is gone; what else stands in `Content-Encoding` is the object's.
fn strip_aws_chunked(headers: &mut HeaderMap) {
    let values: Vec<String> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let kept: Vec<&str> = values
        .iter()
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|v| !v.is_empty() && !v.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    headers.remove(CONTENT_ENCODING);
    if let Ok(value) = HeaderValue::from_str(&kept.join(", "))
        && !kept.is_empty()
    {
        headers.insert(CONTENT_ENCODING, value);
    }
}

fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|c| c.eq_ignore_ascii_case(name))
}

const CREDENTIALS: [&str; 10] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Content-Sha256",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
];

/// Headers that are kept with an object beside its user metadata.
const CONTENT_HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
const USER_METADATA: &str = "x-amz-meta-";
/// S3's limit on user metadata: names without their prefix, and values.
const USER_METADATA_BYTES_MAX: usize = 2048;
/// The longest value of a content header: far below what an entry of the ledger holds.
const CONTENT_HEADER_BYTES_MAX: usize = 2048;
/// All that is kept with an object, names and values.
const METADATA_BYTES_MAX: usize = 8192;
