//! What a run came to: operations, errors, availability, latencies, and what fails it.
//!
//! Invariant: an operation belongs to the window in which it was due, and its latency counts from there; one that was not answered has taken
//! its whole deadline.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connections::DEADLINE;
use super::fault::{Fault, Scenario};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Put,
    Get,
    Delete,
    List,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    pub(crate) due: Instant,
    pub(crate) ended: Instant,
    /// What kind of error, if nobody knows what became of it.
    pub(crate) error: Option<String>,
    /// It succeeded; the refusal of a condition is an answer too.
    pub(crate) is_done: bool,
}

/// When the run was what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) start: Instant,
    pub(crate) fault: Instant,
    pub(crate) healed: Instant,
    pub(crate) end: Instant,
}

/// The share of PUTs that has to be answered with one storage peer gone.
const AVAILABILITY: f64 = 0.99;
/// How much slower GETs may be with one storage peer frozen.
const SLOWER: u32 = 2;
/// In a short run: a third of it has about 260 GETs, and the third slowest of those is what one turn of the scheduler, or one flush of a disk
/// that others use, makes of it. What this check is for, a read that waits for the frozen peer until a time is up, takes longer than this.
const NOISE: Duration = Duration::from_millis(100);
/// From so long a run on the factor alone counts.
const LONG: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Report {
    pub(crate) scenario: Scenario,
    pub(crate) windows: Windows,
    pub(crate) samples: Vec<Sample>,
    /// What cannot have been, in the histories or after the end.
    pub(crate) anomalies: Vec<String>,
    /// How long it took to be whole again.
    pub(crate) whole: Option<Duration>,
    /// Whether others use the machine as well, so that no latency means anything.
    pub(crate) is_shared: bool,
}

/// Latencies of one kind in one window, sorted.
struct Latencies(Vec<Duration>);

impl Latencies {
    /// The latency that so many of a thousand do not exceed.
    fn at(&self, of_thousand: usize) -> Option<Duration> {
        let rank = (self.0.len() * of_thousand).div_ceil(1000);
        self.0.get(rank.checked_sub(1)?).copied()
    }

    fn json(&self) -> Value {
        let ms = |of_thousand| self.at(of_thousand).map(milliseconds);
        json!({"count": self.0.len(), "p50_ms": ms(500), "p99_ms": ms(990), "max_ms": ms(1000)})
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

impl Report {
    fn within(&self, kind: Kind, from: Instant, until: Instant) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.kind == kind && sample.due >= from && sample.due < until)
    }

    fn latencies(&self, kind: Kind, from: Instant, until: Instant) -> Latencies {
        let took = |sample: &Sample| match sample.error {
            Some(_) => DEADLINE,
            None => sample.ended - sample.due,
        };
        let mut all: Vec<Duration> = self.within(kind, from, until).map(took).collect();
        all.sort_unstable();
        Latencies(all)
    }

    fn healthy(&self, kind: Kind) -> Latencies {
        self.latencies(kind, self.windows.start, self.windows.fault)
    }

    fn in_fault(&self, kind: Kind) -> Latencies {
        self.latencies(kind, self.windows.fault, self.windows.healed)
    }

    /// The share of PUTs in the fault's window that were answered.
    fn availability(&self) -> Option<f64> {
        let puts = self.within(Kind::Put, self.windows.fault, self.windows.healed);
        let (all, answered) = puts.fold((0_u32, 0_u32), |(all, answered), put| {
            (all + 1, answered + u32::from(put.error.is_none()))
        });
        (all > 0).then(|| f64::from(answered) / f64::from(all))
    }

    /// The longest time without a PUT that succeeded, and how long after the start it began.
    fn gap(&self) -> (Duration, Duration) {
        let mut ends: Vec<Instant> = self
            .samples
            .iter()
            .filter(|sample| sample.kind == Kind::Put && sample.is_done)
            .map(|sample| sample.ended)
            .filter(|ended| *ended >= self.windows.start && *ended <= self.windows.end)
            .chain([self.windows.start, self.windows.end])
            .collect();
        ends.sort_unstable();
        let gaps = ends.iter().zip(ends.iter().skip(1));
        let longest = gaps.max_by_key(|(from, until)| **until - **from);
        longest.map_or_else(Default::default, |(from, until)| {
            (*until - *from, *from - self.windows.start)
        })
    }

    fn errors(&self) -> BTreeMap<String, u32> {
        let mut errors = BTreeMap::new();
        for sample in &self.samples {
            if let Some(error) = &sample.error {
                *errors.entry(format!("{:?}: {error}", sample.kind)).or_default() += 1;
            }
        }
        errors
    }

    /// What GETs may take at the 99th percentile with one storage peer frozen.
    fn slowest(&self, healthy: Duration) -> Duration {
        match self.windows.end - self.windows.start >= LONG {
            true => healthy * SLOWER,
            false => (healthy * SLOWER).max(healthy + NOISE),
        }
    }

    /// Everything that fails the run.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = self.anomalies.clone();
        let victims = self.scenario.victims.len();
        if let (Fault::Kill, 1, Some(availability)) = (self.scenario.fault, victims, self.availability())
            && availability < AVAILABILITY
        {
            failures.push(format!(
                "{:.2} % of the PUTs were answered with one storage peer gone",
                availability * 100.0
            ));
        }
        let p99 = (self.healthy(Kind::Get).at(990), self.in_fault(Kind::Get).at(990));
        if let (Fault::Stop, 1, (Some(healthy), Some(frozen))) = (self.scenario.fault, victims, p99)
            && frozen > self.slowest(healthy)
            && !self.is_shared
        {
            failures.push(format!(
                "GET p99 is {} ms with one storage peer frozen, {} ms without",
                milliseconds(frozen),
                milliseconds(healthy)
            ));
        }
        failures
    }

    pub(crate) fn json(&self) -> Value {
        let kinds = |of: &dyn Fn(Kind) -> Latencies| json!({"get": of(Kind::Get).json(), "put": of(Kind::Put).json()});
        let (gap, gap_at) = self.gap();
        let errors = self.errors();
        json!({
            "fault": self.scenario.fault.name(),
            "victims": self.scenario.victims,
            "seed": self.scenario.seed,
            "seconds": (self.windows.end - self.windows.start).as_secs(),
            "operations": self.samples.len(),
            "unknown": errors.values().sum::<u32>(),
            "errors": errors,
            "put_availability_in_fault": self.availability(),
            "healthy": kinds(&|kind| self.healthy(kind)),
            "in_fault": kinds(&|kind| self.in_fault(kind)),
            "longest_gap_without_a_put_ms": milliseconds(gap),
            "that_gap_began_at_s": gap_at.as_secs_f64(),
            "whole_again_after_ms": self.whole.map(milliseconds),
            "failures": self.failures(),
        })
    }

    /// The same for people, on one line.
    pub(crate) fn line(&self) -> String {
        let shown = |latencies: &Latencies| {
            let of = |of_thousand| latencies.at(of_thousand).map_or(0.0, milliseconds);
            format!("{}/{}/{}", of(500), of(990), of(1000))
        };
        let (gap, gap_at) = self.gap();
        let errors = self.errors();
        format!(
            "{} of {:?}, seed {}: {} operations, {} without an outcome {:?}; in the fault {:.2} % of PUTs answered; GET p50/p99/max ms {} healthy, {} in the fault; PUT {}, {}; longest gap without a PUT {} ms at {:.1} s; whole again after {} ms",
            self.scenario.fault.name(),
            self.scenario.victims,
            self.scenario.seed,
            self.samples.len(),
            errors.values().sum::<u32>(),
            errors,
            self.availability().unwrap_or_default() * 100.0,
            shown(&self.healthy(Kind::Get)),
            shown(&self.in_fault(Kind::Get)),
            shown(&self.healthy(Kind::Put)),
            shown(&self.in_fault(Kind::Put)),
            milliseconds(gap),
            gap_at.as_secs_f64(),
            self.whole
                .map_or_else(|| "never".to_owned(), |took| milliseconds(took).to_string()),
        )
    }
}

/// The checks against runs whose verdict is known.
pub(crate) fn self_test() -> Result<(), String> {
    let start = Instant::now();
    let at = |ms: u32| start + Duration::from_millis(u64::from(ms));
    // 20 s: every 10 ms a PUT and a GET that take 5 ms; in the fault one PUT of so many fails, and GETs take longer.
    let report = |fault: Fault, each: u32, slower_ms: u32| {
        let mut samples = Vec::new();
        for number in 0..2_000_u32 {
            let (due, is_fault) = (number * 10, (700..1_400).contains(&number));
            let fails = is_fault && number % each == 0;
            let get = if is_fault { 5 + slower_ms } else { 5 };
            samples.push(Sample {
                kind: Kind::Put,
                due: at(due),
                ended: at(due + 5),
                error: fails.then(|| "503".to_owned()),
                is_done: !fails,
            });
            samples.push(Sample {
                kind: Kind::Get,
                due: at(due),
                ended: at(due + get),
                error: None,
                is_done: true,
            });
        }
        Report {
            scenario: Scenario {
                fault,
                victims: vec![1],
                seed: 0,
            },
            windows: Windows {
                start,
                fault: at(7_000),
                healed: at(14_000),
                end: at(20_000),
            },
            samples,
            anomalies: Vec::new(),
            whole: None,
            is_shared: false,
        }
    };
    let fails = |fault, each, slower_ms| !report(fault, each, slower_ms).failures().is_empty();
    let right =
        !fails(Fault::Kill, 200, 500) && !fails(Fault::Stop, 2, 90) && !fails(Fault::Partition, 2, 500);
    let wrong = fails(Fault::Kill, 80, 0) && fails(Fault::Stop, 2_000, 110);
    match right && wrong {
        true => Ok(()),
        false => Err("the bounds of availability and latency are not those that were promised".to_owned()),
    }
}
