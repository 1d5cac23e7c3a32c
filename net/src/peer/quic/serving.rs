//! The listening side: connections in, calls to the service, answers out.
//!
//! Invariants: a stranger's address is proven before anything is kept for it, and its key before it may open a stream; a call is
//! read only when there is room for all of it; an answer that is not taken in time is given up, and with it its room.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::QuicConfig;
use crate::peer::frame::{self, FrameError, Prelude};
use crate::peer::identity::PeerId;
use crate::peer::message::{Answer, Refusal, decode_call, encode_answer};
use crate::peer::{Call, Reply, Service, tls};

/// The code with which a connection of a peer that may not call ends.
const NOT_ADMITTED: VarInt = VarInt::from_u32(1);
/// The code with which a stream ends that was not answered.
const GIVEN_UP: VarInt = VarInt::from_u32(2);

/// What all connections share.
struct Shared {
    config: QuicConfig,
    service: Arc<dyn Service>,
    connections: Arc<Semaphore>,
    calls_bytes: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

/// Accepts connections until the endpoint is closed.
pub(super) async fn serve(endpoint: &Endpoint, config: QuicConfig, service: Arc<dyn Service>) {
    let shared = Arc::new(Shared {
        config,
        service,
        connections: Arc::new(Semaphore::new(config.connections_max)),
        calls_bytes: Arc::new(Semaphore::new(config.calls_bytes_max as usize)),
        answers: Arc::new(Semaphore::new(config.answers_max)),
    });
    while let Some(incoming) = endpoint.accept().await {
        // The other side has to come back with a token first: who forges an address makes us keep nothing.
        if !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        match Arc::clone(&shared.connections).try_acquire_owned() {
            Ok(seat) => drop(tokio::spawn(Arc::clone(&shared).converse(incoming, seat))),
            Err(_) => incoming.refuse(),
        }
    }
}

impl Shared {
    /// One connection, from its handshake to its end.
    async fn converse(self: Arc<Self>, incoming: Incoming, seat: OwnedSemaphorePermit) {
        let _seat = seat;
        let from = incoming.remote_address();
        let Ok(connecting) = incoming.accept() else { return };
        let connection = match tokio::time::timeout(self.config.peer_patience, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::debug!(%from, %error, "a handshake failed"),
            Err(_) => return tracing::debug!(%from, "a handshake took too long"),
        };
        let Some(caller) = caller_of(&connection).filter(|caller| self.service.admits(caller)) else {
            tracing::debug!(%from, "a peer that is not known here was turned away");
            return connection.close(NOT_ADMITTED, b"not a peer of this cluster");
        };
        let turns = Arc::new(Semaphore::new(self.config.answers_of_peer_max));
        // The streams of a connection are bounded, so the tasks are.
        while let Ok((send, receive)) = connection.accept_bi().await {
            // Asked at every call, so that a peer that was put out is out.
            if !self.service.admits(&caller) {
                return connection.close(NOT_ADMITTED, b"not a peer of this cluster");
            }
            let stream = Stream {
                shared: Arc::clone(&self),
                turns: Arc::clone(&turns),
                caller,
            };
            tokio::spawn(stream.run(send, receive));
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

/// One call.
struct Stream {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    caller: PeerId,
}

impl Stream {
    async fn run(self, mut send: SendStream, mut receive: RecvStream) {
        let patience = self.shared.config.peer_patience;
        let reply = match self.read(&mut receive, patience).await {
            Ok((call, room, turn)) => {
                let reply = self.shared.service.answer(self.caller, call).await;
                (reply, Some((room, turn)))
            }
            Err(refusal) => {
                // What was not read yet is not wanted any more.
                let _ = receive.stop(GIVEN_UP);
                (Answer::Refused(refusal).into(), None)
            }
        };
        let (reply, _room) = reply;
        match tokio::time::timeout(patience, write(&mut send, &reply)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(caller = %self.caller, %error, "an answer was not taken"),
            Err(_) => {
                tracing::debug!(caller = %self.caller, "an answer was not taken in time");
                let _ = send.reset(GIVEN_UP);
            }
        }
    }

    /// Reads a call once there is room for it. The room and the turn are held until it is answered.
    async fn read(
        &self,
        receive: &mut RecvStream,
        patience: Duration,
    ) -> Result<(Call, OwnedSemaphorePermit, [OwnedSemaphorePermit; 2]), Refusal> {
        let read = async {
            let prelude = frame::read_prelude(receive)
                .await
                .map_err(|error| self.malformed(&error))?;
            let bytes = u32::try_from(prelude.bytes()).unwrap_or(u32::MAX);
            let (room, turns) = tokio::time::timeout(patience / 2, self.room(bytes))
                .await
                .map_err(|_| Refusal::Busy)??;
            let (head, body) = frame::read_rest(receive, prelude)
                .await
                .map_err(|error| self.malformed(&error))?;
            let (context, request) = decode_call(&head, body.len())
                .map_err(|error| self.malformed(&FrameError::Message(error.to_string())))?;
            let call = Call {
                context,
                request,
                body,
            };
            Ok((call, room, turns))
        };
        tokio::time::timeout(patience, read)
            .await
            .unwrap_or(Err(Refusal::Malformed))
    }

    /// A turn of the peer's before one of all, so that a peer with many calls keeps no other waiting.
    async fn room(&self, bytes: u32) -> Result<(OwnedSemaphorePermit, [OwnedSemaphorePermit; 2]), Refusal> {
        let closed = |_| Refusal::Busy;
        let own = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        let any = Arc::clone(&self.shared.answers)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let room = Arc::clone(&self.shared.calls_bytes);
        let room = room.acquire_many_owned(bytes).await.map_err(closed)?;
        Ok((room, [own, any]))
    }

    fn malformed(&self, error: &FrameError) -> Refusal {
        tracing::warn!(caller = %self.caller, %error, "a call does not read");
        Refusal::Malformed
    }
}

async fn write(send: &mut SendStream, reply: &Reply) -> Result<(), FrameError> {
    let head = encode_answer(&reply.answer);
    let prelude = Prelude::of(&head, &reply.body)?;
    frame::write(send, prelude, &head, &reply.body).await?;
    // Only a stream that was reset cannot be ended. What is on its way lies within the connection's window.
    let _ = send.finish();
    Ok(())
}
