//! A bucket of very many keys: how fast they are made and deleted from the first to the last, how long a page of any listing
//! takes, how long the server takes to start, and what memory it needs.
//!
//! `CAIRN_BENCH_KEYS` says how many (10,000 unless set; 1,000,000 is what docs/measurements.md shows), `CAIRN_BENCH_GRAPH`
//! the file for a graph (SVG), `CAIRN_BENCH_DIR` the disk, `CAIRN_BIN` a program other than this tree's.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use benches::measures;
use benches::server::{ACCESS_KEY, SECRET_KEY, Server, program, scratch};
use bytes::Bytes;
use cairn::bench::{CpuClock, Load, Measured, Target, measure};
use cairn::s3_client::{Call, Signer};
use http::Method;
use zeroize::Zeroizing;

#[path = "many_keys/graph.rs"]
mod graph;
#[path = "many_keys/listings.rs"]
mod listings;

/// The bucket.
const BUCKET: &str = "many-keys";
/// Creations and deletions are measured in so many slices.
const SLICES: u64 = 20;
/// Connections that create and delete.
const CONNECTIONS: usize = 64;
/// Bytes of each object.
const OBJECT_BYTES: usize = 100;
/// The bound on a start with all keys there.
const START_SECONDS_MAX: f64 = 5.0;
/// The last slices may take so many times the processor time of the first ones.
const DRIFT_MAX: f64 = 1.5;

/// One slice of creations or deletions.
struct Slice {
    /// Operations done when it ended, of its kind.
    done: u64,
    per_second: f64,
    cpu_s_per_1000: f64,
    resident_mb: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    if !measures() {
        println!("many_keys measures a release build, under `cargo bench`; nothing done");
        return Ok(());
    }
    let keys = match std::env::var("CAIRN_BENCH_KEYS") {
        Ok(text) => text.parse()?,
        Err(_) => 10_000,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(keys))
}

async fn run(keys: u64) -> Result<(), Box<dyn Error>> {
    let (program, parent) = (program()?, scratch()?);
    let data = parent.path().join("data");
    let server = Server::start(&program, &data)?;
    let mut client = target(&server).connect().await?;
    client.fetch(Call::new(Method::PUT, BUCKET, "")).await?;
    drop(client);
    println!("\nmany_keys: {keys} objects of {OBJECT_BYTES} bytes, {CONNECTIONS} connections");
    let created = slices(&server, "create", keys, &put).await?;
    let before = server.resident_mb()?;
    let mut all_kept = listings::run(&target(&server), keys).await?;
    println!(
        "resident before and after the listings: {before:.0} and {:.0} MB",
        server.resident_mb()?
    );
    let server = restarts(server, &program, &data, &mut all_kept)?;
    let deleted = slices(&server, "delete", keys, &delete).await?;
    for (kind, slices) in [("create", &created), ("delete", &deleted)] {
        all_kept &= is_flat(kind, slices);
    }
    println!("peak memory: {:.0} MB", server.peak_mb()?);
    if let Some(path) = std::env::var_os("CAIRN_BENCH_GRAPH") {
        std::fs::write(path, graph::draw(keys, &created, &deleted))?;
    }
    println!(
        "{}\n",
        if all_kept {
            "every bound kept"
        } else {
            "a bound was MISSED"
        }
    );
    Ok(())
}

fn target(server: &Server) -> Target {
    let secret = Zeroizing::new(SECRET_KEY.to_owned());
    Target {
        host: server.host().to_owned(),
        signer: Signer::new(ACCESS_KEY.to_owned(), secret, "us-east-1".to_owned()),
        clock: Some(CpuClock::of(server.pid())),
    }
}

/// Every key's operation once, slice by slice, in an order that jumps about among the keys.
async fn slices(
    server: &Server,
    name: &'static str,
    keys: u64,
    call: &'static (dyn Fn(u64, u64) -> Call + Sync),
) -> Result<Vec<Slice>, Box<dyn Error>> {
    let target = target(server);
    let mut all = Vec::new();
    println!(
        "{name:<8} {:>9} {:>9} {:>9} {:>9} {:>12} {:>12}",
        "done", "op/s", "p50 ms", "p99 ms", "CPU-s/1,000", "resident MB"
    );
    for slice in 0..SLICES {
        let (first, end) = (keys * slice / SLICES, keys * (slice + 1) / SLICES);
        let load = Load {
            name,
            connections: CONNECTIONS,
            operations: end - first,
            warm_up: 0,
            payload_bytes: 0,
            call: Arc::new(move |number| call(first + number, keys)),
        };
        let measured: Measured = measure(&target, &load).await?;
        let slice = Slice {
            done: end,
            per_second: measured.operations_per_second,
            cpu_s_per_1000: measured.cpu_seconds_per_1000.unwrap_or(0.0),
            resident_mb: server.resident_mb()?,
        };
        println!(
            "{:<8} {:>9} {:>9.0} {:>9.2} {:>9.2} {:>12.3} {:>12.0}",
            "",
            slice.done,
            slice.per_second,
            measured.p50_ms,
            measured.p99_ms,
            slice.cpu_s_per_1000,
            slice.resident_mb
        );
        all.push(slice);
    }
    Ok(all)
}

/// Stops the server in order and starts it, kills it and starts it, and returns the last one.
fn restarts(
    server: Server,
    program: &Path,
    data: &Path,
    all_kept: &mut bool,
) -> Result<Server, Box<dyn Error>> {
    server.stop()?;
    let mut server = Server::start(program, data)?;
    for after in ["an orderly end", "a kill"] {
        if after == "a kill" {
            drop(server);
            server = Server::start(program, data)?;
        }
        let seconds = server.started_in().as_secs_f64();
        let kept = seconds < START_SECONDS_MAX;
        *all_kept &= kept;
        println!(
            "start after {after}: {seconds:.2} s, {:.0} MB resident; {}: < {START_SECONDS_MAX} s",
            server.resident_mb()?,
            if kept { "kept" } else { "MISSED" }
        );
    }
    Ok(server)
}

/// Whether the last tenth costs about what the first one did, by processor time; wall time tells about the neighbours too.
fn is_flat(kind: &str, slices: &[Slice]) -> bool {
    let tenth = slices.len().div_ceil(10);
    let mean = |part: &[Slice]| {
        part.iter().map(|slice| slice.cpu_s_per_1000).sum::<f64>() / part.len().max(1) as f64
    };
    let first = mean(slices.get(..tenth).unwrap_or(slices));
    let last = mean(slices.get(slices.len().saturating_sub(tenth)..).unwrap_or(slices));
    let kept = last <= first * DRIFT_MAX;
    println!(
        "{kind}: {first:.3} CPU-s per 1,000 in the first tenth, {last:.3} in the last; {}: <= {DRIFT_MAX} x",
        if kept { "kept" } else { "MISSED" }
    );
    kept
}

/// The key of place `place` in the order of keys: ten years of directories of 1,000 keys each.
fn key(place: u64, keys: u64) -> String {
    let year = 2_000 + place * 10 / keys.max(1);
    format!("year={year}/dir-{:05}/{place:09}.bin", place / 1_000)
}

/// The place of the `number`th key to be made: all places once, far apart from one to the next.
fn scattered(number: u64, keys: u64) -> u64 {
    // A prime that divides no round number of keys.
    number.wrapping_mul(7_368_787) % keys.max(1)
}

fn put(number: u64, keys: u64) -> Call {
    let body = Bytes::from_static(&[b'x'; OBJECT_BYTES]);
    Call::new(Method::PUT, BUCKET, &key(scattered(number, keys), keys)).body(body)
}

fn delete(number: u64, keys: u64) -> Call {
    // Another order than they were made in.
    let place = keys - 1 - scattered(number, keys);
    Call::new(Method::DELETE, BUCKET, &key(place, keys))
}
