//! Reading a drive's shards and checking them by their hashes, a bounded step at a time.
//!
//! Invariant: what could not be read is not called damaged.

use std::sync::Arc;
use std::time::Duration;

use engine::drive::ShardKey;
use tokio::time::Instant;

use super::drive::{DriveFailure, LocalDrive};

/// How long one step may take.
const STEP_MAX: Duration = Duration::from_secs(5);

/// Some of a drive's shards, read and checked.
#[derive(Debug, Default)]
pub(crate) struct Scrubbed {
    /// Shards that were read, those that do not check among them, ...
    pub(crate) shards: u64,
    /// ... and the bytes of those that do.
    pub(crate) bytes: u64,
    pub(crate) bad: Vec<ShardKey>,
    /// Shards that could not be read just now.
    pub(crate) unread: u64,
    /// The last one that was looked at; none at the drive's end.
    pub(crate) last: Option<ShardKey>,
}

impl LocalDrive {
    /// Reads some shards after the one given, at most `max`, for about [`STEP_MAX`] at most. On the blocking pool.
    pub(crate) async fn scrub(
        self: &Arc<Self>,
        after: Option<ShardKey>,
        max: usize,
    ) -> Result<Scrubbed, DriveFailure> {
        let drive = Arc::clone(self);
        let scrubbing = self.offload.run(move || drive.scrub_here(after, max));
        scrubbing.await.unwrap_or(Err(DriveFailure::Closed))
    }

    fn scrub_here(&self, after: Option<ShardKey>, max: usize) -> Result<Scrubbed, DriveFailure> {
        let drive = self.present().ok_or(DriveFailure::Lost)?;
        let keys = drive.keys_after(after, max);
        let mut scrubbed = Scrubbed {
            last: keys.last().copied().filter(|_| keys.len() >= max),
            ..Scrubbed::default()
        };
        let begun = Instant::now();
        for key in &keys {
            match self.check(key) {
                Ok(shard) => {
                    scrubbed.shards += 1;
                    scrubbed.bytes += shard.len() as u64;
                }
                Err(DriveFailure::Damaged) => {
                    scrubbed.shards += 1;
                    scrubbed.bad.push(*key);
                }
                Err(DriveFailure::Io) => scrubbed.unread += 1,
                Err(DriveFailure::Lost) => return Err(DriveFailure::Lost),
                // Deleted meanwhile.
                Err(_) => {}
            }
            if begun.elapsed() > STEP_MAX && keys.last() != Some(key) {
                scrubbed.last = Some(*key);
                break;
            }
        }
        Ok(scrubbed)
    }
}
