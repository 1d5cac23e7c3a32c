//! Gateways over one ledger and one cluster, in one process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::{Disk, SimDisk};
use engine::log::LogConfig;
use engine::pack::Code;
use engine::view::MemoryView;
use net::{Cluster, Ledger, LocalLedger};
use s3_gateway::gateways::Gateways;
use s3_gateway::session::{
    Bucket, CollectOptions, Condition, Doomed, GcReport, OpenedLog, Recorder, Session, SessionError,
    SessionOptions, SessionParts,
};
use scopes::{CollectorDelegation, Signed, Wallet, Window};
use vault::index::{ListQuery, VersionsQuery};
use vault::object::VersionRef;

use super::Side;
use crate::rig::{self, Opening, Rig, object_key};

const ROOT: &str = "/vault";

/// A gateway with its session.
pub(crate) struct Gateway {
    pub(crate) rig: Rig,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) lease: u64,
}

impl Gateway {
    pub(crate) async fn open(
        disk: &Arc<dyn Disk>,
        cluster: &Arc<Cluster>,
        local: &LocalLedger,
        name: &'static str,
    ) -> Self {
        let ledger: Arc<dyn Ledger> = Arc::new(Side::new(local, name));
        let lease = ledger.take_lease("", 0).await.unwrap();
        cluster.end_leases(lease, &ledger.leases().accepted()).await;
        let dir = Path::new(ROOT).join(name);
        let origin = format!("cairn.test/{name}");
        let log = OpenedLog::open(
            Arc::clone(disk),
            &dir,
            &origin,
            &[5; 32],
            (LogConfig::activity(), lease),
        );
        let recorder = Recorder::start(log.unwrap(), Some(Arc::clone(&ledger)))
            .await
            .unwrap();
        let gateways = Gateways::new(Arc::clone(&ledger), Arc::clone(cluster), recorder.clone(), lease);
        let owner = rig::owner();
        let collector = Wallet::from_seed(&[lease as u8 + 10; 32]);
        let delegation = CollectorDelegation {
            vault: rig::vault_id(),
            salt: rig::VAULT_SALT,
            collector: collector.public_key(),
            window: Window::default(),
            number: lease,
        };
        let parts = SessionParts {
            keyring: rig::keyring(),
            name: "test".to_owned(),
            ledger: Arc::clone(&ledger),
            cluster: Arc::clone(cluster),
            recorder,
            view: Arc::new(MemoryView::default()),
            lease,
            gateways: Arc::clone(&gateways),
            collector: (collector, Signed::sign(delegation, &owner).unwrap()),
            options: SessionOptions {
                upload_memory_bytes: 64 << 20,
                lifecycle_day_ms: s3_gateway::session::LIFECYCLE_DAY_MS,
                quota_bytes: None,
                code: Code::DEFAULT,
            },
        };
        Self {
            rig: Rig::over(parts, local.clone()).await.unwrap(),
            gateways,
            ledger,
            lease,
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.rig.session
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        self.session().freshen().await.unwrap();
        let bucket = self.session().bucket("shared").await.unwrap();
        let query = ListQuery {
            max_keys: 1_000,
            ..ListQuery::default()
        };
        let page = self.session().list(&bucket, &query).await.unwrap();
        page.objects.into_iter().map(|listed| listed.object.key).collect()
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Vec<u8>, SessionError> {
        self.session().freshen().await?;
        let bucket = self.session().bucket("shared").await?;
        self.rig.get(&bucket, key).await
    }

    pub(crate) async fn put(&self, key: &str, body: &[u8], condition: Condition) -> Result<(), SessionError> {
        self.session().freshen().await?;
        let bucket = self.session().bucket("shared").await?;
        self.rig.put_if(&bucket, key, body, condition).await.map(drop)
    }

    /// The bucket as this gateway shows it.
    pub(crate) async fn bucket(&self) -> Bucket {
        self.session().freshen().await.unwrap();
        self.session().bucket("shared").await.unwrap()
    }

    pub(crate) async fn set(&self, name: &'static str, value: String) {
        self.session().freshen().await.unwrap();
        let change = move |_: &Bucket, settings: &mut vault::object::Settings| {
            settings.set(name, value.clone());
            Ok(())
        };
        let (session, caller) = (self.session(), &self.rig.caller);
        let changed = session.change_bucket(caller, "shared", "PutBucketTagging", change);
        changed.await.unwrap();
    }

    /// Every version in the bucket, by key and newest first, with whether it is a delete marker.
    pub(crate) async fn versions(&self) -> Vec<(String, VersionRef, bool)> {
        let bucket = self.bucket().await;
        let query = VersionsQuery {
            max_keys: 1_000,
            ..VersionsQuery::default()
        };
        let page = self.session().versions(&bucket, &query).await.unwrap();
        let seen = page.versions.into_iter().map(|listed| {
            let version = VersionRef::named(listed.object.null_version, listed.object.version);
            (listed.object.key, version, listed.object.delete_marker)
        });
        seen.collect()
    }

    pub(crate) async fn delete_version(&self, key: &str, version: VersionRef) {
        let bucket = self.bucket().await;
        let doomed = Doomed {
            version,
            only: None,
            bypass_governance: false,
        };
        let (session, caller, key) = (self.session(), &self.rig.caller, object_key(key));
        let deleted = session.delete_version(caller, &bucket, &key, doomed, Condition::None);
        deleted.await.unwrap();
    }

    pub(crate) async fn gc(&self) -> GcReport {
        let options = CollectOptions { everything: true };
        self.session().collect(options, &|_| {}).await.unwrap()
    }
}

/// Both tell each other how far they are, as they do at intervals, until the returned task is aborted.
pub(crate) fn telling(gateways: &[&Gateway]) -> Vec<tokio::task::JoinHandle<()>> {
    let tell = |gateway: &&Gateway| {
        let gateways = Arc::clone(&gateway.gateways);
        tokio::spawn(async move {
            loop {
                gateways.look().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    };
    gateways.iter().map(tell).collect()
}

pub(crate) async fn two() -> (Gateway, Gateway) {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::unrecorded(91));
    let opening = Opening::usual(true);
    let cluster = rig::open_cluster_with(&disk, Path::new(ROOT), &opening)
        .await
        .unwrap();
    let (local, _) =
        LocalLedger::open(Arc::clone(&disk), &Path::new(ROOT).join("ledger"), opening.ledger).unwrap();
    let cluster = Arc::new(cluster);
    let one = Gateway::open(&disk, &cluster, &local, "one").await;
    let other = Gateway::open(&disk, &cluster, &local, "other").await;
    one.rig.bucket("shared").await;
    (one, other)
}
