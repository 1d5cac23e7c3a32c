//! Opening an existing log: which segments there are, what they hold, where the log ends.
//!
//! Not the writer. Invariant: when it returns, the end of the log is synced and followed by zeros or the end of the
//! file, so that the new run's frames cannot meet old ones.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::footer::FooterBuilder;
use super::frame::{ALIGN, KIND_CLOSING, KIND_HEAD, checksum_parts};
use super::head::{HEAD_FRAME_BYTES, check_head, segment_name, segment_number};
use super::scan::{ScanPlan, Scanned, scan_segment};
use super::segment::{READ_AHEAD_BYTES, Window, look_beyond, read_footer};
use super::{
    DAMAGED_MAX, FrameHeader, FrameInfo, HEADER_BYTES, HeaderFault, LogConfig, OnDamage, OpenError, Position,
    Recovery, SegmentInfo, Stretch,
};
use crate::disk::{Disk, DiskFile, OpenMode, is_full, is_unreadable, read_exact_at};

/// The segment that is being filled.
pub(super) struct OpenSegment {
    pub(super) number: u32,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where the next frame begins.
    pub(super) end: u64,
    /// Length of the file.
    pub(super) allocated: u64,
    pub(super) footer: FooterBuilder,
}

/// An existing log, read.
pub(super) struct Recovered {
    pub(super) run: u64,
    pub(super) segments: BTreeMap<u32, SegmentInfo>,
    pub(super) open: Option<OpenSegment>,
    pub(super) end: Position,
    pub(super) recovery: Recovery,
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    config: LogConfig,
    log_id: u64,
    run_max: u64,
    segments: BTreeMap<u32, SegmentInfo>,
    recovery: Recovery,
}

/// Reads the log in `dir`; none if there is no log yet. Of a log that must exist the last segment is never removed.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    config: LogConfig,
    must_exist: bool,
    visit: &mut dyn FnMut(FrameInfo),
) -> Result<Option<Recovered>, OpenError> {
    let names = disk.list_dir(dir)?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut opening = Opening {
        disk,
        dir,
        config,
        log_id: 0,
        run_max: 0,
        segments: BTreeMap::new(),
        recovery: Recovery::default(),
    };
    opening.strip_unborn(&mut numbers, must_exist)?;
    let Some(newest) = numbers.last().copied() else {
        return Ok(None);
    };
    if config.on_damage == OnDamage::Refuse {
        for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
            if before + 1 != *after {
                return Err(OpenError::MissingSegment { segment: before + 1 });
            }
        }
    }
    for number in numbers.iter().copied().filter(|number| *number != newest) {
        opening.read_older(number, visit)?;
    }
    let open = opening.read_newest(newest, visit)?;
    disk.sync_dir(dir)?;
    let end = opening.segments.get(&newest).map_or(0, |info| info.bytes);
    let Opening {
        log_id,
        run_max,
        segments,
        mut recovery,
        ..
    } = opening;
    let run = run_max + 1;
    recovery.log_id = log_id;
    recovery.run = run;
    recovery.segments = segments.len();
    let end = Position::new(newest, u32::try_from(end).unwrap_or(u32::MAX));
    Ok(Some(Recovered {
        run,
        segments,
        open,
        end,
        recovery,
    }))
}

impl Opening<'_> {
    fn open(&self, number: u32, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.disk
            .open(&self.dir.join(segment_name(number)), mode)
            .map(Arc::from)
    }

    /// Where damage is skipped, what the disk cannot read is damage too.
    fn window(&self, file: Arc<dyn DiskFile>, limit: u64) -> Window {
        Window::new(file, limit, READ_AHEAD_BYTES).stepping_over(self.config.on_damage == OnDamage::Skip)
    }

    fn steps_over(&self, error: &io::Error) -> bool {
        self.config.on_damage == OnDamage::Skip && is_unreadable(error)
    }

    /// Finds the log's id, and removes newest segments whose making was never finished.
    fn strip_unborn(&mut self, numbers: &mut Vec<u32>, must_exist: bool) -> Result<(), OpenError> {
        let mut heads = BTreeMap::new();
        let mut unreadable = BTreeSet::new();
        for number in numbers.iter().copied() {
            match self.read_head(number) {
                Ok(Some(head)) => {
                    heads.insert(number, head);
                }
                Ok(None) => {}
                Err(OpenError::Io(error)) if self.steps_over(&error) => {
                    unreadable.insert(number);
                }
                Err(error) => return Err(error),
            }
        }
        let log_id = match heads.first_key_value() {
            Some((_, head)) => Some(head.log_id),
            None => self.any_log_id(numbers)?,
        };
        if log_id.is_none() && !unreadable.is_empty() {
            return Err(OpenError::Io(rustix::io::Errno::IO.into()));
        }
        self.log_id = log_id.unwrap_or(0);
        for (number, head) in &heads {
            self.run_max = self.run_max.max(head.run);
            if head.log_id != self.log_id {
                let (expected, got) = (self.log_id, head.log_id);
                return Err(OpenError::ForeignSegment {
                    segment: *number,
                    expected,
                    got,
                });
            }
        }
        while let Some(newest) = numbers
            .last()
            .copied()
            .filter(|number| !heads.contains_key(number) && !unreadable.contains(number))
        {
            let file = self.open(newest, OpenMode::Read)?;
            let bytes = file.len()?;
            let mut window = self.window(file, bytes);
            let position = Position::new(newest, 0);
            if look_beyond(&mut window, log_id, position, 8)?.was_durable {
                break;
            }
            if must_exist && numbers.len() == 1 {
                return Err(OpenError::NoSegments);
            }
            self.disk.remove_file(&self.dir.join(segment_name(newest)))?;
            self.disk.sync_dir(self.dir)?;
            self.recovery.torn = Some(Stretch { position, bytes });
            numbers.pop();
        }
        Ok(())
    }

    fn read_head(&self, number: u32) -> Result<Option<FrameHeader>, OpenError> {
        const BYTES: usize = HEAD_FRAME_BYTES as usize;
        let file = self.open(number, OpenMode::Read)?;
        if file.len()? < HEAD_FRAME_BYTES {
            return Ok(None);
        }
        let mut bytes = [0; BYTES];
        read_exact_at(&*file, &mut bytes, 0)?;
        let (header, payload) = bytes.split_at(HEADER_BYTES);
        let Some(header) = header.first_chunk() else {
            return Ok(None);
        };
        let header = match FrameHeader::decode(header) {
            Ok(header) => header,
            Err(HeaderFault::Version(got)) => return Err(OpenError::Version { segment: number, got }),
            Err(_) => return Ok(None),
        };
        let payload = payload.get(..usize::try_from(header.payload_bytes).unwrap_or(usize::MAX));
        if header.position != Position::new(number, 0) {
            // A whole frame that was written for another place: a file that was moved here, and nothing to remove.
            return Err(OpenError::Misplaced {
                segment: number,
                position: header.position,
            });
        }
        let whole =
            header.kind == KIND_HEAD && payload.is_some_and(|payload| header.payload_matches(payload));
        if !whole || !check_head(payload.unwrap_or(&[]), self.config.kind, number)? {
            return Ok(None);
        }
        Ok(Some(header))
    }

    /// The id that any frame names, when no segment head can be read.
    fn any_log_id(&self, numbers: &[u32]) -> Result<Option<u64>, OpenError> {
        for number in numbers {
            let file = self.open(*number, OpenMode::Read)?;
            let bytes = file.len()?;
            let mut window = self.window(file, bytes);
            let found = look_beyond(&mut window, None, Position::new(*number, 0), 8)?;
            if found.log_id.is_some() {
                return Ok(found.log_id);
            }
        }
        Ok(None)
    }

    fn read_older(&mut self, number: u32, visit: &mut dyn FnMut(FrameInfo)) -> Result<(), OpenError> {
        let file = self.open(number, OpenMode::Read)?;
        let footer = match read_footer(&*file, self.log_id, number) {
            Err(error) if self.steps_over(&error) => None,
            read => read?,
        };
        let (bytes, overhead_bytes) = match footer {
            Some(footer) => {
                self.recovery.frames += footer.frames.len() as u64;
                footer.frames.into_iter().for_each(visit);
                let overhead = HEAD_FRAME_BYTES + footer.file_bytes - u64::from(footer.offset);
                (footer.file_bytes, overhead)
            }
            None => {
                let scanned = self.scan(file, number, true, visit)?;
                (scanned.end, scanned.overhead_bytes)
            }
        };
        self.note(number, (bytes, overhead_bytes), true);
        Ok(())
    }

    fn scan(
        &mut self,
        file: Arc<dyn DiskFile>,
        segment: u32,
        has_later: bool,
        visit: &mut dyn FnMut(FrameInfo),
    ) -> Result<Scanned, OpenError> {
        let limit = file.len()?.min(u64::from(u32::MAX));
        let mut window = self.window(file, limit);
        let plan = ScanPlan {
            log_id: self.log_id,
            kind: self.config.kind,
            segment,
            has_later,
            on_damage: self.config.on_damage,
        };
        let mut frames = 0;
        let scanned = scan_segment(&mut window, plan, &mut |frame| {
            frames += 1;
            visit(frame);
        })?;
        self.recovery.frames += frames;
        self.run_max = self.run_max.max(scanned.run_max);
        self.recovery.damaged_count += scanned.damaged.len() as u64;
        let room = DAMAGED_MAX.saturating_sub(self.recovery.damaged.len());
        self.recovery.damaged.extend(scanned.damaged.iter().take(room));
        Ok(scanned)
    }

    fn note(&mut self, number: u32, (bytes, overhead_bytes): (u64, u64), sealed: bool) {
        let info = SegmentInfo {
            number,
            bytes,
            overhead_bytes,
            sealed,
        };
        self.segments.insert(number, info);
    }

    fn read_newest(
        &mut self,
        number: u32,
        visit: &mut dyn FnMut(FrameInfo),
    ) -> Result<Option<OpenSegment>, OpenError> {
        let file = self.open(number, OpenMode::ReadWrite)?;
        let mut scanned = self.scan(Arc::clone(&file), number, false, visit)?;
        let mut allocated = file.len()?;
        if scanned.end == 0 {
            // Its head cannot be read, and nothing after it: kept as it is, never written again.
            let bytes = allocated.min(u64::from(u32::MAX));
            self.note(number, (bytes, 0), true);
            return Ok(None);
        }
        // What was read may so far be in the system's cache only; from here on it counts as durable.
        let mut from = scanned.durable_to;
        for stretch in &scanned.damaged {
            // What is damaged is left as it is: it may not even read.
            let at = u64::from(stretch.position.offset());
            write_again(&file, from, at.min(scanned.end))?;
            from = from.max(at.saturating_add(stretch.bytes));
        }
        write_again(&file, from, scanned.end)?;
        if scanned.torn.is_some() && scanned.has_damage_before_end() {
            file.sync_data()?;
            scanned.end = self.close_over(&*file, number, scanned.end, allocated)?;
        }
        if scanned.torn.is_some() || (scanned.sealed && allocated != scanned.end) {
            file.set_len(scanned.end)?;
            allocated = scanned.end;
        }
        file.sync_data()?;
        self.recovery.torn = scanned.torn.or(self.recovery.torn);
        self.recovery.clean = scanned.clean && scanned.torn.is_none();
        let (end, sealed) = (scanned.end, scanned.sealed);
        self.note(number, (end, scanned.overhead_bytes), sealed);
        let footer = scanned.footer;
        Ok((!sealed).then_some(OpenSegment {
            number,
            file,
            end,
            allocated,
            footer,
        }))
    }

    /// Writes a closing frame over the first bytes of a torn tail, durably, and returns where it ends. The tail may hold the only
    /// header that says that a damaged stretch had been durable: once it is cut off, another opening would take the
    /// stretch for a torn tail and everything behind it for nothing. A header behind the whole file says so first, for writing over
    /// that one may tear it.
    fn close_over(
        &self,
        file: &dyn DiskFile,
        segment: u32,
        end: u64,
        file_bytes: u64,
    ) -> Result<u64, OpenError> {
        let behind = file_bytes.max(end).next_multiple_of(ALIGN);
        let (Ok(end_offset), Ok(behind)) = (u32::try_from(end), u32::try_from(behind)) else {
            return Ok(end);
        };
        let closing = |offset: u32| FrameHeader {
            kind: KIND_CLOSING,
            log_id: self.log_id,
            run: self.run_max + 1,
            position: Position::new(segment, offset),
            durable_to: Position::new(segment, end_offset),
            payload_bytes: 0,
            tag_bytes: 0,
            tail_pages: 0,
            payload_checksum: checksum_parts(self.log_id, &[], &[]),
        };
        let write = |offset: u32| file.write_all_at(&[&closing(offset).encode()], u64::from(offset));
        let first = write(behind).and_then(|()| file.sync_data());
        match first.and_then(|()| write(end_offset)) {
            Ok(()) => {
                file.sync_data()?;
                Ok(end + HEADER_BYTES as u64)
            }
            // Not even the room of the tail: the log opens all the same.
            Err(error) if is_full(&error) => Ok(end),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes what nothing says was durable back in place, so that the sync that follows covers it. A sync that failed
/// before a restart leaves the pages clean in the system's cache: they read well, and a sync alone would succeed
/// without writing them (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
fn write_again(file: &Arc<dyn DiskFile>, from: u64, end: u64) -> io::Result<()> {
    let mut window = Window::new(Arc::clone(file), end, READ_AHEAD_BYTES);
    let mut offset = from;
    while offset < end {
        let bytes = usize::try_from(end - offset).map_or(READ_AHEAD_BYTES, |rest| rest.min(READ_AHEAD_BYTES));
        let Some(stretch) = window.get(offset, bytes)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        file.write_all_at(&[stretch], offset)?;
        offset += bytes as u64;
    }
    Ok(())
}
