//! Appending frames: where a frame goes, what stands in it, and the bytes as they are written.
//!
//! Not durability, which is `writer.rs`. Invariant: a frame that was refused has changed nothing, and a long tail begins
//! at a multiple of [`DIRECT_ALIGN`] of its file, so that the disk can take it around the system's page cache.

use twox_hash::XxHash3_64;

use super::footer::FooterBuilder;
use super::frame::{ALIGN, checksum_parts, frame_bytes, tail_pages};
use super::head::HEAD_FRAME_BYTES;
use super::{HEADER_BYTES, LARGE_BYTES_MIN, Log, LogError, OWNER_KIND_MIN, Position, TAG_BYTES_MAX};
use crate::disk::DIRECT_ALIGN;

/// Payloads up to this many bytes are gathered into one buffer; larger ones are written from where they lie.
const GATHERED_BYTES_MAX: u64 = 16 << 10;

const ZEROS: [u8; DIRECT_ALIGN] = [0; DIRECT_ALIGN];

/// The end of a payload, with its hash. A long one is not read again for the frame's checksum: its hash stands for it.
#[derive(Debug, Clone, Copy)]
pub struct Tail<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// BLAKE3 of the bytes. It is taken on trust: a frame written with another hash is to every reader a damaged one.
    pub hash: [u8; 32],
}

impl Tail<'_> {
    const NONE: Self = Self {
        bytes: &[],
        hash: [0; 32],
    };

    const fn is_long(&self) -> bool {
        self.bytes.len() >= LARGE_BYTES_MIN as usize
    }
}

/// A frame's payload before it is known where the frame goes: the tag, the parts, then the tail, before which there are zeros
/// if it is long.
pub(super) struct Contents<'a> {
    kind: u8,
    tag: &'a [u8],
    parts: &'a [&'a [u8]],
    tail: Tail<'a>,
}

impl<'a> Contents<'a> {
    pub(super) const fn new(kind: u8, tag: &'a [u8], parts: &'a [&'a [u8]]) -> Self {
        Self {
            kind,
            tag,
            parts,
            tail: Tail::NONE,
        }
    }

    fn bytes_before_tail(&self) -> u64 {
        let parts = self.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.tag.len() as u64 + parts
    }

    /// The zeros before the tail in a frame at offset `at` of its segment.
    fn zeros_at(&self, at: u64) -> &'static [u8] {
        if !self.tail.is_long() {
            return &[];
        }
        let begins = at + HEADER_BYTES as u64 + self.bytes_before_tail();
        let zeros = begins.next_multiple_of(DIRECT_ALIGN as u64) - begins;
        ZEROS.get(..usize::try_from(zeros).unwrap_or(0)).unwrap_or(&[])
    }

    fn payload_bytes_at(&self, at: u64) -> u64 {
        self.bytes_before_tail() + self.zeros_at(at).len() as u64 + self.tail.bytes.len() as u64
    }

    /// What a frame at offset `at` of its segment says of its payload: where a hashed tail begins, and the checksum.
    fn checksum_at(&self, at: u64, log_id: u64) -> (u8, u64) {
        let zeros = self.zeros_at(at);
        let begins = at + HEADER_BYTES as u64 + self.bytes_before_tail() + zeros.len() as u64;
        let pages = Some(&self.tail)
            .filter(|tail| tail.is_long())
            .and_then(|_| tail_pages(at, begins));
        let tail = pages.map_or(self.tail.bytes, |_| &self.tail.hash);
        let parts: Vec<&[u8]> = self.parts.iter().copied().chain([zeros, tail]).collect();
        (pages.unwrap_or(0), checksum_parts(log_id, self.tag, &parts))
    }
}

impl Log {
    /// Writes a frame whose payload is the tag and then the parts, and returns its position. Nothing is promised until
    /// [`Log::sync`]. With [`LogError::Full`] and errors about the frame nothing happened; others fence the log.
    pub fn append(&mut self, kind: u8, tag: &[u8], parts: &[&[u8]]) -> Result<Position, LogError> {
        let appended = self.append_contents(&Contents::new(kind, tag, parts))?;
        Ok(appended.0)
    }

    /// As [`Log::append`], with `tail` as the payload's end. If that has at least 256 KiB, zeros come before it, fewer than
    /// [`DIRECT_ALIGN`], so that it begins at a multiple of that in the segment file. Returns the payload's length too.
    pub fn append_with_tail(
        &mut self,
        kind: u8,
        tag: &[u8],
        parts: &[&[u8]],
        tail: Tail<'_>,
    ) -> Result<(Position, u32), LogError> {
        self.append_contents(&Contents {
            tail,
            ..Contents::new(kind, tag, parts)
        })
    }

    fn append_contents(&mut self, contents: &Contents<'_>) -> Result<(Position, u32), LogError> {
        let Contents { kind, tag, .. } = *contents;
        if kind < OWNER_KIND_MIN {
            return Err(LogError::ReservedKind { kind });
        }
        if tag.len() > TAG_BYTES_MAX {
            return Err(LogError::TagTooLarge { bytes: tag.len() });
        }
        let payload_bytes = contents.payload_bytes_at(HEAD_FRAME_BYTES);
        let frame = frame_bytes(payload_bytes);
        let empty = HEAD_FRAME_BYTES + FooterBuilder::new().bytes_with(Some(tag.len()));
        let limit = self.segment_bytes().saturating_sub(empty);
        if frame > limit || payload_bytes > u64::from(u32::MAX) {
            return Err(LogError::FrameTooLarge { bytes: frame, limit });
        }
        self.check_fence()?;
        let at = self.open.as_ref().map_or(HEAD_FRAME_BYTES, |open| open.end);
        if !self.has_room(frame_bytes(contents.payload_bytes_at(at)), Some(tag.len())) {
            self.seal_current()?;
        }
        if self.open.is_none() {
            self.begin_segment()?;
        }
        let (position, payload_bytes) = self.write_frame(contents)?;
        if let Some(open) = self.open.as_mut() {
            open.footer.push(position.offset(), payload_bytes, kind, tag);
        }
        self.unclosed = true;
        Ok((position, payload_bytes))
    }

    /// Writes a frame at the end of the open segment, whose room was looked at. The position and length of the payload.
    pub(super) fn write_frame(&mut self, contents: &Contents<'_>) -> Result<(Position, u32), LogError> {
        let Some((number, at)) = self.open.as_ref().map(|open| (open.number, open.end)) else {
            return Err(LogError::Exhausted);
        };
        let payload_bytes = contents.payload_bytes_at(at);
        let bytes = frame_bytes(payload_bytes);
        self.reserve(at + bytes)?;
        let position = Position::new(number, u32::try_from(at).unwrap_or(u32::MAX));
        let payload_bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        let written = self.write_at(contents, position, payload_bytes);
        if let Err(error) = written {
            return Err(self.write_failed(error, bytes));
        }
        if payload_bytes >= LARGE_BYTES_MIN {
            match self.large.last_mut().filter(|last| last.end == at) {
                Some(last) => last.end = at + bytes,
                None => self.large.push(at..at + bytes),
            }
        }
        if let Some(open) = self.open.as_mut() {
            open.end = at + bytes;
        }
        self.shared.set_end(Position::new(
            number,
            u32::try_from(at + bytes).unwrap_or(u32::MAX),
        ));
        Ok((position, payload_bytes))
    }

    fn write_at(
        &mut self,
        contents: &Contents<'_>,
        position: Position,
        payload_bytes: u32,
    ) -> std::io::Result<()> {
        let Contents {
            kind,
            tag,
            parts,
            tail,
        } = *contents;
        let Some(file) = self.open.as_ref().map(|open| std::sync::Arc::clone(&open.file)) else {
            return Ok(());
        };
        let at = u64::from(position.offset());
        let tag_bytes = u32::try_from(tag.len()).unwrap_or(u32::MAX);
        let zeros = contents.zeros_at(at);
        let pad = padding(u64::from(payload_bytes));
        if u64::from(payload_bytes) <= GATHERED_BYTES_MAX {
            let mut gather = std::mem::take(&mut self.gather);
            gather.clear();
            gather.resize(HEADER_BYTES, 0);
            gather.extend_from_slice(tag);
            parts.iter().for_each(|part| gather.extend_from_slice(part));
            gather.extend_from_slice(tail.bytes);
            let (header_at, payload) = gather.split_at_mut(HEADER_BYTES);
            let checksum = XxHash3_64::oneshot_with_seed(self.shared.log_id, payload);
            let header = self.header(kind, position, payload_bytes, tag_bytes, (0, checksum));
            header_at.copy_from_slice(&header.encode());
            gather.extend_from_slice(pad);
            let written = file.write_all_at(&[&gather], at);
            self.gather = gather;
            return written;
        }
        let checksum = contents.checksum_at(at, self.shared.log_id);
        let header = self.header(kind, position, payload_bytes, tag_bytes, checksum);
        let header = header.encode();
        let mut all: Vec<&[u8]> = Vec::with_capacity(parts.len() + 5);
        all.extend([&header[..], tag]);
        all.extend_from_slice(parts);
        all.extend([zeros, tail.bytes, pad]);
        file.write_all_at(&all, at)
    }
}

/// The zero bytes between a payload and the next frame.
pub(super) fn padding(payload_bytes: u64) -> &'static [u8] {
    let bytes = payload_bytes.next_multiple_of(ALIGN) - payload_bytes;
    ZEROS.get(..usize::try_from(bytes).unwrap_or(0)).unwrap_or(&[])
}
