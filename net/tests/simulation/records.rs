//! The histories of all objects, as clients write them down while they work.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::history::{Action, Operation, Version, check};

#[derive(Default)]
pub struct Histories {
    inner: Mutex<BTreeMap<u64, Vec<Operation>>>,
}

/// An operation that was begun.
#[derive(Clone, Copy)]
pub struct Ticket {
    key: u64,
    began: u64,
}

impl Histories {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Operation>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an operation, whose outcome nobody knows until it has ended.
    pub fn begin(&self, key: u64, began: u64, action: Action) -> Ticket {
        let operation = Operation {
            began,
            ended: None,
            action,
        };
        self.lock().entry(key).or_default().push(operation);
        Ticket { key, began }
    }

    /// It was carried out, by now.
    pub fn end(&self, ticket: Ticket, ended: u64) {
        let mut all = self.lock();
        let history = all.entry(ticket.key).or_default();
        if let Some(operation) = history
            .iter_mut()
            .find(|operation| operation.began == ticket.began)
        {
            operation.ended = Some(ended);
        }
    }

    /// It was not carried out and never will be.
    pub fn forget(&self, ticket: Ticket) {
        let mut all = self.lock();
        let history = all.entry(ticket.key).or_default();
        history.retain(|operation| {
            operation.began != ticket.began || !matches!(operation.action, Action::Swap(..))
        });
    }

    /// The object had this version at some moment between the two.
    pub fn saw(&self, key: u64, began: u64, ended: u64, version: Version) {
        self.lock().entry(key).or_default().push(Operation {
            began,
            ended: Some(ended),
            action: Action::Read(version),
        });
    }

    /// How many operations there are with an outcome, and how many without.
    pub fn count(&self) -> (usize, usize) {
        let all = self.lock();
        let known = all
            .values()
            .flatten()
            .filter(|operation| operation.ended.is_some())
            .count();
        (known, all.values().map(Vec::len).sum::<usize>() - known)
    }

    /// Whether every object's history can have happened.
    pub fn check(&self) -> Result<(), String> {
        for (key, history) in self.lock().iter() {
            check(history.clone()).map_err(|why| format!("object {key}: {why}"))?;
        }
        Ok(())
    }
}
