//! Views: ordered maps of bytes to bytes that can be thrown away and built again from a log.
//!
//! A view never holds truth: its flush is not a full sync, and whoever finds it damaged deletes it and rebuilds.
//!
//! Invariant: a batch is applied whole or not at all, also across a crash, so a view that stores the position it was
//! built to in the same batch is always exactly as of that position.

use std::path::PathBuf;

mod fjall;
mod memory;
#[cfg(test)]
mod tests;

pub use self::fjall::FjallView;
pub use self::memory::MemoryView;

/// A change of one entry: a new value, or its removal.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Why a view failed. Whatever it is, the view can be deleted and rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// What is on disk is not what was written.
    #[error("the view at {} is damaged; it can be deleted and is then rebuilt", path.display())]
    Damaged {
        /// The view's directory.
        path: PathBuf,
    },
    /// Reading or writing failed, or another process holds the directory.
    #[error("the view at {} cannot be read or written", path.display())]
    Io {
        /// The view's directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store under the view refused for another reason, a fault of this program.
    #[error("the view at {} failed", path.display())]
    Store {
        /// The view's directory.
        path: PathBuf,
    },
    /// A thread died while it changed the view in memory.
    #[error("the view in memory is half changed")]
    Poisoned,
}

/// An ordered map of bytes to bytes, shared between threads. A key has 1 to 65,535 bytes.
pub trait View: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError>;

    /// Shows `visit` the entries with `from` <= key < `to` (`None`: to the end), in byte order or, with `reverse`,
    /// against it, until it returns false. Not a snapshot: changes made meanwhile may or may not be seen. `visit` may
    /// use the view.
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError>;

    /// Applies all changes or none; the last change of a key counts.
    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError>;

    /// Removes every entry.
    fn clear(&self) -> Result<(), ViewError>;

    /// Asks for what was applied to be on disk. A hint that makes the next start faster, never a promise.
    fn flush(&self) -> Result<(), ViewError>;

    /// Whether what is applied still gets to disk. A view whose disk failed or is full goes on in memory, for a while.
    fn is_on_disk(&self) -> bool {
        true
    }
}

/// The first key after every key that starts with `prefix`, to scan a prefix with; `None` if there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
