//! AWS Signature Version 4 in the `Authorization` header, the signing side.
//!
//! Source: AWS General Reference, "Authenticating Requests (AWS Signature Version 4)". Every header that is sent is
//! signed, and the payload's hash always names the payload.

use std::fmt;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use zeroize::Zeroizing;

/// A credential for one region.
#[derive(Clone)]
pub struct Signer {
    access_key_id: String,
    secret: Zeroizing<String>,
    region: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Signer(..)")
    }
}

impl Signer {
    /// Signs with this credential for this region.
    pub const fn new(access_key_id: String, secret: Zeroizing<String>, region: String) -> Self {
        Self {
            access_key_id,
            secret,
            region,
        }
    }

    /// Adds `x-amz-date`, `x-amz-content-sha256` and `authorization`, signed now.
    pub fn sign(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &mut Vec<(HeaderName, String)>,
        body_sha256: &str,
    ) {
        self.sign_at(
            OffsetDateTime::from(SystemTime::now()),
            method,
            path,
            query,
            headers,
            body_sha256,
        );
    }

    pub(super) fn sign_at(
        &self,
        now: OffsetDateTime,
        method: &str,
        path: &str,
        query: &str,
        headers: &mut Vec<(HeaderName, String)>,
        body_sha256: &str,
    ) {
        // Formatting a valid date by a constant description cannot fail; an empty date would only be refused.
        let moment = now.format(MOMENT).unwrap_or_default();
        let day = moment.get(..8).unwrap_or_default().to_owned();
        headers.push((HeaderName::from_static("x-amz-date"), moment.clone()));
        headers.push((
            HeaderName::from_static("x-amz-content-sha256"),
            body_sha256.to_owned(),
        ));
        headers.sort_by(|(left, _), (right, _)| left.as_str().cmp(right.as_str()));

        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{}:{}\n", name.as_str(), value.trim()))
            .collect();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body_sha256}");
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
            payload_hash(canonical.as_bytes())
        );

        let first = Zeroizing::new(format!("AWS4{}", self.secret.as_str()));
        let mut key = Zeroizing::new(hmac(first.as_bytes(), day.as_bytes()));
        for step in [self.region.as_bytes(), b"s3", b"aws4_request"] {
            key = Zeroizing::new(hmac(key.as_slice(), step));
        }
        let signature = hex::encode(hmac(key.as_slice(), to_sign.as_bytes()));
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.access_key_id
        );
        headers.push((http::header::AUTHORIZATION, value));
    }
}

/// The lower-case hex SHA-256 of a body.
pub fn payload_hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

/// Percent-encodes everything but the unreserved characters, and `/` only if it is not to be kept.
pub(super) fn encode(text: &str, keep_slash: bool) -> String {
    utf8_percent_encode(text, if keep_slash { &PATH } else { &UNRESERVED }).to_string()
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

const MOMENT: StaticFormatDescription = format_description!("[year][month][day]T[hour][minute][second]Z");
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const PATH: AsciiSet = UNRESERVED.remove(b'/');
