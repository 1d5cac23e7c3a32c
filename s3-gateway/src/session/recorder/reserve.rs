//! Space set aside so that reads, deletes and the collector can still be recorded when the disk is full.
//!
//! A preallocated file in the log's directory, released when an append finds no space, made again when there is enough.

use engine::disk::{Disk, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name in the log's directory.
const NAME: &str = "reserve";

/// The reserve file.
pub(super) struct Reserve {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Finds the reserve; makes none yet.
    pub(super) fn find(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Self {
        let dir = dir.to_owned();
        let held = disk.exists(&dir.join(NAME));
        Self {
            disk,
            dir,
            bytes,
            held,
        }
    }

    /// Gives the space back to the file system. False if there was none to give.
    pub(super) fn release(&mut self) -> bool {
        if !std::mem::take(&mut self.held) {
            return false;
        }
        match self.disk.remove_file(&self.dir.join(NAME)) {
            Ok(()) => {
                tracing::warn!("the activity log's disk is full: its reserve was released");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the activity log's reserve could not be released");
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
        let path = self.dir.join(NAME);
        let made = || -> io::Result<()> {
            self.disk
                .open(&path, OpenMode::CreateNew)?
                .allocate(0, self.bytes)
        };
        match made() {
            Ok(()) => self.held = true,
            Err(error) => {
                tracing::debug!(%error, "the activity log's reserve could not be made");
                // A part of a reserve would only take space.
                let _ = self.disk.remove_file(&path);
            }
        }
    }
}
