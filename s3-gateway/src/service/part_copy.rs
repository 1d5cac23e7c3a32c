//! UploadPartCopy: a range of an object becomes a part.

use s3s::dto::{CopyPartResult, ETag, UploadPartCopyInput, UploadPartCopyOutput};
use s3s::{S3Request, S3Response};

use super::copy::find_source;
use super::encryption::Encryption;
use super::multipart::{part_number, upload_id};
use super::object::{check_write_headers, md5_of, sent_algorithm, stored_checksum, timestamp};
use super::versions::version_id;
use super::{Answer, Asked, Halt, Operations};
use crate::checksum::Algorithm;
use crate::conditions::RangeSpec;
use crate::digests::Hasher;
use crate::errors::Refusal;
use crate::session::{NewPart, Restream};

/// The largest part, in bytes.
const PART_BYTES_MAX: u64 = 5 << 30;

impl Operations {
    pub(super) async fn upload_part_copy(
        &self,
        asked: Asked,
        request: S3Request<UploadPartCopyInput>,
    ) -> Answer<UploadPartCopyOutput> {
        check_write_headers(&request.headers)?;
        let input = &request.input;
        let number = part_number(input.part_number)?;
        let id = upload_id(&input.upload_id)?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let upload = asked.session.upload(&bucket, key, id).await?;
        asked.check_upload_key(&bucket, &upload)?;
        let (from, stored) = find_source(&asked, &input.copy_source).await?;
        let total = stored.object.plaintext_bytes;
        let range = match &input.copy_source_range {
            None => 0..total,
            Some(text) => source_range(text, total)?,
        };
        let bytes = range.end - range.start;
        if bytes > PART_BYTES_MAX {
            return Err(Refusal::entity_too_large(bytes, PART_BYTES_MAX).into());
        }
        let keys = &asked.admitted.keys;
        let what = Restream {
            range,
            from_key: keys.source_key().cloned(),
            to_key: keys.target_key().cloned(),
            part_of: Some(upload.clone()),
        };
        let mut hasher = Hasher::new(true, upload.checksum_algorithm.map(sent_algorithm));
        let mut observe = |bytes: &[u8]| hasher.update(bytes);
        let stream = asked
            .session
            .restream(&asked.caller, (&from, &stored), what, &bucket, &mut observe)
            .await?;
        let digests = hasher.finish();
        let new = NewPart {
            number,
            etag_md5: md5_of(&digests)?,
            checksum: digests.checksum.as_ref().and_then(stored_checksum),
            operation: "UploadPartCopy",
        };
        let target = (&bucket, key, id);
        let part = asked.session.put_part(&asked.caller, target, new, stream).await?;
        let mut result = CopyPartResult {
            e_tag: Some(ETag::Strong(part.entry.etag())),
            last_modified: Some(timestamp(part.entry.modified_ms)),
            ..Default::default()
        };
        if let Some(value) = &digests.checksum {
            let text = Some(value.to_base64());
            match value.algorithm {
                Algorithm::Crc32 => result.checksum_crc32 = text,
                Algorithm::Crc32c => result.checksum_crc32c = text,
                Algorithm::Crc64Nvme => result.checksum_crc64nvme = text,
                Algorithm::Sha1 => result.checksum_sha1 = text,
                Algorithm::Sha256 => result.checksum_sha256 = text,
            }
        }
        let mut response = S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: version_id(&from, &stored.object),
            ..Default::default()
        });
        Encryption::of_answer(&upload.system, keys.target.as_ref()).put(&mut response.headers);
        Ok(response)
    }
}

/// Unlike a read's range, a copy's names both ends and lies inside the object.
fn source_range(text: &str, total: u64) -> Result<std::ops::Range<u64>, Halt> {
    match RangeSpec::parse(text) {
        Some(RangeSpec::From { first, last: Some(last) }) if last < total => Ok(first..last + 1),
        Some(RangeSpec::From { last: Some(_), .. }) => {
            let message = format!("Range specified is not valid for source object of size: {total}");
            Err(Refusal::invalid_argument(message).into())
        }
        _ => Err(Refusal::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
        )
        .into()),
    }
}
