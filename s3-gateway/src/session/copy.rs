//! Copies: within a scope a new manifest over the same packs, across scopes a new stream. What is sealed under a customer's key
//! is copied by its manifest under that key only; anything else takes its bytes, which [`Session::restream`] seals anew.
//!
//! Invariant: a manifest that shares packs with its source is appended only while the source still stands, so that the
//! collector never finds them unreferenced in between.

use super::attributes::Attributes;
use super::commit::{ATTEMPTS_MAX, detached};
use super::customer::CustomerKeyError;
use super::hold::Source;
use super::put::{Becoming, Change, Stored};
use super::stream::FinishedStream;
use super::{Bucket, Caller, Condition, Inner, Session, SessionError, now_ms};
use crate::key::ObjectKey;
use engine::slots::Sequence;
use futures::stream::StreamExt;
use std::ops::Range;
use std::sync::Arc;
use vault::customer::CustomerKey;
use vault::object::{ChecksumKind, Manifest, Object, ObjectChecksum, Upload, Versioning};

/// What a copy changes.
#[derive(Debug, Clone)]
pub struct CopyChanges {
    /// What is said of the copy.
    pub attributes: Attributes,
    /// A checksum over the whole object, where the client asked for one the source does not have.
    pub checksum: Option<ObjectChecksum>,
    /// The MD5 of the whole object, where the bytes were read to compute `checksum`; the copy then has a plain ETag.
    pub etag_md5: Option<[u8; 16]>,
}

impl CopyChanges {
    /// A copy that changes nothing that goes with a copy.
    pub fn none(source: &Stored) -> Self {
        Self {
            attributes: Attributes::copied(&source.object),
            checksum: None,
            etag_md5: None,
        }
    }
}

/// Which bytes are to be sealed anew, and which customers' keys open and seal them.
#[derive(Debug, Clone)]
pub struct Restream {
    /// The bytes of the source.
    pub range: Range<u64>,
    /// The key of the source, which [`Session::check_key`] found right.
    pub from_key: Option<CustomerKey>,
    /// The key of what becomes of it.
    pub to_key: Option<CustomerKey>,
    /// The upload that they become a part of.
    pub part_of: Option<Upload>,
}

impl Session {
    /// Copies an object. Within a bucket no byte is moved, and what is sealed under a customer's key stays so.
    ///
    /// # Errors
    /// [`CustomerKeyError::Missing`] for a source under a customer's key in another bucket;
    /// [`SessionError::PreconditionFailed`], [`SessionError::NoSuchKey`] when the source went meanwhile, and what the drives or
    /// the ledger refuse.
    pub async fn copy_object(
        &self,
        caller: &Caller,
        from: (&Bucket, &Stored),
        to: (&Bucket, &ObjectKey),
        changes: CopyChanges,
        condition: Condition,
    ) -> Result<Stored, SessionError> {
        self.writable()?;
        self.inner.check_quota(from.1.object.plaintext_bytes)?;
        let copy = Copy {
            caller: caller.clone(),
            source: (from.0.clone(), from.1.clone()),
            bucket: to.0.clone(),
            key: to.1.clone(),
            changes,
            condition,
        };
        let inner = Arc::clone(&self.inner);
        detached(async move { inner.copy(copy).await }).await
    }

    /// The bytes of a range of an object as a finished stream of another bucket: the body of an UploadPartCopy, or of a copy
    /// across buckets. `observe` sees the plaintext, piece by piece.
    ///
    /// # Errors
    /// As for reads and writes.
    pub async fn restream(
        &self,
        caller: &Caller,
        from: (&Bucket, &Stored),
        what: Restream,
        to: &Bucket,
        observe: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<FinishedStream, SessionError> {
        let mut writer = match &what.part_of {
            Some(upload) => self.part_stream(to, upload, what.to_key.as_ref()).await?,
            None => self.stream(to, what.to_key.as_ref()).await?,
        };
        writer = writer.because(caller.writing());
        let how = (what.from_key, caller.reading());
        let mut pieces = self.inner.read_object(from.0, from.1, what.range, how);
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            observe(&piece);
            writer.write(piece).await?;
        }
        writer.finish().await
    }
}

#[derive(Clone)]
struct Copy {
    caller: Caller,
    source: (Bucket, Stored),
    bucket: Bucket,
    key: ObjectKey,
    changes: CopyChanges,
    condition: Condition,
}

impl Inner {
    /// A copy, tried again when the collector moved the source's bytes meanwhile: same version, other extents.
    async fn copy(self: &Arc<Self>, mut copy: Copy) -> Result<Stored, SessionError> {
        for _ in 0..ATTEMPTS_MAX {
            match self.copy_once(copy.clone()).await {
                Err(SessionError::Conflict { .. }) => {}
                done => return done,
            }
            let (from, stored) = &mut copy.source;
            *stored = self.again(from.scope, stored)?.ok_or(SessionError::NoSuchKey)?;
        }
        Err(SessionError::Conflict {
            attempts: ATTEMPTS_MAX,
        })
    }

    async fn copy_once(self: &Arc<Self>, copy: Copy) -> Result<Stored, SessionError> {
        let Copy {
            caller,
            source: (from, stored),
            bucket,
            key,
            changes,
            condition,
        } = copy;
        let shared = from.scope == bucket.scope;
        let mut becoming = if shared {
            Becoming {
                object: stored.object.clone(),
                parts: Vec::new(),
                open: Vec::new(),
                pins: Vec::new(),
            }
        } else {
            self.restreamed(&caller, (&from, &stored), &bucket).await?
        };
        if shared {
            becoming.parts = match &stored.object.manifest {
                Manifest::Inline(parts) => parts.clone(),
                // The list itself is shared too: only the object's entry is new.
                Manifest::Indirect { .. } => Vec::new(),
            };
        }
        let _turn = self.turn(key.as_str(), condition != Condition::None).await;
        let current = self.index.current(bucket.scope, key.as_str())?;
        condition.check(current.as_ref().map(|current| &current.value))?;
        let versioning = self.bucket_now(&bucket)?.settings.versioning();
        let object = &mut becoming.object;
        object.key = key.as_str().to_owned();
        object.version = self.new_version();
        object.null_version = versioning != Versioning::Enabled;
        object.superseded = Sequence(0);
        object.amendments = 0;
        object.modified_ms = now_ms();
        object.metadata = changes.attributes.metadata;
        object.tags = changes.attributes.tags;
        object.lock = changes.attributes.lock;
        object.system = changes.attributes.system;
        if changes.checksum.is_some() {
            object.checksum = changes.checksum;
        }
        if let Some(md5) = changes.etag_md5 {
            object.etag_md5 = md5;
            object.multipart = false;
        }
        // A copy is one object: a checksum over parts says nothing about it any more.
        object
            .checksum
            .take_if(|checksum| checksum.kind == ChecksumKind::Composite && !object.multipart);
        let claimed = self
            .claim_object(&caller, &bucket, becoming, super::budget::Room::none())
            .await?;
        let change = if shared {
            Change::Copy {
                source: Box::new(stored),
            }
        } else {
            Change::CopyAcross
        };
        self.make_current(&caller, &bucket, claimed, &condition, &change)
            .await
    }

    /// A source's bytes as parts of the target's scope: each part a new stream, so that part boundaries stay.
    async fn restreamed(
        self: &Arc<Self>,
        caller: &Caller,
        (from, stored): (&Bucket, &Stored),
        to: &Bucket,
    ) -> Result<Becoming, SessionError> {
        if stored.object.customer.is_some() {
            return Err(CustomerKeyError::Missing.into());
        }
        // Held to the end, so that the collector moves no later part away while an earlier one is read.
        let source = Source::Object(Box::new(stored.clone()));
        let (manifest, _hold) = self
            .hold(from.scope, source, &(0..u64::MAX), caller.reading())
            .await?;
        let Manifest::Inline(parts) = manifest else {
            return Err(SessionError::Internal {
                what: "a manifest more than two levels deep",
            });
        };
        let object = Object {
            manifest: Manifest::Inline(Vec::new()),
            ..stored.object.clone()
        };
        let mut becoming = Becoming {
            object,
            parts: Vec::with_capacity(parts.len()),
            open: Vec::new(),
            pins: Vec::new(),
        };
        for part in parts {
            let mut writer = super::StreamWriter::new(self, to, None, None)?.because(caller.writing());
            let total = part.plaintext_bytes;
            let (number, md5, checksum) = (part.number, part.md5, part.checksum.clone());
            let mut pieces = self.read_raw(
                from.scope,
                Manifest::Inline(vec![part]),
                0..total,
                caller.reading(),
            );
            while let Some(piece) = pieces.next().await {
                writer.write(piece?).await?;
            }
            let (mut copied, mut pins) = self.settle(to, writer.finish().await?, caller.writing()).await?;
            (copied.number, copied.md5, copied.checksum) = (number, md5, checksum);
            becoming.parts.push(copied);
            becoming.pins.append(&mut pins);
        }
        Ok(becoming)
    }
}
