//! What is missing, as it is counted and as errors say it.

use super::*;
use crate::cluster::{RepairOptions, Tally};

#[tokio::test]
async fn drives_made_anew_do_not_count_as_if_they_held_their_shards_also_right_after_a_start() {
    let disk = SimDisk::unrecorded(91);
    let cluster = open(&disk, 6, true).await;
    let stored = [
        put(&cluster, 1, &[20_000; 6]).await.unwrap(),
        put(&cluster, 2, &[500]).await.unwrap(),
    ];
    let packs = packs(&stored);
    let whole = Tally {
        packs: 2,
        shards: 9,
        ..Tally::default()
    };
    assert_eq!(
        cluster.tally(&packs).await.unwrap(),
        whole,
        "what is still being written is not missing"
    );
    settle(&cluster, &stored).await;
    (0..3).for_each(|number| disk.unlink(&dir(number)));
    let options = RepairOptions {
        recreate: true,
        ..RepairOptions::default()
    };
    let report = cluster.repair(&packs, &options, &mut |_| {}).await.unwrap();
    assert!(
        report.lost.is_empty() && report.packs_unreadable >= 1,
        "{report:?}"
    );
    cluster.close().await;

    let cluster = open(&disk, 6, false).await;
    assert_eq!(cluster.present(), 6);
    let tally = cluster.tally(&packs).await.unwrap();
    assert_eq!(
        (tally.packs, tally.missing, tally.unreadable),
        (2, report.still_missing, report.packs_unreadable),
        "{tally:?}"
    );
    assert!(
        tally.at_risk >= tally.unreadable && tally.missing_max == 3,
        "{tally:?}"
    );
    cluster.close().await;
}

#[tokio::test]
async fn an_error_counts_stored_shards_and_no_implied_ones() {
    let disk = SimDisk::unrecorded(92);
    let cluster = open(&disk, 6, true).await;
    let stored = [put(&cluster, 1, &[500]).await.unwrap()];
    settle(&cluster, &stored).await;
    (0..6).for_each(|number| disk.unlink(&dir(number)));
    cluster.check_drives().await;
    assert_eq!(
        read(&cluster, &stored[0].entry, stored[0].chunks[0].0).await,
        Err(ReadError::NotEnoughShards { have: 0, need: 1 })
    );
    let tally = cluster.tally(&packs(&stored)).await.unwrap();
    assert_eq!((tally.shards, tally.missing, tally.unreadable), (3, 3, 1));
    cluster.close().await;
}
