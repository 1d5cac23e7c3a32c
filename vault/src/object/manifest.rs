//! The manifest of an object: its parts in order, in the entry itself or, when they are many, in a stream of their own.
//!
//! Invariant: two levels, never more; a byte range becomes chunk places by arithmetic over parts and extents.

use std::collections::BTreeMap;
use std::ops::Range;

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::{PackId, TAG_BYTES};

use super::StreamId;
use super::extent::{PackRef, Place};
use super::part::Part;
use crate::seal::CHUNK_PLAIN_BYTES;

/// The most parts of an object.
pub const PARTS_MAX: usize = 10_000;
/// The longest manifest that stands in its entry, in bytes.
pub const MANIFEST_INLINE_BYTES_MAX: usize = 65_536;

const VERSION: u8 = 1;
const PLAIN: u64 = CHUNK_PLAIN_BYTES as u64;

/// Where an object's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// The parts themselves, in the order of their bytes.
    Inline(Vec<Part>),
    /// The parts are listed in a stream of their own, sealed as any other.
    Indirect {
        /// How many parts there are.
        parts: u32,
        /// The stream that holds [`Manifest::encode_parts`].
        stream: Box<Part>,
    },
}

/// The manifest cannot be read as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NeedsResolving {
    /// The parts are in the manifest's own stream; read and decode that first.
    #[error("the manifest's {parts} parts are in a stream of their own")]
    Indirect {
        /// How many parts.
        parts: u32,
    },
    /// An extent says "this pack", which has a meaning in a claim only.
    #[error("a part's extent names its pack as this pack")]
    ThisPack,
    /// A part's extents do not hold its stream.
    #[error("part {part}'s extents do not hold its stream")]
    Extents {
        /// Index of the part.
        part: usize,
    },
}

/// One chunk that a byte range needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkAt {
    /// The stream it is sealed in.
    pub stream: StreamId,
    /// The epoch of the scope key.
    pub epoch: u64,
    /// Whether its stream is sealed under a customer's key too.
    pub customer: bool,
    /// The pack it lies in.
    pub pack: PackId,
    /// Where in the pack: [`Place::on`] gives lane and offset for the pack's k.
    pub place: Place,
    /// Sealed length, in bytes.
    pub sealed_bytes: u32,
    /// Index in the stream.
    pub index: u64,
    /// Whether it is the stream's last chunk.
    pub last: bool,
    /// Where its plaintext starts in the object, in bytes.
    pub plaintext_offset: u64,
    /// Which of its plaintext bytes are in the range asked for.
    pub wanted: Range<usize>,
}

impl Manifest {
    /// A manifest of these parts, if they fit into an entry; otherwise the parts back, to be written to a stream.
    ///
    /// # Errors
    /// The parts, when their encoding is over [`MANIFEST_INLINE_BYTES_MAX`].
    pub fn inline(parts: Vec<Part>) -> Result<Self, Vec<Part>> {
        let manifest = Self::Inline(parts);
        let mut writer = Writer::new();
        manifest.encode(&mut writer);
        match manifest {
            Self::Inline(parts) if writer.len() > MANIFEST_INLINE_BYTES_MAX => Err(parts),
            fits => Ok(fits),
        }
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        match self {
            Self::Inline(parts) => parts.len(),
            Self::Indirect { parts, .. } => *parts as usize,
        }
    }

    /// The sealed bytes in each pack that this level of the manifest names: the parts, or the manifest's stream.
    pub fn pack_bytes(&self) -> BTreeMap<PackId, u64> {
        let mut bytes = BTreeMap::new();
        self.each_part(|part| part.count_packs(&mut bytes));
        bytes
    }

    /// Calls `visit` with each part of this level.
    fn each_part(&self, mut visit: impl FnMut(&Part)) {
        match self {
            Self::Inline(parts) => parts.iter().for_each(visit),
            Self::Indirect { stream, .. } => visit(stream),
        }
    }

    /// The newest epoch that the streams of this level are sealed under; the first if there are none.
    pub fn epoch(&self) -> u64 {
        let mut epoch = crate::keys::FIRST_EPOCH;
        self.each_part(|part| epoch = epoch.max(part.epoch));
        epoch
    }

    /// Whether what an object or an upload says of a customer's key is true of every stream of this level: all parts are sealed
    /// under one, or none; a stream that lists parts never is, for the gateway reads it by itself.
    pub(super) fn fits_customer(&self, customer: bool) -> bool {
        match self {
            Self::Inline(parts) => parts.iter().all(|part| part.customer == customer),
            Self::Indirect { stream, .. } => !stream.customer,
        }
    }

    /// Whether an extent of this level still says "this pack".
    pub fn names_this_pack(&self) -> bool {
        let mut found = false;
        self.each_part(|part| found |= part.names_this_pack());
        found
    }

    /// Puts the id of the pack in place of "this pack".
    pub fn resolve_this_pack(&mut self, id: PackId) {
        match self {
            Self::Inline(parts) => parts.iter_mut().for_each(|part| part.resolve_this_pack(id)),
            Self::Indirect { stream, .. } => stream.resolve_this_pack(id),
        }
    }

    /// The chunks that hold the plaintext bytes `range` of the object, in order. What lies beyond the end is ignored.
    ///
    /// # Errors
    /// [`NeedsResolving`], before any chunk is handed out.
    pub fn chunks(&self, range: Range<u64>) -> Result<Chunks<'_>, NeedsResolving> {
        let parts = match self {
            Self::Inline(parts) => parts,
            Self::Indirect { parts, .. } => return Err(NeedsResolving::Indirect { parts: *parts }),
        };
        Chunks::new(parts, range)
    }

    /// The parts list as the manifest's stream holds it.
    pub fn encode_parts(parts: &[Part]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.list_with(parts, |w, part| part.encode(w));
        writer.into_vec()
    }

    /// The whole manifest of what [`Self::encode_parts`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode_parts(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let parts = reader.list_with(PARTS_MAX, Part::decode)?;
        reader.finish()?;
        Ok(Self::Inline(parts))
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        match self {
            Self::Inline(parts) => {
                writer.u8(0);
                writer.list_with(parts, |w, part| part.encode(w));
            }
            Self::Indirect { parts, stream } => {
                writer.u8(1);
                writer.varint(u64::from(*parts));
                stream.encode(writer);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let before = reader.remaining();
        reader.version(VERSION)?;
        let manifest = if reader.bool("manifest form")? {
            let parts = reader.count(PARTS_MAX)? as u32;
            Self::Indirect {
                parts,
                stream: Box::new(Part::decode(reader)?),
            }
        } else {
            Self::Inline(reader.list_with(PARTS_MAX, Part::decode)?)
        };
        let got = before - reader.remaining();
        if got > MANIFEST_INLINE_BYTES_MAX {
            return Err(DecodeError::TooLong {
                limit: MANIFEST_INLINE_BYTES_MAX as u64,
                got: got as u64,
            });
        }
        Ok(manifest)
    }
}

/// The chunks of a byte range, found one by one. See [`Manifest::chunks`].
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    parts: &'a [Part],
    /// The part that the next chunk is in, and where that part starts in the object.
    part: usize,
    part_start: u64,
    /// What is still wanted, in bytes of the object.
    range: Range<u64>,
}

impl<'a> Chunks<'a> {
    fn new(parts: &'a [Part], range: Range<u64>) -> Result<Self, NeedsResolving> {
        let mut start = 0u64;
        for (index, part) in parts.iter().enumerate() {
            let end = start.saturating_add(part.plaintext_bytes);
            if start < range.end && range.start < end {
                part.check()
                    .map_err(|_| NeedsResolving::Extents { part: index })?;
                if part.names_this_pack() {
                    return Err(NeedsResolving::ThisPack);
                }
            }
            start = end;
        }
        let range = range.start..range.end.min(start);
        Ok(Self {
            parts,
            part: 0,
            part_start: 0,
            range,
        })
    }
}

impl Iterator for Chunks<'_> {
    type Item = ChunkAt;

    fn next(&mut self) -> Option<ChunkAt> {
        if self.range.start >= self.range.end {
            return None;
        }
        let part = loop {
            let part = self.parts.get(self.part)?;
            let part_end = self.part_start.saturating_add(part.plaintext_bytes);
            if self.range.start < part_end {
                break part;
            }
            self.part += 1;
            self.part_start = part_end;
        };
        let index = (self.range.start - self.part_start) / PLAIN;
        let nth = part.extents.partition_point(|extent| extent.end_chunk() <= index);
        let extent = part.extents.get(nth)?;
        let PackRef::Id(pack) = extent.pack else {
            return None;
        };
        let plaintext_offset = self.part_start + index * PLAIN;
        let plain_bytes = part.plain_bytes_of(index);
        let wanted_from = self.range.start - plaintext_offset;
        let wanted_to = plain_bytes.min(self.range.end - plaintext_offset);
        self.range.start = plaintext_offset + wanted_to;
        Some(ChunkAt {
            stream: part.stream,
            epoch: part.epoch,
            customer: part.customer,
            pack,
            place: extent.place(index)?,
            sealed_bytes: plain_bytes as u32 + TAG_BYTES as u32,
            index,
            last: index + 1 == part.chunks(),
            plaintext_offset,
            wanted: wanted_from as usize..wanted_to as usize,
        })
    }
}
