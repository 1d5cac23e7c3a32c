//! Versions: whether a bucket keeps them, listing them, and finding the one that a request names.
//!
//! Invariant: an answer names a version only in a bucket that keeps them or did; what was written before then is `null`.

use http::HeaderMap;
use s3s::dto::{
    BucketVersioningStatus, ChecksumAlgorithm, ChecksumType, DeleteMarkerEntry, ETag,
    GetBucketVersioningInput, GetBucketVersioningOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    ObjectVersion, ObjectVersionStorageClass, PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Response};
use vault::index::{ListedVersion, VersionsQuery};
use vault::object::{Object, VersionRef, Versioning};

use super::buckets::owner;
use super::list::{Encoding, page_size};
use super::object::{kind_name, put_header, sent_algorithm, signed, timestamp};
use super::{Answer, Asked, Halt, Key, Operations, SessionBucket, lock};
use crate::conditions::format_http_date;
use crate::errors::Refusal;
use crate::session::{Amendment, SessionError, Stored};

impl Operations {
    pub(super) async fn put_bucket_versioning(
        &self,
        asked: Asked,
        request: S3Request<PutBucketVersioningInput>,
    ) -> Answer<PutBucketVersioningOutput> {
        let wanted = request.input.versioning_configuration;
        let asks_for_mfa = wanted.mfa_delete.is_some_and(|mfa| mfa.as_str() == "Enabled");
        if asks_for_mfa || request.input.mfa.is_some() {
            return Err(Refusal::not_implemented("MFA delete is not implemented").into());
        }
        let enabled = match wanted.status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => true,
            Some(BucketVersioningStatus::SUSPENDED) => false,
            _ => {
                let message = "The Versioning element must be specified";
                return Err(Refusal::new(400, "IllegalVersioningConfigurationException", message).into());
            }
        };
        let name = asked.bucket_name()?.as_str();
        if !enabled && lock::is_enabled(&asked.bucket().await?.settings) {
            let message = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.";
            return Err(Refusal::new(409, "InvalidBucketState", message).into());
        }
        asked
            .session
            .change_bucket(&asked.caller, name, "PutBucketVersioning", move |_, settings| {
                // Locked meanwhile: whoever asks again hears so.
                if !enabled && lock::is_enabled(settings) {
                    return Err(SessionError::Busy);
                }
                settings.set_versioning(enabled);
                Ok(())
            })
            .await?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub(super) async fn get_bucket_versioning(
        &self,
        asked: Asked,
        _request: S3Request<GetBucketVersioningInput>,
    ) -> Answer<GetBucketVersioningOutput> {
        let status = match asked.bucket().await?.settings.versioning() {
            Versioning::Never => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        Ok(S3Response::new(GetBucketVersioningOutput {
            status: status.map(BucketVersioningStatus::from_static),
            mfa_delete: None,
        }))
    }

    pub(super) async fn list_object_versions(
        &self,
        asked: Asked,
        request: S3Request<ListObjectVersionsInput>,
    ) -> Answer<ListObjectVersionsOutput> {
        let input = request.input;
        let encoding = Encoding::parse(input.encoding_type.as_ref())?;
        let max_keys = page_size(input.max_keys, "max-keys")?;
        let key_marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
        let version_marker = input.version_id_marker.as_deref().filter(|id| !id.is_empty());
        if version_marker.is_some() && key_marker.is_none() {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(Refusal::invalid_argument(message).into());
        }
        let query = VersionsQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            key_marker,
            version_marker: version_marker.map(parse_version).transpose()?,
            max_keys,
        };
        let bucket = asked.bucket().await?;
        let page = asked.session.versions(&bucket, &query).await?;
        let written = |text: &String| encoding.write(text);
        let (mut versions, mut delete_markers) = (Vec::new(), Vec::new());
        for listed in &page.versions {
            if listed.object.delete_marker {
                delete_markers.push(listed_marker(&asked, listed, encoding));
            } else {
                versions.push(listed_version(&asked, listed, encoding));
            }
        }
        let (next_key, next_version) = page.next.unzip();
        let output = ListObjectVersionsOutput {
            name: Some(bucket.name),
            prefix: Some(encoding.write(&query.prefix)),
            key_marker: Some(input.key_marker.as_ref().map(written).unwrap_or_default()),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            max_keys: i32::try_from(max_keys).ok(),
            is_truncated: Some(page.truncated),
            next_key_marker: next_key.as_ref().map(written),
            next_version_id_marker: next_version.flatten().map(|version| version.to_string()),
            common_prefixes: encoding.groups(&page.common_prefixes),
            delimiter: input.delimiter.as_ref().map(written),
            encoding_type: encoding.name(),
            versions: (!versions.is_empty()).then_some(versions),
            delete_markers: (!delete_markers.is_empty()).then_some(delete_markers),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

fn listed_version(asked: &Asked, listed: &ListedVersion, encoding: Encoding) -> ObjectVersion {
    let object = &listed.object;
    let checksum = object.checksum.as_ref();
    let algorithm = checksum.map(|c| sent_algorithm(c.checksum.algorithm()).name());
    ObjectVersion {
        checksum_algorithm: algorithm.map(|name| vec![ChecksumAlgorithm::from_static(name)]),
        checksum_type: checksum.map(|c| ChecksumType::from_static(kind_name(c.kind))),
        e_tag: Some(ETag::Strong(object.etag())),
        is_latest: Some(listed.is_latest),
        key: Some(encoding.write(&object.key)),
        last_modified: Some(timestamp(object.modified_ms)),
        owner: Some(owner(asked)),
        size: Some(signed(object.plaintext_bytes)),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        version_id: Some(VersionRef::named(object.null_version, object.version).to_string()),
        ..Default::default()
    }
}

fn listed_marker(asked: &Asked, listed: &ListedVersion, encoding: Encoding) -> DeleteMarkerEntry {
    let object = &listed.object;
    DeleteMarkerEntry {
        is_latest: Some(listed.is_latest),
        key: Some(encoding.write(&object.key)),
        last_modified: Some(timestamp(object.modified_ms)),
        owner: Some(owner(asked)),
        version_id: Some(VersionRef::named(object.null_version, object.version).to_string()),
    }
}

/// The version that a request names.
pub(super) fn parse_version(text: &str) -> Result<VersionRef, Halt> {
    let invalid = || Halt::from(Refusal::invalid_argument("Invalid version id specified"));
    text.parse().map_err(|_| invalid())
}

/// Changes the version that a request names, or the current one, under the request's own operation.
pub(super) async fn amend(
    asked: &Asked,
    (bucket, key): (&SessionBucket, &Key),
    version: Option<&str>,
    change: impl Fn(&mut Amendment) -> Result<(), SessionError> + Send + Sync + 'static,
) -> Result<Stored, Halt> {
    let version = version.map(parse_version).transpose()?;
    let (caller, operation) = (&asked.caller, asked.admitted.operation);
    let change = move |_: &Object, amended: &mut Amendment| change(amended);
    let amended = asked
        .session
        .amend_object(caller, (bucket, key), version, operation, change);
    Ok(amended.await?)
}

/// The version that an answer names: only in a bucket that keeps versions, or did.
pub(super) fn version_id(bucket: &SessionBucket, object: &Object) -> Option<String> {
    let kept = bucket.settings.versioning() != Versioning::Never;
    kept.then(|| VersionRef::of(object).to_string())
}

/// The version that an answer to a write names: none where the write took the null version's place.
pub(super) fn written_version_id(object: &Object) -> Option<String> {
    (!object.null_version).then(|| object.version.to_string())
}

/// The object that a request is about: the version that it names, or the current one.
///
/// # Errors
/// What S3 answers where a delete marker stands: 404 for the current version, 405 for one that was named.
pub(super) async fn find_version(
    asked: &Asked,
    bucket: &SessionBucket,
    key: &Key,
    version: Option<&str>,
) -> Result<Stored, Halt> {
    let Some(version) = version else {
        let stored = asked.session.current(bucket, key).await?;
        if stored.object.delete_marker {
            let headers = marker_headers(&stored.object);
            return Err(Halt::with_headers(
                Refusal::from(&SessionError::NoSuchKey),
                headers,
            ));
        }
        return Ok(stored);
    };
    let stored = asked
        .session
        .version(bucket, key, parse_version(version)?)
        .await?;
    if stored.object.delete_marker {
        let mut headers = marker_headers(&stored.object);
        put_header(
            &mut headers,
            "last-modified",
            &format_http_date(stored.object.modified_ms),
        );
        put_header(&mut headers, "allow", "DELETE");
        let message = "The specified method is not allowed against this resource.";
        return Err(Halt::with_headers(
            Refusal::new(405, "MethodNotAllowed", message),
            headers,
        ));
    }
    Ok(stored)
}

fn marker_headers(marker: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    put_header(&mut headers, "x-amz-delete-marker", "true");
    put_header(
        &mut headers,
        "x-amz-version-id",
        &VersionRef::of(marker).to_string(),
    );
    headers
}
