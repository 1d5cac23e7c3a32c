//! The register workload: a few keys that everybody writes, on condition and without, reads and deletes. Each key has to have a history that
//! can have happened one operation at a time.
//!
//! Every version is written once: its number stands in its bytes, so that a read names the write that it saw, and whoever reads it can tell
//! whether it is whole. Invariant: an operation without an answer stays in the history as one that may take effect later, or never.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::history::{self, Action, Operation, Version};
use super::process::content;

pub(crate) const KEYS: usize = 24;

/// What was heard of each key.
#[derive(Default)]
pub(crate) struct Registers {
    histories: Mutex<BTreeMap<usize, Vec<Operation>>>,
    /// The newest version of a key that somebody met, with its entity tag.
    met: Mutex<BTreeMap<usize, (u64, String)>>,
    /// What is wrong with single answers.
    anomalies: Mutex<Vec<String>>,
}

pub(crate) fn name(key: usize) -> String {
    format!("register/{key}")
}

const fn bytes_of(version: u64) -> usize {
    match version % 50 {
        0 => 200_000,
        other => 300 + 97 * (other as usize),
    }
}

/// The bytes of a version of a key.
pub(crate) fn body(key: usize, version: u64) -> Vec<u8> {
    let mut body = format!("{version}\n").into_bytes();
    body.extend(content(&format!("{key}-{version}"), bytes_of(version)));
    body
}

/// The version that these bytes are, if they are one of this key and whole.
pub(crate) fn version(key: usize, read: &[u8]) -> Option<u64> {
    let line = read.split(|byte| *byte == b'\n').next()?;
    let version: u64 = std::str::from_utf8(line).ok()?.parse().ok()?;
    (body(key, version) == read).then_some(version)
}

impl Registers {
    /// Takes down an operation; `ended` is none if nobody knows what became of it.
    pub(crate) fn note(&self, key: usize, began: u64, ended: Option<u64>, action: Action) {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        histories
            .entry(key)
            .or_default()
            .push(Operation { began, ended, action });
    }

    /// Takes down what a read found.
    pub(crate) fn note_read(&self, key: usize, began: u64, ended: u64, read: Option<(&[u8], String)>) {
        let seen: Version = match read {
            None => None,
            Some((bytes, etag)) => match version(key, bytes) {
                Some(version) => {
                    self.meet(key, version, etag);
                    Some(version)
                }
                None => {
                    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(12)]).into_owned();
                    self.anomaly(format!(
                        "{} gave {} bytes that nobody wrote, {start:?}",
                        name(key),
                        bytes.len()
                    ));
                    return;
                }
            },
        };
        self.note(key, began, Some(ended), Action::Read(seen));
    }

    pub(crate) fn meet(&self, key: usize, version: u64, etag: String) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.insert(key, (version, etag));
    }

    pub(crate) fn met(&self, key: usize) -> Option<(u64, String)> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        met.get(&key).cloned()
    }

    fn anomaly(&self, what: String) {
        let mut anomalies = self.anomalies.lock().unwrap_or_else(PoisonError::into_inner);
        anomalies.push(what);
    }

    /// Everything that cannot have been.
    pub(crate) fn anomalies(&self) -> Vec<String> {
        let mut found = self
            .anomalies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, history) in histories.iter() {
            if let Err(why) = history::check(history.clone()) {
                found.push(format!("{}: {why}", name(*key)));
            }
        }
        found
    }

    /// Every operation, for whoever looks for the cause.
    pub(crate) fn told(&self) -> String {
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = String::new();
        for (key, history) in histories.iter() {
            for operation in history {
                told.push_str(&format!("{} {operation:?}\n", name(*key)));
            }
        }
        told
    }
}

/// The checks against what has to fail them.
pub(crate) fn self_test() -> Result<(), String> {
    history::self_test()?;
    let lost = Registers::default();
    lost.note(3, 1, Some(2), Action::Write(Some(7)));
    lost.note_read(3, 3, 4, Some((&body(3, 7), String::new())));
    if !lost.anomalies().is_empty() || lost.met(3) != Some((7, String::new())) {
        return Err("a register that is right is taken for wrong".to_owned());
    }
    lost.note_read(3, 5, 6, None);
    if lost.anomalies().len() != 1 {
        return Err("a register that lost its version is taken for right".to_owned());
    }
    let torn = Registers::default();
    torn.note(3, 1, Some(2), Action::Write(Some(7)));
    torn.note_read(3, 3, 4, Some((&body(3, 7)[..100], String::new())));
    torn.note_read(3, 5, 6, Some((&body(4, 7), String::new())));
    match torn.anomalies().len() {
        2 => Ok(()),
        _ => Err("half a version, or one of another key, is taken for right".to_owned()),
    }
}
