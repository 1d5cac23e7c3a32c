//! Extents: runs of a stream's chunks inside one pack, in two short forms.
//!
//! Invariant: the chunks of an extent are consecutive, and where each lies is arithmetic, so that finding one of
//! 160,000 chunks walks extents and never chunks.

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::{CHUNK_BYTES_MAX, PackId, SHARD_BYTES_MAX, TAG_BYTES};

/// Chunks that one lane can hold.
const LANE_CHUNKS_MAX: u64 = (SHARD_BYTES_MAX / CHUNK_BYTES_MAX) as u64;
/// The most lanes of a pack.
const LANES_MAX: u64 = 32;

/// Which pack an extent lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackRef {
    /// The pack whose trailer holds the claim: its id is not known before the trailer is in it.
    This,
    /// The pack of this id.
    Id(PackId),
}

/// How an extent's chunks lie on the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// One after another on one lane.
    Run {
        /// The lane.
        lane: u8,
    },
    /// Chunk j (from 0) on lane j mod k, row j div k.
    Striped,
}

/// Where a chunk lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// At a byte offset on a lane.
    Lane {
        /// The lane.
        lane: u8,
        /// Byte offset on it.
        offset: u32,
    },
    /// The j-th chunk of a striped extent; which lane that is depends on the pack's k.
    Striped {
        /// j, from 0.
        nth: u32,
        /// Byte offset of the extent's first row on every lane.
        offset: u32,
    },
}

impl Place {
    /// Lane and byte offset in a pack of `data_lanes` (k) lanes; none if k is 0 or the offset is beyond 32 bits.
    pub fn on(self, data_lanes: u8) -> Option<(u8, u32)> {
        match self {
            Self::Lane { lane, offset } => Some((lane, offset)),
            Self::Striped { nth, offset } => {
                let lanes = u32::from(data_lanes);
                let row = nth.checked_div(lanes)?.checked_mul(CHUNK_BYTES_MAX as u32)?;
                Some(((nth % lanes) as u8, offset.checked_add(row)?))
            }
        }
    }
}

/// Consecutive chunks of a stream in one pack. All are 65,536 sealed bytes but the stream's last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The pack.
    pub pack: PackRef,
    /// How the chunks lie.
    pub form: Form,
    /// Byte offset of the first chunk on its lane.
    pub offset: u32,
    /// Index of the first chunk in its stream.
    pub first_chunk: u64,
    /// How many chunks, at least 1.
    pub chunks: u32,
    /// Sealed bytes of the last of these chunks.
    pub last_chunk_bytes: u32,
}

impl Extent {
    /// Sealed bytes of all the chunks.
    pub fn sealed_bytes(&self) -> u64 {
        u64::from(self.chunks.saturating_sub(1)) * CHUNK_BYTES_MAX as u64 + u64::from(self.last_chunk_bytes)
    }

    /// The index after the last chunk.
    pub fn end_chunk(&self) -> u64 {
        self.first_chunk.saturating_add(u64::from(self.chunks))
    }

    /// Where the chunk of this stream index lies, if it is in this extent.
    pub fn place(&self, index: u64) -> Option<Place> {
        let nth = u32::try_from(index.checked_sub(self.first_chunk)?)
            .ok()
            .filter(|nth| *nth < self.chunks)?;
        Some(match self.form {
            Form::Striped => Place::Striped {
                nth,
                offset: self.offset,
            },
            Form::Run { lane } => Place::Lane {
                lane,
                offset: nth
                    .checked_mul(CHUNK_BYTES_MAX as u32)?
                    .checked_add(self.offset)?,
            },
        })
    }

    /// Puts the id of the pack in place of "this pack".
    pub fn resolve_this_pack(&mut self, id: PackId) {
        if self.pack == PackRef::This {
            self.pack = PackRef::Id(id);
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(match self.form {
            Form::Run { .. } => 1,
            Form::Striped => 2,
        });
        match self.pack {
            PackRef::This => writer.u8(0),
            PackRef::Id(id) => {
                writer.u8(1);
                writer.fixed(&id.0);
            }
        }
        if let Form::Run { lane } = self.form {
            writer.u8(lane);
        }
        writer.varint(u64::from(self.offset));
        writer.varint(self.first_chunk);
        writer.varint(u64::from(self.chunks));
        writer.varint(u64::from(self.last_chunk_bytes));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let form = reader.u8()?;
        let pack = if reader.bool("pack reference")? {
            PackRef::Id(PackId(reader.fixed()?))
        } else {
            PackRef::This
        };
        let form = match form {
            1 => Form::Run {
                lane: bounded(u64::from(reader.u8()?), 0, LANES_MAX - 1, "lane")? as u8,
            },
            2 => Form::Striped,
            got => {
                return Err(DecodeError::BadValue {
                    what: "extent form",
                    got: u64::from(got),
                });
            }
        };
        let offset = bounded(reader.varint()?, 0, SHARD_BYTES_MAX as u64, "extent offset")?;
        let first_chunk = bounded(reader.varint()?, 0, u64::from(u32::MAX), "first chunk")?;
        let lanes = if form == Form::Striped { LANES_MAX } else { 1 };
        let chunks = bounded(reader.varint()?, 1, LANE_CHUNKS_MAX * lanes, "chunk count")?;
        let last = bounded(
            reader.varint()?,
            TAG_BYTES as u64 + 1,
            CHUNK_BYTES_MAX as u64,
            "chunk length",
        )?;
        let rows = if form == Form::Striped { 1 } else { chunks };
        let first_lane_end = offset + (rows - 1) * CHUNK_BYTES_MAX as u64 + last;
        bounded(first_lane_end, 0, SHARD_BYTES_MAX as u64, "extent end")?;
        Ok(Self {
            pack,
            form,
            offset: offset as u32,
            first_chunk,
            chunks: chunks as u32,
            last_chunk_bytes: last as u32,
        })
    }
}

fn bounded(got: u64, min: u64, max: u64, what: &'static str) -> Result<u64, DecodeError> {
    if (min..=max).contains(&got) {
        Ok(got)
    } else {
        Err(DecodeError::BadValue { what, got })
    }
}

/// Builds the extents of a stream from where each chunk was put, in order, in the shortest of the two forms that it
/// recognises: chunks one after another on a lane, or round robin over all k lanes.
#[derive(Debug)]
pub struct ExtentBuilder {
    data_lanes: u8,
    done: Vec<Extent>,
    next_chunk: u64,
}

impl ExtentBuilder {
    /// A builder for packs of `data_lanes` (k) lanes, whose first chunk has stream index `first_chunk`.
    pub const fn new(data_lanes: u8, first_chunk: u64) -> Self {
        Self {
            data_lanes,
            done: Vec::new(),
            next_chunk: first_chunk,
        }
    }

    /// Adds the next chunk: `sealed_bytes` long, at `offset` on `lane` of `pack`.
    pub fn push(&mut self, pack: PackRef, lane: u8, offset: u32, sealed_bytes: u32) {
        let index = self.next_chunk;
        self.next_chunk += 1;
        if let Some(open) = self.done.last_mut()
            && open.pack == pack
            && open.last_chunk_bytes == CHUNK_BYTES_MAX as u32
            && let Some(form) = grown_form(open, self.data_lanes, lane, offset)
        {
            open.form = form;
            open.chunks += 1;
            open.last_chunk_bytes = sealed_bytes;
            return;
        }
        self.done.push(Extent {
            pack,
            form: Form::Run { lane },
            offset,
            first_chunk: index,
            chunks: 1,
            last_chunk_bytes: sealed_bytes,
        });
    }

    /// How many extents there are so far.
    pub fn len(&self) -> usize {
        self.done.len()
    }

    /// Whether no chunk was added.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// The extents from `from` on may still say "this pack": puts the id in its place in all of them.
    pub fn resolve_this_pack(&mut self, id: PackId) {
        // Newest first, and only as far as they are unresolved: packs are resolved in order.
        for extent in self
            .done
            .iter_mut()
            .rev()
            .take_while(|extent| extent.pack == PackRef::This)
        {
            extent.resolve_this_pack(id);
        }
    }

    /// The extents.
    pub fn finish(self) -> Vec<Extent> {
        self.done
    }
}

/// The form of an extent once the chunk at `(lane, offset)` follows, if one of the forms takes it.
fn grown_form(open: &Extent, data_lanes: u8, lane: u8, offset: u32) -> Option<Form> {
    let run = match open.form {
        Form::Run { lane: of_run } => Some(of_run),
        Form::Striped => None,
    };
    let next = open.end_chunk();
    if run.is_some_and(|of_run| of_run == lane) {
        let lane_end = u64::from(open.offset) + u64::from(open.chunks) * CHUNK_BYTES_MAX as u64;
        return open
            .form
            .clone_if(lane_end == u64::from(offset) && u64::from(open.chunks) < LANE_CHUNKS_MAX);
    }
    // A run of one chunk on lane 0 may be the start of a striped extent.
    let may_stripe = open.form == Form::Striped || (run == Some(0) && open.chunks == 1);
    let striped = Extent {
        form: Form::Striped,
        chunks: open.chunks + 1,
        ..open.clone()
    };
    let takes = may_stripe
        && u64::from(open.chunks) < LANE_CHUNKS_MAX * LANES_MAX
        && striped.place(next)?.on(data_lanes)? == (lane, offset);
    Form::Striped.clone_if(takes)
}

impl Form {
    const fn clone_if(self, condition: bool) -> Option<Self> {
        if condition { Some(self) } else { None }
    }
}
