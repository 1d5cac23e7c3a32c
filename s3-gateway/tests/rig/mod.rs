//! One open vault over a disk, simulated or real, for the tests of the session.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "shared by test files, each of which uses its own part"
)]

pub mod frames;

use engine::disk::Disk;
use engine::log::LogConfig;
use engine::pack::Code;
use engine::view::{MemoryView, View};
use futures::future::BoxFuture;
use net::DriveConfig;
use net::cluster::{ClusterConfig, RepairOptions, RepairReport, ScrubReport};
use net::ledger::LedgerConfig;
use net::{Cluster, Ledger, LedgerError, LocalLedger, PackEntry};
use s3_gateway::gateways::Gateways;
use s3_gateway::key::{BucketName, ObjectKey};
use s3_gateway::session::{
    Bucket, Caller, Condition, NewObject, OpenedLog, Recorder, Session, SessionError, SessionOptions,
    SessionParts, Stored,
};
use scopes::{
    CollectorDelegation, Credential, CredentialName, Identity, OperationSet, Proof, Salt, ScopeSet, Signed,
    VaultId, Wallet, Window,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::customer::CustomerKey;
use vault::keys::{Keyring, RootKey};

/// An open vault.
pub struct Rig {
    pub session: Session,
    pub ledger: LocalLedger,
    pub cluster: Arc<Cluster>,
    pub recorder: Recorder,
    pub caller: Caller,
}

pub const DRIVES: usize = 6;

pub const VAULT_SALT: Salt = Salt([7; 16]);

pub fn owner() -> Wallet {
    Wallet::from_seed(&[1; 32])
}

pub fn vault_id() -> VaultId {
    VaultId::derive(&owner().public_key(), &VAULT_SALT)
}

pub fn keyring() -> Keyring {
    Keyring::new(RootKey::from_bytes([9; 32]), vault_id())
}

pub fn drive_dir(root: &Path, number: usize) -> PathBuf {
    root.join("drives").join(number.to_string())
}

/// How a vault is opened, where it is not as usual.
#[derive(Clone)]
pub struct Opening {
    /// Makes drives that are not there.
    pub create: bool,
    /// How many drives there are.
    pub drives: usize,
    /// Segment sizes of the drives' logs.
    pub drive_log: LogConfig,
    /// The ledger's sizes.
    pub ledger: LedgerConfig,
    /// Segment sizes of the activity log.
    pub activity_log: LogConfig,
    /// The view of the object index; an empty one in memory otherwise.
    pub view: Option<Arc<dyn View>>,
    /// The lease is taken above this one.
    pub lease_above: u64,
    /// Plaintext bytes that the vault may hold.
    pub quota_bytes: Option<u64>,
    /// Free bytes that puts leave on the drives' file systems.
    pub headroom_bytes: u64,
}

impl Opening {
    pub fn usual(create: bool) -> Self {
        Self {
            create,
            drives: DRIVES,
            drive_log: LogConfig::drive(),
            ledger: LedgerConfig::new(0x1ed6),
            activity_log: LogConfig::activity(),
            view: None,
            lease_above: 0,
            quota_bytes: None,
            headroom_bytes: net::DrivesConfig::HEADROOM_BYTES,
        }
    }

    /// As [`Self::tiny`], with drives that take full packs.
    pub fn large_packs(create: bool) -> Self {
        let tiny = Self::tiny(create);
        Self {
            drive_log: LogConfig {
                segment_bytes: 5 << 20,
                ..tiny.drive_log
            },
            ..tiny
        }
    }

    /// Segments of a few dozen KiB: a short workload fills and compacts several, and opening reads little.
    pub fn tiny(create: bool) -> Self {
        let small = |log: LogConfig, kib: u32| LogConfig {
            segment_bytes: kib << 10,
            preallocate_bytes: 16 << 10,
            ..log
        };
        let usual = Self::usual(create);
        Self {
            drive_log: small(LogConfig::drive(), 96),
            ledger: LedgerConfig {
                log: small(LogConfig::ledger(), 64),
                segments_min: 2,
                reserve_bytes: 64 << 10,
                ..usual.ledger
            },
            activity_log: small(LogConfig::activity(), 64),
            ..usual
        }
    }
}

pub async fn open_cluster(disk: &Arc<dyn Disk>, root: &Path, create: bool) -> Result<Cluster, String> {
    open_cluster_with(disk, root, &Opening::usual(create)).await
}

pub async fn open_cluster_with(
    disk: &Arc<dyn Disk>,
    root: &Path,
    opening: &Opening,
) -> Result<Cluster, String> {
    let drives = (0..opening.drives).map(|number| DriveConfig {
        dir: drive_dir(root, number),
        default: true,
    });
    let fresh = Arc::new(|| {
        let mut id = [0; 8];
        getrandom::fill(&mut id).expect("randomness");
        u64::from_le_bytes(id)
    });
    let mut config = ClusterConfig::new([3; 16], Code::DEFAULT, drives.collect(), fresh);
    config.own.create = opening.create;
    config.own.log = opening.drive_log;
    config.own.headroom_bytes = opening.headroom_bytes;
    Cluster::open(Arc::clone(disk), config)
        .await
        .map_err(|error| error.to_string())
}

pub async fn parts(
    disk: Arc<dyn Disk>,
    root: &Path,
    create: bool,
) -> Result<(SessionParts, LocalLedger), String> {
    parts_with(disk, root, Opening::usual(create)).await
}

pub async fn parts_with(
    disk: Arc<dyn Disk>,
    root: &Path,
    opening: Opening,
) -> Result<(SessionParts, LocalLedger), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let cluster = Arc::new(open_cluster_with(&disk, root, &opening).await?);
    let (ledger, _) = LocalLedger::open(Arc::clone(&disk), &root.join("ledger"), opening.ledger)
        .map_err(|error| text(&error))?;
    let lease = ledger
        .take_lease_above("test", 1, opening.lease_above)
        .await
        .map_err(|error| text(&error))?;
    let shared: Arc<dyn Ledger> = Arc::new(ledger.clone());
    let log = OpenedLog::open(
        disk,
        &root.join("activity"),
        "cairn.test/log",
        &[5; 32],
        (opening.activity_log, 77),
    )
    .map_err(|error| text(&error))?;
    let recorder = Recorder::start(log, Some(Arc::clone(&shared)))
        .await
        .map_err(|error| text(&error))?;
    let gateways = Gateways::new(Arc::clone(&shared), Arc::clone(&cluster), recorder.clone(), lease);
    let collector = Wallet::from_seed(&[2; 32]);
    let delegation = CollectorDelegation {
        vault: vault_id(),
        salt: VAULT_SALT,
        collector: collector.public_key(),
        window: Window {
            not_before_ms: None,
            expires_ms: None,
        },
        number: 1,
    };
    let delegation = Signed::sign(delegation, &owner()).map_err(|error| text(&error))?;
    let view = opening.view.unwrap_or_else(|| Arc::new(MemoryView::default()));
    let parts = SessionParts {
        keyring: keyring(),
        name: "test".to_owned(),
        ledger: shared,
        cluster,
        recorder,
        view,
        lease,
        gateways,
        collector: (collector, delegation),
        options: SessionOptions {
            upload_memory_bytes: 64 << 20,
            lifecycle_day_ms: s3_gateway::session::LIFECYCLE_DAY_MS,
            quota_bytes: opening.quota_bytes,
            code: Code::DEFAULT,
        },
    };
    Ok((parts, ledger))
}

impl Rig {
    /// Opens what stands on the disk, or begins it.
    pub async fn open(disk: Arc<dyn Disk>, root: &Path, create: bool) -> Result<Self, String> {
        Self::open_with(disk, root, Opening::usual(create)).await
    }

    pub async fn open_with(disk: Arc<dyn Disk>, root: &Path, opening: Opening) -> Result<Self, String> {
        let (parts, ledger) = parts_with(disk, root, opening).await?;
        Self::over(parts, ledger).await
    }

    /// A vault over parts that are open.
    pub async fn over(parts: SessionParts, ledger: LocalLedger) -> Result<Self, String> {
        let (cluster, recorder) = (Arc::clone(&parts.cluster), parts.recorder.clone());
        let session = Session::open(parts).await.map_err(|error| error.to_string())?;
        Ok(Self {
            session,
            ledger,
            cluster,
            recorder,
            caller: caller(),
        })
    }

    pub async fn close(self) {
        self.session.close().await.expect("session closes");
        self.recorder.close().await.expect("recorder closes");
        self.ledger.close().await;
        self.cluster.close().await;
    }

    /// Counts every shard that the ledger's packs should have.
    pub async fn census(&self) -> RepairReport {
        let packs = || net::cluster::packs_of(&self.ledger);
        self.cluster.census(&packs).await.expect("census")
    }

    /// Waits until what was acknowledged before its last shards were written has all of them.
    pub async fn settle(&self) {
        while !self.census().await.is_complete() {
            self.cluster.heal().await;
            tokio::task::yield_now().await;
        }
    }

    /// Makes lost drives anew and brings every shard back.
    pub async fn repair(&self) -> RepairReport {
        let packs = || net::cluster::packs_of(&self.ledger);
        let options = RepairOptions {
            recreate: true,
            ..RepairOptions::default()
        };
        self.cluster
            .repair(&packs, &options, &mut |_| {})
            .await
            .expect("repair")
    }

    /// Reads and checks every shard.
    pub async fn scrub(&self) -> ScrubReport {
        let session = self.session.clone();
        let lookup = move |pack| -> BoxFuture<'_, Result<Option<PackEntry>, LedgerError>> {
            let found = session.pack_entry(&pack).expect("a pack's entry");
            Box::pin(async move { Ok(found) })
        };
        self.cluster.scrub(&lookup, &mut |_| {}).await.expect("scrub")
    }

    pub async fn bucket(&self, name: &str) -> Bucket {
        match self.session.bucket(name).await {
            Ok(bucket) => bucket,
            Err(_) => self
                .session
                .create_bucket(&self.caller, &BucketName::parse(name).expect("name"))
                .await
                .expect("bucket"),
        }
    }

    pub async fn put(&self, bucket: &Bucket, key: &str, body: &[u8]) -> Result<Stored, SessionError> {
        self.put_if(bucket, key, body, Condition::None).await
    }

    pub async fn put_if(
        &self,
        bucket: &Bucket,
        key: &str,
        body: &[u8],
        condition: Condition,
    ) -> Result<Stored, SessionError> {
        self.put_under(bucket, key, body, None, condition).await
    }

    /// As [`Self::put_if`], under a customer's key.
    pub async fn put_under(
        &self,
        bucket: &Bucket,
        key: &str,
        body: &[u8],
        customer: Option<&CustomerKey>,
        condition: Condition,
    ) -> Result<Stored, SessionError> {
        let mut writer = self.session.stream(bucket, customer).await?;
        for piece in body.chunks(50_000) {
            writer.write(bytes::Bytes::copy_from_slice(piece)).await?;
        }
        let body = writer.finish().await?;
        self.session
            .put_object(
                &self.caller,
                bucket,
                &object_key(key),
                body,
                NewObject::default(),
                condition,
            )
            .await
    }

    /// Deletes; says whether there was one.
    pub async fn delete(&self, bucket: &Bucket, key: &str) -> Result<bool, SessionError> {
        let key = object_key(key);
        let there = self.session.object(bucket, &key).await.is_ok();
        let deleted = self
            .session
            .delete_object(&self.caller, bucket, &key, Condition::None)
            .await;
        deleted.map(|_| there)
    }

    pub async fn get(&self, bucket: &Bucket, key: &str) -> Result<Vec<u8>, SessionError> {
        let stored = self.session.object(bucket, &object_key(key)).await?;
        self.read(bucket, &stored, 0..stored.object.plaintext_bytes).await
    }

    pub async fn read(
        &self,
        bucket: &Bucket,
        stored: &Stored,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, SessionError> {
        self.read_under(bucket, stored, None, range).await
    }

    /// As [`Self::read`], with a customer's key.
    pub async fn read_under(
        &self,
        bucket: &Bucket,
        stored: &Stored,
        customer: Option<&CustomerKey>,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, SessionError> {
        use futures::StreamExt;
        let customer = customer.cloned();
        let mut pieces = self.session.read(&self.caller, bucket, stored, customer, range);
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }
}

pub fn object_key(key: &str) -> ObjectKey {
    ObjectKey::parse(key).expect("object key")
}

pub fn caller() -> Caller {
    let credential = Credential {
        scopes: ScopeSet::All,
        operations: OperationSet::all(),
        ..Credential::without_rights(vault_id(), 1)
    };
    Caller::new(Identity::verified(
        &credential,
        CredentialName([1; 8]),
        Proof::root_key_held(),
    ))
}

/// Bytes that differ from place to place, from a seed.
pub fn body(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut body = Vec::with_capacity(bytes + 8);
    while body.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(bytes);
    body
}
