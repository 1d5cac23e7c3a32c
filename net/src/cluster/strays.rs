//! Stray shards: copies on drives that their pack's entry does not name, as a move leaves one behind.
//!
//! It decides which may go; the collector orders it. Invariants: a copy goes only while the drive that the entry names proves that
//! it holds the shard, so the last good copy stays; a drive that a move is under way to is left alone, and none begins to one from which a copy is
//! being deleted.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use engine::drive::ShardKey;
use engine::log::Position;
use engine::pack::PackId;
use futures::StreamExt;
use scopes::StrayCopy;

use super::{Cluster, Inner, ListedPack};
use crate::drives::DriveFailure;
use crate::entry::{DriveId, PackEntry};

/// One copy of a shard: which and where.
pub(super) type Copy = (ShardKey, DriveId);

/// Copies that are proven at one time.
const AT_ONCE: usize = 8;

/// Copies that nobody else moves to or deletes until this is dropped.
pub(super) struct Reserved {
    inner: Arc<Inner>,
    copies: Vec<Copy>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut busy = self.inner.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for copy in &self.copies {
            busy.remove(copy);
        }
    }
}

impl Inner {
    /// Reserves all of these copies; none if somebody has one of them.
    pub(super) fn reserve(self: &Arc<Self>, copies: Vec<Copy>) -> Option<Reserved> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.iter().any(|copy| busy.contains(copy)) {
            return None;
        }
        busy.extend(copies.iter().copied());
        drop(busy);
        Some(Reserved {
            inner: Arc::clone(self),
            copies,
        })
    }

    /// Reserves those of these copies that nobody has.
    fn reserve_free(self: &Arc<Self>, copies: impl Iterator<Item = Copy>) -> Reserved {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let copies = copies.filter(|copy| busy.insert(*copy)).collect();
        drop(busy);
        Reserved {
            inner: Arc::clone(self),
            copies,
        }
    }
}

/// Stray shards of a page, held so that nothing moves to where they are.
pub struct HeldStrays {
    reserved: Reserved,
    /// Where each lay when it was listed.
    at: BTreeMap<Copy, Position>,
}

impl std::fmt::Debug for HeldStrays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HeldStrays({})", self.reserved.copies.len())
    }
}

impl HeldStrays {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.reserved.copies.is_empty()
    }
}

impl Cluster {
    /// Holds the copies of these packs that lie where their entries do not name them. What another gateway whose lease is live may be
    /// moving is left out; `own_lease` is the caller's.
    pub fn hold_strays(
        &self,
        packs: &[ListedPack],
        own_lease: u64,
        lookup: &(dyn Fn(&PackId) -> Option<PackEntry> + Sync),
    ) -> HeldStrays {
        let known = self.inner.known_leases();
        let mut found = BTreeMap::new();
        for pack in packs {
            let Some(entry) = lookup(&pack.id) else { continue };
            for (index, claims) in &pack.claims {
                let named = entry.drive(usize::from(*index));
                let settled = |lease: u64| !known.accepted.accepts(lease) || lease == own_lease;
                let strays = claims
                    .iter()
                    .filter(|copy| Some(copy.drive) != named && settled(copy.lease));
                let key = ShardKey {
                    pack: pack.id,
                    index: *index,
                };
                found.extend(strays.map(|copy| ((key, copy.drive), copy.at)));
            }
        }
        HeldStrays {
            reserved: self.inner.reserve_free(found.keys().copied()),
            at: found,
        }
    }

    /// Those of the held copies that may go: the entries, looked up again after they were held, name other
    /// drives for them, and these prove that they hold the shards. What is not proven is to be made again, and its copy stays.
    pub async fn settled_strays(
        &self,
        held: &HeldStrays,
        lookup: &(dyn Fn(&PackId) -> Option<PackEntry> + Sync),
    ) -> Vec<StrayCopy> {
        let copies = held.reserved.copies.iter().copied().map(|copy| async move {
            let (key, drive) = copy;
            let entry = lookup(&key.pack)?;
            self.inner.may_go(&entry, key, drive).await.then_some(copy)
        });
        let copies: Vec<_> = copies.collect();
        let settled = futures::stream::iter(copies).buffered(AT_ONCE);
        let settled = settled.filter_map(|copy| async move { copy });
        let named = settled.map(|(key, drive)| StrayCopy {
            pack: key.pack.0,
            index: key.index,
            drive,
            at: held.at.get(&(key, drive)).copied().unwrap_or_default().0,
        });
        named.collect().await
    }

    /// A number that grows when moves leave copies behind: the drives are worth looking through again.
    pub fn strays_left(&self) -> u64 {
        self.inner.strays_left.load(Ordering::Acquire)
    }
}

impl Inner {
    async fn may_go(self: &Arc<Self>, entry: &PackEntry, key: ShardKey, drive: DriveId) -> bool {
        let index = usize::from(key.index);
        if entry.drive(index) == Some(drive) {
            return false;
        }
        let geometry = &entry.summary.geometry;
        if index >= geometry.code.shards() || geometry.is_implied(index) {
            // No shard of this pack at all.
            return true;
        }
        let Some(place) = self.place_of(entry, index) else {
            return false;
        };
        match self.proves(&place, entry, index).await {
            Ok(true) => true,
            Ok(false) => {
                self.blame(entry, index);
                false
            }
            Err(failure) => {
                if failure == DriveFailure::Absent {
                    self.missing.add(entry, [index]);
                }
                false
            }
        }
    }
}
