//! Crash states of a whole vault: whatever moment the power goes, and whatever of the unsynced writes is lost, torn or kept,
//! exactly what was acknowledged is there afterwards, and a write works.
//!
//! `CAIRN_CRASH_STATES` sets how many states are tried in all, `CAIRN_CRASH_SEED` draws other workloads and other crashes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod rig;

use crash::History;
use crash::states::{check, check_collection, check_new_write, crashes, reopen, seeded, share, try_all};
use crash::work::{Draw, Work};
use engine::disk::CrashChoice;
use rig::{Opening, body};
use s3_gateway::session::{CollectOptions, Condition, PART_BYTES_MIN};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn record(work: impl Future<Output = Arc<History>>) -> Arc<History> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

fn small(seed: u64, steps: u64) -> Arc<History> {
    record(async {
        let work = Work::begin(seed, Opening::tiny(true)).await;
        work.small(&mut Draw(seed), steps).await.finish().await
    })
}

/// Tries states of a workload of everything but large bodies.
fn mixed_work(seed: u64, states: usize) {
    let history = small(seed, 64);
    let crashes = crashes(&history, states, seed);
    println!(
        "seed {seed}: {} states of {} operations",
        crashes.len(),
        history.disk.ops()
    );
    try_all(&crashes, async |crash| {
        let answered = history.answered(crash.at);
        let disk = history.disk.crash_state(crash.at, crash.choice);
        let rig = reopen(&disk, Opening::tiny(!answered.opened)).await?;
        check(&history, &answered, &rig).await?;
        if crash.number.is_multiple_of(8) {
            history.judge_activity(&answered, &rig).await?;
        }
        if crash.number.is_multiple_of(16) {
            check_collection(&history, &answered, &rig).await?;
        }
        check_new_write(&rig, crash.at as u64).await
    });
}

#[test]
fn every_crash_of_mixed_work_leaves_exactly_what_was_acknowledged() {
    mixed_work(seeded(1), share(40));
}

#[test]
fn every_crash_of_other_mixed_work_leaves_exactly_what_was_acknowledged() {
    mixed_work(seeded(2), share(24));
}

#[test]
fn a_crash_while_a_vault_recovers_from_a_crash_changes_nothing() {
    let history = small(seeded(3), 40);
    let again = 8;
    let crashes = crashes(&history, share(16) / again, seeded(3));
    println!(
        "{} states of {} operations",
        crashes.len() * again,
        history.disk.ops()
    );
    try_all(&crashes, async |crash| {
        let answered = history.answered(crash.at);
        let first = history.disk.crash_state(crash.at, crash.choice);
        let opening = Opening::tiny(!answered.opened);
        let rig = reopen(&first, opening.clone()).await?;
        rig.session
            .collect(CollectOptions { everything: true }, &|_| {})
            .await
            .map_err(|error| error.to_string())?;
        rig.close().await;
        let mut draw = Draw(crash.number as u64);
        for _ in 0..again {
            let at = draw.below(first.ops() as u64 + 1) as usize;
            let choice = CrashChoice::Seeded(draw.below(u64::MAX));
            let second = first.crash_state(at, choice);
            let context = |wrong| format!("again after {at} with {choice:?}: {wrong}");
            let rig = reopen(&second, opening.clone()).await.map_err(context)?;
            check(&history, &answered, &rig).await.map_err(context)?;
            check_new_write(&rig, at as u64).await.map_err(context)?;
        }
        Ok(())
    });
}

#[test]
fn a_view_of_any_older_moment_catches_up_after_a_crash() {
    let history = small(seeded(4), 64);
    let crashes = crashes(&history, share(14), seeded(4));
    println!("{} states of {} operations", crashes.len(), history.disk.ops());
    let with_view = AtomicUsize::new(0);
    try_all(&crashes, async |crash| {
        let answered = history.answered(crash.at);
        let disk = history.disk.crash_state(crash.at, crash.choice);
        let view = history.view_before(crash.at, crash.number % 24);
        with_view.fetch_add(usize::from(view.is_some()), Ordering::Relaxed);
        let opening = Opening {
            view,
            ..Opening::tiny(!answered.opened)
        };
        let rig = reopen(&disk, opening).await?;
        check(&history, &answered, &rig).await?;
        check_new_write(&rig, crash.at as u64).await
    });
    assert!(with_view.into_inner() > crashes.len() / 2);
}

/// Objects of several packs, and parts of the least size that a completion takes.
fn large(seed: u64) -> Arc<History> {
    record(async move {
        let mut work = Work::begin(seed, Opening::large_packs(true)).await;
        let bucket = work.create_bucket("large").await;
        work.put(&bucket, "two", body(seed, 8_500_000), Condition::None)
            .await;
        work.keep_view();
        work.put(&bucket, "two", body(seed + 1, 8_400_000), Condition::None)
            .await;
        let parts = [body(seed + 2, PART_BYTES_MIN as usize), body(seed + 3, 4_000_000)];
        work.multipart(&bucket, &parts, true).await;
        work.copy(&bucket, "upload1", &bucket, "copy").await;
        work.delete(&bucket, "upload1").await;
        work.collect().await;
        work.delete(&bucket, "two").await;
        work.finish().await
    })
}

#[test]
fn every_crash_among_objects_of_several_packs_leaves_exactly_what_was_acknowledged() {
    let history = large(seeded(5));
    let crashes = crashes(&history, share(6), seeded(5));
    println!("{} states of {} operations", crashes.len(), history.disk.ops());
    try_all(&crashes, async |crash| {
        let answered = history.answered(crash.at);
        let disk = history.disk.crash_state(crash.at, crash.choice);
        let rig = reopen(&disk, Opening::large_packs(!answered.opened)).await?;
        check(&history, &answered, &rig).await?;
        check_new_write(&rig, crash.at as u64).await
    });
}
