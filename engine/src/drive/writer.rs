//! The drive's one writer: staged puts and deletes, commit, the leases that are accepted.
//!
//! Not a thread; the flusher that owns it decides when to commit. Invariant: the view changes only after the log is
//! synced and the drive was seen to be in place; any doubt about what is durable loses the drive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shard::{KIND_DELETE, KIND_LEASES, KIND_SHARD, encode_delete, encode_leases, tag_checksum};
use super::view::{Location, Shared};
use super::{Drive, DriveError, LostReason, STAGED_MAX, ShardHeader, ShardKey};
use crate::disk::DiskFile;
use crate::log::{Log, LogError, Position, SegmentInfo, Tail};
use crate::slots::AcceptedLeases;

/// Bytes of a delete frame in the log.
const DELETE_FRAME_BYTES: u64 = 112;

/// Bytes in the log of a frame about leases with a tag of so many bytes.
pub(super) const fn lease_frame_bytes(tag_bytes: usize) -> u64 {
    64 + (tag_bytes as u64).next_multiple_of(8)
}

/// What is needed of each segment, with sums over all of them, so that a commit costs what it changes.
#[derive(Default)]
pub(super) struct Books {
    /// Bytes of live shard frames by segment.
    live: BTreeMap<u32, u64>,
    live_bytes: u64,
    /// Delete frames by (their segment, the segment of the frame they delete, which is another one and there).
    deletes: BTreeMap<(u32, u32), u64>,
    delete_frames: u64,
    /// The frame that says which leases are accepted, and its bytes.
    pub(super) leases: Option<(Position, u64)>,
}

impl Books {
    pub(super) fn add_live(&mut self, location: &Location) {
        *self.live.entry(location.position.segment()).or_default() += location.frame_bytes();
        self.live_bytes += location.frame_bytes();
    }

    pub(super) fn remove_live(&mut self, location: &Location) {
        if let Some(bytes) = self.live.get_mut(&location.position.segment()) {
            let removed = location.frame_bytes().min(*bytes);
            *bytes -= removed;
            self.live_bytes -= removed;
        }
    }

    /// A delete frame is needed as long as the segment of the frame it deletes, if that is another one.
    pub(super) fn add_delete(&mut self, at: Position, target: Position) {
        if at.segment() != target.segment() {
            *self.deletes.entry((at.segment(), target.segment())).or_default() += 1;
            self.delete_frames += 1;
        }
    }

    /// Forgets the delete frames whose segment, or the segment they are about, `gone` names.
    pub(super) fn forget_deletes(&mut self, gone: impl Fn(u32) -> bool) {
        self.deletes
            .retain(|(at, target), _| !gone(*at) && !gone(*target));
        self.delete_frames = self.deletes.values().sum();
    }

    pub(super) fn forget_segment(&mut self, number: u32) {
        self.live_bytes -= self.live.remove(&number).unwrap_or(0);
        self.forget_deletes(|segment| segment == number);
    }

    /// Bytes of the segment's owner frames, and those of them that nothing needs.
    pub(super) fn used_and_garbage(&self, info: &SegmentInfo) -> (u64, u64) {
        let used = info.bytes.saturating_sub(info.overhead_bytes);
        let deletes: u64 = self
            .deletes
            .range((info.number, 0)..=(info.number, u32::MAX))
            .map(|(_, count)| count * DELETE_FRAME_BYTES)
            .sum();
        let of_leases = self.leases.filter(|(at, _)| at.segment() == info.number);
        let leases = of_leases.map_or(0, |(_, bytes)| bytes);
        let live = self.live.get(&info.number).copied().unwrap_or(0);
        (used, used.saturating_sub(live + deletes + leases))
    }

    /// Of so many bytes of owner frames in all segments, those of live shards and those that nothing needs.
    fn live_and_garbage(&self, used_bytes: u64) -> (u64, u64) {
        let leases = self.leases.map_or(0, |(_, bytes)| bytes);
        let needed = self.live_bytes + self.delete_frames * DELETE_FRAME_BYTES + leases;
        (self.live_bytes, used_bytes.saturating_sub(needed))
    }
}

/// A drive, for changing.
pub struct DriveWriter {
    pub(super) log: Log,
    pub(super) shared: Arc<Shared>,
    pub(super) books: Books,
    /// Frames of shards that have a later frame too, as an interrupted compaction leaves them.
    pub(super) superseded: BTreeSet<(ShardKey, Position)>,
    staged: BTreeMap<ShardKey, Option<Location>>,
    accepted: AcceptedLeases,
    /// The identity file, locked: a drive has one writer.
    _locked: Box<dyn DiskFile>,
}

impl DriveWriter {
    pub(super) fn new(
        (log, locked): (Log, Box<dyn DiskFile>),
        shared: Arc<Shared>,
        books: Books,
        superseded: BTreeSet<(ShardKey, Position)>,
        accepted: AcceptedLeases,
    ) -> Self {
        Self {
            log,
            shared,
            books,
            superseded,
            staged: BTreeMap::new(),
            accepted,
            _locked: locked,
        }
    }

    /// Writes a shard; it is durable and visible after the next [`DriveWriter::commit`]. Does nothing if it is there or staged.
    /// The bytes are not hashed here: who made the header did. A shard of 256 KiB or more that is not what its hash says is a
    /// damaged frame when the log is next opened, and may then take those written behind it in the same commit with it: bytes that come from
    /// elsewhere are hashed before they come here.
    pub fn put(&mut self, header: &ShardHeader, shard: &[u8]) -> Result<(), DriveError> {
        self.shared.check_not_lost()?;
        let key = header.key();
        let shard_bytes = header.summary.geometry.shard_bytes;
        let hash = header.summary.hashes.get(usize::from(header.index));
        let Some(&hash) = hash.filter(|_| shard.len() as u64 == u64::from(shard_bytes)) else {
            return Err(DriveError::WrongLength {
                key,
                expected: hash.map_or(0, |_| shard_bytes),
                got: shard.len(),
            });
        };
        self.check_lease(header.lease)?;
        if self.current(&key).is_some() {
            return Ok(());
        }
        self.check_staged()?;
        let clear = header.encode_clear();
        let tag = header.encode_tag();
        let (position, payload_bytes) = self.append_shard(
            &tag,
            &clear,
            Tail {
                bytes: shard,
                hash: hash.0,
            },
        )?;
        let location = Location {
            position,
            payload_bytes,
            shard_bytes,
            lease: header.lease,
            vault: header.vault,
            scope: header.scope,
            tag_checksum: tag_checksum(&tag),
        };
        self.staged.insert(key, Some(location));
        Ok(())
    }

    /// Deletes a shard, durably and visibly after the next commit; false if there is none.
    pub fn delete(&mut self, key: ShardKey) -> Result<bool, DriveError> {
        self.shared.check_not_lost()?;
        let Some(location) = self.current(&key) else {
            return Ok(false);
        };
        self.check_staged()?;
        self.settle_superseded()?;
        let at = self.append(KIND_DELETE, &encode_delete(&key, location.position), &[])?;
        self.books.add_delete(at, location.position);
        self.staged.insert(key, None);
        Ok(true)
    }

    /// As [`Self::delete`]; with a place only the copy that lies there: one that was put in its stead meanwhile stays, and so does one that
    /// compaction moved.
    pub fn delete_copy(&mut self, key: ShardKey, at: Option<Position>) -> Result<bool, DriveError> {
        match self.current(&key) {
            Some(location) if at.is_none_or(|at| location.position == at) => self.delete(key),
            _ => Ok(false),
        }
    }

    /// From now on puts under leases that `accepted` does not accept are refused, beside those that were refused before; durable after the
    /// next commit.
    pub fn end_leases(&mut self, accepted: &AcceptedLeases) -> Result<(), DriveError> {
        self.shared.check_not_lost()?;
        let accepted = self.accepted.and(accepted);
        if accepted == self.accepted {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.accepted, accepted);
        // What is not written down is not known either: it is told again.
        self.write_leases().inspect_err(|_| self.accepted = before)
    }

    /// Writes down which leases are accepted, in the place of what stands in the log of them.
    pub(super) fn write_leases(&mut self) -> Result<(), DriveError> {
        let tag = encode_leases(&self.accepted);
        let at = self.append(KIND_LEASES, &tag, &[])?;
        self.books.leases = Some((at, lease_frame_bytes(tag.len())));
        Ok(())
    }

    /// Whether a put under `lease` is taken.
    pub fn check_lease(&self, lease: u64) -> Result<(), DriveError> {
        if self.accepted.accepts(lease) {
            return Ok(());
        }
        Err(DriveError::LeaseEnded {
            lease,
            lowest: self.accepted.lowest(),
        })
    }

    /// Puts and deletes that wait for a commit.
    pub fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Makes everything staged durable, checks that the drive is still in place, and only then shows it. After an error
    /// nothing of it shows and the drive is lost; but after [`DriveError::Unchecked`] it stays staged for the next commit.
    pub fn commit(&mut self) -> Result<(), DriveError> {
        self.sync_in_place()?;
        let staged = std::mem::take(&mut self.staged);
        let mut shards = self.shared.shards_mut();
        for (key, change) in staged {
            let before = match change {
                Some(location) => {
                    self.books.add_live(&location);
                    let lease = &self.shared.highest_lease;
                    lease.fetch_max(location.lease, Ordering::AcqRel);
                    shards.insert(key, location)
                }
                None => shards.remove(&key),
            };
            if let Some(before) = before {
                self.books.remove_live(&before);
            }
        }
        drop(shards);
        self.shared.set_accepted(&self.accepted);
        self.refresh_usage();
        Ok(())
    }

    /// After a second without changes: commits what is staged and writes the log's closing frame. With [`DriveError::Full`]
    /// everything staged is committed, only the closing frame is missing; the drive stays in service and a later call tries again.
    pub fn idle(&mut self) -> Result<(), DriveError> {
        self.commit()?;
        let closed = self.log.idle();
        self.refresh_usage();
        self.logged(closed)
    }

    /// Gives back reserved space beyond the last frame.
    pub fn trim(&mut self) -> Result<(), DriveError> {
        self.shared.check_not_lost()?;
        let trimmed = self.log.trim();
        self.logged(trimmed)?;
        self.refresh_usage();
        Ok(())
    }

    /// The drive, for reading.
    pub fn drive(&self) -> Drive {
        Drive::new(Arc::clone(&self.shared))
    }

    /// Commits and ends the log in an orderly way.
    pub fn close(mut self) -> Result<(), DriveError> {
        self.idle()
    }

    /// Syncs the log and checks that its files are those of the drive that was opened. After
    /// [`DriveError::Unchecked`] the log is synced.
    pub(super) fn sync_in_place(&mut self) -> Result<(), DriveError> {
        self.shared.check_not_lost()?;
        let synced = self.log.sync();
        self.logged(synced)?;
        self.shared.check_present()?;
        match self.log.is_linked() {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.shared.lose(LostReason::SegmentUnlinked)),
            Err(error) => Err(DriveError::Unchecked(error)),
        }
    }

    pub(super) fn append(&mut self, kind: u8, tag: &[u8], parts: &[&[u8]]) -> Result<Position, DriveError> {
        let appended = self.log.append(kind, tag, parts);
        self.logged(appended)
    }

    /// Position and payload length of the shard's frame.
    pub(super) fn append_shard(
        &mut self,
        tag: &[u8],
        clear: &[u8],
        shard: Tail<'_>,
    ) -> Result<(Position, u32), DriveError> {
        let appended = self.log.append_with_tail(KIND_SHARD, tag, &[clear], shard);
        self.logged(appended)
    }

    /// A failure that leaves it unknown what is durable loses the drive.
    pub(super) fn logged<T>(&self, result: Result<T, LogError>) -> Result<T, DriveError> {
        match result {
            Ok(value) => Ok(value),
            Err(LogError::Io { .. } | LogError::Fenced { .. }) => {
                Err(self.shared.lose(LostReason::WriteFailed))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the delete frames that an interrupted compaction did not come to: without them the older copy of a shard
    /// could outlive the delete of the newer one.
    pub(super) fn settle_superseded(&mut self) -> Result<(), DriveError> {
        while let Some((key, target)) = self.superseded.first().copied() {
            let at = self.append(KIND_DELETE, &encode_delete(&key, target), &[])?;
            self.books.add_delete(at, target);
            self.superseded.pop_first();
        }
        Ok(())
    }

    pub(super) fn refresh_usage(&self) {
        let (live, garbage) = self.books.live_and_garbage(self.log.used_bytes());
        self.shared.garbage.store(garbage, Ordering::Relaxed);
        self.shared.live.store(live, Ordering::Relaxed);
        self.shared
            .allocated
            .store(self.log.allocated_bytes(), Ordering::Relaxed);
    }

    /// Where the shard will be once everything staged is committed.
    pub(super) fn current(&self, key: &ShardKey) -> Option<Location> {
        match self.staged.get(key) {
            Some(staged) => *staged,
            None => self.shared.shards().get(key).copied(),
        }
    }

    fn check_staged(&self) -> Result<(), DriveError> {
        if self.staged.len() < STAGED_MAX {
            return Ok(());
        }
        Err(DriveError::TooManyStaged { limit: STAGED_MAX })
    }
}
