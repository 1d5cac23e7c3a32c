//! Keys that clients bring with their requests (SSE-C): whether one is needed, given, and the right one.
//!
//! Invariant: whoever reads or adds to what is sealed under a customer's key has shown that key here before a byte is read or
//! taken in, and nothing else is opened with one.

use super::{Bucket, Inner, Session, Stored};
use thiserror::Error;
use vault::customer::{CustomerCheck, CustomerKey};
use vault::object::Upload;

/// Why a request's key, or its lack of one, does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CustomerKeyError {
    /// The object is sealed under a customer's key, and the request has none.
    #[error("the object is sealed under a customer's key, which the request lacks")]
    Missing,
    /// The object is sealed under another key.
    #[error("the object is sealed under another customer's key")]
    Wrong,
    /// The object is sealed under no customer's key, and the request has one.
    #[error("the object is sealed under no customer's key, and the request has one")]
    Needless,
    /// The upload was begun with a customer's key, and the request has none.
    #[error("the upload was begun with a customer's key, which the request lacks")]
    UploadLacks,
    /// The upload was begun with another key, or with none.
    #[error("the upload was begun with another customer's key, or with none")]
    UploadDiffers,
}

impl Session {
    /// Whether the key of a request is the one that an object's bytes are read with; none is right for an object without.
    ///
    /// # Errors
    /// [`CustomerKeyError`].
    pub fn check_key(
        &self,
        bucket: &Bucket,
        stored: &Stored,
        given: Option<&CustomerKey>,
    ) -> Result<(), CustomerKeyError> {
        match (&stored.object.customer, given) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(CustomerKeyError::Needless),
            (Some(_), None) => Err(CustomerKeyError::Missing),
            (Some(check), Some(key)) if self.inner.is_key(bucket, check, key) => Ok(()),
            (Some(_), Some(_)) => Err(CustomerKeyError::Wrong),
        }
    }

    /// Whether the key of a request is the one that an upload was begun with; none is right for an upload without.
    ///
    /// # Errors
    /// [`CustomerKeyError`].
    pub fn check_upload_key(
        &self,
        bucket: &Bucket,
        upload: &Upload,
        given: Option<&CustomerKey>,
    ) -> Result<(), CustomerKeyError> {
        self.check_key_of_parts(bucket, &upload.customer, true, given)
    }

    /// The same for a request that names or shows parts, of an upload or of the object that it became. Without a key it is
    /// refused only where a checksum was announced, which it would tell or compare with.
    ///
    /// # Errors
    /// [`CustomerKeyError`].
    pub fn check_key_of_parts(
        &self,
        bucket: &Bucket,
        check: &Option<CustomerCheck>,
        announced: bool,
        given: Option<&CustomerKey>,
    ) -> Result<(), CustomerKeyError> {
        match (check, given) {
            (None, None) => Ok(()),
            (Some(_), None) if announced => Err(CustomerKeyError::UploadLacks),
            (Some(_), None) => Ok(()),
            (Some(check), Some(key)) if self.inner.is_key(bucket, check, key) => Ok(()),
            (_, Some(_)) => Err(CustomerKeyError::UploadDiffers),
        }
    }
}

impl Inner {
    fn is_key(&self, bucket: &Bucket, check: &CustomerCheck, key: &CustomerKey) -> bool {
        check.accepts(&self.keyring, bucket.scope, key)
    }
}
