//! The rows of the index view: how their keys and values are written.
//!
//! | key | value |
//! |---|---|
//! | `m` name | identity; sequence and operation of the last applied append; sequence of the last change that a checkpoint must know; loading mark |
//! | `b` bucket name | sequence, Bucket |
//! | `c` scope | bucket name |
//! | `o` scope, object key | sequence, Object; so a scan is in true byte order |
//! | `d` scope, object key | sequence, Object: a delete marker that is current, apart so that a listing does not step over it |
//! | `v` scope, escaped object key, inverted superseded (big-endian), version id | sequence, Object: a version beside the current one, newest first |
//! | `u` scope, escaped object key, upload id | sequence, Upload |
//! | `i` scope, upload id | key of the `u` row |
//! | `q` scope, upload id, part number (big-endian) | sequence, Part entry |
//! | `p` pack id | sequence, scope, pack entry |
//! | `g` pack id | live sealed bytes u64, references u32 |
//! | `r` pack id, address | sealed bytes of that entry in that pack |
//! | `s` address | [`SlotRow`]: a removal in the ledger names only the slot |
//! | `t` scope, slot | sequence, statement |
//! | `n` scope | objects u64, their plaintext bytes u64 |
//! | `x` scope | delete markers and versions beside the current ones u64, their plaintext bytes u64 |
//! | `w` scope | parts of open uploads u64, their plaintext bytes u64 |

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::PackId;
use engine::slots::{Address, Sequence};
use scopes::{ScopeId, VaultId};

use crate::object::{PARTS_MAX, UploadId, VersionId};

pub(super) const IDENTITY: &[u8] = b"midentity";
pub(super) const APPLIED: &[u8] = b"mapplied";
pub(super) const OPERATION: &[u8] = b"moperation";
pub(super) const CHANGED: &[u8] = b"mchanged";
pub(super) const LOADING: &[u8] = b"mloading";

pub(super) const BUCKETS: &[u8] = b"b";
pub(super) const PACKS: &[u8] = b"p";
pub(super) const STATEMENTS: &[u8] = b"t";
pub(super) const PARTS: &[u8] = b"q";
pub(super) const UPLOADS: &[u8] = b"u";
/// The rows of a scope that count.
pub(super) const COUNTERS: [&[u8]; 3] = [b"n", b"w", b"x"];

/// Grows when rows change, so that a view of an older program is built anew.
const VERSION: u8 = 4;
/// The longest row key or name inside a row.
const KEY_BYTES_MAX: usize = 8192;
/// The most packs that one entry refers to.
const REFERENCES_MAX: usize = 1 << 24;

pub(super) fn identity(vault: VaultId) -> Vec<u8> {
    join(&[&[VERSION], &vault.0])
}

pub(super) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn bucket(name: &str) -> Vec<u8> {
    join(&[BUCKETS, name.as_bytes()])
}

pub(super) fn scope(scope: ScopeId) -> Vec<u8> {
    join(&[b"c", &scope.0])
}

pub(super) fn objects(scope: ScopeId) -> Vec<u8> {
    join(&[b"o", &scope.0])
}

pub(super) fn object(scope: ScopeId, key: &[u8]) -> Vec<u8> {
    join(&[b"o", &scope.0, key])
}

/// Whether a row is that of a current object.
pub(super) fn is_object(row: &[u8]) -> bool {
    row.first() == Some(&b'o')
}

pub(super) fn marker(scope: ScopeId, key: &[u8]) -> Vec<u8> {
    join(&[b"d", &scope.0, key])
}

pub(super) fn all_kept(scope: ScopeId) -> Vec<u8> {
    join(&[b"v", &scope.0])
}

/// Every version of a key beside the current one, newest first.
pub(super) fn kept_of(scope: ScopeId, key: &[u8]) -> Vec<u8> {
    join(&[b"v", &scope.0, &escaped(key), TERMINATOR])
}

pub(super) fn kept(scope: ScopeId, key: &[u8], superseded: Sequence, version: VersionId) -> Vec<u8> {
    let order = (!superseded.0).to_be_bytes();
    join(&[&kept_of(scope, key), &order, &version.0])
}

/// The object key of such a row, without its prefix.
pub(super) fn key_of_kept(row: &[u8]) -> Option<Vec<u8>> {
    unescaped(row.get(..row.len().checked_sub(24)?)?)
}

pub(super) fn uploads(scope: ScopeId) -> Vec<u8> {
    join(&[UPLOADS, &scope.0])
}

pub(super) fn upload(scope: ScopeId, key: &[u8], id: UploadId) -> Vec<u8> {
    join(&[UPLOADS, &scope.0, &escaped(key), TERMINATOR, &id.0])
}

pub(super) fn upload_id(scope: ScopeId, id: UploadId) -> Vec<u8> {
    join(&[b"i", &scope.0, &id.0])
}

pub(super) fn parts(scope: ScopeId, id: UploadId) -> Vec<u8> {
    join(&[PARTS, &scope.0, &id.0])
}

pub(super) fn part(scope: ScopeId, id: UploadId, number: u16) -> Vec<u8> {
    join(&[PARTS, &scope.0, &id.0, &number.to_be_bytes()])
}

pub(super) fn pack(id: &PackId) -> Vec<u8> {
    join(&[PACKS, &id.0])
}

pub(super) fn pack_live(id: &PackId) -> Vec<u8> {
    join(&[b"g", &id.0])
}

pub(super) fn references(id: &PackId) -> Vec<u8> {
    join(&[b"r", &id.0])
}

pub(super) fn reference(id: &PackId, address: &Address) -> Vec<u8> {
    join(&[b"r", &id.0, &address_bytes(address)])
}

pub(super) fn slot(address: &Address) -> Vec<u8> {
    join(&[b"s", &address_bytes(address)])
}

pub(super) fn statement(address: &Address) -> Vec<u8> {
    join(&[STATEMENTS, &address.scope, &address.slot])
}

pub(super) fn usage(scope: ScopeId) -> Vec<u8> {
    join(&[b"n", &scope.0])
}

pub(super) fn history(scope: ScopeId) -> Vec<u8> {
    join(&[b"x", &scope.0])
}

pub(super) fn open_parts(scope: ScopeId) -> Vec<u8> {
    join(&[b"w", &scope.0])
}

fn address_bytes(address: &Address) -> Vec<u8> {
    let mut writer = Writer::with_capacity(33);
    address.encode(&mut writer);
    writer.into_vec()
}

/// Ends an escaped object key; below every byte that an escaped key can go on with.
pub(super) const TERMINATOR: &[u8] = &[0, 0];

/// An object key in a row where more follows it: 00 becomes 00 ff, which keeps the byte order.
pub(super) fn escaped(key: &[u8]) -> Cow<'_, [u8]> {
    if !key.contains(&0) {
        return Cow::Borrowed(key);
    }
    let escape = |byte: &u8| if *byte == 0 { vec![0, 0xff] } else { vec![*byte] };
    Cow::Owned(key.iter().flat_map(escape).collect())
}

/// The object key and upload id of an upload row, without its prefix.
pub(super) fn upload_of(row: &[u8]) -> Option<(Vec<u8>, UploadId)> {
    let (name, id) = row.split_at_checked(row.len().checked_sub(16)?)?;
    Some((unescaped(name)?, UploadId(id.try_into().ok()?)))
}

/// The object key that [`escaped`] made and a terminator ended.
fn unescaped(name: &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(name.len());
    let mut bytes = name.strip_suffix(TERMINATOR)?.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some(key)
}

pub(super) fn sequence(sequence: Sequence) -> Vec<u8> {
    sequence.0.to_le_bytes().to_vec()
}

pub(super) fn read_sequence(row: &[u8]) -> Result<Sequence, DecodeError> {
    let mut reader = Reader::new(row);
    let sequence = Sequence(reader.u64()?);
    reader.finish()?;
    Ok(sequence)
}

/// A row value: the sequence, then the entry's plaintext value.
pub(super) fn sequenced(sequence: Sequence, value: &[u8]) -> Vec<u8> {
    join(&[&sequence.0.to_le_bytes(), value])
}

pub(super) fn read_sequenced(row: &[u8]) -> Result<(Sequence, &[u8]), DecodeError> {
    let mut reader = Reader::new(row);
    Ok((Sequence(reader.u64()?), reader.rest()))
}

/// Two counters of 8 bytes.
pub(super) fn counters(first: u64, second: u64) -> Vec<u8> {
    join(&[&first.to_le_bytes(), &second.to_le_bytes()])
}

/// Reads [`counters`]; a missing row counts nothing.
pub(super) fn read_counters(row: Option<&[u8]>) -> Result<(u64, u64), DecodeError> {
    let Some(row) = row else { return Ok((0, 0)) };
    let mut reader = Reader::new(row);
    let counters = (reader.u64()?, reader.u64()?);
    reader.finish()?;
    Ok(counters)
}

/// What stands at an address: its row, what it adds to its scope's usage, and the bytes it keeps alive in each pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SlotRow {
    /// The key of the row that it is in.
    pub(super) row: Vec<u8>,
    /// Another row that goes with it: the scope's of a bucket, the id's of an upload.
    pub(super) second: Option<Vec<u8>>,
    /// Plaintext bytes, of an object.
    pub(super) plaintext_bytes: u64,
    /// Sealed bytes in each pack.
    pub(super) packs: BTreeMap<PackId, u64>,
}

impl SlotRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.row.len() + 48 * self.packs.len() + 16);
        writer.bytes(&self.row);
        writer.option_with(self.second.as_deref(), Writer::bytes);
        writer.varint(self.plaintext_bytes);
        writer.varint(self.packs.len() as u64);
        for (pack, bytes) in &self.packs {
            writer.fixed(&pack.0);
            writer.varint(*bytes);
        }
        writer.into_vec()
    }

    pub(super) fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let row = reader.bytes(KEY_BYTES_MAX)?.to_vec();
        let second = reader.option_with(|r| r.bytes(KEY_BYTES_MAX).map(<[u8]>::to_vec))?;
        let plaintext_bytes = reader.varint()?;
        let packs = reader
            .list_with(REFERENCES_MAX, |r| {
                Ok::<_, DecodeError>((PackId(r.fixed()?), r.varint()?))
            })?
            .into_iter()
            .collect();
        reader.finish()?;
        Ok(Self {
            row,
            second,
            plaintext_bytes,
            packs,
        })
    }
}

/// The parts list of an object holds at most so many; a part row's number is checked against it.
pub(super) const fn is_part_number(number: u16) -> bool {
    number >= 1 && number as usize <= PARTS_MAX
}
