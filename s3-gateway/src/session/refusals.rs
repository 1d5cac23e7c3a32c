//! How many refusals of nobody in particular are written down one by one: anybody can cause them, and the log only grows.
//!
//! Those of verified identities are not counted here. Invariant: beyond the bucket's rate they are counted, and the count is
//! written down about once a second, so none goes unseen.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Refusals a second that are written down one by one.
const EACH_PER_SECOND: f64 = 50.0;
/// Refusals in a row that are written down one by one after a quiet time.
const BURST: f64 = 200.0;

struct State {
    tokens: f64,
    at: Instant,
    more: u64,
}

/// The bucket of one session.
pub(crate) struct Refusals(Mutex<State>);

/// What becomes of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is written down.
    Write,
    /// It is counted, and it is the first since the count was taken: the caller sees to it that it is taken again.
    CountedFirst,
    /// It is counted.
    Counted,
}

impl Refusals {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            tokens: BURST,
            at: now,
            more: 0,
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A poisoned lock holds plain numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on one more refusal.
    pub(crate) fn judge(&self, now: Instant) -> Verdict {
        let mut state = self.state();
        let since = now.saturating_duration_since(state.at).as_secs_f64();
        state.at = state.at.max(now);
        state.tokens = (state.tokens + since * EACH_PER_SECOND).min(BURST);
        if state.tokens >= 1.0 {
            state.tokens -= 1.0;
            return Verdict::Write;
        }
        state.more = state.more.saturating_add(1);
        if state.more == 1 {
            Verdict::CountedFirst
        } else {
            Verdict::Counted
        }
    }

    /// Takes the count of those that were not written down.
    pub(crate) fn take_more(&self) -> u64 {
        std::mem::take(&mut self.state().more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_written_down_at_the_buckets_rate_and_the_rest_is_counted() {
        let start = Instant::now();
        let refusals = Refusals::new(start);
        let (mut written, mut firsts) = (0u64, 0);
        for n in 0..100_000u32 {
            match refusals.judge(start + Duration::from_micros(100) * n) {
                Verdict::Write => written += 1,
                Verdict::CountedFirst => firsts += 1,
                Verdict::Counted => {}
            }
        }
        // Ten seconds at 50, and the burst.
        assert!((690..=701).contains(&written), "{written}");
        assert_eq!(firsts, 1);
        assert_eq!(refusals.take_more(), 100_000 - written);
        assert_eq!(refusals.take_more(), 0);
    }
}
