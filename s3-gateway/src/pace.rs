//! How long a client may keep the gateway waiting for what it sends.
//!
//! Only time in which this side waits counts, and it is given back for each [`PACE_BYTES`] received: slow clients may be slow,
//! idle ones may not.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

const PACE_BYTES: usize = 4096;

/// The patience that is left with one client. See the module.
pub(crate) struct Pace {
    patience: Duration,
    left: Duration,
    moved_bytes: usize,
    waiting: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// With all of `patience`.
    pub(crate) const fn new(patience: Duration) -> Self {
        Self {
            patience,
            left: patience,
            moved_bytes: 0,
            waiting: None,
            alarm: None,
        }
    }

    /// Notes that so many bytes came.
    pub(crate) fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.moved_bytes += bytes;
        if self.moved_bytes >= PACE_BYTES {
            self.moved_bytes = 0;
            self.left = self.patience;
        }
    }

    /// Notes that nothing is there yet; whether the client has kept this side waiting for too long.
    pub(crate) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> bool {
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let deadline = since + self.left;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx).is_ready()
    }

    /// Waits for what is coming; `None` when that took too long.
    pub(crate) async fn wait<T>(&mut self, coming: impl Future<Output = T>) -> Option<T> {
        let mut coming = pin!(coming);
        std::future::poll_fn(|cx| match coming.as_mut().poll(cx) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending if self.poll_exhausted(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
