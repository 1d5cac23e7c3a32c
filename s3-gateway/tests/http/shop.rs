//! A gateway over one open vault, with a socket and without.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::{Disk, RealDisk};
use http::{Method, Request};
use s3_gateway::body::RawBody;
use s3_gateway::gate::{Gate, GateConfig};
use s3_gateway::host::{Hosts, Peer};
use s3_gateway::server::{ServerConfig, serve};
use s3_gateway::service::Front;
use s3_gateway::session::{NewCredential, Secret, SessionOptions};
use s3_gateway::sessions::Sessions;
use scopes::{OperationSet, ScopeSet, Window};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::client::{Ask, KEY, REGION, Reply, SECRET};
use crate::rig::Rig;

/// A gateway over one vault.
pub(crate) struct Shop {
    pub(crate) gate: Arc<Gate<Sessions, Front>>,
    pub(crate) rig: Rig,
    root: PathBuf,
    _dir: Option<TempDir>,
}

/// A listener on a port of its own; it ends with the test.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// A gateway whose session has other settings.
    pub(crate) async fn open_with(change: impl FnOnce(&mut SessionOptions)) -> Self {
        Self::open_as(Hosts::default(), change).await
    }

    /// As [`Self::open_with`], with domains and proxies.
    pub(crate) async fn open_as(hosts: Hosts, change: impl FnOnce(&mut SessionOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let mut shop = Self::open_on(Arc::new(RealDisk), root, hosts, change).await;
        shop._dir = Some(dir);
        shop
    }

    /// As [`Self::open_as`], on a disk of the test's own.
    pub(crate) async fn open_on(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        hosts: Hosts,
        change: impl FnOnce(&mut SessionOptions),
    ) -> Self {
        let (mut parts, ledger) = crate::rig::parts(disk, &root, true).await.unwrap();
        change(&mut parts.options);
        let rig = Rig::over(parts, ledger).await.unwrap();
        let sessions = Sessions::new(vec![rig.session.clone()]);
        let shop = Self {
            gate: gate(sessions, hosts, Duration::from_secs(10)),
            rig,
            root,
            _dir: None,
        };
        shop.credential(KEY, ScopeSet::All, OperationSet::all()).await;
        assert_eq!(shop.put("/bkt", b"").await.status, 200);
        shop
    }

    /// With a gate that waits so long for a body.
    pub(crate) fn patient_for(mut self, body_patience: Duration) -> Self {
        let sessions = Sessions::new(vec![self.rig.session.clone()]);
        self.gate = gate(sessions, Hosts::default(), body_patience);
        self
    }

    /// Takes a drive away.
    pub(crate) fn remove_drive(&self, number: usize) {
        std::fs::remove_dir_all(crate::rig::drive_dir(&self.root, number)).unwrap();
    }

    /// Listens on a free port.
    pub(crate) async fn listen(&self, tls: Option<TlsAcceptor>) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let gate = Arc::clone(&self.gate);
        tokio::spawn(serve(listener, tls, gate, ServerConfig::default(), stopped));
        Port { address, _stop: stop }
    }

    pub(crate) async fn credential(&self, id: &str, scopes: ScopeSet, operations: OperationSet) {
        let new = NewCredential {
            label: id.to_owned(),
            scopes,
            operations,
            window: Window::default(),
            owner: false,
            fixed: Some((id.to_owned(), Secret::new(SECRET.to_owned()))),
        };
        self.rig.session.create_credential(new).await.unwrap();
    }

    pub(crate) async fn send(&self, request: Request<RawBody>) -> Reply {
        let peer = Peer {
            address: "127.0.0.1".parse().unwrap(),
            tls: false,
        };
        self.send_from(peer, request).await
    }

    pub(crate) async fn send_from(&self, peer: Peer, request: Request<RawBody>) -> Reply {
        Reply::of(self.gate.serve(request, peer).await).await
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Reply {
        self.send(ask.signed()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(Ask::new(Method::GET, path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &[u8]) -> Reply {
        self.ask(Ask::new(Method::PUT, path).body(body)).await
    }
}

fn gate(sessions: Sessions, hosts: Hosts, body_patience: Duration) -> Arc<Gate<Sessions, Front>> {
    let config = GateConfig {
        region: REGION.to_owned(),
        hosts,
        host_id: "shop".to_owned(),
        body_patience,
    };
    let front = Front::new(sessions.clone(), REGION.to_owned());
    Arc::new(Gate::new(config, sessions, front))
}

pub(crate) fn get(path: &str) -> Ask {
    Ask::new(Method::GET, path)
}

pub(crate) fn put(path: &str, body: &[u8]) -> Ask {
    Ask::new(Method::PUT, path).body(body)
}

pub(crate) fn post(path: &str, query: &str, value: &str, body: &str) -> Ask {
    Ask::new(Method::POST, path)
        .query(query, value)
        .body(body.as_bytes())
}

pub(crate) fn refused(code: &str, status: u16) -> (u16, String) {
    (status, code.to_owned())
}
