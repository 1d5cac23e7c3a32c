//! Two gateways, as processes, in front of six storage peers.

use std::time::{Duration, Instant};

use cairn::s3_client::{Call, ClientError, S3Client};
use http::{Method, header};

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
