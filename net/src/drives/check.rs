//! The drive checker: notices, every second and also when nothing is written, that a drive's directory is gone.
//!
//! It also lets full drives take puts again when space came back. Invariants: it holds the drives only weakly, so it ends with
//! them; a drive that does not answer a check keeps one thread, and no other drive's check, waiting.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Drives;
use super::drive::LocalDrive;

/// How often drives are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long a round of checks waits for the slowest drive.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Starts the checker on the current runtime.
pub(super) fn spawn(drives: &Arc<Drives>) {
    tokio::spawn(watch(Arc::downgrade(drives)));
}

async fn watch(weak: Weak<Drives>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(drives) = weak.upgrade() else { return };
        drives.check(false).await;
    }
}

impl Drives {
    /// Checks every drive, each on a thread of its own. One whose last check is still under way is passed over, or asked again
    /// after it: what it finds may be older than this call.
    pub(crate) async fn check(self: &Arc<Self>, ask_again: bool) {
        let mut checks = tokio::task::JoinSet::new();
        for place in &self.drives {
            let alone = Arc::clone(&place.checking);
            if !ask_again && alone.try_lock().is_err() {
                continue;
            }
            let (drives, place) = (Arc::clone(self), Arc::clone(place));
            let offload = self.config.offload.clone();
            checks.spawn(async move {
                let alone = alone.lock_owned().await;
                let check = offload.run(move || {
                    drives.check_drive(&place);
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

    fn check_drive(&self, place: &LocalDrive) {
        let Some(drive) = place.present() else { return };
        if let Err(error) = drive.check_present() {
            tracing::error!(drive = place.number, dir = %place.dir.display(), %error, "a drive is lost");
            return;
        }
        let free = self.free_bytes(place);
        place.set_free_bytes(free);
        if place.is_full() && free >= self.config.headroom_bytes.saturating_mul(2) {
            tracing::info!(
                drive = place.number,
                free_bytes = free,
                "a full drive takes puts again"
            );
            place.set_full(false);
            self.changes.came_back();
        }
    }
}
