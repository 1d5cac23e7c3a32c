//! The fence of the lease that was taken here: what withdraws appends that nobody was told of what became of them.
//!
//! Every append under the lease expects the fence to stand as it did when the append was submitted. Once it is raised, by an append of its own, whatever
//! was submitted before is in the ledger already or never will be, however late a call comes. Invariants: once a call is *in doubt*, that is
//! not answered or answered only at a second try, nothing more is submitted under the lease until the fence was raised; what is known of
//! it is of one lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use engine::slots::{Append, Expectation, Sequence, Write, fence_address};

use super::super::operation::operation;

/// The version of the entry, which says nothing else.
const VALUE: &[u8] = &[1];

#[derive(Debug, Default)]
struct State {
    /// The lease; 0 before one was taken.
    lease: u64,
    /// The sequence of the entry as far as it is known here; 0 while there is none.
    at: u64,
    /// How often a call was in doubt, and how many of these times what was submitted until then was withdrawn.
    doubts: u64,
    withdrawn: u64,
    /// Whether the lease has ended: nothing is applied under it any more.
    has_ended: bool,
}

/// What an append is to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing: it is of another lease than the one taken here.
    Nothing,
    /// It is not to be submitted before the fence was raised.
    InDoubt,
    /// This, besides its own.
    Fence(Expectation),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fence {
    state: Mutex<State>,
    /// How often it was to be raised.
    raised: AtomicU64,
    /// How often that did not come to an end.
    failed: AtomicU64,
    /// Held while it is raised.
    raising: tokio::sync::Mutex<()>,
}

impl State {
    const fn is_in_doubt(&self) -> bool {
        self.doubts > self.withdrawn
    }
}

impl Fence {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease was taken, which has none yet.
    pub(super) fn begin(&self, lease: u64) {
        *self.state() = State {
            lease,
            ..State::default()
        };
    }

    /// What an append under `lease` is to expect.
    pub(super) fn expected(&self, lease: u64) -> Expected {
        let state = self.state();
        if lease != state.lease || lease == 0 {
            return Expected::Nothing;
        }
        if state.is_in_doubt() {
            return Expected::InDoubt;
        }
        Expected::Fence(match state.at {
            0 => Expectation::Absent(fence_address(lease)),
            at => Expectation::At(fence_address(lease), Sequence(at)),
        })
    }

    /// An append of this lease may yet be carried out.
    pub(super) fn doubt(&self, lease: u64) {
        let mut state = self.state();
        state.doubts += u64::from(lease == state.lease);
    }

    /// If nothing is in doubt: the sequence by which everything is applied that ever was.
    pub(super) fn settled(&self) -> Option<Sequence> {
        let state = self.state();
        (!state.is_in_doubt()).then_some(Sequence(state.at))
    }

    /// The fence of `lease` was seen to stand with this sequence, or not to stand.
    pub(super) fn note(&self, lease: u64, stands: Option<Sequence>) {
        let mut state = self.state();
        // While something is in doubt whoever raises it says where it stands.
        if lease == state.lease && !state.is_in_doubt() {
            state.at = stands.map_or(0, |sequence| state.at.max(sequence.0));
        }
    }

    /// It was raised by an append that was submitted when there had been `doubts`: of these calls none is applied later.
    pub(super) fn is_raised(&self, lease: u64, sequence: Sequence, doubts: u64) {
        let mut state = self.state();
        if lease == state.lease {
            // In one step: nobody submits with the new one before the doubt is gone.
            state.withdrawn = state.withdrawn.max(doubts);
            state.at = state.at.max(sequence.0);
        }
    }

    /// The lease has ended.
    pub(super) fn end(&self, lease: u64) {
        let mut state = self.state();
        state.has_ended |= lease == state.lease;
    }

    /// Whether it has.
    pub(super) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// To be held by whoever raises it.
    pub(super) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.raising.lock().await
    }

    /// How often raising it did not come to an end.
    pub(super) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    /// It did not.
    pub(super) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::AcqRel);
    }

    /// The append that raises it, another one each time, and how many doubts there have been.
    pub(super) fn raise(&self) -> (Append, u64) {
        let (lease, doubts) = {
            let state = self.state();
            (state.lease, state.doubts)
        };
        let count = self.raised.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 fence operation");
        hasher.update(&lease.to_le_bytes()).update(&count.to_le_bytes());
        let append = Append {
            operation: operation(&hasher),
            lease,
            vault: [0; 16],
            expectations: Vec::new(),
            writes: vec![Write {
                address: fence_address(lease),
                value: Some(Bytes::from_static(VALUE)),
            }],
            record: None,
        };
        (append, doubts)
    }
}
