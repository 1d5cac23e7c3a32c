//! The one form of everything that travels on a stream between peers: version, two lengths, head, body (FORMAT.md section 9).
//!
//! It knows no message. Invariant: nothing is allocated for a length that was not checked first, and a stream that holds more than
//! its one frame is refused.

use std::io;

use bytes::{BufMut as _, Bytes};
use engine::pack::SHARD_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Version of the frames and of the messages in them.
pub(super) const VERSION: u8 = 1;
/// Bytes of version and lengths.
const PRELUDE_BYTES: usize = 9;
/// Most bytes of a head.
pub const HEAD_BYTES_MAX: usize = 128 << 10;
/// Most bytes of a body: a shard, or a proof over a whole one.
pub const BODY_BYTES_MAX: usize = SHARD_BYTES_MAX + SHARD_BYTES_MAX / 8;

/// Why bytes are not a frame, or a message not one that fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Another version.
    #[error("frame version {got}; {VERSION} is understood")]
    Version {
        /// The version.
        got: u8,
    },
    /// A head that is too long.
    #[error("a head of {got} bytes; at most {HEAD_BYTES_MAX} are taken")]
    Head {
        /// Its length in bytes.
        got: usize,
    },
    /// A body that is too long.
    #[error("a body of {got} bytes; at most {BODY_BYTES_MAX} are taken")]
    Body {
        /// Its length in bytes.
        got: usize,
    },
    /// Bytes after the frame.
    #[error("the stream goes on behind its frame")]
    More,
    /// The stream ended early or failed.
    #[error("the stream ended early: {0}")]
    Ended(io::ErrorKind),
    /// The head is no message of this version.
    #[error("the message does not read: {0}")]
    Message(String),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Ended(error.kind())
    }
}

/// What a frame announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prelude {
    head_bytes: usize,
    body_bytes: usize,
}

impl Prelude {
    /// Of a head and a body that may be sent.
    pub(super) fn of(head: &[u8], body: &Bytes) -> Result<Self, FrameError> {
        Self {
            head_bytes: head.len(),
            body_bytes: body.len(),
        }
        .check()
    }

    /// All that the frame will take in memory, in bytes.
    pub(super) const fn bytes(self) -> usize {
        self.head_bytes + self.body_bytes
    }

    fn check(self) -> Result<Self, FrameError> {
        if self.head_bytes > HEAD_BYTES_MAX {
            return Err(FrameError::Head { got: self.head_bytes });
        }
        if self.body_bytes > BODY_BYTES_MAX {
            return Err(FrameError::Body { got: self.body_bytes });
        }
        Ok(self)
    }

    fn encode(self) -> [u8; PRELUDE_BYTES] {
        // Both were checked against maxima far below u32's.
        let [a, b, c, d] = (self.head_bytes as u32).to_le_bytes();
        let [e, f, g, h] = (self.body_bytes as u32).to_le_bytes();
        [VERSION, a, b, c, d, e, f, g, h]
    }

    fn decode([version, a, b, c, d, e, f, g, h]: [u8; PRELUDE_BYTES]) -> Result<Self, FrameError> {
        if version != VERSION {
            return Err(FrameError::Version { got: version });
        }
        Self {
            head_bytes: u32::from_le_bytes([a, b, c, d]) as usize,
            body_bytes: u32::from_le_bytes([e, f, g, h]) as usize,
        }
        .check()
    }
}

/// What goes before the body of a frame that [`Prelude::of`] allows.
pub(super) fn start(prelude: Prelude, head: &[u8]) -> Bytes {
    Bytes::from([&prelude.encode(), head].concat())
}

/// Reads what a frame announces.
pub(super) async fn read_prelude(from: &mut (impl AsyncRead + Unpin)) -> Result<Prelude, FrameError> {
    let mut prelude = [0; PRELUDE_BYTES];
    from.read_exact(&mut prelude).await?;
    Prelude::decode(prelude)
}

/// Reads head and body after their prelude, and sees that the stream ends there.
pub(super) async fn read_rest(
    from: &mut (impl AsyncRead + Unpin),
    prelude: Prelude,
) -> Result<(Bytes, Bytes), FrameError> {
    let head = read_exactly(from, prelude.head_bytes).await?;
    let body = read_exactly(from, prelude.body_bytes).await?;
    match from.read(&mut [0]).await? {
        0 => Ok((head, body)),
        _ => Err(FrameError::More),
    }
}

async fn read_exactly(from: &mut (impl AsyncRead + Unpin), bytes: usize) -> Result<Bytes, FrameError> {
    // In one piece, so that nothing is copied when it grows. Whoever reads has room for all of it, and pages of memory are taken only as
    // bytes come.
    let mut read = Vec::with_capacity(bytes);
    while read.len() < bytes {
        let room = bytes - read.len();
        if from.read_buf(&mut (&mut read).limit(room)).await? == 0 {
            return Err(FrameError::Ended(io::ErrorKind::UnexpectedEof));
        }
    }
    Ok(read.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<(Bytes, Bytes), FrameError> {
        let prelude = read_prelude(&mut bytes).await?;
        read_rest(&mut bytes, prelude).await
    }

    #[tokio::test]
    async fn a_frame_reads_back_and_every_cut_and_every_addition_is_refused() {
        let (head, body) = (b"head".as_slice(), Bytes::from(vec![9; 300_000]));
        let mut frame = Vec::new();
        let prelude = Prelude::of(head, &body).unwrap();
        frame.extend_from_slice(&start(prelude, head));
        frame.extend_from_slice(&body);
        assert_eq!(read(&frame).await.unwrap(), (Bytes::from_static(head), body));
        for cut in [0, 1, 8, 9, 12, 13, frame.len() - 1] {
            let end = FrameError::Ended(io::ErrorKind::UnexpectedEof);
            assert_eq!(read(&frame[..cut]).await, Err(end), "{cut} bytes");
        }
        frame.push(0);
        assert_eq!(read(&frame).await, Err(FrameError::More));
    }

    #[tokio::test]
    async fn lengths_beyond_the_maxima_and_other_versions_are_refused_before_anything_is_read() {
        let announce = |version: u8, head: u32, body: u32| {
            [&[version][..], &head.to_le_bytes(), &body.to_le_bytes()].concat()
        };
        let over = HEAD_BYTES_MAX as u32 + 1;
        let head = read(&announce(1, over, 0)).await;
        assert_eq!(
            head,
            Err(FrameError::Head {
                got: HEAD_BYTES_MAX + 1
            })
        );
        let body = read(&announce(1, 0, u32::MAX)).await;
        assert_eq!(
            body,
            Err(FrameError::Body {
                got: u32::MAX as usize
            })
        );
        for version in [0, 2, 255] {
            let other = read(&announce(version, 0, 0)).await;
            assert_eq!(other, Err(FrameError::Version { got: version }));
        }
        assert_eq!(read(&announce(1, 0, 0)).await, Ok((Bytes::new(), Bytes::new())));
    }

    #[test]
    fn what_may_not_be_read_may_not_be_sent() {
        let long = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
        let refused = Prelude::of(&[], &long);
        assert_eq!(
            refused,
            Err(FrameError::Body {
                got: BODY_BYTES_MAX + 1
            })
        );
    }
}
