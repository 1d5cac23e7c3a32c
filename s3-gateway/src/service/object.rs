//! What several operations share: how objects look in headers, what writes may ask for, how bodies are read.

use std::time::{Duration, UNIX_EPOCH};

use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::{ETag, StreamingBlob, Timestamp};
use tokio::time::{Instant, MissedTickBehavior};
use vault::object::{Checksum, ChecksumAlgorithm, ChecksumKind, Object, ObjectChecksum, Upload};

use super::{Asked, Halt, SessionBucket, encryption};
use crate::body::BodyError;
use crate::checksum::{Algorithm, Summer, Value};
use crate::conditions::{Preconditions, Tags};
use crate::digests::Digests;
use crate::encoded_word;
use crate::errors::Refusal;
use crate::session::{Condition, ETagMatch, FinishedStream, StreamWriter};

/// Refuses headers for parts of S3 that are not there, rather than ignoring what a client relies on.
pub(super) fn check_write_headers(headers: &HeaderMap) -> Result<(), Halt> {
    for (name, value) in headers {
        let refused = match name.as_str() {
            "x-amz-storage-class" if value.as_bytes() != b"STANDARD" => {
                let message = "The storage class you specified is not valid";
                return Err(Refusal::new(400, "InvalidStorageClass", message).into());
            }
            "x-amz-website-redirect-location" | "x-amz-write-offset-bytes" => true,
            other if encryption::is_ours(other) => false,
            other => REFUSED_PREFIXES.iter().any(|prefix| other.starts_with(prefix)),
        };
        if refused {
            // The value is the client's own.
            let message = format!("The header {name} with this value is not implemented");
            return Err(Refusal::not_implemented(message).into());
        }
    }
    Ok(())
}

/// The condition of a write.
pub(super) fn write_condition(conditions: &Preconditions) -> Result<Condition, Halt> {
    let unsupported = |message: &'static str| Halt::from(Refusal::not_implemented(message));
    let one = |tags: &Tags| match tags {
        Tags::Any => Ok(ETagMatch::Any),
        Tags::List(list) => match list.as_slice() {
            [tag] => Ok(ETagMatch::Tag(tag.clone())),
            _ => Err(unsupported(
                "A write on condition of several ETags is not implemented",
            )),
        },
    };
    match (&conditions.if_match, &conditions.if_none_match) {
        (Some(_), Some(_)) => Err(unsupported(
            "A write with both If-Match and If-None-Match is not implemented",
        )),
        (Some(tags), None) => Ok(Condition::IfMatch(one(tags)?)),
        (None, Some(tags)) => Ok(Condition::IfNoneMatch(one(tags)?)),
        (None, None) => Ok(Condition::None),
    }
}

/// How often a body is looked at that is on its way in: a slow one gives back the room it holds when others need it.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// Streams a checked body into a bucket, under the customer's key of the request; nothing is published by that. The body of a
/// part that comes without a checksum gets the one that its upload announced.
pub(super) async fn receive(
    asked: &Asked,
    bucket: &SessionBucket,
    part_of: Option<&Upload>,
    body: Option<StreamingBlob>,
) -> Result<(FinishedStream, Digests), Halt> {
    let admitted = &asked.admitted;
    let key = admitted.keys.target_key();
    let otherwise = part_of.and_then(|upload| upload.checksum_algorithm);
    let otherwise = otherwise.map(sent_algorithm);
    let mut summer = otherwise.filter(|_| admitted.checksum.is_none()).map(Summer::new);
    let mut writer: StreamWriter = match part_of {
        Some(upload) => asked.session.part_stream(bucket, upload, key).await?,
        None => asked.session.stream(bucket, key).await?,
    }
    .because(asked.caller.writing());
    if let Some(mut body) = body {
        let mut look = tokio::time::interval_at(Instant::now() + SETTLE_EVERY, SETTLE_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let part = tokio::select! {
                biased;
                _ = look.tick() => {
                    writer.settle().await?;
                    continue;
                }
                part = body.next() => part,
            };
            let Some(part) = part else { break };
            match part {
                Ok(bytes) => {
                    if let Some(summer) = &mut summer {
                        summer.update(&bytes);
                    }
                    writer.write(bytes).await?;
                }
                Err(error) => {
                    let known = error.downcast_ref::<BodyError>().cloned();
                    return Err(known.unwrap_or(BodyError::Broken).into());
                }
            }
        }
    }
    // Only a body that ended cleanly has digests.
    let mut digests = admitted.digests.get().cloned().ok_or(BodyError::Broken)?;
    if let Some(summer) = summer {
        digests.checksum = Some(summer.finish());
    }
    Ok((writer.finish().await?, digests))
}

/// The MD5 of a body, which the gate computes for every object and part.
pub(super) fn md5_of(digests: &Digests) -> Result<[u8; 16], Halt> {
    digests.md5.ok_or_else(|| BodyError::Broken.into())
}

pub(super) fn stored_algorithm(algorithm: Algorithm) -> ChecksumAlgorithm {
    match algorithm {
        Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
        Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
        Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64nvme,
        Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
        Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
    }
}

pub(super) fn sent_algorithm(algorithm: ChecksumAlgorithm) -> Algorithm {
    algorithm.into()
}

/// A computed checksum in the form in which it is stored.
pub(super) fn stored_checksum(value: &Value) -> Option<Checksum> {
    Checksum::new(stored_algorithm(value.algorithm), &value.bytes)
}

/// A stored checksum in the form in which it is sent.
pub(super) fn sent_checksum(checksum: &Checksum) -> Value {
    Value {
        algorithm: sent_algorithm(checksum.algorithm()),
        bytes: checksum.value().to_vec(),
    }
}

/// `COMPOSITE` or `FULL_OBJECT`.
pub(super) const fn kind_name(kind: ChecksumKind) -> &'static str {
    match kind {
        ChecksumKind::Composite => "COMPOSITE",
        ChecksumKind::FullObject => "FULL_OBJECT",
    }
}

/// A checksum's text: base64, with the number of parts behind a composite one.
pub(super) fn checksum_text(checksum: &ObjectChecksum, parts: u32) -> String {
    let text = sent_checksum(&checksum.checksum).to_base64();
    if checksum.kind == ChecksumKind::Composite {
        format!("{text}-{parts}")
    } else {
        text
    }
}

/// The checksum headers of a whole object.
pub(super) fn put_checksum(headers: &mut HeaderMap, checksum: &ObjectChecksum, parts: u32) {
    let name = sent_algorithm(checksum.checksum.algorithm()).header();
    put_header(headers, name, &checksum_text(checksum, parts));
    put_header(headers, "x-amz-checksum-type", kind_name(checksum.kind));
}

/// The content headers and user metadata of an object.
pub(super) fn put_metadata(headers: &mut HeaderMap, object: &Object) {
    for (name, value) in &object.metadata {
        if name.starts_with("x-amz-meta-") {
            put_header(headers, name, &encoded_word::encode(value));
        } else {
            put_header(headers, name, value);
        }
    }
    if object.metadata("content-type").is_none() {
        put_header(headers, "content-type", "binary/octet-stream");
    }
}

/// Sets a header; a value that cannot be one is left out.
pub(super) fn put_header(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_bytes(value.as_bytes()),
    ) {
        headers.insert(name, value);
    }
}

pub(super) fn etag(object: &Object) -> ETag {
    ETag::Strong(object.etag())
}

/// Milliseconds since 1970 as s3s writes them.
pub(super) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(ms))
}

/// A length as s3s wants it.
pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

const REFUSED_PREFIXES: [&str; 2] = ["x-amz-server-side-encryption", "x-amz-copy-source-server-side"];
