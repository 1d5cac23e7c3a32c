//! Appends gathered into calls to whoever leads.
//!
//! It decides nothing and tries nothing again by itself. Invariants: whoever waits is told the outcome of the very call that carried its append; a refusal
//! is told only when no earlier call with it may yet be carried out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use engine::slots::{Append, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::super::LedgerError;
use super::super::wire::{APPENDS_MAX, AppendReply, LedgerCall, LedgerReply};
use super::fence::Expected;
use super::{Inner, PATIENCE};

/// Bytes of appends in one call.
const CALL_BYTES_MAX: usize = 1 << 20;
/// Calls with appends that may be under way: what comes meanwhile makes the next.
pub(super) const CALLS_MAX: usize = 1;
/// From the beginning of a call with several appends to the next one: who writes alone waits for nobody, and what many write makes few
/// entries, each of which every member flushes.
pub(super) const CALLS_EVERY: Duration = Duration::from_millis(20);

/// Whether an append is sent while something of its lease is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is not, and goes back to whoever submitted it.
    Waits,
    /// It is: it ends the doubt.
    Goes,
}

/// An append that waits for its call.
pub(super) struct Waiting {
    pub(super) append: Append,
    pub(super) urgent: bool,
    pub(super) order: Order,
    /// Takes the append back with what became of it; with nothing if it was not sent.
    pub(super) reply: oneshot::Sender<Result<(Append, Option<AppendReply>), LedgerError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Waiting {
    /// The append, if it may be sent; otherwise it has gone back.
    fn unless_in_doubt(self, inner: &Inner) -> Option<Self> {
        let is_in_doubt = inner.fence.expected(self.append.lease) == Expected::InDoubt;
        if self.order == Order::Waits && is_in_doubt {
            // Whoever no longer waits is no error.
            let _ = self.reply.send(Ok((self.append, None)));
            return None;
        }
        Some(self)
    }
}

/// Gathers appends into calls, a few of them under way at one time.
pub(super) async fn send(weak: Weak<Inner>, mut waiting: mpsc::Receiver<Waiting>) {
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    let mut kept: Option<Waiting> = None;
    loop {
        let first = match kept.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let Ok(turn) = Arc::clone(&calls).acquire_owned().await else {
            return;
        };
        let Some(inner) = weak.upgrade() else { return };
        let Some(first) = first.unless_in_doubt(&inner) else {
            continue;
        };
        let urgent = first.urgent;
        let mut bytes = first.append.encoded_bytes_at_most();
        let mut batch = vec![first];
        while batch.len() < APPENDS_MAX
            && let Ok(next) = waiting.try_recv()
        {
            let Some(next) = next.unless_in_doubt(&inner) else {
                continue;
            };
            bytes += next.append.encoded_bytes_at_most();
            if next.urgent != urgent || bytes > CALL_BYTES_MAX {
                kept = Some(next);
                break;
            }
            batch.push(next);
        }
        tokio::spawn(async move {
            let (began, are_several) = (Instant::now(), batch.len() > 1);
            carry(&inner, urgent, batch).await;
            drop(inner);
            if are_several {
                tokio::time::sleep_until(began + CALLS_EVERY).await;
            }
            drop(turn);
        });
    }
}

async fn carry(inner: &Arc<Inner>, urgent: bool, batch: Vec<Waiting>) {
    let appends = batch.iter().map(|waiting| waiting.append.clone()).collect();
    let call = LedgerCall::Append { urgent, appends };
    match inner.ask_counted(&call, PATIENCE).await {
        Ok((LedgerReply::Outcomes(outcomes), _, is_open)) if outcomes.len() == batch.len() => {
            if is_open {
                // Also what was applied: the ledger knows a repetition only so long.
                batch
                    .iter()
                    .for_each(|waiting| inner.fence.doubt(waiting.append.lease));
            }
            for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                // One that is refused now may be applied when an earlier call arrives.
                let is_refused = matches!(
                    &outcome,
                    AppendReply::Full | AppendReply::Decided(Outcome::Conflict { .. })
                );
                let known = (!is_open || !is_refused)
                    .then_some(outcome)
                    .ok_or(LedgerError::Unreachable);
                let known = known.map(|outcome| (waiting.append, Some(outcome)));
                // Whoever no longer waits is no error.
                let _ = waiting.reply.send(known);
            }
        }
        other => {
            let error = other.err().unwrap_or(LedgerError::Unreachable);
            for waiting in batch {
                inner.fence.doubt(waiting.append.lease);
                let _ = waiting.reply.send(Err(error.clone()));
            }
        }
    }
}
