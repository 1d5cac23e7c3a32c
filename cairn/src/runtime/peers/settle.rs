//! The ledger that the storage peers keep together: begun on a first start, given its members, told who the peers are.
//!
//! Everything here may be done again at each start and changes nothing then. Invariants: a ledger is begun only where the mark in
//! `ledger/` says that there is none yet, for a second one beside the first would be another truth; a ledger made by a rebuild is
//! handed to the first peer whole before any of them runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use engine::disk::Disk;
use net::cluster::Standing;
use net::ledger::wire::{ANY_LEDGER, LedgerCall, LedgerRefusal, LedgerReply};
use net::ledger::{FollowedConfig, FollowedLedger, LedgerSizes};
use net::membership::{PeerEntry, Role};
use net::peer::{Answer, Call, PeerId, Refusal, Request};

use super::super::rebuild::LostForGood;
use super::super::{RuntimeError, fresh_log_id};
use super::membership::{present, settle_members};
use super::{PeerNodes, carried, described};
use crate::data_dir::{DataDir, MEMBER_DIR, NODE_FILE, make_private_dir, remove_mark, rename, write_mark};
use crate::key_store::random;
use crate::layout::Layout;

/// In `ledger/` while no ledger was begun.
pub(super) const BEGIN: &str = "begin";
/// How long the members may take to agree on who leads, after they have started.
const LEADER_WAIT: Duration = Duration::from_secs(20);
/// How long peers may take to hear of it.
const HEARD_WAIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
pub(super) const CALL_WAIT: Duration = Duration::from_secs(2);

/// On a first start: notes that there is no ledger.
pub(in crate::runtime) fn note_beginning(data: &DataDir) -> Result<(), RuntimeError> {
    make_private_dir(&data.ledger())?;
    Ok(write_mark(&data.ledger().join(BEGIN))?)
}

/// Whether a storage peer's directory is there still; another is not started.
fn is_peer(directory: &Path) -> bool {
    directory.join(NODE_FILE).exists()
}

/// A ledger of this machine in `ledger/`, made by a rebuild, goes to the first peer that is there, whose copy it becomes.
pub(super) fn hand_over(data: &DataDir, layout: &Layout) -> Result<(), RuntimeError> {
    let (ledger, next) = (data.ledger(), data.root().join("ledger.next"));
    if !ledger.exists() && next.exists() {
        rename(&next, &ledger)?;
    }
    let mut directories = layout.peers.iter().filter_map(|place| place.directory.as_deref());
    let (Some(first), true) = (
        directories.find(|directory| is_peer(directory)),
        holds_log(&ledger),
    ) else {
        return Ok(());
    };
    make_private_dir(&next)?;
    write_mark(&next.join(BEGIN))?;
    if ledger.join(super::super::rebuild::REBUILT).exists() {
        write_mark(&next.join(super::super::rebuild::REBUILT))?;
    }
    // What they agreed on before is given up, and kept aside.
    set_aside(layout)?;
    let slots = first.join(MEMBER_DIR).join("slots");
    for dir in [first, slots.parent().unwrap_or(&slots), &slots] {
        make_private_dir(dir)?;
    }
    rename(&ledger, &slots.join("copy-0"))?;
    Ok(rename(&next, &ledger)?)
}

/// Puts aside what the peers of a layout keep of a ledger that does not answer, and what it told them. None of them may run.
pub(in crate::runtime) fn set_aside(layout: &Layout) -> Result<(), RuntimeError> {
    for directory in layout.peers.iter().filter_map(|place| place.directory.as_ref()) {
        for place in crate::node::set_aside(directory)? {
            tracing::warn!(place = %place.display(), "what a storage peer kept of the old ledger was set aside");
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

/// Whether a ledger answers in which something was written: whichever the storage peers keep, also if this gateway's copy is of another.
pub(in crate::runtime) async fn answers(peers: &PeerNodes) -> bool {
    introduce(peers).await;
    let began = Instant::now();
    // As long as an election may take, for a ledger that is there is worth more than any rebuild; but not where nobody has one.
    loop {
        let asked = ids(peers)
            .into_iter()
            .map(|peer| ask_ledger(peers, peer, &LedgerCall::ReadIndex));
        let said = futures::future::join_all(asked).await;
        let newest = said.into_iter().flatten().filter_map(|reply| match reply {
            LedgerReply::Index { sequence, .. } => Some(sequence.0),
            _ => None,
        });
        if let Some(newest) = newest.max() {
            return newest > 0;
        }
        if began.elapsed() > LEADER_WAIT || matches!(is_begun(peers).await, Ok(false)) {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether every storage peer serves this gateway, but for those that are lost.
pub(in crate::runtime) async fn check_all_serve(
    peers: &PeerNodes,
    without: &[LostForGood],
) -> Result<(), RuntimeError> {
    let (mut away, mut cut_off) = (Vec::new(), Vec::new());
    for peer in ids(peers)
        .into_iter()
        .filter(|peer| !without.contains(&LostForGood::Peer(*peer)))
    {
        match ask(peers, peer, Request::Drives, Vec::new()).await {
            Some(reply) if reply.answer == Answer::Refused(Refusal::CutOff) => cut_off.push(peer),
            Some(_) => {}
            None => away.push(peer),
        }
    }
    let names = |peers: &[PeerId]| {
        let names: Vec<String> = peers.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    match (cut_off.as_slice(), away.as_slice()) {
        ([], []) => Ok(()),
        ([], _) => Err(RuntimeError::PeersAway { peers: names(&away) }),
        _ => Err(RuntimeError::KeepsOldLedger {
            peers: names(&cut_off),
        }),
    }
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
        members: ids(peers),
        fresh_log_id: Arc::new(fresh_log_id),
        offload: net::Offload::default(),
        sizes: LedgerSizes::usual(),
    };
    Ok(FollowedLedger::open(Arc::clone(disk), config).await?)
}

/// Everyone, as the layout knows them.
pub(super) fn entries(peers: &PeerNodes) -> Vec<PeerEntry> {
    let known = peers.nodes.iter().filter_map(|node| node.place.known.as_ref());
    let nodes = known.map(|known| PeerEntry {
        peer: known.id,
        role: Role::Node,
        standing: Standing::Active,
        domain: known.domain.clone(),
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

pub(super) fn ids(peers: &PeerNodes) -> Vec<PeerId> {
    peers.nodes.iter().filter_map(super::PeerNode::id).collect()
}

/// Asks one peer, once.
pub(super) async fn ask(
    peers: &PeerNodes,
    peer: PeerId,
    request: Request,
    body: Vec<u8>,
) -> Option<net::peer::Reply> {
    let transport = peers.transport();
    let calling = transport.call(peer, Call::of_ledger(request, body));
    tokio::time::timeout(CALL_WAIT, calling).await.ok()?.ok()
}

pub(super) async fn ask_ledger(peers: &PeerNodes, peer: PeerId, call: &LedgerCall) -> Option<LedgerReply> {
    let reply = ask(peers, peer, Request::Ledger, call.encode(&ANY_LEDGER)).await?;
    LedgerReply::decode(&reply.body).ok()
}

/// Tells every peer of every other: what the ledger says of them later wins.
pub(super) async fn introduce(peers: &PeerNodes) {
    let everyone = present(&peers.known()).map(|entry| entry.peer).collect();
    introduce_to(peers, everyone).await;
}

/// Tells those again that did not hear it.
pub(super) async fn introduce_again(peers: &PeerNodes) {
    let unheard = std::mem::take(&mut *peers.unheard.lock().unwrap_or_else(PoisonError::into_inner));
    introduce_to(peers, unheard).await;
}

/// Tells these.
pub(crate) async fn introduce_to(peers: &PeerNodes, nodes: BTreeSet<PeerId>) {
    let call = LedgerCall::Introduce(peers.known());
    let told = nodes.into_iter().map(|peer| {
        let call = &call;
        async move { (peer, ask_ledger(peers, peer, call).await) }
    });
    let told = futures::future::join_all(told).await;
    let unheard = told
        .into_iter()
        .filter(|(_, reply)| reply.is_none())
        .map(|(peer, _)| peer);
    let mut known = peers.unheard.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(unheard);
}

/// Whether a peer has a ledger that was begun; `None` if it does not say.
async fn has_ledger(peers: &PeerNodes, peer: PeerId) -> Option<bool> {
    let call = LedgerCall::Tail {
        lineage: [0; 16],
        from: engine::slots::Sequence(0),
        max: 1,
        wait_ms: 0,
    };
    match ask_ledger(peers, peer, &call).await? {
        LedgerReply::Refused(LedgerRefusal::NoLedger) => Some(false),
        LedgerReply::Compacted | LedgerReply::Tail { .. } => Some(true),
        _ => None,
    }
}

/// Begins the rebuilt ledger at the peer that it was brought to, unless that was done. Nobody else may have one that was not copied from there.
async fn begin_rebuilt(peers: &PeerNodes, at: PeerId) -> Result<(), RuntimeError> {
    if has_ledger(peers, at).await == Some(true) {
        return Ok(());
    }
    let mut old = Vec::new();
    for peer in ids(peers).into_iter().filter(|peer| *peer != at) {
        if has_ledger(peers, peer).await == Some(true) {
            old.push(peer.to_string());
        }
    }
    match old.as_slice() {
        [] => begin(peers, at).await,
        _ => Err(RuntimeError::KeepsOldLedger {
            peers: old.join(", "),
        }),
    }
}

/// Whether one of them is a member of a ledger that was begun. All of them have to answer.
async fn is_begun(peers: &PeerNodes) -> Result<bool, RuntimeError> {
    let mut is_begun = false;
    for peer in ids(peers) {
        match has_ledger(peers, peer).await {
            Some(begun) => is_begun |= begun,
            None => {
                return Err(RuntimeError::LedgerPeers(format!(
                    "{peer} does not say whether there is a ledger already"
                )));
            }
        }
    }
    Ok(is_begun)
}

async fn settle(data: &DataDir, peers: &PeerNodes, ledger: &FollowedLedger) -> Result<(), RuntimeError> {
    introduce(peers).await;
    let mark = data.ledger().join(BEGIN);
    let begins = mark.exists();
    let runs_here = peers.nodes.iter().any(|node| node.place.directory.is_some());
    let awaited = carried::awaited(data)?;
    // Peers elsewhere may have been another gateway's before.
    if let (true, Some(awaited)) = (begins, &awaited) {
        begin_rebuilt(peers, awaited.peer).await?;
    } else if begins && (runs_here || !is_begun(peers).await?) {
        // The one that a rebuilt ledger was handed over to.
        let is_here = |node: &&super::PeerNode| node.place.directory.as_deref().is_some_and(is_peer);
        let handed_to = peers.nodes.iter().find(is_here).and_then(super::PeerNode::id);
        let first = handed_to.or_else(|| ids(peers).into_iter().next());
        begin(
            peers,
            first.ok_or_else(|| RuntimeError::LedgerPeers("there is none".to_owned()))?,
        )
        .await?;
    }
    let known = known_to(peers, ledger).await?;
    if let Some(awaited) = &awaited {
        carried::check(ledger, awaited).await?;
    }
    for entry in entries(peers) {
        let said = match known.iter().find(|known| known.peer == entry.peer) {
            // What it is and how it stands, the ledger knows; where those are that were started here, this process does.
            Some(known) if runs_here && known.addresses != entry.addresses => PeerEntry {
                addresses: entry.addresses,
                ..known.clone()
            },
            Some(_) => continue,
            None if begins || entry.role == Role::Gateway => entry,
            None => {
                tracing::warn!(peer = %entry.peer, "the ledger does not know a storage peer of the layout: `cairn node admit` takes it in");
                continue;
            }
        };
        ledger.ask(&LedgerCall::SetPeer(Box::new(said))).await?;
    }
    peers.adopt(peers.in_order(known_to(peers, ledger).await?));
    // It works with those that it has; it is tried again while it runs. Where the ledger is older than this start, another gateway may be
    // the one that chooses.
    if begins || runs_here {
        settle_members(peers, ledger).await;
    }
    remove_mark(&mark)?;
    // Behind that one: without it a start would take the ledger for one that was begun as any other.
    carried::arrived(data)?;
    introduce(peers).await;
    heard(peers).await;
    Ok(())
}

/// The peers, as the ledger says once it answers.
async fn known_to(peers: &PeerNodes, ledger: &FollowedLedger) -> Result<Vec<PeerEntry>, RuntimeError> {
    let began = Instant::now();
    loop {
        match ledger.ask(&LedgerCall::Peers).await {
            Ok(LedgerReply::Peers(known)) => return Ok(known),
            Ok(_) => {
                return Err(RuntimeError::LedgerPeers(
                    "they answer in another language".to_owned(),
                ));
            }
            Err(error) if began.elapsed() > LEADER_WAIT => {
                let others = ledger.of_another();
                if !others.is_empty() {
                    let peers: Vec<String> = others.iter().map(ToString::to_string).collect();
                    return Err(RuntimeError::OtherLedger {
                        peers: peers.join(", "),
                    });
                }
                return Err(RuntimeError::LedgerAway {
                    why: error.to_string(),
                    peers: described::why_silent(peers).await,
                    own: peers.own,
                });
            }
            Err(_) => {}
        }
    }
}

/// Taking in a member lasts as long as its copy takes: the leader goes on with it whoever waits. Whether they are the members now.
pub(super) async fn set_members(ledger: &FollowedLedger, members: Vec<PeerId>) -> bool {
    let began = Instant::now();
    let call = LedgerCall::SetMembers(members.clone());
    loop {
        let refused = ledger.ask(&call).await.err();
        if let Ok(LedgerReply::Members { voters, .. }) =
            ledger.ask(&LedgerCall::Members { as_known: false }).await
            && voters.len() == members.len()
            && members.iter().all(|member| voters.contains(member))
        {
            return true;
        }
        if began.elapsed() > LEADER_WAIT {
            let why = refused.map_or_else(String::new, |error| error.to_string());
            tracing::warn!(why, "the ledger does not have all its members yet");
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn begin(peers: &PeerNodes, first: PeerId) -> Result<(), RuntimeError> {
    let call = LedgerCall::Begin {
        lineage: *random()?,
        after: engine::slots::Sequence(0),
    };
    match ask_ledger(peers, first, &call).await {
        Some(LedgerReply::Done | LedgerReply::Refused(LedgerRefusal::Begun)) => Ok(()),
        _ => Err(RuntimeError::LedgerPeers(format!(
            "{first} does not begin it: see whether it runs, and start again"
        ))),
    }
}

/// Waits until every peer that answers serves: until it has heard from the ledger.
async fn heard(peers: &PeerNodes) {
    let waiting = ids(peers).into_iter().map(|peer| async move {
        while let Some(reply) = ask(peers, peer, Request::Drives, Vec::new()).await {
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
