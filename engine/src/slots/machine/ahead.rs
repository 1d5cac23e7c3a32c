//! What is decided and not committed yet, seen from outside; and the way back, which only a ledger of several members has.
//!
//! Invariant: after it was taken back, the machine is what it would be if nothing of it had ever been decided.

use super::super::{AppliedAppend, Sequence};
use super::SlotMachine;

impl<V> SlotMachine<V> {
    /// Takes back every append that is decided and not committed: none of them will be. For a ledger of several members, whose
    /// leader has lost its place.
    pub fn forget_staged(&mut self) {
        let Some(first) = self.staged.front().map(|staged| staged.sequence) else {
            return;
        };
        self.staged.clear();
        self.ahead.clear();
        self.ahead_objects.clear();
        self.ahead_leases = self.leases.clone();
        self.decided = self.committed;
        self.window.forget_from(first);
    }

    /// The oldest append that is decided and waits for its commit.
    pub fn first_staged(&self) -> Option<Sequence> {
        self.staged.front().map(|staged| Sequence(staged.sequence))
    }

    /// How many decided appends wait for their commit.
    pub fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Whether the oldest staged append is this one, as far as can be told without its values.
    pub fn stages(&self, applied: &AppliedAppend) -> bool {
        self.staged.front().is_some_and(|staged| {
            let written = applied.writes.iter();
            let written = written.map(|write| (write.address, write.value.is_some()));
            staged.sequence == applied.sequence.0 && written.eq(staged.writes.iter().copied())
        })
    }
}
