//! What goes from the drives, and the orders for it.
//!
//! Invariants: a pack goes only if no entry names it, nobody has pinned it and its lease has ended or is this gateway's, and once no gateway relies
//! on an older state of the ledger (`departing`); a copy of a shard only
//! while the drive that the entry names proves that it has the shard, and once every gateway is past the append that named it.

use super::super::{Inner, SessionError, decode_pack};
use super::{GcReport, RETIRE_MAX};
use engine::pack::PackId;
use net::cluster::ListedPack;
use scopes::{DeleteOrder, PACKS_PER_ORDER_MAX, Signed, StrayCopy};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// Deletes packs that stand on the drives and that no entry names: what a crash or a refused write left behind; and copies of shards on
    /// drives that their packs' entries do not name: what moves left behind.
    pub(super) async fn delete_unnamed(self: &Arc<Self>, report: &mut GcReport) -> Result<(), SessionError> {
        let mut after = None;
        loop {
            // The order matters: what is listed, not pinned and not named by an entry applied after the listing is dead, for a
            // pack is pinned from before its first shard until its entry is applied.
            let page = self.cluster.listed_packs(self.vault.0, after, RETIRE_MAX).await;
            let pinned = self.pins.pinned();
            let early = self.moved_lately(&page.packs)?;
            let entry = |id: &PackId| {
                let row = self.index.pack(id).ok()?.filter(|_| !early.contains(id))?;
                decode_pack(&row.entry).ok()
            };
            let strays = self.cluster.hold_strays(&page.packs, self.lease, &entry);
            // Before the view catches up: what an ended lease has named stands in it then.
            let leases = self.ledger.leases();
            self.catch_up().await?;
            let over = |lease: u64| lease == self.lease || leases.has_ended(lease);
            let mut dead = Vec::new();
            for pack in page.packs {
                let mut claims = pack.claims.values().flatten();
                let own = claims.all(|claimed| over(claimed.lease));
                if own && !pinned.contains(&pack.id) && self.index.pack(&pack.id)?.is_none() {
                    dead.push(pack.id);
                }
            }
            self.depart(&dead, self.news(), report).await?;
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

    pub(super) async fn order_delete(
        &self,
        packs: &[PackId],
        report: &mut GcReport,
    ) -> Result<(), SessionError> {
        for some in packs.chunks(PACKS_PER_ORDER_MAX) {
            let ids = some.iter().map(|id| id.0).collect();
            self.order(ids, &[], report).await?;
            report.packs_deleted += some.len() as u64;
        }
        Ok(())
    }

    /// Deletes single copies, each named by pack, index and drive.
    async fn order_strays(&self, strays: &[StrayCopy], report: &mut GcReport) -> Result<(), SessionError> {
        for some in strays.chunks(PACKS_PER_ORDER_MAX) {
            self.order(Vec::new(), some, report).await?;
        }
        Ok(())
    }

    async fn order(
        &self,
        packs: Vec<[u8; 32]>,
        strays: &[StrayCopy],
        report: &mut GcReport,
    ) -> Result<(), SessionError> {
        let number = self.next_order.fetch_add(1, Ordering::Relaxed);
        let order = DeleteOrder::new(self.vault, self.collector.public_key(), packs, number);
        let order =
            Signed::sign(order.with_strays(strays), &self.collector).map_err(|_| SessionError::Internal {
                what: "a delete order that does not sign",
            })?;
        let deleted = self.cluster.delete_packs(&order).await;
        let deleted = deleted.map_err(|_| SessionError::Internal {
            what: "a delete order was refused",
        })?;
        report.incomplete |= deleted.failed > 0;
        Ok(())
    }
}
