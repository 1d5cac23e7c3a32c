//! Names, by slot: the ledger's entries, what an append asks and gets, and the pure state machine that decides
//! (FORMAT.md section 6).
//!
//! It stores nothing, reads no value but that of leases, and knows no name: a slot is a keyed hash made elsewhere. The
//! log under it and the waiting for its flush belong to `net`.
//!
//! Invariants: an append is applied whole or not at all; sequences grow by one; the same operations in the same order
//! give the same state on every machine.

mod accepted;
mod address;
mod append;
mod decision;
mod lease;
mod machine;
mod outcome;
#[cfg(test)]
mod tests;
mod window;

pub use accepted::AcceptedLeases;
pub use address::{ADDRESS_BYTES, Address, EntryKind, Sequence};
pub use append::{
    APPEND_BYTES_MAX, Append, AppendLimit, AppliedAppend, EXPECTATIONS_MAX, Expectation, RecordPart,
    ValueRange, WRITES_MAX, Write,
};
pub use decision::{BadAppend, Current, CurrentValue, Decision, ReplayError, Superseded};
pub use lease::{
    HOLDER_BYTES_MAX, LEASE_SCOPE, LIVE_LEASES_MAX, LeaseEntry, LeaseProgress, LeaseState, Leases,
    fence_address, lease_address, lease_number, lease_writes,
};
pub use machine::{Entries, SlotMachine};
pub use outcome::{Entry, Outcome};
pub use window::WINDOW_APPENDS;
