//! Shard, delete and lease frames: FORMAT.md section 3.
//!
//! Not the shard's bytes, which follow the clear header untouched. Invariant: a decoded header's pack id is
//! what its geometry and hashes give, and its tag agrees with it.

use std::fmt;

use twox_hash::XxHash3_64;

use crate::codec::{DecodeError, Reader, Writer};
use crate::disk::DIRECT_ALIGN;
use crate::log::Position;
use crate::pack::{PackId, PackSummary};
use crate::slots::AcceptedLeases;

pub(super) const KIND_SHARD: u8 = 16;
pub(super) const KIND_DELETE: u8 = 17;
/// Read only: what an older build wrote of leases.
pub(super) const KIND_LOWEST_LEASE: u8 = 18;
pub(super) const KIND_LEASES: u8 = 19;

/// Bytes of a shard frame's tag.
pub const SHARD_TAG_BYTES: usize = 80;

/// Bytes of a delete frame's tag, which is its payload.
pub(super) const DELETE_TAG_BYTES: usize = 44;

/// Which shard of which pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardKey {
    /// The pack.
    pub pack: PackId,
    /// 0 to k - 1 are the lanes, k to k + m - 1 the parity.
    pub index: u8,
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of pack {}", self.index, self.pack)
    }
}

/// What a shard frame says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardHeader {
    /// Geometry, hashes and id of the pack.
    pub summary: PackSummary,
    /// Which shard this is.
    pub index: u8,
    /// The lease of the gateway that put it.
    pub lease: u64,
    /// Vault id.
    pub vault: [u8; 16],
    /// Scope id.
    pub scope: [u8; 16],
}

impl ShardHeader {
    /// The shard's name on a drive.
    pub fn key(&self) -> ShardKey {
        ShardKey {
            pack: self.summary.id,
            index: self.index,
        }
    }

    /// The tag of the shard's frame.
    pub fn encode_tag(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(SHARD_TAG_BYTES);
        put_key(&mut out, &self.key());
        out.u32(self.summary.geometry.shard_bytes);
        out.u64(self.lease);
        out.fixed(&self.vault);
        out.fixed(&self.scope);
        out.into_vec()
    }

    /// The clear header, which follows the tag. Between it and the shard there may be zeros.
    pub fn encode_clear(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.summary.encode(&mut out);
        out.into_vec()
    }

    /// Reads tag and clear header from the start of a payload of `payload_bytes`; `bytes` may be the whole payload or what precedes
    /// the shard.
    pub fn decode(bytes: &[u8], payload_bytes: u32) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let tag = ShardTag::decode(reader.take(SHARD_TAG_BYTES)?)?;
        let summary = PackSummary::decode(&mut reader)?;
        let wrong = |what, got| DecodeError::BadValue { what, got };
        if summary.id != tag.key.pack {
            return Err(wrong("pack id", 0));
        }
        if summary.geometry.shard_bytes != tag.shard_bytes {
            return Err(wrong("shard length", u64::from(tag.shard_bytes)));
        }
        if usize::from(tag.key.index) >= summary.hashes.len() {
            return Err(wrong("shard index", u64::from(tag.key.index)));
        }
        let header_bytes = (bytes.len() - reader.remaining()) as u64;
        let zeros = u64::from(payload_bytes)
            .checked_sub(header_bytes + u64::from(tag.shard_bytes))
            .and_then(|zeros| usize::try_from(zeros).ok())
            .filter(|zeros| *zeros < DIRECT_ALIGN)
            .ok_or_else(|| wrong("payload length", u64::from(payload_bytes)))?;
        reader.zeros(zeros, "bytes before the shard")?;
        let ShardTag {
            key,
            lease,
            vault,
            scope,
            ..
        } = tag;
        Ok(Self {
            summary,
            index: key.index,
            lease,
            vault,
            scope,
        })
    }
}

/// The tag of a shard frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardTag {
    pub(super) key: ShardKey,
    pub(super) shard_bytes: u32,
    pub(super) lease: u64,
    pub(super) vault: [u8; 16],
    pub(super) scope: [u8; 16],
}

impl ShardTag {
    pub(super) fn decode(tag: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(tag);
        let key = take_key(&mut reader)?;
        let decoded = Self {
            key,
            shard_bytes: reader.u32()?,
            lease: reader.u64()?,
            vault: reader.fixed()?,
            scope: reader.fixed()?,
        };
        reader.finish()?;
        Ok(decoded)
    }
}

/// A checksum of a shard frame's tag, by which the frame is known again when it is read.
pub(super) fn tag_checksum(tag: &[u8]) -> u64 {
    XxHash3_64::oneshot(tag)
}

/// The tag of a delete frame: the shard and the position of the frame that is deleted.
pub(super) fn encode_delete(key: &ShardKey, target: Position) -> Vec<u8> {
    let mut out = Writer::with_capacity(DELETE_TAG_BYTES);
    put_key(&mut out, key);
    out.u64(target.0);
    out.into_vec()
}

pub(super) fn decode_delete(tag: &[u8]) -> Result<(ShardKey, Position), DecodeError> {
    let mut reader = Reader::new(tag);
    let decoded = (take_key(&mut reader)?, Position(reader.u64()?));
    reader.finish()?;
    Ok(decoded)
}

pub(super) fn encode_leases(accepted: &AcceptedLeases) -> Vec<u8> {
    let mut out = Writer::new();
    accepted.encode(&mut out);
    out.into_vec()
}

/// What a frame of either kind says of leases.
pub(super) fn decode_leases(kind: u8, tag: &[u8]) -> Result<AcceptedLeases, DecodeError> {
    let mut reader = Reader::new(tag);
    let accepted = match kind {
        KIND_LOWEST_LEASE => AcceptedLeases::at_least(reader.u64()?),
        _ => AcceptedLeases::decode(&mut reader)?,
    };
    reader.finish()?;
    Ok(accepted)
}

fn put_key(out: &mut Writer, key: &ShardKey) {
    out.fixed(&key.pack.0);
    out.u8(key.index);
    out.zeros(3);
}

fn take_key(reader: &mut Reader<'_>) -> Result<ShardKey, DecodeError> {
    let key = ShardKey {
        pack: PackId(reader.fixed()?),
        index: reader.u8()?,
    };
    reader.zeros(3, "reserved bytes")?;
    Ok(key)
}
