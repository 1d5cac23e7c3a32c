//! Where an entry stands (scope, kind, slot) and when it was written (sequence). No values here.
//!
//! Invariant: addresses order by scope, then kind, then slot, as their encodings do.

use crate::codec::{DecodeError, Reader, Writer};

/// Bytes of an encoded address.
pub const ADDRESS_BYTES: usize = 33;

/// What an entry is (FORMAT.md section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A bucket, sealed.
    Bucket = 1,
    /// The current version of an object, sealed.
    ObjectCurrent = 2,
    /// A version of an object, sealed.
    ObjectVersion = 3,
    /// A multipart upload, sealed.
    Upload = 4,
    /// A part of an upload, sealed.
    Part = 5,
    /// A pack, in the clear, so that repair needs no key.
    Pack = 6,
    /// A gateway's lease, in the clear; see [`super::LeaseEntry`].
    Lease = 7,
    /// A signed statement or a sealed credential record.
    Statement = 8,
    /// A peer of the cluster, in the clear.
    Peer = 9,
    /// What appends under a lease expect to stand as it stood, in the clear; see [`super::fence_address`].
    Fence = 10,
}

impl EntryKind {
    /// Every kind, in order.
    pub const ALL: [Self; 10] = [
        Self::Bucket,
        Self::ObjectCurrent,
        Self::ObjectVersion,
        Self::Upload,
        Self::Part,
        Self::Pack,
        Self::Lease,
        Self::Statement,
        Self::Peer,
        Self::Fence,
    ];

    /// Whether entries of this kind tell of the cluster and of no vault.
    pub const fn is_of_cluster(self) -> bool {
        matches!(self, Self::Lease | Self::Peer | Self::Fence)
    }

    /// Whether entries of this kind make a scope not empty.
    pub const fn is_object(self) -> bool {
        matches!(self, Self::ObjectCurrent | Self::ObjectVersion)
    }
}

impl From<EntryKind> for u8 {
    fn from(kind: EntryKind) -> Self {
        kind as Self
    }
}

impl TryFrom<u8> for EntryKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        let unknown = DecodeError::BadValue {
            what: "entry kind",
            got: u64::from(byte),
        };
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(unknown)
    }
}

/// The number of an append: the first is 1, and each next is one more. 0 is before all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// The place of an entry. It holds at most one entry at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The scope's id; the vault's id for vault-wide entries; zeros for leases and fences.
    pub scope: [u8; 16],
    /// What the entry is.
    pub kind: EntryKind,
    /// A keyed hash of the name, or what FORMAT.md section 6 says for the kind.
    pub slot: [u8; 16],
}

impl Address {
    /// Writes scope, kind and slot.
    pub fn encode(&self, writer: &mut Writer) {
        writer.fixed(&self.scope);
        writer.u8(self.kind.into());
        writer.fixed(&self.slot);
    }

    /// Reads scope, kind and slot.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            scope: reader.fixed()?,
            kind: reader.u8()?.try_into()?,
            slot: reader.fixed()?,
        })
    }
}
