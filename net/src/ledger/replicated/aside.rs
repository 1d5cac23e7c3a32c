//! A leader whose disk is full makes way: the others may have room.
//!
//! It gives nobody the lead, for Raft knows no such word here; it falls silent until another is elected. Invariant: it is silent for a bounded
//! time, and then not again for a while: where every disk is full, somebody has to lead for what frees space.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::member::RaftOf;

/// So many heartbeats it is silent: another is elected after seven or eight.
const SILENT_HEARTBEATS: u32 = 12;
/// So many it waits before it makes way once more.
const BETWEEN_HEARTBEATS: u32 = 120;

/// See the module.
pub(super) struct Aside {
    raft: RaftOf,
    heartbeat: Duration,
    since: Mutex<Option<Instant>>,
}

impl Aside {
    pub(super) fn new(raft: RaftOf, heartbeat: Duration) -> Self {
        Self {
            raft,
            heartbeat,
            since: Mutex::default(),
        }
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it makes way now: nothing is to be proposed or confirmed, for that keeps the others waiting for it.
    pub(super) fn is_silent(&self) -> bool {
        let silent = self.heartbeat * SILENT_HEARTBEATS;
        self.since().is_some_and(|since| since.elapsed() < silent)
    }

    /// Makes way, unless it did a while ago or nobody else votes. Whether it does.
    pub(super) fn begin(&self) -> bool {
        let others = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.membership().voter_ids().count() > 1
        };
        let mut since = self.since();
        let rested = since.is_none_or(|since| since.elapsed() > self.heartbeat * BETWEEN_HEARTBEATS);
        if !others || !rested {
            return false;
        }
        *since = Some(Instant::now());
        tracing::warn!("the disk of the ledger's leader is full: it makes way for another");
        let config = self.raft.runtime_config();
        config.heartbeat(false);
        config.elect(false);
        let (raft, silent) = (self.raft.clone(), self.heartbeat * SILENT_HEARTBEATS);
        tokio::spawn(async move {
            tokio::time::sleep(silent).await;
            let config = raft.runtime_config();
            config.heartbeat(true);
            config.elect(true);
        });
        true
    }
}
