//! Appends of which nobody heard whether they were applied: the ledger was away, and a call may yet be carried out.
//!
//! The client was told that it is not known. What such an append names is held here until the ledger has settled it: applied by then, or withdrawn
//! for good. Else the collector could delete packs that the ledger names later, and a checkpoint could pass over their claims.
//! Invariants: nothing is submitted again, so nothing comes over what a client wrote since; at most [`UNSETTLED_MAX`] are held, and
//! whoever would write beyond that is refused before anything is submitted.

use super::claims::ClaimGuard;
use super::pins::Pin;
use super::{Inner, SessionError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How many appends may be held. Those that write at one time are fewer, and while the ledger is away few are begun.
const UNSETTLED_MAX: usize = 1_024;

/// How long between two tries.
const REST: Duration = Duration::from_secs(1);

/// What an append relies on.
struct Held {
    pins: Vec<Pin>,
    _claims: ClaimGuard,
}

#[derive(Default)]
struct State {
    waiting: Vec<Held>,
    /// How many are being settled now.
    settling: usize,
    is_running: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Unsettled(Mutex<State>);

impl Unsettled {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// [`SessionError::LedgerAway`] while too many wait.
    pub(crate) fn check(&self) -> Result<(), SessionError> {
        let state = self.state();
        match state.waiting.len() + state.settling < UNSETTLED_MAX {
            true => Ok(()),
            false => Err(SessionError::LedgerAway),
        }
    }

    /// Takes all that wait; `None` ends the settling.
    fn next(&self) -> Option<Vec<Held>> {
        let mut state = self.state();
        let next = std::mem::take(&mut state.waiting);
        state.settling = next.len();
        state.is_running = !next.is_empty();
        state.is_running.then_some(next)
    }
}

impl Inner {
    /// Holds the packs and the claims of an append that was not answered until it is settled. Its caller holds them still.
    pub(crate) fn hold_until_settled(self: &Arc<Self>, pins: &[Pin]) {
        let held = Held {
            pins: pins.to_vec(),
            _claims: ClaimGuard::of_all(self),
        };
        let mut state = self.unsettled.state();
        state.waiting.push(held);
        if !std::mem::replace(&mut state.is_running, true) {
            let (weak, mut stop) = (Arc::downgrade(self), self.stop.subscribe());
            tokio::spawn(async move {
                tokio::select! {
                    // With this process its lease ends, and nothing is applied under it any more.
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = settle_all(weak) => {}
                }
            });
        }
    }

    /// Whether the ledger has said what became of everything submitted before this call, and the view shows it.
    async fn settle_appends(self: &Arc<Self>) -> Result<(), SessionError> {
        let through = self.ledger.settle().await?;
        self.apply_through(through).await?;
        // A retirement among them has left packs on the drives that nobody else looks for.
        self.scanned.store(0, Ordering::Relaxed);
        Ok(())
    }
}

async fn settle_all(weak: Weak<Inner>) {
    while let Some(inner) = weak.upgrade() {
        let Some(held) = inner.unsettled.next() else {
            return;
        };
        loop {
            match inner.settle_appends().await {
                Ok(()) => break,
                // Another has the lease's place, or the process ends: nothing here deletes anything any more.
                Err(SessionError::Fenced) => return,
                Err(error) => {
                    tracing::debug!(%error, appends = held.len(), "it is not known yet what became of appends");
                }
            }
            tokio::time::sleep(REST).await;
        }
        for pin in held.iter().flat_map(|held| &held.pins) {
            if matches!(inner.index.pack(&pin.entry().summary.id), Ok(Some(_))) {
                pin.named();
            }
        }
        tracing::info!(
            appends = held.len(),
            "the ledger has settled appends that were not answered"
        );
    }
}
