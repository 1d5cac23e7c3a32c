//! A start on a full disk, with every reserve spent: it opens, deletes, and so makes its own room.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use engine::disk::{Disk, SimDisk};
use rig::{Opening, Rig, body};
use s3_gateway::session::{CollectOptions, SessionError};
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "/vault";

async fn open(disk: &SimDisk, create: bool) -> Rig {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opening = Opening {
        // Segments that a few deletions empty.
        drive_log: Opening::large_packs(create).drive_log,
        ..Opening::usual(create)
    };
    Rig::open_with(shared, Path::new(ROOT), opening).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_full_disk_without_reserves_still_deletes_and_makes_its_own_room() {
    let disk = SimDisk::unrecorded(17);
    let rig = open(&disk, true).await;
    let bucket = rig.bucket("full").await;
    for number in 0..20 {
        rig.put(&bucket, &format!("o{number}"), &body(number, 2 << 20))
            .await
            .unwrap();
    }
    rig.settle().await;
    rig.close().await;
    for log in ["ledger", "activity"] {
        disk.unlink(&Path::new(ROOT).join(log).join("reserve"));
    }
    // Enough for the checkpoint that settles what is dead, too little for a reserve or a new stretch of the ledger.
    disk.set_capacity(disk.used_bytes() + (1 << 20));

    let rig = open(&disk, false).await;
    let refused = rig.put(&bucket, "more", &body(1, 100_000)).await;
    assert_eq!(refused.err(), Some(SessionError::DiskFull));
    for number in 1..20 {
        assert_eq!(
            rig.delete(&bucket, &format!("o{number}")).await,
            Ok(true),
            "o{number}"
        );
    }
    let options = CollectOptions { everything: true };
    let freed = rig.session.collect(options, &|_| {}).await;
    assert!(matches!(freed, Ok(_) | Err(SessionError::DiskFull)), "{freed:?}");
    assert!(disk.available_bytes(Path::new(ROOT)).unwrap() > 20 << 20);
    rig.cluster.check_drives().await;
    assert_eq!(rig.get(&bucket, "o0").await.unwrap(), body(0, 2 << 20));
    rig.close().await;
}
