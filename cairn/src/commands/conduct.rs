//! What `cairn status` says of drives that did what they should not, and of the challenges that found it.
//!
//! It prints figures and judges nothing: whether a disk failed or a peer lies looks the same from here.

use serde_json::Value;

use super::status::{PEER_PREFIX, count, figure, list, sentence};

/// Names every drive that gave something else than was stored there, claims what it has not, lost what it had, or is as it was before.
pub(super) fn misdeeds(status: &Value) {
    for drive in list(status, "drives") {
        let of = |name: &str| {
            drive
                .pointer(&format!("/misdeeds/{name}"))
                .and_then(Value::as_u64)
        };
        let kinds = [
            ("altered", "GAVE or holds", "that are not what was stored there"),
            ("claimed", "CLAIMS", "that it does not give"),
            ("absent", "LOST", "that it had"),
        ];
        let did: Vec<String> = kinds
            .iter()
            .filter_map(|(kind, verb, what)| {
                let shards = of(kind).filter(|shards| *shards > 0)?;
                Some(format!("{verb} {} {what}", count(shards, "shard")))
            })
            .collect();
        let went_back = of("rolled_back").filter(|times| *times > 0);
        let went_back =
            went_back.map(|times| format!("went back to an OLDER state {}", count(times, "time")));
        let did: Vec<String> = did.into_iter().chain(went_back).collect();
        if !did.is_empty() {
            sentence(&format!("{} since the start {}", name(drive), did.join(", ")));
        }
    }
}

/// A drive by its number, with its peer if it is one's.
fn name(drive: &Value) -> String {
    let number = drive.get("number").and_then(Value::as_u64).unwrap_or(0);
    let directory = drive.get("directory").and_then(Value::as_str).unwrap_or_default();
    match directory
        .strip_prefix(PEER_PREFIX)
        .and_then(|rest| rest.split('/').next())
    {
        Some(peer) => format!("drive {number} of peer {peer}"),
        None => format!("drive {number}"),
    }
}

/// Prints how the challenges of the last while were answered, and what they are worth.
pub(super) fn challenges(status: &Value) {
    let of = |drive: &Value, name: &str| {
        let figure = drive.pointer(&format!("/challenges/{name}"));
        figure.and_then(Value::as_f64).unwrap_or(0.0)
    };
    let drives = list(status, "drives");
    let sum = |name: &str| drives.iter().map(|drive| of(drive, name)).sum::<f64>() as u64;
    if sum("asked") == 0 {
        return;
    }
    let seconds = drives
        .iter()
        .map(|drive| of(drive, "seconds"))
        .fold(0.0, f64::max);
    let holding = drives.iter().filter(|drive| of(drive, "shards") > 0.0);
    let least = holding
        .map(|drive| of(drive, "detection_percent"))
        .fold(100.0, f64::min);
    figure(
        "proofs",
        &format!(
            "{} of {} proven in {}, {} unanswered; a drive of which one shard of a hundred is bad would have been met with at least {least:.1} %",
            sum("proven"),
            count(sum("asked"), "challenge"),
            lasting(seconds as u64),
            sum("unanswered"),
        ),
    );
}

fn lasting(seconds: u64) -> String {
    match seconds {
        0..=119 => count(seconds, "second"),
        120..=7_199 => count(seconds / 60, "minute"),
        _ => count(seconds / 3_600, "hour"),
    }
}
