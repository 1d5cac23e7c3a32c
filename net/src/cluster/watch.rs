//! The drive checker: notices, every second and also when nothing is written, that a drive's directory is gone.
//!
//! It also lets full drives take puts again when space came back. Healing runs beside it, in a task of its own, so that
//! a slow rebuild does not keep the checker from looking. Invariants: both hold the cluster only weakly, so they end with
//! it; a drive that does not answer a check keeps one thread, and no other drive's check, waiting.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::drive::LocalDrive;
use super::{Cluster, Inner};

/// How often drives are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a round of checks waits for the slowest drive.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Starts the checker and the healer on the current runtime.
pub(super) fn spawn(inner: &Arc<Inner>) {
    tokio::spawn(watch(Arc::downgrade(inner)));
    tokio::spawn(heal(Arc::downgrade(inner), Arc::clone(&inner.heal)));
}

async fn watch(weak: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = weak.upgrade() else { return };
        check_drives(&inner, false).await;
    }
}

/// Checks every drive, each on a thread of its own. One whose last check is still under way is passed over, or asked again
/// after it: what it finds may be older than this call.
async fn check_drives(inner: &Arc<Inner>, ask_again: bool) {
    if inner.missing.wants_census() {
        inner.census.notify_one();
    }
    let mut checks = tokio::task::JoinSet::new();
    for place in &inner.drives {
        let alone = Arc::clone(&place.checking);
        if !ask_again && alone.try_lock().is_err() {
            continue;
        }
        let (inner, place) = (Arc::clone(inner), Arc::clone(place));
        checks.spawn(async move {
            let alone = alone.lock_owned().await;
            let check = tokio::task::spawn_blocking(move || {
                inner.check_drive(&place);
                drop(alone);
            });
            if check.await.is_err() {
                tracing::error!("a drive's check failed");
            }
        });
    }
    let all = async { while checks.join_next().await.is_some() {} };
    if tokio::time::timeout(WAIT_MAX, all).await.is_err() {
        tracing::warn!(
            drives = checks.len(),
            "drives do not answer whether they are there"
        );
    }
}

async fn heal(weak: Weak<Inner>, wanted: Arc<Notify>) {
    let mut healed = None;
    loop {
        // Either a second passes or a read found something to heal.
        let _ = tokio::time::timeout(EVERY, wanted.notified()).await;
        let Some(inner) = weak.upgrade() else { return };
        healed = inner.heal_round(healed, true).await;
    }
}

impl Inner {
    fn check_drive(&self, place: &LocalDrive) {
        let Some(drive) = place.present() else { return };
        if let Err(error) = drive.check_present() {
            tracing::error!(drive = place.number, dir = %place.dir.display(), %error, "a drive is lost");
            return;
        }
        if place.is_full() {
            let free = self.disk.available_bytes(&place.dir).unwrap_or(0);
            if free >= self.config.headroom_bytes.saturating_mul(2) {
                tracing::info!(
                    drive = place.number,
                    free_bytes = free,
                    "a full drive takes puts again"
                );
                place.set_full(false);
                self.missing.wake();
            }
        }
    }
}

impl Cluster {
    /// Looks at every drive now, as the checker does each second. Waits at most a second for one that does not answer.
    pub async fn check_drives(&self) {
        check_drives(&self.inner, true).await;
    }

    /// Heals what can be healed now, as the checker does each second.
    pub async fn heal(&self) {
        let mut after = None;
        loop {
            after = self.inner.heal_round(after, false).await;
            if after.is_none() {
                return;
            }
        }
    }
}
