//! The verifier: from a request's head to a verified credential, or a refusal.
//!
//! Order: one set of credentials; its scope (region, service, day); its time; every header that must be signed is;
//! the credential exists; the signature, in constant time; the credential is in force. It reads no clock.

use std::fmt::Write as _;

use http::{HeaderMap, Method, header::DATE};
use scopes::{Identity, Proof};
use time::{Date, Month, PrimitiveDateTime, Time, UtcDateTime, format_description::well_known::Rfc2822};

use super::canonical::{Query, canonical_headers, canonical_request, unsigned_header};
use super::parse::{Claimed, parse};
use super::payload::Payload;
use super::signing::{ChunkSigner, KeyCache, string_to_sign};
use super::{AuthError, Place, SigningCredential};

/// What a verifier is bound to.
#[derive(Debug, Clone)]
pub struct VerifierConfig {
    /// The one region of this gateway.
    pub region: String,
}

/// Verifies requests.
pub struct Verifier {
    config: VerifierConfig,
    keys: KeyCache,
}

/// The head of a request, as far as it is signed.
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The decoded path.
    pub path: &'a str,
    /// The decoded query.
    pub query: &'a Query,
    /// The headers, `host` as the client signed it.
    pub headers: &'a HeaderMap,
}

/// A request whose signature holds.
#[derive(Debug)]
pub struct Verified {
    /// Who it is.
    pub identity: Identity,
    /// How its body is protected.
    pub payload: Payload,
    /// The chain that signed chunks continue.
    pub chunks: ChunkSigner,
    /// Header or query.
    pub place: Place,
}

/// A request whose signature is still to be checked.
pub struct Pending<'r> {
    request: &'r Request<'r>,
    claimed: Claimed,
    time: String,
    payload: Payload,
    payload_text: String,
    now_ms: u64,
}

impl Pending<'_> {
    /// The access key id that the request names.
    pub fn access_key_id(&self) -> &str {
        &self.claimed.access_key_id
    }
}

/// A signed form whose signature is still to be checked.
#[derive(Debug)]
pub struct FormClaim {
    access_key_id: String,
    day: String,
    signature: [u8; 32],
}

impl FormClaim {
    /// The access key id that the form names.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }
}

impl Verifier {
    /// A verifier for one region.
    pub fn new(config: VerifierConfig) -> Self {
        Self {
            config,
            keys: KeyCache::default(),
        }
    }

    /// This gateway's region.
    pub fn region(&self) -> &str {
        &self.config.region
    }

    /// Everything that can be said of a request's head at `now_ms` before its access key is known.
    pub fn begin<'r>(&self, request: &'r Request<'r>, now_ms: u64) -> Result<Pending<'r>, AuthError> {
        let claimed = parse(request.headers, request.query)?;
        self.check_scope(&claimed)?;
        let time = check_time(&claimed, request.headers, now_ms)?;
        if let Some(header) = unsigned_header(request.headers, &claimed.signed_headers) {
            return Err(AuthError::Unsigned { header });
        }
        let (payload, payload_text) = payload_of(&claimed, request)?;
        Ok(Pending {
            request,
            claimed,
            time,
            payload,
            payload_text,
            now_ms,
        })
    }

    /// Checks the signature with the credential that was found for the access key.
    pub fn finish(
        &self,
        pending: Pending<'_>,
        found: Option<SigningCredential>,
    ) -> Result<Verified, AuthError> {
        let Pending {
            request,
            claimed,
            time,
            payload,
            payload_text,
            now_ms,
        } = pending;
        let found = found.ok_or(AuthError::UnknownKey)?;
        let scope = format!(
            "{}/{}/{}/aws4_request",
            claimed.day, claimed.region, claimed.service
        );
        let key = self.keys.key(
            &claimed.access_key_id,
            &found.secret,
            &claimed.day,
            &claimed.region,
            &claimed.service,
        );
        let canonical = canonical_of(&claimed, request, &payload_text)?;
        if !key.verifies(&string_to_sign(&time, &scope, &canonical), &claimed.signature) {
            return Err(AuthError::Signature);
        }
        let identity = Identity::verified(&found.credential, found.name, Proof::signature_verified());
        identity.in_force(now_ms).map_err(AuthError::NotInForce)?;
        let chunks = ChunkSigner::new(key, time, scope, claimed.signature);
        Ok(Verified {
            identity,
            payload,
            chunks,
            place: claimed.place,
        })
    }

    /// Everything that can be said of a signed form before its access key is known.
    pub fn begin_form(&self, credential: &str, date: &str, signature: &str) -> Result<FormClaim, AuthError> {
        let malformed = |what| AuthError::Malformed {
            place: Place::Query,
            what,
        };
        let mut parts = credential.rsplitn(5, '/');
        let (Some("aws4_request"), Some(service), Some(region), Some(day), Some(id)) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(malformed("the Credential is malformed"));
        };
        if region != self.config.region {
            return Err(AuthError::Region {
                place: Place::Query,
                expected: self.config.region.clone(),
            });
        }
        if service != "s3" {
            return Err(malformed("the Credential's service is not s3"));
        }
        if amz_time(date).is_none() || date.get(..8) != Some(day) {
            return Err(malformed("the Credential's date is not the day of X-Amz-Date"));
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(signature, &mut bytes).map_err(|_| AuthError::Signature)?;
        Ok(FormClaim {
            access_key_id: id.to_owned(),
            day: day.to_owned(),
            signature: bytes,
        })
    }

    /// Checks the signature of a form over its policy, which says until when it counts and what it is for.
    pub fn finish_form(
        &self,
        claim: &FormClaim,
        policy: &str,
        found: Option<SigningCredential>,
        now_ms: u64,
    ) -> Result<Identity, AuthError> {
        let found = found.ok_or(AuthError::UnknownKey)?;
        let key = self.keys.key(
            &claim.access_key_id,
            &found.secret,
            &claim.day,
            &self.config.region,
            "s3",
        );
        if !key.verifies(policy, &claim.signature) {
            return Err(AuthError::Signature);
        }
        let identity = Identity::verified(&found.credential, found.name, Proof::signature_verified());
        identity.in_force(now_ms).map_err(AuthError::NotInForce)?;
        Ok(identity)
    }

    /// How the body of a request without any credentials is protected: by no key, so by no chunk signature.
    pub fn payload_of_nobody(&self, headers: &HeaderMap) -> Result<Payload, AuthError> {
        let mut values = headers.get_all(CONTENT_SHA256).iter();
        let payload = match (values.next(), values.next()) {
            (None, _) => Payload::Unsigned,
            (Some(value), None) => Payload::parse(value.to_str().map_err(|_| AuthError::PayloadInvalid)?)?,
            (Some(_), Some(_)) => return Err(AuthError::PayloadInvalid),
        };
        match payload {
            Payload::Hash(_) | Payload::Unsigned | Payload::UnsignedChunksTrailer => Ok(payload),
            Payload::SignedChunks | Payload::SignedChunksTrailer => Err(AuthError::Anonymous),
        }
    }

    fn check_scope(&self, claimed: &Claimed) -> Result<(), AuthError> {
        if claimed.region != self.config.region {
            return Err(AuthError::Region {
                place: claimed.place,
                expected: self.config.region.clone(),
            });
        }
        if claimed.service != "s3" {
            return Err(AuthError::Malformed {
                place: claimed.place,
                what: "the Credential's service is not s3",
            });
        }
        Ok(())
    }
}

/// The payload mode and the text that stands for it in the canonical request.
fn payload_of(claimed: &Claimed, request: &Request<'_>) -> Result<(Payload, String), AuthError> {
    let mut values = request.headers.get_all(CONTENT_SHA256).iter();
    let header = values
        .next()
        .map(|v| v.to_str().map_err(|_| AuthError::PayloadInvalid))
        .transpose()?;
    if values.next().is_some() {
        return Err(AuthError::PayloadInvalid);
    }
    let text = match (claimed.place, header) {
        (_, Some(text)) => text,
        (Place::Header, None) => return Err(AuthError::PayloadMissing),
        (Place::Query, None) => {
            let stated = request
                .query
                .pairs()
                .find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_SHA256));
            stated.map_or("UNSIGNED-PAYLOAD", |(_, value)| value)
        }
    };
    let payload = Payload::parse(text)?;
    if claimed.place == Place::Query && payload.is_chunked() {
        return Err(AuthError::PayloadUnsupported);
    }
    Ok((payload, text.to_owned()))
}

fn canonical_of(claimed: &Claimed, request: &Request<'_>, payload: &str) -> Result<String, AuthError> {
    let lines = canonical_headers(request.headers, &claimed.signed_headers).ok_or(AuthError::Signature)?;
    let presigned = claimed.place == Place::Query;
    let query = request
        .query
        .canonical(|name| presigned && name == "X-Amz-Signature");
    let method = request.method.as_str();
    Ok(canonical_request(
        method,
        request.path,
        &query,
        &lines,
        &claimed.signed_headers,
        payload,
    ))
}

/// Checks the request's time and returns it as `yyyymmddThhmmssZ`.
fn check_time(claimed: &Claimed, headers: &HeaderMap, now_ms: u64) -> Result<String, AuthError> {
    let malformed = |what| AuthError::Malformed {
        place: claimed.place,
        what,
    };
    let now_s = i64::try_from(now_ms / 1000).map_err(|_| AuthError::Date)?;
    let time = match &claimed.date {
        Some(text) => amz_time(text).ok_or_else(|| malformed("X-Amz-Date is not yyyymmddThhmmssZ"))?,
        None => header_time(headers).ok_or(AuthError::Date)?,
    };
    let text = format_time(time);
    if text.get(..8) != Some(claimed.day.as_str()) {
        return Err(malformed("the Credential's date is not the day of the request"));
    }
    let ahead_s = time.unix_timestamp().saturating_sub(now_s);
    match claimed.expires_s {
        Some(_) if ahead_s > SKEW_S_MAX => Err(AuthError::NotYet),
        Some(expires_s) if now_s.saturating_sub(time.unix_timestamp()) >= expires_s.cast_signed() => {
            Err(AuthError::UrlExpired)
        }
        None if ahead_s.abs() > SKEW_S_MAX => Err(AuthError::Skew {
            skew_s: ahead_s.unsigned_abs(),
        }),
        _ => Ok(text),
    }
}

fn header_time(headers: &HeaderMap) -> Option<UtcDateTime> {
    let mut stamps = headers.get_all("x-amz-date").iter();
    if let Some(stamp) = stamps.next() {
        return stamps
            .next()
            .is_none()
            .then(|| amz_time(stamp.to_str().ok()?))
            .flatten();
    }
    let text = headers.get(DATE)?.to_str().ok()?;
    let rfc = || {
        time::OffsetDateTime::parse(text, &Rfc2822)
            .ok()
            .map(UtcDateTime::from)
    };
    amz_time(text).or_else(rfc)
}

/// Parses `yyyymmddThhmmssZ`.
fn amz_time(text: &str) -> Option<UtcDateTime> {
    let part = |range: std::ops::Range<usize>| -> Option<u16> {
        let digits = text.get(range)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())
            .flatten()
    };
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let small = |range| part(range).and_then(|v| u8::try_from(v).ok());
    let month = Month::try_from(small(4..6)?).ok()?;
    let date = Date::from_calendar_date(i32::from(part(0..4)?), month, small(6..8)?).ok()?;
    let time = Time::from_hms(small(9..11)?, small(11..13)?, small(13..15)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).as_utc())
}

fn format_time(time: UtcDateTime) -> String {
    let mut out = String::with_capacity(16);
    let _ = write!(
        out,
        "{:04}{:02}{:02}",
        time.year(),
        u8::from(time.month()),
        time.day()
    );
    let _ = write!(
        out,
        "T{:02}{:02}{:02}Z",
        time.hour(),
        time.minute(),
        time.second()
    );
    out
}

const CONTENT_SHA256: &str = "x-amz-content-sha256";
/// How far the client's clock may be off, in seconds.
const SKEW_S_MAX: i64 = 15 * 60;

#[cfg(test)]
mod tests;
