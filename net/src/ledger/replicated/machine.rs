//! What was agreed on, applied to this member's copy of the ledger.
//!
//! The copy is on disk already, so a snapshot is the copy itself, flushed; it travels by `transfer`. Invariant: what the copy's mark
//! says was applied was applied, once.

use std::sync::Arc;

use bytes::Bytes;
use engine::codec::{DecodeError, Reader, Writer};
use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError, StoredMembership,
};
use tokio::sync::{Mutex, watch};

use super::super::LedgerError;
use super::super::apply::{Agreed, Change};
use super::super::progress::Progress;
use super::super::replica::Replica;
use super::super::transfer::{Incoming, Outgoing};
use super::agreement::Held;
use super::codec;
use super::leading::Applying;
use super::raft::{Entry, LogId, Raft, StorageError, Voter};

type Members = StoredMembership<u64, Voter>;

/// What a snapshot is while it is handed about.
pub(in crate::ledger) enum SnapshotOf {
    /// This member's copy; what goes out is read when it is sent, and may be newer by then.
    Copy(Arc<Replica>),
    /// Another member's, received whole.
    Received(Option<Box<Incoming>>),
}

/// What the copy's mark says of the agreement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) id: Option<LogId>,
    pub(super) members: Members,
}

impl Applied {
    pub(super) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(256);
        writer.option_with(self.id.as_ref(), codec::put_log_id);
        codec::put_stored_membership(&mut writer, &self.members);
        writer.into_vec().into()
    }

    pub(super) fn decode(input: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let applied = Self {
            id: reader.option_with(codec::log_id)?,
            members: codec::stored_membership(&mut reader)?,
        };
        reader.finish()?;
        Ok(applied)
    }
}

/// See the module.
#[derive(Clone)]
pub(super) struct Machine {
    replica: Arc<Replica>,
    applied: Arc<Mutex<Applied>>,
    progress: Applying,
    held: watch::Sender<Held>,
}

impl Machine {
    /// Over a copy whose mark, if there is one, is a member's.
    pub(super) fn new(replica: Arc<Replica>) -> Result<Self, DecodeError> {
        let applied = match replica.mark() {
            Some(mark) => Applied::decode(&mark.state)?,
            None => Applied::default(),
        };
        Ok(Self {
            progress: Arc::new(Progress::new(applied.id)),
            held: watch::Sender::new(Held {
                upto: applied.id,
                has_failed: false,
            }),
            applied: Arc::new(Mutex::new(applied)),
            replica,
        })
    }

    /// Follows the newest entry that was applied.
    pub(super) fn progress(&self) -> Applying {
        Arc::clone(&self.progress)
    }

    /// Follows what the copy holds.
    pub(super) fn holds(&self) -> watch::Receiver<Held> {
        self.held.subscribe()
    }

    fn tell(&self, upto: Option<LogId>) {
        self.progress.advance(upto);
        self.held.send_modify(|held| held.upto = upto);
    }

    async fn meta(&self) -> SnapshotMeta<u64, Voter> {
        let applied = self.applied.lock().await;
        SnapshotMeta {
            last_log_id: applied.id,
            last_membership: applied.members.clone(),
            snapshot_id: applied.id.map(|id| id.to_string()).unwrap_or_default(),
        }
    }

    async fn install(
        &self,
        meta: &SnapshotMeta<u64, Voter>,
        snapshot: Box<SnapshotOf>,
    ) -> Result<(), StorageError> {
        let failed = |error: std::io::Error| StorageIOError::write_snapshot(Some(meta.signature()), &error);
        let mut applied = self.applied.lock().await;
        let received = match *snapshot {
            SnapshotOf::Received(received) => received,
            SnapshotOf::Copy(other) => {
                let copied = copy(&other, &self.replica).await;
                Some(Box::new(
                    copied.map_err(|error| failed(std::io::Error::other(error)))?,
                ))
            }
        };
        if let Some(received) = received {
            let holds = self.replica.blocking(move || Ok((received.mark()?, received)));
            let (mark, received) = holds
                .await
                .map_err(|error| failed(std::io::Error::other(error)))?;
            let state = mark.map(|mark| Applied::decode(&mark.state)).transpose();
            let state = state.map_err(|error| failed(std::io::Error::other(error)))?;
            if state.unwrap_or_default().id < meta.last_log_id {
                let why = std::io::Error::other("a received copy holds less than was said of it");
                return Err(failed(why).into());
            }
            let replaced = self.replica.replace(*received).await;
            replaced.map_err(|error| failed(std::io::Error::other(error)))?;
        }
        let mark = self.replica.mark();
        let state = mark.map(|mark| Applied::decode(&mark.state)).transpose();
        let state = state.map_err(|error| failed(std::io::Error::other(error)))?;
        *applied = state.unwrap_or_default();
        self.tell(applied.id);
        Ok(())
    }

    async fn flushed(&self) -> Result<(), StorageError> {
        let flushed = self.replica.sync().await;
        Ok(flushed.map_err(|error| StorageIOError::write_state_machine(&error))?)
    }
}

impl RaftStateMachine<Raft> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Members), StorageError> {
        let applied = self.applied.lock().await;
        Ok((applied.id, applied.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<bool>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = self.applied.lock().await;
        let mut agreed = Vec::new();
        // An entry that a received copy holds already was applied by whoever sent it.
        let mut outcomes = Vec::new();
        let mut next = applied.clone();
        for entry in entries {
            if next.id.is_some_and(|id| entry.log_id <= id) {
                outcomes.push(true);
                continue;
            }
            next.id = Some(entry.log_id);
            let change = match entry.payload {
                EntryPayload::Blank => Change::Nothing,
                EntryPayload::Membership(members) => {
                    next.members = StoredMembership::new(Some(entry.log_id), members);
                    Change::Nothing
                }
                EntryPayload::Normal(command) => {
                    let change = command.decode();
                    let change = change.map_err(|error| StorageIOError::apply(entry.log_id, &error))?;
                    as_decided(change, &entry.log_id)
                }
            };
            let state = next.encode();
            agreed.push(Agreed { change, state });
        }
        if !agreed.is_empty() {
            let done = self.replica.apply(agreed).await;
            outcomes.extend(done.map_err(|error| StorageIOError::write_state_machine(&error))?);
        }
        *applied = next;
        self.tell(applied.id);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotOf>, StorageError> {
        Ok(Box::new(SnapshotOf::Received(None)))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, Voter>,
        snapshot: Box<SnapshotOf>,
    ) -> Result<(), StorageError> {
        let installed = self.install(meta, snapshot).await;
        if installed.is_err() {
            self.held.send_modify(|held| held.has_failed = true);
        }
        installed
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Raft>>, StorageError> {
        self.flushed().await?;
        let meta = self.meta().await;
        if meta.last_log_id.is_none() {
            return Ok(None);
        }
        Ok(Some(Snapshot {
            meta,
            snapshot: Box::new(SnapshotOf::Copy(Arc::clone(&self.replica))),
        }))
    }
}

impl RaftSnapshotBuilder<Raft> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Raft>, StorageError> {
        // Taken before the flush, so that the flush holds all of it.
        let meta = self.meta().await;
        self.flushed().await?;
        Ok(Snapshot {
            meta,
            snapshot: Box::new(SnapshotOf::Copy(Arc::clone(&self.replica))),
        })
    }
}

/// Appends that stand in an entry of another leader than the one that decided them were decided on another state: nobody applies them.
fn as_decided(change: Change, id: &LogId) -> Change {
    match change {
        Change::Appends { by, .. } if (by.term, by.member) != (id.leader_id.term, id.leader_id.node_id) => {
            Change::Stale
        }
        change => change,
    }
}

/// A copy of another copy in this process.
async fn copy(from: &Replica, to: &Arc<Replica>) -> Result<Incoming, LedgerError> {
    let mut outgoing = Outgoing::begin(from.copy()).await?;
    let receiver = Arc::clone(to);
    let mut incoming = to.blocking(move || receiver.receive()).await?;
    loop {
        let page = outgoing.page().await?;
        if page.is_empty() {
            return Ok(incoming);
        }
        let writing = to.blocking(move || {
            incoming.write(&page)?;
            Ok(incoming)
        });
        incoming = writing.await?;
    }
}
