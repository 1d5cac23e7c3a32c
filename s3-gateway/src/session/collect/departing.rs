//! Packs that no entry names any more, until each gateway is past that.
//!
//! A reader at another gateway may have found one in its view before that entry went. Invariant: a pack goes once every other gateway has said that
//! nothing which runs there relies on a state of the ledger in which it was named, and if it is unnamed and unpinned here then. With one gateway
//! nothing waits. What is named and removed again while it waits, waits from then on. What waits stays until an order for it was carried out, and is forgotten by a restart only, after which it is found on the drives again.

use super::super::{Inner, SessionError};
use super::GcReport;
use engine::pack::PackId;
use engine::slots::Sequence;
use scopes::PACKS_PER_ORDER_MAX;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// Most packs that wait.
const DEPARTING_MAX: usize = 65_536;
/// How long a collection that is to be complete waits for the other gateways.
const OTHERS_WAIT: Duration = Duration::from_secs(10);
/// How long for those that say nothing new, and how far they are only now and then.
const OTHERS_TELL_WAIT: Duration = Duration::from_secs(25);

impl Inner {
    fn departing(&self) -> MutexGuard<'_, BTreeMap<PackId, Sequence>> {
        self.departing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes packs that no entry names since `since`, and that none will, now or as soon as every gateway is past it.
    pub(super) async fn depart(
        self: &Arc<Self>,
        packs: &[PackId],
        since: Sequence,
        report: &mut GcReport,
    ) -> Result<(), SessionError> {
        // First of all, so that none is forgotten if it cannot be ordered now.
        self.let_wait(packs, since, report);
        match self.gateways.is_passed(since) {
            true => self.order_departed(packs, report).await,
            false => Ok(()),
        }
    }

    /// Has packs wait until every gateway is past `since`; what is named by then stays.
    pub(super) fn let_wait(&self, packs: &[PackId], since: Sequence, report: &mut GcReport) {
        let mut departing = self.departing();
        for pack in packs {
            if departing.len() < DEPARTING_MAX {
                // One that waits already was found on the drives again, which is no reason to wait longer.
                departing.entry(*pack).or_insert(since);
            } else {
                // The drives are looked through once more.
                report.incomplete = true;
                self.scanned.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A pack's entry was removed with the append of this sequence. If it waits already, as one that another gateway had under way does, it was
    /// named meanwhile, and somebody may have begun to read it.
    pub(in super::super) fn wait_longer(&self, slot: &[u8; 16], since: Sequence) {
        let mut departing = self.departing();
        if let Some((pack, waits)) = departing.range_mut(PackId::least_at(slot)..).next()
            && pack.slot() == *slot
        {
            *waits = (*waits).max(since);
        }
    }

    /// The same for all, where nobody knows which were removed.
    pub(in super::super) fn all_wait_longer(&self, since: Sequence) {
        for waits in self.departing().values_mut() {
            *waits = (*waits).max(since);
        }
    }

    /// Deletes those that every gateway is past.
    pub(super) async fn delete_departed(self: &Arc<Self>, report: &mut GcReport) -> Result<(), SessionError> {
        let oldest = { self.departing().values().min().copied() };
        if !oldest.is_some_and(|oldest| self.gateways.is_passed(oldest)) {
            return Ok(());
        }
        let horizon = self.gateways.lowest_horizon().unwrap_or(Sequence(u64::MAX));
        // What the others have named until they were so far, or until they ended, stands in the view then.
        self.see_ended_leases().await?;
        self.catch_up().await?;
        let pinned = self.pins.pinned();
        let mut dead = Vec::new();
        for pack in self.passed(horizon) {
            if self.index.pack(&pack)?.is_some() {
                self.departing().remove(&pack);
            } else if !pinned.contains(&pack) {
                dead.push(pack);
            }
        }
        self.order_departed(&dead, report).await
    }

    /// Orders their deletion; those that went are forgotten.
    async fn order_departed(&self, packs: &[PackId], report: &mut GcReport) -> Result<(), SessionError> {
        for some in packs.chunks(PACKS_PER_ORDER_MAX) {
            if self.order_delete(some, report).await? {
                let mut departing = self.departing();
                for pack in some {
                    departing.remove(pack);
                }
            }
        }
        Ok(())
    }

    fn passed(&self, horizon: Sequence) -> Vec<PackId> {
        let departing = self.departing();
        let passed = departing.iter().filter(|(_, since)| **since <= horizon);
        passed.map(|(pack, _)| *pack).collect()
    }

    /// What every gateway has to be past so that nothing waits; `None` if nothing does.
    pub(super) fn newest_departing(&self) -> Option<Sequence> {
        self.departing().values().max().copied()
    }

    /// Waits until the other gateways have seen everything that is here; for a collection that is to be complete.
    pub(super) async fn wait_for_others(&self, report: &mut GcReport) {
        if !self.wait_or_note(self.news(), OTHERS_WAIT, report).await {
            tracing::warn!("another gateway holds the collector back; see `cairn status`");
        }
    }

    /// The same for what waits here.
    pub(super) async fn wait_for_departing(&self, report: &mut GcReport) {
        if let Some(newest) = self.newest_departing() {
            self.wait_or_note(newest, OTHERS_TELL_WAIT, report).await;
        }
    }

    /// Waits until every gateway is past `sequence`, and notes it if one is not. Whether they are.
    async fn wait_or_note(&self, sequence: Sequence, patience: Duration, report: &mut GcReport) -> bool {
        // Once is enough.
        let patience = if report.held_back {
            Duration::ZERO
        } else {
            patience
        };
        let passed = self.gateways.wait_until_passed(sequence, patience).await;
        if !passed {
            (report.held_back, report.incomplete) = (true, true);
        }
        passed
    }
}
