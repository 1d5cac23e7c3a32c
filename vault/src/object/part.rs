//! One stream of an object: its length, id, checksums and extents.

use std::collections::BTreeMap;

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::{CHUNK_BYTES_MAX, PackId, TAG_BYTES};

use super::checksum::Checksum;
use super::extent::{Extent, ExtentBuilder, PackRef};
use super::{PARTS_MAX, StreamId};
use crate::seal::{CHUNK_PLAIN_BYTES, STREAM_CHUNKS_MAX};

/// The most extents of one part. A pack of the default code takes two at most, so this is far beyond 5 GiB.
const EXTENTS_MAX: usize = 1 << 20;
const PLAIN: u64 = CHUNK_PLAIN_BYTES as u64;

/// A stream and where its chunks lie. Its extents hold chunk 0 to the last, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Number of the multipart part, 1 to 10,000; 0 for a plain PUT.
    pub number: u16,
    /// Plaintext length of the stream, in bytes.
    pub plaintext_bytes: u64,
    /// The stream.
    pub stream: StreamId,
    /// The epoch of the scope key under which it is sealed.
    pub epoch: u64,
    /// Whether it is sealed under a customer's key too. The check of that key stands with the object or the upload.
    pub customer: bool,
    /// MD5 of the plaintext; none where a customer's key is to be needed to learn anything of it.
    pub md5: Option<[u8; 16]>,
    /// Checksum of the plaintext.
    pub checksum: Option<Checksum>,
    /// Where the chunks lie.
    pub extents: Vec<Extent>,
}

impl Part {
    /// How many chunks the stream has.
    pub const fn chunks(&self) -> u64 {
        self.plaintext_bytes.div_ceil(PLAIN)
    }

    /// Plaintext bytes of the chunk at `index`; 0 beyond the last.
    pub(super) const fn plain_bytes_of(&self, index: u64) -> u64 {
        let rest = self.plaintext_bytes.saturating_sub(index.saturating_mul(PLAIN));
        if rest < PLAIN { rest } else { PLAIN }
    }

    /// Sealed bytes of all chunks together.
    pub const fn sealed_bytes(&self) -> u64 {
        self.plaintext_bytes
            .saturating_add(self.chunks().saturating_mul(TAG_BYTES as u64))
    }

    /// Adds the sealed bytes that lie in each pack to `bytes`. "This pack" counts for nothing.
    pub fn count_packs(&self, bytes: &mut BTreeMap<PackId, u64>) {
        for extent in &self.extents {
            if let PackRef::Id(id) = extent.pack {
                *bytes.entry(id).or_default() += extent.sealed_bytes();
            }
        }
    }

    /// Whether an extent still says "this pack".
    pub fn names_this_pack(&self) -> bool {
        self.extents.iter().any(|extent| extent.pack == PackRef::This)
    }

    /// Puts the id of the pack in place of "this pack".
    pub fn resolve_this_pack(&mut self, id: PackId) {
        self.extents
            .iter_mut()
            .for_each(|extent| extent.resolve_this_pack(id));
    }

    /// The part with the chunks that lie in `from` moved to where `to` says, in packs of `data_lanes` lanes; none if
    /// `to` has no place for one of them. The other extents stay as they are.
    pub fn relocated(
        &self,
        from: &PackId,
        data_lanes: u8,
        mut to: impl FnMut(u64) -> Option<(PackRef, u8, u32)>,
    ) -> Option<Self> {
        let mut extents = Vec::with_capacity(self.extents.len());
        for extent in &self.extents {
            if extent.pack != PackRef::Id(*from) {
                extents.push(extent.clone());
                continue;
            }
            let mut moved = ExtentBuilder::new(data_lanes, extent.first_chunk);
            for index in extent.first_chunk..extent.end_chunk() {
                let (pack, lane, offset) = to(index)?;
                let last = index + 1 == extent.end_chunk();
                moved.push(
                    pack,
                    lane,
                    offset,
                    if last {
                        extent.last_chunk_bytes
                    } else {
                        CHUNK_BYTES_MAX as u32
                    },
                );
            }
            extents.append(&mut moved.finish());
        }
        Some(Self {
            extents,
            ..self.clone()
        })
    }

    /// Checks that the extents hold exactly the stream's chunks, in order, each of its length.
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        let chunks = self.chunks();
        if chunks > STREAM_CHUNKS_MAX {
            return Err(DecodeError::TooLong {
                limit: STREAM_CHUNKS_MAX,
                got: chunks,
            });
        }
        let mut next = 0;
        for extent in &self.extents {
            let last = extent.end_chunk().saturating_sub(1);
            let last_bytes = self.plain_bytes_of(last) + TAG_BYTES as u64;
            let fits = extent.first_chunk == next
                && extent.end_chunk() <= chunks
                && u64::from(extent.last_chunk_bytes) == last_bytes;
            if !fits {
                return Err(DecodeError::BadValue {
                    what: "extent of its stream",
                    got: extent.first_chunk,
                });
            }
            next = extent.end_chunk();
        }
        if next == chunks {
            Ok(())
        } else {
            Err(DecodeError::BadValue {
                what: "chunk total",
                got: next,
            })
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.varint(u64::from(self.number));
        writer.varint(self.plaintext_bytes);
        writer.fixed(&self.stream.0);
        writer.varint(self.epoch);
        writer.u8(u8::from(self.customer));
        writer.option_with(self.md5, |w, md5| w.fixed(&md5));
        writer.option_with(self.checksum.as_ref(), |w, checksum| checksum.encode(w));
        writer.list_with(&self.extents, |w, extent| extent.encode(w));
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let part = Self {
            number: reader.count(PARTS_MAX)? as u16,
            plaintext_bytes: reader.varint()?,
            stream: StreamId(reader.fixed()?),
            epoch: reader.varint()?,
            customer: reader.bool("customer key")?,
            md5: reader.option_with(Reader::fixed)?,
            checksum: reader.option_with(Checksum::decode)?,
            extents: reader.list_with(EXTENTS_MAX, Extent::decode)?,
        };
        part.check()?;
        Ok(part)
    }
}
