//! Appends on their way to the leader and back: under the fence of the lease, and answered for once the copy shows them.
//!
//! Invariant: every append under the lease that was taken here carries the fence as it was known when it was submitted, and none is submitted behind one that
//! is in doubt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::slots::{Append, Outcome, Sequence};
use tokio::sync::oneshot;

use super::sending::Waiting;
use super::{FollowedLedger, WAITING_BYTES_MAX};
use crate::ledger::LedgerError;
use crate::ledger::wire::AppendReply;

/// How often an append is submitted again because the fence was raised meanwhile.
const FENCES_MAX: usize = 64;

impl FollowedLedger {
    pub(super) async fn submit(&self, mut append: Append, urgent: bool) -> Result<Outcome, LedgerError> {
        let fence = &self.inner.fence;
        for _ in 0..FENCES_MAX {
            if fence.is_in_doubt(append.lease) {
                self.withdraw().await?;
            }
            let Some(expected) = fence.expectation(append.lease) else {
                return self
                    .submit_as_is(append, urgent)
                    .await
                    .map(|(_, outcome)| outcome);
            };
            let of_fence = append.expectations.len();
            append.expectations.push(expected);
            match self.submit_as_is(append, urgent).await? {
                // It was raised meanwhile, because of others.
                (refused, Outcome::Conflict { expectation, current }) if expectation == of_fence => {
                    fence.note(refused.lease, current.map(|entry| entry.sequence));
                    append = refused;
                    append.expectations.truncate(of_fence);
                }
                (_, outcome) => return Ok(outcome),
            }
        }
        Err(LedgerError::Unreachable)
    }

    /// Submits an append, which comes back with its outcome.
    async fn submit_as_is(&self, append: Append, urgent: bool) -> Result<(Append, Outcome), LedgerError> {
        append.check_limits().map_err(engine::slots::BadAppend::from)?;
        let bytes = append.encoded_bytes_at_most().min(WAITING_BYTES_MAX);
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.inner.room).acquire_many_owned(weight).await;
        let room = room.map_err(|_| LedgerError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            append,
            urgent,
            reply,
            _room: room,
        };
        if self.inner.appends.send(waiting).await.is_err() {
            return Err(LedgerError::Closed);
        }
        let (append, reply) = answer.await.unwrap_or(Err(LedgerError::Closed))?;
        match reply {
            AppendReply::Full => Err(LedgerError::Full),
            AppendReply::Bad => Err(LedgerError::RefusedAsBad),
            AppendReply::Decided(outcome) => {
                match &outcome {
                    Outcome::Applied { sequence } => {
                        self.inner.answered.fetch_max(sequence.0, Ordering::AcqRel);
                        let shown = self.inner.applied(*sequence).await;
                        // Whoever submitted it does not hear that it was applied: settling says by when.
                        shown.inspect_err(|_| self.inner.fence.doubt(append.lease))?;
                    }
                    // Whoever tries again has to see what stood in the way.
                    Outcome::Conflict {
                        current: Some(entry), ..
                    } => self.inner.applied(entry.sequence).await?,
                    // What was removed says no sequence, and this copy may show it yet.
                    Outcome::Conflict { current: None, .. } => {
                        self.inner.caught_up().await?;
                    }
                    _ => {}
                }
                Ok((append, outcome))
            }
        }
    }

    /// Withdraws what is in doubt; the sequence by which it is applied, if it is. Those who ask at one time ask once.
    pub(super) async fn withdraw(&self) -> Result<Sequence, LedgerError> {
        let fence = &self.inner.fence;
        let failures = fence.failures();
        let _alone = fence.alone().await;
        if let Some(settled) = fence.settled() {
            return Ok(settled);
        }
        if fence.failures() != failures {
            return Err(LedgerError::Unreachable);
        }
        let raised = self.raise_fence().await;
        if raised.is_err() {
            fence.fail();
        }
        raised
    }

    async fn raise_fence(&self) -> Result<Sequence, LedgerError> {
        match self.submit_as_is(self.inner.fence.raise(), true).await? {
            (raise, Outcome::Applied { sequence }) => {
                self.inner.fence.is_raised(raise.lease, sequence);
                Ok(sequence)
            }
            (_, Outcome::LeaseEnded { .. }) => Err(LedgerError::Fenced),
            // It expects nothing.
            (_, Outcome::Conflict { .. }) => Err(LedgerError::Unreachable),
        }
    }
}
