//! What lies on the drives, without the ledger: what the collector compares with it, and what a rebuild starts from.
//!
//! Invariant: a page holds every shard that its drives named of the packs in it; a drive that did not answer names none.

use std::collections::{BTreeMap, BTreeSet};

use engine::drive::ShardKey;
use engine::pack::{PackId, PackSummary};

use super::Cluster;
use crate::entry::{DriveId, PackEntry};

/// Most shards that a pack may have.
const SHARDS_MAX: usize = 64;

/// A pack of which shards lie on drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPack {
    /// Its id.
    pub id: PackId,
    /// The highest lease under which one of its shards was written.
    pub lease: u64,
    /// The drives on which shards were found, by index.
    pub found: BTreeMap<u8, DriveId>,
}

/// A page of the packs that lie on the drives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedPage {
    /// The packs.
    pub packs: Vec<ListedPack>,
    /// Where the next page begins; none at the end.
    pub next: Option<PackId>,
    /// Whether a drive of the layout was not there, or did not answer.
    pub incomplete: bool,
}

/// A pack as the drives know it.
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

impl Cluster {
    /// Up to about `max` packs of a vault that lie on the drives, in order of id after `after`. Reads no header.
    pub async fn listed_packs(&self, vault: [u8; 16], after: Option<PackId>, max: usize) -> ListedPage {
        let max = max.max(1);
        // A pack has at most so many shards on one drive, so a full page holds at least one whole pack.
        let keys_max = max.saturating_mul(2).max(SHARDS_MAX + 1);
        let from = after.map(|pack| ShardKey { pack, index: u8::MAX });
        let places = &self.inner.places;
        let asked = places.iter().map(|place| place.list(vault, from, keys_max));
        let lists = futures::future::join_all(asked).await;
        let mut page = ListedPage::default();
        let mut packs: BTreeMap<PackId, ListedPack> = BTreeMap::new();
        let mut through: Option<PackId> = None;
        for (place, listed) in places.iter().zip(lists) {
            let Ok((shards, more)) = listed else {
                page.incomplete = true;
                continue;
            };
            if let Some((last, _)) = shards.last().filter(|_| more) {
                // Beyond the end of this drive's page nothing is known of it, nor of its last pack's later shards.
                let mut packs = shards.iter().rev().map(|(key, _)| key.pack);
                let whole = packs.find(|pack| *pack != last.pack).unwrap_or(last.pack);
                through = Some(through.map_or(whole, |through| through.min(whole)));
            }
            for (key, lease) in shards {
                let pack = packs.entry(key.pack).or_insert_with(|| ListedPack {
                    id: key.pack,
                    lease: 0,
                    found: BTreeMap::new(),
                });
                pack.lease = pack.lease.max(lease);
                pack.found.insert(key.index, place.id());
            }
        }
        let known = packs.len();
        let within = |pack: &ListedPack| through.is_none_or(|through| pack.id <= through);
        page.packs = packs.into_values().take_while(within).take(max).collect();
        let last = page.packs.last().map(|pack| pack.id);
        page.next = last.filter(|_| through.is_some() || page.packs.len() < known);
        page
    }

    /// What the headers of these packs' shards say, one header each; packs of which none reads are left out.
    pub async fn stored_packs(&self, packs: Vec<ListedPack>) -> Vec<StoredPack> {
        let mut stored: BTreeMap<PackId, StoredPack> = BTreeMap::new();
        let mut tried: BTreeSet<(PackId, u8)> = BTreeSet::new();
        loop {
            // Of each pack the next shard that was not tried yet, by drive.
            let mut wanted: BTreeMap<DriveId, Vec<ShardKey>> = BTreeMap::new();
            for pack in packs.iter().filter(|pack| !stored.contains_key(&pack.id)) {
                let next = pack
                    .found
                    .iter()
                    .find(|(index, _)| tried.insert((pack.id, **index)));
                if let Some((index, drive)) = next {
                    let key = ShardKey {
                        pack: pack.id,
                        index: *index,
                    };
                    wanted.entry(*drive).or_default().push(key);
                }
            }
            if wanted.is_empty() {
                break;
            }
            let asked = wanted.iter().filter_map(|(drive, keys)| {
                let place = self.inner.place(*drive)?;
                Some(place.headers(keys))
            });
            for headers in futures::future::join_all(asked).await {
                for header in headers.into_iter().flatten().flatten() {
                    let pack = StoredPack {
                        vault: header.vault,
                        scope: header.scope,
                        lease: header.lease,
                        summary: header.summary,
                        found: BTreeMap::new(),
                    };
                    stored.insert(pack.summary.id, pack);
                }
            }
        }
        let mut all = Vec::with_capacity(stored.len());
        for listed in packs {
            let Some(mut pack) = stored.remove(&listed.id) else {
                tracing::warn!(pack = %listed.id, "no shard of a pack has a header that reads");
                continue;
            };
            pack.lease = listed.lease;
            // Two shards on one drive cannot be named by one entry; the first stays.
            let mut seen = BTreeSet::new();
            pack.found = listed.found;
            pack.found.retain(|_, drive| seen.insert(*drive));
            all.push(pack);
        }
        all
    }

    /// A ledger entry for a pack that only the drives know: shards where they were found, the others on the drives left
    /// over. `None` if the layout has too few drives.
    pub fn entry_of(&self, stored: &StoredPack) -> Option<PackEntry> {
        let code = stored.summary.geometry.code;
        let mut free = self.inner.places.iter().map(|place| place.id());
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
}
