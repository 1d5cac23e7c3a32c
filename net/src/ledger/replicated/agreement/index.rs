//! Which entries the log has, and where; the newest of them in memory.
//!
//! It is made of the frames' tags at each opening. Invariant: entries follow each other without a hole, right behind what was purged.

use std::collections::VecDeque;

use engine::codec::{DecodeError, Reader};
use engine::log::{FrameInfo, Position};
use openraft::Vote;

use super::super::codec::{self, bad};
use super::super::raft::{Entry, LogId};
use super::{KIND_AGREED, KIND_CUT, KIND_ENTRY, KIND_PURGE, KIND_VOTE};

/// Bytes of the newest entries that stay in memory, so that sending them on reads no disk.
const CACHE_BYTES_MAX: usize = 8 << 20;

#[derive(Debug)]
struct Kept {
    id: LogId,
    position: Position,
    bytes: u64,
    cached: Option<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    kept: VecDeque<Kept>,
    cached_bytes: usize,
    /// How many of the oldest are not in memory.
    uncached: usize,
    bytes: u64,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote<u64>>,
    pub(super) agreed: Option<LogId>,
}

impl Index {
    /// Takes in a frame, in the order of the log.
    pub(super) fn read(&mut self, frame: &FrameInfo) -> Result<(), DecodeError> {
        let mut reader = Reader::new(&frame.tag);
        match frame.kind {
            KIND_ENTRY => {
                let id = codec::log_id(&mut reader)?;
                // One at an index that is taken stands in the place of those that were cut off there.
                self.cut(id.index);
                let next = self.last().map(|last| last.index + 1);
                if next.is_some_and(|next| next != id.index) {
                    return Err(bad("index of an entry", id.index));
                }
                let bytes = u64::from(frame.payload_bytes);
                self.bytes += bytes;
                self.kept.push_back(Kept {
                    id,
                    position: frame.position,
                    bytes,
                    cached: None,
                });
                self.uncached = self.kept.len();
            }
            KIND_VOTE => self.vote = Some(codec::vote(&mut reader)?),
            KIND_CUT => self.cut(reader.u64()?),
            KIND_PURGE => self.purge(codec::log_id(&mut reader)?),
            KIND_AGREED => self.agreed = Some(codec::log_id(&mut reader)?),
            got => return Err(bad("frame kind", got.into())),
        }
        reader.finish()
    }

    /// The newest entry; the newest purged one if there is none.
    pub(super) fn last(&self) -> Option<LogId> {
        self.kept.back().map(|kept| kept.id).or(self.purged)
    }

    pub(super) fn len(&self) -> u64 {
        self.kept.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(&mut self, entry: Entry, position: Position) {
        let bytes = codec::entry_bytes(&entry);
        self.bytes += bytes as u64;
        self.cached_bytes += bytes;
        self.kept.push_back(Kept {
            id: entry.log_id,
            position,
            bytes: bytes as u64,
            cached: Some(entry),
        });
        while self.cached_bytes > CACHE_BYTES_MAX && self.uncached + 1 < self.kept.len() {
            if let Some(kept) = self.kept.get_mut(self.uncached)
                && let Some(entry) = kept.cached.take()
            {
                self.cached_bytes = self.cached_bytes.saturating_sub(codec::entry_bytes(&entry));
            }
            self.uncached += 1;
        }
    }

    fn forget(&mut self, kept: &Kept) {
        self.bytes = self.bytes.saturating_sub(kept.bytes);
        if let Some(entry) = &kept.cached {
            self.cached_bytes = self.cached_bytes.saturating_sub(codec::entry_bytes(entry));
        }
    }

    /// Entries from this index on are gone.
    pub(super) fn cut(&mut self, from: u64) {
        while let Some(kept) = self.kept.pop_back_if(|kept| kept.id.index >= from) {
            self.forget(&kept);
        }
        self.uncached = self.uncached.min(self.kept.len());
    }

    /// Entries up to this one are gone.
    pub(super) fn purge(&mut self, upto: LogId) {
        while let Some(kept) = self.kept.pop_front_if(|kept| kept.id.index <= upto.index) {
            self.forget(&kept);
            self.uncached = self.uncached.saturating_sub(1);
        }
        self.purged = self.purged.max(Some(upto));
    }

    /// The segment of the oldest entry that is kept.
    pub(super) fn oldest_segment(&self) -> Option<u32> {
        self.kept.front().map(|kept| kept.position.segment())
    }

    /// Places of the entries in `from..until`, with those that are in memory.
    pub(super) fn range(&self, from: u64, until: u64, bytes_max: usize) -> Vec<(Position, Option<Entry>)> {
        let Some(first) = self.kept.front().map(|kept| kept.id.index) else {
            return Vec::new();
        };
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let wanted = self
            .kept
            .iter()
            .skip(skip)
            .take_while(|kept| kept.id.index < until);
        let mut bytes = 0usize;
        let fits = |kept: &&Kept| {
            let fits = bytes == 0 || bytes < bytes_max;
            bytes = bytes.saturating_add(usize::try_from(kept.bytes).unwrap_or(usize::MAX));
            fits
        };
        wanted
            .take_while(fits)
            .map(|kept| (kept.position, kept.cached.clone()))
            .collect()
    }

    /// The highest index such that the entries behind it have at most `bytes` bytes.
    pub(super) fn index_before(&self, bytes: u64) -> Option<u64> {
        let mut left = bytes;
        let mut newest = self.kept.iter().rev();
        newest
            .find(|kept| match left.checked_sub(kept.bytes) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            })
            .map(|kept| kept.id.index)
    }
}
