//! What goes wrong with a ledger that the peers keep together, beside what goes wrong with peers anyway: walls between them, leaders that are cut off or
//! crash, members that are replaced, lose what they promised, or whose flush fails, and gateways' copies that go.
//!
//! A member that has lost its part is one less that holds what was agreed on, and forgets whom it promised its vote: that may happen to one, once all of them
//! run, follow one leader and have the same. The rest takes away nothing that is durable, and may happen at any time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::slots::Sequence;
use net::Ledger;
use net::peer::PeerId;

use crate::faults::Faults;
use crate::members::member_dir;
use crate::world::{End, World, lock};

impl Faults {
    /// Carries out the fault of this number, below 20.
    pub fn of_ledger(&self, number: u64) {
        match number {
            0..6 => self.wall(),
            6..9 => self.isolate_leader(),
            9..11 => self.crash_members(),
            11..14 => self.replace_member(),
            14..17 => self.lose_member(),
            17 => self.fail_member(),
            _ => self.lose_copy(),
        }
    }

    /// How long ways are cut: now and then longer than peers serve without a word of the ledger.
    fn wall_stands(&self) -> Duration {
        match self.world.random.below(8) {
            0 => self.world.random.ms(18_000, 30_000),
            _ => self.world.random.ms(300, 9_000),
        }
    }

    /// Cuts ways for a while.
    fn cut_for_a_while(&self, ways: BTreeSet<(End, End)>) {
        self.world.cut().extend(ways.iter().copied());
        let healed = Arc::clone(&self.world);
        self.later(self.wall_stands(), async move {
            healed.cut().retain(|way| !ways.contains(way));
        });
    }

    /// A wall with some peers and gateways on each side, or between two peers, perhaps in one direction alone.
    fn wall(&self) {
        let world = &self.world;
        let peers = world.peers().len();
        let mut ends: Vec<End> = (0..peers).map(End::Peer).collect();
        ends.extend((0..world.gateways().len()).map(End::Gateway));
        let mut ways = BTreeSet::new();
        let both = world.random.chance(700);
        if world.random.chance(300) {
            let (one, other) = (self.any_peer(), self.any_peer());
            ways.insert((End::Peer(one), End::Peer(other)));
            if both {
                ways.insert((End::Peer(other), End::Peer(one)));
            }
        } else {
            let share = world.random.between(1, 5) * 100;
            let (here, there): (Vec<End>, Vec<End>) =
                ends.into_iter().partition(|_| world.random.chance(share));
            for (one, other) in here
                .iter()
                .flat_map(|one| there.iter().map(move |other| (*one, *other)))
            {
                ways.insert((one, other));
                if both {
                    ways.insert((other, one));
                }
            }
        }
        self.fault("wall", ways.len());
        self.cut_for_a_while(ways);
    }

    /// Whoever leads is heard by gateways, and perhaps a few peers, and by nobody else.
    fn isolate_leader(&self) {
        let world = &self.world;
        let Some(leader) = world.leader() else { return };
        let hears = world.random.below(2) * 250;
        let mut ways = BTreeSet::new();
        for other in 0..world.peers().len() {
            if other != leader && !world.random.chance(hears) {
                ways.insert((End::Peer(leader), End::Peer(other)));
                ways.insert((End::Peer(other), End::Peer(leader)));
            }
        }
        self.fault("leader alone", leader);
        self.cut_for_a_while(ways);
    }

    /// Whoever leads crashes, perhaps with others.
    pub fn crash_members(&self) {
        let leader = self.world.leader().unwrap_or_else(|| self.any_peer());
        self.crash_peer(leader);
        for _ in 0..self.world.random.below(3) {
            self.crash_peer(self.any_peer());
        }
    }

    /// A peer is to be no member for a while.
    fn replace_member(&self) {
        let (world, number) = (Arc::clone(&self.world), self.any_peer());
        if !lock(&world.agreed.unwanted).insert(number) {
            return;
        }
        self.fault("unwanted", number);
        self.later(world.random.ms(4_000, 25_000), async move {
            lock(&world.agreed.unwanted).remove(&number);
        });
    }

    /// A peer loses its part of the ledger, and starts again without it.
    fn lose_member(&self) {
        let (world, number) = (&self.world, self.any_peer());
        if !all_alike(world) {
            return;
        }
        self.fault("loses the ledger", number);
        world.peers()[number].disk.unlink(&member_dir());
        self.crash_peer(number);
    }

    /// A flush of a peer's part of the ledger fails.
    fn fail_member(&self) {
        let number = self.any_peer();
        self.fault("ledger's sync fails", number);
        let disk = self.world.peers()[number].disk.clone();
        disk.fail_sync(&member_dir());
    }

    /// A gateway's copy goes with its process, or finds its disk full for a while.
    fn lose_copy(&self) {
        let world = &self.world;
        let number = world.random.index(world.gateways().len());
        let disk = lock(&world.agreed.gateway_disks)[number].clone();
        if world.random.chance(500) {
            self.fault("copy goes", number);
            disk.unlink(std::path::Path::new("/copy"));
            return self.crash_gateway(number);
        }
        self.fault("copy finds no room", number);
        disk.fail_write_enospc(std::path::Path::new("/copy"));
        let healed = Arc::clone(world);
        self.later(world.random.ms(500, 8_000), async move {
            let disk = lock(&healed.agreed.gateway_disks)[number].clone();
            disk.end_full();
        });
    }
}

/// Whether all peers run, those that have a ledger have all of it, and follow one leader in one term.
fn all_alike(world: &World) -> bool {
    let mut seen: BTreeSet<(u64, Option<PeerId>, Sequence)> = BTreeSet::new();
    let peers = world.peers();
    for peer in peers.iter() {
        let Some(member) = &peer.member else { return false };
        // One that was never told of a leader is no member.
        let (term, leader) = member.led_by();
        if term > 0 {
            seen.insert((term, leader, member.copy().position()));
        }
    }
    seen.len() == 1 && seen.iter().all(|(_, leader, _)| leader.is_some()) && lock(&world.cut).is_empty()
}
