//! Re-placement in the background: a run whenever the layout gives reason for one, and again while something is left.
//!
//! What a run does is in `replace`. Invariant: one at a time; it holds the cluster only weakly between runs, so it ends with it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::replace::{ReplaceOptions, Stay};
use super::{Cluster, Inner, MoveError};
use crate::entry::DriveId;
use crate::ledger::Ledger;

/// How often it looks whether there is reason for a run.
const EVERY: Duration = Duration::from_secs(1);
/// How long after a run that left something the next one comes, ...
const AGAIN_MIN: Duration = Duration::from_secs(2);
/// ... doubled each time up to this; also how often drives that drain are looked at again, for a new shard may have come to one.
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// What runs so far have seen.
struct Reasons {
    /// The drives that were to be left at the last run.
    seen: Option<BTreeSet<DriveId>>,
    changes: u64,
    /// Whether the last run left nothing.
    complete: bool,
    next: Instant,
    pause: Duration,
}

impl Cluster {
    /// Places shards anew from now on, whenever drives are gone, drain, or have been lost for too long, and while it is this gateway's to do,
    /// as `may` says. Ends when the cluster is closed or the lease has ended.
    pub fn start_replacing(
        &self,
        ledger: Arc<dyn Ledger>,
        lease: u64,
        options: ReplaceOptions,
        may: Arc<dyn Fn() -> bool + Send + Sync>,
    ) {
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut reasons = Reasons {
                seen: None,
                changes: 0,
                complete: true,
                next: Instant::now(),
                pause: AGAIN_MIN,
            };
            while let Some(cluster) = open(&weak) {
                if may() && reasons.due(&cluster.inner, options.lost_after) {
                    match cluster.replace(&ledger, lease, options, &mut |_| {}).await {
                        Ok(report) => reasons.done(report.is_complete()),
                        Err(MoveError::LeaseEnded { .. }) => return,
                        Err(error) => {
                            tracing::warn!(%error, "placing shards anew stopped early; it will be tried again");
                            reasons.done(false);
                        }
                    }
                }
                drop(cluster);
                tokio::time::sleep(EVERY).await;
            }
        });
    }
}

/// The cluster, unless it was closed.
pub(super) fn open(weak: &Weak<Inner>) -> Option<Cluster> {
    let inner = weak.upgrade()?;
    (!inner.closing.load(Ordering::Acquire)).then_some(Cluster { inner, cause: None })
}

impl Reasons {
    /// Whether it is time for a run.
    fn due(&mut self, inner: &Inner, lost_after: Duration) -> bool {
        let layout = inner.layout();
        let leaves = |id: &DriveId| matches!(inner.stay(&layout, id, lost_after), Stay::Drains | Stay::Lost);
        let ids = layout.places().iter().map(|place| place.id());
        let leaving: BTreeSet<DriveId> = ids.filter(leaves).collect();
        let changes = inner.layout_changes.load(Ordering::Acquire);
        let news = self.seen.as_ref() != Some(&leaving) || self.changes != changes;
        if news {
            self.pause = AGAIN_MIN;
        }
        let due = news || Instant::now() >= self.next && (!self.complete || !leaving.is_empty());
        if due {
            (self.seen, self.changes) = (Some(leaving), changes);
        }
        due
    }

    fn done(&mut self, complete: bool) {
        self.complete = complete;
        self.pause = match complete {
            true => AGAIN_MAX,
            false => (self.pause * 2).min(AGAIN_MAX),
        };
        self.next = Instant::now() + self.pause;
    }
}
