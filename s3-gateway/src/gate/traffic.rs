//! Numbers for `/metrics`; all of them only grow, and none is about a name.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::access::TABLE;

/// The classes of answers, in the order in which they are counted.
pub const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What the gate has counted.
#[derive(Debug)]
pub struct Traffic {
    /// Requests answered.
    pub requests: AtomicU64,
    /// Of these, refused at the gate.
    pub refused: AtomicU64,
    /// Of these, with a 4xx.
    pub client_errors: AtomicU64,
    /// Of these, with a 5xx.
    pub server_errors: AtomicU64,
    /// Declared bytes of request bodies that were admitted.
    pub in_bytes: AtomicU64,
    /// Declared bytes of answers.
    pub out_bytes: AtomicU64,
    /// Answers of each operation of the table by class, then those of no known operation.
    operations: Vec<[AtomicU64; STATUS_CLASSES.len()]>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests: AtomicU64::default(),
            refused: AtomicU64::default(),
            client_errors: AtomicU64::default(),
            server_errors: AtomicU64::default(),
            in_bytes: AtomicU64::default(),
            out_bytes: AtomicU64::default(),
            operations: (0..=TABLE.len()).map(|_| Default::default()).collect(),
        }
    }
}

impl Traffic {
    /// Counts an answer.
    pub(super) fn count(&self, operation: Option<&str>, status: StatusCode, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.out_bytes.fetch_add(bytes, Ordering::Relaxed);
        if status.is_client_error() {
            self.client_errors.fetch_add(1, Ordering::Relaxed);
        } else if status.is_server_error() {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
        let row = operation.and_then(|name| TABLE.iter().position(|(have, ..)| *have == name));
        let class = usize::from((status.as_u16() / 100).clamp(2, 5) - 2);
        let row = self.operations.get(row.unwrap_or(TABLE.len()));
        if let Some(counter) = row.and_then(|row| row.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers by operation and class, those above zero: `("PutObject", "2xx", 7)`. The operation of a request that was
    /// refused before it had one is `"-"`.
    pub fn by_operation(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let names = TABLE.iter().map(|(name, ..)| *name).chain(std::iter::once("-"));
        let rows = names.zip(&self.operations);
        let all = rows.flat_map(|(name, row)| {
            let classes = STATUS_CLASSES.into_iter().zip(row);
            classes.map(move |(class, counter)| (name, class, counter.load(Ordering::Relaxed)))
        });
        all.filter(|(_, _, count)| *count > 0)
    }
}
