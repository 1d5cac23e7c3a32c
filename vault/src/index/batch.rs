//! The changes of one batch, over the view: what was put in the batch is read back from it.
//!
//! Invariant: nothing reaches the view before the whole batch does.

use std::collections::HashMap;

use engine::view::{Change, View, ViewError};

pub(super) struct Batch<'a> {
    view: &'a dyn View,
    changes: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(view: &'a dyn View) -> Self {
        Self {
            view,
            changes: HashMap::new(),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.view.get(key),
        }
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert(key, Some(value));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert(key, None);
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        self.changes.into_iter().collect()
    }
}
