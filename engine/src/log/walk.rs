//! Walking a log frame by frame, from a position to the end that it had when the walk began.
//!
//! Not recovery: a bad frame ends the walk with an error. Invariant: frames come in log order, each checked.

use bytes::Bytes;

use super::frame::{KIND_CLOSING, KIND_FOOTER, KIND_HEAD, frame_bytes};
use super::reader::{LogReader, info_of, tag_len};
use super::segment::{Bad, Expect, READ_AHEAD_BYTES, Window, frame_at, payload_at};
use super::{Frame, FrameInfo, HeaderFault, OWNER_KIND_MIN, Position, ReadError};

/// Read-ahead of a walk that skips payloads.
const SKIPPING_READ_BYTES: usize = 16 << 10;

/// See [`LogReader::frames`].
pub struct Frames(pub(super) Walk);

impl Iterator for Frames {
    type Item = Result<FrameInfo, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|frame| frame.info))
    }
}

/// See [`LogReader::frames_with_payload`].
pub struct FramesWithPayload(pub(super) Walk);

impl Iterator for FramesWithPayload {
    type Item = Result<Frame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

pub(super) struct Walk {
    reader: LogReader,
    segment: u32,
    offset: u64,
    until: Position,
    window: Option<Window>,
    payloads: bool,
    ended: bool,
}

impl Walk {
    pub(super) fn new(reader: LogReader, from: Position, payloads: bool) -> Self {
        let until = reader.end();
        let (segment, offset) = (from.segment(), u64::from(from.offset()));
        Self {
            reader,
            segment,
            offset,
            until,
            window: None,
            payloads,
            ended: false,
        }
    }

    fn next(&mut self) -> Option<Result<Frame, ReadError>> {
        while !self.ended {
            match self.step() {
                Ok(None) => {}
                Ok(Some(frame)) => return Some(Ok(frame)),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    fn step(&mut self) -> Result<Option<Frame>, ReadError> {
        if self.window.is_none() && !self.enter()? {
            self.ended = true;
            return Ok(None);
        }
        let segment = self.segment;
        let failed = |source| ReadError::Io { segment, source };
        let Some(window) = self.window.as_mut() else {
            return Ok(None);
        };
        if self.offset >= window.limit() {
            self.leave();
            return Ok(None);
        }
        let log_id = self.reader.shared.log_id;
        let expect = Expect {
            log_id,
            segment,
            run_min: 0,
            verify_payload: self.payloads,
        };
        let offset = u32::try_from(self.offset).unwrap_or(u32::MAX);
        let header = match frame_at(window, expect, self.offset).map_err(failed)? {
            Ok(header) => header,
            Err(Bad::Header(fault)) => {
                return Err(ReadError::BadHeader {
                    segment,
                    offset,
                    fault,
                });
            }
            Err(Bad::Payload(bytes)) => {
                return Err(ReadError::BadPayload {
                    segment,
                    offset,
                    bytes,
                });
            }
        };
        self.offset += frame_bytes(u64::from(header.payload_bytes));
        match header.kind {
            KIND_FOOTER => self.leave(),
            KIND_HEAD | KIND_CLOSING => {}
            kind if kind < OWNER_KIND_MIN => {
                return Err(ReadError::BadHeader {
                    segment,
                    offset,
                    fault: HeaderFault::Kind(kind),
                });
            }
            _ => {
                let wanted = if self.payloads {
                    header.payload_bytes
                } else {
                    header.tag_bytes
                };
                let bytes = payload_at(window, &header, wanted)
                    .map_err(failed)?
                    .unwrap_or(&[]);
                let payload = Bytes::copy_from_slice(bytes);
                let tag = payload.slice(..tag_len(&header).min(payload.len()));
                return Ok(Some(Frame {
                    info: info_of(&header, tag),
                    payload,
                }));
            }
        }
        Ok(None)
    }

    /// Opens the segment at or after the one asked for; false if there is none up to the end.
    fn enter(&mut self) -> Result<bool, ReadError> {
        let next = self.reader.shared.segment_from(self.segment);
        let Some(info) = next.filter(|info| info.number <= self.until.segment()) else {
            return Ok(false);
        };
        if info.number != self.segment {
            self.segment = info.number;
            self.offset = 0;
        }
        let until = if info.number == self.until.segment() {
            u64::from(self.until.offset())
        } else {
            info.bytes
        };
        let read_ahead = if self.payloads {
            READ_AHEAD_BYTES
        } else {
            SKIPPING_READ_BYTES
        };
        let file = self.reader.shared.file(info.number)?;
        self.window = Some(Window::new(file, until.min(info.bytes), read_ahead));
        Ok(true)
    }

    fn leave(&mut self) {
        self.window = None;
        self.offset = 0;
        match self.segment.checked_add(1) {
            Some(next) => self.segment = next,
            None => self.ended = true,
        }
    }
}
