//! One open vault: everything an S3 operation (or a command) does to it, without HTTP and without S3's words for it.
//!
//! `vault` plans and seals, `net` stores; a session carries the plans out in the one order that loses nothing: shards durable,
//! then one ledger append with the entries and the operation's record, then the view, then the answer. It decides no access:
//! its callers have done so with the [`Identity`] they hand in. Invariant: whatever a session answered as done is durable and
//! visible to everything that asks afterwards.

mod activity_query;
mod amend;
mod attributes;
mod buckets;
mod budget;
mod checkpoint;
mod claims;
mod collect;
mod commit;
mod completion;
mod copy;
mod credentials;
mod customer;
mod delete;
mod error;
mod expire;
mod faults;
mod fresh;
mod gather;
mod hold;
mod lock;
mod packer;
mod part_sums;
mod peek;
mod pins;
mod put;
mod read;
pub mod rebuild;
mod record;
mod refusals;
mod relocate;
mod spans;
mod stream;
mod turns;
mod unsettled;
mod uploads;
mod versions;

pub use activity_query::{ActivityQuery, OpenedRecord};
pub use amend::Amendment;
pub use attributes::{Attributes, NewObject};
pub use collect::{CollectOptions, GcReport};
pub use commit::{Condition, ETagMatch};
pub use completion::{CompletePart, Completion, PART_BYTES_MIN};
pub use copy::{CopyChanges, Restream};
pub use credentials::{CredentialRow, NewCredential, OpenCredential, Secret};
pub use customer::CustomerKeyError;
pub use error::SessionError;
pub use expire::{Expired, LIFECYCLE_DAY_MS};
pub use lock::{COMPLIANCE, GOVERNANCE, check_retention_change};
pub use net::recorder::{OpenedLog, PreparedRecord, Recorder, RecorderError, SYNC_EVERY};
pub use put::Stored;
pub use read::ReadStream;
pub use record::RefusedOperation;
pub use stream::{FinishedStream, StreamWriter};
pub use uploads::{NewPart, NewUpload, PartsPage, StoredPart};
pub use vault::index::Usage;
pub use versions::{Deleted, Doomed, Sighting};

use crate::gateways::Gateways;
use budget::Budget;
use engine::erasure::Coder;
use engine::pack::{Code, LanePool, PackId};
use engine::slots::Sequence;
use engine::view::View;
use net::cluster::Cause;
use net::{Cluster, DriveId, Ledger, PackEntry};
use packer::Packer;
use pins::Pins;
use scopes::{CollectorDelegation, Identity, ScopeId, Signed, VaultId, Wallet};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};
use vault::index::{Index, Stored as Row};
use vault::keys::Keyring;

/// Packs coded at the same time, over all streams: as many as a small machine has cores.
const CODING_MAX: usize = 2;

/// Lane buffers of 2 MiB kept for the next packs: three packs of the default code, as many as one stream has under way.
const LANE_BUFFERS_MAX: usize = 18;

/// How far along a long operation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Done so far, in `unit`.
    pub done: u64,
    /// To be done in all, as far as is known.
    pub total: u64,
    /// What is counted.
    pub unit: &'static str,
    /// A word on what is going on.
    pub note: String,
}

/// Settings of a session.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Sealed bytes that uploads may hold in memory before they are durable.
    pub upload_memory_bytes: u64,
    /// Plaintext bytes that the vault may hold.
    pub quota_bytes: Option<u64>,
    /// The code of new packs.
    pub code: Code,
    /// How long a day of lifecycle rules is, in ms: [`LIFECYCLE_DAY_MS`], or less for a test.
    pub lifecycle_day_ms: u64,
}

/// What a session is made of.
pub struct SessionParts {
    /// The vault's keys.
    pub keyring: Keyring,
    /// The vault's local name.
    pub name: String,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The drives.
    pub cluster: Arc<Cluster>,
    /// The activity log.
    pub recorder: Recorder,
    /// The view for the object index.
    pub view: Arc<dyn View>,
    /// The gateway's lease.
    pub lease: u64,
    /// The gateways that serve the vault together.
    pub gateways: Arc<Gateways>,
    /// The key that signs delete orders, and the owner's delegation to it.
    pub collector: (Wallet, Signed<CollectorDelegation>),
    /// Settings.
    pub options: SessionOptions,
}

/// An open vault. Clones share it.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

/// Who asks, and for which operation: one for every request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The verified identity.
    pub identity: Identity,
    /// The client operation; attempts share it.
    pub operation_id: [u8; 16],
}

impl Caller {
    /// A caller with a new operation id.
    pub fn new(identity: Identity) -> Self {
        let mut operation_id = [0; 16];
        fill_random(&mut operation_id);
        Self {
            identity,
            operation_id,
        }
    }

    /// What is read for it.
    pub(crate) const fn reading(&self) -> Cause {
        Cause::reading(self.operation_id)
    }

    /// What is written for it.
    pub(crate) const fn writing(&self) -> Cause {
        Cause::writing(self.operation_id)
    }
}

/// A bucket as found: a scope under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name, unique in the vault.
    pub name: String,
    /// The scope's id.
    pub scope: ScopeId,
    /// The epoch that new streams are sealed under.
    pub epoch: u64,
    /// When it was made, ms since 1970.
    pub created_ms: u64,
    /// The sequence of its entry.
    pub sequence: Sequence,
    /// Settings by name.
    pub settings: vault::object::Settings,
}

impl Bucket {
    /// The row it was read from.
    pub(crate) fn row(&self) -> Row<vault::object::Bucket> {
        let value = vault::object::Bucket {
            name: self.name.clone(),
            scope: self.scope,
            epoch: self.epoch,
            created_ms: self.created_ms,
            settings: self.settings.clone(),
        };
        Row {
            sequence: self.sequence,
            value,
        }
    }
}

pub(crate) struct Inner {
    pub(crate) vault: VaultId,
    pub(crate) name: String,
    pub(crate) keyring: Keyring,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) recorder: Recorder,
    pub(crate) index: Index,
    view: Arc<dyn View>,
    pub(crate) lease: u64,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) code: Code,
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) lifecycle_day_ms: u64,
    pub(crate) pins: Pins,
    pub(crate) budget: Budget,
    pub(crate) coder: Arc<Coder>,
    pub(crate) coding: Semaphore,
    /// The newest sequence in the view.
    pub(crate) applied: Arc<AtomicU64>,
    /// The newest append in the view that says more than how far a gateway is.
    pub(crate) news: AtomicU64,
    pub(crate) applying: tokio::sync::Mutex<()>,
    /// The other leases, as far as the view is known to be past them.
    pub(crate) others: Mutex<fresh::Others>,
    /// The highest lease that was ever granted when the view was past all of them but this gateway's.
    pub(crate) alone_at: AtomicU64,
    /// Whether the view is being filled again and shows only a part.
    pub(crate) reloading: AtomicBool,
    /// Whether it was said that the view goes on in memory.
    pub(crate) view_in_memory: AtomicBool,
    pub(crate) refusals: refusals::Refusals,
    pub(crate) opened: credentials::Opened,
    /// Held while collecting.
    pub(crate) collecting: tokio::sync::Mutex<collect::Looks>,
    /// How often moves had left copies behind when the drives were last looked through for what no entry names, and one; 0 before the first look.
    pub(crate) scanned: AtomicU64,
    pub(crate) checkpointing: tokio::sync::Mutex<()>,
    pub(crate) turns: turns::Turns,
    /// Objects that the last checkpoint tells of; `u64::MAX` until one is written.
    pub(crate) checkpoint_objects: AtomicU64,
    pub(crate) collector: Wallet,
    /// Packs that no entry names any more, and the sequence that each gateway has to be past before they go.
    pub(crate) departing: Mutex<BTreeMap<PackId, Sequence>>,
    /// Drives that were away when something was to be deleted from them, or when they were looked through.
    pub(crate) unreached: Mutex<BTreeSet<DriveId>>,
    /// The number of the next delete order: above every earlier one's, also of earlier processes.
    pub(crate) next_order: AtomicU64,
    /// Lane buffers used again from pack to pack.
    pub(crate) lanes: LanePool,
    /// Claims whose appends are not answered yet.
    pub(crate) claims: Arc<Mutex<claims::Claims>>,
    pub(crate) stop: watch::Sender<bool>,
    /// Appends that nobody was told of what became of them.
    pub(crate) unsettled: unsettled::Unsettled,
    packers: Mutex<HashMap<ScopeId, Packer>>,
}

impl Session {
    /// Opens a vault: brings its view up to the ledger, then starts its background collector.
    ///
    /// # Errors
    /// When the ledger, the view or the drives cannot be read.
    pub async fn open(parts: SessionParts) -> Result<Self, SessionError> {
        let vault = parts.keyring.vault();
        parts.cluster.trust_collector(&parts.collector.1);
        let index = Index::new(Arc::clone(&parts.view), parts.keyring.clone())?;
        let applied = Arc::new(AtomicU64::new(index.applied_through()?.0));
        let inner = Arc::new(Inner {
            vault,
            name: parts.name,
            keyring: parts.keyring,
            ledger: parts.ledger,
            cluster: parts.cluster,
            recorder: parts.recorder,
            lease: parts.lease,
            gateways: parts.gateways,
            code: parts.options.code,
            quota_bytes: parts.options.quota_bytes,
            lifecycle_day_ms: parts.options.lifecycle_day_ms,
            pins: Pins::new(Arc::clone(&applied)),
            budget: Budget::new(parts.options.upload_memory_bytes, parts.options.code),
            coder: Arc::new(Coder::new(parts.options.code)),
            coding: Semaphore::new(CODING_MAX),
            news: AtomicU64::new(applied.load(Ordering::Relaxed)),
            applied,
            applying: tokio::sync::Mutex::new(()),
            others: Mutex::default(),
            alone_at: AtomicU64::new(0),
            reloading: AtomicBool::new(false),
            view_in_memory: AtomicBool::new(false),
            refusals: refusals::Refusals::new(Instant::now()),
            opened: credentials::Opened::default(),
            collecting: tokio::sync::Mutex::default(),
            scanned: AtomicU64::new(0),
            checkpointing: tokio::sync::Mutex::new(()),
            turns: turns::Turns::new(),
            checkpoint_objects: AtomicU64::new(u64::MAX),
            collector: parts.collector.0,
            departing: Mutex::default(),
            unreached: Mutex::default(),
            next_order: AtomicU64::new(now_ms() << 16),
            lanes: LanePool::new(LANE_BUFFERS_MAX),
            claims: Arc::default(),
            stop: watch::channel(false).0,
            unsettled: unsettled::Unsettled::default(),
            packers: Mutex::new(HashMap::new()),
            index,
            view: parts.view,
        });
        inner.check_view().await?;
        inner.load_view().await?;
        if inner.recorder.was_unclean() {
            inner.record_gap_in_time().await?;
        }
        inner.gateways.add(&inner);
        commit::follow(&inner);
        collect::start(&inner);
        expire::start(&inner);
        Ok(Self { inner })
    }

    /// Stops the background work and flushes the view. Requests that still run end on their own.
    ///
    /// # Errors
    /// When the view cannot be flushed; nothing is lost by that.
    pub async fn close(&self) -> Result<(), SessionError> {
        self.inner.stop.send_replace(true);
        // A collection that is under way ends its step first.
        let _done = self.inner.collecting.lock().await;
        self.inner.view.flush().map_err(vault::index::IndexError::from)?;
        Ok(())
    }

    /// The vault's id.
    pub fn vault(&self) -> VaultId {
        self.inner.vault
    }

    /// The vault's local name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Sees to it that what is read next is what was answered last, also by another gateway.
    ///
    /// # Errors
    /// [`SessionError::LedgerAway`].
    pub async fn freshen(&self) -> Result<(), SessionError> {
        self.inner.freshen().await
    }

    /// Whether a write would find enough drives now.
    ///
    /// # Errors
    /// [`SessionError::NotWritable`].
    pub fn writable(&self) -> Result<(), SessionError> {
        Ok(self.inner.cluster.writable()?)
    }

    /// Bytes that uploads hold in memory now.
    pub fn upload_memory_bytes(&self) -> u64 {
        self.inner.budget.used_bytes()
    }

    /// The entry of a pack, if the ledger has one.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn pack_entry(&self, pack: &PackId) -> Result<Option<PackEntry>, SessionError> {
        let row = self.inner.index.pack(pack)?;
        row.map(|row| decode_pack(&row.entry)).transpose()
    }

    /// What every bucket holds.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn usage(&self) -> Result<Vec<(String, Usage)>, SessionError> {
        let mut usage = Vec::new();
        for bucket in self.inner.index.buckets()? {
            let used = self.inner.index.usage(bucket.value.scope)?;
            usage.push((bucket.value.name, used));
        }
        Ok(usage)
    }
}

impl Inner {
    /// The cluster, for reads and puts that are done for this.
    pub(crate) fn cluster_for(&self, cause: Cause) -> Cluster {
        self.cluster.because(cause)
    }

    /// The packer of a bucket's scope, started on first use.
    pub(crate) fn packer(self: &Arc<Self>, scope: ScopeId, name: &str, epoch: u64) -> Packer {
        let mut packers = self.packers.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Packer::start(self, scope, name.to_owned(), epoch);
        let packer = packers.entry(scope).or_insert_with(start);
        // One whose task ended, by a panic, takes nothing more.
        if packer.is_closed() {
            *packer = start();
        }
        packer.clone()
    }

    /// Lets the packer of a deleted scope go.
    pub(crate) fn forget_packer(&self, scope: ScopeId) {
        self.packers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&scope);
    }

    /// The scope id of entries that belong to the vault as a whole.
    pub(crate) fn vault_scope(&self) -> ScopeId {
        self.keyring.vault_wide()
    }
}

/// Decodes a pack's ledger value.
pub(crate) fn decode_pack(value: &[u8]) -> Result<PackEntry, SessionError> {
    PackEntry::decode(value).map_err(|_| SessionError::Internal {
        what: "a pack entry that does not decode",
    })
}

/// Fills `bytes` with the operating system's randomness. Without it nothing may be sealed: the process ends.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        tracing::error!(%error, "the operating system gives no randomness; ending, for nothing could be sealed safely");
        std::process::abort();
    }
}

/// Milliseconds since 1970 by the wall clock, never below zero.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
