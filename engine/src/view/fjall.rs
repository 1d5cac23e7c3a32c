//! A view in a fjall directory: a log-structured merge tree. The only module that names fjall.
//!
//! Nothing is asked to be on disk before it is answered, and the format may change: nothing here is truth. fjall starts
//! a thread of its own, the exception that this crate allows.
//!
//! Invariants: whatever fjall does with a damaged directory, it comes out as an error, and the directory can be deleted; a `get`
//! sees all of a batch or none of it; what was applied stays visible, also when the disk takes no more (`overlay.rs`); a directory
//! in which a batch is missing among those that were applied (`marks.rs`), or that was found damaged, does not open.

mod marks;
mod overlay;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use ::fjall::compaction::Leveled;
use ::fjall::{AbstractTree as _, Database, Iter, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Change, View, ViewError};
use marks::{MARKS, Mark, Marks};
use overlay::Overlay;

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
    held: RwLock<Held>,
    /// Held while it is cleared.
    clearing: Mutex<()>,
}

struct Held {
    /// Nothing while it is cleared, and for good when that failed.
    store: Option<Arc<Store>>,
    /// What came after a write that failed.
    overlay: Overlay,
}

/// The file in a view's directory that says that it was found damaged.
const DAMAGED: &str = "damaged";

struct Store {
    // Before the database: its last handle ends fjall's thread.
    rows: Keyspace,
    db: Database,
    marks: Marks,
    /// The number of the batch at the last rotation.
    rotated_at: AtomicU64,
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
        if path.join("keyspaces").exists() != path.exists() || path.join(DAMAGED).exists() {
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
        let rotated_at = AtomicU64::new(marks.number());
        Ok(Self {
            rows,
            db,
            marks,
            rotated_at,
        })
    }

    /// Writes a batch, or nothing of it.
    fn write(&self, changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<(), ::fjall::Error> {
        let mut batch = self.db.batch();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.rows, stored_key(key), value.as_slice()),
                None => batch.remove(&self.rows, stored_key(key)),
            }
        }
        let Mark { key, value } = self.marks.next();
        batch.insert(&self.rows, key, value);
        catch_unwind(AssertUnwindSafe(|| batch.commit())).unwrap_or(Err(::fjall::Error::Poisoned))?;
        self.marks.applied();
        Ok(())
    }

    /// Writes out what is in memory as a table when that is due, and waits when it is far more than that.
    fn rotate(&self, limit: u64) -> Result<(), ::fjall::Error> {
        let begun = Instant::now();
        loop {
            let bytes = self.rows.tree.active_memtable().size();
            // Marks must not come round while journals are all that holds the batches.
            let batches = self.marks.number() - self.rotated_at.load(Ordering::Relaxed);
            if bytes <= limit && batches < MARKS / 4 {
                return Ok(());
            }
            if self.rows.sealed_memtable_count() == 0 {
                self.rotated_at.store(self.marks.number(), Ordering::Relaxed);
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
            held: RwLock::new(Held {
                store: Some(Arc::new(store)),
                overlay: Overlay::default(),
            }),
            clearing: Mutex::new(()),
        })
    }

    /// Bytes that the view takes on disk.
    pub fn disk_bytes(&self) -> Result<u64, ViewError> {
        let held = self.read();
        let store = self.store(&held)?;
        store.db.disk_space().map_err(|error| self.failed(error))
    }

    // What a panic of fjall's left behind is fjall's to tell of: nothing here is half changed by it.
    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, unless it is being cleared or could not be opened after that.
    fn store<'a>(&self, held: &'a Held) -> Result<&'a Arc<Store>, ViewError> {
        held.store.as_ref().ok_or_else(|| self.closed())
    }

    fn closed(&self) -> ViewError {
        ViewError::Store {
            path: self.path.clone(),
        }
    }

    /// What an error means. Damage is noted in the directory, so that the next opening makes the view anew.
    fn failed(&self, error: ::fjall::Error) -> ViewError {
        let error = view_error(&self.path, error);
        if matches!(error, ViewError::Damaged { .. }) {
            // Without the note the next start finds the damage again.
            let _ = std::fs::write(self.path.join(DAMAGED), []);
        }
        error
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
                self.write().store = Some(store);
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
        let held = self.read();
        if let Some(changed) = held.overlay.get(key) {
            return Ok(changed);
        }
        let store = self.store(&held)?;
        let value = store
            .rows
            .get(stored_key(key))
            .map_err(|error| self.failed(error))?;
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
        let held = self.read();
        let store = Arc::clone(self.store(&held)?);
        let range = (Bound::Included(stored_key(from)), Bound::Excluded(upper));
        let mut entries: Iter = store.rows.range(range);
        let mut changed = held.overlay.range(from, to, reverse).into_iter().peekable();
        // Nothing is held while a visitor runs: it may use the view.
        drop(held);
        let before = |one: &[u8], other: &[u8]| if reverse { one > other } else { one < other };
        loop {
            let entry = if reverse {
                entries.next_back()
            } else {
                entries.next()
            };
            let entry = entry.map(::fjall::Guard::into_inner).transpose();
            let entry = entry.map_err(|error| self.failed(error))?;
            let stored = entry
                .as_ref()
                .map(|(key, value)| (key.get(1..).unwrap_or_default(), &**value));
            // Changes that stand before the stored row, or in its place.
            let mut replaced = false;
            while let Some((key, value)) =
                changed.next_if(|(key, _)| stored.is_none_or(|(at, _)| key == at || before(key, at)))
            {
                replaced |= stored.is_some_and(|(at, _)| key == at);
                if let Some(value) = value
                    && !visit(&key, &value)
                {
                    return Ok(());
                }
            }
            match stored {
                None => return Ok(()),
                Some((key, value)) if !replaced && !visit(key, value) => return Ok(()),
                Some(_) => {}
            }
        }
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError> {
        // fjall does not tell two changes of a key in one batch apart.
        let last: BTreeMap<_, _> = changes.into_iter().collect();
        let mut held = self.write();
        let store = Arc::clone(self.store(&held)?);
        if held.overlay.is_empty() {
            // Whatever the error, fjall has taken none of the batch and takes no other.
            if store.write(&last).is_ok() {
                drop(held);
                // An error of a rotation is the next batch's to find.
                let _ = store.rotate((self.cache_bytes / 3).min(MEMTABLE_BYTES_MAX));
                return Ok(());
            }
        }
        if held.overlay.take(last) {
            return Ok(());
        }
        Err(ViewError::Io {
            path: self.path.clone(),
            source: io::ErrorKind::StorageFull.into(),
        })
    }

    fn clear(&self) -> Result<(), ViewError> {
        let _alone = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.write().store.take();
        if let Some(store) = store {
            self.end(store)?;
        }
        match std::fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ViewError::Io {
                    path: self.path.clone(),
                    source,
                });
            }
            _ => {}
        }
        let store = Store::open(&self.path, self.cache_bytes)?;
        *self.write() = Held {
            store: Some(Arc::new(store)),
            overlay: Overlay::default(),
        };
        Ok(())
    }

    fn is_on_disk(&self) -> bool {
        self.read().overlay.is_empty()
    }

    fn flush(&self) -> Result<(), ViewError> {
        let held = self.read();
        let store = self.store(&held)?;
        if !held.overlay.is_empty() {
            // There is nothing that could be asked for.
            return Ok(());
        }
        store
            .db
            .persist(PersistMode::Buffer)
            .map_err(|error| self.failed(error))
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

/// Makes the view at work take no more writes, as a full disk does.
#[cfg(test)]
pub(super) fn fail_writes(view: &FjallView) {
    view.write().overlay.take(BTreeMap::from([(vec![0], None)]));
}

/// Takes the mark of batch `number` out of the view at `path`, as if the batch were not there.
#[cfg(test)]
pub(super) fn forget_mark(path: &Path, number: u64) {
    let store = Store::open(path, 1 << 20).unwrap();
    store.rows.remove(marks::mark_key(number)).unwrap();
    store.db.persist(PersistMode::SyncAll).unwrap();
}
