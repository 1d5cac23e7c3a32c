//! Drives that join take load from fuller ones.

use super::moving::{FAST, World, config_of};
use super::*;
use crate::cluster::{RebalanceOptions, RebalanceReport};

const NOW: RebalanceOptions = RebalanceOptions {
    dry_run: false,
    threshold_permille: 0,
    bytes_max: u64::MAX,
    bytes_per_second: u64::MAX,
};

async fn rebalance(world: &World, options: RebalanceOptions) -> RebalanceReport {
    let mut quiet = |_| {};
    let balancing = world
        .cluster
        .rebalance(&world.ledger, world.lease, options, &mut quiet);
    balancing.await.unwrap()
}

/// Six peers with some packs, and two that joined. Each can hold little, so that the packs are a noticeable part of it.
async fn joined(seed: u64) -> World {
    let mut world = World::new(seed, 6).await;
    world.rig.hold_at_most(1 << 20);
    world.fill(12).await;
    world.members(&[0, 1, 2, 3, 4, 5, 6, 7]).await;
    world
}

#[tokio::test]
async fn a_dry_run_names_the_moves_and_moves_nothing_and_the_run_makes_them() {
    let world = joined(91).await;
    let before = world.entries().await;
    let dry = rebalance(&world, RebalanceOptions { dry_run: true, ..NOW }).await;
    assert!(!dry.plan.moves.is_empty() && dry.plan.bytes > 0);
    assert_eq!((dry.shards_moved, dry.bytes_moved), (0, 0));
    assert_eq!(world.entries().await, before);
    let new = [Rig::drive_id(6), Rig::drive_id(7)];
    assert!(
        dry.plan
            .moves
            .iter()
            .all(|planned| new.contains(&planned.to) && !new.contains(&planned.from))
    );
    let (sum, moved) = dry.plan.drives.iter().fold((0, 0), |(sum, moved), drive| {
        (
            sum + drive.before,
            moved + drive.after.saturating_sub(drive.before),
        )
    });
    assert_eq!(sum, dry.plan.drives.iter().map(|drive| drive.after).sum::<u64>());
    assert_eq!(moved, dry.plan.bytes);
    let done = rebalance(&world, NOW).await;
    assert_eq!(done.plan, dry.plan);
    assert!(
        done.shards_moved >= dry.plan.moves.len() as u64 && done.failed == 0,
        "{done:?}"
    );
    world.assert_complete().await;
    let holdings = world
        .cluster
        .holdings(&|| crate::cluster::packs_of(&*world.ledger))
        .await
        .unwrap();
    for planned in &dry.plan.drives {
        let holding = holdings.get(&planned.drive).copied().unwrap_or_default();
        assert!(!new.contains(&planned.drive) || holding.bytes > 0, "{planned:?}");
    }
    assert_eq!(rebalance(&world, NOW).await.shards_moved, 0, "it comes to rest");
}

#[tokio::test]
async fn differences_within_the_threshold_and_beyond_the_bytes_are_left_alone() {
    let world = joined(92).await;
    let lazy = RebalanceOptions {
        threshold_permille: 999,
        ..NOW
    };
    assert_eq!(
        rebalance(&world, lazy).await,
        RebalanceReport {
            plan: rebalance(
                &world,
                RebalanceOptions {
                    dry_run: true,
                    ..lazy
                }
            )
            .await
            .plan,
            ..RebalanceReport::default()
        }
    );
    let some = RebalanceOptions {
        bytes_max: 20_000,
        ..NOW
    };
    let report = rebalance(&world, some).await;
    assert!(
        report.plan.more && report.bytes_moved <= 20_000 && report.shards_moved > 0,
        "{report:?}"
    );
    world.assert_complete().await;
}

#[tokio::test]
async fn no_domain_gets_more_of_a_pack_than_it_may_lose() {
    let mut world = World::new(93, 6).await;
    world.rig.hold_at_most(1 << 20);
    let at = |number: usize, domain: u8| PeerConfig {
        domain: [domain; 16],
        ..config_of(number, Standing::Active)
    };
    let mut sites = vec![at(0, 0), at(1, 0), at(2, 1), at(3, 1), at(4, 2), at(5, 2)];
    world.cluster.set_peers(&sites).await.unwrap();
    world.fill(12).await;
    sites.extend([at(6, 0), at(7, 0)]);
    world.cluster.set_peers(&sites).await.unwrap();
    let report = rebalance(&world, NOW).await;
    assert!(report.shards_moved > 0);
    for entry in world.entries().await {
        let in_first = |drive: &&[u8; 16]| {
            [0, 1, 6, 7]
                .into_iter()
                .any(|number| Rig::drive_id(number) == **drive)
        };
        assert_eq!(entry.drives.iter().filter(in_first).count(), 2);
    }
    world.assert_complete().await;
    // What drains is not a rebalance's business.
    sites[0].standing = Standing::Draining;
    world.cluster.set_peers(&sites).await.unwrap();
    let quiet = rebalance(&world, NOW).await;
    assert!(
        quiet
            .plan
            .moves
            .iter()
            .all(|planned| planned.from != Rig::drive_id(0))
    );
    assert!(world.replace(FAST).await.is_complete());
}
