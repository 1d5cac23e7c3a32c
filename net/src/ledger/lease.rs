//! Changing the entry of a lease that is there: its progress, its end.
//!
//! It takes none: members and the flusher of a local ledger do, by the number. Invariant: an entry changes only from what was read, so that a
//! lease that somebody ended meanwhile stays ended.

use std::time::Duration;

use engine::slots::{
    Append, Expectation, LeaseEntry, LeaseProgress, LeaseState, Outcome, Sequence, lease_address,
    lease_writes,
};

use super::operation::operation;
use super::{Ledger, LedgerError};

/// How often an entry that changes meanwhile is read again.
const TRIES_MAX: usize = 16;

/// How long the ledger may take to give what it has heard of already.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The entry is as it was wanted.
    Done,
    /// The lease under which it was to be changed has ended.
    Ended,
}

/// Changes the entry of lease `number` under lease `own`, which lives; `change` says what from, and `None` for nothing to do.
///
/// # Errors
/// The ledger did not answer, or has no such lease.
pub async fn change(
    ledger: &dyn Ledger,
    own: u64,
    number: u64,
    change: impl Fn(&LeaseEntry) -> Option<LeaseEntry>,
) -> Result<Changed, LedgerError> {
    let address = lease_address(number);
    for _ in 0..TRIES_MAX {
        let entry = ledger.get(address).await?.ok_or(NO_LEASE)?;
        let read = LeaseEntry::decode(&entry.value).map_err(|_| NO_LEASE)?;
        let Some(wanted) = change(&read) else {
            return Ok(Changed::Done);
        };
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 lease change operation");
        hasher
            .update(&own.to_le_bytes())
            .update(&number.to_le_bytes())
            .update(&entry.sequence.0.to_le_bytes())
            .update(&wanted.encode());
        let append = Append {
            operation: operation(&hasher),
            lease: own,
            vault: [0; 16],
            expectations: vec![Expectation::At(address, entry.sequence)],
            writes: lease_writes(number, &wanted).collect(),
            record: None,
        };
        // What frees space may use what is kept for that; a mere sign of life may not.
        let frees = wanted.state != read.state || wanted.horizon() > read.horizon();
        let appended = match frees {
            true => ledger.append_urgent(append).await?,
            false => ledger.append(append).await?,
        };
        match appended {
            Outcome::Applied { .. } => return Ok(Changed::Done),
            Outcome::LeaseEnded { .. } => return Ok(Changed::Ended),
            Outcome::Conflict { .. } => {}
        }
    }
    Err(LedgerError::Unreachable)
}

/// Waits until the ledger gives its appends up to `sequence`: it says that a lease has ended a moment before.
///
/// # Errors
/// [`LedgerError::Unreachable`] after ten seconds, [`LedgerError::Closed`] if it is closed meanwhile.
pub async fn shown(ledger: &dyn Ledger, sequence: Sequence) -> Result<(), LedgerError> {
    let mut changed = ledger.changed();
    let shown = changed.wait_for(|position| *position >= sequence);
    match tokio::time::timeout(SHOWN_WITHIN, shown).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(LedgerError::Closed),
        Err(_) => Err(LedgerError::Unreachable),
    }
}

/// Ends lease `number` under itself, as one whose records after `records` nobody has taken yet: what was still under way may have come between.
pub(super) async fn end(ledger: &dyn Ledger, number: u64, records: Sequence) -> Result<(), LedgerError> {
    let over = |entry: &LeaseEntry| {
        (entry.state == LeaseState::Live).then(|| LeaseEntry {
            state: LeaseState::Lost,
            progress: Some(LeaseProgress {
                horizon: entry.horizon(),
                records: entry.records().max(records),
            }),
            ..entry.clone()
        })
    };
    change(ledger, number, number, over).await.map(drop)
}

/// There is no entry of a lease that was granted, or it does not read.
const NO_LEASE: LedgerError = LedgerError::Read(std::io::ErrorKind::InvalidData);
