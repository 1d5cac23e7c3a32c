//! Space set aside so that deletes and the collector can still append to a ledger whose disk is full.
//!
//! A preallocated file, released when an urgent append finds no space, made again when there is enough. Invariant:
//! while it is released only urgent appends are written, so that others cannot eat what it gave back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::{Disk, OpenMode};

/// The file's name in the ledger's directory.
const NAME: &str = "reserve";

/// More than the longest append and the next reservation of its segment.
const PROBE_BYTES: u64 = 6 << 20;
const PROBE_NAME: &str = "reserve.probe";

/// The reserve file.
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Finds the reserve, or makes it if there is space.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Self {
        let mut reserve = Self {
            disk,
            dir: dir.to_owned(),
            bytes,
            held: false,
        };
        reserve.held = reserve.is_whole().unwrap_or(false);
        reserve.refill();
        reserve
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

    /// Whether the reserve is there.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Gives the space back to the file system. False if there was none to give.
    pub(super) fn release(&mut self) -> bool {
        if !self.held {
            return false;
        }
        self.held = false;
        match self.disk.remove_file(&self.path()) {
            Ok(()) => {
                tracing::warn!("the ledger's disk is full: its reserve was released");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger's reserve could not be released");
                false
            }
        }
    }

    /// Makes the reserve again, if it is gone and there is space for it and as much again.
    pub(super) fn refill(&mut self) {
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
                tracing::debug!(%error, "the ledger's reserve could not be made");
                // A part of a reserve would only take space.
                let _ = self.disk.remove_file(&self.path());
            }
        }
    }

    /// Whether the file system would give an urgent append its space: asked by taking some and giving it back.
    pub(super) fn probe(&self) -> bool {
        let path = self.dir.join(PROBE_NAME);
        let taken = self
            .disk
            .open(&path, OpenMode::CreateNew)
            .and_then(|file| file.allocate(0, PROBE_BYTES));
        let _ = self.disk.remove_file(&path);
        taken.is_ok()
    }

    fn make(&self) -> io::Result<()> {
        let path = self.path();
        if self.disk.exists(&path) {
            self.disk.remove_file(&path)?;
        }
        self.disk
            .open(&path, OpenMode::CreateNew)?
            .allocate(0, self.bytes)
    }
}
