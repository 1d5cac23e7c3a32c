//! The listener: connections, their limits and their end.
//!
//! HTTP/1.1 with keep-alive, plain or TLS. Everything that a client can make this process wait for has an end: the
//! TLS handshake, the request's head (which includes the idle time between requests), the body (`body.rs`), and
//! the taking of an answer (`stall.rs`). The number of connections is bounded; beyond it the one that has been idle longest
//! makes room (`crowd.rs`), and only while every one is being answered does the kernel's queue wait.
//! Sockets have TCP_NODELAY and answers are written head and body in one vectored write.

mod crowd;
mod stall;
mod tls;

pub use tls::{Role, TlsError, acceptor};

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crowd::{Answering, Crowd, Seat};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use stall::Stall;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::gate::{Gate, Gatekeeper, Inner};
use crate::host::Peer;

/// Limits of a listener.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Connections at a time; the caller keeps it well under the process's limit of open files. Beyond it, whichever has been idle
    /// longest is closed.
    pub connections_max: usize,
    /// For a TLS handshake, for a request's head, and for an idle connection.
    pub head_patience: Duration,
    /// How long a client may leave an answer untaken.
    pub write_patience: Duration,
    /// How long running requests may go on after the stop.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            head_patience: Duration::from_secs(60),
            write_patience: Duration::from_secs(120),
            drain: Duration::from_secs(30),
        }
    }
}

/// Serves until `stop` turns true, then closes idle connections and drains the others.
/// Returns how many connections had to be cut off.
pub async fn serve<K: Gatekeeper, N: Inner>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    gate: Arc<Gate<K, N>>,
    config: ServerConfig,
    mut stop: watch::Receiver<bool>,
) -> usize {
    let crowd = Crowd::new(config.connections_max);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let seat = tokio::select! {
                    biased;
                    () = stopped(&mut stop) => break,
                    seat = crowd.seat() => seat,
                };
                let Some(seat) = seat else { break };
                let connection = Connection {
                    config: config.clone(),
                    stop: stop.clone(),
                    seat,
                    read_ahead_bytes: read_ahead_bytes(connections.len()),
                };
                connections.spawn(connection.run(Arc::clone(&gate), stream, address, tls.clone()));
            }
            Err(error) => {
                // Out of file descriptors or a connection that was gone already: others may still be served.
                tracing::warn!(target: "cairn::s3", %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(config.drain, drained).await.is_err() {
        let cut = connections.len();
        connections.shutdown().await;
        return cut;
    }
    0
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone can ask for nothing any more, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

struct Connection {
    config: ServerConfig,
    stop: watch::Receiver<bool>,
    // Given back when the connection ends.
    seat: Seat,
    read_ahead_bytes: usize,
}

impl Connection {
    async fn run<K: Gatekeeper, N: Inner>(
        self,
        gate: Arc<Gate<K, N>>,
        stream: TcpStream,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let peer = Peer {
            address: address.ip(),
            tls: tls.is_some(),
        };
        let answer = move |request: http::Request<Incoming>| {
            let gate = Arc::clone(&gate);
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                gate.serve(request, peer).await
            }
        };
        match tls {
            None => self.speak(stream, answer).await,
            Some(tls) => {
                let occupant = self.seat.occupant();
                let shaken = tokio::select! {
                    shaken = tokio::time::timeout(self.config.head_patience, tls.accept(stream)) => shaken,
                    () = occupant.asked_to_go() => return,
                };
                if let Ok(Ok(stream)) = shaken {
                    self.speak(stream, answer).await;
                }
            }
        }
    }

    async fn speak<F, B>(
        mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        answer: impl Fn(http::Request<Incoming>) -> F,
    ) where
        F: Future<Output = http::Response<B>>,
        B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
    {
        let occupant = self.seat.occupant();
        let answering = occupant.clone();
        let service = service_fn(move |request| {
            let (answer, busy) = (answer(request), answering.busy());
            // On the heap, so that a connection that only waits does not keep the room that an answer takes.
            Box::pin(async move {
                let response = answer.await;
                Ok::<_, Infallible>(response.map(|body| Answering::new(body, busy)))
            })
        });
        let stream = TokioIo::new(Stall::new(stream, self.config.write_patience, occupant.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.head_patience)
            .keep_alive(true)
            .half_close(false)
            .writev(true)
            .max_buf_size(self.read_ahead_bytes)
            .serve_connection(stream, service);
        let mut connection = std::pin::pin!(connection);
        let mut asked = false;
        loop {
            tokio::select! {
                // Errors are clients that went away or sent no HTTP; each is answered or over.
                _ = connection.as_mut() => return,
                () = stopped(&mut self.stop), if !asked => {
                    asked = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = occupant.asked_to_go(), if !asked => {
                    asked = true;
                    connection.as_mut().graceful_shutdown();
                    // One that is idle goes by that; one in the middle of a head does not, and has had the longest time.
                    // One that began to be answered after all ends with that answer.
                    if tokio::time::timeout(LEAVE_PATIENCE, connection.as_mut()).await.is_ok() || occupant.waits() {
                        return;
                    }
                }
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection that is to make room may take: one that is idle goes at once.
const LEAVE_PATIENCE: Duration = Duration::from_millis(10);
/// What a connection reads ahead when there are so many others. Three of these may be held for a slow upload: one in its hands, one
/// on the way, one being read. Few connections read much at once, which costs a fast upload fewer wake-ups; many share
/// [`READ_AHEAD_BYTES`].
fn read_ahead_bytes(others: usize) -> usize {
    (READ_AHEAD_BYTES / others.saturating_add(1)).clamp(READ_AHEAD_BYTES_MIN, READ_AHEAD_BYTES_MAX)
}

const READ_AHEAD_BYTES: usize = 6 << 20;
const READ_AHEAD_BYTES_MIN: usize = 32 << 10;
const READ_AHEAD_BYTES_MAX: usize = 400 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const ANSWER_BYTES: usize = 50_000;

    #[tokio::test]
    async fn an_answer_that_is_not_taken_yet_is_not_cut_short_to_make_room() {
        let crowd = Crowd::new(1);
        let (_stop, stop) = watch::channel(false);
        let connection = Connection {
            config: ServerConfig::default(),
            stop,
            seat: crowd.seat().await.unwrap(),
            read_ahead_bytes: READ_AHEAD_BYTES_MAX,
        };
        let (ours, mut client) = tokio::io::duplex(1_000);
        tokio::spawn(connection.speak(ours, |_| async {
            http::Response::new(Full::new(Bytes::from(vec![7; ANSWER_BYTES])))
        }));
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        let coming = crowd.seat();
        tokio::pin!(coming);
        let early = tokio::time::timeout(5 * LEAVE_PATIENCE, coming.as_mut()).await;
        assert!(early.is_err(), "the answer has not been taken");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        let body = rest.iter().filter(|byte| **byte == 7).count();
        assert_eq!(body, ANSWER_BYTES);
        let seat = tokio::time::timeout(Duration::from_secs(10), coming).await;
        assert!(seat.unwrap().is_some(), "then it goes");
    }
}
