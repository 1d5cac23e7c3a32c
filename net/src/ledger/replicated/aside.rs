//! A leader that others would be better than makes way: its disk is full and theirs may have room, or it hears from no majority.
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

/// Why a leader makes way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its disk is full.
    Full,
    /// No majority answers it.
    Alone,
}

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
    pub(super) fn begin(&self, why: Why) -> bool {
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
        match why {
            Why::Full => tracing::warn!("the disk of the ledger's leader is full: it makes way for another"),
            Why::Alone => tracing::warn!("no majority answers the ledger's leader: it makes way for another"),
        }
        // While it is silent it does not stand for election either (`candidacy`).
        self.raft.runtime_config().heartbeat(false);
        let (raft, silent) = (self.raft.clone(), self.heartbeat * SILENT_HEARTBEATS);
        tokio::spawn(async move {
            tokio::time::sleep(silent).await;
            raft.runtime_config().heartbeat(true);
        });
        true
    }
}
