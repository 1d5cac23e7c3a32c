//! Compaction of a local ledger: the live entries of the oldest segment are copied to the head, then it is removed.
//!
//! It runs in the flusher, a bounded step a turn, so that appends are not starved. Invariants: a segment goes only once
//! the copies of its live entries are durable; never one with a record that the activity log does not hold, never one
//! with the newest append, from which the sequence is known after a restart; none while a snapshot is being read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::codec::DecodeError;
use engine::log::{FramesWithPayload, LogError, Position, ReadError};
use engine::slots::Entry;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::LedgerError;
use super::flusher::Flusher;
use super::frames::{
    KIND_CARRIED, KIND_MARK, KIND_RECORDS_THROUGH, LedgerFrame, Mark, ValueAt, encode_carried,
};
use super::state::Fence;

/// Bytes of the old segment that one step reads.
const STEP_BYTES: u64 = 1 << 20;
/// Bytes of values in one carried frame, so that reading one value back stays cheap.
const CARRIED_BYTES: usize = 64 << 10;
/// Entries in one carried frame.
const CARRIED_ENTRIES: usize = 512;
/// How long compaction rests when it cannot go on: no space, a snapshot, records still to be read.
const REST: Duration = Duration::from_secs(1);

/// Why a segment's entries cannot be copied.
#[derive(Debug, thiserror::Error)]
enum CannotRead {
    #[error(transparent)]
    Log(ReadError),
    #[error(transparent)]
    Frame(#[from] DecodeError),
}

/// Where compaction stands.
pub(super) struct Compaction {
    segments_min: usize,
    segment: Option<(u32, FramesWithPayload)>,
    /// Copied whole; to be removed after the flush.
    copied: Option<u32>,
    due: bool,
    resting_until: Option<Instant>,
    waiting: Vec<oneshot::Sender<Result<(), LedgerError>>>,
}

impl Compaction {
    pub(super) fn new(segments_min: usize) -> Self {
        Self {
            segments_min,
            segment: None,
            copied: None,
            due: true,
            resting_until: None,
            waiting: Vec::new(),
        }
    }

    /// Whether a step could do something now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due && self.resting_until.is_none_or(|until| now >= until)
    }

    /// Whether it rests and goes on by itself later.
    pub(super) fn is_resting(&self) -> bool {
        self.due && self.resting_until.is_some()
    }

    /// Asks to be told when nothing more can be let go.
    pub(super) fn ask(&mut self, reply: oneshot::Sender<Result<(), LedgerError>>) {
        self.waiting.push(reply);
        self.resting_until = None;
        self.due = true;
    }

    /// Forgets what it was about to do.
    pub(super) fn restart(&mut self) {
        self.segment = None;
        self.copied = None;
    }

    fn rest(&mut self) {
        self.resting_until = Some(Instant::now() + REST);
        self.told();
    }

    fn told(&mut self) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }
}

impl Flusher {
    /// The oldest segment, if it is worth compacting and may go.
    fn candidate(&self) -> Option<u32> {
        let segments = self.log.segments();
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let oldest = segments.first()?.number;
        let newest_append = self.shared.tail().newest_position()?;
        let table = self.shared.table();
        let worth_it =
            segments.len() > self.compaction.segments_min && table.live_bytes.saturating_mul(2) < bytes;
        (worth_it && oldest < newest_append.segment() && !table.holds_records(oldest)).then_some(oldest)
    }

    /// Copies some of the oldest segment's live entries to the head. Whether anything was written.
    pub(super) fn compact_step(&mut self) -> Result<bool, Fence> {
        if self.compaction.copied.is_some() {
            return Ok(false);
        }
        let mut wrote = false;
        if self.compaction.segment.is_none() {
            let Some(oldest) = self.candidate() else {
                // Looked at again after the next write.
                self.compaction.due = false;
                self.compaction.told();
                return Ok(false);
            };
            // These may stand in the segment that goes.
            let (through, mark) = {
                let table = self.shared.table();
                (table.records_through, table.mark.as_ref().map(Mark::encode))
            };
            if through > 0 {
                wrote = self
                    .write_spare(KIND_RECORDS_THROUGH, &through.to_le_bytes())?
                    .is_some();
            }
            if let Some(mark) = mark {
                if self.write_spare(KIND_MARK, &mark)?.is_none() {
                    self.compaction.rest();
                    return Ok(wrote);
                }
                wrote = true;
            }
            let frames = self.log.reader().frames_with_payload(Position::new(oldest, 0));
            self.compaction.segment = Some((oldest, frames));
        }
        let (live, ended) = match self.read_live() {
            Ok(read) => read,
            Err(error) => {
                // Nothing is lost by keeping the segment; the next start names the damage.
                tracing::error!(%error, segment = ?self.compaction.segment.as_ref().map(|(n, _)| *n), "compaction cannot go on");
                self.compaction.restart();
                self.compaction.rest();
                return Ok(wrote);
            }
        };
        for entries in live {
            wrote = true;
            let (payload, ranges) = encode_carried(&entries);
            let Some(frame) = self.write_spare(KIND_CARRIED, &payload)? else {
                // No space: begin this segment again later. What was copied is superseded garbage then.
                self.compaction.restart();
                self.compaction.rest();
                return Ok(wrote);
            };
            self.shared
                .counters
                .carried_bytes
                .fetch_add(payload.len() as u64, Ordering::Relaxed);
            let mut table = self.shared.table_mut();
            for (entry, range) in entries.iter().zip(ranges) {
                table.relocate(entry, ValueAt::new(frame, range));
            }
        }
        if ended {
            self.compaction.copied = self.compaction.segment.take().map(|(segment, _)| segment);
        }
        Ok(wrote)
    }

    /// The live entries of the next stretch of the segment, in frames' worth, and whether it ended.
    fn read_live(&mut self) -> Result<(Vec<Vec<Entry>>, bool), CannotRead> {
        let Some((segment, frames)) = self.compaction.segment.as_mut() else {
            return Ok((Vec::new(), false));
        };
        let table = self.shared.table();
        let mut live: Vec<Vec<Entry>> = Vec::new();
        let (mut read_bytes, mut frame_bytes) = (0, usize::MAX);
        while read_bytes < STEP_BYTES {
            let frame = match frames.next() {
                None => return Ok((live, true)),
                Some(Ok(frame)) if frame.info.position.segment() != *segment => return Ok((live, true)),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Err(CannotRead::Log(error)),
            };
            read_bytes += u64::from(frame.info.payload_bytes);
            for (entry, offset) in entries_of(frame.info.kind, &frame.payload)? {
                let is_live = table.machine.get(&entry.address).is_some_and(|(sequence, at)| {
                    sequence == entry.sequence && at.frame == frame.info.position && at.offset == offset
                });
                if !is_live {
                    continue;
                }
                let full = live.last().is_none_or(|last| last.len() >= CARRIED_ENTRIES);
                if full || frame_bytes > CARRIED_BYTES {
                    live.push(Vec::new());
                    frame_bytes = 0;
                }
                frame_bytes += entry.value.len();
                if let Some(last) = live.last_mut() {
                    last.push(entry);
                }
            }
        }
        Ok((live, false))
    }

    /// After the flush: removes a segment whose live entries are all copied.
    pub(super) fn compact_done(&mut self) -> Result<(), Fence> {
        if self.compaction.segment.is_none() && self.compaction.copied.is_none() {
            self.compaction.due = self.candidate().is_some();
            if !self.compaction.due {
                self.compaction.told();
            }
        }
        let Some(segment) = self.compaction.copied else {
            return Ok(());
        };
        if Arc::strong_count(&self.shared.snapshots) > 1 {
            self.compaction.rest();
            return Ok(());
        }
        // Readers hear first that it is gone; a read that is under way finds no segment and starts again.
        self.shared.tail().forget_before(segment.saturating_add(1));
        self.compaction.copied = None;
        match self.log.remove_segment(segment) {
            Ok(()) => self.shared.table_mut().forget_segment(segment),
            Err(error @ (LogError::NotRemovable { .. } | LogError::Full { .. })) => {
                tracing::warn!(%error, "a segment of the ledger stays");
                self.compaction.rest();
            }
            Err(error) => return Err(self.fence(&error)),
        }
        self.compaction.due = true;
        Ok(())
    }
}

/// The entries that a frame wrote, and where their values lie in it.
fn entries_of(kind: u8, payload: &[u8]) -> Result<Vec<(Entry, u32)>, CannotRead> {
    Ok(match LedgerFrame::decode(kind, payload)? {
        LedgerFrame::Append(append, ranges) => {
            let sequence = append.sequence;
            let written = append
                .writes
                .into_iter()
                .zip(ranges)
                .filter_map(|(write, range)| {
                    let entry = Entry {
                        address: write.address,
                        sequence,
                        value: write.value?,
                    };
                    Some((entry, range?.offset))
                });
            written.collect()
        }
        LedgerFrame::Carried(entries) => entries
            .into_iter()
            .map(|(entry, range)| (entry, range.offset))
            .collect(),
        LedgerFrame::RecordsThrough(_) | LedgerFrame::Mark(_) => Vec::new(),
    })
}
