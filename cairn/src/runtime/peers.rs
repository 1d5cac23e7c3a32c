//! The storage peers of this process, and the way to them: `cairn node` on this machine as its children, or elsewhere.
//!
//! The keys stay here; a child is told the cluster's id and this process's peer id, and some of them keep the ledger together
//! (`settle`), which says who they all are (`membership`). Invariants: on a first start all
//! are there or none is left running; later one that is not there is a lost place and nothing more; and whatever becomes of this process,
//! its children end with it, for the pipe that is their stdin ends.

mod addresses;
pub(crate) mod carried;
mod child;
pub(crate) mod described;
pub(crate) mod membership;
mod seats;
pub(crate) mod settle;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::future::join_all;
use net::cluster::Peers;
use net::membership::PeerEntry;
use net::peer::quic::{Quic, QuicConfig};
use net::peer::{PeerId, Transport};

use super::RuntimeError;
use crate::data_dir::{DataDir, NODE_FILE, make_private_dir};
use crate::introduction::PeerAt;
use crate::key_store::peer_key;
use crate::layout::{KnownPeer, Layout, PeerPlace};
use crate::node::NodeSettings;
use addresses::Addresses;
use child::ChildNode;

pub(crate) use child::start_again;

/// See the module.
#[derive(Debug)]
pub(crate) struct PeerNodes {
    quic: Arc<Quic>,
    addresses: Arc<Addresses>,
    nodes: Vec<PeerNode>,
    /// This process, as a peer.
    own: PeerId,
    /// Most members of the ledger.
    members_max: usize,
    /// Everyone, as the ledger said last, in the order of their places; empty before it did.
    known: RwLock<Vec<PeerEntry>>,
    /// Those that did not hear who the others are.
    unheard: Mutex<BTreeSet<PeerId>>,
    /// The ledger's word is taken over once at a time.
    taking: tokio::sync::Mutex<()>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct PeerNode {
    /// Its place, as the layout remembers it.
    pub(crate) place: PeerPlace,
    child: Option<ChildNode>,
}

/// How storage peers are opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerOptions {
    /// Most members of the ledger.
    pub(super) members_max: usize,
    /// The address that they are called from, if one was chosen.
    pub(super) from: Option<IpAddr>,
}

impl PeerNode {
    /// Its id, if it is known.
    pub(crate) fn id(&self) -> Option<PeerId> {
        self.place.known.as_ref().map(|known| known.id)
    }

    /// The process id, while it runs as a child of this process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.pid()
    }
}

impl PeerNodes {
    /// Starts the storage peers of a layout, or calls those that run elsewhere, if it has any, and remembers in it what they say of
    /// themselves.
    pub(super) async fn open(
        data: &DataDir,
        layout: &mut Layout,
        options: PeerOptions,
    ) -> Result<Option<Self>, RuntimeError> {
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
                Ok(None) => (place.known.clone(), None),
                Ok(Some((said, child))) => (Some(settled(place, said)), Some(child)),
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
            None => listen(&key, &nodes, options.from),
            Some(error) => Err(error),
        };
        let (quic, addresses) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                end(&nodes).await;
                return Err(error);
            }
        };
        let mut opened = Self {
            quic,
            addresses,
            nodes,
            own: gateway,
            members_max: options.members_max,
            known: RwLock::default(),
            unheard: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
        };
        // One that was let in just now is known to the nodes once they have asked the ledger.
        let patience = if layout.own_log {
            LET_IN_WAIT
        } else {
            Duration::ZERO
        };
        let heard = opened.hear_of_all(patience).await;
        layout.peers = opened.nodes.iter().map(|node| node.place.clone()).collect();
        match heard.and_then(|()| Ok(layout.write(data)?)) {
            Ok(()) => Ok(Some(opened)),
            Err(error) => {
                opened.close().await;
                Err(error)
            }
        }
    }

    /// Has those that were only named describe themselves; they are asked again for so long.
    async fn hear_of_all(&mut self, patience: Duration) -> Result<(), RuntimeError> {
        let unheard = |node: &&PeerNode| {
            node.place
                .known
                .as_ref()
                .is_some_and(|known| known.drives.is_empty())
        };
        let unheard: Vec<PeerId> = self
            .nodes
            .iter()
            .filter(unheard)
            .filter_map(PeerNode::id)
            .collect();
        let began = Instant::now();
        let this = &*self;
        let ask = |peer: PeerId| async move {
            loop {
                match described::describe(this, peer).await {
                    Err(_) if began.elapsed() < patience => tokio::time::sleep(LET_IN_LOOK).await,
                    said => return said,
                }
            }
        };
        let heard = join_all(unheard.iter().map(|peer| ask(*peer))).await;
        let heard: Vec<PeerEntry> = heard.into_iter().collect::<Result<_, _>>()?;
        let drives: Vec<_> = heard.iter().flat_map(|said| &said.drives).collect();
        if drives.iter().collect::<BTreeSet<_>>().len() < drives.len() {
            return Err(RuntimeError::DrivesTwice);
        }
        for said in heard {
            let places = self.nodes.iter_mut().filter_map(|node| node.place.known.as_mut());
            for known in places.filter(|known| known.id == said.peer) {
                known.domain.clone_from(&said.domain);
                known.drives.clone_from(&said.drives);
            }
        }
        Ok(())
    }

    /// What the cluster client is told of them.
    pub(super) fn peers(&self) -> Peers {
        let entries = self.known();
        Peers {
            transport: self.transport(),
            peers: entries.iter().filter_map(PeerEntry::config).collect(),
        }
    }

    /// The way to them.
    fn transport(&self) -> Arc<dyn Transport> {
        Arc::<Quic>::clone(&self.quic)
    }

    /// Everyone, as the ledger said last, or before that as the layout does.
    pub(crate) fn known(&self) -> Vec<PeerEntry> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        match known.is_empty() {
            true => settle::entries(self),
            false => known,
        }
    }

    /// This process, as a peer.
    pub(crate) const fn own(&self) -> PeerId {
        self.own
    }

    /// Calls a peer at an address that the operator gives.
    pub(crate) fn call_at(&self, at: PeerAt) {
        self.addresses.add(at.peer, at.address);
    }

    /// Calls it again where it was before that, if it was anywhere.
    pub(crate) fn call_as_before(&self, peer: &PeerId) {
        let known = self.known();
        let entry = known.iter().find(|entry| entry.peer == *peer);
        if let Some(address) = entry.and_then(|entry| entry.addresses.first()) {
            self.addresses.add(*peer, *address);
        }
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

/// How long a gateway that comes to a cluster of others waits until it is known there, ...
const LET_IN_WAIT: Duration = Duration::from_secs(8);
/// ... and how often it looks.
const LET_IN_LOOK: Duration = Duration::from_millis(250);
/// How long peers are told that this process goes.
const TELL_WAIT: Duration = Duration::from_secs(1);

async fn end(nodes: &[PeerNode]) {
    let children = nodes.iter().filter_map(|node| node.child.as_ref());
    join_all(children.map(ChildNode::end)).await;
}

/// Starts one that is to be there, or is known and still is what it was. None of one that runs elsewhere.
async fn start(
    place: &PeerPlace,
    layout: &Layout,
    gateway: &PeerId,
) -> Result<Option<(KnownPeer, ChildNode)>, RuntimeError> {
    let Some(directory) = &place.directory else {
        return Ok(None);
    };
    let refused = |why: &str| RuntimeError::Peer {
        dir: directory.display().to_string(),
        why: why.to_owned(),
    };
    // It would be made anew, as another peer with other drives.
    if layout.drives_made && !directory.join(NODE_FILE).exists() {
        return Err(refused("its directory holds no storage peer any more"));
    }
    let started = ChildNode::start(directory, &layout.cluster, gateway).await;
    let (said, child) = started.map_err(|why| refused(&why))?;
    if place.known.as_ref().is_some_and(|known| known.id != said.id) {
        child.end().await;
        return Err(refused("it is another peer than the one that was there"));
    }
    Ok(Some((said, child)))
}

/// What is remembered: its drives are those that packs were placed on, whatever it says later.
fn settled(place: &PeerPlace, said: KnownPeer) -> KnownPeer {
    match &place.known {
        Some(known) => KnownPeer {
            drives: known.drives.clone(),
            domain: known.domain.clone(),
            ..said
        },
        None => said,
    }
}

/// The way to them; nobody is answered on it.
fn listen(
    key: &net::peer::PeerKey,
    nodes: &[PeerNode],
    from: Option<IpAddr>,
) -> Result<(Arc<Quic>, Arc<Addresses>), RuntimeError> {
    let addresses = Arc::<Addresses>::default();
    for known in nodes.iter().filter_map(|node| node.place.known.as_ref()) {
        addresses.add(known.id, known.address);
    }
    let here = SocketAddr::new(from.unwrap_or_else(|| addresses.reached_from()), 0);
    let book = Arc::clone(&addresses);
    let quic = Quic::open(
        key,
        QuicConfig::new(here),
        Arc::new(move |peer: &PeerId| book.of(peer)),
    );
    match quic {
        Ok(quic) => Ok((Arc::new(quic), addresses)),
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
        let settings = NodeSettings::read_at(&directory, Path::new(&directory.join(NODE_FILE)));
        Some(settings.ok()??.cluster)
    };
    let cluster = numbers.iter().find_map(cluster)?;
    Some((cluster, numbers.iter().max()? + 1))
}
