//! The canonical request: one spelling of a request's path, query and headers, as S3 signs it.
//!
//! `CanonicalRequest = method \n path \n query \n (name:value \n)* \n signed names \n payload hash`. The path is
//! decoded once and encoded once, slashes kept, nothing normalised away (S3 does not resolve `..`). The decoded
//! path and query that come out are the ones that the rest of the gateway uses, so what was signed, what was
//! authorised and what is stored cannot differ. Source: "Create a canonical request" of the S3 API reference.

use std::fmt::Write as _;

use http::HeaderMap;
use http::header::HOST;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::AuthError;

/// The query string as decoded pairs, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// A query parameter stood twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

impl Query {
    /// Decodes a raw query; `+` is a space, as in forms.
    pub fn parse(raw: Option<&str>) -> Result<Self, AuthError> {
        let mut pairs = Vec::new();
        for part in raw.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
            if pairs.len() == QUERY_PAIRS_MAX {
                return Err(AuthError::Uri);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decode = |text: &str| decode_utf8(&text.replace('+', " "));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// Whether a parameter is there, in the exact spelling.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(n, _)| n == name)
    }

    /// The value of a parameter that may stand once.
    pub fn unique(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut all = self
            .pairs
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v.as_str());
        let first = all.next();
        if all.next().is_some() {
            Err(Repeated)
        } else {
            Ok(first)
        }
    }

    /// All pairs, decoded.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The canonical query without the parameters that `skip` names: encoded, sorted, `name=value`, joined by `&`.
    pub fn canonical(&self, skip: impl Fn(&str) -> bool) -> String {
        let mut encoded: Vec<(String, String)> = self
            .pairs()
            .filter(|(n, _)| !skip(n))
            .map(|(n, v)| (encode(n), encode(v)))
            .collect();
        encoded.sort();
        join(&encoded)
    }

    /// The query for the part behind the door: the same pairs in their order without those that `skip` names.
    pub fn forwarded(&self, skip: impl Fn(&str) -> bool) -> String {
        let encoded: Vec<(String, String)> = self
            .pairs()
            .filter(|(n, _)| !skip(n))
            .map(|(n, v)| (encode(n), encode(v)))
            .collect();
        join(&encoded)
    }
}

fn join(pairs: &[(String, String)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        let _ = write!(out, "{name}={value}");
    }
    out
}

/// Percent-decodes; refuses a broken escape and bytes that are not UTF-8.
pub fn decode_utf8(text: &str) -> Result<String, AuthError> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or(AuthError::Uri)
        };
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).map_err(|_| AuthError::Uri)?);
    }
    String::from_utf8(out).map_err(|_| AuthError::Uri)
}

/// Encodes everything but `A-Z a-z 0-9 - . _ ~`.
pub fn encode(text: &str) -> String {
    percent_encode(text.as_bytes(), UNRESERVED).to_string()
}

/// The same, with slashes kept: a path in its canonical spelling.
pub fn encode_path(path: &str) -> String {
    percent_encode(path.as_bytes(), UNRESERVED_AND_SLASH).to_string()
}

/// The canonical header lines for the signed names, and nothing for a name that the request does not carry.
/// `None` when a signed header is missing.
pub fn canonical_headers(headers: &HeaderMap, signed: &[String]) -> Option<String> {
    let mut out = String::new();
    for name in signed {
        let mut values = headers.get_all(name.as_str()).iter().peekable();
        values.peek()?;
        let _ = write!(out, "{name}:");
        for (at, value) in values.enumerate() {
            if at > 0 {
                out.push(',');
            }
            // Header values beyond ASCII are signed as UTF-8; other bytes cannot be signed.
            let text = std::str::from_utf8(value.as_bytes()).ok()?;
            for (place, word) in text.split_ascii_whitespace().enumerate() {
                if place > 0 {
                    out.push(' ');
                }
                out.push_str(word);
            }
        }
        out.push('\n');
    }
    Some(out)
}

/// The first of `host` and the `x-amz-*` headers that is present but not signed.
pub fn unsigned_header(headers: &HeaderMap, signed: &[String]) -> Option<String> {
    let is_signed = |name: &str| signed.iter().any(|s| s == name);
    if !is_signed(HOST.as_str()) {
        return Some(HOST.as_str().to_owned());
    }
    headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !is_signed(name))
        .map(str::to_owned)
}

/// Puts the canonical request together.
pub fn canonical_request(
    method: &str,
    path: &str,
    query: &str,
    header_lines: &str,
    signed: &[String],
    payload: &str,
) -> String {
    format!(
        "{method}\n{}\n{query}\n{header_lines}\n{}\n{payload}",
        encode_path(path),
        signed.join(";")
    )
}

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');
const QUERY_PAIRS_MAX: usize = 256;
