//! Peers that join, drain and go, and the shards that move because of it.

use std::time::Duration;

use engine::slots::{Append, Write};

use super::*;
use crate::cluster::{PackStream, ReplaceOptions, ReplaceReport, packs_of};
use crate::ledger::local::pack_address;
use crate::ledger::{Ledger, LedgerConfig, LocalLedger};

/// Eight nodes, and a ledger that names what is put.
pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) cluster: Cluster,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) lease: u64,
    pub(super) stored: Vec<Stored>,
}

/// Nodes of a world; the cluster is opened over some of them.
pub(super) const NODES: usize = 9;

pub(super) const FAST: ReplaceOptions = ReplaceOptions {
    lost_after: Duration::from_secs(900),
    bytes_per_second: u64::MAX,
};

impl World {
    /// A cluster over the first peers.
    pub(super) async fn new(seed: u64, members: usize) -> Self {
        let rig = Rig::with(seed, NODES).await;
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(seed));
        let (ledger, _) = LocalLedger::open(disk, Path::new("/ledger"), LedgerConfig::new(5)).unwrap();
        let lease = ledger.take_lease("test", 1).await.unwrap();
        let cluster = rig.open().await;
        let world = Self {
            rig,
            cluster,
            ledger: Arc::new(ledger),
            lease,
            stored: Vec::new(),
        };
        world.members(&(0..members).collect::<Vec<_>>()).await;
        world
    }

    /// Makes these the members, each its own domain.
    pub(super) async fn members(&self, numbers: &[usize]) {
        let peers = numbers.iter().map(|number| config_of(*number, Standing::Active));
        self.cluster.set_peers(&peers.collect::<Vec<_>>()).await.unwrap();
    }

    pub(super) async fn fill(&mut self, packs: u8) {
        for seed in 0..packs {
            let sizes: &[usize] = if seed % 3 == 0 { &[300] } else { &[9_000; 5] };
            let stored = put(&self.cluster, seed, sizes).await.unwrap();
            self.name(&stored.entry).await;
            self.stored.push(stored);
        }
        settle(&self.cluster, &self.stored).await;
    }

    async fn name(&self, entry: &PackEntry) {
        self.write(entry, Some(Bytes::from(entry.encode()))).await;
    }

    async fn write(&self, entry: &PackEntry, value: Option<Bytes>) {
        write(&self.ledger, self.lease, entry, value).await;
    }

    pub(super) async fn replace(&self, options: ReplaceOptions) -> ReplaceReport {
        let mut quiet = |_| {};
        let replacing = self
            .cluster
            .replace(&self.ledger, self.lease, options, &mut quiet);
        replacing.await.unwrap()
    }

    pub(super) async fn entries(&self) -> Vec<PackEntry> {
        packs_of(&*self.ledger).map(Result::unwrap).collect().await
    }

    pub(super) async fn entry(&self, pack: usize) -> PackEntry {
        let id = self.stored[pack].entry.id();
        self.entries()
            .await
            .into_iter()
            .find(|entry| entry.id() == id)
            .unwrap()
    }

    /// Whether an entry names the drive of this peer.
    pub(super) async fn names(&self, number: usize) -> bool {
        let entries = self.entries().await;
        entries
            .iter()
            .any(|entry| entry.drives.contains(&Rig::drive_id(number)))
    }

    /// Every shard is where its entry says, also by the word of the drives, and reads back.
    pub(super) async fn assert_complete(&self) {
        let report = self.cluster.census(&|| packs_of(&*self.ledger)).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.packs, self.stored.len() as u64);
        for entry in self.entries().await {
            for index in entry.stored() {
                let place = self.cluster.inner.place_of(&entry, index).unwrap();
                assert_eq!(self.cluster.inner.proves(&place, &entry, index).await, Ok(true));
            }
        }
        self.assert_reads().await;
    }

    pub(super) async fn assert_reads(&self) {
        for (pack, stored) in self.stored.iter().enumerate() {
            let entry = self.entry(pack).await;
            assert_reads(
                &self.cluster,
                &Stored {
                    entry,
                    chunks: stored.chunks.clone(),
                },
            )
            .await;
        }
    }
}

pub(super) async fn write(ledger: &Arc<dyn Ledger>, lease: u64, entry: &PackEntry, value: Option<Bytes>) {
    static OPERATION: AtomicU64 = AtomicU64::new(0);
    let mut operation = [7; 16];
    operation[8..].copy_from_slice(&OPERATION.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let append = Append {
        operation,
        lease,
        vault: VAULT,
        expectations: Vec::new(),
        writes: vec![Write {
            address: pack_address(SCOPE, &entry.id()),
            value,
        }],
        record: None,
    };
    let outcome = ledger.append(append).await.unwrap();
    assert!(matches!(outcome, engine::slots::Outcome::Applied { .. }));
}

pub(super) fn config_of(number: usize, standing: Standing) -> PeerConfig {
    PeerConfig {
        id: peer(number),
        domain: [number as u8; 16],
        drives: vec![Rig::drive_id(number)],
        standing,
    }
}

/// The members 0 to `count`, one of which stands otherwise.
pub(super) fn but(count: usize, number: usize, standing: Standing) -> Vec<PeerConfig> {
    let standing_of = |other| {
        if other == number {
            standing
        } else {
            Standing::Active
        }
    };
    (0..count)
        .map(|other| config_of(other, standing_of(other)))
        .collect()
}

#[tokio::test]
async fn an_empty_peer_in_the_place_of_one_that_is_gone_makes_the_census_complete_again() {
    let mut world = World::new(61, 6).await;
    world.fill(9).await;
    world.rig.wire.behave(2, Conduct::Down);
    world.members(&[0, 1, 3, 4, 5]).await;
    let status = world.cluster.status();
    let gone: Vec<_> = status
        .drives
        .iter()
        .filter(|drive| drive.standing == Standing::Gone)
        .collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].id, Rig::drive_id(2));
    assert_eq!(gone[0].reason.as_deref(), Some("it was removed from the cluster"));
    assert_eq!(world.cluster.layout().len(), 5);
    world.assert_reads().await;
    // Five drives are too few for a placement of six shards.
    let nowhere = world.replace(FAST).await;
    assert_eq!((nowhere.unplaced, nowhere.packs_moved), (9, 0));
    world.members(&[0, 1, 3, 4, 5, 6]).await;
    let mut shown = Vec::new();
    let mut show = |progress| shown.push(progress);
    let replacing = world.cluster.replace(&world.ledger, world.lease, FAST, &mut show);
    let report = replacing.await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(
        (report.packs, report.packs_moved, report.shards_copied),
        (9, 9, 0)
    );
    assert!(report.shards_rebuilt > 0);
    assert!(
        report.bytes_read * report.shards_rebuilt.max(1) > 0 && report.bytes_read <= 5 * report.bytes_moved
    );
    assert_eq!(
        shown.last().map(|progress| (progress.done, progress.total)),
        Some((9, 9))
    );
    assert_eq!(shown.last().unwrap().seconds_left, Some(0));
    assert!(!world.names(2).await);
    assert!(
        world
            .cluster
            .status()
            .drives
            .iter()
            .all(|drive| drive.id != Rig::drive_id(2))
    );
    world.assert_complete().await;
    assert_eq!(world.cluster.status().packs_at_risk, 0);
}

#[tokio::test]
async fn a_draining_peer_ends_empty_and_nothing_was_unreadable_meanwhile() {
    let mut world = World::new(62, 7).await;
    world.fill(12).await;
    world
        .cluster
        .set_peers(&but(7, 1, Standing::Draining))
        .await
        .unwrap();
    let packs: &PackStream<'_> = &|| packs_of(&*world.ledger);
    let before = world.cluster.drain_state(packs, &peer(1)).await.unwrap();
    assert!(before.left.stored > 0 && !before.is_done());
    // Who read the entries before goes on with them.
    let reading = async {
        loop {
            for stored in &world.stored {
                assert_reads(&world.cluster, stored).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let report = tokio::select! {
        report = world.replace(FAST) => report,
        () = reading => unreachable!("it reads until the drain is done"),
    };
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.shards_rebuilt, 0, "what is there is copied");
    assert_eq!(report.shards_copied, before.left.stored);
    assert!(
        world
            .cluster
            .drain_state(packs, &peer(1))
            .await
            .unwrap()
            .is_done()
    );
    world.assert_complete().await;
    for stored in &world.stored {
        assert_reads(&world.cluster, stored).await;
    }
    let after = put(&world.cluster, 99, &[9_000; 5]).await.unwrap();
    assert!(!after.entry.drives.contains(&Rig::drive_id(1)));
}

#[tokio::test]
async fn with_no_drive_to_spare_a_draining_one_still_takes_what_could_not_be_stored_without() {
    let world = World::new(63, 6).await;
    world
        .cluster
        .set_peers(&but(6, 1, Standing::Draining))
        .await
        .unwrap();
    let stored = put(&world.cluster, 1, &[9_000; 5]).await.unwrap();
    settle(&world.cluster, std::slice::from_ref(&stored)).await;
    world.cluster.set_peers(&but(6, 1, Standing::Gone)).await.unwrap();
    let refused = put(&world.cluster, 2, &[9_000; 5]).await.err();
    assert_eq!(refused, Some(PutError::Layout { have: 5, need: 6 }));
    assert_reads(&world.cluster, &stored).await;
}

#[tokio::test]
async fn a_move_dropped_at_any_call_loses_nothing_and_is_begun_again() {
    let mut world = World::new(64, 7).await;
    world.fill(6).await;
    world.cluster.set_peers(&but(7, 3, Standing::Gone)).await.unwrap();
    let mut dropped = 0;
    for calls in 1.. {
        assert!(calls < 200, "it never comes to an end");
        world.rig.wire.stop_after(calls);
        let done = tokio::select! {
            biased;
            report = world.replace(FAST) => report.is_complete(),
            () = world.rig.wire.stopped() => false,
        };
        world.rig.wire.go_on();
        if done {
            break;
        }
        dropped += 1;
        world.assert_reads().await;
        for entry in world.entries().await {
            let lacks = world.cluster.inner.absent(&entry).await;
            let named = |index: &usize| entry.drives[*index] == Rig::drive_id(3);
            assert!(lacks.iter().all(named), "after {calls} calls: {lacks:?}");
        }
    }
    println!("dropped {dropped} times");
    assert!(dropped > 5, "{dropped}");
    world.assert_complete().await;
}

#[tokio::test]
async fn a_pack_that_was_deleted_while_it_moved_stays_deleted() {
    let mut world = World::new(65, 7).await;
    world.fill(1).await;
    world
        .cluster
        .set_peers(&but(7, holder_of(&world, 0), Standing::Draining))
        .await
        .unwrap();
    let (ledger, lease, entry) = (
        Arc::clone(&world.ledger),
        world.lease,
        world.stored[0].entry.clone(),
    );
    world
        .rig
        .wire
        .before_put(async move { write(&ledger, lease, &entry, None).await });
    let report = world.replace(FAST).await;
    assert_eq!(report.packs_moved, 0, "{report:?}");
    assert!(world.entries().await.is_empty());
}

/// The peer that holds the first stored shard of a pack.
pub(super) fn holder_of(world: &World, pack: usize) -> usize {
    let entry = &world.stored[pack].entry;
    let drive = entry.drives[entry.stored().next().unwrap()];
    (0..NODES).find(|number| Rig::drive_id(*number) == drive).unwrap()
}

#[tokio::test]
async fn a_target_that_lies_or_is_full_gets_nothing_and_another_does() {
    for (seed, conduct) in [(66, Conduct::Swallower), (67, Conduct::Stuffed)] {
        let mut world = World::new(seed, 6).await;
        world.fill(6).await;
        world.rig.wire.behave(6, conduct);
        world.members(&[0, 1, 3, 4, 5, 6]).await;
        let report = world.replace(FAST).await;
        assert_eq!(report.packs_moved, 0, "{report:?}");
        assert_eq!(report.failed + report.unplaced, 6);
        world.assert_reads().await;
        assert!(!world.names(6).await);
        if conduct == Conduct::Swallower {
            let status = world.cluster.status();
            let liars: Vec<_> = status
                .drives
                .iter()
                .filter(|drive| drive.bad_answers > 0)
                .map(|drive| drive.id)
                .collect();
            assert_eq!(liars, [Rig::drive_id(6)]);
        }
        world.members(&[0, 1, 3, 4, 5, 6, 7]).await;
        let mut rounds = 0;
        while !world.replace(FAST).await.is_complete() {
            rounds += 1;
            assert!(rounds < 5);
        }
        assert!(!world.names(6).await);
        world.assert_complete().await;
    }
}

#[tokio::test]
async fn two_gateways_that_move_the_same_shards_do_no_harm() {
    let mut world = World::new(68, 6).await;
    world.fill(9).await;
    let other = world.rig.open().await;
    let peers: Vec<_> = [0, 1, 2, 4, 5, 6, 7]
        .map(|number| config_of(number, Standing::Active))
        .into();
    world.cluster.set_peers(&peers).await.unwrap();
    other.set_peers(&peers).await.unwrap();
    let (one, two) = tokio::join!(world.replace(FAST), async {
        other
            .replace(&world.ledger, world.lease, FAST, &mut |_| {})
            .await
            .unwrap()
    });
    assert_eq!(one.packs_moved + two.packs_moved, 9, "{one:?} {two:?}");
    assert!(!world.names(3).await);
    world.assert_complete().await;
}

#[tokio::test]
async fn a_placement_that_no_domain_could_be_lost_from_is_refused() {
    let mut world = World::new(69, 6).await;
    let at = |number: usize, domain: u8| PeerConfig {
        domain: [domain; 16],
        ..config_of(number, Standing::Active)
    };
    let sites = [at(0, 0), at(1, 0), at(2, 1), at(3, 1), at(4, 2), at(5, 2)];
    world.cluster.set_peers(&sites).await.unwrap();
    world.fill(6).await;
    let mut one_away: Vec<_> = sites
        .iter()
        .filter(|peer| peer.id != peer_of(2))
        .cloned()
        .collect();
    one_away.push(at(6, 0));
    world.cluster.set_peers(&one_away).await.unwrap();
    let refused = world.replace(FAST).await;
    assert_eq!((refused.unplaced, refused.packs_moved), (6, 0));
    one_away.push(at(7, 1));
    world.cluster.set_peers(&one_away).await.unwrap();
    let report = world.replace(FAST).await;
    assert!(report.is_complete(), "{report:?}");
    assert!(world.names(7).await && !world.names(6).await);
    world.assert_complete().await;
}

fn peer_of(number: usize) -> PeerId {
    peer(number)
}

#[tokio::test]
async fn a_lost_peers_shards_are_made_anew_elsewhere_once_it_was_lost_for_long_enough() {
    let mut world = World::new(70, 7).await;
    world.fill(6).await;
    world.rig.wire.behave(4, Conduct::Down);
    world.cluster.check_drives().await;
    let options = ReplaceOptions {
        lost_after: Duration::from_millis(300),
        ..FAST
    };
    let patient = world.replace(FAST).await;
    assert!(patient.waiting > 0 && patient.packs_moved == 0, "{patient:?}");
    let ledger = Arc::clone(&world.ledger);
    world
        .cluster
        .start_replacing(ledger, world.lease, options, Arc::new(|| true));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while world.names(4).await {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.assert_complete().await;
    world.cluster.close().await;
}

#[tokio::test]
async fn the_packs_nearest_to_loss_are_placed_anew_first() {
    let mut world = World::new(71, 8).await;
    world.fill(40).await;
    world.members(&[0, 1, 4, 5, 6, 7]).await;
    let gone = [Rig::drive_id(2), Rig::drive_id(3)];
    assert!(world.replace(FAST).await.is_complete());
    let mut moved = Vec::new();
    for Stored { entry, .. } in &world.stored {
        let risk = entry
            .stored()
            .filter(|index| gone.contains(&entry.drives[*index]))
            .count();
        let address = pack_address(SCOPE, &entry.id());
        let sequence = world.ledger.get(address).await.unwrap().unwrap().sequence;
        if entry.drives.iter().any(|drive| gone.contains(drive)) {
            moved.push((sequence, risk));
        }
    }
    moved.sort_unstable();
    let risks: Vec<usize> = moved.iter().map(|(_, risk)| *risk).collect();
    let nearest = risks.iter().filter(|risk| **risk == 2).count();
    assert!(nearest > 8 && risks.len() > nearest + 10, "{risks:?}");
    // Eight are on their way at one time.
    let last = risks.iter().rposition(|risk| *risk == 2).unwrap();
    assert!(last < nearest + 8, "{risks:?}");
    world.assert_complete().await;
}
