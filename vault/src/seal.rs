//! Stream sealing: one PUT body, or one attempt at a part, as a run of chunks under one key.
//!
//! It moves no bytes and knows no packs. It is the one place that names the bulk AEAD crate.
//!
//! Formula: chunk i of a stream is AES-256-GCM(stream key, nonce u64(i) ‖ 00000000, associated data vault ‖ scope ‖
//! stream ‖ u64(i) ‖ last). Counter and `last` make reordering, dropping and truncation of chunks fail to open.
//!
//! A stream may be sealed under a key of the client's too (`customer`): its stream key is then derived from that as well, and
//! nothing else differs.
//!
//! Invariant: no (key, nonce) pair seals twice. The key comes from a stream id that only [`FreshStream`] can bring to
//! a sealer, which is drawn from randomness and consumed; the counter lives in the sealer alone, goes up by one a
//! chunk, and the sealer cannot be cloned or rewound.
//!
//! Source: FORMAT.md section 4; NIST SP 800-38D; the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use engine::pack::{CHUNK_BYTES_MAX, TAG_BYTES};
use scopes::ScopeId;

use crate::Random;
use crate::customer::CustomerKey;
use crate::keys::Keyring;
use crate::object::StreamId;

#[cfg(test)]
mod tests;

/// Plaintext bytes of every chunk of a stream but the last, which has 1 to as many.
pub const CHUNK_PLAIN_BYTES: usize = CHUNK_BYTES_MAX - TAG_BYTES;

/// The most chunks that one stream may have.
pub const STREAM_CHUNKS_MAX: u64 = 1 << 32;

const ASSOCIATED_BYTES: usize = 16 + 16 + 32 + 8 + 1;

/// Why a chunk was not sealed. The sealer refuses everything after any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The stream has had its last chunk, or an earlier call failed.
    #[error("the stream ended after {chunks} chunks")]
    Ended {
        /// Chunks that were sealed.
        chunks: u64,
    },
    /// A chunk that is not the last has to be full, and the last has at least one byte.
    #[error("a chunk of {got} plaintext bytes (last: {last}), {need} are needed")]
    ChunkLength {
        /// Plaintext bytes given.
        got: usize,
        /// Plaintext bytes of a full chunk.
        need: usize,
        /// Whether it was to be the last chunk.
        last: bool,
    },
    /// The counter is used up.
    #[error("a stream holds at most {limit} chunks")]
    TooManyChunks {
        /// The limit.
        limit: u64,
    },
    /// The AEAD refused the key or the buffer.
    #[error("the cipher refused chunk {index}")]
    Cipher {
        /// The chunk.
        index: u64,
    },
}

/// Why a chunk was not opened. The buffer holds zeros then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// Too short to hold a tag and a byte, or longer than a chunk.
    #[error("a sealed chunk of {got} bytes is not 17 to 65,536 long")]
    Length {
        /// Sealed bytes given.
        got: usize,
    },
    /// The tag does not match: altered, or another chunk, stream, scope, vault or epoch, or a false `last`.
    #[error("chunk {index} of its stream does not open")]
    Forged {
        /// The chunk.
        index: u64,
    },
}

/// A stream id drawn for sealing, good for one sealer. It is neither `Clone` nor `Copy`:
///
/// ```compile_fail
/// let drawn = vault::seal::FreshStream::draw(&mut |bytes| bytes.fill(7));
/// let twice = drawn.clone();
/// ```
#[derive(Debug)]
pub struct FreshStream(StreamId);

impl FreshStream {
    /// Draws 32 random bytes. `random` must be unpredictable and never repeat.
    pub fn draw(random: Random<'_>) -> Self {
        let mut id = [0; 32];
        random(&mut id);
        Self(StreamId(id))
    }

    /// The id, as manifests name it.
    pub const fn id(&self) -> StreamId {
        self.0
    }
}

/// What every chunk of a stream has in common.
struct Stream {
    key: LessSafeKey,
    associated: [u8; ASSOCIATED_BYTES - 9],
}

impl Stream {
    fn new(
        keyring: &Keyring,
        (scope, epoch): (ScopeId, u64),
        stream: StreamId,
        customer: Option<&CustomerKey>,
    ) -> Option<Self> {
        let key = match customer {
            None => keyring.stream_key(scope, epoch, stream),
            Some(customer) => keyring.customer_stream_key(scope, epoch, stream, customer),
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).ok()?);
        let mut associated = [0; ASSOCIATED_BYTES - 9];
        let vault = keyring.vault();
        let fields = [&vault.0[..], &scope.0, &stream.0];
        for (byte, value) in associated.iter_mut().zip(fields.into_iter().flatten()) {
            *byte = *value;
        }
        Some(Self { key, associated })
    }

    fn associated(&self, index: u64, last: bool) -> Aad<[u8; ASSOCIATED_BYTES]> {
        let mut data = [0; ASSOCIATED_BYTES];
        let tail = index.to_le_bytes().into_iter().chain([u8::from(last)]);
        for (byte, value) in data.iter_mut().zip(self.associated.iter().copied().chain(tail)) {
            *byte = value;
        }
        Aad::from(data)
    }
}

fn nonce(index: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (byte, value) in bytes.iter_mut().zip(index.to_le_bytes()) {
        *byte = value;
    }
    Nonce::assume_unique_for_key(bytes)
}

/// Seals one stream, chunk after chunk, in place and without allocating. It cannot be cloned.
pub struct StreamSealer {
    stream: Option<Stream>,
    id: StreamId,
    next: u64,
    plain_bytes: u64,
}

impl std::fmt::Debug for StreamSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamSealer")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl StreamSealer {
    /// A sealer at chunk 0 of a stream that nothing was sealed under, and to which the customer's key belongs if there is one.
    pub fn new(
        keyring: &Keyring,
        scope: ScopeId,
        epoch: u64,
        stream: FreshStream,
        customer: Option<&CustomerKey>,
    ) -> Self {
        Self {
            stream: Stream::new(keyring, (scope, epoch), stream.0, customer),
            id: stream.0,
            next: 0,
            plain_bytes: 0,
        }
    }

    /// The stream's id.
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Chunks sealed so far.
    pub const fn chunks(&self) -> u64 {
        self.next
    }

    /// Plaintext bytes sealed so far.
    pub const fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Seals the next chunk: `buf` is plaintext on entry and the sealed chunk on return, 16 bytes longer. Give it
    /// capacity for a whole chunk and nothing is allocated. Returns the chunk's index.
    ///
    /// # Errors
    /// [`SealError`]; the stream is unusable then and `buf` must be thrown away.
    pub fn seal_next(&mut self, buf: &mut Vec<u8>, last: bool) -> Result<u64, SealError> {
        buf.resize(buf.len() + TAG_BYTES, 0);
        self.seal_next_in(buf, last)
    }

    /// As [`Self::seal_next`] on a slice that ends in 16 bytes of room for the tag.
    ///
    /// # Errors
    /// [`SealError`]; the stream is unusable then and `buf` must be thrown away.
    pub fn seal_next_in(&mut self, buf: &mut [u8], last: bool) -> Result<u64, SealError> {
        // Taken, and put back only after success and when more may follow: no path leads back to a used counter.
        let stream = self.stream.take().ok_or(SealError::Ended { chunks: self.next })?;
        let plain_bytes = buf.len().saturating_sub(TAG_BYTES);
        let fits = if last {
            (1..=CHUNK_PLAIN_BYTES).contains(&plain_bytes)
        } else {
            plain_bytes == CHUNK_PLAIN_BYTES
        };
        let Some((plain, room)) = buf.split_at_mut_checked(plain_bytes).filter(|_| fits) else {
            return Err(SealError::ChunkLength {
                got: plain_bytes,
                need: CHUNK_PLAIN_BYTES,
                last,
            });
        };
        let index = self.next;
        if index >= STREAM_CHUNKS_MAX {
            return Err(SealError::TooManyChunks {
                limit: STREAM_CHUNKS_MAX,
            });
        }
        let tag = stream
            .key
            .seal_in_place_separate_tag(nonce(index), stream.associated(index, last), plain)
            .map_err(|_| SealError::Cipher { index })?;
        room.copy_from_slice(tag.as_ref());
        self.next += 1;
        self.plain_bytes += plain_bytes as u64;
        self.stream = Some(stream).filter(|_| !last);
        Ok(index)
    }
}

/// Opens chunks of one stream, in any order.
pub struct StreamOpener {
    stream: Option<Stream>,
}

impl std::fmt::Debug for StreamOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamOpener(..)")
    }
}

impl StreamOpener {
    /// An opener of the stream that was sealed in `scope` under `epoch`, and under the customer's key if there was one.
    pub fn new(
        keyring: &Keyring,
        scope: ScopeId,
        epoch: u64,
        stream: StreamId,
        customer: Option<&CustomerKey>,
    ) -> Self {
        Self {
            stream: Stream::new(keyring, (scope, epoch), stream, customer),
        }
    }

    /// Opens chunk `index` in place: `buf` is the sealed chunk, and its first so many bytes are the plaintext on
    /// return. `last` says whether the manifest has it as the stream's last chunk.
    ///
    /// # Errors
    /// [`ChunkError`]; `buf` is zeros then, so that no unchecked plaintext can go out.
    pub fn open_chunk(&self, index: u64, last: bool, buf: &mut [u8]) -> Result<usize, ChunkError> {
        if buf.len() <= TAG_BYTES || buf.len() > CHUNK_BYTES_MAX {
            let got = buf.len();
            buf.fill(0);
            return Err(ChunkError::Length { got });
        }
        let opened = self.stream.as_ref().and_then(|stream| {
            let plain = stream
                .key
                .open_in_place(nonce(index), stream.associated(index, last), buf);
            plain.ok().map(|plain| plain.len())
        });
        opened.ok_or_else(|| {
            buf.fill(0);
            ChunkError::Forged { index }
        })
    }
}
