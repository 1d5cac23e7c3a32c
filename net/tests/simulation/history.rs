//! What clients did to one object, and whether it can have happened one operation at a time.
//!
//! The check is Wing and Gong's search (1993) with Lowe's memory of configurations (2017). Every value is written once, so a read names
//! the write that it saw. An operation whose outcome nobody knows may take effect at any later time, or never.

use std::collections::BTreeSet;

/// The version of an object; none if there is none.
pub type Version = Option<u64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The object had this version.
    Read(Version),
    /// The first version was there and the second took its place.
    Swap(Version, Version),
}

#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// When it began and ended, in a count that orders all of these moments.
    pub began: u64,
    /// `None`: whoever began it does not know.
    pub ended: Option<u64>,
    pub action: Action,
}

impl Operation {
    /// The version after it, if it can happen now.
    fn apply(&self, now: Version) -> Option<Version> {
        match self.action {
            Action::Read(seen) => (seen == now).then_some(now),
            Action::Swap(from, to) => (from == now).then_some(to),
        }
    }
}

type Done = Vec<u64>;

struct Search {
    operations: Vec<Operation>,
    seen: BTreeSet<(Done, Version)>,
    done: Done,
    /// The most of the operations with an outcome that were put in order.
    best: usize,
}

impl Search {
    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] & (1 << (at % 64)) != 0
    }

    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }

    fn search(&mut self, now: Version, placed: usize) -> bool {
        self.best = self.best.max(placed);
        let open = (0..self.operations.len()).filter(|at| !self.is_done(*at));
        let ends = open.filter_map(|at| self.operations[at].ended);
        // Only what began before the first end can be next.
        let Some(horizon) = ends.min() else { return true };
        for at in 0..self.operations.len() {
            let operation = self.operations[at];
            if operation.began > horizon {
                break;
            }
            let Some(next) = operation.apply(now).filter(|_| !self.is_done(at)) else {
                continue;
            };
            self.flip(at);
            let is_new = self.seen.insert((self.done.clone(), next));
            if is_new && self.search(next, placed + usize::from(operation.ended.is_some())) {
                return true;
            }
            self.flip(at);
        }
        false
    }
}

/// Whether operations on an object that was not there can have happened one after the other.
pub fn check(mut operations: Vec<Operation>) -> Result<(), String> {
    let mut named = BTreeSet::new();
    for operation in &operations {
        match operation.action {
            Action::Read(seen) => named.extend(seen),
            Action::Swap(from, _) => named.extend(from),
        }
    }
    // A write without an outcome whose version nobody ever met may as well not have happened.
    operations.retain(|operation| {
        operation.ended.is_some()
            || match operation.action {
                Action::Read(_) => false,
                Action::Swap(_, Some(to)) => named.contains(&to),
                Action::Swap(_, None) => true,
            }
    });
    operations.sort_by_key(|operation| operation.began);
    let mut search = Search {
        seen: BTreeSet::new(),
        done: vec![0; operations.len().div_ceil(64)],
        operations,
        best: 0,
    };
    if search.search(None, 0) {
        return Ok(());
    }
    let mut known: Vec<_> = search.operations;
    known.sort_by_key(|operation| operation.ended.unwrap_or(u64::MAX));
    let from = search.best.saturating_sub(6);
    let until = (search.best + 6).min(known.len());
    Err(format!(
        "no order explains this history; around its end: {:#?}",
        &known[from..until]
    ))
}

/// The checker against histories whose verdict is known.
pub fn self_test() -> Result<(), String> {
    let op = |began, ended, action| Operation { began, ended, action };
    let put = |began, ended, from, to| op(began, ended, Action::Swap(from, Some(to)));
    let read = |began, ended, seen| op(began, Some(ended), Action::Read(seen));
    let good: [&[Operation]; 4] = [
        &[put(1, Some(2), None, 1), read(3, 4, Some(1))],
        // Reads beside a write may see either.
        &[put(1, Some(6), None, 1), read(2, 3, None), read(4, 5, Some(1))],
        // An outcome that nobody knows may come late ...
        &[put(1, None, None, 1), read(2, 3, None), read(4, 5, Some(1))],
        // ... or never.
        &[put(1, None, None, 1), read(2, 3, None), put(4, Some(5), None, 2)],
    ];
    let bad: [&[Operation]; 4] = [
        // Lost.
        &[put(1, Some(2), None, 1), read(3, 4, None)],
        // Back again.
        &[
            put(1, Some(2), None, 1),
            op(3, Some(4), Action::Swap(Some(1), None)),
            read(5, 6, Some(1)),
        ],
        // New, then old.
        &[
            put(1, Some(2), None, 1),
            put(3, Some(10), Some(1), 2),
            read(4, 5, Some(2)),
            read(6, 7, Some(1)),
        ],
        // Two writers, each believing that it replaced the first version.
        &[
            put(1, Some(2), None, 1),
            put(3, Some(4), Some(1), 2),
            put(5, Some(6), Some(1), 3),
        ],
    ];
    let passes = |history: &&[Operation]| check(history.to_vec()).is_ok();
    match good.iter().all(passes) && !bad.iter().any(passes) {
        true => Ok(()),
        false => Err("the checker of histories is wrong itself".to_owned()),
    }
}
