//! The ledger that the peers of a world keep together: its members on the peers' disks, the gateways' copies, and what all of them applied.
//!
//! Who is a member the operator decides (`operator`). What is checked here: whoever applies an append applies the one that everybody applies at
//! that sequence; what was answered for is among them; and in the end all copies are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use engine::codec::Writer;
use engine::disk::{Disk, SimDisk};
use engine::log::LogConfig;
use engine::slots::{Address, AppliedAppend, Sequence};
use futures::FutureExt;
use net::cluster::Standing;
use net::ledger::wire::{LedgerCall, LedgerReply};
use net::ledger::{FollowedConfig, FollowedLedger, LedgerSizes, Member, MemberConfig};
use net::peer::Transport;
use net::{Directory, Ledger, LocalLedger, Node, NodeLedger, Tail};

use crate::operator;
use crate::random::Random;
use crate::wire::Wire;
use crate::world::{End, World, lock, small};

/// How often it is looked whether a peer's process has ended.
const LOOK: Duration = Duration::from_millis(250);
/// Appends that are compared at a time.
const PAGE: usize = 128;

/// Where a peer keeps its part of the ledger.
pub fn member_dir() -> PathBuf {
    PathBuf::from("/peer/member")
}

/// What was applied at each sequence, and for which appends somebody was answered.
#[derive(Default)]
struct History {
    decided: BTreeMap<u64, (blake3::Hash, [u8; 16])>,
    answered: BTreeMap<u64, [u8; 16]>,
    /// Operations that nobody was answered, and by when they are applied or never.
    settled: BTreeMap<[u8; 16], u64>,
}

/// See the module.
pub struct Agreed {
    /// Members are as many of the peers, fewer if there are fewer; 0: the ledger is a process of its own.
    pub members_max: usize,
    heartbeat: Duration,
    /// Whether the gateway takes its leases as one does that answers reads itself for a while, being the only holder.
    pub grants_leases: bool,
    /// It was begun and has its members.
    pub has_begun: AtomicBool,
    /// Peers that are to be no members.
    pub unwanted: Mutex<BTreeSet<usize>>,
    /// The gateways' disks.
    pub gateway_disks: Mutex<Vec<SimDisk>>,
    /// The copies of those that run.
    following: Mutex<Vec<Option<FollowedLedger>>>,
    history: Mutex<History>,
}

impl Agreed {
    pub fn new(random: &Random, peers: usize, gateways: usize) -> Self {
        // One in ten worlds has its ledger in a process of its own, as every machine alone has.
        let members_max = match random.below(10) {
            0 => 0,
            1..5 => 3,
            _ => 5.min(peers),
        };
        let disk = |_| SimDisk::unrecorded(random.next());
        Self {
            members_max,
            heartbeat: Duration::from_millis([250, 500][random.index(2)]),
            grants_leases: members_max > 0,
            has_begun: AtomicBool::new(false),
            unwanted: Mutex::default(),
            gateway_disks: Mutex::new((0..gateways).map(disk).collect()),
            following: Mutex::new((0..gateways).map(|_| None).collect()),
            history: Mutex::default(),
        }
    }

    /// Somebody was answered that this operation was applied at this sequence.
    pub fn answered(&self, sequence: Sequence, operation: [u8; 16]) {
        lock(&self.history).answered.insert(sequence.0, operation);
    }

    /// The ledger has said that this operation, of which nobody heard more, is applied by this sequence or never.
    pub fn settled(&self, through: Sequence, operation: [u8; 16]) {
        lock(&self.history).settled.insert(operation, through.0);
    }

    /// Lets go of everything that holds the world.
    pub fn end(&self) {
        lock(&self.following).clear();
    }

    fn newest_answered(&self) -> u64 {
        let history = lock(&self.history);
        history.answered.last_key_value().map_or(0, |(newest, _)| *newest)
    }
}

impl World {
    pub fn is_replicated(&self) -> bool {
        self.agreed.members_max > 0
    }

    /// Logs so small that in a run segments end, entries are let go and copies are sent whole.
    fn sizes(&self) -> LedgerSizes {
        LedgerSizes {
            slots: small(LogConfig::ledger()),
            agreement: small(LogConfig::agreement()),
            segments_min: 2,
            reserve_bytes: 64 << 10,
            kept_bytes: 192 << 10,
            kept_entries: 200,
        }
    }

    /// Whom a peer knows when it starts.
    pub fn directory(&self, disk: &SimDisk) -> Arc<Directory> {
        let gateways = self.gateway_ids.iter().copied().collect();
        if !self.is_replicated() {
            return Arc::new(Directory::of_gateways(gateways));
        }
        let dir = Path::new("/peer");
        if let Err(error) = disk.create_dir_all(dir) {
            self.trace.wrong(format!("no directory for a peer: {error}"));
        }
        let file = dir.join("known-peers");
        Arc::new(Directory::open(Arc::new(disk.clone()), file, gateways))
    }

    /// The part of a peer that starts in the ledger.
    pub async fn open_member(
        self: &Arc<Self>,
        number: usize,
        life: u64,
        node: &Arc<Node>,
        disk: SimDisk,
        directory: Arc<Directory>,
    ) -> Option<Arc<Member>> {
        let transport: Arc<dyn Transport> = Arc::new(Wire {
            world: Arc::clone(self),
            caller: End::Peer(number),
            life,
        });
        let config = MemberConfig {
            dir: member_dir(),
            peer: self.peer_ids[number],
            transport: Arc::clone(&transport),
            fresh_log_id: self.fresh_log_id(),
            offload: self.offload(4),
            heartbeat: self.agreed.heartbeat,
            sizes: self.sizes(),
        };
        let mut opened = Member::open(Arc::new(disk.clone()), config.clone()).await;
        if let Err(error) = &opened
            && ["injected", "no storage space", "disk is full"]
                .iter()
                .any(|why| error.to_string().contains(why))
        {
            // The process ends, and is started again once its disk is well.
            self.trace.step("member does not start", &[number as u64]);
            disk.heal();
            disk.set_capacity(1 << 40);
            opened = Member::open(Arc::new(disk), config).await;
        }
        let member = match opened {
            Ok(member) => member,
            Err(error) => {
                let what = format!("peer {number} does not take part in the ledger any more: {error}");
                self.trace.wrong(what);
                return None;
            }
        };
        let own = operator::entry_of(self, number, Standing::Active);
        node.join_ledger(NodeLedger::start(Arc::clone(&member), directory, transport, own));
        let (world, weak) = (Arc::downgrade(self), Arc::downgrade(&member));
        let changed = member.changed();
        tokio::spawn(compare(world, format!("peer {number}"), changed, move || {
            weak.upgrade().map(|member| member.copy())
        }));
        Some(member)
    }

    /// A gateway's copy of the ledger.
    pub async fn follow_ledger(self: &Arc<Self>, gateway: usize, life: u64) -> Option<FollowedLedger> {
        let transport = Arc::new(Wire {
            world: Arc::clone(self),
            caller: End::Gateway(gateway),
            life,
        });
        let disk = lock(&self.agreed.gateway_disks)[gateway].clone();
        let config = FollowedConfig {
            dir: PathBuf::from("/copy"),
            transport,
            members: self.peer_ids.clone(),
            fresh_log_id: self.fresh_log_id(),
            offload: self.offload(4),
            sizes: self.sizes(),
        };
        let mut opened = FollowedLedger::open(Arc::new(disk.clone()), config.clone()).await;
        if let Err(error) = &opened
            && error.to_string().contains("no storage space")
        {
            // The process ends, and is started again once there is room.
            self.trace.step("copy does not open", &[gateway as u64]);
            disk.heal();
            opened = FollowedLedger::open(Arc::new(disk), config).await;
        }
        let ledger = match opened {
            Ok(ledger) => ledger,
            Err(error) => {
                let what = format!("gateway {gateway} does not open its copy of the ledger: {error}");
                self.trace.wrong(what);
                return None;
            }
        };
        lock(&self.agreed.following)[gateway] = Some(ledger.clone());
        let (world, following) = (Arc::downgrade(self), ledger.clone());
        let here = Arc::downgrade(self);
        let changed = ledger.changed();
        tokio::spawn(compare(world, format!("gateway {gateway}"), changed, move || {
            let is_there = here.upgrade()?.gateway_life(gateway) == life;
            is_there.then(|| following.clone())
        }));
        Some(ledger)
    }

    /// A gateway's process and its machine's memory are gone.
    pub fn crash_gateway(&self, number: usize) {
        self.gateways()[number] = 0;
        let Some(ledger) = lock(&self.agreed.following)[number].take() else {
            return;
        };
        let choice = self.crash_choice();
        let disk = &mut lock(&self.agreed.gateway_disks)[number];
        *disk = disk.crashed(choice);
        // What is still in its tasks works on the disk of before, which nobody sees any more.
        tokio::spawn(async move { ledger.close().await });
    }

    /// Waits until all members' and gateways' copies are the same.
    pub async fn agree(&self, asked: &FollowedLedger) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let members = asked.ask(&LedgerCall::Members { as_known: false }).await;
            let index = asked.ask(&LedgerCall::ReadIndex).await;
            let (Ok(LedgerReply::Members { voters, .. }), Ok(LedgerReply::Index { sequence, .. })) =
                (&members, &index)
            else {
                why = format!("{members:?}, {index:?}");
                continue;
            };
            let mut copies: Vec<(String, Arc<dyn Ledger>)> = Vec::new();
            for (number, peer) in self.peers().iter().enumerate() {
                if let (Some(member), true) = (&peer.member, voters.contains(&self.peer_ids[number])) {
                    copies.push((format!("peer {number}"), Arc::new(member.copy())));
                }
            }
            let there = copies.len();
            for (number, ledger) in lock(&self.agreed.following).iter().enumerate() {
                if let Some(ledger) = ledger {
                    copies.push((format!("gateway {number}"), Arc::new(ledger.clone())));
                }
            }
            let positions: Vec<u64> = copies.iter().map(|(_, copy)| copy.position().0).collect();
            if there < voters.len() || positions.iter().any(|position| *position != sequence.0) {
                why = format!(
                    "{there} of {} members run, at {positions:?} of {sequence:?}",
                    voters.len()
                );
                continue;
            }
            let mut first = None;
            for (who, copy) in &copies {
                let Some(all) = entries(&**copy).await else {
                    return Err(format!("the copy of {who} cannot be read"));
                };
                if first.get_or_insert_with(|| all.clone()) != &all {
                    return Err(format!("the copy of {who} differs from others at {sequence:?}"));
                }
            }
            return Ok(());
        }
        Err(format!(
            "the copies of the ledger do not come to be the same: {why}"
        ))
    }

    /// The ledger as whoever knows most of it has it; none if nobody who runs knows everything that was answered for.
    pub fn authority(&self) -> Option<LocalLedger> {
        if !self.is_replicated() {
            return self.ledger_here();
        }
        let copies: Vec<LocalLedger> = {
            let peers = self.peers();
            let members = peers.iter().filter_map(|peer| peer.member.as_ref());
            members.map(|member| member.copy()).collect()
        };
        let newest = copies.into_iter().max_by_key(Ledger::position)?;
        (newest.position().0 >= self.agreed.newest_answered()).then_some(newest)
    }

    /// A peer that leads, as far as it knows itself.
    pub fn leader(&self) -> Option<usize> {
        let peers = self.peers();
        let leads = |number: &usize| {
            let member = peers[*number].member.as_ref();
            member.is_some_and(|member| member.led_by().1 == Some(self.peer_ids[*number]))
        };
        (0..peers.len()).find(leads)
    }

    /// Whether everything for which somebody was answered was applied as it was answered.
    pub fn check_answers(&self) {
        let history = lock(&self.agreed.history);
        for (sequence, operation) in &history.answered {
            let applied = history.decided.get(sequence).map(|(_, applied)| applied);
            if applied != Some(operation) {
                let what =
                    format!("sequence {sequence} was answered for and is {applied:?}, not {operation:?}");
                self.trace.wrong(what);
            }
        }
        for (sequence, (_, operation)) in &history.decided {
            if let Some(through) = history.settled.get(operation)
                && sequence > through
            {
                let what = format!("what was settled at sequence {through} was applied at {sequence}");
                self.trace.wrong(what);
            }
        }
        let settled = history.settled.len();
        drop(history);
        self.trace.note(&format!("{settled} operations were settled"));
    }

    fn note_applied(&self, who: &str, append: &AppliedAppend) {
        let mut writer = Writer::new();
        append.encode(&mut writer);
        let applied = (blake3::hash(writer.as_slice()), append.operation);
        let mut history = lock(&self.agreed.history);
        let decided = *history.decided.entry(append.sequence.0).or_insert(applied);
        drop(history);
        if decided != applied {
            let sequence = append.sequence.0;
            let what = format!("{who} applied at sequence {sequence} what nobody else applied there");
            self.trace.wrong(what);
        }
    }
}

/// Compares what one copy applies with what the others did.
async fn compare<L: Ledger>(
    world: Weak<World>,
    who: String,
    mut changed: tokio::sync::watch::Receiver<Sequence>,
    copy: impl Fn() -> Option<L>,
) {
    let mut from = Sequence(0);
    loop {
        let Some(ledger) = copy() else { return };
        match ledger.tail(from, PAGE).await {
            Ok(Tail::Appends(page)) if !page.is_empty() => {
                let Some(world) = world.upgrade() else { return };
                for append in page {
                    from = append.sequence;
                    world.note_applied(&who, &append);
                }
            }
            Ok(Tail::Compacted) => from = from.max(Sequence(ledger.status().tail_above)),
            Ok(Tail::Appends(_)) => {
                drop(ledger);
                if changed.changed().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Ends processes whose part of the ledger has failed, and starts them again, as whoever runs them does.
pub async fn watch(world: Weak<World>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(world) = world.upgrade() else { return };
        let count = world.peers().len();
        for number in 0..count {
            let has_failed = {
                let peers = world.peers();
                let member = peers[number].member.as_ref();
                member.is_some_and(|member| member.has_stopped() || member.fenced().now_or_never().is_some())
            };
            if has_failed {
                world.trace.step("member fails", &[number as u64]);
                world.crash_peer(number, world.crash_choice());
                let (again, after) = (Arc::clone(&world), world.random.ms(200, 4_000));
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    again.start_peer(number, false).await;
                });
            }
        }
    }
}

/// All entries of a ledger, in order.
pub async fn entries(ledger: &dyn Ledger) -> Option<(Sequence, Vec<(Address, Sequence, Bytes)>)> {
    let mut snapshot = ledger.snapshot().await.ok()?;
    let mut all = Vec::new();
    loop {
        let page = snapshot.next(256).await.ok()?;
        if page.is_empty() {
            all.sort();
            return Some((snapshot.sequence(), all));
        }
        all.extend(
            page.into_iter()
                .map(|entry| (entry.address, entry.sequence, entry.value)),
        );
    }
}

/// How many members have begun: for the trace alone.
pub fn has_begun(world: &World) -> bool {
    world.agreed.has_begun.load(Ordering::Relaxed)
}
