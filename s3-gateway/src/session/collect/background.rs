//! The background collector: a look once a minute.
//!
//! While clients write it does what is worth it; once nobody wrote since the last look it goes as far as `gc` does; then it rests until something
//! changes. Of several gateways one does so; the others clear away only what is their own. Invariant: what was found dead is not forgotten at
//! rest: what waits for others goes when they are past it, and the drives are looked through again when there is reason to.

use super::super::{Inner, SessionError};
use super::orders::Whose;
use super::{Depth, GcReport};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the background collector looks for work.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Starts the background collector of a session; it ends with the session.
pub(crate) fn start(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let mut stop = inner.stop.subscribe();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let Some(inner) = weak.upgrade() else { return };
            if let Err(error) = inner.look().await {
                tracing::warn!(%error, "the background collector stopped early; it will try again");
            }
        }
    });
}

impl Inner {
    pub(super) async fn look(self: &Arc<Self>) -> Result<Option<GcReport>, SessionError> {
        let mut looks = self.collecting.lock().await;
        self.see_ended_leases().await?;
        self.catch_up().await?;
        let works = self.gateways.does_background_work();
        if looks.take_over(works) || self.are_back() {
            self.scanned.store(0, Ordering::Relaxed);
        }
        if !works {
            return self.clear_left(Whose::Own).await;
        }
        let before = self.index.changed_through()?;
        let Some(depth) = looks.next(before) else {
            return self.clear_left(Whose::All).await;
        };
        let report = self.collect(depth, &|_| {}).await?;
        let nothing_waits = self.newest_departing().is_none() && self.scanned.load(Ordering::Relaxed) != 0;
        let complete = !report.incomplete && nothing_waits;
        looks.done(depth, before, self.index.changed_through()?, complete);
        Ok(Some(report))
    }

    /// What a gateway clears away that does not do the background work, or has nothing to do: what was left, without a plan.
    async fn clear_left(self: &Arc<Self>, whose: Whose) -> Result<Option<GcReport>, SessionError> {
        let mut report = GcReport::default();
        self.delete_departed(&mut report).await?;
        let looked = self.look_through(whose, &mut report).await?;
        if !looked && report.packs_deleted == 0 {
            return Ok(None);
        }
        if whose == Whose::All {
            self.compact(Depth::Idle, &mut report).await;
        }
        self.sum_up(&mut report)?;
        Ok(Some(report))
    }

    /// Looks through the drives for what no entry names: the first time, for what a crash left; later when there may be something to find.
    /// Whether it did.
    pub(super) async fn look_through(
        self: &Arc<Self>,
        whose: Whose,
        report: &mut GcReport,
    ) -> Result<bool, SessionError> {
        let moves = self.cluster.strays_left().saturating_add(1);
        let moved = self.scanned.swap(moves, Ordering::Relaxed) != moves;
        if self.pins.take_orphans() == 0 && !moved {
            return Ok(false);
        }
        let looked = self.delete_unnamed(whose, report).await;
        if looked.is_err() {
            self.scanned.store(0, Ordering::Relaxed);
        }
        looked.map(|()| true)
    }

    /// Whether a drive is there again that was not when something was to be deleted from it, or when it was looked through.
    fn are_back(&self) -> bool {
        let absent = self.cluster.absent_drives();
        let mut unreached = self.unreached();
        let before = unreached.len();
        unreached.retain(|drive| absent.contains(drive));
        unreached.len() < before
    }
}
