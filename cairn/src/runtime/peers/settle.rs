//! The ledger that the storage peers keep together: begun on a first start, given its members, told who the peers are.
//!
//! Everything here may be done again at each start and changes nothing then. Invariants: a ledger is begun only where the mark in
//! `ledger/` says that there is none yet, for a second one beside the first would be another truth; a ledger made by a rebuild is
//! handed to the first peer whole before any of them runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::disk::Disk;
use net::cluster::Standing;
use net::ledger::wire::{LedgerCall, LedgerRefusal, LedgerReply};
use net::ledger::{FollowedConfig, FollowedLedger};
use net::membership::{PeerEntry, Role};
use net::peer::{Answer, Call, PeerId, Refusal, Request};

use super::super::{RuntimeError, fresh_log_id};
use super::PeerNodes;
use crate::data_dir::{DataDir, DataDirError, KNOWN_PEERS_FILE, MEMBER_DIR, make_private_dir};
use crate::key_store::random;
use crate::layout::Layout;

/// In `ledger/` while no ledger was begun.
const BEGIN: &str = "begin";
/// Most members of the ledger.
const MEMBERS_MAX: usize = 5;
/// How long the members may take to agree on who leads, after they have started.
const LEADER_WAIT: Duration = Duration::from_secs(20);
/// How long peers may take to hear of it.
const HEARD_WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
const CALL_WAIT: Duration = Duration::from_secs(2);

/// On a first start: notes that there is no ledger.
pub(in crate::runtime) fn note_beginning(data: &DataDir) -> Result<(), RuntimeError> {
    make_private_dir(&data.ledger())?;
    Ok(touch(&data.ledger().join(BEGIN))?)
}

/// A ledger of this machine in `ledger/`, made by a rebuild, goes to the first peer, whose copy it becomes.
pub(super) fn hand_over(data: &DataDir, layout: &Layout) -> Result<(), RuntimeError> {
    let (ledger, next) = (data.ledger(), data.root().join("ledger.next"));
    if !ledger.exists() && next.exists() {
        rename(&next, &ledger)?;
    }
    let (Some(first), true) = (layout.peers.first(), holds_log(&ledger)) else {
        return Ok(());
    };
    make_private_dir(&next)?;
    touch(&next.join(BEGIN))?;
    if ledger.join(super::super::rebuild::REBUILT).exists() {
        touch(&next.join(super::super::rebuild::REBUILT))?;
    }
    // What they agreed on before is given up, and kept aside.
    set_aside(layout)?;
    let slots = first.directory.join(MEMBER_DIR).join("slots");
    for dir in [
        first.directory.as_path(),
        slots.parent().unwrap_or(&slots),
        &slots,
    ] {
        make_private_dir(dir)?;
    }
    rename(&ledger, &slots.join("copy-0"))?;
    rename(&next, &ledger)
}

/// Puts aside what the peers of a layout keep of a ledger that does not answer, and what it told them. None of them may run.
pub(in crate::runtime) fn set_aside(layout: &Layout) -> Result<(), RuntimeError> {
    for place in &layout.peers {
        for name in [MEMBER_DIR, KNOWN_PEERS_FILE] {
            let kept = place.directory.join(name);
            if kept.exists() {
                let aside = place
                    .directory
                    .join(format!("{name}.old-{}", super::super::now_ms()));
                tracing::warn!(place = %aside.display(), "what a storage peer kept of the old ledger was set aside");
                rename(&kept, &aside)?;
            }
        }
    }
    Ok(())
}

fn holds_log(dir: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(dir) else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "seg")))
}

fn rename(from: &Path, to: &Path) -> Result<(), RuntimeError> {
    super::super::rebuild::rename(from, to)
}

fn touch(path: &Path) -> Result<(), DataDirError> {
    super::super::rebuild::write_mark(path)
}

/// Opens this process's copy, and sees to it that there is a ledger with the right members that knows every peer.
pub(in crate::runtime) async fn open_ledger(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    peers: &PeerNodes,
) -> Result<FollowedLedger, RuntimeError> {
    let ledger = follow(disk, data, peers).await?;
    match settle(data, peers, &ledger).await {
        Ok(()) => Ok(ledger),
        Err(error) => {
            ledger.close().await;
            Err(error)
        }
    }
}

/// Whether a ledger answers in which something was written.
pub(in crate::runtime) async fn answers(disk: &Arc<dyn Disk>, data: &DataDir, peers: &PeerNodes) -> bool {
    let Ok(ledger) = follow(disk, data, peers).await else {
        return false;
    };
    introduce(peers).await;
    let index = ledger.ask(&LedgerCall::ReadIndex).await;
    ledger.close().await;
    matches!(index, Ok(LedgerReply::Index { sequence, .. }) if sequence.0 > 0)
}

async fn follow(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    peers: &PeerNodes,
) -> Result<FollowedLedger, RuntimeError> {
    make_private_dir(&data.ledger())?;
    let config = FollowedConfig {
        dir: data.ledger(),
        transport: peers.transport(),
        members: members_of(peers),
        fresh_log_id: Arc::new(fresh_log_id),
        offload: net::Offload::default(),
    };
    Ok(FollowedLedger::open(Arc::clone(disk), config).await?)
}

pub(super) fn entries(peers: &PeerNodes) -> Vec<PeerEntry> {
    let known = peers.nodes.iter().filter_map(|node| node.place.known.as_ref());
    let nodes = known.map(|known| PeerEntry {
        peer: known.id,
        role: Role::Node,
        standing: Standing::Active,
        domain: String::new(),
        addresses: vec![known.address],
        drives: known.drives.clone(),
    });
    let gateway = PeerEntry {
        peer: peers.own,
        role: Role::Gateway,
        standing: Standing::Active,
        domain: String::new(),
        addresses: Vec::new(),
        drives: Vec::new(),
    };
    nodes.chain([gateway]).collect()
}

fn members_of(peers: &PeerNodes) -> Vec<PeerId> {
    let known = peers.nodes.iter().filter_map(|node| node.place.known.as_ref());
    known.map(|known| known.id).take(MEMBERS_MAX).collect()
}

/// Asks one peer, once.
async fn ask(peers: &PeerNodes, peer: PeerId, request: Request, body: Vec<u8>) -> Option<net::peer::Reply> {
    let transport = peers.transport();
    let calling = transport.call(peer, Call::of_ledger(request, body));
    tokio::time::timeout(CALL_WAIT, calling).await.ok()?.ok()
}

async fn ask_ledger(peers: &PeerNodes, peer: PeerId, call: &LedgerCall) -> Option<LedgerReply> {
    let reply = ask(peers, peer, Request::Ledger, call.encode()).await?;
    LedgerReply::decode(&reply.body).ok()
}

/// Tells every peer of every other: what the ledger says of them later wins.
async fn introduce(peers: &PeerNodes) {
    let call = LedgerCall::Introduce(entries(peers));
    let nodes = peers.nodes.iter().filter_map(|node| node.place.known.as_ref());
    let told = nodes.map(|known| ask_ledger(peers, known.id, &call));
    futures::future::join_all(told).await;
}

async fn settle(data: &DataDir, peers: &PeerNodes, ledger: &FollowedLedger) -> Result<(), RuntimeError> {
    introduce(peers).await;
    let mark = data.ledger().join(BEGIN);
    if mark.exists() {
        begin(peers).await?;
    }
    let members = members_of(peers);
    let began = Instant::now();
    let known = loop {
        match ledger.ask(&LedgerCall::Peers).await {
            Ok(LedgerReply::Peers(known)) => break known,
            Ok(_) => {
                return Err(RuntimeError::LedgerPeers(
                    "they answer in another language".to_owned(),
                ));
            }
            Err(error) if began.elapsed() > LEADER_WAIT => {
                return Err(RuntimeError::LedgerPeers(error.to_string()));
            }
            Err(_) => {}
        }
    };
    for entry in entries(peers) {
        if !known.contains(&entry) {
            ledger.ask(&LedgerCall::SetPeer(Box::new(entry))).await?;
        }
    }
    if let LedgerReply::Members { voters, .. } = ledger.ask(&LedgerCall::Members).await? {
        let all = members.iter().all(|member| voters.contains(member));
        if !all || voters.len() != members.len() {
            set_members(ledger, members).await?;
        }
    }
    if mark.exists() {
        std::fs::remove_file(&mark).map_err(|source| DataDirError::Io {
            path: mark.display().to_string(),
            source,
        })?;
    }
    introduce(peers).await;
    heard(peers).await;
    Ok(())
}

/// Taking in a member lasts as long as its copy takes: the leader goes on with it whoever waits.
async fn set_members(ledger: &FollowedLedger, members: Vec<PeerId>) -> Result<(), RuntimeError> {
    let began = Instant::now();
    let call = LedgerCall::SetMembers(members.clone());
    loop {
        let refused = ledger.ask(&call).await.err();
        if let Ok(LedgerReply::Members { voters, .. }) = ledger.ask(&LedgerCall::Members).await
            && voters.len() == members.len()
            && members.iter().all(|member| voters.contains(member))
        {
            return Ok(());
        }
        if began.elapsed() > LEADER_WAIT {
            let why = refused.map_or_else(String::new, |error| error.to_string());
            tracing::warn!(why, "the ledger does not have all its members yet");
            // It works with those that it has; the next start tries again.
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn begin(peers: &PeerNodes) -> Result<(), RuntimeError> {
    let first = members_of(peers).into_iter().next();
    let failed = |why: &str| RuntimeError::LedgerPeers(why.to_owned());
    let first = first.ok_or_else(|| failed("there is none"))?;
    let call = LedgerCall::Begin {
        lineage: *random()?,
        after: engine::slots::Sequence(0),
    };
    match ask_ledger(peers, first, &call).await {
        Some(LedgerReply::Done | LedgerReply::Refused(LedgerRefusal::Begun)) => Ok(()),
        _ => Err(failed("the first one does not begin it")),
    }
}

/// Waits until every peer that answers serves: until it has heard from the ledger.
async fn heard(peers: &PeerNodes) {
    let nodes = peers.nodes.iter().filter_map(|node| node.place.known.as_ref());
    let waiting = nodes.map(|known| async move {
        while let Some(reply) = ask(peers, known.id, Request::Drives, Vec::new()).await {
            if reply.answer != Answer::Refused(Refusal::CutOff) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    // One that hears later counts as lost until then.
    let _ = tokio::time::timeout(HEARD_WAIT, futures::future::join_all(waiting)).await;
}

/// The directories in which peers of a layout keep the ledger.
pub(crate) fn ledgers_of_peers(data: &DataDir) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data.peers()) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path().join(MEMBER_DIR))
        .collect()
}
