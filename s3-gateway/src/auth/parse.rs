//! Finding and parsing the one set of credentials of a request, in the header or in the query.
//!
//! Nothing is verified here. The invariant: what comes out was the only set of credentials in the request, so
//! that no later check can look at one set while another one is believed (GHSA-hv4r-mvr4-25vw).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::canonical::Query;
use super::{AuthError, Place};

/// The parts of a SigV4 signature, unverified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Header or query.
    pub place: Place,
    /// The access key id.
    pub access_key_id: String,
    /// The scope's day, `yyyymmdd`.
    pub day: String,
    /// The scope's region.
    pub region: String,
    /// The scope's service.
    pub service: String,
    /// Lower-case names, in the order given.
    pub signed_headers: Vec<String>,
    /// The 32 bytes of the signature.
    pub signature: [u8; 32],
    /// Presigned: `X-Amz-Date`.
    pub date: Option<String>,
    /// Presigned: `X-Amz-Expires` in seconds.
    pub expires_s: Option<u64>,
}

/// The longest a presigned URL may live, in seconds: seven days.
pub const EXPIRES_S_MAX: u64 = 604_800;

/// Finds the credentials and parses them.
pub fn parse(headers: &HeaderMap, query: &Query) -> Result<Claimed, AuthError> {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    let header = authorizations.next();
    let several_headers = authorizations.next().is_some();
    let in_query = V4_NAMES.iter().any(|name| query.has(name));
    let v2_in_query = query.has("AWSAccessKeyId") || (query.has("Signature") && query.has("Expires"));
    let sets = usize::from(header.is_some()) + usize::from(in_query) + usize::from(v2_in_query);
    if several_headers || sets > 1 {
        return Err(AuthError::Several);
    }
    if headers.contains_key(SECURITY_TOKEN) || query.has("X-Amz-Security-Token") {
        return Err(AuthError::SessionToken);
    }
    if v2_in_query {
        return Err(AuthError::Version2);
    }
    match header {
        Some(value) => {
            let text = value
                .to_str()
                .map_err(|_| malformed(Place::Header, "it is not ASCII"))?;
            parse_header(text)
        }
        None if in_query => parse_query(query),
        None => Err(AuthError::Anonymous),
    }
}

fn parse_header(text: &str) -> Result<Claimed, AuthError> {
    let (algorithm, rest) = text.trim().split_once([' ', '\t']).unwrap_or((text, ""));
    match algorithm {
        "AWS4-HMAC-SHA256" => {}
        "AWS" => return Err(AuthError::Version2),
        _ => return Err(AuthError::Algorithm),
    }
    let bad = |what| malformed(Place::Header, what);
    let (mut credential, mut signed, mut signature) = (None, None, None);
    for part in rest.split(',') {
        let (name, value) = part
            .trim()
            .split_once('=')
            .ok_or_else(|| bad("a part has no value"))?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed,
            "Signature" => &mut signature,
            _ => return Err(bad("it has an unknown part")),
        };
        if place.replace(value).is_some() {
            return Err(bad("a part stands twice"));
        }
    }
    claimed(
        Place::Header,
        credential.ok_or_else(|| bad("Credential is missing"))?,
        signed.ok_or_else(|| bad("SignedHeaders is missing"))?,
        signature.ok_or_else(|| bad("Signature is missing"))?,
    )
}

fn parse_query(query: &Query) -> Result<Claimed, AuthError> {
    let bad = |what| malformed(Place::Query, what);
    let one = |name: &'static str| query.unique(name).map_err(|_| AuthError::Several);
    if one("X-Amz-Algorithm")?.ok_or_else(|| bad("X-Amz-Algorithm is missing"))? != "AWS4-HMAC-SHA256" {
        return Err(AuthError::Algorithm);
    }
    let mut out = claimed(
        Place::Query,
        one("X-Amz-Credential")?.ok_or_else(|| bad("X-Amz-Credential is missing"))?,
        one("X-Amz-SignedHeaders")?.ok_or_else(|| bad("X-Amz-SignedHeaders is missing"))?,
        one("X-Amz-Signature")?.ok_or_else(|| bad("X-Amz-Signature is missing"))?,
    )?;
    let expires = one("X-Amz-Expires")?.ok_or_else(|| bad("X-Amz-Expires is missing"))?;
    let digits = !expires.is_empty() && expires.bytes().all(|b| b.is_ascii_digit());
    let seconds = expires.parse::<u64>().ok().filter(|_| digits);
    match seconds.ok_or_else(|| bad("X-Amz-Expires should be a number"))? {
        0 => return Err(bad("X-Amz-Expires must be at least 1 second")),
        s if s > EXPIRES_S_MAX => {
            return Err(bad(
                "X-Amz-Expires must be less than a week (in seconds); that is, at most 604800",
            ));
        }
        s => out.expires_s = Some(s),
    }
    out.date = Some(
        one("X-Amz-Date")?
            .ok_or_else(|| bad("X-Amz-Date is missing"))?
            .to_owned(),
    );
    Ok(out)
}

fn claimed(place: Place, credential: &str, signed: &str, signature: &str) -> Result<Claimed, AuthError> {
    let bad = |what| malformed(place, what);
    // The access key id may contain slashes, the four parts after it may not.
    let mut parts = credential.rsplitn(5, '/');
    let mut next = || {
        parts
            .next()
            .ok_or_else(|| bad("the Credential has fewer than five parts"))
    };
    let (terminator, service, region, day, access_key_id) = (next()?, next()?, next()?, next()?, next()?);
    if terminator != "aws4_request" {
        return Err(bad("the Credential does not end in aws4_request"));
    }
    if day.len() != 8 || !day.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("the Credential's date is not yyyymmdd"));
    }
    if access_key_id.is_empty() || access_key_id.len() > ACCESS_KEY_ID_BYTES_MAX {
        return Err(bad("the access key id has no length that one can have"));
    }
    let signed_headers: Vec<String> = signed.split(';').map(str::to_owned).collect();
    if signed_headers.len() > SIGNED_HEADERS_MAX {
        return Err(bad("too many headers are signed"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for name in &signed_headers {
        let plain = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
        if !plain || !seen.insert(name.as_str()) {
            return Err(bad("SignedHeaders is not a list of distinct lower-case names"));
        }
    }
    let mut bytes = [0; 32];
    let lower = !signature.bytes().any(|b| b.is_ascii_uppercase());
    if !lower || hex::decode_to_slice(signature, &mut bytes).is_err() {
        return Err(bad("the Signature is not 64 hex digits"));
    }
    Ok(Claimed {
        place,
        access_key_id: access_key_id.to_owned(),
        day: day.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
        signed_headers,
        signature: bytes,
        date: None,
        expires_s: None,
    })
}

const fn malformed(place: Place, what: &'static str) -> AuthError {
    AuthError::Malformed { place, what }
}

/// Query parameters of a V4 signature; any of them makes a request presigned.
const V4_NAMES: [&str; 5] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
];
const SECURITY_TOKEN: &str = "x-amz-security-token";
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
const SIGNED_HEADERS_MAX: usize = 64;
