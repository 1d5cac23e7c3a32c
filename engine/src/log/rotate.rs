//! Beginning, sealing and removing segments.
//!
//! Not the frames in them. Invariant: a segment is used only after its file and its name are durable, and the next one
//! begins only after this one is.

use std::io;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::append::padding;
use super::footer::{FooterBuilder, encode_tail};
use super::frame::{KIND_FOOTER, KIND_HEAD};
use super::head::{HEAD_FRAME_BYTES, head_payload, segment_name};
use super::recovery::OpenSegment;
use super::{Log, LogError, Position, SegmentInfo};
use crate::disk::{DiskFile, OpenMode, is_full};

impl Log {
    /// Ends the segment being filled with its footer, durably. Does nothing if none is being filled or it is empty.
    pub fn seal_current(&mut self) -> Result<(), LogError> {
        self.check_fence()?;
        let Some(open) = self.open.as_ref().filter(|open| open.end > HEAD_FRAME_BYTES) else {
            return Ok(());
        };
        let (number, at, file) = (open.number, open.end, Arc::clone(&open.file));
        let payload = open.footer.payload().to_vec();
        let end = at + open.footer.bytes_with(None);
        self.reserve(end)?;
        let offset = u32::try_from(at).unwrap_or(u32::MAX);
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let checksum = XxHash3_64::oneshot_with_seed(self.shared.log_id, &payload);
        let header = self.header(
            KIND_FOOTER,
            Position::new(number, offset),
            payload_bytes,
            0,
            (0, checksum),
        );
        let tail = encode_tail(offset, self.shared.log_id);
        let parts: [&[u8]; 4] = [&header.encode(), &payload, padding(payload.len() as u64), &tail];
        if let Err(error) = file.write_all_at(&parts, at) {
            return Err(self.write_failed(error, end - at));
        }
        if let Err(error) = file.set_len(end).and_then(|()| file.sync_data()) {
            return Err(self.fence(number, error));
        }
        self.drop_large(&*file);
        let overhead_bytes = HEAD_FRAME_BYTES + end - at;
        self.shared.set_segment(SegmentInfo {
            number,
            bytes: end,
            overhead_bytes,
            sealed: true,
        });
        let end = Position::new(number, u32::try_from(end).unwrap_or(u32::MAX));
        self.shared.set_end(end);
        self.shared.set_durable_to(end);
        self.open = None;
        self.unclosed = false;
        Ok(())
    }

    /// Removes a sealed segment with everything in it, durably. The newest one stays.
    pub fn remove_segment(&mut self, number: u32) -> Result<(), LogError> {
        self.check_fence()?;
        let newest = number.checked_add(1) == Some(self.next_segment);
        if newest || !self.shared.segment(number).is_some_and(|info| info.sealed) {
            return Err(LogError::NotRemovable { segment: number });
        }
        let removed = self
            .shared
            .disk
            .remove_file(&self.shared.dir.join(segment_name(number)));
        match removed {
            Ok(()) => {}
            // Somebody else removed it, which comes to the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(LogError::Io {
                    segment: number,
                    source,
                });
            }
        }
        self.shared.forget_segment(number);
        match self.shared.disk.sync_dir(&self.shared.dir) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fence(number, error)),
        }
    }

    /// Makes the next segment: its file reserved, its head written, file and directory synced.
    pub(super) fn begin_segment(&mut self) -> Result<(), LogError> {
        let number = self.next_segment;
        let next = number.checked_add(1).ok_or(LogError::Exhausted)?;
        let path = self.shared.dir.join(segment_name(number));
        let reserved = u64::from(self.config.preallocate_bytes).clamp(HEAD_FRAME_BYTES, self.segment_bytes());
        let payload = head_payload(self.config.kind, number);
        let checksum = XxHash3_64::oneshot_with_seed(self.shared.log_id, &payload);
        let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = self
            .header(
                KIND_HEAD,
                Position::new(number, 0),
                payload_bytes,
                0,
                (0, checksum),
            )
            .encode();
        let made = || {
            let file = match self.shared.disk.open(&path, OpenMode::CreateNew) {
                // An earlier attempt was cut short by a full disk; nothing in it was ever promised.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.shared.disk.remove_file(&path)?;
                    self.shared.disk.open(&path, OpenMode::CreateNew)?
                }
                opened => opened?,
            };
            file.allocate(0, reserved)?;
            file.write_all_at(&[&header, &payload], 0)?;
            Ok(file)
        };
        let file: Arc<dyn DiskFile> = match made() {
            Ok(file) => Arc::from(file),
            Err(error) if is_full(&error) => {
                let _ = self.shared.disk.remove_file(&path);
                return Err(LogError::Full {
                    segment: number,
                    bytes: reserved,
                });
            }
            Err(error) => return Err(self.fence(number, error)),
        };
        if let Err(error) = file
            .sync_data()
            .and_then(|()| self.shared.disk.sync_dir(&self.shared.dir))
        {
            return Err(self.fence(number, error));
        }
        let (end, footer) = (HEAD_FRAME_BYTES, FooterBuilder::new());
        self.shared.set_segment(SegmentInfo {
            number,
            bytes: end,
            overhead_bytes: end,
            sealed: false,
        });
        self.open = Some(OpenSegment {
            number,
            file,
            end,
            allocated: reserved,
            footer,
        });
        self.next_segment = next;
        let end = Position::new(number, u32::try_from(end).unwrap_or(u32::MAX));
        self.shared.set_end(end);
        self.shared.set_durable_to(end);
        Ok(())
    }
}
