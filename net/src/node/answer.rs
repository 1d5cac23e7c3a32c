//! Each request, carried out on its drive.
//!
//! Reading and hashing go to the blocking pool. A caller that goes away takes its question back, and leaves nothing half done: what
//! changes a drive is one job of its flusher, carried out whole or not at all.

use std::sync::Arc;

use bytes::Bytes;
use engine::drive::{ShardHeader, ShardKey};
use engine::pack::ShardHash;

use super::{Node, refusal};
use crate::drives::{DriveFailure, LocalDrive, PutSpace, Tried};
use crate::entry::DriveId;
use crate::peer::message::{PutMode, RestoreMode, Restored};
use crate::peer::{Answer, Call, Refusal, Reply, Request};

/// Runs what blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriveFailure> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(DriveFailure::Io)).map_err(refusal)
}

impl Node {
    pub(super) async fn carry_out(&self, call: Call) -> Result<Reply, Refusal> {
        let answer = match call.request {
            Request::Drives => self.drives_now().await,
            Request::Put { drive, header, mode } => {
                put(self.drive(&drive)?, *header, call.body, mode).await?
            }
            Request::Range {
                drive,
                key,
                offset,
                bytes,
            } => {
                let drive = Arc::clone(self.drive(&drive)?);
                let body = blocking(move || drive.read_range(&key, offset, bytes)).await?;
                return Ok(Reply {
                    answer: Answer::Bytes,
                    body,
                });
            }
            Request::Has { drive, keys } => {
                let present = self.drive(&drive)?.present().ok_or(Refusal::Lost)?;
                Answer::Held(keys.iter().map(|key| present.contains(key)).collect())
            }
            Request::List {
                drive,
                vault,
                after,
                max,
            } => {
                let present = self.drive(&drive)?.present().ok_or(Refusal::Lost)?;
                let max = usize::from(max);
                let shards = blocking(move || Ok(present.of_vault(&vault, after, max))).await?;
                let more = shards.len() >= max;
                Answer::Listed { shards, more }
            }
            Request::Headers { drive, keys } => {
                let drive = Arc::clone(self.drive(&drive)?);
                Answer::Headers(headers(drive, keys).await?)
            }
            Request::Delegate => self.delegate(&call.body)?,
            Request::Delete => self.delete(&call.body).await?,
            Request::Challenge {
                drive,
                key,
                offset,
                bytes,
            } => {
                let drive = Arc::clone(self.drive(&drive)?);
                let body = blocking(move || drive.prove(&key, offset, bytes)).await?;
                return Ok(Reply {
                    answer: Answer::Bytes,
                    body,
                });
            }
            Request::EndLeases { lowest } => {
                self.drives.end_leases_below(lowest).await;
                Answer::Done
            }
            Request::Scrub { drive, after, max } => self.scrub(&drive, after, max).await?,
            Request::Compact {
                drive,
                min_garbage,
                budget_bytes,
            } => self.compact(&drive, min_garbage, budget_bytes).await?,
            Request::Trim { drive } => {
                self.drive(&drive)?.trim().await.map_err(refusal)?;
                Answer::Done
            }
            Request::Restore { drive, mode } => Answer::Restored(self.restore(&drive, mode).await?),
        };
        Ok(answer.into())
    }

    async fn scrub(&self, drive: &DriveId, after: Option<ShardKey>, max: u16) -> Result<Answer, Refusal> {
        let scrubbed = self.drive(drive)?.scrub(after, usize::from(max)).await;
        let scrubbed = scrubbed.map_err(refusal)?;
        Ok(Answer::Scrubbed {
            shards: scrubbed.shards,
            bytes: scrubbed.bytes,
            bad: scrubbed.bad,
            unread: scrubbed.unread,
            last: scrubbed.last,
        })
    }

    /// `min_garbage` in thousandths.
    async fn compact(&self, drive: &DriveId, min_garbage: u16, budget_bytes: u64) -> Result<Answer, Refusal> {
        let share = f64::from(min_garbage) / 1_000.0;
        let step = self
            .drive(drive)?
            .compact(share, budget_bytes.min(STEP_BYTES_MAX));
        let step = step.await.map_err(refusal)?;
        Ok(Answer::Compacted {
            copied_bytes: step.copied_bytes,
            freed_bytes: step.freed_bytes,
            more: step.more,
            damaged: !step.damaged.is_empty(),
        })
    }

    /// How its drives are at this moment: whoever asks may be about to decide what is missing.
    async fn drives_now(&self) -> Answer {
        self.drives.check(true).await;
        Answer::Drives(self.reports())
    }

    /// Brings a lost drive back, as far as the caller says it may go.
    async fn restore(&self, drive: &[u8; 16], mode: RestoreMode) -> Result<Restored, Refusal> {
        let drive = self.drive(drive)?;
        let failed = |error| {
            tracing::error!(drive = drive.number, %error, "a lost drive cannot be brought back");
            Refusal::Io
        };
        if drive.present().is_some() {
            return Ok(Restored::Reattached);
        }
        self.drives.detach(drive).await.map_err(failed)?;
        if mode == RestoreMode::Wipe {
            let wiped = self
                .drives
                .blocking(drive, |drives, drive| drives.wipe(drive))
                .await;
            return wiped.map(|()| Restored::Recreated).map_err(failed);
        }
        let wanted = mode == RestoreMode::Recreate;
        let tried = self
            .drives
            .blocking(drive, move |drives, drive| drives.try_back(drive, wanted));
        Ok(match tried.await.map_err(failed)? {
            Tried::Reattached => Restored::Reattached,
            Tried::Recreated => Restored::Recreated,
            Tried::Doubtful => Restored::Doubtful,
            Tried::StillLost => Restored::StillLost,
        })
    }
}

/// Bytes that one step of compaction copies, so that puts are not held up.
const STEP_BYTES_MAX: u64 = 16 << 20;

/// Stores a shard that has the hash of its header. The header's pack id is checked with its form: it is made of that very hash.
async fn put(
    drive: &Arc<LocalDrive>,
    header: ShardHeader,
    shard: Bytes,
    mode: PutMode,
) -> Result<Answer, Refusal> {
    let expected = header.summary.hash(usize::from(header.index));
    let hashing = shard.clone();
    let holds = tokio::task::spawn_blocking(move || expected == Some(ShardHash::of(&hashing)));
    if !holds.await.unwrap_or(false) {
        return Err(Refusal::WrongHash);
    }
    let stored = match mode {
        PutMode::Free => drive.put(header, shard, PutSpace::Free).await,
        PutMode::Headroom => drive.put(header, shard, PutSpace::Headroom).await,
        PutMode::Replace => {
            let (checked, key) = (Arc::clone(drive), header.key());
            match blocking(move || checked.check(&key)).await {
                // It is as it should be: nothing to replace.
                Ok(_) => Ok(()),
                Err(Refusal::Absent) => drive.put(header, shard, PutSpace::Free).await,
                Err(Refusal::Damaged) => drive.replace(header, shard).await,
                Err(other) => return Err(other),
            }
        }
    };
    stored.map(|()| Answer::Done).map_err(refusal)
}

async fn headers(drive: Arc<LocalDrive>, keys: Vec<ShardKey>) -> Result<Vec<Option<ShardHeader>>, Refusal> {
    blocking(move || {
        let read = |key: &ShardKey| match drive.header(key) {
            Ok(header) => Ok(Some(header)),
            Err(DriveFailure::Absent | DriveFailure::Damaged) => Ok(None),
            Err(failure) => Err(failure),
        };
        keys.iter().map(read).collect()
    })
    .await
}
