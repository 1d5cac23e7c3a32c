//! The log's one writer: sync, rotation, preallocation, fencing; `append.rs` has the frames.
//!
//! Not a thread and not a queue: whoever gathers appends into groups calls it. Invariant: a segment is used only after
//! its file and its name are durable; a sealed one is durable before the next begins; after a failure that
//! leaves it unknown what is on disk the log is fenced. Source: FORMAT.md section 1.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::append::Contents;
use super::frame::KIND_CLOSING;
use super::head::HEAD_FRAME_BYTES;
use super::reader::Shared;
use super::recovery::{OpenSegment, recover};
use super::{
    FrameHeader, FrameInfo, HEADER_BYTES, LogConfig, LogError, LogReader, OpenError, Position, Recovery,
    SegmentInfo, TAG_BYTES_MAX,
};
use crate::disk::{Disk, DiskFile, is_full};

/// The smallest and largest segments.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 31;

/// A log, open for appending.
pub struct Log {
    pub(super) shared: Arc<Shared>,
    pub(super) config: LogConfig,
    run: u64,
    pub(super) open: Option<OpenSegment>,
    /// The number that the next segment gets.
    pub(super) next_segment: u32,
    /// Something was appended since the last closing frame.
    pub(super) unclosed: bool,
    /// Where in the open segment large frames lie that are not synced yet.
    pub(super) large: Vec<Range<u64>>,
    fenced: Option<u32>,
    pub(super) gather: Vec<u8>,
}

impl Log {
    /// Opens the log in `dir`, or makes one with the id `fresh_log_id` (random) when the directory holds no segment. Every
    /// owner frame that is there is shown to `visit`, in order.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        fresh_log_id: u64,
        visit: &mut dyn FnMut(FrameInfo),
    ) -> Result<(Self, Recovery), OpenError> {
        disk.create_dir_all(dir)?;
        Self::open_or_make(disk, dir, config, Some(fresh_log_id), visit)
    }

    /// As [`Log::open`], but a log without segments is refused with [`OpenError::NoSegments`] and nothing is made.
    pub fn open_existing(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        visit: &mut dyn FnMut(FrameInfo),
    ) -> Result<(Self, Recovery), OpenError> {
        match Self::open_or_make(disk, dir, config, None, visit) {
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(OpenError::NoSegments)
            }
            opened => opened,
        }
    }

    fn open_or_make(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        fresh_log_id: Option<u64>,
        visit: &mut dyn FnMut(FrameInfo),
    ) -> Result<(Self, Recovery), OpenError> {
        let recovered = recover(&*disk, dir, config, fresh_log_id.is_none(), visit)?;
        let (log_id, segments) = recovered.as_ref().map_or_else(Default::default, |found| {
            (found.recovery.log_id, found.segments.clone())
        });
        let log_id = match (&recovered, fresh_log_id) {
            (Some(_), _) => log_id,
            (None, Some(fresh)) => fresh,
            (None, None) => return Err(OpenError::NoSegments),
        };
        let shared = Arc::new(Shared::new(disk, dir.to_owned(), (log_id, config.kind), segments));
        let mut log = Self {
            shared,
            config,
            run: 1,
            open: None,
            next_segment: 0,
            unclosed: false,
            large: Vec::new(),
            fenced: None,
            gather: Vec::new(),
        };
        let Some(found) = recovered else {
            log.begin_segment().map_err(|error| match error {
                LogError::Io { source, .. } => source,
                _ => io::ErrorKind::StorageFull.into(),
            })?;
            let recovery = Recovery {
                created: true,
                clean: true,
                log_id,
                run: 1,
                segments: 1,
                ..Recovery::default()
            };
            return Ok((log, recovery));
        };
        log.run = found.run;
        log.next_segment = found
            .end
            .segment()
            .checked_add(1)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        log.open = found.open;
        log.unclosed = log.open.is_some() && !found.recovery.clean;
        log.shared.set_end(found.end);
        log.shared.set_durable_to(found.end);
        Ok((log, found.recovery))
    }

    /// Makes everything appended so far durable and returns the position below which everything is.
    pub fn sync(&mut self) -> Result<Position, LogError> {
        self.check_fence()?;
        let end = self.shared.end();
        if end > self.shared.durable_to() {
            if let Some((segment, file)) = self
                .open
                .as_ref()
                .map(|open| (open.number, Arc::clone(&open.file)))
            {
                if let Err(error) = file.sync_data() {
                    return Err(self.fence(segment, error));
                }
                self.drop_large(&*file);
            }
            self.shared.set_durable_to(end);
        }
        Ok(end)
    }

    /// As [`Log::sync`], for a log whose loss nothing else makes good: what is durable in a file that has no name any more is
    /// lost with the process, so that fences the log too.
    pub fn sync_linked(&mut self) -> Result<Position, LogError> {
        let end = self.sync()?;
        match self.is_linked() {
            Ok(true) => Ok(end),
            Ok(false) => {
                let removed = io::Error::new(
                    io::ErrorKind::NotFound,
                    "the file was removed while it was in use",
                );
                Err(self.fence(end.segment(), removed))
            }
            Err(error) => Err(self.fence(end.segment(), error)),
        }
    }

    /// After a second without appends: makes what was written durable and ends it with a closing frame. Does nothing
    /// when nothing was appended since the last one. With [`LogError::Full`] everything is durable and only the closing frame
    /// is missing; the log goes on.
    pub fn idle(&mut self) -> Result<(), LogError> {
        self.check_fence()?;
        if !self.unclosed {
            return Ok(());
        }
        self.sync()?;
        if self.has_room(HEADER_BYTES as u64, None) {
            self.write_frame(&Contents::new(KIND_CLOSING, &[], &[]))?;
            self.sync()?;
        } else {
            self.seal_current()?;
        }
        self.unclosed = false;
        Ok(())
    }

    /// Ends the log in an orderly way: sync and closing frame.
    pub fn close(mut self) -> Result<(), LogError> {
        self.idle()
    }

    /// Gives back the space that is reserved beyond the last frame.
    pub fn trim(&mut self) -> Result<(), LogError> {
        self.check_fence()?;
        let Some(open) = self.open.as_mut().filter(|open| open.allocated > open.end) else {
            return Ok(());
        };
        match open.file.set_len(open.end) {
            Ok(()) => open.allocated = open.end,
            Err(source) => {
                return Err(LogError::Io {
                    segment: open.number,
                    source,
                });
            }
        }
        Ok(())
    }

    /// Bytes that the log occupies, reservations included, in units of 4 KiB for each segment.
    pub fn allocated_bytes(&self) -> u64 {
        let open = self
            .open
            .as_ref()
            .map_or(0, |open| open.allocated.next_multiple_of(4096));
        open + self.shared.sealed_totals().1
    }

    /// Bytes of frames that can be appended without asking the disk for more.
    pub fn reserved_room(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| {
            let footer = open.footer.bytes_with(Some(TAG_BYTES_MAX));
            let most = self.segment_bytes().saturating_sub(footer);
            open.allocated.min(most).saturating_sub(open.end)
        })
    }

    /// Bytes that are reserved at a time.
    pub fn preallocate_bytes(&self) -> u64 {
        u64::from(self.config.preallocate_bytes)
    }

    /// Bytes of owner frames in all segments, in use or not.
    pub fn used_bytes(&self) -> u64 {
        let open = self
            .open
            .as_ref()
            .map_or(0, |open| open.end.saturating_sub(HEAD_FRAME_BYTES));
        open + self.shared.sealed_totals().0
    }

    /// Whether the segment being filled still has a name; also true when none is.
    pub fn is_linked(&self) -> io::Result<bool> {
        self.open.as_ref().map_or(Ok(true), |open| open.file.is_linked())
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.shared))
    }

    /// The segments, in order.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.segments()
    }

    /// Everything below is durable.
    pub fn durable_to(&self) -> Position {
        self.shared.durable_to()
    }

    /// Where the next frame goes, unless a new segment must be begun for it.
    pub fn end(&self) -> Position {
        self.shared.end()
    }

    /// The log's id.
    pub fn log_id(&self) -> u64 {
        self.shared.log_id
    }

    /// The run that this opening began.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Whether an earlier failure ended the log's life in this process.
    pub fn is_fenced(&self) -> bool {
        self.fenced.is_some()
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        u64::from(self.config.segment_bytes).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end())
    }

    pub(super) fn has_room(&self, frame: u64, tag_bytes: Option<usize>) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.end + frame + open.footer.bytes_with(tag_bytes) <= self.segment_bytes())
    }

    pub(super) fn header(
        &self,
        kind: u8,
        position: Position,
        payload_bytes: u32,
        tag_bytes: u32,
        (tail_pages, payload_checksum): (u8, u64),
    ) -> FrameHeader {
        FrameHeader {
            kind,
            log_id: self.shared.log_id,
            run: self.run,
            position,
            durable_to: self.shared.durable_to(),
            payload_bytes,
            tag_bytes,
            tail_pages,
            payload_checksum,
        }
    }

    /// Reserves the open segment's file up to `end`, in steps; on a disk that is nearly full with room for a closing frame
    /// if it can be had. When the disk is full what was reserved before stays.
    pub(super) fn reserve(&mut self, end: u64) -> Result<(), LogError> {
        let step = u64::from(self.config.preallocate_bytes);
        let most = self.segment_bytes().max(end);
        let Some(open) = self.open.as_mut().filter(|open| open.allocated < end) else {
            return Ok(());
        };
        let with_closing = (end + HEADER_BYTES as u64).min(most);
        let target = open.allocated.saturating_add(step).max(with_closing).min(most);
        let mut reserved = Ok(end);
        for to in [target, with_closing, end] {
            reserved = open
                .file
                .allocate(open.allocated, to - open.allocated)
                .map(|()| to);
            if !reserved.as_ref().is_err_and(is_full) {
                break;
            }
        }
        match reserved {
            Ok(reserved) => {
                open.allocated = reserved;
                Ok(())
            }
            // A reservation may have got half way.
            Err(error) if is_full(&error) && open.file.set_len(open.allocated).is_ok() => {
                Err(LogError::Full {
                    segment: open.number,
                    bytes: end - open.end,
                })
            }
            Err(error) => {
                let segment = open.number;
                Err(self.fence(segment, error))
            }
        }
    }

    /// After a failed write: a full disk is undone and the log goes on, anything else fences.
    pub(super) fn write_failed(&mut self, error: io::Error, bytes: u64) -> LogError {
        let Some(open) = self.open.as_mut() else {
            return LogError::Exhausted;
        };
        let segment = open.number;
        if is_full(&error) && open.file.set_len(open.end).is_ok() {
            open.allocated = open.end;
            return LogError::Full { segment, bytes };
        }
        self.fence(segment, error)
    }

    /// Lets go of the large frames in the system's page cache, once they are synced. They are read rarely and in large
    /// pieces, and would push out small frames, which are read often; and writing into pages that were just given back
    /// costs a small part of what fresh ones do.
    pub(super) fn drop_large(&mut self, file: &dyn DiskFile) {
        for range in self.large.drain(..) {
            file.drop_cached(range.start, range.end - range.start);
        }
    }

    pub(super) fn check_fence(&self) -> Result<(), LogError> {
        self.fenced
            .map_or(Ok(()), |segment| Err(LogError::Fenced { segment }))
    }

    pub(super) fn fence(&mut self, segment: u32, source: io::Error) -> LogError {
        self.fenced = Some(segment);
        LogError::Io { segment, source }
    }
}
