//! A look at a bucket or an object for the access decision: from the view, without a record.

use super::{Bucket, Session};
use vault::object::{Object, VersionRef};

impl Session {
    /// The bucket of this name. What cannot be read now is not there.
    pub(crate) fn peek_bucket(&self, name: &str) -> Option<Bucket> {
        self.inner.find_bucket(name).ok()
    }

    /// An object's current version, or the one that is named; not a delete marker.
    pub(crate) fn peek_object(&self, bucket: &Bucket, key: &str, version: Option<&str>) -> Option<Object> {
        let index = &self.inner.index;
        let object = match version {
            None => index.current(bucket.scope, key).ok().flatten()?.value,
            Some(version) => {
                let version: VersionRef = version.parse().ok()?;
                index.version(bucket.scope, key, version).ok().flatten()?.0.value
            }
        };
        (!object.delete_marker).then_some(object)
    }
}
