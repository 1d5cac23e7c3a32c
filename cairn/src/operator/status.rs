//! Figures for people and programs: `status`, `vault list`, `scope list`.

use net::cluster::{DriveState, DriveStatus, Standing, packs_of};
use net::ledger::wire::{LedgerCall, LedgerReply};
use net::membership::{PeerEntry, Role};
use net::peer::PeerId;
use serde_json::{Value, json};

use crate::introduction::{GATEWAYS_MAX, Invitation};
use crate::operator::nodes::standing_name;
use crate::operator::{OperatorError, durability, gateways, tend};
use crate::runtime::Runtime;
use crate::runtime::ledger::OpenLedger;
use crate::runtime::peers::{PeerNode, start_again};
use crate::serve::S3Front;

/// `status`.
pub(super) async fn status(runtime: &Runtime, front: &S3Front) -> Result<Value, OperatorError> {
    // A drive that was taken away a moment ago is not shown as if it were there.
    runtime.cluster.check_drives().await;
    let mut cluster = runtime.cluster.status();
    // Those of peers that were removed are no part of it any more.
    cluster.drives.retain(|drive| drive.standing != Standing::Gone);
    let ledger = runtime.ledger.status();
    let reader = runtime.recorder.reader();
    let is_lost = |drive: &&DriveStatus| drive.state == DriveState::Lost;
    let lost = cluster.drives.iter().filter(is_lost).count();
    let shared = runtime.ledger.shared();
    let tally = runtime
        .cluster
        .tally(&|| packs_of(&*shared))
        .await
        .map_err(tend::failed)?;
    let members = members(runtime).await;
    let durability = durability::durability(runtime, members.as_deref()).await?;
    let code = runtime.layout.code;
    let (survives, may_lose) = survives(
        code.data(),
        code.parity(),
        cluster.drives.len(),
        lost,
        tally.missing_max,
    );
    let writes = runtime.cluster.writable();
    let sum = |figure: fn(&DriveStatus) -> u64| cluster.drives.iter().map(figure).sum::<u64>();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "data": runtime.data.root(),
        "cluster_id": hex::encode(runtime.layout.cluster),
        "pid": std::process::id(),
        "endpoint": front.endpoint(),
        "uptime_seconds": runtime.since.elapsed().as_secs(),
        "code": code.to_string(),
        "running": front.endpoint().is_some(),
        "survives": survives,
        "drives_lost": lost,
        "drives_may_lose": may_lose,
        "writable": writes.is_ok(),
        "writes_refused_because": writes.err().map(|error| error.to_string()),
        "drives": cluster.drives.iter().map(drive_json).collect::<Vec<_>>(),
        "peers": peers(runtime, members.as_deref()),
        "gateways": gateways::rows(runtime),
        "invitation": invitation(runtime),
        "replacing": replacing(runtime),
        "durability": durability,
        "live_bytes": sum(|drive| drive.live_bytes),
        "garbage_bytes": sum(|drive| drive.garbage_bytes),
        "allocated_bytes": sum(|drive| drive.allocated_bytes),
        "packs": {
            "total": tally.packs,
            "at_risk": tally.at_risk,
            "missing_shards_max": tally.missing_max,
            "shards": tally.shards,
            "shards_missing": tally.missing,
            "unreadable": tally.unreadable,
        },
        "ledger": {
            "sequence": ledger.position,
            "entries": ledger.entries,
            "bytes": ledger.log_bytes,
            "state": ledger_state(runtime),
            "why_away": runtime.ledger.why_away(),
        },
        "activity": {
            "records": reader.len(),
            "log_key": reader.key().to_string(),
        },
        "vaults": vaults(runtime)?,
    }))
}

/// How the ledger is, in a word.
fn ledger_state(runtime: &Runtime) -> &'static str {
    let status = runtime.ledger.status();
    if status.fenced {
        "failed"
    } else if runtime.ledger.why_away().is_some() {
        "away"
    } else if status.full {
        "full"
    } else {
        "serving"
    }
}

/// The storage peers: what the ledger says of each, whether it answers, and which of them run with this process.
fn peers(runtime: &Runtime, members: Option<&[PeerId]>) -> Vec<Value> {
    let asked = runtime.cluster.peers();
    let row = |entry: &PeerEntry| {
        let found = asked.iter().find(|peer| peer.id == entry.peer);
        let silent = found.and_then(|peer| peer.why_silent.as_ref());
        let nodes = runtime.peers.iter().flat_map(|peers| peers.nodes());
        let child = nodes.into_iter().find(|node| node.id() == Some(entry.peer));
        let directory = child.and_then(|node| node.place.directory.as_deref());
        let pid = child.and_then(PeerNode::pid);
        json!({
            "peer_id": entry.peer.to_string(),
            "address": entry.addresses.first(),
            "domain": entry.domain,
            "standing": standing_name(entry.standing),
            "ledger_member": members.map(|members| members.contains(&entry.peer)),
            "drives": entry.drives.iter().map(hex::encode).collect::<Vec<_>>(),
            "directory": directory,
            "running": directory.map(|_| pid.is_some()),
            "pid": pid,
            "answers": silent.is_none(),
            "why_silent": silent,
            "start_again": directory.filter(|_| pid.is_none()).map(start_again),
        })
    };
    runtime.peer_entries().iter().map(row).collect()
}

/// What storage peers are started with, if there are any.
fn invitation(runtime: &Runtime) -> Option<String> {
    let peers = runtime.peers.as_ref()?;
    let known = peers.known();
    let gateways = known
        .iter()
        .filter(|entry| entry.role == Role::Gateway && entry.standing != Standing::Gone);
    let others = gateways
        .map(|entry| entry.peer)
        .filter(|gateway| *gateway != peers.own());
    let invitation = Invitation {
        cluster: runtime.layout.cluster,
        gateways: [peers.own()]
            .into_iter()
            .chain(others)
            .take(GATEWAYS_MAX)
            .collect(),
    };
    Some(invitation.to_string())
}

/// The members of the ledger, if somebody who knows answers.
async fn members(runtime: &Runtime) -> Option<Vec<PeerId>> {
    let OpenLedger::Followed(ledger) = &runtime.ledger else {
        return None;
    };
    match ledger.ask(&LedgerCall::Members).await {
        Ok(LedgerReply::Members { voters, .. }) => Some(voters),
        _ => None,
    }
}

/// What is placed anew at the moment.
fn replacing(runtime: &Runtime) -> Value {
    runtime.cluster.replacing().map_or(Value::Null, |progress| {
        json!({
            "packs_done": progress.done,
            "packs": progress.total,
            "shards_rebuilt": progress.shards_rebuilt,
            "bytes_rebuilt": progress.bytes_rebuilt,
            "seconds_left": progress.seconds_left,
        })
    })
}

/// Each vault with its size.
pub(super) fn vaults(runtime: &Runtime) -> Result<Vec<Value>, OperatorError> {
    let mut rows = Vec::new();
    for session in runtime.sessions.all() {
        let usage = session.usage()?;
        rows.push(json!({
            "vault_id": session.vault().to_string(),
            "name": session.name(),
            "scopes": usage.len(),
            "objects": usage.iter().map(|(_, used)| used.objects).sum::<u64>(),
            "bytes": usage.iter().map(|(_, used)| used.bytes + used.history_bytes).sum::<u64>(),
            "old_version_bytes": usage.iter().map(|(_, used)| used.history_bytes).sum::<u64>(),
            "open_upload_bytes": usage.iter().map(|(_, used)| used.open_bytes).sum::<u64>(),
        }));
    }
    Ok(rows)
}

/// `scope list`.
pub(super) async fn scopes(runtime: &Runtime, vault: Option<&str>) -> Result<Value, OperatorError> {
    let session = runtime.session(vault)?;
    let mut rows = Vec::new();
    for (name, used) in session.usage()? {
        let bucket = session.bucket(&name).await?;
        rows.push(json!({
            "scope": name,
            "scope_id": bucket.scope.to_string(),
            "created_ms": bucket.created_ms,
            "objects": used.objects,
            "bytes": used.bytes + used.history_bytes,
            "old_version_bytes": used.history_bytes,
            "open_upload_bytes": used.open_bytes,
        }));
    }
    Ok(json!({"vault_id": session.vault().to_string(), "scopes": rows}))
}

/// What the layout survives and what is left of that, in a sentence; and how many more drives may go before something
/// cannot be read. `missing_max` is the most shards that one pack lacks, on lost drives or elsewhere.
pub(super) fn survives(
    data: usize,
    parity: usize,
    drives: usize,
    lost: usize,
    missing_max: usize,
) -> (String, usize) {
    let writes = drives.saturating_sub(data + parity.div_ceil(2));
    let more = parity.saturating_sub(lost.max(missing_max));
    let now = match (lost, missing_max) {
        (0, 0) => String::new(),
        (0, _) => format!("; shards are missing now, so {more} more may go"),
        (1, _) => format!("; 1 is lost now, so {more} more may go"),
        _ => format!("; {lost} are lost now, so {more} more may go"),
    };
    let made =
        format!("reads survive the loss of any {parity} of {drives} drives, writes go on with {writes} lost");
    (made + &now, more)
}

fn drive_json(drive: &DriveStatus) -> Value {
    json!({
        "number": drive.number,
        "drive_id": hex::encode(drive.id),
        "directory": drive.dir,
        "state": match drive.state {
            DriveState::Present => "present",
            DriveState::Full => "full",
            DriveState::Lost => "lost",
        },
        "reason": drive.reason,
        "shards": drive.shards,
        "live_bytes": drive.live_bytes,
        "garbage_bytes": drive.garbage_bytes,
        "allocated_bytes": drive.allocated_bytes,
        "free_bytes": drive.free_bytes,
        "read_p95_us": drive.read_p95_us,
        "bad_answers": drive.bad_answers,
        "misdeeds": {
            "altered": drive.misdeeds.altered,
            "claimed": drive.misdeeds.claimed,
            "absent": drive.misdeeds.absent,
            "rolled_back": drive.misdeeds.rolled_back,
        },
        "challenges": {
            "seconds": drive.challenged.seconds,
            "asked": drive.challenged.asked,
            "proven": drive.challenged.proven,
            "unanswered": drive.challenged.unanswered,
            "shards": drive.challenged.shards,
            "detection_percent": 100.0 * drive.challenged.detection,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::survives;

    #[test]
    fn the_layout_says_what_it_survives_and_how_many_more_may_go() {
        let made = "reads survive the loss of any 2 of 6 drives, writes go on with 1 lost";
        let said = |lost, missing_max| survives(4, 2, 6, lost, missing_max);
        assert_eq!(said(0, 0), (made.to_owned(), 2));
        assert_eq!(
            said(1, 1),
            (format!("{made}; 1 is lost now, so 1 more may go"), 1)
        );
        assert_eq!(
            said(2, 2),
            (format!("{made}; 2 are lost now, so 0 more may go"), 0)
        );
        assert_eq!(
            said(6, 3),
            (format!("{made}; 6 are lost now, so 0 more may go"), 0)
        );
        assert_eq!(
            said(0, 2),
            (format!("{made}; shards are missing now, so 0 more may go"), 0)
        );
    }
}
