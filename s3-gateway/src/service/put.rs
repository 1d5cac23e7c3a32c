//! PutObject: the body is sealed and stored as it comes, and published only after its clean end.

use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response};
use vault::object::{ChecksumKind, ObjectChecksum};

use super::encryption::Encryption;
use super::object::{
    check_write_headers, etag, md5_of, put_checksum, receive, stored_checksum, write_condition,
};
use super::versions::written_version_id;
use super::{Answer, Asked, Operations, attributes, lifecycle};
use crate::session::{Condition, NewObject, SessionError};

impl Operations {
    pub(super) async fn put_object(
        &self,
        asked: Asked,
        request: S3Request<PutObjectInput>,
    ) -> Answer<PutObjectOutput> {
        check_write_headers(&request.headers)?;
        let condition = write_condition(&asked.admitted.conditions)?;
        let (bucket, key) = (asked.bucket().await?, asked.key()?);
        let encryption =
            Encryption::of_write(&request.headers, &bucket, asked.admitted.keys.target.as_ref())?;
        let attributes = attributes::of_write(&asked, &request.headers, &bucket, &encryption)?;
        if condition != Condition::None {
            // A first look saves the transfer; what counts is decided with the ledger append.
            let current = match asked.session.object(&bucket, key).await {
                Ok(stored) => Some(stored),
                Err(SessionError::NoSuchKey) => None,
                Err(error) => return Err(error.into()),
            };
            condition.check(current.as_ref().map(|stored| &stored.object))?;
        }
        let (stream, digests) = receive(&asked, &bucket, None, request.input.body).await?;
        let checksum = digests.checksum.as_ref().and_then(stored_checksum);
        let new = NewObject {
            attributes,
            etag_md5: md5_of(&digests)?,
            checksum: checksum.clone(),
        };
        let stored = asked
            .session
            .put_object(&asked.caller, &bucket, key, stream, new, condition)
            .await?;
        let output = PutObjectOutput {
            e_tag: Some(etag(&stored.object)),
            version_id: written_version_id(&stored.object),
            ..Default::default()
        };
        let mut response = S3Response::new(output);
        lifecycle::put_expiry(&mut response.headers, &bucket, &stored.object);
        encryption.put(&mut response.headers);
        if let Some(checksum) = checksum {
            let checksum = ObjectChecksum {
                checksum,
                kind: ChecksumKind::FullObject,
            };
            put_checksum(&mut response.headers, &checksum, 1);
        }
        Ok(response)
    }
}
