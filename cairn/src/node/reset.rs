//! A storage peer gives up what it keeps of a ledger that is lost, and takes a rebuilt one if it is given one.
//!
//! For when more than half of the ledger's members are gone for good. Nothing is deleted: what it kept is set aside. Invariant: a rebuilt
//! ledger is whole and durable in its place, or not there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::{Disk, RealDisk};
use net::ledger::LedgerConfig;
use net::{Ledger, LocalLedger};

use super::{NodeError, NodeSettings};
use crate::data_dir::{DataDir, DataDirError, KNOWN_PEERS_FILE, MEMBER_DIR, make_private_dir};
use crate::runtime::{fresh_log_id, now_ms, rebuilt};

/// What was done.
#[derive(Debug)]
pub struct Reset {
    /// Where it lies now what was kept.
    pub aside: Vec<PathBuf>,
    /// How far the ledger is that was taken, if one was.
    pub taken: Option<u64>,
}

/// Sets aside what the storage peer at `data` keeps of its ledger and knows of others, and takes the one at `take`.
///
/// # Errors
/// It is no storage peer's directory; `take` is no whole ledger that `vault rebuild` made; the disk. It may be done again then.
pub async fn reset_ledger(data: &DataDir, take: Option<&Path>) -> Result<Reset, NodeError> {
    let dir = || data.root().display().to_string();
    let Some(settings) = NodeSettings::read(data)? else {
        return Err(NodeError::NoNode { dir: dir() });
    };
    let fresh = data.root().join("member.new");
    remove_dir(&fresh)?;
    let taken = match take {
        Some(from) => Some(copy_ledger(from, &fresh.join("slots").join("copy-0"), settings.cluster).await?),
        None => None,
    };
    let aside = set_aside(data.root())?;
    if taken.is_some() {
        let member = data.member();
        std::fs::rename(&fresh, &member).map_err(|source| io(&member, source))?;
        sync(data.root())?;
    }
    Ok(Reset { aside, taken })
}

/// Puts aside what a storage peer keeps of a ledger, and what that told it. It may not run.
pub(crate) fn set_aside(directory: &Path) -> Result<Vec<PathBuf>, DataDirError> {
    let mut all = Vec::new();
    for name in [MEMBER_DIR, KNOWN_PEERS_FILE] {
        let kept = directory.join(name);
        if kept.exists() {
            let aside = directory.join(format!("{name}.old-{}", now_ms()));
            std::fs::rename(&kept, &aside).map_err(|source| io(&kept, source))?;
            all.push(aside);
        }
    }
    sync(directory)?;
    Ok(all)
}

/// Copies a ledger that a rebuild made, durably, and reads all of it; how far it is.
async fn copy_ledger(from: &Path, to: &Path, cluster: [u8; 16]) -> Result<u64, NodeError> {
    let not_rebuilt = |why: String| NodeError::NotRebuilt {
        dir: from.display().to_string(),
        why,
    };
    let manifest = rebuilt::check(from).map_err(not_rebuilt)?;
    if manifest.cluster_id != hex::encode(cluster) {
        return Err(not_rebuilt(format!("it is of cluster {}", manifest.cluster_id)));
    }
    make_private_dir(to)?;
    for entry in std::fs::read_dir(from).map_err(|source| io(from, source))? {
        let path = entry.map_err(|source| io(from, source))?.path();
        if path.extension().is_none_or(|end| end != "seg") {
            continue;
        }
        let Some(name) = path.file_name() else { continue };
        let copy = to.join(name);
        std::fs::copy(&path, &copy).map_err(|source| io(&path, source))?;
        sync(&copy)?;
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let opened = LocalLedger::open(disk, to, LedgerConfig::new(fresh_log_id()));
    let (ledger, _) = opened.map_err(|error| not_rebuilt(error.to_string()))?;
    let position = ledger.position().0;
    ledger.close().await;
    if position == 0 {
        return Err(not_rebuilt("nothing is in it".to_owned()));
    }
    for dir in to.ancestors().take(3) {
        sync(dir)?;
    }
    Ok(position)
}

fn remove_dir(path: &Path) -> Result<(), DataDirError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(io(path, source)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), DataDirError> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|source| io(path, source))
}

fn io(path: &Path, source: std::io::Error) -> DataDirError {
    DataDirError::Io {
        path: path.display().to_string(),
        source,
    }
}
