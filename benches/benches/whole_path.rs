//! Whole paths: `cairn bench` against a server of its own, its figures beside the bounds they are held to, and the MD5
//! and SHA-256 of the payload, which a signed PUT cannot avoid, measured in the same run.
//!
//! It builds `cairn` in release mode first, unless `CAIRN_BIN` names a program. `CAIRN_BENCH_DIR` is where the server
//! keeps its drives (the system's temporary directory otherwise), `CAIRN_BENCH_QUICK=1` does a tenth of the work,
//! `CAIRN_BENCH_LARGE=1` also uploads eight objects of 1 GiB at once and prints the server's peak memory.

use std::error::Error;
use std::process::{Command, Stdio};

use benches::server::program;
use benches::{Clock, measures, noise};
use md5::Md5;
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[path = "whole_path/bounds.rs"]
mod bounds;
#[path = "whole_path/memory.rs"]
mod memory;

/// What `cairn bench --json` prints.
#[derive(Deserialize)]
struct Report {
    loads: Vec<Load>,
    drive_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Load {
    name: String,
    connections: usize,
    mib_per_second: f64,
    operations_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_seconds_per_gib: Option<f64>,
    cpu_seconds_per_1000: Option<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    if !measures() {
        println!("whole_path measures a release build, under `cargo bench`; nothing done");
        return Ok(());
    }
    let program = program()?;
    let before = digests_cpu_s_per_gib();
    let mut bench = Command::new(&program);
    bench.args(["bench", "--json"]).stderr(Stdio::inherit());
    if is_set("CAIRN_BENCH_QUICK") {
        bench.arg("--quick");
    }
    if let Some(dir) = std::env::var_os("CAIRN_BENCH_DIR") {
        bench.arg("--dir").arg(dir);
    }
    let output = bench.output()?;
    if !output.status.success() {
        return Err(format!("`cairn bench` ended with {}", output.status).into());
    }
    let report: Report = serde_json::from_slice(&output.stdout)?;
    let digests = (before + digests_cpu_s_per_gib()) / 2.0;
    bounds::print(&report, digests);
    if is_set("CAIRN_BENCH_LARGE") {
        memory::print(&program)?;
    }
    Ok(())
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value != "0" && !value.is_empty())
}

/// CPU-seconds that MD5 and SHA-256 of a GiB take here and now.
fn digests_cpu_s_per_gib() -> f64 {
    let payload = noise(64 << 20);
    let spent = Clock::Thread.measure(|| {
        for part in payload.chunks(64 << 10) {
            std::hint::black_box((Md5::digest(part), Sha256::digest(part)));
        }
    });
    spent.cpu.as_secs_f64() * 16.0
}
