//! A bounded queue from many asynchronous producers to one flusher.
//!
//! It is not a channel for two tasks: the consumer takes whole batches and may wait with a timeout, on a thread of its own or, in a
//! simulation, as a task.
//!
//! Invariant: the items queued or in a batch never weigh more than `bytes_max` together (one heavier item may pass
//! alone); a producer waits for room, and after [`Queue::close`] every push fails.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// An item and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    /// The item.
    pub(crate) item: T,
    /// Its weight in bytes.
    pub(crate) bytes: usize,
    room: Option<OwnedSemaphorePermit>,
}

impl<T> Queued<T> {
    /// The item, and the room that it keeps until that is dropped.
    pub(crate) fn split(self) -> (T, Room) {
        (self.item, Room(self.room))
    }
}

/// Room in a queue, given back on drop.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "held for its drop")] Option<OwnedSemaphorePermit>);

/// The queue was closed: its flusher has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<Queued<T>>,
    closed: bool,
}

impl<T> Inner<T> {
    fn batch(&mut self, items_max: usize, bytes_max: usize) -> Vec<Queued<T>> {
        let mut batch = Vec::new();
        let mut bytes = 0usize;
        while batch.len() < items_max {
            let fits = |next: &Queued<T>| batch.is_empty() || bytes.saturating_add(next.bytes) <= bytes_max;
            if !self.items.front().is_some_and(fits) {
                break;
            }
            let Some(next) = self.items.pop_front() else {
                break;
            };
            bytes = bytes.saturating_add(next.bytes);
            batch.push(next);
        }
        batch
    }
}

/// A bounded queue with one consumer.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    /// The same for a consumer that is a task.
    told: Notify,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

impl<T> Queue<T> {
    /// A queue that holds at most `bytes_max` bytes' worth of items.
    pub(crate) fn new(bytes_max: u32) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                closed: false,
            }),
            filled: Condvar::new(),
            told: Notify::new(),
            room: Arc::new(Semaphore::new(bytes_max as usize)),
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // A panic while the lock is held leaves a queue that is still whole: every change is one call.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, once there is room for its `bytes`.
    pub(crate) async fn push(&self, item: T, bytes: usize) -> Result<(), Closed> {
        let weight = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes_max);
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await;
        self.add(item, bytes, Some(room.map_err(|_| Closed)?))
    }

    /// Adds an item at once, beyond the bound: for the few that a program sends to itself, one at a time.
    pub(crate) fn push_control(&self, item: T) -> Result<(), Closed> {
        self.add(item, 0, None)
    }

    fn add(&self, item: T, bytes: usize, room: Option<OwnedSemaphorePermit>) -> Result<(), Closed> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Closed);
        }
        inner.items.push_back(Queued { item, bytes, room });
        drop(inner);
        self.filled.notify_one();
        self.told.notify_one();
        Ok(())
    }

    /// Takes up to `items_max` items of up to `bytes_max` bytes together (at least one if there is one), after waiting
    /// up to `wait` for the first. Empty means that none came.
    pub(crate) fn take(&self, items_max: usize, bytes_max: usize, wait: Duration) -> Vec<Queued<T>> {
        let inner = self.lock();
        let (mut inner, _) = self
            .filled
            .wait_timeout_while(inner, wait, |inner| inner.items.is_empty() && !inner.closed)
            .unwrap_or_else(PoisonError::into_inner);
        inner.batch(items_max, bytes_max)
    }

    /// As [`Self::take`], for a consumer that is a task.
    pub(crate) async fn take_later(
        &self,
        items_max: usize,
        bytes_max: usize,
        wait: Duration,
    ) -> Vec<Queued<T>> {
        let filled = async {
            loop {
                {
                    let inner = self.lock();
                    if !inner.items.is_empty() || inner.closed {
                        return;
                    }
                }
                self.told.notified().await;
            }
        };
        // Without an item in time the batch is empty.
        let _ = tokio::time::timeout(wait, filled).await;
        self.lock().batch(items_max, bytes_max)
    }

    /// Refuses every later push and wakes whoever waits for room. Items already queued stay to be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.filled.notify_all();
        self.told.notify_one();
    }

    /// Whether pushes fail.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many items wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_producer_waits_until_a_batch_is_dropped() {
        let queue = Arc::new(Queue::new(100));
        queue.push('a', 60).await.unwrap();
        let second = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.push('b', 60).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(queue.len(), 1);
        let batch = queue.take(10, 1_000, SOON);
        assert_eq!(batch.len(), 1);
        drop(batch);
        second.await.unwrap().unwrap();
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test]
    async fn a_batch_ends_at_either_bound_and_takes_one_heavy_item() {
        let queue = Queue::new(1_000);
        for item in 0..5 {
            queue.push(item, 100).await.unwrap();
        }
        assert_eq!(queue.take(2, 1_000, SOON).len(), 2);
        assert_eq!(queue.take(9, 150, SOON).len(), 1);
        assert_eq!(queue.take(9, 1, SOON).len(), 1);
    }

    #[tokio::test]
    async fn a_task_takes_what_comes_while_it_waits_and_nothing_when_nothing_comes() {
        let queue = Arc::new(Queue::new(10));
        let taking = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.take_later(9, 99, SOON).await.len() }
        });
        tokio::task::yield_now().await;
        queue.push((), 1).await.unwrap();
        assert_eq!(taking.await.unwrap(), 1);
        assert!(queue.take_later(9, 99, Duration::from_millis(1)).await.is_empty());
        queue.close();
        assert!(queue.take_later(9, 99, SOON).await.is_empty());
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_waiting_and_later_producers() {
        let queue = Arc::new(Queue::new(10));
        queue.push((), 10).await.unwrap();
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.push((), 10).await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(waiting.await.unwrap(), Err(Closed));
        assert_eq!(queue.push((), 1).await, Err(Closed));
        assert_eq!(queue.take(9, 99, SOON).len(), 1);
        assert!(queue.take(9, 99, SOON).is_empty());
    }
}
