//! Deleting shards on a collector's signed order.
//!
//! It decides nothing about what is garbage; the collector does. Invariant: a shard goes only on an order signed by the
//! key that the vault's owner named, of a number above every earlier one, and only if the shard's own header names that vault.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use engine::drive::ShardKey;
use engine::pack::PackId;
use scopes::{CollectorDelegation, DeleteOrder, Signed};

use super::Drives;
use super::drive::DriveFailure;

/// Most shards that a pack may have; what an index may be.
const SHARDS_MAX: u8 = 64;

/// Delete orders taken so far: the collector trusted for each vault and the highest order number seen.
pub(super) type Collectors = HashMap<[u8; 16], (scopes::PublicKey, Option<u64>)>;

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

/// What a delete order did here, and to which packs.
#[derive(Debug, Default)]
pub(crate) struct Deleted {
    pub(crate) report: DeleteReport,
    /// Packs of which no shard was refused.
    pub(crate) gone: Vec<PackId>,
}

/// What a delete order reaches.
#[derive(Default)]
struct Deletable {
    /// Shards to delete, by drive number.
    shards: Vec<(usize, ShardKey)>,
    gone: Vec<PackId>,
    report: DeleteReport,
}

impl Drives {
    fn collectors(&self) -> MutexGuard<'_, Collectors> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts delete orders of a vault from the collector that its owner named. The caller checked the delegation's
    /// signature against the owner's key.
    pub(crate) fn trust_collector(&self, delegation: &Signed<CollectorDelegation>) {
        let delegation = delegation.statement();
        let mut collectors = self.collectors();
        let seen = collectors
            .get(&delegation.vault.0)
            .filter(|(key, _)| *key == delegation.collector)
            .and_then(|(_, seen)| *seen);
        collectors.insert(delegation.vault.0, (delegation.collector, seen));
    }

    /// Checks signer and number of an order, and notes the number.
    pub(crate) fn admit(&self, order: &Signed<DeleteOrder>) -> Result<(), DeleteError> {
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

    /// Deletes every shard of the packs that an admitted order names, on every drive that is there.
    pub(crate) async fn delete(self: &Arc<Self>, order: &DeleteOrder) -> Deleted {
        let vault = order.vault.0;
        let packs: Vec<PackId> = order.pack_ids().map(PackId).collect();
        let drives = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || drives.deletable(&packs, vault)).await;
        let Ok(Deletable {
            shards,
            gone,
            mut report,
        }) = found
        else {
            return Deleted {
                report: DeleteReport {
                    failed: 1,
                    ..DeleteReport::default()
                },
                gone: Vec::new(),
            };
        };
        // All of the order's shards together: a few flushes for each drive, not one for each pack.
        let deletes = shards
            .iter()
            .filter_map(|(number, key)| Some(self.drives.get(*number)?.delete(*key)));
        for result in futures::future::join_all(deletes).await {
            match result {
                Ok(()) => report.shards += 1,
                Err(_) => report.failed += 1,
            }
        }
        Deleted { report, gone }
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
}
