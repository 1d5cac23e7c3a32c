//! What goes wrong in a run, and when.
//!
//! Two kinds of faults. Those that end by themselves and take nothing away that was durable: messages that get lost or come late, cut
//! ways, processes that crash (with everything that was not synced), slow peers, full disks, clocks that are off. Of these there may be
//! any number at one time. And those that count against what is promised of an acknowledged object: a peer that lies, whose drive is wiped,
//! whose disk fails to sync, or on whose disk bits have turned over. A pack is acknowledged with k + ceil(m/2) durable shards, k of them
//! outside of any one site, so floor(m/2) peers or all of one site may have such a fault at one time; the next one comes only when a census, taken from the peers themselves, has found every shard of
//! every pack in its place again.
//!
//! Beside these, one peer may join and one at a time drain, and stay after all. Peers that go for good belong here too.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::disk::CrashChoice;
use futures::StreamExt;
use net::cluster::{Standing, packs_of};
use net::peer::Request;
use scopes::{DeleteOrder, Signed, VaultId, Wallet};

use crate::census;
use crate::fleet::Fleet;
use crate::wire::ask_directly;
use crate::world::{Conduct, End, VAULT, World, drive_dir, lock};

pub struct Faults {
    fleet: Arc<Fleet>,
    pub world: Arc<World>,
    /// Peers whose shards may be gone or wrong.
    spent: Vec<usize>,
}

impl Faults {
    pub fn new(fleet: Arc<Fleet>) -> Self {
        let world = Arc::clone(&fleet.world);
        Self {
            fleet,
            world,
            spent: Vec::new(),
        }
    }

    pub fn fault(&self, what: &str, number: usize) {
        self.world.trace.step(what, &[number as u64]);
    }

    /// Waits a while for the moment at which a client is told that its object is stored.
    async fn acknowledgement(&self) -> bool {
        let within = self.world.random.ms(500, 4_000);
        tokio::time::timeout(within, self.world.acked.notified())
            .await
            .is_ok()
    }

    pub fn any_peer(&self) -> usize {
        let count = self.world.peers().len();
        self.world.random.index(count)
    }

    /// Until the run is over.
    pub async fn run(mut self) {
        let world = Arc::clone(&self.world);
        while !world.trace.is_over() {
            tokio::time::sleep(world.random.ms(200, 2_500)).await;
            let kinds = if world.is_replicated() { 120 } else { 100 };
            match world.random.below(kinds) {
                0..20 => self.cut_way(),
                20..32 => self.crash_peer(self.any_peer()),
                32..40 => {
                    let gateways = world.gateways().len();
                    self.crash_gateway(world.random.index(gateways));
                }
                40..46 => self.crash_ledger(),
                46..54 => self.behave(Conduct::Slow),
                54..60 => self.fill_disk(),
                60..64 => self.set_clock(),
                64..67 => self.forge().await,
                67..72 => self.power_cut().await,
                72..80 => self.ambush().await,
                80..88 => self.move_in_or_out(),
                88..90 => {
                    let bad = world.random.below(6);
                    world.lossy.store(bad * 8, Ordering::Relaxed);
                    world.late.store(bad * 15, Ordering::Relaxed);
                }
                90..100 => self.destroy().await,
                number => self.of_ledger(number - 100),
            }
        }
    }

    /// Carries something out after a while, whatever happens to the run meanwhile.
    pub fn later(&self, after: Duration, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            work.await;
        });
    }

    fn cut_way(&self) {
        let world = &self.world;
        let gateway = world.random.index(world.gateways().len());
        let peers = world.peers().len();
        let ends: Vec<End> = match world.random.below(4) {
            0 if !world.is_replicated() => vec![End::Ledger],
            // A gateway on the wrong side of a wall.
            0 | 1 => {
                let behind = (0..peers).filter(|_| world.random.chance(400));
                behind.map(End::Peer).collect()
            }
            _ => vec![End::Peer(self.any_peer())],
        };
        let gateway = End::Gateway(gateway);
        for end in ends {
            world.cut().insert((gateway, end));
            self.fault("cut", end.code() as usize);
            let healed = Arc::clone(world);
            self.later(world.random.ms(300, 8_000), async move {
                healed.cut().remove(&(gateway, end));
            });
        }
    }

    pub fn crash_peer(&self, number: usize) {
        self.crash_peer_for(number, 0, self.world.crash_choice());
    }

    /// It is away for so many milliseconds at least.
    fn crash_peer_for(&self, number: usize, low_ms: u64, choice: CrashChoice) {
        let world = Arc::clone(&self.world);
        if world.peers()[number].node.is_none() {
            return;
        }
        self.fault("peer crashes", number);
        world.crash_peer(number, choice);
        self.later(world.random.ms(low_ms, low_ms + 8_000), async move {
            world.start_peer(number, false).await;
        });
    }

    /// All peers, and the ledger perhaps, crash at one moment: right after an acknowledgement, when it hurts most.
    async fn power_cut(&self) {
        self.acknowledgement().await;
        let count = self.world.peers().len();
        let drop_all = self.world.random.chance(500);
        for number in 0..count {
            let choice = match drop_all {
                true => CrashChoice::DropAll,
                false => self.world.crash_choice(),
            };
            self.crash_peer_for(number, 0, choice);
        }
        if self.world.random.chance(500) {
            self.crash_ledger();
        }
    }

    pub fn crash_gateway(&self, number: usize) {
        if self.fleet.gateway(number).is_none() {
            return;
        }
        self.fault("gateway crashes", number);
        self.fleet.crash(number);
        let fleet = Arc::clone(&self.fleet);
        self.later(self.world.random.ms(0, 4_000), async move {
            fleet.start(number).await;
        });
    }

    /// Its process, where it has one; else a few of the peers that keep it.
    fn crash_ledger(&self) {
        let world = Arc::clone(&self.world);
        if world.is_replicated() {
            return self.crash_members();
        }
        if world.ledger_here().is_none() {
            return;
        }
        self.fault("ledger crashes", 0);
        world.crash_ledger();
        self.later(world.random.ms(0, 3_000), async move { world.start_ledger() });
    }

    /// A peer behaves so for a while.
    fn behave(&self, conduct: Conduct) {
        let (world, number) = (Arc::clone(&self.world), self.any_peer());
        if world.peers()[number].conduct != Conduct::Honest {
            return;
        }
        self.fault("slow", number);
        world.peers()[number].conduct = conduct;
        self.later(world.random.ms(500, 6_000), async move {
            world.peers()[number].conduct = Conduct::Honest;
        });
    }

    fn fill_disk(&self) {
        let number = self.any_peer();
        self.fault("full", number);
        let (disk, world_is_replicated) = (
            self.world.peers()[number].disk.clone(),
            self.world.is_replicated(),
        );
        match (world_is_replicated, self.world.random.below(3)) {
            // Some room is left, and what is removed makes more.
            (true, 0) => disk.set_capacity(disk.used_bytes() + self.world.random.below(200 << 10)),
            (true, 1) => disk.fail_write_enospc(Path::new("/")),
            _ => disk.fail_write_enospc(Path::new("/node")),
        }
        let world = Arc::clone(&self.world);
        self.later(world.random.ms(500, 8_000), async move {
            let there = world.peers()[number].disk.clone();
            there.end_full();
            there.set_capacity(1 << 40);
        });
    }

    fn set_clock(&self) {
        let (world, number) = (&self.world, self.any_peer());
        let off = match world.random.below(3) {
            0 => 0,
            1 => world.random.below(1_200_000).wrapping_sub(600_000),
            // Beyond what delegations hold for.
            _ => 7_200_000,
        };
        self.fault("clock", number);
        world.peers()[number].skew_ms.store(off, Ordering::Relaxed);
    }

    /// A peer joins, or one drains for a while: at most one at a time.
    fn move_in_or_out(&self) {
        let (world, number) = (Arc::clone(&self.world), self.any_peer());
        let mut members = world.standings();
        if let Some(waiting) = members.iter().position(Option::is_none) {
            members[waiting] = Some(Standing::Active);
            return self.fault("joins", waiting);
        }
        if members.contains(&Some(Standing::Draining)) || members.len() <= world.code.shards() {
            return;
        }
        members[number] = Some(Standing::Draining);
        drop(members);
        self.fault("drains", number);
        let stays = Arc::clone(&world);
        self.later(world.random.ms(3_000, 20_000), async move {
            stays.standings()[number] = Some(Standing::Active);
        });
    }

    /// Whether nothing that counts is under way: a census sees to it.
    async fn is_whole(&mut self) -> bool {
        if !self.spent.is_empty() {
            if census::lacks(&self.world).await != Some(0) {
                return false;
            }
            self.spent.clear();
            self.fault("whole again", 0);
        }
        true
    }

    /// One of the faults that count, if one more may be.
    async fn destroy(&mut self) {
        let world = Arc::clone(&self.world);
        if self.spent.len() >= world.code.parity() / 2 && !self.is_whole().await {
            return;
        }
        if world.random.chance(500) {
            self.acknowledgement().await;
        }
        let number = self.any_peer();
        let victims: Vec<usize> = match self.spent.is_empty() && world.random.chance(500) {
            true => world.site(number),
            false => vec![number],
        };
        let is_free = |number: &usize| {
            let peers = world.peers();
            peers[*number].conduct == Conduct::Honest && peers[*number].node.is_some()
        };
        let is_spent = |number: &usize| self.spent.contains(number);
        if !victims.iter().all(is_free) || victims.iter().any(is_spent) {
            return;
        }
        let kind = world.random.below(6);
        for number in victims {
            self.spent.push(number);
            match kind {
                0 => self.wipe(number),
                1 => {
                    self.fault("sync fails", number);
                    let disk = world.peers()[number].disk.clone();
                    disk.fail_sync(&drive_dir());
                }
                2 | 3 => self.rot(number),
                _ => self.lie(number),
            }
        }
    }

    /// Peers go away, and what is acknowledged without them loses at once as much as it must be able to lose.
    async fn ambush(&mut self) {
        let world = Arc::clone(&self.world);
        if !self.is_whole().await {
            return;
        }
        let away: Vec<usize> = (0..world.random.between(1, world.code.parity() as u64))
            .map(|_| self.any_peer())
            .collect();
        for number in &away {
            self.crash_peer_for(*number, 3_000, world.crash_choice());
        }
        if !self.acknowledgement().await {
            return;
        }
        let number = self.any_peer();
        let victims: Vec<usize> = match world.per_site {
            1 => vec![number],
            _ => world.site(number),
        };
        if victims.iter().any(|victim| away.contains(victim)) {
            return;
        }
        for number in victims {
            self.spent.push(number);
            self.wipe(number);
        }
    }

    fn wipe(&self, number: usize) {
        self.fault("wiped", number);
        let disk = self.world.peers()[number].disk.clone();
        disk.unlink(&drive_dir());
    }

    /// Somebody whom the owner did not name orders every peer to delete everything.
    async fn forge(&self) {
        let world = &self.world;
        let Some(ledger) = world.authority() else { return };
        let packs: Vec<_> = packs_of(&ledger).collect().await;
        let ids: Vec<[u8; 32]> = packs.iter().flatten().map(|entry| entry.id().0).collect();
        let stranger = Wallet::from_seed(&[66; 32]);
        let order = DeleteOrder::new(VaultId(VAULT), stranger.public_key(), ids, 1 << 40);
        let Ok(envelope) = Signed::sign(order, &stranger).and_then(|order| order.encode()) else {
            return;
        };
        self.fault("forged order", packs.len());
        let count = world.peers().len();
        for number in 0..count {
            ask_directly(world, number, Request::Delete, envelope.clone().into()).await;
        }
    }

    fn rot(&self, number: usize) {
        use engine::disk::Disk as _;
        let (random, disk) = (&self.world.random, self.world.peers()[number].disk.clone());
        let log = drive_dir().join("log");
        let names = disk.list_dir(&log).unwrap_or_default();
        if names.is_empty() {
            return;
        }
        for _ in 0..random.between(1, 30) {
            let name = &names[random.index(names.len())];
            disk.flip_bit(&log.join(name), random.below(96 << 10));
        }
        self.fault("rot", number);
    }

    fn lie(&self, number: usize) {
        let lies = [
            Conduct::Altered,
            Conduct::Altered,
            Conduct::Short,
            Conduct::Boaster,
            Conduct::Fencer,
        ];
        let conduct = lies[self.world.random.index(lies.len())];
        self.fault("lies", number);
        self.world.peers()[number].conduct = conduct;
        let world = Arc::clone(&self.world);
        self.later(world.random.ms(1_000, 15_000), async move {
            world.peers()[number].conduct = Conduct::Honest;
        });
    }

    /// Everything that can end by itself has ended: ways are whole, all processes run, no disk is full or fails, nobody lies.
    pub async fn end_all(fleet: &Arc<Fleet>) {
        let world = &fleet.world;
        world.calm.store(true, Ordering::Relaxed);
        // What was to be carried out later has been.
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.cut().clear();
        for peer in world.peers().iter_mut() {
            peer.conduct = Conduct::Honest;
            peer.skew_ms.store(0, Ordering::Relaxed);
            peer.disk.heal();
            peer.disk.set_capacity(1 << 40);
        }
        for disk in lock(&world.agreed.gateway_disks).iter() {
            disk.heal();
        }
        lock(&world.agreed.unwanted).clear();
        world.trace.step("calm", &[]);
    }
}
