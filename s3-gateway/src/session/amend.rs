//! Amending a version in its place: other tags, another lock, other notes. Its bytes, its time and its id stay.
//!
//! Invariant: as for every write, the amended manifest stands in a claim on the drives before the append that makes it so.

use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached, written};
use super::put::{Becoming, Claimed};
use super::record::Note;
use super::{Bucket, Caller, Inner, Session, SessionError, Stored, fill_random};
use crate::key::ObjectKey;
use activity::Purpose;
use std::sync::Arc;
use vault::commit::Commit;
use vault::object::{Lock, Manifest, Object, VersionRef};

/// What may change of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Its retention and legal hold.
    pub lock: Lock,
    /// What the gateway notes of it.
    pub system: Vec<(String, String)>,
}

impl Amendment {
    fn of(object: &Object) -> Self {
        Self {
            tags: object.tags.clone(),
            lock: object.lock,
            system: object.system.clone(),
        }
    }
}

/// How a version is changed, and under which name that is written down.
pub(crate) struct Change<F> {
    operation: &'static str,
    with: F,
}

impl Session {
    /// Changes a version of an object, the current one if none is named, as one compare-and-swap: `change` is asked again if the
    /// version changed meanwhile. A change that changes nothing writes only its record, under `operation`.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`] or [`SessionError::NoSuchVersion`], also where a delete marker stands; the errors of
    /// `change`, and what the drives or the ledger refuse.
    pub async fn amend_object(
        &self,
        caller: &Caller,
        (bucket, key): (&Bucket, &ObjectKey),
        version: Option<VersionRef>,
        operation: &'static str,
        change: impl Fn(&Object, &mut Amendment) -> Result<(), SessionError> + Send + Sync + 'static,
    ) -> Result<Stored, SessionError> {
        self.writable()?;
        let (inner, caller) = (Arc::clone(&self.inner), caller.clone());
        let (bucket, key) = (bucket.clone(), key.clone());
        let change = Change {
            operation,
            with: change,
        };
        detached(async move { inner.amend(&caller, &bucket, &key, version, &change).await }).await
    }
}

impl Inner {
    async fn amend<F>(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<VersionRef>,
        change: &Change<F>,
    ) -> Result<Stored, SessionError>
    where
        F: Fn(&Object, &mut Amendment) -> Result<(), SessionError>,
    {
        let _turn = self.turn(key.as_str(), true).await;
        for _ in 0..ATTEMPTS_MAX {
            let bucket = self.bucket_now(bucket)?;
            let stored = self.to_amend(&bucket, key, version)?;
            let before = Amendment::of(&stored.object);
            let mut after = before.clone();
            (change.with)(&stored.object, &mut after)?;
            let note = Note::of(change.operation, Some(&bucket.name), Purpose::Write);
            if after == before {
                self.record_now(caller, note).await?;
                return Ok(stored);
            }
            let object = Object {
                tags: after.tags,
                lock: after.lock,
                system: after.system,
                amendments: stored.object.amendments.saturating_add(1),
                ..stored.object.clone()
            };
            let claimed = self.claim_amended(caller, &bucket, object).await?;
            let Some(address) = self.stands(bucket.scope, &stored)? else {
                continue;
            };
            let packs = written(bucket.scope, &claimed.pins);
            let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?)
                .amend_object(
                    &bucket.row(),
                    (address, stored.sequence),
                    &claimed.object,
                    &packs,
                    &mut fill_random,
                )?;
            if let Submitted::Applied(sequence) = self.submit(append, &claimed.pins, Urgency::Normal).await? {
                let object = claimed.object;
                return Ok(Stored { object, sequence });
            }
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }

    fn to_amend(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        version: Option<VersionRef>,
    ) -> Result<Stored, SessionError> {
        let (row, missing) = match version {
            None => (
                self.index.current(bucket.scope, key.as_str())?,
                SessionError::NoSuchKey,
            ),
            Some(version) => {
                let found = self.index.version(bucket.scope, key.as_str(), version)?;
                (found.map(|(row, _)| row), SessionError::NoSuchVersion)
            }
        };
        let row = row.filter(|row| !row.value.delete_marker).ok_or(missing)?;
        Ok(row.into())
    }

    /// Claims an object whose bytes lie where they lay.
    async fn claim_amended(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        object: Object,
    ) -> Result<Claimed, SessionError> {
        let parts = match &object.manifest {
            Manifest::Inline(parts) => parts.clone(),
            Manifest::Indirect { .. } => Vec::new(),
        };
        let becoming = Becoming {
            object,
            parts,
            open: Vec::new(),
            pins: Vec::new(),
        };
        self.claim_object(caller, bucket, becoming, super::budget::Room::none())
            .await
    }
}
