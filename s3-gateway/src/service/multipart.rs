//! Multipart uploads: create, upload a part, list, complete, abort.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListPartsInput, ListPartsOutput, MultipartUpload, Part, StorageClass, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response};
use vault::index::UploadQuery;
use vault::object::{Checksum, ObjectChecksum, Upload, UploadId};

use super::buckets::owner;
use super::copy::wanted_algorithm;
use super::encryption::Encryption;
use super::list::{Encoding, page_size};
use super::object::{
    check_write_headers, checksum_text, etag, kind_name, md5_of, put_header, receive, sent_algorithm,
    sent_checksum, signed, stored_algorithm, stored_checksum, timestamp, write_condition,
};
use super::versions::written_version_id;
use super::{Answer, Asked, Halt, Operations, attributes};
use crate::auth::canonical::encode_path;
use crate::checksum::{Algorithm, ChecksumError, Value};
use crate::errors::Refusal;
use crate::session::{CompletePart, Completion, NewPart, NewUpload, SessionError, StoredPart};

/// The highest part number.
const PARTS_MAX: i32 = 10_000;

impl Operations {
    pub(super) async fn create_multipart_upload(
        &self,
        asked: Asked,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        check_write_headers(&request.headers)?;
        let input = &request.input;
        let algorithm = wanted_algorithm(input.checksum_algorithm.as_ref().map(ChecksumAlgorithm::as_str))?;
        let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
        let composite = is_composite(algorithm, kind)?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let encryption =
            Encryption::of_write(&request.headers, &bucket, asked.admitted.keys.target.as_ref())?;
        let attributes = attributes::of_write(&asked, &request.headers, &bucket, &encryption)?;
        let new = NewUpload {
            attributes,
            checksum_algorithm: algorithm.map(stored_algorithm),
            composite,
            customer: asked.admitted.keys.target_key().cloned(),
        };
        let id = asked
            .session
            .create_upload(&asked.caller, &bucket, key, new)
            .await?;
        let kind = if composite { "COMPOSITE" } else { "FULL_OBJECT" };
        let output = CreateMultipartUploadOutput {
            bucket: Some(bucket.name),
            key: Some(key.as_str().to_owned()),
            upload_id: Some(hex::encode(id.0)),
            checksum_algorithm: algorithm.map(|a| ChecksumAlgorithm::from_static(a.name())),
            checksum_type: algorithm.map(|_| ChecksumType::from_static(kind)),
            ..Default::default()
        };
        let mut response = S3Response::new(output);
        encryption.put(&mut response.headers);
        Ok(response)
    }

    pub(super) async fn upload_part(
        &self,
        asked: Asked,
        request: S3Request<UploadPartInput>,
    ) -> Answer<UploadPartOutput> {
        check_write_headers(&request.headers)?;
        let number = part_number(request.input.part_number)?;
        let id = upload_id(&request.input.upload_id)?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let upload = asked.session.upload(&bucket, key, id).await?;
        let (stream, digests) = receive(&asked, &bucket, Some(&upload), request.input.body).await?;
        check_algorithm(&upload, digests.checksum.as_ref())?;
        let new = NewPart {
            number,
            etag_md5: md5_of(&digests)?,
            checksum: digests.checksum.as_ref().and_then(stored_checksum),
            operation: "UploadPart",
        };
        let target = (&bucket, key, id);
        let part = asked.session.put_part(&asked.caller, target, new, stream).await?;
        let output = UploadPartOutput {
            e_tag: Some(ETag::Strong(part.entry.etag())),
            ..Default::default()
        };
        let mut response = S3Response::new(output);
        Encryption::of_answer(&upload.system, asked.admitted.keys.target.as_ref()).put(&mut response.headers);
        if let Some(value) = &digests.checksum {
            put_header(
                &mut response.headers,
                value.algorithm.header(),
                &value.to_base64(),
            );
        }
        Ok(response)
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        asked: Asked,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let input = request.input;
        let condition = write_condition(&asked.admitted.conditions)?;
        let id = upload_id(&input.upload_id)?;
        let listed = input
            .multipart_upload
            .as_ref()
            .and_then(|m| m.parts.as_deref())
            .unwrap_or_default();
        if listed.is_empty() || listed.len() > PARTS_MAX as usize {
            return Err(Refusal::malformed_xml().into());
        }
        let parts = listed.iter().map(complete_part).collect::<Result<Vec<_>, _>>()?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let expected = expected_checksum(&request.headers, parts.len())?;
        match asked.session.upload(&bucket, key, id).await {
            // The session knows whether it was completed before.
            Err(SessionError::NoSuchUpload) => {}
            found => {
                let upload = found?;
                check_kind(&upload, input.checksum_type.as_ref().map(ChecksumType::as_str))?;
            }
        }
        let expected_bytes = input.mpu_object_size.map(u64::try_from).transpose();
        let expected_bytes =
            expected_bytes.map_err(|_| Refusal::invalid_argument("x-amz-mp-object-size is not a length"))?;
        let completion = Completion {
            parts,
            expected,
            expected_bytes,
            customer: asked.admitted.keys.target_key().cloned(),
        };
        let target = (&bucket, key, id);
        let stored = asked
            .session
            .complete_upload(&asked.caller, target, completion, condition)
            .await?;
        let object = &stored.object;
        let location = location(&asked, &bucket.name, key.as_str());
        let mut output = CompleteMultipartUploadOutput {
            version_id: written_version_id(object),
            bucket: Some(bucket.name),
            key: Some(key.as_str().to_owned()),
            e_tag: Some(etag(object)),
            location: Some(location),
            ..Default::default()
        };
        if let Some(checksum) = &object.checksum {
            completed_checksum(&mut output, checksum, object.parts);
        }
        let mut response = S3Response::new(output);
        Encryption::of_answer(&object.system, asked.admitted.keys.target.as_ref()).put(&mut response.headers);
        Ok(response)
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        asked: Asked,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let id = upload_id(&request.input.upload_id)?;
        let bucket = asked.bucket().await?;
        asked
            .session
            .abort_upload(&asked.caller, &bucket, asked.key()?, id)
            .await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn list_parts(
        &self,
        asked: Asked,
        request: S3Request<ListPartsInput>,
    ) -> Answer<ListPartsOutput> {
        let input = request.input;
        let id = upload_id(&input.upload_id)?;
        let max_parts = page_size(input.max_parts, "max-parts")?;
        let after = match input.part_number_marker {
            None => 0,
            Some(marker) => u16::try_from(marker)
                .map_err(|_| Refusal::invalid_argument("part-number-marker is not a part number"))?,
        };
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let upload = asked.session.upload(&bucket, key, id).await?;
        asked.check_listing_key(&bucket, &upload)?;
        let mut page = asked.session.parts(&bucket, id, after, max_parts).await?;
        if upload.customer.is_some() && asked.admitted.keys.target.is_none() {
            // A part may bring a checksum though none was announced. It tells of the bytes what only the key may.
            let parts = page.parts.iter_mut();
            parts.for_each(|part| part.entry.part.checksum = None);
        }
        let last = page.parts.last().map_or(after, |part| part.entry.part.number);
        let algorithm = upload.checksum_algorithm.map(sent_algorithm);
        let output = ListPartsOutput {
            bucket: Some(bucket.name),
            key: Some(upload.key.clone()),
            upload_id: Some(input.upload_id),
            part_number_marker: Some(i32::from(after)),
            next_part_number_marker: Some(i32::from(last)),
            max_parts: i32::try_from(max_parts).ok(),
            is_truncated: Some(page.truncated),
            parts: Some(page.parts.iter().map(listed_part).collect()),
            initiator: Some(initiator(&asked, &upload)),
            owner: Some(owner(&asked)),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            checksum_algorithm: algorithm.map(|a| ChecksumAlgorithm::from_static(a.name())),
            checksum_type: algorithm.map(|_| ChecksumType::from_static(kind_name(upload.checksum_kind))),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        asked: Asked,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        let encoding = Encoding::parse(input.encoding_type.as_ref())?;
        let max_uploads = page_size(input.max_uploads, "max-uploads")?;
        let key_marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
        let upload_marker = match input.upload_id_marker.as_deref() {
            // Without a key marker S3 ignores it.
            Some(text) if !text.is_empty() && key_marker.is_some() => {
                let refused = |_| Refusal::invalid_argument("Invalid uploadId marker");
                Some(upload_id(text).map_err(refused)?)
            }
            _ => None,
        };
        let query = UploadQuery {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            key_marker,
            upload_marker,
            max_uploads,
        };
        let bucket = asked.bucket().await?;
        let page = asked.session.uploads(&bucket, &query).await?;
        let written = |text: &String| encoding.write(text);
        let (next_key, next_id) = match &page.next {
            Some((key, id)) => (Some(encoding.write(key)), id.map(|id| hex::encode(id.0))),
            None => (None, None),
        };
        let owner = owner(&asked);
        let one = |upload: &Upload| MultipartUpload {
            initiated: Some(timestamp(upload.initiated_ms)),
            initiator: Some(initiator(&asked, upload)),
            key: Some(encoding.write(&upload.key)),
            owner: Some(owner.clone()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(hex::encode(upload.id.0)),
            ..Default::default()
        };
        let output = ListMultipartUploadsOutput {
            bucket: Some(bucket.name),
            common_prefixes: encoding.groups(&page.common_prefixes),
            delimiter: input.delimiter.as_ref().map(written),
            encoding_type: encoding.name(),
            is_truncated: Some(page.truncated),
            key_marker: Some(input.key_marker.as_ref().map(written).unwrap_or_default()),
            max_uploads: i32::try_from(max_uploads).ok(),
            next_key_marker: next_key,
            next_upload_id_marker: next_id,
            prefix: Some(encoding.write(&query.prefix)),
            upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
            uploads: (!page.uploads.is_empty()).then(|| page.uploads.iter().map(one).collect()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

/// A part number, 1 to 10,000.
pub(super) fn part_number(number: i32) -> Result<u16, Halt> {
    let refused = || {
        Halt::from(Refusal::invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive",
        ))
    };
    u16::try_from(number)
        .ok()
        .filter(|n| (1..=PARTS_MAX).contains(&i32::from(*n)))
        .ok_or_else(refused)
}

/// Where an object is found, in the style in which the client asked.
fn location(asked: &Asked, bucket: &str, key: &str) -> String {
    let (origin, key) = (&asked.admitted.origin, encode_path(key));
    if asked.admitted.bucket_in_host {
        format!("{origin}/{key}")
    } else {
        format!("{origin}/{bucket}/{key}")
    }
}

/// An upload id; one that cannot be is one that does not exist.
pub(super) fn upload_id(text: &str) -> Result<UploadId, SessionError> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|_| SessionError::NoSuchUpload)?;
    Ok(UploadId(id))
}

/// Whether an upload's checksum is over its parts' checksums.
fn is_composite(algorithm: Option<Algorithm>, kind: Option<&str>) -> Result<bool, Halt> {
    match (algorithm, kind) {
        (None, None) => Ok(false),
        (Some(Algorithm::Crc64Nvme), None | Some("FULL_OBJECT"))
        | (Some(Algorithm::Crc32 | Algorithm::Crc32c), Some("FULL_OBJECT")) => Ok(false),
        (Some(Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Sha1 | Algorithm::Sha256), None)
        | (
            Some(Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Sha1 | Algorithm::Sha256),
            Some("COMPOSITE"),
        ) => Ok(true),
        (None, Some(_)) => {
            let message =
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.";
            Err(Refusal::invalid_request(message).into())
        }
        (Some(algorithm), Some(kind)) => {
            let name = algorithm.name();
            let message =
                format!("The {kind} checksum type cannot be used with the {name} checksum algorithm.");
            Err(Refusal::invalid_request(message).into())
        }
    }
}

/// A completion may repeat what the upload's checksum is over.
fn check_kind(upload: &Upload, asked_for: Option<&str>) -> Result<(), Halt> {
    let announced = upload.checksum_algorithm.map(|_| kind_name(upload.checksum_kind));
    match (announced, asked_for) {
        (Some(announced), Some(asked_for)) if announced != asked_for => {
            let message = "The checksum type differs from the one the upload was created with";
            Err(Refusal::invalid_request(message).into())
        }
        _ => Ok(()),
    }
}

/// A part's checksum must be of the algorithm that its upload announced.
fn check_algorithm(upload: &Upload, value: Option<&Value>) -> Result<(), Halt> {
    let Some(wanted) = upload.checksum_algorithm.map(sent_algorithm) else {
        return Ok(());
    };
    match value {
        Some(value) if value.algorithm == wanted => Ok(()),
        _ => {
            let message = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                wanted.name().to_ascii_lowercase(),
                value.map_or("null", |v| v.algorithm.name()).to_ascii_lowercase()
            );
            Err(Refusal::invalid_request(message).into())
        }
    }
}

fn complete_part(part: &CompletedPart) -> Result<CompletePart, Halt> {
    let number = part_number(part.part_number.ok_or_else(Refusal::malformed_xml)?)?;
    let etag = part
        .e_tag
        .as_ref()
        .ok_or_else(Refusal::malformed_xml)?
        .value()
        .to_owned();
    let sent = [
        (Algorithm::Crc32, &part.checksum_crc32),
        (Algorithm::Crc32c, &part.checksum_crc32c),
        (Algorithm::Crc64Nvme, &part.checksum_crc64nvme),
        (Algorithm::Sha1, &part.checksum_sha1),
        (Algorithm::Sha256, &part.checksum_sha256),
    ];
    let mut checksum = None;
    for (algorithm, text) in sent {
        let Some(text) = text else { continue };
        let value = Value::parse(algorithm, text).map_err(|error| Refusal::from(&error))?;
        if checksum.replace(stored_checksum(&value)).is_some() {
            return Err(Refusal::malformed_xml().into());
        }
    }
    Ok(CompletePart {
        number,
        etag,
        checksum: checksum.flatten(),
    })
}

/// The checksum of the whole object that the client expects; the gate left these headers alone because here they
/// are not the body's.
fn expected_checksum(headers: &http::HeaderMap, parts: usize) -> Result<Option<Checksum>, Halt> {
    let mut expected = None;
    for algorithm in Algorithm::ALL {
        let mut values = headers.get_all(algorithm.header()).iter();
        let Some(text) = values.next() else { continue };
        if expected.is_some() || values.next().is_some() {
            return Err(Refusal::from(&ChecksumError::Several).into());
        }
        // A composite checksum may come with the number of parts behind it.
        let text = text.to_str().unwrap_or_default();
        let (bare, count) = text
            .split_once('-')
            .map_or((text, None), |(bare, n)| (bare, Some(n)));
        let value = Value::parse(algorithm, bare).map_err(|error| Refusal::from(&error))?;
        if count.is_some_and(|count| count.parse() != Ok(parts)) {
            return Err(SessionError::ChecksumDiffers.into());
        }
        expected = stored_checksum(&value);
    }
    Ok(expected)
}

fn listed_part(stored: &StoredPart) -> Part {
    let entry = &stored.entry;
    let mut part = Part {
        e_tag: Some(ETag::Strong(entry.etag())),
        last_modified: Some(timestamp(entry.modified_ms)),
        part_number: Some(i32::from(entry.part.number)),
        size: Some(signed(entry.part.plaintext_bytes)),
        ..Default::default()
    };
    if let Some(value) = entry.part.checksum.as_ref().map(sent_checksum) {
        let text = Some(value.to_base64());
        match value.algorithm {
            Algorithm::Crc32 => part.checksum_crc32 = text,
            Algorithm::Crc32c => part.checksum_crc32c = text,
            Algorithm::Crc64Nvme => part.checksum_crc64nvme = text,
            Algorithm::Sha1 => part.checksum_sha1 = text,
            Algorithm::Sha256 => part.checksum_sha256 = text,
        }
    }
    part
}

fn completed_checksum(output: &mut CompleteMultipartUploadOutput, checksum: &ObjectChecksum, parts: u32) {
    let text = Some(checksum_text(checksum, parts));
    match sent_algorithm(checksum.checksum.algorithm()) {
        Algorithm::Crc32 => output.checksum_crc32 = text,
        Algorithm::Crc32c => output.checksum_crc32c = text,
        Algorithm::Crc64Nvme => output.checksum_crc64nvme = text,
        Algorithm::Sha1 => output.checksum_sha1 = text,
        Algorithm::Sha256 => output.checksum_sha256 = text,
    }
    output.checksum_type = Some(ChecksumType::from_static(kind_name(checksum.kind)));
}

/// Who began an upload. Another vault's name is its own business.
fn initiator(asked: &Asked, upload: &Upload) -> Initiator {
    let owner = owner(asked);
    let own = owner.id.as_ref() == Some(&upload.initiator);
    Initiator {
        display_name: owner
            .display_name
            .filter(|_| own)
            .or(Some(upload.initiator.clone())),
        id: Some(upload.initiator.clone()),
    }
}
