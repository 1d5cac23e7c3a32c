//! Applying what the members of a replicated ledger agreed on, in the flusher of the slot log.
//!
//! Nothing is decided here: an agreed entry carries appends that its leader decided, with their sequences. Nothing is flushed
//! either, but when it is asked for or the log is idle: what was agreed on is durable in the members' own logs until then.
//! Invariants: an entry is applied only where its leader decided it, right after the entry that ended in its base, so that every
//! member does the same with it; after a crash in the middle of an entry, the same entry goes on where it stopped.

use bytes::Bytes;
use engine::codec::Writer;
use engine::slots::{AppliedAppend, Sequence};

use super::LedgerError;
use super::flusher::{Flusher, Reply, refuse};
use super::frames::{KIND_APPEND, KIND_MARK, KIND_RECORDS_THROUGH, Lineage, Mark};
use super::state::Fence;

/// A leader: its term, and which member it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) term: u64,
    pub(super) member: u64,
}

/// An entry that was agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) change: Change,
    /// Which entry it is, for the mark behind it.
    pub(super) state: Bytes,
}

/// What an agreed entry changes.
#[derive(Debug)]
pub(super) enum Change {
    /// No slot.
    Nothing,
    /// No slot either: its appends were decided on another state.
    Stale,
    /// These appends, which a leader decided when `base` was the newest sequence.
    Appends {
        by: Leader,
        base: u64,
        appends: Vec<AppliedAppend>,
    },
    /// Records up to this sequence are let go.
    RecordsThrough(u64),
    /// The ledger begins: which one it is, and the sequence that its first append comes after.
    Begin { lineage: Lineage, after: u64 },
}

impl Flusher {
    /// Answers for each entry whether it was applied; one that was decided on another state than this is passed over.
    pub(super) fn apply(&mut self, agreed: Vec<Agreed>, reply: Reply<Vec<bool>>) -> Result<(), Fence> {
        let mut outcomes = Vec::with_capacity(agreed.len());
        for Agreed { change, state } in agreed {
            let Some(applied) = self.apply_change(change)? else {
                refuse(reply, LedgerError::Full);
                return Ok(());
            };
            let mark = {
                let table = self.shared.table();
                Mark {
                    sequence: table.machine.sequence().0,
                    lineage: table.lineage,
                    state,
                }
            };
            if self.write(KIND_MARK, &mark.encode())?.is_none() {
                refuse(reply, LedgerError::Full);
                return Ok(());
            }
            self.shared.table_mut().mark = Some(mark);
            outcomes.push(applied);
        }
        self.note_space();
        // Whoever no longer waits is no error.
        let _ = reply.send(Ok(outcomes));
        Ok(())
    }

    /// `None` if there is no space; what of it was written then stays, and is not written again the next time.
    fn apply_change(&mut self, change: Change) -> Result<Option<bool>, Fence> {
        match change {
            Change::Nothing => Ok(Some(true)),
            Change::Stale => Ok(Some(false)),
            Change::Begin { lineage, after } => {
                let mut table = self.shared.table_mut();
                let fresh = table.lineage == Lineage::default();
                if fresh {
                    table.lineage = lineage;
                    if Sequence(after) > table.machine.sequence() {
                        table.begin_after(Sequence(after));
                    }
                    self.shared.durable.send_replace(table.machine.sequence());
                }
                Ok(Some(fresh))
            }
            Change::RecordsThrough(through) => {
                if through <= self.shared.table().records_through {
                    return Ok(Some(true));
                }
                let written = self.write(KIND_RECORDS_THROUGH, &through.to_le_bytes())?;
                if written.is_some() {
                    self.shared.table_mut().records_through = through;
                }
                Ok(written.map(|_| true))
            }
            Change::Appends { by, base, appends } => {
                {
                    let mut table = self.shared.table_mut();
                    let marked = table.mark.as_ref().map_or(0, |mark| mark.sequence);
                    let follows = (base + 1..)
                        .zip(&appends)
                        .all(|(n, append)| append.sequence.0 == n);
                    if base != marked || !follows {
                        return Ok(Some(false));
                    }
                    if table.staged_by != Some(by) {
                        table.forget_staged();
                    }
                }
                let mut newest = None;
                for append in appends {
                    let sequence = append.sequence;
                    if sequence <= self.shared.table().machine.sequence() {
                        continue;
                    }
                    if !self.apply_append(append)? {
                        self.publish(newest);
                        return Ok(None);
                    }
                    newest = Some(sequence);
                }
                self.publish(newest);
                Ok(Some(true))
            }
        }
    }

    fn publish(&self, newest: Option<Sequence>) {
        if let Some(newest) = newest {
            self.shared.durable.send_replace(newest);
        }
    }

    /// Whether there was space for it.
    fn apply_append(&mut self, append: AppliedAppend) -> Result<bool, Fence> {
        let mut writer = Writer::with_capacity(256);
        let ranges = append.encode(&mut writer);
        let Some(frame) = self.write(KIND_APPEND, writer.as_slice())? else {
            return Ok(false);
        };
        let applied = {
            let mut table = self.shared.table_mut();
            if table.machine.stages(&append) {
                table.commit(frame, &append, &ranges)
            } else {
                table.forget_staged();
                table.replay(frame, &append, &ranges)
            }
        };
        if let Err(error) = applied {
            tracing::error!(%error, "the ledger's state does not follow what was agreed on");
            return Err(self.shared.fence());
        }
        self.shared.tail().push(frame, append);
        Ok(true)
    }
}
