//! Claims on their way: what a claim says besides its value, and the guard that keeps checkpoints from settling it early.
//!
//! Invariant: from before a claim is written until its append is answered or given up, no checkpoint goes through a sequence
//! above the claim's `after`.

use super::{Inner, now_ms};
use engine::slots::{Address, Sequence};
use std::sync::{Arc, PoisonError};
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

/// Holds checkpoints back from settling a claim while its append is not answered.
pub(crate) struct ClaimGuard {
    inner: Arc<Inner>,
    after: Sequence,
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
            claims.begin(after);
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
                inner: Arc::clone(inner),
                after,
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
    /// One that holds back what the oldest of those that are held now does.
    pub(crate) fn of_all(inner: &Arc<Inner>) -> Self {
        let mut claims = inner.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let after = claims.settled_below(inner.applied());
        claims.begin(after);
        Self {
            inner: Arc::clone(inner),
            after,
        }
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.inner
            .claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end(self.after);
    }
}
