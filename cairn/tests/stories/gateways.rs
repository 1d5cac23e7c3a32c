//! Two gateways, as processes, in front of six storage peers.

use std::time::{Duration, Instant};

use cairn::s3_client::{Call, ClientError, S3Client};
use http::{Method, header};
use rustix::process::{Pid, Signal, kill_process};

use super::process::{Key, Place, Running, content, get, list, make_bucket, put, refusal, text};

struct Cluster {
    nodes: Vec<(Place, Running)>,
    joins: Vec<String>,
    cluster: String,
}

/// The first start of a gateway, which prints its id and ends.
fn announce(place: &Place, more: &[&str]) -> serde_json::Value {
    place.json(["gateway"].iter().chain(more))
}

fn start(place: &Place, joins: &[String]) -> Running {
    let mut command = place.command(["gateway", "--json", "--ledger-members", "3"]);
    command.args(["--s3", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    for join in joins {
        command.args(["--join", join]);
    }
    Running::ready(command)
}

fn nodes(gateway: &Place) -> Cluster {
    let announced = announce(gateway, &[]);
    let invitation = announced["invitation"].as_str().unwrap();
    let node = |_| {
        let place = Place::new();
        let running = Running::ready(place.command(["node", "--json", "--join", invitation]));
        (place, running)
    };
    let nodes: Vec<_> = (0..6).map(node).collect();
    let at = |(_, node): &(Place, Running)| {
        let of = |name: &str| node.announced[name].as_str().unwrap().to_owned();
        format!("{}@{}", of("peer_id"), of("address"))
    };
    Cluster {
        joins: nodes.iter().map(at).collect(),
        nodes,
        cluster: announced["cluster_id"].as_str().unwrap().to_owned(),
    }
}

/// Lets a second gateway in and starts it, with the first one's keys.
fn second(first: &Place, cluster: &Cluster) -> (Place, Running, String) {
    let place = Place::new();
    let announced = announce(&place, &["--cluster", &cluster.cluster]);
    let id = announced["peer_id"].as_str().unwrap().to_owned();
    let mut without_keys = place.command(["gateway", "--json"]);
    for join in &cluster.joins {
        without_keys.args(["--join", join]);
    }
    let refused = without_keys.output().unwrap();
    assert!(text(&refused).contains("copy keys/"), "{}", text(&refused));
    first.json(["node", "admit", "--gateway", &id]);
    let keys = (first.data().join("keys"), place.data().join("keys"));
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&keys.0, &keys.1])
        .status();
    assert!(copied.unwrap().success());
    let running = start(&place, &cluster.joins);
    (place, running, id)
}

async fn put_if_absent(client: &mut S3Client, key: &str, body: &str) -> Result<(), ClientError> {
    let call = Call::new(Method::PUT, "shared", key).header(header::IF_NONE_MATCH, "*");
    client.fetch(call.body(body.to_owned().into())).await.map(drop)
}

async fn until_put(client: &mut S3Client, key: &str, patience: Duration) {
    let began = Instant::now();
    while let Err(error) = put(client, "shared", key, content(key, 10_000)).await {
        assert!(began.elapsed() < patience, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The peers' records fit this gateway's, and those of the other one are not held against it.
fn joined_without_misfits(place: &Place, cluster: &Cluster) {
    let mut args = vec!["activity".to_owned(), "join".to_owned(), "--json".to_owned()];
    for (node, _) in &cluster.nodes {
        args.extend(["--node".to_owned(), node.data().display().to_string()]);
    }
    let began = Instant::now();
    loop {
        let output = place.run(&args);
        let joined: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        if joined["misfits"].as_array().unwrap().is_empty() {
            assert!(
                joined["of_other_gateways"].as_u64().unwrap() > 10,
                "{}",
                joined["of_other_gateways"]
            );
            return;
        }
        // What is still being written down.
        assert!(began.elapsed() < Duration::from_secs(10), "{}", joined["misfits"]);
    }
}

#[tokio::test]
async fn two_gateways_serve_one_vault_and_one_goes_on_when_the_other_is_killed_and_comes_back() {
    let first = Place::new();
    let cluster = nodes(&first);
    let one = start(&first, &cluster.joins);
    let key: Key = first.root_key();
    let (other_place, other, other_id) = second(&first, &cluster);
    let mut clients = [one.client(&key).await, other.client(&key).await];
    make_bucket(&mut clients[0], "shared").await;
    for number in 0..20usize {
        let name = format!("o{number:02}");
        let body = content(&name, 1 + number * 30_000);
        put(&mut clients[number % 2], "shared", &name, body.clone())
            .await
            .unwrap();
        let read = get(&mut clients[(number + 1) % 2], "shared", &name)
            .await
            .unwrap();
        assert!(read == body, "{name}");
        assert_eq!(
            list(&mut clients[(number + 1) % 2], "shared").await.len(),
            number + 1
        );
    }
    for round in 0..15 {
        let name = format!("race{round}");
        let [a, b] = &mut clients;
        let (a, b) = tokio::join!(put_if_absent(a, &name, "one"), put_if_absent(b, &name, "other"));
        assert_ne!(a.is_ok(), b.is_ok(), "{a:?} {b:?}");
        let winner = if a.is_ok() { "one" } else { "other" };
        let lost = refusal(if a.is_ok() { b } else { a });
        assert_eq!(lost.0, 412, "{lost:?}");
        for client in &mut clients {
            assert_eq!(get(client, "shared", &name).await.unwrap(), winner);
        }
    }
    let status = first.json(["status"]);
    let gateways = status["gateways"].as_array().unwrap();
    let works: Vec<bool> = gateways
        .iter()
        .map(|row| row["background_work"].as_bool().unwrap())
        .collect();
    assert_eq!(works, [true, false], "{status:#}");
    for place in [&first, &other_place] {
        joined_without_misfits(place, &cluster);
    }
    let serving = first.run(["node", "remove", &other_id]);
    assert!(text(&serving).contains("stop it first"), "{}", text(&serving));

    // The one that does the background work is killed.
    one.kill();
    let [_, mut client] = clients;
    until_put(&mut client, "after", Duration::from_secs(10)).await;
    assert!(get(&mut client, "shared", "o07").await.is_ok());
    let one = start(&first, &[]);
    let mut back = one.client(&key).await;
    assert!(get(&mut back, "shared", "after").await.unwrap() == content("after", 10_000));
    put(&mut back, "shared", "again", content("again", 5_000))
        .await
        .unwrap();
    assert!(get(&mut client, "shared", "again").await.unwrap() == content("again", 5_000));
    let status = first.json(["status"]);
    assert_eq!(status["gateways"].as_array().unwrap().len(), 2, "{status:#}");

    // The other one is lost for good: its records are taken over, its key is shut out.
    put(&mut client, "shared", "last", content("last", 5_000))
        .await
        .unwrap();
    other.kill();
    let removed = first.json(["node", "remove", "--lost", &other_id]);
    assert_eq!(removed["leases_ended"].as_array().unwrap().len(), 1, "{removed}");
    assert!(get(&mut back, "shared", "last").await.unwrap() == content("last", 5_000));
    assert_eq!(first.json(["gc"])["complete"], true);
    let status = first.json(["status"]);
    assert_eq!(status["gateways"].as_array().unwrap().len(), 1, "{status:#}");
    one.stop();
    drop((other_place, cluster.nodes));
}

fn signal(running: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// What `gc` reports, whether or not everything went.
fn gc(place: &Place) -> serde_json::Value {
    let output = place.run(["gc", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

#[tokio::test]
async fn a_gateway_that_is_stopped_keeps_nobody_from_serving_and_holds_back_only_what_it_may_read() {
    let first = Place::new();
    let cluster = nodes(&first);
    let one = start(&first, &cluster.joins);
    let key: Key = first.root_key();
    let (second_place, other, _) = second(&first, &cluster);
    let (mut at_one, mut at_other) = (one.client(&key).await, other.client(&key).await);
    make_bucket(&mut at_one, "shared").await;
    for name in ["kept", "doomed"] {
        put(&mut at_one, "shared", name, content(name, 9_000_000))
            .await
            .unwrap();
    }

    // The one that does the background work is stopped in the middle of whatever it does.
    signal(&one, Signal::STOP);
    until_put(&mut at_other, "meanwhile", Duration::from_secs(10)).await;
    assert!(get(&mut at_other, "shared", "kept").await.unwrap() == content("kept", 9_000_000));
    let delete = Call::new(Method::DELETE, "shared", "doomed");
    at_other.fetch(delete).await.unwrap();
    let held = gc(&second_place);
    assert_eq!(held["complete"], false, "{held}");
    assert_eq!(held["held_back"], true, "{held}");
    assert_eq!(held["packs_deleted"], 0, "{held}");
    let status = second_place.json(["status"]);
    let holds: Vec<bool> = status["gateways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["holds_collection_back"].as_bool().unwrap())
        .collect();
    assert_eq!(holds, [true, false], "{status:#}");
    let said = text(&second_place.run(["status"]));
    assert!(said.contains("the collector waits for the gateway"), "{said}");
    assert_eq!(list(&mut at_other, "shared").await.len(), 2);

    // It goes on: nothing that it shows is from before.
    signal(&one, Signal::CONT);
    let began = Instant::now();
    let mut back = one.client(&key).await;
    let seen = loop {
        match get(&mut back, "shared", "meanwhile").await {
            Ok(seen) => break seen,
            // It has to hear from the ledger again first.
            Err(error) => assert_eq!(refusal::<()>(Err(error)).0, 503),
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(seen == content("meanwhile", 10_000));
    let gone = refusal(get(&mut back, "shared", "doomed").await);
    assert_eq!(gone.0, 404, "{gone:?}");
    let began = Instant::now();
    loop {
        let report = gc(&second_place);
        if report["complete"] == true {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{report}");
    }
    let status = second_place.json(["status"]);
    for row in status["gateways"].as_array().unwrap() {
        assert_eq!(row["holds_collection_back"], false, "{status:#}");
    }
    assert!(get(&mut back, "shared", "kept").await.unwrap() == content("kept", 9_000_000));
    other.stop();
    one.stop();
    drop(cluster.nodes);
}
