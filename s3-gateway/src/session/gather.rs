//! What a stream has gathered for its next pack: sealed chunks and the plaintext of the one to come.
//!
//! Chunks begin as buffers of their own, for most streams end before they fill a pack and share one. A stream that has
//! shown to be long gets the lanes of a whole pack, and its bytes are copied once, to where they will lie. It neither waits nor
//! counts memory; `stream.rs` does. Invariant: chunks leave in the order in which they were sealed, each once.

use super::packer::{Run, place};
use super::{Inner, SessionError};
use engine::pack::{CHUNK_BYTES_MAX, EndError, PackBuilder, Placed, TAG_BYTES};
use vault::object::{Extent, ExtentBuilder, PackRef};
use vault::seal::{SealError, StreamSealer};

/// Plaintext bytes of a full chunk.
pub(super) const PLAIN_BYTES: usize = CHUNK_BYTES_MAX - TAG_BYTES;

const OVERFLOW: SessionError = SessionError::Internal {
    what: "a pack that overflowed",
};

/// See the module.
#[derive(Default)]
pub(super) struct Gather {
    /// The index in its stream of the first chunk that is here.
    first_chunk: u64,
    /// Plaintext of the next chunk, unless there are lanes.
    plain: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    lanes: Option<Lanes>,
}

struct Lanes {
    builder: PackBuilder,
    placed: Vec<(Placed, u32)>,
}

/// Chunks that leave together as a pack of their own.
pub(super) struct Gathered {
    first_chunk: u64,
    chunks: Vec<Vec<u8>>,
    lanes: Option<Lanes>,
}

impl Gather {
    /// Chunks that are here.
    pub(super) fn len(&self) -> usize {
        self.lanes
            .as_ref()
            .map_or(self.chunks.len(), |lanes| lanes.placed.len())
    }

    /// Chunks of the stream so far, here and gone.
    pub(super) fn sealed(&self) -> u64 {
        self.first_chunk + self.len() as u64
    }

    /// Whether it has the lanes of a whole pack.
    pub(super) fn has_lanes(&self) -> bool {
        self.lanes.is_some()
    }

    /// Plaintext bytes of the chunk to come.
    pub(super) fn plain_bytes(&self) -> usize {
        let begun = self.lanes.as_ref().and_then(|lanes| lanes.builder.begun_bytes());
        begun.unwrap_or(self.plain.len())
    }

    /// Takes as much of the stream's next bytes as its next chunk has room for, and says how much. `maybe_all`: as far as is
    /// known these are the stream's last bytes.
    pub(super) fn push(&mut self, bytes: &[u8], maybe_all: bool) -> Result<usize, SessionError> {
        let free = PLAIN_BYTES.saturating_sub(self.plain_bytes());
        let taken = bytes.get(..free).unwrap_or(bytes);
        if let Some(Lanes { builder, .. }) = &mut self.lanes {
            if builder.begun_bytes().is_none() && !builder.begin(CHUNK_BYTES_MAX) {
                return Err(OVERFLOW);
            }
            return Ok(builder.extend(taken));
        }
        if self.plain.capacity() < CHUNK_BYTES_MAX {
            // A small object's buffer is no larger than the object, as far as is known.
            let small = maybe_all && self.plain.is_empty() && self.sealed() == 0;
            let room = if small {
                taken.len() + TAG_BYTES
            } else {
                CHUNK_BYTES_MAX
            };
            self.plain.reserve_exact(room.saturating_sub(self.plain.len()));
        }
        self.plain.extend_from_slice(taken);
        Ok(taken.len())
    }

    /// Seals the next chunk.
    pub(super) fn seal(&mut self, sealer: &mut StreamSealer, last: bool) -> Result<(), SessionError> {
        if let Some(lanes) = self
            .lanes
            .as_mut()
            .filter(|lanes| lanes.builder.begun_bytes().is_some())
        {
            let mut bytes = 0;
            let placed = lanes.builder.end(TAG_BYTES, |chunk| {
                bytes = chunk.len() as u32;
                sealer.seal_next_in(chunk, last).map(drop)
            });
            lanes.placed.push((placed.map_err(unsealed)?, bytes));
            return Ok(());
        }
        let mut chunk = std::mem::take(&mut self.plain);
        sealer.seal_next(&mut chunk, last)?;
        self.chunks.push(chunk);
        Ok(())
    }

    /// Goes on in the lanes of a whole pack, for which there must be memory. Only between two chunks.
    pub(super) fn spread(&mut self, mut builder: PackBuilder) -> Result<(), SessionError> {
        let mut placed = Vec::with_capacity(self.chunks.len());
        for chunk in self.chunks.drain(..) {
            placed.push((builder.place(&chunk).ok_or(OVERFLOW)?, chunk.len() as u32));
        }
        self.lanes = Some(Lanes { builder, placed });
        Ok(())
    }

    /// Takes out what was sealed. The plaintext of the chunk to come stays.
    pub(super) fn take(&mut self) -> Gathered {
        let first_chunk = self.first_chunk;
        self.first_chunk = self.sealed();
        let mut lanes = self.lanes.take();
        if let Some(lanes) = &mut lanes {
            let plain = lanes.builder.abandon();
            if !plain.is_empty() {
                self.plain = plain;
            }
        }
        Gathered {
            first_chunk,
            chunks: std::mem::take(&mut self.chunks),
            lanes,
        }
    }

    /// What was sealed, as chunks that can share a pack with others.
    pub(super) fn into_run(mut self) -> Result<Run, SessionError> {
        if let Some(lanes) = self.lanes.take() {
            for (at, bytes) in lanes.placed {
                let chunk = lanes.builder.placed(at, bytes as usize).ok_or(OVERFLOW)?;
                self.chunks.push(chunk.to_vec());
            }
        }
        Ok(Run {
            first_chunk: self.first_chunk,
            chunks: self.chunks,
        })
    }
}

impl Gathered {
    /// The chunks, where they are in no lanes.
    pub(super) fn into_run(self) -> Run {
        Run {
            first_chunk: self.first_chunk,
            chunks: self.chunks,
        }
    }

    /// The chunks in the lanes of a pack, and where in it they lie.
    pub(super) fn pack(self, inner: &Inner) -> Result<(PackBuilder, Vec<Extent>), SessionError> {
        let Some(Lanes { builder, placed }) = self.lanes else {
            return Run {
                first_chunk: self.first_chunk,
                chunks: self.chunks,
            }
            .pack(inner);
        };
        // A code has at most 32 lanes.
        let mut extents = ExtentBuilder::new(builder.code().data() as u8, self.first_chunk);
        for (Placed { lane, offset }, bytes) in placed {
            extents.push(PackRef::This, lane, offset, bytes);
        }
        Ok((builder, extents.finish()))
    }
}

impl Run {
    /// As [`Gathered::pack`].
    pub(super) fn pack(self, inner: &Inner) -> Result<(PackBuilder, Vec<Extent>), SessionError> {
        let mut builder = PackBuilder::with_pool(inner.code, &inner.lanes);
        builder.expect_chunks(self.chunks.len(), CHUNK_BYTES_MAX);
        let extents = place(&mut builder, &[self]).ok_or(OVERFLOW)?;
        Ok((builder, extents.into_iter().flatten().collect()))
    }
}

fn unsealed(error: EndError<SealError>) -> SessionError {
    match error {
        EndError::Sealing(error) => error.into(),
        EndError::NotBegun | EndError::TooLong { .. } => OVERFLOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pack::{Code, LanePool};
    use scopes::{ScopeId, VaultId};
    use vault::keys::{Keyring, RootKey};
    use vault::seal::FreshStream;

    fn sealer() -> StreamSealer {
        let keyring = Keyring::new(RootKey::from_bytes([1; 32]), VaultId([4; 16]));
        let stream = FreshStream::draw(&mut |bytes| bytes.fill(3));
        StreamSealer::new(&keyring, ScopeId([2; 16]), 0, stream, None)
    }

    /// Gathers `plain` in pieces of `piece` bytes. After `spread_after` chunks it goes on in lanes, and after `take_after` what is
    /// there is taken out in the middle of a chunk.
    fn gathered(plain: &[u8], piece: usize, spread_after: u64, take_after: u64) -> Vec<Vec<u8>> {
        let (mut sealer, mut gather) = (sealer(), Gather::default());
        let mut out = Vec::new();
        for mut rest in plain.chunks(piece) {
            while !rest.is_empty() {
                if gather.plain_bytes() == PLAIN_BYTES {
                    gather.seal(&mut sealer, false).unwrap();
                    if gather.sealed() == spread_after {
                        gather
                            .spread(PackBuilder::with_pool(Code::DEFAULT, &LanePool::new(4)))
                            .unwrap();
                    }
                }
                let taken = gather.push(rest, false).unwrap();
                rest = &rest[taken..];
                if gather.sealed() == take_after && gather.len() > 0 {
                    let had = gather.plain_bytes();
                    let early = gather.take();
                    assert_eq!((gather.len(), gather.plain_bytes()), (0, had));
                    let early = Gather {
                        first_chunk: early.first_chunk,
                        chunks: early.chunks,
                        lanes: early.lanes,
                        plain: Vec::new(),
                    };
                    out.extend(early.into_run().unwrap().chunks);
                }
            }
        }
        gather.seal(&mut sealer, true).unwrap();
        let run = gather.into_run().unwrap();
        assert_eq!(run.first_chunk as usize, out.len());
        out.extend(run.chunks);
        out
    }

    #[test]
    fn chunks_are_the_same_in_lanes_and_alone_and_when_some_leave_early() {
        let plain: Vec<u8> = (0..9 * PLAIN_BYTES + 777).map(|at| (at % 251) as u8).collect();
        let alone = gathered(&plain, 50_000, 0, 0);
        assert_eq!(alone.len(), 10);
        for (piece, spread_after, take_after) in
            [(50_000, 3, 0), (1_000_000, 1, 0), (7_001, 3, 5), (65_520, 9, 9)]
        {
            let other = gathered(&plain, piece, spread_after, take_after);
            assert!(other == alone, "{piece} {spread_after} {take_after}");
        }
    }
}
