//! Repair: every pack looked at, lost drives made again when asked, every missing shard rebuilt, and a census at the
//! end.
//!
//! It takes the packs from the ledger and needs no vault key. Passes over the list instead of a list in memory keep its
//! memory bounded: one pass for each number of missing shards, the most missing first. Invariant: a drive directory is
//! recreated only when the caller asked for that drive and what it holds is not needed; a drive that is back is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::drive::DriveError;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::presence::{PAGE_PACKS, next_page};
use super::read::ReadError;
use super::{Cluster, Inner};
use crate::drives::DriveFailure;
use crate::entry::PackEntry;
use crate::ledger::{Ledger, LedgerError};
use crate::peer::Purpose;

/// The packs of a ledger, one stream for each call: repair passes over them several times.
pub type PackStream<'a> = dyn Fn() -> BoxStream<'a, Result<PackEntry, LedgerError>> + Send + Sync + 'a;

/// Packs rebuilt at one time.
const CONCURRENT: usize = 2;

/// What repair may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Recreate the lost drives whose directories are the program's own defaults.
    pub recreate: bool,
    /// Recreate these lost drives as well, by directory.
    pub replace: Vec<PathBuf>,
    /// Check every shard's hash first, not only that it is there.
    pub deep: bool,
    /// Recreate a drive even if packs become unreadable by it, whose last shards may lie in its directory.
    pub accept_risk: bool,
}

/// How far a repair or a scrub is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packs (repair) or shards (scrub) looked at in this pass.
    pub done: u64,
    /// Packs or shards that there are; 0 while that is not known.
    pub total: u64,
    /// Shards rebuilt so far.
    pub shards_rebuilt: u64,
    /// Bytes rebuilt so far.
    pub bytes_rebuilt: u64,
    /// How long the rest takes at the pace so far, in seconds, where that is known.
    pub seconds_left: Option<u64>,
}

/// What a repair found and did. The figures of the census are counted after the last rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Packs in the census.
    pub packs: u64,
    /// Stored shards in the census.
    pub shards_checked: u64,
    /// Shards made again.
    pub shards_rebuilt: u64,
    /// Their bytes.
    pub bytes_rebuilt: u64,
    /// Damaged shards found by their hashes.
    pub shards_bad: u64,
    /// Damaged shards that could not be replaced, and shards that could not be read. They stay where they are.
    pub unrepaired: u64,
    /// Shards still missing in the census.
    pub still_missing: u64,
    /// Packs that lack more than their parity: they cannot be read.
    pub packs_unreadable: u64,
    /// Directories of drives that were found with their data and opened again.
    pub reattached: Vec<PathBuf>,
    /// Directories of drives that were made again.
    pub recreated: Vec<PathBuf>,
    /// Directories of drives that are lost still.
    pub lost: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether every shard of every pack is there, and none is known to be damaged.
    pub fn is_complete(&self) -> bool {
        self.still_missing == 0 && self.unrepaired == 0
    }
}

/// Why a repair ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The ledger did not give its packs.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A drive could not be recreated.
    #[error("the drive {} cannot be brought back: {source}", dir.display())]
    Recreate {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: DriveError,
    },
    /// Recreating a drive would throw away what its directory still holds, and too few other drives hold it.
    #[error(
        "{} was not recreated: {packs} packs have too few shards on the other drives; bring those back first, restart to use it as it is, or give them up with --replace {} --accept-risk",
        dir.display(), dir.display()
    )]
    AtRisk {
        /// The directory.
        dir: PathBuf,
        /// Packs that would be unreadable.
        packs: u64,
    },
}

/// The packs that a ledger names, as a stream over a snapshot taken at each call.
pub fn packs_of(ledger: &dyn Ledger) -> BoxStream<'_, Result<PackEntry, LedgerError>> {
    crate::ledger::pack_entries(ledger)
}

impl Cluster {
    /// Brings every pack back to all of its shards, as far as drives are there.
    pub async fn repair(
        &self,
        packs: &PackStream<'_>,
        options: &RepairOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<RepairReport, RepairError> {
        self.check_drives().await;
        let _under_way = UnderWay::begin(&self.inner);
        let back = self.inner.bring_back(packs, options).await?;
        let mut pass = Pass {
            inner: &self.inner,
            packs,
            report: RepairReport {
                reattached: back.reattached,
                recreated: back.recreated,
                ..RepairReport::default()
            },
            shown: Progress::default(),
            progress,
        };
        if options.deep {
            pass.check_hashes().await?;
        }
        let mut risks = pass.census().await?;
        // The most missing first; a pack that lost more between the passes is met in a later one or by the census.
        while let Some(risk) = risks.pop() {
            pass.rebuild(risk).await?;
        }
        pass.census().await?;
        let mut report = pass.report;
        if self.inner.layout().has_peers() {
            // Shards of a peer that was away a moment ago are on the list until they are looked at.
            self.heal().await;
        }
        if report.packs_unreadable > 0 {
            let packs = report.packs_unreadable;
            tracing::warn!(
                packs,
                "packs could not be rebuilt: they have lost more shards than their parity"
            );
        }
        report.lost = self.lost_dirs();
        Ok(report)
    }
}

impl Cluster {
    /// Counts packs, shards and what is missing, and changes nothing but the list of packs at risk.
    pub async fn census(&self, packs: &PackStream<'_>) -> Result<RepairReport, RepairError> {
        let mut pass = Pass {
            inner: &self.inner,
            packs,
            report: RepairReport::default(),
            shown: Progress::default(),
            progress: &mut |_| {},
        };
        pass.census().await?;
        let mut report = pass.report;
        report.lost = self.lost_dirs();
        Ok(report)
    }

    fn lost_dirs(&self) -> Vec<PathBuf> {
        let layout = self.inner.layout();
        let lost = layout.members().filter(|place| !place.is_present());
        lost.map(|place| place.dir().to_owned()).collect()
    }
}

/// A repair under way.
struct UnderWay<'a>(&'a Inner);

impl<'a> UnderWay<'a> {
    fn begin(inner: &'a Inner) -> Self {
        inner.repairs.fetch_add(1, Ordering::AcqRel);
        Self(inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.repairs.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Pass<'a, 's, 'p> {
    inner: &'a Arc<Inner>,
    packs: &'a PackStream<'s>,
    report: RepairReport,
    shown: Progress,
    progress: &'a mut (dyn FnMut(Progress) + Send + 'p),
}

impl Pass<'_, '_, '_> {
    fn show(&mut self) {
        self.shown.shards_rebuilt = self.report.shards_rebuilt;
        self.shown.bytes_rebuilt = self.report.bytes_rebuilt;
        (self.progress)(self.shown);
    }

    /// Counts packs, shards and what is missing. The numbers of missing shards that occur, ascending.
    async fn census(&mut self) -> Result<Vec<usize>, RepairError> {
        let mut seen = std::collections::BTreeSet::new();
        let (mut packs, mut shards, mut missing, mut unreadable) = (0, 0, 0, 0);
        let number = self
            .inner
            .missing
            .begin_census(self.inner.known_leases().accepted.lowest());
        let mut stream = (self.packs)().chunks(PAGE_PACKS);
        while let Some(page) = next_page(&mut stream).await? {
            self.inner.missing.refresh(&page);
            for (entry, absent) in page.iter().zip(self.inner.lacks(&page).await) {
                packs += 1;
                shards += entry.stored().count() as u64;
                missing += absent.len() as u64;
                unreadable += u64::from(absent.len() > entry.summary.geometry.code.parity());
                if !absent.is_empty() {
                    seen.insert(absent.len());
                    // Nobody is accused: the entry may have changed since the census began.
                    self.inner.missing.add(entry, absent);
                }
            }
        }
        // What it did not meet and no drive has is no pack any more.
        let not_met = self.inner.missing.end_census(number);
        for pack in self.inner.gone(&not_met).await {
            self.inner.missing.drop_not_met(pack, number);
        }
        self.report.packs = packs;
        self.report.shards_checked = shards;
        self.report.still_missing = missing;
        self.report.packs_unreadable = unreadable;
        self.shown.total = packs;
        Ok(seen.into_iter().collect())
    }

    /// Reads every shard and replaces those that do not check, as far as the others of their packs can make them.
    async fn check_hashes(&mut self) -> Result<(), RepairError> {
        let mut stream = (self.packs)();
        self.shown.done = 0;
        while let Some(entry) = stream.next().await {
            let entry = Arc::new(entry?);
            let (mut bad, mut false_claims) = (Vec::new(), Vec::new());
            let absent = self.inner.absent(&entry).await;
            for index in entry.stored().filter(|index| !absent.contains(index)) {
                match self
                    .inner
                    .read_verified(&entry, index, Purpose::Repair.into())
                    .await
                {
                    Err(DriveFailure::Damaged) => {
                        self.inner.blame(&entry, index);
                        bad.push(index);
                    }
                    Err(DriveFailure::Absent) => false_claims.push(index),
                    Err(DriveFailure::Io) => self.report.unrepaired += 1,
                    _ => {}
                }
            }
            // What was deleted meanwhile is no claim; asked again, an honest drive says so.
            if !false_claims.is_empty() {
                let absent = self.inner.absent(&entry).await;
                false_claims.retain(|index| !absent.contains(index));
                for index in &false_claims {
                    self.inner.unmask(&entry, *index);
                }
                bad.extend(false_claims);
            }
            if !bad.is_empty() {
                self.replace(&entry, &bad).await;
            }
            self.shown.done += 1;
            self.show();
        }
        Ok(())
    }

    async fn replace(&mut self, entry: &Arc<PackEntry>, bad: &[usize]) {
        self.report.shards_bad += bad.len() as u64;
        let mut lacks = self.inner.absent(entry).await;
        lacks.extend(bad);
        let _gate = self.inner.rebuild_gate.read().await;
        let made = match self.inner.rebuild(entry, &lacks).await {
            Ok(rebuilt) => {
                self.report.shards_rebuilt += rebuilt.made.len() as u64;
                self.report.bytes_rebuilt += rebuilt.bytes;
                rebuilt.made
            }
            Err(error) => {
                tracing::warn!(%error, pack = %entry.id(), "damaged shards cannot be replaced");
                Vec::new()
            }
        };
        self.report.unrepaired += bad.iter().filter(|index| !made.contains(index)).count() as u64;
    }

    /// Rebuilds the packs that lack at least `risk` shards.
    async fn rebuild(&mut self, risk: usize) -> Result<(), RepairError> {
        self.shown.done = 0;
        let inner = Arc::clone(self.inner);
        let mut stream = (self.packs)().chunks(PAGE_PACKS);
        while let Some(page) = next_page(&mut stream).await? {
            let lacks = inner.lacks(&page).await;
            let at_risk = page.into_iter().zip(lacks).map(|(entry, absent)| {
                let inner = Arc::clone(&inner);
                async move {
                    if absent.len() < risk {
                        return None;
                    }
                    let _gate = inner.rebuild_gate.read().await;
                    // Again: what was deleted meanwhile must not come back.
                    if inner.missing.is_deleted(entry.id()) {
                        return None;
                    }
                    Some(inner.rebuild(&Arc::new(entry), &absent).await)
                }
            });
            let mut rebuilding = std::pin::pin!(futures::stream::iter(at_risk).buffer_unordered(CONCURRENT));
            while let Some(result) = rebuilding.next().await {
                self.shown.done += 1;
                match result {
                    Some(Ok(rebuilt)) => {
                        self.report.shards_rebuilt += rebuilt.made.len() as u64;
                        self.report.bytes_rebuilt += rebuilt.bytes;
                    }
                    // The census names it again.
                    Some(Err(error @ ReadError::Wrong { .. })) => {
                        tracing::error!(%error, "a pack could not be rebuilt")
                    }
                    // Counted, and said once, at the end.
                    Some(Err(error @ ReadError::NotEnoughShards { .. })) => {
                        tracing::debug!(%error, "a pack has too few shards to be rebuilt");
                    }
                    Some(Err(error)) => tracing::warn!(%error, "a pack could not be rebuilt"),
                    None => {}
                }
                self.show();
            }
        }
        Ok(())
    }
}
