//! Deleting objects, one or many.
//!
//! Frees no space by itself: the collector does, once the ledger names the packs no more.

use super::commit::detached;
use super::record::Agent;
use super::versions::{Deleted, Doomed};
use super::{Bucket, Caller, Condition, Session, SessionError};
use crate::key::ObjectKey;
use futures::stream::{self, StreamExt};
use std::sync::Arc;

/// Deletions of one multi-delete that are on their way to the ledger together.
const TOGETHER_MAX: usize = 128;

impl Session {
    /// Deletes the current object of a key: for good where no versions are kept, by a delete marker otherwise.
    ///
    /// # Errors
    /// [`SessionError::PreconditionFailed`]; [`SessionError::NoSuchBucket`] when the bucket is gone.
    pub async fn delete_object(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        condition: Condition,
    ) -> Result<Deleted, SessionError> {
        let (inner, caller, bucket, key) = (
            Arc::clone(&self.inner),
            caller.clone(),
            bucket.clone(),
            key.clone(),
        );
        detached(async move {
            inner
                .delete(&Agent::of(&caller), &bucket, key.as_str(), &condition)
                .await
        })
        .await
    }

    /// Deletes many objects, or versions of them, each on its own: one failing stops no other. The results are in the order of the keys.
    pub async fn delete_objects(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        keys: Vec<(ObjectKey, Option<Doomed>, Condition)>,
    ) -> Vec<Result<Deleted, SessionError>> {
        stream::iter(keys)
            .map(|(key, version, condition)| async move {
                match version {
                    None => self.delete_object(caller, bucket, &key, condition).await,
                    Some(version) => {
                        self.delete_version(caller, bucket, &key, version, condition)
                            .await
                    }
                }
            })
            .buffered(TOGETHER_MAX)
            .collect()
            .await
    }
}
