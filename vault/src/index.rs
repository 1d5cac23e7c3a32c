//! The object index: what an owner's vault holds, by name, as a view over the ledger.
//!
//! It is not the truth and can be deleted at any time; it is as secret as the keys, for it holds names in the clear.
//! It answers HEAD and LIST alone and finds the chunks for GET; it reads no drive.
//!
//! Invariant: every change that an append makes, and the append's sequence, go into the view in one batch. So the view
//! is always exactly as of [`Index::applied_through`], and applying an append again changes nothing.
//!
//! Rows are listed in `rows`.

use std::collections::HashMap;
use std::sync::Arc;

use engine::codec::DecodeError;
use engine::slots::{Address, AppliedAppend, Entry, EntryKind, Sequence};
use engine::view::{View, ViewError};

use crate::checkpoint::CheckpointPointer;
use crate::claim::ClaimValue;
use crate::credential::SealedCredential;
use crate::keys::Keyring;
use crate::object::Manifest;
use crate::value::OpenError;

mod apply;
mod batch;
mod list;
mod load;
mod packs;
mod query;
mod rows;
mod scan;
#[cfg(test)]
mod tests;
mod versions;

pub use list::{ListPage, ListQuery, ListedObject, UploadPage, UploadQuery};
pub use load::{LoadReport, Loader};
pub use packs::{PackRow, PackUse};
pub use query::{Owner, StatementRow, Stored, Usage};
pub use versions::{ListedVersion, VersionsPage, VersionsQuery};

/// Whether a value reads back as an entry at this address, in the clear as the ledger has it or before it is sealed. A value
/// that does not must never be appended: nothing could apply it.
pub(crate) fn check_entry(keyring: &Keyring, address: &Address, plain: &[u8]) -> Result<(), DecodeError> {
    match address.kind {
        EntryKind::Pack => apply::check_pack(keyring.vault(), address, plain).map(drop),
        EntryKind::Statement if *address == keyring.checkpoint_address() => {
            CheckpointPointer::decode(plain).map(drop)
        }
        EntryKind::Statement => SealedCredential::decode(plain).map(drop),
        kind if kind.is_of_cluster() => Ok(()),
        kind => ClaimValue::decode(kind as u8, plain).map(drop),
    }
}

/// Manifests that stand in streams of their own, read and decoded by the caller, by the address of their object.
pub type Resolved = HashMap<Address, Manifest>;

/// Why the index could not be changed or read. The view can be deleted and built again from the ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The view failed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// An entry of this vault does not open.
    #[error("the entry at {address:?} does not open: {source}")]
    Unopenable {
        /// Where it stands.
        address: Address,
        /// Why.
        source: OpenError,
    },
    /// An entry opens, or is in the clear, and holds something else.
    #[error("the entry at {address:?} is malformed: {source}")]
    Malformed {
        /// Where it stands.
        address: Address,
        /// Why.
        source: DecodeError,
    },
    /// An entry's manifest is in a stream of its own and was not handed in; see [`Index::unresolved`].
    #[error("the manifest of the entry at {address:?} was not resolved")]
    Unresolved {
        /// Where it stands.
        address: Address,
    },
    /// An entry of a kind that this version does not write.
    #[error("the entry at {address:?} is of a kind that this version does not know")]
    UnknownKind {
        /// Where it stands.
        address: Address,
    },
    /// An append is missing between the last applied and this one.
    #[error("the index is at {have:?} and was given {got:?}")]
    Gap {
        /// The last applied.
        have: Sequence,
        /// What came.
        got: Sequence,
    },
    /// A row of the view is not what this version writes there.
    #[error("a row of the index view is damaged: {0}")]
    Row(DecodeError),
}

impl From<DecodeError> for IndexError {
    fn from(error: DecodeError) -> Self {
        Self::Row(error)
    }
}

/// The index of one vault. Clones share the view. Only one caller at a time may apply or load.
#[derive(Clone)]
pub struct Index {
    view: Arc<dyn View>,
    keyring: Keyring,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("keyring", &self.keyring)
            .finish_non_exhaustive()
    }
}

impl Index {
    /// The index in `view`. One of another vault, of another version or half loaded is emptied first.
    ///
    /// # Errors
    /// [`IndexError::View`].
    pub fn new(view: Arc<dyn View>, keyring: Keyring) -> Result<Self, IndexError> {
        let index = Self { view, keyring };
        let whose = rows::identity(index.keyring.vault());
        if index.view.get(rows::IDENTITY)?.as_deref() != Some(&whose)
            || index.view.get(rows::LOADING)?.is_some()
        {
            index.reset(Vec::new())?;
        }
        Ok(index)
    }

    /// The keys that the index opens entries with.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The last append that the index reflects; 0 for none.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn applied_through(&self) -> Result<Sequence, IndexError> {
        let row = self.view.get(rows::APPLIED)?;
        row.map_or(Ok(Sequence(0)), |row| Ok(rows::read_sequence(&row)?))
    }

    /// The operation of that append, which no other append of any ledger has; nothing if the index does not know it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn applied_operation(&self) -> Result<Option<[u8; 16]>, IndexError> {
        let row = self.view.get(rows::OPERATION)?;
        Ok(row.and_then(|row| row.try_into().ok()))
    }

    /// The last append that changed anything of this vault that an index checkpoint tells: all but packs, leases and the
    /// checkpoint itself. After a load the append that was loaded, as nobody knows better.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn changed_through(&self) -> Result<Sequence, IndexError> {
        let row = self.view.get(rows::CHANGED)?;
        row.map_or(Ok(Sequence(0)), |row| Ok(rows::read_sequence(&row)?))
    }

    /// Empties the index: it is of another ledger, or of another past of this one.
    ///
    /// # Errors
    /// [`IndexError::View`].
    pub fn clear(&self) -> Result<(), IndexError> {
        self.reset(Vec::new())
    }

    /// The manifests that [`Self::apply`] will need: of each object among the writes whose parts are in a stream of
    /// their own, that stream.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn unresolved(
        &self,
        appends: &[AppliedAppend],
    ) -> Result<Vec<(Address, crate::object::Part)>, IndexError> {
        let through = self.applied_through()?;
        let writes = appends
            .iter()
            .filter(|append| append.sequence > through && append.vault == self.keyring.vault().0)
            .flat_map(|append| &append.writes)
            .filter_map(|write| write.value.as_ref().map(|value| (write.address, value)));
        let get = |row: &[u8]| self.view.get(row);
        let mut streams = Vec::new();
        for (address, value) in writes {
            streams.extend(apply::indirect(&self.keyring, Some(&get), &address, value)?);
        }
        Ok(streams)
    }

    /// As [`Self::unresolved`], for entries of a snapshot. Entries that do not open are passed over.
    pub fn unresolved_entries(&self, entries: &[Entry]) -> Vec<(Address, crate::object::Part)> {
        let streams = entries
            .iter()
            .map(|entry| apply::indirect(&self.keyring, None, &entry.address, &entry.value));
        streams.filter_map(|stream| stream.ok().flatten()).collect()
    }

    /// Applies appends in order, in one batch. Those already applied are passed over, and so are the entries of other
    /// vaults, but for their sequence.
    ///
    /// # Errors
    /// [`IndexError`]; nothing was changed then.
    pub fn apply(&self, appends: &[AppliedAppend], resolved: &Resolved) -> Result<(), IndexError> {
        let mut through = self.applied_through()?;
        let mut batch = batch::Batch::new(&*self.view);
        for append in appends
            .iter()
            .filter(|append| append.sequence > through)
            .collect::<Vec<_>>()
        {
            if append.sequence.0 != through.0 + 1 {
                return Err(IndexError::Gap {
                    have: through,
                    got: append.sequence,
                });
            }
            through = append.sequence;
            let own = append.vault == self.keyring.vault().0;
            if own && append.writes.iter().any(|write| self.is_told(&write.address)) {
                batch.put(rows::CHANGED.to_vec(), rows::sequence(through));
            }
            batch.put(rows::OPERATION.to_vec(), append.operation.to_vec());
            let mut applier = apply::Applier {
                keyring: &self.keyring,
                batch: &mut batch,
                resolved,
            };
            for write in &append.writes {
                match &write.value {
                    Some(value) if own || applier.is_own_pack(&write.address, value) => {
                        applier.put(&write.address, append.sequence, value)?;
                    }
                    Some(_) => {}
                    // Only what this vault wrote has a row, so another vault's removal finds nothing.
                    None => applier.remove(&write.address)?,
                }
            }
        }
        batch.put(rows::APPLIED.to_vec(), rows::sequence(through));
        Ok(self.view.apply(batch.into_changes())?)
    }

    /// Whether an index checkpoint tells of entries at this address.
    fn is_told(&self, address: &Address) -> bool {
        !address.kind.is_of_cluster()
            && address.kind != EntryKind::Pack
            && *address != self.keyring.checkpoint_address()
    }

    /// Empties the view and puts these rows and the identity in.
    fn reset(&self, mut rows: Vec<engine::view::Change>) -> Result<(), IndexError> {
        self.view.clear()?;
        rows.push((
            rows::IDENTITY.to_vec(),
            Some(rows::identity(self.keyring.vault())),
        ));
        Ok(self.view.apply(rows)?)
    }
}
