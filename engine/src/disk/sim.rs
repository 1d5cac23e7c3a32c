//! A disk in memory that records every change and can show what a crash at any moment may leave.
//!
//! Not a timing model. Crash model: what was synced is there; of the writes to a file since its last `sync_data`, each
//! may be there, be missing, or be torn at 512-byte sectors, in any combination; each unsynced change of length
//! or name may have happened or not. After a failed sync the writes it should have covered are never made durable by a later one.
//!
//! Invariant: the same seed, operations and choice give the same state. Source: ALICE (Pillai et al., OSDI 2014).

mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use world::{Op, World};

use super::{Disk, DiskFile, FileIdentity, OpenMode};

/// How many operations lie between two kept copies of the state, from which crash states are replayed.
const CHECKPOINT_OPS: usize = 32;

/// Which of the changes that were not yet synced a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashChoice {
    /// All of them, as when only the process dies.
    KeepAll,
    /// None of them.
    DropAll,
    /// A subset drawn from this seed, with torn writes.
    Seeded(u64),
}

/// The simulated disk. Clones share one state.
#[derive(Clone)]
pub struct SimDisk {
    seed: u64,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    world: World,
    recording: bool,
    ops: Vec<Op>,
    /// `(number of operations applied, state)`, the first before any operation.
    checkpoints: Vec<(usize, World)>,
    /// `(operations before it, number)`.
    markers: Vec<(usize, u64)>,
    sync_fails: Vec<PathBuf>,
    full: Vec<PathBuf>,
    /// `(prefix, system error)`.
    open_fails: Vec<(PathBuf, i32)>,
    /// `(file, first byte, end)`.
    unreadable: Vec<(PathBuf, u64, u64)>,
    capacity_bytes: u64,
    /// All files together may have so many bytes.
    limit_bytes: Option<u64>,
    handles: usize,
    dropped_bytes: u64,
}

impl SimDisk {
    /// An empty disk whose crash choices are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_world(seed, World::default(), true)
    }

    /// An empty disk that keeps no history: for tests that need faults but no crash states.
    pub fn unrecorded(seed: u64) -> Self {
        Self::with_world(seed, World::default(), false)
    }

    fn with_world(seed: u64, world: World, recording: bool) -> Self {
        let checkpoints = if recording {
            vec![(0, world.clone())]
        } else {
            Vec::new()
        };
        let inner = Inner {
            world,
            recording,
            ops: Vec::new(),
            checkpoints,
            markers: Vec::new(),
            sync_fails: Vec::new(),
            full: Vec::new(),
            open_fails: Vec::new(),
            unreadable: Vec::new(),
            capacity_bytes: 1 << 40,
            limit_bytes: None,
            handles: 0,
            dropped_bytes: 0,
        };
        Self {
            seed,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the mark "`number` was acknowledged here" into the history.
    pub fn marker(&self, number: u64) {
        let mut inner = self.lock();
        let at = inner.ops.len();
        inner.markers.push((at, number));
    }

    /// Bytes that a recorded disk was told to keep in memory no longer, right after their file was synced.
    pub fn dropped_bytes(&self) -> u64 {
        self.lock().dropped_bytes
    }

    /// Changes recorded so far.
    pub fn ops(&self) -> usize {
        self.lock().ops.len()
    }

    /// The marks that were set before operation `at_op` began, in order.
    pub fn markers_before(&self, at_op: usize) -> Vec<u64> {
        self.lock()
            .markers
            .iter()
            .filter(|(at, _)| *at <= at_op)
            .map(|(_, number)| *number)
            .collect()
    }

    /// The disk as a crash after the first `at_op` changes may leave it, with no history and no faults.
    pub fn crash_state(&self, at_op: usize, choice: CrashChoice) -> Self {
        let inner = self.lock();
        let start = inner.checkpoints.iter().rev().find(|(at, _)| *at <= at_op);
        let (from, mut world) =
            start.map_or_else(|| (0, World::default()), |(at, world)| (*at, world.clone()));
        for op in inner.ops.iter().take(at_op).skip(from) {
            world.apply(op);
        }
        let mixed = match choice {
            CrashChoice::Seeded(seed) => CrashChoice::Seeded(
                seed ^ self.seed.rotate_left(17) ^ (at_op as u64).wrapping_mul(0x9e37_79b9),
            ),
            other => other,
        };
        world.crash(mixed);
        Self::with_world(self.seed, world, true)
    }

    /// The disk as a crash at this moment may leave it, with no history and no faults: also of one that keeps none.
    pub fn crashed(&self, choice: CrashChoice) -> Self {
        let mut world = self.lock().world.clone();
        world.crash(choice);
        Self::with_world(self.seed, world, false)
    }

    /// From now on every sync of a file or directory below `prefix` fails.
    pub fn fail_sync(&self, prefix: &Path) {
        self.lock().sync_fails.push(prefix.to_owned());
    }

    /// From now on writes beyond a file's length, reservations and new files below `prefix` find the disk full.
    pub fn fail_write_enospc(&self, prefix: &Path) {
        self.lock().full.push(prefix.to_owned());
    }

    /// From now on every opening of a file below `prefix` fails with the system's error number `errno`.
    pub fn fail_open(&self, prefix: &Path, errno: i32) {
        self.lock().open_fails.push((prefix.to_owned(), errno));
    }

    /// From now on every read that touches these bytes of a file fails with EIO, as over a bad sector.
    pub fn fail_read(&self, path: &Path, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes);
        self.lock().unreadable.push((path.to_owned(), offset, end));
    }

    /// Space has come back where writes found the disk full.
    pub fn end_full(&self) {
        self.lock().full.clear();
    }

    /// Ends all injected faults.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.open_fails.clear();
        inner.unreadable.clear();
        inner.sync_fails.clear();
        inner.full.clear();
    }

    /// Sets what [`Disk::available_bytes`] answers.
    pub fn set_available_bytes(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Takes a file or a whole directory away behind the owner's back, durably; open handles go on working.
    pub fn unlink(&self, path: &Path) {
        self.lock().record(Op::Vanish {
            path: path.to_owned(),
        });
    }

    /// Turns one bit of a file over, durably. `offset` is in bytes; false if there is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64) -> bool {
        let mut inner = self.lock();
        let Some(file) = inner.world.file_named(path) else {
            return false;
        };
        if offset >= inner.world.len(file) {
            return false;
        }
        inner.record(Op::FlipBit { file, offset });
        true
    }

    /// From now on all files with a name may together have only so many bytes: what would grow a file beyond that finds the disk
    /// full, and what is removed or cut off makes room. [`Disk::available_bytes`] answers what is left.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().limit_bytes = Some(bytes);
    }

    /// Bytes of all files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.lock().world.used_bytes()
    }

    /// File handles open at this moment.
    pub fn open_handles(&self) -> usize {
        self.lock().handles
    }
}

impl Inner {
    fn record(&mut self, op: Op) {
        self.world.apply(&op);
        if !self.recording {
            return;
        }
        self.ops.push(op);
        if self.ops.len().is_multiple_of(CHECKPOINT_OPS) {
            self.checkpoints.push((self.ops.len(), self.world.clone()));
        }
    }

    fn is_full(&self, path: &Path) -> bool {
        self.full.iter().any(|prefix| path.starts_with(prefix))
    }

    /// Whether a file cannot grow by so many bytes.
    fn lacks_room(&self, path: &Path, more: u64) -> bool {
        let beyond = |limit| self.world.used_bytes().saturating_add(more) > limit;
        more > 0 && (self.is_full(path) || self.limit_bytes.is_some_and(beyond))
    }

    fn sync_fails(&self, path: &Path) -> bool {
        self.sync_fails.iter().any(|prefix| path.starts_with(prefix))
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.lock().record(Op::CreateDir { dir: dir.to_owned() });
        Ok(())
    }

    fn list_dir(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock();
        if inner.world.has_dir(dir) {
            Ok(inner.world.list(dir))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        if let Some((_, errno)) = inner
            .open_fails
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix))
        {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let file = match (inner.world.file_named(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, OpenMode::CreateNew) => {
                if !path.parent().is_some_and(|dir| inner.world.has_dir(dir)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                if inner.is_full(path) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let file = inner.world.next_file();
                inner.record(Op::Create {
                    path: path.to_owned(),
                    file,
                });
                file
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        inner.handles += 1;
        Ok(Box::new(SimFile {
            disk: self.clone(),
            path: path.to_owned(),
            file,
            writable: mode != OpenMode::Read,
        }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.world.file_named(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.record(Op::Remove {
            path: path.to_owned(),
        });
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.world.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.record(Op::RemoveDir { dir: dir.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.world.file_named(from).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.record(Op::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.sync_fails(dir) {
            return Err(io::Error::other("injected sync failure"));
        }
        if !inner.world.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.record(Op::SyncDir { dir: dir.to_owned() });
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        let inner = self.lock();
        inner.world.file_named(path).is_some() || inner.world.has_dir(path)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let inner = self.lock();
        Ok(match inner.limit_bytes {
            _ if inner.is_full(path) => 0,
            Some(limit) => limit.saturating_sub(inner.world.used_bytes()),
            None => inner.capacity_bytes,
        })
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    file: u64,
    writable: bool,
}

impl SimFile {
    fn writable(&self) -> io::Result<MutexGuard<'_, Inner>> {
        if self.writable {
            Ok(self.disk.lock())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock().handles -= 1;
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.lock();
        let end = offset.saturating_add(buffer.len() as u64);
        let touches =
            |(path, from, to): &(PathBuf, u64, u64)| *path == self.path && offset < *to && *from < end;
        if inner.unreadable.iter().any(touches) {
            return Err(rustix::io::Errno::IO.into());
        }
        Ok(inner.world.read(self.file, buffer, offset))
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut inner = self.writable()?;
        let data: Arc<[u8]> = parts.concat().into();
        let end = offset.saturating_add(data.len() as u64);
        let have = inner.world.len(self.file);
        if inner.lacks_room(&self.path, end.saturating_sub(have)) {
            // As a real disk does, write what still fits and then report the rest.
            let fits = usize::try_from(have.saturating_sub(offset))
                .unwrap_or(0)
                .min(data.len());
            if let Some(part) = data.get(..fits).filter(|part| !part.is_empty()) {
                inner.record(Op::Write {
                    file: self.file,
                    offset,
                    data: part.into(),
                });
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.record(Op::Write {
            file: self.file,
            offset,
            data,
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        if inner.sync_fails(&self.path) {
            inner.record(Op::SyncFailed { file: self.file });
            return Err(io::Error::other("injected sync failure"));
        }
        inner.record(Op::SyncData { file: self.file });
        Ok(())
    }

    fn drop_cached(&self, _offset: u64, bytes: u64) {
        let mut inner = self.disk.lock();
        if matches!(inner.ops.last(), Some(Op::SyncData { file }) if *file == self.file) {
            inner.dropped_bytes += bytes;
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.writable()?.record(Op::SetLen {
            file: self.file,
            bytes,
        });
        Ok(())
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut inner = self.writable()?;
        let end = offset.saturating_add(bytes);
        let more = end.saturating_sub(inner.world.len(self.file));
        if inner.lacks_room(&self.path, more) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if end > inner.world.len(self.file) {
            inner.record(Op::SetLen {
                file: self.file,
                bytes: end,
            });
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().world.len(self.file))
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.lock().world.len(self.file).next_multiple_of(4096))
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.disk.lock().world.is_linked(self.file))
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(FileIdentity {
            device: 1,
            inode: self.file,
        })
    }
}
