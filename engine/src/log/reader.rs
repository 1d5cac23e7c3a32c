//! Reading a log while its owner appends: single frames, ranges, and walks from a position on.
//!
//! Not a cache of contents: the system's page cache is. Invariant: nothing beyond the appended end is read, every frame
//! handed out was checked, and at most [`FILES_MAX`] segment files are open.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::head::segment_name;
use super::scan::{ScanPlan, scan_segment};
use super::segment::{READ_AHEAD_BYTES, Window, read_footer};
use super::walk::{Frames, FramesWithPayload, Walk};
use super::{
    Frame, FrameHeader, FrameInfo, HEADER_BYTES, HeaderFault, LARGE_BYTES_MIN, LogKind, OWNER_KIND_MIN,
    OnDamage, OpenError, Position, ReadError, SegmentInfo,
};
use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};

/// Segment files that the readers of one log keep open together.
const FILES_MAX: usize = 64;

/// Payload bytes that are read together with the header when the length is not known.
const FIRST_READ_BYTES: u32 = 4096;

struct Handle {
    file: Arc<dyn DiskFile>,
    used: AtomicU64,
}

/// The segments by number, and sums over the sealed ones, kept so that nobody goes through them all.
#[derive(Default)]
struct Segments {
    by_number: BTreeMap<u32, SegmentInfo>,
    sealed_used_bytes: u64,
    sealed_allocated_bytes: u64,
}

impl Segments {
    fn set(&mut self, number: u32, info: Option<SegmentInfo>) {
        let sizes = |info: Option<SegmentInfo>| {
            let sealed = info.filter(|info| info.sealed);
            sealed.map_or((0, 0), |info| {
                let used = info.bytes.saturating_sub(info.overhead_bytes);
                (used, info.bytes.next_multiple_of(4096))
            })
        };
        let before = match info {
            Some(info) => self.by_number.insert(number, info),
            None => self.by_number.remove(&number),
        };
        let ((used, allocated), (used_before, allocated_before)) = (sizes(info), sizes(before));
        self.sealed_used_bytes = (self.sealed_used_bytes + used).saturating_sub(used_before);
        self.sealed_allocated_bytes =
            (self.sealed_allocated_bytes + allocated).saturating_sub(allocated_before);
    }
}

/// What writer and readers of a log share.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) log_id: u64,
    pub(super) kind: LogKind,
    end: AtomicU64,
    durable_to: AtomicU64,
    segments: RwLock<Segments>,
    files: RwLock<BTreeMap<u32, Handle>>,
    clock: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        (log_id, kind): (u64, LogKind),
        segments: BTreeMap<u32, SegmentInfo>,
    ) -> Self {
        let (end, durable_to, clock) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let mut summed = Segments::default();
        segments
            .into_iter()
            .for_each(|(number, info)| summed.set(number, Some(info)));
        let (segments, files) = (RwLock::new(summed), RwLock::default());
        Self {
            disk,
            dir,
            log_id,
            kind,
            end,
            durable_to,
            segments,
            files,
            clock,
        }
    }

    pub(super) fn end(&self) -> Position {
        Position(self.end.load(Ordering::Acquire))
    }

    pub(super) fn set_end(&self, end: Position) {
        self.end.store(end.0, Ordering::Release);
    }

    pub(super) fn durable_to(&self) -> Position {
        Position(self.durable_to.load(Ordering::Acquire))
    }

    pub(super) fn set_durable_to(&self, position: Position) {
        self.durable_to.store(position.0, Ordering::Release);
    }

    pub(super) fn set_segment(&self, info: SegmentInfo) {
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .set(info.number, Some(info));
    }

    pub(super) fn forget_segment(&self, number: u32) {
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .set(number, None);
        self.files
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }

    pub(super) fn segment(&self, number: u32) -> Option<SegmentInfo> {
        let info = self
            .segments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_number
            .get(&number)
            .copied()?;
        Some(self.up_to_date(info))
    }

    pub(super) fn segments(&self) -> Vec<SegmentInfo> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments
            .by_number
            .values()
            .map(|info| self.up_to_date(*info))
            .collect()
    }

    /// Of the sealed segments: bytes of owner frames, and bytes on the disk in units of 4 KiB for each.
    pub(super) fn sealed_totals(&self) -> (u64, u64) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        (segments.sealed_used_bytes, segments.sealed_allocated_bytes)
    }

    fn up_to_date(&self, info: SegmentInfo) -> SegmentInfo {
        let end = self.end();
        let open = !info.sealed && info.number == end.segment();
        SegmentInfo {
            bytes: if open { u64::from(end.offset()) } else { info.bytes },
            ..info
        }
    }

    /// The segment at or after `number`.
    pub(super) fn segment_from(&self, number: u32) -> Option<SegmentInfo> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments
            .by_number
            .range(number..)
            .next()
            .map(|(_, info)| self.up_to_date(*info))
    }

    pub(super) fn file(&self, number: u32) -> Result<Arc<dyn DiskFile>, ReadError> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = files.get(&number) {
            handle.used.store(now, Ordering::Relaxed);
            return Ok(Arc::clone(&handle.file));
        }
        drop(files);
        if self.segment(number).is_none() {
            return Err(ReadError::NoSegment { segment: number });
        }
        let opened = self
            .disk
            .open(&self.dir.join(segment_name(number)), OpenMode::Read);
        let file: Arc<dyn DiskFile> = match opened {
            Ok(file) => Arc::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::NoSegment { segment: number });
            }
            Err(source) => {
                return Err(ReadError::Io {
                    segment: number,
                    source,
                });
            }
        };
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        while files.len() >= FILES_MAX {
            let oldest = files
                .iter()
                .min_by_key(|(_, handle)| handle.used.load(Ordering::Relaxed));
            let Some(oldest) = oldest.map(|(number, _)| *number) else {
                break;
            };
            files.remove(&oldest);
        }
        // A segment that was removed meanwhile must not come back into the cache.
        if self.segment(number).is_some() {
            files.insert(
                number,
                Handle {
                    file: Arc::clone(&file),
                    used: AtomicU64::new(now),
                },
            );
        }
        Ok(file)
    }
}

/// Reads a log, concurrently with its writer and with other readers. Clones share the open files.
#[derive(Clone)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The log's id.
    pub fn log_id(&self) -> u64 {
        self.shared.log_id
    }

    /// Where the next frame will begin; what lies below can be read, durable or not.
    pub fn end(&self) -> Position {
        self.shared.end()
    }

    /// Everything below is durable.
    pub fn durable_to(&self) -> Position {
        self.shared.durable_to()
    }

    /// The segments, in order.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.segments()
    }

    /// Reads and verifies the frame at a position.
    pub fn read(&self, position: Position) -> Result<Frame, ReadError> {
        self.read_sized(position, FIRST_READ_BYTES)
    }

    /// As [`LogReader::read`], in one disk read if the payload has at most `expected_bytes` bytes.
    pub fn read_sized(&self, position: Position, expected_bytes: u32) -> Result<Frame, ReadError> {
        let (segment, offset) = (position.segment(), position.offset());
        let bad = |fault| ReadError::BadHeader {
            segment,
            offset,
            fault,
        };
        let failed = |source| ReadError::Io { segment, source };
        let limit = self.segment_bytes(segment)?.saturating_sub(u64::from(offset));
        let file = self.shared.file(segment)?;
        let first = (HEADER_BYTES as u64 + u64::from(expected_bytes)).min(limit);
        let mut buffer = vec![0; usize::try_from(first).unwrap_or(0)];
        read_exact_at(&*file, &mut buffer, u64::from(offset)).map_err(failed)?;
        let Some(bytes) = buffer.first_chunk() else {
            return Err(ReadError::OutOfBounds {
                segment,
                offset: u64::from(offset),
                bytes: HEADER_BYTES as u64,
            });
        };
        let header = FrameHeader::decode_at(bytes, self.shared.log_id, position).map_err(bad)?;
        if header.kind < OWNER_KIND_MIN {
            return Err(bad(HeaderFault::Kind(header.kind)));
        }
        let whole = HEADER_BYTES as u64 + u64::from(header.payload_bytes);
        if whole > limit {
            return Err(bad(HeaderFault::Length(header.payload_bytes)));
        }
        let have = buffer.len();
        buffer.resize(usize::try_from(whole).unwrap_or(0), 0);
        if let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
            read_exact_at(&*file, rest, u64::from(offset) + have as u64).map_err(failed)?;
        }
        if header.payload_bytes >= LARGE_BYTES_MIN {
            file.drop_cached(u64::from(offset), whole);
        }
        let payload = Bytes::from(buffer).split_off(HEADER_BYTES);
        if !header.payload_matches(&payload) {
            return Err(ReadError::BadPayload {
                segment,
                offset,
                bytes: header.payload_bytes,
            });
        }
        Ok(Frame {
            info: info_of(&header, payload.slice(..tag_len(&header))),
            payload,
        })
    }

    /// Reads `bytes` bytes of the payload of the frame at `position`, from `payload_offset`, in one disk read. The range must lie in
    /// the log; that it lies in the frame is for the caller, who knows the frame's length. Nothing is verified.
    pub fn read_range(
        &self,
        position: Position,
        payload_offset: u32,
        bytes: u32,
    ) -> Result<Bytes, ReadError> {
        let segment = position.segment();
        let offset = u64::from(position.offset()) + HEADER_BYTES as u64 + u64::from(payload_offset);
        if offset + u64::from(bytes) > self.segment_bytes(segment)? {
            return Err(ReadError::OutOfBounds {
                segment,
                offset,
                bytes: u64::from(bytes),
            });
        }
        let file = self.shared.file(segment)?;
        let failed = |source| ReadError::Io { segment, source };
        let wanted = usize::try_from(bytes).unwrap_or(0);
        if bytes >= LARGE_BYTES_MIN {
            return file.read_around_cache(wanted, offset).map_err(failed);
        }
        let mut buffer = vec![0; wanted];
        read_exact_at(&*file, &mut buffer, offset).map_err(failed)?;
        Ok(Bytes::from(buffer))
    }

    /// The owner frames of one segment, by its footer if it has one, otherwise by going through it; a damaged stretch is
    /// passed over.
    pub fn segment_frames(&self, number: u32) -> Result<Vec<FrameInfo>, ReadError> {
        let info = self
            .shared
            .segment(number)
            .ok_or(ReadError::NoSegment { segment: number })?;
        if info.sealed {
            let file = self.shared.file(number)?;
            let footer = read_footer(&*file, self.shared.log_id, number).map_err(|source| ReadError::Io {
                segment: number,
                source,
            })?;
            if let Some(footer) = footer {
                return Ok(footer.frames);
            }
        }
        let file = self.shared.file(number)?;
        let mut window = Window::new(file, info.bytes, READ_AHEAD_BYTES);
        let plan = ScanPlan {
            log_id: self.shared.log_id,
            kind: self.shared.kind,
            segment: number,
            has_later: true,
            on_damage: OnDamage::Skip,
        };
        let mut frames = Vec::new();
        match scan_segment(&mut window, plan, &mut |frame| frames.push(frame)) {
            Ok(_) => Ok(frames),
            Err(OpenError::Io(source)) => Err(ReadError::Io {
                segment: number,
                source,
            }),
            Err(OpenError::UnknownFrameKind {
                segment,
                offset,
                kind,
            }) => Err(ReadError::BadHeader {
                segment,
                offset,
                fault: HeaderFault::Kind(kind),
            }),
            Err(_) => Err(ReadError::BadHeader {
                segment: number,
                offset: 0,
                fault: HeaderFault::Magic,
            }),
        }
    }

    /// The owner frames from `from` to the end that the log has now, in order, payloads unread. `from` is the
    /// position of a frame or lies before the first one. After an error the walk ends.
    pub fn frames(&self, from: Position) -> Frames {
        Frames(Walk::new(self.clone(), from, false))
    }

    /// As [`LogReader::frames`], with payloads, verified.
    pub fn frames_with_payload(&self, from: Position) -> FramesWithPayload {
        FramesWithPayload(Walk::new(self.clone(), from, true))
    }

    fn segment_bytes(&self, segment: u32) -> Result<u64, ReadError> {
        self.shared
            .segment(segment)
            .map(|info| info.bytes)
            .ok_or(ReadError::NoSegment { segment })
    }
}

pub(super) fn tag_len(header: &FrameHeader) -> usize {
    usize::try_from(header.tag_bytes).unwrap_or(0)
}

pub(super) fn info_of(header: &FrameHeader, tag: Bytes) -> FrameInfo {
    FrameInfo {
        position: header.position,
        kind: header.kind,
        payload_bytes: header.payload_bytes,
        tag,
    }
}
