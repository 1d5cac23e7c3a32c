//! What is missing of every pack right now: the ledger's entries against what the drives' indexes hold, in memory.
//!
//! It is what `status` and `scrub` report. Unlike the list of [`super::missing`] it depends on no census that ran
//! before, so it is true in the first second as well, and of drives that were made anew. Invariant: it reads no shard and
//! changes nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::presence::{PAGE_PACKS, next_page};
use super::repair::PackStream;
use super::{Cluster, Inner};
use crate::entry::PackEntry;
use crate::ledger::LedgerError;

/// How long shards that acknowledged puts are still writing are waited for, ...
const LANDING: Duration = Duration::from_millis(500);
/// ... how often they are looked for, ...
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// ... and for how many packs at most.
const LANDING_MAX: usize = 1_024;

/// Packs and stored shards, and what is missing of them. Implied shards are not counted anywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packs of the ledger.
    pub packs: u64,
    /// Their stored shards.
    pub shards: u64,
    /// Stored shards that no drive has, or that are known to be damaged.
    pub missing: u64,
    /// The most that one pack lacks.
    pub missing_max: usize,
    /// Packs that lack any.
    pub at_risk: u64,
    /// Of these, packs that lack more than their parity: they cannot be read, nor rebuilt.
    pub unreadable: u64,
}

impl Cluster {
    /// Counts what is missing of these packs.
    ///
    /// # Errors
    /// The ledger did not give its packs.
    pub async fn tally(&self, packs: &PackStream<'_>) -> Result<Tally, LedgerError> {
        let inner = &self.inner;
        let mut tally = Tally::default();
        let mut landing = Vec::new();
        let mut stream = packs().chunks(PAGE_PACKS);
        while let Some(page) = next_page(&mut stream).await? {
            let lacks = inner.lacks(&page).await;
            for (entry, lacks) in page.into_iter().zip(lacks) {
                tally.packs += 1;
                tally.shards += entry.stored().count() as u64;
                if landing.len() < LANDING_MAX && inner.may_be_landing(&entry, &lacks) {
                    landing.push(entry);
                } else {
                    tally.add(inner, &entry, lacks);
                }
            }
        }
        let until = Instant::now() + LANDING;
        while !landing.is_empty() {
            let lacks = inner.lacks(&landing).await;
            let late = Instant::now() >= until;
            let looked: Vec<_> = std::mem::take(&mut landing).into_iter().zip(lacks).collect();
            for (entry, lacks) in looked {
                match inner.may_be_landing(&entry, &lacks) && !late {
                    true => landing.push(entry),
                    false => tally.add(inner, &entry, lacks),
                }
            }
            if !landing.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(tally)
    }
}

impl Inner {
    /// Whether what the pack lacks may be on its way: it was acknowledged without, and nobody noted that it failed.
    fn may_be_landing(&self, entry: &PackEntry, absent: &[usize]) -> bool {
        if self.counters.packs_put.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let is_present = |index: &usize| {
            let place = self.place_of(entry, *index);
            place.is_some_and(|place| place.is_present())
        };
        !absent.is_empty()
            && absent.len() <= entry.summary.geometry.code.parity() / 2
            && absent.iter().all(is_present)
            && self.missing.of(entry.id()).is_empty()
            && !self.missing.is_deleted(entry.id())
    }
}

impl Tally {
    fn add(&mut self, inner: &Inner, entry: &PackEntry, mut lacks: Vec<usize>) {
        if inner.missing.is_deleted(entry.id()) {
            return;
        }
        // The list also remembers shards that a drive may have again: they only count as lost for reading when absent.
        self.unreadable += u64::from(lacks.len() > entry.summary.geometry.code.parity());
        lacks.extend(inner.missing.of(entry.id()));
        lacks.sort_unstable();
        lacks.dedup();
        self.missing += lacks.len() as u64;
        self.missing_max = self.missing_max.max(lacks.len());
        self.at_risk += u64::from(!lacks.is_empty());
    }
}
