//! Ten writers of one key, each on condition: exactly one wins, no update is lost, and nobody is refused for nothing.
//!
//! `gc` and `repair` run beside them, the latter with a drive made anew each time. Longer:
//! `CAIRN_RACE_ROUNDS=1000 cargo test --release -p cairn --test stories races -- --nocapture`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use cairn::s3_client::{Call, ClientError, S3Client, completed_etag, upload_id};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method};
use tokio::task::JoinSet;

use super::process::{Key, Place, Running, content, make_bucket};

const WRITERS: usize = 10;
const BUCKET: &str = "races";
/// Clients whose key nobody else writes.
const LONERS: usize = 3;
/// Repairs after which a drive has to be whole.
const REPAIRS_MAX: u32 = 20;

fn rounds() -> u32 {
    std::env::var("CAIRN_RACE_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60)
}

/// A write on condition, and when it was under way.
#[derive(Debug, Clone)]
struct Tried {
    outcome: Outcome,
    /// The condition's value: the ETag that was to be there.
    expected: String,
    /// When that was read.
    known: Instant,
    ended: Instant,
    etag: String,
    body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Won,
    /// 412, or 404 where a version was to be there.
    Refused,
}

/// What a client does on condition.
#[derive(Clone)]
enum Act {
    Put(Bytes),
    Complete {
        upload: String,
        part: String,
        body: Bytes,
    },
    Delete,
}

/// Carries out an act. Anything but success and the refusal of a condition fails the test.
async fn attempt(
    client: &mut S3Client,
    key: &str,
    act: Act,
    condition: (HeaderName, &str),
    known: Instant,
) -> Tried {
    let (method, body) = match &act {
        Act::Put(body) => (Method::PUT, body.clone()),
        Act::Complete { part, .. } => (Method::POST, Bytes::from(part.clone())),
        Act::Delete => (Method::DELETE, Bytes::new()),
    };
    let mut call = Call::new(method, BUCKET, key)
        .header(condition.0.clone(), condition.1)
        .body(body);
    if let Act::Complete { upload, .. } = &act {
        call = call.query("uploadId", upload);
    }
    let completes = matches!(act, Act::Complete { .. });
    let answer = client.fetch(call).await.and_then(|(head, body)| {
        let etag = head
            .headers
            .get(ETAG)
            .map(|etag| etag.to_str().unwrap().to_owned());
        if completes {
            return completed_etag(&body).map(|etag| format!("\"{etag}\""));
        }
        Ok(etag.unwrap_or_default())
    });
    let (outcome, etag) = match answer {
        Ok(etag) => (Outcome::Won, etag),
        Err(ClientError::Refused { code, .. }) if code == "PreconditionFailed" => {
            (Outcome::Refused, String::new())
        }
        Err(ClientError::Refused { code, .. }) if code == "NoSuchKey" && condition.0 == IF_MATCH => {
            (Outcome::Refused, String::new())
        }
        Err(other) => panic!("{key}, {condition:?}: {other}"),
    };
    let body = match act {
        Act::Put(body) | Act::Complete { body, .. } => body,
        Act::Delete => Bytes::new(),
    };
    Tried {
        outcome,
        expected: condition.1.to_owned(),
        known,
        ended: Instant::now(),
        etag,
        body,
    }
}

/// An upload of one part, to be completed.
async fn uploaded(client: &mut S3Client, key: &str, body: Bytes) -> Act {
    let (_, answer) = client
        .fetch(Call::new(Method::POST, BUCKET, key).query("uploads", ""))
        .await
        .unwrap();
    let upload = upload_id(&answer).unwrap();
    let call = Call::new(Method::PUT, BUCKET, key).query("partNumber", "1");
    let call = call.query("uploadId", &upload).body(body.clone());
    let (head, _) = client.fetch(call).await.unwrap();
    let etag = head.headers[ETAG].to_str().unwrap().to_owned();
    Act::Complete {
        upload,
        part: format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
             </CompleteMultipartUpload>"
        ),
        body,
    }
}

async fn read(client: &mut S3Client, key: &str) -> Option<(Bytes, String)> {
    match client.fetch(Call::new(Method::GET, BUCKET, key)).await {
        Ok((head, body)) => Some((body, head.headers[ETAG].to_str().unwrap().to_owned())),
        Err(ClientError::Refused { code, .. }) if code == "NoSuchKey" => None,
        Err(other) => panic!("{key}: {other}"),
    }
}

/// All of them at once; gives their tries and, again, the clients.
async fn at_once(
    clients: Vec<S3Client>,
    key: &str,
    acts: Vec<Act>,
    condition: (HeaderName, String),
) -> (Vec<S3Client>, Vec<Tried>) {
    let mut racing = JoinSet::new();
    let start = Arc::new(tokio::sync::Barrier::new(clients.len()));
    for (mut client, act) in clients.into_iter().zip(acts) {
        let (key, start, (name, value)) = (key.to_owned(), Arc::clone(&start), condition.clone());
        racing.spawn(async move {
            start.wait().await;
            let tried = attempt(&mut client, &key, act, (name, &value), Instant::now()).await;
            (client, tried)
        });
    }
    racing.join_all().await.into_iter().unzip()
}

/// The one that won; there has to be one.
fn winner<'a>(tried: &'a [Tried], what: &str) -> &'a Tried {
    let won: Vec<&Tried> = tried.iter().filter(|one| one.outcome == Outcome::Won).collect();
    assert_eq!(won.len(), 1, "{what}: {won:?}");
    won[0]
}

/// Rounds of a new key each: writers and completions where nothing may be, then writers and deletions of what is there.
async fn one_wins(mut clients: Vec<S3Client>, rounds: u32) {
    for round in 0..rounds {
        let key = format!("one/{round}");
        let mut acts = Vec::new();
        for (number, client) in clients.iter_mut().enumerate() {
            // Some fill chunks of their own, and lie in packs that are collected.
            let bytes = if number == 0 { 150_000 } else { 900 };
            let body = Bytes::from(content(&format!("{round}-{number}"), bytes));
            acts.push(if number % 3 == 2 {
                uploaded(client, &key, body).await
            } else {
                Act::Put(body)
            });
        }
        let absent = (IF_NONE_MATCH, "*".to_owned());
        let (again, tried) = at_once(clients, &key, acts, absent).await;
        clients = again;
        let first = winner(&tried, &key).clone();
        let (body, etag) = read(&mut clients[0], &key).await.unwrap();
        assert!(body == first.body && etag == first.etag, "{key}");

        let acts = (0..WRITERS).map(|number| match number % 2 {
            0 => Act::Put(content(&format!("{round}+{number}"), 700).into()),
            _ => Act::Delete,
        });
        let (again, tried) = at_once(clients, &key, acts.collect(), (IF_MATCH, etag)).await;
        clients = again;
        // To delete what is gone already succeeds, so there is one writer and no deletion, or every deletion and no writer.
        let (puts, deletions): (Vec<&Tried>, Vec<&Tried>) = tried
            .iter()
            .filter(|one| one.outcome == Outcome::Won)
            .partition(|one| !one.body.is_empty());
        match (read(&mut clients[0], &key).await, puts.as_slice()) {
            (Some((body, etag)), [put]) => {
                assert!(body == put.body && etag == put.etag, "{key}");
                assert!(
                    deletions.is_empty(),
                    "{key}: a version was deleted that was not named"
                );
            }
            (None, []) => assert_eq!(deletions.len(), WRITERS / 2, "{key}"),
            (found, puts) => panic!("{key}: {found:?} after {puts:?}"),
        }
    }
}

/// Increments a number by reading it and writing it on condition, until it has done so often enough.
async fn increment(mut client: S3Client, number: usize, times: u32) -> Vec<Tried> {
    let (mut tried, mut won) = (Vec::new(), 0);
    while won < times {
        let known = Instant::now();
        let (body, etag) = read(&mut client, "counter").await.unwrap();
        let next = Bytes::from(format!("{} {number}", value(&body) + 1));
        let one = attempt(&mut client, "counter", Act::Put(next), (IF_MATCH, &etag), known).await;
        won += u32::from(one.outcome == Outcome::Won);
        tried.push(one);
    }
    tried
}

fn value(body: &[u8]) -> u32 {
    let text = std::str::from_utf8(body).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Every update counts, and whoever was refused named a version that another write replaced, one that had begun by then.
async fn no_update_is_lost(mut clients: Vec<S3Client>, rounds: u32) {
    let times = rounds.div_ceil(WRITERS as u32);
    let begin = Call::new(Method::PUT, BUCKET, "counter").body("0 -".into());
    clients[0].fetch(begin).await.unwrap();
    let mut last = clients.pop().unwrap();
    let mut incrementing = JoinSet::new();
    let writers = clients.len() as u32;
    for (number, client) in clients.into_iter().enumerate() {
        incrementing.spawn(increment(client, number, times));
    }
    let tried: Vec<Tried> = incrementing.join_all().await.into_iter().flatten().collect();
    let (body, _) = read(&mut last, "counter").await.unwrap();
    assert_eq!(value(&body), times * writers, "an update was lost");
    let (won, refused): (Vec<_>, Vec<_>) = tried.iter().partition(|one| one.outcome == Outcome::Won);
    assert_eq!(won.len() as u32, times * writers);
    // Each of them wrote other bytes, so an ETag stands for one version, and what came in its place is known.
    let replaced: HashMap<&str, &Tried> = won.iter().map(|one| (one.expected.as_str(), *one)).collect();
    assert_eq!(replaced.len(), won.len(), "a version was replaced twice");
    for one in &refused {
        let by = replaced.get(one.expected.as_str());
        assert!(
            by.is_some_and(|by| by.known <= one.ended),
            "refused for nothing: {one:?}, replaced by {by:?}"
        );
    }
    println!("{} updates, {} refused on the way", won.len(), refused.len());
}

/// A client alone with its key never hears that a condition does not hold.
async fn alone(mut client: S3Client, number: usize, stop: Arc<AtomicBool>) -> u32 {
    let (key, mut writes) = (format!("alone/{number}"), 0);
    while !stop.load(Ordering::Relaxed) {
        let mut body = Bytes::from(content(&format!("{number}-{writes}"), 90_000));
        let mut act = Act::Put(body.clone());
        if writes % 2 == 1 {
            act = uploaded(&mut client, &key, body.clone()).await;
        }
        let mut one = attempt(&mut client, &key, act, (IF_NONE_MATCH, "*"), Instant::now()).await;
        for step in 0..6 {
            assert_eq!(
                one.outcome,
                Outcome::Won,
                "{key}, write {writes}: nobody else wrote"
            );
            assert!(read(&mut client, &key).await == Some((body, one.etag.clone())));
            writes += 1;
            body = content(&format!("{number}-{writes}"), 400 + 20_000 * step).into();
            let act = Act::Put(body.clone());
            one = attempt(&mut client, &key, act, (IF_MATCH, &one.etag), Instant::now()).await;
        }
        let gone = attempt(
            &mut client,
            &key,
            Act::Delete,
            (IF_MATCH, &one.etag),
            Instant::now(),
        )
        .await;
        assert_eq!((one.outcome, gone.outcome), (Outcome::Won, Outcome::Won), "{key}");
        writes += 1;
    }
    writes
}

/// What was tended: rounds, and the shards that repairs made again.
#[derive(Default)]
struct Tended {
    rounds: u32,
    shards: u64,
}

/// Repairs after a drive was deleted, until every shard is there, and collects; all that until told to stop.
fn tend(place: &Place, stop: &AtomicBool) -> Tended {
    let mut tended = Tended::default();
    while !stop.load(Ordering::Relaxed) {
        let drive = place.drive(tended.rounds % 6);
        // What is written into it meanwhile may keep the last of it from going.
        let _ = std::fs::remove_dir_all(drive);
        // Packs that are written meanwhile may look incomplete to it. The next drive goes only when this one is whole.
        let mut complete = false;
        for _ in 0..REPAIRS_MAX {
            let output = place.run(["repair", "--json"]);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            tended.shards += report["shards_rebuilt"].as_u64().unwrap_or(0);
            complete = output.status.success();
            if complete {
                break;
            }
        }
        assert!(
            complete,
            "repair did not come to an end after {REPAIRS_MAX} tries"
        );
        place.json(["gc"]);
        tended.rounds += 1;
    }
    tended
}

async fn clients(running: &Running, key: &Key, count: usize) -> Vec<S3Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(running.client(key).await);
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_ten_writers_wins_no_update_is_lost_and_nobody_is_refused_for_nothing() {
    let place = Arc::new(Place::new());
    let running = place.up();
    let key = place.root_key();
    make_bucket(&mut running.client(&key).await, BUCKET).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tending = std::thread::spawn({
        let (place, stop) = (Arc::clone(&place), Arc::clone(&stop));
        move || tend(&place, &stop)
    });
    let mut loners = JoinSet::new();
    for (number, client) in clients(&running, &key, LONERS).await.into_iter().enumerate() {
        loners.spawn(alone(client, number, Arc::clone(&stop)));
    }
    let begun = Instant::now();
    tokio::join!(
        one_wins(clients(&running, &key, WRITERS).await, rounds()),
        no_update_is_lost(clients(&running, &key, WRITERS + 1).await, rounds()),
    );
    let took = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    let writes: u32 = loners.join_all().await.into_iter().sum();
    let tended = tending.join().unwrap();
    assert!(writes > 0 && tended.rounds > 0 && tended.shards > 0);
    println!(
        "{} rounds in {took:?}; {writes} writes of clients alone with their key; {} shards made again and gc in {} rounds",
        rounds(),
        tended.shards,
        tended.rounds
    );
    assert_eq!(place.json(["repair"])["complete"], true);
}
