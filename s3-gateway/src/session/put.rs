//! From a finished stream to a current object: manifest, claim, append.
//!
//! Invariant: the object's manifest stands in a claim on the drives before the ledger append that makes it visible.

use super::attributes::NewObject;
use super::claims::{CLAIM_HEAD_BYTES, ClaimGuard, ClaimHead};
use super::commit::{ATTEMPTS_MAX, Submitted, Urgency, detached, written};
use super::packer::{Packed, Run, Submission};
use super::pins::Pin;
use super::record::Note;
use super::stream::{FinishedStream, StreamWriter};
use super::{Bucket, Caller, Condition, Inner, Session, SessionError, fill_random, now_ms};
use crate::key::ObjectKey;
use activity::Purpose;
use bytes::Bytes;
use engine::slots::Sequence;
use net::cluster::Cause;
use std::sync::Arc;
use vault::claim::ClaimValue;
use vault::commit::{Commit, Succession};
use vault::index::Stored as Row;
use vault::object::{
    ChecksumKind, Extent, Manifest, Object, ObjectChecksum, Part, Upload, VersionId, Versioning,
};

/// An object as the view has it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The object.
    pub object: Object,
    /// The sequence of its entry.
    pub sequence: Sequence,
}

impl Stored {
    /// BLAKE3 of the object's manifest: it names the packs by hash, and so commits to the stored bytes.
    pub(crate) fn manifest_hash(&self) -> [u8; 32] {
        manifest_hash(&self.object.manifest)
    }
}

/// See [`Stored::manifest_hash`].
pub(crate) fn manifest_hash(manifest: &Manifest) -> [u8; 32] {
    let bytes = match manifest {
        Manifest::Inline(parts) => Manifest::encode_parts(parts),
        Manifest::Indirect { stream, .. } => Manifest::encode_parts(std::slice::from_ref(stream)),
    };
    engine::pack::ShardHash::of(&bytes).0
}

impl Session {
    /// Makes a finished stream the current object of a key, if the condition holds at the moment of the ledger append.
    ///
    /// # Errors
    /// [`SessionError::PreconditionFailed`], [`SessionError::NoSuchBucket`] when the bucket was deleted meanwhile, and what the
    /// drives or the ledger refuse.
    pub async fn put_object(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        body: FinishedStream,
        new: NewObject,
        condition: Condition,
    ) -> Result<Stored, SessionError> {
        let (inner, caller, bucket, key) = (
            Arc::clone(&self.inner),
            caller.clone(),
            bucket.clone(),
            key.clone(),
        );
        detached(async move { inner.put(&caller, &bucket, &key, body, new, &condition).await }).await
    }

    /// The current object of a key. Nothing is written down: callers that answer with it do so.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`].
    pub async fn object(&self, bucket: &Bucket, key: &ObjectKey) -> Result<Stored, SessionError> {
        let found = self.inner.index.object(bucket.scope, key.as_str())?;
        let found = found.ok_or(SessionError::NoSuchKey)?;
        Ok(Stored {
            object: found.value,
            sequence: found.sequence,
        })
    }
}

/// What is to become current under an object key.
pub(crate) struct Becoming {
    /// All but the manifest, which is empty.
    pub(crate) object: Object,
    /// Parts in order; the extents of the open runs are not among them yet.
    pub(crate) parts: Vec<Part>,
    /// Runs of chunks that still need a pack, with the index of the part that they belong to.
    pub(crate) open: Vec<(usize, Run)>,
    /// Packs that the parts' extents lie in and that no entry names yet.
    pub(crate) pins: Vec<Pin>,
}

/// A manifest whose claim is durable.
pub(crate) struct Claimed {
    pub(crate) object: Object,
    pub(crate) pins: Vec<Pin>,
    /// Until the append is answered, no checkpoint settles the claim.
    pub(crate) guard: ClaimGuard,
}

/// How an object comes to be current.
pub(crate) enum Change {
    /// By a PUT.
    Put,
    /// By a copy within its scope: the packs are those of this source, which must still stand.
    Copy { source: Box<Stored> },
    /// By a copy from another scope.
    CopyAcross,
    /// By the completion of an upload, which ends with its parts.
    Complete {
        upload: Box<Row<Upload>>,
        used: Vec<(u16, Sequence)>,
        unused: Vec<u16>,
    },
}

impl Change {
    const fn operation(&self) -> &'static str {
        match self {
            Self::Put => "PutObject",
            Self::Copy { .. } | Self::CopyAcross => "CopyObject",
            Self::Complete { .. } => "CompleteMultipartUpload",
        }
    }
}

impl Inner {
    pub(crate) fn check_quota(&self, more: u64) -> Result<(), SessionError> {
        let Some(quota_bytes) = self.quota_bytes else {
            return Ok(());
        };
        let used_bytes = self.used_bytes()?.saturating_add(more);
        if used_bytes > quota_bytes || (more == 0 && used_bytes == quota_bytes) {
            return Err(SessionError::QuotaExceeded {
                quota_bytes,
                used_bytes,
            });
        }
        Ok(())
    }

    async fn put(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        mut body: FinishedStream,
        new: NewObject,
        condition: &Condition,
    ) -> Result<Stored, SessionError> {
        self.check_quota(body.bytes())?;
        let _turn = self.turn(key.as_str(), *condition != Condition::None).await;
        let versioning = self.bucket_now(bucket)?.settings.versioning();
        // Decided before anything of the tail is written; the ledger decides again.
        let current = self.index.current(bucket.scope, key.as_str())?;
        condition.check(current.as_ref().map(|current| &current.value))?;
        let part = body.part(0, None, None);
        let object = Object {
            key: key.as_str().to_owned(),
            delete_marker: false,
            multipart: false,
            version: self.new_version(),
            null_version: versioning != Versioning::Enabled,
            plaintext_bytes: body.bytes(),
            modified_ms: now_ms(),
            etag_md5: body.etag(0, &new.etag_md5),
            parts: 1,
            checksum: new.checksum.map(|checksum| ObjectChecksum {
                checksum,
                kind: ChecksumKind::FullObject,
            }),
            metadata: new.attributes.metadata,
            tags: new.attributes.tags,
            lock: new.attributes.lock,
            system: new.attributes.system,
            superseded: Sequence(0),
            amendments: 0,
            customer: body.check(),
            manifest: Manifest::Inline(Vec::new()),
        };
        let open = if body.tail.chunks.is_empty() {
            Vec::new()
        } else {
            vec![(0, body.tail)]
        };
        let pins = std::mem::take(&mut body.pins);
        let becoming = Becoming {
            object,
            parts: vec![part],
            open,
            pins,
        };
        let claimed = self.claim_object(caller, bucket, becoming, body.room).await?;
        self.make_current(caller, bucket, claimed, condition, &Change::Put)
            .await
    }

    pub(crate) fn new_version(&self) -> VersionId {
        VersionId::new(self.applied(), &mut fill_random)
    }

    /// Puts the open runs and the claim for the object into packs; returns when they are durable.
    pub(crate) async fn claim_object(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        mut becoming: Becoming,
        room: super::budget::Room,
    ) -> Result<Claimed, SessionError> {
        let packer = self.packer(bucket.scope, &bucket.name, bucket.epoch);
        // A copy may share its source's list of parts, which lies in a stream of its own already.
        let listed = matches!(becoming.object.manifest, Manifest::Indirect { .. });
        // A manifest that would not fit into its entry needs all its extents before it can be written to a stream.
        let extents: usize = becoming.parts.iter().map(|part| part.extents.len()).sum();
        let long = becoming.parts.len() * PART_BYTES_MAX + (extents + 64) * EXTENT_BYTES_MAX
            > vault::object::MANIFEST_INLINE_BYTES_MAX;
        let mut room = Some(room);
        if long {
            let open = std::mem::take(&mut becoming.open);
            if !open.is_empty() {
                let (of_part, runs): (Vec<usize>, Vec<Run>) = open.into_iter().unzip();
                let room = room.take().unwrap_or(super::budget::Room::none());
                let packed = packer
                    .submit(Submission::of_runs(runs, room, caller.writing()))
                    .await?;
                place(&mut becoming.parts, &of_part, &packed.extents);
                becoming.pins.push(packed.pin);
            }
            let manifest = self
                .long_manifest(
                    (bucket, caller.writing()),
                    std::mem::take(&mut becoming.parts),
                    &mut becoming.pins,
                )
                .await?;
            becoming.object.manifest = manifest;
        }
        let inline = !long && !listed;
        let (of_part, runs): (Vec<usize>, Vec<Run>) = becoming.open.into_iter().unzip();
        let mut object = becoming.object;
        let mut parts = becoming.parts;
        let claimed_object = object.clone();
        let claimed_parts = parts.clone();
        let claimed_of_part = of_part.clone();
        let address = self.keyring.object_address(bucket.scope, object.key.as_bytes());
        let (head, guard) = ClaimHead::new(self, caller.operation_id, address, bucket.epoch);
        let claim_bytes_max = CLAIM_HEAD_BYTES
            + object.encode().len()
            + parts.len() * PART_BYTES_MAX
            + (extents + runs.iter().map(|run| run.chunks.len()).sum::<usize>()) * EXTENT_BYTES_MAX;
        let claim = Box::new(move |extents: &[Vec<Extent>]| {
            let mut object = claimed_object;
            if inline {
                let mut parts = claimed_parts;
                place(&mut parts, &claimed_of_part, extents);
                object.manifest = Manifest::Inline(parts);
            }
            head.claim(ClaimValue::Object(object))
        });
        let room = room.take().unwrap_or(super::budget::Room::none());
        let Packed { pin, extents } = packer
            .submit(Submission {
                runs,
                claim: Some(claim),
                claim_bytes_max,
                room,
                cause: caller.writing(),
            })
            .await?;
        if inline {
            place(&mut parts, &of_part, &extents);
            object.manifest = Manifest::Inline(parts);
        }
        becoming.pins.push(pin);
        Ok(Claimed {
            object,
            pins: becoming.pins,
            guard,
        })
    }

    /// Writes a long parts list as a stream of its own.
    async fn long_manifest(
        self: &Arc<Self>,
        (bucket, cause): (&Bucket, Cause),
        parts: Vec<Part>,
        pins: &mut Vec<Pin>,
    ) -> Result<Manifest, SessionError> {
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let (stream, mut written) = self
            .write_stream(bucket, Bytes::from(Manifest::encode_parts(&parts)), cause)
            .await?;
        pins.append(&mut written);
        Ok(Manifest::Indirect {
            parts: count,
            stream: Box::new(stream),
        })
    }

    /// Writes bytes of the gateway's own as a stream, and returns where they lie.
    pub(crate) async fn write_stream(
        self: &Arc<Self>,
        bucket: &Bucket,
        bytes: Bytes,
        cause: Cause,
    ) -> Result<(Part, Vec<Pin>), SessionError> {
        let mut writer = StreamWriter::new(self, bucket, None, None)?.because(cause);
        writer.write(bytes).await?;
        self.settle(bucket, writer.finish().await?, cause).await
    }

    /// Puts a finished stream's tail into a pack, without a claim.
    pub(crate) async fn settle(
        self: &Arc<Self>,
        bucket: &Bucket,
        body: FinishedStream,
        cause: Cause,
    ) -> Result<(Part, Vec<Pin>), SessionError> {
        let mut parts = vec![body.part(0, None, None)];
        let mut pins = body.pins;
        if !body.tail.chunks.is_empty() {
            let packer = self.packer(bucket.scope, &bucket.name, bucket.epoch);
            let submission = Submission::of_runs(vec![body.tail], body.room, cause);
            let packed = packer.submit(submission).await?;
            place(&mut parts, &[0], &packed.extents);
            pins.push(packed.pin);
        }
        let part = parts.pop().ok_or(SessionError::Internal {
            what: "a stream without a part",
        })?;
        Ok((part, pins))
    }

    /// The append that makes a claimed object current, retried while the condition holds.
    pub(crate) async fn make_current(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        claimed: Claimed,
        condition: &Condition,
        change: &Change,
    ) -> Result<Stored, SessionError> {
        let Claimed {
            object,
            pins,
            guard: _guard,
        } = claimed;
        let packs = written(bucket.scope, &pins);
        for _ in 0..ATTEMPTS_MAX {
            let bucket_now = self.bucket_now(bucket)?.row();
            let versioning = bucket_now.value.settings.versioning();
            if object.null_version == (versioning == Versioning::Enabled) {
                // The claim says which; a client that tries again gets one that fits.
                return Err(SessionError::Busy);
            }
            let current = self.index.current(bucket.scope, &object.key)?;
            condition.check(current.as_ref().map(|current| &current.value))?;
            let succession = Succession::of(versioning, current.as_ref(), *condition != Condition::None);
            self.check_replaced(bucket.scope, &succession, current.as_ref())?;
            let note = Note {
                bytes: object.plaintext_bytes,
                result: Some(manifest_hash(&object.manifest)),
                ..Note::of(change.operation(), Some(&bucket.name), Purpose::Write)
            };
            let commit = Commit::new(&self.keyring, caller.operation_id, self.lease)
                .with_record(self.record_part(caller, note)?);
            let random = &mut fill_random;
            let append = match change {
                Change::Put | Change::CopyAcross => {
                    commit.put_object(&bucket_now, &object, succession, &packs, random)
                }
                Change::Copy { source } => {
                    // `copy` looks whether it is still the same version.
                    let address = self.stands(bucket.scope, source)?;
                    let address = address.ok_or(SessionError::Conflict { attempts: 1 })?;
                    let source = (address, source.sequence);
                    commit.copy_object(&bucket_now, source, &object, succession, &packs, random)
                }
                Change::Complete { upload, used, unused } => commit.complete_upload(
                    &bucket_now,
                    upload,
                    used,
                    unused,
                    &object,
                    succession,
                    &packs,
                    random,
                ),
            }?;
            if let Submitted::Applied(sequence) = self.submit(append, &pins, Urgency::Normal).await? {
                return Ok(Stored { object, sequence });
            }
            self.still_possible(bucket, change)?;
        }
        Err(condition.contended())
    }

    /// After a conflict: whether what the change stands on is still there.
    fn still_possible(&self, bucket: &Bucket, change: &Change) -> Result<(), SessionError> {
        match change {
            Change::Put | Change::Copy { .. } | Change::CopyAcross => Ok(()),
            Change::Complete { upload, used, .. } => {
                let id = upload.value.id;
                let now = self
                    .index
                    .upload(bucket.scope, id)?
                    .ok_or(SessionError::NoSuchUpload)?;
                if now.sequence != upload.sequence {
                    return Err(SessionError::NoSuchUpload);
                }
                for (number, sequence) in used {
                    let part = self.index.part(bucket.scope, id, *number)?;
                    if part.is_none_or(|part| part.sequence != *sequence) {
                        return Err(SessionError::InvalidPart { number: *number });
                    }
                }
                Ok(())
            }
        }
    }

    /// Plaintext bytes of all versions of objects and of the parts of open uploads.
    pub(crate) fn used_bytes(&self) -> Result<u64, SessionError> {
        let mut bytes = 0u64;
        for bucket in self.index.buckets()? {
            let usage = self.index.usage(bucket.value.scope)?;
            bytes = bytes
                .saturating_add(usage.bytes)
                .saturating_add(usage.history_bytes)
                .saturating_add(usage.open_bytes);
        }
        Ok(bytes)
    }

    /// The bucket as it is now, if it is still the same scope.
    pub(crate) fn bucket_now(&self, bucket: &Bucket) -> Result<Bucket, SessionError> {
        let now = self.find_bucket(&bucket.name)?;
        if now.scope == bucket.scope {
            Ok(now)
        } else {
            Err(SessionError::NoSuchBucket)
        }
    }
}

/// The most bytes of one part in a manifest, without its extents, and of one extent.
const PART_BYTES_MAX: usize = 128;
const EXTENT_BYTES_MAX: usize = 56;

/// Appends the extents of open runs to the parts they belong to.
fn place(parts: &mut [Part], of_part: &[usize], extents: &[Vec<Extent>]) {
    for (index, extents) in of_part.iter().zip(extents) {
        if let Some(part) = parts.get_mut(*index) {
            part.extents.extend(extents.iter().cloned());
        }
    }
}
