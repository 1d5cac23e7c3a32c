//! Building the index anew from a snapshot of the ledger.
//!
//! Invariant: a load that was broken off leaves a mark, and the next [`Index::new`] starts from nothing.

use std::collections::HashMap;

use engine::slots::{Address, Entry, EntryKind, Sequence};
use scopes::ScopeId;

use super::batch::Batch;
use super::{Index, IndexError, Resolved, apply, rows};
use crate::value::OpenError;

/// What a load found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Entries of this vault.
    pub own: u64,
    /// Entries of other vaults, and leases.
    pub foreign: u64,
}

/// Loads a snapshot page by page. See [`Index::load`].
#[derive(Debug)]
pub struct Loader<'a> {
    index: &'a Index,
    report: LoadReport,
    /// An entry that did not open, and why, for each scope that was not known to be of this vault.
    unopened: HashMap<[u8; 16], (Address, OpenError)>,
}

impl Index {
    /// Empties the index and loads a snapshot into it.
    ///
    /// # Errors
    /// [`IndexError::View`].
    pub fn load(&self) -> Result<Loader<'_>, IndexError> {
        self.reset(vec![(rows::LOADING.to_vec(), Some(Vec::new()))])?;
        Ok(Loader {
            index: self,
            report: LoadReport::default(),
            unopened: HashMap::new(),
        })
    }
}

impl Loader<'_> {
    /// Loads some entries; see [`Index::unresolved_entries`] for `resolved`.
    ///
    /// # Errors
    /// [`IndexError`]. An entry that does not open is another vault's, unless its scope turns out to be this one's.
    pub fn entries(&mut self, entries: &[Entry], resolved: &Resolved) -> Result<(), IndexError> {
        let keyring = &self.index.keyring;
        let mut batch = Batch::new(&*self.index.view);
        for entry in entries {
            let mut applier = apply::Applier {
                keyring,
                batch: &mut batch,
                resolved,
            };
            let address = &entry.address;
            let vault_wide = address.scope == keyring.vault_wide().0;
            let foreign = match address.kind {
                kind if kind.is_of_cluster() => true,
                EntryKind::Pack => !applier.is_own_pack(address, &entry.value),
                EntryKind::Bucket | EntryKind::Statement => !vault_wide,
                _ => false,
            };
            if foreign {
                self.report.foreign += 1;
                continue;
            }
            match applier.put(address, entry.sequence, &entry.value) {
                Ok(()) => self.report.own += 1,
                Err(IndexError::Unopenable {
                    address,
                    source: source @ OpenError::Forged { .. },
                }) if !vault_wide => {
                    self.report.foreign += 1;
                    self.unopened.entry(address.scope).or_insert((address, source));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.index.view.apply(batch.into_changes())?)
    }

    /// Ends the load: the index is as of `through`, the append of this `operation`, if the ledger still says which it was.
    ///
    /// # Errors
    /// [`IndexError::Unopenable`] when an entry did not open though its scope is one of this vault.
    pub fn finish(self, through: Sequence, operation: Option<[u8; 16]>) -> Result<LoadReport, IndexError> {
        for (scope, (address, source)) in self.unopened {
            if self.index.bucket_of_scope(ScopeId(scope))?.is_some() {
                return Err(IndexError::Unopenable { address, source });
            }
        }
        self.index.view.apply(vec![
            (rows::APPLIED.to_vec(), Some(rows::sequence(through))),
            (rows::CHANGED.to_vec(), Some(rows::sequence(through))),
            (rows::OPERATION.to_vec(), operation.map(|id| id.to_vec())),
            (rows::LOADING.to_vec(), None),
        ])?;
        Ok(self.report)
    }
}
