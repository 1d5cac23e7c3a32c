//! The S3 gateway in front of a runtime: on its TCP port, and on any stream that the control socket hands over.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3_gateway::gate::{Gate, GateConfig, Traffic};
use s3_gateway::host::{Hosts, Peer};
use s3_gateway::server::{ServerConfig, acceptor};
use s3_gateway::service::Front;
use s3_gateway::sessions::Sessions;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::admin::cannot_listen;
use crate::config::UpConfig;
use crate::operator::S3Stream;
use crate::runtime::RuntimeError;

/// The gateway; clones share it.
#[derive(Clone)]
pub struct S3Front {
    gate: Arc<Gate<Sessions, Front>>,
    region: String,
    endpoint: Option<String>,
}

impl fmt::Debug for S3Front {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("S3Front")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The bound S3 port.
pub struct S3Port {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    public_url: Option<String>,
}

impl S3Front {
    /// A gateway over these vaults; `endpoint` is where clients reach it, if it has a port.
    pub fn new(sessions: Sessions, config: &UpConfig, endpoint: Option<String>) -> Self {
        let gate_config = GateConfig {
            region: config.region.clone(),
            hosts: Hosts::new(&config.domains, &config.trusted_proxies),
            host_id: "cairn".to_owned(),
            body_patience: BODY_PATIENCE,
        };
        let front = Front::new(sessions.clone(), config.region.clone());
        let gate = Arc::new(Gate::new(gate_config, sessions, front));
        Self {
            gate,
            region: config.region.clone(),
            endpoint,
        }
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where clients reach the port; `None` without a port.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The traffic so far.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.gate.traffic()
    }

    /// Speaks S3 over one stream of this machine until it ends.
    pub async fn speak(&self, stream: impl S3Stream + 'static) {
        let peer = Peer {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            tls: false,
        };
        let service = service_fn(|request: http::Request<Incoming>| {
            let gate = Arc::clone(&self.gate);
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                Ok::<_, Infallible>(gate.serve(request, peer).await)
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "local S3 connection");
        }
    }
}

impl S3Port {
    /// Binds the configured port and reads the TLS files.
    pub async fn bind(config: &UpConfig) -> Result<Self, RuntimeError> {
        let tls = match &config.tls {
            Some(files) => Some(
                acceptor(&files.certificate, &files.private_key)
                    .map_err(|error| RuntimeError::Gateway(error.to_string()))?,
            ),
            None => None,
        };
        let failed = |error| RuntimeError::Gateway(cannot_listen("--s3", &config.s3, &error));
        let listener = TcpListener::bind(config.s3).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            tls,
            address,
            public_url: config.public_url.clone(),
        })
    }

    /// Where clients reach the port.
    pub fn endpoint(&self) -> String {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", reachable(self.address))
    }

    /// Serves until `stop` turns true, then drains. Returns how many connections had to be cut off.
    pub async fn serve(self, front: S3Front, config: &UpConfig, stop: watch::Receiver<bool>) -> usize {
        let limits = ServerConfig {
            connections_max: connections_max(),
            drain: config.drain,
            ..ServerConfig::default()
        };
        s3_gateway::server::serve(self.listener, self.tls, front.gate, limits, stop).await
    }
}

/// So many connections as half of the files that may be open now; the other half is for the drives' and the ledger's segments.
fn connections_max() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = files.map_or(usize::MAX, |files| {
        usize::try_from(files / 2).unwrap_or(usize::MAX)
    });
    half.min(CONNECTIONS_MAX)
}

/// An address that one can connect to: a port on every interface is also on this one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How long a client may stop sending a body before it is cut off.
const BODY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// An idle connection takes some 10 KiB, so these take as much memory as the uploads may.
const CONNECTIONS_MAX: usize = 8192;
