//! What the activity log's thread does: it appends, follows the ledger, and signs a checkpoint behind every flush.
//!
//! Invariants: a full disk ends nothing; what cannot be written then waits here, bounded, or is refused, and the ledger keeps
//! the records that travelled with its appends until they are taken over. Everything else that fails is final.

use super::writing::Writing;
use super::{Command, FEED_MAX, PreparedRecord, QUEUE_MAX, Queued, RecorderError, SYNC_EVERY, record_id_of};
use engine::log::LogError;
use engine::slots::{RecordPart, Sequence};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ledger::{Ledger, LedgerError, Tail};

/// Most leases of which it is remembered whose they were.
const OWN_MAX: usize = 1_024;

/// What the thread owns.
pub(super) struct Owner {
    writing: Writing,
    /// None for a node, whose records travel with no append.
    ledger: Option<Arc<dyn Ledger>>,
    /// Every append up to here was taken over.
    fed: Sequence,
    /// Every record of this gateway's up to here is durable.
    taken: Arc<AtomicU64>,
    /// Of each lease that records came from, whether it is one of this gateway's.
    own: BTreeMap<u64, bool>,
    /// The ledger was not told yet what it may let go of.
    owes_ledger: bool,
    fence: watch::Sender<Option<RecorderError>>,
    /// Records that wait for space, with those who wait for them.
    waiting: VecDeque<Queued>,
}

/// Why something was not done.
pub(super) enum Trouble {
    /// There is no space now.
    Full,
    /// It will never be done by this process.
    Failed(RecorderError),
}

impl Trouble {
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(RecorderError::Fenced(error.to_string()))
    }

    /// What the one who asked hears.
    fn answer(&self) -> RecorderError {
        match self {
            Self::Full => RecorderError::Behind,
            Self::Failed(error) => error.clone(),
        }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Full { .. } => Self::Full,
            error => Self::failed(error),
        }
    }
}

impl Drop for Owner {
    /// Without its thread the log is made durable by nobody, so nobody may append to it.
    fn drop(&mut self) {
        self.writing.end();
        if std::thread::panicking() {
            let failed = RecorderError::Fenced("its thread ended in a panic".to_owned());
            let _ = self.fence.send(Some(failed));
        }
    }
}

impl Owner {
    pub(super) fn new(
        writing: Writing,
        ledger: Option<Arc<dyn Ledger>>,
        fed: Sequence,
        taken: Arc<AtomicU64>,
        fence: watch::Sender<Option<RecorderError>>,
    ) -> Self {
        Self {
            writing,
            ledger,
            fed,
            taken,
            own: BTreeMap::new(),
            owes_ledger: false,
            fence,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn run(
        mut self,
        queue: mpsc::Receiver<Command>,
        started: oneshot::Sender<Result<(), RecorderError>>,
    ) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(RecorderError::Open(error.to_string())));
                return;
            }
        };
        runtime.block_on(async move {
            let caught_up = self.flush().await;
            // On a full disk it goes on with what it has: deletes and the collector must be able to make room.
            let caught_up = self.unless_full(caught_up);
            let failed = caught_up.is_err();
            let _ = started.send(caught_up);
            let fence = self.fence.clone();
            if !failed && let Err(error) = self.serve(queue).await {
                let _ = fence.send(Some(error));
            }
        });
    }

    /// Notes a full disk, which is no failure.
    fn unless_full(&mut self, done: Result<(), Trouble>) -> Result<(), RecorderError> {
        match done {
            Ok(()) => {
                self.set_full(false)?;
                Ok(())
            }
            Err(Trouble::Full) => {
                if self.set_full(true)? {
                    tracing::warn!(
                        "the activity log's disk is full; reads wait or are refused until there is space"
                    );
                }
                Ok(())
            }
            Err(Trouble::Failed(error)) => Err(error),
        }
    }

    async fn serve(mut self, mut queue: mpsc::Receiver<Command>) -> Result<(), RecorderError> {
        let mut tick = tokio::time::interval(SYNC_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let command = tokio::select! {
                command = queue.recv() => command,
                _ = tick.tick() => {
                    let ticked = self.tick().await;
                    self.unless_full(ticked)?;
                    continue;
                }
            };
            match command {
                Some(Command::Append(queued)) => self.take(queued)?,
                Some(Command::Flush(reply)) => {
                    let done = self.flush().await;
                    let _ = reply.send(answer_to(&done));
                    self.unless_full(done)?;
                }
                Some(Command::Adopt(lease, after, reply)) => match self.adopt(lease, after).await {
                    // Somebody asks again.
                    Ok(Err(error)) => drop(reply.send(Err(RecorderError::Ledger(error)))),
                    Ok(Ok(())) => {
                        let done = self.sync().await;
                        let _ = reply.send(answer_to(&done));
                        self.unless_full(done)?;
                    }
                    Err(trouble) => {
                        let done = Err(trouble);
                        let _ = reply.send(answer_to(&done));
                        self.unless_full(done)?;
                    }
                },
                Some(Command::Close(reply)) => {
                    let done = self.finish().await;
                    let _ = reply.send(answer_to(&done));
                    return ended(done);
                }
                None => return ended(self.finish().await),
            }
            if self.is_due()? {
                let synced = self.sync().await;
                self.unless_full(synced)?;
            }
        }
    }

    /// Appends a record and answers, or keeps it until there is space.
    fn take(&mut self, queued: Queued) -> Result<(), RecorderError> {
        match self.append_unless_full(&queued.record) {
            Ok(()) => {
                let _ = queued.reply.map(|reply| reply.send(Ok(())));
                Ok(())
            }
            // Nobody waits for it, so it is not worth the place.
            Err(Trouble::Full) if queued.reply.is_none() => self.unless_full(Err(Trouble::Full)),
            Err(Trouble::Full) if self.waiting.len() < QUEUE_MAX => {
                self.waiting.push_back(queued);
                self.unless_full(Err(Trouble::Full))
            }
            Err(trouble) => {
                let _ = queued.reply.map(|reply| reply.send(Err(trouble.answer())));
                self.unless_full(Err(trouble))
            }
        }
    }

    /// Appends the records that wait for space. One whose operation was refused meanwhile goes.
    fn drain(&mut self) -> Result<(), Trouble> {
        while let Some(queued) = self.waiting.pop_front() {
            if !queued.is_done && queued.reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                continue;
            }
            match self.append(&queued.record, 0) {
                Ok(()) => {
                    let _ = queued.reply.map(|reply| reply.send(Ok(())));
                }
                Err(trouble) => {
                    self.waiting.push_front(queued);
                    return Err(trouble);
                }
            }
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Trouble> {
        self.writing.lock()?.refill();
        self.feed().await?;
        self.drain()?;
        if self.owes_ledger || self.writing.lock()?.waits_since(Duration::ZERO) {
            return self.sync().await;
        }
        self.taken.store(self.fed.0, Ordering::Release);
        self.writing.lock()?.rest()
    }

    async fn flush(&mut self) -> Result<(), Trouble> {
        self.feed().await?;
        self.drain()?;
        self.sync().await
    }

    async fn finish(mut self) -> Result<(), Trouble> {
        self.flush().await?;
        self.writing.lock()?.close()
    }

    /// Whether a lease is, or was, one of this gateway's. Another gateway takes what comes under its own.
    async fn is_own(&mut self, ledger: &dyn Ledger, lease: u64) -> Result<bool, Trouble> {
        if let Some(is_own) = self.own.get(&lease) {
            return Ok(*is_own);
        }
        let is_own = ledger.is_own_lease(lease).await.map_err(Trouble::failed)?;
        if self.own.len() >= OWN_MAX {
            self.own.clear();
        }
        self.own.insert(lease, is_own);
        Ok(is_own)
    }

    /// Takes over the records of a lease that was lost; a node has none to take. What the ledger did not give is no trouble of the log.
    async fn adopt(&mut self, lease: u64, after: Sequence) -> Result<Result<(), LedgerError>, Trouble> {
        let Some(ledger) = self.ledger.clone() else {
            return Ok(Ok(()));
        };
        let mut from = after;
        while ledger.position() > from {
            let appends = match ledger.tail(from, FEED_MAX).await {
                Ok(Tail::Appends(appends)) => appends,
                // What was compacted above what was let go carried no record.
                Ok(Tail::Compacted) => {
                    let status = ledger.status();
                    if from.0 < status.tail_above {
                        from = Sequence(status.tail_above);
                        continue;
                    }
                    return Ok(Err(LedgerError::Unreachable));
                }
                Err(error) => return Ok(Err(error)),
            };
            let Some(last) = appends.last() else { break };
            from = last.sequence;
            for applied in appends.into_iter().filter(|applied| applied.lease == lease) {
                if let Some(part) = applied.record {
                    self.writing.lock()?.append_adopted(&prepared(part))?;
                }
            }
        }
        Ok(Ok(()))
    }

    /// Takes over the records of every ledger append that is new.
    async fn feed(&mut self) -> Result<(), Trouble> {
        let Some(ledger) = self.ledger.clone() else {
            return Ok(());
        };
        loop {
            let from = self.fed;
            if ledger.position() <= from {
                return Ok(());
            }
            let tail = ledger.tail(from, FEED_MAX).await;
            let appends = match tail.map_err(Trouble::failed)? {
                Tail::Appends(appends) => appends,
                // The ledger lets no record go beyond `records_through`, so what it compacted above that carried none. Below it,
                // this is a log that lost its end.
                Tail::Compacted => {
                    let status = ledger.status();
                    if from.0 >= status.records_through && from.0 < status.tail_above {
                        self.fed = Sequence(status.tail_above);
                        continue;
                    }
                    let lost = "the ledger no longer holds records that the activity log lacks";
                    return Err(Trouble::failed(lost));
                }
            };
            if appends.is_empty() {
                return Ok(());
            }
            for applied in appends {
                if let Some(part) = applied.record
                    && self.is_own(&*ledger, applied.lease).await?
                {
                    self.append(&prepared(part), applied.sequence.0)?;
                }
                self.fed = applied.sequence;
            }
        }
    }

    fn append(&self, record: &PreparedRecord, ledger_sequence: u64) -> Result<(), Trouble> {
        self.writing.lock()?.append(record, ledger_sequence)
    }

    fn append_unless_full(&self, record: &PreparedRecord) -> Result<(), Trouble> {
        let mut writing = self.writing.lock()?;
        if writing.is_full() {
            return Err(Trouble::Full);
        }
        writing.append(record, 0)
    }

    /// Whether there is something to flush that cannot wait for the next tick.
    fn is_due(&self) -> Result<bool, RecorderError> {
        let writing = self.writing.lock().map_err(|trouble| trouble.answer())?;
        Ok(!writing.is_full() && writing.waits_since(SYNC_EVERY))
    }

    /// Notes whether there is space; whether that is news.
    fn set_full(&self, full: bool) -> Result<bool, RecorderError> {
        let mut writing = self.writing.lock().map_err(|trouble| trouble.answer())?;
        Ok(writing.set_full(full))
    }

    /// Every gateway's log holds its records up to this, as far as they have said.
    async fn all_taken(&mut self, ledger: &dyn Ledger) -> Result<Sequence, Trouble> {
        let leases = ledger.leases();
        let mut through = self.fed;
        for (lease, entry) in leases.live().iter().chain(leases.lost()) {
            if !self.is_own(ledger, *lease).await? || leases.lost().contains_key(lease) {
                through = through.min(entry.records());
            }
        }
        Ok(through)
    }

    async fn sync(&mut self) -> Result<(), Trouble> {
        if self.writing.lock()?.sync()? {
            self.owes_ledger = self.ledger.is_some();
        }
        self.taken.store(self.fed.0, Ordering::Release);
        let Some(ledger) = self.ledger.clone().filter(|_| self.owes_ledger) else {
            return Ok(());
        };
        // Others' records are theirs to take.
        let through = self.all_taken(&*ledger).await?;
        match ledger.records_through(through).await {
            Ok(()) => self.owes_ledger = false,
            // It keeps them a little longer.
            Err(LedgerError::Full | LedgerError::Unreachable) => {}
            Err(error) => return Err(Trouble::failed(error)),
        }
        Ok(())
    }
}

/// What travelled with an append, as the log takes it.
fn prepared(part: RecordPart) -> PreparedRecord {
    PreparedRecord {
        record_id: record_id_of(&part.body),
        commitment: part.commitment,
        body: part.body,
    }
}

fn answer_to(done: &Result<(), Trouble>) -> Result<(), RecorderError> {
    match done {
        Ok(()) => Ok(()),
        Err(trouble) => Err(trouble.answer()),
    }
}

/// How the thread ends: a close on a full disk loses nothing that was answered, so it is no failure.
fn ended(done: Result<(), Trouble>) -> Result<(), RecorderError> {
    match done {
        Err(Trouble::Failed(error)) => Err(error),
        Ok(()) | Err(Trouble::Full) => Ok(()),
    }
}
