//! Reading one segment: a window over its file, one frame at a place, the footer, the next frame after a bad one.
//!
//! Decides nothing about damage; recovery and the reader do. Invariant: nothing is allocated for a length that
//! the file does not have.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::footer::{TAIL_BYTES, decode_tail, parse_footer};
use super::frame::{ALIGN, KIND_FOOTER, MAGIC, frame_bytes};
use super::{FrameHeader, FrameInfo, HEADER_BYTES, HeaderFault, Position};
use crate::disk::{DiskFile, is_unreadable, read_exact_at};

/// Bytes that a window reads ahead when it goes through a whole segment.
pub(super) const READ_AHEAD_BYTES: usize = 1 << 20;

/// Bytes that are left out at a time where the disk cannot read, aligned.
const UNREADABLE_BYTES: u64 = 4096;

/// So many unreadable stretches of one segment are stepped over; where there are more the disk as a whole is failing.
const UNREADABLE_MAX: usize = 256;

/// Stands for bytes that cannot be read: neither zero, which would be the end of the log, nor a header.
const UNREADABLE: u8 = 0xff;

/// A buffer over a stretch of a segment file.
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    start: u64,
    buffer: Vec<u8>,
    read_ahead: usize,
    limit: u64,
    /// Offsets of the stretches that could not be read; none if the first one is an error.
    unreadable: Option<BTreeSet<u64>>,
}

impl Window {
    /// A window over the first `limit` bytes of the file.
    pub(super) fn new(file: Arc<dyn DiskFile>, limit: u64, read_ahead: usize) -> Self {
        Self {
            file,
            start: 0,
            buffer: Vec::new(),
            read_ahead,
            limit,
            unreadable: None,
        }
    }

    /// The same window, to which bytes that the disk cannot read are bytes that do not check.
    pub(super) fn stepping_over(mut self, unreadable: bool) -> Self {
        self.unreadable = unreadable.then(BTreeSet::new);
        self
    }

    /// Whether any byte from `offset` on could not be read so far.
    pub(super) fn met_unreadable(&self, offset: u64) -> bool {
        let last = self.unreadable.as_ref().and_then(BTreeSet::last);
        last.is_some_and(|at| at + UNREADABLE_BYTES > offset)
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes at `offset`, or none if they reach beyond the limit.
    pub(super) fn get(&mut self, offset: u64, bytes: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(bytes as u64).filter(|end| *end <= self.limit) else {
            return Ok(None);
        };
        if offset < self.start || end > self.start + self.buffer.len() as u64 {
            let rest = usize::try_from(self.limit - offset).unwrap_or(usize::MAX);
            self.buffer.resize(bytes.max(self.read_ahead).min(rest), 0);
            self.start = offset;
            if let Err(error) = self.fill() {
                self.buffer.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..from + bytes))
    }

    /// Reads the buffer from its start, if it must be around what cannot be read.
    fn fill(&mut self) -> io::Result<()> {
        let (start, end) = (self.start, self.start + self.buffer.len() as u64);
        let known = self.unreadable.as_ref().and_then(|known| {
            let first = start - start % UNREADABLE_BYTES;
            known.range(first..end).next()
        });
        if known.is_none() {
            match read_exact_at(&*self.file, &mut self.buffer, start) {
                Err(error) if self.unreadable.is_some() && is_unreadable(&error) => {}
                read => return read,
            }
        }
        let Some(unreadable) = self.unreadable.as_mut() else {
            return Ok(());
        };
        let mut at = start;
        let mut rest = self.buffer.as_mut_slice();
        while !rest.is_empty() {
            let to_end = UNREADABLE_BYTES - at % UNREADABLE_BYTES;
            let bytes = rest.len().min(usize::try_from(to_end).unwrap_or(rest.len()));
            let (stretch, after) = rest.split_at_mut(bytes);
            let page = at - at % UNREADABLE_BYTES;
            if unreadable.contains(&page) {
                stretch.fill(UNREADABLE);
            } else {
                match read_exact_at(&*self.file, stretch, at) {
                    Err(error) if is_unreadable(&error) && unreadable.len() < UNREADABLE_MAX => {
                        unreadable.insert(page);
                        stretch.fill(UNREADABLE);
                    }
                    read => read?,
                }
            }
            at += to_end;
            rest = after;
        }
        Ok(())
    }

    /// Whether any byte from `offset` to the limit is not zero.
    pub(super) fn any_nonzero(&mut self, mut offset: u64) -> io::Result<bool> {
        while offset < self.limit {
            let bytes = usize::try_from(self.limit - offset)
                .unwrap_or(usize::MAX)
                .min(READ_AHEAD_BYTES);
            if self
                .get(offset, bytes)?
                .is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
            {
                return Ok(true);
            }
            offset += bytes as u64;
        }
        Ok(false)
    }
}

/// What is wrong at a place where a frame could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Header(HeaderFault),
    Payload(u32),
}

/// Which frames a walk takes for its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expect {
    pub(super) log_id: u64,
    pub(super) segment: u32,
    /// A frame of an older run than this is stale.
    pub(super) run_min: u64,
    pub(super) verify_payload: bool,
}

/// The frame that begins at `offset`.
pub(super) fn frame_at(
    window: &mut Window,
    expect: Expect,
    offset: u64,
) -> io::Result<Result<FrameHeader, Bad>> {
    let limit = window.limit();
    let position = u32::try_from(offset).map(|offset| Position::new(expect.segment, offset));
    let (Ok(position), Some(bytes)) = (position, window.get(offset, HEADER_BYTES)?) else {
        let fault = if window.any_nonzero(offset)? {
            HeaderFault::Magic
        } else {
            HeaderFault::Zero
        };
        return Ok(Err(Bad::Header(fault)));
    };
    let Some(bytes) = bytes.first_chunk() else {
        return Ok(Err(Bad::Header(HeaderFault::Magic)));
    };
    let header = match FrameHeader::decode_at(bytes, expect.log_id, position) {
        Ok(header) if header.run < expect.run_min => {
            return Ok(Err(Bad::Header(HeaderFault::Run(header.run))));
        }
        Ok(header) => header,
        Err(fault) => return Ok(Err(Bad::Header(fault))),
    };
    if offset + HEADER_BYTES as u64 + u64::from(header.payload_bytes) > limit {
        return Ok(Err(Bad::Header(HeaderFault::Length(header.payload_bytes))));
    }
    if expect.verify_payload {
        let payload = payload_at(window, &header, header.payload_bytes)?;
        if !payload.is_some_and(|payload| header.payload_matches(payload)) {
            return Ok(Err(Bad::Payload(header.payload_bytes)));
        }
    }
    Ok(Ok(header))
}

/// The first `bytes` of a frame's payload.
pub(super) fn payload_at<'w>(
    window: &'w mut Window,
    header: &FrameHeader,
    bytes: u32,
) -> io::Result<Option<&'w [u8]>> {
    let from = u64::from(header.position.offset()) + HEADER_BYTES as u64;
    window.get(from, usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// What lies after a bad frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Beyond {
    /// Offset of the next valid header.
    pub(super) next: Option<u64>,
    /// Whether any later header says that the bad place had been durable.
    pub(super) was_durable: bool,
    /// The log that the next valid header names.
    pub(super) log_id: Option<u64>,
}

/// Looks on from `from`, at multiples of 8, for valid headers of the log (of any log if none is given).
pub(super) fn look_beyond(
    window: &mut Window,
    log_id: Option<u64>,
    bad: Position,
    from: u64,
) -> io::Result<Beyond> {
    let mut found = Beyond::default();
    let mut offset = from.next_multiple_of(ALIGN);
    while let Some(bytes) = window.get(offset, HEADER_BYTES)? {
        let header = bytes
            .first_chunk()
            .filter(|bytes| bytes.starts_with(&MAGIC))
            .and_then(|bytes| FrameHeader::decode(bytes).ok())
            .filter(|header| log_id.or(found.log_id).is_none_or(|id| header.log_id == id))
            .filter(|header| header.position.segment() == bad.segment())
            .filter(|header| u64::from(header.position.offset()) == offset);
        if let Some(header) = header {
            found.next.get_or_insert(offset);
            found.log_id.get_or_insert(header.log_id);
            found.was_durable |= header.durable_to > bad;
            if found.was_durable {
                break;
            }
        }
        offset += ALIGN;
    }
    Ok(found)
}

/// A sealed segment's footer, checked.
pub(super) struct Footer {
    pub(super) frames: Vec<FrameInfo>,
    pub(super) offset: u32,
    pub(super) file_bytes: u64,
}

/// Reads the footer at the end of a segment file; none if there is none or it does not check.
pub(super) fn read_footer(file: &dyn DiskFile, log_id: u64, segment: u32) -> io::Result<Option<Footer>> {
    let file_bytes = file.len()?;
    let mut tail = [0; TAIL_BYTES];
    let Some(tail_at) = file_bytes.checked_sub(TAIL_BYTES as u64) else {
        return Ok(None);
    };
    read_exact_at(file, &mut tail, tail_at)?;
    let Some(offset) = decode_tail(&tail, log_id) else {
        return Ok(None);
    };
    let mut header = [0; HEADER_BYTES];
    if u64::from(offset) + HEADER_BYTES as u64 > tail_at {
        return Ok(None);
    }
    read_exact_at(file, &mut header, u64::from(offset))?;
    let header = match FrameHeader::decode_at(&header, log_id, Position::new(segment, offset)) {
        Ok(header) if header.kind == KIND_FOOTER => header,
        _ => return Ok(None),
    };
    if u64::from(offset) + frame_bytes(u64::from(header.payload_bytes)) != tail_at {
        return Ok(None);
    }
    let mut payload = vec![0; usize::try_from(header.payload_bytes).unwrap_or(0)];
    read_exact_at(file, &mut payload, u64::from(offset) + HEADER_BYTES as u64)?;
    if !header.payload_matches(&payload) {
        return Ok(None);
    }
    let frames = parse_footer(&Bytes::from(payload), segment, offset);
    Ok(frames.map(|frames| Footer {
        frames,
        offset,
        file_bytes,
    }))
}
