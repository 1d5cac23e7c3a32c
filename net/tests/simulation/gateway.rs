//! A gateway, as small as it can be: objects of one scope, each in a pack of its own, named by a slot of the ledger.
//!
//! It seals nothing: what an object's bytes have to be follows from its key and version, so whoever reads them knows whether they are
//! right, as a chunk's tag would tell. It keeps the order of a write: shards durable, one append, answer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::disk::SimDisk;
use engine::erasure::Coder;
use engine::pack::{Pack, PackBuilder, PackId};
use engine::slots::{Append, Entry, EntryKind, Expectation, Outcome, Sequence, Write};
use net::cluster::{PeerConfig, Peers};
use net::ledger::FollowedLedger;
use net::ledger::local::pack_address;
use net::membership::PeerEntry;
use net::{Cluster, ClusterConfig, LaneRange, Ledger, PackEntry};
use tokio::sync::Notify;

use crate::history::{Action, Version};
use crate::lease;
use crate::ledger::FarLedger;
use crate::members::has_begun;
use crate::object::{Object, content, slot};
use crate::operator::Operator;
use crate::records::Histories;
use crate::wire::Wire;
use crate::world::{End, SCOPE, VAULT, World};

/// How often an append without an answer is sent, and an overwrite that met another is tried.
const ATTEMPTS: usize = 4;

/// Nothing can be said: too little of the cluster answers.
#[derive(Debug)]
pub struct Unavailable(pub String);

fn unavailable(why: impl std::fmt::Debug) -> Unavailable {
    Unavailable(format!("{why:?}"))
}

/// The end of one start of a gateway. Whoever waits for it hears of it in the order in which they began to.
#[derive(Default)]
pub struct Death {
    has_come: AtomicBool,
    comes: Notify,
}

impl Death {
    pub fn come(&self) {
        self.has_come.store(true, Ordering::Relaxed);
        self.comes.notify_waiters();
    }

    pub fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }

    pub async fn wait(&self) {
        while !self.has_come() {
            self.comes.notified().await;
        }
    }
}

/// The storage peers that a copy of the ledger knows; none if that does not read.
async fn known_to(ledger: &FollowedLedger) -> Option<Vec<PeerConfig>> {
    let known = ledger.known_peers().await.ok()?;
    Some(known.iter().filter_map(PeerEntry::config).collect())
}

/// One start of a gateway.
pub struct Gateway {
    pub world: Arc<World>,
    pub number: usize,
    pub lease: u64,
    pub cluster: Cluster,
    pub ledger: Arc<dyn Ledger>,
    /// The same, where the peers keep it together.
    pub followed: Option<FollowedLedger>,
    /// Another gateway's lease has ended its own.
    pub has_ended: AtomicBool,
    pub died: Arc<Death>,
    pub histories: Arc<Histories>,
    /// Packs that no entry can name any more.
    pub dead: Mutex<BTreeSet<PackId>>,
    coder: Coder,
}

/// What an object's slot holds: which entry, and what it says.
type Found = Option<(Sequence, Object)>;

impl Gateway {
    /// Starts a gateway, which ends the leases of those that were it before; none if the ledger does not let it, or it dies first.
    pub async fn start(
        world: Arc<World>,
        number: usize,
        life: u64,
        died: Arc<Death>,
        histories: Arc<Histories>,
    ) -> Option<Arc<Self>> {
        let followed = match world.is_replicated() {
            true => Some(world.follow_ledger(number, life).await?),
            false => None,
        };
        let ledger: Arc<dyn Ledger> = match &followed {
            Some(followed) => Arc::new(followed.clone()),
            None => Arc::new(FarLedger {
                world: Arc::clone(&world),
                gateway: number,
                life,
            }),
        };
        if let Some(followed) = followed.clone().filter(|_| !has_begun(&world)) {
            Operator::new(&world, life, followed).begin().await;
        }
        let lease = lease::take(&world, number, life, &*ledger).await?;
        let layout = match &followed {
            Some(followed) => known_to(followed).await?,
            None => world.layout(),
        };
        let peers = Peers {
            transport: Arc::new(Wire {
                world: Arc::clone(&world),
                caller: End::Gateway(number),
                life,
            }),
            peers: layout,
        };
        let config = ClusterConfig {
            own: world.drives(Vec::new(), false),
            code: world.code,
            peers: Some(peers),
        };
        let nowhere = Arc::new(SimDisk::unrecorded(1));
        let cluster = match Cluster::open(nowhere, config).await {
            Ok(cluster) => cluster,
            Err(error) => {
                world
                    .trace
                    .wrong(format!("gateway {number} does not start: {error}"));
                return None;
            }
        };
        cluster.end_leases_below(ledger.status().lowest_lease).await;
        cluster.start_census(Arc::clone(&ledger));
        Some(Arc::new(Self {
            coder: Coder::new(world.code),
            world,
            number,
            lease,
            cluster,
            ledger,
            followed,
            has_ended: AtomicBool::new(false),
            died,
            histories,
            dead: Mutex::default(),
        }))
    }

    /// Follows who belongs to the cluster, until it dies.
    pub async fn follow(&self) {
        let mut known = Vec::new();
        while !self.died.has_come() {
            let layout = match &self.followed {
                Some(followed) => known_to(followed).await.unwrap_or_else(|| known.clone()),
                None => self.world.layout(),
            };
            if layout != known {
                if let Err(error) = self.cluster.set_peers(&layout).await {
                    self.world.trace.wrong(format!("a layout does not hold: {error}"));
                }
                known = layout;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    pub fn bury(&self, pack: PackId) {
        self.dead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pack);
    }

    fn saw(&self, key: u64, began: u64, ended: u64, seen: Version) {
        self.world.trace.note(&format!(
            "gateway {} saw {seen:?} of {key}, {began} to {ended}",
            self.number
        ));
        self.histories.saw(key, began, ended, seen);
    }

    async fn look(&self, key: u64) -> Result<Found, Unavailable> {
        self.ledger.read_index().await.map_err(unavailable)?;
        let entry = self.ledger.get(slot(key)).await.map_err(unavailable)?;
        entry.map(|entry| self.understand(&entry)).transpose()
    }

    fn understand(&self, entry: &Entry) -> Result<(Sequence, Object), Unavailable> {
        match Object::decode(&entry.value) {
            Ok(object) => Ok((entry.sequence, object)),
            Err(error) => {
                self.world.trace.wrong(format!("a slot does not decode: {error}"));
                Err(unavailable(error))
            }
        }
    }

    /// Sends an append until there is an answer. The flag is whether an earlier one of these may still be carried out.
    async fn append(&self, append: Append) -> (Option<Outcome>, bool) {
        for attempt in 0..ATTEMPTS {
            match self.ledger.append(append.clone()).await {
                Ok(outcome) => return (Some(outcome), attempt > 0),
                Err(_) => tokio::time::sleep(self.world.random.ms(50, 500)).await,
            }
        }
        (None, true)
    }

    /// Has the ledger settle what it did not answer, now and then.
    async fn settle(&self, operation: [u8; 16]) {
        if self.world.random.chance(500)
            && let Ok(through) = self.ledger.settle().await
        {
            self.world.agreed.settled(through, operation);
        }
    }

    /// Puts a version in the place of what was found, or nothing; whether it is there now. What stands there instead, if it is not.
    async fn swap(
        &self,
        key: u64,
        found: &Found,
        new: Option<(&Object, &PackEntry)>,
    ) -> Result<Result<(), Found>, Unavailable> {
        let from = found.as_ref().map(|(_, object)| object.version);
        let to = new.map(|(object, _)| object.version);
        let expectation = match found {
            Some((sequence, _)) => Expectation::At(slot(key), *sequence),
            None => Expectation::Absent(slot(key)),
        };
        let write = |address, value: Option<Vec<u8>>| Write {
            address,
            value: value.map(Into::into),
        };
        let mut writes = vec![write(slot(key), new.map(|(object, _)| object.encode()))];
        writes.extend(new.map(|(_, entry)| write(pack_address(SCOPE, &entry.id()), Some(entry.encode()))));
        writes.extend(
            found
                .as_ref()
                .map(|(_, old)| write(pack_address(SCOPE, &old.pack), None)),
        );
        let mut operation = [0; 16];
        operation[..8].copy_from_slice(&self.world.number().to_le_bytes());
        let append = Append {
            operation,
            lease: self.lease,
            vault: VAULT,
            expectations: vec![expectation],
            writes,
            record: None,
        };
        let began = self.world.moment();
        let ticket = self.histories.begin(key, began, Action::Swap(from, to));
        let (outcome, in_doubt) = self.append(append).await;
        match outcome {
            Some(Outcome::Applied { sequence }) => {
                self.world.agreed.answered(sequence, operation);
                self.histories.end(ticket, self.world.moment());
                if to.is_some() {
                    self.world.acked.notify_waiters();
                }
                if let Some((_, old)) = found {
                    self.bury(old.pack);
                }
                Ok(Ok(()))
            }
            // One that is still on its way may yet be carried out, unless it is withdrawn.
            None => {
                self.settle(operation).await;
                Err(unavailable("no answer"))
            }
            Some(other) if in_doubt => {
                self.settle(operation).await;
                Err(unavailable(other))
            }
            Some(Outcome::Conflict { current, .. }) => {
                self.histories.forget(ticket);
                let now = current.map(|entry| self.understand(&entry)).transpose()?;
                let seen = now.as_ref().map(|(_, object)| object.version);
                self.saw(key, began, self.world.moment(), seen);
                Ok(Err(now))
            }
            Some(other @ Outcome::LeaseEnded { .. }) => {
                self.has_ended.store(true, Ordering::Relaxed);
                self.histories.forget(ticket);
                Err(unavailable(other))
            }
        }
    }

    fn pack(&self, key: u64, version: u64) -> Option<(Pack, Object)> {
        let mut builder = PackBuilder::new(self.world.code);
        let count = self.world.random.between(1, 5) as usize;
        let mut parts = Vec::new();
        for part in 0..count {
            let bytes = self.world.random.between(1, 5_000) as usize;
            let placed = builder.place(&content(key, version, part, bytes))?;
            parts.push(LaneRange {
                lane: placed.lane,
                offset: placed.offset,
                bytes: bytes as u32,
            });
        }
        let pack = builder.finish(&self.coder, None).ok()?;
        let object = Object {
            version,
            pack: pack.summary.id,
            parts,
        };
        Some((pack, object))
    }

    /// Writes a new version, on condition that nobody wrote another since it was looked, or whatever is there.
    pub async fn put(&self, key: u64, on_condition: bool) -> Result<(), Unavailable> {
        let mut found = None;
        if on_condition {
            let began = self.world.moment();
            found = self.look(key).await?;
            let seen = found.as_ref().map(|(_, object)| object.version);
            self.saw(key, began, self.world.moment(), seen);
        }
        let version = self.world.number();
        let Some((pack, object)) = self.pack(key, version) else {
            self.world
                .trace
                .wrong("a pack of a few chunks does not fit".to_owned());
            return Err(unavailable("no pack"));
        };
        let put = self.cluster.put_pack(pack, VAULT, SCOPE, self.lease).await;
        let entry = put.map_err(|error| {
            self.bury(object.pack);
            unavailable(error)
        })?;
        if !on_condition {
            found = self.look(key).await?;
        }
        for _ in 0..ATTEMPTS {
            match self.swap(key, &found, Some((&object, &entry))).await? {
                Ok(()) => return Ok(()),
                Err(_) if on_condition => break,
                Err(now) => found = now,
            }
        }
        self.bury(object.pack);
        Err(unavailable("somebody else was first"))
    }

    pub async fn delete(&self, key: u64) -> Result<(), Unavailable> {
        let began = self.world.moment();
        let mut found = self.look(key).await?;
        let seen = found.as_ref().map(|(_, object)| object.version);
        self.saw(key, began, self.world.moment(), seen);
        for _ in 0..ATTEMPTS {
            if found.is_none() {
                return Ok(());
            }
            match self.swap(key, &found, None).await? {
                Ok(()) => return Ok(()),
                Err(now) => found = now,
            }
        }
        Err(unavailable("somebody else was first"))
    }

    /// Reads an object, every byte of it; the version that it has.
    pub async fn get(&self, key: u64) -> Result<Version, Unavailable> {
        let began = self.world.moment();
        let mut last = unavailable("not tried");
        for _ in 0..2 * ATTEMPTS {
            let Some((_, object)) = self.look(key).await? else {
                self.histories.saw(key, began, self.world.moment(), None);
                return Ok(None);
            };
            let entry = self
                .ledger
                .get(pack_address(SCOPE, &object.pack))
                .await
                .map_err(unavailable)?;
            // Another version took its place between the two looks.
            let Some(entry) = entry else { continue };
            let pack = PackEntry::decode(&entry.value).map_err(unavailable)?;
            match self.read(key, &object, &pack).await {
                Ok(()) => {
                    self.saw(key, began, self.world.moment(), Some(object.version));
                    return Ok(Some(object.version));
                }
                Err(error) => last = error,
            }
            tokio::time::sleep(self.world.random.ms(20, 200)).await;
        }
        Err(last)
    }

    async fn read(&self, key: u64, object: &Object, pack: &PackEntry) -> Result<(), Unavailable> {
        let together = match self.world.random.chance(500) {
            true => Some(
                self.cluster
                    .read_lanes(pack, &object.parts)
                    .await
                    .map_err(unavailable)?,
            ),
            false => None,
        };
        for (number, part) in object.parts.iter().enumerate() {
            let wanted = content(key, object.version, number, part.bytes as usize);
            let read = match &together {
                Some(all) => all[number].clone(),
                None => {
                    let read = self.cluster.read_lane(pack, part.lane, part.offset, part.bytes);
                    read.await.map_err(unavailable)?
                }
            };
            if read == wanted {
                continue;
            }
            // As when a chunk's tag does not check.
            let verified = self
                .cluster
                .read_lane_verified(pack, *part)
                .await
                .map_err(unavailable)?;
            if verified.bytes != wanted {
                let version = object.version;
                let what = format!(
                    "gateway {} read wrong bytes of object {key}, version {version}",
                    self.number
                );
                self.world.trace.wrong(what);
            }
        }
        Ok(())
    }

    /// Every object at one moment, with its version.
    pub async fn list(&self, keys: u64) -> Result<Vec<Version>, Unavailable> {
        let began = self.world.moment();
        self.ledger.read_index().await.map_err(unavailable)?;
        let mut snapshot = self.ledger.snapshot().await.map_err(unavailable)?;
        let mut listed = vec![None; keys as usize];
        loop {
            let page = snapshot
                .next_of(EntryKind::ObjectCurrent, 16)
                .await
                .map_err(unavailable)?;
            if page.is_empty() {
                break;
            }
            for entry in page {
                let key = u128::from_le_bytes(entry.address.slot) as usize;
                listed[key] = Some(self.understand(&entry)?.1.version);
            }
        }
        let ended = self.world.moment();
        for (key, version) in listed.iter().enumerate() {
            self.saw(key as u64, began, ended, *version);
        }
        Ok(listed)
    }
}
