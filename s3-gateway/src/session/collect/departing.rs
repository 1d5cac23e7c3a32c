//! Packs that no entry names any more, until each gateway is past that.
//!
//! A reader at another gateway may have found one in its view before that entry went. Invariant: a pack goes once every other gateway has said that
//! nothing which runs there relies on a state of the ledger in which it was named, and if it is unnamed and unpinned here then. With one gateway
//! nothing waits. What waits is forgotten by a restart, and found on the drives again.

use super::super::{Inner, SessionError};
use super::GcReport;
use engine::pack::PackId;
use engine::slots::Sequence;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// Most packs that wait.
const DEPARTING_MAX: usize = 65_536;
/// How long a collection that is to be complete waits for the other gateways.
const OTHERS_WAIT: Duration = Duration::from_secs(10);

impl Inner {
    fn departing(&self) -> MutexGuard<'_, BTreeMap<PackId, Sequence>> {
        self.departing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes packs that no entry names since `since`, now or as soon as every gateway is past it.
    pub(super) async fn depart(
        self: &Arc<Self>,
        packs: &[PackId],
        since: Sequence,
        report: &mut GcReport,
    ) -> Result<(), SessionError> {
        if self.gateways.is_passed(since) {
            return self.order_delete(packs, report).await;
        }
        let mut departing = self.departing();
        for pack in packs {
            if departing.len() < DEPARTING_MAX {
                departing.entry(*pack).or_insert(since);
            } else {
                // The drives are looked through once more.
                report.incomplete = true;
                self.scanned.store(0, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Deletes those that every gateway is past.
    pub(super) async fn delete_departed(self: &Arc<Self>, report: &mut GcReport) -> Result<(), SessionError> {
        let oldest = { self.departing().values().min().copied() };
        if !oldest.is_some_and(|oldest| self.gateways.is_passed(oldest)) {
            return Ok(());
        }
        let horizon = self.gateways.lowest_horizon().unwrap_or(Sequence(u64::MAX));
        let pinned = self.pins.pinned();
        let mut dead = Vec::new();
        for pack in self.passed(horizon) {
            if self.index.pack(&pack)?.is_none() && !pinned.contains(&pack) {
                dead.push(pack);
            } else {
                // One that is read here is found on the drives later.
                self.scanned.store(0, Ordering::Relaxed);
            }
        }
        self.order_delete(&dead, report).await
    }

    fn passed(&self, horizon: Sequence) -> Vec<PackId> {
        let mut departing = self.departing();
        let all = std::mem::take(&mut *departing);
        let (passed, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, since)| *since <= horizon);
        departing.extend(left);
        passed.into_iter().map(|(pack, _)| pack).collect()
    }

    /// Waits until the other gateways have seen everything that is here; for a collection that is to be complete.
    pub(super) async fn wait_for_others(&self, report: &mut GcReport) {
        // Once is enough.
        let patience = if report.held_back {
            Duration::ZERO
        } else {
            OTHERS_WAIT
        };
        if !self.gateways.wait_until_passed(self.news(), patience).await {
            tracing::warn!("another gateway holds the collector back; see `cairn status`");
            (report.held_back, report.incomplete) = (true, true);
        }
    }
}
