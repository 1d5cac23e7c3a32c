//! How long a drive's reads take, as a decaying histogram: what decides when a read is hedged and whether it may run
//! on the caller's thread.
//!
//! It is not a metric for people; it forgets. Invariant: recording and asking never wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Buckets by powers of two of microseconds: the last one is half a minute and more.
const BUCKETS: usize = 26;
/// After so many samples every bucket is halved, so that a drive that became slow, or fast again, is seen soon.
const SAMPLES_MAX: u32 = 512;

/// A decaying histogram of durations.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU32; BUCKETS],
    samples: AtomicU32,
    last_us: AtomicU64,
}

impl Latency {
    /// Notes one duration.
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(micros, Ordering::Relaxed);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        if let Some(count) = self.buckets.get(bucket.min(BUCKETS - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if self.samples.fetch_add(1, Ordering::Relaxed) + 1 >= SAMPLES_MAX {
            self.samples.store(SAMPLES_MAX / 2, Ordering::Relaxed);
            for count in &self.buckets {
                // Lost updates between the load and the store cost a sample, nothing else.
                count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
    }

    /// Whether the last one, and 95 of 100 recent ones, took no longer than `limit`; true before the first.
    pub(crate) fn is_within(&self, limit: Duration) -> bool {
        let last = Duration::from_micros(self.last_us.load(Ordering::Relaxed));
        last <= limit && self.p95().is_none_or(|p95| p95 <= limit)
    }

    /// The duration that 95 of 100 reads stay under, rounded up to a power of two of microseconds; `None` before the
    /// first read.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let counts: [u64; BUCKETS] = std::array::from_fn(|at| {
            self.buckets
                .get(at)
                .map_or(0, |n| u64::from(n.load(Ordering::Relaxed)))
        });
        let total: u64 = counts.iter().sum();
        let need = (total * 95).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in counts.into_iter().enumerate() {
            seen += count;
            if count > 0 && seen >= need {
                return Some(Duration::from_micros(1 << bucket));
            }
        }
        None
    }
}

/// The reads of a drive that are under way: a drive that is stuck shows here long before its latency does.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    began: Mutex<(u64, BTreeMap<u64, Instant>)>,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Instant>)> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a read begins; it ends when the answer is dropped.
    pub(crate) fn begin(&self) -> Begun<'_> {
        let mut began = self.lock();
        let number = began.0;
        began.0 += 1;
        began.1.insert(number, Instant::now());
        Begun { of: self, number }
    }

    /// Whether a read has been under way for longer than this.
    pub(crate) fn is_stuck(&self, longer_than: Duration) -> bool {
        let began = self.lock();
        began
            .1
            .first_key_value()
            .is_some_and(|(_, began)| began.elapsed() > longer_than)
    }
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    of: &'a UnderWay,
    number: u64,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.of.lock().1.remove(&self.number);
    }
}

/// The one read of a drive that is waited for although others have answered in its place. While it is late the drive lags: it is asked last, instead of
/// by every reader until a time is up.
#[derive(Debug, Default)]
pub(crate) struct Lag(Mutex<Option<Instant>>);

impl Lag {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for one, which counts as late after `late`. False if another is waited for.
    pub(crate) fn begin(&self, late: Duration) -> bool {
        let mut from = self.lock();
        let is_free = from.is_none();
        if is_free {
            *from = Some(Instant::now() + late);
        }
        is_free
    }

    /// It has ended, somehow.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    /// Whether one is waited for and late.
    pub(crate) fn is_late(&self) -> bool {
        self.lock().is_some_and(|from| Instant::now() >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p95_follows_what_happens_and_forgets() {
        let latency = Latency::default();
        assert_eq!(latency.p95(), None);
        for _ in 0..100 {
            latency.record(Duration::from_micros(10));
        }
        assert_eq!(latency.p95(), Some(Duration::from_micros(16)));
        for _ in 0..30 {
            latency.record(Duration::from_millis(50));
        }
        assert!(latency.p95().unwrap() >= Duration::from_millis(50));
        for _ in 0..5_000 {
            latency.record(Duration::from_micros(10));
        }
        assert_eq!(latency.p95(), Some(Duration::from_micros(16)));
    }
}
