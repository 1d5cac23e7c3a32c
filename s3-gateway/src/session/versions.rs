//! Versions of objects: finding one, deleting one for good, listing them.
//!
//! Which entries a write makes of a version is `vault::commit`'s business. Invariant: a version that was found is found again by
//! its id, wherever its entry stands by then.

use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached};
use super::lock;
use super::record::Agent;
use super::{Bucket, Caller, Condition, Inner, Session, SessionError, Stored, fill_random, now_ms};
use crate::key::ObjectKey;
use engine::slots::{Address, Sequence};
use scopes::ScopeId;
use std::sync::Arc;
use vault::commit::{Commit, Packs, Succession};
use vault::index::{Stored as Row, VersionsPage, VersionsQuery};
use vault::object::{Lock, Manifest, Object, VersionId, VersionRef, Versioning};

/// A version to be deleted for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doomed {
    /// Which.
    pub version: VersionRef,
    /// If given, only while it is as it was seen.
    pub only: Option<Sighting>,
    /// Whether the caller bypasses governance retention, and may.
    pub bypass_governance: bool,
}

/// A version as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Its id.
    pub id: VersionId,
    /// The sequence of its entry.
    pub sequence: Sequence,
    /// Whether it was the current one.
    pub is_current: bool,
}

impl Sighting {
    fn is_of(&self, row: &Row<Object>, is_current: bool) -> bool {
        (self.id, self.sequence, self.is_current) == (row.value.version, row.sequence, is_current)
    }
}

/// What a deletion did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The version that was deleted, or the delete marker that was made; nothing where no versions are kept.
    pub version: Option<VersionRef>,
    /// Whether that version is a delete marker.
    pub delete_marker: bool,
}

impl Deleted {
    const NOTHING: Self = Self {
        version: None,
        delete_marker: false,
    };
}

impl From<Row<Object>> for Stored {
    fn from(row: Row<Object>) -> Self {
        Self {
            object: row.value,
            sequence: row.sequence,
        }
    }
}

impl Session {
    /// A version of an object, which may be a delete marker. Nothing is written down.
    ///
    /// # Errors
    /// [`SessionError::NoSuchVersion`].
    pub async fn version(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: VersionRef,
    ) -> Result<Stored, SessionError> {
        let found = self.inner.index.version(bucket.scope, key.as_str(), version)?;
        let (row, _) = found.ok_or(SessionError::NoSuchVersion)?;
        Ok(row.into())
    }

    /// The current version of an object, which may be a delete marker. Nothing is written down.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`].
    pub async fn current(&self, bucket: &Bucket, key: &ObjectKey) -> Result<Stored, SessionError> {
        let found = self.inner.index.current(bucket.scope, key.as_str())?;
        Ok(found.ok_or(SessionError::NoSuchKey)?.into())
    }

    /// One page of a bucket's versions, by object key and newest first. Nothing is written down.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn versions(
        &self,
        bucket: &Bucket,
        query: &VersionsQuery,
    ) -> Result<VersionsPage, SessionError> {
        let scope = bucket.scope;
        Ok(tokio::task::block_in_place(|| {
            self.inner.index.versions(scope, query)
        })?)
    }

    /// Deletes one version for good, if the condition holds for it. Deleting what is not there is done already.
    ///
    /// # Errors
    /// [`SessionError::PreconditionFailed`], [`SessionError::Locked`]; [`SessionError::NoSuchBucket`] when the bucket is gone.
    pub async fn delete_version(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Doomed,
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
                .delete_version(&Agent::of(&caller), &bucket, key.as_str(), version, &condition)
                .await
        })
        .await
    }
}

impl Inner {
    /// The same version as it is now.
    pub(crate) fn again(&self, scope: ScopeId, stored: &Stored) -> Result<Option<Stored>, SessionError> {
        let object = &stored.object;
        let now = self.index.version(scope, &object.key, VersionRef::of(object))?;
        // The null version's place may hold another one by now.
        let now = now.filter(|(row, _)| row.value.version == object.version);
        Ok(now.map(|(row, _)| row.into()))
    }

    /// Where a version stands, if it still does as it was read.
    pub(crate) fn stands(&self, scope: ScopeId, stored: &Stored) -> Result<Option<Address>, SessionError> {
        let object = &stored.object;
        let now = self.index.version(scope, &object.key, VersionRef::of(object))?;
        let now = now.filter(|(row, _)| row.sequence == stored.sequence);
        Ok(now.map(|(row, current)| match current {
            true => self.keyring.object_address(scope, object.key.as_bytes()),
            false => self.keyring.kept_address(scope, &row.value),
        }))
    }

    pub(super) async fn delete_version(
        self: &Arc<Self>,
        agent: &Agent,
        bucket: &Bucket,
        key: &str,
        doomed: Doomed,
        condition: &Condition,
    ) -> Result<Deleted, SessionError> {
        let version = doomed.version;
        let _turn = self.turn(key, false).await;
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.bucket_now(bucket)?;
            let note = agent.deletion(&bucket.name);
            let found = self.index.version(bucket.scope, key, version)?;
            if let Some(seen) = doomed.only
                && !found
                    .as_ref()
                    .is_some_and(|(row, is_current)| seen.is_of(row, *is_current))
            {
                return Err(SessionError::NoSuchVersion);
            }
            let Some((row, is_current)) = found else {
                self.record_now_by(agent, note).await?;
                return Ok(Deleted {
                    version: Some(version),
                    delete_marker: false,
                });
            };
            condition.check(Some(&row.value))?;
            lock::check_delete(&row.value.lock, now_ms(), doomed.bypass_governance)?;
            let commit = Commit::new(&self.keyring, agent.operation_id, self.lease)
                .with_record(self.record_part_by(agent, note)?);
            let append = if is_current {
                let next = self.index.newest_kept(bucket.scope, key)?;
                if doomed.only.is_some() && next.is_some() {
                    return Err(SessionError::NoSuchVersion);
                }
                commit.delete_current(&bucket.row(), &row, next.as_ref(), &mut fill_random)
            } else {
                commit.delete_kept(&bucket.row(), &row)
            }?;
            if let Submitted::Applied(_) = self.submit(append, &[], Urgency::Frees).await? {
                return Ok(Deleted {
                    version: Some(version),
                    delete_marker: row.value.delete_marker,
                });
            }
        }
        Err(condition.contended())
    }

    /// Deletes what is current, as [`Self::delete`] does, if it is still as it was seen. Says whether it was.
    pub(super) async fn expire_current(
        self: &Arc<Self>,
        agent: &Agent,
        bucket: &Bucket,
        key: &str,
        seen: Sighting,
    ) -> Result<bool, SessionError> {
        let deleted = self
            .delete_if(agent, bucket, key, &Condition::None, Some(seen))
            .await?;
        Ok(deleted.is_some())
    }

    /// Deletes what is current: for good where no versions are kept, by a delete marker otherwise.
    pub(super) async fn delete(
        self: &Arc<Self>,
        agent: &Agent,
        bucket: &Bucket,
        key: &str,
        condition: &Condition,
    ) -> Result<Deleted, SessionError> {
        let deleted = self.delete_if(agent, bucket, key, condition, None).await?;
        Ok(deleted.unwrap_or(Deleted::NOTHING))
    }

    /// That a write, or a marker, takes the place of no version that a lock keeps.
    pub(crate) fn check_replaced(
        &self,
        scope: ScopeId,
        succession: &Succession<'_>,
        current: Option<&Row<Object>>,
    ) -> Result<(), SessionError> {
        let now_ms = now_ms();
        match (succession, current) {
            (Succession::Replace(_), Some(row)) => lock::check_delete(&row.value.lock, now_ms, false),
            (Succession::Keep { drops_null: true, .. }, Some(row)) => {
                let null = self.index.version(scope, &row.value.key, VersionRef::Null)?;
                null.map_or(Ok(()), |(null, _)| {
                    lock::check_delete(&null.value.lock, now_ms, false)
                })
            }
            _ => Ok(()),
        }
    }

    /// Deletes what is current, if it is the version that is wanted.
    async fn delete_if(
        self: &Arc<Self>,
        agent: &Agent,
        bucket: &Bucket,
        key: &str,
        condition: &Condition,
        only: Option<Sighting>,
    ) -> Result<Option<Deleted>, SessionError> {
        let _turn = self.turn(key, false).await;
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.bucket_now(bucket)?;
            let versioning = bucket.settings.versioning();
            let current = self.index.current(bucket.scope, key)?;
            let note = agent.deletion(&bucket.name);
            let live = current.as_ref().filter(|row| !row.value.delete_marker);
            if only.is_some_and(|seen| !live.is_some_and(|row| seen.is_of(row, true))) {
                return Ok(None);
            }
            if live.is_some() {
                condition.check(live.map(|row| &row.value))?;
            } else if versioning == Versioning::Never || *condition != Condition::None {
                // As S3 answers it: gone already, whatever the condition.
                self.record_now_by(agent, note).await?;
                return Ok(Some(Deleted::NOTHING));
            }
            let conditional = *condition != Condition::None || only.is_some();
            let succession = Succession::of(versioning, current.as_ref(), conditional);
            self.check_replaced(bucket.scope, &succession, current.as_ref())?;
            let keeps = versioning != Versioning::Never || matches!(succession, Succession::Keep { .. });
            let commit = Commit::new(&self.keyring, agent.operation_id, self.lease)
                .with_record(self.record_part_by(agent, note)?);
            let marker = keeps.then(|| self.delete_marker(key, versioning));
            let append = match (&marker, succession) {
                (Some(marker), succession) => {
                    let none = Packs::default();
                    commit.put_object(&bucket.row(), marker, succession, &none, &mut fill_random)
                }
                (None, Succession::Replace(over)) => commit.delete_object(&bucket.row(), key, over),
                (None, Succession::Keep { .. }) => {
                    return Err(SessionError::Internal {
                        what: "a version that is kept where none are",
                    });
                }
            }?;
            if let Submitted::Applied(_) = self.submit(append, &[], Urgency::Frees).await? {
                return Ok(Some(marker.map_or(Deleted::NOTHING, |marker| Deleted {
                    version: Some(VersionRef::of(&marker)),
                    delete_marker: true,
                })));
            }
        }
        Err(condition.contended())
    }

    /// A delete marker. It has no claim: like every deletion it may be undone by a rebuild, and needs no room on the drives.
    fn delete_marker(&self, key: &str, versioning: Versioning) -> Object {
        Object {
            key: key.to_owned(),
            delete_marker: true,
            multipart: false,
            version: self.new_version(),
            null_version: versioning != Versioning::Enabled,
            plaintext_bytes: 0,
            modified_ms: now_ms(),
            etag_md5: [0; 16],
            parts: 0,
            checksum: None,
            metadata: Vec::new(),
            tags: Vec::new(),
            lock: Lock::default(),
            system: Vec::new(),
            superseded: Sequence(0),
            amendments: 0,
            customer: None,
            manifest: Manifest::Inline(Vec::new()),
        }
    }
}
