//! A load on the S3 port, measured from outside: what `cairn bench` runs.
//!
//! The server is another process, so that its CPU time can be told from the client's. The client signs every request
//! and its payload, as real clients do.

use std::time::Duration;

use serde::Serialize;

mod load;
mod server;
mod suite;

pub use load::{Load, Target, measure};
pub use server::{BenchServer, CpuClock};
pub use suite::{Plan, run};

/// What one load came to.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The load's name.
    pub name: &'static str,
    /// Connections at the same time.
    pub connections: usize,
    /// Operations done.
    pub operations: u64,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Payload MiB a second; 0 for loads without payload.
    pub mib_per_second: f64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// Half of the operations took at most so long, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took at most so long, in milliseconds.
    pub p99_ms: f64,
    /// The server's CPU-seconds, if its process is known.
    pub cpu_seconds: Option<f64>,
    /// The server's CPU-seconds for each GiB of payload.
    pub cpu_seconds_per_gib: Option<f64>,
    /// The server's CPU-seconds for 1,000 operations.
    pub cpu_seconds_per_1000: Option<f64>,
}

impl Measured {
    /// Works the figures out. `latencies` are in microseconds, in any order.
    pub fn new(load: &Load, mut latencies: Vec<u32>, wall: Duration, cpu_seconds: Option<f64>) -> Self {
        latencies.sort_unstable();
        let operations = latencies.len() as u64;
        let seconds = wall.as_secs_f64().max(1e-9);
        let bytes = operations as f64 * load.payload_bytes as f64;
        let big = load.payload_bytes >= BIG_BYTES;
        Self {
            name: load.name,
            connections: load.connections,
            operations,
            seconds,
            mib_per_second: bytes / MIB / seconds,
            operations_per_second: operations as f64 / seconds,
            p50_ms: percentile_ms(&latencies, 50),
            p99_ms: percentile_ms(&latencies, 99),
            cpu_seconds,
            cpu_seconds_per_gib: cpu_seconds
                .filter(|_| big)
                .map(|cpu| cpu / (bytes / MIB / 1_024.0)),
            cpu_seconds_per_1000: cpu_seconds
                .filter(|_| !big)
                .map(|cpu| cpu * 1_000.0 / operations.max(1) as f64),
        }
    }
}

/// The nearest-rank percentile of sorted latencies.
fn percentile_ms(sorted_us: &[u32], percent: usize) -> f64 {
    let rank = sorted_us
        .len()
        .saturating_mul(percent)
        .div_ceil(100)
        .saturating_sub(1);
    f64::from(sorted_us.get(rank).copied().unwrap_or(0)) / 1_000.0
}

const MIB: f64 = 1_048_576.0;
/// From this size on, cost is counted by the byte, below it by the operation.
const BIG_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<u32> = (1..=100).map(|n| n * 1_000).collect();
        assert!((percentile_ms(&sorted, 50) - 50.0).abs() < 1e-9);
        assert!((percentile_ms(&sorted, 99) - 99.0).abs() < 1e-9);
        assert!((percentile_ms(&[7_000], 99) - 7.0).abs() < 1e-9);
        assert!(percentile_ms(&[], 50).abs() < 1e-9);
    }
}
