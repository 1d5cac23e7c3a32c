//! The cluster in a simulated world: peers, gateways and a ledger on one thread, under a clock that jumps, with one source of chance.
//!
//! What goes wrong is in `faults`, what is checked in `run` and `history`. Invariant: a seed is a run; the same seed gives the same events in
//! the same order, and a seed of which that is not true is a failure as well.
//!
//! `cargo test -p net --test simulation -- --seed 7 --trace` shows one run; `--seeds 0..500` carries out many, `--steps 10000` says how long
//! each is. Without a word 500 seeds are run, 10 under nextest.
#![expect(
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test; the threads are one for each core"
)]

mod census;
mod faults;
mod fleet;
mod gateway;
mod history;
mod keeper;
mod lease;
mod ledger;
mod ledger_faults;
mod members;
mod object;
mod operator;
mod random;
mod records;
mod run;
mod trace;
mod wire;
mod world;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// What test runners call it.
const NAME: &str = "seeds";
/// Seeds of the ordinary test command, ...
const SEEDS: u64 = 500;
/// ... and where every test is run many times a day.
const SEEDS_OF_NEXTEST: u64 = 10;
/// Of so many seeds one is run twice.
const TWICE: u64 = 100;
/// Seeds that are run at one time.
const THREADS: usize = 2;

struct Wanted {
    seeds: Range<u64>,
    steps: u64,
    shown: bool,
    is_list: bool,
    /// A test runner asks for others, or for tests that are left out, of which there are none.
    is_none_wanted: bool,
}

fn wanted() -> Result<Wanted, String> {
    let is_nextest = std::env::var_os("NEXTEST").is_some();
    let mut wanted = Wanted {
        seeds: 0..if is_nextest { SEEDS_OF_NEXTEST } else { SEEDS },
        steps: 10_000,
        shown: false,
        is_list: false,
        is_none_wanted: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>()
                .map_err(|_| format!("{argument}: {text:?} is no number"))
        };
        match argument.as_str() {
            "--seed" => {
                let seed = number()?;
                wanted.seeds = seed..seed + 1;
            }
            "--steps" => wanted.steps = number()?,
            "--seeds" => {
                let text = arguments.next().unwrap_or_default();
                let ends = text
                    .split_once("..")
                    .and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
                wanted.seeds = ends.ok_or_else(|| format!("{text:?} is not of the form 0..500"))?;
            }
            "--trace" => wanted.shown = true,
            "--list" => wanted.is_list = true,
            "--ignored" => wanted.is_none_wanted = true,
            // What test runners say to every test, and names of the tests that are wanted.
            "--format" | "--color" | "--test-threads" | "--skip" => drop(arguments.next()),
            name if !name.starts_with('-') => wanted.is_none_wanted |= !NAME.contains(name),
            _ => {}
        }
    }
    Ok(wanted)
}

/// One seed, now and then twice; what is wrong with it.
fn examine(seed: u64, wanted: &Wanted) -> Result<run::Outcome, String> {
    let first = run::run(seed, wanted.steps, wanted.shown);
    first.verdict.clone()?;
    if seed.is_multiple_of(TWICE) {
        let second = run::run(seed, wanted.steps, false);
        if (first.hash, first.steps) != (second.hash, second.steps) {
            return Err("two runs of it differ".to_owned());
        }
    }
    Ok(first)
}

fn all(wanted: &Wanted) -> usize {
    let next = AtomicU64::new(wanted.seeds.start);
    let failed = AtomicUsize::new(0);
    let sums = Mutex::new((0, 0, 0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= wanted.seeds.end {
                        return;
                    }
                    match examine(seed, wanted) {
                        Ok(outcome) => {
                            let mut sums = sums.lock().expect("no thread panics");
                            sums.0 += outcome.steps;
                            sums.1 += outcome.operations.0;
                            sums.2 += outcome.operations.1;
                        }
                        Err(why) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            let steps = wanted.steps;
                            println!(
                                "seed {seed}: {why}\nagain: cargo test -p net --test simulation -- --seed {seed} --steps {steps} --trace"
                            );
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    let (steps, known, unknown) = *sums.lock().expect("no thread panics");
    println!(
        "seeds {}..{}: {failed} failed; {steps} steps, {known} operations with an outcome and {unknown} without, {:.1} s",
        wanted.seeds.start,
        wanted.seeds.end,
        began.elapsed().as_secs_f64()
    );
    failed
}

fn main() -> ExitCode {
    let wanted = match wanted() {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if wanted.is_list && !wanted.is_none_wanted {
        println!("{NAME}: test");
    }
    if wanted.is_list || wanted.is_none_wanted {
        return ExitCode::SUCCESS;
    }
    if let Err(why) = history::self_test() {
        println!("{why}");
        return ExitCode::FAILURE;
    }
    match all(&wanted) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
