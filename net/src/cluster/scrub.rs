//! Scrub: every drive reads every shard that it holds and checks its hash, a peer's drive where it is.
//!
//! It starts from the drives, so it also meets shards that no pack names; those it only counts. Invariant: a shard that
//! does not check is replaced once the right one has been computed, and stays where it is until then.

use std::sync::Arc;

use engine::drive::ShardKey;
use engine::pack::PackId;
use futures::future::BoxFuture;

use super::place::Place;
use super::repair::Progress;
use super::{Cluster, Inner};
use crate::drives::DriveFailure;
use crate::entry::PackEntry;
use crate::ledger::LedgerError;

/// Finds a pack's ledger entry.
pub type PackLookup<'a> =
    dyn Fn(PackId) -> BoxFuture<'a, Result<Option<PackEntry>, LedgerError>> + Send + Sync + 'a;

/// Shards that a drive checks before it says how far it is.
const PAGE: usize = 64;

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
        let layout = self.inner.layout();
        let present = layout.places().iter().filter(|place| place.is_present());
        let places: Vec<_> = present.collect();
        let mut report = ScrubReport::default();
        let mut shown = Progress {
            total: places.iter().map(|place| place.shards()).sum(),
            ..Progress::default()
        };
        for place in places {
            let mut after = None;
            loop {
                let page = match place.scrub(after, PAGE).await {
                    Ok(page) => page,
                    // A drive that is lost meanwhile is not what a scrub is about.
                    Err(DriveFailure::Lost | DriveFailure::Closed) => break,
                    Err(_) => {
                        // What is left of this drive was not looked at: one, at least.
                        report.unrepaired += 1;
                        break;
                    }
                };
                report.shards_checked += page.shards;
                report.bytes_checked += page.bytes;
                report.shards_bad += page.bad.len() as u64;
                report.unrepaired += page.unread;
                for key in page.bad {
                    self.inner.mend(place, key, lookup, &mut report).await?;
                }
                shown.done += page.shards + page.unread;
                shown.shards_rebuilt = report.shards_rebuilt;
                progress(shown);
                after = page.last;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(report)
    }
}

impl Inner {
    async fn mend(
        self: &Arc<Self>,
        place: &Place,
        key: ShardKey,
        lookup: &PackLookup<'_>,
        report: &mut ScrubReport,
    ) -> Result<(), LedgerError> {
        let index = usize::from(key.index);
        let entry = lookup(key.pack)
            .await?
            .filter(|entry| entry.drive(index) == Some(place.id()));
        let Some(entry) = entry else {
            tracing::warn!(drive = place.number(), pack = %key.pack, index, "a damaged shard of no known pack is left alone");
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
                tracing::warn!(%error, drive = place.number(), pack = %key.pack, index, "a damaged shard cannot be replaced");
                report.unrepaired += 1;
            }
        }
        Ok(())
    }
}
