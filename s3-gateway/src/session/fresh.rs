//! What a request has to have seen before it is answered: everything that was answered to anybody.
//!
//! It asks no other gateway and ends no lease. Invariant: a lease that is noted as over has nothing behind it that the view does not show; only
//! a gateway that has noted all others so answers without asking the ledger.

use super::{Inner, SessionError};
use engine::slots::{Leases, Sequence, lease_address};
use net::ledger::lease;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Leases whose ends are looked up one by one; a ledger that was made anew may pass over any number.
const SINGLY_MAX: u64 = 1_024;

/// The leases whose ends the view is not known to be past: at a start any that there ever was.
#[derive(Debug, Default)]
pub(crate) struct Others {
    /// Those above this number were granted since.
    highest: u64,
    /// Those up to it that lived when it was looked last.
    live: BTreeSet<u64>,
}

impl Others {
    /// As of `leases`, to a gateway that holds `own` and whose view is past those that have ended.
    fn of(leases: &Leases, own: u64) -> Self {
        let live = leases.live().keys().copied().filter(|lease| *lease != own);
        Self {
            highest: leases.highest(),
            live: live.collect(),
        }
    }

    /// The leases that have ended since; `None` of more than are worth asking for one by one.
    fn ended(&self, leases: &Leases, own: u64) -> Option<Vec<u64>> {
        if leases.highest().saturating_sub(self.highest) > SINGLY_MAX {
            return None;
        }
        let granted = self.highest.saturating_add(1)..=leases.highest();
        let since = self.live.iter().copied().chain(granted);
        let ended = since.filter(|lease| *lease != own && leases.has_ended(*lease));
        Some(ended.collect())
    }
}

impl Inner {
    /// Brings the view up to everything that was answered to anybody, if somebody else than this gateway may have written.
    pub(crate) async fn freshen(self: &Arc<Self>) -> Result<(), SessionError> {
        if self.ledger.must_ask() {
            return self.catch_up().await;
        }
        // Nobody else writes now; others may have since the view was read last, each under a lease above those that are known to be over.
        if self.alone_at.load(Ordering::Acquire) == self.ledger.highest_lease() {
            return Ok(());
        }
        self.see_ended_leases().await.map(drop)
    }

    /// The leases, with the view past everything that was written under those of them that have ended.
    pub(crate) async fn see_ended_leases(self: &Arc<Self>) -> Result<Leases, SessionError> {
        let leases = self.ledger.leases();
        let ended = self.others().ended(&leases, self.lease);
        let mut through = Sequence(0);
        if ended.as_ref().is_none_or(|ended| !ended.is_empty()) {
            // What they had under way is nobody's now.
            self.scanned.store(0, Ordering::Relaxed);
        }
        match &ended {
            Some(ended) => {
                for lease in ended {
                    if let Some(entry) = self.ledger.get(lease_address(*lease)).await? {
                        through = through.max(entry.sequence);
                    }
                }
            }
            // All that the ledger knows of.
            None => through = self.ledger.snapshot().await?.sequence(),
        }
        lease::shown(&*self.ledger, through).await?;
        self.apply_through(through).await?;
        let seen = Others::of(&leases, self.lease);
        let alone = seen.live.is_empty();
        let mut others = self.others();
        // Somebody else may have looked meanwhile, and seen more.
        if others.highest <= seen.highest {
            *others = seen;
            if alone {
                self.alone_at.store(leases.highest(), Ordering::Release);
            }
        }
        drop(others);
        Ok(leases)
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
