//! Completing uploads: from the parts a client names to one object.
//!
//! No byte is moved: the object's manifest lists the parts' streams. Invariant: a completion removes exactly the parts it was
//! decided on, or nothing.

use super::commit::detached;
use super::part_sums::{combine_parts, composite_of, md5_of_parts};
use super::put::{Becoming, Change, Stored};
use super::uploads::StoredPart;
use super::{Bucket, Caller, Condition, Inner, Session, SessionError, now_ms};
use crate::key::ObjectKey;
use engine::slots::Sequence;
use std::sync::Arc;
use vault::customer::CustomerKey;
use vault::object::{Checksum, ChecksumKind, Manifest, Object, ObjectChecksum, Upload, UploadId, Versioning};

/// The least bytes of a part that is not the last one (S3's limit).
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// A part as a completion names it.
#[derive(Debug, Clone)]
pub struct CompletePart {
    /// Its number.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksum, if the client repeats it; it must where the upload's is composite.
    pub checksum: Option<Checksum>,
}

/// A whole completion.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The parts, as the client lists them.
    pub parts: Vec<CompletePart>,
    /// The checksum the client expects of the object.
    pub expected: Option<Checksum>,
    /// The length the client expects.
    pub expected_bytes: Option<u64>,
    /// The customer's key that came with it.
    pub customer: Option<CustomerKey>,
}

impl Session {
    /// Turns an upload's parts into the current object of its key.
    ///
    /// # Errors
    /// [`SessionError::PartChecksumMissing`], [`SessionError::InvalidPart`], [`SessionError::InvalidPartOrder`], [`SessionError::PartTooSmall`],
    /// [`SessionError::ChecksumDiffers`], [`SessionError::PreconditionFailed`], [`SessionError::QuotaExceeded`],
    /// [`SessionError::NoSuchUpload`], [`SessionError::CustomerKey`].
    pub async fn complete_upload(
        &self,
        caller: &Caller,
        target: (&Bucket, &ObjectKey, UploadId),
        completion: Completion,
        condition: Condition,
    ) -> Result<Stored, SessionError> {
        self.writable()?;
        let (bucket, key, id) = target;
        let completion = Arc::new(completion);
        let done = match self.upload(bucket, key, id).await {
            Ok(upload) => {
                let announced = upload.checksum_algorithm.is_some();
                let given = completion.customer.as_ref();
                self.check_key_of_parts(bucket, &upload.customer, announced, given)?;
                let (inner, caller) = (Arc::clone(&self.inner), caller.clone());
                let (bucket, completion) = (bucket.clone(), Arc::clone(&completion));
                detached(async move {
                    inner
                        .complete(&caller, &bucket, id, &completion, &condition)
                        .await
                })
                .await
            }
            Err(error) => Err(error),
        };
        match done {
            Err(SessionError::NoSuchUpload) => self.completed_before(caller, bucket, key, &completion).await,
            done => done,
        }
    }

    /// A completion whose upload is gone: if the current object is the one that it would have made, this is the same request
    /// again, from a client that did not see the first answer.
    async fn completed_before(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        key: &ObjectKey,
        completion: &Completion,
    ) -> Result<Stored, SessionError> {
        let stored = match self.object(bucket, key).await {
            Err(SessionError::NoSuchKey) => return Err(SessionError::NoSuchUpload),
            found => found?,
        };
        if !would_make(completion, &stored.object) {
            return Err(SessionError::NoSuchUpload);
        }
        // An upload's object has a checksum where one was announced.
        let (check, announced) = (&stored.object.customer, stored.object.checksum.is_some());
        self.check_key_of_parts(bucket, check, announced, completion.customer.as_ref())?;
        self.noted(caller, "CompleteMultipartUpload", Some(&bucket.name))
            .await?;
        Ok(stored)
    }
}

/// Whether an object is what a completion's parts make, as far as their ETags say.
fn would_make(completion: &Completion, object: &Object) -> bool {
    let mut md5s = Vec::with_capacity(completion.parts.len());
    for part in &completion.parts {
        let mut md5 = [0; 16];
        if hex::decode_to_slice(&part.etag, &mut md5).is_err() {
            return false;
        }
        md5s.push(md5);
    }
    let bytes = completion.expected_bytes;
    let checksum = object.checksum.as_ref().map(|have| &have.checksum);
    object.multipart
        && usize::try_from(object.parts) == Ok(md5s.len())
        && object.etag_md5 == md5_of_parts(&md5s)
        && bytes.is_none_or(|bytes| bytes == object.plaintext_bytes)
        && (completion.expected.is_none() || completion.expected.as_ref() == checksum)
}

impl Inner {
    async fn complete(
        self: &Arc<Self>,
        caller: &Caller,
        bucket: &Bucket,
        id: UploadId,
        completion: &Completion,
        condition: &Condition,
    ) -> Result<Stored, SessionError> {
        let row = self
            .index
            .upload(bucket.scope, id)?
            .ok_or(SessionError::NoSuchUpload)?;
        let upload = &row.value;
        let _turn = self.turn(&upload.key, *condition != Condition::None).await;
        let versioning = self.bucket_now(bucket)?.settings.versioning();
        let current = self.index.current(bucket.scope, &upload.key)?;
        condition.check(current.as_ref().map(|current| &current.value))?;
        let stored = self.all_parts(bucket, id)?;
        check_repeated(upload, &completion.parts)?;
        let chosen = choose(&stored, &completion.parts)?;
        let mut object = assemble(upload, &chosen, completion, self.new_version())?;
        object.null_version = versioning != Versioning::Enabled;
        let parts = chosen.iter().map(|part| part.entry.part.clone()).collect();
        let becoming = Becoming {
            object,
            parts,
            open: Vec::new(),
            pins: Vec::new(),
        };
        let claimed = self
            .claim_object(caller, bucket, becoming, super::budget::Room::none())
            .await?;
        let used: Vec<(u16, Sequence)> = chosen
            .iter()
            .map(|part| (part.entry.part.number, part.sequence))
            .collect();
        let numbers = stored.iter().map(|part| part.entry.part.number);
        let unused = numbers
            .filter(|number| used.binary_search_by_key(number, |(used, _)| *used).is_err())
            .collect();
        let change = Change::Complete {
            upload: Box::new(row.clone()),
            used,
            unused,
        };
        self.make_current(caller, bucket, claimed, condition, &change)
            .await
    }
}

/// A composite checksum says nothing of a part that the client does not vouch for: as S3 does, each must be repeated.
fn check_repeated(upload: &Upload, wanted: &[CompletePart]) -> Result<(), SessionError> {
    let (Some(algorithm), ChecksumKind::Composite) = (upload.checksum_algorithm, upload.checksum_kind) else {
        return Ok(());
    };
    match wanted.iter().find(|part| part.checksum.is_none()) {
        Some(&CompletePart { number, .. }) => Err(SessionError::PartChecksumMissing { number, algorithm }),
        None => Ok(()),
    }
}

/// The stored parts that a completion names, checked one by one.
fn choose<'a>(
    stored: &'a [StoredPart],
    wanted: &[CompletePart],
) -> Result<Vec<&'a StoredPart>, SessionError> {
    if !wanted.is_sorted_by(|a, b| a.number < b.number) {
        return Err(SessionError::InvalidPartOrder);
    }
    let mut chosen = Vec::with_capacity(wanted.len());
    for want in wanted {
        let invalid = SessionError::InvalidPart { number: want.number };
        let found = stored.binary_search_by_key(&want.number, |part| part.entry.part.number);
        let part = found
            .ok()
            .and_then(|index| stored.get(index))
            .ok_or(invalid.clone())?;
        let differs = want.checksum.is_some() && want.checksum != part.entry.part.checksum;
        if part.entry.etag() != want.etag || differs {
            return Err(invalid);
        }
        chosen.push(part);
    }
    let but_last = chosen.split_last().map_or(&[][..], |(_, before)| before);
    for part in but_last {
        let (number, bytes) = (part.entry.part.number, part.entry.part.plaintext_bytes);
        if bytes < PART_BYTES_MIN {
            return Err(SessionError::PartTooSmall {
                number,
                bytes,
                least: PART_BYTES_MIN,
            });
        }
    }
    Ok(chosen)
}

/// The object that an upload's parts make.
fn assemble(
    upload: &Upload,
    chosen: &[&StoredPart],
    completion: &Completion,
    version: vault::object::VersionId,
) -> Result<Object, SessionError> {
    let plaintext_bytes = chosen.iter().map(|part| part.entry.part.plaintext_bytes).sum();
    if let Some(expected) = completion
        .expected_bytes
        .filter(|bytes| *bytes != plaintext_bytes)
    {
        let bytes = plaintext_bytes;
        return Err(SessionError::SizeDiffers { expected, bytes });
    }
    let md5s: Vec<[u8; 16]> = chosen.iter().map(|part| part.entry.etag_md5).collect();
    let checksum = object_checksum(upload, chosen)?;
    if let Some(expected) = &completion.expected
        && checksum.as_ref().map(|have| &have.checksum) != Some(expected)
    {
        return Err(SessionError::ChecksumDiffers);
    }
    Ok(Object {
        key: upload.key.clone(),
        delete_marker: false,
        multipart: true,
        version,
        null_version: true,
        plaintext_bytes,
        modified_ms: now_ms(),
        etag_md5: md5_of_parts(&md5s),
        parts: u32::try_from(chosen.len()).unwrap_or(u32::MAX),
        checksum,
        metadata: upload.metadata.clone(),
        tags: upload.tags.clone(),
        lock: upload.lock,
        system: upload.system.clone(),
        superseded: Sequence(0),
        amendments: 0,
        customer: upload.customer,
        manifest: Manifest::Inline(Vec::new()),
    })
}

/// The object's checksum from its parts', in the kind the upload asked for.
fn object_checksum(upload: &Upload, chosen: &[&StoredPart]) -> Result<Option<ObjectChecksum>, SessionError> {
    let Some(algorithm) = upload.checksum_algorithm else {
        return Ok(None);
    };
    let mut parts = Vec::with_capacity(chosen.len());
    for part in chosen {
        let number = part.entry.part.number;
        let checksum = part
            .entry
            .part
            .checksum
            .as_ref()
            .filter(|have| have.algorithm() == algorithm);
        let checksum = checksum.ok_or(SessionError::InvalidPart { number })?;
        parts.push((checksum.value(), part.entry.part.plaintext_bytes));
    }
    let kind = upload.checksum_kind;
    let checksum = match kind {
        ChecksumKind::Composite => composite_of(algorithm, &parts),
        ChecksumKind::FullObject => combine_parts(algorithm, &parts),
    };
    Ok(checksum.map(|checksum| ObjectChecksum { checksum, kind }))
}
