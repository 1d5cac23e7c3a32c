//! Read indexes, shared: however many readers wait, one question is under way, and a reader takes only the answer to one that was
//! sent after it came.
//!
//! Invariant: an index is never handed to a reader that came after its question was sent.

use std::sync::{Arc, Mutex, PoisonError};

use engine::slots::Sequence;
use tokio::sync::oneshot;

use super::super::LedgerError;
use super::Inner;

type Reader = oneshot::Sender<Result<Sequence, LedgerError>>;

#[derive(Default)]
struct State {
    waiting: Vec<Reader>,
    asking: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Reading(Mutex<State>);

impl Reading {
    pub(super) async fn index(&self, inner: &Arc<Inner>) -> Result<Sequence, LedgerError> {
        let (reader, index) = oneshot::channel();
        let begin = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.push(reader);
            !std::mem::replace(&mut state.asking, true)
        };
        if begin {
            let inner = Arc::clone(inner);
            tokio::spawn(async move {
                while let Some(readers) = inner.reading.next() {
                    let index = inner.fresh_index().await;
                    for reader in readers {
                        // Whoever no longer waits is no error.
                        let _ = reader.send(index.clone());
                    }
                }
            });
        }
        index.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Those that the next question is for; none ends the asking.
    fn next(&self) -> Option<Vec<Reader>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.asking = !state.waiting.is_empty();
        state.asking.then(|| std::mem::take(&mut state.waiting))
    }
}

impl Inner {
    /// Waits until the copy has applied everything that was answered to anybody before this call.
    pub(super) async fn caught_up(self: &Arc<Self>) -> Result<Sequence, LedgerError> {
        let index = self.reading.index(self).await?;
        self.applied(index).await?;
        Ok(index)
    }
}
