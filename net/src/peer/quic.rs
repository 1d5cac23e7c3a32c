//! The carrier between peers: QUIC, one connection for each peer that is called, one stream for each call. With what is in its folder
//! the only place that names quinn.
//!
//! It reads frames and hands them on; what they mean is the service's. Invariants: the key that a caller has proven is the one that
//! the service is told; calls wait no longer than [`QuicConfig`] says; and what one peer sends or does not take is held within its
//! bounds, which are those of its key however many connections it makes.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real sockets and clocks: a simulation has a transport of its own"
)]

mod answering;
mod dialing;
mod endpoint;
#[cfg(test)]
pub(super) mod raw;
mod serving;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use quinn::{Endpoint, SendStream, VarInt};

use super::frame::{self, FrameError, Prelude};
use super::identity::{PeerId, PeerKey};
use super::message::{decode_answer, encode_call};
use super::{BODY_BYTES_MAX, Call, CallError, HEAD_BYTES_MAX, Reply, Service, Transport, tls};
use dialing::Dialer;

/// Where a peer listens: what the membership in the ledger binds to its key, and nothing that a stranger said.
pub type Addresses = Arc<dyn Fn(&PeerId) -> Option<SocketAddr> + Send + Sync>;

/// The code with which this side ends what it has no further use for.
const CLOSED: VarInt = VarInt::from_u32(0);
/// The code with which a stream ends that was given up.
const GIVEN_UP: VarInt = VarInt::from_u32(2);

/// The bounds of a carrier. In all, the other peers can make it hold `calls_bytes_max`, an answer for each of `answers_max`, and for
/// each of `connections_max` peers 8 MiB each way that is on the wire or not taken.
#[derive(Debug, Clone, Copy)]
pub struct QuicConfig {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// Most peers that are connected to it, each once.
    pub connections_max: usize,
    /// Most connections whose key is not known yet.
    pub handshakes_max: usize,
    /// Most bytes of calls that are being read or answered; at least one of the longest.
    pub calls_bytes_max: u32,
    /// Most calls that are answered at one time, ...
    pub answers_max: usize,
    /// ... and most of one peer.
    pub answers_of_peer_max: usize,
    /// How long a call of this side may take in all.
    pub call_patience: Duration,
    /// How long the service may take for an answer.
    pub answer_patience: Duration,
    /// How long the other side may take to send a call, and to take an answer.
    pub peer_patience: Duration,
    /// How long the other side may take to prove its key.
    pub handshake_patience: Duration,
    /// A connection on which nothing comes for so long is gone. Not zero.
    pub silence_max: Duration,
}

impl QuicConfig {
    /// The usual bounds.
    pub const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            connections_max: 128,
            handshakes_max: 64,
            calls_bytes_max: 64 << 20,
            answers_max: 64,
            answers_of_peer_max: 16,
            call_patience: Duration::from_secs(30),
            answer_patience: Duration::from_secs(30),
            peer_patience: Duration::from_secs(10),
            handshake_patience: Duration::from_secs(3),
            silence_max: Duration::from_secs(6),
        }
    }

    fn check(&self) -> Result<(), QuicError> {
        let longest = HEAD_BYTES_MAX + BODY_BYTES_MAX;
        if (self.calls_bytes_max as usize) < longest {
            let got = self.calls_bytes_max;
            return Err(QuicError::Config(format!(
                "calls of {longest} bytes in {got} bytes"
            )));
        }
        if self.silence_max.is_zero() {
            return Err(QuicError::Config("silence of no length".to_owned()));
        }
        Ok(())
    }
}

/// Why there is no carrier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuicError {
    /// The address cannot be listened on.
    #[error("{listen} cannot be listened on")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The key or the bounds do not make a configuration.
    #[error("no QUIC configuration: {0}")]
    Config(String),
}

/// This peer on the network: it calls others, and answers them while [`Quic::serve`] runs.
pub struct Quic {
    id: PeerId,
    config: QuicConfig,
    endpoint: Endpoint,
    dialer: Dialer,
}

impl std::fmt::Debug for Quic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Quic({})", self.id)
    }
}

impl Quic {
    /// Listens. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`QuicError`].
    pub fn open(key: &PeerKey, config: QuicConfig, addresses: Addresses) -> Result<Self, QuicError> {
        config.check()?;
        let own = tls::certified(key).map_err(|error| QuicError::Config(error.to_string()))?;
        let endpoint = endpoint::open(key, &own, &config)?;
        Ok(Self {
            id: key.id(),
            config,
            dialer: Dialer::new(endpoint.clone(), own, &config, addresses)?,
            endpoint,
        })
    }

    /// This peer's name.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Answers other peers until [`Quic::close`].
    pub async fn serve(&self, service: Arc<dyn Service>) {
        serving::serve(&self.endpoint, self.config, service).await;
    }

    /// Ends every connection, and the listening; returns once the other sides were told.
    pub async fn close(&self) {
        self.endpoint.close(CLOSED, b"closing");
        self.endpoint.wait_idle().await;
    }

    /// `sent` becomes true once a byte of the call may have reached the peer.
    async fn ask(
        &self,
        peer: PeerId,
        prelude: Prelude,
        (head, call): (&[u8], &Call),
        sent: &AtomicBool,
    ) -> Result<Reply, CallError> {
        let connection = self.dialer.connection(peer).await?;
        let broken = |why: &dyn std::fmt::Display| CallError::Broken {
            peer,
            why: why.to_string(),
        };
        let (send, mut receive) = connection.open_bi().await.map_err(|error| broken(&error))?;
        sent.store(true, Ordering::Relaxed);
        let mut send = Sending(send);
        let wrote = send_frame(&mut send.0, prelude, head, &call.body).await;
        // A peer that refuses a call answers without reading it to its end.
        let answer = match wrote.map(|()| send.0.finish()) {
            Ok(_) => read_answer(&mut receive).await,
            Err(error) => read_answer(&mut receive).await.map_err(|_| error.into()),
        };
        answer.map_err(|why| match (connection.close_reason(), why) {
            (Some(reason), _) => broken(&reason),
            (None, why @ FrameError::Ended(_)) => broken(&why),
            (None, why) => CallError::BadAnswer { peer, why },
        })
    }
}

impl Transport for Quic {
    fn call(&self, peer: PeerId, call: Call) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(async move {
            let head = encode_call(&call.context, &call.request);
            let prelude = Prelude::of(&head, &call.body).map_err(CallError::TooLong)?;
            let (patience, sent) = (self.config.call_patience, AtomicBool::new(false));
            let asked = self.ask(peer, prelude, (&head, &call), &sent);
            match tokio::time::timeout(patience, asked).await {
                Ok(answered) => answered,
                Err(_) if sent.load(Ordering::Relaxed) => Err(CallError::Late {
                    peer,
                    ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                }),
                Err(_) => Err(CallError::Unreachable {
                    peer,
                    why: "no stream in time".to_owned(),
                }),
            }
        })
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.endpoint.close(CLOSED, b"closing");
    }
}

/// A call on its way: one that is dropped before its end is taken back, not cut short.
struct Sending(SendStream);

impl Drop for Sending {
    fn drop(&mut self) {
        // Of no effect on a stream that the other side has taken whole.
        let _ = self.0.reset(GIVEN_UP);
    }
}

/// Sends a frame. Its body is not copied: it stays where it is until the other side has it.
async fn send_frame(
    send: &mut SendStream,
    prelude: Prelude,
    head: &[u8],
    body: &Bytes,
) -> std::io::Result<()> {
    let mut chunks = [frame::start(prelude, head), body.clone()];
    send.write_all_chunks(&mut chunks).await.map_err(Into::into)
}

async fn read_answer(receive: &mut quinn::RecvStream) -> Result<Reply, FrameError> {
    let prelude = frame::read_prelude(receive).await?;
    let (head, body) = frame::read_rest(receive, prelude).await?;
    let answer = decode_answer(&head, body.len()).map_err(|error| FrameError::Message(error.to_string()))?;
    Ok(Reply { answer, body })
}
