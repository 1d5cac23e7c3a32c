//! Crash states of a history, drawn evenly over its operations and tried on all cores.

use super::work::{Draw, ROOT};
use super::{Answered, History, observe};
use crate::rig::{Opening, Rig, body};
use engine::disk::{CrashChoice, Disk, SimDisk};
use net::cluster::DriveState;
use s3_gateway::session::CollectOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// States in all, in CI; with those of the rooms below more than 20,000.
const STATES: usize = 9_000;

/// A test's share, in hundredths, of all states.
pub fn share(hundredths: usize) -> usize {
    let all = std::env::var("CAIRN_CRASH_STATES").ok();
    let all = all.map_or(STATES, |all| all.parse().unwrap());
    all * hundredths / 100
}

/// A seed of this run.
pub fn seeded(seed: u64) -> u64 {
    let drawn = std::env::var("CAIRN_CRASH_SEED").ok();
    drawn.map_or(0, |drawn| drawn.parse::<u64>().unwrap() << 8) + seed
}

/// One crash: after so many operations, leaving this choice of what was not synced.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    pub number: usize,
    pub at: usize,
    pub choice: CrashChoice,
}

/// `states` crashes: every operation with all and with nothing of the unsynced kept, and then seeded mixtures of it; an even
/// sample of these when there are more.
pub fn crashes(history: &History, states: usize, seed: u64) -> Vec<Crash> {
    let places = history.disk.ops() + 1;
    let rounds = states.div_ceil(places).max(3);
    let all = places * rounds;
    let mut draw = Draw(seed);
    let crash = |number: usize| {
        let nth = number * all / states;
        let choice = match nth % rounds {
            0 => CrashChoice::DropAll,
            1 => CrashChoice::KeepAll,
            _ => CrashChoice::Seeded(draw.below(u64::MAX)),
        };
        Crash {
            number,
            at: nth / rounds,
            choice,
        }
    };
    (0..states).map(crash).collect()
}

/// Tries every crash, on all cores. Panics with the first that fails.
pub fn try_all(crashes: &[Crash], try_one: impl AsyncFn(Crash) -> Result<(), String> + Sync) {
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|threads| {
        for _ in 0..cores {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .unwrap();
                while let Some(crash) = crashes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let tried = runtime.block_on(try_one(*crash));
                    if let Err(wrong) = tried {
                        next.store(crashes.len(), Ordering::Relaxed);
                        panic!("{crash:?}: {wrong}");
                    }
                }
            });
        }
    });
}

/// Opens what a crash left.
pub async fn reopen(disk: &SimDisk, opening: Opening) -> Result<Rig, String> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let rig = Rig::open_with(disk, Path::new(ROOT), opening).await;
    let rig = rig.map_err(|error| format!("does not open: {error}"))?;
    let drives = rig.cluster.status().drives;
    match drives.iter().find(|drive| drive.state != DriveState::Present) {
        Some(lost) => Err(format!("drive {} is {:?}", lost.number, lost.reason)),
        None => Ok(rig),
    }
}

/// What must hold after every crash.
pub async fn check(history: &History, answered: &Answered, rig: &Rig) -> Result<(), String> {
    let seen = observe(rig).await?;
    history.judge(answered, &seen)
}

/// That a vault which came back takes writes.
pub async fn check_new_write(rig: &Rig, seed: u64) -> Result<(), String> {
    let text = |error: s3_gateway::session::SessionError| format!("a write after the crash: {error}");
    let bucket = rig.bucket("after").await;
    let new = body(seed, 2_000);
    rig.put(&bucket, "after", &new).await.map_err(text)?;
    let read = rig.get(&bucket, "after").await.map_err(text)?;
    (read == new)
        .then_some(())
        .ok_or_else(|| "a write after the crash reads back otherwise".to_owned())
}

/// That the collector finds all that the crash left behind, and nothing else.
pub async fn check_collection(history: &History, answered: &Answered, rig: &Rig) -> Result<(), String> {
    let options = CollectOptions { everything: true };
    let collected = rig.session.collect(options, &|_| {}).await;
    collected.map_err(|error| format!("collecting: {error}"))?;
    check(history, answered, rig).await?;
    let mut after = None;
    loop {
        let page = rig.cluster.listed_packs(rig.session.vault().0, after, 100).await;
        for pack in page.packs {
            let entry = rig.session.pack_entry(&pack.id);
            if entry.map_err(|error| error.to_string())?.is_none() {
                return Err(format!("pack {} is stored and no entry names it", pack.id));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}
