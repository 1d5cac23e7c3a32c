//! The admin port: `/health/live`, `/health/ready` and `/metrics`, read-only and without secrets.
//!
//! Nothing can be changed here and no name of an object, scope or key is shown, so that the port may be open to a
//! monitoring network. Answers are made from memory: no drive is touched.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// What the admin port shows.
pub trait Observed: Send + Sync {
    /// Why requests are not served, if they are not. Read-only serving counts as serving.
    fn unready(&self) -> Option<String>;

    /// Why writes are refused, if they are.
    fn read_only(&self) -> Option<String>;

    /// The metrics, as OpenMetrics text.
    fn metrics(&self) -> String;
}

/// Why the admin port does not open.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("{}", cannot_listen("--admin", address, source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a port that `flag` chose does not open, and what to do.
pub(crate) fn cannot_listen(flag: &str, address: &SocketAddr, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program listens there: choose another with {flag} ADDRESS:PORT, or stop it")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "; this machine does not have the address: choose one of its own with {flag} ADDRESS:PORT"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("; the port is reserved for other users: choose one above 1023 with {flag} ADDRESS:PORT")
        }
        _ => String::new(),
    };
    format!("{flag} {address}: {error}{hint}")
}

/// The bound admin port.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Binds `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address that was bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until dropped.
    pub async fn serve(self, observed: Arc<dyn Observed>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let observed = Arc::clone(&observed);
                    tokio::spawn(async move {
                        // A connection has a bounded life, so that idle ones cannot use up the room.
                        let _ = timeout(CONNECTION_LIFE, serve_connection(stream, observed)).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin port: accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, observed: Arc<dyn Observed>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), observed.as_ref());
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection");
    }
}

fn answer(method: &Method, path: &str, observed: &dyn Observed) -> Response<Full<Bytes>> {
    let known = matches!(path, "/health/live" | "/health/ready" | "/metrics");
    if known && method != Method::GET && method != Method::HEAD {
        let mut refusal = json_answer(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({"error": "this port is read-only"}),
        );
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/health/live" => json_answer(StatusCode::OK, &json!({"status": "live"})),
        "/health/ready" => match (observed.unready(), observed.read_only()) {
            (Some(reason), _) => json_answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({"status": "not ready", "reason": reason}),
            ),
            (None, Some(reason)) => json_answer(
                StatusCode::OK,
                &json!({"status": "ready", "writes": "refused", "reason": reason}),
            ),
            (None, None) => json_answer(StatusCode::OK, &json!({"status": "ready", "writes": "accepted"})),
        },
        "/metrics" => respond(StatusCode::OK, METRICS_TYPE, observed.metrics()),
        _ => json_answer(StatusCode::NOT_FOUND, &json!({"error": "no such page"})),
    }
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Full<Bytes>> {
    respond(status, "application/json", format!("{value}\n"))
}

fn respond(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CONNECTIONS_MAX: usize = 64;
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
const HEADER_WAIT: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
