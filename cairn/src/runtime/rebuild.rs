//! A ledger made anew from `keys/` and the drives alone.
//!
//! Needs no running process but the storage peers, and asks nothing. The new ledger grows beside the old one's place and is moved there when
//! it is whole, so that a rebuild that is cut off can be started again; where storage peers run elsewhere it is the operator who brings it to one
//! of them (`peers::carried`). Invariant: a ledger that can be read is set aside only when told to, and never deleted.

mod there;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use activity::{ActivityLog, LogIdentity};
use engine::disk::{Disk, RealDisk};
use engine::slots::Sequence;
use net::ledger::LedgerConfig;
use net::{Cluster, Ledger, LocalLedger};
use s3_gateway::session::RecorderError;
use s3_gateway::session::rebuild::{RebuildParts, RebuildReport, marks, rebuild_vault};
use scopes::{VaultId, Wallet};
use serde_json::{Value, json};

use super::opening::{activity_seed, check_places, found_layout, fresh_log_id, log_origin, open_cluster};
use super::peers::carried::{self, Carried};
use super::peers::{PeerNodes, PeerOptions, described, settle};
use super::{now_ms, rebuilt};
use crate::data_dir::{DataDir, DataDirError, remove_dir, rename, set_aside, write_mark};
use crate::key_store::{KeyStore, Passphrase, keyring, random};
use crate::layout::{Layout, absolute};
use crate::request::{OnStep, Step};
use crate::runtime::RuntimeError;
use there::check_all_there;

pub use there::LostForGood;

/// A file in the ledger's directory: the ledger was rebuilt, and the activity log does not say so yet.
pub(crate) const REBUILT: &str = "rebuilt";

/// What a rebuild is told.
#[derive(Debug)]
pub struct RebuildOptions {
    /// Opens `keys/`.
    pub passphrase: Option<Passphrase>,
    /// The drives; what the layout remembers, or the default ones, unless given.
    pub drives: Vec<PathBuf>,
    /// Also when there is a ledger that can be read.
    pub force: bool,
    /// What is lost for good: everything else has to be there.
    pub without: Vec<LostForGood>,
}

/// What a rebuild did.
#[derive(Debug)]
pub struct Rebuild {
    /// For each vault.
    pub vaults: Vec<Rebuilt>,
    /// Where the ledger has to be brought, if its members run elsewhere.
    pub carried: Option<Carried>,
}

/// What a rebuild did for one vault.
#[derive(Debug)]
pub struct Rebuilt {
    /// The vault.
    pub vault: VaultId,
    /// Its local name.
    pub name: String,
    /// What came back.
    pub report: RebuildReport,
}

impl Rebuilt {
    /// As programs read it.
    pub fn json(&self) -> Value {
        json!({
            "vault_id": self.vault.to_string(),
            "name": self.name,
            "packs": self.report.packs,
            "scopes": self.report.buckets,
            "objects": self.report.objects,
            "from_checkpoint": self.report.from_checkpoint,
            "maybe_undeleted": self.report.maybe_undeleted,
            "checkpoint_ms": self.report.checkpoint_ms,
            "packs_cut_off": self.report.packs_cut_off,
            "trailers_lost": self.report.trailers_lost,
            "scopes_made": self.report.buckets_made,
            "revoked_access_key_ids": self.report.credentials_revoked,
            "root_access_key_ids_in_force": self.report.root_credentials,
        })
    }
}

/// Rebuilds the ledger of `data` for every vault in `keys/`.
pub async fn rebuild(
    data: DataDir,
    mut options: RebuildOptions,
    on_step: OnStep<'_>,
) -> Result<Rebuild, RuntimeError> {
    engine::erasure::require_simd()?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = || data.root().display().to_string();
    let keys = KeyStore::open(&data.keys(), options.passphrase.take())?;
    if keys.keyfiles().is_empty() {
        return Err(DataDirError::KeysAbsent { dir: dir() }.into());
    }
    let mut layout = layout_of_drives(&data, &*disk, &options.drives)?;
    let of_peers = !layout.peers.is_empty();
    if !options.force && !of_peers && is_readable(&disk, &data.ledger()).await {
        return Err(RuntimeError::LedgerReadable { dir: dir() });
    }

    let options_of_peers = PeerOptions {
        members_max: layout.ledger_members,
        from: None,
    };
    let mut peers = PeerNodes::open(&data, &mut layout, options_of_peers).await?;
    if let Some(nodes) = &peers
        && let Err(error) = may_rebuild(&data, nodes, &layout, &options).await
    {
        nodes.close().await;
        return Err(error);
    }
    if let Some(nodes) = peers.take_if(|_| !layout.has_peers_elsewhere()) {
        nodes.close().await;
        // They serve without it from now on.
        settle::set_aside(&layout)?;
        peers = PeerNodes::open(&data, &mut layout, options_of_peers).await?;
    }
    let place = (&disk, &data);
    let rebuilt = rebuild_over(place, &keys, &layout, peers.as_ref(), &options.without, on_step).await;
    if let Some(peers) = peers {
        peers.close().await;
    }
    let rebuilt = rebuilt?;
    layout.write(&data)?;
    Ok(rebuilt)
}

/// Whether the ledger that the storage peers keep may be given up, and everything that they hold is there.
async fn may_rebuild(
    data: &DataDir,
    nodes: &PeerNodes,
    layout: &Layout,
    options: &RebuildOptions,
) -> Result<(), RuntimeError> {
    if !options.force && settle::answers(nodes).await {
        let dir = data.root().display().to_string();
        return Err(RuntimeError::LedgerReadable { dir });
    }
    match layout.has_peers_elsewhere() {
        true => settle::check_all_serve(nodes, &options.without).await,
        false => Ok(()),
    }
}

/// Makes the ledger anew from the drives of this process or of its storage peers, and puts it in place.
async fn rebuild_over(
    (disk, data): (&Arc<dyn Disk>, &DataDir),
    keys: &KeyStore,
    layout: &Layout,
    peers: Option<&PeerNodes>,
    without: &[LostForGood],
    on_step: OnStep<'_>,
) -> Result<Rebuild, RuntimeError> {
    let fresh = data.root().join("ledger.new");
    remove_dir(&fresh)?;
    let cluster = Arc::new(open_cluster(disk, data, layout, peers).await?);
    if !cluster.has_heard_enough() {
        let (here, drives) = (cluster.heard(), cluster.layout().len());
        return Err(RuntimeError::TooFewPeers { here, drives });
    }
    check_all_there(&cluster, layout, without)?;
    let keyrings: Vec<_> = keys.keyfiles().iter().map(keyring).collect();
    let unreadable = |source| RuntimeError::Vault {
        vault: keys
            .keyfiles()
            .first()
            .map_or(VaultId([0; 16]), |keyfile| keyfile.vault),
        source,
    };
    let marks = marks(&cluster, &keyrings).await.map_err(unreadable)?;
    // The activity log goes on: records of the new ledger come after every one it took from the old.
    let begin_after = marks.sequence.max(activity_through(disk, data, keys, layout)?);
    let config = LedgerConfig {
        begin_after,
        ..LedgerConfig::new(fresh_log_id())
    };
    let (ledger, _) = LocalLedger::open(Arc::clone(disk), &fresh, config)?;
    let id = hex::encode(*random::<16>()?);
    let lease = ledger
        .take_lease_above(&carried::holder(&id), now_ms(), marks.lease)
        .await?;
    ledger.records_through(Sequence(begin_after)).await?;
    let vaults = rebuild_vaults(keys, &cluster, &ledger, lease, on_step).await?;
    let taker = match peers.filter(|_| layout.has_peers_elsewhere()) {
        Some(peers) => Some(
            described::first_to_answer(peers)
                .await
                .ok_or(RuntimeError::NobodyTakes)?,
        ),
        None => None,
    };
    cluster.close().await;
    ledger.close().await;
    let carried = if let Some(peer) = taker {
        rebuilt::mark(&fresh, &id, layout.cluster, &peer)?;
        Some(carried::put_beside(data, &fresh, (peer, id, lease))?)
    } else {
        write_mark(&fresh.join(REBUILT))?;
        put_in_place(data, &fresh)?;
        None
    };
    Ok(Rebuild { vaults, carried })
}

/// Each vault of `keys`, one after another.
async fn rebuild_vaults(
    keys: &KeyStore,
    cluster: &Arc<Cluster>,
    ledger: &LocalLedger,
    lease: u64,
    on_step: OnStep<'_>,
) -> Result<Vec<Rebuilt>, RuntimeError> {
    let mut rebuilt = Vec::new();
    for keyfile in keys.keyfiles() {
        let parts = RebuildParts {
            keyring: keyring(keyfile),
            cluster: Arc::clone(cluster),
            ledger: Arc::new(ledger.clone()),
            lease,
        };
        let show = |progress: s3_gateway::session::Progress| {
            on_step(Step {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.to_owned(),
                note: progress.note,
            });
        };
        let report = rebuild_vault(parts, &show)
            .await
            .map_err(|source| RuntimeError::Vault {
                vault: keyfile.vault,
                source,
            })?;
        rebuilt.push(Rebuilt {
            vault: keyfile.vault,
            name: keyfile.name.clone(),
            report,
        });
    }
    Ok(rebuilt)
}

/// The ledger sequence through which the activity log of `data` holds records; 0 if there is no log yet.
fn activity_through(
    disk: &Arc<dyn Disk>,
    data: &DataDir,
    keys: &KeyStore,
    layout: &Layout,
) -> Result<u64, RuntimeError> {
    if !data.activity().exists() {
        return Ok(0);
    }
    let seed = activity_seed(keys)?;
    let open = |error: String| RuntimeError::Activity(RecorderError::Open(error));
    let identity = LogIdentity::new(&log_origin(data, layout)?, Wallet::from_seed(&seed))
        .map_err(|error| open(error.to_string()))?;
    let (log, _) = ActivityLog::open(Arc::clone(disk), &data.activity(), identity, fresh_log_id())
        .map_err(|error| open(error.to_string()))?;
    let through = log.ledger_sequence_through();
    log.close().map_err(|error| open(error.to_string()))?;
    Ok(through)
}

/// The layout that is remembered, with the drives that are given; without a memory, what the drives themselves say.
fn layout_of_drives(data: &DataDir, disk: &dyn Disk, given: &[PathBuf]) -> Result<Layout, RuntimeError> {
    let given = (!given.is_empty()).then(|| absolute(given));
    let layout = match Layout::read(data)? {
        Some(known) => Layout {
            drives_made: true,
            ..known.changed(given.as_deref(), None)?
        },
        None => {
            let code = engine::pack::Code::DEFAULT;
            let found = found_layout(data, disk, given.as_deref(), code);
            found.ok_or_else(|| RuntimeError::NoDrives {
                dir: data.root().display().to_string(),
            })?
        }
    };
    check_places(&layout)?;
    Ok(layout)
}

async fn is_readable(disk: &Arc<dyn Disk>, ledger: &Path) -> bool {
    let holds_something = std::fs::read_dir(ledger).is_ok_and(|mut entries| entries.next().is_some());
    if !holds_something {
        return false;
    }
    match LocalLedger::open(Arc::clone(disk), ledger, LedgerConfig::new(fresh_log_id())) {
        Ok((opened, _)) => {
            // A ledger in which nothing was ever written is none.
            let used = opened.position().0 > 0;
            opened.close().await;
            used
        }
        Err(error) => {
            tracing::warn!(%error, "the old ledger does not open");
            false
        }
    }
}

/// Sets the old ledger aside, moves the new one to its place and drops the views of the old one.
fn put_in_place(data: &DataDir, fresh: &Path) -> Result<(), RuntimeError> {
    remove_dir(&data.views())?;
    let ledger = data.ledger();
    if let Some(aside) = set_aside(&ledger)? {
        tracing::warn!(place = %aside.display(), "the old ledger was set aside");
    }
    Ok(rename(fresh, &ledger)?)
}
