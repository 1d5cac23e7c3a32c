//! One ledger as two gateways have it.

#![allow(dead_code, reason = "shared by test files, each of which uses its own part")]

use engine::slots::{
    Address, Append, Entry, Expectation, LeaseEntry, LeaseProgress, LeaseState, Leases, Outcome, Sequence,
    Write, lease_address,
};
use futures::future::BoxFuture;
use net::ledger::LedgerStatus;
use net::{Ledger, LedgerError, LocalLedger, Snapshot, Tail};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

pub(crate) mod gated;
pub(crate) mod gateway;

/// A ledger as one of several gateways has it: as that of one machine, but for the leases. Like a copy that follows members it may know of
/// leases what it does not give appends for yet.
pub(crate) struct Side {
    ledger: LocalLedger,
    name: &'static str,
    /// How far it says that it is, while it is held back.
    held: Mutex<Option<Sequence>>,
    said: watch::Sender<Sequence>,
    /// Appends that nobody was told of what became of them, while answers are lost.
    unanswered: Mutex<Option<Vec<Append>>>,
    /// What happens before the question for a read index after so many.
    before_asking: Mutex<Option<(usize, BoxFuture<'static, ()>)>>,
}

impl Side {
    pub(crate) fn new(ledger: &LocalLedger, name: &'static str) -> Arc<Self> {
        let side = Arc::new(Self {
            ledger: ledger.clone(),
            name,
            held: Mutex::default(),
            said: watch::Sender::new(ledger.position()),
            unanswered: Mutex::default(),
            before_asking: Mutex::default(),
        });
        let (weak, mut changed) = (Arc::downgrade(&side), ledger.changed());
        tokio::spawn(async move {
            while changed.changed().await.is_ok() {
                let Some(side) = weak.upgrade() else { return };
                side.say();
            }
        });
        side
    }

    /// Does something before the question for a read index that comes after `after` others from now on.
    pub(crate) fn before_asking(&self, after: usize, work: impl Future<Output = ()> + Send + 'static) {
        *self.before_asking.lock().unwrap() = Some((after, Box::pin(work)));
    }

    /// Appends reach nobody from now on, until [`Self::carry_out_late`] or [`Self::find_calls`].
    pub(crate) fn lose_calls(&self) {
        *self.unanswered.lock().unwrap() = Some(Vec::new());
    }

    /// Later calls are answered. Those that were lost are given back, and may come or not.
    pub(crate) fn find_calls(&self) -> Vec<Append> {
        self.unanswered.lock().unwrap().take().unwrap()
    }

    /// The calls that were lost are carried out after all; later ones are answered.
    pub(crate) async fn carry_out_late(&self) {
        let late = self.unanswered.lock().unwrap().clone().unwrap();
        for append in late {
            self.ledger.append(append).await.unwrap();
        }
        self.find_calls();
    }

    fn due(&self) -> Option<BoxFuture<'static, ()>> {
        let mut waiting = self.before_asking.lock().unwrap();
        let (after, work) = waiting.take()?;
        if after == 0 {
            return Some(work);
        }
        *waiting = Some((after - 1, work));
        None
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// It goes on as if nothing were appended from now on, but for its leases, until [`Self::go_on`].
    pub(crate) fn hold_back(&self) {
        *self.held.lock().unwrap() = Some(self.ledger.position());
        self.say();
    }

    pub(crate) fn go_on(&self) {
        *self.held.lock().unwrap() = None;
        self.say();
    }

    fn say(&self) {
        let held = self.held.lock().unwrap();
        self.said
            .send_replace(held.unwrap_or_else(|| self.ledger.position()));
    }

    async fn take(&self) -> Result<u64, LedgerError> {
        let number = self.ledger.leases().highest() + 1;
        let live = self.ledger.leases();
        let own = live
            .live()
            .iter()
            .filter(|(_, entry)| entry.holder_name() == self.name);
        let write = |number, entry: LeaseEntry| Write {
            address: lease_address(number),
            value: Some(entry.encode().into()),
        };
        let mut writes: Vec<Write> = own.map(|(number, entry)| write(*number, entry.ended())).collect();
        let at = self.ledger.position();
        let taken = LeaseEntry {
            state: LeaseState::Live,
            holder: format!("{} test", self.name),
            granted_ms: 0,
            progress: Some(LeaseProgress {
                horizon: at,
                records: at,
            }),
        };
        writes.push(write(number, taken));
        let append = Append {
            operation: [number as u8 ^ 0x5a; 16],
            lease: number,
            vault: [0; 16],
            expectations: vec![Expectation::Absent(lease_address(number))],
            writes,
            record: None,
        };
        let outcome = self.ledger.append(append).await?;
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        Ok(number)
    }
}

impl Ledger for Side {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        if let Some(unanswered) = &mut *self.unanswered.lock().unwrap() {
            unanswered.push(append);
            return Box::pin(std::future::ready(Err(LedgerError::Unreachable)));
        }
        self.ledger.append(append)
    }
    fn settle(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        if self.unanswered.lock().unwrap().is_some() {
            return Box::pin(std::future::ready(Err(LedgerError::Unreachable)));
        }
        self.ledger.settle()
    }
    fn append_urgent(&self, append: Append) -> BoxFuture<'_, Result<Outcome, LedgerError>> {
        self.ledger.append_urgent(append)
    }
    fn position(&self) -> Sequence {
        let held = *self.held.lock().unwrap();
        held.unwrap_or_else(|| self.ledger.position())
    }
    fn read_index(&self) -> BoxFuture<'_, Result<Sequence, LedgerError>> {
        let due = self.due();
        Box::pin(async move {
            if let Some(work) = due {
                work.await;
            }
            match self.must_ask() {
                true => self.ledger.read_index().await,
                false => Ok(self.position()),
            }
        })
    }
    fn must_ask(&self) -> bool {
        let leases = self.ledger.leases();
        leases
            .live()
            .values()
            .any(|entry| entry.holder_name() != self.name)
    }
    fn changed(&self) -> watch::Receiver<Sequence> {
        self.said.subscribe()
    }
    fn tail(&self, from: Sequence, max: usize) -> BoxFuture<'_, Result<Tail, LedgerError>> {
        self.ledger.tail(from, max)
    }
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, LedgerError>> {
        self.ledger.snapshot()
    }
    fn get(&self, address: Address) -> BoxFuture<'_, Result<Option<Entry>, LedgerError>> {
        self.ledger.get(address)
    }
    fn records_through(&self, sequence: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.records_through(sequence)
    }
    fn leases(&self) -> Leases {
        self.ledger.leases()
    }
    fn is_own_lease(&self, number: u64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            let entry = self.ledger.get(lease_address(number)).await?;
            let read = entry.and_then(|entry| LeaseEntry::decode(&entry.value).ok());
            Ok(read.is_some_and(|entry| entry.holder_name() == self.name))
        })
    }
    fn take_lease<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<u64, LedgerError>> {
        Box::pin(self.take())
    }
    fn end_lease(&self, number: u64, records: Sequence) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.end_lease(number, records)
    }
    fn fenced(&self) -> BoxFuture<'_, ()> {
        self.ledger.fenced()
    }
    fn status(&self) -> LedgerStatus {
        self.ledger.status()
    }
}
