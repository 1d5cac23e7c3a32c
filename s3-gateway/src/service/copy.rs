//! CopyObject, and what it shares with UploadPartCopy: finding and judging the source.

use s3s::dto::{CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource};
use s3s::{S3Request, S3Response};
use vault::object::{ChecksumKind, ObjectChecksum};

use super::encryption::Encryption;
use super::object::{
    check_write_headers, checksum_text, etag, kind_name, md5_of, sent_algorithm, stored_checksum, timestamp,
    write_condition,
};
use super::versions::{find_version, version_id, written_version_id};
use super::{Answer, Asked, Halt, Key, Operations, SessionBucket, attributes};
use crate::checksum::Algorithm;
use crate::conditions::Verdict;
use crate::customer_key::CustomerKeys;
use crate::digests::Hasher;
use crate::errors::Refusal;
use crate::session::{Attributes, Condition, CopyChanges, NewObject, Restream, SessionError, Stored};

/// The largest object that one CopyObject copies, in bytes.
const COPY_BYTES_MAX: u64 = 5 << 30;

impl Operations {
    pub(super) async fn copy_object(
        &self,
        asked: Asked,
        request: S3Request<CopyObjectInput>,
    ) -> Answer<CopyObjectOutput> {
        check_write_headers(&request.headers)?;
        let input = &request.input;
        let condition = write_condition(&asked.admitted.conditions)?;
        let replace = replaces(input.metadata_directive.as_ref().map(|d| d.as_str()), "metadata")?;
        let replaces_tags = replaces(input.tagging_directive.as_ref().map(|d| d.as_str()), "tagging")?;
        let bucket = asked.bucket().await?;
        let key = asked.key()?;
        let encryption =
            Encryption::of_write(&request.headers, &bucket, asked.admitted.keys.target.as_ref())?;
        let (from, stored) = find_source(&asked, &input.copy_source).await?;
        let wanted = wanted_algorithm(input.checksum_algorithm.as_ref().map(|a| a.as_str()))?;
        let older = matches!(
            &input.copy_source,
            CopySource::Bucket {
                version_id: Some(_),
                ..
            }
        );
        let changed =
            replace || wanted.is_some() || encryption.is_some() || older || stored.object.customer.is_some();
        if from.scope == bucket.scope && stored.object.key == key.as_str() && !changed {
            let message = "This copy request is illegal because it is trying to copy an object to itself without \
                           changing the object's metadata, storage class, website redirect location or encryption \
                           attributes.";
            return Err(Refusal::invalid_request(message).into());
        }
        let bytes = stored.object.plaintext_bytes;
        if bytes > COPY_BYTES_MAX {
            let message = "The specified copy source is larger than the maximum allowable size for a copy source: \
                           5368709120";
            return Err(Refusal::invalid_request(message).into());
        }
        let mut attributes = attributes::of_write(&asked, &request.headers, &bucket, &encryption)?;
        if !replace {
            attributes.metadata.clone_from(&stored.object.metadata);
        }
        if !replaces_tags {
            attributes.tags.clone_from(&stored.object.tags);
        }
        let reseals = reseals(&asked.admitted.keys, (&from, &stored), &bucket);
        // What is sealed anew becomes one stream, and whatever checksum the source had is then over all of it.
        let had = stored.object.checksum.as_ref().filter(|_| reseals);
        let had = had.map(|checksum| sent_algorithm(checksum.checksum.algorithm()));
        let compute = wanted.filter(|wanted| reseals || !has_checksum(&stored, *wanted));
        let job = Job {
            attributes,
            reads: reseals || compute.is_some(),
            compute: compute.or(had),
            condition,
        };
        let copied = job.run(&asked, (&from, &stored), (&bucket, key)).await?;
        let mut result = CopyObjectResult {
            e_tag: Some(etag(&copied.object)),
            last_modified: Some(timestamp(copied.object.modified_ms)),
            ..Default::default()
        };
        if let Some(checksum) = &copied.object.checksum {
            result_checksum(&mut result, checksum, copied.object.parts);
        }
        let mut response = S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: version_id(&from, &stored.object),
            version_id: written_version_id(&copied.object),
            ..Default::default()
        });
        encryption.put(&mut response.headers);
        Ok(response)
    }
}

/// Whether a directive takes the request's own words in place of the source's.
fn replaces(directive: Option<&str>, of: &str) -> Result<bool, Halt> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(Refusal::invalid_argument(format!("Unknown {of} directive.")).into()),
    }
}

/// A copy that may be made.
struct Job {
    /// What is said of the copy; a source's lock and encryption never go with it.
    attributes: Attributes,
    /// Whether the source's bytes are read and sealed anew.
    reads: bool,
    /// The checksum that is then computed, because the source does not have it or because it would not be kept.
    compute: Option<Algorithm>,
    condition: Condition,
}

impl Job {
    async fn run(
        self,
        asked: &Asked,
        from: (&SessionBucket, &Stored),
        to: (&SessionBucket, &Key),
    ) -> Result<Stored, Halt> {
        if !self.reads {
            let changes = CopyChanges {
                attributes: self.attributes,
                checksum: None,
                etag_md5: None,
            };
            return Ok(asked
                .session
                .copy_object(&asked.caller, from, to, changes, self.condition)
                .await?);
        }
        let source = &from.1.object;
        let keys = &asked.admitted.keys;
        let what = Restream {
            range: 0..source.plaintext_bytes,
            from_key: keys.source_key().cloned(),
            to_key: keys.target_key().cloned(),
            part_of: None,
        };
        let mut hasher = Hasher::new(true, self.compute);
        let mut observe = |bytes: &[u8]| hasher.update(bytes);
        let stream = asked
            .session
            .restream(&asked.caller, from, what, to.0, &mut observe)
            .await?;
        let digests = hasher.finish();
        let new = NewObject {
            attributes: self.attributes,
            etag_md5: md5_of(&digests)?,
            checksum: digests.checksum.as_ref().and_then(stored_checksum),
        };
        Ok(asked
            .session
            .put_object(&asked.caller, to.0, to.1, stream, new, self.condition)
            .await?)
    }
}

/// The source of a copy, if its conditions hold. The right to read it was decided in `access.rs`, on the same
/// parsed name.
pub(super) async fn find_source(asked: &Asked, source: &CopySource) -> Result<(SessionBucket, Stored), Halt> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = source
    else {
        return Err(Refusal::not_implemented("Access points are not implemented").into());
    };
    let key = Key::parse(key)?;
    let bucket = asked.session.bucket(bucket).await?;
    let stored = match find_version(asked, &bucket, &key, version_id.as_deref()).await {
        Err(halt) if halt.refusal.status == 405 => {
            let message =
                "The source of a copy request may not specifically refer to a delete marker by version id.";
            return Err(Refusal::invalid_request(message).into());
        }
        found => found?,
    };
    let key = asked.admitted.keys.source_key();
    let checked = asked.session.check_key(&bucket, &stored, key);
    checked.map_err(SessionError::from)?;
    let conditions = &asked.admitted.source_conditions;
    match conditions.judge(&stored.object.etag(), stored.object.modified_ms) {
        Verdict::Hold => Ok((bucket, stored)),
        Verdict::NotModified => Err(Refusal::precondition_failed("x-amz-copy-source-If-None-Match").into()),
        Verdict::Failed(condition) => Err(SessionError::PreconditionFailed { condition }.into()),
    }
}

/// Whether a copy takes other sealed bytes than its source: one of them has a customer's key, and not both the same in the same
/// scope.
fn reseals(keys: &CustomerKeys, from: (&SessionBucket, &Stored), to: &SessionBucket) -> bool {
    match (from.1.object.customer, keys.target_key()) {
        (None, None) => false,
        _ => from.0.scope != to.scope || keys.source_key() != keys.target_key(),
    }
}

/// A checksum algorithm named in a request.
pub(super) fn wanted_algorithm(name: Option<&str>) -> Result<Option<Algorithm>, Halt> {
    let unknown = || Halt::from(Refusal::from(&crate::checksum::ChecksumError::UnknownAlgorithm));
    name.map(|name| Algorithm::from_name(name).ok_or_else(unknown))
        .transpose()
}

fn has_checksum(stored: &Stored, wanted: Algorithm) -> bool {
    stored.object.checksum.as_ref().is_some_and(|checksum| {
        checksum.kind == ChecksumKind::FullObject && sent_algorithm(checksum.checksum.algorithm()) == wanted
    })
}

fn result_checksum(result: &mut CopyObjectResult, checksum: &ObjectChecksum, parts: u32) {
    let text = Some(checksum_text(checksum, parts));
    match sent_algorithm(checksum.checksum.algorithm()) {
        Algorithm::Crc32 => result.checksum_crc32 = text,
        Algorithm::Crc32c => result.checksum_crc32c = text,
        Algorithm::Crc64Nvme => result.checksum_crc64nvme = text,
        Algorithm::Sha1 => result.checksum_sha1 = text,
        Algorithm::Sha256 => result.checksum_sha256 = text,
    }
    result.checksum_type = Some(s3s::dto::ChecksumType::from_static(kind_name(checksum.kind)));
}
