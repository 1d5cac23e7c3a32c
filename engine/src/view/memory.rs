//! A view in memory: for tests, and for a gateway that may leave nothing on disk.
//!
//! Nothing survives the process. Invariant: no lock is held while a visitor runs, so a visitor may use the view.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::RwLock;

use super::{Change, View, ViewError};

/// Entries copied out under the lock at a time.
const PAGE_ENTRIES: usize = 64;

type Pair = (Vec<u8>, Vec<u8>);

/// A [`View`] in a B-tree.
#[derive(Debug, Default)]
pub struct MemoryView {
    entries: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryView {
    /// An empty view.
    pub fn new() -> Self {
        Self::default()
    }

    fn page(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, reverse: bool) -> Result<Vec<Pair>, ViewError> {
        let entries = self.entries.read().map_err(|_| ViewError::Poisoned)?;
        let range = entries
            .range::<[u8], _>((from, to))
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(if reverse {
            range.rev().take(PAGE_ENTRIES).collect()
        } else {
            range.take(PAGE_ENTRIES).collect()
        })
    }
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        Ok(self
            .entries
            .read()
            .map_err(|_| ViewError::Poisoned)?
            .get(key)
            .cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ViewError> {
        let (mut start, mut end) = (from.to_vec(), to.map(<[u8]>::to_vec));
        // BTreeMap panics on a range that ends before it starts.
        while end.as_ref().is_none_or(|end| start < *end) {
            let upper = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let page = self.page(Bound::Included(&start), upper, reverse)?;
            for (key, value) in &page {
                if !visit(key, value) {
                    return Ok(());
                }
            }
            let Some((mut last, _)) = page.into_iter().next_back() else {
                break;
            };
            if reverse {
                end = Some(last);
            } else {
                // The smallest key above the last one is the last one with a zero byte after it.
                last.push(0);
                start = last;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), ViewError> {
        let mut entries = self.entries.write().map_err(|_| ViewError::Poisoned)?;
        for (key, value) in changes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), ViewError> {
        self.entries.write().map_err(|_| ViewError::Poisoned)?.clear();
        Ok(())
    }

    fn flush(&self) -> Result<(), ViewError> {
        Ok(())
    }
}
