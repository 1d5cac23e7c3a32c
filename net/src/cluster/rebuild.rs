//! Whole shards: gathering k that verify, and making the missing ones again.
//!
//! Healing, repair, scrub and verified reads all come through here. Invariant: every shard that goes into a rebuild
//! has the hash that the pack's entry names, and so has every shard that comes out. A damaged shard stays where it is,
//! for its other ranges may still serve, until the one that replaces it has been computed and has its hash.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine::drive::ShardKey;
use engine::pack::ShardHash;

use super::Inner;
use super::drive::{DriveFailure, LocalDrive};
use super::put::{PutSpace, header, key, put_shard, replace_shard};
use super::read::{ReadError, sources};
use super::verify::BadShard;
use crate::entry::PackEntry;

/// Verified shards of one pack, by index, and the bad ones that were met on the way.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) shards: Vec<Option<Bytes>>,
    pub(super) bad: Vec<BadShard>,
}

/// What a rebuild did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Rebuilt {
    /// Shards made again and durable, by index. Others could not be stored: their drives are lost or full.
    pub(super) made: Vec<usize>,
    /// Their bytes.
    pub(super) bytes: u64,
}

/// Reads a whole shard and checks its hash.
pub(super) fn read_whole(
    drive: &LocalDrive,
    key: ShardKey,
    entry: &PackEntry,
) -> Result<Bytes, DriveFailure> {
    let shard_bytes = entry.summary.geometry.shard_bytes;
    let shard = drive.read_range(&key, 0, shard_bytes)?;
    match entry.summary.hash(usize::from(key.index)) {
        Some(hash) if hash == ShardHash::of(&shard) => Ok(shard),
        _ => Err(DriveFailure::Damaged),
    }
}

impl Inner {
    /// Whether shard `index` is where its entry says, as far as the drive's index knows. An implied one always is.
    pub(super) fn is_there(&self, entry: &PackEntry, index: usize) -> bool {
        entry.summary.geometry.is_implied(index)
            || entry
                .drive(index)
                .and_then(|id| self.drive(id))
                .is_some_and(|drive| drive.holds(&key(entry, index)).is_some())
    }

    /// The stored shards of a pack that are not there.
    pub(super) fn absent(&self, entry: &PackEntry) -> Vec<usize> {
        entry
            .stored()
            .filter(|index| !self.is_there(entry, *index))
            .collect()
    }

    /// Whether all of a pack's drives are there and none has a shard of it.
    pub(super) fn is_gone(&self, entry: &PackEntry) -> bool {
        entry.stored().all(|index| {
            let drive = entry.drive(index).and_then(|id| self.drive(id)?.present());
            drive.is_some_and(|drive| !drive.contains(&key(entry, index)))
        })
    }

    /// Names a bad shard and remembers that it is to be replaced.
    pub(super) fn blame(&self, entry: &PackEntry, index: usize) -> Option<BadShard> {
        let drive = entry.drive(index).and_then(|id| self.drive(id))?;
        tracing::error!(drive = drive.number, pack = %entry.id(), index, "a shard is damaged; it is to be replaced");
        self.missing.add(entry, [index]);
        Some(BadShard {
            drive: drive.id,
            index,
        })
    }

    /// Reads k shards that verify, none of `without` among them; bad ones are named and remembered.
    pub(super) async fn gather(
        self: &Arc<Self>,
        entry: &Arc<PackEntry>,
        without: &[usize],
    ) -> Result<Gathered, ReadError> {
        let code = entry.summary.geometry.code;
        let mut gathered = Gathered {
            shards: vec![None; code.shards()],
            bad: Vec::new(),
        };
        let mut have = code.shards() - entry.stored().count();
        for index in entry.stored().filter(|index| !without.contains(index)) {
            if have >= code.data() {
                break;
            }
            match self.read_verified(entry, index).await {
                Ok(shard) => {
                    have += 1;
                    if let Some(place) = gathered.shards.get_mut(index) {
                        *place = Some(shard);
                    }
                }
                Err(DriveFailure::Damaged) => gathered.bad.extend(self.blame(entry, index)),
                Err(DriveFailure::Absent) => self.missing.add(entry, [index]),
                Err(_) => {}
            }
        }
        if have < code.data() {
            return Err(ReadError::too_few(entry, have));
        }
        Ok(gathered)
    }

    /// Reads one whole shard on the blocking pool and checks its hash.
    pub(super) async fn read_verified(
        self: &Arc<Self>,
        entry: &Arc<PackEntry>,
        index: usize,
    ) -> Result<Bytes, DriveFailure> {
        let drive = entry.drive(index).and_then(|id| self.drive(id)).cloned();
        let drive = drive.ok_or(DriveFailure::Lost)?;
        let (entry, key) = (Arc::clone(entry), key(entry, index));
        tokio::task::spawn_blocking(move || read_whole(&drive, key, &entry))
            .await
            .unwrap_or(Err(DriveFailure::Closed))
    }

    /// Computes whole shards from verified ones and checks their hashes. On the blocking pool.
    pub(super) async fn compute(
        self: &Arc<Self>,
        entry: &Arc<PackEntry>,
        shards: Vec<Option<Bytes>>,
        want: Vec<usize>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let coder = self.coder(entry.summary.geometry.code);
        let entry = Arc::clone(entry);
        let failed = ReadError::too_few(&entry, 0);
        let computing = tokio::task::spawn_blocking(move || {
            let shard_bytes = entry.summary.geometry.shard_bytes as usize;
            let computed = coder
                .reconstruct(shard_bytes, &sources(&entry, &shards), &want)
                .map_err(|_| failed)?;
            for (index, shard) in want.iter().zip(&computed) {
                if entry.summary.hash(*index) != Some(ShardHash::of(shard)) {
                    return Err(ReadError::Wrong { index: *index });
                }
            }
            Ok(computed.into_iter().map(Bytes::from).collect())
        });
        computing.await.unwrap_or(Err(failed))
    }

    /// Makes missing shards again on the drives that are there, and replaces those of them that are there and damaged.
    /// The caller holds the rebuild gate.
    pub(super) async fn rebuild(
        self: &Arc<Self>,
        entry: &Arc<PackEntry>,
        missing: &[usize],
    ) -> Result<Rebuilt, ReadError> {
        let Ok(_permit) = self.whole_packs.acquire().await else {
            return Ok(Rebuilt::default());
        };
        let mut left = missing.to_vec();
        // Gathering may find more shards bad; those are made in the same go.
        let gathered = self.gather(entry, missing).await?;
        left.extend(gathered.bad.iter().map(|bad| bad.index));
        let can_write = |index: &usize| {
            let drive = entry.drive(*index).and_then(|id| self.drive(id));
            drive.is_some_and(|drive| drive.writable())
        };
        let want: Vec<usize> = left.iter().copied().filter(can_write).collect();
        let mut rebuilt = Rebuilt::default();
        if want.is_empty() {
            return Ok(rebuilt);
        }
        let scope = self.scope_of(entry).ok_or(ReadError::too_few(entry, 0))?;
        let computed = self.compute(entry, gathered.shards, want.clone()).await?;
        // A rebuilt shard of a live pack is put under a lease that drives still accept.
        let lease = entry.lease.max(self.lowest_lease.load(Ordering::Relaxed));
        let puts = want.iter().zip(computed).filter_map(|(index, shard)| {
            let drive = entry.drive(*index).and_then(|id| self.drive(id))?;
            let header = header(entry, scope, *index, lease);
            let there = drive.holds(&header.key()).is_some();
            Some(async move {
                let bytes = shard.len() as u64;
                let stored = match there {
                    true => replace_shard(drive, header, shard).await,
                    false => put_shard(drive, header, shard, PutSpace::Free).await,
                };
                (*index, bytes, stored)
            })
        });
        for (index, bytes, result) in futures::future::join_all(puts).await {
            if result.is_ok() {
                rebuilt.made.push(index);
                rebuilt.bytes += bytes;
                self.missing.found(entry.id(), index);
            } else {
                self.missing.add(entry, [index]);
            }
        }
        self.counters
            .rebuilt
            .fetch_add(rebuilt.made.len() as u64, Ordering::Relaxed);
        Ok(rebuilt)
    }

    /// The scope that the headers of the pack's shards name.
    fn scope_of(&self, entry: &PackEntry) -> Option<[u8; 16]> {
        entry.stored().find_map(|index| {
            let key = key(entry, index);
            let drive = entry.drive(index).and_then(|id| self.drive(id))?;
            drive.holds(&key)?.header(&key).ok().map(|header| header.scope)
        })
    }
}
