//! Who runs the cluster: begins the ledger that the peers keep together, writes in it who belongs to them, and chooses its members.
//!
//! It speaks through the first gateway, as the product's own does. Invariant: a member that is only silent stays one; no members are asked for of which
//! more than half are not there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::slots::Sequence;
use net::cluster::Standing;
use net::ledger::FollowedLedger;
use net::ledger::wire::{ANY_LEDGER, LedgerCall, LedgerRefusal, LedgerReply};
use net::membership::{PeerEntry, Role};
use net::peer::{Answer, Call, PeerId, Request, Transport};

use crate::wire::Wire;
use crate::world::{End, World, drive_of, lock};

const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(100);

/// A peer as the ledger knows it.
pub fn entry_of(world: &World, number: usize, standing: Standing) -> PeerEntry {
    PeerEntry {
        peer: world.peer_ids[number],
        role: Role::Node,
        standing,
        domain: match world.per_site {
            1 => String::new(),
            per_site => format!("site {}", number / per_site),
        },
        addresses: vec![([10, 0, 0, number as u8 + 1], 7_000).into()],
        drives: vec![drive_of(number)],
    }
}

fn entry_of_gateway(peer: PeerId) -> PeerEntry {
    PeerEntry {
        peer,
        role: Role::Gateway,
        standing: Standing::Active,
        domain: String::new(),
        addresses: Vec::new(),
        drives: Vec::new(),
    }
}

/// See the module.
pub struct Operator {
    world: Arc<World>,
    ledger: FollowedLedger,
    wire: Wire,
    /// Who was introduced, and those that have not heard of it.
    introduced: Vec<PeerEntry>,
    unheard: BTreeSet<usize>,
}

impl Operator {
    pub fn new(world: &Arc<World>, life: u64, ledger: FollowedLedger) -> Self {
        Self {
            world: Arc::clone(world),
            ledger,
            wire: Wire {
                world: Arc::clone(world),
                caller: End::Gateway(0),
                life,
            },
            introduced: Vec::new(),
            unheard: BTreeSet::new(),
        }
    }

    async fn ask(&self, number: usize, call: &LedgerCall) -> Option<LedgerReply> {
        let call = Call::of_ledger(Request::Ledger, call.encode(&ANY_LEDGER));
        let calling = self.wire.call(self.world.peer_ids[number], call);
        let reply = tokio::time::timeout(PATIENCE, calling).await.ok()?.ok()?;
        match reply.answer {
            Answer::Bytes => LedgerReply::decode(&reply.body).ok(),
            _ => None,
        }
    }

    /// Everyone as they are to stand.
    fn wanted(&self) -> Vec<PeerEntry> {
        let standings = self.world.standings().clone();
        let peers = standings
            .iter()
            .enumerate()
            .filter_map(|(number, standing)| Some(entry_of(&self.world, number, (*standing)?)));
        let gateways = self.world.gateway_ids.iter().map(|peer| entry_of_gateway(*peer));
        peers.chain(gateways).collect()
    }

    /// Tells every peer of every other, and those again that did not hear it.
    async fn introduce(&mut self, everyone: Vec<PeerEntry>) {
        if self.introduced != everyone {
            self.introduced = everyone;
            let nodes = 0..self.world.peer_ids.len();
            let is_known = |number: &usize| {
                let peer = self.world.peer_ids[*number];
                self.introduced.iter().any(|entry| entry.peer == peer)
            };
            self.unheard = nodes.filter(is_known).collect();
        }
        let call = LedgerCall::Introduce(self.introduced.clone());
        for number in std::mem::take(&mut self.unheard) {
            if self.ask(number, &call).await.is_none() {
                self.unheard.insert(number);
            }
        }
    }

    /// Begins the ledger and gives it its members; returns when it has them.
    pub async fn begin(&mut self) {
        let everyone = self.wanted();
        self.introduce(everyone.clone()).await;
        let begin = LedgerCall::Begin {
            lineage: [7; 16],
            after: Sequence(0),
        };
        while !matches!(
            self.ask(0, &begin).await,
            Some(LedgerReply::Done | LedgerReply::Refused(LedgerRefusal::Begun))
        ) {
            tokio::time::sleep(REST).await;
        }
        for entry in &everyone {
            let call = LedgerCall::SetPeer(Box::new(entry.clone()));
            while self.ledger.ask(&call).await.is_err() {
                tokio::time::sleep(REST).await;
            }
        }
        while !self.settle_members().await {
            tokio::time::sleep(REST).await;
            self.introduce(everyone.clone()).await;
        }
        self.world.agreed.has_begun.store(true, Ordering::Relaxed);
        self.world.trace.step("ledger begun", &[]);
    }

    /// Sees to it that everything is as it is to be, until nobody waits for it any more.
    pub async fn keep(mut self) {
        loop {
            tokio::time::sleep(self.world.random.ms(1_500, 5_000)).await;
            let Ok(known) = self.ledger.known_peers().await else {
                continue;
            };
            for entry in self.wanted() {
                if !known.contains(&entry) {
                    // What is not heard is said again.
                    let _ = self.ledger.ask(&LedgerCall::SetPeer(Box::new(entry))).await;
                }
            }
            self.introduce(known).await;
            self.settle_members().await;
        }
    }

    /// Whether the members are those that are to be.
    async fn settle_members(&self) -> bool {
        let Ok(LedgerReply::Members { voters, .. }) =
            self.ledger.ask(&LedgerCall::Members { as_known: false }).await
        else {
            return false;
        };
        let number = |peer: &PeerId| self.world.peer_ids.iter().position(|known| known == peer);
        let voters: BTreeSet<usize> = voters.iter().filter_map(number).collect();
        let (wanted, there) = self.choose(&voters);
        if voters == wanted {
            return true;
        }
        if there * 2 <= wanted.len() {
            return false;
        }
        let peers = wanted.iter().map(|number| self.world.peer_ids[*number]).collect();
        let asked = self.ledger.ask(&LedgerCall::SetMembers(peers)).await;
        let numbers: Vec<u64> = wanted.iter().map(|number| *number as u64).collect();
        self.world.trace.step("members wanted", &numbers);
        self.world.trace.note(&format!("{asked:?}"));
        false
    }

    /// The members that are to be, an odd number, and how many of them are there.
    fn choose(&self, voters: &BTreeSet<usize>) -> (BTreeSet<usize>, usize) {
        let world = &self.world;
        let is_there = |number: &usize| world.peers()[*number].node.is_some();
        let unwanted = lock(&world.agreed.unwanted).clone();
        let active: Vec<usize> = {
            let standings = world.standings();
            let is_active = |number: &usize| standings[*number] == Some(Standing::Active);
            (0..standings.len()).filter(is_active).collect()
        };
        let size = active.len().min(world.agreed.members_max);
        let size = size - usize::from(size.is_multiple_of(2));
        let stays = |number: &usize| voters.contains(number) && !unwanted.contains(number);
        let (mut chosen, others): (Vec<usize>, Vec<usize>) = active.into_iter().partition(stays);
        chosen.sort_by_key(|number| !is_there(number));
        chosen.truncate(size);
        let newcomers = others.into_iter().filter(is_there);
        let newcomers: Vec<usize> = newcomers.filter(|number| !unwanted.contains(number)).collect();
        let lacking = size - chosen.len();
        chosen.extend(newcomers.into_iter().take(lacking));
        let there = chosen.iter().filter(|number| is_there(number)).count();
        (chosen.into_iter().collect(), there)
    }
}
