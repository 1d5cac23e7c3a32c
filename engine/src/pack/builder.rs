//! Fills the lanes of a pack and turns them into shards.
//!
//! It neither seals nor stores. Invariant: the bytes placed are the bytes at the returned place, whatever is placed
//! later, and the lanes are never copied: each becomes its shard.

use bytes::Bytes;

use super::lane::Lane;
use super::{Code, LanePool, PackGeometry, PackSummary, SHARD_BYTES_MAX, ShardHash, TrailerPlace};
use crate::erasure::Coder;

/// Where bytes were placed in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The lane, which is the index of the data shard.
    pub lane: u8,
    /// Byte offset in the lane.
    pub offset: u32,
}

/// The trailer does not fit on any lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trailer of {need} bytes does not fit in a pack whose roomiest lane has {room} left")]
pub struct PackFull {
    /// Bytes of the trailer.
    pub need: usize,
    /// Bytes left on the roomiest lane.
    pub room: usize,
}

/// Why [`PackBuilder::end`] placed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndError<E> {
    /// No chunk was begun.
    #[error("no chunk was begun")]
    NotBegun,
    /// It has more bytes than it was given room for.
    #[error("{got} bytes are more than the {limit} that were asked for")]
    TooLong {
        /// Bytes it would have.
        got: usize,
        /// Bytes asked for.
        limit: usize,
    },
    /// What was to seal it failed.
    #[error(transparent)]
    Sealing(E),
}

/// A finished pack.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its id, geometry and shard hashes.
    pub summary: PackSummary,
    /// Its k + m shards in order; implied ones are empty.
    pub shards: Vec<Bytes>,
}

impl Pack {
    /// Whether shard `index` is all zeros and not stored.
    pub fn is_implied(&self, index: usize) -> bool {
        self.summary.geometry.is_implied(index)
    }
}

/// A pack being filled. Memory grows with what is placed: a small pack takes little.
#[derive(Debug)]
pub struct PackBuilder {
    code: Code,
    lanes: Vec<Lane>,
    /// Bytes that the trailer is expected to have.
    reserved: usize,
    /// The largest chunk so far, in bytes.
    largest: usize,
    /// The chunk that comes in pieces now.
    begun: Option<Begun>,
    pool: LanePool,
}

/// A chunk at the end of a lane that is not whole yet.
#[derive(Debug, Clone, Copy)]
struct Begun {
    lane: usize,
    /// Where on the lane it begins.
    offset: usize,
    /// The most bytes it may come to.
    limit: usize,
}

impl PackBuilder {
    /// An empty pack whose memory is not used again.
    pub fn new(code: Code) -> Self {
        Self::with_pool(code, &LanePool::new(0))
    }

    /// An empty pack that takes the memory of long lanes from `pool`; it goes back when the last copy of a shard goes.
    pub fn with_pool(code: Code, pool: &LanePool) -> Self {
        Self {
            code,
            lanes: (0..code.data()).map(|_| Lane::new(pool)).collect(),
            reserved: 0,
            largest: 0,
            begun: None,
            pool: pool.clone(),
        }
    }

    /// Expects a full pack: each lane gets all its memory now, instead of growing to it.
    pub fn expect_full(&mut self) {
        for lane in &mut self.lanes {
            lane.grow(SHARD_BYTES_MAX.saturating_sub(lane.len()));
        }
    }

    /// Expects so many chunks of at most this many bytes each and no more: lanes take the memory for these.
    pub fn expect_chunks(&mut self, chunks: usize, bytes: usize) {
        // All that are used end up as long as the longest.
        let longest = chunks.div_ceil(self.lanes.len().max(1)) * bytes;
        for lane in self.lanes.iter_mut().take(chunks) {
            lane.expect(longest.min(SHARD_BYTES_MAX));
        }
    }

    /// Expects a trailer of about so many bytes: chunks placed from now on leave lane 0 that much shorter than the others, so
    /// that the trailer makes no lane the longest.
    pub fn expect_trailer(&mut self, bytes: usize) {
        self.reserved = bytes.min(SHARD_BYTES_MAX);
    }

    /// The code that the pack will have.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whether nothing was placed.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.is_empty())
    }

    /// Bytes placed so far.
    pub fn data_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.len()).sum()
    }

    /// Whether `bytes` bytes fit on some lane.
    pub fn room_for(&self, bytes: usize) -> bool {
        self.room() >= bytes
    }

    /// Whether `bytes` bytes fit on some lane and then a trailer of `trailer_bytes` bytes still does.
    pub fn room_for_with_trailer(&self, bytes: usize, trailer_bytes: usize) -> bool {
        let Some(chosen) = self.choose(bytes) else {
            return false;
        };
        let left = |(lane, taken): (usize, &Lane)| {
            let taken = if lane == chosen {
                taken.len() + bytes
            } else {
                taken.len()
            };
            SHARD_BYTES_MAX.saturating_sub(taken)
        };
        self.lanes
            .iter()
            .enumerate()
            .map(left)
            .any(|left| left >= trailer_bytes)
    }

    /// Places a copy of `bytes`; `None` if they do not fit or a chunk is under way, and then nothing has changed.
    pub fn place(&mut self, bytes: &[u8]) -> Option<Placed> {
        if !self.begin(bytes.len()) {
            return None;
        }
        self.extend(bytes);
        self.end(0, |_| Ok::<_, std::convert::Infallible>(())).ok()
    }

    /// Begins a chunk of at most `limit` bytes, on the lane that it belongs on: its bytes follow by [`Self::extend`], so that
    /// it is sealed where it will lie. False, and nothing has changed, if no lane has room or a chunk is under way.
    pub fn begin(&mut self, limit: usize) -> bool {
        let lane = self.choose(limit).filter(|_| self.begun.is_none());
        let lane = lane.and_then(|index| Some((index, self.lanes.get_mut(index)?)));
        let Some((index, lane)) = lane else { return false };
        self.begun = Some(Begun {
            lane: index,
            offset: lane.len(),
            limit,
        });
        true
    }

    /// Bytes that the chunk under way has so far; none if there is no such chunk.
    pub fn begun_bytes(&self) -> Option<usize> {
        let Begun { lane, offset, .. } = self.begun?;
        self.lanes.get(lane).map(|lane| lane.len().saturating_sub(offset))
    }

    /// Takes as many of `bytes` as the chunk under way may still have, and says how many.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let Some((begun, lane)) = self
            .begun
            .and_then(|begun| Some((begun, self.lanes.get_mut(begun.lane)?)))
        else {
            return 0;
        };
        let have = lane.len().saturating_sub(begun.offset);
        let taken = bytes.get(..begun.limit.saturating_sub(have)).unwrap_or(bytes);
        lane.extend(taken);
        taken.len()
    }

    /// Ends the chunk under way: `extra` zeros are put behind it, and `seal` is given all of it to change in place. After an
    /// error the chunk is gone and the lane as it was before it began.
    pub fn end<E>(
        &mut self,
        extra: usize,
        seal: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Placed, EndError<E>> {
        let begun = self.begun.take().ok_or(EndError::NotBegun)?;
        let Begun {
            lane: index,
            offset,
            limit,
        } = begun;
        let lane = self.lanes.get_mut(index).ok_or(EndError::NotBegun)?;
        let bytes = lane.len().saturating_sub(offset) + extra;
        let sealed = if bytes > limit {
            Err(EndError::TooLong { got: bytes, limit })
        } else {
            lane.pad(offset + bytes);
            let chunk = lane.as_mut_slice().get_mut(offset..).unwrap_or_default();
            seal(chunk).map_err(EndError::Sealing)
        };
        if let Err(error) = sealed {
            lane.truncate(offset);
            return Err(error);
        }
        self.largest = self.largest.max(bytes);
        // Both fit: k is at most 32 and a lane at most 2 MiB.
        Ok(Placed {
            lane: index as u8,
            offset: offset as u32,
        })
    }

    /// Takes the chunk under way out again: the bytes that it had.
    pub fn abandon(&mut self) -> Vec<u8> {
        let Some((begun, lane)) = self
            .begun
            .take()
            .and_then(|begun| Some((begun, self.lanes.get_mut(begun.lane)?)))
        else {
            return Vec::new();
        };
        let bytes = lane.as_slice().get(begun.offset..).unwrap_or_default().to_vec();
        lane.truncate(begun.offset);
        bytes
    }

    /// Bytes that were placed; none if the lane does not reach so far.
    pub fn placed(&self, at: Placed, bytes: usize) -> Option<&[u8]> {
        let lane = self.lanes.get(usize::from(at.lane))?;
        let from = at.offset as usize;
        lane.as_slice().get(from..from.checked_add(bytes)?)
    }

    /// Places the trailer, if there is one, pads the lanes, computes the parity shards and hashes everything.
    ///
    /// `coder` is kept by the caller, because making one is slow. One for another code is not used: the right one is
    /// made instead.
    pub fn finish(mut self, coder: &Coder, trailer: Option<&[u8]>) -> Result<Pack, PackFull> {
        // A chunk that was not ended is no part of the pack.
        self.abandon();
        let own;
        let coder = if coder.code() == self.code {
            coder
        } else {
            own = Coder::new(self.code);
            &own
        };
        self.reserved = 0;
        let trailer = match trailer.filter(|bytes| !bytes.is_empty()) {
            None => None,
            Some(bytes) => {
                let placed = self.place(bytes).ok_or(PackFull {
                    need: bytes.len(),
                    room: self.room(),
                })?;
                Some(TrailerPlace {
                    lane: placed.lane,
                    offset: placed.offset,
                    bytes: bytes.len() as u32,
                })
            }
        };
        let longest = self.lanes.iter().map(|lane| lane.len()).max().unwrap_or(0).max(1);
        let shard_bytes = longest as u32;
        let lane_bytes = self.lanes.iter().map(|lane| lane.len() as u32).collect();
        let geometry = PackGeometry {
            code: self.code,
            shard_bytes,
            lane_bytes,
            trailer,
        };

        let mut parity: Vec<Lane> = (0..self.code.parity())
            .map(|_| Lane::of_length(&self.pool, longest))
            .collect();
        let lanes: Vec<&[u8]> = self.lanes.iter().map(|lane| lane.as_slice()).collect();
        coder.encode_into(
            &lanes,
            &mut parity.iter_mut().map(Lane::as_mut_slice).collect::<Vec<_>>(),
        );
        for lane in self.lanes.iter_mut().filter(|lane| !lane.is_empty()) {
            lane.pad(longest);
        }
        let shards: Vec<Bytes> = self
            .lanes
            .into_iter()
            .chain(parity)
            .map(Lane::into_bytes)
            .collect();
        let mut of_zeros = None;
        let hash = |shard: &Bytes| match shard.is_empty() {
            true => *of_zeros.get_or_insert_with(|| ShardHash::of_zeros(shard_bytes)),
            false => ShardHash::of(shard),
        };
        let hashes = shards.iter().map(hash).collect();
        Ok(Pack {
            summary: PackSummary::of_checked(geometry, hashes),
            shards,
        })
    }

    /// Bytes left on the roomiest lane.
    fn room(&self) -> usize {
        let shortest = self
            .lanes
            .iter()
            .map(|lane| lane.len())
            .min()
            .unwrap_or(SHARD_BYTES_MAX);
        SHARD_BYTES_MAX.saturating_sub(shortest)
    }

    /// The shortest, or else the lowest, of the first n lanes, for the n that makes (n + m) x L smallest, L being what n
    /// lanes would come to were all bytes spread evenly, but at least the largest chunk and where this one would end. Room kept for a trailer counts as bytes of lane 0.
    fn choose(&self, bytes: usize) -> Option<usize> {
        let taken = |(index, lane): (usize, &Lane)| lane.len() + if index == 0 { self.reserved } else { 0 };
        let lanes: Vec<usize> = self.lanes.iter().enumerate().map(taken).collect();
        let total = lanes.iter().sum::<usize>() + bytes;
        let largest = self.largest.max(self.reserved).max(bytes);
        let lowest = |spread: usize| lanes.iter().take(spread).min().copied().unwrap_or(0);
        let cost = |spread: usize| {
            let longest = largest.max(total.div_ceil(spread)).max(lowest(spread) + bytes);
            (spread + self.code.parity()) * longest
        };
        let spread = (1..=lanes.len()).min_by_key(|spread| cost(*spread))?;
        let fits = |taken: usize| taken + bytes <= SHARD_BYTES_MAX;
        let shortest = |lanes: &[usize]| {
            let room = lanes.iter().enumerate().filter(|(_, taken)| fits(**taken));
            room.min_by_key(|(_, taken)| **taken).map(|(index, _)| index)
        };
        lanes
            .get(..spread)
            .and_then(shortest)
            .or_else(|| shortest(&lanes))
    }
}
