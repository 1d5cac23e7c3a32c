//! What goes from the drives, and the orders for it.
//!
//! Invariants: a pack goes only if no entry names it, nobody has pinned it and its lease has ended or is this gateway's, or its gateway has said
//! since that it is past that, and once no gateway relies on an older state of the ledger (`departing`); a copy of a shard only
//! while the drive that the entry names proves that it has the shard, and once every gateway is past the append that named it.

use super::super::{Inner, SessionError, decode_pack};
use super::{GcReport, RETIRE_MAX};
use engine::pack::PackId;
use engine::slots::Sequence;
use net::DriveId;
use net::cluster::ListedPack;
use scopes::{DeleteOrder, PACKS_PER_ORDER_MAX, Signed, StrayCopy};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Packs of whose leases are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// This gateway's, and those of gateways that are no more.
    Own,
    /// Those of the other gateways too.
    All,
}

impl Inner {
    /// Deletes packs that stand on the drives and that no entry names: what a crash or a refused write left behind; and copies of shards on
    /// drives that their packs' entries do not name: what moves left behind.
    pub(super) async fn delete_unnamed(
        self: &Arc<Self>,
        whose: Whose,
        report: &mut GcReport,
    ) -> Result<(), SessionError> {
        let mut after = None;
        loop {
            // The order matters: what is listed, not pinned and not named by an entry applied after the listing is dead, for a
            // pack is pinned from before its first shard until its entry is applied.
            let page = self.cluster.listed_packs(self.vault.0, after, RETIRE_MAX).await;
            if page.incomplete {
                // Those that do not answer though they are there are noticed as away soon, or answer the next time.
                self.unreached().extend(self.cluster.absent_drives());
            }
            let early = self.moved_lately(&page.packs)?;
            let entry = |id: &PackId| {
                let row = self.index.pack(id).ok()?.filter(|_| !early.contains(id))?;
                decode_pack(&row.entry).ok()
            };
            let strays = self.cluster.hold_strays(&page.packs, self.lease, &entry);
            // Before the view catches up: what an ended lease has named stands in it then.
            let leases = self.see_ended_leases().await?;
            self.catch_up().await?;
            // After it: what another gateway has retired may be held here since a moment ago, and is not found by anybody from now on.
            let (pinned, held) = (self.pins.pinned(), self.pins.held());
            let over = |lease: u64| lease == self.lease || leases.has_ended(lease);
            let (mut dead, mut of_others, mut read_here) = (Vec::new(), Vec::new(), Vec::new());
            for pack in page.packs {
                if self.index.pack(&pack.id)?.is_some() {
                    continue;
                }
                let mut claims = pack.claims.values().flatten();
                match claims.all(|claimed| over(claimed.lease)) {
                    _ if held.contains(&pack.id) => read_here.push(pack.id),
                    _ if pinned.contains(&pack.id) => {}
                    true => dead.push(pack.id),
                    false => of_others.push(pack.id),
                }
            }
            self.let_wait(&read_here, self.news(), report);
            self.depart(&dead, self.news(), report).await?;
            if whose == Whose::All {
                // It may be pinned there, from before this: by who is past it strictly it was named, or never is.
                let since = Sequence(self.applied().0.saturating_add(1));
                self.let_wait(&of_others, since, report);
            }
            let settled = self.cluster.settled_strays(&strays, &entry).await;
            self.order_strays(&settled, report).await?;
            drop(strays);
            if !early.is_empty() {
                self.scanned.store(0, Ordering::Relaxed);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Those that lie where their entries name them no more since a moment ago: a read or a challenge at another gateway may rely on the
    /// entry from before.
    fn moved_lately(&self, packs: &[ListedPack]) -> Result<HashSet<PackId>, SessionError> {
        let mut early = HashSet::new();
        let Some(horizon) = self.gateways.lowest_horizon() else {
            return Ok(early);
        };
        for pack in packs {
            let Some(row) = self.index.pack(&pack.id)?.filter(|row| row.sequence > horizon) else {
                continue;
            };
            let entry = decode_pack(&row.entry)?;
            let mut copies = pack.claims.iter();
            if copies.any(|(index, held)| {
                let named = entry.drive(usize::from(*index));
                held.iter().any(|claimed| Some(claimed.drive) != named)
            }) {
                early.insert(pack.id);
            }
        }
        Ok(early)
    }

    /// Orders the deletion of some packs, no more than fit an order. Whether that is done with.
    pub(super) async fn order_delete(
        &self,
        packs: &[PackId],
        report: &mut GcReport,
    ) -> Result<bool, SessionError> {
        let ids = packs.iter().map(|id| id.0).collect();
        let done = self.order(ids, &[], report).await?;
        if done {
            report.packs_deleted += packs.len() as u64;
        }
        Ok(done)
    }

    /// Deletes single copies, each named by pack, index and drive.
    async fn order_strays(&self, strays: &[StrayCopy], report: &mut GcReport) -> Result<(), SessionError> {
        for some in strays.chunks(PACKS_PER_ORDER_MAX) {
            if !self.order(Vec::new(), some, report).await? {
                self.scanned.store(0, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether it is done with: carried out everywhere but on drives that are away, which are looked through when they are back.
    async fn order(
        &self,
        packs: Vec<[u8; 32]>,
        strays: &[StrayCopy],
        report: &mut GcReport,
    ) -> Result<bool, SessionError> {
        let number = self.next_order.fetch_add(1, Ordering::Relaxed);
        let order = DeleteOrder::new(self.vault, self.collector.public_key(), packs, number);
        let order =
            Signed::sign(order.with_strays(strays), &self.collector).map_err(|_| SessionError::Internal {
                what: "a delete order that does not sign",
            })?;
        let mut absent = self.cluster.absent_drives();
        let deleted = self.cluster.delete_packs(&order).await;
        let deleted = deleted.map_err(|_| SessionError::Internal {
            what: "a delete order was refused",
        })?;
        absent.append(&mut self.cluster.absent_drives());
        report.incomplete |= deleted.failed > 0 || deleted.away > 0;
        let done = deleted.failed == 0;
        self.unreached().append(&mut absent);
        Ok(done)
    }

    /// Drives that were away when something was to be deleted from them.
    pub(super) fn unreached(&self) -> MutexGuard<'_, BTreeSet<DriveId>> {
        self.unreached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
