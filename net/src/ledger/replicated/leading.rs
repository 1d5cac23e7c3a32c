//! Whether this member leads, and when it no longer does.
//!
//! A leader that is deposed may never hear what became of the entries that it proposed: nobody tells a member that is not one any
//! more. Invariant: whoever waits for what only a leader brings about stops waiting when this member leads no more.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;

use super::super::progress::Progress;
use super::super::wire::LedgerRefusal;
use super::member::RaftOf;
use super::raft::LogId;

/// The term in which this member leads, as far as it knows.
pub(super) fn term_led(raft: &RaftOf) -> Option<u64> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow();
    let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id);
    leads.then_some(metrics.vote.leader_id.term)
}

/// Resolves when this member does not lead in `term`, or has stopped.
pub(super) async fn deposed(raft: &RaftOf, term: u64) {
    let mut metrics = raft.server_metrics();
    // An error says that its Raft has ended.
    let _ = metrics
        .wait_for(|now| now.state != ServerState::Leader || now.vote.leader_id.term != term)
        .await;
}

/// How far this member has applied.
pub(super) type Applying = Arc<Progress<Option<LogId>>>;

/// How long it may take to apply what is agreed on, before somebody else is asked.
const APPLY_PATIENCE: Duration = Duration::from_secs(5);

/// Returns once more than half of the members have confirmed that this one leads, and it has applied what was agreed on before.
pub(super) async fn confirmed(raft: &RaftOf, progress: &Applying) -> Result<(), LedgerRefusal> {
    let read = raft.get_read_log_id().await;
    let (upto, _) = read.map_err(|_| not_leader(raft))?;
    let applied = tokio::time::timeout(APPLY_PATIENCE, progress.reached(upto));
    applied.await.map_err(|_| not_leader(raft))
}

/// Waits for `work`, which only a leader does, for as long as this member leads.
pub(super) async fn while_leading<T>(
    raft: &RaftOf,
    work: impl Future<Output = T>,
) -> Result<T, LedgerRefusal> {
    let term = term_led(raft).ok_or_else(|| not_leader(raft))?;
    // Another channel than `deposed` waits for: of several who wait for one, tokio draws who hears first.
    let mut metrics = raft.metrics();
    let deposed = metrics.wait_for(|now| now.state != ServerState::Leader || now.current_term != term);
    tokio::select! {
        biased;
        done = work => Ok(done),
        _ = deposed => Err(not_leader(raft)),
    }
}

/// Refers the caller to whoever leads.
pub(super) fn not_leader(raft: &RaftOf) -> LedgerRefusal {
    let metrics = raft.metrics().borrow().clone();
    if metrics.running_state.is_err() {
        return LedgerRefusal::Failed;
    }
    let membership = metrics.membership_config.membership();
    let leader = metrics.current_leader.filter(|leader| *leader != metrics.id);
    let leader = leader.and_then(|id| membership.get_node(&id)?.0);
    LedgerRefusal::NotLeader { leader }
}
