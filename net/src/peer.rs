//! How one peer asks another: who it is, what it may say, and the QUIC connection that carries it.
//!
//! It knows no drive, no ledger and no placement. [`message`] is what is said, [`Transport`] the door to the other side,
//! [`Service`] what answers on this side, [`quic`] the carrier between them.
//!
//! Invariants: both ends of a connection have proven the ed25519 key that is their name before a byte of a message is read; a peer
//! is dialled only where its owner says that this key lives; and whatever the other side does, sends or leaves unread, what it
//! can make this side hold is bounded.

mod frame;
mod identity;
pub mod message;
pub mod quic;
#[cfg(test)]
mod tests;
mod tls;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use frame::{BODY_BYTES_MAX, FrameError, HEAD_BYTES_MAX};
pub use identity::{PeerId, PeerKey};
pub use message::{Answer, Context, Purpose, Refusal, Request};

/// A request with what travels behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it is part of.
    pub context: Context,
    /// What is asked.
    pub request: Request,
    /// The shard of a put; empty otherwise. At most [`BODY_BYTES_MAX`].
    pub body: Bytes,
}

impl Call {
    /// A word about the ledger: part of no operation of a gateway, all of it in the body.
    pub fn of_ledger(request: Request, body: Vec<u8>) -> Self {
        Self {
            context: Context {
                operation: [0; 16],
                attempt: 0,
                purpose: Purpose::Ledger,
            },
            request,
            body: Bytes::from(body),
        }
    }
}

/// An answer with what travels behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What is answered.
    pub answer: Answer,
    /// The bytes of a range or a proof; empty otherwise. At most [`BODY_BYTES_MAX`].
    pub body: Bytes,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            body: Bytes::new(),
        }
    }
}

/// Why there is no answer. What was asked may have been done all the same, except after [`CallError::NoAddress`],
/// [`CallError::Unreachable`] and [`CallError::TooLong`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody says where this peer is.
    #[error("no address is known of {0}")]
    NoAddress(PeerId),
    /// No connection to the peer, or whoever answers there has another key.
    #[error("{peer} cannot be reached: {why}")]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// What the transport says.
        why: String,
    },
    /// The connection broke while the call was under way.
    #[error("the connection to {peer} broke: {why}")]
    Broken {
        /// The peer.
        peer: PeerId,
        /// What the transport says.
        why: String,
    },
    /// No answer within the time that a call has.
    #[error("{peer} did not answer within {ms} ms")]
    Late {
        /// The peer.
        peer: PeerId,
        /// The time, in milliseconds.
        ms: u64,
    },
    /// The call is longer than a frame may be; nothing was sent.
    #[error(transparent)]
    TooLong(FrameError),
    /// The answer is not one of this protocol.
    #[error("the answer of {peer} does not read: {why}")]
    BadAnswer {
        /// The peer.
        peer: PeerId,
        /// What is wrong with it.
        why: FrameError,
    },
}

/// The way to other peers. Real over QUIC; simulated in tests of many peers.
pub trait Transport: Send + Sync {
    /// Asks a peer and waits for its answer. Of a caller that goes away the peer is told, and gives up what it has not done yet.
    fn call(&self, peer: PeerId, call: Call) -> BoxFuture<'_, Result<Reply, CallError>>;
}

/// Who is told how many bytes of an answer's body were handed to the connection. Dropped without a word if none were.
pub type OnSent = Box<dyn FnOnce(u64) + Send>;

/// What answers other peers.
pub trait Service: Send + Sync {
    /// Whether a peer may call at all. Asked at each of its calls and every few seconds between; anyone may bring a key of his own.
    fn admits(&self, caller: &PeerId) -> bool;

    /// Answers a call of a peer that has proven its key. Whether it may ask this is for the service to decide. The answer is dropped at
    /// any await once nobody waits for it: what must not be left half done runs on a task of its own.
    fn answer(&self, caller: PeerId, call: Call) -> BoxFuture<'_, Reply>;

    /// As [`Service::answer`], with who wants to hear how much of the answer's body was handed over.
    fn answer_to_send(&self, caller: PeerId, call: Call) -> BoxFuture<'_, (Reply, Option<OnSent>)> {
        Box::pin(async move { (self.answer(caller, call).await, None) })
    }
}
