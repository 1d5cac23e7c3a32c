//! For tests: streams of a connection, without the calls and answers that a well-behaved peer makes of them.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};

use super::{Quic, read_answer};
use crate::peer::frame::{self, FrameError, Prelude};
use crate::peer::message::encode_call;
use crate::peer::{Call, PeerId, Reply};

pub(in crate::peer) async fn connect(own: &Arc<Quic>, peer: PeerId) -> Connection {
    own.connection(peer).await.unwrap()
}

/// Sends bytes, ends the stream and reads the answer.
pub(in crate::peer) async fn exchange(connection: &Connection, bytes: &[u8]) -> Result<Reply, FrameError> {
    let (mut send, mut receive) = begin(connection, bytes).await;
    // A peer that refuses may have stopped the stream by now.
    let _ = send.finish();
    read_answer(&mut receive).await
}

/// Sends bytes and leaves the stream open.
pub(in crate::peer) async fn begin(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    (send, receive)
}

/// Sends a call and leaves its answer where it is.
pub(in crate::peer) async fn ask(connection: &Connection, call: &Call) -> RecvStream {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    let head = encode_call(&call.context, &call.request);
    let prelude = Prelude::of(&head, &call.body).unwrap();
    frame::write(&mut send, prelude, &head, &call.body).await.unwrap();
    send.finish().unwrap();
    receive
}
