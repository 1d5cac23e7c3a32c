//! Commits of several drives of one device at a time.
//!
//! A sync waits for the device, so a turn that touched six drives would otherwise wait six times. The helper threads
//! are made when they are first needed and live as long as the flusher. Invariant: every drive that is handed over comes
//! back, also when its commit panics; it is lost then.

#![expect(
    clippy::disallowed_methods,
    reason = "threads of a flusher that is a thread itself"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use engine::drive::{DriveError, LostReason};

use super::Owned;

/// Most helpers of one device.
const HELPERS_MAX: usize = 7;

/// A drive after its commit.
pub(super) type Committed = (Owned, Result<(), DriveError>);

/// The helper threads of one flusher.
pub(super) struct Helpers {
    device: u64,
    /// Most threads beside the flusher's own.
    max: usize,
    work: Vec<Sender<Owned>>,
    back: (Sender<Committed>, Receiver<Committed>),
}

impl Helpers {
    pub(super) fn new(device: u64, threaded: bool) -> Self {
        Self {
            device,
            max: if threaded { HELPERS_MAX } else { 0 },
            work: Vec::new(),
            back: channel(),
        }
    }

    /// Commits each drive, at one time as far as there are helpers.
    pub(super) fn commit(&mut self, mut drives: Vec<Owned>) -> Vec<Committed> {
        let mut done = Vec::with_capacity(drives.len());
        self.grow(drives.len().saturating_sub(1).min(self.max));
        let mut out = 0;
        for helper in &self.work {
            // The last one is this thread's own.
            if drives.len() < 2 {
                break;
            }
            let Some(owned) = drives.pop() else { break };
            match helper.send(owned) {
                Ok(()) => out += 1,
                Err(unsent) => drives.insert(0, unsent.0),
            }
        }
        done.extend(drives.into_iter().map(commit));
        for _ in 0..out {
            // A helper answers whatever happens, and this side holds a sender, so the channel is open.
            done.extend(self.back.1.recv());
        }
        done
    }

    fn grow(&mut self, helpers: usize) {
        while self.work.len() < helpers {
            let (sender, work) = channel::<Owned>();
            let back = self.back.0.clone();
            let name = format!("flush-{}-{}", self.device, self.work.len() + 1);
            let started = std::thread::Builder::new().name(name).spawn(move || {
                // Ends when the flusher drops its senders.
                for owned in work {
                    if back.send(commit(owned)).is_err() {
                        return;
                    }
                }
            });
            if let Err(error) = started {
                tracing::warn!(%error, "a flusher has fewer threads than it asked for");
                return;
            }
            self.work.push(sender);
        }
    }
}

fn commit(mut owned: Owned) -> Committed {
    let result = catch_unwind(AssertUnwindSafe(|| owned.writer.commit())).unwrap_or_else(|_| {
        tracing::error!(drive = owned.place.number, "a commit panicked");
        owned.writer.drive().mark_lost(LostReason::WriteFailed);
        Err(DriveError::Lost(LostReason::WriteFailed))
    });
    (owned, result)
}
