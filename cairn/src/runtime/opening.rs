//! Opening the parts of a runtime, each on its own: layout, ledger, views, storage peers, drives, activity log.
//!
//! Reading is done on threads that may block. Invariant: on a first start the ledger is made before anything else, for drives
//! without one would look like a lost ledger to the next start; the activity log is opened when nothing else can refuse, for its opening says
//! once whether records may be missing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::disk::Disk;
use engine::log::LogConfig;
use engine::view::{FjallView, View};
use futures::future::join_all;
use net::ledger::LedgerConfig;
use net::{Cluster, ClusterConfig, DriveConfig, LocalLedger};
use s3_gateway::session::OpenedLog;
use scopes::VaultId;

use super::RuntimeError;
use super::ledger::OpenLedger;
use super::peers::{self, PeerNodes, PeerOptions, membership, settle};
use crate::config::{ConfigError, UpConfig, check_drives, check_peers};
use crate::data_dir::{DataDir, make_private_dir};
use crate::key_store::{KeyStore, KeyStoreError, peer_key, random};
use crate::layout::{LEDGER_MEMBERS, Layout, absolute, default_drives, new_peers};

/// What is opened before the drives.
pub(super) struct Stores {
    pub(super) ledger: OpenLedger,
    /// Those of the keyfiles, in their order.
    pub(super) views: Vec<Arc<dyn View>>,
    pub(super) peers: Option<PeerNodes>,
}

/// Opens the ledger, each vault's view and the storage peers, at the same time unless this is a first start: each takes long with many
/// objects.
pub(super) async fn open_stores(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    layout: &mut Layout,
    keys: &KeyStore,
    options: PeerOptions,
) -> Result<Stores, RuntimeError> {
    let cache_bytes = view_cache_bytes(keys.keyfiles().len());
    let views = keys
        .keyfiles()
        .iter()
        .map(|keyfile| open_view(data, keyfile.vault, cache_bytes));
    let views = join_all(views);
    if !layout.peers.is_empty() {
        return open_stores_of_peers(disk, data, layout, options, views).await;
    }
    let (ledger, views) = if layout.drives_made {
        // Each to its end: none is left running when another fails.
        tokio::join!(open_ledger(disk, data), views)
    } else {
        let ledger = open_ledger(disk, data).await?;
        (Ok(ledger), views.await)
    };
    Ok(Stores {
        ledger: OpenLedger::Local(ledger?),
        views: views.into_iter().collect::<Result<_, _>>()?,
        peers: None,
    })
}

/// How storage peers are opened under a configuration.
pub(super) fn peer_options(config: &UpConfig, layout: &Layout) -> PeerOptions {
    PeerOptions {
        members_max: layout.ledger_members,
        from: config.join.as_ref().and_then(|join| join.from),
    }
}

/// The same where the ledger lies with the storage peers: they run first.
async fn open_stores_of_peers(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    layout: &mut Layout,
    options: PeerOptions,
    views: impl Future<Output = Vec<Result<Arc<dyn View>, RuntimeError>>>,
) -> Result<Stores, RuntimeError> {
    if !layout.drives_made {
        settle::note_beginning(data)?;
    }
    let opening = async {
        let Some(peers) = PeerNodes::open(data, layout, options).await? else {
            return Err(RuntimeError::LedgerPeers("there are none".to_owned()));
        };
        let holds = membership::holds_packs(&peers.known(), layout.code, None);
        if !layout.drives_made && !holds {
            peers.close().await;
            let code = layout.code.to_string();
            return Err(RuntimeError::FewPlaces { code });
        }
        match settle::open_ledger(disk, data, &peers).await {
            Ok(ledger) => Ok((ledger, peers)),
            Err(error) => {
                peers.close().await;
                Err(error)
            }
        }
    };
    // Each to its end: none is left running when another fails.
    let (opened, views) = tokio::join!(opening, views);
    let (ledger, peers) = opened?;
    match views.into_iter().collect::<Result<_, _>>() {
        Ok(views) => Ok(Stores {
            ledger: OpenLedger::Followed(ledger),
            views,
            peers: Some(peers),
        }),
        Err(error) => {
            ledger.close().await;
            peers.close().await;
            Err(error)
        }
    }
}

/// The layout to run with: what is remembered, changed by what is configured; or what the drives say; or a new one.
pub(super) fn settle_layout(
    data: &DataDir,
    disk: &dyn Disk,
    config: &UpConfig,
) -> Result<Layout, RuntimeError> {
    let given = config.drives.as_deref().map(absolute);
    let layout = match Layout::read(data)? {
        Some(known) => known.changed(given.as_deref(), config.code)?,
        None => {
            let code = config.code.unwrap_or(engine::pack::Code::DEFAULT);
            match found_layout(data, disk, given.as_deref(), code) {
                Some(found) => found,
                None => new_layout(data, given, code, config.peers)?,
            }
        }
    };
    layout.check_peers(config.peers)?;
    let mut layout = match &config.join {
        Some(join) => layout.joined(&join.peers)?,
        None => layout,
    };
    layout.ledger_members = config.ledger_members.unwrap_or(layout.ledger_members);
    check_places(&layout)?;
    Ok(layout)
}

/// Refuses drives or storage peers on which packs of the code cannot lie.
pub(super) fn check_places(layout: &Layout) -> Result<(), ConfigError> {
    match layout.peers.len() {
        0 => check_drives(&layout.drives, layout.code),
        peers if layout.runs_peers() => check_peers(peers, layout.code),
        // What drives they have is heard from them.
        _ => Ok(()),
    }
}

/// The layout that is not remembered, as far as drives and storage peers tell it.
pub(super) fn found_layout(
    data: &DataDir,
    disk: &dyn Disk,
    given: Option<&[PathBuf]>,
    code: engine::pack::Code,
) -> Option<Layout> {
    if let (None, Some((cluster, count))) = (given, peers::found(data)) {
        return Some(Layout {
            cluster,
            code,
            drives: Vec::new(),
            peers: new_peers(data, count),
            ledger_members: LEDGER_MEMBERS,
            own_log: false,
            drives_made: true,
        });
    }
    let drives = given.map_or_else(|| default_drives(data, code), <[PathBuf]>::to_vec);
    Some(Layout {
        cluster: net::cluster::cluster_id_of(disk, drives.iter().map(PathBuf::as_path))?,
        code,
        drives,
        peers: Vec::new(),
        ledger_members: LEDGER_MEMBERS,
        own_log: false,
        drives_made: true,
    })
}

fn new_layout(
    data: &DataDir,
    given: Option<Vec<PathBuf>>,
    code: engine::pack::Code,
    peers: Option<usize>,
) -> Result<Layout, RuntimeError> {
    let drives = match peers {
        Some(_) => Vec::new(),
        None => given.unwrap_or_else(|| default_drives(data, code)),
    };
    Ok(Layout {
        cluster: *random()?,
        code,
        // A ledger without any drive: they are lost, and not made anew behind its back.
        drives_made: data.contents(&drives).ledger,
        drives,
        peers: new_peers(data, peers.unwrap_or(0)),
        ledger_members: LEDGER_MEMBERS,
        own_log: false,
    })
}

async fn open_ledger(disk: &Arc<dyn Disk>, data: &DataDir) -> Result<LocalLedger, RuntimeError> {
    make_private_dir(&data.ledger())?;
    let (disk, dir) = (Arc::clone(disk), data.ledger());
    let opened =
        tokio::task::spawn_blocking(move || LocalLedger::open(disk, &dir, LedgerConfig::new(fresh_log_id())));
    let opened = opened
        .await
        .map_err(|_| RuntimeError::Gateway("opening the ledger broke off".to_owned()))?;
    let (ledger, recovery) = opened?;
    tracing::debug!(?recovery, "ledger open");
    Ok(ledger)
}

pub(super) async fn open_cluster(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    layout: &Layout,
    peers: Option<&PeerNodes>,
) -> Result<Cluster, RuntimeError> {
    let own = data.drives();
    let drives = layout
        .drives
        .iter()
        .map(|dir| DriveConfig {
            dir: dir.clone(),
            default: dir.starts_with(&own),
        })
        .collect();
    let mut config = ClusterConfig::new(layout.cluster, layout.code, drives, Arc::new(fresh_log_id));
    config.own.create = !layout.drives_made;
    config.peers = peers.map(PeerNodes::peers);
    Ok(Cluster::open(Arc::clone(disk), config).await?)
}

/// The activity log, without its thread.
pub(super) async fn open_log(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    layout: &Layout,
    keys: &KeyStore,
) -> Result<OpenedLog, RuntimeError> {
    let (disk, dir) = (Arc::clone(disk), data.activity());
    let (origin, seed) = (log_origin(data, layout)?, activity_seed(keys)?);
    let opened = tokio::task::spawn_blocking(move || {
        OpenedLog::open(
            disk,
            &dir,
            &origin,
            &seed,
            (LogConfig::activity(), fresh_log_id()),
        )
    });
    let opened = opened
        .await
        .map_err(|_| RuntimeError::Gateway("opening the activity log broke off".to_owned()))?;
    Ok(opened?)
}

/// What each of so many views may keep in memory.
pub(super) fn view_cache_bytes(vaults: usize) -> u64 {
    (VIEW_CACHE_BYTES / vaults.max(1) as u64).max(VIEW_CACHE_BYTES_MIN)
}

/// Opens a vault's view, and makes it anew if it is damaged: it holds nothing that the ledger does not.
pub(super) async fn open_view(
    data: &DataDir,
    vault: VaultId,
    cache_bytes: u64,
) -> Result<Arc<dyn View>, RuntimeError> {
    make_private_dir(&data.views())?;
    let path = data.views().join(vault.to_string());
    let opened = tokio::task::spawn_blocking(move || {
        let attempts = Attempts::begin(&path);
        let opened = FjallView::open(&path, cache_bytes).or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "a view does not open and is made anew");
            let _ = std::fs::remove_dir_all(&path);
            FjallView::open(&path, cache_bytes)
        });
        attempts.end();
        opened.map(|view| Arc::new(view) as Arc<dyn View>)
    });
    let opened = opened
        .await
        .map_err(|_| RuntimeError::Gateway("opening a view broke off".to_owned()))?;
    Ok(opened?)
}

/// Counts openings of a view that the process did not survive, in a file beside it: damage that ends the process would else end it
/// at every start.
struct Attempts(PathBuf);

impl Attempts {
    /// Notes one more; from [`ATTEMPTS_MAX`] on the view goes.
    fn begin(view: &Path) -> Self {
        let mut name = view.as_os_str().to_owned();
        name.push(".opening");
        let path = PathBuf::from(name);
        let before = std::fs::metadata(&path).map_or(0, |file| file.len());
        if before >= ATTEMPTS_MAX {
            tracing::warn!(path = %view.display(), "opening a view ended the process before, so it is made anew");
            let _ = std::fs::remove_dir_all(view);
        }
        let mut file = std::fs::OpenOptions::new();
        // Never cut off: on a full disk the count would begin anew.
        let noted = file
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"."));
        if let Err(error) = noted {
            tracing::warn!(%error, path = %path.display(), "cannot note that a view is being opened");
        }
        Self(path)
    }

    /// The process survived.
    fn end(self) {
        let _ = std::fs::remove_file(self.0);
    }
}

pub(super) fn activity_seed(keys: &KeyStore) -> Result<zeroize::Zeroizing<[u8; 32]>, RuntimeError> {
    let seed = keys
        .activity_seed()
        .ok_or(KeyStoreError::WhichVault { count: 0 })?;
    Ok(zeroize::Zeroizing::new(*seed))
}

/// The name of the activity log: that of the cluster for the gateway that began it, and one of its own for each other, for two logs of one name
/// and one key would contradict each other.
pub(super) fn log_origin(data: &DataDir, layout: &Layout) -> Result<String, KeyStoreError> {
    let cluster = hex::encode(layout.cluster);
    if !layout.own_log {
        return Ok(format!("cairn.log/{cluster}"));
    }
    let own = peer_key(&data.peer_key())?.id();
    let own = hex::encode(own.public_key().as_bytes());
    Ok(format!("cairn.log/{cluster}/{own}"))
}

/// A random number for a new log. Without randomness nothing may be sealed either: the process ends.
pub(crate) fn fresh_log_id() -> u64 {
    getrandom::u64().unwrap_or_else(|error| {
        tracing::error!(%error, "the operating system gives no randomness");
        std::process::abort()
    })
}

/// A process can be killed in the middle of a start; twice is taken for the view's doing.
const ATTEMPTS_MAX: u64 = 2;
/// The cache of all views together.
const VIEW_CACHE_BYTES: u64 = 48 << 20;
const VIEW_CACHE_BYTES_MIN: u64 = 8 << 20;
