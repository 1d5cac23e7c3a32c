//! What the activity log's thread does: it appends, follows the ledger, and signs a checkpoint behind every flush.
//!
//! Invariants: a full disk ends nothing; what cannot be written then waits here, bounded, or is refused, and the ledger keeps
//! the records that travelled with its appends until they are taken over. Everything else that fails is final.

use super::{Command, FEED_MAX, PreparedRecord, QUEUE_MAX, RecorderError, Reply, SYNC_EVERY, record_id_of};
use activity::{ActivityLog, AppendError, NewEntry, RecordId};
use engine::log::LogError;
use engine::slots::Sequence;
use net::{Ledger, LedgerError, Reserve, Tail};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// What the thread owns.
pub(super) struct Owner {
    log: ActivityLog,
    ledger: Arc<dyn Ledger>,
    /// Every append up to here was taken over.
    fed: Sequence,
    dirty_since: Option<Instant>,
    /// The ledger was not told yet what it may let go of.
    owes_ledger: bool,
    idle: bool,
    fence: watch::Sender<Option<RecorderError>>,
    reserve: Reserve,
    /// Whether the last try found no space: nothing is tried until the next tick.
    full: bool,
    /// Records that wait for space, with those who wait for them.
    waiting: VecDeque<(PreparedRecord, Reply)>,
}

/// Why something was not done.
enum Trouble {
    /// There is no space now.
    Full,
    /// It will never be done by this process.
    Failed(RecorderError),
}

impl Trouble {
    fn failed(error: impl std::fmt::Display) -> Self {
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

impl Owner {
    pub(super) fn new(
        log: ActivityLog,
        ledger: Arc<dyn Ledger>,
        fed: Sequence,
        fence: watch::Sender<Option<RecorderError>>,
        reserve: Reserve,
    ) -> Self {
        // What an opening on a full disk could not sign is signed as soon as there is space.
        let uncovered = log.len() > log.reader().len();
        Self {
            log,
            ledger,
            fed,
            dirty_since: uncovered.then(Instant::now),
            owes_ledger: false,
            idle: false,
            fence,
            reserve,
            full: false,
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
                self.full = false;
                Ok(())
            }
            Err(Trouble::Full) => {
                if !std::mem::replace(&mut self.full, true) {
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
                Some(Command::Append(record, reply)) => self.take(record, reply)?,
                Some(Command::Flush(reply)) => {
                    let done = self.flush().await;
                    let _ = reply.send(answer_to(&done));
                    self.unless_full(done)?;
                }
                Some(Command::Close(reply)) => {
                    let done = self.finish().await;
                    let _ = reply.send(answer_to(&done));
                    return ended(done);
                }
                None => return ended(self.finish().await),
            }
            let due = self
                .dirty_since
                .is_some_and(|since| since.elapsed() >= SYNC_EVERY);
            if due && !self.full {
                let synced = self.sync().await;
                self.unless_full(synced)?;
            }
        }
    }

    /// Appends a record and answers, or keeps it until there is space.
    fn take(&mut self, record: PreparedRecord, reply: Reply) -> Result<(), RecorderError> {
        let taken = if self.full {
            Err(Trouble::Full)
        } else {
            self.append(&record, 0)
        };
        match taken {
            Ok(()) => {
                let _ = reply.map(|reply| reply.send(Ok(())));
                Ok(())
            }
            // Nobody waits for it, so it is not worth the place.
            Err(Trouble::Full) if reply.is_none() => self.unless_full(Err(Trouble::Full)),
            Err(Trouble::Full) if self.waiting.len() < QUEUE_MAX => {
                self.waiting.push_back((record, reply));
                self.unless_full(Err(Trouble::Full))
            }
            Err(trouble) => {
                let _ = reply.map(|reply| reply.send(Err(trouble.answer())));
                self.unless_full(Err(trouble))
            }
        }
    }

    /// Appends the records that wait for space. One whose operation was refused meanwhile goes.
    fn drain(&mut self) -> Result<(), Trouble> {
        while let Some((record, reply)) = self.waiting.pop_front() {
            if reply.as_ref().is_some_and(oneshot::Sender::is_closed) {
                continue;
            }
            match self.append(&record, 0) {
                Ok(()) => {
                    let _ = reply.map(|reply| reply.send(Ok(())));
                }
                Err(trouble) => {
                    self.waiting.push_front((record, reply));
                    return Err(trouble);
                }
            }
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Trouble> {
        self.reserve.refill();
        self.feed().await?;
        self.drain()?;
        if self.dirty_since.is_some() || self.owes_ledger {
            return self.sync().await;
        }
        if !self.idle {
            self.log.idle()?;
            self.idle = true;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Trouble> {
        self.feed().await?;
        self.drain()?;
        self.sync().await
    }

    async fn finish(mut self) -> Result<(), Trouble> {
        self.flush().await?;
        Ok(self.log.close()?)
    }

    /// Takes over the records of every ledger append that is new.
    async fn feed(&mut self) -> Result<(), Trouble> {
        loop {
            let from = self.fed;
            if self.ledger.position() <= from {
                return Ok(());
            }
            let tail = self.ledger.tail(from, FEED_MAX).await;
            let appends = match tail.map_err(Trouble::failed)? {
                Tail::Appends(appends) => appends,
                // The ledger lets no record go beyond `records_through`, so what it compacted above that carried none. Below it,
                // this is a log that lost its end.
                Tail::Compacted => {
                    let status = self.ledger.status();
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
                if let Some(part) = applied.record {
                    let record = PreparedRecord {
                        record_id: record_id_of(&part.body),
                        commitment: part.commitment,
                        body: part.body,
                    };
                    self.append(&record, applied.sequence.0)?;
                }
                self.fed = applied.sequence;
            }
        }
    }

    fn append(&mut self, record: &PreparedRecord, ledger_sequence: u64) -> Result<(), Trouble> {
        let entry = NewEntry {
            record_id: RecordId(record.record_id),
            ledger_sequence,
            commitment: record.commitment,
            body: record.body.clone(),
        };
        loop {
            match self.log.append(&entry) {
                Ok(_) => break,
                // Taken over before a crash that came before the ledger let go of it.
                Err(AppendError::RecordKnown { .. }) if ledger_sequence > 0 => break,
                Err(AppendError::Log(LogError::Full { .. })) if self.reserve.release() => {}
                Err(AppendError::Log(error)) => return Err(error.into()),
                Err(error) => return Err(Trouble::failed(error)),
            }
        }
        self.dirty_since.get_or_insert_with(Instant::now);
        self.idle = false;
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), Trouble> {
        if self.dirty_since.is_some() {
            loop {
                match self.log.sync_and_checkpoint() {
                    Ok(_) => break,
                    Err(LogError::Full { .. }) if self.reserve.release() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.dirty_since = None;
            self.owes_ledger = true;
        }
        if self.owes_ledger {
            match self.ledger.records_through(self.fed).await {
                Ok(()) => self.owes_ledger = false,
                // It keeps them a little longer.
                Err(LedgerError::Full) => {}
                Err(error) => return Err(Trouble::failed(error)),
            }
        }
        Ok(())
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
