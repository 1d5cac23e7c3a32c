//! Whom a node knows: its configuration, what it was introduced to, and what the ledger says, which wins.
//!
//! Invariants: nobody is dialled but at an address that one of these binds to a key; once the ledger has spoken, who stores here
//! and who is a peer is what it says; and without an answer from it for [`SERVES_FOR`] nothing is served any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use engine::codec::{Reader, Writer};
use engine::disk::{Disk, OpenMode};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::Standing;
use crate::membership::{PEERS_MAX, PeerEntry, Role};
use crate::peer::PeerId;

/// How long a node serves after it sent its latest question to the ledger that got an answer (DESIGN section 7).
pub const SERVES_FOR: Duration = Duration::from_secs(20);

const VERSION: u8 = 1;

#[derive(Debug, Default)]
struct Known {
    peers: BTreeMap<PeerId, PeerEntry>,
    /// Whether the ledger has ever said who they are.
    by_ledger: bool,
    heard: Option<Instant>,
    /// Whether it was introduced to anybody since the start.
    introduced: bool,
    /// Where somebody saw peers since the start.
    seen: BTreeMap<PeerId, Seen>,
}

/// Where a peer was seen, and what the ledger said then: that counts again once it says something else.
#[derive(Debug)]
struct Seen {
    at: Vec<SocketAddr>,
    old: Option<Vec<SocketAddr>>,
}

/// See the module.
pub struct Directory {
    /// Those that the configuration admits: until the ledger speaks they may do everything.
    gateways: BTreeSet<PeerId>,
    known: RwLock<Known>,
    file: Option<(Arc<dyn Disk>, PathBuf)>,
    /// Whether nobody is called where he was remembered to be.
    waits_to_be_told: bool,
    /// Told when it was introduced to somebody.
    pub(super) introduced: Notify,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("gateways", &self.gateways)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// A directory that forgets: for nodes whose gateway tells them everything.
    pub fn of_gateways(gateways: BTreeSet<PeerId>) -> Self {
        Self {
            gateways,
            known: RwLock::default(),
            file: None,
            waits_to_be_told: false,
            introduced: Notify::new(),
        }
    }

    /// Reads what `file` remembers. Whatever does not read is forgotten: it can be learnt again.
    pub fn open(disk: Arc<dyn Disk>, file: PathBuf, gateways: BTreeSet<PeerId>) -> Self {
        // One that does not read was written: there is a ledger, and nobody may be served before it has answered.
        let unread = (disk.exists(&file), Vec::new());
        let read = disk.read_small(&file).ok().and_then(|bytes| decode(&bytes));
        let (by_ledger, peers) = read.unwrap_or(unread);
        let known = Known {
            peers: peers.into_iter().map(|peer| (peer.peer, peer)).collect(),
            by_ledger,
            heard: None,
            introduced: false,
            seen: BTreeMap::new(),
        };
        Self {
            known: RwLock::new(known),
            file: Some((disk, file)),
            ..Self::of_gateways(gateways)
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a node whose parent introduces it at every start: it calls nobody before that. Of a data directory that was copied, what
    /// is remembered are the addresses of the other one's peers, who have the same keys.
    pub fn waiting_to_be_told(self) -> Self {
        Self {
            waits_to_be_told: true,
            ..self
        }
    }

    /// Where a peer answers.
    pub fn address(&self, peer: &PeerId) -> Option<SocketAddr> {
        let known = self.read();
        if let Some(seen) = known.seen.get(peer) {
            return seen.at.first().copied();
        }
        let may = !self.waits_to_be_told || known.introduced;
        known.peers.get(peer).filter(|_| may)?.addresses.first().copied()
    }

    /// Everyone.
    pub fn peers(&self) -> Vec<PeerEntry> {
        self.read().peers.values().cloned().collect()
    }

    /// Whether anything was ever heard of a ledger.
    pub fn has_ledger(&self) -> bool {
        self.read().by_ledger
    }

    /// Whether it may call at all.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.is_gateway(peer) || self.is_node(peer)
    }

    /// Whether it may store and read here.
    pub(super) fn is_gateway(&self, peer: &PeerId) -> bool {
        let known = self.read();
        match known.peers.get(peer) {
            Some(entry) if known.by_ledger => entry.role == Role::Gateway && entry.standing != Standing::Gone,
            // One that the ledger has not heard of yet is taken at its configuration's word.
            _ => self.gateways.contains(peer),
        }
    }

    /// Whether it is a node of this cluster.
    pub(super) fn is_node(&self, peer: &PeerId) -> bool {
        let known = self.read();
        let entry = known.peers.get(peer);
        entry.is_some_and(|entry| entry.role == Role::Node && entry.standing != Standing::Gone)
    }

    /// Whether shards may be served now.
    pub fn serves(&self) -> bool {
        let known = self.read();
        !known.by_ledger || known.heard.is_some_and(|heard| heard.elapsed() < SERVES_FOR)
    }

    /// Takes in peers that somebody who may tells of; what the ledger says of them stays.
    pub(super) fn introduce(&self, peers: Vec<PeerEntry>) {
        let mut known = self.write();
        let by_ledger = known.by_ledger;
        known.introduced = true;
        let hears = known.heard.is_some_and(|heard| heard.elapsed() < SERVES_FOR);
        for peer in peers.into_iter().take(PEERS_MAX) {
            // A gateway elsewhere may have been off while peers moved, and whoever hears the ledger knows better; a parent has just started
            // them.
            if hears && !self.waits_to_be_told && known.peers.contains_key(&peer.peer) {
                continue;
            }
            let said = known.peers.get(&peer.peer).filter(|_| by_ledger);
            let seen = Seen {
                at: peer.addresses.clone(),
                old: said.map(|said| said.addresses.clone()),
            };
            known.seen.insert(peer.peer, seen);
            // Where it is, whoever has just seen it knows better (`seen`); what it may, the ledger.
            if !by_ledger || !known.peers.contains_key(&peer.peer) {
                known.peers.insert(peer.peer, peer);
            }
        }
        drop(known);
        self.remember();
        self.introduced.notify_one();
    }

    /// Takes over what the ledger answered to a question sent at `sent`.
    pub(super) fn told(&self, peers: Vec<PeerEntry>, sent: Instant) {
        let mut known = self.write();
        known.heard = known.heard.max(Some(sent));
        let peers: BTreeMap<PeerId, PeerEntry> = peers.into_iter().map(|peer| (peer.peer, peer)).collect();
        known.seen.retain(|peer, seen| {
            let says = peers.get(peer).map(|said| &said.addresses);
            if seen.old.is_none() {
                seen.old = says.cloned();
            }
            says.is_some() && says == seen.old.as_ref()
        });
        if peers.is_empty() || (known.by_ledger && known.peers == peers) {
            return;
        }
        if !known.by_ledger {
            tracing::info!(peers = peers.len(), "this peer was admitted: the ledger knows it");
        }
        (known.peers, known.by_ledger) = (peers, true);
        drop(known);
        self.remember();
    }

    fn remember(&self) {
        let Some((disk, file)) = &self.file else { return };
        let bytes = {
            let known = self.read();
            encode(known.by_ledger, known.peers.values())
        };
        if let Err(error) = replace(&**disk, file, &bytes) {
            // It is learnt again at the next start.
            tracing::warn!(%error, "who the peers are could not be remembered");
        }
    }
}

fn replace(disk: &dyn Disk, file: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = file.with_extension("new");
    if disk.exists(&fresh) {
        disk.remove_file(&fresh)?;
    }
    let open = disk.open(&fresh, OpenMode::CreateNew)?;
    open.write_all_at(&[bytes], 0)?;
    open.sync_data()?;
    disk.rename(&fresh, file)?;
    disk.sync_dir(file.parent().unwrap_or(file))
}

fn encode<'a>(by_ledger: bool, peers: impl Iterator<Item = &'a PeerEntry>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(VERSION);
    writer.u8(u8::from(by_ledger));
    let peers: Vec<&PeerEntry> = peers.collect();
    writer.list_with(&peers, |writer, peer| peer.put(writer));
    writer.into_vec()
}

fn decode(bytes: &[u8]) -> Option<(bool, Vec<PeerEntry>)> {
    let mut reader = Reader::new(bytes);
    reader.version(VERSION).ok()?;
    let by_ledger = reader.bool("origin of the peers").ok()?;
    let peers = reader.list_with(PEERS_MAX, PeerEntry::read).ok()?;
    reader.finish().ok()?;
    Some((by_ledger, peers))
}

#[cfg(test)]
mod tests;
