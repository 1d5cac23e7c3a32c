//! The operating system's files. Not portable beyond Linux: `fallocate` and `statvfs` are used.
//!
//! Invariant: a short write is continued, an interrupted call repeated, every other error is handed up untouched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, Bytes};
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags};

use super::{DIRECT_ALIGN, Disk, DiskFile, FileIdentity, OpenMode};

/// The machine's own file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .take_while(|p| !p.exists())
            .collect();
        for part in missing.into_iter().rev() {
            match fs::create_dir(part) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let parent = part.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        if dir.is_dir() {
            Ok(())
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn list_dir(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(mode != OpenMode::Read)
            .create_new(mode == OpenMode::CreateNew);
        Ok(Box::new(RealFile {
            file: options.open(path)?,
            writable: mode != OpenMode::Read,
            direct: OnceLock::new(),
            refused: AtomicBool::new(false),
        }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Shorter parts are written through the page cache: they gain little, and each direct write is waited for.
const DIRECT_WRITE_MIN: usize = 256 << 10;

struct RealFile {
    file: File,
    writable: bool,
    /// The same file opened for direct reads and writes, once one was asked for; none where the file system has no such thing.
    direct: OnceLock<Option<File>>,
    /// The file system opened it, but takes no direct writes.
    refused: AtomicBool,
}

impl RealFile {
    /// The file for direct reads and writes. Opened by its descriptor, as its name may lead elsewhere by now.
    fn direct(&self) -> Option<&File> {
        let open = || {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let access = if self.writable {
                OFlags::RDWR
            } else {
                OFlags::RDONLY
            };
            let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from)
        };
        self.direct.get_or_init(open).as_ref()
    }

    /// Whether a part is worth a direct write at this place, and can have one.
    fn can_go_direct(&self, part: &[u8], offset: u64) -> bool {
        part.len() >= DIRECT_WRITE_MIN
            && offset.is_multiple_of(DIRECT_ALIGN as u64)
            && part.as_ptr().align_offset(DIRECT_ALIGN) == 0
            && !self.refused.load(Ordering::Relaxed)
    }

    /// Writes the whole multiples of [`DIRECT_ALIGN`] around the page cache, as many as the file system takes so, and says how
    /// many bytes they come to. What is left is for the cache.
    fn write_direct(&self, part: &[u8], offset: u64) -> io::Result<usize> {
        let Some(file) = self.direct() else { return Ok(0) };
        let whole = part.len() - part.len() % DIRECT_ALIGN;
        let mut written = 0;
        while let Some(rest) = part.get(written..whole).filter(|rest| !rest.is_empty()) {
            match file.write_at(rest, offset.saturating_add(written as u64)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    written += bytes;
                    if bytes % DIRECT_ALIGN != 0 {
                        return Ok(written - written % DIRECT_ALIGN);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                    ) =>
                {
                    self.refused.store(true, Ordering::Relaxed);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Through the page cache.
    fn write_cached(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        match parts {
            [] => Ok(()),
            [single] => self.file.write_all_at(single, offset),
            _ => self.write_vectored_at(parts, offset),
        }
    }

    /// Several parts in one system call where it takes them all; what is left goes part by part.
    fn write_vectored_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut written = loop {
            match rustix::io::pwritev(&self.file, &slices, offset) {
                Ok(bytes) => break bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut at = offset;
        for part in parts {
            if let Some(rest) = part.get(written..).filter(|rest| !rest.is_empty()) {
                self.file.write_all_at(rest, at.saturating_add(written as u64))?;
            }
            written = written.saturating_sub(part.len());
            at = at.saturating_add(part.len() as u64);
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn lock(&self) -> io::Result<()> {
        match self.file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// Reads whole aligned pages around the bytes asked for.
    fn read_direct(&self, bytes: usize, offset: u64) -> Option<io::Result<Bytes>> {
        let file = self.direct()?;
        let head = usize::try_from(offset % DIRECT_ALIGN as u64).ok()?;
        let pages = (head + bytes).next_multiple_of(DIRECT_ALIGN);
        let mut buffer = vec![0; pages + DIRECT_ALIGN];
        let from = buffer.as_ptr().align_offset(DIRECT_ALIGN);
        let into = buffer.get_mut(from..from.checked_add(pages)?)?;
        let mut read = 0;
        while read < head + bytes {
            match file.read_at(into.get_mut(read..)?, offset - head as u64 + read as u64) {
                Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                // What comes after a read that ends between two pages is the end of the file.
                Ok(more) if more % DIRECT_ALIGN != 0 && read + more < head + bytes => {
                    return Some(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let mut buffer = Bytes::from(buffer);
        buffer.advance(from + head);
        buffer.truncate(bytes);
        Some(Ok(buffer))
    }

    fn write_all_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for (index, part) in parts.iter().enumerate() {
            if self.can_go_direct(part, at) {
                let (before, after) = parts.split_at(index);
                self.write_cached(before, offset)?;
                let written = self.write_direct(part, at)?;
                let rest = part.get(written..).unwrap_or_default();
                let left = std::iter::once(rest).chain(after.iter().skip(1).copied());
                let left: Vec<&[u8]> = left.filter(|part| !part.is_empty()).collect();
                return self.write_cached(&left, at.saturating_add(written as u64));
            }
            at = at.saturating_add(part.len() as u64);
        }
        self.write_cached(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cached(&self, offset: u64, bytes: u64) {
        if let Some(bytes) = NonZeroU64::new(bytes) {
            // A file system without a page cache refuses, and there is nothing to drop.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(bytes), Advice::DontNeed);
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, bytes) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                // A file system without reservations: only the length is kept, and a write may find the disk full.
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    let end = offset.saturating_add(bytes);
                    return if self.len()? < end {
                        self.file.set_len(end)
                    } else {
                        Ok(())
                    };
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks().saturating_mul(512))
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() > 0)
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        let metadata = self.file.metadata()?;
        Ok(FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_around_the_cache_see_what_was_written_at_any_offset_and_end_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
        let content: Vec<u8> = (0..50_001_u32).map(|at| (at * 7 % 251) as u8).collect();
        file.write_all_at(&[&content], 0).unwrap();
        for (offset, bytes) in [
            (0, 50_001),
            (0, 4096),
            (1, 4096),
            (4095, 2),
            (8192, 41_809),
            (50_000, 1),
            (777, 0),
        ] {
            let read = file.read_around_cache(bytes, offset as u64).unwrap();
            assert_eq!(&read[..], &content[offset..offset + bytes], "{bytes} at {offset}");
        }
        for (offset, bytes) in [(0, 50_002), (49_152, 850), (50_001, 1), (1 << 20, 10)] {
            let error = file.read_around_cache(bytes, offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{bytes} at {offset}");
        }
        file.write_all_at(&[b"changed"], 9_000).unwrap();
        assert_eq!(&file.read_around_cache(7, 9_000).unwrap()[..], b"changed");
        let read = file.read_around_cache(300, 5).unwrap();
        assert!(read.try_into_mut().is_ok(), "it can be opened in place");
    }

    #[test]
    fn direct_and_cached_writes_of_one_call_meet_without_a_gap_at_any_length_and_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
        file.allocate(0, 2 << 20).unwrap();
        let memory: Vec<u8> = (0..900_000_u32).map(|at| (at * 11 % 253) as u8 + 1).collect();
        let aligned = memory.as_ptr().align_offset(DIRECT_ALIGN);
        for (from, bytes, offset) in [
            (aligned, DIRECT_WRITE_MIN, 4096),
            (aligned, DIRECT_WRITE_MIN + 4095, 8192),
            (aligned, DIRECT_WRITE_MIN - 1, 4096),
            (aligned, 700_001, 0),
            (aligned + 1, 700_001, 4096),
            (aligned, 700_001, 4097),
        ] {
            let long = &memory[from..from + bytes];
            let before = vec![255; usize::try_from(offset).unwrap()];
            let parts: [&[u8]; 4] = [&before, long, b"", b"after"];
            file.write_all_at(&parts, 0).unwrap();
            let expected = parts.concat();
            let mut read = vec![0; expected.len()];
            assert_eq!(file.read_at(&mut read, 0).unwrap(), read.len());
            assert!(read == expected, "{bytes} bytes at {offset}");
            let around = file.read_around_cache(expected.len(), 0).unwrap();
            assert!(around == expected, "{bytes} bytes at {offset}");
        }
    }
}
