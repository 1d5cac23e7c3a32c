//! Figures for people and programs: `status`, `vault list`, `scope list`.

use std::collections::HashSet;

use futures::StreamExt;
use net::cluster::{DriveState, DriveStatus, packs_of};
use net::{DriveId, Ledger, PackEntry};
use serde_json::{Value, json};

use crate::operator::{ErrorCode, OperatorError};
use crate::runtime::Runtime;
use crate::serve::S3Front;

/// `status`.
pub(super) async fn status(runtime: &Runtime, front: &S3Front) -> Result<Value, OperatorError> {
    // A drive that was taken away a moment ago is not shown as if it were there.
    runtime.cluster.check_drives().await;
    let cluster = runtime.cluster.status();
    let ledger = runtime.ledger.status();
    let reader = runtime.recorder.reader();
    let lost: HashSet<DriveId> = cluster
        .drives
        .iter()
        .filter(|drive| drive.state == DriveState::Lost)
        .map(|drive| drive.id)
        .collect();
    let risk = packs_at_risk(runtime, &lost).await?;
    let code = runtime.layout.code;
    let writes = runtime.cluster.writable();
    let sum = |figure: fn(&DriveStatus) -> u64| cluster.drives.iter().map(figure).sum::<u64>();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "data": runtime.data.root(),
        "pid": std::process::id(),
        "endpoint": front.endpoint(),
        "uptime_seconds": runtime.since.elapsed().as_secs(),
        "code": code.to_string(),
        "survives": survives(code.data(), code.parity(), cluster.drives.len()),
        "writable": writes.is_ok(),
        "writes_refused_because": writes.err().map(|error| error.to_string()),
        "drives": cluster.drives.iter().map(drive_json).collect::<Vec<_>>(),
        "live_bytes": sum(|drive| drive.live_bytes),
        "garbage_bytes": sum(|drive| drive.garbage_bytes),
        "allocated_bytes": sum(|drive| drive.allocated_bytes),
        "packs": {
            "total": risk.packs,
            "at_risk": risk.at_risk.max(cluster.packs_at_risk),
            "missing_shards_max": risk.missing_max.max(cluster.missing_shards_max),
            "unreadable": risk.unreadable,
        },
        "ledger": {
            "sequence": ledger.position,
            "entries": ledger.entries,
            "bytes": ledger.log_bytes,
            "state": if ledger.fenced { "failed" } else if ledger.full { "full" } else { "serving" },
        },
        "activity": {
            "records": reader.len(),
            "log_key": reader.key().to_string(),
        },
        "vaults": vaults(runtime)?,
    }))
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
            "objects": usage.iter().map(|(_, objects, _)| objects).sum::<u64>(),
            "bytes": usage.iter().map(|(_, _, bytes)| bytes).sum::<u64>(),
        }));
    }
    Ok(rows)
}

/// `scope list`.
pub(super) async fn scopes(runtime: &Runtime, vault: Option<&str>) -> Result<Value, OperatorError> {
    let session = runtime.session(vault)?;
    let mut rows = Vec::new();
    for (name, objects, bytes) in session.usage()? {
        let bucket = session.bucket(&name).await?;
        rows.push(json!({
            "scope": name,
            "scope_id": bucket.scope.to_string(),
            "created_ms": bucket.created_ms,
            "objects": objects,
            "bytes": bytes,
        }));
    }
    Ok(json!({"vault_id": session.vault().to_string(), "scopes": rows}))
}

/// What the layout survives, in a sentence.
pub(super) fn survives(data: usize, parity: usize, drives: usize) -> String {
    let need = data + parity.div_ceil(2);
    let writes = drives.saturating_sub(need);
    format!("reads survive the loss of any {parity} of {drives} drives, writes go on with {writes} lost")
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
    })
}

#[derive(Default)]
struct Risk {
    packs: u64,
    at_risk: u64,
    unreadable: u64,
    missing_max: usize,
}

/// Counts the packs with shards on lost drives. The cluster itself knows only of those lost while it ran.
async fn packs_at_risk(runtime: &Runtime, lost: &HashSet<DriveId>) -> Result<Risk, OperatorError> {
    let mut risk = Risk::default();
    let mut packs = packs_of(&runtime.ledger);
    while let Some(entry) = packs.next().await {
        let entry = entry.map_err(|error| OperatorError::new(ErrorCode::Failed, error.to_string()))?;
        risk.add(&entry, lost);
    }
    Ok(risk)
}

impl Risk {
    fn add(&mut self, entry: &PackEntry, lost: &HashSet<DriveId>) {
        self.packs += 1;
        let geometry = &entry.summary.geometry;
        let missing = entry
            .drives
            .iter()
            .enumerate()
            .filter(|(index, drive)| lost.contains(*drive) && !geometry.is_implied(*index))
            .count();
        if missing > 0 {
            self.at_risk += 1;
            self.missing_max = self.missing_max.max(missing);
        }
        if missing > geometry.code.parity() {
            self.unreadable += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::survives;

    #[test]
    fn the_default_layout_says_what_it_survives() {
        assert_eq!(
            survives(4, 2, 6),
            "reads survive the loss of any 2 of 6 drives, writes go on with 1 lost"
        );
    }
}
