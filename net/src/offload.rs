//! Where work that blocks is carried out: on threads, or on the very task that asks, for a simulation.
//!
//! It schedules nothing by itself: tokio's blocking pool and the system's threads do, or the one thread of a simulation. Invariant: whatever
//! the way, work that was begun is carried out whole, also when nobody waits for it any more.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place of net that starts threads"
)]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::queue::{Queue, Queued};

/// How long a piece of work takes in a simulation.
pub type WorkTakes = Arc<dyn Fn() -> Duration + Send + Sync>;

/// See the module.
#[derive(Clone, Default)]
pub enum Offload {
    /// Threads of their own for flushers, the runtime's blocking pool for the rest.
    #[default]
    Threads,
    /// Tasks of the current runtime, after a pause each: one thread carries out everything, in an order that follows from the seed of whoever
    /// draws the pauses.
    Tasks(WorkTakes),
}

impl std::fmt::Debug for Offload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Threads => "Threads",
            Self::Tasks(_) => "Tasks",
        })
    }
}

impl Offload {
    /// Carries out what may block. It is carried out also if the handle is dropped.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work),
            Self::Tasks(takes) => {
                let takes = takes();
                tokio::spawn(async move {
                    pause(takes).await;
                    work()
                })
            }
        }
    }

    /// Starts a flusher. In a simulation it must be called inside a runtime.
    pub(crate) fn start<F: Flushing>(&self, name: String, flushing: F) -> std::io::Result<Worker> {
        match self {
            Self::Threads => {
                let thread = std::thread::Builder::new().name(name);
                thread.spawn(move || on_thread(flushing)).map(Worker::Thread)
            }
            Self::Tasks(takes) => {
                let takes = Arc::clone(takes);
                Ok(Worker::Task(tokio::spawn(on_task(flushing, takes))))
            }
        }
    }

    /// Starts a thread beside any runtime, for what waits and writes by turns. No part of a simulation.
    pub(crate) fn apart(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(work).map(drop)
    }

    /// Whether several threads may share a piece of work.
    pub(crate) fn is_threaded(&self) -> bool {
        matches!(self, Self::Threads)
    }
}

async fn pause(takes: Duration) {
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
}

/// A flusher: what is queued is taken in turns, each of them begun, made durable and answered.
pub(crate) trait Flushing: Send + 'static {
    /// What is queued.
    type Job: Send;
    /// A turn that was begun and not finished.
    type Turn: Send;
    /// Most jobs of a turn.
    const JOBS_MAX: usize;
    /// Most bytes of a turn, unless one job alone is heavier.
    const TURN_BYTES_MAX: usize;

    /// Where jobs come from.
    fn queue(&mut self) -> &Queue<Self::Job>;
    /// How long the next job is waited for.
    fn wait(&self) -> Duration;
    /// Begins a turn; the batch is empty if no job came in time.
    fn begin(&mut self, batch: Vec<Queued<Self::Job>>) -> ControlFlow<(), Self::Turn>;
    /// Makes a turn durable and answers it.
    fn finish(&mut self, turn: Self::Turn) -> ControlFlow<()>;
    /// The end, after a turn that broke off.
    fn end(self);
}

fn on_thread<F: Flushing>(mut flushing: F) {
    loop {
        let wait = flushing.wait();
        let batch = flushing.queue().take(F::JOBS_MAX, F::TURN_BYTES_MAX, wait);
        let begun = flushing.begin(batch);
        let goes_on = match begun {
            ControlFlow::Continue(turn) => flushing.finish(turn),
            ControlFlow::Break(()) => ControlFlow::Break(()),
        };
        if goes_on.is_break() {
            return flushing.end();
        }
    }
}

async fn on_task<F: Flushing>(mut flushing: F, takes: WorkTakes) {
    loop {
        let wait = flushing.wait();
        let batch = flushing
            .queue()
            .take_later(F::JOBS_MAX, F::TURN_BYTES_MAX, wait)
            .await;
        let is_idle = batch.is_empty();
        let goes_on = match flushing.begin(batch) {
            ControlFlow::Continue(turn) => {
                if !is_idle {
                    pause(takes()).await;
                }
                flushing.finish(turn)
            }
            ControlFlow::Break(()) => ControlFlow::Break(()),
        };
        if goes_on.is_break() {
            return flushing.end();
        }
    }
}

/// A flusher that was started.
pub(crate) enum Worker {
    Thread(std::thread::JoinHandle<()>),
    Task(JoinHandle<()>),
}

impl Worker {
    /// Waits for its end; false if it panicked.
    pub(crate) async fn ended(self) -> bool {
        match self {
            Self::Thread(thread) => {
                let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
                joined.await.unwrap_or(false)
            }
            Self::Task(task) => task.await.is_ok(),
        }
    }
}
