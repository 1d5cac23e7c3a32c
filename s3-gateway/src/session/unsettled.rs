//! Appends of which nobody heard whether they were applied: the ledger was away, and a call may yet be carried out.
//!
//! The client was told that it is not known. What such an append names is held here until the ledger has settled it: applied by then, or withdrawn
//! for good. Else the collector could delete packs that the ledger names later, and a checkpoint could pass over their claims.
//! Invariants: nothing is submitted again, so nothing comes over what a client wrote since; what is not settled is held as long as the session
//! lives, also while it closes, for its lease ends later; at most [`UNSETTLED_MAX`] are held, and whoever would write beyond that is refused before
//! anything is submitted.

use super::claims::ClaimGuard;
use super::pins::Pin;
use super::{Inner, SessionError};
use engine::slots::Sequence;
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
    /// In the order in which they were given up.
    held: Vec<Held>,
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
        match self.state().held.len() < UNSETTLED_MAX {
            true => Ok(()),
            false => Err(SessionError::LedgerAway),
        }
    }

    /// How many wait; with none the settling ends.
    fn waiting(&self) -> usize {
        let mut state = self.state();
        state.is_running = !state.held.is_empty();
        state.held.len()
    }

    /// Takes the first so many, which are settled.
    fn take(&self, settled: usize) -> Vec<Held> {
        self.state().held.drain(..settled).collect()
    }
}

impl Inner {
    /// Holds the packs and the claims of an append that was not answered until it is settled. Its caller holds them still.
    pub(crate) fn hold_until_settled(self: &Arc<Self>, pins: &[Pin]) {
        let held = Held {
            pins: pins.to_vec(),
            _claims: ClaimGuard::unsettled(self),
        };
        let mut state = self.unsettled.state();
        state.held.push(held);
        if !std::mem::replace(&mut state.is_running, true) {
            tokio::spawn(settle(Arc::downgrade(self), self.stop.subscribe()));
        }
    }
}

/// Has everything settled that is held, one after another; ends with the session, and leaves what is not settled then where it is.
async fn settle(weak: Weak<Inner>, mut stop: tokio::sync::watch::Receiver<bool>) {
    while let Some(inner) = weak.upgrade() {
        let waiting = inner.unsettled.waiting();
        if waiting == 0 {
            return;
        }
        let settled = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            settled = inner.ledger.settle() => settled,
        };
        let settled = match settled {
            Ok(through) => inner.let_settled_go(waiting, through).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = settled {
            tracing::debug!(%error, appends = waiting, "it is not known yet what became of appends");
            drop(inner);
            tokio::time::sleep(REST).await;
        }
    }
}

impl Inner {
    /// Lets go of the first so many, which are applied by `through` or never.
    async fn let_settled_go(self: &Arc<Self>, settled: usize, through: Sequence) -> Result<(), SessionError> {
        self.apply_through(through).await?;
        // A retirement among them has left packs on the drives that nobody else looks for.
        self.scanned.store(0, Ordering::Relaxed);
        let held = self.unsettled.take(settled);
        for pin in held.iter().flat_map(|held| &held.pins) {
            if matches!(self.index.pack(&pin.entry().summary.id), Ok(Some(_))) {
                pin.named();
            }
        }
        tracing::info!(
            appends = settled,
            "the ledger has settled appends that were not answered"
        );
        Ok(())
    }
}
