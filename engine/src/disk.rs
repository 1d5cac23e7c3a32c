//! The files below the log: what the engine asks of a disk, once for real and once simulated.
//!
//! Not a general file API: only the operations whose durability the log and the drives depend on are here, so that
//! the simulated disk can model exactly what a crash may do to each of them.
//!
//! Invariant: data written is durable only after `sync_data` on its file, a name made, renamed or removed only after
//! `sync_dir` on its directory. Nothing in the engine touches a file except through these two traits.

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::{CrashChoice, SimDisk};

use std::io;
use std::path::Path;

use bytes::Bytes;

/// What goes around the system's page cache does so in multiples of this many bytes, in the file and in memory: no disk asks for
/// more, and no page is shared with what goes through the cache.
pub const DIRECT_ALIGN: usize = 4096;

/// The largest file that [`Disk::read_small`] reads, in bytes.
pub const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reads only.
    Read,
    /// Existing file, reads and writes.
    ReadWrite,
    /// A file that must not exist yet, reads and writes.
    CreateNew,
}

/// Device and inode of a file: which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

/// A place with directories and files.
pub trait Disk: Send + Sync {
    /// Creates a directory and its missing parents, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The names in a directory, sorted. Names that are not UTF-8 are left out.
    fn list_dir(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Removes a file's name.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with everything in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file, replacing what had the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether a file or directory has this name.
    fn exists(&self, path: &Path) -> bool;
    /// Bytes that an unprivileged writer may still allocate on the file system of `path`.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Reads a whole file of at most [`SMALL_FILE_BYTES_MAX`] bytes; a larger one is an error.
    fn read_small(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let bytes = file.len()?;
        if bytes > SMALL_FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?];
        read_exact_at(&*file, &mut content, 0)?;
        Ok(content)
    }
}

/// An open file. All methods may be called from several threads.
pub trait DiskFile: Send + Sync {
    /// Takes the file for this process as long as it is open here; [`io::ErrorKind::WouldBlock`] when it is taken. Where a file
    /// system has no locks, nothing happens.
    fn lock(&self) -> io::Result<()> {
        Ok(())
    }
    /// Reads at `offset`; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads exactly `bytes` bytes at `offset` without the system's page cache; none where that cannot be done.
    fn read_direct(&self, _bytes: usize, _offset: u64) -> Option<io::Result<Bytes>> {
        None
    }
    /// Reads exactly `bytes` bytes at `offset`, of which there are many that will not be read again soon: around the system's
    /// page cache where that can be done.
    fn read_around_cache(&self, bytes: usize, offset: u64) -> io::Result<Bytes> {
        if let Some(read) = self.read_direct(bytes, offset) {
            return read;
        }
        let mut buffer = vec![0; bytes];
        if self.read_at(&mut buffer, offset)? < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.drop_cached(offset, bytes as u64);
        Ok(Bytes::from(buffer))
    }
    /// Writes the parts one after another from `offset`. After an error any of the bytes may have been written. A part of at
    /// least 256 KiB that lies at a multiple of [`DIRECT_ALIGN`] both in the file and in memory goes around the system's page
    /// cache where that can be done.
    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Makes content and length durable. After an error nothing may be assumed about unsynced writes, ever again.
    fn sync_data(&self) -> io::Result<()>;
    /// Says that these bytes, which are synced, need not stay in memory. Only a hint.
    fn drop_cached(&self, offset: u64, bytes: u64);
    /// Cuts the file off or extends it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Reserves space for a range and extends the length to its end; new bytes read as zeros.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Bytes that the file occupies on its disk.
    fn allocated_bytes(&self) -> io::Result<u64>;
    /// Whether any name still leads to this file.
    fn is_linked(&self) -> io::Result<bool>;
    /// Which file this is.
    fn identity(&self) -> io::Result<FileIdentity>;
}

/// Fills the whole buffer from `offset`, or fails with `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if file.read_at(buffer, offset)? == buffer.len() {
        return Ok(());
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Puts a small file in place durably and whole: a new file under a temporary name, synced, renamed, directory synced.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = path.with_extension("new");
    if disk.exists(&temporary) {
        disk.remove_file(&temporary)?;
    }
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    file.write_all_at(&[content], 0)?;
    file.sync_data()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)
}

/// Whether an error says that the disk or the quota is full, after which the file is as usable as before.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether an error says that these bytes cannot be read back from the medium, as over a bad sector.
pub fn is_unreadable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unreadable = [Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA];
    Errno::from_io_error(error).is_some_and(|errno| unreadable.contains(&errno))
}
