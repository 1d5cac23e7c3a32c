//! Scrub: every drive reads every shard that it holds and checks its hash.
//!
//! It starts from the drives, so it also meets shards that no pack names; those it only counts. Invariant: a shard that
//! does not check is replaced once the right one has been computed, and stays where it is until then.

use std::sync::Arc;

use engine::drive::{Drive, ShardKey};
use engine::pack::PackId;
use futures::future::BoxFuture;

use super::drive::{DriveFailure, LocalDrive};
use super::repair::Progress;
use super::{Cluster, Inner};
use crate::entry::PackEntry;
use crate::ledger::LedgerError;

/// Finds a pack's ledger entry.
pub type PackLookup<'a> =
    dyn Fn(PackId) -> BoxFuture<'a, Result<Option<PackEntry>, LedgerError>> + Send + Sync + 'a;

/// Shards taken from a drive's index at a time.
const PAGE: usize = 256;

/// What a scrub found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Shards read and checked.
    pub shards_checked: u64,
    /// Bytes of shards read.
    pub bytes_checked: u64,
    /// Shards that did not check.
    pub shards_bad: u64,
    /// Of these, shards made again.
    pub shards_rebuilt: u64,
    /// Of these, shards of packs that no entry names: left to the collector.
    pub orphans: u64,
    /// Shards that could not be made again, or not be read at all.
    pub unrepaired: u64,
}

impl Cluster {
    /// Checks every shard on every drive that is there.
    pub async fn scrub(
        &self,
        lookup: &PackLookup<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<ScrubReport, LedgerError> {
        let present = self
            .inner
            .drives
            .iter()
            .filter_map(|place| Some((place, place.present()?)));
        let drives: Vec<_> = present.collect();
        let mut report = ScrubReport::default();
        let mut shown = Progress {
            total: drives.iter().map(|(_, drive)| drive.usage().shards).sum(),
            ..Progress::default()
        };
        for (place, drive) in drives {
            let mut after = None;
            loop {
                let keys = drive.keys_after(after, PAGE);
                after = keys.last().copied();
                for key in keys {
                    match check(place, &drive, key).await {
                        Ok(bytes) => {
                            report.shards_checked += 1;
                            report.bytes_checked += bytes;
                        }
                        Err(DriveFailure::Damaged) => {
                            report.shards_checked += 1;
                            report.shards_bad += 1;
                            self.inner.mend(place, key, lookup, &mut report).await?;
                        }
                        Err(DriveFailure::Io) => report.unrepaired += 1,
                        // Deleted meanwhile, or gone with its drive.
                        Err(_) => {}
                    }
                    shown.done += 1;
                    shown.shards_rebuilt = report.shards_rebuilt;
                    progress(shown);
                }
                if after.is_none() || drive.is_lost().is_some() {
                    break;
                }
            }
        }
        Ok(report)
    }
}

/// Reads a shard with its header and checks both; its bytes if they check.
async fn check(place: &Arc<LocalDrive>, drive: &Drive, key: ShardKey) -> Result<u64, DriveFailure> {
    let (place, drive) = (Arc::clone(place), drive.clone());
    let reading = tokio::task::spawn_blocking(move || match drive.read(&key) {
        Ok((_, shard)) => Ok(shard.len() as u64),
        Err(error) => Err(place.failure(&drive, &error)),
    });
    reading.await.unwrap_or(Err(DriveFailure::Closed))
}

impl Inner {
    async fn mend(
        self: &Arc<Self>,
        place: &Arc<LocalDrive>,
        key: ShardKey,
        lookup: &PackLookup<'_>,
        report: &mut ScrubReport,
    ) -> Result<(), LedgerError> {
        let index = usize::from(key.index);
        let entry = lookup(key.pack)
            .await?
            .filter(|entry| entry.drive(index) == Some(place.id));
        let Some(entry) = entry else {
            tracing::warn!(drive = place.number, pack = %key.pack, index, "a damaged shard of no known pack is left alone");
            report.orphans += 1;
            return Ok(());
        };
        let entry = Arc::new(entry);
        let _gate = self.rebuild_gate.read().await;
        self.blame(&entry, index);
        match self.rebuild(&entry, &[index]).await {
            Ok(rebuilt) => {
                report.shards_rebuilt += rebuilt.made.len() as u64;
                report.unrepaired += u64::from(!rebuilt.made.contains(&index));
            }
            Err(error) => {
                tracing::warn!(%error, drive = place.number, pack = %key.pack, index, "a damaged shard cannot be replaced");
                report.unrepaired += 1;
            }
        }
        Ok(())
    }
}
