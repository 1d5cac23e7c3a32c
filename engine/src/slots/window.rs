//! The last appends by content, so that a repeated one gets its first result.
//!
//! It holds digests, no content. Invariant: at most [`WINDOW_APPENDS`] are remembered, whatever is asked.

use std::collections::{HashMap, VecDeque};

use super::{Append, RecordPart, Write};

/// How many of the last appends are remembered.
pub const WINDOW_APPENDS: u64 = 65_536;

/// The first half of a hash over an append without its expectations and sequence.
pub(super) type Digest = [u8; 16];

#[derive(Debug, Default)]
pub(super) struct Window {
    sequences: HashMap<Digest, u64>,
    order: VecDeque<(u64, Digest)>,
}

impl Window {
    pub(super) fn get(&self, digest: &Digest) -> Option<u64> {
        self.sequences.get(digest).copied()
    }

    pub(super) fn insert(&mut self, digest: Digest, sequence: u64) {
        self.sequences.insert(digest, sequence);
        self.order.push_back((sequence, digest));
        while let Some((oldest, digest)) = self.order.front().copied() {
            if oldest + WINDOW_APPENDS > sequence {
                break;
            }
            self.order.pop_front();
            // Unless the same content came again later, which only a log written by another program holds.
            if self.sequences.get(&digest) == Some(&oldest) {
                self.sequences.remove(&digest);
            }
        }
    }

    /// Forgets what was inserted with `sequence` or a higher one.
    pub(super) fn forget_from(&mut self, sequence: u64) {
        while let Some((newest, digest)) = self.order.pop_back_if(|(newest, _)| *newest >= sequence) {
            if self.sequences.get(&digest) == Some(&newest) {
                self.sequences.remove(&digest);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sequences.len().max(self.order.len())
    }
}

/// The digest of what an append is to do.
pub(super) fn content_of(append: &Append) -> Digest {
    digest(
        &append.operation,
        append.lease,
        &append.vault,
        &append.writes,
        append.record.as_ref(),
    )
}

/// The digest of an append's content. Every field has a fixed width or its length before it, so that no two contents
/// share an input.
pub(super) fn digest(
    operation: &[u8; 16],
    lease: u64,
    vault: &[u8; 16],
    writes: &[Write],
    record: Option<&RecordPart>,
) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(operation)
        .update(&lease.to_le_bytes())
        .update(vault);
    hasher.update(&(writes.len() as u64).to_le_bytes());
    for Write { address, value } in writes {
        hasher
            .update(&address.scope)
            .update(&[address.kind.into()])
            .update(&address.slot);
        match value {
            None => hasher.update(&[0]),
            Some(value) => hasher
                .update(&[1])
                .update(&(value.len() as u64).to_le_bytes())
                .update(value),
        };
    }
    if let Some(RecordPart { commitment, body }) = record {
        hasher.update(commitment).update(body);
    }
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}
