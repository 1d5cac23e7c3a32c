//! The listening side: connections in, one for each peer that is admitted.
//!
//! Invariants: a stranger's address is proven before anything but a first packet is kept for it, and its key before it may open a
//! stream; strangers have places of their own and take none of the peers'; a peer has one connection, its newest; and all that
//! was begun for a connection ends with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::QuicConfig;
use super::answering::Stream;
use crate::peer::identity::PeerId;
use crate::peer::{Service, tls};

/// The code with which a connection of a peer that may not call ends, ...
const NOT_ADMITTED: VarInt = VarInt::from_u32(1);
/// ... one that its peer has made anew, ...
const REPLACED: VarInt = VarInt::from_u32(3);
/// ... and one for which there is no place.
const FULL: VarInt = VarInt::from_u32(4);
/// How often it is asked whether a peer that does not call is still one.
const ADMITTED_EVERY: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: QuicConfig,
    pub(super) service: Arc<dyn Service>,
    pub(super) calls_bytes: Arc<Semaphore>,
    pub(super) answers: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    /// The newest connection of each peer.
    peers: Mutex<HashMap<PeerId, Connection>>,
}

/// Accepts connections until the endpoint is closed.
pub(super) async fn serve(endpoint: &Endpoint, config: QuicConfig, service: Arc<dyn Service>) {
    let shared = Arc::new(Shared {
        config,
        service,
        calls_bytes: Arc::new(Semaphore::new(config.calls_bytes_max as usize)),
        answers: Arc::new(Semaphore::new(config.answers_max)),
        handshakes: Arc::new(Semaphore::new(config.handshakes_max)),
        peers: Mutex::default(),
    });
    // Dropped with this call, and every connection's work with it.
    let mut conversations = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        while conversations.try_join_next().is_some() {}
        // The other side has to come back with a token first: who forges an address makes us keep nothing.
        if !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        match Arc::clone(&shared.handshakes).try_acquire_owned() {
            Ok(place) => drop(conversations.spawn(Arc::clone(&shared).converse(incoming, place))),
            Err(_) => incoming.refuse(),
        }
    }
}

impl Shared {
    /// One connection, from its handshake to its end.
    async fn converse(self: Arc<Self>, incoming: Incoming, place: OwnedSemaphorePermit) {
        let from = incoming.remote_address();
        let Ok(connecting) = incoming.accept() else { return };
        let connection = match tokio::time::timeout(self.config.handshake_patience, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%from, %error, "a handshake failed"),
            Err(_) => return tracing::debug!(%from, "a handshake took too long"),
        };
        let Some(caller) = caller_of(&connection).filter(|caller| self.service.admits(caller)) else {
            tracing::debug!(%from, "a peer that is not known here was turned away");
            return connection.close(NOT_ADMITTED, b"not a peer of this cluster");
        };
        drop(place);
        if !self.enter(caller, &connection) {
            tracing::warn!(%caller, "there is no place for another peer");
            return connection.close(FULL, b"no place for another peer");
        }
        self.take_calls(caller, &connection).await;
        self.leave(caller, &connection);
    }

    /// Takes the place of the peer's earlier connection, or a new one if there is one.
    fn enter(&self, caller: PeerId, connection: &Connection) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= self.config.connections_max && !peers.contains_key(&caller) {
            return false;
        }
        if let Some(earlier) = peers.insert(caller, connection.clone()) {
            earlier.close(REPLACED, b"another connection of the same key");
        }
        true
    }

    fn leave(&self, caller: PeerId, connection: &Connection) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers
            .get(&caller)
            .is_some_and(|newest| newest.stable_id() == connection.stable_id())
        {
            peers.remove(&caller);
        }
    }

    async fn take_calls(self: &Arc<Self>, caller: PeerId, connection: &Connection) {
        let turns = Arc::new(Semaphore::new(self.config.answers_of_peer_max));
        // As many as a connection may have streams, and dropped with it.
        let mut streams = JoinSet::new();
        let mut look = tokio::time::interval(ADMITTED_EVERY);
        loop {
            tokio::select! {
                accepted = connection.accept_bi() => {
                    let Ok((send, receive)) = accepted else { return };
                    let stream = Stream {
                        shared: Arc::clone(self),
                        turns: Arc::clone(&turns),
                        caller,
                    };
                    streams.spawn(stream.run(send, receive));
                }
                Some(_) = streams.join_next() => {}
                _ = look.tick() => {
                    if !self.service.admits(&caller) {
                        return connection.close(NOT_ADMITTED, b"not a peer of this cluster");
                    }
                }
            }
        }
    }
}

/// The key that the handshake has proven.
fn caller_of(connection: &Connection) -> Option<PeerId> {
    let shown = connection.peer_identity()?;
    let shown = shown
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .ok()?;
    tls::peer_of(&shown)
}
