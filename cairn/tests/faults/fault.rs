//! What goes wrong and for whom: which runs there are, and how each fault is made and healed.

use rustix::process::{Signal, kill_process};

use super::cluster::{Cluster, NODES};
use super::isolation::{self, Can, Cut};
use super::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: what the load is without any.
    None,
    /// kill -9; healed by starting it again.
    Kill,
    /// SIGSTOP, SIGCONT.
    Stop,
    /// Cut off from everybody.
    Partition,
    /// Of a pair: cut off from each other only.
    Apart,
    /// Its disk is full.
    Fill,
}

/// Those that can be asked for; nothing goes wrong in none of the others' places.
pub(crate) const FAULTS: [Fault; 5] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Partition,
    Fault::Apart,
    Fault::Fill,
];

impl Fault {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Partition => "partition",
            Self::Apart => "apart",
            Self::Fill => "fill",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = [&[Self::None], &FAULTS[..]].concat().into_iter();
        all.find(|fault| fault.name() == name)
    }

    /// Whether this machine lets a test do it.
    pub(crate) const fn can_be(self, can: Can) -> bool {
        match self {
            Self::None | Self::Kill | Self::Stop => true,
            Self::Partition | Self::Apart => can.drop_packets,
            Self::Fill => can.mount,
        }
    }

    /// Whether it can happen to so many.
    pub(crate) const fn takes(self, victims: usize) -> bool {
        match self {
            Self::None => victims == 0,
            Self::Apart => victims == 2,
            _ => victims == 1 || victims == 2,
        }
    }
}

/// One run: a fault, its victims, and the seed of everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) fault: Fault,
    pub(crate) victims: Vec<usize>,
    pub(crate) seed: u64,
}

fn ones() -> Vec<Vec<usize>> {
    (0..NODES).map(|node| vec![node]).collect()
}

fn pairs() -> Vec<Vec<usize>> {
    let later = |one: usize| (one + 1..NODES).map(move |other| vec![one, other]);
    (0..NODES).flat_map(later).collect()
}

/// Every fault on every one and every pair, so many times.
pub(crate) fn every(seed: u64, runs: u64) -> Vec<Scenario> {
    let victims = [ones(), pairs()].concat();
    let all = FAULTS.iter().flat_map(|fault| {
        let fitting = victims.iter().filter(|victims| fault.takes(victims.len()));
        fitting.map(|victims| (*fault, victims.clone()))
    });
    let again = |(fault, victims): (Fault, Vec<usize>)| {
        (0..runs).map(move |run| Scenario {
            fault,
            victims: victims.clone(),
            seed: seed + run,
        })
    };
    all.flat_map(again).collect()
}

/// So many runs of each fault on one and of each fault on a pair, the victims by turns in an order that the seed gives.
pub(crate) fn some(seed: u64, runs: u64) -> Vec<Scenario> {
    let mut random = Random::new(seed);
    let mut scenarios = Vec::new();
    for victims in [ones(), pairs()] {
        for fault in FAULTS {
            let turns = random.shuffled(victims.clone());
            if !turns.iter().all(|victims| fault.takes(victims.len())) {
                continue;
            }
            let victims = turns.into_iter().cycle();
            scenarios.extend((0..runs).zip(victims).map(|(run, victims)| Scenario {
                fault,
                victims,
                seed: seed + run,
            }));
        }
    }
    scenarios
}

/// One fault on one victim.
pub(crate) fn one(seed: u64, can: Can) -> Scenario {
    let mut random = Random::new(seed);
    let possible = |fault: &Fault| fault.takes(1) && fault.can_be(can);
    let faults: Vec<Fault> = FAULTS.into_iter().filter(possible).collect();
    Scenario {
        fault: faults[random.place(faults.len())],
        victims: vec![random.place(NODES)],
        seed,
    }
}

impl Scenario {
    /// Whose directories have to be small file systems.
    pub(crate) fn small(&self) -> &[usize] {
        match self.fault {
            Fault::Fill => &self.victims,
            _ => &[],
        }
    }

    fn cuts(&self, cluster: &Cluster) -> Vec<Cut> {
        let ports: Vec<u16> = self.victims.iter().map(|node| cluster.node(*node).port).collect();
        match (self.fault, ports.as_slice()) {
            (Fault::Partition, ports) => ports.iter().map(|port| Cut::Off(*port)).collect(),
            (Fault::Apart, [one, other]) => vec![Cut::Apart(*one, *other)],
            _ => Vec::new(),
        }
    }

    fn signal(&self, cluster: &Cluster, signal: Signal) {
        for node in &self.victims {
            kill_process(cluster.node(*node).pid, signal).unwrap();
        }
    }

    pub(crate) fn make(&self, cluster: &Cluster) {
        match self.fault {
            Fault::None => {}
            Fault::Kill => self.signal(cluster, Signal::KILL),
            Fault::Stop => self.signal(cluster, Signal::STOP),
            Fault::Partition | Fault::Apart => self.cuts(cluster).into_iter().for_each(Cut::make),
            Fault::Fill => {
                for node in &self.victims {
                    let taken = isolation::fill(&cluster.node(*node).directory);
                    assert!(taken > 0, "the disk of {node} was full already");
                }
            }
        }
    }

    pub(crate) fn heal(&self, cluster: &mut Cluster, log: &std::path::Path, log_level: &str) {
        match self.fault {
            Fault::None => {}
            Fault::Kill => {
                for node in &self.victims {
                    cluster.start_again(*node, log, log_level);
                }
            }
            Fault::Stop => self.signal(cluster, Signal::CONT),
            Fault::Partition | Fault::Apart => self.cuts(cluster).into_iter().for_each(Cut::heal),
            Fault::Fill => {
                for node in &self.victims {
                    isolation::free(&cluster.node(*node).directory);
                }
            }
        }
    }

    /// What runs it again.
    pub(crate) fn again(&self, seconds: u64) -> String {
        let victims: Vec<String> = self.victims.iter().map(ToString::to_string).collect();
        let victims = match victims.as_slice() {
            [] => String::new(),
            some => format!(" --victims {}", some.join(",")),
        };
        let (seed, fault) = (self.seed, self.fault.name());
        format!(
            "cargo test -p cairn --test faults -- --seed {seed} --fault {fault}{victims} --seconds {seconds}"
        )
    }
}
