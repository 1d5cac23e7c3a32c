//! A storage peer on its own: what it remembers, what it refuses, how it ends.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::process::{Place, Running, text};

const CLUSTER: &str = "000102030405060708090a0b0c0d0e0f";
const GATEWAY: &str = "ed25519:3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

fn start(place: &Place, args: &[&str]) -> Running {
    let mut command = place.command(["node", "--json"]);
    command.args(args);
    Running::ready(command)
}

#[test]
fn a_storage_peer_remembers_its_key_its_port_its_drives_and_whom_it_serves() {
    let place = Place::new();
    let first = start(&place, &["--cluster", CLUSTER, "--gateway", GATEWAY]);
    let said = first.announced.clone();
    assert_eq!(
        (said["cluster_id"].as_str(), said["gateways"][0].as_str()),
        (Some(CLUSTER), Some(GATEWAY))
    );
    assert_eq!(said["drives"][0]["state"], "present");
    let mode = |path: &str| {
        let found = std::fs::metadata(place.data().join(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("peer.key")), (0o700, 0o600));
    let key = std::fs::read(place.data().join("peer.key")).unwrap();
    assert_eq!(key.len(), 32);
    first.stop();

    let again = start(&place, &[]);
    for field in ["peer_id", "address", "cluster_id", "drives", "gateways"] {
        assert_eq!(again.announced[field], said[field], "{field}");
    }
    again.stop();
    // What is no rebuilt ledger is not taken, and what there was stays.
    std::fs::create_dir(place.root().join("other")).unwrap();
    let other = place.root().join("other").display().to_string();
    let refused = place.run(["node", "reset-ledger", "--take", &other]);
    assert!(
        text(&refused).contains("is not a ledger that `cairn vault rebuild` made"),
        "{}",
        text(&refused)
    );
    assert!(!refused.status.success() && place.data().join("member").exists());
    // A drive that is gone is lost, and stays so.
    std::fs::remove_dir_all(place.data().join("drives/0")).unwrap();
    let shown = Running::ready(place.command(["node"]));
    let all = shown.printed.join("\n");
    for part in [
        "peer      ed25519:",
        "lost",
        "gateway   ed25519:",
        "cairn node admit ed25519:",
        "ready",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(!place.data().join("drives/0").exists());
    assert!(!all.contains(&hex::encode(key)));
}

#[test]
fn what_is_a_storage_peers_is_no_owners_and_the_other_way() {
    let place = Place::new();
    let first = place.run(["node"]);
    assert_eq!(first.status.code(), Some(2));
    assert!(text(&first).contains("--join"), "{}", text(&first));
    start(&place, &["--cluster", CLUSTER]).stop();
    for args in [
        &["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"][..],
        &["status"],
        &["vault", "rebuild"],
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output).contains("belongs to a storage peer"),
            "{}",
            text(&output)
        );
    }
    assert!(!place.data().join("keys").exists());
    let other = place.run(["node", "--cluster", "ff0102030405060708090a0b0c0d0e0f"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other).contains(CLUSTER), "{}", text(&other));

    let owner = Place::new();
    owner.up().stop();
    let output = owner.run(["node", "--cluster", CLUSTER]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("belongs to an owner"), "{}", text(&output));
    assert!(!owner.data().join("node.json").exists());
}

#[test]
fn a_storage_peer_with_a_parent_outlives_the_groups_signal_and_ends_with_stdin() {
    use rustix::process::{Pid, Signal, kill_process};
    let place = Place::new();
    let mut command = place.command(["node", "--json", "--cluster", CLUSTER, "--until-stdin-closes"]);
    command.stdin(Stdio::piped());
    let mut running = Running::ready(command);
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    // It has had the signal once it shows so: another process cannot have its directory.
    let second = place.run(["node", "--cluster", "ff0102030405060708090a0b0c0d0e0f"]);
    assert!(text(&second).contains("in use by process"), "{}", text(&second));
    drop(running.stdin());
    let status = running.ended();
    assert!(status.success(), "{status}");
}
