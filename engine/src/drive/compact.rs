//! Compaction: live frames of a segment with much garbage are copied to the head of the log, and the segment removed.
//!
//! Decides nothing about which shards live. Invariant: a segment is removed only when copies of all that is needed of
//! it are durable; a delete frame is carried along as long as the segment of the frame it deletes exists.

use std::collections::BTreeSet;

use super::shard::{
    DELETE_TAG_BYTES, KIND_DELETE, KIND_LEASES, KIND_LOWEST_LEASE, KIND_SHARD, ShardHeader, ShardKey,
    ShardTag, decode_delete,
};
use super::view::Location;
use super::{DriveError, DriveWriter};
use crate::log::{FrameInfo, ReadError, Tail};

/// What a compaction did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes of frames copied.
    pub copied_bytes: u64,
    /// Bytes of segments removed.
    pub freed_bytes: u64,
    /// Shards that are damaged and gone now, or that the disk could not read and that stay where they are: to be repaired
    /// from the others of their packs.
    pub damaged: Vec<ShardKey>,
    /// Segments that stay because something in them could not be read.
    pub unreadable_segments: u64,
    /// Segments that stay because there is no room for copies of what lives in them.
    pub no_room_segments: u64,
    /// There is more to collect.
    pub more: bool,
}

/// What was copied of one segment.
#[derive(Default)]
struct Copied {
    moved: Vec<(ShardKey, Location, Location)>,
    /// Shards that the disk could not read this time.
    unreadable: Vec<ShardKey>,
    bytes: u64,
}

impl DriveWriter {
    /// As [`DriveWriter::compact_keeping`], without a floor.
    pub fn compact(&mut self, min_garbage: f64, budget_bytes: u64) -> Result<Compaction, DriveError> {
        self.compact_keeping(min_garbage, budget_bytes, 0)
    }

    /// Compacts segments whose share of garbage is at least `min_garbage` (above 0 in any case), the worst first, until about
    /// `budget_bytes` were copied; always whole segments. Commits first. A segment whose live bytes do not fit on the disk with
    /// `floor_bytes` left over, and one that the disk cannot read, are left out. On a full drive nothing is lost.
    pub fn compact_keeping(
        &mut self,
        min_garbage: f64,
        budget_bytes: u64,
        floor_bytes: u64,
    ) -> Result<Compaction, DriveError> {
        self.commit()?;
        let mut done = Compaction::default();
        let mut left_out = BTreeSet::new();
        while let Some((number, sealed, needed)) = self.worst_segment(min_garbage, &left_out) {
            let some_done = done.freed_bytes > 0 || done.unreadable_segments > 0;
            if some_done && done.copied_bytes >= budget_bytes {
                done.more = true;
                break;
            }
            if !self.has_room(needed, sealed, floor_bytes)? {
                left_out.insert(number);
                done.no_room_segments += 1;
                continue;
            }
            if !sealed {
                let ended = self.log.seal_current();
                self.logged(ended)?;
            }
            if !self.compact_segment(number, &mut done)? {
                left_out.insert(number);
                done.unreadable_segments += 1;
            }
        }
        self.refresh_usage();
        Ok(done)
    }

    /// The segment with the most garbage, whether it is sealed, and how many bytes of it are needed.
    fn worst_segment(&self, min_garbage: f64, left_out: &BTreeSet<u32>) -> Option<(u32, bool, u64)> {
        let segments = self.log.segments();
        let candidates = segments.iter().filter(|info| !left_out.contains(&info.number));
        let shares = candidates.filter_map(|info| {
            let (used, garbage) = self.books.used_and_garbage(info);
            let share = garbage as f64 / used.max(1) as f64;
            let found = (share, info.number, info.sealed, used - garbage);
            (garbage > 0 && share >= min_garbage).then_some(found)
        });
        let worst = shares.max_by(|a, b| {
            (a.2, a.0)
                .partial_cmp(&(b.2, b.0))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        worst.map(|(_, number, sealed, needed)| (number, sealed, needed))
    }

    /// Whether copies of so many bytes fit on the disk. A sealed segment of which nothing is needed only gives space back.
    fn has_room(&self, needed: u64, sealed: bool, floor_bytes: u64) -> Result<bool, DriveError> {
        if sealed && needed == 0 {
            return Ok(true);
        }
        let available = self.shared.disk.available_bytes(&self.shared.dir)?;
        let needed = needed.saturating_add(self.log.preallocate_bytes());
        Ok(available >= needed.saturating_add(floor_bytes))
    }

    /// Copies what lives in a segment and removes it; false if it stays because something in it could not be read.
    pub(super) fn compact_segment(&mut self, number: u32, done: &mut Compaction) -> Result<bool, DriveError> {
        let Ok(frames) = self.shared.reader.segment_frames(number) else {
            return Ok(false);
        };
        let segments = self.log.segments();
        let present: BTreeSet<u32> = segments.iter().map(|info| info.number).collect();
        let mut copied = Copied::default();
        let result = self.copy_frames(&frames, &present, &mut copied);
        // What was copied counts from here on, also when the disk filled up half way, and also when it could not be seen
        // whether the drive is in place: the copies are durable, and as long as the older frames are there, deletes must
        // name both.
        let in_place = self.sync_in_place();
        if let Err(lost @ DriveError::Lost(_)) = in_place {
            return Err(lost);
        }
        self.adopt(&copied);
        done.copied_bytes += copied.bytes;
        result.and(in_place)?;
        if !copied.unreadable.is_empty() {
            done.damaged.append(&mut copied.unreadable);
            return Ok(false);
        }
        self.begin_another(number)?;
        self.drop_stranded(number, done);
        let bytes = segments
            .iter()
            .find(|info| info.number == number)
            .map_or(0, |info| info.bytes);
        let removed = self.log.remove_segment(number);
        self.logged(removed)?;
        self.books.forget_segment(number);
        self.superseded.retain(|(_, at)| at.segment() != number);
        done.freed_bytes += bytes;
        Ok(true)
    }

    /// Takes the shards out of the view that are still in a segment about to go: their frames are damaged, or the segment
    /// does not list them any more.
    fn drop_stranded(&mut self, number: u32, done: &mut Compaction) {
        let mut shards = self.shared.shards_mut();
        let stranded = shards.iter().filter(|(_, at)| at.position.segment() == number);
        let stranded: Vec<(ShardKey, Location)> = stranded.map(|(key, at)| (*key, *at)).collect();
        for (key, location) in stranded {
            shards.remove(&key);
            self.books.remove_live(&location);
            // Until the segment is gone the frame may come back at the next opening.
            self.superseded.insert((key, location.position));
            done.damaged.push(key);
        }
    }

    /// The newest segment's number must not be used again, so one must follow it before it is removed: the leases that are accepted,
    /// written once more, begin it.
    fn begin_another(&mut self, number: u32) -> Result<(), DriveError> {
        if self
            .log
            .segments()
            .last()
            .is_some_and(|newest| newest.number == number)
        {
            self.write_leases()?;
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
            self.superseded.insert((*key, from.position));
        }
    }

    /// Copies shards first: if one cannot be read the segment stays, and with it what else it holds.
    fn copy_frames(
        &mut self,
        frames: &[FrameInfo],
        present: &BTreeSet<u32>,
        copied: &mut Copied,
    ) -> Result<(), DriveError> {
        for frame in frames.iter().filter(|frame| frame.kind == KIND_SHARD) {
            self.copy_shard(frame, copied)?;
        }
        if copied.unreadable.is_empty() {
            for frame in frames {
                self.copy_rest(frame, present, copied)?;
            }
        }
        Ok(())
    }

    fn copy_rest(
        &mut self,
        frame: &FrameInfo,
        present: &BTreeSet<u32>,
        copied: &mut Copied,
    ) -> Result<(), DriveError> {
        match frame.kind {
            KIND_DELETE => {
                let Ok((_, target)) = decode_delete(&frame.tag) else {
                    return Ok(());
                };
                let there = present.contains(&target.segment());
                if there && target.segment() != frame.position.segment() {
                    let at = self.append(KIND_DELETE, &frame.tag, &[])?;
                    self.books.add_delete(at, target);
                    copied.bytes += DELETE_TAG_BYTES as u64;
                }
                Ok(())
            }
            KIND_LEASES | KIND_LOWEST_LEASE
                if self
                    .books
                    .leases
                    .is_some_and(|(position, _)| position == frame.position) =>
            {
                self.write_leases()
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
            Err(ReadError::Io { .. }) => {
                copied.unreadable.push(tag.key);
                return Ok(());
            }
            // It stays behind and is dropped with the segment.
            Err(_) => return Ok(()),
        };
        // The zeros before the shard are as many as its new place asks for.
        let Ok(header) = ShardHeader::decode(&payload, from.payload_bytes) else {
            return Ok(());
        };
        let Some(&hash) = header.summary.hashes.get(usize::from(header.index)) else {
            return Ok(());
        };
        let bytes = payload.get(from.header_bytes() as usize..).unwrap_or(&[]);
        let (position, payload_bytes) =
            self.append_shard(&frame.tag, &header.encode_clear(), Tail { bytes, hash: hash.0 })?;
        copied.bytes += from.frame_bytes();
        let to = Location {
            position,
            payload_bytes,
            ..from
        };
        copied.moved.push((tag.key, from, to));
        Ok(())
    }
}
