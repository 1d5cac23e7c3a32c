//! What the layout survives, over packs that really lie there.

use engine::durability::Assumptions;

use super::moving::{FAST, World, config_of};
use super::*;
use crate::cluster::packs_of;

#[tokio::test]
async fn the_numbers_follow_what_is_there() {
    let mut world = World::new(95, 6).await;
    let at = |number: usize| PeerConfig {
        domain: [number as u8 / 2; 16],
        ..config_of(number, Standing::Active)
    };
    world
        .cluster
        .set_peers(&(0..6).map(at).collect::<Vec<_>>())
        .await
        .unwrap();
    world.fill(6).await;
    let given = Assumptions::default();
    let whole = world
        .cluster
        .durability(&|| packs_of(&*world.ledger), &given)
        .await
        .unwrap();
    assert_eq!((whole.packs, whole.unreadable), (6, 0));
    assert_eq!(whole.by_missing.into_iter().collect::<Vec<_>>(), [(0, 6)]);
    assert_eq!(
        (whole.survival.drives_reading, whole.survival.drives_writing),
        (Some(2), Some(0))
    );
    assert_eq!(whole.survival.domains.len(), 3);
    assert!(
        whole
            .survival
            .domains
            .iter()
            .all(|loss| loss.packs_unreadable == 0 && !loss.writes)
    );
    assert!(whole.with_domain_losses.pack_loss > whole.independent.pack_loss);
    assert!(whole.independent.assumptions.contains("24 hours"));
    assert_eq!(whole.observed.lost, 0);
    world.rig.wire.behave(0, Conduct::Down);
    world.cluster.check_drives().await;
    let short = world
        .cluster
        .durability(&|| packs_of(&*world.ledger), &given)
        .await
        .unwrap();
    assert!(short.independent.any_loss > 4.0 * whole.independent.any_loss);
    assert_eq!(
        (short.survival.drives_reading, short.survival.drives_writing),
        (Some(1), None)
    );
    assert!(short.by_missing.contains_key(&1));
    // Made anew elsewhere, it is as before, and was seen.
    let peers: Vec<_> = [1, 2, 3, 4, 5]
        .map(at)
        .into_iter()
        .chain([PeerConfig {
            domain: [0; 16],
            ..at(6)
        }])
        .collect();
    world.cluster.set_peers(&peers).await.unwrap();
    let report = world.replace(FAST).await;
    assert!(report.is_complete(), "{report:?}");
    world
        .cluster
        .inner
        .note_watched(std::time::Duration::from_secs(3_600));
    let again = world
        .cluster
        .durability(&|| packs_of(&*world.ledger), &given)
        .await
        .unwrap();
    assert_eq!(again.independent, whole.independent);
    assert_eq!(again.survival, whole.survival);
    assert_eq!(again.observed.lost, report.shards_rebuilt);
    assert!(again.observed.rate > 0.0 && again.observed.rate_at_most > again.observed.rate);
}
