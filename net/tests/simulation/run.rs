//! One run: a world, its clients and its faults for so many steps, then the faults end and everything has to come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::Faults;
use crate::fleet::Fleet;
use crate::world::World;
use crate::{census, keeper};

/// What a run was.
pub struct Outcome {
    pub verdict: Result<(), String>,
    pub hash: u64,
    pub steps: u64,
    /// Operations with an outcome and without.
    pub operations: (usize, usize),
}

/// Within so much simulated time a cluster without faults has every shard of every pack again.
const WHOLE_WITHIN: Duration = Duration::from_secs(300);

/// Within so much every gateway has noticed it.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Carries out a run on this thread, under a clock that jumps from one event to the next.
pub fn run(seed: u64, steps: u64, shown: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(simulate(seed, steps, shown)),
        Err(error) => Outcome {
            verdict: Err(format!("no runtime: {error}")),
            hash: 0,
            steps: 0,
            operations: (0, 0),
        },
    }
}

async fn simulate(seed: u64, steps: u64, shown: bool) -> Outcome {
    let world = World::new(seed, steps, shown).await;
    let fleet = Fleet::new(Arc::clone(&world));
    let gateways = world.gateways().len();
    for number in 0..gateways {
        fleet.start(number).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..world.random.between(2, 6) {
        tasks.spawn(Arc::clone(&fleet).client());
    }
    tasks.spawn(Faults::new(Arc::clone(&fleet)).run());
    while !world.trace.is_over() {
        world.trace.over.notified().await;
    }
    let (hash, taken) = (world.trace.hash(), world.trace.steps());
    if world.trace.verdict().is_ok() {
        Faults::end_all(&fleet).await;
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                world.trace.wrong(format!("a task of the run failed: {error}"));
            }
        }
        come_back(&fleet).await;
    }
    if world.trace.verdict().is_ok()
        && let Err(why) = fleet.histories.check()
    {
        world.trace.wrong(why);
    }
    world.end();
    Outcome {
        verdict: world.trace.verdict(),
        hash,
        steps: taken,
        operations: fleet.histories.count(),
    }
}

/// The end of a run: every shard comes back, and at every gateway every object is what its history says, and can be written.
async fn come_back(fleet: &Arc<Fleet>) {
    let world = &fleet.world;
    let began = Instant::now();
    if world.agreed.grants_leases {
        // Whoever was started last may write.
        fleet.crash(0);
        fleet.start(0).await;
    }
    let mut lacks = None;
    while began.elapsed() < WHOLE_WITHIN {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if let Some(gateway) = fleet.gateway(0) {
            keeper::repair(&gateway).await;
        }
        lacks = census::lacks(world).await;
        if lacks == Some(0) {
            break;
        }
    }
    if lacks != Some(0) {
        return world.trace.wrong(format!(
            "{WHOLE_WITHIN:?} after the last fault {lacks:?} shards are missing"
        ));
    }
    // A drive that was made anew a moment ago is known to each gateway once that has asked its peers again.
    tokio::time::sleep(NOTICED_WITHIN).await;
    let gateways = world.gateways().len();
    for number in 0..gateways {
        if world.agreed.grants_leases {
            fleet.crash(number);
            fleet.start(number).await;
        }
        let Some(gateway) = fleet.gateway(number) else {
            world
                .trace
                .wrong(format!("gateway {number} does not serve after the last fault"));
            continue;
        };
        let key = world.random.below(fleet.keys);
        if let Err(why) = gateway.put(key, false).await {
            let what = format!("gateway {number} cannot put object {key}, without any fault: {why:?}");
            world.trace.wrong(what);
        }
        let listed = gateway.list(fleet.keys).await;
        for key in 0..fleet.keys {
            let got = gateway.get(key).await;
            match (&listed, got) {
                (Ok(listed), Ok(got)) if listed[key as usize] == got => {}
                (listed, got) => world.trace.wrong(format!(
                    "object {key} at gateway {number}, without any fault: got {got:?}, listed {listed:?}"
                )),
            }
        }
    }
    if let Some(followed) = fleet.gateway(0).and_then(|gateway| gateway.followed.clone()) {
        if let Err(why) = world.agree(&followed).await {
            world.trace.wrong(why);
        }
        world.check_answers();
    }
}
