//! Storage peers that come, drain and go, and load that is evened out among them.
//!
//! What a peer is told to be stands in the ledger; shards follow in the background, whoever waits here for it. Invariant: nobody is let go
//! while something that is needed lies with him alone, unless he is said to be lost.

use std::time::{Duration, Instant};

use net::cluster::{DrainState, Progress, RebalanceOptions, Standing, packs_of};
use net::ledger::FollowedLedger;
use net::ledger::wire::{LedgerCall, LedgerReply};
use net::membership::{PeerEntry, Role};
use net::peer::PeerId;
use serde_json::{Value, json};

use crate::introduction::PeerAt;
use crate::operator::gateways;
use crate::operator::tend::{alone, failed, step};
use crate::operator::{ErrorCode, OperatorError};
use crate::request::{OnStep, Step};
use crate::runtime::Runtime;
use crate::runtime::ledger::OpenLedger;
use crate::runtime::peers::{PeerNodes, described, membership, settle};

/// How often it is looked how far a drain is.
const LOOK: Duration = Duration::from_secs(1);
/// How long the copy of the ledger here may take to have what was written.
const COPY_WAIT: Duration = Duration::from_secs(5);
const COPY_LOOK: Duration = Duration::from_millis(20);
/// How long another peer may take to become a member of the ledger in the place of one that drains.
const MEMBER_WAIT: Duration = Duration::from_secs(120);

/// `node admit`.
pub(super) async fn admit(
    runtime: &Runtime,
    at: PeerAt,
    domain: Option<String>,
) -> Result<Value, OperatorError> {
    let (peers, ledger) = cluster_of(runtime)?;
    peers.call_at(at);
    let said = match described::describe(peers, at.peer).await {
        Ok(said) => said,
        Err(error) => {
            peers.call_as_before(&at.peer);
            return Err(error.into());
        }
    };
    let known = peers.known();
    let before = known.iter().find(|entry| entry.peer == at.peer);
    let others = known.iter().filter(|entry| entry.peer != at.peer);
    let mut drives_of_others = others.flat_map(|entry| &entry.drives);
    if drives_of_others.any(|drive| said.drives.contains(drive)) {
        return Err(refused(format!(
            "{} has a drive that is another peer's: a copy of a storage peer cannot be admitted beside it",
            at.peer
        )));
    }
    let other_drives = before.is_some_and(|before| before.drives != said.drives);
    if other_drives && before.is_some_and(|before| before.standing != Standing::Gone) {
        return Err(refused(format!(
            "{} has other drives than it had: if it lost them, `cairn node remove --lost {}` first",
            at.peer, at.peer
        )));
    }
    // With the drives that it had, it brings back what lies there.
    if other_drives && !drained(runtime, &at.peer).await?.is_done() {
        return Err(refused(format!(
            "{} was removed, and shards that it held are still being made anew elsewhere: admit it when `cairn status` shows none at risk",
            at.peer
        )));
    }
    let entry = PeerEntry {
        standing: Standing::Active,
        domain: domain
            .or_else(|| before.map(|before| before.domain.clone()))
            .unwrap_or_else(|| said.domain.clone()),
        addresses: vec![at.address],
        ..said
    };
    let is_new = before.is_none_or(|before| before.standing == Standing::Gone);
    set_peer(runtime, peers, ledger, entry.clone()).await?;
    // One that lost what it had of the ledger knows nobody.
    settle::introduce_to(peers, [at.peer].into()).await;
    Ok(json!({
        "peer_id": at.peer.to_string(),
        "address": at.address,
        "domain": entry.domain,
        "drives": entry.drives.len(),
        "new": is_new,
    }))
}

/// `node drain`: returns when nothing is left there, or at once when it is undone.
pub(super) async fn drain(
    runtime: &Runtime,
    peer: &str,
    undo: bool,
    on_step: OnStep<'_>,
) -> Result<Value, OperatorError> {
    let (peers, ledger) = cluster_of(runtime)?;
    let entry = named(peers, peer, false)?;
    let wanted = match undo {
        true => Standing::Active,
        false => Standing::Draining,
    };
    if entry.standing == Standing::Gone {
        return Err(refused(format!(
            "{} was removed: `cairn node admit` takes it in again",
            entry.peer
        )));
    }
    if !undo && !membership::holds_packs(&peers.known(), runtime.layout.code, Some(&entry.peer)) {
        return Err(refused(format!(
            "without {} packs of {} could not lie anywhere: admit another storage peer first",
            entry.peer, runtime.layout.code
        )));
    }
    let id = entry.peer;
    if entry.standing != wanted {
        set_standing(runtime, peers, ledger, entry, wanted).await?;
    }
    let state = match undo {
        true => drained(runtime, &id).await?,
        false => {
            until_no_member(ledger, &id).await?;
            until_drained(runtime, &id, on_step).await?
        }
    };
    Ok(json!({
        "peer_id": id.to_string(),
        "standing": standing_name(wanted),
        "shards_left": state.left.stored,
        "bytes_left": state.left.bytes,
    }))
}

async fn until_drained(
    runtime: &Runtime,
    peer: &PeerId,
    on_step: OnStep<'_>,
) -> Result<DrainState, OperatorError> {
    let mut most = 0;
    loop {
        let state = drained(runtime, peer).await?;
        most = most.max(state.left.assigned);
        on_step(Step {
            done: most.saturating_sub(state.left.assigned),
            total: most,
            unit: "shards".to_owned(),
            note: String::new(),
        });
        if state.is_done() {
            return Ok(state);
        }
        let known = runtime.peer_entries();
        let mut of_peer = known.iter().filter(|entry| entry.peer == *peer);
        if !of_peer.any(|entry| entry.standing == Standing::Draining) {
            return Err(refused(format!("the drain of {peer} was called off")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until a peer is no member of the ledger any more: another has taken its place then.
async fn until_no_member(ledger: &FollowedLedger, peer: &PeerId) -> Result<(), OperatorError> {
    let began = Instant::now();
    loop {
        if is_member(ledger, peer).await == Some(false) {
            return Ok(());
        }
        if began.elapsed() > MEMBER_WAIT {
            let message = format!(
                "{peer} is still a member of the ledger, and no other could take its place yet: the drain goes on, ask again"
            );
            return Err(OperatorError::new(ErrorCode::Unavailable, message));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a peer is a member of the ledger, if the ledger says.
async fn is_member(ledger: &FollowedLedger, peer: &PeerId) -> Option<bool> {
    match ledger.ask(&LedgerCall::Members { as_known: false }).await {
        Ok(LedgerReply::Members { voters, learners, .. }) => {
            Some(voters.contains(peer) || learners.contains(peer))
        }
        _ => None,
    }
}

/// `node remove`.
pub(super) async fn remove(runtime: &Runtime, peer: &str, lost: bool) -> Result<Value, OperatorError> {
    let (peers, ledger) = cluster_of(runtime)?;
    let entry = named(peers, peer, true)?;
    let id = entry.peer;
    if entry.role == Role::Gateway {
        return gateways::remove(runtime, (peers, ledger), entry, lost).await;
    }
    let left = drained(runtime, &id).await?.left;
    if entry.standing != Standing::Gone {
        if !lost && (entry.standing != Standing::Draining || left.assigned > 0) {
            return Err(refused(format!(
                "{id} still has {} shards of packs: `cairn node drain {id}` moves them off first; if it is lost with everything on it, say --lost",
                left.stored
            )));
        }
        if !lost && is_member(ledger, &id).await != Some(false) {
            return Err(refused(format!(
                "{id} is a member of the ledger, and no other has taken its place yet: try again"
            )));
        }
        if lost && answers(runtime, &id) {
            return Err(refused(format!(
                "{id} answers, so it is not lost: `cairn node drain {id}` moves its shards off. Stop it first if it is to go at once"
            )));
        }
        set_standing(runtime, peers, ledger, entry, Standing::Gone).await?;
    }
    Ok(json!({
        "peer_id": id.to_string(),
        "standing": standing_name(Standing::Gone),
        "shards_to_rebuild": left.stored,
        "bytes_to_rebuild": left.bytes,
    }))
}

/// `rebalance`.
pub(super) async fn rebalance(
    runtime: &Runtime,
    dry_run: bool,
    on_step: OnStep<'_>,
) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    cluster_of(runtime)?;
    let options = RebalanceOptions {
        dry_run,
        ..RebalanceOptions::default()
    };
    let mut show = |progress: Progress| {
        on_step(step(progress, "shards", time_left(progress.seconds_left)));
    };
    let ledger = runtime.ledger.shared();
    let rebalanced = runtime
        .cluster
        .rebalance(&ledger, runtime.lease, options, &mut show)
        .await;
    let report = rebalanced.map_err(failed)?;
    let drives = runtime.cluster.status().drives;
    let name = |id: &net::DriveId| {
        let found = drives.iter().find(|drive| drive.id == *id);
        found.map(|drive| drive.dir.display().to_string())
    };
    Ok(json!({
        "dry_run": dry_run,
        "moves_planned": report.plan.moves.len(),
        "bytes_planned": report.plan.bytes,
        "more": report.plan.more,
        "drives": report.plan.drives.iter().map(|drive| json!({
            "drive": name(&drive.drive),
            "capacity_bytes": drive.capacity,
            "bytes_before": drive.before,
            "bytes_after": drive.after,
        })).collect::<Vec<_>>(),
        "shards_moved": report.shards_moved,
        "bytes_moved": report.bytes_moved,
        "packs_failed": report.failed,
    }))
}

/// How a peer stands, in a word.
pub(super) const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Draining => "draining",
        Standing::Gone => "gone",
    }
}

/// An estimate, in words; empty while there is none.
fn time_left(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("about {seconds} s left"))
}

pub(super) fn cluster_of(runtime: &Runtime) -> Result<(&PeerNodes, &FollowedLedger), OperatorError> {
    match (&runtime.peers, &runtime.ledger) {
        (Some(peers), OpenLedger::Followed(ledger)) => Ok((peers, ledger)),
        _ => Err(refused(
            "the shards of this store lie on drives of its own: it has no storage peers".to_owned(),
        )),
    }
}

/// The one storage peer whose id begins like that, or also another gateway.
fn named(peers: &PeerNodes, typed: &str, or_gateway: bool) -> Result<PeerEntry, OperatorError> {
    let known = peers.known();
    let begins = |entry: &&PeerEntry| {
        let id = entry.peer.to_string();
        let short = id.split_once(':').map_or(id.as_str(), |(_, key)| key);
        !typed.is_empty() && (id.starts_with(typed) && typed.contains(':') || short.starts_with(typed))
    };
    let is_meant = |entry: &&PeerEntry| entry.role == Role::Node || or_gateway && entry.peer != peers.own();
    let mut found = known.iter().filter(is_meant).filter(begins);
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.clone()),
        (None, _) => Err(OperatorError::new(
            ErrorCode::NotFound,
            format!("no storage peer is called {typed}: `cairn status` shows them"),
        )),
        _ => Err(refused(format!(
            "more than one storage peer begins with {typed}: type more of its id"
        ))),
    }
}

pub(super) async fn set_standing(
    runtime: &Runtime,
    peers: &PeerNodes,
    ledger: &FollowedLedger,
    entry: PeerEntry,
    standing: Standing,
) -> Result<(), OperatorError> {
    set_peer(runtime, peers, ledger, PeerEntry { standing, ..entry }).await
}

/// Writes a peer's entry and has it taken over here.
pub(super) async fn set_peer(
    runtime: &Runtime,
    peers: &PeerNodes,
    ledger: &FollowedLedger,
    entry: PeerEntry,
) -> Result<(), OperatorError> {
    let asked = ledger.ask(&LedgerCall::SetPeer(Box::new(entry.clone()))).await;
    asked.map_err(failed)?;
    // The copy here follows.
    let began = Instant::now();
    let is_here = async || {
        ledger
            .known_peers()
            .await
            .is_ok_and(|known| known.contains(&entry))
    };
    while !is_here().await && began.elapsed() < COPY_WAIT {
        tokio::time::sleep(COPY_LOOK).await;
    }
    membership::take_over(peers, ledger, &runtime.cluster, &runtime.data).await;
    Ok(())
}

async fn drained(runtime: &Runtime, peer: &PeerId) -> Result<DrainState, OperatorError> {
    let ledger = runtime.ledger.shared();
    let state = runtime.cluster.drain_state(&|| packs_of(&*ledger), peer).await;
    state.map_err(failed)
}

fn answers(runtime: &Runtime, peer: &PeerId) -> bool {
    let peers = runtime.cluster.peers();
    let found = peers.iter().find(|known| known.id == *peer);
    found.is_some_and(|known| known.why_silent.is_none())
}

pub(super) fn refused(message: String) -> OperatorError {
    OperatorError::new(ErrorCode::BadRequest, message)
}
