//! Opening the drives of this machine: which directory is which drive, and which are lost.
//!
//! It recreates nothing: a drive that is not there is lost, unless this is the first start. Invariant: every directory
//! of the configuration has a drive id, also while it is lost: the ids of the default layout are derived from the
//! cluster id, a directory that has an identity keeps it, and what is left goes to the lost ones in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use engine::disk::{Disk, OpenMode};
use engine::drive::{DriveError, DriveIdentity, DriveWriter};

use super::drive::LocalDrive;
use super::flusher::{Flusher, Job};
use super::{Changes, Drives, DrivesConfig, check};
use crate::entry::DriveId;

const DRIVE_ID_CONTEXT: &str = "cairn v1 drive id";

/// Why the drives cannot be opened at all. A drive that is not there is not an error: it is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrivesOpenError {
    /// A directory belongs to another cluster.
    #[error("{} belongs to another cluster", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// Two directories hold the same drive.
    #[error("{} and another directory are the same drive", dir.display())]
    Twice {
        /// One of them.
        dir: PathBuf,
    },
    /// Another process has the drive.
    #[error("the drive {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A new drive could not be made.
    #[error("the drive {} cannot be made", dir.display())]
    Create {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: DriveError,
    },
    /// A flusher thread could not be started.
    #[error("a flusher thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// The id of drive `number` in the default layout of a cluster, or of a node with ids of its own.
pub fn drive_id(seed: &[u8; 16], number: usize) -> DriveId {
    let mut hasher = blake3::Hasher::new_derive_key(DRIVE_ID_CONTEXT);
    hasher.update(seed);
    hasher.update(&(number as u64).to_le_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    id
}

/// The cluster id that the first readable drive directory carries.
pub fn cluster_id_of<'a>(disk: &dyn Disk, dirs: impl IntoIterator<Item = &'a Path>) -> Option<[u8; 16]> {
    dirs.into_iter()
        .find_map(|dir| DriveIdentity::read(disk, dir).ok())
        .map(|identity| identity.cluster)
}

impl Drives {
    /// Opens the drives that are there and starts a flusher for each device. Must be called inside a tokio runtime,
    /// on which the drive checker then runs.
    pub(crate) async fn open(
        disk: Arc<dyn Disk>,
        config: DrivesConfig,
    ) -> Result<Arc<Self>, DrivesOpenError> {
        let offload = config.offload.clone();
        let opening = offload.run(move || Self::open_here(disk, config));
        let drives = opening.await.map_err(std::io::Error::other)??;
        check::spawn(&drives);
        Ok(drives)
    }

    /// Closes every drive cleanly. Puts that are not answered by then fail.
    pub(crate) async fn close(&self) {
        let flushers: Vec<_> = self.flushers().values().cloned().collect();
        futures::future::join_all(flushers.iter().map(|flusher| flusher.close())).await;
    }
}

/// The drive id of each directory, and whether an identity is there.
fn identities(disk: &dyn Disk, config: &DrivesConfig) -> Result<Vec<(DriveId, bool)>, DrivesOpenError> {
    let mut found: Vec<Option<DriveId>> = Vec::with_capacity(config.drives.len());
    let mut taken = BTreeSet::new();
    for place in &config.drives {
        let identity = DriveIdentity::read(disk, &place.dir).ok();
        if let Some(identity) = &identity {
            if identity.cluster != config.cluster {
                return Err(DrivesOpenError::Foreign {
                    dir: place.dir.clone(),
                });
            }
            if !taken.insert(identity.drive) {
                return Err(DrivesOpenError::Twice {
                    dir: place.dir.clone(),
                });
            }
        }
        found.push(identity.map(|identity| identity.drive));
    }
    let mut free = (0..config.drives.len())
        .map(|number| drive_id(&config.id_seed, number))
        .filter(|id| !taken.contains(id));
    // As many derived ids as directories, so one is left for each directory without an identity.
    Ok(found
        .into_iter()
        .map(|id| match id {
            Some(id) => (id, true),
            None => (free.next().unwrap_or_default(), false),
        })
        .collect())
}

impl Drives {
    fn open_here(disk: Arc<dyn Disk>, config: DrivesConfig) -> Result<Arc<Self>, DrivesOpenError> {
        let ids = identities(&*disk, &config)?;
        let drives: Vec<_> = config
            .drives
            .iter()
            .zip(&ids)
            .enumerate()
            .map(|(number, (place, (id, _)))| {
                let offload = config.offload.clone();
                Arc::new(LocalDrive::lost(number, *id, place, offload))
            })
            .collect();
        let opened = Arc::new(Self {
            disk,
            drives,
            flushers: Mutex::new(BTreeMap::new()),
            collectors: Mutex::new(BTreeMap::new()),
            accepted: RwLock::default(),
            changes: Arc::new(Changes::new((config.fresh_log_id)())),
            config,
        });
        for (drive, (_, present)) in opened.drives.iter().zip(ids) {
            if !present && opened.config.create {
                opened.create(drive).map_err(|source| DrivesOpenError::Create {
                    dir: drive.dir.clone(),
                    source,
                })?;
            } else if present {
                // A drive that does not open is lost; the others go on.
                if let Err(error) = opened.attach(drive) {
                    if matches!(error, DriveError::InUse) {
                        return Err(DrivesOpenError::InUse {
                            dir: drive.dir.clone(),
                        });
                    }
                    tracing::error!(drive = drive.number, %error, "a drive does not open and is lost");
                }
            } else {
                tracing::warn!(drive = drive.number, dir = %drive.dir.display(), "a drive is not there");
            }
        }
        Ok(opened)
    }

    pub(crate) fn identity(&self, drive: &LocalDrive) -> DriveIdentity {
        DriveIdentity {
            cluster: self.config.cluster,
            drive: drive.id,
        }
    }

    /// Makes an empty drive in the drive's directory, under the drive's id, and attaches it.
    pub(crate) fn create(&self, drive: &Arc<LocalDrive>) -> Result<(), DriveError> {
        self.disk.create_dir_all(&drive.dir)?;
        self.identity(drive).create(&*self.disk, &drive.dir)?;
        self.attach(drive)
    }

    /// Opens the drive in its directory and hands its writer to the device's flusher.
    pub(crate) fn attach(&self, drive: &Arc<LocalDrive>) -> Result<(), DriveError> {
        let expected = Some(self.identity(drive));
        let log_id = (self.config.fresh_log_id)();
        let disk = Arc::clone(&self.disk);
        let (mut writer, recovery) =
            DriveWriter::open_with(disk, &drive.dir, expected, log_id, self.config.log)?;
        for stretch in &recovery.log.damaged {
            tracing::error!(
                drive = drive.number,
                ?stretch,
                "a drive's log is damaged; the shards there are missing"
            );
        }
        // What one drive has heard, all of them have.
        let accepted = self.hear_of_leases(&writer.drive().accepted_leases());
        writer.end_leases(&accepted)?;
        let file = self.disk.open(&DriveIdentity::path(&drive.dir), OpenMode::Read)?;
        let flusher = self.flusher(file.identity()?.device)?;
        let shared = writer.drive();
        let job = Job::Attach {
            drive: Arc::clone(drive),
            writer: Box::new(writer),
        };
        flusher
            .push_control(job)
            .map_err(|_| std::io::Error::other("the flusher has ended"))?;
        drive.set_free_bytes(self.free_bytes(drive));
        drive.attach(shared, flusher);
        // What was lost with damaged stretches or came back with the drive, only a census tells.
        self.changes.lost_shards();
        self.changes.came_back();
        Ok(())
    }

    fn flusher(&self, device: u64) -> std::io::Result<Arc<Flusher>> {
        let mut flushers = self.flushers();
        // One that ended by a panic is replaced; its drives are lost until they are opened again.
        if let Some(flusher) = flushers.get(&device).filter(|flusher| !flusher.is_shut()) {
            return Ok(Arc::clone(flusher));
        }
        let flusher = Flusher::start(device, Arc::clone(&self.disk), &self.config)?;
        flushers.insert(device, Arc::clone(&flusher));
        Ok(flusher)
    }
}
