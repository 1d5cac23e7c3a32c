//! A view in a fjall directory: a log-structured merge tree. The only module that names fjall.
//!
//! Nothing is asked to be on disk before it is answered, and the format may change: nothing here is truth. fjall starts
//! a thread of its own, the exception that this crate allows.
//!
//! Invariants: whatever fjall does with a damaged directory, it comes out as an error, and the directory can be deleted; a reader
//! sees all of a batch or none of it; a directory in which a batch is missing among those that were applied (`marks.rs`) does not
//! open.

mod marks;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ::fjall::compaction::Leveled;
use ::fjall::{AbstractTree as _, Database, Iter, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Change, View, ViewError};
use marks::{Mark, Marks};

/// The one keyspace of a view.
const KEYSPACE: &str = "view";
/// The first byte of a row's key; the rest is the key.
const ROW: u8 = b'r';
/// Threads that write tables and merge them. With two the first hands merges on to the second for as long as one goes on, without a
/// pause: it burns a processor.
const WORKERS: usize = 1;
/// Changes that are kept in memory before they are written as a table.
const MEMTABLE_BYTES_MAX: u64 = 16 << 20;
/// So many times that when the tables do not keep up; then writers wait.
const MEMTABLES_MAX: u64 = 4;
/// A table, about: readers wait while the last of a merge is flushed.
const TABLE_BYTES: u64 = 16 << 20;
/// The journal repeats what is in memory, for the next start after a crash. fjall takes no less.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// How long writers wait for tables, or an end for scans.
const WAIT_MAX: Duration = Duration::from_secs(10);
const WAIT_STEP: Duration = Duration::from_millis(5);

/// A [`View`] on disk.
pub struct FjallView {
    path: PathBuf,
    cache_bytes: u64,
    /// Nothing while it is closed, which after a reopening that failed it stays.
    store: RwLock<Option<Arc<Store>>>,
    /// Held while it is closed and opened again.
    changing: Mutex<()>,
}

struct Store {
    // Before the database: its last handle ends fjall's thread.
    rows: Keyspace,
    db: Database,
    marks: Marks,
}

impl std::fmt::Debug for FjallView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallView")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    fn open(path: &Path, cache_bytes: u64) -> Result<Self, ViewError> {
        let damaged = || ViewError::Damaged {
            path: path.to_owned(),
        };
        // fjall would begin anew beside what another store or a half-made directory left there.
        if path.join("keyspaces").exists() != path.exists() {
            return Err(damaged());
        }
        let open = || {
            let db = Database::builder(path)
                .cache_size(cache_bytes)
                .worker_threads(WORKERS)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .manual_journal_persist(true)
                .open()?;
            let options = || {
                KeyspaceCreateOptions::default()
                    // fjall asks for a rotation with each write beyond the limit, in a queue whose one reader writes to it too.
                    .max_memtable_size(u64::MAX)
                    .manual_journal_persist(true)
                    .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
            };
            let rows = db.keyspace(KEYSPACE, options)?;
            let marks = Marks::read(&rows)?;
            Ok((db, rows, marks))
        };
        let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| damaged())?;
        let (db, rows, marks) = opened.map_err(|error| view_error(path, error))?;
        let marks = marks.ok_or_else(damaged)?;
        Ok(Self { rows, db, marks })
    }

    /// Writes out what is in memory as a table when that is due, and waits when it is far more than that.
    fn rotate(&self, limit: u64) -> Result<(), ::fjall::Error> {
        let begun = Instant::now();
        loop {
            let bytes = self.rows.tree.active_memtable().size();
            if bytes <= limit {
                return Ok(());
            }
            if self.rows.sealed_memtable_count() == 0 {
                self.rows.rotate_memtable()?;
                return Ok(());
            }
            if bytes <= limit.saturating_mul(MEMTABLES_MAX) || begun.elapsed() > WAIT_MAX {
                return Ok(());
            }
            // Also says whether its thread has failed.
            self.db.persist(PersistMode::Buffer)?;
            std::thread::sleep(WAIT_STEP);
        }
    }
}

impl FjallView {
    /// Opens the view at `path`, or creates it. `cache_bytes` is what fjall may keep in memory of what is on disk; changes that
    /// are not on disk yet take up to a third of it besides, or 16 MiB, and four times as much while tables are merged.
    ///
    /// On [`ViewError::Damaged`] delete the directory and open again. fjall answers some damage by a panic, which becomes
    /// that error here (the panic's message still goes to the standard error).
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, ViewError> {
        let store = Store::open(path, cache_bytes)?;
        Ok(Self {
            path: path.to_owned(),
            cache_bytes,
            store: RwLock::new(Some(Arc::new(store))),
            changing: Mutex::new(()),
        })
    }

    /// Bytes that the view takes on disk.
    pub fn disk_bytes(&self) -> Result<u64, ViewError> {
        self.with(|store| store.db.disk_space())
    }

    /// Does something with the open store while no batch is half applied.
    fn with<T>(&self, ask: impl FnOnce(&Store) -> Result<T, ::fjall::Error>) -> Result<T, ViewError> {
        let held = self.store.read().map_err(|_| ViewError::Poisoned)?;
        let store = held.as_ref().ok_or_else(|| self.closed())?;
        ask(store).map_err(|error| view_error(&self.path, error))
    }

    fn closed(&self) -> ViewError {
        ViewError::Store {
            path: self.path.clone(),
        }
    }

    /// Closes the store, lets `between` happen to its directory, and opens it again. Scans that are under way end with an error.
    fn renew(&self, between: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), ViewError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.store.write().map_err(|_| ViewError::Poisoned)?.take();
        if let Some(store) = held {
            self.end(store)?;
        }
        between(&self.path).map_err(|source| ViewError::Io {
            path: self.path.clone(),
            source,
        })?;
        let store = Store::open(&self.path, self.cache_bytes)?;
        *self.store.write().map_err(|_| ViewError::Poisoned)? = Some(Arc::new(store));
        Ok(())
    }

    /// Waits until nobody has the store and drops it: two in one directory would write over each other.
    fn end(&self, store: Arc<Store>) -> Result<(), ViewError> {
        let begun = Instant::now();
        let mut store = store;
        loop {
            store = match Arc::try_unwrap(store) {
                Ok(last) => {
                    // fjall's end may panic after its thread did.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(last)));
                    return Ok(());
                }
                Err(shared) => shared,
            };
            if begun.elapsed() > WAIT_MAX {
                *self.store.write().map_err(|_| ViewError::Poisoned)? = Some(store);
                return Err(self.closed());
            }
            std::thread::sleep(WAIT_STEP);
        }
    }
}

/// The key of a row as the store has it.
fn stored_key(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}

impl View for FjallView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let value = self.with(|store| store.rows.get(stored_key(key)))?;
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
        let upper = to.map_or_else(|| vec![ROW + 1], stored_key);
        let held = self.store.read().map_err(|_| ViewError::Poisoned)?;
        let store = Arc::clone(held.as_ref().ok_or_else(|| self.closed())?);
        let range = (Bound::Included(stored_key(from)), Bound::Excluded(upper));
        let mut entries: Iter = store.rows.range(range);
        drop(held);
        let mut next = || {
            if reverse {
                entries.next_back()
            } else {
                entries.next()
            }
        };
        while let Some(entry) = next() {
            let (key, value) = entry
                .into_inner()
                .map_err(|error| view_error(&self.path, error))?;
            if !visit(key.get(1..).unwrap_or_default(), &value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError> {
        let held = self.store.write().map_err(|_| ViewError::Poisoned)?;
        let store = held.as_ref().ok_or_else(|| self.closed())?;
        // fjall does not tell two changes of a key in one batch apart.
        let last: BTreeMap<_, _> = changes.into_iter().collect();
        let mut batch = store.db.batch();
        for (key, value) in last {
            match value {
                Some(value) => batch.insert(&store.rows, stored_key(&key), value),
                None => batch.remove(&store.rows, stored_key(&key)),
            }
        }
        let Mark { key, value } = store.marks.next();
        batch.insert(&store.rows, key, value);
        let failed = |error| view_error(&self.path, error);
        batch.commit().map_err(failed)?;
        store.marks.applied();
        let store = Arc::clone(store);
        drop(held);
        store
            .rotate((self.cache_bytes / 3).min(MEMTABLE_BYTES_MAX))
            .map_err(failed)
    }

    fn clear(&self) -> Result<(), ViewError> {
        self.renew(|path| match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    fn flush(&self) -> Result<(), ViewError> {
        self.with(|store| store.db.persist(PersistMode::Buffer))
    }

    fn reopen(&self) -> Result<(), ViewError> {
        self.renew(|_| Ok(()))
    }
}

fn view_error(path: &Path, error: ::fjall::Error) -> ViewError {
    use ::fjall::{Error, LsmError};
    let path = path.to_owned();
    match error {
        Error::Io(source) | Error::Storage(LsmError::Io(source)) if !tells_of_damage(&source) => {
            ViewError::Io { path, source }
        }
        Error::Locked => ViewError::Io {
            path,
            source: io::ErrorKind::ResourceBusy.into(),
        },
        Error::Poisoned | Error::KeyspaceDeleted => ViewError::Store { path },
        _ => ViewError::Damaged { path },
    }
}

/// Whether a read found something other than was written.
fn tells_of_damage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound
    )
}

/// Takes the mark of batch `number` out of the view at `path`, as if the batch were not there.
#[cfg(test)]
pub(super) fn forget_mark(path: &Path, number: u64) {
    let store = Store::open(path, 1 << 20).unwrap();
    store.rows.remove(marks::mark_key(number)).unwrap();
    store.db.persist(PersistMode::SyncAll).unwrap();
}
