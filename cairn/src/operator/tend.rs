//! Work on the drives: repair, scrub and collection. One of them at a time.

use std::path::PathBuf;

use futures::FutureExt;
use net::cluster::{Progress, RepairOptions, packs_of};
use s3_gateway::session::CollectOptions;
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::operator::{ErrorCode, OperatorError};
use crate::request::{OnStep, Step};
use crate::runtime::Runtime;

/// `repair`.
pub(super) async fn repair(
    runtime: &Runtime,
    replace: Vec<String>,
    accept_risk: bool,
    on_step: OnStep<'_>,
) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    let replace: Vec<PathBuf> = replace.into_iter().map(PathBuf::from).collect();
    if let Some(unknown) = replace.iter().find(|dir| !runtime.layout.drives.contains(dir)) {
        let message = format!(
            "{} is no drive of this layout: `cairn status` shows them; `cairn up --drive …` adds and moves them",
            unknown.display()
        );
        return Err(OperatorError::new(ErrorCode::BadRequest, message));
    }
    let options = RepairOptions {
        recreate: true,
        replace,
        deep: false,
        accept_risk,
    };
    let mut show = |progress: Progress| {
        let note = format!("{} shards rebuilt", progress.shards_rebuilt);
        on_step(Step {
            done: progress.done,
            total: progress.total,
            unit: "packs".to_owned(),
            note,
        });
    };
    let packs = || packs_of(&runtime.ledger);
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
        on_step(Step {
            done: progress.done,
            total: progress.total,
            unit: "shards".to_owned(),
            note,
        });
    };
    let report = runtime.cluster.scrub(&lookup, &mut show).await.map_err(failed)?;
    Ok(json!({
        "clean": report.unrepaired == 0,
        "shards_checked": report.shards_checked,
        "bytes_checked": report.bytes_checked,
        "shards_bad": report.shards_bad,
        "shards_rebuilt": report.shards_rebuilt,
        "shards_orphaned": report.orphans,
        "shards_unrepaired": report.unrepaired,
    }))
}

/// `gc`: returns when nothing more can be collected.
pub(super) async fn gc(runtime: &Runtime, on_step: OnStep<'_>) -> Result<Value, OperatorError> {
    let _alone = alone(runtime)?;
    let mut totals = Totals::default();
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
        totals.bytes_rewritten += report.bytes_rewritten;
        totals.bytes_freed += report.bytes_freed;
        totals.live_bytes += report.live_bytes;
        // The drives are the same for every vault: the last figure is the newest.
        totals.allocated_bytes = report.allocated_bytes;
    }
    Ok(json!({
        "complete": !totals.incomplete,
        "packs_deleted": totals.packs_deleted,
        "bytes_moved": totals.bytes_moved,
        "bytes_rewritten": totals.bytes_rewritten,
        "bytes_freed": totals.bytes_freed,
        "allocated_bytes": totals.allocated_bytes,
        "live_bytes": totals.live_bytes,
        "rewrite_ratio": ratio(totals.bytes_moved.saturating_add(totals.bytes_rewritten), totals.bytes_freed),
    }))
}

#[derive(Default)]
struct Totals {
    packs_deleted: u64,
    incomplete: bool,
    bytes_moved: u64,
    bytes_rewritten: u64,
    bytes_freed: u64,
    allocated_bytes: u64,
    live_bytes: u64,
}

/// Bytes rewritten for each byte freed; 0 when nothing was freed.
fn ratio(rewritten: u64, freed: u64) -> f64 {
    if freed == 0 {
        0.0
    } else {
        rewritten as f64 / freed as f64
    }
}

fn alone(runtime: &Runtime) -> Result<MutexGuard<'_, ()>, OperatorError> {
    runtime.tending.try_lock().map_err(|_| {
        OperatorError::new(
            ErrorCode::Busy,
            "a repair, scrub or gc is under way: wait until it is done",
        )
    })
}

fn failed(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::new(ErrorCode::Failed, error.to_string())
}
