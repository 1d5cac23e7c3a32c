//! A ledger that is a process elsewhere, as a gateway sees it: reached over a way that loses and delays.
//!
//! In most worlds the ledger that the peers keep together takes its place (`members`), behind the same trait. A call without an answer is an error; what it asked may have been done, or
//! be done later.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::disk::Disk;
use engine::log::LogConfig;
use engine::slots::{Address, Append, Entry, Leases, Outcome, Sequence};
use futures::future::BoxFuture;
use net::ledger::{LedgerConfig, LedgerStatus};
use net::{Ledger, LedgerError, LocalLedger, Snapshot, Tail};
use tokio::sync::watch;

use crate::world::{End, World, lock, small};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// The way of one start of a gateway to the ledger.
pub struct FarLedger {
    pub world: Arc<World>,
    pub gateway: usize,
    pub life: u64,
}

impl FarLedger {
    async fn ask<T, F>(
        &self,
        name: &'static str,
        work: impl FnOnce(LocalLedger) -> F + Send + 'static,
    ) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LedgerError>> + Send,
    {
        let world = Arc::clone(&self.world);
        let way = (End::Gateway(self.gateway), End::Ledger);
        if world.gateway_life(self.gateway) != self.life {
            return Err(LedgerError::Closed);
        }
        // A task of its own: what is on its way arrives, also when nobody waits for the answer any more.
        let asked = tokio::spawn(async move {
            tokio::time::sleep(world.delay()?).await;
            let (ledger, life) = (world.ledger_here()?, world.ledger_life());
            if !world.comes_through(way) {
                return None;
            }
            world.trace.step(name, &[way.0.code()]);
            let done = work(ledger).await;
            tokio::time::sleep(world.delay()?).await;
            let is_same = world.ledger_life() == life && world.ledger_here().is_some();
            if !is_same || !world.comes_through(way) {
                return None;
            }
            world
                .trace
                .step("ledger answers", &[way.0.code(), u64::from(done.is_ok())]);
            Some(done)
        });
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(Some(done))) => done,
            Ok(_) => {
                tokio::time::sleep(PATIENCE / 4).await;
                Err(LedgerError::Closed)
            }
            Err(_) => Err(LedgerError::Closed),
        }
    }
}

impl World {
    pub fn start_ledger(self: &Arc<Self>) {
        let disk: Arc<dyn Disk> = Arc::new(lock(&self.ledger).disk.clone());
        let config = LedgerConfig {
            log: small(LogConfig::ledger()),
            segments_min: 2,
            reserve_bytes: 64 << 10,
            offload: self.offload(4),
            ..LedgerConfig::new(self.random.next() | 1)
        };
        match LocalLedger::open(disk, Path::new("/ledger"), config) {
            Ok((opened, _)) => {
                let mut ledger = lock(&self.ledger);
                ledger.life += 1;
                ledger.ledger = Some(opened);
            }
            Err(error) => self.trace.wrong(format!("the ledger does not start: {error}")),
        }
    }

    pub fn crash_ledger(&self) {
        let choice = self.crash_choice();
        let mut ledger = lock(&self.ledger);
        ledger.disk = ledger.disk.crashed(choice);
        let gone = ledger.ledger.take();
        drop(ledger);
        drop(gone);
    }
}

impl Ledger for FarLedger {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        Box::pin(self.ask("append", move |ledger| async move { ledger.append(append).await }))
    }

    fn append_urgent(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        Box::pin(self.ask("append", move |ledger| async move {
            ledger.append_urgent(append).await
        }))
    }

    fn settle(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        // Its calls may come late, and nothing withdraws them.
        Box::pin(std::future::ready(Err(LedgerError::Closed)))
    }

    fn position(&self) -> Sequence {
        self.world
            .ledger_here()
            .map_or(Sequence(0), |ledger| ledger.position())
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        Box::pin(self.ask("read index", |ledger| async move { ledger.read_index().await }))
    }

    fn changed(&self) -> watch::Receiver<Sequence> {
        match self.world.ledger_here() {
            Some(ledger) => ledger.changed(),
            None => watch::channel(Sequence(0)).1,
        }
    }

    fn tail(&self, from: Sequence, max: usize) -> BoxFuture<'_, Result<Tail, LedgerError>> {
        Box::pin(self.ask("tail", move |ledger| async move { ledger.tail(from, max).await }))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, LedgerError>> {
        Box::pin(self.ask("snapshot", |ledger| async move { ledger.snapshot().await }))
    }

    fn get(&self, address: Address) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        Box::pin(self.ask("get", move |ledger| async move { ledger.get(address).await }))
    }

    fn records_through(&self, sequence: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.ask("records", move |ledger| async move {
            ledger.records_through(sequence).await
        }))
    }

    fn take_lease<'a>(&'a self, holder: &'a str, now_ms: u64) -> BoxFuture<'a, Result<u64, LedgerError>> {
        let holder = holder.to_owned();
        Box::pin(self.ask("lease", move |ledger| async move {
            ledger.take_lease(&holder, now_ms).await
        }))
    }

    fn leases(&self) -> Leases {
        let here = self.world.ledger_here();
        here.map(|ledger| ledger.leases()).unwrap_or_default()
    }

    fn is_own_lease(&self, number: u64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(self.ask("own lease", move |ledger| async move {
            ledger.is_own_lease(number).await
        }))
    }

    fn end_lease(&self, number: u64, records: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(self.ask("end lease", move |ledger| async move {
            ledger.end_lease(number, records).await
        }))
    }

    fn fenced(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn status(&self) -> LedgerStatus {
        self.world
            .ledger_here()
            .map(|ledger| ledger.status())
            .unwrap_or_default()
    }
}
