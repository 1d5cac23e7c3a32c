//! How long a drive's reads take, as a decaying histogram: what decides when a read is hedged and whether it may run
//! on the caller's thread.
//!
//! It is not a metric for people; it forgets. Invariant: recording and asking never wait.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

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
