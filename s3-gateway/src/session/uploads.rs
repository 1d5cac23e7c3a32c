//! Multipart uploads in progress: an entry for the upload, one for each part.
//!
//! `completion.rs` turns them into an object. Invariant: a part is stored only while its upload stands.

use super::attributes::Attributes;
use super::claims::{CLAIM_HEAD_BYTES, ClaimGuard, ClaimHead};
use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached, written};
use super::customer::CustomerKeyError;
use super::packer::{MakeClaim, Submission};
use super::pins::Pin;
use super::record::{Agent, Note};
use super::stream::FinishedStream;
use super::{Bucket, Caller, Inner, Session, SessionError, fill_random, now_ms};
use crate::key::ObjectKey;
use activity::Purpose;
use engine::slots::Sequence;
use scopes::Identity;
use std::sync::Arc;
use vault::claim::ClaimValue;
use vault::commit::{Commit, Over};
use vault::customer::{CustomerCheck, CustomerKey};
use vault::index::{UploadPage, UploadQuery};
use vault::object::{Checksum, ChecksumAlgorithm, ChecksumKind, PartEntry, Upload, UploadId};

/// What begins an upload.
#[derive(Debug, Clone, Default)]
pub struct NewUpload {
    /// What is said of the object to be.
    pub attributes: Attributes,
    /// The checksum algorithm the client announced.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// Whether the object's checksum will be over the parts' checksums.
    pub composite: bool,
    /// The customer's key that every part is to come with.
    pub customer: Option<CustomerKey>,
}

/// What is known of a part before it is stored.
#[derive(Debug, Clone)]
pub struct NewPart {
    /// Its number, 1 to 10,000.
    pub number: u16,
    /// The MD5 of its bytes; with a customer's key the session puts another value into the ETag.
    pub etag_md5: [u8; 16],
    /// The checksum of its bytes.
    pub checksum: Option<Checksum>,
    /// S3's name of the operation, for the record: a part is uploaded or copied.
    pub operation: &'static str,
}

/// A part as it was stored.
#[derive(Debug, Clone)]
pub struct StoredPart {
    /// The part.
    pub entry: PartEntry,
    /// The sequence of its entry.
    pub sequence: Sequence,
}

impl StoredPart {
    fn of_row(row: vault::index::Stored<PartEntry>) -> Self {
        Self {
            entry: row.value,
            sequence: row.sequence,
        }
    }
}

/// A page of an upload's parts.
#[derive(Debug, Clone, Default)]
pub struct PartsPage {
    /// In number order.
    pub parts: Vec<StoredPart>,
    /// Whether more follow.
    pub truncated: bool,
}

impl Session {
    /// Begins an upload.
    ///
    /// # Errors
    /// What the drives or the ledger refuse; [`SessionError::NoSuchBucket`].
    pub async fn create_upload(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        new: NewUpload,
    ) -> Result<UploadId, SessionError> {
        self.writable()?;
        let (inner, caller, bucket, key) = (
            Arc::clone(&self.inner),
            caller.clone(),
            bucket.clone(),
            key.clone(),
        );
        detached(async move { inner.create_upload(&caller, &bucket, &key, new).await }).await
    }

    /// Stores a finished stream as a part; an earlier part of the number is replaced.
    ///
    /// # Errors
    /// [`SessionError::NoSuchUpload`] when the upload was completed or aborted meanwhile.
    pub async fn put_part(
        &self,
        caller: &Caller,
        target: (&Bucket, &ObjectKey, UploadId),
        new: NewPart,
        body: FinishedStream,
    ) -> Result<StoredPart, SessionError> {
        let (bucket, key, id) = target;
        self.upload(bucket, key, id).await?;
        let (inner, caller, bucket) = (Arc::clone(&self.inner), caller.clone(), bucket.clone());
        detached(async move { inner.put_part(&caller, (&bucket, id), new, body).await }).await
    }

    /// An upload in progress. Nothing is written down.
    ///
    /// # Errors
    /// [`SessionError::NoSuchUpload`], also when it is for another object key.
    pub async fn upload(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<Upload, SessionError> {
        let found = self
            .inner
            .index
            .upload(bucket.scope, id)?
            .map(|found| found.value);
        found
            .filter(|upload| upload.key == key.as_str())
            .ok_or(SessionError::NoSuchUpload)
    }

    /// Up to `max` parts with numbers above `after`.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn parts(
        &self,
        bucket: &Bucket,
        id: UploadId,
        after: u16,
        max: usize,
    ) -> Result<PartsPage, SessionError> {
        let mut rows = self
            .inner
            .index
            .parts(bucket.scope, id, after, max.saturating_add(1))?;
        let truncated = rows.len() > max;
        rows.truncate(max);
        let parts = rows.into_iter().map(StoredPart::of_row).collect();
        Ok(PartsPage { parts, truncated })
    }

    /// One page of a bucket's uploads in progress.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn uploads(&self, bucket: &Bucket, query: &UploadQuery) -> Result<UploadPage, SessionError> {
        Ok(self.inner.index.uploads(bucket.scope, query)?)
    }

    /// Gives an upload and its parts up.
    ///
    /// # Errors
    /// [`SessionError::NoSuchUpload`].
    pub async fn abort_upload(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<(), SessionError> {
        self.upload(bucket, key, id).await?;
        let (inner, caller, bucket) = (Arc::clone(&self.inner), caller.clone(), bucket.clone());
        detached(async move {
            let agent = Agent::of(&caller);
            let note = Note::of("AbortMultipartUpload", Some(&bucket.name), Purpose::Write);
            inner.abort_upload(&agent, &bucket, id, &note).await
        })
        .await
    }
}

impl Inner {
    /// Puts a claim for an entry without chunks into a pack.
    async fn claim_only(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        address: engine::slots::Address,
        value: ClaimValue,
    ) -> Result<(Pin, ClaimGuard), SessionError> {
        let (head, guard) = ClaimHead::new(self, caller.operation_id, address, bucket.epoch);
        let claim_bytes_max = CLAIM_HEAD_BYTES + value.encode().len();
        let claim: MakeClaim = Box::new(move |_| head.claim(value));
        let room = super::budget::Room::none();
        let submission = Submission {
            runs: Vec::new(),
            claim: Some(claim),
            claim_bytes_max,
            room,
            cause: caller.writing(),
        };
        let packer = self.packer(bucket.scope, &bucket.name, bucket.epoch);
        Ok((packer.submit(submission).await?.pin, guard))
    }

    async fn create_upload(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        new: NewUpload,
    ) -> Result<UploadId, SessionError> {
        let id = UploadId::draw(&mut fill_random);
        let check = |key| {
            let (scope, epoch) = (bucket.scope, bucket.epoch);
            CustomerCheck::new(&self.keyring, scope, epoch, key, &mut fill_random)
        };
        let upload = Upload {
            key: key.as_str().to_owned(),
            id,
            initiated_ms: now_ms(),
            epoch: bucket.epoch,
            checksum_algorithm: new.checksum_algorithm,
            checksum_kind: if new.composite {
                ChecksumKind::Composite
            } else {
                ChecksumKind::FullObject
            },
            metadata: new.attributes.metadata,
            tags: new.attributes.tags,
            lock: new.attributes.lock,
            system: new.attributes.system,
            initiator: initiator(&caller.identity),
            customer: new.customer.as_ref().map(check),
        };
        let address = self.keyring.upload_address(bucket.scope, id);
        let (pin, _guard) = self
            .claim_only(caller, bucket, address, ClaimValue::Upload(upload.clone()))
            .await?;
        for _ in 0..ATTEMPTS_MAX {
            let now = self.bucket_now(bucket)?;
            let note = Note::of("CreateMultipartUpload", Some(&bucket.name), Purpose::Write);
            let pins = std::slice::from_ref(&pin);
            let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?)
                .create_upload(
                    &now.row(),
                    &upload,
                    &written(bucket.scope, pins),
                    &mut fill_random,
                )?;
            if let Submitted::Applied(_) = self.submit(append, pins, Urgency::Normal).await? {
                return Ok(id);
            }
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }

    async fn put_part(
        self: &Arc<Self>,
        caller: &Caller,
        (bucket, id): (&Bucket, UploadId),
        new: NewPart,
        body: FinishedStream,
    ) -> Result<StoredPart, SessionError> {
        let bytes = body.bytes();
        let there = self.index.part(bucket.scope, id, new.number)?;
        let there = there.map_or(0, |part| part.value.part.plaintext_bytes);
        if bytes > there {
            self.check_quota(bytes - there)?;
        }
        let (etag_md5, customer) = (body.etag(new.number, &new.etag_md5), body.check());
        let part = body.part(new.number, Some(new.etag_md5), new.checksum);
        let mut entry = PartEntry {
            upload: id,
            modified_ms: now_ms(),
            etag_md5,
            part,
        };
        let address = self.keyring.part_address(bucket.scope, id, new.number);
        let (head, _guard) = ClaimHead::new(self, caller.operation_id, address, bucket.epoch);
        let mut claimed = entry.clone();
        let claim_bytes_max = CLAIM_HEAD_BYTES + 56 * (body.tail.chunks.len() + 2) + entry.encode().len();
        let claim: MakeClaim = Box::new(move |extents| {
            claimed.part.extents.extend(extents.iter().flatten().cloned());
            head.claim(ClaimValue::Part(claimed))
        });
        let runs = if body.tail.chunks.is_empty() {
            Vec::new()
        } else {
            vec![body.tail]
        };
        let submission = Submission {
            runs,
            claim: Some(claim),
            claim_bytes_max,
            room: body.room,
            cause: caller.writing(),
        };
        let packed = self
            .packer(bucket.scope, &bucket.name, bucket.epoch)
            .submit(submission)
            .await?;
        entry.part.extents.extend(packed.extents.into_iter().flatten());
        let mut pins = body.pins;
        pins.push(packed.pin);
        for _ in 0..ATTEMPTS_MAX {
            let now = self.bucket_now(bucket)?;
            let upload = self
                .index
                .upload(bucket.scope, id)?
                .ok_or(SessionError::NoSuchUpload)?;
            if upload.value.customer != customer {
                return Err(CustomerKeyError::UploadDiffers.into());
            }
            let note = Note {
                bytes,
                ..Note::of(new.operation, Some(&bucket.name), Purpose::Write)
            };
            let packs = written(bucket.scope, &pins);
            let append = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?)
                .put_part(
                    &now.row(),
                    &upload,
                    &entry,
                    Over::Anything,
                    &packs,
                    &mut fill_random,
                )?;
            if let Submitted::Applied(sequence) = self.submit(append, &pins, Urgency::Normal).await? {
                return Ok(StoredPart { entry, sequence });
            }
        }
        Err(SessionError::Busy)
    }

    pub(crate) fn all_parts(&self, bucket: &Bucket, id: UploadId) -> Result<Vec<StoredPart>, SessionError> {
        let rows = self.index.parts(bucket.scope, id, 0, vault::object::PARTS_MAX)?;
        Ok(rows.into_iter().map(StoredPart::of_row).collect())
    }

    pub(super) async fn abort_upload(
        self: &Arc<Self>,
        agent: &Agent,
        bucket: &Bucket,
        id: UploadId,
        note: &Note,
    ) -> Result<(), SessionError> {
        for _ in 0..ATTEMPTS_MAX {
            let upload = self
                .index
                .upload(bucket.scope, id)?
                .ok_or(SessionError::NoSuchUpload)?;
            let parts = self.all_parts(bucket, id)?;
            let numbers: Vec<u16> = parts.iter().map(|part| part.entry.part.number).collect();
            let append = Commit::new(&self.keyring, agent.operation_id, self.lease)
                .with_record(self.record_part_by(agent, note.clone())?)
                .abort_upload(&bucket.row(), &upload, &numbers)?;
            if let Submitted::Applied(_) = self.submit(append, &[], Urgency::Frees).await? {
                return Ok(());
            }
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }
}

/// Who begins an upload, as S3 shows it: the vault, which is S3's account.
fn initiator(identity: &Identity) -> String {
    if identity.is_anonymous() {
        return identity.agent();
    }
    identity.vault().to_string()
}
