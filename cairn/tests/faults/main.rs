//! Faults on real processes: a gateway and six storage peers, one or two of which are killed, stopped, cut off or left without room, under
//! a load whose every answer is checked.
//!
//! A run has three thirds: healthy, with the fault, healed. What is checked: nothing that cannot have been (`register`, `set`); PUTs answered
//! with one storage peer gone, GETs not slower with one frozen (`report`); and that the cluster is whole again afterwards. `net/tests/simulation`
//! does the same on one thread with a simulated network; this is the program itself, with the system's network, disks and signals.
//!
//! Without a word: one run of 20 s, its fault and victim drawn from the seed, which is the day. `-- --seed 7` chooses another,
//! `--fault kill|stop|partition|apart|fill|none --victims 2` or `2,4` names them, `--seconds 60` says how long, `--members 5` how many members the ledger has (3). `--some --runs 10` is each
//! fault on one and on a pair ten times, the victims by turns; `--every` is each on all six and on all pairs. `--json` prints an object a run.
//! `--log-level info` fills the log, which is kept; without it that of a run that failed is, beside its history. As root (or where user namespaces are
//! allowed), with `unshare`, `ip`, `iptables` and `mount` there; what cannot be had is left out, and said.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod cluster;
mod connections;
mod fault;
#[path = "../../../net/tests/simulation/history.rs"]
#[expect(
    unreachable_pub,
    reason = "the simulation's checker, which calls everything public"
)]
mod history;
mod isolation;
mod load;
mod orders;
#[path = "../stories/process.rs"]
#[expect(dead_code, reason = "what the stories need more")]
mod process;
mod random;
mod register;
mod report;
mod set;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::Cluster;
use connections::{Answer, Connections};
use fault::{Fault, Scenario};
use isolation::Can;
use load::Load;
use report::{Report, Windows};

/// What test runners call it.
const NAME: &str = "faults";
/// How long a run is unless it is said.
const SECONDS: u64 = 20;
/// Members of the ledger among the storage peers.
const MEMBERS: u64 = 3;
/// Load before anything is measured: connections are made, code is paged in.
const WARM_UP: Duration = Duration::from_secs(2);

struct Wanted {
    seed: u64,
    seconds: u64,
    /// Of the ledger.
    members: u64,
    runs: u64,
    fault: Option<Fault>,
    victims: Vec<usize>,
    is_some: bool,
    is_every: bool,
    is_json: bool,
    log_level: String,
    /// The log is asked for, so it is kept.
    is_log_kept: bool,
    is_list: bool,
    /// A test runner asks for others, or for tests that are left out, of which there are none.
    is_none_wanted: bool,
}

fn today() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / 86_400)
}

fn wanted() -> Result<Wanted, String> {
    let mut wanted = Wanted {
        seed: today(),
        seconds: SECONDS,
        members: MEMBERS,
        runs: 1,
        fault: None,
        victims: Vec::new(),
        is_some: false,
        is_every: false,
        is_json: false,
        log_level: "warn,openraft=off".to_owned(),
        is_log_kept: false,
        is_list: false,
        is_none_wanted: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        let number = |text: &str| {
            let number = text.parse::<u64>();
            number.map_err(|_| format!("{argument}: {text:?} is no number"))
        };
        match argument.as_str() {
            "--seed" => wanted.seed = number(&value())?,
            "--seconds" => wanted.seconds = number(&value())?.max(3),
            "--members" => wanted.members = number(&value())?,
            "--runs" => wanted.runs = number(&value())?,
            "--fault" => {
                let name = value();
                let fault = Fault::named(&name);
                wanted.fault = Some(fault.ok_or_else(|| format!("{name:?} is no fault"))?);
            }
            "--victims" => {
                let text = value();
                let victims = text.split(',').filter(|victim| !victim.is_empty());
                let victims = victims.map(|victim| victim.parse().ok().filter(|node| *node < cluster::NODES));
                let victims: Option<Vec<usize>> = victims.collect();
                wanted.victims = victims.ok_or_else(|| format!("{text:?} names no storage peers: 0 to 5"))?;
            }
            "--some" => wanted.is_some = true,
            "--every" => wanted.is_every = true,
            "--json" => wanted.is_json = true,
            "--log-level" => {
                wanted.log_level = format!("openraft=off,{}", value());
                wanted.is_log_kept = true;
            }
            "--list" => wanted.is_list = true,
            "--ignored" => wanted.is_none_wanted = true,
            // What test runners say to every test, and names of the tests that are wanted.
            "--format" | "--color" | "--test-threads" | "--skip" => drop(value()),
            name if !name.starts_with('-') => wanted.is_none_wanted |= !NAME.contains(name),
            _ => {}
        }
    }
    Ok(wanted)
}

fn scenarios(wanted: &Wanted, can: Can) -> Result<Vec<Scenario>, String> {
    if wanted.is_every {
        return Ok(fault::every(wanted.seed, wanted.runs));
    }
    if wanted.is_some {
        return Ok(fault::some(wanted.seed, wanted.runs));
    }
    let drawn = fault::one(wanted.seed, can);
    let asked = match (wanted.fault, wanted.victims.is_empty()) {
        (None, true) => drawn,
        (Some(Fault::None), _) => Scenario {
            fault: Fault::None,
            victims: Vec::new(),
            ..drawn
        },
        (fault, is_drawn) => Scenario {
            fault: fault.unwrap_or(drawn.fault),
            victims: if is_drawn {
                drawn.victims
            } else {
                wanted.victims.clone()
            },
            seed: wanted.seed,
        },
    };
    if !asked.fault.takes(asked.victims.len()) {
        return Err(format!(
            "{} cannot happen to {:?}",
            asked.fault.name(),
            asked.victims
        ));
    }
    let again = |run| Scenario {
        seed: asked.seed + run,
        ..asked.clone()
    };
    Ok((0..wanted.runs).map(again).collect())
}

/// Where the log and the history of a run lie until it has passed.
fn kept(scenario: &Scenario, what: &str) -> PathBuf {
    let victims: Vec<String> = scenario.victims.iter().map(ToString::to_string).collect();
    let name = format!(
        "faults-{}-{}-{}.{what}",
        scenario.fault.name(),
        victims.join("-"),
        scenario.seed
    );
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Carries out one run.
async fn run(scenario: &Scenario, wanted: &Wanted) -> Report {
    let (log, log_level) = (kept(scenario, "log"), wanted.log_level.clone());
    let mut cluster = Cluster::start(scenario.small(), wanted.members, &log, &log_level);
    let load = Arc::new(Load::new(Connections::new(cluster.host(), cluster.key())));
    let made = load.make_bucket().await;
    assert!(matches!(made, Answer::Done(..)), "{made:?}");
    let (start, third) = (Instant::now() + WARM_UP, Duration::from_secs(wanted.seconds) / 3);
    let lasts = WARM_UP + Duration::from_secs(wanted.seconds);
    let running = tokio::spawn(Arc::clone(&load).run(scenario.seed, start - WARM_UP, lasts));

    tokio::time::sleep_until((start + third).into()).await;
    let fault = Instant::now();
    let doing = scenario.clone();
    cluster = tokio::task::spawn_blocking(move || {
        doing.make(&cluster);
        cluster
    })
    .await
    .unwrap();
    tokio::time::sleep_until((start + third * 2).into()).await;
    let healed = Instant::now();
    let doing = scenario.clone();
    cluster = tokio::task::spawn_blocking(move || {
        doing.heal(&mut cluster, &log, &log_level);
        cluster
    })
    .await
    .unwrap();
    running.await.unwrap();
    let windows = Windows {
        start,
        fault,
        healed,
        end: start + third * 3,
    };
    let (cluster, whole) = tokio::task::spawn_blocking(move || {
        let whole = cluster.whole();
        (cluster, whole)
    })
    .await
    .unwrap();
    let mut anomalies = Arc::clone(&load).read_everything().await;
    anomalies.extend(load.registers.anomalies());
    anomalies.extend(load.set.anomalies());
    anomalies.extend(whole.as_ref().err().cloned());
    let report = Report {
        scenario: scenario.clone(),
        windows,
        samples: load.samples(),
        anomalies,
        whole: whole.ok(),
        is_shared: std::env::var_os("NEXTEST").is_some(),
    };
    if !report.failures().is_empty() {
        let told = load.registers.told() + &load.set.told();
        std::fs::write(kept(scenario, "history"), told).unwrap();
    }
    tokio::task::spawn_blocking(|| cluster.stop()).await.unwrap();
    report
}

/// Carries out every run; how many failed.
fn all(scenarios: &[Scenario], wanted: &Wanted, can: Can) -> usize {
    let (mut failed, mut left_out) = (0, 0);
    for scenario in scenarios {
        if !scenario.fault.can_be(can) {
            left_out += 1;
            continue;
        }
        eprintln!("run: {}", scenario.again(wanted.seconds));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let report = runtime.block_on(run(scenario, wanted));
        match wanted.is_json {
            true => println!("{}", report.json()),
            false => println!("{}", report.line()),
        }
        let failures = report.failures();
        if failures.is_empty() {
            match wanted.is_log_kept {
                true => eprintln!("its log: {}", kept(scenario, "log").display()),
                false => drop(std::fs::remove_file(kept(scenario, "log"))),
            }
            continue;
        }
        failed += 1;
        for failure in &failures {
            eprintln!("FAILED: {failure}");
        }
        eprintln!(
            "again: {}\nits log and history: {}, {}",
            scenario.again(wanted.seconds),
            kept(scenario, "log").display(),
            kept(scenario, "history").display()
        );
    }
    if left_out > 0 {
        eprintln!(
            "LEFT OUT: {left_out} of {} runs, for which this machine has no means: {can:?}",
            scenarios.len()
        );
    }
    eprintln!(
        "{} runs of {} s: {failed} failed",
        scenarios.len() - left_out,
        wanted.seconds
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
    let checked = register::self_test().and_then(|()| orders::self_test());
    let checked = checked.and_then(|()| set::self_test());
    if let Err(why) = checked.and_then(|()| report::self_test()) {
        println!("{why}");
        return ExitCode::FAILURE;
    }
    if let Some(code) = isolation::inside() {
        return code;
    }
    let can = Can::find_out();
    if can != Can::EVERYTHING {
        eprintln!(
            "note: not every fault can be made here, and those that cannot are left out: {can:?} (root or user namespaces, unshare, iproute2, iptables, mount)"
        );
    }
    let scenarios = match scenarios(&wanted, can) {
        Ok(scenarios) => scenarios,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    match all(&scenarios, &wanted, can) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
