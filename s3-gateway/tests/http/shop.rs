//! A gateway over one open vault on a real directory, without a socket.

use std::sync::Arc;
use std::time::Duration;

use engine::disk::{Disk, RealDisk};
use http::{Method, Request};
use s3_gateway::body::RawBody;
use s3_gateway::gate::{Gate, GateConfig};
use s3_gateway::host::{Hosts, Peer};
use s3_gateway::service::Front;
use s3_gateway::session::{NewCredential, Secret, Session, SessionOptions};
use s3_gateway::sessions::Sessions;
use scopes::{OperationSet, ScopeSet, Window};

use crate::client::{Ask, KEY, REGION, Reply, SECRET};
use crate::rig::Rig;

/// A gateway over one vault, without a socket.
pub(crate) struct Shop {
    pub(crate) gate: Gate<Sessions, Front>,
    pub(crate) rig: Rig,
    _dir: tempfile::TempDir,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// A gateway whose session has other settings.
    pub(crate) async fn open_with(change: impl FnOnce(&mut SessionOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (mut parts, ledger) = crate::rig::parts(disk, dir.path(), true).await.unwrap();
        change(&mut parts.options);
        let (cluster, recorder) = (Arc::clone(&parts.cluster), parts.recorder.clone());
        let rig = Rig {
            session: Session::open(parts).await.unwrap(),
            ledger,
            cluster,
            recorder,
            caller: crate::rig::caller(),
        };
        let sessions = Sessions::new(vec![rig.session.clone()]);
        let config = GateConfig {
            region: REGION.to_owned(),
            hosts: Hosts::default(),
            host_id: "shop".to_owned(),
            body_patience: Duration::from_secs(10),
        };
        let front = Front::new(sessions.clone(), REGION.to_owned());
        let shop = Self {
            gate: Gate::new(config, sessions, front),
            rig,
            _dir: dir,
        };
        shop.credential(KEY, ScopeSet::All, OperationSet::all()).await;
        assert_eq!(shop.put("/bkt", b"").await.status, 200);
        shop
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
