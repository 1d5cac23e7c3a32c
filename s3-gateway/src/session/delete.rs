//! Deleting current objects.
//!
//! Frees no space by itself: the collector does, once the ledger names the packs no more.

use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached};
use super::record::Note;
use super::{Bucket, Caller, Condition, Inner, Session, SessionError};
use crate::key::ObjectKey;
use activity::Purpose;
use futures::stream::{self, StreamExt};
use std::sync::Arc;
use vault::commit::Commit;

/// Deletions of one multi-delete that are on their way to the ledger together.
const TOGETHER_MAX: usize = 128;

impl Session {
    /// Deletes the current object of a key. Says whether there was one.
    ///
    /// # Errors
    /// [`SessionError::PreconditionFailed`]; [`SessionError::NoSuchBucket`] when the bucket is gone.
    pub async fn delete_object(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        condition: Condition,
    ) -> Result<bool, SessionError> {
        let (inner, caller, bucket, key) = (
            Arc::clone(&self.inner),
            caller.clone(),
            bucket.clone(),
            key.clone(),
        );
        detached(async move { inner.delete(&caller, &bucket, &key, &condition).await }).await
    }

    /// Deletes many objects, each on its own: one failing stops no other. The results are in the order of the keys.
    pub async fn delete_objects(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        keys: Vec<(ObjectKey, Condition)>,
    ) -> Vec<Result<bool, SessionError>> {
        stream::iter(keys)
            .map(|(key, condition)| async move { self.delete_object(caller, bucket, &key, condition).await })
            .buffered(TOGETHER_MAX)
            .collect()
            .await
    }
}

impl Inner {
    async fn delete(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        condition: &Condition,
    ) -> Result<bool, SessionError> {
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.bucket_now(bucket)?;
            let current = self.index.object(bucket.scope, key.as_str())?;
            let note = Note::of("DeleteObject", Some(&bucket.name), Purpose::Write);
            let Some(current) = current else {
                // As S3 answers it: gone already, whatever the condition.
                self.record_now(caller, note).await?;
                return Ok(false);
            };
            condition.check(Some(&current.value))?;
            let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?)
                .delete_object(bucket.scope, key.as_str(), condition.over(Some(current.sequence)))?;
            if let Submitted::Applied(_) = self.submit(append, &[], Urgency::Frees).await? {
                return Ok(true);
            }
        }
        Err(condition.contended())
    }
}
