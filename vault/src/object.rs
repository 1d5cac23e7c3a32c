//! What the ledger's sealed entries say: objects, buckets, uploads and parts, and where their bytes lie.
//!
//! Plain data and its strict codec. It seals nothing and looks nothing up.
//!
//! Invariant: what decodes is consistent in itself (a part's extents hold exactly the chunks of its stream, in order;
//! an inline manifest's parts add up to the object's length), and re-encodes to the same bytes.
//!
//! Source: FORMAT.md section 5.

mod checksum;
mod entries;
mod extent;
mod manifest;
mod part;
#[cfg(test)]
pub(crate) mod samples;
mod settings;
#[cfg(test)]
mod tests;

pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumKind, ObjectChecksum};
pub use entries::{Bucket, Listed, Lock, Object, PartEntry, Retention, Upload};
pub use extent::{Extent, ExtentBuilder, Form, PackRef, Place};
pub use manifest::{ChunkAt, Chunks, MANIFEST_INLINE_BYTES_MAX, Manifest, NeedsResolving, PARTS_MAX};
pub use part::Part;
pub use settings::{Settings, Versioning};

/// The longest object key, in bytes.
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;
/// The longest string in an entry: a metadata value, a name, a setting, in bytes.
pub const STRING_BYTES_MAX: usize = 65_536;
/// The most metadata entries, tags or settings.
pub const PAIRS_MAX: usize = 1024;

/// The id of a stream, 32 random bytes: the unit of sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub [u8; 32]);

/// The id of a version: the big-endian sequence that its writer saw, then 8 random bytes. Unique; the order of versions is
/// that of their entries' sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub [u8; 16]);

impl VersionId {
    /// The id of a version chosen by a writer whose view stood at `sequence`.
    pub fn new(sequence: engine::slots::Sequence, random: crate::Random<'_>) -> Self {
        let mut tail = [0; 8];
        random(&mut tail);
        let mut id = [0; 16];
        for (byte, value) in id
            .iter_mut()
            .zip(sequence.0.to_be_bytes().into_iter().chain(tail))
        {
            *byte = value;
        }
        Self(id)
    }
}

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A version as S3 names it: by its id, or as the null version of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionRef {
    /// The version that was written while the bucket kept none.
    Null,
    /// The version of this id, which is not the null version.
    Id(VersionId),
}

impl VersionRef {
    /// How S3 names this version.
    pub const fn of(object: &Object) -> Self {
        Self::named(object.null_version, object.version)
    }

    /// How S3 names a version of this id.
    pub const fn named(null_version: bool, id: VersionId) -> Self {
        if null_version { Self::Null } else { Self::Id(id) }
    }
}

impl std::fmt::Display for VersionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl std::str::FromStr for VersionRef {
    type Err = engine::codec::DecodeError;

    /// Reads `null`, or 32 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "null" {
            return Ok(Self::Null);
        }
        hex_16(text, "version id").map(|id| Self::Id(VersionId(id)))
    }
}

/// The id of a multipart upload, 16 random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub [u8; 16]);

impl UploadId {
    /// A new id.
    pub fn draw(random: crate::Random<'_>) -> Self {
        let mut id = [0; 16];
        random(&mut id);
        Self(id)
    }
}

impl std::fmt::Display for UploadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::str::FromStr for UploadId {
    type Err = engine::codec::DecodeError;

    /// Reads 32 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex_16(text, "upload id").map(Self)
    }
}

/// Reads 16 bytes from 32 lower-case hex digits.
fn hex_16(text: &str, what: &'static str) -> Result<[u8; 16], engine::codec::DecodeError> {
    let bad = engine::codec::DecodeError::BadValue {
        what,
        got: text.len() as u64,
    };
    let mut id = [0; 16];
    let digits = text.as_bytes().chunks_exact(2);
    if text.len() != 32 {
        return Err(bad);
    }
    for (byte, pair) in id.iter_mut().zip(digits) {
        let [high, low] = pair else { return Err(bad) };
        *byte = (hex_digit(*high).ok_or(bad)? << 4) | hex_digit(*low).ok_or(bad)?;
    }
    Ok(id)
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
