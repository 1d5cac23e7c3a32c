//! The drive checker: notices, every second and also when nothing is written, that a drive's directory is gone.
//!
//! It also lets full drives take puts again when space came back, and runs healing. Invariant: it holds the cluster
//! only weakly, so it ends with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Cluster, Inner};

/// How often drives are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Starts the checker on the current runtime.
pub(super) fn spawn(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    tokio::spawn(watch(weak));
}

async fn watch(weak: Weak<Inner>) {
    let Some(heal) = weak.upgrade().map(|inner| Arc::clone(&inner.heal)) else {
        return;
    };
    let mut healed = None;
    loop {
        // Either a second passes or a read found something to heal.
        let _ = tokio::time::timeout(EVERY, heal.notified()).await;
        let Some(inner) = weak.upgrade() else { return };
        let checked = Arc::clone(&inner);
        if tokio::task::spawn_blocking(move || checked.check_drives())
            .await
            .is_err()
        {
            return;
        }
        healed = inner.heal_round(healed).await;
    }
}

impl Inner {
    fn check_drives(&self) {
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
            after = self.inner.heal_round(after).await;
            if after.is_none() {
                return;
            }
        }
    }
}
