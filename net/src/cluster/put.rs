//! Storing a pack: placement, the shard puts, the acknowledgement rule, and what is left for later.
//!
//! It writes no ledger entry; the caller does, with the entry that it gets here. Invariant: an `Ok` means that at least
//! k + ceil(m/2) shards are durable, each on its own drive that was in place after the flush (an implied shard counts
//! while its drive is present), and that losing any one drive leaves k.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine::drive::{ShardHeader, ShardKey};
use engine::durability;
use engine::pack::{Code, Pack, PackId, PackSummary};
use engine::placement::{self, DomainId, DriveWeight};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::cause::Cause;
use super::layout::Standing;
use super::place::Place;
use super::{Cluster, Inner};
use crate::drives::{DriveFailure, PutSpace};
use crate::entry::{DriveId, PackEntry};
use crate::peer::Purpose;

/// Why a pack was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// Too few drives are there.
    #[error("{have} drives are there and {need} are needed to write")]
    NotEnoughDrives {
        /// Drives that are there, or that the pack reached.
        have: usize,
        /// Drives that a write needs.
        need: usize,
    },
    /// Enough drives are there, but too many of them are full.
    #[error("{full} drives are full; {have} could be written and {need} are needed")]
    DiskFull {
        /// Drives that could be written.
        have: usize,
        /// Drives that a write needs.
        need: usize,
        /// Drives that are full.
        full: usize,
    },
    /// Enough drives are there, but too many of them fail together.
    #[error(
        "{have} drives are there, but if those that fail together with one of them were lost, {left} shards would be left of a new pack, \
         and {need} are needed to read it"
    )]
    Domains {
        /// Drives that are there, or that the pack reached.
        have: usize,
        /// Shards that the loss of one failure domain would leave at worst.
        left: usize,
        /// Shards that have to be left.
        need: usize,
    },
    /// The writer's lease has ended.
    #[error("the lease has ended; the lowest live one is {lowest_live}")]
    LeaseEnded {
        /// The lowest lease still accepted.
        lowest_live: u64,
    },
    /// The pack's code is not one that these drives can hold.
    #[error("a pack of {need} shards on {have} drives")]
    Layout {
        /// Drives of the layout.
        have: usize,
        /// Shards of the pack.
        need: usize,
    },
}

impl Cluster {
    /// Whether a pack could be stored now: how many drives are there, how many a write needs.
    pub fn writable(&self) -> Result<(), PutError> {
        let layout = self.inner.layout();
        let code = self.inner.code;
        let places: Vec<_> = layout.members().cloned().collect();
        let usable: Vec<DomainId> = (places.iter().filter(|place| place.writable()))
            .map(Place::domain)
            .collect();
        enough(&places, usable.len(), code)?;
        let drives: Vec<_> = places
            .iter()
            .map(|place| (place.domain(), place.writable()))
            .collect();
        if durability::can_write(code, &drives) {
            return Ok(());
        }
        Err(too_close(code, &usable))
    }

    /// How many drives are there.
    pub fn present(&self) -> usize {
        let layout = self.inner.layout();
        layout.places().iter().filter(|place| place.is_present()).count()
    }

    /// Chooses the drives of a pack: the ledger entry that it will have, so that a caller can pin it before the put.
    pub fn plan(&self, pack: &Pack, vault: [u8; 16], lease: u64) -> Result<PackEntry, PutError> {
        Ok(PackEntry {
            drives: self.inner.choose_places(&pack.summary)?,
            summary: pack.summary.clone(),
            vault,
            lease,
        })
    }

    /// Stores a pack under a lease and returns its ledger entry. What is not written when the rule is met is finished
    /// in the background; what cannot be written is remembered as missing.
    pub async fn put_pack(
        &self,
        pack: Pack,
        vault: [u8; 16],
        scope: [u8; 16],
        lease: u64,
    ) -> Result<PackEntry, PutError> {
        let entry = self.plan(&pack, vault, lease)?;
        self.put_planned(pack, &entry, scope, PutSpace::Free).await?;
        Ok(entry)
    }

    /// As [`Self::put_pack`], for an entry that [`Self::plan`] made of the same pack.
    pub async fn put_planned(
        &self,
        pack: Pack,
        entry: &PackEntry,
        scope: [u8; 16],
        space: PutSpace,
    ) -> Result<(), PutError> {
        let places: Vec<_> = entry
            .drives
            .iter()
            .filter_map(|id| self.inner.place(*id))
            .collect();
        let geometry = &entry.summary.geometry;
        // A full drive counts where it has to hold nothing, or may use what is kept for the collector.
        let usable = (0..).zip(&places).filter(|(index, place)| {
            let room = space == PutSpace::Headroom || geometry.is_implied(*index) || !place.is_full();
            room && place.is_present()
        });
        let usable: Vec<DomainId> = usable.map(|(_, place)| place.domain()).collect();
        enough(&places, usable.len(), geometry.code)?;
        // Not begun: what a refused pack left would lie there until the collector comes.
        if !placement::ack_rule(geometry.code, &usable) {
            return Err(too_close(geometry.code, &usable));
        }
        self.inner.missing.revive(entry.id());
        self.inner.missing.begin_put(entry);
        let (acknowledge, acknowledged) = oneshot::channel();
        let put = Put::new(
            Arc::clone(&self.inner),
            entry.clone(),
            (scope, space, self.cause_or(Purpose::Write)),
            acknowledge,
        );
        // A task of its own, so that a caller who goes away leaves no half-tracked pack.
        tokio::spawn(put.run(pack.shards));
        let need = placement::durable_needed(geometry.code);
        acknowledged
            .await
            .unwrap_or(Err(PutError::NotEnoughDrives { have: 0, need }))
    }
}

/// Whether enough of these drives are there, and `usable` of them can be used.
fn enough(places: &[Place], usable: usize, code: Code) -> Result<(), PutError> {
    let need = placement::durable_needed(code);
    let present = places.iter().filter(|place| place.is_present()).count();
    if present < need {
        return Err(PutError::NotEnoughDrives { have: present, need });
    }
    if usable < need {
        return Err(PutError::DiskFull {
            have: usable,
            need,
            full: present.saturating_sub(usable),
        });
    }
    Ok(())
}

/// Of drives in these domains, one of each, too many fail together.
fn too_close(code: Code, domains: &[DomainId]) -> PutError {
    let mut of_domain: BTreeMap<&DomainId, usize> = BTreeMap::new();
    for domain in domains {
        *of_domain.entry(domain).or_default() += 1;
    }
    // No domain gets more shards than may be lost.
    let there = of_domain.values().map(|drives| (*drives).min(code.parity()));
    let (most, all) = there.fold((0, 0), |(most, all), drives| (drives.max(most), all + drives));
    PutError::Domains {
        have: domains.len(),
        left: all.min(code.shards()).saturating_sub(most),
        need: code.data(),
    }
}

impl Inner {
    /// The drive of each shard: over the drives that take puts if there are enough, else over all of those and as many
    /// that drain, full ones and then lost ones, as it takes. None that is gone.
    fn choose_places(&self, summary: &PackSummary) -> Result<Vec<DriveId>, PutError> {
        let code = summary.geometry.code;
        let shards = code.shards();
        let layout = self.layout();
        let members = layout.members().count();
        let too_few = PutError::Layout {
            have: members,
            need: shards,
        };
        if members < shards {
            return Err(too_few);
        }
        let mut tiers: [Vec<DriveWeight>; 4] = Default::default();
        for place in layout.members() {
            let tier = match (place.is_present(), place.is_full(), place.standing()) {
                (true, false, Standing::Active) => 0,
                (true, false, _) => 1,
                (true, true, _) => 2,
                (false, ..) => 3,
            };
            if let Some(tier) = tiers.get_mut(tier) {
                tier.push(place.weight());
            }
        }
        let [mut candidates, draining, full, lost] = tiers;
        for more in [draining, full, lost] {
            if let Some(chosen) = choose(summary.id, code, &candidates) {
                return Ok(chosen);
            }
            let short = shards.saturating_sub(candidates.len()).min(more.len());
            let chosen = match placement::place(&summary.id, short.max(1), &more, more.len().max(1)) {
                // As few as it takes, unless too many of them fail together.
                Ok(chosen) if short > 0 => chosen,
                _ => more.iter().map(|drive| drive.drive).collect(),
            };
            candidates.extend(more.into_iter().filter(|drive| chosen.contains(&drive.drive)));
        }
        choose(summary.id, code, &candidates).ok_or(too_few)
    }
}

/// The drives of a pack, spread over as many failure domains as there are, so that losing any one leaves k shards.
fn choose(pack: PackId, code: Code, drives: &[DriveWeight]) -> Option<Vec<DriveId>> {
    (1..=code.parity()).find_map(|cap| placement::place(&pack, code.shards(), drives, cap).ok())
}

/// One pack on its way to the drives.
struct Put {
    inner: Arc<Inner>,
    entry: PackEntry,
    scope: [u8; 16],
    space: PutSpace,
    cause: Cause,
    durable: BTreeSet<usize>,
    full: usize,
    lease_ended: Option<u64>,
    /// The lease has ended for certain.
    is_fenced: bool,
    acknowledge: Option<oneshot::Sender<Result<(), PutError>>>,
}

impl Put {
    fn new(
        inner: Arc<Inner>,
        entry: PackEntry,
        (scope, space, cause): ([u8; 16], PutSpace, Cause),
        acknowledge: oneshot::Sender<Result<(), PutError>>,
    ) -> Self {
        Self {
            inner,
            entry,
            scope,
            space,
            cause,
            durable: BTreeSet::new(),
            full: 0,
            lease_ended: None,
            is_fenced: false,
            acknowledge: Some(acknowledge),
        }
    }

    async fn run(mut self, shards: Vec<Bytes>) {
        let mut writes = FuturesUnordered::new();
        let stored: Vec<usize> = self.entry.stored().collect();
        let mut rest_bytes = 0usize;
        for (index, shard) in shards.into_iter().enumerate() {
            let Some(place) = self.inner.place_of(&self.entry, index) else {
                continue;
            };
            if !place.is_present() {
                continue;
            }
            if !stored.contains(&index) {
                self.durable.insert(index);
                continue;
            }
            let header = header(&self.entry, self.scope, index, self.entry.lease);
            rest_bytes += shard.len();
            let (space, cause) = (self.space, self.cause);
            writes.push(async move {
                let bytes = shard.len();
                (index, bytes, place.put(header, shard, space, cause).await)
            });
        }
        let mut held = None;
        while let Some((index, bytes, result)) = writes.next().await {
            rest_bytes = rest_bytes.saturating_sub(bytes);
            self.note(index, result);
            if self.acknowledge_if_durable() && held.is_none() && rest_bytes > 0 {
                // The rest goes on in the background only within a bound; a stuck drive must not pile up shards.
                let weight = u32::try_from(rest_bytes).unwrap_or(u32::MAX);
                held = Arc::clone(&self.inner.background_bytes)
                    .try_acquire_many_owned(weight)
                    .ok();
                if held.is_none() {
                    break;
                }
            }
        }
        drop(writes);
        self.finish(&stored).await;
    }

    fn note(&mut self, index: usize, result: Result<(), DriveFailure>) {
        match result {
            Ok(()) => {
                self.durable.insert(index);
                self.inner.counters.shards_put.fetch_add(1, Ordering::Relaxed);
            }
            Err(DriveFailure::Full) => self.full += 1,
            Err(DriveFailure::LeaseEnded { lowest_live }) => {
                self.lease_ended = Some(lowest_live);
                // A peer's word is worth one shard; a drive of this machine says what the ledger said.
                let place = self.inner.place_of(&self.entry, index);
                self.is_fenced |= place.is_some_and(|place| place.local().is_some());
            }
            Err(_) => {}
        }
    }

    /// Acknowledges once the rule is met. Whether it has been.
    fn acknowledge_if_durable(&mut self) -> bool {
        if self.acknowledge.is_none() {
            return true;
        }
        if self.is_fenced || !self.rule_is_met() || !self.check_implied() {
            return false;
        }
        self.inner.counters.packs_put.fetch_add(1, Ordering::Relaxed);
        if let Some(acknowledge) = self.acknowledge.take() {
            // A caller who went away leaves garbage for the collector.
            let _ = acknowledge.send(Ok(()));
        }
        true
    }

    /// Looks whether the drives of implied shards are in place now, as a commit does for the others; whether the rule is
    /// met still.
    fn check_implied(&mut self) -> bool {
        let geometry = &self.entry.summary.geometry;
        let is_gone = |index: &usize| {
            let place = self.inner.place_of(&self.entry, *index);
            geometry.is_implied(*index) && !place.is_some_and(|place| place.is_in_place())
        };
        let gone: Vec<usize> = self.durable.iter().copied().filter(is_gone).collect();
        for index in gone {
            self.durable.remove(&index);
        }
        self.rule_is_met()
    }

    fn rule_is_met(&self) -> bool {
        let domains: Vec<_> = self.holders().map(|place| place.domain()).collect();
        placement::ack_rule(self.entry.summary.geometry.code, &domains)
    }

    /// The drives that hold their shard, or need none, and are there: one may be found lost at any time.
    fn holders(&self) -> impl Iterator<Item = Place> {
        self.durable
            .iter()
            .filter_map(|index| self.inner.place_of(&self.entry, *index))
            .filter(|place| place.is_present())
    }

    /// After the last write: remembers what is missing, or takes back what was written and says why.
    async fn finish(mut self, stored: &[usize]) {
        if self.acknowledge_if_durable() {
            let missing = stored
                .iter()
                .copied()
                .filter(|index| !self.durable.contains(index));
            self.inner.missing.add(&self.entry, missing);
            self.inner.missing.end_put(self.entry.id());
            return;
        }
        let error = self.error();
        for index in stored.iter().filter(|index| self.durable.contains(index)) {
            if let Some(place) = self.inner.place_of(&self.entry, *index) {
                place.take_back(key(&self.entry, *index)).await;
            }
        }
        self.inner.missing.end_put(self.entry.id());
        if let Some(acknowledge) = self.acknowledge.take() {
            let _ = acknowledge.send(Err(error));
        }
    }

    fn error(&self) -> PutError {
        let need = placement::durable_needed(self.entry.summary.geometry.code);
        let have = self.holders().count();
        if let Some(lowest_live) = self.lease_ended {
            PutError::LeaseEnded { lowest_live }
        } else if self.full > 0 && have + self.full >= need {
            PutError::DiskFull {
                have,
                need,
                full: self.full,
            }
        } else if have >= need {
            let domains: Vec<_> = self.holders().map(|place| place.domain()).collect();
            too_close(self.entry.summary.geometry.code, &domains)
        } else {
            PutError::NotEnoughDrives { have, need }
        }
    }
}

/// The key of shard `index`.
pub(super) fn key(entry: &PackEntry, index: usize) -> ShardKey {
    ShardKey {
        pack: entry.id(),
        // A code has at most 64 shards.
        index: u8::try_from(index).unwrap_or(u8::MAX),
    }
}

/// The clear header of shard `index`.
pub(super) fn header(entry: &PackEntry, scope: [u8; 16], index: usize, lease: u64) -> ShardHeader {
    ShardHeader {
        summary: entry.summary.clone(),
        index: key(entry, index).index,
        lease,
        vault: entry.vault,
        scope,
    }
}
