//! The drive as readers see it: where each shard lies, ranged and verified reads, usage, scrub.
//!
//! Not durable: it is built from footers and frames at every opening. Invariant: a shard is in the map exactly while
//! its put is committed and no delete of it is; a lost drive answers nothing but that it is lost.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::shard::{SHARD_TAG_BYTES, ShardHeader, ShardKey, tag_checksum};
use super::{DriveError, DriveIdentity, LostReason};
use crate::disk::{Disk, FileIdentity, OpenMode};
use crate::log::{LogReader, Position, ReadError};
use crate::slots::AcceptedLeases;

/// How often a read looks a shard up again when compaction moved it meanwhile.
const MOVES_MAX: usize = 8;

/// Where a shard lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) position: Position,
    pub(super) payload_bytes: u32,
    pub(super) shard_bytes: u32,
    pub(super) lease: u64,
    pub(super) vault: [u8; 16],
    pub(super) scope: [u8; 16],
    /// Of the tag that was put, or that the log's footer or scan gave: vault, scope and lease are in no hash.
    pub(super) tag_checksum: u64,
}

impl Location {
    /// Of tag, clear header and the zeros before the shard.
    pub(super) fn header_bytes(&self) -> u32 {
        self.payload_bytes.saturating_sub(self.shard_bytes)
    }

    pub(super) fn frame_bytes(&self) -> u64 {
        (crate::log::HEADER_BYTES as u64 + u64::from(self.payload_bytes)).next_multiple_of(8)
    }
}

/// What a drive knows of a shard without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardInfo {
    /// Length of the shard.
    pub shard_bytes: u32,
    /// The lease it was put under.
    pub lease: u64,
    /// The vault that its tag names.
    pub vault: [u8; 16],
    /// The scope that its tag names.
    pub scope: [u8; 16],
    /// Bytes that it takes in the log, its headers included.
    pub stored_bytes: u64,
    /// Where it lies in the log. What is put in its place lies elsewhere.
    pub at: Position,
}

/// A shard in a list of those of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedShard {
    /// Which.
    pub key: ShardKey,
    /// The lease it was put under.
    pub lease: u64,
    /// Where it lies in the log.
    pub at: Position,
}

/// How a drive's space is used, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriveUsage {
    /// On the disk, reservations included.
    pub allocated: u64,
    /// In frames of shards that are there.
    pub live: u64,
    /// In frames that nothing needs any more.
    pub garbage: u64,
    /// Number of shards.
    pub shards: u64,
}

/// One step of a scrub.
#[derive(Debug, Default)]
pub struct ScrubPage {
    /// Shards read and verified or found bad.
    pub shards: u64,
    /// Shard bytes read.
    pub bytes: u64,
    /// The shards that are not what their hashes say, at most one page of them.
    pub bad: Vec<(ShardKey, DriveError)>,
    /// Where the next page begins; none at the end.
    pub next: Option<ShardKey>,
}

pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) identity: DriveIdentity,
    pub(super) identity_file: FileIdentity,
    pub(super) reader: LogReader,
    shards: RwLock<BTreeMap<ShardKey, Location>>,
    lost: AtomicU8,
    pub(super) allocated: AtomicU64,
    pub(super) live: AtomicU64,
    pub(super) garbage: AtomicU64,
    accepted: RwLock<AcceptedLeases>,
    /// The highest that a shard here was ever put under.
    pub(super) highest_lease: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        (disk, dir): (Arc<dyn Disk>, PathBuf),
        (identity, identity_file): (DriveIdentity, FileIdentity),
        reader: LogReader,
        shards: BTreeMap<ShardKey, Location>,
        accepted: AcceptedLeases,
    ) -> Self {
        let live = shards.values().map(Location::frame_bytes).sum();
        let highest_lease = shards.values().map(|location| location.lease).max();
        Self {
            disk,
            dir,
            identity,
            identity_file,
            reader,
            shards: RwLock::new(shards),
            lost: AtomicU8::new(0),
            allocated: AtomicU64::new(0),
            live: AtomicU64::new(live),
            garbage: AtomicU64::new(0),
            accepted: RwLock::new(accepted),
            highest_lease: AtomicU64::new(highest_lease.unwrap_or(0)),
        }
    }

    pub(super) fn set_accepted(&self, accepted: &AcceptedLeases) {
        let mut known = self.accepted.write().unwrap_or_else(PoisonError::into_inner);
        if *known != *accepted {
            known.clone_from(accepted);
        }
    }

    pub(super) fn shards(&self) -> RwLockReadGuard<'_, BTreeMap<ShardKey, Location>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shards_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<ShardKey, Location>> {
        self.shards.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lose(&self, reason: LostReason) -> DriveError {
        let code = match reason {
            LostReason::IdentityReplaced => 1,
            LostReason::SegmentUnlinked => 2,
            LostReason::WriteFailed => 3,
            LostReason::TakenOut => 4,
        };
        // The first reason stays.
        let _ = self
            .lost
            .compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        DriveError::Lost(self.lost().unwrap_or(reason))
    }

    pub(super) fn lost(&self) -> Option<LostReason> {
        match self.lost.load(Ordering::Acquire) {
            0 => None,
            1 => Some(LostReason::IdentityReplaced),
            2 => Some(LostReason::SegmentUnlinked),
            3 => Some(LostReason::WriteFailed),
            _ => Some(LostReason::TakenOut),
        }
    }

    pub(super) fn check_not_lost(&self) -> Result<(), DriveError> {
        self.lost().map_or(Ok(()), |reason| Err(DriveError::Lost(reason)))
    }

    /// Whether the identity file is the one that was opened; if it is gone or another one, the drive is lost. An error
    /// that leaves it open (too many files, no memory, no right, a failed read) loses nothing: it is looked at again later.
    pub(super) fn check_present(&self) -> Result<(), DriveError> {
        self.check_not_lost()?;
        let opened = self.disk.open(&DriveIdentity::path(&self.dir), OpenMode::Read);
        match opened.and_then(|file| file.identity()) {
            Ok(found) if found == self.identity_file => Ok(()),
            Ok(_) => Err(self.lose(LostReason::IdentityReplaced)),
            // A directory of the path that became a file is as gone as one that was removed.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(self.lose(LostReason::IdentityReplaced))
            }
            Err(error) => Err(DriveError::Unchecked(error)),
        }
    }
}

/// A drive, for reading. Clones share one view.
#[derive(Clone)]
pub struct Drive {
    shared: Arc<Shared>,
}

impl Drive {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether the shard is here.
    pub fn contains(&self, key: &ShardKey) -> bool {
        self.shared.lost().is_none() && self.shared.shards().contains_key(key)
    }

    /// What is known of a shard without reading it.
    pub fn info(&self, key: &ShardKey) -> Option<ShardInfo> {
        let location = self.shared.shards().get(key).copied()?;
        Some(ShardInfo {
            shard_bytes: location.shard_bytes,
            lease: location.lease,
            vault: location.vault,
            scope: location.scope,
            stored_bytes: location.frame_bytes(),
            at: location.position,
        })
    }

    /// A shard's clear header. Its geometry and hashes give the pack id, and its vault, scope and lease are those that were
    /// put; anything else is an error.
    pub fn header(&self, key: &ShardKey) -> Result<ShardHeader, DriveError> {
        let read = |at: &Location| self.shared.reader.read_range(at.position, 0, at.header_bytes());
        let (location, bytes) = self.locate(key, read)?;
        decode_header(key, &bytes, &location)
    }

    /// A range of a shard's bytes, in one disk read and unverified: sealed chunks verify themselves.
    pub fn read_range(&self, key: &ShardKey, offset: u32, bytes: u32) -> Result<Bytes, DriveError> {
        let read = |at: &Location| {
            if offset.checked_add(bytes).is_none_or(|end| end > at.shard_bytes) {
                return Ok(None);
            }
            let offset = at.header_bytes().saturating_add(offset);
            self.shared
                .reader
                .read_range(at.position, offset, bytes)
                .map(Some)
        };
        let (location, range) = self.locate(key, read)?;
        let (key, shard_bytes) = (*key, location.shard_bytes);
        range.ok_or(DriveError::OutOfRange {
            key,
            offset,
            bytes,
            shard_bytes,
        })
    }

    /// A whole shard, verified by its hash, with its header.
    pub fn read(&self, key: &ShardKey) -> Result<(ShardHeader, Bytes), DriveError> {
        let read = |at: &Location| self.shared.reader.read_sized(at.position, at.payload_bytes);
        let (location, mut frame) = self.locate(key, read)?;
        let header = decode_header(key, &frame.payload, &location)?;
        let shard = frame.payload.split_off(location.header_bytes() as usize);
        let expected = header.summary.hash(usize::from(key.index));
        if expected.is_none_or(|expected| blake3::hash(&shard) != blake3::Hash::from_bytes(expected.0)) {
            return Err(DriveError::Damaged {
                key: *key,
                source: None,
            });
        }
        Ok((header, shard))
    }

    /// Up to `shards_max` shards in order, after the one given.
    pub fn keys_after(&self, after: Option<ShardKey>, shards_max: usize) -> Vec<ShardKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let shards = self.shared.shards();
        shards
            .range((from, Bound::Unbounded))
            .map(|(key, _)| *key)
            .take(shards_max)
            .collect()
    }

    /// Up to `shards_max` shards of a vault in order, after the one given.
    pub fn of_vault(&self, vault: &[u8; 16], after: Option<ShardKey>, shards_max: usize) -> Vec<ListedShard> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let shards = self.shared.shards();
        shards
            .range((from, Bound::Unbounded))
            .filter(|(_, location)| location.vault == *vault)
            .map(|(key, location)| ListedShard {
                key: *key,
                lease: location.lease,
                at: location.position,
            })
            .take(shards_max)
            .collect()
    }

    /// All shards in order, fetched a page at a time; shards put or deleted meanwhile may show or not.
    pub fn keys(&self) -> impl Iterator<Item = ShardKey> + use<> {
        const PAGE: usize = 1024;
        let drive = self.clone();
        let mut page = drive.keys_after(None, PAGE).into_iter();
        let mut last = None;
        std::iter::from_fn(move || {
            let next = page.next().or_else(|| {
                page = drive.keys_after(Some(last?), PAGE).into_iter();
                page.next()
            });
            last = next.or(last);
            next
        })
    }

    /// Reads and verifies up to `shards_max` shards after the one given.
    pub fn scrub(&self, after: Option<ShardKey>, shards_max: usize) -> Result<ScrubPage, DriveError> {
        let mut page = ScrubPage::default();
        let keys = self.keys_after(after, shards_max);
        page.next = keys.last().copied().filter(|_| keys.len() >= shards_max.max(1));
        for key in keys {
            match self.read(&key) {
                Ok((_, shard)) => page.bytes += shard.len() as u64,
                Err(DriveError::NoShard(_)) => continue,
                Err(lost @ DriveError::Lost(_)) => return Err(lost),
                Err(error) => page.bad.push((key, error)),
            }
            page.shards += 1;
        }
        Ok(page)
    }

    /// How the space is used.
    pub fn usage(&self) -> DriveUsage {
        DriveUsage {
            allocated: self.shared.allocated.load(Ordering::Relaxed),
            live: self.shared.live.load(Ordering::Relaxed),
            garbage: self.shared.garbage.load(Ordering::Relaxed),
            shards: self.shared.shards().len() as u64,
        }
    }

    /// Bytes that may still be allocated on the drive's file system.
    pub fn available_bytes(&self) -> Result<u64, DriveError> {
        Ok(self.shared.disk.available_bytes(&self.shared.dir)?)
    }

    /// The leases that puts may carry.
    pub fn accepted_leases(&self) -> AcceptedLeases {
        let accepted = self.shared.accepted.read();
        accepted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The highest lease that the drive has seen, in a shard or in what it was told of leases.
    pub fn highest_lease(&self) -> u64 {
        let put = self.shared.highest_lease.load(Ordering::Acquire);
        put.max(self.accepted_leases().highest_known())
    }

    /// The id of its log, and how far that is flushed: what lies before is there as long as the log is. A drive that is made anew has another log.
    pub fn flushed(&self) -> (u64, Position) {
        (self.shared.reader.log_id(), self.shared.reader.durable_to())
    }

    /// Which drive this is.
    pub fn identity(&self) -> DriveIdentity {
        self.shared.identity
    }

    /// Why the drive is lost, if it is.
    pub fn is_lost(&self) -> Option<LostReason> {
        self.shared.lost()
    }

    /// Takes the drive out of service until it is opened anew.
    pub fn mark_lost(&self, reason: LostReason) {
        let _ = self.shared.lose(reason);
    }

    /// Looks whether the drive is still in place; if not it is lost from here on. With [`DriveError::Unchecked`] it could not
    /// be told and nothing changed.
    pub fn check_present(&self) -> Result<(), DriveError> {
        self.shared.check_present()
    }

    /// Reads at a shard's place, again if compaction moved the shard while it was read.
    fn locate<T>(
        &self,
        key: &ShardKey,
        read: impl Fn(&Location) -> Result<T, ReadError>,
    ) -> Result<(Location, T), DriveError> {
        self.shared.check_not_lost()?;
        let mut tries = 0;
        loop {
            let location = self
                .shared
                .shards()
                .get(key)
                .copied()
                .ok_or(DriveError::NoShard(*key))?;
            match read(&location) {
                Ok(found) => return Ok((location, found)),
                Err(error) => {
                    tries += 1;
                    let moved = self.shared.shards().get(key) != Some(&location);
                    if !moved || tries > MOVES_MAX {
                        return Err(read_error(key, error));
                    }
                }
            }
        }
    }
}

fn read_error(key: &ShardKey, error: ReadError) -> DriveError {
    match error {
        ReadError::Io { .. } => DriveError::Read(error),
        other => DriveError::Damaged {
            key: *key,
            source: Some(other),
        },
    }
}

fn decode_header(key: &ShardKey, bytes: &[u8], at: &Location) -> Result<ShardHeader, DriveError> {
    let header = ShardHeader::decode(bytes, at.payload_bytes)
        .map_err(|source| DriveError::BadHeader { key: *key, source })?;
    let tag = bytes.get(..SHARD_TAG_BYTES).unwrap_or(&[]);
    if header.key() != *key || tag_checksum(tag) != at.tag_checksum {
        return Err(DriveError::Damaged {
            key: *key,
            source: None,
        });
    }
    Ok(header)
}
