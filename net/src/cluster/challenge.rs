//! Challenges: drives prove that they hold shards, by slices at places that nobody could predict.
//!
//! It is a sample: [`detection`] says what it is worth. Unlike a scrub it takes nobody's word: a proof verifies against the hash in the
//! pack's entry. Invariants: every stored shard of the packs is as likely to be asked for as any other; what cannot be proven is
//! named and put on the list of what is to be made again.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use engine::proof::{LEAF_BYTES, verify_slice};
use futures::StreamExt;

use super::place::Place;
use super::presence::{PAGE_PACKS, next_page};
use super::put::key;
use super::repair::{PackStream, Progress};
use super::{Cluster, Inner};
use crate::drives::DriveFailure;
use crate::entry::{DriveId, PackEntry};
use crate::ledger::LedgerError;

/// Most shards of one sample.
pub const SAMPLES_MAX: usize = 10_000;
/// Challenges under way at one time: each drive reads the whole shard for it.
const AT_ONCE: usize = 8;
const CONTEXT: &str = "cairn v1 challenge";

/// What a sample found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChallengeReport {
    /// Stored shards that there are.
    pub shards: u64,
    /// Shards that were asked for.
    pub asked: u64,
    /// Shards that were proven to be there.
    pub proven: u64,
    /// Shards whose drives were not there, or did not answer.
    pub unanswered: u64,
    /// Shards that could not be proven, by drive.
    pub failed: BTreeMap<DriveId, u64>,
}

/// How likely a sample of `asked` shards out of `shards` meets at least one bad one, if the part `bad` (0 to 1) of them is bad.
pub fn detection(shards: u64, asked: u64, bad: f64) -> f64 {
    let bad_shards = (shards as f64 * bad).ceil();
    if bad_shards <= 0.0 || asked == 0 {
        return 0.0;
    }
    // Drawn without putting back: the chance that each draw misses, one after the other.
    let mut missed = 1.0;
    for drawn in 0..asked.min(shards) {
        let left = (shards - drawn) as f64;
        missed *= ((left - bad_shards) / left).max(0.0);
        if missed == 0.0 {
            break;
        }
    }
    1.0 - missed
}

/// Draws of many as many as it holds, each as likely as any other, in one pass (Vitter, "Random sampling with a reservoir", 1985,
/// algorithm R).
pub(super) struct Reservoir<T> {
    drawn: Vec<T>,
    offered: u64,
    max: usize,
}

impl<T> Reservoir<T> {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            drawn: Vec::new(),
            offered: 0,
            max,
        }
    }

    pub(super) fn offer(&mut self, draws: &mut Draws, thing: impl FnOnce() -> T) {
        self.offered += 1;
        if self.drawn.len() < self.max {
            self.drawn.push(thing());
            return;
        }
        let place = usize::try_from(draws.below(self.offered)).unwrap_or(usize::MAX);
        if let Some(place) = self.drawn.get_mut(place) {
            *place = thing();
        }
    }

    /// What was drawn, in an order that follows from the draws alone.
    pub(super) fn mixed(mut self, draws: &mut Draws) -> Vec<T> {
        for end in (1..self.drawn.len()).rev() {
            let other = usize::try_from(draws.below(end as u64 + 1)).unwrap_or(0);
            self.drawn.swap(end, other);
        }
        self.drawn
    }
}

/// Numbers that follow from a seed.
pub(super) struct Draws(blake3::OutputReader);

impl Draws {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(seed);
        Self(hasher.finalize_xof())
    }

    /// A seed for other draws.
    pub(super) fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill(&mut seed);
        seed
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 16];
        self.0.fill(&mut bytes);
        // Of 128 bits, so that no number is noticeably likelier than another.
        let drawn = u128::from_le_bytes(bytes) % u128::from(end.max(1));
        u64::try_from(drawn).unwrap_or(0)
    }
}

/// A shard to be asked for.
pub(super) struct Sample {
    pub(super) entry: PackEntry,
    pub(super) index: usize,
}

/// What came of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Holds,
    Fails,
    Unanswered,
}

impl Cluster {
    /// Challenges up to `samples` shards of these packs, drawn by `seed`, which nobody else may know beforehand.
    ///
    /// # Errors
    /// The ledger did not give its packs.
    pub async fn challenge(
        &self,
        packs: &PackStream<'_>,
        samples: usize,
        seed: &[u8; 32],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<ChallengeReport, LedgerError> {
        let mut draws = Draws::new(seed);
        let mut report = ChallengeReport::default();
        let sample = draw(packs, samples.min(SAMPLES_MAX), &mut draws, &mut report.shards).await?;
        let mut shown = Progress {
            total: sample.len() as u64,
            ..Progress::default()
        };
        let asked = sample.iter().map(|sample| {
            let (offset, bytes) = slice_of(&sample.entry, &mut draws);
            async move { (sample, self.inner.prove(sample, offset, bytes).await) }
        });
        let asked: Vec<_> = asked.collect();
        let mut proofs = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((sample, proof)) = proofs.next().await {
            report.asked += 1;
            match proof {
                Proof::Holds => report.proven += 1,
                Proof::Unanswered => report.unanswered += 1,
                Proof::Fails => {
                    let drive = sample.entry.drive(sample.index).unwrap_or_default();
                    *report.failed.entry(drive).or_default() += 1;
                }
            }
            shown.done += 1;
            progress(shown);
        }
        if !report.failed.is_empty() {
            self.inner.own.changes.heal.notify_one();
        }
        Ok(report)
    }
}

/// A slice of a pack's shards, drawn: offset and bytes.
pub(super) fn slice_of(entry: &PackEntry, draws: &mut Draws) -> (u32, u32) {
    let shard_bytes = entry.summary.geometry.shard_bytes;
    let leaves = u64::from(shard_bytes).div_ceil(LEAF_BYTES as u64);
    let offset = draws.below(leaves) * LEAF_BYTES as u64;
    // Inside the shard, whose length is a u32.
    let offset = u32::try_from(offset).unwrap_or(0);
    (offset, shard_bytes.saturating_sub(offset).min(LEAF_BYTES as u32))
}

/// Draws shards, each as likely as any other, in one pass over the packs.
async fn draw(
    packs: &PackStream<'_>,
    samples: usize,
    draws: &mut Draws,
    shards: &mut u64,
) -> Result<Vec<Sample>, LedgerError> {
    let mut reservoir = Reservoir::new(samples);
    let mut stream = packs().chunks(PAGE_PACKS);
    while let Some(page) = next_page(&mut stream).await? {
        for entry in &page {
            for index in entry.stored() {
                reservoir.offer(draws, || Sample {
                    entry: entry.clone(),
                    index,
                });
            }
        }
    }
    *shards = reservoir.offered;
    Ok(reservoir.drawn)
}

impl Inner {
    /// Whether a place proves that it holds a shard, by a slice at a place that it could not know: not if what it gives does not verify.
    pub(super) async fn proves(
        &self,
        place: &Place,
        entry: &PackEntry,
        index: usize,
    ) -> Result<bool, DriveFailure> {
        let (offset, bytes) = {
            let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
            slice_of(entry, &mut draws)
        };
        self.slice_holds(place, entry, index, (offset, bytes)).await
    }

    async fn slice_holds(
        &self,
        place: &Place,
        entry: &PackEntry,
        index: usize,
        (offset, bytes): (u32, u32),
    ) -> Result<bool, DriveFailure> {
        let hash = entry.summary.hash(index).ok_or(DriveFailure::Absent)?;
        let shard_bytes = entry.summary.geometry.shard_bytes;
        match place.prove(key(entry, index), offset, bytes).await {
            Ok(slice) => Ok(verify_slice(hash, shard_bytes, offset, bytes, &slice).is_ok()),
            Err(DriveFailure::Damaged) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn prove(&self, sample: &Sample, offset: u32, bytes: u32) -> Proof {
        let (entry, index) = (&sample.entry, sample.index);
        let Some(place) = self.place_of(entry, index) else {
            return Proof::Unanswered;
        };
        match self.slice_holds(&place, entry, index, (offset, bytes)).await {
            Ok(true) => Proof::Holds,
            Ok(false) => {
                self.blame(entry, index);
                Proof::Fails
            }
            Err(DriveFailure::Absent) => {
                // Deleted meanwhile, still on its way, or gone.
                if self.missing.is_deleted(entry.id()) {
                    return Proof::Unanswered;
                }
                match place.has(&[key(entry, index)]).await.as_deref() {
                    Ok([true]) => self.unmask(entry, index),
                    _ => self.missing.add_absent(entry, [index]),
                }
                Proof::Fails
            }
            Err(_) => Proof::Unanswered,
        }
    }
}

impl Place {
    /// A slice of a shard that is to verify against its hash.
    async fn prove(
        &self,
        key: engine::drive::ShardKey,
        offset: u32,
        bytes: u32,
    ) -> Result<bytes::Bytes, DriveFailure> {
        match self {
            Self::Local(drive) => {
                let drive = std::sync::Arc::clone(drive);
                let offload = drive.offload.clone();
                let proving = offload.run(move || drive.prove(&key, offset, bytes));
                proving.await.unwrap_or(Err(DriveFailure::Closed))
            }
            Self::Remote(drive) => drive.prove(key, offset, bytes).await,
        }
    }
}
