//! What the layout that there is survives, and how durable its packs are, in numbers.
//!
//! The figures are worked out in `engine::durability`; this looks where the shards are. Invariant: it reads no shard and changes nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::durability::{Assumptions, Durability, Observed, Survey, Survival, drives_writing, observed};
use engine::placement::DomainId;
use futures::StreamExt;

use super::layout::Standing;
use super::presence::{PAGE_PACKS, next_page};
use super::repair::PackStream;
use super::{Cluster, Inner};
use crate::ledger::LedgerError;

const MS_PER_YEAR: f64 = 365.25 * 86_400_000.0;

/// What the layout survives, and the three durability numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct DurabilityReport {
    /// Packs that were looked at.
    pub packs: u64,
    /// Packs by how many of their stored shards are missing.
    pub by_missing: BTreeMap<usize, u64>,
    /// Packs that cannot be read.
    pub unreadable: u64,
    /// What may be lost.
    pub survival: Survival,
    /// Any so many drives may be lost while all others are there, and new packs can be written; none if there are too few, or too close together.
    pub writing_when_whole: Option<usize>,
    /// If drives fail one by one.
    pub independent: Durability,
    /// If whole failure domains are lost as well.
    pub with_domain_losses: Durability,
    /// What was seen since the start.
    pub observed: Observed,
}

impl Cluster {
    /// Looks where the shards of these packs are, as the drives say, and works out what that is worth.
    ///
    /// # Errors
    /// The ledger did not give its packs.
    pub async fn durability(
        &self,
        packs: &PackStream<'_>,
        given: &Assumptions,
    ) -> Result<DurabilityReport, LedgerError> {
        let inner = &self.inner;
        let mut survey = Survey::default();
        let mut stream = packs().chunks(PAGE_PACKS);
        while let Some(page) = next_page(&mut stream).await? {
            let layout = inner.layout();
            for (entry, lacks) in page.iter().zip(inner.lacks(&page).await) {
                let domain_of = |index: usize| -> Option<DomainId> {
                    let place = layout.place(&entry.drive(index)?)?;
                    (!lacks.contains(&index)).then(|| place.domain())
                };
                survey.add(entry.summary.geometry.code, entry.stored().map(domain_of));
            }
        }
        let layout = inner.layout();
        let takes_part = |place: &&super::Place| place.standing() == Standing::Active;
        let drives: Vec<(DomainId, bool)> = layout
            .places()
            .iter()
            .filter(takes_part)
            .map(|place| (place.domain(), place.writable()))
            .collect();
        let whole: Vec<(DomainId, bool)> = drives.iter().map(|(domain, _)| (*domain, true)).collect();
        let shard_years = inner.counters.shard_ms.load(Ordering::Relaxed) as f64 / MS_PER_YEAR;
        Ok(DurabilityReport {
            packs: survey.packs(),
            by_missing: survey.by_missing(),
            unreadable: survey.unreadable(),
            survival: survey.survival(inner.code, &drives),
            writing_when_whole: drives_writing(inner.code, &whole),
            independent: survey.independent(given),
            with_domain_losses: survey.with_domain_losses(given),
            observed: observed(inner.counters.rebuilt.load(Ordering::Relaxed), shard_years),
        })
    }
}

impl Inner {
    /// Notes that the shards that are there were watched for so long.
    pub(super) fn note_watched(&self, time: Duration) {
        let layout = self.layout();
        let present = layout.places().iter().filter(|place| place.is_present());
        let shards: u64 = present.map(|place| place.shards()).sum();
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let watched = &self.counters.shard_ms;
        watched.fetch_add(shards.saturating_mul(ms), Ordering::Relaxed);
    }
}
