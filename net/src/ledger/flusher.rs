//! The flusher of a local ledger: the one thread (in a simulation, task) that decides, writes and answers.
//!
//! A turn takes what is queued (bounded, without any artificial delay), decides each append, writes its frame, flushes
//! once, commits to the state, publishes, answers. What arrives during a flush makes the next turn: group commit.
//! Invariant: an answer is sent only after the flush of everything it was decided on; after a failed flush the thread
//! ends, and whoever waits or comes later hears that the ledger is fenced.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::codec::Writer;
use engine::disk::Disk;
use engine::log::{Log, LogError, Position};
use engine::slots::{Append, AppliedAppend, Decision, Sequence, ValueRange};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::compact::Compaction;
use super::frames::{KIND_APPEND, KIND_RECORDS_THROUGH};
use super::operation::operation;
use super::replay::replay;
use super::state::{Answer, Fence, Request, Shared};
use super::{LedgerConfig, LedgerError};
use crate::offload::Flushing;
use crate::queue::{Queue, Queued, Room};
use crate::reserve::Reserve;

/// Most requests of a turn.
const REQUESTS_MAX: usize = 1_024;
/// Most bytes of a turn's appends, unless one append alone is longer.
const TURN_BYTES_MAX: usize = 1 << 20;
/// A closing frame is written after so long without a write.
const IDLE: Duration = Duration::from_secs(1);
/// Room of its own segment that a full ledger keeps for the lease of the next start.
const LEASE_ROOM_BYTES: u64 = 4 << 10;
/// What a frame has beyond its payload, padding included.
const FRAME_OVERHEAD_BYTES: u64 = 72;
/// How long an idle flusher sleeps; a request wakes it.
const ASLEEP: Duration = Duration::from_secs(60);

pub(super) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What waits for the flush of a turn.
#[derive(Default)]
struct Turn {
    wrote: bool,
    commits: Vec<(Position, AppliedAppend, Vec<Option<ValueRange>>)>,
    answers: Vec<(Reply<Answer>, Answer)>,
    leases: Vec<(Reply<u64>, u64)>,
    done: Vec<Reply<()>>,
}

/// A turn whose flush is still to come.
#[derive(Default)]
pub(super) struct Begun {
    turn: Turn,
    /// The requests' room in the queue, given back when the turn ends.
    room: Vec<Room>,
    close: bool,
    idle: bool,
}

/// The flusher's own state.
pub(super) struct Flusher {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Log,
    pub(super) reserve: Reserve,
    pub(super) compaction: Compaction,
    dirty: bool,
    ends_cleanly: bool,
}

impl Flusher {
    pub(super) fn new(
        shared: Arc<Shared>,
        log: Log,
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &LedgerConfig,
    ) -> Self {
        let mut reserve = Reserve::find(disk, dir, "the ledger", config.reserve_bytes);
        reserve.refill();
        Self {
            shared,
            log,
            reserve,
            compaction: Compaction::new(config.segments_min),
            dirty: false,
            ends_cleanly: false,
        }
    }

    /// Refuses what comes from now on; requests that wait get no answer, which reads as the reason.
    fn shut(&self) {
        self.shared.queue.close();
        drop(self.shared.queue.take(usize::MAX, usize::MAX, Duration::ZERO));
    }

    fn begin_turn(&mut self, batch: Vec<Queued<Request>>) -> Result<Begun, Fence> {
        let mut begun = Begun::default();
        if batch.is_empty() && !self.compaction.is_due(Instant::now()) {
            self.idle()?;
            begun.idle = true;
            return Ok(begun);
        }
        // Before anything is decided: a removal that is decided already must not be followed by the carried entry.
        begun.turn.wrote = self.compact_step()?;
        for queued in batch {
            let (request, held) = queued.split();
            begun.room.push(held);
            match request {
                Request::Close => begun.close = true,
                request => begun.turn = self.take(request, begun.turn)?,
            }
        }
        Ok(begun)
    }

    /// Whether it was the last turn.
    fn finish_turn(&mut self, begun: Begun) -> Result<bool, Fence> {
        if !begun.idle {
            self.finish(begun.turn)?;
            self.compact_done()?;
        }
        drop(begun.room);
        Ok(begun.close)
    }

    fn idle(&mut self) -> Result<(), Fence> {
        if self.dirty {
            self.dirty = false;
            match self.log.idle() {
                Ok(()) | Err(LogError::Full { .. }) => {}
                Err(error) => return Err(self.fence(&error)),
            }
            self.reserve.refill();
        }
        Ok(())
    }

    fn take(&mut self, request: Request, mut turn: Turn) -> Result<Turn, Fence> {
        match request {
            Request::Append {
                append,
                urgent,
                reply,
            } => self.append(&append, urgent, reply, turn),
            Request::Lease {
                holder,
                now_ms,
                above,
                reply,
            } => {
                // On its own: the next number follows from committed leases.
                self.finish(turn)?;
                self.lease(&holder, now_ms, above, reply)
            }
            Request::RecordsThrough { sequence, reply } => {
                if sequence.0 <= self.shared.table().records_through {
                    turn.done.push(reply);
                    return Ok(turn);
                }
                match self.write_spare(KIND_RECORDS_THROUGH, &sequence.0.to_le_bytes())? {
                    Some(_) => {
                        turn.wrote = true;
                        let mut table = self.shared.table_mut();
                        table.records_through = table.records_through.max(sequence.0);
                        turn.done.push(reply);
                    }
                    None => refuse(reply, LedgerError::Full),
                }
                Ok(turn)
            }
            Request::Apply { agreed, reply } => {
                self.apply(agreed, reply)?;
                Ok(turn)
            }
            Request::Sync { reply } => {
                turn.wrote = true;
                turn.done.push(reply);
                Ok(turn)
            }
            Request::Compact { reply } => {
                self.compaction.ask(reply);
                Ok(turn)
            }
            Request::Close => Ok(turn),
        }
    }

    fn append(
        &mut self,
        append: &Append,
        urgent: bool,
        reply: Reply<Answer>,
        mut turn: Turn,
    ) -> Result<Turn, Fence> {
        if !self.has_space(append, urgent) {
            refuse(reply, LedgerError::Full);
            return Ok(turn);
        }
        let decision = match self.shared.table_mut().machine.decide(append) {
            Ok(decision) => decision,
            Err(bad) => {
                refuse(reply, bad.into());
                return Ok(turn);
            }
        };
        let Decision::Apply { sequence } = decision else {
            turn.answers.push((reply, decision));
            return Ok(turn);
        };
        match self.write_append(append, sequence)? {
            Some(written) => {
                turn.wrote = true;
                turn.commits.push(written);
                turn.answers.push((reply, decision));
                Ok(turn)
            }
            None => {
                // Decided, but there is no space even with the reserve: what was decided is taken back by reading the
                // state from the log again. Rare, as space is checked before deciding.
                self.finish(turn)?;
                self.reload()?;
                refuse(reply, LedgerError::Full);
                Ok(Turn::default())
            }
        }
    }

    fn lease(&mut self, holder: &str, now_ms: u64, above: u64, reply: Reply<u64>) -> Result<Turn, Fence> {
        let (number, append) = {
            let table = self.shared.table();
            let number = table.machine.leases().highest().max(above).saturating_add(1);
            let operation = lease_operation(number, now_ms, holder);
            (
                number,
                // One process at a time has this ledger.
                table
                    .machine
                    .lease_append(number, (holder, now_ms), operation, |_| true),
            )
        };
        let mut turn = Turn::default();
        let decided = self.shared.table_mut().machine.decide(&append);
        match decided {
            Ok(Decision::Apply { sequence }) => match self.write_append(&append, sequence)? {
                Some(written) => {
                    turn.wrote = true;
                    turn.commits.push(written);
                    turn.leases.push((reply, number));
                }
                None => {
                    self.reload()?;
                    refuse(reply, LedgerError::Full);
                }
            },
            Ok(_) => refuse(reply, LedgerError::Closed),
            Err(bad) => refuse(reply, bad.into()),
        }
        Ok(turn)
    }

    /// Writes the frame of a decided append. `None` if there is no space for it.
    #[expect(clippy::type_complexity, reason = "what a commit needs, used in one place")]
    fn write_append(
        &mut self,
        append: &Append,
        sequence: Sequence,
    ) -> Result<Option<(Position, AppliedAppend, Vec<Option<ValueRange>>)>, Fence> {
        let applied = append.applied(sequence);
        let mut writer = Writer::with_capacity(256);
        let ranges = applied.encode(&mut writer);
        let position = self.write(KIND_APPEND, writer.as_slice())?;
        Ok(position.map(|position| (position, applied, ranges)))
    }

    /// Writes a frame, with the reserve's space if there is no other. `None` if there is none at all.
    pub(super) fn write(&mut self, kind: u8, payload: &[u8]) -> Result<Option<Position>, Fence> {
        loop {
            match self.log.append(kind, &[], &[payload]) {
                Ok(position) => {
                    self.dirty = true;
                    return Ok(Some(position));
                }
                Err(LogError::Full { .. }) => {
                    self.shared.counters.full.store(true, Ordering::Relaxed);
                    if !self.reserve.release() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(self.fence(&error)),
            }
        }
    }

    /// As [`Self::write`], for frames that can wait: while the reserve is not held they leave the room for a lease alone.
    pub(super) fn write_spare(&mut self, kind: u8, payload: &[u8]) -> Result<Option<Position>, Fence> {
        let frame = payload.len() as u64 + FRAME_OVERHEAD_BYTES;
        if self.reserve.is_held()
            || self.log.reserved_room() >= frame + LEASE_ROOM_BYTES
            || self.reserve.probe()
        {
            return self.write(kind, payload);
        }
        Ok(None)
    }

    /// Whether an append may be decided: always while the reserve is held; without it only urgent ones, into space
    /// that was seen to be there: what the log reserved before, or what the disk gives.
    fn has_space(&mut self, append: &Append, urgent: bool) -> bool {
        self.note_space()
            || urgent
                && (self.log.reserved_room() >= append.encoded_bytes_at_most() as u64 + LEASE_ROOM_BYTES
                    || self.reserve.probe())
    }

    /// Whether the reserve is held, or could be taken again.
    pub(super) fn note_space(&mut self) -> bool {
        if !self.reserve.is_held() {
            self.reserve.refill();
        }
        let held = self.reserve.is_held();
        self.shared.counters.full.store(!held, Ordering::Relaxed);
        held
    }

    /// Whatever the log says other than that it is full means that it cannot be trusted.
    pub(super) fn fence(&self, error: &LogError) -> Fence {
        tracing::error!(%error, "the ledger's log failed: nothing more is acknowledged");
        self.shared.fence()
    }

    fn reload(&mut self) -> Result<(), Fence> {
        match replay(&self.log.reader()) {
            Ok((table, tail)) => {
                *self.shared.table_mut() = table;
                *self.shared.tail() = tail;
                self.compaction.restart();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the ledger's state cannot be read back");
                Err(self.shared.fence())
            }
        }
    }

    /// Flushes, commits, publishes and answers.
    fn finish(&mut self, turn: Turn) -> Result<(), Fence> {
        if turn.wrote {
            if let Err(error) = self.log.sync_linked() {
                return Err(self.fence(&error));
            }
            self.shared.counters.flushes.fetch_add(1, Ordering::Relaxed);
        }
        if !turn.commits.is_empty() {
            self.commit(turn.commits)?;
        }
        self.shared
            .counters
            .appends
            .fetch_add(turn.answers.len() as u64, Ordering::Relaxed);
        // Whoever no longer waits is no error.
        for (reply, answer) in turn.answers {
            let _ = reply.send(Ok(answer));
        }
        for (reply, number) in turn.leases {
            let _ = reply.send(Ok(number));
        }
        for reply in turn.done {
            let _ = reply.send(Ok(()));
        }
        Ok(())
    }

    fn commit(
        &mut self,
        commits: Vec<(Position, AppliedAppend, Vec<Option<ValueRange>>)>,
    ) -> Result<(), Fence> {
        let mut newest = Sequence(0);
        {
            let mut table = self.shared.table_mut();
            for (frame, append, ranges) in &commits {
                if let Err(error) = table.commit(*frame, append, ranges) {
                    tracing::error!(%error, "the ledger's state does not follow its log");
                    return Err(self.shared.fence());
                }
                newest = append.sequence;
            }
        }
        let mut tail = self.shared.tail();
        for (frame, append, _) in commits {
            tail.push(frame, append);
        }
        drop(tail);
        self.shared.durable.send_replace(newest);
        Ok(())
    }
}

impl Flushing for Flusher {
    type Job = Request;
    type Turn = Begun;
    const JOBS_MAX: usize = REQUESTS_MAX;
    const TURN_BYTES_MAX: usize = TURN_BYTES_MAX;

    fn queue(&mut self) -> &Queue<Request> {
        &self.shared.queue
    }

    fn wait(&self) -> Duration {
        match (self.compaction.is_due(Instant::now()), self.dirty) {
            (true, _) => Duration::ZERO,
            (false, dirty) if dirty || self.compaction.is_resting() => IDLE,
            (false, _) => ASLEEP,
        }
    }

    fn begin(&mut self, batch: Vec<Queued<Request>>) -> ControlFlow<(), Begun> {
        match self.begin_turn(batch) {
            Ok(begun) => ControlFlow::Continue(begun),
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn finish(&mut self, begun: Begun) -> ControlFlow<()> {
        match self.finish_turn(begun) {
            Ok(false) => ControlFlow::Continue(()),
            Ok(true) => {
                self.ends_cleanly = true;
                ControlFlow::Break(())
            }
            Err(_) => ControlFlow::Break(()),
        }
    }

    fn end(self) {
        self.shut();
        if self.ends_cleanly
            && let Err(error) = self.log.close()
        {
            tracing::error!(%error, "the ledger did not close cleanly");
        }
    }
}

pub(super) fn refuse<T>(reply: Reply<T>, error: LedgerError) {
    let _ = reply.send(Err(error));
}

/// The operation id of a lease's append: unique, and bound to what it does, without a source of randomness here.
pub(super) fn lease_operation(number: u64, now_ms: u64, holder: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("cairn v1 lease operation");
    hasher
        .update(&number.to_le_bytes())
        .update(&now_ms.to_le_bytes())
        .update(holder.as_bytes());
    operation(&hasher)
}
