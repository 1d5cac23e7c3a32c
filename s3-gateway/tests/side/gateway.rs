//! Gateways over one ledger and one cluster, in one process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::{Disk, SimDisk};
use engine::log::LogConfig;
use engine::pack::{Code, PackId};
use engine::slots::{Append, LeaseEntry, LeaseProgress, Outcome, Write};
use engine::view::{MemoryView, View};
use net::ledger::lease;
use net::{Cluster, Ledger, LocalLedger};
use s3_gateway::gateways::Gateways;
use s3_gateway::session::{
    Bucket, CollectOptions, Condition, Doomed, GcReport, OpenedLog, Recorder, Session, SessionError,
    SessionOptions, SessionParts,
};
use scopes::{CollectorDelegation, Signed, Wallet, Window};
use vault::index::{ListQuery, VersionsQuery};
use vault::keys::pack_address;
use vault::object::VersionRef;

use super::Side;
use crate::rig::{self, Opening, Rig, object_key};

pub(crate) const ROOT: &str = "/vault";

/// A gateway with its session.
pub(crate) struct Gateway {
    pub(crate) rig: Rig,
    pub(crate) gateways: Arc<Gateways>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) side: Arc<Side>,
    pub(crate) lease: u64,
    /// Of its object index, which it has again when it is opened again.
    view: Arc<dyn View>,
    disk: Arc<dyn Disk>,
}

impl Gateway {
    pub(crate) async fn open(
        disk: &Arc<dyn Disk>,
        cluster: &Arc<Cluster>,
        local: &LocalLedger,
        name: &'static str,
        view: Arc<dyn View>,
    ) -> Self {
        let side = Side::new(local, name);
        let ledger: Arc<dyn Ledger> = Arc::clone(&side) as Arc<dyn Ledger>;
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
        let collector = Wallet::from_seed(&seed_of(lease));
        let delegation = delegated(lease, &collector);
        let parts = SessionParts {
            keyring: rig::keyring(),
            name: "test".to_owned(),
            ledger: Arc::clone(&ledger),
            cluster: Arc::clone(cluster),
            recorder,
            view: Arc::clone(&view),
            lease,
            gateways: Arc::clone(&gateways),
            collector: (collector, delegation),
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
            side,
            lease,
            view,
            disk: Arc::clone(disk),
        }
    }

    /// The drives obey the collector of this seed, and no other in the name of this gateway's lease.
    pub(crate) fn trust(&self, seed: [u8; 32]) {
        let delegation = delegated(self.lease, &Wallet::from_seed(&seed));
        self.rig.cluster.trust_collector(&delegation);
    }

    /// That of its own.
    pub(crate) fn collector_seed(&self) -> [u8; 32] {
        seed_of(self.lease)
    }

    /// Stops in order, but for its lease.
    pub(crate) async fn close(&self) {
        self.rig.session.close().await.unwrap();
        self.rig.recorder.close().await.unwrap();
    }

    /// Ends its lease, with every record taken.
    pub(crate) async fn end(&self) {
        let records = self.ledger.position();
        self.ledger.end_lease(self.lease, records).await.unwrap();
    }

    /// It starts again, with its object index as it was.
    pub(crate) async fn start_again(self) -> Self {
        let (cluster, local) = (Arc::clone(&self.rig.cluster), self.rig.ledger.clone());
        Self::open(&self.disk, &cluster, &local, self.side.name(), self.view).await
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

    /// The packs that an object's bytes lie in.
    pub(crate) async fn packs_of(&self, key: &str) -> Vec<PackId> {
        let bucket = self.bucket().await;
        let stored = self.session().object(&bucket, &object_key(key)).await.unwrap();
        stored.object.manifest.pack_bytes().into_keys().collect()
    }

    /// Takes an object and its packs out of the ledger, as a deletion and a collection under this gateway's lease do, and orders nothing.
    pub(crate) async fn retire(&self, key: &str) -> Vec<PackId> {
        let (bucket, packs) = (self.bucket().await, self.packs_of(key).await);
        let object = rig::keyring().object_address(bucket.scope, key.as_bytes());
        let of_packs = packs.iter().map(|id| pack_address(bucket.scope, id));
        let removed = [object].into_iter().chain(of_packs);
        let mut operation = [0; 16];
        getrandom::fill(&mut operation).unwrap();
        let append = Append {
            operation,
            lease: self.lease,
            vault: rig::vault_id().0,
            expectations: Vec::new(),
            writes: removed.map(|address| Write { address, value: None }).collect(),
            record: None,
        };
        let outcome = self.ledger.append(append).await.unwrap();
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        packs
    }

    /// Says that nothing here relies on anything before now.
    pub(crate) async fn pass(&self) {
        let horizon = self.ledger.position();
        let passed = |entry: &LeaseEntry| {
            let records = entry.records();
            Some(LeaseEntry {
                progress: Some(LeaseProgress { horizon, records }),
                ..entry.clone()
            })
        };
        // Until it is so: a change that changes nothing is none.
        let passed = |entry: &LeaseEntry| passed(entry).filter(|passed| passed != entry);
        lease::change(&*self.ledger, self.lease, self.lease, passed)
            .await
            .unwrap();
    }

    /// Every pack of which a drive has a shard.
    pub(crate) async fn all(&self) -> Vec<PackId> {
        let page = self
            .rig
            .cluster
            .listed_packs(rig::vault_id().0, None, 10_000)
            .await;
        assert!(page.next.is_none());
        page.packs.into_iter().map(|listed| listed.id).collect()
    }

    /// Those of them that are among these.
    pub(crate) async fn on_drives(&self, packs: &[PackId]) -> Vec<PackId> {
        let mut listed = self.all().await;
        listed.retain(|id| packs.contains(id));
        listed
    }

    /// Looks in the background until there is nothing to do.
    pub(crate) async fn rest(&self) {
        for _ in 0..20 {
            if self.session().collect_in_background().await.unwrap().is_none() {
                return;
            }
        }
        panic!("no rest");
    }

    pub(crate) async fn gc(&self) -> GcReport {
        let options = CollectOptions { everything: true };
        self.session().collect(options, &|_| {}).await.unwrap()
    }
}

fn seed_of(lease: u64) -> [u8; 32] {
    [lease as u8 + 10; 32]
}

/// The owner's delegation to a collector.
fn delegated(lease: u64, collector: &Wallet) -> Signed<CollectorDelegation> {
    let delegation = CollectorDelegation {
        vault: rig::vault_id(),
        salt: rig::VAULT_SALT,
        collector: collector.public_key(),
        window: Window::default(),
        number: lease,
    };
    Signed::sign(delegation, &rig::owner()).unwrap()
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
    two_over(disk, Opening::usual(true), Arc::new(MemoryView::default())).await
}

/// Two gateways on this disk, of which the second has this view.
pub(crate) async fn two_over(
    disk: Arc<dyn Disk>,
    opening: Opening,
    view: Arc<dyn View>,
) -> (Gateway, Gateway) {
    let cluster = rig::open_cluster_with(&disk, Path::new(ROOT), &opening)
        .await
        .unwrap();
    let (local, _) =
        LocalLedger::open(Arc::clone(&disk), &Path::new(ROOT).join("ledger"), opening.ledger).unwrap();
    let cluster = Arc::new(cluster);
    let own = Arc::new(MemoryView::default());
    let one = Gateway::open(&disk, &cluster, &local, "one", own).await;
    let other = Gateway::open(&disk, &cluster, &local, "other", view).await;
    one.rig.bucket("shared").await;
    (one, other)
}
