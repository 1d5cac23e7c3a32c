//! The activity log and what stands in front of it when the disk is full: what the thread and those who append share.
//!
//! Whoever has a record and finds the log free appends it there and then, which spares two changes of thread. Invariant:
//! only the thread makes the log durable, lets its reserve go, or finds that it failed; what would take any of that, or
//! more than a write into space that is reserved, is left to it.

use activity::{ActivityLog, AppendError, NewEntry, RecordId};
use engine::log::LogError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use crate::reserve::Reserve;

use super::owner::Trouble;
use super::{PreparedRecord, SYNC_EVERY};

/// Reserved space that an append must find besides its body: more than a frame's header, tag and padding.
const FRAME_ROOM: u64 = 4 << 10;

/// The log, shared.
#[derive(Clone)]
pub(super) struct Writing(Arc<Mutex<Written>>);

/// The log and what is known about it.
pub(super) struct Written {
    /// None once it was closed.
    log: Option<ActivityLog>,
    reserve: Reserve,
    /// Since when there is something that is not durable.
    dirty_since: Option<Instant>,
    idle: bool,
    /// Whether the last try found no space: nothing is tried until the next tick.
    full: bool,
}

impl Writing {
    pub(super) fn new(log: ActivityLog, reserve: Reserve) -> Self {
        // What an opening on a full disk could not sign is signed as soon as there is space.
        let uncovered = log.len() > log.reader().len();
        Self(Arc::new(Mutex::new(Written {
            log: Some(log),
            reserve,
            dirty_since: uncovered.then(Instant::now),
            idle: false,
            full: false,
        })))
    }

    /// Appends a record if that takes no waiting and no more than a write; the record comes back if it was not.
    pub(super) fn append_now(&self, record: PreparedRecord) -> Result<(), PreparedRecord> {
        let Ok(mut written) = self.0.try_lock() else {
            return Err(record);
        };
        // A thread that has not flushed for so long hangs in the ledger or has failed: whoever comes then waits for it.
        if written.full || !written.has_room(&record) || written.waits_since(3 * SYNC_EVERY) {
            return Err(record);
        }
        written.append_once(&record, Some(0)).map_err(|_| record)
    }

    /// Whether it takes records: it is there, its disk has space, and its thread keeps up.
    pub(super) fn takes(&self) -> bool {
        // Whoever has it is appending or flushing.
        let Ok(written) = self.0.try_lock() else {
            return true;
        };
        written.log.is_some() && !written.full && !written.waits_since(3 * SYNC_EVERY)
    }

    /// Ends it: nothing is appended any more, whatever happened in the middle of an append.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log = None;
    }

    /// For the thread.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Written>, Trouble> {
        // Whoever panicked in the middle of an append may have left the log and its index apart.
        self.0
            .lock()
            .map_err(|_| Trouble::failed("an append ended in a panic"))
    }
}

impl Written {
    fn has_room(&self, record: &PreparedRecord) -> bool {
        let room = self.log.as_ref().map_or(0, ActivityLog::reserved_room);
        room >= FRAME_ROOM + record.body.len() as u64
    }

    /// `ledger_sequence` is 0 of a record that no append carried, `None` of one that another gateway's did.
    fn append_once(&mut self, record: &PreparedRecord, ledger_sequence: Option<u64>) -> Result<(), Trouble> {
        let log = self.log.as_mut().ok_or_else(closed)?;
        let entry = NewEntry {
            record_id: RecordId(record.record_id),
            ledger_sequence: ledger_sequence.unwrap_or(0),
            commitment: record.commitment,
            body: record.body.clone(),
        };
        match log.append(&entry) {
            Ok(_) => {}
            // Taken over before a crash that came before the ledger let go of it.
            Err(AppendError::RecordKnown { .. }) if ledger_sequence != Some(0) => {}
            Err(AppendError::Log(error)) => return Err(error.into()),
            Err(error) => return Err(Trouble::failed(error)),
        }
        self.dirty_since.get_or_insert_with(Instant::now);
        self.idle = false;
        Ok(())
    }

    /// Appends a record; on a full disk with what was set aside.
    pub(super) fn append(&mut self, record: &PreparedRecord, ledger_sequence: u64) -> Result<(), Trouble> {
        loop {
            match self.append_once(record, Some(ledger_sequence)) {
                Err(Trouble::Full) if self.reserve.release() => {}
                done => return done,
            }
        }
    }

    /// Appends a record that another gateway's log was to have, unless it is there.
    pub(super) fn append_adopted(&mut self, record: &PreparedRecord) -> Result<(), Trouble> {
        loop {
            match self.append_once(record, None) {
                Err(Trouble::Full) if self.reserve.release() => {}
                done => return done,
            }
        }
    }

    /// Signs and makes durable what was appended, if there is anything. Whether there was.
    pub(super) fn sync(&mut self) -> Result<bool, Trouble> {
        if self.dirty_since.is_none() {
            return Ok(false);
        }
        let log = self.log.as_mut().ok_or_else(closed)?;
        loop {
            match log.sync_and_checkpoint() {
                Ok(_) => break,
                Err(LogError::Full { .. }) if self.reserve.release() => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.dirty_since = None;
        Ok(true)
    }

    /// Whether something has waited so long for its flush.
    pub(super) fn waits_since(&self, span: Duration) -> bool {
        self.dirty_since.is_some_and(|since| since.elapsed() >= span)
    }

    /// Ends a run of appends, when there were none for a while.
    pub(super) fn rest(&mut self) -> Result<(), Trouble> {
        if !self.idle && self.dirty_since.is_none() {
            self.log.as_mut().ok_or_else(closed)?.idle()?;
            self.idle = true;
        }
        Ok(())
    }

    /// Sets aside again what was let go of, if there is space.
    pub(super) fn refill(&mut self) {
        self.reserve.refill();
    }

    /// Whether the last try found no space.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// Notes whether there is space; whether that is news.
    pub(super) const fn set_full(&mut self, full: bool) -> bool {
        std::mem::replace(&mut self.full, full) != full
    }

    /// Ends the log in an orderly way.
    pub(super) fn close(&mut self) -> Result<(), Trouble> {
        Ok(self.log.take().ok_or_else(closed)?.close()?)
    }
}

fn closed() -> Trouble {
    Trouble::failed("it was closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use activity::LogIdentity;
    use bytes::Bytes;
    use engine::disk::{Disk, SimDisk};
    use engine::log::LogConfig;
    use scopes::Wallet;
    use std::path::Path;

    fn record(number: u8) -> PreparedRecord {
        PreparedRecord {
            record_id: [number; 16],
            commitment: [number; 32],
            body: Bytes::from(vec![number; 1_000]),
        }
    }

    fn writing(disk: &SimDisk) -> Writing {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let dir = Path::new("/activity");
        let identity = LogIdentity::new("cairn.test/log", Wallet::from_seed(&[5; 32])).unwrap();
        let config = LogConfig::activity();
        let (log, _) = ActivityLog::open_with(Arc::clone(&disk), dir, identity, 1, config).unwrap();
        Writing::new(log, Reserve::find(disk, dir, "the log", 1 << 20))
    }

    fn entries(writing: &Writing) -> u64 {
        writing.lock().ok().unwrap().log.as_ref().unwrap().len()
    }

    #[test]
    fn a_record_is_appended_at_once_only_while_nobody_has_the_log_and_it_has_room() {
        let writing = writing(&SimDisk::unrecorded(1));
        assert!(writing.append_now(record(1)).is_ok());
        let held = writing.lock().ok().unwrap();
        assert!(writing.append_now(record(2)).is_err(), "the thread has it");
        drop(held);
        writing.lock().ok().unwrap().set_full(true);
        assert!(writing.append_now(record(2)).is_err(), "no space");
        writing.lock().ok().unwrap().set_full(false);
        let room = writing.lock().ok().unwrap().log.as_ref().unwrap().reserved_room();
        let long = PreparedRecord {
            body: Bytes::from(vec![0; usize::try_from(room).unwrap()]),
            ..record(2)
        };
        assert!(writing.append_now(long).is_err(), "more space must be reserved");
        assert_eq!(entries(&writing), 1);
    }

    #[test]
    fn what_was_appended_at_once_is_in_the_next_checkpoint() {
        let writing = writing(&SimDisk::unrecorded(2));
        let mut written = writing.lock().ok().unwrap();
        assert!(!written.waits_since(Duration::ZERO));
        assert!(!written.sync().ok().unwrap(), "nothing to sign");
        drop(written);
        assert!(writing.append_now(record(1)).is_ok());
        let mut written = writing.lock().ok().unwrap();
        assert!(written.waits_since(Duration::ZERO));
        assert!(written.sync().ok().unwrap());
        assert_eq!(written.log.as_ref().unwrap().reader().len(), 1);
    }

    #[test]
    fn after_a_panic_in_the_middle_of_an_append_nothing_more_is_taken() {
        let writing = writing(&SimDisk::unrecorded(3));
        let clone = writing.clone();
        let panicked = std::thread::spawn(move || {
            let _held = clone.lock().ok().unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(writing.append_now(record(1)).is_err());
        assert!(writing.lock().is_err());
    }

    #[test]
    fn nothing_is_appended_behind_a_thread_that_hangs_or_has_ended() {
        let writing = writing(&SimDisk::unrecorded(4));
        assert!(writing.append_now(record(1)).is_ok());
        assert!(writing.append_now(record(2)).is_ok());
        writing.lock().ok().unwrap().dirty_since = Instant::now().checked_sub(3 * SYNC_EVERY);
        assert!(writing.append_now(record(3)).is_err(), "it waits for the thread");
        assert!(writing.lock().ok().unwrap().sync().is_ok());
        assert!(writing.append_now(record(3)).is_ok());
        writing.end();
        assert!(writing.append_now(record(4)).is_err(), "nobody flushes it");
    }
}
