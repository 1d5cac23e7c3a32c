//! Healing: making known missing shards again in the background, when their drives are there.
//!
//! It works through the list of [`super::missing`] and nothing else; `repair` is what looks at every pack. Invariant:
//! one pack at a time, never one that was deleted meanwhile; one that cannot be healed rests before it is tried again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::pack::PackId;

use super::Inner;
use super::put::key;
use super::read::ReadError;
use crate::drives::DriveFailure;
use crate::entry::PackEntry;
use crate::peer::Purpose;

/// Packs looked at in one round.
const ROUND_PACKS_MAX: usize = 256;

impl Inner {
    /// Looks at the next packs of the list, with `due` at those only that do not rest, and rebuilds what can be rebuilt.
    /// Returns where the next round starts.
    pub(super) async fn heal_round(self: &Arc<Self>, after: Option<PackId>, due: bool) -> Option<PackId> {
        if self.own.changes.take_back() {
            self.missing.wake();
        }
        let page = self.missing.page(after, ROUND_PACKS_MAX, due);
        let full = page.len() == ROUND_PACKS_MAX;
        let last = page.last().map(|(entry, _)| entry.id());
        for (entry, indexes) in page {
            if due && self.repairs.load(Ordering::Acquire) > 0 {
                return None;
            }
            let can_heal = indexes.iter().any(|index| {
                let place = self.place_of(&entry, *index);
                place.is_some_and(|place| place.writable())
            });
            if can_heal {
                let pack = entry.id();
                self.heal_pack(entry).await;
                self.missing.rest(pack);
            }
        }
        last.filter(|_| full)
    }

    /// Counts shards that went from drives that are there and say so themselves: one that does not answer may have them.
    async fn name_losers(&self, entry: &PackEntry, gone: &[usize]) {
        for index in gone {
            let place = self.place_of(entry, *index).filter(|place| place.is_present());
            let Some(place) = place.filter(|_| self.missing.take_lost(entry.id(), *index)) else {
                continue;
            };
            if let Ok([false]) = place.has(&[key(entry, *index)]).await.as_deref() {
                tracing::error!(drive = place.number(), pack = %entry.id(), index, "a drive has a shard no more that it had");
                place.conduct().note_absent();
            }
        }
    }

    async fn heal_pack(self: &Arc<Self>, entry: PackEntry) {
        let _gate = self.rebuild_gate.read().await;
        // Under the gate: what a delete order removed is no longer on the list.
        let indexes = self.missing.of(entry.id());
        let entry = Arc::new(entry);
        let absent = self.absent(&entry).await;
        let (mut gone, there): (Vec<_>, Vec<_>) =
            indexes.into_iter().partition(|index| absent.contains(index));
        self.name_losers(&entry, &gone).await;
        for index in there {
            // It may be there because a late put landed, or because a read failed on it: only the hash tells.
            match self.read_verified(&entry, index, Purpose::Repair.into()).await {
                Ok(_) => self.missing.found(entry.id(), index),
                Err(DriveFailure::Damaged) => gone.push(index),
                Err(DriveFailure::Absent) => {
                    self.unmask(&entry, index);
                    gone.push(index);
                }
                // Nothing is known about it; it stays on the list.
                Err(_) => {}
            }
        }
        if gone.is_empty() {
            return;
        }
        match self.rebuild(&entry, &gone).await {
            Ok(_) => {}
            Err(ReadError::NotEnoughShards { have, need }) => {
                tracing::debug!(have, need, "a pack waits for more shards before it can be healed");
            }
            Err(error) => tracing::error!(%error, "a pack could not be healed"),
        }
    }
}
