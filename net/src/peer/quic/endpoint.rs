//! What quinn is set up with.
//!
//! Segmentation offload and the search for the path's packet size as quinn does them; acknowledgements less often. Packets of up to 6,500
//! bytes, where the path carries them, cost a third less each byte; but ten in one go from each of several peers overrun a socket's usual
//! receive buffer of 208 KiB, so that only a socket that got a large one says that it takes such packets.
//!
//! Invariant: a peer that starts again under
//! its key tells the others with the next packet they send that their connections are gone (RFC 9000, section 10.3).

use std::net::UdpSocket;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    AckFrequencyConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_send_buffer_size, socket_recv_buffer_size,
};
use rustls::crypto::SecureRandom;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::{QuicConfig, QuicError};
use crate::peer::identity::PeerKey;
use crate::peer::tls;

/// Bytes that may be on their way on a stream, and on a connection, each way: what a peer that takes nothing can have held for it.
const STREAM_WINDOW_BYTES: u32 = 3 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Calls of one peer that may be under way.
const STREAMS_MAX: u32 = 256;
/// Packets that are acknowledged together.
const ACKNOWLEDGED_TOGETHER: u32 = 32;
/// First packets that wait to be looked at, all together, in bytes.
const WAITING_BYTES_MAX: u64 = 1 << 20;
/// The largest packet: ten of them, which quinn sends in one go, have to fit into 64 KiB.
const PACKET_BYTES_MAX: u16 = 6_500;
/// What a socket is to hold, each way, ...
const BUFFER_BYTES: usize = 4 << 20;
/// ... and what it has to, by the system's count, to take large packets.
const BUFFER_BYTES_MIN: usize = 1 << 20;
const RESET_CONTEXT: &str = "cairn v1 quic stateless reset";
const CONNECTION_ID_BYTES: usize = 8;

/// Listens.
pub(super) fn open(
    key: &PeerKey,
    own: &Arc<CertifiedKey>,
    config: &QuicConfig,
) -> Result<Endpoint, QuicError> {
    let bad = |error: &dyn std::fmt::Display| QuicError::Config(error.to_string());
    let transport = transport(config, STREAMS_MAX).map_err(|error| bad(&error))?;
    let server = tls::server(own).map_err(|error| bad(&error))?;
    let server = QuicServerConfig::try_from(server).map_err(|error| bad(&error))?;
    let mut server = ServerConfig::with_crypto(Arc::new(server));
    server.transport_config(Arc::new(transport));
    server.max_incoming(config.handshakes_max);
    server.incoming_buffer_size(WAITING_BYTES_MAX / 16);
    server.incoming_buffer_size_total(WAITING_BYTES_MAX);
    // An address that changes under a connection is another path that nobody has vouched for.
    server.migration(false);
    let mut endpoint = EndpointConfig::new(Arc::new(ResetKey::of(key)));
    endpoint.cid_generator(|| Box::new(ConnectionIds(default_provider().secure_random)));
    let listen = |source| QuicError::Listen {
        listen: config.listen,
        source,
    };
    let socket = UdpSocket::bind(config.listen).map_err(listen)?;
    if take_large_buffers(&socket) {
        endpoint
            .max_udp_payload_size(PACKET_BYTES_MAX)
            .map_err(|error| bad(&error))?;
    }
    Endpoint::new(endpoint, Some(server), socket, Arc::new(TokioRuntime)).map_err(listen)
}

/// Asks for large buffers; whether the system gives one to receive with that a burst of large packets does not overrun.
fn take_large_buffers(socket: &UdpSocket) -> bool {
    // Linux counts twice what is asked for, and gives no more than `net.core.rmem_max` and `wmem_max` allow.
    let asked = set_socket_recv_buffer_size(socket, BUFFER_BYTES)
        .and_then(|()| set_socket_send_buffer_size(socket, BUFFER_BYTES));
    let got = socket_recv_buffer_size(socket).unwrap_or(0);
    if asked.is_err() || got < BUFFER_BYTES_MIN {
        tracing::info!(
            got,
            wanted = 2 * BUFFER_BYTES,
            "small UDP buffers: packets stay small. `sysctl net.core.rmem_max` allows more"
        );
    }
    got >= BUFFER_BYTES_MIN
}

/// Of connections on which the other side may have so many calls under way.
pub(super) fn transport(
    config: &QuicConfig,
    streams_max: u32,
) -> Result<TransportConfig, quinn::ConfigError> {
    let mut transport = TransportConfig::default();
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(VarInt::from_u32(ACKNOWLEDGED_TOGETHER));
    let mut packets = MtuDiscoveryConfig::default();
    packets.upper_bound(PACKET_BYTES_MAX);
    let silence = IdleTimeout::try_from(config.silence_max).map_err(|_| quinn::ConfigError::OutOfBounds)?;
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .ack_frequency_config(Some(acknowledgements))
        .mtu_discovery_config(Some(packets))
        .max_idle_timeout(Some(silence))
        .keep_alive_interval(Some(config.silence_max / 3));
    Ok(transport)
}

/// Makes the tokens by which a peer says that it knows nothing of a connection: the same after a restart, and nobody else's.
struct ResetKey(Zeroizing<[u8; 32]>);

impl ResetKey {
    fn of(key: &PeerKey) -> Self {
        Self(Zeroizing::new(blake3::derive_key(RESET_CONTEXT, &key.pkcs8())))
    }

    fn token(&self, data: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        for (out, byte) in signature_out.iter_mut().zip(self.token(data).as_bytes()) {
            *out = *byte;
        }
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Compares in constant time.
        let given: [u8; blake3::OUT_LEN] = signature.try_into().map_err(|_| CryptoError)?;
        if self.token(data) == given {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// Random names of connections. quinn's own only know those of their process, and a peer that starts again would leave the packets
/// of its earlier connections without an answer.
#[derive(Debug)]
struct ConnectionIds(&'static dyn SecureRandom);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_BYTES];
        // Without randomness no handshake would have come so far; an id that repeats is drawn again by quinn.
        let _ = self.0.fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}
