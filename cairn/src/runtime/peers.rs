//! The storage peers that run with this process: `cairn node` on this machine, and the way to them.
//!
//! The keys stay here; a peer is told the cluster's id and this process's peer id, and the first of them keep the ledger together
//! (`settle`). Invariants: on a first start all
//! start or none is left; later one that does not start is a lost place and nothing more; and whatever becomes of this process,
//! its peers end with it, for the pipe that is their stdin ends.

mod child;
pub(crate) mod settle;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use net::cluster::Peers;
use net::membership::PeerEntry;
use net::peer::quic::{Quic, QuicConfig};
use net::peer::{PeerId, Transport};

use super::RuntimeError;
use crate::data_dir::{DataDir, make_private_dir};
use crate::key_store::peer_key;
use crate::layout::{KnownPeer, Layout, PeerPlace};
use crate::node::NodeSettings;
use child::ChildNode;

pub(crate) use child::start_again;

/// See the module.
#[derive(Debug)]
pub(crate) struct PeerNodes {
    quic: Arc<Quic>,
    nodes: Vec<PeerNode>,
    /// This process, as a peer.
    own: PeerId,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct PeerNode {
    /// Its place, as the layout remembers it.
    pub(crate) place: PeerPlace,
    child: Option<ChildNode>,
}

impl PeerNode {
    /// The process id, while it runs as a child of this process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.pid()
    }
}

impl PeerNodes {
    /// Starts the storage peers of a layout, if it has any, and remembers in it what they say of themselves.
    pub(super) async fn open(data: &DataDir, layout: &mut Layout) -> Result<Option<Self>, RuntimeError> {
        if layout.peers.is_empty() {
            return Ok(None);
        }
        let key = peer_key(&data.peer_key())?;
        make_private_dir(&data.peers())?;
        settle::hand_over(data, layout)?;
        let gateway = key.id();
        let starting = layout.peers.iter().map(|place| start(place, layout, &gateway));
        let started = join_all(starting).await;
        let mut nodes = Vec::new();
        let mut refused = None;
        for (place, started) in layout.peers.iter().zip(started) {
            let (known, child) = match started {
                Ok((said, child)) => (Some(settled(place, said)), Some(child)),
                // Without its id and its drives there is no place to lose.
                Err(error) if !layout.drives_made || place.known.is_none() => {
                    refused = refused.or(Some(error));
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "a storage peer is not started: its drives are lost unless it answers where it listened last");
                    (place.known.clone(), None)
                }
            };
            let place = PeerPlace {
                known,
                ..place.clone()
            };
            nodes.push(PeerNode { place, child });
        }
        let opened = match refused {
            None => listen(&key, &nodes),
            Some(error) => Err(error),
        };
        match opened {
            Ok(quic) => {
                layout.peers = nodes.iter().map(|node| node.place.clone()).collect();
                let opened = Self {
                    quic,
                    nodes,
                    own: gateway,
                };
                if let Err(error) = layout.write(data) {
                    opened.close().await;
                    return Err(error.into());
                }
                Ok(Some(opened))
            }
            Err(error) => {
                end(&nodes).await;
                Err(error)
            }
        }
    }

    /// What the cluster client is told of them.
    pub(super) fn peers(&self) -> Peers {
        let entries = settle::entries(self);
        Peers {
            transport: self.transport(),
            peers: entries.iter().filter_map(PeerEntry::config).collect(),
        }
    }

    /// The way to them.
    fn transport(&self) -> Arc<dyn Transport> {
        Arc::<Quic>::clone(&self.quic)
    }

    /// Each of them, in the order of the layout.
    pub(crate) fn nodes(&self) -> &[PeerNode] {
        &self.nodes
    }

    /// Ends the connections and the processes.
    pub(super) async fn close(&self) {
        // One that does not answer cannot be told.
        let _ = tokio::time::timeout(TELL_WAIT, self.quic.close()).await;
        end(&self.nodes).await;
    }
}

/// How long peers are told that this process goes.
const TELL_WAIT: Duration = Duration::from_secs(1);

async fn end(nodes: &[PeerNode]) {
    let children = nodes.iter().filter_map(|node| node.child.as_ref());
    join_all(children.map(ChildNode::end)).await;
}

/// Starts one that is to be there, or is known and still is what it was.
async fn start(
    place: &PeerPlace,
    layout: &Layout,
    gateway: &PeerId,
) -> Result<(KnownPeer, ChildNode), RuntimeError> {
    let refused = |why: &str| RuntimeError::Peer {
        dir: place.directory.display().to_string(),
        why: why.to_owned(),
    };
    // It would be made anew, as another peer with other drives.
    if layout.drives_made && !place.directory.join("node.json").exists() {
        return Err(refused("its directory holds no storage peer any more"));
    }
    let started = ChildNode::start(&place.directory, &layout.cluster, gateway).await;
    let (said, child) = started.map_err(|why| refused(&why))?;
    if place.known.as_ref().is_some_and(|known| known.id != said.id) {
        child.end().await;
        return Err(refused("it is another peer than the one that was there"));
    }
    Ok((said, child))
}

/// What is remembered: its drives are those that packs were placed on, whatever it says later.
fn settled(place: &PeerPlace, said: KnownPeer) -> KnownPeer {
    match &place.known {
        Some(known) => KnownPeer {
            drives: known.drives.clone(),
            ..said
        },
        None => said,
    }
}

/// The way to them; nobody is answered on it.
fn listen(key: &net::peer::PeerKey, nodes: &[PeerNode]) -> Result<Arc<Quic>, RuntimeError> {
    let known = nodes.iter().filter_map(|node| node.place.known.as_ref());
    let addresses: HashMap<PeerId, SocketAddr> = known.map(|known| (known.id, known.address)).collect();
    let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let quic = Quic::open(
        key,
        QuicConfig::new(here),
        Arc::new(move |peer: &PeerId| addresses.get(peer).copied()),
    );
    match quic {
        Ok(quic) => Ok(Arc::new(quic)),
        Err(error) => Err(RuntimeError::PeerPort(error.to_string())),
    }
}

/// The cluster and the number of the storage peers whose directories are in `data`, if there are any: what is known without a layout.
pub(super) fn found(data: &DataDir) -> Option<([u8; 16], usize)> {
    let number = |entry: std::io::Result<std::fs::DirEntry>| -> Option<usize> {
        entry.ok()?.file_name().to_str()?.parse().ok()
    };
    let numbers: Vec<usize> = std::fs::read_dir(data.peers()).ok()?.filter_map(number).collect();
    let cluster = |number: &usize| -> Option<[u8; 16]> {
        let directory = data.peers().join(number.to_string());
        let settings = NodeSettings::read_at(&directory, Path::new(&directory.join("node.json")));
        Some(settings.ok()??.cluster)
    };
    let cluster = numbers.iter().find_map(cluster)?;
    Some((cluster, numbers.iter().max()? + 1))
}
