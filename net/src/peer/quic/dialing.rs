//! The connections that this side makes: one for each peer that it calls, dialled once for all who wait for it.
//!
//! Invariants: a peer is dialled only at the address that [`super::Addresses`] gives for its key, and goes on only if it proves that key; a caller
//! that goes away leaves the dialling to those who wait with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _, Shared};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig};
use rustls::sign::CertifiedKey;

use super::{Addresses, QuicConfig, QuicError, endpoint};
use crate::peer::identity::PeerId;
use crate::peer::{CallError, tls};

/// The name in a handshake, which nobody looks at: keys are the names.
const SERVER_NAME: &str = "cairn.invalid";
/// A peer that could not be reached is not dialled again for so long.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(500);

type Dialed = Shared<BoxFuture<'static, Result<Connection, Failure>>>;

/// Why there is no connection, and since when.
#[derive(Debug, Clone)]
struct Failure {
    why: Arc<str>,
    at: Instant,
}

/// See the module.
pub(super) struct Dialer {
    endpoint: Endpoint,
    own: Arc<CertifiedKey>,
    transport: Arc<TransportConfig>,
    patience: Duration,
    addresses: Addresses,
    /// By peer, where it was dialled and what came of it. Only peers that have an address.
    dialed: Mutex<HashMap<PeerId, (SocketAddr, Dialed)>>,
}

impl Dialer {
    pub(super) fn new(
        endpoint: Endpoint,
        own: Arc<CertifiedKey>,
        config: &QuicConfig,
        addresses: Addresses,
    ) -> Result<Self, QuicError> {
        // Nobody is answered on a connection that this side has made.
        let transport =
            endpoint::transport(config, 0).map_err(|error| QuicError::Config(error.to_string()))?;
        Ok(Self {
            endpoint,
            own,
            transport: Arc::new(transport),
            patience: config.peer_patience,
            addresses,
            dialed: Mutex::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn own(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.own)
    }

    /// The open connection to a peer, or a new one.
    pub(super) async fn connection(&self, peer: PeerId) -> Result<Connection, CallError> {
        let dialed = self.dialed(peer)?;
        dialed.await.map_err(|failure| CallError::Unreachable {
            peer,
            why: failure.why.to_string(),
        })
    }

    fn dialed(&self, peer: PeerId) -> Result<Dialed, CallError> {
        let address = (self.addresses)(&peer);
        let mut all = self.dialed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = address else {
            if let Some((_, dialed)) = all.remove(&peer)
                && let Some(Ok(connection)) = dialed.peek()
            {
                connection.close(super::CLOSED, b"no longer a peer");
            }
            return Err(CallError::NoAddress(peer));
        };
        if let Some((there, dialed)) = all.get(&peer)
            // A peer that has moved is dialled where it is now.
            && *there == address
            && is_of_use(dialed)
        {
            return Ok(dialed.clone());
        }
        let dialed = self.dial(peer, address);
        all.insert(peer, (address, dialed.clone()));
        Ok(dialed)
    }

    /// Dials on a task of its own.
    fn dial(&self, peer: PeerId, address: SocketAddr) -> Dialed {
        let (endpoint, own, transport) = (
            self.endpoint.clone(),
            Arc::clone(&self.own),
            Arc::clone(&self.transport),
        );
        let patience = self.patience;
        let task = tokio::spawn(async move {
            let dialing = dial(&endpoint, &own, transport, peer, address);
            tokio::time::timeout(patience, dialing)
                .await
                .unwrap_or_else(|_| Err("the handshake takes too long".to_owned()))
        });
        let dialed = async move {
            let dialed = task.await.unwrap_or_else(|error| Err(error.to_string()));
            dialed.map_err(|why| Failure {
                why: why.into(),
                at: Instant::now(),
            })
        };
        dialed.boxed().shared()
    }
}

/// Whether it is under way, open, or failed just now.
fn is_of_use(dialed: &Dialed) -> bool {
    match dialed.peek() {
        None => true,
        Some(Ok(connection)) => connection.close_reason().is_none(),
        Some(Err(failure)) => failure.at.elapsed() < REST_AFTER_FAILURE,
    }
}

async fn dial(
    endpoint: &Endpoint,
    own: &Arc<CertifiedKey>,
    transport: Arc<TransportConfig>,
    peer: PeerId,
    address: SocketAddr,
) -> Result<Connection, String> {
    let client = tls::client(own, peer).map_err(|error| error.to_string())?;
    let client = QuicClientConfig::try_from(client).map_err(|error| error.to_string())?;
    let mut client = ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    let connecting = endpoint
        .connect_with(client, address, SERVER_NAME)
        .map_err(|error| error.to_string())?;
    connecting.await.map_err(|error| error.to_string())
}
