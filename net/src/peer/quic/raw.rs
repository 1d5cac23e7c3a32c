//! For tests: streams of a connection, without the calls and answers that a well-behaved peer makes of them.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};

use super::dialing::Dialer;
use super::{Addresses, Quic, read_answer};
use crate::peer::frame::{FrameError, Prelude};
use crate::peer::message::encode_call;
use crate::peer::{Call, PeerId, Reply};

pub(in crate::peer) async fn connect(own: &Arc<Quic>, peer: PeerId) -> Connection {
    own.dialer.connection(peer).await.unwrap()
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
    try_begin(connection, bytes).await.unwrap()
}

/// As [`begin`], on a connection that may be closed.
pub(in crate::peer) async fn try_begin(
    connection: &Connection,
    bytes: &[u8],
) -> Option<(SendStream, RecvStream)> {
    let (mut send, receive) = connection.open_bi().await.ok()?;
    send.write_all(bytes).await.ok()?;
    Some((send, receive))
}

/// Sends a call and leaves its answer where it is.
pub(in crate::peer) async fn ask(connection: &Connection, call: &Call) -> RecvStream {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    let head = encode_call(&call.context, &call.request);
    let prelude = Prelude::of(&head, &call.body).unwrap();
    super::send_frame(&mut send, prelude, &head, &call.body)
        .await
        .unwrap();
    send.finish().unwrap();
    receive
}

/// A connection beside the one that [`connect`] gives.
pub(in crate::peer) async fn connect_again(own: &Arc<Quic>, peer: PeerId, there: SocketAddr) -> Connection {
    let book: Addresses = Arc::new(move |_| Some(there));
    let dialer = Dialer::new(own.endpoint.clone(), own.dialer.own(), &own.config, book).unwrap();
    dialer.connection(peer).await.unwrap()
}
