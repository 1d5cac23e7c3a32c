//! The slot state machine: decides appends in order, and holds where the value of each live entry is.
//!
//! It is pure: no disk, no clock, no waiting. `V` says where a value is (a position in the ledger's log) and is opaque
//! here. Deciding and committing are two steps, so that a whole batch is decided before one flush: [`SlotMachine::decide`]
//! sees the appends decided before it, [`SlotMachine::commit`] makes them visible once they are durable. There is no way
//! back: if the flush fails, the process that owns the ledger ends.
//!
//! Invariants: what the reading methods show is committed; appends commit in the order in which they were decided; the
//! count of a scope is the number of its live entries of kinds object-current and object-version.
//!
//! Memory: a live entry costs its address (33 bytes), its sequence (8) and `V` in a B-tree whose nodes are two thirds
//! full, about 100 bytes for a `V` of 16.

mod ahead;
mod grant;

use std::collections::btree_map;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;

use bytes::Bytes;

use super::lease::{LeaseChange, Leases};
use super::window::{Digest, Window, content_of, digest};
use super::{
    Address, Append, AppliedAppend, BadAppend, Current, CurrentValue, Decision, Entry, Expectation,
    LIVE_LEASES_MAX, ReplayError, Sequence, Superseded, Write,
};

#[derive(Debug)]
struct Slot<V> {
    sequence: u64,
    value: V,
}

/// A decided write that is not yet committed.
#[derive(Debug)]
struct Ahead {
    sequence: u64,
    value: Option<Bytes>,
}

/// A decided append that is not yet committed.
#[derive(Debug)]
struct Staged {
    sequence: u64,
    /// Each address, and whether it holds an entry afterwards.
    writes: Vec<(Address, bool)>,
    leases: Vec<LeaseChange>,
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct SlotMachine<V> {
    live: BTreeMap<Address, Slot<V>>,
    objects: HashMap<[u8; 16], u64>,
    leases: Leases,
    committed: u64,
    // What follows is ahead of what is committed.
    staged: VecDeque<Staged>,
    ahead: HashMap<Address, Ahead>,
    ahead_objects: HashMap<[u8; 16], i64>,
    ahead_leases: Leases,
    decided: u64,
    window: Window,
}

impl<V> Default for SlotMachine<V> {
    fn default() -> Self {
        Self {
            live: BTreeMap::new(),
            objects: HashMap::new(),
            leases: Leases::default(),
            committed: 0,
            staged: VecDeque::new(),
            ahead: HashMap::new(),
            ahead_objects: HashMap::new(),
            ahead_leases: Leases::default(),
            decided: 0,
            window: Window::default(),
        }
    }
}

impl<V: Clone> SlotMachine<V> {
    /// Decides an append against the committed state and everything decided since. [`Decision::Apply`] stages it; every
    /// other decision changes nothing.
    pub fn decide(&mut self, append: &Append) -> Result<Decision<V>, BadAppend> {
        append.check_limits()?;
        let changes = self.check_writes(&append.writes)?;
        let content = content_of(append);
        if let Some(sequence) = self.window.get(&content) {
            return Ok(Decision::Repeated {
                sequence: Sequence(sequence),
            });
        }
        if !changes.is_empty() {
            let live = self.ahead_leases.live_after(&changes);
            if live > LIVE_LEASES_MAX && live > self.ahead_leases.live().len() {
                return Err(BadAppend::LiveLeases { live });
            }
        }
        let granted_here =
            |change: &LeaseChange| matches!(change, LeaseChange::Grant(n, _) if *n == append.lease);
        let live = self.ahead_leases.is_live(append.lease) || changes.iter().any(granted_here);
        if !live || !changes.iter().all(|change| self.ahead_leases.admits(change)) {
            return Ok(Decision::LeaseEnded {
                lowest_live: self.ahead_leases.lowest_live(),
            });
        }
        for (expectation, expected) in append.expectations.iter().enumerate() {
            if let Err(current) = self.check_expectation(expected) {
                return Ok(Decision::Conflict { expectation, current });
            }
        }
        Ok(Decision::Apply {
            sequence: self.stage(append, changes, content),
        })
    }

    /// Where an append stands that was decided before, as far back as the window reaches.
    pub fn repeated(&self, append: &Append) -> Option<Sequence> {
        self.window.get(&content_of(append)).map(Sequence)
    }

    fn check_writes(&self, writes: &[Write]) -> Result<Vec<LeaseChange>, BadAppend> {
        let mut seen = HashSet::with_capacity(writes.len());
        let mut changes = Vec::new();
        for (index, Write { address, value }) in writes.iter().enumerate() {
            if !seen.insert(address) {
                return Err(BadAppend::DuplicateWrite { index });
            }
            let change = LeaseChange::of(address, value.as_deref())
                .map_err(|error| BadAppend::Lease { index, error })?;
            if let (Some(LeaseChange::End(number)), None) = (&change, value)
                && *number >= self.ahead_leases.highest()
            {
                return Err(BadAppend::HighestLease { index });
            }
            changes.extend(change);
        }
        Ok(changes)
    }

    /// `Err` with the entry that stands there, if the expectation does not hold.
    fn check_expectation(&self, expected: &Expectation) -> Result<(), Option<Current<V>>> {
        match expected {
            Expectation::Absent(address) => match self.newest(address) {
                None => Ok(()),
                current => Err(current),
            },
            Expectation::At(address, sequence) => match self.newest(address) {
                Some(current) if current.sequence == *sequence => Ok(()),
                current => Err(current),
            },
            Expectation::ScopeEmpty(scope) => {
                let ahead = self.ahead_objects.get(scope).copied().unwrap_or(0);
                let objects = self.objects_in(scope).saturating_add_signed(ahead);
                if objects == 0 { Ok(()) } else { Err(None) }
            }
        }
    }

    /// The entry at an address, decided writes included.
    fn newest(&self, address: &Address) -> Option<Current<V>> {
        let (sequence, value) = match self.ahead.get(address) {
            Some(Ahead { sequence, value }) => (*sequence, CurrentValue::Staged(value.clone()?)),
            None => {
                let slot = self.live.get(address)?;
                (slot.sequence, CurrentValue::Stored(slot.value.clone()))
            }
        };
        Some(Current {
            address: *address,
            sequence: Sequence(sequence),
            value,
        })
    }
}

impl<V> SlotMachine<V> {
    /// An empty machine.
    pub fn new() -> Self {
        Self::default()
    }

    fn stage(&mut self, append: &Append, leases: Vec<LeaseChange>, content: Digest) -> Sequence {
        self.decided += 1;
        let sequence = self.decided;
        for Write { address, value } in &append.writes {
            if address.kind.is_object() {
                let before = match self.ahead.get(address) {
                    Some(ahead) => ahead.value.is_some(),
                    None => self.live.contains_key(address),
                };
                let change = i64::from(value.is_some()) - i64::from(before);
                self.shift_ahead_objects(&address.scope, change);
            }
            self.ahead.insert(
                *address,
                Ahead {
                    sequence,
                    value: value.clone(),
                },
            );
        }
        leases.iter().for_each(|change| self.ahead_leases.apply(change));
        self.window.insert(content, sequence);
        let writes = append
            .writes
            .iter()
            .map(|write| (write.address, write.value.is_some()))
            .collect();
        self.staged.push_back(Staged {
            sequence,
            writes,
            leases,
        });
        Sequence(sequence)
    }

    /// Changes by how much a scope's decided number of objects differs from its committed one. A scope without a
    /// difference is forgotten, so that the map does not grow.
    fn shift_ahead_objects(&mut self, scope: &[u8; 16], change: i64) {
        if change != 0 {
            let ahead = self.ahead_objects.entry(*scope).or_default();
            *ahead += change;
            if *ahead == 0 {
                self.ahead_objects.remove(scope);
            }
        }
    }

    /// Makes the oldest staged append visible; call it once its flush has succeeded. `value_at` says where the value of
    /// the n-th write is (asked only for writes with a value), `superseded` is told of each entry that this one replaces
    /// or removes. Fails, and changes nothing, if `sequence` is not the oldest staged one.
    pub fn commit(
        &mut self,
        sequence: Sequence,
        mut value_at: impl FnMut(usize) -> V,
        mut superseded: impl FnMut(Superseded<V>),
    ) -> Result<(), ReplayError> {
        let last = self.committed;
        let due = self.staged.pop_front_if(|staged| staged.sequence == sequence.0);
        let staged = due.ok_or(ReplayError::Order {
            last,
            got: sequence.0,
        })?;
        for (index, (address, present)) in staged.writes.into_iter().enumerate() {
            let value = present.then(|| value_at(index));
            let change = self.write(address, staged.sequence, value, &mut superseded);
            if self
                .ahead
                .get(&address)
                .is_some_and(|ahead| ahead.sequence == staged.sequence)
            {
                self.ahead.remove(&address);
            }
            self.shift_ahead_objects(&address.scope, -change);
        }
        staged.leases.iter().for_each(|change| self.leases.apply(change));
        self.committed = staged.sequence;
        Ok(())
    }

    /// Applies an append read from the log at start, in log order. Nothing may be staged.
    pub fn replay(
        &mut self,
        applied: &AppliedAppend,
        mut value_at: impl FnMut(usize) -> V,
        mut superseded: impl FnMut(Superseded<V>),
    ) -> Result<(), ReplayError> {
        let sequence = applied.sequence.0;
        if sequence <= self.decided {
            return Err(ReplayError::Order {
                last: self.decided,
                got: sequence,
            });
        }
        for (index, Write { address, value }) in applied.writes.iter().enumerate() {
            self.replay_lease(address, value.as_deref(), sequence)?;
            let value = value.as_ref().map(|_| value_at(index));
            self.write(*address, sequence, value, &mut superseded);
        }
        let AppliedAppend {
            operation,
            lease,
            vault,
            writes,
            record,
            ..
        } = applied;
        self.window.insert(
            digest(operation, *lease, vault, writes, record.as_ref()),
            sequence,
        );
        self.raise_sequence(applied.sequence);
        Ok(())
    }

    /// Puts back an entry that compaction carried forward, read from the log at start in log order, or received in a
    /// snapshot. An entry that is newer than it stays, and the answer is false.
    pub fn restore(
        &mut self,
        entry: &Entry,
        value: V,
        mut superseded: impl FnMut(Superseded<V>),
    ) -> Result<bool, ReplayError> {
        let sequence = entry.sequence.0;
        if self
            .live
            .get(&entry.address)
            .is_some_and(|slot| slot.sequence > sequence)
        {
            return Ok(false);
        }
        self.replay_lease(&entry.address, Some(&entry.value), sequence)?;
        self.write(entry.address, sequence, Some(value), &mut superseded);
        self.raise_sequence(entry.sequence);
        Ok(true)
    }

    fn replay_lease(
        &mut self,
        address: &Address,
        value: Option<&[u8]>,
        sequence: u64,
    ) -> Result<(), ReplayError> {
        let change =
            LeaseChange::of(address, value).map_err(|error| ReplayError::Lease { sequence, error })?;
        if let Some(change) = change {
            self.leases.apply(&change);
            self.ahead_leases.apply(&change);
        }
        Ok(())
    }

    /// Sets or removes a committed entry; returns by how much the number of objects in its scope changed.
    fn write(
        &mut self,
        address: Address,
        sequence: u64,
        value: Option<V>,
        superseded: &mut impl FnMut(Superseded<V>),
    ) -> i64 {
        let present = value.is_some();
        let before = match value {
            Some(value) => self.live.insert(address, Slot { sequence, value }),
            None => self.live.remove(&address),
        };
        let change = i64::from(present) - i64::from(before.is_some());
        if let Some(Slot { sequence, value }) = before {
            superseded(Superseded {
                address,
                sequence: Sequence(sequence),
                value,
            });
        }
        if !address.kind.is_object() {
            return 0;
        }
        let objects = self.objects.entry(address.scope).or_default();
        *objects = objects.saturating_add_signed(change);
        if *objects == 0 {
            self.objects.remove(&address.scope);
        }
        change
    }

    /// Notes that `sequence` was given out, for a log whose newest appends left no live entry behind.
    pub fn raise_sequence(&mut self, sequence: Sequence) {
        self.committed = self.committed.max(sequence.0);
        self.decided = self.decided.max(sequence.0);
    }

    /// Notes that compaction moved the value of an entry, if the entry is still the one of `sequence`; returns where it
    /// was.
    pub fn relocate(&mut self, address: &Address, sequence: Sequence, value: V) -> Option<V> {
        let slot = self
            .live
            .get_mut(address)
            .filter(|slot| slot.sequence == sequence.0)?;
        Some(std::mem::replace(&mut slot.value, value))
    }

    /// The newest committed append.
    pub fn sequence(&self) -> Sequence {
        Sequence(self.committed)
    }

    /// The committed entry at an address.
    pub fn get(&self, address: &Address) -> Option<(Sequence, &V)> {
        self.live
            .get(address)
            .map(|slot| (Sequence(slot.sequence), &slot.value))
    }

    /// How many entries are live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no entry is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many entries of kinds object-current and object-version a scope has.
    pub fn objects_in(&self, scope: &[u8; 16]) -> u64 {
        self.objects.get(scope).copied().unwrap_or(0)
    }

    /// The live entries above `after`, in address order. For pages: take as many as a page holds, and go on after the
    /// last; entries that change in between are seen as they are when their page is read.
    pub fn entries_after(&self, after: Option<&Address>) -> Entries<'_, V> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Entries(self.live.range((from, Bound::Unbounded)))
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }
}

/// Live entries in address order; see [`SlotMachine::entries_after`].
#[derive(Debug)]
pub struct Entries<'a, V>(btree_map::Range<'a, Address, Slot<V>>);

impl<'a, V> Iterator for Entries<'a, V> {
    type Item = (Address, Sequence, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0
            .next()
            .map(|(address, slot)| (*address, Sequence(slot.sequence), &slot.value))
    }
}
