//! Claims: what a pack's sealed trailer says about the entries that stand on it, so that the drives alone, with the
//! root key, give the index back.
//!
//! It says what a writer was about to append, not what was applied: `rebuild` weighs that.
//!
//! Invariant: a claim decodes to a whole, consistent entry value; "this pack" in it means the pack whose trailer it is
//! in, and is replaced by the pack's id when the trailer is opened.
//!
//! Source: FORMAT.md section 5.

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::PackId;
use engine::slots::{EntryKind, Sequence};
use scopes::ScopeId;

use crate::Random;
use crate::checkpoint::CheckpointPointer;
use crate::keys::Keyring;
use crate::object::{Bucket, Object, PartEntry, STRING_BYTES_MAX, Upload};
use crate::value::{OpenError, VALUE_BYTES_MAX, ValueError, sealed_trailer_bytes};

#[cfg(test)]
mod tests;

/// The kind byte of a claim that names an index checkpoint.
pub const CHECKPOINT_KIND: u8 = 253;

const VERSION: u8 = 1;
/// A claim takes more than 60 bytes, so a trailer never holds more than this.
const CLAIMS_MAX: usize = VALUE_BYTES_MAX / 60;

/// The entry that a claim is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// A bucket.
    Bucket(Bucket),
    /// The current version of an object.
    Object(Object),
    /// A version kept beside the current one.
    Version(Object),
    /// An upload.
    Upload(Upload),
    /// A part of an upload.
    Part(PartEntry),
    /// An index checkpoint.
    Checkpoint(CheckpointPointer),
}

impl ClaimValue {
    /// The kind byte.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Bucket(_) => EntryKind::Bucket as u8,
            Self::Object(_) => EntryKind::ObjectCurrent as u8,
            Self::Version(_) => EntryKind::ObjectVersion as u8,
            Self::Upload(_) => EntryKind::Upload as u8,
            Self::Part(_) => EntryKind::Part as u8,
            Self::Checkpoint(_) => CHECKPOINT_KIND,
        }
    }

    /// The plaintext value as the entry holds it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bucket(bucket) => bucket.encode(),
            Self::Object(object) | Self::Version(object) => object.encode(),
            Self::Upload(upload) => upload.encode(),
            Self::Part(part) => part.encode(),
            Self::Checkpoint(pointer) => pointer.encode(),
        }
    }

    /// Reads the plaintext value of an entry of this kind.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(kind: u8, input: &[u8]) -> Result<Self, DecodeError> {
        const BUCKET: u8 = EntryKind::Bucket as u8;
        const OBJECT: u8 = EntryKind::ObjectCurrent as u8;
        const OBJECT_VERSION: u8 = EntryKind::ObjectVersion as u8;
        const UPLOAD: u8 = EntryKind::Upload as u8;
        const PART: u8 = EntryKind::Part as u8;
        Ok(match kind {
            BUCKET => Self::Bucket(Bucket::decode(input)?),
            OBJECT => Self::Object(Object::decode(input)?),
            OBJECT_VERSION => Self::Version(Object::decode(input)?),
            UPLOAD => Self::Upload(Upload::decode(input)?),
            PART => Self::Part(PartEntry::decode(input)?),
            CHECKPOINT_KIND => Self::Checkpoint(CheckpointPointer::decode(input)?),
            got => {
                return Err(DecodeError::BadValue {
                    what: "claim kind",
                    got: u64::from(got),
                });
            }
        })
    }

    /// When the entry says it was made, in ms since 1970.
    pub const fn made_ms(&self) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.created_ms,
            Self::Object(object) | Self::Version(object) => object.modified_ms,
            Self::Upload(upload) => upload.initiated_ms,
            Self::Part(part) => part.modified_ms,
            Self::Checkpoint(pointer) => pointer.written_ms,
        }
    }

    /// The newest epoch that the entry's streams are sealed under, or its own; 1 if it has none.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Bucket(_) | Self::Checkpoint(_) => crate::keys::FIRST_EPOCH,
            Self::Object(object) | Self::Version(object) => object.manifest.epoch(),
            Self::Upload(upload) => upload.epoch,
            Self::Part(part) => part.part.epoch,
        }
    }

    /// The packs that the entry names, as far as it says so itself: of a long manifest those of its own stream.
    pub fn packs(&self) -> Vec<PackId> {
        let mut packs = std::collections::BTreeMap::new();
        match self {
            Self::Object(object) | Self::Version(object) => packs = object.manifest.pack_bytes(),
            Self::Part(part) => part.part.count_packs(&mut packs),
            Self::Checkpoint(pointer) => pointer.stream.count_packs(&mut packs),
            Self::Bucket(_) | Self::Upload(_) => {}
        }
        packs.into_keys().collect()
    }

    /// Puts the id of the pack in place of "this pack".
    pub fn resolve_this_pack(&mut self, id: PackId) {
        match self {
            Self::Object(object) | Self::Version(object) => object.manifest.resolve_this_pack(id),
            Self::Part(part) => part.part.resolve_this_pack(id),
            Self::Checkpoint(pointer) => pointer.stream.resolve_this_pack(id),
            Self::Bucket(_) | Self::Upload(_) => {}
        }
    }
}

/// What a writer was about to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The slot of the entry.
    pub slot: [u8; 16],
    /// The epoch that the entry's value is sealed under.
    pub epoch: u64,
    /// The writer's clock, in ms since 1970.
    pub clock_ms: u64,
    /// The sequence that the writer had applied.
    pub after: Sequence,
    /// The client's operation.
    pub operation: [u8; 16],
    /// The entry.
    pub value: ClaimValue,
}

impl Claim {
    fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.u8(self.value.kind());
        writer.fixed(&self.slot);
        writer.varint(self.epoch);
        writer.u64(self.clock_ms);
        writer.u64(self.after.0);
        writer.fixed(&self.operation);
        writer.bytes(&self.value.encode());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.version(VERSION)?;
        let kind = reader.u8()?;
        Ok(Self {
            slot: reader.fixed()?,
            epoch: reader.varint()?,
            clock_ms: reader.u64()?,
            after: Sequence(reader.u64()?),
            operation: reader.fixed()?,
            value: ClaimValue::decode(kind, reader.bytes(VALUE_BYTES_MAX)?)?,
        })
    }
}

/// A pack's trailer could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrailerError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It opens and holds something else.
    #[error("the trailer is malformed: {0}")]
    Malformed(#[from] DecodeError),
}

/// The claims of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The name of the pack's scope.
    pub scope_name: String,
    /// The claims.
    pub claims: Vec<Claim>,
}

impl Trailer {
    /// Opens the sealed trailer of `pack` and puts the pack's id in place of "this pack".
    ///
    /// # Errors
    /// [`TrailerError`].
    pub fn open(
        keyring: &Keyring,
        scope: ScopeId,
        pack: PackId,
        sealed: &[u8],
    ) -> Result<Self, TrailerError> {
        let plain = keyring.open_trailer(scope, sealed)?;
        let mut trailer = Self::decode(&plain)?;
        trailer
            .claims
            .iter_mut()
            .for_each(|claim| claim.value.resolve_this_pack(pack));
        Ok(trailer)
    }

    /// Reads a trailer's plaintext.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        reader.version(VERSION)?;
        let scope_name = reader.string(STRING_BYTES_MAX)?.to_owned();
        let claims = reader.list_with(CLAIMS_MAX, Claim::decode)?;
        reader.finish()?;
        Ok(Self { scope_name, claims })
    }
}

/// Collects the claims of a pack while it fills, and knows at any time how long its trailer will be.
#[derive(Debug)]
pub struct TrailerBuilder {
    scope_name: String,
    claims: Writer,
    count: u64,
}

impl TrailerBuilder {
    /// An empty trailer of a pack in the scope of this name.
    pub fn new(scope_name: &str) -> Self {
        Self {
            scope_name: scope_name.to_owned(),
            claims: Writer::new(),
            count: 0,
        }
    }

    /// Adds a claim; extents in the pack itself say "this pack". One that would not read back is left out, for it would take
    /// the whole trailer with it; its commit is refused for the same reason ([`crate::commit::CommitError::Unreadable`]).
    pub fn push(&mut self, claim: &Claim) {
        let mut own = Writer::new();
        claim.encode(&mut own);
        if Claim::decode(&mut Reader::new(own.as_slice())).is_err() {
            return;
        }
        self.claims.fixed(own.as_slice());
        self.count += 1;
    }

    /// How many claims there are.
    pub const fn claims(&self) -> u64 {
        self.count
    }

    /// Length of the sealed trailer under `epoch`, in bytes, if `claim` were added too.
    pub fn sealed_bytes_with(&self, claim: Option<&Claim>, epoch: u64) -> usize {
        let mut more = Writer::new();
        if let Some(claim) = claim {
            claim.encode(&mut more);
        }
        let mut count = Writer::new();
        count.varint(self.count + u64::from(claim.is_some()));
        let head = self.head().len() + count.len();
        sealed_trailer_bytes(head + self.claims.len() + more.len(), epoch)
    }

    /// The trailer's plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = self.head();
        writer.varint(self.count);
        writer.fixed(self.claims.as_slice());
        writer.into_vec()
    }

    /// The sealed trailer.
    ///
    /// # Errors
    /// [`ValueError::TooLong`].
    pub fn seal(
        &self,
        keyring: &Keyring,
        scope: ScopeId,
        epoch: u64,
        random: Random<'_>,
    ) -> Result<Vec<u8>, ValueError> {
        keyring.seal_trailer(scope, epoch, &self.encode(), random)
    }

    fn head(&self) -> Writer {
        let mut writer = Writer::with_capacity(self.claims.len() + self.scope_name.len() + 16);
        writer.u8(VERSION);
        writer.string(&self.scope_name);
        writer
    }
}
