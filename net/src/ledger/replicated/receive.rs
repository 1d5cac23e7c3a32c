//! A whole copy on its way to this member, because it is too far behind to be told entry by entry.
//!
//! Invariant: one at a time; it is asked for page by page from whoever said that it should be, and counts only when it is whole and
//! holds at least what was said of it.

use std::sync::Arc;

use openraft::{Snapshot, SnapshotMeta, Vote};
use tokio::task::JoinHandle;

use super::super::fetch::fetch;
use super::machine::SnapshotOf;
use super::member::{Member, RaftOf};
use super::network::TellReply;
use super::raft::{LogId, Voter};
use crate::peer::PeerId;

/// See the module.
pub(super) struct Receiving {
    from: PeerId,
    vote: Vote<u64>,
    /// What the copy was said to hold at least.
    holds: Option<LogId>,
    task: JoinHandle<Option<Vote<u64>>>,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiving {
    /// Begins, or says how far it is.
    pub(super) fn go_on(
        under_way: Option<Self>,
        member: &Arc<Member>,
        raft: &RaftOf,
        from: PeerId,
        vote: Vote<u64>,
        meta: SnapshotMeta<u64, Voter>,
    ) -> (Option<Self>, TellReply) {
        match under_way {
            Some(mut this) if (this.from, this.vote, this.holds) == (from, vote, meta.last_log_id) => {
                if !this.task.is_finished() {
                    return (Some(this), TellReply::Receiving);
                }
                // It is finished, so this does not wait.
                let done = futures::FutureExt::now_or_never(&mut this.task);
                match done {
                    Some(Ok(Some(vote))) => (None, TellReply::Received(vote)),
                    _ => (None, TellReply::Failed),
                }
            }
            // Another leader's, an older one, or none: what was under way is dropped.
            _ => {
                let holds = meta.last_log_id;
                let task = tokio::spawn(receive(Arc::clone(member), raft.clone(), from, vote, meta));
                (
                    Some(Self {
                        from,
                        vote,
                        holds,
                        task,
                    }),
                    TellReply::Receiving,
                )
            }
        }
    }
}

async fn receive(
    member: Arc<Member>,
    raft: RaftOf,
    from: PeerId,
    vote: Vote<u64>,
    meta: SnapshotMeta<u64, Voter>,
) -> Option<Vote<u64>> {
    tracing::info!(%from, "this member of the ledger is far behind and takes a whole copy");
    let received = match fetch(&member.transport, from, &member.replica).await {
        Ok(received) => received,
        Err(why) => {
            tracing::warn!(%from, %why, "the copy of the ledger did not arrive whole");
            return None;
        }
    };
    let snapshot = Snapshot {
        meta,
        snapshot: Box::new(SnapshotOf::Received(Some(Box::new(received)))),
    };
    match raft.install_full_snapshot(vote, snapshot).await {
        Ok(response) => Some(response.vote),
        Err(error) => {
            tracing::error!(%error, "a received copy of the ledger was not taken over");
            None
        }
    }
}
