//! Reads for a caller whose own check failed: whole shards by their hashes, so that the liar is known.
//!
//! Slow and rare. Invariant: what is returned is a part of a shard whose BLAKE3 hash the pack's entry names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Cluster;
use super::read::{LaneRange, ReadError};
use crate::drives::DriveFailure;
use crate::entry::{DriveId, PackEntry};
use crate::peer::Purpose;

/// A shard that did not have its hash, and the drive that gave it. It is replaced soon, if the others can make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadShard {
    /// The drive.
    pub drive: DriveId,
    /// The shard's index.
    pub index: usize,
}

/// A verified range, and who lied on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRange {
    /// The bytes.
    pub bytes: Bytes,
    /// Bad shards, by drive.
    pub bad: Vec<BadShard>,
}

impl Cluster {
    /// Reads a range of a lane out of a whole shard that has its hash, rebuilt from others if the assigned drive's does
    /// not. If the bytes still fail the caller's check, no drive is to blame.
    pub async fn read_lane_verified(
        &self,
        entry: &PackEntry,
        range: LaneRange,
    ) -> Result<VerifiedRange, ReadError> {
        let index = range.check(entry)?;
        let cause = self.cause_or(Purpose::Read).again();
        self.inner.counters.reads.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(entry.clone());
        let mut bad = Vec::new();
        let permit = self.inner.verified_reads.acquire().await;
        let shard = match self.inner.read_verified(&entry, index, cause).await {
            Ok(shard) => shard,
            Err(failure) => {
                match failure {
                    DriveFailure::Damaged => bad.extend(self.inner.blame(&entry, index)),
                    DriveFailure::Absent => self.inner.missing.add(&entry, [index]),
                    _ => {}
                }
                let gathered = self.inner.gather(&entry, &[index], cause).await?;
                bad.extend(gathered.bad);
                let mut computed = self.inner.compute(&entry, gathered.shards, vec![index]).await?;
                computed.pop().ok_or(ReadError::Wrong { index })?
            }
        };
        drop(permit);
        if !bad.is_empty() {
            self.inner.own.changes.heal.notify_one();
        }
        // The range was checked against the lane, and a lane is no longer than its shard.
        let start = range.offset as usize;
        let end = start + range.bytes as usize;
        if end > shard.len() {
            return Err(ReadError::Wrong { index });
        }
        Ok(VerifiedRange {
            bytes: shard.slice(start..end),
            bad,
        })
    }
}
