//! Copies that moves leave behind, and the collector's orders for them.

use std::collections::BTreeMap;

use engine::pack::PackId;
use scopes::{CollectorDelegation, DeleteOrder, Salt, Signed, StrayCopy, VaultId, Wallet, Window};

use super::moving::{FAST, World, but, holder_of};
use super::*;
use crate::cluster::packs_of;
use crate::peer::Purpose;

/// A world whose first pack's holder has been drained, and who that is.
async fn drained(seed: u64) -> (World, usize) {
    let mut world = World::new(seed, 7).await;
    world.fill(6).await;
    let leaver = holder_of(&world, 0);
    world
        .cluster
        .set_peers(&but(7, leaver, Standing::Draining))
        .await
        .unwrap();
    assert!(world.replace(FAST).await.is_complete());
    (world, leaver)
}

fn shards_on(world: &World, number: usize) -> u64 {
    world.rig.wire.node(number).reports()[0].shards
}

/// What the collector finds to go, as it does it.
async fn settled(world: &World, lease: u64) -> Vec<StrayCopy> {
    let entries: BTreeMap<PackId, PackEntry> = world
        .entries()
        .await
        .into_iter()
        .map(|entry| (entry.id(), entry))
        .collect();
    let lookup = |id: &PackId| entries.get(id).cloned();
    let page = world.cluster.listed_packs(VAULT, None, 100).await;
    let held = world.cluster.hold_strays(&page.packs, lease, &lookup);
    world.cluster.settled_strays(&held, &lookup).await
}

/// Which they are, wherever they lie.
fn names(strays: &[StrayCopy]) -> Vec<([u8; 32], u8, [u8; 16])> {
    let name = |stray: &StrayCopy| (stray.pack, stray.index, stray.drive);
    strays.iter().map(name).collect()
}

async fn order(world: &World, number: u64, strays: &[StrayCopy]) -> (u64, u64) {
    let collector = Wallet::from_seed(&[2; 32]);
    let delegation = CollectorDelegation {
        vault: VaultId(VAULT),
        salt: Salt([0; 16]),
        collector: collector.public_key(),
        window: Window::default(),
        number: 1,
    };
    let delegation = Signed::sign(delegation, &Wallet::from_seed(&[1; 32])).unwrap();
    world.cluster.trust_collector(&delegation);
    let order = DeleteOrder::new(VaultId(VAULT), collector.public_key(), vec![], number).with_strays(strays);
    let report = world
        .cluster
        .delete_packs(&Signed::sign(order, &collector).unwrap())
        .await
        .unwrap();
    assert_eq!(report.refused, 0);
    (report.shards, report.failed)
}

#[tokio::test]
async fn the_copies_that_a_drain_left_go_on_the_collectors_order_and_no_other_shard_does() {
    let (world, leaver) = drained(81).await;
    assert!(world.cluster.inner.strays_left.load(Ordering::Relaxed) > 0);
    let left = shards_on(&world, leaver);
    assert!(left > 0);
    let strays = settled(&world, LEASE).await;
    assert!(strays.iter().all(|stray| stray.drive == Rig::drive_id(leaver)));
    assert_eq!(strays.len() as u64, left);
    let others: u64 = (0..7)
        .filter(|number| *number != leaver)
        .map(|number| shards_on(&world, number))
        .sum();
    assert_eq!(order(&world, 1, &strays).await, (left, 0));
    assert_eq!(shards_on(&world, leaver), 0);
    let after: u64 = (0..7)
        .filter(|number| *number != leaver)
        .map(|number| shards_on(&world, number))
        .sum();
    assert_eq!(after, others);
    assert_eq!(settled(&world, LEASE).await, []);
    world.assert_complete().await;
    // Who read an entry before reads all of it still, and what it misses where the shards were is not missing.
    for stored in &world.stored {
        assert_reads(&world.cluster, stored).await;
    }
    assert_eq!(world.cluster.status().packs_at_risk, 0);
}

#[tokio::test]
async fn a_copy_stays_while_the_drive_that_the_entry_names_has_not_the_shard() {
    let (world, leaver) = drained(82).await;
    let before = &world.stored[0].entry;
    let index = before
        .stored()
        .find(|index| before.drives[*index] == Rig::drive_id(leaver))
        .unwrap();
    let entry = world.entry(0).await;
    let key = crate::cluster::put::key(&entry, index);
    let named = (0..7)
        .find(|number| Rig::drive_id(*number) == entry.drives[index])
        .unwrap();
    world.rig.wire.node(named).lose_shard(key).await;
    let stray = (entry.id().0, key.index, Rig::drive_id(leaver));
    let all = shards_on(&world, leaver);
    let strays = settled(&world, LEASE).await;
    assert!(!names(&strays).contains(&stray));
    assert_eq!(strays.len() as u64, all - 1);
    // It is the last good copy when as many others are lost as the code bears.
    let others: Vec<usize> = entry.stored().filter(|other| *other != index).collect();
    let need = entry.stored().count() - 2;
    let lost: Vec<_> = others[..others.len() + 1 - need].to_vec();
    for other in lost {
        let holder = (0..7)
            .find(|number| Rig::drive_id(*number) == entry.drives[other])
            .unwrap();
        world
            .rig
            .wire
            .node(holder)
            .lose_shard(crate::cluster::put::key(&entry, other))
            .await;
    }
    world.cluster.census(&|| packs_of(&*world.ledger)).await.unwrap();
    world.cluster.heal().await;
    world.assert_complete().await;
    assert!(names(&settled(&world, LEASE).await).contains(&stray));
}

#[tokio::test]
async fn an_order_for_a_copy_does_not_reach_what_was_put_in_its_place_meanwhile() {
    let (world, leaver) = drained(84).await;
    let strays = settled(&world, LEASE).await;
    let before = &world.stored[0].entry;
    let holds = |index: &usize| before.drives[*index] == Rig::drive_id(leaver);
    let index = before.stored().find(holds).unwrap();
    let entry = Arc::new(world.entry(0).await);
    let cluster = &world.cluster.inner;
    let shard = cluster.read_verified(&entry, index, Purpose::Repair.into());
    let shard = shard.await.unwrap();
    // Another gateway moves it back there.
    let header = crate::cluster::put::header(&entry, SCOPE, index, entry.lease);
    let place = cluster.place(Rig::drive_id(leaver)).unwrap();
    let moved = place.put_anew(header, shard, Purpose::Repair.into());
    moved.await.unwrap();
    let all = shards_on(&world, leaver);
    assert_eq!(order(&world, 1, &strays).await, (all - 1, 1));
    assert_eq!(shards_on(&world, leaver), 1);
    let left = (entry.id().0, index as u8, Rig::drive_id(leaver));
    assert_eq!(
        names(&settled(&world, LEASE).await),
        [left],
        "it is listed where it lies now"
    );
}

#[tokio::test]
async fn what_a_move_is_under_way_to_or_another_gateway_may_be_moving_is_left_alone() {
    let (world, leaver) = drained(83).await;
    let before = &world.stored[0].entry;
    let index = before
        .stored()
        .find(|index| before.drives[*index] == Rig::drive_id(leaver))
        .unwrap();
    let copy = (crate::cluster::put::key(before, index), Rig::drive_id(leaver));
    let stray = (before.id().0, copy.0.index, copy.1);
    let reserved = world.cluster.inner.reserve(vec![copy]).unwrap();
    assert!(world.cluster.inner.reserve(vec![copy]).is_none());
    assert!(!names(&settled(&world, LEASE).await).contains(&stray));
    drop(reserved);
    assert!(names(&settled(&world, LEASE).await).contains(&stray));
    // A copy under a lease that lives and is not the caller's.
    let place = world.cluster.inner.place(Rig::drive_id(8)).is_none();
    assert!(place);
    let entry = world.entry(0).await;
    let free = (0..7).find(|number| !entry.drives.contains(&Rig::drive_id(*number)) && *number != leaver);
    assert_eq!(free, None, "six shards on the six that stay");
    let shard = world
        .cluster
        .inner
        .read_verified(&Arc::new(entry.clone()), index, Purpose::Repair.into())
        .await
        .unwrap();
    let wanderer = crate::cluster::put::header(&entry, SCOPE, index, LEASE + 1);
    let elsewhere = (0..7)
        .find(|number| entry.drives[(index + 1) % 6] == Rig::drive_id(*number))
        .unwrap();
    let place = world.cluster.inner.place(Rig::drive_id(elsewhere)).unwrap();
    place.mend(wanderer, shard, Purpose::Repair.into()).await.unwrap();
    let wandering = (entry.id().0, copy.0.index, Rig::drive_id(elsewhere));
    assert!(!names(&settled(&world, LEASE).await).contains(&wandering));
    assert!(names(&settled(&world, LEASE + 1).await).contains(&wandering));
}
