//! Carrying out lifecycle rules: a walk over each bucket that has any, at intervals and under a clock that is passed in.
//!
//! Which versions go is `lifecycle`'s business. Invariants: what goes is deleted as a client's deletion would be, under its lock and
//! with a record; and only the very version that the rules were asked about.

use super::commit::detached;
use super::record::{Agent, Note};
use super::versions::{Doomed, Sighting};
use super::{Bucket, Inner, Session, SessionError, now_ms};
use crate::lifecycle::{Clock, DAY_MS, Doom, Fate, Rules, Walk};
use crate::operations;
use crate::settings::LIFECYCLE;
use activity::Purpose;
use std::sync::Arc;
use std::time::Duration;
use vault::index::{ListedVersion, UploadQuery, VersionsQuery};
use vault::object::VersionRef;

/// Rules are looked at so many times a day.
const LOOKS_A_DAY: u64 = 24;
/// And never more often than this.
const LOOK_EVERY_MIN: Duration = Duration::from_secs(1);
/// Versions and uploads looked at in one go.
const PAGE: usize = 1_000;

/// What a walk removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Current objects.
    pub objects: u64,
    /// Versions beside them, and delete markers.
    pub versions: u64,
    /// Uploads that were aborted.
    pub uploads: u64,
}

impl Session {
    /// Carries out the lifecycle rules of every bucket as of `now_ms`, with the session's length of a day.
    ///
    /// # Errors
    /// When the view or the ledger fail. What a lock keeps stays without an error.
    pub async fn expire(&self, now_ms: u64) -> Result<Expired, SessionError> {
        let inner = Arc::clone(&self.inner);
        detached(async move { inner.expire(now_ms).await }).await
    }
}

/// Looks at the rules at intervals, until the session ends.
pub(crate) fn start(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let mut stop = inner.stop.subscribe();
    let every = Duration::from_millis(inner.lifecycle_day_ms / LOOKS_A_DAY).max(LOOK_EVERY_MIN);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(every) => {}
            }
            let Some(inner) = weak.upgrade() else { return };
            if !inner.gateways.does_background_work() {
                continue;
            }
            match inner.expire(now_ms()).await {
                Ok(expired) if expired == Expired::default() => {}
                Ok(Expired {
                    objects,
                    versions,
                    uploads,
                }) => tracing::info!(objects, versions, uploads, "lifecycle rules removed"),
                Err(error) => {
                    tracing::warn!(%error, "lifecycle rules stopped early; they are looked at again")
                }
            }
        }
    });
}

impl Inner {
    async fn expire(self: &Arc<Self>, now_ms: u64) -> Result<Expired, SessionError> {
        let clock = Clock {
            now_ms,
            day_ms: self.lifecycle_day_ms,
        };
        let mut expired = Expired::default();
        for row in self.index.buckets()? {
            let Some(text) = row.value.settings.get(LIFECYCLE) else {
                continue;
            };
            let Some(rules) = Rules::read(text) else {
                tracing::warn!("a bucket's lifecycle rules cannot be read; they remove nothing");
                continue;
            };
            let rules = Rules::in_force(rules);
            if let Err(error) = self
                .expire_in(&row.value.name, &rules, &clock, &mut expired)
                .await
            {
                tracing::warn!(%error, "the lifecycle rules of a bucket stopped early; they are looked at again");
            }
        }
        Ok(expired)
    }

    async fn expire_in(
        self: &Arc<Self>,
        name: &str,
        rules: &Rules,
        clock: &Clock,
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let bucket = self.find_bucket(name)?;
        self.expire_versions(&bucket, rules, clock, expired).await?;
        self.expire_uploads(&bucket, rules, clock, expired).await
    }

    async fn expire_versions(
        self: &Arc<Self>,
        bucket: &Bucket,
        rules: &Rules,
        clock: &Clock,
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let mut query = VersionsQuery {
            max_keys: PAGE,
            ..VersionsQuery::default()
        };
        let mut walk = Walk::default();
        loop {
            let page = tokio::task::block_in_place(|| self.index.versions(bucket.scope, &query))?;
            let mut doomed = Vec::new();
            for listed in &page.versions {
                let tags = self.tags_of(bucket, listed, rules)?;
                let goes = walk.step(rules, clock, listed, &tags);
                doomed.extend(goes.into_iter().flatten());
            }
            if page.next.is_none() {
                doomed.extend(walk.end(rules));
            }
            for doom in doomed {
                // Rules that were changed meanwhile are looked at anew, from the beginning and at another time.
                if self.find_bucket(&bucket.name)?.sequence != bucket.sequence {
                    return Ok(());
                }
                self.carry_out(bucket, doom, expired).await?;
            }
            let Some((key, version)) = page.next else {
                return Ok(());
            };
            (query.key_marker, query.version_marker) = (Some(key), version);
            tokio::task::yield_now().await;
        }
    }

    fn tags_of(
        &self,
        bucket: &Bucket,
        listed: &ListedVersion,
        rules: &Rules,
    ) -> Result<Vec<(String, String)>, SessionError> {
        if !rules.look_at_tags() {
            return Ok(Vec::new());
        }
        let object = &listed.object;
        let version = VersionRef::named(object.null_version, object.version);
        let found = self.index.version(bucket.scope, &object.key, version)?;
        Ok(found.map(|(row, _)| row.value.tags).unwrap_or_default())
    }

    async fn carry_out(
        self: &Arc<Self>,
        bucket: &Bucket,
        doom: Doom,
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let agent = Agent::gateway();
        let seen = Sighting {
            id: doom.id,
            sequence: doom.sequence,
            is_current: doom.fate != Fate::Ends,
        };
        let done = match doom.fate {
            Fate::Expires => self.expire_current(&agent, bucket, &doom.key, seen).await,
            Fate::Ends | Fate::Uncovers => {
                let doomed = Doomed {
                    version: doom.version,
                    only: Some(seen),
                    bypass_governance: false,
                };
                let condition = super::Condition::None;
                let deleted = self
                    .delete_version(&agent, bucket, &doom.key, doomed, &condition)
                    .await;
                deleted.map(|_| true)
            }
        };
        match done {
            Ok(true) if doom.fate == Fate::Expires => expired.objects += 1,
            Ok(true) => expired.versions += 1,
            // It is not what it was, or a lock keeps it.
            Ok(false) | Err(SessionError::Locked | SessionError::NoSuchVersion) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn expire_uploads(
        self: &Arc<Self>,
        bucket: &Bucket,
        rules: &Rules,
        clock: &Clock,
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let mut query = UploadQuery {
            max_uploads: PAGE,
            ..UploadQuery::default()
        };
        loop {
            let page = tokio::task::block_in_place(|| self.index.uploads(bucket.scope, &query))?;
            for upload in &page.uploads {
                if !rules.abort(&upload.key, upload.initiated_ms, clock) {
                    continue;
                }
                let note = Note::of(operations::LIFECYCLE, Some(&bucket.name), Purpose::Gc);
                match self
                    .abort_upload(&Agent::gateway(), bucket, upload.id, &note)
                    .await
                {
                    Ok(()) => expired.uploads += 1,
                    Err(SessionError::NoSuchUpload) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some((key, id)) = page.next else { return Ok(()) };
            (query.key_marker, query.upload_marker) = (Some(key), id);
            tokio::task::yield_now().await;
        }
    }
}

/// The length of a day that rules count, unless it was shortened for a test.
pub const LIFECYCLE_DAY_MS: u64 = DAY_MS;
