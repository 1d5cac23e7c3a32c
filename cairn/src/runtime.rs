//! The parts of one running process: drives, ledger, activity log, vaults, opened in the one order that loses nothing
//! and closed in the reverse.
//!
//! It serves no port: `serve` puts the S3 gateway in front of it, `operator` carries out what commands ask. Invariant:
//! a runtime holds the data directory's lock, so that there is one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::disk::{Disk, RealDisk};
use engine::slots::Sequence;
use engine::view::View;
use net::Cluster;
use net::cluster::ReplaceOptions;
use net::membership::{PeerEntry, Role};
use s3_gateway::gateways::Gateways;
use s3_gateway::session::{Recorder, Session, SessionOptions, SessionParts};
use s3_gateway::sessions::Sessions;
use scopes::{CollectorDelegation, Signed, VaultId, Wallet, Window};
use vault::keyfile::Keyfile;

use crate::config::UpConfig;
use crate::data_dir::{DataDir, DataDirError, remove_mark};
use crate::key_store::{KeyStore, KeyStoreError, Passphrase, keyring, random};
use crate::layout::Layout;

mod error;
pub mod ledger;
mod opening;
pub(crate) mod peers;
pub mod rebuild;
pub mod rebuilt;
pub(crate) mod root_key;

use ledger::OpenLedger;
use opening::{
    open_cluster, open_log, open_stores, open_view, peer_options, settle_layout, view_cache_bytes,
};
use peers::{PeerNodes, membership};

pub use error::RuntimeError;
pub(crate) use opening::fresh_log_id;
pub(crate) use peers::settle::ledgers_of_peers;
pub use root_key::{RootKeyError, RootKeyFound};

/// Everything that is open.
pub struct Runtime {
    /// The data directory, locked.
    pub data: Arc<DataDir>,
    /// Drives and code.
    pub layout: Layout,
    /// The ledger.
    pub ledger: OpenLedger,
    /// The drives.
    pub cluster: Arc<Cluster>,
    /// The storage peers that run with this process, if drives are theirs.
    pub(crate) peers: Option<Arc<PeerNodes>>,
    /// Follows what the ledger says of them.
    following: Option<tokio::task::JoinHandle<()>>,
    /// The activity log.
    pub recorder: Recorder,
    /// The open vaults.
    pub sessions: Sessions,
    /// The gateways that serve the cluster together.
    pub gateways: Arc<Gateways>,
    /// This process's lease.
    pub lease: u64,
    /// When it was opened.
    pub since: Instant,
    /// One repair, scrub or gc at a time.
    pub(crate) tending: tokio::sync::Mutex<()>,
    keys: Mutex<KeyStore>,
    options: SessionOptions,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Runtime")
            .field("data", &self.data.root())
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Opens the data directory with `config`. Makes keys, drives and ledger if this is the first start and `create`.
    pub async fn open(
        data: DataDir,
        passphrase: Option<Passphrase>,
        config: &UpConfig,
        create: bool,
    ) -> Result<Self, RuntimeError> {
        engine::erasure::require_simd()?;
        raise_open_files();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut layout = settle_layout(&data, &*disk, config)?;
        if layout.drives_made {
            data.check_startable(data.contents(&layout.drive_directories()))?;
        }
        let mut keys = KeyStore::open(&data.keys(), passphrase)?;
        if !create && (keys.keyfiles().is_empty() || !layout.drives_made) {
            // With data in it the directory was refused above. Keys alone are no reason to make drives: they may be on their way.
            let dir = data.root().display().to_string();
            return Err(DataDirError::Empty { dir }.into());
        }
        if keys.keyfiles().is_empty() {
            if layout.drives_made {
                let dir = data.root().display().to_string();
                return Err(DataDirError::KeysAbsent { dir }.into());
            }
            if layout.own_log {
                let dir = data.keys().display().to_string();
                return Err(RuntimeError::KeysOfOthers { dir });
            }
            keys.create(FIRST_VAULT)?;
        }
        layout.write(&data)?;

        let options = peer_options(config, &layout);
        let stores = open_stores(&disk, &data, &mut layout, &keys, options).await?;
        let peers = stores.peers;
        let parts = Parts {
            disk,
            data,
            layout,
            keys,
            ledger: stores.ledger,
            views: stores.views,
        };
        let opened = Self::open_over(parts, peers.as_ref(), config).await;
        match (opened, peers) {
            (Ok(runtime), peers) => Ok(runtime.with(peers, config.challenges_per_hour)),
            (Err(error), Some(peers)) => {
                peers.close().await;
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Opens the rest when keys, ledger, views and storage peers are there.
    async fn open_over(
        parts: Parts,
        peers: Option<&PeerNodes>,
        config: &UpConfig,
    ) -> Result<Self, RuntimeError> {
        let Parts {
            disk,
            data,
            mut layout,
            keys,
            ledger,
            views,
        } = parts;
        let cluster = Arc::new(open_cluster(&disk, &data, &layout, peers).await?);
        if !layout.drives_made {
            layout.drives_made = true;
            layout.write(&data)?;
        }
        let shared = ledger.shared();
        cluster.start_census(Arc::clone(&shared));
        if !cluster.has_heard_enough() {
            let (here, drives) = (cluster.heard(), cluster.layout().len());
            cluster.close().await;
            return Err(RuntimeError::TooFewPeers { here, drives });
        }
        // A copy that follows may be behind; another gateway may take a lease at any time, and the drives hear of it after the ledger.
        let drives = cluster.highest_lease();
        shared.read_index().await?;
        let newest = shared.status().highest_lease;
        if drives > newest {
            return Err(RuntimeError::LedgerBehind { drives, newest });
        }
        let lease = shared.take_lease(&holder(), now_ms()).await?;
        cluster.end_leases(lease, &shared.leases().accepted()).await;
        let log = open_log(&disk, &data, &layout, &keys).await?;
        let recorder = Recorder::start(log, Some(Arc::clone(&shared))).await?;
        let gateways = Gateways::new(shared, Arc::clone(&cluster), recorder.clone(), lease);

        let runtime = Self {
            options: SessionOptions {
                upload_memory_bytes: config.upload_memory_bytes,
                quota_bytes: config.quota_bytes,
                lifecycle_day_ms: config.lifecycle_day_ms,
                code: layout.code,
            },
            data: Arc::new(data),
            layout,
            ledger,
            cluster,
            peers: None,
            following: None,
            recorder,
            sessions: Sessions::new(Vec::new()),
            gateways,
            lease,
            since: Instant::now(),
            tending: tokio::sync::Mutex::new(()),
            keys: Mutex::new(keys),
        };
        let keyfiles = runtime.keys().keyfiles().to_vec();
        for (keyfile, view) in keyfiles.iter().zip(views) {
            runtime.open_vault(keyfile, view).await?;
        }
        runtime.note_rebuild().await?;
        runtime.gateways.start();
        Ok(runtime)
    }

    /// The same with its storage peers, of which the ledger's word is followed from now on, who are challenged at this pace, and whose
    /// shards are placed anew when they go.
    fn with(mut self, peers: Option<PeerNodes>, challenges_per_hour: u32) -> Self {
        let (Some(peers), OpenLedger::Followed(ledger)) = (peers.map(Arc::new), &self.ledger) else {
            return self;
        };
        let following = membership::follow(
            Arc::clone(&peers),
            ledger.clone(),
            Arc::clone(&self.cluster),
            Arc::clone(&self.data),
            Arc::clone(&self.gateways),
        );
        self.following = Some(tokio::spawn(following));
        let gateways = Arc::clone(&self.gateways);
        self.cluster.start_replacing(
            self.ledger.shared(),
            self.lease,
            ReplaceOptions::default(),
            Arc::new(move || gateways.does_background_work()),
        );
        self.cluster
            .start_challenging(self.ledger.shared(), challenges_per_hour);
        self.peers = Some(peers);
        self
    }

    /// After a rebuild: writes it into the activity log, once.
    async fn note_rebuild(&self) -> Result<(), RuntimeError> {
        let mark = self.data.ledger().join(rebuild::REBUILT);
        if !mark.exists() {
            return Ok(());
        }
        for session in self.sessions.all() {
            let vault = session.vault();
            session
                .note_rebuild()
                .await
                .map_err(|source| RuntimeError::Vault { vault, source })?;
        }
        self.recorder.flush().await?;
        Ok(remove_mark(&mark)?)
    }

    /// The keys.
    pub fn keys(&self) -> MutexGuard<'_, KeyStore> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of the vault of this name or id, or of the only one.
    pub fn session(&self, vault: Option<&str>) -> Result<Session, KeyStoreError> {
        let chosen = self.keys().choose(vault)?.vault;
        let missing = || KeyStoreError::NoSuchVault {
            name: chosen.to_string(),
        };
        self.sessions.of(chosen).ok_or_else(missing)
    }

    /// Makes a vault, opens it and makes its root key.
    pub async fn create_vault(&self, name: &str) -> Result<(Session, RootKeyFound), RuntimeError> {
        let keyfile = self.keys().create(name)?.clone();
        let count = self.keys().keyfiles().len();
        let view = open_view(&self.data, keyfile.vault, view_cache_bytes(count)).await?;
        let session = self.open_vault(&keyfile, view).await?;
        let found = root_key::settle(&session, None, false).await?;
        Ok((session, found))
    }

    /// Makes sure that each vault has a root key; `fixed` is that of the first one. Returns the first vault's.
    pub async fn settle_root_keys(&self, config: &UpConfig) -> Result<Option<RootKeyFound>, RuntimeError> {
        let first = self.first_vault();
        let mut answer = None;
        for session in self.sessions.all() {
            let is_first = Some(session.vault()) == first;
            let fixed = config.root_credential.as_ref().filter(|_| is_first);
            let found = root_key::settle(&session, fixed, config.restore_revoked_root_key).await?;
            if is_first {
                answer = Some(found);
            }
        }
        Ok(answer)
    }

    /// The vault that the environment's root credential is for: the one that the first start made, else the first.
    pub fn first_vault(&self) -> Option<VaultId> {
        let keys = self.keys();
        let named = keys.keyfiles().iter().find(|keyfile| keyfile.name == FIRST_VAULT);
        named
            .or_else(|| keys.keyfiles().first())
            .map(|keyfile| keyfile.vault)
    }

    /// The storage peers, as the ledger says.
    pub fn peer_entries(&self) -> Vec<PeerEntry> {
        let mut known = self.peers.as_ref().map(|peers| peers.known()).unwrap_or_default();
        known.retain(|entry| entry.role == Role::Node);
        known
    }

    /// Resolves with a sentence when the ledger or the activity log has failed: the process then ends.
    pub async fn fenced(&self) -> String {
        let fenced_ledger = self.ledger.shared();
        tokio::select! {
            () = fenced_ledger.fenced() => "a flush of the ledger failed: nothing more is acknowledged. Check the disk \
                that holds ledger/, then start again"
                .to_owned(),
            error = self.recorder.fenced() => format!("{error}. Check the disk that holds activity/, then start again"),
        }
    }

    /// Closes everything cleanly, as far as it goes.
    pub async fn close(&self) {
        if let Some(following) = &self.following {
            following.abort();
        }
        for session in self.sessions.all() {
            if let Err(error) = session.close().await {
                tracing::warn!(%error, vault = %session.vault(), "closing a vault");
            }
        }
        match self.recorder.flush().await {
            Ok(()) => self.end_lease(self.recorder.taken()).await,
            // Its records are in the ledger alone: the next start takes them.
            Err(error) => tracing::warn!(%error, "closing the activity log"),
        }
        // With what came before the lease ended.
        if let Err(error) = self.recorder.close().await {
            tracing::warn!(%error, "closing the activity log");
        }
        self.cluster.close().await;
        self.ledger.close().await;
        if let Some(peers) = &self.peers {
            peers.close().await;
        }
    }

    /// Ends the lease where others may go on. Its records up to `taken` are in the activity log.
    async fn end_lease(&self, taken: Sequence) {
        if matches!(self.ledger, OpenLedger::Local(_)) {
            return;
        }
        let ledger = self.ledger.shared();
        match tokio::time::timeout(END_WAIT, ledger.end_lease(self.lease, taken)).await {
            Ok(Ok(())) => {}
            // The next start ends it, or `node remove`.
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not ended"),
            Err(_) => tracing::warn!("the lease was not ended: the ledger does not answer"),
        }
    }

    async fn open_vault(&self, keyfile: &Keyfile, view: Arc<dyn View>) -> Result<Session, RuntimeError> {
        let parts = SessionParts {
            keyring: keyring(keyfile),
            name: keyfile.name.clone(),
            ledger: self.ledger.shared(),
            cluster: Arc::clone(&self.cluster),
            recorder: self.recorder.clone(),
            view,
            lease: self.lease,
            gateways: Arc::clone(&self.gateways),
            collector: delegate_collector(keyfile, self.lease)?,
            options: self.options.clone(),
        };
        let session = Session::open(parts).await.map_err(|source| RuntimeError::Vault {
            vault: keyfile.vault,
            source,
        })?;
        self.sessions.add(session.clone());
        Ok(session)
    }
}

/// What is open before the drives are.
struct Parts {
    disk: Arc<dyn Disk>,
    data: DataDir,
    layout: Layout,
    keys: KeyStore,
    ledger: OpenLedger,
    views: Vec<Arc<dyn View>>,
}

/// Draws the key that signs this process's delete orders, and has the vault's owner name it. The key lives as long as
/// the process: the next start, under its higher lease, names another.
fn delegate_collector(
    keyfile: &Keyfile,
    lease: u64,
) -> Result<(Wallet, Signed<CollectorDelegation>), RuntimeError> {
    let owner = Wallet::from_seed(keyfile.wallet_seed.expose());
    let seed = random()?;
    let collector = Wallet::from_seed(&seed);
    let delegation = CollectorDelegation {
        vault: keyfile.vault,
        salt: keyfile.root.vault_salt(),
        collector: collector.public_key(),
        window: Window::default(),
        number: lease,
    };
    Ok((collector, Signed::sign(delegation, &owner)?))
}

fn holder() -> String {
    format!("cairn process {}", std::process::id())
}

/// Milliseconds since 1970 by this machine's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Each connection and each log segment takes a file descriptor, and the usual soft limit of 1,024 is soon used up.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

/// How long the end of the lease may take at a stop.
const END_WAIT: Duration = Duration::from_secs(3);
const FIRST_VAULT: &str = "main";
const OPEN_FILES: u64 = 65_536;
