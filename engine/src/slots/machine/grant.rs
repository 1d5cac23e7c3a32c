//! The append by which a gateway takes a lease.
//!
//! Which leases end with it is the caller's to say. Invariant: a lease that ends with it leaves no record behind that nobody would take:
//! the new one goes on where it was.

use super::super::{Append, Expectation, LeaseEntry, LeaseProgress, LeaseState, lease_address, lease_writes};
use super::SlotMachine;

impl<V> SlotMachine<V> {
    /// The append by which a gateway takes lease `number` and ends those live ones that `ends` names. `number` is one above
    /// the highest ever, or higher (a rebuilt ledger starts above every lease that a shard frame names).
    pub fn lease_append(
        &self,
        number: u64,
        (holder, now_ms): (&str, u64),
        operation: [u8; 16],
        ends: impl Fn(&LeaseEntry) -> bool,
    ) -> Append {
        let live = self.leases().live().iter();
        let ended: Vec<_> = live
            .filter(|(live, entry)| **live != number && ends(entry))
            .collect();
        let records = ended.iter().map(|(_, entry)| entry.records());
        let taken = LeaseEntry {
            state: LeaseState::Live,
            holder: holder.to_owned(),
            granted_ms: now_ms,
            // Whoever takes it has applied what is here before it writes or reads anything.
            progress: Some(LeaseProgress {
                horizon: self.sequence(),
                records: records.min().unwrap_or(self.sequence()),
            }),
        };
        let ended = ended.into_iter().map(|(live, entry)| (*live, entry.ended()));
        let entries = ended.chain([(number, taken)]);
        Append {
            operation,
            lease: number,
            vault: [0; 16],
            expectations: vec![Expectation::Absent(lease_address(number))],
            writes: entries
                .flat_map(|(number, entry)| lease_writes(number, &entry))
                .collect(),
            record: None,
        }
    }
}
