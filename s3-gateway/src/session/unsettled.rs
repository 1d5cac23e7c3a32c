//! Appends of which nobody heard whether they were applied: the ledger was away, and a call may still carry them out.
//!
//! The client was told that it is not known. Here the same append is submitted again until the ledger says what became of it, and its packs are
//! pinned for so long: else the collector could delete what the ledger is about to name. Invariants: an append is the same whenever it is submitted,
//! so it has one effect; what somebody else wrote meanwhile stands in its way, by its own expectations; at most [`AT_ONCE`] wait.

use super::Inner;
use super::commit::Urgency;
use super::pins::Pin;
use engine::slots::{Append, Outcome};
use net::LedgerError;
use std::sync::Arc;
use std::time::Duration;

/// How many may wait. Requests that write at one time are fewer, and while the ledger is away none is begun.
pub(crate) const AT_ONCE: usize = 1_024;

/// How long between two tries.
const REST: Duration = Duration::from_secs(1);

impl Inner {
    /// Submits an append again until it is known what became of it, holding the packs that it names.
    pub(crate) fn settle_later(self: &Arc<Self>, append: Append, pins: &[Pin], urgency: Urgency) {
        let Ok(turn) = Arc::clone(&self.unsettled).try_acquire_owned() else {
            tracing::error!(
                "too many appends wait for the ledger to say what became of them; one is given up"
            );
            return;
        };
        let (inner, pins) = (Arc::clone(self), pins.to_vec());
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            let _turn = turn;
            loop {
                tokio::select! {
                    // With this process its lease ends, and nothing is applied under it any more.
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep(REST) => {}
                }
                match inner.append(append.clone(), urgency).await {
                    Err(LedgerError::Unreachable | LedgerError::Full) => {}
                    Ok(Outcome::Applied { sequence }) => {
                        pins.iter().for_each(Pin::named);
                        if let Err(error) = inner.apply_through(sequence).await {
                            tracing::warn!(%error, "what was applied late is not in the index yet");
                        }
                        return;
                    }
                    Ok(Outcome::Conflict { .. } | Outcome::LeaseEnded { .. }) | Err(_) => return,
                }
            }
        });
    }
}
