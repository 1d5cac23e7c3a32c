//! A place of the layout: a drive of this machine or one of a peer, asked the same way.
//!
//! What both kinds answer at once comes from memory: of a peer's drive, what the peer said last. Invariant: what a place says about
//! a shard is its own word; whoever needs the bytes to be right checks them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::drive::{ListedShard, ShardHeader, ShardKey};
use engine::placement::{DomainId, DriveWeight};

use super::cause::Cause;
use super::layout::Standing;
use super::remote::RemoteDrive;
use crate::drives::{CompactReport, Conduct, DriveFailure, LocalDrive, PutSpace, Scrubbed};
use crate::entry::DriveId;
use crate::latency::{Latency, UnderWay};
use crate::peer::message::{HEADERS_MAX, KEYS_MAX, PutMode};
use crate::peer::{Answer, Purpose, Request};

/// A read that is under way for longer shows a drive that is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// See the module. Clones are the same place.
#[derive(Clone)]
pub(super) enum Place {
    Local(Arc<LocalDrive>),
    Remote(Arc<RemoteDrive>),
}

/// One step of compaction.
pub(super) struct CompactStep {
    pub(super) report: CompactReport,
    /// Whether another step may give back more.
    pub(super) more: bool,
    /// Whether shards were found damaged, and are not there any more.
    pub(super) damaged: bool,
}

impl Place {
    pub(super) fn number(&self) -> usize {
        match self {
            Self::Local(drive) => drive.number,
            Self::Remote(drive) => drive.number,
        }
    }

    pub(super) fn id(&self) -> DriveId {
        match self {
            Self::Local(drive) => drive.id,
            Self::Remote(drive) => drive.id,
        }
    }

    /// What it fails together with: a drive of this machine with nothing else, for the machine itself is one.
    pub(super) fn domain(&self) -> DomainId {
        match self {
            Self::Local(drive) => drive.id,
            Self::Remote(drive) => drive.domain(),
        }
    }

    /// For placement. A drive that was never there weighs next to nothing, but not nothing: it may be needed.
    pub(super) fn weight(&self) -> DriveWeight {
        DriveWeight {
            drive: self.id(),
            domain: self.domain(),
            capacity: self.capacity().max(1),
        }
    }

    /// What it can hold, in bytes; 0 while that is not known.
    pub(super) fn capacity(&self) -> u64 {
        match self {
            Self::Local(drive) => drive.capacity(),
            Self::Remote(drive) => drive.capacity(),
        }
    }

    /// How it stands in the membership. The drives of this machine are members.
    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::Local(_) => Standing::Active,
            Self::Remote(drive) => drive.membership(),
        }
    }

    /// What it did that it should not.
    pub(super) fn conduct(&self) -> &Conduct {
        match self {
            Self::Local(drive) => &drive.conduct,
            Self::Remote(drive) => &drive.conduct,
        }
    }

    /// Its directory; of a peer's drive the peer and the drive's id.
    pub(super) fn dir(&self) -> &Path {
        match self {
            Self::Local(drive) => &drive.dir,
            Self::Remote(drive) => &drive.label,
        }
    }

    /// Whether a repair may make it anew unasked.
    pub(super) fn is_default(&self) -> bool {
        match self {
            Self::Local(drive) => drive.default,
            Self::Remote(drive) => drive.is_default(),
        }
    }

    pub(super) fn local(&self) -> Option<&Arc<LocalDrive>> {
        match self {
            Self::Local(drive) => Some(drive),
            Self::Remote(_) => None,
        }
    }

    /// Whether it is not lost.
    pub(super) fn is_present(&self) -> bool {
        match self {
            Self::Local(drive) => drive.present().is_some(),
            Self::Remote(drive) => drive.is_present(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Local(drive) => drive.is_full(),
            Self::Remote(drive) => drive.is_full(),
        }
    }

    /// Whether it is there and takes puts.
    pub(super) fn writable(&self) -> bool {
        !self.is_full() && self.is_present()
    }

    /// Looks whether a drive of this machine is in place at this moment.
    pub(super) fn is_in_place(&self) -> bool {
        match self {
            Self::Local(drive) => drive.present().is_some_and(|drive| drive.check_present().is_ok()),
            Self::Remote(drive) => drive.is_present(),
        }
    }

    pub(super) fn latency(&self) -> &Latency {
        match self {
            Self::Local(drive) => &drive.latency,
            Self::Remote(drive) => &drive.latency,
        }
    }

    /// Whether it is known to answer nobody just now: what it should give is read from the others first.
    pub(super) fn lags(&self) -> bool {
        let lags = match self {
            Self::Local(_) => false,
            Self::Remote(drive) => drive.lag.is_late(),
        };
        lags || self.under_way().is_stuck(STUCK_AFTER)
    }

    /// Waits for an answer that nobody needs any more, which says that the drive answers again: of a peer, and for one answer at a time. It is late
    /// after `late`.
    pub(super) fn leave<T: Send>(&self, read: impl Future<Output = T> + Send + 'static, late: Duration) {
        let Self::Remote(drive) = self else { return };
        if !drive.lag.begin(late) {
            return;
        }
        let drive = Arc::clone(drive);
        // It ends: every call does.
        tokio::spawn(async move {
            read.await;
            drive.lag.end();
        });
    }

    pub(super) fn under_way(&self) -> &UnderWay {
        match self {
            Self::Local(drive) => &drive.under_way,
            Self::Remote(drive) => &drive.under_way,
        }
    }

    /// Whether the place holds the shard, if it can say so without being asked.
    pub(super) fn holds_now(&self, key: &ShardKey) -> Option<bool> {
        match self {
            Self::Local(drive) => Some(drive.holds(key).is_some()),
            Self::Remote(_) => None,
        }
    }

    /// The highest lease that it has seen.
    pub(super) fn highest_lease(&self) -> u64 {
        match self {
            Self::Local(drive) => drive.present().map_or(0, |drive| drive.highest_lease()),
            Self::Remote(drive) => drive.report().highest_lease,
        }
    }

    /// Stores a shard, durably.
    pub(super) async fn put(
        &self,
        header: ShardHeader,
        shard: Bytes,
        space: PutSpace,
        cause: Cause,
    ) -> Result<(), DriveFailure> {
        let mode = match space {
            PutSpace::Free => PutMode::Free,
            PutSpace::Headroom => PutMode::Headroom,
        };
        match self {
            Self::Local(drive) => drive.put(header, shard, space).await,
            Self::Remote(drive) => drive.put(header, shard, mode, cause).await,
        }
    }

    /// Stores a shard that was made again, in the place of one that does not check if there is one.
    pub(super) async fn mend(
        &self,
        header: ShardHeader,
        shard: Bytes,
        cause: Cause,
    ) -> Result<(), DriveFailure> {
        match self {
            Self::Local(drive) if drive.holds(&header.key()).is_some() => drive.replace(header, shard).await,
            Self::Local(drive) => drive.put(header, shard, PutSpace::Free).await,
            Self::Remote(drive) => drive.put(header, shard, PutMode::Replace, cause).await,
        }
    }

    /// Stores a shard that is moved here, in a copy of its own: one that a move left here before may be about to be deleted.
    pub(super) async fn put_anew(
        &self,
        header: ShardHeader,
        shard: Bytes,
        cause: Cause,
    ) -> Result<(), DriveFailure> {
        match self {
            Self::Local(drive) => drive.replace(header, shard).await,
            Self::Remote(drive) => drive.put(header, shard, PutMode::Anew, cause).await,
        }
    }

    /// Takes a shard back that was put and never acknowledged. Of a peer's drive the collector does it: peers delete on orders only.
    pub(super) async fn take_back(&self, key: ShardKey) {
        if let Self::Local(drive) = self {
            // Best effort: what stays is garbage that no entry names.
            let _ = drive.delete(key).await;
        }
    }

    /// Reads a range of a shard, off the caller's thread. Not verified.
    pub(super) async fn read_range(
        &self,
        key: ShardKey,
        (offset, bytes): (u32, u32),
        cause: Cause,
    ) -> Result<Bytes, DriveFailure> {
        match self {
            Self::Local(drive) => {
                let drive = Arc::clone(drive);
                let offload = drive.offload.clone();
                let task = offload.run(move || drive.read_range(&key, offset, bytes));
                task.await.unwrap_or(Err(DriveFailure::Closed))
            }
            Self::Remote(drive) => drive.read_range(key, offset, bytes, cause).await,
        }
    }

    /// Which of these shards it holds, in order.
    pub(super) async fn has(&self, keys: &[ShardKey]) -> Result<Vec<bool>, DriveFailure> {
        let drive = match self {
            Self::Local(drive) => {
                let drive = drive.present().ok_or(DriveFailure::Lost)?;
                return Ok(keys.iter().map(|key| drive.contains(key)).collect());
            }
            Self::Remote(drive) => drive,
        };
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_MAX) {
            let (id, asked) = (drive.id, keys.len());
            let keys = keys.to_vec();
            match drive
                .ask(Purpose::Repair, Request::Has { drive: id, keys })
                .await?
            {
                Answer::Held(held) if held.len() == asked => all.extend(held),
                other => return Err(drive.unexpected(&other)),
            }
        }
        Ok(all)
    }

    /// The headers of these shards, in order; none for one that is not there or does not read.
    pub(super) async fn headers(&self, keys: &[ShardKey]) -> Result<Vec<Option<ShardHeader>>, DriveFailure> {
        let drive = match self {
            Self::Local(drive) => {
                let (drive, keys) = (Arc::clone(drive), keys.to_vec());
                let offload = drive.offload.clone();
                let reading = offload.run(move || keys.iter().map(|key| drive.header(key).ok()).collect());
                return reading.await.map_err(|_| DriveFailure::Closed);
            }
            Self::Remote(drive) => drive,
        };
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(HEADERS_MAX) {
            let (id, asked) = (drive.id, keys.to_vec());
            let request = Request::Headers {
                drive: id,
                keys: asked,
            };
            match drive.question(Purpose::Repair, request).await? {
                Answer::Headers(headers) if headers.len() == keys.len() => {
                    let own = |(header, key): (Option<ShardHeader>, &ShardKey)| {
                        header.filter(|header| header.key() == *key)
                    };
                    all.extend(headers.into_iter().zip(keys).map(own));
                }
                other => return Err(drive.unexpected(&other)),
            }
        }
        Ok(all)
    }

    /// Up to about `max` shards of a vault in order, after the one given, with their leases; and whether there may be more.
    pub(super) async fn list(
        &self,
        vault: [u8; 16],
        after: Option<ShardKey>,
        max: usize,
    ) -> Result<(Vec<ListedShard>, bool), DriveFailure> {
        let drive = match self {
            Self::Local(drive) => {
                let present = drive.present().ok_or(DriveFailure::Lost)?;
                let listing = drive.offload.run(move || present.of_vault(&vault, after, max));
                let listed = listing.await.map_err(|_| DriveFailure::Closed)?;
                let more = listed.len() >= max;
                return Ok((listed, more));
            }
            Self::Remote(drive) => drive,
        };
        let max = max.min(KEYS_MAX);
        let request = Request::List {
            drive: drive.id,
            vault,
            after,
            max: u16::try_from(max).unwrap_or(u16::MAX),
        };
        match drive.question(Purpose::Collect, request).await? {
            Answer::Listed { shards, more } => {
                let ordered = shards.is_sorted_by(|a, b| a.key < b.key);
                let onward = shards
                    .first()
                    .is_none_or(|first| after.is_none_or(|after| first.key > after));
                // A page that is not the last is a full one.
                let full = shards.len() == max;
                match ordered && onward && shards.len() <= max && (full || !more) {
                    true => Ok((shards, more)),
                    false => Err(drive.nonsense("a list out of order")),
                }
            }
            other => Err(drive.unexpected(&other)),
        }
    }

    /// One step of compaction: segments of which at least the part `min_garbage` (0 to 1) is garbage.
    pub(super) async fn compact(
        &self,
        min_garbage: f64,
        budget_bytes: u64,
    ) -> Result<CompactStep, DriveFailure> {
        match self {
            Self::Local(drive) => {
                let step = drive.compact(min_garbage, budget_bytes).await?;
                Ok(CompactStep {
                    report: CompactReport {
                        copied_bytes: step.copied_bytes,
                        freed_bytes: step.freed_bytes,
                    },
                    more: step.more,
                    damaged: !step.damaged.is_empty(),
                })
            }
            Self::Remote(drive) => drive.compact(min_garbage, budget_bytes).await,
        }
    }

    /// Gives back the preallocated space.
    pub(super) async fn trim(&self) -> Result<(), DriveFailure> {
        match self {
            Self::Local(drive) => drive.trim().await,
            Self::Remote(drive) => {
                let request = Request::Trim { drive: drive.id };
                drive.ask(Purpose::Collect, request).await.map(drop)
            }
        }
    }

    /// Reads some of its shards after the one given, at most `max`, and checks them.
    pub(super) async fn scrub(&self, after: Option<ShardKey>, max: usize) -> Result<Scrubbed, DriveFailure> {
        match self {
            Self::Local(drive) => drive.scrub(after, max).await,
            Self::Remote(drive) => drive.scrub(after, max).await,
        }
    }

    /// How many shards it has.
    pub(super) fn shards(&self) -> u64 {
        match self {
            Self::Local(drive) => drive.present().map_or(0, |drive| drive.usage().shards),
            Self::Remote(drive) => drive.report().shards,
        }
    }
}
