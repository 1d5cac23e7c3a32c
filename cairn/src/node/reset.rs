//! A storage peer gives up what it keeps of a ledger that is lost, and takes a rebuilt one if it is given one.
//!
//! For when more than half of the ledger's members are gone for good. Nothing is deleted: what it kept is set aside. Invariant: a rebuilt
//! ledger is whole and durable in its place, or not there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::{Disk, RealDisk};
use net::ledger::LedgerConfig;
use net::peer::PeerId;
use net::{Ledger, LocalLedger};

use super::{NodeError, NodeSettings};
use crate::data_dir::{
    self, DataDir, DataDirError, KNOWN_PEERS_FILE, MEMBER_DIR, io_error, make_private_dir, remove_dir,
    rename, sync,
};
use crate::key_store::peer_key;
use crate::runtime::{fresh_log_id, rebuilt};

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
        Some(from) => {
            let own = (settings.cluster, peer_key(&data.peer_key())?.id());
            Some(copy_ledger(from, &fresh.join("slots").join("copy-0"), own).await?)
        }
        None => None,
    };
    let aside = set_aside(data.root())?;
    if taken.is_some() {
        rename(&fresh, &data.member())?;
    }
    Ok(Reset { aside, taken })
}

/// Puts aside what a storage peer keeps of a ledger, and what that told it. It may not run.
pub(crate) fn set_aside(directory: &Path) -> Result<Vec<PathBuf>, DataDirError> {
    let mut all = Vec::new();
    for name in [MEMBER_DIR, KNOWN_PEERS_FILE] {
        all.extend(data_dir::set_aside(&directory.join(name))?);
    }
    Ok(all)
}

/// Copies a ledger that a rebuild made, durably, and reads all of it; how far it is.
async fn copy_ledger(from: &Path, to: &Path, (cluster, own): ([u8; 16], PeerId)) -> Result<u64, NodeError> {
    let not_rebuilt = |why: String| NodeError::NotRebuilt {
        dir: from.display().to_string(),
        why,
    };
    let manifest = rebuilt::check(from).map_err(not_rebuilt)?;
    if manifest.cluster_id != hex::encode(cluster) {
        return Err(not_rebuilt(format!("it is of cluster {}", manifest.cluster_id)));
    }
    if manifest.peer != own.to_string() {
        return Err(NodeError::OtherTaker {
            wanted: manifest.peer,
            own,
        });
    }
    make_private_dir(to)?;
    for name in manifest.files() {
        let (segment, copy) = (from.join(name), to.join(name));
        std::fs::copy(&segment, &copy).map_err(|source| io_error(&segment, source))?;
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
