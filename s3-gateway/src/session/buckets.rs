//! Buckets: the names S3 shows for scopes.
//!
//! Invariant: a bucket's claim is on the drives before its entry is in the ledger, and a bucket goes only while it is empty,
//! by the ledger's own count.

use super::claims::{CLAIM_HEAD_BYTES, ClaimGuard, ClaimHead};
use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached, written};
use super::packer::Submission;
use super::pins::Pin;
use super::record::Note;
use super::{Bucket, Caller, Inner, Session, SessionError, fill_random, now_ms};
use crate::key::BucketName;
use activity::Purpose;
use engine::slots::Sequence;
use scopes::ScopeId;
use std::sync::Arc;
use vault::claim::ClaimValue;
use vault::commit::Commit;
use vault::index::{ListPage, ListQuery};
use vault::keys::FIRST_EPOCH;
use vault::object::Settings;

/// The name under which packs of vault-wide claims are kept; no bucket can have it.
pub(crate) const VAULT_WIDE_NAME: &str = "";

impl Session {
    /// Makes a bucket with a scope of its own.
    ///
    /// # Errors
    /// [`SessionError::BucketExists`], and what the drives or the ledger refuse.
    pub async fn create_bucket(&self, caller: &Caller, name: &BucketName) -> Result<Bucket, SessionError> {
        self.create_bucket_with(caller, name, Settings::default()).await
    }

    /// As [`Self::create_bucket`], with settings that it has from its beginning.
    ///
    /// # Errors
    /// As [`Self::create_bucket`].
    pub async fn create_bucket_with(
        &self,
        caller: &Caller,
        name: &BucketName,
        settings: Settings,
    ) -> Result<Bucket, SessionError> {
        // Its claim shares packs with checkpoints, which may go where nothing else has room.
        self.writable()?;
        let (inner, caller, name) = (Arc::clone(&self.inner), caller.clone(), name.clone());
        detached(async move { inner.create_bucket(&caller, &name, settings).await }).await
    }

    /// Removes an empty bucket. Its uploads in progress go with it.
    ///
    /// # Errors
    /// [`SessionError::NoSuchBucket`], [`SessionError::BucketNotEmpty`].
    pub async fn delete_bucket(&self, caller: &Caller, name: &str) -> Result<(), SessionError> {
        let (inner, caller, name) = (Arc::clone(&self.inner), caller.clone(), name.to_owned());
        detached(async move { inner.delete_bucket(&caller, &name).await }).await
    }

    /// Changes a bucket's settings as one compare-and-swap: `change` is asked again if the bucket changed meanwhile. A change
    /// that changes nothing writes only its record, under `operation`.
    ///
    /// # Errors
    /// [`SessionError::NoSuchBucket`], the errors of `change`, and what the drives or the ledger refuse.
    pub async fn change_bucket(
        &self,
        caller: &Caller,
        name: &str,
        operation: &'static str,
        change: impl Fn(&Bucket, &mut Settings) -> Result<(), SessionError> + Send + Sync + 'static,
    ) -> Result<Bucket, SessionError> {
        self.writable()?;
        let (inner, caller, name) = (Arc::clone(&self.inner), caller.clone(), name.to_owned());
        detached(async move { inner.change_bucket(&caller, &name, operation, change).await }).await
    }

    /// The bucket of this name. Nothing is written down.
    ///
    /// # Errors
    /// [`SessionError::NoSuchBucket`].
    pub async fn bucket(&self, name: &str) -> Result<Bucket, SessionError> {
        self.inner.find_bucket(name)
    }

    /// Every bucket of the vault, in name order. Nothing is written down.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, SessionError> {
        let rows = self.inner.index.buckets()?;
        Ok(rows
            .into_iter()
            .map(|row| of_row(row.sequence, row.value))
            .collect())
    }

    /// One page of a bucket's object keys, in byte order. Nothing is written down.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn list(&self, bucket: &Bucket, query: &ListQuery) -> Result<ListPage, SessionError> {
        let inner = Arc::clone(&self.inner);
        let scope = bucket.scope;
        // A page is a thousand rows at most: a millisecond or so.
        Ok(tokio::task::block_in_place(move || {
            inner.index.list(scope, query)
        })?)
    }
}

fn of_row(sequence: Sequence, bucket: vault::object::Bucket) -> Bucket {
    Bucket {
        name: bucket.name,
        scope: bucket.scope,
        epoch: bucket.epoch,
        created_ms: bucket.created_ms,
        sequence,
        settings: bucket.settings,
    }
}

impl Inner {
    pub(crate) fn find_bucket(&self, name: &str) -> Result<Bucket, SessionError> {
        let found = self.index.bucket(name)?;
        self.check_loaded()?;
        let found = found.ok_or(SessionError::NoSuchBucket)?;
        Ok(of_row(found.sequence, found.value))
    }

    async fn create_bucket(
        self: &Arc<Self>,
        caller: &Caller,
        name: &BucketName,
        settings: Settings,
    ) -> Result<Bucket, SessionError> {
        if self.index.bucket(name.as_str())?.is_some() {
            return Err(SessionError::BucketExists);
        }
        let mut scope = [0; 16];
        fill_random(&mut scope);
        let bucket = vault::object::Bucket {
            name: name.as_str().to_owned(),
            scope: ScopeId(scope),
            epoch: FIRST_EPOCH,
            created_ms: now_ms(),
            settings,
        };
        let (pin, _guard) = self.claim_bucket(caller, &bucket).await?;
        let note = Note::of("CreateBucket", Some(&bucket.name), Purpose::Write);
        let pins = [pin];
        let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
            .with_record(self.record_part(caller, note)?)
            .create_bucket(&bucket, &written(self.vault_scope(), &pins), &mut fill_random)?;
        match self.submit(append, &pins, Urgency::Normal).await? {
            Submitted::Applied(sequence) => Ok(of_row(sequence, bucket)),
            Submitted::Conflict => Err(SessionError::BucketExists),
        }
    }

    async fn change_bucket(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        operation: &'static str,
        change: impl Fn(&Bucket, &mut Settings) -> Result<(), SessionError>,
    ) -> Result<Bucket, SessionError> {
        let _turn = self.settings_turn().await;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.find_bucket(name)?;
            let mut after = before.clone();
            change(&before, &mut after.settings)?;
            let note = Note::of(operation, Some(name), Purpose::Write);
            if after == before {
                self.record_now(caller, note).await?;
                return Ok(before);
            }
            let after = after.row().value;
            let (pin, _guard) = self.claim_bucket(caller, &after).await?;
            let pins = [pin];
            let packs = written(self.vault_scope(), &pins);
            let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?)
                .change_bucket(&before.row(), &after, &packs, &mut fill_random)?;
            if let Submitted::Applied(sequence) = self.submit(append, &pins, Urgency::Normal).await? {
                return Ok(of_row(sequence, after));
            }
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }

    /// Puts the claim for a bucket's entry on the drives. No checkpoint settles it while the guard is held.
    async fn claim_bucket(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &vault::object::Bucket,
    ) -> Result<(Pin, ClaimGuard), SessionError> {
        let address = self.keyring.bucket_address(&bucket.name);
        let (head, guard) = ClaimHead::new(self, caller.operation_id, address, FIRST_EPOCH);
        let claimed = ClaimValue::Bucket(bucket.clone());
        let submission = Submission {
            runs: Vec::new(),
            claim_bytes_max: CLAIM_HEAD_BYTES + bucket.encode().len(),
            claim: Some(Box::new(move |_| head.claim(claimed))),
            room: super::budget::Room::none(),
            cause: caller.writing(),
        };
        let packed = self
            .packer(self.vault_scope(), VAULT_WIDE_NAME, FIRST_EPOCH)
            .submit(submission)
            .await?;
        Ok((packed.pin, guard))
    }

    async fn delete_bucket(self: &Arc<Self>, caller: &Caller, name: &str) -> Result<(), SessionError> {
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.find_bucket(name)?;
            let used = self.index.usage(bucket.scope)?;
            if used.objects > 0 || used.history > 0 {
                return Err(SessionError::BucketNotEmpty);
            }
            let note = Note::of("DeleteBucket", Some(name), Purpose::Write);
            let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?)
                .delete_bucket(&bucket.row())?;
            if let Submitted::Applied(_) = self.submit(append, &[], Urgency::Frees).await? {
                self.forget_packer(bucket.scope);
                return Ok(());
            }
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }
}
