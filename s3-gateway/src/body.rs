//! A request's body, checked while it passes.
//!
//! Takes aws-chunked apart, counts against the declared length, hashes for `x-amz-content-sha256`, computes MD5 and
//! the S3 checksum in the same pass and compares them with headers and trailers. The stream ends cleanly only if
//! everything holds; otherwise its last item is a `BodyError`. So whoever reads it may store as it goes, and must
//! publish nothing before the clean end; the digests are handed over only there.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};

use crate::auth::chunked::{ChunkError, Decoder};
use crate::checksum::{Algorithm, ChecksumError, Declared, Value};
use crate::digests::{Digests, Hasher};
use crate::hold::{Hold, Holds};
use crate::pace::Pace;

/// Any error of a transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body as it comes from the connection.
pub type RawBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Why a body was refused. The S3 codes are in `errors.rs`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The aws-chunked framing or a chunk's signature.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Fewer or more bytes than declared.
    #[error("the body has {got} bytes or more, and {declared} were declared")]
    Length {
        /// The declared length, decoded.
        declared: u64,
        /// Bytes received when it was noticed.
        got: u64,
    },
    /// `x-amz-content-sha256` is not the body's hash.
    #[error("the body's SHA-256 is not the one in x-amz-content-sha256")]
    Sha256,
    /// `Content-MD5` is not the body's.
    #[error("the body's MD5 is not the one in Content-MD5")]
    Md5,
    /// An S3 checksum is not the body's.
    #[error("the body's {} is not the one that was sent", .algorithm.name())]
    Checksum {
        /// Which one.
        algorithm: Algorithm,
    },
    /// The trailer that `x-amz-trailer` promised did not come, or another one did.
    #[error("the trailers are not those named in x-amz-trailer")]
    Trailer,
    /// A malformed trailer value.
    #[error(transparent)]
    Malformed(#[from] ChecksumError),
    /// A body that must be kept in memory is too long.
    #[error("the body may have {limit} bytes at most")]
    TooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// A form's file has fewer bytes than its policy asks for.
    #[error("the file has fewer bytes than {least}")]
    TooSmall {
        /// The fewest.
        least: u64,
    },
    /// A form's file has more bytes than its policy allows, or than an object may have.
    #[error("the file has more bytes than {most}")]
    TooLarge {
        /// The most.
        most: u64,
    },
    /// There is no memory now for a chunk that must be held until it is verified.
    #[error("the gateway has no memory for so large a chunk now")]
    Busy,
    /// The client stopped sending.
    #[error("the client sent too little for too long")]
    Slow,
    /// The connection broke.
    #[error("the connection broke while the body was read")]
    Broken,
}

/// What a body is checked against.
pub struct Expected {
    /// Bytes after decoding, when known. Always known for objects.
    pub bytes: Option<u64>,
    /// `x-amz-content-sha256`.
    pub sha256: Option<[u8; 32]>,
    /// Headers about digests.
    pub declared: Declared,
    /// Whether MD5 is computed although no `Content-MD5` came: for ETags.
    pub md5: bool,
}

/// Where a checked body's digests appear once it has ended cleanly.
#[derive(Debug, Clone, Default)]
pub struct DigestSlot(Arc<OnceLock<Digests>>);

impl DigestSlot {
    /// The digests; `None` until the body has ended and passed every check.
    pub fn get(&self) -> Option<&Digests> {
        self.0.get()
    }
}

/// A body under check. A stream of `Bytes`, and an `http_body::Body`.
pub struct CheckedBody {
    inner: RawBody,
    input: Bytes,
    decoder: Option<Decoder>,
    /// What `x-amz-content-sha256` says.
    sha256: Option<[u8; 32]>,
    hasher: Option<Hasher>,
    expected_bytes: Option<u64>,
    declared: Declared,
    slot: DigestSlot,
    pace: Pace,
    ended: bool,
    holds: Holds,
    hold: Option<Hold>,
    waiting: Option<BoxFuture<'static, Option<Hold>>>,
}

impl CheckedBody {
    /// Puts the checks in front of a body.
    pub fn new(inner: RawBody, decoder: Option<Decoder>, expected: Expected, patience: Duration) -> Self {
        let Expected {
            bytes,
            sha256,
            declared,
            md5,
        } = expected;
        let mut hasher = Hasher::new(md5 || declared.md5.is_some(), declared.wanted());
        if sha256.is_some() {
            hasher = hasher.with_sha256();
        }
        Self {
            inner,
            input: Bytes::new(),
            decoder: decoder.map(Decoder::asking),
            sha256,
            hasher: Some(hasher),
            expected_bytes: bytes,
            declared,
            slot: DigestSlot::default(),
            pace: Pace::new(patience),
            ended: false,
            holds: Holds::default(),
            hold: None,
            waiting: None,
        }
    }

    /// Takes the memory for signed chunks out of this budget rather than one of its own.
    pub fn with_holds(mut self, holds: Holds) -> Self {
        self.holds = holds;
        self
    }

    /// Where the digests will be.
    pub fn slot(&self) -> DigestSlot {
        self.slot.clone()
    }

    /// Reads a short body whole, at most `limit` bytes, checks included.
    pub fn collect(mut self, limit: usize) -> BoxFuture<'static, Result<Bytes, BodyError>> {
        Box::pin(async move {
            let mut parts: Vec<Bytes> = Vec::new();
            let mut total = 0_usize;
            while let Some(part) = std::future::poll_fn(|cx| self.poll_bytes(cx)).await {
                let part = part?;
                total += part.len();
                if total > limit {
                    return Err(BodyError::TooLong { limit: limit as u64 });
                }
                parts.push(part);
            }
            match parts.len() {
                0 => Ok(Bytes::new()),
                1 => Ok(parts.swap_remove(0)),
                _ => Ok(parts.concat().into()),
            }
        })
    }

    /// The next verified bytes.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.poll_checked(cx)) {
            Ok(Some(bytes)) => Poll::Ready(Some(Ok(bytes))),
            Ok(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Err(error) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn poll_checked(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                let hold = ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
                self.hold = Some(hold.ok_or(BodyError::Busy)?);
            }
            let next = match &mut self.decoder {
                Some(decoder) => decoder.next(&mut self.input)?,
                None if self.input.is_empty() => None,
                None => Some(std::mem::take(&mut self.input)),
            };
            if self.hold.is_some() && !self.decoder.as_ref().is_some_and(Decoder::is_holding) {
                self.hold = None;
            }
            if let Some(bytes) = next {
                return Poll::Ready(self.take(bytes).map(Some));
            }
            if let Some(bytes) = self.decoder.as_mut().and_then(Decoder::take_wanted) {
                // What an earlier chunk held goes back first: whoever waits holds nothing.
                self.hold = None;
                self.waiting = Some(Box::pin(self.holds.clone().take(bytes)));
                continue;
            }
            match ready!(self.poll_raw(cx)?) {
                Some(bytes) => self.input = bytes,
                None => return Poll::Ready(self.end().map(|()| None)),
            }
        }
    }

    fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // HTTP trailers of a chunked transfer encoding mean nothing in S3.
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.pace.moved(bytes.len());
                    return Poll::Ready(Ok(Some(bytes)));
                }
                Poll::Ready(Some(Err(error))) => {
                    let known = error.downcast::<BodyError>();
                    return Poll::Ready(Err(known.map_or(BodyError::Broken, |known| *known)));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    return if self.pace.poll_exhausted(cx) {
                        Poll::Ready(Err(BodyError::Slow))
                    } else {
                        Poll::Pending
                    };
                }
            }
        }
    }

    /// Counts and hashes bytes before they are handed on.
    fn take(&mut self, bytes: Bytes) -> Result<Bytes, BodyError> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
            if let Some(declared) = self.expected_bytes
                && hasher.bytes() > declared
            {
                return Err(BodyError::Length {
                    declared,
                    got: hasher.bytes(),
                });
            }
        }
        Ok(bytes)
    }

    /// Everything that can only be judged at the end.
    fn end(&mut self) -> Result<(), BodyError> {
        let trailers = self
            .decoder
            .as_mut()
            .map(Decoder::finish)
            .transpose()?
            .unwrap_or_default();
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let digests = hasher.finish();
        if let Some(declared) = self.expected_bytes
            && declared != digests.bytes
        {
            return Err(BodyError::Length {
                declared,
                got: digests.bytes,
            });
        }
        if self.sha256.is_some() && self.sha256 != digests.sha256 {
            return Err(BodyError::Sha256);
        }
        if self.declared.md5.is_some() && self.declared.md5 != digests.md5 {
            return Err(BodyError::Md5);
        }
        let sent = match self.trailer_value(&trailers)? {
            Some(value) => Some(value),
            None => self.declared.value.clone(),
        };
        if let Some(value) = sent
            && digests.checksum.as_ref() != Some(&value)
        {
            return Err(BodyError::Checksum {
                algorithm: value.algorithm,
            });
        }
        // The slot belongs to this body alone, so it is empty.
        let _ = self.slot.0.set(digests);
        Ok(())
    }

    /// The checksum in the trailers: exactly the one that was promised.
    fn trailer_value(&self, trailers: &[(String, String)]) -> Result<Option<Value>, BodyError> {
        match (self.declared.trailer, trailers) {
            (None, []) => Ok(None),
            (Some(algorithm), [(name, value)]) if name == algorithm.header() => {
                Ok(Some(Value::parse(algorithm, value)?))
            }
            _ => Err(BodyError::Trailer),
        }
    }
}

impl Body for CheckedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_bytes(cx).map_ok(Frame::data)
    }

    // Never "ended" before the checks at the end have run: a reader must see their verdict.
    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
