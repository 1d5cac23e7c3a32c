//! The drive checker: notices, every second and also when nothing is written, that a drive's directory is gone.
//!
//! It also lets full drives take puts again when space came back. Healing runs beside it, in a task of its own, so that
//! a slow rebuild does not keep the checker from looking. Invariant: both hold the cluster only weakly, so they end with
//! it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Cluster, Inner};

/// How often drives are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Starts the checker and the healer on the current runtime.
pub(super) fn spawn(inner: &Arc<Inner>) {
    tokio::spawn(watch(Arc::downgrade(inner)));
    tokio::spawn(heal(Arc::downgrade(inner), Arc::clone(&inner.heal)));
}

async fn watch(weak: Weak<Inner>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = weak.upgrade() else { return };
        if tokio::task::spawn_blocking(move || inner.check_drives())
            .await
            .is_err()
        {
            return;
        }
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
    fn check_drives(&self) {
        if self.missing.wants_census() {
            self.census.notify_one();
        }
        for place in &self.drives {
            let Some(drive) = place.present() else { continue };
            if let Err(error) = drive.check_present() {
                tracing::error!(drive = place.number, dir = %place.dir.display(), %error, "a drive is lost");
                continue;
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
}

impl Cluster {
    /// Looks at every drive now, as the checker does each second.
    pub async fn check_drives(&self) {
        let inner = Arc::clone(&self.inner);
        if tokio::task::spawn_blocking(move || inner.check_drives())
            .await
            .is_err()
        {
            tracing::error!("the drive check failed");
        }
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
