//! What clients did to one object, and whether it can have happened one operation at a time.
//!
//! The check is Wing and Gong's search (1993) with Lowe's memory of configurations (2017). Every value is written once, so a read names
//! the write that it saw, and a version that was left does not come back: only that there is none may. An operation whose outcome nobody
//! knows may take effect at any later time, or never.
//!
//! The test of real processes under faults (`cairn/tests/faults`) includes this file as well.

use std::collections::{BTreeMap, BTreeSet};

/// The version of an object; none if there is none.
pub type Version = Option<u64>;

/// A version that nobody ever met: none has this number.
const UNMET: Version = Some(u64::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The object had this version.
    Read(Version),
    /// The object had another version than this one, or none: a condition was refused.
    Differs(Version),
    /// This version took the place of whatever was there.
    Write(Version),
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
            Action::Differs(from) => (from != now).then_some(now),
            Action::Write(to) => Some(to),
            Action::Swap(from, to) => (from == now).then_some(to),
        }
    }

    /// What it leaves, if it changes anything.
    const fn written(&self) -> Option<Version> {
        match self.action {
            Action::Read(_) | Action::Differs(_) => None,
            Action::Write(to) | Action::Swap(_, to) => Some(to),
        }
    }

    /// The version that has to be there for it to happen.
    const fn needed(&self) -> Version {
        match self.action {
            Action::Read(seen) => seen,
            Action::Swap(from, _) => from,
            Action::Differs(_) | Action::Write(_) => None,
        }
    }
}

type Done = Vec<u64>;

struct Search {
    operations: Vec<Operation>,
    /// For an operation that nobody knows the outcome of: the one before it that does the same.
    twins: Vec<Option<usize>>,
    /// How many operations with an outcome that are not done need a version.
    needed: BTreeMap<u64, usize>,
    seen: BTreeSet<(Done, Version)>,
    done: Done,
    /// The most of the operations with an outcome that were put in order.
    best: usize,
}

impl Search {
    fn new(operations: Vec<Operation>) -> Self {
        let (mut twins, mut last, mut needed) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (at, operation) in operations.iter().enumerate() {
            twins.push(match operation.ended {
                None => last.insert(operation.action, at),
                Some(_) => None,
            });
            if let (Some(version), Some(_)) = (operation.needed(), operation.ended) {
                *needed.entry(version).or_default() += 1;
            }
        }
        Self {
            seen: BTreeSet::new(),
            done: vec![0; operations.len().div_ceil(64)],
            twins,
            needed,
            operations,
            best: 0,
        }
    }

    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] & (1 << (at % 64)) != 0
    }

    /// Does an operation, or takes it back.
    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
        let (operation, is_done) = (self.operations[at], self.is_done(at));
        let needs = operation.ended.and(operation.needed());
        if let Some(needing) = needs.and_then(|version| self.needed.get_mut(&version)) {
            *needing = if is_done { *needing - 1 } else { *needing + 1 };
        }
    }

    /// The first of those that are not done, and the first end among them; none if no outcome is left to explain.
    fn horizon(&self) -> Option<(usize, u64)> {
        let open = || (0..self.operations.len()).filter(|at| !self.is_done(*at));
        let ends = open().filter_map(|at| self.operations[at].ended);
        Some((open().next()?, ends.min()?))
    }

    /// Does what changes nothing and can happen now: to do it at once never stands in the way of anything else. True if no outcome is
    /// left to explain.
    fn settle(&mut self, now: Version, settled: &mut Vec<usize>) -> bool {
        loop {
            let Some((first, horizon)) = self.horizon() else {
                return true;
            };
            let began = settled.len();
            for at in first..self.operations.len() {
                let operation = self.operations[at];
                if operation.began > horizon {
                    break;
                }
                let can_be = operation.written().is_none() && operation.apply(now).is_some();
                if can_be && !self.is_done(at) {
                    self.flip(at);
                    settled.push(at);
                }
            }
            if settled.len() == began {
                return false;
            }
        }
    }

    fn search(&mut self, now: Version, placed: usize) -> bool {
        let mut settled = Vec::new();
        let found = self.settle(now, &mut settled) || self.proceed(now, placed + settled.len());
        for at in settled {
            self.flip(at);
        }
        found
    }

    /// Tries each operation that can be the next to change something. Only what began before the first end can be next.
    fn proceed(&mut self, now: Version, placed: usize) -> bool {
        self.best = self.best.max(placed);
        let Some((first, horizon)) = self.horizon() else {
            return true;
        };
        for at in first..self.operations.len() {
            let operation = self.operations[at];
            if operation.began > horizon {
                break;
            }
            let is_later_twin = self.twins[at].is_some_and(|twin| !self.is_done(twin));
            let is_open = !self.is_done(at) && operation.written().is_some() && !is_later_twin;
            let Some(next) = operation.apply(now).filter(|_| is_open) else {
                continue;
            };
            self.flip(at);
            // Every version is written once: what still needs this one would never find it again.
            let is_missed =
                now.is_some_and(|version| self.needed.get(&version).is_some_and(|left| *left > 0));
            let is_new = !is_missed && self.seen.insert((self.done.clone(), next));
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
            Action::Differs(version) => named.extend(version),
            _ => named.extend(operation.needed()),
        }
    }
    let refused = operations
        .iter()
        .filter(|operation| matches!(operation.action, Action::Differs(_)));
    let last_refusal = refused.filter_map(|refused| refused.ended).max();
    operations.retain_mut(|operation| match (operation.ended, operation.written()) {
        (None, Some(Some(to))) if !named.contains(&to) => {
            // A write without an outcome whose version nobody ever met may as well not have happened, but that it may be what a condition
            // was refused for. Then one is as good as another.
            operation.action = match operation.action {
                Action::Swap(from, _) => Action::Swap(from, UNMET),
                _ => Action::Write(UNMET),
            };
            last_refusal.is_some_and(|last| operation.began < last)
        }
        (ended, written) => ended.is_some() || written.is_some(),
    });
    operations.sort_by_key(|operation| operation.began);
    let mut search = Search::new(operations);
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

const fn op(began: u64, ended: Option<u64>, action: Action) -> Operation {
    Operation { began, ended, action }
}

const fn put(began: u64, ended: Option<u64>, from: Version, to: u64) -> Operation {
    op(began, ended, Action::Swap(from, Some(to)))
}

const fn write(began: u64, ended: Option<u64>, to: Version) -> Operation {
    op(began, ended, Action::Write(to))
}

const fn read(began: u64, ended: u64, seen: Version) -> Operation {
    op(began, Some(ended), Action::Read(seen))
}

const fn differs(began: u64, ended: u64, from: Version) -> Operation {
    op(began, Some(ended), Action::Differs(from))
}

/// Histories that can have been.
fn possible() -> Vec<Vec<Operation>> {
    vec![
        vec![put(1, Some(2), None, 1), read(3, 4, Some(1))],
        // Reads beside a write may see either.
        vec![put(1, Some(6), None, 1), read(2, 3, None), read(4, 5, Some(1))],
        // An outcome that nobody knows may come late ...
        vec![put(1, None, None, 1), read(2, 3, None), read(4, 5, Some(1))],
        // ... or never.
        vec![put(1, None, None, 1), read(2, 3, None), put(4, Some(5), None, 2)],
        // Writes at the same time have any order; a refusal found any other version.
        vec![
            write(1, Some(9), Some(1)),
            write(2, Some(8), Some(2)),
            put(3, Some(7), Some(1), 3),
            differs(10, 11, Some(3)),
            read(12, 13, Some(2)),
        ],
        // A deletion without an outcome may come between any two others, and each of two may.
        vec![
            write(1, Some(2), Some(1)),
            write(3, None, None),
            write(4, None, None),
            read(5, 6, None),
            write(7, Some(8), Some(2)),
            read(9, 10, Some(2)),
            read(11, 12, None),
        ],
        // A condition is refused because of a write that has no outcome and that nobody met.
        vec![
            write(1, Some(2), Some(1)),
            write(3, None, Some(2)),
            differs(4, 5, Some(1)),
        ],
        vec![write(1, None, Some(1)), differs(2, 3, None)],
        // A swap without an outcome that a reader met.
        vec![
            write(1, Some(2), Some(1)),
            put(3, None, Some(1), 2),
            read(4, 5, Some(1)),
            read(6, 7, Some(2)),
            differs(8, 9, Some(1)),
        ],
    ]
}

/// Histories that cannot.
fn impossible() -> Vec<Vec<Operation>> {
    vec![
        // Lost.
        vec![put(1, Some(2), None, 1), read(3, 4, None)],
        // Back again.
        vec![
            put(1, Some(2), None, 1),
            op(3, Some(4), Action::Swap(Some(1), None)),
            read(5, 6, Some(1)),
        ],
        // New, then old.
        vec![
            put(1, Some(2), None, 1),
            put(3, Some(10), Some(1), 2),
            read(4, 5, Some(2)),
            read(6, 7, Some(1)),
        ],
        // Two writers, each believing that it replaced the first version.
        vec![
            put(1, Some(2), None, 1),
            put(3, Some(4), Some(1), 2),
            put(5, Some(6), Some(1), 3),
        ],
        // Refused although the version that was asked for was there all the time.
        vec![write(1, Some(2), Some(1)), differs(3, 4, Some(1))],
        // Of one deletion without an outcome, two effects.
        vec![
            write(1, Some(2), Some(1)),
            write(3, None, None),
            read(4, 5, None),
            write(6, Some(7), Some(2)),
            read(8, 9, None),
        ],
        // Never written.
        vec![write(1, Some(2), Some(1)), read(3, 4, Some(5))],
        // Overwritten for good, and there again.
        vec![
            write(1, Some(2), Some(1)),
            write(3, Some(4), Some(2)),
            read(5, 6, Some(1)),
        ],
    ]
}

/// The checker against histories whose verdict is known.
pub fn self_test() -> Result<(), String> {
    let passes = |history: Vec<Operation>| check(history).is_ok();
    match possible().into_iter().all(passes) && !impossible().into_iter().any(passes) {
        true => Ok(()),
        false => Err("the checker of histories is wrong itself".to_owned()),
    }
}
