//! Pages of listings, of every kind that a client can ask for.

use std::error::Error;
use std::sync::Arc;

use cairn::bench::{Load, Target, measure};
use cairn::s3_client::Call;
use http::Method;

use crate::{BUCKET, key};

/// The bound on a page.
const P99_MS_MAX: f64 = 50.0;
/// Pages of each kind.
const PAGES: u64 = 400;

type Ask = fn(u64, u64) -> Call;

/// Name and request of the `number`th page of a kind, at a place that jumps about among so many keys.
const KINDS: [(&str, Ask); 11] = [
    ("1,000 keys from anywhere", |place, keys| {
        v2().query("start-after", key(place, keys))
    }),
    ("the same, version 1", |place, keys| {
        list().query("marker", key(place, keys))
    }),
    ("one key from anywhere", |place, keys| {
        v2().query("start-after", key(place, keys)).query("max-keys", "1")
    }),
    ("a directory of 1,000", |place, keys| {
        v2().query("prefix", directory(place, keys))
    }),
    ("the same, delimiter 0", |place, keys| {
        v2().query("prefix", directory(place, keys))
            .query("delimiter", "0")
    }),
    ("the directories of a year", |place, keys| {
        v2().query("prefix", year(place, keys)).query("delimiter", "/")
    }),
    ("the years", |_, _| v2().query("delimiter", "/")),
    ("one prefix of all keys", |_, _| v2().query("delimiter", "=")),
    ("a delimiter that no key has", |place, keys| {
        v2().query("delimiter", "?")
            .query("start-after", key(place, keys))
    }),
    ("a prefix that no key has", |place, _| {
        v2().query("prefix", format!("year={place}x"))
    }),
    ("versions from anywhere", |place, keys| {
        list().query("versions", "").query("key-marker", key(place, keys))
    }),
];

/// Measures every kind; whether all keep the bound.
pub(crate) async fn run(target: &Target, keys: u64) -> Result<bool, Box<dyn Error>> {
    println!(
        "{:<30} {:>9} {:>9} {:>12}",
        "list", "p50 ms", "p99 ms", "CPU-ms/page"
    );
    let mut all_kept = true;
    for (name, ask) in KINDS {
        let load = Load {
            name: "list",
            connections: 1,
            operations: PAGES,
            warm_up: 5,
            payload_bytes: 0,
            call: Arc::new(move |number| {
                ask(
                    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) % keys,
                    keys,
                )
            }),
        };
        let measured = measure(target, &load).await?;
        let kept = measured.p99_ms < P99_MS_MAX;
        all_kept &= kept;
        println!(
            "{name:<30} {:>9.2} {:>9.2} {:>12.2}  {}: p99 < {P99_MS_MAX} ms",
            measured.p50_ms,
            measured.p99_ms,
            measured.cpu_seconds_per_1000.unwrap_or(0.0),
            if kept { "kept" } else { "MISSED" }
        );
    }
    Ok(all_kept)
}

fn list() -> Call {
    Call::new(Method::GET, BUCKET, "")
}

fn v2() -> Call {
    list().query("list-type", "2")
}

/// `year=…/dir-…/` of the key at a place.
fn directory(place: u64, keys: u64) -> String {
    let key = key(place, keys);
    key.rsplit_once('/')
        .map_or(String::new(), |(directory, _)| format!("{directory}/"))
}

/// `year=…/` of the key at a place.
fn year(place: u64, keys: u64) -> String {
    let key = key(place, keys);
    key.split_once('/')
        .map_or(String::new(), |(year, _)| format!("{year}/"))
}
