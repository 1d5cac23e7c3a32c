//! The census in the background: counts what is missing of every pack of the ledger, so that healing knows it.
//!
//! It runs once soon after the start, and again whenever shards went that nobody can name a pack of: damage found when a
//! drive is opened or compacted, a drive that is back, a list that was too long. Invariant: one at a time; it holds the
//! cluster only weakly, so it ends with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::repair::packs_of;
use super::{Cluster, Inner};
use crate::ledger::Ledger;

/// How long after the start, and at least between two, so that damage found in many places makes one census.
const PAUSE: Duration = Duration::from_secs(2);
/// How long after one that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Counts what is missing of the ledger's packs soon, and again whenever drives lost shards since: from then on
    /// [`Cluster::status`] knows the packs at risk and healing works on them. Ends when the cluster is closed.
    pub fn start_census(&self, ledger: Arc<dyn Ledger>) {
        let changes = Arc::clone(&self.inner.own.changes);
        changes.lost_shards();
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                changes.census.notified().await;
                if is_closed(&weak) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
                while !count(&weak, &*ledger).await {
                    if is_closed(&weak) {
                        return;
                    }
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        });
    }
}

fn is_closed(weak: &Weak<Inner>) -> bool {
    weak.upgrade()
        .is_none_or(|inner| inner.closing.load(Ordering::Acquire))
}

/// One census; whether it is done with.
async fn count(weak: &Weak<Inner>, ledger: &dyn Ledger) -> bool {
    let Some(inner) = weak.upgrade() else { return true };
    if inner.closing.load(Ordering::Acquire) {
        return true;
    }
    let cluster = Cluster { inner, cause: None };
    match cluster.census(&|| packs_of(ledger)).await {
        Ok(report) => {
            tracing::info!(
                packs = report.packs,
                missing = report.still_missing,
                "counted every pack's shards"
            );
            cluster.inner.own.changes.heal.notify_one();
            true
        }
        Err(error) => {
            tracing::warn!(%error, "counting every pack's shards failed");
            false
        }
    }
}
