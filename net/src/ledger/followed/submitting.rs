//! Appends on their way to the leader and back: under the fence of the lease, and answered for once the copy shows them.
//!
//! Invariant: every append under the lease that was taken here carries the fence as it was known when it was submitted, and none is sent behind one that
//! is in doubt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::slots::{Append, Outcome, Sequence};
use tokio::sync::oneshot;

use super::fence::Expected;
use super::sending::{Order, Waiting};
use super::{FollowedLedger, WAITING_BYTES_MAX};
use crate::ledger::LedgerError;
use crate::ledger::wire::AppendReply;

/// How often an append is submitted again because the fence was raised meanwhile.
const FENCES_MAX: usize = 64;

impl FollowedLedger {
    pub(super) async fn submit(&self, mut append: Append, urgent: bool) -> Result<Outcome, LedgerError> {
        let fence = &self.inner.fence;
        for _ in 0..FENCES_MAX {
            let of_fence = append.expectations.len();
            match fence.expected(append.lease) {
                Expected::Nothing => {}
                Expected::InDoubt => {
                    self.withdraw().await?;
                    continue;
                }
                Expected::Fence(expected) => append.expectations.push(expected),
            }
            let (kept, outcome) = self.submit_as_is(append, urgent, Order::Waits).await?;
            match outcome {
                // It was raised meanwhile, because of others.
                Some(Outcome::Conflict { expectation, current }) if expectation == of_fence => {
                    fence.note(kept.lease, current.map(|entry| entry.sequence));
                }
                Some(outcome) => return Ok(outcome),
                // It never left: something before it was in doubt.
                None => {}
            }
            append = kept;
            append.expectations.truncate(of_fence);
        }
        Err(LedgerError::Unreachable)
    }

    /// Submits an append, which comes back with its outcome; without one if it was not sent, because something before it is in doubt.
    async fn submit_as_is(
        &self,
        append: Append,
        urgent: bool,
        order: Order,
    ) -> Result<(Append, Option<Outcome>), LedgerError> {
        append.check_limits().map_err(engine::slots::BadAppend::from)?;
        let bytes = append.encoded_bytes_at_most().min(WAITING_BYTES_MAX);
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.inner.room).acquire_many_owned(weight).await;
        let room = room.map_err(|_| LedgerError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            append,
            urgent,
            order,
            reply,
            _room: room,
        };
        if self.inner.appends.send(waiting).await.is_err() {
            return Err(LedgerError::Closed);
        }
        let (append, reply) = answer.await.unwrap_or(Err(LedgerError::Closed))?;
        let outcome = match reply {
            None => return Ok((append, None)),
            Some(AppendReply::Full) => return Err(LedgerError::Full),
            Some(AppendReply::Bad) => return Err(LedgerError::RefusedAsBad),
            Some(AppendReply::Decided(outcome)) => outcome,
        };
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
            Outcome::LeaseEnded { .. } => self.inner.fence.end(append.lease),
        }
        Ok((append, Some(outcome)))
    }

    /// Withdraws what is in doubt; the sequence by which it is applied, if it is. Those who ask at one time ask once.
    pub(super) async fn withdraw(&self) -> Result<Sequence, LedgerError> {
        let fence = &self.inner.fence;
        let failures = fence.failures();
        let _alone = fence.alone().await;
        if let Some(settled) = fence.settled() {
            return Ok(settled);
        }
        if fence.has_ended() {
            return Err(LedgerError::Fenced);
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
        let (raise, doubts) = self.inner.fence.raise();
        match self.submit_as_is(raise, true, Order::Goes).await? {
            (raise, Some(Outcome::Applied { sequence })) => {
                self.inner.fence.is_raised(raise.lease, sequence, doubts);
                Ok(sequence)
            }
            (_, Some(Outcome::LeaseEnded { .. })) => Err(LedgerError::Fenced),
            // It expects nothing, and is sent whatever is in doubt.
            (_, Some(Outcome::Conflict { .. }) | None) => Err(LedgerError::Unreachable),
        }
    }
}
