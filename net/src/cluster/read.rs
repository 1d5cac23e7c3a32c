//! Reading ranges of lanes: from the assigned drive, hedged when that is slow, rebuilt from the others when it is not
//! there.
//!
//! Nothing here checks the bytes: a chunk's authentication tag does, and when that fails the caller asks
//! [`Cluster::read_lane_verified`]. Invariant: a read ends in bytes of exactly the range asked for or an error that
//! says how many shards were there; it never waits for one slow drive while k others would do.
//!
//! A short read of a drive that has been fast lately runs on the caller's thread: a `pread` from the page cache costs
//! less than handing it over. Everything else runs on the blocking pool, beside a timer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use engine::erasure::{Coder, Source};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::cause::Cause;
use super::place::Place;
use super::put::key;
use super::{Cluster, Inner};
use crate::drives::{DriveFailure, LATENCY_UNIT_BYTES, LocalDrive};
use crate::entry::PackEntry;
use crate::peer::Purpose;

/// A hedge is sent no sooner than this, so that a busy machine does not double its own work, ...
const HEDGE_AFTER_MIN: Duration = Duration::from_millis(10);
/// ... and no later than this.
const HEDGE_AFTER_MAX: Duration = Duration::from_secs(1);

/// A read that lost to its hedge shows that its peer lags when it takes so many times the hedge's delay more, ...
const LATE_FACTOR: u32 = 4;
/// ... and no less than this: one that was busy for a moment is asked again.
const LATE_MIN: Duration = Duration::from_millis(100);

/// Why a range could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The range is not inside the lane.
    #[error("bytes {offset} + {bytes} of lane {lane} are beyond its {lane_bytes} bytes")]
    OutOfRange {
        /// The lane.
        lane: u8,
        /// Start of the range.
        offset: u32,
        /// Length of the range.
        bytes: u32,
        /// Bytes of the lane.
        lane_bytes: u32,
    },
    /// Too few shards of the pack are there.
    #[error("{have} of the {need} stored shards needed to read are there")]
    NotEnoughShards {
        /// Stored shards that could be read. Implied ones are not counted: they are there without any drive.
        have: usize,
        /// Stored shards that are needed: the code's k less the implied ones.
        need: usize,
    },
    /// The shards that are there do not give the bytes that the pack's hashes name.
    #[error("shard {index} does not have the pack's hash")]
    Wrong {
        /// The shard.
        index: usize,
    },
}

impl ReadError {
    /// Too few shards, where `have` counts those that could be read, implied ones included.
    pub(super) fn too_few(entry: &PackEntry, have: usize) -> Self {
        let code = entry.summary.geometry.code;
        let implied = code.shards() - entry.stored().count();
        Self::NotEnoughShards {
            have: have.saturating_sub(implied),
            need: code.data().saturating_sub(implied),
        }
    }
}

/// A byte range of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRange {
    /// The lane.
    pub lane: u8,
    /// Where it starts, in bytes.
    pub offset: u32,
    /// Its length, in bytes.
    pub bytes: u32,
}

impl LaneRange {
    /// Checks the range against the lane; the lane's number.
    pub(super) fn check(self, entry: &PackEntry) -> Result<usize, ReadError> {
        let Self { lane, offset, bytes } = self;
        let lane_bytes = entry
            .summary
            .geometry
            .lane_bytes
            .get(usize::from(lane))
            .copied()
            .unwrap_or(0);
        match offset.checked_add(bytes) {
            Some(end) if end <= lane_bytes => Ok(usize::from(lane)),
            _ => Err(ReadError::OutOfRange {
                lane,
                offset,
                bytes,
                lane_bytes,
            }),
        }
    }
}

impl Cluster {
    /// Reads a range of a lane. Not verified.
    pub async fn read_lane(
        &self,
        entry: &PackEntry,
        lane: u8,
        offset: u32,
        bytes: u32,
    ) -> Result<Bytes, ReadError> {
        let cause = self.cause_or(Purpose::Read);
        let range = LaneRange { lane, offset, bytes };
        let index = range.check(entry)?;
        self.inner.counters.reads.fetch_add(1, Ordering::Relaxed);
        if bytes == 0 {
            return Ok(Bytes::new());
        }
        let Some(place) = self.inner.holder(entry, index) else {
            self.inner.note_absent(entry, index);
            return self.inner.reconstruct(entry, index, range, cause).await;
        };
        if self.inner.is_doubtful(&place, entry, index)
            && let Ok(rebuilt) = self.inner.reconstruct(entry, index, range, cause).await
        {
            return Ok(rebuilt);
        }
        if let Some(drive) = place.local().filter(|drive| drive.is_quick(bytes)) {
            match drive.read_range(&key(entry, index), offset, bytes) {
                Ok(read) => return Ok(read),
                Err(failure) => {
                    let inner = &self.inner;
                    return inner.after_failure(entry, index, range, (failure, cause)).await;
                }
            }
        }
        self.inner.read_hedged(entry, index, range, (&place, cause)).await
    }

    /// Reads several ranges of one pack, in order: those of this machine's drives in one task of the blocking pool, those of
    /// peers at one time. Not verified.
    pub async fn read_lanes(&self, entry: &PackEntry, ranges: &[LaneRange]) -> Result<Vec<Bytes>, ReadError> {
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        let mut hedge_after = Duration::ZERO;
        for (number, range) in ranges.iter().enumerate() {
            let index = range.check(entry)?;
            // What a stuck drive should give is rebuilt from the others.
            let place = self.inner.holder(entry, index);
            let place = place.filter(|place| !place.lags());
            match place {
                Some(Place::Local(drive)) => {
                    hedge_after += self.inner.hedge_delay(range.bytes);
                    local.push((number, drive, key(entry, index), *range));
                }
                Some(Place::Remote(_)) => remote.push((number, *range)),
                None => {}
            }
        }
        let mut read: Vec<Option<Bytes>> = vec![None; ranges.len()];
        let mut keep = |(number, bytes): (usize, Option<Bytes>)| {
            if let Some(place) = read.get_mut(number) {
                *place = bytes;
            }
        };
        if !local.is_empty() {
            let count = local.len() as u64;
            self.inner.counters.reads.fetch_add(count, Ordering::Relaxed);
            let direct = self.inner.own.config.offload.run(move || {
                let read = |(number, drive, key, range): (_, Arc<LocalDrive>, _, LaneRange)| {
                    (number, drive.read_range(&key, range.offset, range.bytes).ok())
                };
                local.into_iter().map(read).collect::<Vec<_>>()
            });
            // Past the timer each range goes its own way; the task's reads are then for nothing.
            if let Ok(Ok(direct)) = tokio::time::timeout(hedge_after.max(HEDGE_AFTER_MIN * 5), direct).await {
                direct.into_iter().for_each(&mut keep);
            }
        }
        let asking = remote.into_iter().map(|(number, range)| async move {
            let read = self.read_lane(entry, range.lane, range.offset, range.bytes).await;
            (number, read)
        });
        for (number, read) in futures::future::join_all(asking).await {
            keep((number, Some(read?)));
        }
        let mut all = Vec::with_capacity(ranges.len());
        for (range, read) in ranges.iter().zip(read) {
            all.push(match read {
                Some(read) => read,
                None => {
                    self.read_lane(entry, range.lane, range.offset, range.bytes)
                        .await?
                }
            });
        }
        Ok(all)
    }
}

impl Inner {
    /// How long a read may take before others are asked as well: the p95 of a middling drive, so that one slow drive
    /// does not set its own measure.
    fn hedge_delay(&self, bytes: u32) -> Duration {
        let layout = self.layout();
        let present = layout.places().iter().filter(|place| place.is_present());
        let mut p95s: Vec<Duration> = present.filter_map(|place| place.latency().p95()).collect();
        p95s.sort_unstable();
        let middling = p95s
            .get(p95s.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or_default();
        let units = bytes.div_ceil(LATENCY_UNIT_BYTES).max(1);
        (middling * units).clamp(HEDGE_AFTER_MIN, HEDGE_AFTER_MAX)
    }

    /// The place that should hold shard `index` and may.
    pub(super) fn holder(&self, entry: &PackEntry, index: usize) -> Option<Place> {
        let place = self.place_of(entry, index)?;
        let holds = place.holds_now(&key(entry, index));
        holds.unwrap_or(place.is_present()).then_some(place)
    }

    /// Whether a peer's shard is known to be missing: it is asked for last, for it may be there again.
    fn is_doubtful(&self, place: &Place, entry: &PackEntry, index: usize) -> bool {
        place.local().is_none() && self.missing.lacks(entry.id(), index)
    }

    /// A drive that is there without a shard that it should hold: healing looks at it in its next round, by when a put
    /// that is still under way has come to its end.
    fn note_absent(&self, entry: &PackEntry, index: usize) {
        let present = self.place_of(entry, index).filter(|place| place.is_present());
        if present.is_some_and(|place| place.holds_now(&key(entry, index)) == Some(false)) {
            self.missing.add(entry, [index]);
        }
    }

    /// The code's tables; those of the usual code are at hand.
    pub(super) fn coder(&self, code: engine::pack::Code) -> Arc<Coder> {
        if code == self.code {
            Arc::clone(&self.coder)
        } else {
            Arc::new(Coder::new(code))
        }
    }

    async fn after_failure(
        &self,
        entry: &PackEntry,
        index: usize,
        range: LaneRange,
        (failure, cause): (DriveFailure, Cause),
    ) -> Result<Bytes, ReadError> {
        match failure {
            DriveFailure::Absent => self.missing.add_absent(entry, [index]),
            DriveFailure::Damaged => self.missing.add(entry, [index]),
            _ => return self.reconstruct(entry, index, range, cause.again()).await,
        }
        self.own.changes.heal.notify_one();
        self.reconstruct(entry, index, range, cause.again()).await
    }

    async fn read_hedged(
        &self,
        entry: &PackEntry,
        index: usize,
        range: LaneRange,
        (place, cause): (&Place, Cause),
    ) -> Result<Bytes, ReadError> {
        // No more threads for a drive that is stuck, and no waiting for a peer that is frozen, as long as the others will do.
        if place.lags()
            && let Ok(rebuilt) = self.reconstruct(entry, index, range, cause.hedged()).await
        {
            return Ok(rebuilt);
        }
        let after = self.hedge_delay(range.bytes);
        let mut direct = Box::pin(read_at(place.clone(), entry, index, range, cause));
        match tokio::time::timeout(after, &mut direct).await {
            Ok((_, Ok(read))) => return Ok(read),
            Ok((_, Err(failure))) => return self.after_failure(entry, index, range, (failure, cause)).await,
            Err(_) => {}
        }
        self.counters.hedges.fetch_add(1, Ordering::Relaxed);
        let others = self.reconstruct(entry, index, range, cause.hedged());
        tokio::pin!(others);
        let rebuilt = tokio::select! {
            biased;
            (_, read) = &mut direct => return match read {
                Ok(read) => Ok(read),
                Err(_) => others.await,
            },
            rebuilt = &mut others => rebuilt,
        };
        match rebuilt {
            Ok(rebuilt) => {
                place.leave(direct, (after * LATE_FACTOR).max(LATE_MIN));
                Ok(rebuilt)
            }
            // Too few others: the slow drive is all there is.
            Err(error) => direct.await.1.map_err(|_| error),
        }
    }

    /// Computes a range of a lane from the same range of k other shards, the fastest drives first; when one is slow or
    /// fails, the next is asked.
    async fn reconstruct(
        &self,
        entry: &PackEntry,
        want: usize,
        range: LaneRange,
        cause: Cause,
    ) -> Result<Bytes, ReadError> {
        let geometry = &entry.summary.geometry;
        let (need, shards) = (geometry.code.data(), geometry.code.shards());
        let others = (0..shards).filter(|index| *index != want);
        let implied = others.clone().filter(|index| geometry.is_implied(*index)).count();
        let mut holders: Vec<_> = others
            .filter(|index| !geometry.is_implied(*index))
            .filter_map(|index| self.holder(entry, index).map(|place| (index, place)))
            .collect();
        // The fastest is asked first, so it stands last.
        holders.sort_by_cached_key(|(index, place)| {
            let p95 = place.latency().p95().unwrap_or_default();
            let doubtful = self.is_doubtful(place, entry, *index);
            std::cmp::Reverse((doubtful, place.under_way().is_stuck(HEDGE_AFTER_MIN), p95))
        });
        let mut read: Vec<Option<Bytes>> = vec![None; shards];
        let mut have = implied;
        let mut asked = FuturesUnordered::new();
        let short = need.saturating_sub(implied);
        let ask = |(index, place)| read_at(place, entry, index, range, cause);
        asked.extend(
            holders
                .split_off(holders.len().saturating_sub(short))
                .into_iter()
                .map(ask),
        );
        while have < need {
            let answer = tokio::time::timeout(HEDGE_AFTER_MAX, asked.next()).await;
            match answer {
                Ok(Some((index, Ok(bytes)))) => {
                    have += 1;
                    if let Some(place) = read.get_mut(index) {
                        *place = Some(bytes);
                    }
                    continue;
                }
                Ok(Some((index, Err(DriveFailure::Absent | DriveFailure::Damaged)))) => {
                    self.missing.add(entry, [index]);
                }
                Ok(Some((_, Err(_)))) | Err(_) => {}
                Ok(None) if holders.is_empty() => return Err(ReadError::too_few(entry, have)),
                Ok(None) => {}
            }
            if let Some(next) = holders.pop() {
                asked.push(ask(next));
            }
        }
        self.counters.reconstructed.fetch_add(1, Ordering::Relaxed);
        let coder = self.coder(geometry.code);
        let sources = sources(entry, &read);
        let mut rebuilt = coder
            .reconstruct(range.bytes as usize, &sources, &[want])
            .map_err(|_| ReadError::too_few(entry, have))?;
        rebuilt
            .pop()
            .map(Bytes::from)
            .ok_or(ReadError::too_few(entry, have))
    }
}

/// What is at hand of each shard: what was read, and zeros for the implied ones.
pub(super) fn sources<'a>(entry: &PackEntry, read: &'a [Option<Bytes>]) -> Vec<Source<'a>> {
    let geometry = &entry.summary.geometry;
    let source = |(index, bytes): (usize, &'a Option<Bytes>)| match bytes {
        _ if geometry.is_implied(index) => Source::Zeros,
        Some(bytes) => Source::Bytes(bytes),
        None => Source::Missing,
    };
    read.iter().enumerate().map(source).collect()
}

/// Reads a range of a shard.
fn read_at(
    place: Place,
    entry: &PackEntry,
    index: usize,
    range: LaneRange,
    cause: Cause,
) -> impl Future<Output = (usize, Result<Bytes, DriveFailure>)> + use<> {
    let key = key(entry, index);
    async move {
        let read = place.read_range(key, (range.offset, range.bytes), cause);
        (index, read.await)
    }
}
