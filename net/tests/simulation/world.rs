//! The world of one run: storage peers on simulated disks, the ledger among them or in a process of its own, and what lies between them and
//! the gateways.
//!
//! It decides no fault; `faults` does. Nothing in it survives a crash but the disks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::disk::{CrashChoice, SimDisk};
use engine::log::LogConfig;
use engine::pack::Code;
use net::cluster::{PeerConfig, Standing};
use net::ledger::Member;
use net::peer::{PeerId, PeerKey};
use net::{DriveConfig, DrivesConfig, LocalLedger, Node, NodeConfig, Offload};
use scopes::{Wallet, Window};
use tokio::sync::Notify;

use crate::members::{Agreed, watch};
use crate::random::Random;
use crate::trace::Trace;

pub const CLUSTER: [u8; 16] = [9; 16];
/// [`owner`]'s, with a salt of zeros.
pub const VAULT: [u8; 16] = [
    227, 227, 65, 150, 191, 31, 187, 210, 18, 63, 163, 253, 166, 5, 33, 41,
];
pub const SCOPE: [u8; 16] = [3; 16];
/// The time of day when a run begins, in milliseconds since 1970.
pub const MORNING_MS: u64 = 1_700_000_000_000;

/// How a storage peer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Honest,
    /// It takes calls and answers much later.
    Slow,
    /// It answers every range with other bytes.
    Altered,
    /// It leaves the last byte of every range out.
    Short,
    /// It says that it holds everything, and gives nothing.
    Boaster,
    /// It says of every put that its lease has ended.
    Fencer,
}

/// A storage peer.
pub struct Peer {
    pub disk: SimDisk,
    pub node: Option<Arc<Node>>,
    /// Its part in the ledger.
    pub member: Option<Arc<Member>>,
    /// A number of each start of it, and of each time between two.
    pub life: u64,
    pub conduct: Conduct,
    /// By how much its clock is off.
    pub skew_ms: Arc<AtomicU64>,
}

/// The ledger's process.
pub struct Ledger {
    pub disk: SimDisk,
    pub ledger: Option<LocalLedger>,
    pub life: u64,
}

/// One end of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Gateway(usize),
    Peer(usize),
    /// The process of a ledger that has one.
    Ledger,
}

impl End {
    /// For the trace.
    pub fn code(self) -> u64 {
        match self {
            Self::Gateway(number) => number as u64,
            Self::Peer(number) => 100 + number as u64,
            Self::Ledger => 999,
        }
    }
}

/// Who calls whom.
pub type Way = (End, End);

pub struct World {
    pub random: Random,
    pub trace: Trace,
    pub code: Code,
    /// How many peers fail together.
    pub per_site: usize,
    pub peers: Mutex<Vec<Peer>>,
    /// How each of them is to stand; none while it has not joined.
    pub standings: Mutex<Vec<Option<Standing>>>,
    /// What the peers and the gateways are called.
    pub peer_ids: Vec<PeerId>,
    pub gateway_ids: Vec<PeerId>,
    /// The ledger's process, where the peers do not keep it together.
    pub ledger: Mutex<Ledger>,
    /// The ledger that the peers keep together.
    pub agreed: Agreed,
    /// Ways on which nothing comes through.
    pub cut: Mutex<BTreeSet<Way>>,
    /// Of 1000 messages, how many get lost, and how many come late.
    pub lossy: AtomicU64,
    pub late: AtomicU64,
    /// Which start of each gateway this is; 0 while it is down.
    pub gateways: Mutex<Vec<u64>>,
    /// No more faults: the ways and peers are as they should be.
    pub calm: AtomicBool,
    /// A client was told that its object is stored.
    pub acked: Notify,
    /// The longest that a piece of work of a drive takes usually, in milliseconds.
    drive_ms: u64,
    numbers: AtomicU64,
    moments: AtomicU64,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The drive's directory at every peer.
pub fn drive_dir() -> PathBuf {
    PathBuf::from("/node/0")
}

/// What the ids of a peer's drives are derived from.
fn seed_of(number: usize) -> [u8; 16] {
    [number as u8 + 1; 16]
}

pub fn drive_of(number: usize) -> [u8; 16] {
    net::cluster::drive_id(&seed_of(number), 0)
}

fn peer_id(number: usize) -> PeerId {
    PeerKey::from_seed(&[number as u8 + 1; 32]).id()
}

fn gateway_id(number: usize) -> PeerId {
    PeerKey::from_seed(&[200 + number as u8; 32]).id()
}

pub fn owner() -> Wallet {
    Wallet::from_seed(&[7; 32])
}

/// When delegations hold: an hour before and after the morning, so that a clock that is off by much refuses them.
pub fn window() -> Window {
    Window {
        not_before_ms: Some(MORNING_MS - 3_600_000),
        expires_ms: Some(MORNING_MS + 3_600_000),
    }
}

pub fn small(log: LogConfig) -> LogConfig {
    LogConfig {
        segment_bytes: 96 << 10,
        preallocate_bytes: 16 << 10,
        ..log
    }
}

impl World {
    /// A world drawn from a seed, with all of its peers up.
    pub async fn new(seed: u64, steps: u64, shown: bool) -> Arc<Self> {
        let random = Random::new(seed);
        // Small worlds are the ones in which much happens to each object.
        let peers = match random.chance(700) {
            true => random.between(5, 9),
            false => random.between(10, 20),
        };
        let codes: &[(u8, u8)] = match peers {
            5 => &[(3, 2), (2, 2)],
            _ => &[(4, 2), (4, 2), (2, 4), (3, 3), (2, 2)],
        };
        let (data, parity) = codes[random.index(codes.len())];
        let code = Code::new(data, parity).expect("a code of few shards");
        let sites_of_two = peers >= 6 && random.chance(400);
        let gateways = random.between(1, 3) as usize;
        let disk = SimDisk::unrecorded(random.next());
        let world = Arc::new(Self {
            trace: Trace::new(steps, shown),
            code,
            per_site: 1 + usize::from(sites_of_two),
            peers: Mutex::new(Vec::new()),
            standings: Mutex::new(vec![Some(Standing::Active); peers as usize]),
            peer_ids: (0..peers as usize).map(peer_id).collect(),
            gateway_ids: (0..gateways).map(gateway_id).collect(),
            ledger: Mutex::new(Ledger {
                disk,
                ledger: None,
                life: 0,
            }),
            agreed: Agreed::new(&random, peers as usize, gateways),
            cut: Mutex::default(),
            lossy: AtomicU64::new(random.below(4) * 5),
            late: AtomicU64::new(random.below(4) * 10),
            gateways: Mutex::new(vec![0; gateways]),
            calm: AtomicBool::new(false),
            acked: Notify::new(),
            drive_ms: [2, 4, 30, 200][random.index(4)],
            numbers: AtomicU64::new(1),
            moments: AtomicU64::new(0),
            random,
        });
        world.trace.step(
            "world",
            &[
                peers,
                u64::from(data),
                u64::from(parity),
                gateways as u64,
                world.agreed.members_max as u64,
            ],
        );
        if world.per_site == 1 && peers as usize > code.shards() + 1 && world.random.chance(500) {
            lock(&world.standings)[peers as usize - 1] = None;
        }
        if !world.is_replicated() {
            world.start_ledger();
        }
        for number in 0..peers as usize {
            let disk = SimDisk::unrecorded(world.random.next());
            lock(&world.peers).push(Peer {
                disk,
                node: None,
                member: None,
                life: 0,
                conduct: Conduct::Honest,
                skew_ms: Arc::new(AtomicU64::new(0)),
            });
            world.start_peer(number, true).await;
        }
        tokio::spawn(watch(Arc::downgrade(&world)));
        world
    }

    pub fn peers(&self) -> MutexGuard<'_, Vec<Peer>> {
        lock(&self.peers)
    }

    pub fn ledger_here(&self) -> Option<LocalLedger> {
        lock(&self.ledger).ledger.clone()
    }

    pub fn ledger_life(&self) -> u64 {
        lock(&self.ledger).life
    }

    pub fn gateways(&self) -> MutexGuard<'_, Vec<u64>> {
        lock(&self.gateways)
    }

    pub fn standings(&self) -> MutexGuard<'_, Vec<Option<Standing>>> {
        lock(&self.standings)
    }

    /// The layout of now.
    pub fn layout(&self) -> Vec<PeerConfig> {
        let standings = self.standings();
        let standing = standings
            .iter()
            .enumerate()
            .filter_map(|(peer, standing)| Some((peer, (*standing)?)));
        let config = |(peer, standing): (usize, Standing)| PeerConfig {
            id: self.peer_ids[peer],
            domain: [(peer / self.per_site) as u8; 16],
            drives: vec![drive_of(peer)],
            standing,
        };
        standing.map(config).collect()
    }

    /// The peers that fail together with this one, itself among them.
    pub fn site(&self, number: usize) -> Vec<usize> {
        let first = number / self.per_site * self.per_site;
        let end = (first + self.per_site).min(self.peers().len());
        (first..end).collect()
    }

    /// Which start of this gateway runs; 0 while none does.
    pub fn gateway_life(&self, number: usize) -> u64 {
        self.gateways()[number]
    }

    /// Which start of a gateway or a peer runs.
    pub fn life_of(&self, end: End) -> u64 {
        match end {
            End::Gateway(number) => self.gateway_life(number),
            End::Peer(number) => self.peers()[number].life,
            End::Ledger => self.ledger_life(),
        }
    }

    /// What a gateway or a peer is called.
    pub fn id_of(&self, end: End) -> PeerId {
        match end {
            End::Gateway(number) => self.gateway_ids[number],
            End::Peer(number) => self.peer_ids[number],
            End::Ledger => unreachable!("the ledger's process calls nobody"),
        }
    }

    /// Ends all processes: they hold the world, which holds them.
    pub fn end(&self) {
        let peers = std::mem::take(&mut *self.peers());
        drop(peers);
        drop(lock(&self.ledger).ledger.take());
        self.agreed.end();
    }

    /// A number that was not given before.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A moment after all moments before.
    pub fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn comes_through(&self, way: Way) -> bool {
        !lock(&self.cut).contains(&way)
    }

    pub fn cut(&self) -> MutexGuard<'_, BTreeSet<Way>> {
        lock(&self.cut)
    }

    /// How long a message takes; none if it never arrives.
    pub fn delay(&self) -> Option<Duration> {
        if self.is_calm() {
            return Some(self.random.ms(0, 2));
        }
        if self.random.chance(self.lossy.load(Ordering::Relaxed)) {
            return None;
        }
        Some(match self.random.chance(self.late.load(Ordering::Relaxed)) {
            true if self.random.chance(200) => self.random.ms(1_000, 15_000),
            true => self.random.ms(20, 4_000),
            false => self.random.ms(0, 4),
        })
    }

    /// Where flushers and readers of this world work: on the world's only thread, each piece of work for a while.
    pub fn offload(self: &Arc<Self>, most_ms: u64) -> Offload {
        let world = Arc::downgrade(self);
        Offload::Tasks(Arc::new(move || {
            let Some(world) = world.upgrade() else {
                return Duration::ZERO;
            };
            world.trace.step("work", &[]);
            match world.random.below(20) {
                0 if !world.is_calm() => world.random.ms(5, 60),
                0..10 => world.random.ms(1, most_ms),
                _ => Duration::ZERO,
            }
        }))
    }

    pub fn fresh_log_id(self: &Arc<Self>) -> net::FreshLogId {
        let world = Arc::downgrade(self);
        Arc::new(move || world.upgrade().map_or(1, |world| world.random.next() | 1))
    }

    /// What a machine's drives are opened with.
    pub fn drives(self: &Arc<Self>, drives: Vec<DriveConfig>, create: bool) -> DrivesConfig {
        DrivesConfig {
            create,
            log: small(LogConfig::drive()),
            offload: self.offload(self.drive_ms),
            ..DrivesConfig::new(CLUSTER, drives, self.fresh_log_id())
        }
    }

    pub async fn start_peer(self: &Arc<Self>, number: usize, create: bool) {
        let (disk, skew, life) = {
            let mut peers = self.peers();
            let peer = &mut peers[number];
            peer.life += 1;
            (peer.disk.clone(), Arc::clone(&peer.skew_ms), peer.life)
        };
        let directory = self.directory(&disk);
        let dir = drive_dir();
        let drives = DrivesConfig {
            id_seed: seed_of(number),
            ..self.drives(vec![DriveConfig { dir, default: true }], create)
        };
        let config = NodeConfig {
            drives,
            directory: Arc::clone(&directory),
            now_ms: Arc::new(move || MORNING_MS.wrapping_add(skew.load(Ordering::Relaxed))),
        };
        let node = match Node::open(Arc::new(disk.clone()), config).await {
            Ok(node) => node,
            Err(error) => return self.trace.wrong(format!("peer {number} does not start: {error}")),
        };
        let member = match self.is_replicated() {
            true => self.open_member(number, life, &node, disk, directory).await,
            false => None,
        };
        let mut peers = self.peers();
        (peers[number].node, peers[number].member) = (Some(node), member);
    }

    pub fn crash_choice(&self) -> CrashChoice {
        match self.random.below(4) {
            0 => CrashChoice::DropAll,
            1 => CrashChoice::KeepAll,
            _ => CrashChoice::Seeded(self.random.next()),
        }
    }

    /// The peer's process and its machine's memory are gone.
    pub fn crash_peer(&self, number: usize, choice: CrashChoice) {
        let mut peers = self.peers();
        let peer = &mut peers[number];
        peer.disk = peer.disk.crashed(choice);
        peer.life += 1;
        let gone = (peer.node.take(), peer.member.take());
        drop(peers);
        // What is still in its tasks works on the disk of before, which nobody sees any more.
        drop(gone);
    }
}
