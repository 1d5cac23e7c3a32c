//! The carrier between peers: QUIC, one connection for each pair of peers, one stream for each call. The only file that names
//! quinn.
//!
//! It reads frames and hands them on; what they mean is the service's. Invariants: the key that a caller has proven is the one that
//! the service is told; a peer is dialled only at the address that [`Addresses`] gives for its key; calls wait no longer than
//! [`QuicConfig`] says, and what one peer sends or does not take is held within its bounds.
//!
//! Tuned as docs/measurements.md found: segmentation offload as it comes, no packet above [`MTU_MAX`] (ten larger ones no longer
//! fit one system call, and the path falls back to 1,200 bytes), acknowledgements less often.

#[cfg(test)]
pub(super) mod raw;
mod serving;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, Endpoint, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};
use rustls::sign::CertifiedKey;

use super::frame::{self, FrameError, Prelude};
use super::identity::{PeerId, PeerKey};
use super::message::{decode_answer, encode_call};
use super::{Call, CallError, Reply, Service, Transport, tls};

/// Where a peer listens: what the membership in the ledger binds to its key, and nothing that a stranger said.
pub type Addresses = Arc<dyn Fn(&PeerId) -> Option<SocketAddr> + Send + Sync>;

/// Most bytes of a packet, where the path carries it.
pub const MTU_MAX: u16 = 6_500;
/// Bytes that may be on their way on a stream, and on a connection, each way.
const STREAM_WINDOW_BYTES: u32 = 3 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Calls of one peer that may be under way.
const STREAMS_MAX: u32 = 256;
/// Packets that are acknowledged together.
const ACKNOWLEDGED_TOGETHER: u32 = 32;
/// The name in a handshake, which nobody looks at: keys are the names.
const SERVER_NAME: &str = "cairn.invalid";

/// The bounds of a carrier.
#[derive(Debug, Clone, Copy)]
pub struct QuicConfig {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// Most connections of other peers.
    pub connections_max: usize,
    /// Most bytes of calls that are being read or answered.
    pub calls_bytes_max: u32,
    /// Most calls that are answered at one time, ...
    pub answers_max: usize,
    /// ... and most of one peer.
    pub answers_of_peer_max: usize,
    /// How long a call of this side may take in all.
    pub call_patience: Duration,
    /// How long the other side may take for its handshake, to send a call, to take an answer.
    pub peer_patience: Duration,
    /// A connection on which nothing comes for so long is gone.
    pub silence_max: Duration,
}

impl QuicConfig {
    /// The usual bounds.
    pub const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            connections_max: 128,
            calls_bytes_max: 64 << 20,
            answers_max: 64,
            answers_of_peer_max: 16,
            call_patience: Duration::from_secs(30),
            peer_patience: Duration::from_secs(10),
            silence_max: Duration::from_secs(10),
        }
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
    #[error("no TLS configuration: {0}")]
    Config(String),
}

/// This peer on the network: it calls others, and answers them while [`Quic::serve`] runs.
pub struct Quic {
    id: PeerId,
    config: QuicConfig,
    endpoint: Endpoint,
    own: Arc<CertifiedKey>,
    transport: Arc<TransportConfig>,
    addresses: Addresses,
    /// One for each peer that was called. The lock inside is held while dialling, so that there is one connection.
    connections: Mutex<HashMap<PeerId, Arc<tokio::sync::Mutex<Option<Connection>>>>>,
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
        let bad = |error: &dyn std::fmt::Display| QuicError::Config(error.to_string());
        let own = tls::certified(key).map_err(|error| bad(&error))?;
        let transport = Arc::new(transport(&config).map_err(|error| bad(&error))?);
        let server = tls::server(&own).map_err(|error| bad(&error))?;
        let server = QuicServerConfig::try_from(server).map_err(|error| bad(&error))?;
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(Arc::clone(&transport));
        server.max_incoming(config.connections_max);
        // An address that changes under a connection is another path that nobody has vouched for.
        server.migration(false);
        let endpoint = Endpoint::server(server, config.listen).map_err(|source| QuicError::Listen {
            listen: config.listen,
            source,
        })?;
        Ok(Self {
            id: key.id(),
            config,
            endpoint,
            own,
            transport,
            addresses,
            connections: Mutex::default(),
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

    /// Ends every connection, and the listening.
    pub fn close(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"closing");
    }

    /// The open connection to a peer, or a new one.
    async fn connection(&self, peer: PeerId) -> Result<Connection, CallError> {
        let slot = {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            // One entry for each peer that the ledger ever named; those are few.
            Arc::clone(connections.entry(peer).or_default())
        };
        let mut slot = slot.lock().await;
        let address = (self.addresses)(&peer).ok_or(CallError::NoAddress(peer))?;
        // A peer that has moved is dialled where it is now.
        let open = slot.as_ref().filter(|connection| {
            connection.close_reason().is_none() && connection.remote_address() == address
        });
        if let Some(open) = open {
            return Ok(open.clone());
        }
        *slot = None;
        let unreachable = |why: &dyn std::fmt::Display| CallError::Unreachable {
            peer,
            why: why.to_string(),
        };
        let client = tls::client(&self.own, peer).map_err(|error| unreachable(&error))?;
        let client = QuicClientConfig::try_from(client).map_err(|error| unreachable(&error))?;
        let mut client = ClientConfig::new(Arc::new(client));
        client.transport_config(Arc::clone(&self.transport));
        let connecting = self
            .endpoint
            .connect_with(client, address, SERVER_NAME)
            .map_err(|error| unreachable(&error))?;
        let connection = tokio::time::timeout(self.config.peer_patience, connecting)
            .await
            .map_err(|_| unreachable(&"the handshake takes too long"))?
            .map_err(|error| unreachable(&error))?;
        Ok(slot.insert(connection).clone())
    }

    async fn ask(
        &self,
        peer: PeerId,
        prelude: Prelude,
        head: &[u8],
        call: &Call,
    ) -> Result<Reply, CallError> {
        let connection = self.connection(peer).await?;
        let broken = |why: &dyn std::fmt::Display| CallError::Broken {
            peer,
            why: why.to_string(),
        };
        let (mut send, mut receive) = connection.open_bi().await.map_err(|error| broken(&error))?;
        let wrote = frame::write(&mut send, prelude, head, &call.body).await;
        // A peer that refuses a call answers without reading it to its end.
        let answer = match wrote.map(|()| send.finish()) {
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
            let patience = self.config.call_patience;
            tokio::time::timeout(patience, self.ask(peer, prelude, &head, &call))
                .await
                .unwrap_or(Err(CallError::Late {
                    peer,
                    ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
                }))
        })
    }
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.close();
    }
}

async fn read_answer(receive: &mut quinn::RecvStream) -> Result<Reply, FrameError> {
    let prelude = frame::read_prelude(receive).await?;
    let (head, body) = frame::read_rest(receive, prelude).await?;
    let answer = decode_answer(&head, body.len()).map_err(|error| FrameError::Message(error.to_string()))?;
    Ok(Reply { answer, body })
}

fn transport(config: &QuicConfig) -> Result<TransportConfig, quinn::ConfigError> {
    let mut transport = TransportConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(ACKNOWLEDGED_TOGETHER));
    let silence = IdleTimeout::try_from(config.silence_max).map_err(|_| quinn::ConfigError::OutOfBounds)?;
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acknowledgements))
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(Some(config.silence_max / 3));
    Ok(transport)
}
