//! Bringing lost drives back: opened again where the data still is, made anew where it is gone.
//!
//! It rebuilds no shard, and does not know which are needed: the caller decides what may be wiped. Invariant: a directory that holds
//! the expected drive is opened again as it is, and one that holds another drive is left alone and named.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::drive::{DriveError, DriveIdentity, LostReason};
use tokio::sync::oneshot;

use super::Drives;
use super::drive::LocalDrive;
use super::flusher::Job;

/// How long a lost drive's writer may take to be let go before repair gives up on the drive.
const DETACH_WITHIN: Duration = Duration::from_secs(30);

/// What became of a lost drive without wiping anything.
pub(crate) enum Tried {
    /// Opened again.
    Reattached,
    /// Made anew in an empty directory.
    Recreated,
    /// There is something in the directory that is not to be trusted as it is.
    Doubtful,
    /// Nothing was done.
    StillLost,
}

impl Drives {
    /// Runs what may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        drive: &Arc<LocalDrive>,
        work: impl FnOnce(&Self, &Arc<LocalDrive>) -> Result<T, DriveError> + Send + 'static,
    ) -> Result<T, DriveError> {
        let (inner, drive) = (Arc::clone(self), Arc::clone(drive));
        let done = self.config.offload.run(move || work(&inner, &drive)).await;
        done.unwrap_or_else(|join| Err(io::Error::other(join).into()))
    }

    /// Has the flusher let go of a lost drive's writer, so that it can write nothing while the drive is opened anew.
    pub(crate) async fn detach(&self, drive: &Arc<LocalDrive>) -> Result<(), DriveError> {
        let Some(flusher) = drive.release() else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        let number = drive.number;
        let job = Job::Detach { drive: number, reply };
        if flusher.push_control(job).is_err() {
            // The thread has ended, and its writers with it.
            return Ok(());
        }
        match tokio::time::timeout(DETACH_WITHIN, answer).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    /// Opens a lost drive again whose directory holds it, and makes an empty one anew if that is wanted.
    pub(crate) fn try_back(&self, drive: &Arc<LocalDrive>, wanted: bool) -> Result<Tried, DriveError> {
        let unless_wanted = |error| if wanted { Err(error) } else { Ok(Tried::StillLost) };
        let expected = self.identity(drive);
        match DriveIdentity::read(&*self.disk, &drive.dir) {
            Ok(got) if got != expected => return unless_wanted(DriveError::WrongDrive { expected, got }),
            Ok(_) => {}
            Err(DriveError::NoDrive(error)) if error.kind() == io::ErrorKind::NotFound => {
                return match (wanted, self.holds_a_log(drive)?) {
                    (false, _) => Ok(Tried::StillLost),
                    (true, true) => Ok(Tried::Doubtful),
                    (true, false) => self.wipe(drive).map(|()| Tried::Recreated),
                };
            }
            Err(error) => return unless_wanted(error),
        }
        let doubtful = if wanted { Tried::Doubtful } else { Tried::StillLost };
        // After a failed write nobody knows which of its shards the disk holds.
        if drive.lost_reason() == Some(Some(LostReason::WriteFailed)) {
            return Ok(doubtful);
        }
        if !self.holds_a_log(drive)? {
            return match wanted {
                true => self.wipe(drive).map(|()| Tried::Recreated),
                false => Ok(Tried::StillLost),
            };
        }
        match self.attach(drive) {
            Ok(()) => {
                tracing::info!(drive = drive.number, dir = %drive.dir.display(), "a lost drive is back");
                Ok(Tried::Reattached)
            }
            Err(error @ DriveError::Io(_)) => unless_wanted(error),
            Err(error) => {
                tracing::error!(drive = drive.number, dir = %drive.dir.display(), %error, "a lost drive does not open");
                Ok(doubtful)
            }
        }
    }

    fn holds_a_log(&self, drive: &LocalDrive) -> io::Result<bool> {
        match self.disk.list_dir(&drive.dir.join("log")) {
            Ok(names) => Ok(!names.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Empties a lost drive's directory and makes the drive anew.
    pub(crate) fn wipe(&self, drive: &Arc<LocalDrive>) -> Result<(), DriveError> {
        let log = drive.dir.join("log");
        if self.disk.exists(&log) {
            self.disk.remove_dir_all(&log)?;
        }
        let identity = DriveIdentity::path(&drive.dir);
        if self.disk.exists(&identity) {
            self.disk.remove_file(&identity)?;
        }
        self.create(drive)
    }
}
