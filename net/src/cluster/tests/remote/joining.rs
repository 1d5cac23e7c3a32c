//! The layout itself: who is a member, under which number, and how fast shards may move.

use std::time::{Duration, Instant};

use super::moving::{FAST, World, but, config_of};
use super::*;
use crate::cluster::{LayoutError, ReplaceOptions};

#[tokio::test]
async fn a_place_keeps_its_number_and_one_that_is_named_again_is_a_member_again() {
    let mut world = World::new(101, 6).await;
    world.fill(3).await;
    let numbers = |world: &World| -> Vec<(usize, [u8; 16], Standing)> {
        let drives = world.cluster.status().drives.into_iter();
        drives
            .map(|drive| (drive.number, drive.id, drive.standing))
            .collect()
    };
    let first = numbers(&world);
    world.members(&[7, 5, 4, 3, 1, 0]).await;
    let second = numbers(&world);
    assert_eq!(second.len(), 7, "the one that is gone is known still");
    for (number, id, _) in &first {
        let now = second.iter().find(|(_, other, _)| other == id).unwrap();
        let gone = *id == Rig::drive_id(2);
        assert_eq!((now.0, now.2 == Standing::Gone), (*number, gone));
    }
    assert_eq!(second.last().unwrap().1, Rig::drive_id(7));
    assert_eq!(world.cluster.peers().len(), 7);
    world.members(&[0, 1, 2, 3, 4, 5]).await;
    assert_eq!(world.cluster.present(), 6);
    world.assert_complete().await;
    let standings = numbers(&world).into_iter().map(|(_, _, standing)| standing);
    assert_eq!(
        standings.filter(|standing| *standing == Standing::Active).count(),
        6
    );
}

#[tokio::test]
async fn a_drive_that_went_to_another_peer_is_asked_for_there() {
    let mut world = World::new(102, 6).await;
    world.fill(3).await;
    // The node of peer 6 answers for the drive of peer 2, as if it had been carried over.
    world.rig.wire.stand_in(6, 2);
    let mut peers: Vec<_> = [0, 1, 3, 4, 5]
        .map(|number| config_of(number, Standing::Active))
        .into();
    peers.push(PeerConfig {
        id: peer(6),
        ..config_of(2, Standing::Active)
    });
    world.cluster.set_peers(&peers).await.unwrap();
    assert_eq!(world.cluster.present(), 6);
    let drives = world.cluster.status().drives;
    assert_eq!(drives.len(), 6);
    assert_eq!((drives[2].number, drives[2].id), (2, Rig::drive_id(2)));
    world.assert_complete().await;
    assert!(world.replace(FAST).await.packs == 0);
}

#[tokio::test]
async fn a_layout_that_names_a_drive_twice_is_refused_and_the_old_one_stays() {
    let world = World::new(103, 6).await;
    let mut twice = but(6, 9, Standing::Gone);
    twice[3].drives = twice[4].drives.clone();
    assert_eq!(world.cluster.set_peers(&twice).await, Err(LayoutError::Twice));
    let mut same = but(6, 9, Standing::Gone);
    same[3].id = same[4].id;
    assert_eq!(world.cluster.set_peers(&same).await, Err(LayoutError::Twice));
    assert_eq!(world.cluster.present(), 6);
    let alone = open(&SimDisk::unrecorded(104), 6, true).await;
    assert_eq!(
        alone.set_peers(&but(1, 9, Standing::Gone)).await,
        Err(LayoutError::NoWay)
    );
}

#[tokio::test]
async fn a_move_keeps_the_budget_that_it_was_given_and_uses_it_up() {
    let mut world = World::new(105, 7).await;
    world.fill(12).await;
    world.cluster.set_peers(&but(7, 1, Standing::Gone)).await.unwrap();
    let options = ReplaceOptions {
        bytes_per_second: 200_000,
        ..FAST
    };
    let started = Instant::now();
    let report = world.replace(options).await;
    let taken = started.elapsed();
    assert!(report.is_complete() && report.bytes_moved > 0, "{report:?}");
    let bytes = report.bytes_read + report.bytes_moved;
    // The last turn begins when all before it are paid for; a pack has up to five shards of 18,016 bytes to read and write.
    let needed = Duration::from_secs_f64(bytes.saturating_sub(5 * 18_016) as f64 / 200_000.0);
    assert!(taken >= needed, "{taken:?} for {bytes} bytes");
    assert!(
        taken < needed + Duration::from_secs(5),
        "{taken:?} for {bytes} bytes"
    );
}

#[tokio::test]
async fn what_is_on_a_drive_that_nobody_knows_is_made_anew_only_after_a_while() {
    let mut world = World::new(106, 6).await;
    world.fill(6).await;
    world.cluster.close().await;
    // As after a start, when the membership no longer names the peer that went meanwhile.
    world.cluster = world.rig.open_over(&[0, 1, 3, 4, 5, 6]).await;
    let patient = world.replace(FAST).await;
    assert_eq!((patient.waiting, patient.packs_moved), (6, 0));
    world.assert_reads().await;
    let options = ReplaceOptions {
        lost_after: Duration::ZERO,
        ..FAST
    };
    let report = world.replace(options).await;
    assert!(report.is_complete() && report.packs_moved == 6, "{report:?}");
    world.assert_complete().await;
}
