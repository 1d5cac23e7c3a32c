//! A look at a bucket or an object for the access decision: from the view, without a record.
//!
//! Invariant: what cannot be read now is an error, never absent; whoever decides on it refuses.

use super::{Bucket, Session, SessionError};
use vault::object::{Object, VersionRef};

impl Session {
    /// The bucket of this name, if there is one.
    pub(crate) fn peek_bucket(&self, name: &str) -> Result<Option<Bucket>, SessionError> {
        match self.inner.find_bucket(name) {
            Ok(bucket) => Ok(Some(bucket)),
            Err(SessionError::NoSuchBucket) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object's current version, or the one that is named; not a delete marker.
    pub(crate) fn peek_object(
        &self,
        bucket: &Bucket,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<Object>, SessionError> {
        let index = &self.inner.index;
        let row = match version.map(str::parse::<VersionRef>) {
            None => index.current(bucket.scope, key)?,
            Some(Ok(version)) => index.version(bucket.scope, key, version)?.map(|(row, _)| row),
            Some(Err(_)) => None,
        };
        Ok(row.map(|row| row.value).filter(|object| !object.delete_marker))
    }
}
