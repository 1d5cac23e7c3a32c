//! What lies on the drives, without the ledger: what the collector compares with it, and what a rebuild starts from.
//!
//! Invariant: a page holds every shard that its drives named of the packs in it; a drive that did not answer names none.

use std::collections::{BTreeMap, BTreeSet};

use engine::drive::{ListedShard, ShardKey};
use engine::log::Position;
use engine::pack::{PackId, PackSummary};

use super::Cluster;
use super::votes::ScopeVotes;
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
    /// The drives that say that they hold a shard, by index. A peer may claim what it has not.
    pub claims: BTreeMap<u8, Vec<ClaimedCopy>>,
}

/// A copy of a shard, as the drive says that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedCopy {
    /// The drive.
    pub drive: DriveId,
    /// The lease under which it got it.
    pub lease: u64,
    /// Where it lies there.
    pub at: Position,
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

impl ListedPack {
    fn claims(&self) -> impl Iterator<Item = (ShardKey, DriveId)> + '_ {
        self.claims.iter().flat_map(|(index, drives)| {
            let key = ShardKey {
                pack: self.id,
                index: *index,
            };
            drives.iter().map(move |claimed| (key, claimed.drive))
        })
    }

    /// One drive for each index, and one index for each drive, as an entry names them. Who claims least comes first: a drive has one
    /// shard of a pack, and one that claims them all takes no other's place.
    fn places(&self) -> BTreeMap<u8, DriveId> {
        let mut of_drive: BTreeMap<DriveId, Vec<u8>> = BTreeMap::new();
        for (key, drive) in self.claims() {
            of_drive.entry(drive).or_default().push(key.index);
        }
        let mut drives: Vec<_> = of_drive.into_iter().collect();
        drives.sort_by_key(|(_, indexes)| indexes.len());
        let mut places = BTreeMap::new();
        for (drive, indexes) in drives {
            if let Some(index) = indexes.into_iter().find(|index| !places.contains_key(index)) {
                places.insert(index, drive);
            }
        }
        places
    }
}

/// What headers say of a pack.
#[derive(Default)]
struct Described {
    summary: Option<PackSummary>,
    scope: ScopeVotes,
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
        let layout = self.inner.layout();
        let places: Vec<_> = layout.members().collect();
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
            if let Some(last) = shards.last().filter(|_| more) {
                // Beyond the end of this drive's page nothing is known of it, nor of its last pack's later shards.
                let mut packs = shards.iter().rev().map(|shard| shard.key.pack);
                let whole = packs.find(|pack| *pack != last.key.pack).unwrap_or(last.key.pack);
                through = Some(through.map_or(whole, |through| through.min(whole)));
            }
            for ListedShard { key, lease, at } in shards {
                let pack = packs.entry(key.pack).or_insert_with(|| ListedPack {
                    id: key.pack,
                    lease: 0,
                    claims: BTreeMap::new(),
                });
                pack.lease = pack.lease.max(lease);
                let drive = place.id();
                let claimed = ClaimedCopy { drive, lease, at };
                pack.claims.entry(key.index).or_default().push(claimed);
            }
        }
        let known = packs.len();
        let within = |pack: &ListedPack| through.is_none_or(|through| pack.id <= through);
        page.packs = packs.into_values().take_while(within).take(max).collect();
        let last = page.packs.last().map(|pack| pack.id);
        page.next = last.filter(|_| through.is_some() || page.packs.len() < known);
        page
    }

    /// What the headers of these packs' shards say; packs of the vault of which none reads are left out. Vault and scope are in no
    /// hash: a drive of this machine is believed, of peers two that agree, unless there is only one.
    pub async fn stored_packs(&self, vault: [u8; 16], packs: Vec<ListedPack>) -> Vec<StoredPack> {
        let mut known: BTreeMap<PackId, Described> = BTreeMap::new();
        let mut tried: BTreeSet<(ShardKey, DriveId)> = BTreeSet::new();
        loop {
            // Of each pack that is not described yet the next shard that was not tried, by drive.
            let mut wanted: BTreeMap<DriveId, Vec<ShardKey>> = BTreeMap::new();
            for pack in &packs {
                if known
                    .get(&pack.id)
                    .is_some_and(|known| known.scope.settled().is_some())
                {
                    continue;
                }
                let mut claims = pack.claims();
                if let Some((key, drive)) = claims.find(|claim| tried.insert(*claim)) {
                    wanted.entry(drive).or_default().push(key);
                }
            }
            if wanted.is_empty() {
                break;
            }
            let asked = wanted.iter().filter_map(|(drive, keys)| {
                let place = self.inner.place(*drive)?;
                Some(async move { (place.local().is_some(), place.headers(keys).await) })
            });
            for (local, headers) in futures::future::join_all(asked).await {
                let headers = headers.into_iter().flatten().flatten();
                for header in headers.filter(|header| header.vault == vault) {
                    let described = known.entry(header.summary.id).or_default();
                    described.scope.add(header.scope, local);
                    described.summary = Some(header.summary);
                }
            }
        }
        let mut all = Vec::with_capacity(known.len());
        for listed in packs {
            let described = known.remove(&listed.id).unwrap_or_default();
            let (Some(summary), Some(scope)) = (described.summary, described.scope.outcome()) else {
                tracing::warn!(pack = %listed.id, "no shard of a pack has a header that reads, or they do not agree");
                continue;
            };
            all.push(StoredPack {
                summary,
                vault,
                scope,
                lease: listed.lease,
                found: listed.places(),
            });
        }
        all
    }

    /// A ledger entry for a pack that only the drives know: shards where they were found, the others on the drives left
    /// over. `None` if the layout has too few drives.
    pub fn entry_of(&self, stored: &StoredPack) -> Option<PackEntry> {
        let code = stored.summary.geometry.code;
        let layout = self.inner.layout();
        let mut free = layout.members().map(|place| place.id());
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
