//! aws-chunked: the framing in which S3 clients stream a body, taken apart as it arrives.
//!
//! A signed chunk is held back until its signature has been verified: not one byte of it is released before
//! (CVE-2021-21390). Unsigned chunks pass as they come, as slices of what was received. A body ends with a chunk of
//! no bytes, then the trailers if the mode has any, and nothing after that; anything else is an error. The decoder
//! does no I/O and knows no lengths but its own; `body.rs` compares them with what the request declared. Sources:
//! "Transferring Payload in Multiple Chunks" and "Trailing headers" of the S3 API reference.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::payload::Payload;
use super::signing::ChunkSigner;
use crate::hold::FREE_BYTES;

/// The most bytes that a signed chunk may have: it is held in memory until it is verified.
pub const SIGNED_CHUNK_BYTES_MAX: u64 = 16 << 20;

/// Why a framed body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The framing is not aws-chunked.
    #[error("the chunk framing is not valid: {what}")]
    Framing {
        /// What about it.
        what: &'static str,
    },
    /// A signed chunk larger than 16 MiB.
    #[error("a signed chunk has {bytes} bytes, at most {SIGNED_CHUNK_BYTES_MAX} are taken")]
    TooLarge {
        /// Its announced size.
        bytes: u64,
    },
    /// A chunk's or the trailers' signature is not right.
    #[error("the signature of a chunk or of the trailers does not match")]
    Signature,
    /// The body ended inside the framing.
    #[error("the body ended before its last chunk")]
    Truncated,
}

/// Takes aws-chunked apart.
pub struct Decoder {
    // None: unsigned chunks.
    signer: Option<ChunkSigner>,
    trailers_follow: bool,
    state: State,
    line: BytesMut,
    held: Held,
    ready: VecDeque<Bytes>,
    trailers: Vec<(String, String)>,
    trailer_bytes: usize,
    trailer_signature: Option<[u8; 32]>,
    asks: bool,
    wanted: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reading `size[;chunk-signature=…]`.
    Head,
    /// So many bytes of the chunk are to come.
    Data { left: u64, signature: Option<[u8; 32]> },
    /// The line end after a chunk's bytes.
    DataEnd,
    /// Trailer lines, up to the empty one.
    Trailer,
    /// The end was seen.
    Done,
}

/// The bytes of a signed chunk that await its signature. Small arrivals are gathered, so that a body sent a byte at
/// a time costs its own size.
#[derive(Default)]
struct Held {
    parts: VecDeque<Bytes>,
    small: BytesMut,
    hash: Sha256,
}

impl Held {
    fn push(&mut self, part: Bytes) {
        self.hash.update(&part);
        if part.len() < SMALL_BYTES {
            self.small.extend_from_slice(&part);
        } else {
            self.gather();
            self.parts.push_back(part);
        }
    }

    fn gather(&mut self) {
        if !self.small.is_empty() {
            self.parts.push_back(self.small.split().freeze());
        }
    }

    fn take(&mut self) -> (VecDeque<Bytes>, [u8; 32]) {
        self.gather();
        (std::mem::take(&mut self.parts), self.hash.finalize_reset().into())
    }
}

impl Decoder {
    /// A decoder for one body; `None` when the mode is not chunked.
    pub fn new(payload: Payload, signer: ChunkSigner) -> Option<Self> {
        match payload {
            Payload::SignedChunks | Payload::SignedChunksTrailer => {
                Some(Self::of(Some(signer), payload.has_trailer()))
            }
            Payload::UnsignedChunksTrailer => Some(Self::unsigned()),
            Payload::Hash(_) | Payload::Unsigned => None,
        }
    }

    /// A decoder for a body of chunks that are not signed.
    pub fn unsigned() -> Self {
        Self::of(None, true)
    }

    fn of(signer: Option<ChunkSigner>, trailers_follow: bool) -> Self {
        Self {
            signer,
            trailers_follow,
            state: State::Head,
            line: BytesMut::new(),
            held: Held::default(),
            ready: VecDeque::new(),
            trailers: Vec::new(),
            trailer_bytes: 0,
            trailer_signature: None,
            asks: false,
            wanted: None,
        }
    }

    /// Makes it ask for memory before it holds a chunk that is not small.
    pub(crate) const fn asking(mut self) -> Self {
        self.asks = true;
        self
    }

    /// So many bytes of memory must be found before it goes on; what it asked for is taken as granted.
    pub(crate) const fn take_wanted(&mut self) -> Option<u64> {
        self.wanted.take()
    }

    /// Whether it holds bytes, or is about to.
    pub(crate) fn is_holding(&self) -> bool {
        !self.ready.is_empty() || (self.signer.is_some() && matches!(self.state, State::Data { .. }))
    }

    /// Takes from `input` and returns the next verified bytes; `None` when it wants more input, or memory.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            if self.wanted.is_some() {
                return Ok(None);
            }
            if let State::Data { left, signature } = self.state {
                if left > 0 {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let part = input.split_to(take);
                    self.state = State::Data {
                        left: left - take as u64,
                        signature,
                    };
                    if self.signer.is_none() {
                        return Ok(Some(part));
                    }
                    self.held.push(part);
                    continue;
                }
                self.release(signature)?;
                self.state = State::DataEnd;
                continue;
            }
            if self.state == State::Done {
                return if input.is_empty() {
                    Ok(None)
                } else {
                    Err(framing("bytes after the end"))
                };
            }
            let Some(line) = self.line(input)? else {
                return Ok(None);
            };
            self.take_line(&line)?;
        }
    }

    /// The trailers, once the body has ended; an error if it ended early.
    pub fn finish(&mut self) -> Result<Vec<(String, String)>, ChunkError> {
        if self.state == State::Done {
            Ok(std::mem::take(&mut self.trailers))
        } else {
            Err(ChunkError::Truncated)
        }
    }

    /// Verifies a complete chunk and releases it.
    fn release(&mut self, signature: Option<[u8; 32]>) -> Result<(), ChunkError> {
        let Some(signer) = &mut self.signer else {
            return Ok(());
        };
        let (parts, hash) = self.held.take();
        let signature = signature.ok_or(ChunkError::Signature)?;
        if !signer.chunk(&hash, &signature) {
            return Err(ChunkError::Signature);
        }
        self.ready = parts;
        Ok(())
    }

    /// The next whole line without its CRLF; `None` when more input is wanted.
    fn line(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        let end = memchr::memchr(b'\n', input);
        let take = end.map_or(input.len(), |at| at + 1);
        if self.line.len() + take > LINE_BYTES_MAX {
            return Err(framing("a line is too long"));
        }
        self.line.extend_from_slice(&input.split_to(take));
        if end.is_none() {
            return Ok(None);
        }
        let line = self.line.split().freeze();
        let text = line
            .strip_suffix(b"\r\n")
            .ok_or_else(|| framing("a line does not end in CR LF"))?;
        Ok(Some(line.slice_ref(text)))
    }

    fn take_line(&mut self, line: &Bytes) -> Result<(), ChunkError> {
        match self.state {
            State::Head => self.take_head(line),
            State::DataEnd if line.is_empty() => {
                self.state = State::Head;
                Ok(())
            }
            State::DataEnd => Err(framing("a chunk is longer than its size")),
            State::Trailer if line.is_empty() => self.end_trailers(),
            State::Trailer => self.take_trailer(line),
            State::Data { .. } | State::Done => Err(framing("a line where none may be")),
        }
    }

    fn take_head(&mut self, line: &Bytes) -> Result<(), ChunkError> {
        let text = std::str::from_utf8(line).map_err(|_| framing("a chunk head is not text"))?;
        let (size, extension) = match text.split_once(';') {
            Some((size, extension)) => (size, Some(extension)),
            None => (text, None),
        };
        let digits = !size.is_empty() && size.len() <= 16 && size.bytes().all(|b| b.is_ascii_hexdigit());
        let left = u64::from_str_radix(size, 16).ok().filter(|_| digits);
        let left = left.ok_or_else(|| framing("a chunk size is not hexadecimal"))?;
        let signature = match (self.signer.is_some(), extension) {
            (true, Some(extension)) => Some(parse_signature(
                extension
                    .strip_prefix("chunk-signature=")
                    .ok_or_else(|| framing("unknown chunk extension"))?,
            )?),
            (true, None) => return Err(ChunkError::Signature),
            (false, None) => None,
            (false, Some(_)) => return Err(framing("a chunk extension in an unsigned body")),
        };
        if signature.is_some() && left > SIGNED_CHUNK_BYTES_MAX {
            return Err(ChunkError::TooLarge { bytes: left });
        }
        if left > 0 {
            self.wanted = (self.asks && signature.is_some() && left > FREE_BYTES).then_some(left);
            self.state = State::Data { left, signature };
            return Ok(());
        }
        self.release(signature)?;
        self.state = State::Trailer;
        Ok(())
    }

    fn take_trailer(&mut self, line: &Bytes) -> Result<(), ChunkError> {
        if !self.trailers_follow {
            return Err(framing("a trailer in a mode without trailers"));
        }
        self.trailer_bytes += line.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX || self.trailers.len() == TRAILERS_MAX {
            return Err(framing("too many trailers"));
        }
        let text = std::str::from_utf8(line).map_err(|_| framing("a trailer is not text"))?;
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| framing("a trailer has no value"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if self.trailer_signature.is_some() {
            return Err(framing("a trailer after the trailer signature"));
        }
        if name == "x-amz-trailer-signature" && self.signer.is_some() {
            self.trailer_signature = Some(parse_signature(value)?);
            return Ok(());
        }
        if self.trailers.iter().any(|(n, _)| *n == name) {
            return Err(framing("a trailer stands twice"));
        }
        self.trailers.push((name, value.to_owned()));
        Ok(())
    }

    fn end_trailers(&mut self) -> Result<(), ChunkError> {
        if self.trailers_follow
            && let Some(signer) = &mut self.signer
        {
            let mut sorted: Vec<_> = self.trailers.iter().collect();
            sorted.sort();
            let canonical: String = sorted.into_iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
            let signature = self.trailer_signature.ok_or(ChunkError::Signature)?;
            if !signer.trailer(&canonical, &signature) {
                return Err(ChunkError::Signature);
            }
        }
        self.state = State::Done;
        Ok(())
    }
}

fn parse_signature(text: &str) -> Result<[u8; 32], ChunkError> {
    let mut signature = [0; 32];
    hex::decode_to_slice(text, &mut signature).map_err(|_| ChunkError::Signature)?;
    Ok(signature)
}

const fn framing(what: &'static str) -> ChunkError {
    ChunkError::Framing { what }
}

const LINE_BYTES_MAX: usize = 4096;
const TRAILER_BYTES_MAX: usize = 8192;
const TRAILERS_MAX: usize = 16;
const SMALL_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
