//! Which shards are where their entries say, as the drives know it: from the memory of this machine's, in few questions to peers.
//!
//! Invariant: a drive that is lost, or does not answer, has nothing; what a peer says it has is not verified here.

use std::collections::BTreeMap;

use engine::drive::ShardKey;
use engine::pack::PackId;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::Inner;
use super::put::key;
use crate::entry::{DriveId, PackEntry};
use crate::ledger::LedgerError;

/// Packs that are looked at together.
pub(super) const PAGE_PACKS: usize = 256;

/// The next packs of a stream; none at its end.
pub(super) async fn next_page(
    stream: &mut futures::stream::Chunks<BoxStream<'_, Result<PackEntry, LedgerError>>>,
) -> Result<Option<Vec<PackEntry>>, LedgerError> {
    match stream.next().await {
        Some(page) => page.into_iter().collect::<Result<_, _>>().map(Some),
        None => Ok(None),
    }
}

impl Inner {
    /// The stored shards of each of these packs that are not there.
    pub(super) async fn lacks(&self, entries: &[PackEntry]) -> Vec<Vec<usize>> {
        let mut lacks: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
        // What only peers can say, by place: pack and shard, and the key.
        let mut asked: BTreeMap<DriveId, Vec<(usize, usize, ShardKey)>> = BTreeMap::new();
        let layout = self.layout();
        for (number, (entry, lacks)) in entries.iter().zip(&mut lacks).enumerate() {
            for index in entry.stored() {
                let key = key(entry, index);
                let place = entry.drive(index).and_then(|id| layout.place(&id));
                let place = place.filter(|place| place.is_present());
                match place.map(|place| (place.id(), place.holds_now(&key))) {
                    Some((_, Some(true))) => {}
                    Some((place, None)) => asked.entry(place).or_default().push((number, index, key)),
                    Some((_, Some(false))) | None => lacks.push(index),
                }
            }
        }
        let answers = asked.iter().filter_map(|(place, shards)| {
            let place = layout.place(place)?;
            let keys: Vec<ShardKey> = shards.iter().map(|(_, _, key)| *key).collect();
            Some(async move { (shards, place.has(&keys).await) })
        });
        for (shards, held) in futures::future::join_all(answers).await {
            let held = held.unwrap_or_else(|_| vec![false; shards.len()]);
            for ((number, index, _), held) in shards.iter().zip(held) {
                if let Some(lacks) = lacks.get_mut(*number).filter(|_| !held) {
                    lacks.push(*index);
                }
            }
        }
        for lacks in &mut lacks {
            lacks.sort_unstable();
        }
        lacks
    }

    /// The stored shards of a pack that are not there.
    pub(super) async fn absent(&self, entry: &PackEntry) -> Vec<usize> {
        let mut lacks = self.lacks(std::slice::from_ref(entry)).await;
        lacks.pop().unwrap_or_default()
    }

    /// Those of these packs of which all drives are there and none has a shard.
    pub(super) async fn gone(&self, entries: &[PackEntry]) -> Vec<PackId> {
        let mut gone = Vec::new();
        for page in entries.chunks(PAGE_PACKS) {
            for (entry, lacks) in page.iter().zip(self.lacks(page).await) {
                let is_there = |index| {
                    self.place_of(entry, index)
                        .is_some_and(|place| place.is_present())
                };
                if lacks.len() == entry.stored().count() && entry.stored().all(is_there) {
                    gone.push(entry.id());
                }
            }
        }
        gone
    }
}
