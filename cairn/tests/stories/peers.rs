//! Six storage peers as processes of their own: what goes through them, what their loss does, and that none is left behind.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use cairn::s3_client::{Call, S3Client};

use super::process::{Place, Running, content, get, list, make_bucket, put, refusal, text};

const OBJECTS: [(&str, usize); 4] = [
    ("empty", 0),
    ("small", 4_096),
    ("middle", 300_000),
    ("big", 20 << 20),
];

fn up_on_six(place: &Place) -> Running {
    place.up_with(place.command(["up", "--json", "--peers", "6"]))
}

async fn client_of(place: &Place, running: &Running) -> S3Client {
    running.client(&place.root_key()).await
}

async fn put_all(client: &mut S3Client) {
    make_bucket(client, "first").await;
    for (name, bytes) in OBJECTS {
        put(client, "first", name, content(name, bytes)).await.unwrap();
    }
}

async fn assert_all_read(client: &mut S3Client) {
    for (name, bytes) in OBJECTS {
        let read = get(client, "first", name).await.unwrap();
        assert!(read == content(name, bytes), "{name}");
    }
}

/// The process ids of the storage peers that run as children.
fn pids(place: &Place) -> Vec<Pid> {
    let shown = place.json(["status"]);
    let pids = shown["peers"].as_array().unwrap().iter();
    pids.filter_map(|peer| Pid::from_raw(i32::try_from(peer["pid"].as_i64()?).unwrap()))
        .collect()
}

/// Whether the process is there and not only waits to be reaped.
fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn until_gone(pids: &[Pid]) {
    until("every storage peer has ended", || {
        !pids.iter().any(|pid| lives(*pid))
    });
}

/// How many peers of a status do not answer, and how many drives are lost.
fn silent_and_lost(shown: &Value) -> (usize, u64) {
    let peers = shown["peers"].as_array().unwrap().iter();
    let silent = peers.filter(|peer| peer["answers"] == false).count();
    (silent, shown["drives_lost"].as_u64().unwrap())
}

#[tokio::test]
async fn objects_go_through_six_storage_peers_and_a_start_without_a_flag_finds_them_again() {
    let place = Place::new();
    let running = up_on_six(&place);
    assert_eq!(running.announced["peers"].as_array().unwrap().len(), 6);
    let mut client = client_of(&place, &running).await;
    put_all(&mut client).await;
    assert_all_read(&mut client).await;
    client
        .fetch(Call::new(Method::DELETE, "first", "middle"))
        .await
        .unwrap();
    let listed = list(&mut client, "first").await;
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["big", "empty", "small"]);
    put(&mut client, "first", "middle", content("middle", 300_000))
        .await
        .unwrap();
    let six = pids(&place);
    assert_eq!(six.len(), 6);
    assert!(!place.data().join("drives").exists(), "none of its own");
    drop(client);
    running.stop();
    assert!(!six.iter().any(|pid| lives(*pid)), "none is left behind");

    // Without a running process a command brings them up for itself.
    let shown = place.json(["status"]);
    assert_eq!(
        (silent_and_lost(&shown), shown["running"].as_bool()),
        ((0, 0), Some(false))
    );
    let running = place.up();
    let mut client = client_of(&place, &running).await;
    assert_all_read(&mut client).await;
    assert_eq!(place.json(["status"])["packs"]["at_risk"], 0);
}

#[tokio::test]
async fn one_storage_peer_may_die_two_may_die_and_both_come_back_by_the_command_that_is_shown() {
    let place = Place::new();
    let said = place.root().join("stderr");
    let mut up = place.command(["up", "--json", "--peers", "6"]);
    up.stderr(std::fs::File::create(&said).unwrap());
    let running = place.up_with(up);
    let mut client = client_of(&place, &running).await;
    put_all(&mut client).await;
    let six = pids(&place);

    kill_process(six[3], Signal::KILL).unwrap();
    put(&mut client, "first", "after one", content("one", 300_000))
        .await
        .unwrap();
    assert_all_read(&mut client).await;
    let mut shown = place.json(["status"]);
    assert_eq!(
        (silent_and_lost(&shown), shown["writable"].as_bool()),
        ((1, 1), Some(true))
    );

    kill_process(six[5], Signal::KILL).unwrap();
    until("it is missed", || {
        shown = place.json(["status"]);
        silent_and_lost(&shown) == (2, 2)
    });
    assert_all_read(&mut client).await;
    let refused = refusal(put(&mut client, "first", "refused", vec![1; 10]).await);
    assert_eq!(refused, (503, "ServiceUnavailable".to_owned()));

    let people = text(&place.run(["status"]));
    let mut again = Vec::new();
    for number in [3, 5] {
        let gone = &shown["peers"][number];
        assert_eq!(
            (gone["running"].as_bool(), gone["pid"].is_null()),
            (Some(false), true)
        );
        let line = gone["start_again"].as_str().unwrap();
        assert!(
            people.contains("DOES NOT RUN") && people.contains(line),
            "{people}"
        );
        until("the log says it", || {
            std::fs::read_to_string(&said).unwrap().contains(line)
        });
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[0], "cairn");
        again.push(Running::ready(place.command(&words[1..])));
    }
    until("they are back", || {
        silent_and_lost(&place.json(["status"])) == (0, 0)
    });
    put(&mut client, "first", "after both", vec![1; 10])
        .await
        .unwrap();
    let report = place.json(["repair"]);
    assert_eq!(
        (report["complete"].as_bool(), report["shards_missing"].as_u64()),
        (Some(true), Some(0))
    );
    // Shards that could not be read for a while are looked at once more before they count as there.
    until("nothing is at risk", || {
        place.json(["status"])["packs"]["at_risk"] == 0
    });
    assert_all_read(&mut client).await;
    drop(client);
    // They are nobody's children: they stay when the gateway goes.
    running.stop();
    again.into_iter().for_each(Running::stop);
}

#[tokio::test]
async fn storage_peers_end_with_their_parent_however_it_ends() {
    let place = Place::new();
    let running = up_on_six(&place);
    let mut client = client_of(&place, &running).await;
    put_all(&mut client).await;
    let six = pids(&place);
    running.kill();
    until_gone(&six);
    drop(client);
    // The next start comes while some may still be closing.
    let running = place.up();
    let six = pids(&place);
    running.kill();
    let running = place.up();
    let mut client = client_of(&place, &running).await;
    assert_all_read(&mut client).await;
    until_gone(&six);
}

#[tokio::test]
async fn a_drive_of_a_storage_peer_that_is_wiped_is_made_anew_by_repair() {
    let place = Place::new();
    let running = up_on_six(&place);
    let mut client = client_of(&place, &running).await;
    put_all(&mut client).await;
    let drive = place.data().join("peers/3/drives/0");
    std::fs::remove_dir_all(&drive).unwrap();
    until("it is missed", || {
        silent_and_lost(&place.json(["status"])) == (0, 1)
    });
    assert_all_read(&mut client).await;
    let report = place.json(["repair"]);
    assert_eq!(
        (report["complete"].as_bool(), report["shards_missing"].as_u64()),
        (Some(true), Some(0))
    );
    assert!(report["shards_rebuilt"].as_u64().unwrap() > 0, "{report}");
    assert!(drive.join("drive.json").exists());
    let shown = place.json(["status"]);
    assert_eq!(
        (silent_and_lost(&shown), shown["packs"]["at_risk"].as_u64()),
        ((0, 0), Some(0))
    );
    let scrubbed = place.json(["scrub"]);
    assert_eq!(scrubbed["clean"], true, "{scrubbed}");
    assert_all_read(&mut client).await;
}

#[tokio::test]
async fn space_on_storage_peers_comes_back_after_deletions() {
    let place = Place::new();
    let running = up_on_six(&place);
    let mut client = client_of(&place, &running).await;
    put_all(&mut client).await;
    let call = Call::new(Method::DELETE, "first", "big");
    client.fetch(call).await.unwrap();
    let report = place.json(["gc"]);
    assert_eq!(report["complete"], true, "{report}");
    assert!(report["packs_deleted"].as_u64().unwrap() > 0, "{report}");
    assert!(report["bytes_freed"].as_u64().unwrap() > 20 << 20, "{report}");
    assert_eq!(
        place.json(["status"])["allocated_bytes"],
        report["allocated_bytes"]
    );
    assert_eq!(
        get(&mut client, "first", "middle").await.unwrap(),
        content("middle", 300_000)
    );
}

#[test]
fn a_storage_peer_serves_whom_the_ledger_names_whatever_its_command_line_says() {
    let place = Place::new();
    let running = up_on_six(&place);
    let six = pids(&place);
    kill_process(six[0], Signal::KILL).unwrap();
    until("it is missed", || {
        silent_and_lost(&place.json(["status"])) == (1, 1)
    });
    let directory = place.data().join("peers/0");
    let start = |gateway: &str| {
        let mut command = place.command(["node", "--json", "--gateway", gateway, "--data"]);
        command.arg(&directory);
        Running::ready(command)
    };
    let known = std::fs::read_to_string(directory.join("node.json")).unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    let other = start(place.json(["status"])["peers"][1]["peer_id"].as_str().unwrap());
    assert_eq!(
        other.announced["address"],
        place.json(["status"])["peers"][0]["address"]
    );
    until("it is back", || {
        silent_and_lost(&place.json(["status"])) == (0, 0)
    });
    let settings = std::fs::read_to_string(directory.join("node.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    assert_ne!(settings["gateways"], known["gateways"]);
    drop((other, running));
}

#[test]
fn storage_peers_are_chosen_once_and_hold_nothing_of_the_owners() {
    let place = Place::new();
    let ports = ["up", "--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let up = |more: &[&str]| {
        let mut command = place.command(ports);
        command.args(more).output().unwrap()
    };
    for (args, says) in [
        (&["--peers", "5"][..], "need 6 to 64"),
        (&["--peers", "6", "--drive", "/a"], "exclude each other"),
    ] {
        let output = up(args);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
    }
    assert!(!place.data().exists());
    let mut first = place.command(["up", "--json", "--peers", "6"]);
    first
        .env("CAIRN_ACCESS_KEY", "operator")
        .env("CAIRN_SECRET_KEY", "secret-of-many-characters");
    let running = place.up_with(first);
    for pid in pids(&place) {
        let seen = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap();
        assert!(
            !seen.windows(6).any(|word| word == b"CAIRN_"),
            "the environment is the owner's"
        );
    }
    running.stop();
    for (args, says) in [
        (&["--peers", "7"][..], "made with 6 storage peers, not 7"),
        (
            &[
                "--drive", "/1", "--drive", "/2", "--drive", "/3", "--drive", "/4", "--drive", "/5",
                "--drive", "/6",
            ],
            "lie with storage peers",
        ),
    ] {
        let output = up(args);
        assert!(
            !output.status.success() && text(&output).contains(says),
            "{}",
            text(&output)
        );
    }
    let owner = Place::new();
    owner.up_with(owner.command(["up", "--json"])).stop();
    if std::env::var_os("CAIRN_TEST_PEERS").is_none() {
        let output = owner.run([
            "up",
            "--s3",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--peers",
            "6",
        ]);
        assert!(
            text(&output).contains("made with 6 drives of its own"),
            "{}",
            text(&output)
        );
    }
}

/// How many storage peers of this data directory run as somebody's children.
fn left_behind(place: &Place) -> usize {
    let below = place.data().join("peers").display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let nodes = lines.filter(|line| {
        let line = String::from_utf8_lossy(line);
        line.contains(&below) && line.contains("--until-stdin-closes")
    });
    nodes.count()
}

#[test]
fn a_first_start_on_which_one_storage_peer_fails_leaves_none_running_and_can_be_tried_again() {
    let place = Place::new();
    // What an owner has, no storage peer takes.
    let in_the_way = place.data().join("peers/2/keys");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let output = place.run([
        "up",
        "--s3",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--peers",
        "6",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains("peers/2 does not start") && said.contains("belongs to an owner"),
        "{said}"
    );
    assert_eq!(left_behind(&place), 0);
    let output = place.run(["status"]);
    assert!(text(&output).contains("holds no store yet"), "{}", text(&output));
    std::fs::remove_dir(&in_the_way).unwrap();
    let running = place.up();
    assert_eq!(left_behind(&place), 6);
    assert_eq!(silent_and_lost(&place.json(["status"])), (0, 0));
    running.stop();
    assert_eq!(left_behind(&place), 0);

    // Once it was made, another peer is not taken for it.
    let (there, aside) = (place.data().join("peers/4"), place.root().join("aside"));
    std::fs::rename(&there, &aside).unwrap();
    let running = place.up();
    assert_eq!(silent_and_lost(&place.json(["status"])), (1, 1));
    assert!(!there.exists());
    running.stop();
    std::fs::rename(&aside, &there).unwrap();
    assert_eq!(silent_and_lost(&place.json(["status"])), (0, 0));
    assert_eq!(left_behind(&place), 0);
}

#[tokio::test]
async fn a_ledger_and_a_layout_that_were_deleted_are_made_anew_from_the_storage_peers() {
    let place = Place::new();
    let running = up_on_six(&place);
    let mut client = client_of(&place, &running).await;
    put_all(&mut client).await;
    drop(client);
    running.stop();
    let remove = |path: &Path| std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path));
    // The gateway's copy alone is no loss.
    remove(&place.data().join("ledger")).unwrap();
    let running = place.up();
    let mut client = client_of(&place, &running).await;
    assert_all_read(&mut client).await;
    drop(client);
    running.stop();
    for name in ["ledger", "views", "layout.json"] {
        remove(&place.data().join(name)).unwrap();
    }
    for number in 0..6 {
        remove(&place.data().join(format!("peers/{number}/member"))).unwrap();
    }
    let refused = place.run(["status"]);
    assert!(
        text(&refused).contains("cairn vault rebuild"),
        "{}",
        text(&refused)
    );
    let rebuilt = place.json(["vault", "rebuild"]);
    assert_eq!(rebuilt["vaults"][0]["objects"], 4, "{rebuilt}");
    let running = place.up();
    let mut client = client_of(&place, &running).await;
    assert_all_read(&mut client).await;
    assert_eq!(silent_and_lost(&place.json(["status"])), (0, 0));
}
