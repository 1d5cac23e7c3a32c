//! The bounds on whole paths, and the table that shows where each figure stands.

use crate::{Load, Report};

/// What a load is held to.
enum Bound {
    /// CPU-seconds per GiB at most so many beyond MD5 and SHA-256 of the payload.
    PerGibBeyondDigests(f64),
    /// CPU-seconds per GiB at most.
    PerGib(f64),
    /// CPU-seconds per 1,000 operations at most.
    Per1000(f64),
    /// As `Per1000`; also operations per second at least, and milliseconds at the 99th percentile at most.
    Rate {
        per_1000: f64,
        per_second: f64,
        p99_ms: f64,
    },
    /// Milliseconds for ten pages at most.
    TenPagesMs(f64),
    /// Reported only.
    None,
}

fn bound(load: &Load) -> Bound {
    match (load.name.as_str(), load.connections) {
        ("PUT 64 MiB", _) => Bound::PerGibBeyondDigests(1.3),
        ("GET 64 MiB", _) => Bound::PerGib(1.0),
        ("PUT 4 KiB", 64) => Bound::Rate {
            per_1000: 0.6,
            per_second: 2000.0,
            p99_ms: 100.0,
        },
        ("PUT 4 KiB", _) => Bound::Per1000(0.6),
        ("GET 4 KiB", _) => Bound::Per1000(0.2),
        ("GET 64 KiB range", _) => Bound::Per1000(0.3),
        ("LIST 1,000 keys", _) => Bound::TenPagesMs(50.0),
        _ => Bound::None,
    }
}

/// The bound in words, and whether the load keeps it; no verdict where nothing was measured.
fn verdict(load: &Load, digests: f64) -> (String, Option<bool>) {
    let at_most = |figure: Option<f64>, limit: f64| figure.map(|figure| figure <= limit);
    match bound(load) {
        Bound::PerGibBeyondDigests(limit) => {
            let limit = limit + digests;
            (
                format!("<= {limit:.2} s/GiB ({digests:.2} are MD5 and SHA-256)"),
                at_most(load.cpu_seconds_per_gib, limit),
            )
        }
        Bound::PerGib(limit) => (
            format!("<= {limit} s/GiB"),
            at_most(load.cpu_seconds_per_gib, limit),
        ),
        Bound::Per1000(limit) => (
            format!("<= {limit} s/1,000"),
            at_most(load.cpu_seconds_per_1000, limit),
        ),
        Bound::Rate {
            per_1000,
            per_second,
            p99_ms,
        } => {
            let kept = load.operations_per_second >= per_second && load.p99_ms < p99_ms;
            let cpu = at_most(load.cpu_seconds_per_1000, per_1000);
            let words = format!("<= {per_1000} s/1,000, >= {per_second}/s, p99 < {p99_ms} ms");
            (words, cpu.map(|cpu| cpu && kept))
        }
        Bound::TenPagesMs(limit) => (
            format!("10 pages < {limit} ms (p50: {:.1})", 10.0 * load.p50_ms),
            Some(10.0 * load.p50_ms < limit),
        ),
        Bound::None => ("-".to_owned(), None),
    }
}

/// Prints the report, one line a load.
pub(crate) fn print(report: &Report, digests: f64) {
    println!(
        "\n{:<18} {:>5} {:>9} {:>10} {:>9} {:>9} {:>16}  bound",
        "whole_path", "conns", "MiB/s", "op/s", "p50 ms", "p99 ms", "server CPU"
    );
    for load in &report.loads {
        let cpu = match (load.cpu_seconds_per_gib, load.cpu_seconds_per_1000) {
            (Some(seconds), _) => format!("{seconds:.2} s/GiB"),
            (None, Some(seconds)) => format!("{seconds:.3} s/1,000"),
            (None, None) => "unknown".to_owned(),
        };
        let (words, kept) = verdict(load, digests);
        let mark = match kept {
            Some(true) => "kept: ",
            Some(false) => "MISSED: ",
            None => "",
        };
        println!(
            "{:<18} {:>5} {:>9.1} {:>10.1} {:>9.2} {:>9.2} {cpu:>16}  {mark}{words}",
            load.name,
            load.connections,
            load.mib_per_second,
            load.operations_per_second,
            load.p50_ms,
            load.p99_ms
        );
    }
    println!("MD5 and SHA-256 of the payload: {digests:.2} CPU-s per GiB in this run");
    if let Some(bytes) = report.drive_bytes {
        println!(
            "drives at the end, preallocation included: {:.1} MiB",
            bytes as f64 / f64::from(1 << 20)
        );
    }
    println!();
}
