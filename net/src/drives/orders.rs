//! Deleting shards on a collector's signed order.
//!
//! It decides nothing about what is garbage; the collector does. Invariant: a shard goes only on an order signed by the
//! key that the vault's owner named for a lease that has not ended, of a number above every earlier one of that key, and only if the
//! shard's own header names that vault.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use engine::drive::ShardKey;
use engine::log::Position;
use engine::pack::PackId;
use engine::slots::LIVE_LEASES_MAX;
use scopes::{CollectorDelegation, DeleteOrder, Signed, StrayCopy};

use super::Drives;

/// Most shards that a pack may have; what an index may be.
const SHARDS_MAX: u8 = 64;

/// Who may order deletions in each vault.
pub(super) type Collectors = BTreeMap<[u8; 16], OfVault>;

/// The collectors trusted for a vault: one of each gateway that serves it.
#[derive(Default)]
pub(super) struct OfVault {
    /// By the lease that each was named for.
    delegations: BTreeMap<u64, CollectorDelegation>,
    /// The highest order number carried out, of each key that was ever the collector's: an earlier one may come back.
    seen: BTreeMap<String, u64>,
}

/// Most vaults whose collectors are known: anybody who is admitted can make one up.
const VAULTS_MAX: usize = 65_536;
/// Most collectors of one vault whose order numbers are remembered: one for each start of a gateway.
const SEEN_MAX: usize = 4_096;
/// Most delegations of one vault: those of leases that have ended and nobody told of are let go first.
const DELEGATIONS_MAX: usize = 2 * LIVE_LEASES_MAX;

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
    /// Peers of which no drive was there: what lies on them is looked for when they are back.
    pub away: u64,
    /// Shards whose drive failed meanwhile, peers that did not carry it out, and stray copies that lie elsewhere by now. They are garbage there.
    pub failed: u64,
}

/// What a delete order reaches.
#[derive(Debug, Default)]
pub(crate) struct Deletable {
    /// Shards to delete, by drive number; strays only where they were when they were listed.
    shards: Vec<(usize, ShardKey, Option<Position>)>,
    /// Packs of which no shard is refused.
    pub(crate) gone: Vec<PackId>,
    report: DeleteReport,
}

impl Drives {
    fn collectors(&self) -> MutexGuard<'_, Collectors> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts delete orders of a vault from the collector that its owner named, unless the lease that it was named for has ended. The
    /// caller checked the delegation's signature against the owner's key.
    pub(crate) fn trust_collector(&self, delegation: &Signed<CollectorDelegation>) -> bool {
        let delegation = delegation.statement();
        let accepted = self.accepted_leases();
        if !accepted.accepts(delegation.number) {
            return false;
        }
        let mut collectors = self.collectors();
        if collectors.len() >= VAULTS_MAX && !collectors.contains_key(&delegation.vault.0) {
            tracing::error!("too many vaults are known here: a collector of one more is not taken");
            return false;
        }
        let known = collectors.entry(delegation.vault.0).or_default();
        known.delegations.retain(|number, _| accepted.accepts(*number));
        known.delegations.insert(delegation.number, delegation.clone());
        if known.delegations.len() > DELEGATIONS_MAX {
            known.delegations.pop_first();
        }
        true
    }

    /// Checks signer and number of an order and that its delegation is in force, and notes the number.
    pub(crate) fn admit(&self, order: &Signed<DeleteOrder>, now_ms: Option<u64>) -> Result<(), DeleteError> {
        let statement = order.statement();
        let accepted = self.accepted_leases();
        let mut collectors = self.collectors();
        let Some(known) = collectors.get_mut(&statement.vault.0) else {
            return Err(DeleteError::NotTheCollector);
        };
        let collector = statement.collector;
        let name = collector.to_string();
        let names = |delegation: &CollectorDelegation| {
            let in_force = now_ms.is_none_or(|now| delegation.window.contains(now));
            delegation.collector == collector && in_force && accepted.accepts(delegation.number)
        };
        if *order.signer() != collector || !known.delegations.values().any(names) {
            return Err(DeleteError::NotTheCollector);
        }
        if let Some(seen) = known.seen.get(&name).copied()
            && statement.number <= seen
        {
            return Err(DeleteError::Replayed {
                got: statement.number,
                seen,
            });
        }
        if known.seen.len() >= SEEN_MAX {
            known.seen.clear();
        }
        known.seen.insert(name, statement.number);
        Ok(())
    }

    /// What an admitted order may delete here.
    pub(crate) async fn deletable(self: &Arc<Self>, order: &DeleteOrder) -> Deletable {
        let vault = order.vault.0;
        let packs: Vec<PackId> = order.pack_ids().map(PackId).collect();
        let (drives, strays) = (Arc::clone(self), order.strays().collect::<Vec<_>>());
        let found = self.config.offload.run(move || {
            let mut found = drives.find_deletable(&packs, vault);
            drives.find_strays(&strays, vault, &mut found);
            found
        });
        found.await.unwrap_or_else(|_| Deletable {
            report: DeleteReport {
                failed: 1,
                ..DeleteReport::default()
            },
            ..Deletable::default()
        })
    }

    /// Deletes it, all together: a few flushes for each drive, not one for each pack.
    pub(crate) async fn delete(&self, found: &Deletable) -> DeleteReport {
        let mut report = found.report;
        let deletes = found
            .shards
            .iter()
            .filter_map(|(number, key, at)| Some(self.drives.get(*number)?.delete_copy(*key, *at)));
        for result in futures::future::join_all(deletes).await {
            match result {
                Ok(()) => report.shards += 1,
                Err(_) => report.failed += 1,
            }
        }
        report
    }

    /// Of the strays those that lie on drives of this machine, each on the one drive that it is named on.
    fn find_strays(&self, strays: &[StrayCopy], vault: [u8; 16], found: &mut Deletable) {
        for stray in strays {
            let Some(place) = self.of(&stray.drive) else {
                continue;
            };
            let (pack, index) = (PackId(stray.pack), stray.index);
            let (key, at) = (ShardKey { pack, index }, Position(stray.at));
            match place.present().and_then(|drive| drive.info(&key)) {
                // Another copy has taken its place, or compaction has moved it: listed anew, it may go.
                Some(info) if info.at != at => found.report.failed += 1,
                // Asked again by the drive's writer, for what comes between.
                Some(info) if info.vault == vault => found.shards.push((place.number, key, Some(at))),
                Some(_) => found.report.refused += 1,
                None => {}
            }
        }
    }

    /// Of every drive that is there, by the vaults that its index names.
    fn find_deletable(&self, packs: &[PackId], vault: [u8; 16]) -> Deletable {
        let mut found = Deletable::default();
        for pack in packs.iter().copied() {
            let mut refused = false;
            for place in &self.drives {
                let Some(drive) = place.present() else { continue };
                for key in (0..SHARDS_MAX).map(|index| ShardKey { pack, index }) {
                    match drive.info(&key) {
                        Some(info) if info.vault == vault => found.shards.push((place.number, key, None)),
                        Some(_) => {
                            refused = true;
                            found.report.refused += 1;
                        }
                        None => {}
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
