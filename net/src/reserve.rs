//! Space set aside so that deletes, the collector and the records of reads can still be written when a disk is full.
//!
//! A preallocated file in the directory of the log it serves, released when an append finds no space, made again when there
//! is enough. Invariant: it counts as held only while the file has all its bytes on the disk; a part of one, as a crash
//! leaves, would only take space and is removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::{Disk, OpenMode};

/// The file's name in its log's directory.
const NAME: &str = "reserve";

/// More than the longest append and the next reservation of its segment.
const PROBE_BYTES: u64 = 6 << 20;
const PROBE_NAME: &str = "reserve.probe";

/// The reserve file of one log.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Whose it is, for people.
    owner: &'static str,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Finds the reserve of `bytes` bytes in `dir`; makes none yet. `owner` names the log in messages.
    pub fn find(disk: Arc<dyn Disk>, dir: &Path, owner: &'static str, bytes: u64) -> Self {
        let mut reserve = Self {
            disk,
            dir: dir.to_owned(),
            owner,
            bytes,
            held: false,
        };
        reserve.held = reserve.is_whole().unwrap_or(false);
        if !reserve.held {
            reserve.remove_part();
        }
        reserve
    }

    /// Whether the reserve is there.
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// Gives the space back to the file system. False if there was none to give.
    pub fn release(&mut self) -> bool {
        if !std::mem::take(&mut self.held) {
            return false;
        }
        match self.disk.remove_file(&self.path()) {
            Ok(()) => {
                tracing::warn!("the disk of {} is full: its reserve was released", self.owner);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the reserve of {} could not be released", self.owner);
                false
            }
        }
    }

    /// Makes the reserve again, if it is gone and there is space for it and as much again.
    pub fn refill(&mut self) {
        if self.held {
            return;
        }
        let free = self.disk.available_bytes(&self.dir).unwrap_or(0);
        if free < self.bytes.saturating_mul(2) {
            return;
        }
        match self.make() {
            Ok(()) => self.held = true,
            Err(error) => {
                tracing::debug!(%error, "the reserve of {} could not be made", self.owner);
                self.remove_part();
            }
        }
    }

    /// Whether the file system would give an urgent append its space: asked by taking some and giving it back.
    pub fn probe(&self) -> bool {
        let path = self.dir.join(PROBE_NAME);
        let taken = self
            .disk
            .open(&path, OpenMode::CreateNew)
            .and_then(|file| file.allocate(0, PROBE_BYTES));
        let _ = self.disk.remove_file(&path);
        taken.is_ok()
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    fn is_whole(&self) -> io::Result<bool> {
        let path = self.path();
        if !self.disk.exists(&path) {
            return Ok(false);
        }
        Ok(self.disk.open(&path, OpenMode::Read)?.allocated_bytes()? >= self.bytes)
    }

    fn remove_part(&self) {
        let path = self.path();
        if self.disk.exists(&path)
            && let Err(error) = self.disk.remove_file(&path)
        {
            tracing::warn!(%error, "a part of a reserve of {} could not be removed", self.owner);
        }
    }

    fn make(&self) -> io::Result<()> {
        self.remove_part();
        self.disk
            .open(&self.path(), OpenMode::CreateNew)?
            .allocate(0, self.bytes)
    }
}
