//! kill -9 under load: what was acknowledged is there, and nothing else half is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::process::{Key, Place, Running, content, get, list, make_bucket, put};

/// Writers at the same time.
const WRITERS: usize = 8;
/// How long the load runs before the kill, at first; each round differs.
const LOAD: Duration = Duration::from_millis(400);

fn rounds() -> u32 {
    std::env::var("CAIRN_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4)
}

/// The size follows from the name too, so that a listed object can be told whole from half.
fn size_of(name: &str) -> usize {
    let number = name.bytes().fold(7_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(byte))
    });
    match number % 10 {
        0 => 0,
        1..=6 => number % 9_000,
        7 | 8 => number % 300_000,
        _ => number % 5_000_000,
    }
}

/// What was acknowledged: present or deleted.
type Acknowledged = Arc<Mutex<BTreeMap<String, bool>>>;

async fn write_until_killed(
    mut client: cairn::s3_client::S3Client,
    prefix: String,
    acknowledged: Acknowledged,
) {
    for number in 0_u32.. {
        let name = format!("{prefix}-{number}");
        if put(&mut client, "load", &name, content(&name, size_of(&name)))
            .await
            .is_err()
        {
            return;
        }
        acknowledged.lock().unwrap().insert(name.clone(), true);
        if number % 5 == 4 {
            // From here to the answer it may be there or not.
            acknowledged.lock().unwrap().remove(&name);
            let call = cairn::s3_client::Call::new(http::Method::DELETE, "load", &name);
            if client.fetch(call).await.is_err() {
                return;
            }
            acknowledged.lock().unwrap().insert(name, false);
        }
    }
}

async fn check(running: &Running, key: &Key, acknowledged: &Acknowledged) {
    let acknowledged = acknowledged.lock().unwrap().clone();
    let mut client = running.client(key).await;
    let listed = list(&mut client, "load").await;
    for (name, present) in &acknowledged {
        assert_eq!(listed.contains_key(name), *present, "{name} was acknowledged");
    }
    for (name, bytes) in listed {
        let expected = content(&name, size_of(&name));
        assert_eq!(bytes, expected.len() as u64, "{name}");
        assert!(
            get(&mut client, "load", &name).await.unwrap() == expected,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_under_load_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    let acknowledged = Acknowledged::default();
    let mut running = place.up();
    let key = place.root_key();
    make_bucket(&mut running.client(&key).await, "load").await;
    for round in 0..rounds() {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let client = running.client(&key).await;
            let prefix = format!("{round}-{writer}");
            writers.push(tokio::spawn(write_until_killed(
                client,
                prefix,
                Arc::clone(&acknowledged),
            )));
        }
        tokio::time::sleep(LOAD + Duration::from_millis(u64::from(round) * 37 % 200)).await;
        running.kill();
        for writer in writers {
            writer.await.unwrap();
        }
        running = place.up();
        check(&running, &key, &acknowledged).await;
    }
    let count = acknowledged.lock().unwrap().len();
    assert!(
        count > 20,
        "only {count} operations were acknowledged: the load was no load"
    );
    assert_eq!(place.json(["repair"])["complete"], true);
}
