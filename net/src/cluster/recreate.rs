//! Bringing lost drives back for repair: opened again where the data still is, made anew where it is gone.
//!
//! It rebuilds no shard; repair does, afterwards. Invariant: a directory that holds the expected drive is opened again
//! as it is, one that holds another drive is left alone and named, and bytes that may be needed are only wiped when
//! every pack stays readable without them, or when the caller accepts the loss.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::drive::{DriveError, DriveIdentity, LostReason};
use futures::StreamExt;
use tokio::sync::oneshot;

use super::Inner;
use super::drive::LocalDrive;
use super::flusher::Job;
use super::repair::{PackStream, RepairError, RepairOptions};
use crate::ledger::LedgerError;

/// How long a lost drive's writer may take to be let go before repair gives up on the drive.
const DETACH_WITHIN: Duration = Duration::from_secs(30);

/// Directories of drives that are there again.
#[derive(Debug, Default)]
pub(super) struct Back {
    pub(super) reattached: Vec<PathBuf>,
    pub(super) recreated: Vec<PathBuf>,
}

/// What became of a lost drive without wiping anything.
enum Tried {
    Reattached,
    Recreated,
    /// There is something in the directory that is not to be trusted as it is.
    Doubtful,
    StillLost,
}

impl Inner {
    /// Opens every lost drive again whose directory holds it, and makes those anew that the caller wants.
    pub(super) async fn bring_back(
        self: &Arc<Self>,
        packs: &PackStream<'_>,
        options: &RepairOptions,
    ) -> Result<Back, RepairError> {
        let mut back = Back::default();
        let mut doubtful = Vec::new();
        for drive in self.drives.iter().filter(|drive| drive.present().is_none()) {
            let wanted = options.recreate && drive.default || options.replace.contains(&drive.dir);
            self.detach(drive).await.map_err(|error| failed(drive, error))?;
            let tried = self
                .blocking(drive, move |inner, drive| inner.try_back(drive, wanted))
                .await;
            match tried.map_err(|error| failed(drive, error))? {
                Tried::Reattached => back.reattached.push(drive.dir.clone()),
                Tried::Recreated => back.recreated.push(drive.dir.clone()),
                Tried::Doubtful => doubtful.push(drive),
                Tried::StillLost => {}
            }
        }
        // Last, when everything else that has shards is back; and those to be given up after those that are not.
        let given_up = |drive: &&Arc<LocalDrive>| options.accept_risk && options.replace.contains(&drive.dir);
        let (named, others): (Vec<_>, Vec<_>) = doubtful.into_iter().partition(given_up);
        for drive in others.into_iter().chain(named) {
            if !given_up(&drive) {
                let packs = self.packs_that_need(drive, packs).await?;
                if packs > 0 {
                    let dir = drive.dir.clone();
                    return Err(RepairError::AtRisk { dir, packs });
                }
            }
            let made = self.blocking(drive, Self::wipe).await;
            made.map_err(|error| failed(drive, error))?;
            back.recreated.push(drive.dir.clone());
        }
        Ok(back)
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        drive: &Arc<LocalDrive>,
        work: impl FnOnce(&Self, &Arc<LocalDrive>) -> Result<T, DriveError> + Send + 'static,
    ) -> Result<T, DriveError> {
        let (inner, drive) = (Arc::clone(self), Arc::clone(drive));
        let done = tokio::task::spawn_blocking(move || work(&inner, &drive)).await;
        done.unwrap_or_else(|join| Err(io::Error::other(join).into()))
    }

    /// Has the flusher let go of a lost drive's writer, so that it can write nothing while the drive is opened anew.
    async fn detach(&self, drive: &Arc<LocalDrive>) -> Result<(), DriveError> {
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

    fn try_back(&self, drive: &Arc<LocalDrive>, wanted: bool) -> Result<Tried, DriveError> {
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
    fn wipe(&self, drive: &Arc<LocalDrive>) -> Result<(), DriveError> {
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

    /// How many packs have a shard on this lost drive and too few on the others.
    async fn packs_that_need(&self, drive: &LocalDrive, packs: &PackStream<'_>) -> Result<u64, LedgerError> {
        let mut need = 0;
        let mut stream = packs();
        while let Some(entry) = stream.next().await {
            let entry = entry?;
            let code = entry.summary.geometry.code;
            let here = entry.stored().any(|index| entry.drive(index) == Some(drive.id));
            let there = (0..code.shards()).filter(|index| self.is_there(&entry, *index));
            need += u64::from(here && there.count() < code.data());
        }
        Ok(need)
    }
}

fn failed(drive: &LocalDrive, source: DriveError) -> RepairError {
    RepairError::Recreate {
        dir: drive.dir.clone(),
        source,
    }
}
