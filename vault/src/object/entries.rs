//! The values of sealed entries: Object, Bucket, Upload and part entry.

use engine::codec::{DecodeError, Reader, Writer};
use engine::slots::Sequence;
use scopes::ScopeId;

use crate::customer::CustomerCheck;

use super::checksum::{ChecksumAlgorithm, ChecksumKind, ObjectChecksum};
use super::manifest::{Manifest, PARTS_MAX};
use super::part::Part;
use super::settings::Settings;
use super::{OBJECT_KEY_BYTES_MAX, PAIRS_MAX, STRING_BYTES_MAX, UploadId, VersionId, hex};

const VERSION: u8 = 1;
const FLAG_DELETE_MARKER: u8 = 1;
const FLAG_MULTIPART: u8 = 2;

/// Until when an object version may not be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Retention {
    /// The mode: 1 governance, 2 compliance.
    pub mode: u8,
    /// The end, in ms since 1970.
    pub until_ms: u64,
}

/// What keeps an object version from being deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lock {
    /// Retention, if any.
    pub retention: Option<Retention>,
    /// Whether there is a legal hold.
    pub legal_hold: bool,
}

impl Lock {
    fn encode(&self, writer: &mut Writer) {
        writer.option_with(self.retention, |w, retention| {
            w.u8(retention.mode);
            w.u64(retention.until_ms);
        });
        writer.u8(u8::from(self.legal_hold));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let retention = reader.option_with(|r| match r.u8()? {
            mode @ (1 | 2) => Ok(Retention {
                mode,
                until_ms: r.u64()?,
            }),
            got => Err(DecodeError::BadValue {
                what: "retention mode",
                got: u64::from(got),
            }),
        })?;
        Ok(Self {
            retention,
            legal_hold: reader.bool("legal hold")?,
        })
    }
}

/// A version of an object: the value of an object-current or object-version entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The object key, 1 to 1,024 bytes.
    pub key: String,
    /// Whether it says that the object was deleted.
    pub delete_marker: bool,
    /// Whether the ETag is that of a multipart upload.
    pub multipart: bool,
    /// The version.
    pub version: VersionId,
    /// Whether S3 shows the version as "null".
    pub null_version: bool,
    /// Length, in bytes of plaintext.
    pub plaintext_bytes: u64,
    /// When it was written, in ms since 1970.
    pub modified_ms: u64,
    /// MD5 of the bytes, or of the parts' MD5s; with a customer's key, what stands in their place.
    pub etag_md5: [u8; 16],
    /// How many parts it was uploaded in; 1 for a plain PUT.
    pub parts: u32,
    /// The checksum that the client gave or asked for.
    pub checksum: Option<ObjectChecksum>,
    /// Content headers and user metadata under lower-case names, in name order.
    pub metadata: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// Retention and legal hold.
    pub lock: Lock,
    /// What the gateway notes of it, by name; no header of a request reaches it by its own name.
    pub system: Vec<(String, String)>,
    /// The sequence that the version's entry had as the current one, when another took its place; 0 while it is current. It
    /// orders the versions of a key, and stays when the entry is written again.
    pub superseded: Sequence,
    /// How often its tags, lock or notes were changed since it was written: of two claims for one version the one with more is later.
    pub amendments: u64,
    /// By what the customer's key is known again that its streams are sealed under; none if there is no such key.
    pub customer: Option<CustomerCheck>,
    /// Where its bytes lie.
    pub manifest: Manifest,
}

impl Object {
    /// The ETag without quotes: the MD5 in hex, followed by `-parts` after a multipart upload.
    pub fn etag(&self) -> String {
        etag(&self.etag_md5, self.multipart, self.parts)
    }

    /// The value that the gateway noted under this name.
    pub fn system(&self, name: &str) -> Option<&str> {
        let found = self.system.iter().find(|(have, _)| have == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a metadata entry, by its lower-case name.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// The entry's plaintext value. Metadata is put in name order.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(256);
        self.encode_to(&mut writer);
        writer.into_vec()
    }

    pub(crate) fn encode_to(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        let delete_marker = if self.delete_marker { FLAG_DELETE_MARKER } else { 0 };
        writer.u8(delete_marker | if self.multipart { FLAG_MULTIPART } else { 0 });
        writer.string(&self.key);
        writer.fixed(&self.version.0);
        writer.u8(u8::from(self.null_version));
        writer.varint(self.plaintext_bytes);
        writer.u64(self.modified_ms);
        writer.fixed(&self.etag_md5);
        writer.varint(u64::from(self.parts));
        writer.option_with(self.checksum.as_ref(), |w, checksum| checksum.encode(w));
        encode_metadata(writer, &self.metadata);
        encode_pairs(writer, &self.tags);
        self.lock.encode(writer);
        encode_pairs(writer, &self.system);
        writer.varint(self.superseded.0);
        writer.varint(self.amendments);
        writer.option_with(self.customer, |w, check| check.encode(w));
        self.manifest.encode(writer);
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let head = Listed::decode_from(&mut reader)?;
        let object = Self {
            delete_marker: head.delete_marker,
            multipart: head.multipart,
            key: head.key,
            version: head.version,
            null_version: head.null_version,
            plaintext_bytes: head.plaintext_bytes,
            modified_ms: head.modified_ms,
            etag_md5: head.etag_md5,
            parts: head.parts,
            checksum: head.checksum,
            metadata: decode_metadata(&mut reader)?,
            tags: decode_pairs(&mut reader)?,
            lock: Lock::decode(&mut reader)?,
            system: decode_pairs(&mut reader)?,
            superseded: Sequence(reader.varint()?),
            amendments: reader.varint()?,
            customer: reader.option_with(CustomerCheck::decode)?,
            manifest: Manifest::decode(&mut reader)?,
        };
        reader.finish()?;
        let customer = object.customer.is_some();
        if !object.manifest.fits_customer(customer) || (customer && object.delete_marker) {
            return Err(DecodeError::BadValue {
                what: "customer key",
                got: u64::from(customer),
            });
        }
        if let Manifest::Inline(parts) = &object.manifest {
            let bytes = parts
                .iter()
                .try_fold(0u64, |sum, part| sum.checked_add(part.plaintext_bytes));
            if bytes != Some(object.plaintext_bytes) {
                return Err(DecodeError::BadValue {
                    what: "object length",
                    got: object.plaintext_bytes,
                });
            }
        }
        Ok(object)
    }
}

/// The part of an object's entry that a listing shows, read without its metadata and manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As in [`Object`].
    pub key: String,
    /// As in [`Object`].
    pub delete_marker: bool,
    /// As in [`Object`].
    pub multipart: bool,
    /// As in [`Object`].
    pub version: VersionId,
    /// As in [`Object`].
    pub null_version: bool,
    /// As in [`Object`].
    pub plaintext_bytes: u64,
    /// As in [`Object`].
    pub modified_ms: u64,
    /// As in [`Object`].
    pub etag_md5: [u8; 16],
    /// As in [`Object`].
    pub parts: u32,
    /// As in [`Object`].
    pub checksum: Option<ObjectChecksum>,
}

impl Listed {
    /// The ETag without quotes.
    pub fn etag(&self) -> String {
        etag(&self.etag_md5, self.multipart, self.parts)
    }

    /// Reads the head of what [`Object::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`], for the head only.
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_from(&mut Reader::new(input))
    }

    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.version(VERSION)?;
        let flags = reader.u8()?;
        if flags & !(FLAG_DELETE_MARKER | FLAG_MULTIPART) != 0 {
            return Err(DecodeError::BadValue {
                what: "object flags",
                got: u64::from(flags),
            });
        }
        Ok(Self {
            delete_marker: flags & FLAG_DELETE_MARKER != 0,
            multipart: flags & FLAG_MULTIPART != 0,
            key: object_key(reader)?,
            version: VersionId(reader.fixed()?),
            null_version: reader.bool("null version")?,
            plaintext_bytes: reader.varint()?,
            modified_ms: reader.u64()?,
            etag_md5: reader.fixed()?,
            parts: reader.count(PARTS_MAX)? as u32,
            checksum: reader.option_with(ObjectChecksum::decode)?,
        })
    }
}

fn etag(md5: &[u8; 16], multipart: bool, parts: u32) -> String {
    let md5 = hex(md5);
    if multipart { format!("{md5}-{parts}") } else { md5 }
}

/// A bucket: the name that S3 shows for a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name, which is the scope's.
    pub name: String,
    /// The scope.
    pub scope: ScopeId,
    /// The epoch under which new streams and entries are sealed.
    pub epoch: u64,
    /// When it was made, in ms since 1970.
    pub created_ms: u64,
    /// Settings by name.
    pub settings: Settings,
}

impl Bucket {
    /// The entry's plaintext value.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.string(&self.name);
        writer.fixed(&self.scope.0);
        writer.varint(self.epoch);
        writer.u64(self.created_ms);
        self.settings.encode(&mut writer);
        writer.into_vec()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        reader.version(VERSION)?;
        let bucket = Self {
            name: reader.string(STRING_BYTES_MAX)?.to_owned(),
            scope: ScopeId(reader.fixed()?),
            epoch: reader.varint()?,
            created_ms: reader.u64()?,
            settings: Settings::decode(&mut reader)?,
        };
        reader.finish()?;
        Ok(bucket)
    }
}

/// A multipart upload in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The object key that it is for.
    pub key: String,
    /// Its id.
    pub id: UploadId,
    /// When it began, in ms since 1970.
    pub initiated_ms: u64,
    /// The epoch of the scope when it began.
    pub epoch: u64,
    /// The checksum algorithm that the client asked for.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// What the object's checksum will be over.
    pub checksum_kind: ChecksumKind,
    /// Metadata of the object, as in [`Object`].
    pub metadata: Vec<(String, String)>,
    /// Tags of the object.
    pub tags: Vec<(String, String)>,
    /// Retention and legal hold of the object.
    pub lock: Lock,
    /// As in [`Object`].
    pub system: Vec<(String, String)>,
    /// Who began it, as S3 shows it.
    pub initiator: String,
    /// As in [`Object`]: every part comes with this key.
    pub customer: Option<CustomerCheck>,
}

impl Upload {
    /// The entry's plaintext value. Metadata is put in name order.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.string(&self.key);
        writer.fixed(&self.id.0);
        writer.u64(self.initiated_ms);
        writer.varint(self.epoch);
        writer.option_with(self.checksum_algorithm, |w, algorithm| w.u8(algorithm as u8));
        writer.u8(self.checksum_kind as u8);
        encode_metadata(&mut writer, &self.metadata);
        encode_pairs(&mut writer, &self.tags);
        self.lock.encode(&mut writer);
        encode_pairs(&mut writer, &self.system);
        writer.string(&self.initiator);
        writer.option_with(self.customer, |w, check| check.encode(w));
        writer.into_vec()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        reader.version(VERSION)?;
        let upload = Self {
            key: object_key(&mut reader)?,
            id: UploadId(reader.fixed()?),
            initiated_ms: reader.u64()?,
            epoch: reader.varint()?,
            checksum_algorithm: reader.option_with(ChecksumAlgorithm::decode)?,
            checksum_kind: ChecksumKind::decode(&mut reader)?,
            metadata: decode_metadata(&mut reader)?,
            tags: decode_pairs(&mut reader)?,
            lock: Lock::decode(&mut reader)?,
            system: decode_pairs(&mut reader)?,
            initiator: reader.string(STRING_BYTES_MAX)?.to_owned(),
            customer: reader.option_with(CustomerCheck::decode)?,
        };
        reader.finish()?;
        Ok(upload)
    }
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    /// The upload.
    pub upload: UploadId,
    /// When it was written, in ms since 1970.
    pub modified_ms: u64,
    /// MD5 of its bytes.
    pub etag_md5: [u8; 16],
    /// Number, stream and extents.
    pub part: Part,
}

impl PartEntry {
    /// The ETag without quotes.
    pub fn etag(&self) -> String {
        hex(&self.etag_md5)
    }

    /// The entry's plaintext value.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION);
        writer.fixed(&self.upload.0);
        writer.u64(self.modified_ms);
        writer.fixed(&self.etag_md5);
        self.part.encode(&mut writer);
        writer.into_vec()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        reader.version(VERSION)?;
        let entry = Self {
            upload: UploadId(reader.fixed()?),
            modified_ms: reader.u64()?,
            etag_md5: reader.fixed()?,
            part: Part::decode(&mut reader)?,
        };
        reader.finish()?;
        if entry.part.number == 0 {
            return Err(DecodeError::BadValue {
                what: "part number",
                got: 0,
            });
        }
        Ok(entry)
    }
}

fn object_key(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    match reader.string(OBJECT_KEY_BYTES_MAX)? {
        "" => Err(DecodeError::BadValue {
            what: "object key length",
            got: 0,
        }),
        key => Ok(key.to_owned()),
    }
}

fn encode_pairs(writer: &mut Writer, pairs: &[(String, String)]) {
    writer.list_with(pairs, |w, (name, value)| {
        w.string(name);
        w.string(value);
    });
}

fn decode_pairs(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, DecodeError> {
    reader.list_with(PAIRS_MAX, |r| {
        Ok((
            r.string(STRING_BYTES_MAX)?.to_owned(),
            r.string(STRING_BYTES_MAX)?.to_owned(),
        ))
    })
}

fn encode_metadata(writer: &mut Writer, pairs: &[(String, String)]) {
    let mut sorted: Vec<&(String, String)> = pairs.iter().collect();
    // Stable: values under one name keep their order.
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    writer.list_with(&sorted, |w, (name, value)| {
        w.string(name);
        w.string(value);
    });
}

fn decode_metadata(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, DecodeError> {
    let pairs = decode_pairs(reader)?;
    if pairs.is_sorted_by(|a, b| a.0 <= b.0) {
        Ok(pairs)
    } else {
        Err(DecodeError::BadValue {
            what: "metadata order",
            got: pairs.len() as u64,
        })
    }
}
