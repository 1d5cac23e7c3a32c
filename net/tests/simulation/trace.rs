//! What happened in a run: counted, hashed, and shown if that is wanted.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::random::mix;

/// See the module. Two runs of one seed have the same hash after the same number of steps, or something in them is not determined by
/// the seed.
pub struct Trace {
    began: Instant,
    shown: bool,
    steps_max: u64,
    inner: Mutex<Inner>,
    /// The last step was taken, or something is wrong.
    pub over: Notify,
}

#[derive(Default)]
struct Inner {
    steps: u64,
    hash: u64,
    wrong: Option<String>,
    /// For the end of a failed run.
    lines: std::collections::VecDeque<String>,
}

/// Lines that a failed run shows.
const LINES: usize = 40;

impl Trace {
    pub fn new(steps_max: u64, shown: bool) -> Self {
        Self {
            began: Instant::now(),
            shown,
            steps_max,
            inner: Mutex::default(),
            over: Notify::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step: a message delivered, a timer run out, a client's operation begun or ended, a fault.
    pub fn step(&self, what: &str, numbers: &[u64]) {
        let ms = self.began.elapsed().as_millis() as u64;
        let mut inner = self.lock();
        inner.steps += 1;
        let mut hash = inner.hash ^ ms;
        for word in what.bytes().map(u64::from).chain(numbers.iter().copied()) {
            hash = mix(hash.rotate_left(5) ^ word);
        }
        inner.hash = hash;
        if self.shown || what != "work" {
            let mut line = format!("{:>7} {:>9} ms  {what}", inner.steps, ms);
            for number in numbers {
                let _ = write!(line, " {number}");
            }
            if self.shown {
                println!("{line}");
            } else {
                if inner.lines.len() >= LINES {
                    inner.lines.pop_front();
                }
                inner.lines.push_back(line);
            }
        }
        if inner.steps >= self.steps_max {
            self.over.notify_one();
        }
    }

    /// For people who follow a run.
    pub fn note(&self, what: &str) {
        if self.shown {
            println!("{:>7} {:>9}     {what}", "", "");
        }
    }

    /// Something that must not be. The first is kept.
    pub fn wrong(&self, what: String) {
        let mut inner = self.lock();
        if self.shown {
            println!("WRONG: {what}");
        }
        inner.wrong.get_or_insert(what);
        self.over.notify_one();
    }

    pub fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.wrong.is_some() || inner.steps >= self.steps_max
    }

    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    pub fn hash(&self) -> u64 {
        self.lock().hash
    }

    /// What is wrong, and what happened last before the end.
    pub fn verdict(&self) -> Result<(), String> {
        let inner = self.lock();
        let Some(wrong) = &inner.wrong else { return Ok(()) };
        let lines: Vec<&str> = inner.lines.iter().map(String::as_str).collect();
        Err(format!("{wrong}\nlast steps:\n{}", lines.join("\n")))
    }
}
