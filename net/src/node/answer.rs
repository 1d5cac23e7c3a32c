//! Each request, carried out on its drive.
//!
//! Reading and hashing of more than a little go to the blocking pool. A caller that goes away takes its question back, and leaves nothing half done: what
//! changes a drive is one job of its flusher, carried out whole or not at all, or a task of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::drive::{ShardHeader, ShardKey};
use engine::pack::ShardHash;
use engine::slots::AcceptedLeases;

use super::records::{self, Note, Noted};
use super::{Node, refusal};
use crate::drives::{DriveFailure, INLINE_BYTES_MAX, LocalDrive, PutSpace};
use crate::entry::DriveId;
use crate::peer::message::PutMode;
use crate::peer::{Answer, Call, OnSent, PeerId, Refusal, Reply, Request};

/// Runs what may block on a drive: of one drive no more at one time than it has turns, so that one that is stuck takes no thread from the
/// others.
pub(super) async fn blocking<T: Send + 'static>(
    drive: &Arc<LocalDrive>,
    work: impl FnOnce(&LocalDrive) -> Result<T, DriveFailure> + Send + 'static,
) -> Result<T, Refusal> {
    let turn = Arc::clone(&drive.turns).acquire_owned();
    let turn = tokio::time::timeout(TURN_PATIENCE, turn).await;
    let turn = turn.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Lost)?;
    let drive = Arc::clone(drive);
    let offload = drive.offload.clone();
    let done = offload.run(move || {
        let done = work(&drive);
        drop(turn);
        done
    });
    done.await.unwrap_or(Err(DriveFailure::Io)).map_err(refusal)
}

/// How long a call waits for a turn of its drive.
const TURN_PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    /// What a gateway asks of the drives, written down where shards are put, given, proven or deleted.
    pub(super) async fn of_shards(
        &self,
        caller: PeerId,
        call: Call,
    ) -> Result<(Reply, Option<OnSent>), Refusal> {
        if !self.directory.is_gateway(&caller) {
            // It could fill the log with what nobody lets it do.
            return Err(Refusal::NotAllowed);
        }
        let mut noted = match (self.records.get(), self.note(caller, &call)) {
            (Some(records), Some(note)) => Some(records.begin(note).await?),
            _ => None,
        };
        let put_bytes = call.body.len() as u64;
        let is_put = matches!(call.request, Request::Put { .. });
        let answered = match self.directory.serves() {
            true => self.carry_out(call, noted.as_mut()).await,
            false => Err(Refusal::CutOff),
        };
        let Some(noted) = noted else {
            return answered.map(|reply| (reply, None));
        };
        match answered {
            Ok(reply) if reply.answer == Answer::Bytes => {
                let asked = reply.body.len() as u64;
                let on_sent: OnSent = Box::new(move |sent| noted.sent(asked, sent));
                Ok((reply, Some(on_sent)))
            }
            ended => {
                let bytes = if is_put { put_bytes } else { 0 };
                Ok((noted.ended(ended, bytes).await?, None))
            }
        }
    }

    /// What a record of the call begins with; none if it is about no shard's bytes.
    fn note(&self, caller: PeerId, call: &Call) -> Option<Note> {
        let about = |drive, key| {
            let present = self.drives.of(drive)?.present()?;
            let info = present.info(key)?;
            Some((info.vault, Some(info.scope)))
        };
        let (operation, of, result) = match &call.request {
            Request::Put { header, .. } => {
                let hash = header.summary.hash(usize::from(header.index));
                let of = Some((header.vault, Some(header.scope)));
                (records::PUT_SHARD, of, hash.map(|hash| hash.0))
            }
            Request::Range { drive, key, .. } => (records::GET_RANGE, about(drive, key), None),
            Request::Challenge { drive, key, .. } => (records::PROVE_SHARD, about(drive, key), None),
            Request::Delete => (records::DELETE_SHARDS, None, None),
            Request::Restore { .. } => (records::RESTORE_DRIVE, None, None),
            _ => return None,
        };
        Some(Note {
            caller,
            context: call.context,
            operation,
            of,
            result,
        })
    }

    async fn carry_out(&self, call: Call, noted: Option<&mut Noted>) -> Result<Reply, Refusal> {
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
                let drive = self.drive(&drive)?;
                let body = match drive.is_quick(bytes) {
                    true => drive.read_range(&key, offset, bytes).map_err(refusal)?,
                    false => blocking(drive, move |drive| drive.read_range(&key, offset, bytes)).await?,
                };
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
                let max = usize::from(max);
                let list = move |drive: &LocalDrive| {
                    let present = drive.present().ok_or(DriveFailure::Lost)?;
                    Ok(present.of_vault(&vault, after, max))
                };
                let shards = blocking(self.drive(&drive)?, list).await?;
                let more = shards.len() >= max;
                Answer::Listed { shards, more }
            }
            Request::Headers { drive, keys } => Answer::Headers(headers(self.drive(&drive)?, keys).await?),
            Request::Delegate => self.delegate(&call.body)?,
            Request::Delete => self.delete(&call.body, noted).await?,
            Request::Challenge {
                drive,
                key,
                offset,
                bytes,
            } => {
                let prove = move |drive: &LocalDrive| drive.prove(&key, offset, bytes);
                let body = blocking(self.drive(&drive)?, prove).await?;
                return Ok(Reply {
                    answer: Answer::Bytes,
                    body,
                });
            }
            Request::EndLeases { lowest } => self.end_leases(&AcceptedLeases::at_least(lowest)).await?,
            Request::Leases { accepted } => self.end_leases(&accepted).await?,
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
            // Of the ledger the node knows before it comes here.
            Request::Agree | Request::Ledger => return Err(Refusal::NotAllowed),
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

    /// Ends leases, but not all that there could ever be: numbers are taken one by one.
    async fn end_leases(&self, accepted: &AcceptedLeases) -> Result<Answer, Refusal> {
        let present = self.drives.drives.iter().filter_map(|drive| drive.present());
        let highest = present.map(|drive| drive.highest_lease()).max().unwrap_or(0);
        let too_many = accepted.highest_known() > highest.saturating_add(LEASES_AT_ONCE_MAX);
        if too_many || !self.drives.accepted_leases().and(accepted).is_bounded() {
            return Err(Refusal::Malformed);
        }
        self.drives.end_leases(accepted).await;
        Ok(Answer::Done)
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
}

/// Bytes that one step of compaction copies, so that puts are not held up.
const STEP_BYTES_MAX: u64 = 16 << 20;

/// By how many leases a caller may be ahead of what a node has seen.
const LEASES_AT_ONCE_MAX: u64 = 1 << 32;

/// Stores a shard that has the hash of its header. The header's pack id is checked with its form: it is made of that very hash.
async fn put(
    drive: &Arc<LocalDrive>,
    header: ShardHeader,
    shard: Bytes,
    mode: PutMode,
) -> Result<Answer, Refusal> {
    let expected = header.summary.hash(usize::from(header.index));
    // A short one costs less to hash than to hand over.
    let holds = if shard.len() <= INLINE_BYTES_MAX as usize {
        expected == Some(ShardHash::of(&shard))
    } else {
        let hashing = shard.clone();
        let holds = drive
            .offload
            .run(move || expected == Some(ShardHash::of(&hashing)));
        holds.await.unwrap_or(false)
    };
    if !holds {
        return Err(Refusal::WrongHash);
    }
    // Whoever can make a shard of another vault's pack must not have it counted as its own.
    let there = drive.present().and_then(|drive| drive.info(&header.key()));
    if there.is_some_and(|there| there.vault != header.vault) {
        return Err(Refusal::NotAllowed);
    }
    let stored = match mode {
        PutMode::Free => drive.put(header, shard, PutSpace::Free).await,
        PutMode::Headroom => drive.put(header, shard, PutSpace::Headroom).await,
        PutMode::Anew => drive.replace(header, shard).await,
        PutMode::Replace => {
            let key = header.key();
            match blocking(drive, move |drive| drive.check(&key)).await {
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

async fn headers(drive: &Arc<LocalDrive>, keys: Vec<ShardKey>) -> Result<Vec<Option<ShardHeader>>, Refusal> {
    blocking(drive, move |drive| {
        let read = |key: &ShardKey| match drive.header(key) {
            Ok(header) => Ok(Some(header)),
            Err(DriveFailure::Absent | DriveFailure::Damaged) => Ok(None),
            Err(failure) => Err(failure),
        };
        keys.iter().map(read).collect()
    })
    .await
}
