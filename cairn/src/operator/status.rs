//! Figures for people and programs: `status`, `vault list`, `scope list`.

use net::cluster::{DriveState, DriveStatus, Silence, Standing, Tally, packs_of};
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
    let reader = runtime.recorder.reader();
    let is_lost = |drive: &&DriveStatus| drive.state == DriveState::Lost;
    let lost = cluster.drives.iter().filter(is_lost).count();
    let shared = runtime.ledger.shared();
    let tally = runtime
        .cluster
        .tally(&|| packs_of(&*shared))
        .await
        .map_err(tend::failed)?;
    let members = Members::ask(runtime).await;
    let report = durability::report(runtime).await?;
    let durability = durability::report_json(runtime, &report, members.voters());
    let code = runtime.layout.code;
    let is_away = runtime.ledger.why_away().is_some();
    let survives = Survives {
        parity: code.parity(),
        drives: cluster.drives.len(),
        lost,
        missing_max: tally.missing_max,
        writing_when_whole: report.writing_when_whole,
        writing: report.survival.drives_writing,
    };
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
        "survives": survives.sentence(!is_away),
        "drives_lost": (!is_away).then_some(lost),
        "drives_may_lose": (!is_away).then(|| survives.more()),
        "drives_may_lose_writing": report.survival.drives_writing,
        "writable": writes.is_ok(),
        "writes_refused_because": writes.err().map(|error| error.to_string()),
        "drives": cluster.drives.iter().map(drive_json).collect::<Vec<_>>(),
        "peers": peers(runtime, members.voters()),
        "gateways": gateways::rows(runtime),
        "invitation": invitation(runtime),
        "replacing": replacing(runtime),
        // Of shards that nobody can be asked about there is no chance.
        "durability": (!is_away).then_some(durability),
        "live_bytes": sum(|drive| drive.live_bytes),
        "garbage_bytes": sum(|drive| drive.garbage_bytes),
        "allocated_bytes": sum(|drive| drive.allocated_bytes),
        "packs": packs_json(&tally, is_away),
        "ledger": ledger_json(runtime, &members),
        "activity": {
            "records": reader.len(),
            "log_key": reader.key().to_string(),
        },
        "vaults": vaults(runtime)?,
    }))
}

/// Where shards are missing. Storage peers that hear nothing of the ledger say nothing of their shards either.
fn packs_json(tally: &Tally, is_away: bool) -> Value {
    let known = |figure: u64| (!is_away).then_some(figure);
    json!({
        "total": tally.packs,
        "at_risk": known(tally.at_risk),
        "missing_shards_max": known(tally.missing_max as u64),
        "shards": tally.shards,
        "shards_missing": known(tally.missing),
        "unreadable": known(tally.unreadable),
    })
}

fn ledger_json(runtime: &Runtime, members: &Members) -> Value {
    let ledger = runtime.ledger.status();
    let ids = |peers: &[PeerId]| peers.iter().map(PeerId::to_string).collect::<Vec<_>>();
    json!({
        "sequence": ledger.position,
        "entries": ledger.entries,
        "bytes": ledger.log_bytes,
        "state": ledger_state(runtime),
        "why_away": runtime.ledger.why_away(),
        "members": members.voters().map(ids),
        "members_are_as_last_heard": matches!(members, Members::AsKnown(_)),
        "members_without_copy": ids(&members.without_copy(runtime)),
        "peers_of_another": ids(&runtime.ledger.peers_of_another()),
    })
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
            "answers": silent.is_none_or(|silent| *silent == Silence::CutOff),
            "cut_off": silent == Some(&Silence::CutOff),
            "why_silent": silent.map(ToString::to_string),
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

/// The members of the ledger.
enum Members {
    /// Now, as whoever leads says.
    Now(Vec<PeerId>),
    /// As those that answer last heard: nobody leads.
    AsKnown(Vec<PeerId>),
    /// Nobody says, or the ledger is of this machine.
    Unknown,
}

impl Members {
    async fn ask(runtime: &Runtime) -> Self {
        let OpenLedger::Followed(ledger) = &runtime.ledger else {
            return Self::Unknown;
        };
        let call = LedgerCall::Members { as_known: false };
        // All are asked in any case: it shows who keeps another ledger.
        let (said, known) = tokio::join!(ledger.ask(&call), ledger.members_as_known());
        match said {
            Ok(LedgerReply::Members { voters, .. }) => Self::Now(voters),
            _ => known.map_or(Self::Unknown, Self::AsKnown),
        }
    }

    /// Those of them that lost what they had of the ledger.
    fn without_copy(&self, runtime: &Runtime) -> Vec<PeerId> {
        let mut empty = runtime.ledger.peers_without_copy();
        let voters = self.voters().unwrap_or_default();
        empty.retain(|peer| voters.contains(peer));
        empty
    }

    fn voters(&self) -> Option<&[PeerId]> {
        match self {
            Self::Now(voters) | Self::AsKnown(voters) => Some(voters),
            Self::Unknown => None,
        }
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

/// What the layout survives, and what is left of that.
struct Survives {
    parity: usize,
    drives: usize,
    lost: usize,
    /// The most shards that one pack lacks, on lost drives or elsewhere.
    missing_max: usize,
    /// How many drives may go, whichever, such that packs can be written: with all drives there, and now; none if they cannot be.
    writing_when_whole: Option<usize>,
    writing: Option<usize>,
}

impl Survives {
    /// How many more drives may go before something cannot be read.
    fn more(&self) -> usize {
        self.parity.saturating_sub(self.lost.max(self.missing_max))
    }

    /// In a sentence; what is left only if it `is_known`.
    fn sentence(&self, is_known: bool) -> String {
        let (parity, drives) = (self.parity, self.drives);
        let writes = match self.writing_when_whole {
            Some(0) => "writes of none".to_owned(),
            Some(writing) => format!("writes of any {writing}"),
            None => "writes need more drives, or more failure domains".to_owned(),
        };
        let made = format!("reads survive the loss of any {parity} of {drives} drives, {writes}");
        let why = match (self.lost, self.missing_max) {
            _ if !is_known => return made,
            (0, 0) => return made,
            (0, _) => "shards are missing now".to_owned(),
            (1, _) => "1 is lost now".to_owned(),
            (lost, _) => format!("{lost} are lost now"),
        };
        let reads = format!("{made}; {why}, so {} more may go", self.more());
        match self.writing {
            // That they are refused stands on a line of its own.
            None => reads,
            Some(writing) => format!("{reads}, and {writing} before writes stop"),
        }
    }
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
    use super::Survives;

    #[test]
    fn the_layout_says_what_it_survives_and_how_many_more_may_go() {
        let made = "reads survive the loss of any 2 of 6 drives, writes of any 1";
        let said = |lost, missing_max, writing| {
            let survives = Survives {
                parity: 2,
                drives: 6,
                lost,
                missing_max,
                writing_when_whole: Some(1),
                writing,
            };
            assert_eq!(survives.sentence(false), made);
            survives.sentence(true)
        };
        assert_eq!(said(0, 0, Some(1)), made);
        let one = "; 1 is lost now, so 1 more may go, and 0 before writes stop";
        assert_eq!(said(1, 1, Some(0)), format!("{made}{one}"));
        assert_eq!(
            said(2, 2, None),
            format!("{made}; 2 are lost now, so 0 more may go")
        );
        assert_eq!(
            said(6, 3, None),
            format!("{made}; 6 are lost now, so 0 more may go")
        );
        let missing = "; shards are missing now, so 0 more may go, and 1 before writes stop";
        assert_eq!(said(0, 2, Some(1)), format!("{made}{missing}"));
    }
}
