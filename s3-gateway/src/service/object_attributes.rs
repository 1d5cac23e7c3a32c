//! GetObjectAttributes: what is known of an object, without its bytes and its metadata.

use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use s3s::dto::{
    Checksum, ChecksumType, ETag, GetObjectAttributesInput, GetObjectAttributesOutput,
    GetObjectAttributesParts, ObjectPart, StorageClass,
};
use s3s::{S3Request, S3Response};
use vault::object::{Manifest, Object, ObjectChecksum, Part};

use super::encryption;
use super::list::page_size;
use super::object::{checksum_text, kind_name, sent_algorithm, sent_checksum, signed, timestamp};
use super::versions::{find_version, version_id};
use super::{Answer, Asked, Halt, Operations, SessionBucket};
use crate::answer::{AnswerBody, empty, whole};
use crate::checksum::Algorithm;
use crate::errors::Refusal;
use crate::session::Stored;

/// The longest answer: a thousand parts with their checksums.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What can be asked for.
const KNOWN: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

impl Operations {
    pub(super) async fn get_object_attributes(
        &self,
        asked: Asked,
        request: S3Request<GetObjectAttributesInput>,
    ) -> Answer<GetObjectAttributesOutput> {
        encryption::check_read(&request.headers)?;
        let wanted = wanted(&request.headers)?;
        let wants = |name: &str| wanted.iter().any(|have| have == name);
        let input = &request.input;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let stored = find_version(&asked, &bucket, key, input.version_id.as_deref()).await?;
        asked.check_key(&bucket, &stored)?;
        let object = &stored.object;
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(timestamp(object.modified_ms)),
            version_id: version_id(&bucket, object),
            ..Default::default()
        };
        if wants("ETag") {
            output.e_tag = Some(ETag::Strong(object.etag()));
        }
        if wants("ObjectSize") {
            output.object_size = Some(signed(object.plaintext_bytes));
        }
        if wants("StorageClass") {
            output.storage_class = Some(StorageClass::from_static(StorageClass::STANDARD));
        }
        if let Some(checksum) = object.checksum.as_ref().filter(|_| wants("Checksum")) {
            output.checksum = Some(said_checksum(checksum, object));
        }
        if wants("ObjectParts") && object.multipart {
            output.object_parts = Some(parts(&asked, &bucket, &stored, input).await?);
        }
        Ok(S3Response::new(output))
    }
}

/// The answer with its ETag as S3 writes it here, and nowhere else: without quotes. s3s knows one form only.
pub(super) async fn unquoted(response: Response<AnswerBody>) -> Response<AnswerBody> {
    let (mut parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame
            .ok()
            .and_then(|frame| frame.into_data().ok())
            .unwrap_or_default();
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            parts.status = http::StatusCode::INTERNAL_SERVER_ERROR;
            return Response::from_parts(parts, empty());
        }
        bytes.extend_from_slice(&data);
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text
        .replace("<ETag>&quot;", "<ETag>")
        .replace("&quot;</ETag>", "</ETag>");
    let text = text.replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>");
    parts.headers.remove(http::header::CONTENT_LENGTH);
    Response::from_parts(parts, whole(text))
}

/// The names in the header, which may stand in one line or in several.
fn wanted(headers: &HeaderMap) -> Result<Vec<String>, Halt> {
    let refused = || Halt::from(Refusal::invalid_argument("Invalid attribute name specified."));
    let mut wanted = Vec::new();
    for line in headers.get_all("x-amz-object-attributes") {
        for name in line.to_str().map_err(|_| refused())?.split(',').map(str::trim) {
            if !KNOWN.contains(&name) {
                return Err(refused());
            }
            wanted.push(name.to_owned());
        }
    }
    if wanted.is_empty() {
        let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or \
                       empty";
        return Err(Refusal::invalid_request(message).into());
    }
    Ok(wanted)
}

/// A page of the parts that an object was put together from.
async fn parts(
    asked: &Asked,
    bucket: &SessionBucket,
    stored: &Stored,
    input: &GetObjectAttributesInput,
) -> Result<GetObjectAttributesParts, Halt> {
    let max_parts = page_size(input.max_parts, "max-parts")?;
    let marker = input.part_number_marker.unwrap_or(0);
    let after = usize::try_from(marker)
        .map_err(|_| Refusal::invalid_argument("part-number-marker is not a part number"))?;
    let manifest = asked.session.manifest(&asked.caller, bucket, stored).await?;
    let Manifest::Inline(all) = &manifest else {
        return Err(Refusal::new(500, "InternalError", "The parts cannot be listed").into());
    };
    // Parts are numbered anew from 1 when an upload is completed.
    let page: Vec<ObjectPart> = (1i32..)
        .zip(all)
        .skip(after)
        .take(max_parts)
        .map(said_part)
        .collect();
    let last = page.last().and_then(|part| part.part_number);
    Ok(GetObjectAttributesParts {
        is_truncated: Some(after.saturating_add(page.len()) < all.len()),
        max_parts: i32::try_from(max_parts).ok(),
        next_part_number_marker: Some(last.unwrap_or(marker)),
        part_number_marker: Some(marker),
        parts: Some(page),
        total_parts_count: i32::try_from(all.len()).ok(),
    })
}

fn said_part((number, part): (i32, &Part)) -> ObjectPart {
    let mut said = ObjectPart {
        part_number: Some(number),
        size: Some(signed(part.plaintext_bytes)),
        ..Default::default()
    };
    if let Some(checksum) = &part.checksum {
        let value = sent_checksum(checksum);
        let text = Some(value.to_base64());
        match value.algorithm {
            Algorithm::Crc32 => said.checksum_crc32 = text,
            Algorithm::Crc32c => said.checksum_crc32c = text,
            Algorithm::Crc64Nvme => said.checksum_crc64nvme = text,
            Algorithm::Sha1 => said.checksum_sha1 = text,
            Algorithm::Sha256 => said.checksum_sha256 = text,
        }
    }
    said
}

fn said_checksum(checksum: &ObjectChecksum, object: &Object) -> Checksum {
    let text = Some(checksum_text(checksum, object.parts));
    let mut said = Checksum {
        checksum_type: Some(ChecksumType::from_static(kind_name(checksum.kind))),
        ..Default::default()
    };
    match sent_algorithm(checksum.checksum.algorithm()) {
        Algorithm::Crc32 => said.checksum_crc32 = text,
        Algorithm::Crc32c => said.checksum_crc32c = text,
        Algorithm::Crc64Nvme => said.checksum_crc64nvme = text,
        Algorithm::Sha1 => said.checksum_sha1 = text,
        Algorithm::Sha256 => said.checksum_sha256 = text,
    }
    said
}
