//! What a write says of its object beside the bytes, from the headers of its request.

use http::HeaderMap;

use super::encryption::Encryption;
use super::{Asked, Halt, SessionBucket, acl, lock, tagging};
use crate::errors::Refusal;
use crate::session::Attributes;

/// The attributes of an object that a request writes.
pub(super) fn of_write(
    asked: &Asked,
    headers: &HeaderMap,
    bucket: &SessionBucket,
    encryption: &Encryption,
) -> Result<Attributes, Halt> {
    let locks = headers
        .keys()
        .any(|name| name.as_str().starts_with("x-amz-object-lock-"));
    if locks && !asked.is_of_the_vault() {
        // To fill a bucket with what its owner cannot delete takes more than the right to write.
        return Err(Refusal::access_denied().into());
    }
    let mut system = encryption.noted();
    system.extend(acl::noted(asked, headers, bucket)?);
    Ok(Attributes {
        metadata: asked.admitted.metadata.clone(),
        tags: tagging::of_header(headers)?.unwrap_or_default(),
        lock: lock::of_write(headers, bucket)?,
        system,
    })
}
