//! A view in a sled directory. The only module that names sled.
//!
//! sled's flush is not a full sync and its format may change: nothing here is truth. It starts threads of its own, the
//! exception that this crate allows.
//!
//! Invariant: whatever sled does with a damaged directory, it comes out as an error, and the directory can be deleted.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::{Change, View, ViewError};

/// How often sled writes out what was applied, in milliseconds. It bounds how much of the log the next start replays
/// after a crash; shorter would compete with the ledger's own flushes.
const FLUSH_EVERY_MS: u64 = 5_000;

/// A [`View`] on disk.
pub struct SledView {
    db: ::sled::Db,
    path: PathBuf,
}

impl std::fmt::Debug for SledView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledView")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SledView {
    /// Opens the view at `path`, or creates it. `cache_bytes` is what sled may keep of it in memory.
    ///
    /// On [`ViewError::Damaged`] delete the directory and open again. sled answers some damage by a panic, which becomes
    /// that error here (the panic's message still goes to the standard error).
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, ViewError> {
        let config = ::sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            // Views are small beside the data and rewritten often: write amplification costs more than space.
            .mode(::sled::Mode::HighThroughput)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        let damaged = ViewError::Damaged {
            path: path.to_owned(),
        };
        let db = opened
            .map_err(|_| damaged)?
            .map_err(|error| view_error(path, error))?;
        Ok(Self {
            db,
            path: path.to_owned(),
        })
    }

    /// Bytes that the view takes on disk.
    pub fn disk_bytes(&self) -> Result<u64, ViewError> {
        self.db
            .size_on_disk()
            .map_err(|error| view_error(&self.path, error))
    }
}

impl View for SledView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let value = self.db.get(key).map_err(|error| view_error(&self.path, error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = self.db.range::<&[u8], _>((Bound::Included(from), upper));
        let mut next = || {
            if reverse {
                entries.next_back()
            } else {
                entries.next()
            }
        };
        while let Some(entry) = next() {
            let (key, value) = entry.map_err(|error| view_error(&self.path, error))?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError> {
        let mut batch = ::sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db
            .apply_batch(batch)
            .map_err(|error| view_error(&self.path, error))
    }

    fn clear(&self) -> Result<(), ViewError> {
        self.db.clear().map_err(|error| view_error(&self.path, error))
    }

    fn flush(&self) -> Result<(), ViewError> {
        self.db
            .flush()
            .map(|_| ())
            .map_err(|error| view_error(&self.path, error))
    }
}

fn view_error(path: &Path, error: ::sled::Error) -> ViewError {
    let path = path.to_owned();
    match error {
        ::sled::Error::Corruption { .. } => ViewError::Damaged { path },
        // sled reports a configuration file that does not parse as an error of this kind.
        ::sled::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            ViewError::Damaged { path }
        }
        ::sled::Error::Io(source) => ViewError::Io { path, source },
        ::sled::Error::Unsupported(_) => ViewError::Damaged { path },
        ::sled::Error::CollectionNotFound(_) | ::sled::Error::ReportableBug(_) => ViewError::Store { path },
    }
}
