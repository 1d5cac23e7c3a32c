//! Scrub: every drive reads every shard that it holds and checks its hash.
//!
//! It starts from the drives, so it also meets shards that no pack names; those it only counts. Invariant: a shard that
//! does not check is taken off its drive, and rebuilt if its pack is known.

use std::sync::Arc;

use engine::drive::{Drive, ShardKey};
use engine::pack::PackId;
use futures::future::BoxFuture;

use super::drive::{DriveFailure, LocalDrive};
use super::put::delete_shard;
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
    /// Of these, shards of packs that no entry names: only deleted.
    pub orphans: u64,
    /// Of these, shards that could not be made again.
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
                    if let Some(bytes) = check(&drive, key).await {
                        report.shards_checked += 1;
                        report.bytes_checked += bytes;
                    } else if drive.is_lost().is_none() && drive.contains(&key) {
                        report.shards_checked += 1;
                        report.shards_bad += 1;
                        self.inner.mend(place, key, lookup, &mut report).await?;
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
async fn check(drive: &Drive, key: ShardKey) -> Option<u64> {
    let drive = drive.clone();
    let reading =
        tokio::task::spawn_blocking(move || drive.read(&key).ok().map(|(_, shard)| shard.len() as u64));
    reading.await.ok().flatten()
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
            tracing::warn!(drive = place.number, pack = %key.pack, index, "a damaged shard of no pack is deleted");
            if delete_shard(place, key).await != Err(DriveFailure::Lost) {
                report.orphans += 1;
            }
            return Ok(());
        };
        let entry = Arc::new(entry);
        let _gate = self.rebuild_gate.read().await;
        self.quarantine(&entry, index).await;
        match self.rebuild(&entry, &[index]).await {
            Ok(rebuilt) if rebuilt.left == 0 => report.shards_rebuilt += rebuilt.shards as u64,
            _ => report.unrepaired += 1,
        }
        Ok(())
    }
}
