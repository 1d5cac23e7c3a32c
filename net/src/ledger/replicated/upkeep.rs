//! What runs beside a member, and how its Raft is told to go about it.
//!
//! Invariant: what is kept for others, entries and transfers, is bounded.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, SnapshotPolicy};

use super::super::LedgerSizes;
use super::agreement::Agreement;
use super::member::{MemberOpenError, RaftOf};
use super::sending::Sending;

pub(super) fn raft_config(heartbeat: Duration) -> Result<Config, MemberOpenError> {
    let heartbeat = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX / 8);
    let config = Config {
        cluster_name: "cairn".to_owned(),
        heartbeat_interval: heartbeat,
        // The greatest is also the time for which a member that heard of a leader votes for nobody else, and only after that time does the
        // other begin.
        election_timeout_min: heartbeat * 3,
        election_timeout_max: heartbeat * 4,
        install_snapshot_timeout: 3_600_000,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 1 << 40,
        replication_lag_threshold: 256,
        // Until it has asked the others (`candidacy`).
        enable_elect: false,
        ..Config::default()
    };
    config
        .validate()
        .map_err(|error| MemberOpenError::Raft(error.to_string()))
}

/// Lets go of the oldest entries once there are too many, when the copy that they were applied to is flushed.
pub(super) async fn upkeep(raft: RaftOf, agreement: Agreement, sending: Arc<Sending>, sizes: LedgerSizes) {
    let mut led_by = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (leader, term, running) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow();
            let leader = metrics.current_leader;
            let leader = leader.and_then(|id| metrics.membership_config.membership().get_node(&id)?.0);
            (leader, metrics.current_term, metrics.running_state.clone())
        };
        if leader != led_by {
            match leader {
                Some(leader) => tracing::info!(%leader, term, "the ledger has a leader"),
                None => tracing::warn!(term, "the ledger has no leader that this member knows of"),
            }
            led_by = leader;
        }
        sending.sweep().await;
        if let Err(error) = running {
            tracing::error!(%error, "this member of the ledger has stopped");
            return;
        }
        let (bytes, entries, newest) = agreement.kept();
        if bytes <= sizes.kept_bytes && entries <= sizes.kept_entries {
            continue;
        }
        let by_bytes = agreement.index_before(sizes.kept_bytes / 2).unwrap_or(0);
        let upto = by_bytes.max(newest.saturating_sub(sizes.kept_entries / 2));
        // Both are carried out in order by the Raft's own task; one that has stopped does neither.
        let _ = raft.trigger().snapshot().await;
        let _ = raft.trigger().purge_log(upto).await;
    }
}
