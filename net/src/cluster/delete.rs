//! Deleting packs on a collector's signed order, and giving the space back.
//!
//! It decides nothing about what is garbage; the collector does. Invariants: a shard goes only on an order signed by the
//! key that the vault's owner named, of a number above every earlier one, and only if the shard's own header names that
//! vault; no rebuild puts a deleted shard back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use engine::drive::ShardKey;
use engine::pack::{PackId, PackSummary};
use engine::placement::DriveWeight;
use scopes::{CollectorDelegation, DeleteOrder, Signed};

use super::drive::{DriveFailure, LocalDrive};
use super::flusher::Job;
use super::put::delete_shard;
use super::{Cluster, Collectors, Inner};
use crate::entry::{DriveId, PackEntry};

/// Most shards that a pack may have; what an index may be.
const SHARDS_MAX: u8 = 64;
/// Bytes that one compaction step of a drive copies, so that puts are not held up.
const STEP_BYTES: u64 = 16 << 20;

/// Why a delete order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The order's signer is not the collector that the vault's owner named.
    #[error("the order is not signed by the vault's collector")]
    NotTheCollector,
    /// The order's number is not above the highest seen.
    #[error("order {got} comes after order {seen}")]
    Replayed {
        /// The order's number.
        got: u64,
        /// The highest number carried out.
        seen: u64,
    },
}

/// What a delete order did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Shards deleted.
    pub shards: u64,
    /// Shards of other vaults, left alone.
    pub refused: u64,
    /// Shards whose drive failed meanwhile. They are garbage there.
    pub failed: u64,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Bytes of live shards copied.
    pub copied_bytes: u64,
    /// Bytes given back.
    pub freed_bytes: u64,
}

/// A pack as the drives know it, without the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPack {
    /// Id, geometry and hashes.
    pub summary: PackSummary,
    /// The vault.
    pub vault: [u8; 16],
    /// The scope.
    pub scope: [u8; 16],
    /// The highest lease under which one of its shards was written.
    pub lease: u64,
    /// The drives on which shards were found, by index.
    pub found: BTreeMap<u8, DriveId>,
}

impl StoredPack {
    /// Whether as many of its shards were found as it takes to read it, implied ones counted.
    pub fn is_readable(&self) -> bool {
        let geometry = &self.summary.geometry;
        let implied = (0..geometry.code.shards()).filter(|index| geometry.is_implied(*index));
        self.found.len() + implied.count() >= geometry.code.data()
    }
}

/// A page of the packs that lie on the drives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredPage {
    /// The packs of which a header could be read.
    pub packs: Vec<StoredPack>,
    /// Where the next page begins; none at the end.
    pub next: Option<PackId>,
}

impl Cluster {
    /// Accepts delete orders of a vault from the collector that its owner named. The caller checked the delegation's
    /// signature against the owner's key.
    pub fn trust_collector(&self, delegation: &Signed<CollectorDelegation>) {
        let delegation = delegation.statement();
        let mut collectors = self.inner.collectors();
        let seen = collectors
            .get(&delegation.vault.0)
            .filter(|(key, _)| *key == delegation.collector)
            .and_then(|(_, seen)| *seen);
        collectors.insert(delegation.vault.0, (delegation.collector, seen));
    }

    /// Deletes every shard of the packs that a collector's order names, on every drive that is there.
    pub async fn delete_packs(&self, order: &Signed<DeleteOrder>) -> Result<DeleteReport, DeleteError> {
        self.inner.admit(order)?;
        let vault = order.statement().vault.0;
        // Alone: a rebuild that is under way ends first, and none starts before the shards are gone.
        let _gate = self.inner.rebuild_gate.write().await;
        let packs: Vec<PackId> = order.statement().pack_ids().map(PackId).collect();
        let inner = Arc::clone(&self.inner);
        let found = tokio::task::spawn_blocking(move || inner.deletable(&packs, vault)).await;
        let Ok(found) = found else {
            return Ok(DeleteReport {
                failed: 1,
                ..DeleteReport::default()
            });
        };
        let mut report = found.report;
        for pack in found.gone {
            self.inner.missing.forget(pack);
        }
        // All of the order's shards together: a few flushes for each drive, not one for each pack.
        let deletes = found.shards.iter().filter_map(|(number, key)| {
            let place = self.inner.drives.get(*number)?;
            Some(delete_shard(place, *key))
        });
        for result in futures::future::join_all(deletes).await {
            match result {
                Ok(()) => report.shards += 1,
                Err(_) => report.failed += 1,
            }
        }
        Ok(report)
    }

    /// Refuses puts under leases below `lowest` on every drive from now on.
    pub async fn end_leases_below(&self, lowest: u64) {
        self.inner.lowest_lease.fetch_max(lowest, Ordering::Relaxed);
        let ending = self
            .inner
            .drives
            .iter()
            .map(|place| place.ask(0, move |drive, reply| Job::EndLeases { drive, lowest, reply }));
        // A drive that is lost hears of it when it is opened again.
        futures::future::join_all(ending).await;
    }

    /// Compacts drives' segments of which at least the part `min_garbage` (0 to 1) is garbage, drive by drive, until
    /// nothing more is to be gained or about `budget_bytes` were copied.
    pub async fn compact(&self, min_garbage: f64, budget_bytes: u64) -> CompactReport {
        let mut report = CompactReport::default();
        for place in &self.inner.drives {
            let mut more = true;
            while more && report.copied_bytes < budget_bytes {
                match compact_step(place, min_garbage).await {
                    Ok((step, more_left, damaged)) => {
                        if damaged {
                            // Shards went of packs that only the ledger can name.
                            self.inner.census.notify_one();
                        }
                        report.copied_bytes += step.copied_bytes;
                        report.freed_bytes += step.freed_bytes;
                        more = more_left && step != CompactReport::default();
                    }
                    Err(_) => more = false,
                }
            }
        }
        report
    }

    /// Gives back the preallocated space of every drive.
    pub async fn trim(&self) {
        let trims = self
            .inner
            .drives
            .iter()
            .map(|place| place.ask(0, |drive, reply| Job::Trim { drive, reply }));
        futures::future::join_all(trims).await;
    }

    /// Up to about `max` packs that lie on the drives, in order of id after `after`: what the collector compares with the
    /// ledger, and what a rebuild starts from. Reads one header of each pack.
    pub async fn stored_packs(&self, after: Option<PackId>, max: usize) -> StoredPage {
        let inner = Arc::clone(&self.inner);
        let listing = tokio::task::spawn_blocking(move || inner.stored_page(after, max)).await;
        // A listing that panicked ends here as if the drives held nothing more; it says so in the log.
        listing.unwrap_or_else(|error| {
            tracing::error!(%error, "listing the packs of the drives failed");
            StoredPage::default()
        })
    }

    /// The highest lease that any drive has seen, in a shard or as the lowest that it accepts: a new ledger's leases
    /// begin above it.
    pub fn highest_lease(&self) -> u64 {
        let present = self.inner.drives.iter().filter_map(|place| place.present());
        let highest = present.map(|drive| {
            let leases = drive.keys().filter_map(|key| Some(drive.info(&key)?.lease));
            leases.fold(drive.lowest_lease(), u64::max)
        });
        highest.max().unwrap_or(0)
    }

    /// A ledger entry for a pack that only the drives know: shards where they were found, the others on the drives left
    /// over. `None` if the layout has too few drives.
    pub fn entry_of(&self, stored: &StoredPack) -> Option<PackEntry> {
        let code = stored.summary.geometry.code;
        let mut free = self.inner.drives.iter().map(|drive| drive.id);
        let taken: Vec<_> = stored.found.values().copied().collect();
        let mut drives = Vec::with_capacity(code.shards());
        for index in 0..code.shards() {
            let found = u8::try_from(index)
                .ok()
                .and_then(|index| stored.found.get(&index).copied());
            drives.push(match found {
                Some(drive) => drive,
                None => free.by_ref().find(|id| !taken.contains(id))?,
            });
        }
        Some(PackEntry {
            summary: stored.summary.clone(),
            vault: stored.vault,
            lease: stored.lease,
            drives,
        })
    }

    /// The layout's drives, for a caller that places something itself.
    pub fn layout(&self) -> Vec<DriveWeight> {
        let weight = |id| DriveWeight {
            drive: id,
            domain: id,
            capacity: 1,
        };
        self.inner.drives.iter().map(|drive| weight(drive.id)).collect()
    }
}

async fn compact_step(
    place: &LocalDrive,
    min_garbage: f64,
) -> Result<(CompactReport, bool, bool), DriveFailure> {
    let step = place
        .ask(0, |drive, reply| Job::Compact {
            drive,
            min_garbage,
            budget_bytes: STEP_BYTES,
            reply,
        })
        .await?;
    let report = CompactReport {
        copied_bytes: step.copied_bytes,
        freed_bytes: step.freed_bytes,
    };
    Ok((report, step.more, !step.damaged.is_empty()))
}

impl Inner {
    fn collectors(&self) -> MutexGuard<'_, Collectors> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks signer and number of an order, and notes the number.
    fn admit(&self, order: &Signed<DeleteOrder>) -> Result<(), DeleteError> {
        let statement = order.statement();
        let mut collectors = self.collectors();
        let Some((collector, seen)) = collectors.get_mut(&statement.vault.0) else {
            return Err(DeleteError::NotTheCollector);
        };
        if order.signer() != collector || statement.collector != *collector {
            return Err(DeleteError::NotTheCollector);
        }
        match *seen {
            Some(seen) if statement.number <= seen => Err(DeleteError::Replayed {
                got: statement.number,
                seen,
            }),
            _ => {
                *seen = Some(statement.number);
                Ok(())
            }
        }
    }

    /// What an order for packs of a vault may delete. Reads a header a shard.
    fn deletable(&self, packs: &[PackId], vault: [u8; 16]) -> Deletable {
        let mut found = Deletable::default();
        for pack in packs.iter().copied() {
            let mut refused = false;
            for place in &self.drives {
                let Some(drive) = place.present() else { continue };
                for key in (0..SHARDS_MAX).map(|index| ShardKey { pack, index }) {
                    if !drive.contains(&key) {
                        continue;
                    }
                    match drive.header(&key).map_err(|error| place.failure(&drive, &error)) {
                        Ok(header) if header.vault != vault => {
                            refused = true;
                            found.report.refused += 1;
                        }
                        // A shard whose header is damaged is of no use to anyone; the order stands.
                        Ok(_) | Err(DriveFailure::Damaged) => found.shards.push((place.number, key)),
                        Err(DriveFailure::Absent) => {}
                        Err(_) => found.report.failed += 1,
                    }
                }
            }
            if !refused {
                found.gone.push(pack);
            }
        }
        found
    }

    fn stored_page(&self, after: Option<PackId>, max: usize) -> StoredPage {
        let mut packs: BTreeMap<PackId, BTreeMap<u8, DriveId>> = BTreeMap::new();
        let mut through: Option<PackId> = None;
        let max = max.max(1);
        // A pack has at most so many shards on one drive, so a full page holds at least one whole pack.
        let keys_max = max.saturating_mul(2).max(usize::from(SHARDS_MAX) + 1);
        for place in &self.drives {
            let Some(drive) = place.present() else { continue };
            let from = after.map(|pack| ShardKey { pack, index: u8::MAX });
            let keys = drive.keys_after(from, keys_max);
            if let Some(last) = keys.last().filter(|_| keys.len() == keys_max) {
                // Beyond the end of this drive's page nothing is known of it, nor of its last pack's later shards.
                let whole = keys
                    .iter()
                    .rev()
                    .map(|key| key.pack)
                    .find(|pack| *pack != last.pack);
                let whole = whole.unwrap_or(last.pack);
                through = Some(through.map_or(whole, |through| through.min(whole)));
            }
            for key in keys {
                packs.entry(key.pack).or_default().insert(key.index, place.id);
            }
        }
        let known = packs.len();
        let listed: Vec<_> = packs
            .into_iter()
            .take_while(|(pack, _)| through.is_none_or(|through| *pack <= through))
            .take(max)
            .collect();
        let next = listed.last().map(|(pack, _)| *pack);
        StoredPage {
            next: next.filter(|_| through.is_some() || listed.len() < known),
            packs: listed
                .into_iter()
                .filter_map(|(pack, found)| self.stored_pack(pack, found))
                .collect(),
        }
    }

    fn stored_pack(&self, pack: PackId, mut found: BTreeMap<u8, DriveId>) -> Option<StoredPack> {
        let drives = || {
            found.iter().filter_map(|(index, id)| {
                let key = ShardKey { pack, index: *index };
                Some((key, self.drive(*id)?.present()?))
            })
        };
        let leases = drives().filter_map(|(key, drive)| Some(drive.info(&key)?.lease));
        let lease = leases.max()?;
        let header = drives().find_map(|(key, drive)| drive.header(&key).ok());
        let Some(header) = header else {
            tracing::warn!(%pack, "no shard of a pack has a header that reads");
            return None;
        };
        // Two shards on one drive cannot be named by one entry; the first stays.
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|_, drive| seen.insert(*drive));
        Some(StoredPack {
            summary: header.summary,
            vault: header.vault,
            scope: header.scope,
            lease,
            found,
        })
    }
}

/// What a delete order reaches.
#[derive(Default)]
struct Deletable {
    /// Shards to delete, by drive number.
    shards: Vec<(usize, ShardKey)>,
    /// Packs of which no shard is refused.
    gone: Vec<PackId>,
    report: DeleteReport,
}
