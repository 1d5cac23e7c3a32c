//! The fence of the lease that was taken here: what withdraws appends that nobody was told of what became of them.
//!
//! Every append under the lease expects the fence to stand as it did when the append was submitted. Once it is raised, by an append of its own, whatever
//! was submitted before is in the ledger already or never will be, however late a call comes. Invariant: what is noted as the fence's
//! sequence never goes back while one lease lives.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use engine::slots::{Append, Expectation, Sequence, Write, fence_address};

/// The version of the entry, which says nothing else.
const VALUE: &[u8] = &[1];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fence {
    /// The sequence of the entry as far as it is known here; 0 while there is none.
    at: AtomicU64,
    /// How often it was to be raised.
    raised: AtomicU64,
}

impl Fence {
    /// A lease was taken, which has none yet.
    pub(super) fn begin(&self) {
        self.at.store(0, Ordering::Release);
    }

    /// What an append under the lease expects.
    pub(super) fn expectation(&self, lease: u64) -> Expectation {
        match self.at.load(Ordering::Acquire) {
            0 => Expectation::Absent(fence_address(lease)),
            at => Expectation::At(fence_address(lease), Sequence(at)),
        }
    }

    /// It stands with this sequence, or a higher one.
    pub(super) fn note(&self, sequence: Sequence) {
        self.at.fetch_max(sequence.0, Ordering::AcqRel);
    }

    /// The append that raises it, another one each time.
    pub(super) fn raise(&self, lease: u64) -> Append {
        let count = self.raised.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 fence operation");
        hasher.update(&lease.to_le_bytes()).update(&count.to_le_bytes());
        let mut operation = [0; 16];
        hasher.finalize_xof().fill(&mut operation);
        Append {
            operation,
            lease,
            vault: [0; 16],
            expectations: Vec::new(),
            writes: vec![Write {
                address: fence_address(lease),
                value: Some(Bytes::from_static(VALUE)),
            }],
            record: None,
        }
    }
}
