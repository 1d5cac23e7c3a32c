//! From an intent to an append: what is written, and what must still hold for the decision to be right.
//!
//! Pure: it decides no client condition (the caller did, on the rows it hands in) and talks to no ledger.
//!
//! Invariants. Every append expects the state of each slot that it decided on, so the ledger's answer is a true
//! compare-and-swap; a write that decided on nothing ([`Over::Anything`]) expects nothing of what it replaces, for the index
//! releases the packs of whatever stands there when the append is applied. A write into a bucket expects the bucket, so nothing lands in a deleted one. An append that refers to
//! packs written before expects both an entry that keeps them alive and, as far as there is room, the packs; the
//! collector removes a pack's entry only at the sequence that it planned on, so one of the two loses.
//!
//! An append lists in [`Packs::written`] the pack that holds its claim, also when another append wrote the same entry
//! before: the entry's sequence then is never below a claim's, which is what `collect` goes by.

use std::collections::BTreeSet;

use bytes::Bytes;
use engine::codec::DecodeError;
use engine::pack::PackId;
use engine::slots::{
    Address, Append, AppendLimit, EXPECTATIONS_MAX, EntryKind, Expectation, RecordPart, Sequence, Write,
};
use scopes::ScopeId;

use crate::Random;
use crate::checkpoint::CheckpointPointer;
use crate::index::{Stored, check_entry};
use crate::keys::{FIRST_EPOCH, Keyring, pack_address};
use crate::object::Bucket;
use crate::value::ValueError;

mod objects;
#[cfg(test)]
mod tests;
mod uploads;

pub use objects::Succession;

/// Why an append could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// It would be over the ledger's limits.
    #[error(transparent)]
    Limit(#[from] AppendLimit),
    /// A value is too long to be sealed.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A manifest says "this pack", which has a meaning in a claim only.
    #[error("a manifest names its pack as this pack")]
    ThisPack,
    /// What was to be written would not read back. Nothing is appended that no index could apply.
    #[error("an entry of kind {kind:?} would not read back: {source}")]
    Unreadable {
        /// The kind of the entry.
        kind: EntryKind,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// A pack that the append makes known, or one whose entry it writes again because its claim is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenPack {
    /// The pack's scope.
    pub scope: ScopeId,
    /// The pack.
    pub id: PackId,
    /// The value of its entry.
    pub entry: Bytes,
}

/// The packs that an append stands on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packs {
    /// Those whose entries it writes.
    pub written: Vec<WrittenPack>,
    /// Those that it refers to and does not write, with the sequence of their entries. What is beyond the limit of an
    /// append is left out; the caller pins those before it reads the rows.
    pub relied_on: Vec<(ScopeId, PackId, Sequence)>,
}

/// What a write expects of the slot that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Nothing: it takes the place of whatever stands there at its turn.
    Anything,
    /// The entry of this sequence, or none: a decision was made on it.
    Row(Option<Sequence>),
}

impl From<Option<Sequence>> for Over {
    fn from(row: Option<Sequence>) -> Self {
        Self::Row(row)
    }
}

/// An entry that the collector moved: the same value with other extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Where it stands.
    pub address: Address,
    /// The sequence that it was read at.
    pub sequence: Sequence,
    /// The epoch to seal it under.
    pub epoch: u64,
    /// The new plaintext value.
    pub value: Vec<u8>,
}

/// An append in the making. Each method takes an intent and the rows that it was decided on.
#[derive(Debug)]
pub struct Commit<'a> {
    keyring: &'a Keyring,
    append: Append,
}

impl<'a> Commit<'a> {
    /// An append of this operation under this lease. Attempts at one operation share its id.
    pub fn new(keyring: &'a Keyring, operation: [u8; 16], lease: u64) -> Self {
        let vault = keyring.vault().0;
        let append = Append {
            operation,
            lease,
            vault,
            expectations: Vec::new(),
            writes: Vec::new(),
            record: None,
        };
        Self { keyring, append }
    }

    /// Carries the operation's record to the activity log.
    #[must_use]
    pub fn with_record(mut self, record: RecordPart) -> Self {
        self.append.record = Some(record);
        self
    }

    /// Makes a bucket, if there is none of its name.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn create_bucket(
        mut self,
        bucket: &Bucket,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        let address = self.keyring.bucket_address(&bucket.name);
        self.expect(address, None);
        self.seal(address, FIRST_EPOCH, &bucket.encode(), random)?;
        self.finish(packs)
    }

    /// Changes what a bucket's entry says, but not its name or its scope.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn change_bucket(
        mut self,
        before: &Stored<Bucket>,
        after: &Bucket,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        let address = self.expect_bucket(before);
        self.seal(address, FIRST_EPOCH, &after.encode(), random)?;
        self.finish(packs)
    }

    /// Deletes a bucket that holds no object. Uploads left in it are orphans for the collector.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn delete_bucket(mut self, bucket: &Stored<Bucket>) -> Result<Append, CommitError> {
        let address = self.expect_bucket(bucket);
        self.append
            .expectations
            .push(Expectation::ScopeEmpty(bucket.value.scope.0));
        self.remove(address);
        self.finish(&Packs::default())
    }

    /// Writes entries that the collector moved to other packs.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn move_entries(
        mut self,
        moved: &[Moved],
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        for entry in moved {
            self.expect(entry.address, Some(entry.sequence));
            self.seal(entry.address, entry.epoch, &entry.value, random)?;
        }
        self.finish(packs)
    }

    /// Removes the entries of dead packs, each as the plan saw it.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn retire_packs(mut self, dead: &[(ScopeId, PackId, Sequence)]) -> Result<Append, CommitError> {
        for (scope, id, sequence) in dead {
            self.remove_seen(pack_address(*scope, id), *sequence);
        }
        self.finish(&Packs::default())
    }

    /// Removes entries that [`crate::index::Index::orphans`] found.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn remove_orphans(mut self, orphans: &[(Address, Sequence)]) -> Result<Append, CommitError> {
        for (address, sequence) in orphans {
            self.remove_seen(*address, *sequence);
        }
        self.finish(&Packs::default())
    }

    /// Makes a checkpoint the newest.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn checkpoint(
        mut self,
        pointer: &CheckpointPointer,
        current: Option<Sequence>,
        packs: &Packs,
        random: Random<'_>,
    ) -> Result<Append, CommitError> {
        if pointer.stream.names_this_pack() {
            return Err(CommitError::ThisPack);
        }
        let address = self.keyring.checkpoint_address();
        self.expect(address, current);
        self.check(&address, &pointer.encode())?;
        self.write(address, Bytes::from(pointer.seal(self.keyring, random)?));
        self.finish(packs)
    }

    /// Writes or removes a statement, such as a credential.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn statement(
        mut self,
        address: Address,
        current: Option<Sequence>,
        value: Option<Bytes>,
    ) -> Result<Append, CommitError> {
        self.expect(address, current);
        if let Some(value) = &value {
            self.check(&address, value)?;
        }
        self.append.writes.push(Write { address, value });
        self.finish(&Packs::default())
    }

    fn expect_bucket(&mut self, bucket: &Stored<Bucket>) -> Address {
        let address = self.keyring.bucket_address(&bucket.value.name);
        self.expect(address, Some(bucket.sequence));
        address
    }

    fn expect_over(&mut self, address: Address, over: Over) {
        if let Over::Row(current) = over {
            self.expect(address, current);
        }
    }

    fn expect(&mut self, address: Address, current: Option<Sequence>) {
        let expectation = match current {
            Some(sequence) => Expectation::At(address, sequence),
            None => Expectation::Absent(address),
        };
        self.append.expectations.push(expectation);
    }

    fn seal(
        &mut self,
        address: Address,
        epoch: u64,
        plain: &[u8],
        random: Random<'_>,
    ) -> Result<(), CommitError> {
        self.check(&address, plain)?;
        let sealed = self.keyring.seal_value(&address, epoch, plain, random)?;
        self.write(address, Bytes::from(sealed));
        Ok(())
    }

    fn check(&self, address: &Address, plain: &[u8]) -> Result<(), CommitError> {
        check_entry(self.keyring, address, plain).map_err(|source| CommitError::Unreadable {
            kind: address.kind,
            source,
        })
    }

    fn write(&mut self, address: Address, value: Bytes) {
        self.append.writes.push(Write {
            address,
            value: Some(value),
        });
    }

    /// Removes an entry as it was seen.
    fn remove_seen(&mut self, address: Address, sequence: Sequence) {
        self.expect(address, Some(sequence));
        self.remove(address);
    }

    fn remove(&mut self, address: Address) {
        self.append.writes.push(Write { address, value: None });
    }

    /// Adds the packs and checks the limits.
    fn finish(mut self, packs: &Packs) -> Result<Append, CommitError> {
        let mut written = BTreeSet::new();
        for pack in &packs.written {
            if written.insert(pack.id) {
                let address = pack_address(pack.scope, &pack.id);
                self.check(&address, &pack.entry)?;
                self.write(address, pack.entry.clone());
            }
        }
        // The ledger adds one of its own: that nothing withdrew the append meanwhile.
        let room = (EXPECTATIONS_MAX - 1).saturating_sub(self.append.expectations.len());
        for (scope, id, sequence) in packs
            .relied_on
            .iter()
            .filter(|(_, id, _)| !written.contains(id))
            .take(room)
        {
            self.expect(pack_address(*scope, id), Some(*sequence));
        }
        self.append.check_limits()?;
        Ok(self.append)
    }
}
