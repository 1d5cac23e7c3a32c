//! Challenges in the background: all the time, at a small pace, every drive has shards proven that are drawn from the ledger's packs.
//!
//! A round draws a sample of all shards, mixes it and asks for one after another. Before each it looks whether the entry still says so, since
//! a round may take an hour. What is found goes the way of every challenge: whoever lied is counted and shown, and its shard made again.
//! Invariants: no more than the pace is asked for, whatever is answered; a round remembers a bounded sample, the window a bounded number of
//! answers; a drive that does not answer is not accused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use engine::slots::Address;
use futures::StreamExt;
use tokio::time::Instant;

use super::challenge::{Draws, Proof, Reservoir, Sample, slice_of};
use super::moving::{Placed, placed};
use super::replacing::open;
use super::{Cluster, Inner};
use crate::entry::DriveId;
use crate::ledger::{Ledger, LedgerError};

/// Challenges of each drive in an hour, unless somebody says otherwise: one a minute, for which it reads 2 MiB at most.
pub const CHALLENGES_PER_HOUR: u32 = 60;
/// Most challenges of each drive in an hour.
pub const CHALLENGES_PER_HOUR_MAX: u32 = 36_000;
/// Shards of one round: few enough that what was stored lately is soon drawn from too.
const ROUND_MAX: usize = 240;
/// How long until a round is tried again that found nothing, or no ledger.
const AGAIN: Duration = Duration::from_secs(5);
/// Answers older than this are no news.
const WINDOW: Duration = Duration::from_secs(24 * 3_600);
/// Most answers that are remembered.
const ANSWERS_MAX: usize = 65_536;

/// The answers of one drive to the challenges of the last while.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Challenged {
    /// How long that while is, in seconds.
    pub seconds: u64,
    /// Challenges.
    pub asked: u64,
    /// Those that were answered with a proof.
    pub proven: u64,
    /// Those that nobody answered.
    pub unanswered: u64,
    /// Stored shards that the ledger places there, when they were counted last.
    pub shards: u64,
    /// How likely so many would have met a bad shard, if one of a hundred there is bad: 0 to 1.
    pub detection: f64,
}

/// What is remembered of challenges.
#[derive(Debug, Default)]
pub(super) struct Answers {
    since: Option<Instant>,
    recent: VecDeque<(Instant, DriveId, Proof)>,
    shards: BTreeMap<DriveId, u64>,
}

impl Answers {
    fn note(&mut self, drive: DriveId, proof: Proof) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        self.recent.push_back((now, drive, proof));
        self.forget_old(now);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, ..)) = self.recent.front() {
            let is_old = now.duration_since(*at) > WINDOW;
            if !is_old && self.recent.len() <= ANSWERS_MAX {
                return;
            }
            // What is still known begins with the next.
            self.recent.pop_front();
            self.since = self.recent.front().map(|(at, ..)| *at);
        }
    }

    fn of(&self, drive: &DriveId) -> Challenged {
        let mut found = Challenged {
            seconds: self.since.map_or(0, |since| since.elapsed().as_secs()),
            shards: self.shards.get(drive).copied().unwrap_or(0),
            ..Challenged::default()
        };
        for (.., proof) in self.recent.iter().filter(|(_, of, _)| of == drive) {
            found.asked += 1;
            match proof {
                Proof::Holds => found.proven += 1,
                Proof::Unanswered => found.unanswered += 1,
                Proof::Fails => {}
            }
        }
        found.detection = detection_of_draws(found.shards, found.proven, 0.01);
        found
    }
}

/// How likely `asked` shards out of `shards`, each drawn anew, meet a bad one, if the part `bad` (0 to 1) of them is bad.
fn detection_of_draws(shards: u64, asked: u64, bad: f64) -> f64 {
    if shards == 0 || asked == 0 {
        return 0.0;
    }
    let bad_shards = (shards as f64 * bad).ceil();
    let missed = (1.0 - bad_shards / shards as f64).max(0.0);
    1.0 - missed.powf(asked as f64)
}

/// A shard of a round.
struct Drawn {
    address: Address,
    sample: Sample,
}

impl Cluster {
    /// Challenges every drive `per_hour` times an hour from now on; 0 is never. Ends when the cluster is closed.
    pub fn start_challenging(&self, ledger: Arc<dyn Ledger>, per_hour: u32) {
        if per_hour == 0 {
            return;
        }
        let per_hour = per_hour.min(CHALLENGES_PER_HOUR_MAX);
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            while open(&weak).is_some() {
                match round(&weak, &*ledger, per_hour).await {
                    Ok(true) => {}
                    Ok(false) => tokio::time::sleep(AGAIN).await,
                    Err(error) => {
                        tracing::debug!(%error, "a round of challenges broke off; the next begins later");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        });
    }

    /// How a drive answered the challenges of the last while.
    pub fn challenged(&self, drive: &DriveId) -> Challenged {
        self.inner.answers().of(drive)
    }
}

/// One round; whether there was anything to ask for.
async fn round(weak: &Weak<Inner>, ledger: &dyn Ledger, per_hour: u32) -> Result<bool, LedgerError> {
    let mut draws = {
        let Some(cluster) = open(weak) else {
            return Ok(false);
        };
        cluster.inner.more_draws()
    };
    let (sample, shards) = draw(ledger, &mut draws).await?;
    let was_any = !sample.is_empty();
    if let Some(cluster) = open(weak) {
        cluster.inner.answers().shards = shards;
    }
    for drawn in sample {
        let Some(pause) = open(weak).map(|cluster| cluster.inner.pause(per_hour)) else {
            return Ok(false);
        };
        tokio::time::sleep(pause).await;
        let now = ledger.get(drawn.address).await?;
        let Some(cluster) = open(weak) else {
            return Ok(false);
        };
        let (entry, index) = (&drawn.sample.entry, drawn.sample.index);
        let now = now.as_ref().and_then(Placed::of);
        let Some(drive) = now
            .and_then(|now| now.entry.drive(index))
            .filter(|now| Some(*now) == entry.drive(index))
        else {
            // Deleted or moved since.
            continue;
        };
        // It is known already and will be made again.
        if cluster.inner.missing.lacks(entry.id(), index) {
            continue;
        }
        let (offset, bytes) = slice_of(entry, &mut draws);
        let proof = cluster.inner.prove(&drawn.sample, offset, bytes).await;
        if matches!(proof, Proof::Fails) {
            cluster.inner.own.changes.heal.notify_one();
        }
        cluster.inner.answers().note(drive, proof);
    }
    Ok(was_any)
}

/// The shards of a round, in an order that nobody can foresee; and how many each drive has.
async fn draw(
    ledger: &dyn Ledger,
    draws: &mut Draws,
) -> Result<(Vec<Drawn>, BTreeMap<DriveId, u64>), LedgerError> {
    let mut reservoir = Reservoir::new(ROUND_MAX);
    let mut shards: BTreeMap<DriveId, u64> = BTreeMap::new();
    let mut stream = placed(ledger).await?;
    while let Some(placed) = stream.next().await {
        let Placed { address, entry, .. } = placed?;
        for index in entry.stored() {
            if let Some(drive) = entry.drive(index) {
                *shards.entry(drive).or_default() += 1;
            }
            reservoir.offer(draws, || Drawn {
                address,
                sample: Sample {
                    entry: entry.clone(),
                    index,
                },
            });
        }
    }
    Ok((reservoir.mixed(draws), shards))
}

impl Inner {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seed of its own for a round.
    fn more_draws(&self) -> Draws {
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        Draws::new(&draws.seed())
    }

    /// How long until the next challenge: each drive that is there has its share.
    fn pause(&self, per_hour: u32) -> Duration {
        let layout = self.layout();
        let present = layout.places().iter().filter(|place| place.is_present()).count();
        let all = u64::from(per_hour) * present.max(1) as u64;
        Duration::from_micros(3_600_000_000 / all.max(1))
    }
}
