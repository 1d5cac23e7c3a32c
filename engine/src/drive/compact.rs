//! Compaction: live frames of a segment with much garbage are copied to the head of the log, and the segment removed.
//!
//! Decides nothing about which shards live. Invariant: a segment is removed only when copies of all that is needed of
//! it are durable; a delete frame is carried along as long as the segment of the frame it deletes exists.

use std::collections::BTreeSet;

use super::shard::{
    DELETE_TAG_BYTES, KIND_DELETE, KIND_LEASE, KIND_SHARD, SHARD_TAG_BYTES, ShardKey, ShardTag, decode_delete,
};
use super::view::{Location, read_error};
use super::{DriveError, DriveWriter};
use crate::log::{FrameInfo, ReadError};

/// What a compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes of frames copied.
    pub copied_bytes: u64,
    /// Bytes of segments removed.
    pub freed_bytes: u64,
    /// Shards that could not be read and are gone now, to be repaired from the others of their packs.
    pub damaged: Vec<ShardKey>,
    /// There is more to collect.
    pub more: bool,
}

/// What was copied of one segment.
#[derive(Default)]
struct Copied {
    moved: Vec<(ShardKey, Location, Location)>,
    damaged: Vec<(ShardKey, Location)>,
    bytes: u64,
}

impl DriveWriter {
    /// Compacts segments whose share of garbage is at least `min_garbage` (above 0 in any case), the worst first, until about
    /// `budget_bytes` were copied; always whole segments. Commits first. On a full drive nothing is lost.
    pub fn compact(&mut self, min_garbage: f64, budget_bytes: u64) -> Result<Compaction, DriveError> {
        self.commit()?;
        let mut done = Compaction::default();
        while let Some((number, sealed)) = self.worst_segment(min_garbage) {
            if done.freed_bytes > 0 && done.copied_bytes >= budget_bytes {
                done.more = true;
                break;
            }
            if !sealed {
                let ended = self.log.seal_current();
                self.logged(ended)?;
            }
            self.compact_segment(number, &mut done)?;
        }
        self.refresh_usage();
        Ok(done)
    }

    fn worst_segment(&self, min_garbage: f64) -> Option<(u32, bool)> {
        let segments = self.log.segments();
        let present: BTreeSet<u32> = segments.iter().map(|info| info.number).collect();
        let shares = segments.iter().filter_map(|info| {
            let (used, garbage) = self.books.used_and_garbage(info, &present);
            let share = garbage as f64 / used.max(1) as f64;
            (garbage > 0 && share >= min_garbage).then_some((share, info.number, info.sealed))
        });
        let worst = shares.max_by(|a, b| {
            (a.2, a.0)
                .partial_cmp(&(b.2, b.0))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        worst.map(|(_, number, sealed)| (number, sealed))
    }

    fn compact_segment(&mut self, number: u32, done: &mut Compaction) -> Result<(), DriveError> {
        let frames = self
            .shared
            .reader
            .segment_frames(number)
            .map_err(DriveError::Read)?;
        let mut copied = Copied::default();
        let result = frames
            .iter()
            .try_for_each(|frame| self.copy_frame(frame, &mut copied));
        // What was copied counts from here on, also when the disk filled up half way.
        self.sync_in_place()?;
        self.adopt(&copied);
        done.copied_bytes += copied.bytes;
        if let Err(error) = result {
            let left = copied.moved.iter().map(|(key, from, _)| (*key, from.position));
            self.superseded.extend(left);
            return Err(error);
        }
        let mut shards = self.shared.shards_mut();
        for (key, location) in copied.damaged {
            if shards.get(&key) == Some(&location) {
                shards.remove(&key);
                done.damaged.push(key);
            }
        }
        drop(shards);
        let bytes = self
            .log
            .segments()
            .iter()
            .find(|info| info.number == number)
            .map_or(0, |info| info.bytes);
        self.begin_another(number)?;
        let removed = self.log.remove_segment(number);
        self.logged(removed)?;
        self.books.forget_segment(number);
        self.superseded.retain(|(_, at)| at.segment() != number);
        done.freed_bytes += bytes;
        Ok(())
    }

    /// The newest segment's number must not be used again, so one must follow it before it is removed: the lease floor,
    /// written once more, begins it.
    fn begin_another(&mut self, number: u32) -> Result<(), DriveError> {
        if self
            .log
            .segments()
            .last()
            .is_some_and(|newest| newest.number == number)
        {
            let lowest = self.drive().lowest_lease();
            let at = self.append(KIND_LEASE, &lowest.to_le_bytes(), &[])?;
            self.books.lease = Some(at);
            self.sync_in_place()?;
        }
        Ok(())
    }

    fn adopt(&mut self, copied: &Copied) {
        let mut shards = self.shared.shards_mut();
        for (key, from, to) in &copied.moved {
            self.books.remove_live(from);
            self.books.add_live(to);
            shards.insert(*key, *to);
        }
    }

    fn copy_frame(&mut self, frame: &FrameInfo, copied: &mut Copied) -> Result<(), DriveError> {
        match frame.kind {
            KIND_SHARD => self.copy_shard(frame, copied),
            KIND_DELETE => {
                let Ok((_, target)) = decode_delete(&frame.tag) else {
                    return Ok(());
                };
                let segments = self.log.segments();
                let there = segments.iter().any(|info| info.number == target.segment());
                if there && target.segment() != frame.position.segment() {
                    let at = self.append(KIND_DELETE, &frame.tag, &[])?;
                    self.books.add_delete(at, target);
                    copied.bytes += DELETE_TAG_BYTES as u64;
                }
                Ok(())
            }
            KIND_LEASE if self.books.lease == Some(frame.position) => {
                let at = self.append(KIND_LEASE, &frame.tag, &[])?;
                self.books.lease = Some(at);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn copy_shard(&mut self, frame: &FrameInfo, copied: &mut Copied) -> Result<(), DriveError> {
        let Ok(tag) = ShardTag::decode(&frame.tag) else {
            return Ok(());
        };
        let found = self.shared.shards().get(&tag.key).copied();
        let Some(from) = found.filter(|found| found.position == frame.position) else {
            return Ok(());
        };
        let payload = match self.shared.reader.read_sized(frame.position, frame.payload_bytes) {
            Ok(frame) => frame.payload,
            Err(error @ ReadError::Io { .. }) => return Err(read_error(&tag.key, error)),
            Err(_) => {
                copied.damaged.push((tag.key, from));
                return Ok(());
            }
        };
        let (tag_bytes, rest) = payload.split_at(SHARD_TAG_BYTES.min(payload.len()));
        let position = self.append(KIND_SHARD, tag_bytes, &[rest])?;
        copied.bytes += from.frame_bytes();
        copied.moved.push((tag.key, from, Location { position, ..from }));
        Ok(())
    }
}
