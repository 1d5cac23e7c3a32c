//! Peers that are challenged all the time, and what is found that way without anybody asking.

use std::time::Duration;

use super::moving::World;
use super::*;
use crate::cluster::{CHALLENGES_PER_HOUR_MAX, Challenged, Misdeeds};

impl World {
    fn challenged(&self, number: usize) -> Challenged {
        self.cluster.challenged(&Rig::drive_id(number))
    }

    fn misdeeds(&self, number: usize) -> Misdeeds {
        let status = self.cluster.status();
        let of = status
            .drives
            .iter()
            .find(|drive| drive.id == Rig::drive_id(number));
        of.unwrap().misdeeds
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        ended.unwrap_or_else(|_| panic!("never: {what}"));
    }
}

#[tokio::test]
async fn whoever_alters_claims_or_loses_shards_is_named_without_being_asked_for_and_no_other_is() {
    let mut world = World::new(71, PEERS).await;
    world.fill(8).await;
    world
        .cluster
        .start_challenging(Arc::clone(&world.ledger), CHALLENGES_PER_HOUR_MAX);
    let all_asked = |world: &World| (0..PEERS).all(|number| world.challenged(number).proven > 0);
    world.until("every peer has proven something", all_asked).await;
    for number in 0..PEERS {
        assert_eq!(world.misdeeds(number), Misdeeds::default());
        assert!(
            world.challenged(number).detection > 0.0,
            "{:?}",
            world.challenged(number)
        );
    }

    world.rig.wire.behave(0, Conduct::Forger);
    world
        .until("a forger is named", |world| world.misdeeds(0).altered > 0)
        .await;
    world.rig.wire.behave(0, Conduct::Honest);

    for stored in &world.stored {
        for index in stored.entry.stored() {
            let key = crate::cluster::put::key(&stored.entry, index);
            match stored.entry.drives[index] {
                id if id == Rig::drive_id(1) => world.rig.wire.node(1).lose_shard(key).await,
                id if id == Rig::drive_id(2) => world.rig.wire.node(2).lose_shard(key).await,
                _ => {}
            }
        }
    }
    world.rig.wire.behave(1, Conduct::Boaster);
    world
        .until("a boaster is named", |world| world.misdeeds(1).claimed > 0)
        .await;
    world
        .until("who lost shards is named", |world| world.misdeeds(2).absent > 0)
        .await;
    assert_eq!(world.misdeeds(2).claimed, 0, "it admits it");
    world.rig.wire.behave(1, Conduct::Honest);
    for number in 3..PEERS {
        assert_eq!(world.misdeeds(number), Misdeeds::default(), "peer {number}");
    }
    world.assert_reads().await;
    world.cluster.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_is_asked_for_than_the_pace_allows() {
    let mut world = World::new(72, PEERS).await;
    world.fill(3).await;
    let per_hour = 60;
    world
        .cluster
        .start_challenging(Arc::clone(&world.ledger), per_hour);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let asked: u64 = (0..PEERS).map(|number| world.challenged(number).asked).sum();
    let pace = u64::from(per_hour) * PEERS as u64;
    assert!((pace * 9 / 10..=pace).contains(&asked), "{asked} in an hour");
    world.cluster.close().await;
}

#[tokio::test]
async fn nobody_is_named_for_a_shard_that_another_gateway_deleted_or_moved_away() {
    // One more than a pack has shards.
    let peers = PEERS + 1;
    let mut world = World::new(73, peers).await;
    world.fill(3).await;
    let mut lost = Vec::new();
    for stored in &world.stored {
        let index = stored.entry.stored().next().unwrap();
        let holder = (0..peers).find(|number| stored.entry.drives[index] == Rig::drive_id(*number));
        let key = crate::cluster::put::key(&stored.entry, index);
        world.rig.wire.node(holder.unwrap()).lose_shard(key).await;
        lost.push((stored.entry.clone(), index, holder.unwrap()));
    }
    let [(deleted, ..), (moved, at, _), (.., loser)] = &lost[..] else {
        panic!("three packs")
    };
    world.cluster.note_retired_elsewhere(deleted.id().slot());
    let mut now = PackEntry::clone(moved);
    let free = (0..peers).map(Rig::drive_id).find(|id| !now.drives.contains(id));
    now.drives[*at] = free.unwrap();
    world.cluster.note_moved_elsewhere(&now);
    // What a read or a challenge finds that began with the entries from before.
    for (entry, index, _) in &lost {
        world.cluster.inner.missing.add_absent(entry, [*index]);
    }
    world.cluster.heal().await;
    let absent: Vec<u64> = (0..peers).map(|number| world.misdeeds(number).absent).collect();
    let only_the_loser = (0..peers).map(|number| u64::from(number == *loser));
    assert_eq!(absent, only_the_loser.collect::<Vec<_>>());
    world.cluster.close().await;
}
