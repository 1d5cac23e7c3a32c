//! Looking up single entries, and what stands at an address.

use engine::slots::{Address, EntryKind, Sequence};
use scopes::ScopeId;

use super::rows::{self, SlotRow};
use super::{Index, IndexError};
use crate::checkpoint::CheckpointPointer;
use crate::object::{Bucket, Object, PartEntry, Upload, UploadId};

/// An entry and the append that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// The append that wrote it: what a compare-and-swap expects.
    pub sequence: Sequence,
    /// The entry.
    pub value: T,
}

/// What a scope holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Current objects.
    pub objects: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// Plaintext bytes of the parts of open uploads.
    pub open_bytes: u64,
    /// Delete markers, and versions beside the current ones.
    pub history: u64,
    /// Plaintext bytes of those versions.
    pub history_bytes: u64,
}

/// A statement as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRow {
    /// Where it stands.
    pub address: Address,
    /// The append that wrote it.
    pub sequence: Sequence,
    /// Its value; the first byte says what it is.
    pub value: Vec<u8>,
}

/// What stands at an address and keeps packs alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A current object, or a version beside one.
    Object(Stored<Object>),
    /// A part of an upload.
    Part(Stored<PartEntry>),
    /// The newest index checkpoint.
    Checkpoint(Stored<CheckpointPointer>),
}

impl Index {
    /// A bucket by its name.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn bucket(&self, name: &str) -> Result<Option<Stored<Bucket>>, IndexError> {
        self.stored(&rows::bucket(name), |plain| Ok(Bucket::decode(plain)?))
    }

    /// The name of the bucket that shows a scope.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn bucket_of_scope(&self, scope: ScopeId) -> Result<Option<String>, IndexError> {
        let name = self
            .view
            .get(&rows::scope(scope))?
            .map(String::from_utf8)
            .transpose();
        Ok(name.map_err(|_| engine::codec::DecodeError::Utf8)?)
    }

    /// Every bucket, in byte order of names.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn buckets(&self) -> Result<Vec<Stored<Bucket>>, IndexError> {
        let mut buckets = Vec::new();
        self.each(rows::BUCKETS, |_, row| {
            let (sequence, plain) = rows::read_sequenced(row)?;
            buckets.push(Stored {
                sequence,
                value: Bucket::decode(plain)?,
            });
            Ok(true)
        })?;
        Ok(buckets)
    }

    /// The current version of an object, unless it is a delete marker.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn object(&self, scope: ScopeId, key: &str) -> Result<Option<Stored<Object>>, IndexError> {
        self.stored(&rows::object(scope, key.as_bytes()), |plain| {
            Ok(Object::decode(plain)?)
        })
    }

    /// An upload in progress.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn upload(&self, scope: ScopeId, id: UploadId) -> Result<Option<Stored<Upload>>, IndexError> {
        match self.view.get(&rows::upload_id(scope, id))? {
            Some(row) => self.stored(&row, |plain| Ok(Upload::decode(plain)?)),
            None => Ok(None),
        }
    }

    /// The parts of an upload with a number above `after`, by number, at most `max`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn parts(
        &self,
        scope: ScopeId,
        id: UploadId,
        after: u16,
        max: usize,
    ) -> Result<Vec<Stored<PartEntry>>, IndexError> {
        let mut parts = Vec::new();
        let Some(first) = after.checked_add(1).filter(|_| max > 0) else {
            return Ok(parts);
        };
        let to = engine::view::prefix_end(&rows::parts(scope, id));
        self.each_from(&rows::part(scope, id, first), to.as_deref(), |_, row| {
            let (sequence, plain) = rows::read_sequenced(row)?;
            parts.push(Stored {
                sequence,
                value: PartEntry::decode(plain)?,
            });
            Ok(parts.len() < max)
        })?;
        Ok(parts)
    }

    /// One part of an upload.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn part(
        &self,
        scope: ScopeId,
        id: UploadId,
        number: u16,
    ) -> Result<Option<Stored<PartEntry>>, IndexError> {
        self.stored(&rows::part(scope, id, number), |plain| {
            Ok(PartEntry::decode(plain)?)
        })
    }

    /// What a scope holds.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn usage(&self, scope: ScopeId) -> Result<Usage, IndexError> {
        let row = self.view.get(&rows::usage(scope))?;
        let (objects, bytes) = rows::read_counters(row.as_deref())?;
        let parts = self.view.get(&rows::open_parts(scope))?;
        let (_, open_bytes) = rows::read_counters(parts.as_deref())?;
        let history = self.view.get(&rows::history(scope))?;
        let (history, history_bytes) = rows::read_counters(history.as_deref())?;
        Ok(Usage {
            objects,
            bytes,
            open_bytes,
            history,
            history_bytes,
        })
    }

    /// The statement at an address, as the ledger has it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn statement(&self, address: &Address) -> Result<Option<Stored<Vec<u8>>>, IndexError> {
        self.stored(&rows::statement(address), |value| Ok(value.to_vec()))
    }

    /// Every statement of the vault, credentials among them.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn statements(&self) -> Result<Vec<StatementRow>, IndexError> {
        let mut statements = Vec::new();
        self.each(rows::STATEMENTS, |row, value| {
            let mut key = engine::codec::Reader::new(row.get(1..).unwrap_or_default());
            let address = Address {
                scope: key.fixed()?,
                kind: EntryKind::Statement,
                slot: key.fixed()?,
            };
            let (sequence, value) = rows::read_sequenced(value)?;
            statements.push(StatementRow {
                address,
                sequence,
                value: value.to_vec(),
            });
            Ok(true)
        })?;
        Ok(statements)
    }

    /// Where the newest index checkpoint lies.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn checkpoint(&self) -> Result<Option<Stored<CheckpointPointer>>, IndexError> {
        let address = self.keyring.checkpoint_address();
        self.stored(&rows::statement(&address), |value| {
            CheckpointPointer::open(&self.keyring, value)
                .map_err(|source| IndexError::Unopenable { address, source })
        })
    }

    /// What stands at the address of an entry that refers to packs.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn owner(&self, address: &Address) -> Result<Option<Owner>, IndexError> {
        let Some(slot) = self.view.get(&rows::slot(address))? else {
            return Ok(None);
        };
        let row = SlotRow::decode(&slot)?.row;
        Ok(match address.kind {
            EntryKind::ObjectCurrent | EntryKind::ObjectVersion => self
                .stored(&row, |plain| Ok(Object::decode(plain)?))?
                .map(Owner::Object),
            EntryKind::Part => self
                .stored(&row, |plain| Ok(PartEntry::decode(plain)?))?
                .map(Owner::Part),
            EntryKind::Statement if *address == self.keyring.checkpoint_address() => {
                self.checkpoint()?.map(Owner::Checkpoint)
            }
            _ => None,
        })
    }

    /// Parts whose upload is gone and uploads whose bucket is gone: what an append had no room to remove. At most
    /// `limit` addresses, each with the sequence to expect.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn orphans(&self, limit: usize) -> Result<Vec<(Address, Sequence)>, IndexError> {
        let mut orphans = Vec::new();
        self.each(rows::PARTS, |row, value| {
            let (scope, rest) = scope_of(row)?;
            let mut rest = engine::codec::Reader::new(rest);
            let (upload, number) = (UploadId(rest.fixed()?), u16::from_be_bytes(rest.fixed()?));
            let address = self.keyring.part_address(scope, upload, number);
            if self.view.get(&rows::upload_id(scope, upload))?.is_none() {
                orphans.push((address, rows::read_sequenced(value)?.0));
            }
            Ok(orphans.len() < limit)
        })?;
        self.each(rows::UPLOADS, |row, value| {
            let (scope, rest) = scope_of(row)?;
            let orphaned = self.view.get(&rows::scope(scope))?.is_none();
            if let Some((_, upload)) = rows::upload_of(rest).filter(|_| orphaned) {
                orphans.push((
                    self.keyring.upload_address(scope, upload),
                    rows::read_sequenced(value)?.0,
                ));
            }
            Ok(orphans.len() < limit)
        })?;
        orphans.truncate(limit);
        Ok(orphans)
    }

    pub(super) fn stored<T>(
        &self,
        row: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, IndexError>,
    ) -> Result<Option<Stored<T>>, IndexError> {
        let Some(row) = self.view.get(row)? else {
            return Ok(None);
        };
        let (sequence, plain) = rows::read_sequenced(&row)?;
        Ok(Some(Stored {
            sequence,
            value: decode(plain)?,
        }))
    }
}

/// The scope of a row with a one-byte prefix, and what follows it.
fn scope_of(row: &[u8]) -> Result<(ScopeId, &[u8]), IndexError> {
    let mut reader = engine::codec::Reader::new(row.get(1..).unwrap_or_default());
    Ok((ScopeId(reader.fixed()?), reader.rest()))
}
