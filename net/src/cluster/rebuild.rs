//! Whole shards: gathering k that verify, and making the missing ones again.
//!
//! Healing, repair, scrub and verified reads all come through here. Invariant: every shard that goes into a rebuild
//! has the hash that the pack's entry names, and so has every shard that comes out. A damaged shard stays where it is,
//! for its other ranges may still serve, until the one that replaces it has been computed and has its hash.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use engine::pack::ShardHash;

use super::Inner;
use super::cause::Cause;
use super::place::Place;
use super::put::{header, key};
use super::read::{ReadError, sources};
use super::verify::BadShard;
use super::votes::ScopeVotes;
use crate::drives::DriveFailure;
use crate::entry::PackEntry;
use crate::peer::Purpose;

/// How long a peer may take for a whole shard of a rebuild.
const WHOLE_PATIENCE: Duration = Duration::from_secs(10);

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

impl Inner {
    /// Names a bad shard and remembers that it is to be replaced.
    pub(super) fn blame(&self, entry: &PackEntry, index: usize) -> Option<BadShard> {
        let place = self.place_of(entry, index)?;
        tracing::error!(drive = place.number(), pack = %entry.id(), index, "a shard is damaged; it is to be replaced");
        place.conduct().note_altered();
        self.missing.add(entry, [index]);
        Some(BadShard {
            drive: place.id(),
            index,
        })
    }

    /// Remembers that a shard is not there although its drive said that it was.
    pub(super) fn unmask(&self, entry: &PackEntry, index: usize) {
        if let Some(place) = self.place_of(entry, index) {
            tracing::error!(drive = place.number(), pack = %entry.id(), index, "a drive does not have the shard that it says it has");
            place.conduct().note_claimed();
        }
        self.missing.add(entry, [index]);
    }

    /// Reads k shards that verify, none of `without` among them; bad ones are named and remembered.
    pub(super) async fn gather(
        self: &Arc<Self>,
        entry: &Arc<PackEntry>,
        without: &[usize],
        cause: Cause,
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
            match self.read_verified(entry, index, cause).await {
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
        // Last of all, copies that a move left behind.
        let lacking = entry
            .stored()
            .filter(|index| !matches!(gathered.shards.get(*index), Some(Some(_))));
        for index in lacking.collect::<Vec<_>>() {
            if have >= code.data() {
                break;
            }
            let stray = self.stray_of(entry, index, cause).await;
            if let (Some(shard), Some(place)) = (stray, gathered.shards.get_mut(index)) {
                have += 1;
                *place = Some(shard);
            }
        }
        if have < code.data() {
            return Err(ReadError::too_few(entry, have));
        }
        Ok(gathered)
    }

    /// A copy of a shard on a drive that the entry does not name, if there is one that has its hash.
    async fn stray_of(&self, entry: &Arc<PackEntry>, index: usize, cause: Cause) -> Option<Bytes> {
        let layout = self.layout();
        let key = key(entry, index);
        let others = layout
            .places()
            .iter()
            .filter(|place| Some(place.id()) != entry.drive(index));
        for place in others.filter(|place| place.is_present()) {
            if matches!(place.has(&[key]).await.as_deref(), Ok([true]))
                && let Ok(shard) = self.read_verified_at(place, entry, index, cause).await
            {
                return Some(shard);
            }
        }
        None
    }

    /// Reads one whole shard and checks its hash.
    pub(super) async fn read_verified(
        self: &Arc<Self>,
        entry: &Arc<PackEntry>,
        index: usize,
        cause: Cause,
    ) -> Result<Bytes, DriveFailure> {
        let place = self.place_of(entry, index).ok_or(DriveFailure::Lost)?;
        self.read_verified_at(&place, entry, index, cause).await
    }

    async fn read_verified_at(
        &self,
        place: &Place,
        entry: &PackEntry,
        index: usize,
        cause: Cause,
    ) -> Result<Bytes, DriveFailure> {
        let whole = (0, entry.summary.geometry.shard_bytes);
        let reading = place.read_range(key(entry, index), whole, cause);
        // A peer that stalls must not keep what waits behind a rebuild waiting.
        let shard = match place.local() {
            Some(_) => reading.await?,
            None => tokio::time::timeout(WHOLE_PATIENCE, reading)
                .await
                .unwrap_or(Err(DriveFailure::Io))?,
        };
        let wanted = entry.summary.hash(index);
        let checking = self.own.config.offload.run(move || {
            let holds = wanted == Some(ShardHash::of(&shard));
            holds.then_some(shard).ok_or(DriveFailure::Damaged)
        });
        checking.await.unwrap_or(Err(DriveFailure::Closed))
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
        let computing = self.own.config.offload.run(move || {
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
        let can_write = |index: &usize| {
            let place = self.place_of(entry, *index);
            place.is_some_and(|place| place.writable())
        };
        if !missing.iter().any(can_write) {
            // Nowhere to put them: nothing is read for it.
            return Ok(Rebuilt::default());
        }
        let mut left = missing.to_vec();
        // Gathering may find more shards bad; those are made in the same go.
        let cause = Cause::of(self.next_operation(), Purpose::Repair);
        let gathered = self.gather(entry, missing, cause).await?;
        left.extend(gathered.bad.iter().map(|bad| bad.index));
        let want: Vec<usize> = left.iter().copied().filter(can_write).collect();
        let mut rebuilt = Rebuilt::default();
        if want.is_empty() {
            return Ok(rebuilt);
        }
        let scope = self.scope_of(entry).await.ok_or(ReadError::too_few(entry, 0))?;
        let computed = self.compute(entry, gathered.shards, want.clone()).await?;
        // A rebuilt shard of a live pack is put under a lease that drives still accept.
        let lease = self.known_leases().for_shard_of(entry.lease);
        let puts = want.iter().zip(computed).filter_map(|(index, shard)| {
            let place = self.place_of(entry, *index)?;
            let header = header(entry, scope, *index, lease);
            Some(async move {
                let bytes = shard.len() as u64;
                (*index, bytes, place.mend(header, shard, cause).await)
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

    /// The scope that the headers of the pack's shards name; where no drive that the entry names has one, those of copies elsewhere.
    async fn scope_of(&self, entry: &PackEntry) -> Option<[u8; 16]> {
        let mut votes = ScopeVotes::default();
        for index in entry.stored() {
            if let Some(place) = self.holder(entry, index) {
                self.ask_scope(&place, entry, index, &mut votes).await;
            }
            if let Some(settled) = votes.settled() {
                return Some(settled);
            }
        }
        if let Some(scope) = votes.outcome() {
            return Some(scope);
        }
        let layout = self.layout();
        for place in layout.places().iter().filter(|place| place.is_present()) {
            for index in entry.stored() {
                // One drive has one say.
                if self.ask_scope(place, entry, index, &mut votes).await {
                    break;
                }
            }
            if let Some(settled) = votes.settled() {
                return Some(settled);
            }
        }
        votes.outcome()
    }

    /// Whether it said something.
    async fn ask_scope(
        &self,
        place: &Place,
        entry: &PackEntry,
        index: usize,
        votes: &mut ScopeVotes,
    ) -> bool {
        let headers = place.headers(&[key(entry, index)]).await.unwrap_or_default();
        let own = |header: &engine::drive::ShardHeader| header.vault == entry.vault;
        let header = headers.into_iter().flatten().find(own);
        if let Some(header) = &header {
            votes.add(header.scope, place.local().is_some());
        }
        header.is_some()
    }
}
