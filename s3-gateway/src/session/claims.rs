//! Claims on their way: what a claim says besides its value, and the guard that keeps checkpoints from settling it early.
//!
//! Invariant: from before a claim is written until its append is answered or given up, no checkpoint goes through a sequence
//! above the claim's `after`.

use super::{Inner, now_ms};
use engine::slots::{Address, Sequence};
use std::sync::{Arc, Mutex, PoisonError};
use vault::checkpoint::InFlight;
use vault::claim::{Claim, ClaimValue};

/// Bytes a claim has besides the value it carries.
pub(crate) const CLAIM_HEAD_BYTES: usize = 96;

/// Everything of a claim but its value.
pub(crate) struct ClaimHead {
    slot: [u8; 16],
    epoch: u64,
    clock_ms: u64,
    after: Sequence,
    operation: [u8; 16],
}

/// The claims of a session that are on their way.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Their callers wait for the answer.
    waiting: InFlight,
    /// Nobody was answered, and the ledger has not settled them yet.
    unsettled: InFlight,
}

impl Claims {
    /// Every claim with an `after` below this has ended.
    pub(crate) fn settled_below(&self, applied: Sequence) -> Sequence {
        self.waiting
            .settled_below(applied)
            .min(self.unsettled.settled_below(applied))
    }
}

/// Holds checkpoints back from settling a claim while its append is not answered.
pub(crate) struct ClaimGuard {
    claims: Arc<Mutex<Claims>>,
    after: Sequence,
    is_unsettled: bool,
}

impl ClaimHead {
    /// The head of a claim about to be written, and its guard, to be kept until the append is answered or given up.
    pub(crate) fn new(
        inner: &Arc<Inner>,
        operation: [u8; 16],
        address: Address,
        epoch: u64,
    ) -> (Self, ClaimGuard) {
        let after = {
            // Under the lock, so that a checkpoint either sees this claim or is not above it.
            let mut claims = inner.claims.lock().unwrap_or_else(PoisonError::into_inner);
            let after = inner.applied();
            claims.waiting.begin(after);
            after
        };
        let head = Self {
            slot: address.slot,
            epoch,
            clock_ms: now_ms(),
            after,
            operation,
        };
        (
            head,
            ClaimGuard {
                claims: Arc::clone(&inner.claims),
                after,
                is_unsettled: false,
            },
        )
    }

    pub(crate) fn claim(self, value: ClaimValue) -> Claim {
        Claim {
            slot: self.slot,
            epoch: self.epoch,
            clock_ms: self.clock_ms,
            after: self.after,
            operation: self.operation,
            value,
        }
    }
}

impl ClaimGuard {
    /// One for a claim whose caller gives up waiting and still holds its own. Of those that wait it holds back what the oldest does.
    pub(crate) fn unsettled(inner: &Arc<Inner>) -> Self {
        let mut claims = inner.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let after = claims.waiting.settled_below(inner.applied());
        claims.unsettled.begin(after);
        Self {
            claims: Arc::clone(&inner.claims),
            after,
            is_unsettled: true,
        }
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let claims = match self.is_unsettled {
            true => &mut claims.unsettled,
            false => &mut claims.waiting,
        };
        claims.end(self.after);
    }
}
