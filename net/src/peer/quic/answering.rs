//! One call that came in: read when there is room for it, handed to the service, answered.
//!
//! Invariants: a call is read only when there is room for all of it; the room is given back when the call ends, however it ends; and
//! whether the caller may ask is asked again right before the service is.

use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::GIVEN_UP;
use super::serving::Shared;
use crate::peer::frame::{self, FrameError, Prelude};
use crate::peer::identity::PeerId;
use crate::peer::message::{Answer, Refusal, decode_call, encode_answer};
use crate::peer::{Call, OnSent, Reply};

/// What a call holds until its answer is on its way.
struct Room {
    _bytes: OwnedSemaphorePermit,
    _turns: [OwnedSemaphorePermit; 2],
}

/// See the module.
pub(super) struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) turns: Arc<Semaphore>,
    pub(super) caller: PeerId,
}

impl Stream {
    pub(super) async fn run(self, mut send: SendStream, mut receive: RecvStream) {
        let patience = self.shared.config.peer_patience;
        let ((reply, on_sent), room) = match self.read(&mut receive, patience).await {
            Ok((call, room)) => match self.answer(call, &send).await {
                Some(answered) => (answered, Some(room)),
                None => {
                    let _ = send.reset(GIVEN_UP);
                    return;
                }
            },
            Err(refusal) => {
                // What was not read yet is not wanted any more.
                let _ = receive.stop(GIVEN_UP);
                ((Answer::Refused(refusal).into(), None), None)
            }
        };
        let caller = self.caller;
        let mut sent = 0;
        let written = timeout(patience, write(&mut send, reply, &mut sent)).await;
        if let Some(on_sent) = on_sent {
            on_sent(sent);
        }
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!(%caller, %error, "an answer was not taken"),
            Err(_) => {
                tracing::debug!(%caller, "an answer was not taken in time");
                let _ = send.reset(GIVEN_UP);
                return;
            }
        }
        // What is left lies in the connection's window; it goes when it is taken, or after a while.
        drop(room);
        if timeout(patience, send.stopped()).await.is_err() {
            let _ = send.reset(GIVEN_UP);
        }
    }

    /// The service's answer; none if the caller went away or was put out, or the service takes too long.
    async fn answer(&self, call: Call, send: &SendStream) -> Option<(Reply, Option<OnSent>)> {
        if !self.shared.service.admits(&self.caller) {
            return Some((Answer::Refused(Refusal::NotAllowed).into(), None));
        }
        let answering = self.shared.service.answer_to_send(self.caller, call);
        tokio::select! {
            answered = timeout(self.shared.config.answer_patience, answering) => {
                if answered.is_err() {
                    tracing::warn!(caller = %self.caller, "a call was not answered in time");
                }
                answered.ok()
            }
            _ = send.stopped() => None,
        }
    }

    /// Reads a call once there is room for it.
    async fn read(&self, receive: &mut RecvStream, patience: Duration) -> Result<(Call, Room), Refusal> {
        let prelude = timeout(patience, frame::read_prelude(receive))
            .await
            .map_err(|_| Refusal::Busy)?
            .map_err(|error| self.malformed(&error))?;
        let room = timeout(patience / 2, self.room(prelude))
            .await
            .map_err(|_| Refusal::Busy)??;
        // From here on its bytes come as fast as the caller's line carries them.
        let (head, body) = timeout(patience, frame::read_rest(receive, prelude))
            .await
            .map_err(|_| Refusal::Busy)?
            .map_err(|error| self.malformed(&error))?;
        let (context, request) = decode_call(&head, body.len())
            .map_err(|error| self.malformed(&FrameError::Message(error.to_string())))?;
        let call = Call {
            context,
            request,
            body,
        };
        Ok((call, room))
    }

    /// A turn of the peer's before one of all, so that a peer with many calls keeps no other waiting.
    async fn room(&self, prelude: Prelude) -> Result<Room, Refusal> {
        let closed = |_| Refusal::Busy;
        let bytes = u32::try_from(prelude.bytes()).unwrap_or(u32::MAX);
        let own = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        let any = Arc::clone(&self.shared.answers)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let room = Arc::clone(&self.shared.calls_bytes);
        Ok(Room {
            _bytes: room.acquire_many_owned(bytes).await.map_err(closed)?,
            _turns: [own, any],
        })
    }

    /// At debug: whoever sends it could fill the log.
    fn malformed(&self, error: &FrameError) -> Refusal {
        tracing::debug!(caller = %self.caller, %error, "a call does not read");
        Refusal::Malformed
    }
}

/// `sent` counts the bytes of the body that the connection has taken, also when the write is broken off.
async fn write(send: &mut SendStream, mut reply: Reply, sent: &mut u64) -> Result<(), FrameError> {
    let mut head = encode_answer(&reply.answer);
    let prelude = match Prelude::of(&head, &reply.body) {
        Ok(prelude) => prelude,
        Err(error) => {
            tracing::error!(%error, "an answer cannot be sent");
            reply = Answer::Refused(Refusal::Io).into();
            head = encode_answer(&reply.answer);
            Prelude::of(&head, &reply.body)?
        }
    };
    let start = frame::start(prelude, &head);
    let (start_bytes, mut taken) = (start.len(), 0);
    let mut chunks = [start, reply.body];
    let mut left = chunks.as_mut_slice();
    while !left.is_empty() {
        let wrote = send.write_chunks(left).await.map_err(std::io::Error::from)?;
        taken += wrote.bytes;
        *sent = taken.saturating_sub(start_bytes) as u64;
        left = left.get_mut(wrote.chunks..).unwrap_or_default();
    }
    // Only a stream that was reset cannot be ended.
    let _ = send.finish();
    Ok(())
}
