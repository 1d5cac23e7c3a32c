//! A storage peer that is lost with its drives, and an empty one in its place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::disk::RealDisk;
use engine::drive::{DriveWriter, ShardKey};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::{Place, Running, content, get, make_bucket, put, text};

/// Every (pack, shard) pair on the drives of these storage peers, as the drives themselves say, each shard read and checked.
fn census(peers: &[PathBuf]) -> BTreeSet<ShardKey> {
    let mut pairs = BTreeSet::new();
    for peer in peers {
        let dir = peer.join("drives/0");
        let disk = Arc::new(RealDisk);
        let (writer, _) = DriveWriter::open(disk, &dir, None, 77).unwrap();
        let drive = writer.drive();
        for key in drive.keys() {
            drive.read(&key).unwrap();
            assert!(pairs.insert(key), "{key:?} is there twice");
        }
        writer.close().unwrap();
    }
    pairs
}

fn until_whole(place: &Place) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = place.json(["status"]);
        if status["packs"]["at_risk"] == 0 && status["drives_lost"] == 0 && status["writable"] == true {
            return status;
        }
        assert!(Instant::now() < deadline, "it does not become whole: {status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test]
async fn an_empty_peer_in_the_place_of_one_whose_drives_were_wiped_makes_the_census_complete_again() {
    let place = Place::new();
    let running = place.up_with(place.command(["up", "--json", "--peers", "6"]));
    let mut client = running.client(&place.root_key()).await;
    make_bucket(&mut client, "first").await;
    let objects: Vec<(String, usize)> = (0..30).map(|n| (format!("o{n}"), 1_000 + 97_000 * n)).collect();
    for (name, bytes) in &objects {
        put(&mut client, "first", name, content(name, *bytes))
            .await
            .unwrap();
    }
    running.stop();
    let dir = |number: usize| place.data().join(format!("peers/{number}"));
    let before = census(&(0..6).map(dir).collect::<Vec<_>>());
    assert!(before.len() >= 6, "{}", before.len());

    let running = place.up_with(place.command(["up", "--json"]));
    let status = place.json(["status"]);
    let lost = status["peers"].as_array().unwrap().iter();
    let lost = lost
        .clone()
        .find(|peer| peer["directory"].as_str().unwrap().ends_with("peers/2"))
        .unwrap();
    let lost_id = lost["peer_id"].as_str().unwrap().to_owned();
    let answering = place.run(["node", "remove", "--lost", &lost_id]);
    assert!(
        text(&answering).contains("so it is not lost"),
        "{}",
        text(&answering)
    );
    let pid = Pid::from_raw(i32::try_from(lost["pid"].as_i64().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    std::fs::remove_dir_all(dir(2)).unwrap();

    // Another machine, with nothing on it.
    let other = Place::new();
    let invitation = status["invitation"].as_str().unwrap();
    let newcomer = Running::ready(other.command(["node", "--json", "--join", invitation]));
    assert_eq!(newcomer.announced["admitted"], false);
    let at = format!(
        "{}@{}",
        newcomer.announced["peer_id"].as_str().unwrap(),
        newcomer.announced["address"].as_str().unwrap()
    );
    let admitted = place.json(["node", "admit", &at]);
    assert_eq!(admitted["new"], true);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !removed(&place, &lost_id) {
        assert!(Instant::now() < deadline, "it still answers");
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = until_whole(&place);
    assert_eq!(status["peers"].as_array().unwrap().len(), 7);

    let mut client = running.client(&place.root_key()).await;
    for (name, bytes) in &objects {
        let read = get(&mut client, "first", name).await.unwrap();
        assert!(read == content(name, *bytes), "{name}");
    }
    running.stop();
    newcomer.stop();
    let peers: Vec<PathBuf> = [0, 1, 3, 4, 5]
        .map(dir)
        .into_iter()
        .chain([other.data()])
        .collect();
    assert_eq!(census(&peers), before);

    // One that comes back to find itself removed is not taken for one of the cluster, and the rest starts without it.
    let again = place.up_with(place.command(["up", "--json"]));
    let newcomer = Running::ready(other.command(["node", "--json"]));
    assert_eq!(newcomer.announced["admitted"], true);
    until_whole(&place);
    drop((again, newcomer));
}

/// Says that a peer is lost. Whether that was believed.
fn removed(place: &Place, peer: &str) -> bool {
    let output = place.run(["node", "remove", "--lost", peer]);
    let believed = output.status.success();
    assert!(
        believed || text(&output).contains("so it is not lost"),
        "{}",
        text(&output)
    );
    believed
}

#[test]
fn a_store_with_drives_of_its_own_takes_no_storage_peers_and_a_gateway_none_of_its_own() {
    let place = Place::new();
    let mut command = place.command(["up", "--json", "--code", "1+2"]);
    for number in 0..3 {
        command
            .arg("--drive")
            .arg(place.root().join(format!("d{number}")));
    }
    let running = place.up_with(command);
    let output = place.run(["node", "drain", "00"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output).contains("it has no storage peers"),
        "{}",
        text(&output)
    );
    running.stop();
    let output = place.run(["gateway", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert!(
        text(&output).contains("a gateway needs another --data"),
        "{}",
        text(&output)
    );

    let gateway = Place::new();
    let shown = gateway.json(["gateway"]);
    assert_eq!(
        gateway.json(["gateway"]),
        shown,
        "the same every time, until there are storage peers"
    );
    for bad in [
        &["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"][..],
        &["status"],
    ] {
        let output = gateway.run(bad);
        assert!(!output.status.success(), "{bad:?}: {}", text(&output));
    }
    assert!(Path::new(&gateway.data()).join("layout.json").exists());
}
