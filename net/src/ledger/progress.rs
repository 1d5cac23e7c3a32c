//! How far something has got, and whoever waits for it.
//!
//! Those who wait for a point hear of it in the order in which they began to wait; those who follow a tokio watch are woken in an order that
//! tokio draws, which no simulation repeats. Invariant: what was reached is never taken back but by whoever moves it.

use tokio::sync::{Notify, watch};

/// See the module.
pub(super) struct Progress<T> {
    newest: watch::Sender<T>,
    moved: Notify,
}

impl<T: PartialOrd + Copy> Progress<T> {
    pub(super) fn new(newest: T) -> Self {
        Self {
            newest: watch::Sender::new(newest),
            moved: Notify::new(),
        }
    }

    /// How far it is.
    pub(super) fn newest(&self) -> T {
        *self.newest.borrow()
    }

    /// Follows it.
    pub(super) fn subscribe(&self) -> watch::Receiver<T> {
        self.newest.subscribe()
    }

    /// It has got this far.
    pub(super) fn advance(&self, newest: T) {
        self.newest.send_replace(newest);
        self.moved.notify_waiters();
    }

    /// Returns once it is so far.
    pub(super) async fn reached(&self, upto: T) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.newest() >= upto {
                return;
            }
            moved.await;
        }
    }
}
