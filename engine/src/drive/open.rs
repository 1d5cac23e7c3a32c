//! Opening a drive: identity, log, and the view built from the frames' tags.
//!
//! Reads no shard bytes. Invariant: of several frames of one shard the last is the shard and the others are deleted;
//! a delete frame removes exactly the frame that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::shard::{
    KIND_DELETE, KIND_LEASES, KIND_LOWEST_LEASE, KIND_SHARD, ShardKey, ShardTag, decode_delete,
    decode_leases, tag_checksum,
};
use super::view::{Location, Shared};
use super::writer::{Books, lease_frame_bytes};
use super::{DriveError, DriveIdentity, DriveWriter};
use crate::disk::{Disk, OpenMode};
use crate::log::{self, FrameInfo, Log, LogConfig, OpenError, Position};
use crate::slots::AcceptedLeases;

/// What opening a drive found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// What opening its log found; damaged stretches are shards (or deletes) that are gone.
    pub log: log::Recovery,
    /// Shards present.
    pub shards: u64,
    /// Frames whose tags make no sense, left as garbage.
    pub malformed_frames: u64,
}

/// The view while frames go by.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) shards: BTreeMap<ShardKey, Location>,
    pub(super) superseded: BTreeSet<(ShardKey, Position)>,
    pub(super) books: Books,
    pub(super) accepted: AcceptedLeases,
    malformed: u64,
}

impl Gathered {
    fn take(&mut self, frame: &FrameInfo) {
        let position = frame.position;
        let understood = match frame.kind {
            KIND_SHARD => ShardTag::decode(&frame.tag).is_ok_and(|tag| {
                let (payload_bytes, shard_bytes) = (frame.payload_bytes, tag.shard_bytes);
                let location = Location {
                    position,
                    payload_bytes,
                    shard_bytes,
                    lease: tag.lease,
                    vault: tag.vault,
                    scope: tag.scope,
                    tag_checksum: tag_checksum(&frame.tag),
                };
                if let Some(older) = self.shards.insert(tag.key, location) {
                    self.superseded.insert((tag.key, older.position));
                }
                shard_bytes < payload_bytes
            }),
            KIND_DELETE => decode_delete(&frame.tag).is_ok_and(|(key, target)| {
                if self
                    .shards
                    .get(&key)
                    .is_some_and(|found| found.position == target)
                {
                    self.shards.remove(&key);
                }
                self.superseded.remove(&(key, target));
                self.books.add_delete(position, target);
                true
            }),
            KIND_LOWEST_LEASE | KIND_LEASES => decode_leases(frame.kind, &frame.tag).is_ok_and(|said| {
                let accepted = self.accepted.and(&said);
                // The last frame that says all that is known is the one to keep.
                if accepted == said {
                    self.books.leases = Some((position, lease_frame_bytes(frame.tag.len())));
                }
                self.accepted = accepted;
                true
            }),
            _ => false,
        };
        self.malformed += u64::from(!understood);
    }
}

impl DriveWriter {
    /// Opens the drive in `dir`, which must be the expected one if one is given. The first opening of a drive begins its log
    /// with the id `fresh_log_id` (random). A drive without `drive.json` is never made here, and one whose log is gone is
    /// refused with [`DriveError::NoLog`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        expected: Option<DriveIdentity>,
        fresh_log_id: u64,
    ) -> Result<(Self, Recovery), DriveError> {
        Self::open_with(disk, dir, expected, fresh_log_id, LogConfig::drive())
    }

    /// As [`DriveWriter::open`], with other segment sizes.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        expected: Option<DriveIdentity>,
        fresh_log_id: u64,
        config: LogConfig,
    ) -> Result<(Self, Recovery), DriveError> {
        let got = DriveIdentity::read(&*disk, dir)?;
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            return Err(DriveError::WrongDrive { expected, got });
        }
        let file = disk.open(&DriveIdentity::path(dir), OpenMode::Read)?;
        file.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => DriveError::InUse,
            _ => error.into(),
        })?;
        let identity_file = file.identity()?;
        let mut gathered = Gathered::default();
        let (log, recovery) = open_log(Arc::clone(&disk), dir, config, fresh_log_id, &mut |frame| {
            gathered.take(&frame);
        })?;
        let Gathered {
            shards,
            superseded,
            mut books,
            accepted,
            malformed,
        } = gathered;
        for location in shards.values() {
            books.add_live(location);
        }
        let present: BTreeSet<u32> = log.segments().iter().map(|info| info.number).collect();
        books.forget_deletes(|segment| !present.contains(&segment));
        let found = Recovery {
            log: recovery,
            shards: shards.len() as u64,
            malformed_frames: malformed,
        };
        let shared = Shared::new(
            (disk, dir.to_owned()),
            (got, identity_file),
            log.reader(),
            shards,
            accepted.clone(),
        );
        let mut writer = Self::new((log, file), Arc::new(shared), books, superseded, accepted);
        match writer.settle_superseded() {
            // A full drive still serves reads; the older copies are settled before the next delete.
            Ok(()) | Err(DriveError::Full { .. }) => {}
            Err(error) => return Err(error),
        }
        writer.commit()?;
        Ok((writer, found))
    }
}

/// Opens the drive's log; only a drive that was never opened before may have none.
fn open_log(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: LogConfig,
    fresh_log_id: u64,
    visit: &mut dyn FnMut(FrameInfo),
) -> Result<(Log, log::Recovery), DriveError> {
    let (unopened, log_dir) = (DriveIdentity::unopened_path(dir), dir.join("log"));
    if !disk.exists(&unopened) {
        return match Log::open_existing(disk, &log_dir, config, visit) {
            Err(OpenError::NoSegments) => Err(DriveError::NoLog),
            opened => Ok(opened?),
        };
    }
    let opened = Log::open(Arc::clone(&disk), &log_dir, config, fresh_log_id, visit)?;
    disk.remove_file(&unopened)?;
    disk.sync_dir(&log_dir)?;
    Ok(opened)
}
