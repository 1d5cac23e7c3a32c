//! Work on the drives: repair, scrub and collection. One of them at a time.

use std::path::Path;

use futures::FutureExt;
use net::cluster::{Progress, RepairOptions, detection, packs_of};
use s3_gateway::session::CollectOptions;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::key_store::random;
use crate::operator::{ErrorCode, OperatorError};
use crate::request::{OnStep, Step};
use crate::runtime::Runtime;

/// Whether two paths lead to one directory, which may itself be missing.
fn is_same_place(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| {
        let there = path.canonicalize().ok();
        there.or_else(|| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?)))
    };
    one == other || resolved(one).is_some_and(|one| Some(one) == resolved(other))
}

/// Whether somebody who typed `typed`, which was made absolute since, means this drive: a directory, or a storage peer and its drive
/// with or without the kind of the peer's key.
fn is_meant(drive: &Path, typed: &Path) -> bool {
    match drive.to_str().and_then(|drive| drive.strip_prefix("ed25519:")) {
        Some(short) => typed.ends_with(drive) || typed.ends_with(short),
        None => is_same_place(drive, typed),
    }
}

/// `repair`.
pub(super) async fn repair(
    runtime: &Runtime,
    replace: Vec<String>,
    accept_risk: bool,
    on_step: OnStep<'_>,
) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    let drives = runtime.cluster.status().drives;
    let known = |dir: String| {
        let mut drives = drives.iter().map(|drive| &drive.dir);
        let found = drives.find(|drive| is_meant(drive, Path::new(&dir)));
        found.cloned().ok_or_else(|| {
            let message = format!(
                "{dir} is no drive of this layout: `cairn status` shows them; `cairn up --drive …` adds and moves them"
            );
            OperatorError::new(ErrorCode::BadRequest, message)
        })
    };
    let replace = replace.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let options = RepairOptions {
        recreate: true,
        replace,
        deep: false,
        accept_risk,
    };
    let mut show = |progress: Progress| {
        let note = format!("{} shards rebuilt", progress.shards_rebuilt);
        on_step(step(progress, "packs", note));
    };
    let ledger = runtime.ledger.shared();
    let packs = || packs_of(&*ledger);
    let report = runtime
        .cluster
        .repair(&packs, &options, &mut show)
        .await
        .map_err(failed)?;
    Ok(json!({
        "complete": report.is_complete() && report.lost.is_empty(),
        "packs": report.packs,
        "shards_checked": report.shards_checked,
        "shards_rebuilt": report.shards_rebuilt,
        "bytes_rebuilt": report.bytes_rebuilt,
        "shards_bad": report.shards_bad,
        "shards_missing": report.still_missing,
        "packs_unreadable": report.packs_unreadable,
        "drives_recreated": report.recreated,
        "drives_reattached": report.reattached,
        "drives_lost": report.lost,
    }))
}

/// `scrub`.
pub(super) async fn scrub(runtime: &Runtime, on_step: OnStep<'_>) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    let sessions = runtime.sessions.all();
    let lookup = |pack| {
        let found = sessions
            .iter()
            .find_map(|session| session.pack_entry(&pack).ok().flatten());
        async move { Ok(found) }.boxed()
    };
    let mut show = |progress: Progress| {
        let note = format!("{} shards rebuilt", progress.shards_rebuilt);
        on_step(step(progress, "shards", note));
    };
    let report = runtime.cluster.scrub(&lookup, &mut show).await.map_err(failed)?;
    // The drives only know what they have: what they should have is asked of the ledger.
    let ledger = runtime.ledger.shared();
    let packs = || packs_of(&*ledger);
    let tally = runtime.cluster.tally(&packs).await.map_err(failed)?;
    Ok(json!({
        "clean": report.unrepaired == 0 && tally.missing == 0,
        "shards_missing": tally.missing,
        "packs_unreadable": tally.unreadable,
        "shards_checked": report.shards_checked,
        "bytes_checked": report.bytes_checked,
        "shards_bad": report.shards_bad,
        "shards_rebuilt": report.shards_rebuilt,
        "shards_orphaned": report.orphans,
        "shards_unrepaired": report.unrepaired,
    }))
}

/// `verify --challenge`.
pub(super) async fn challenge(
    runtime: &Runtime,
    samples: u64,
    on_step: OnStep<'_>,
) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    let seed = random().map_err(failed)?;
    let mut show = |progress: Progress| {
        on_step(step(progress, "shards", String::new()));
    };
    let ledger = runtime.ledger.shared();
    let packs = || packs_of(&*ledger);
    let samples = usize::try_from(samples).unwrap_or(usize::MAX);
    let cluster = &runtime.cluster;
    let report = cluster.challenge(&packs, samples, &seed, &mut show).await;
    let report = report.map_err(failed)?;
    let drives = cluster.status().drives;
    let failed_drives: Vec<_> = drives
        .iter()
        .filter_map(|drive| {
            let shards = report.failed.get(&drive.id)?;
            Some(json!({"number": drive.number, "drive": drive.dir, "shards": shards}))
        })
        .collect();
    let detection = BAD_PERCENT.map(|bad| {
        let percent = 100.0 * detection(report.shards, report.asked, bad / 100.0);
        json!({"bad_percent": bad, "percent": percent})
    });
    Ok(json!({
        "shards": report.shards,
        "asked": report.asked,
        "proven": report.proven,
        "unanswered": report.unanswered,
        "failed": report.failed.values().sum::<u64>(),
        "drives_failed": failed_drives,
        "detection": detection,
    }))
}

/// For so many bad shards of a hundred it is said how likely a sample finds one.
const BAD_PERCENT: [f64; 3] = [0.1, 1.0, 10.0];

/// `gc`: returns when nothing more can be collected.
pub(super) async fn gc(runtime: &Runtime, on_step: OnStep<'_>) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    let mut totals = Totals::default();
    let before = allocated(runtime).await;
    for session in runtime.sessions.all() {
        let show = |progress: s3_gateway::session::Progress| {
            on_step(Step {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.to_owned(),
                note: progress.note,
            });
        };
        let report = session
            .collect(CollectOptions { everything: true }, &show)
            .await?;
        totals.packs_deleted += report.packs_deleted;
        totals.bytes_moved += report.bytes_moved;
        totals.incomplete |= report.incomplete;
        totals.held_back |= report.held_back;
        totals.bytes_rewritten += report.bytes_rewritten;
        totals.live_bytes += report.live_bytes;
    }
    let after = allocated(runtime).await;
    Ok(json!({
        "complete": !totals.incomplete,
        "held_back": totals.held_back,
        "packs_deleted": totals.packs_deleted,
        "bytes_moved": totals.bytes_moved,
        "bytes_rewritten": totals.bytes_rewritten,
        "bytes_freed": before.saturating_sub(after),
        "allocated_bytes_before": before,
        "allocated_bytes": after,
        "live_bytes": totals.live_bytes,
    }))
}

#[derive(Default)]
struct Totals {
    packs_deleted: u64,
    incomplete: bool,
    held_back: bool,
    bytes_moved: u64,
    bytes_rewritten: u64,
    live_bytes: u64,
}

/// Bytes that the files of all drives take now.
async fn allocated(runtime: &Runtime) -> u64 {
    // Of a peer's drives is known what it said last.
    runtime.cluster.check_drives().await;
    let status = runtime.cluster.status();
    status.drives.iter().map(|drive| drive.allocated_bytes).sum()
}

/// How far work of the cluster client is, as a command shows it.
pub(super) fn step(progress: Progress, unit: &str, note: String) -> Step {
    Step {
        done: progress.done,
        total: progress.total,
        unit: unit.to_owned(),
        note,
    }
}

pub(super) fn alone(runtime: &Runtime) -> Result<MutexGuard<'_, ()>, OperatorError> {
    runtime.tending.try_lock().map_err(|_| {
        OperatorError::new(
            ErrorCode::Busy,
            "a repair, scrub, rebalance or gc is under way: wait until it is done",
        )
    })
}

pub(super) fn failed(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::new(ErrorCode::Failed, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_is_missing_is_known_by_any_path_that_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let drives = dir.path().join("drives");
        std::fs::create_dir(&drives).unwrap();
        let drive = drives.join("0");
        let round_about = drives.join("../drives/0");
        assert!(is_same_place(&drive, &round_about));
        assert!(!is_same_place(&drive, &drives.join("../drives/1")));
        std::fs::create_dir(&drive).unwrap();
        assert!(is_same_place(&drive, &round_about));
        assert!(!is_same_place(Path::new("/nowhere/0"), Path::new("/elsewhere/0")));
    }

    #[test]
    fn a_storage_peers_drive_is_known_by_the_name_that_status_shows() {
        let drive = Path::new("ed25519:38dcf967/8260d6a3");
        for typed in ["/here/ed25519:38dcf967/8260d6a3", "/here/38dcf967/8260d6a3"] {
            assert!(is_meant(drive, Path::new(typed)), "{typed}");
        }
        assert!(!is_meant(drive, Path::new("/here/8260d6a3")));
        assert!(!is_meant(Path::new("/drives/0"), Path::new("/here/drives/0")));
    }
}
