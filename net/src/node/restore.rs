//! Bringing a lost drive of a node back, on a caller's word.
//!
//! Invariants: one at a time for a drive; a drive that is there is left alone, and so is a directory that holds another; what a directory
//! still holds of its drive is given up only when the caller says so.

use std::sync::Arc;

use engine::drive::DriveError;

use super::Node;
use crate::drives::{Drives, LocalDrive, Tried};
use crate::entry::DriveId;
use crate::peer::Refusal;
use crate::peer::message::{RestoreMode, Restored};

impl Node {
    /// Brings a lost drive back, as far as the caller says it may go. On a task of its own: what was begun is ended.
    pub(super) async fn restore(&self, drive: &DriveId, mode: RestoreMode) -> Result<Restored, Refusal> {
        let (drives, drive) = (Arc::clone(&self.drives), Arc::clone(self.drive(drive)?));
        let restoring = tokio::spawn(async move {
            let restored = restore(&drives, &drive, mode).await;
            restored.map_err(|error| {
                tracing::error!(drive = drive.number, %error, "a lost drive cannot be brought back");
                Refusal::Io
            })
        });
        restoring.await.unwrap_or(Err(Refusal::Io))
    }
}

async fn restore(
    drives: &Arc<Drives>,
    drive: &Arc<LocalDrive>,
    mode: RestoreMode,
) -> Result<Restored, DriveError> {
    let _alone = drive.restoring.lock().await;
    if drive.present().is_some() {
        return Ok(Restored::Reattached);
    }
    drives.detach(drive).await?;
    let wanted = mode != RestoreMode::Reattach;
    let tried = drives.blocking(drive, move |drives, drive| drives.try_back(drive, wanted));
    Ok(match tried.await? {
        Tried::Reattached => Restored::Reattached,
        Tried::Recreated => Restored::Recreated,
        Tried::Doubtful if mode == RestoreMode::Wipe => {
            drives.blocking(drive, Drives::wipe).await?;
            Restored::Recreated
        }
        Tried::Doubtful => Restored::Doubtful,
        Tried::StillLost => Restored::StillLost,
    })
}
