//! What openraft is told about us: a member is a peer, an entry carries one command, an answer says whether it was applied.
//!
//! Invariant: nothing that openraft is given is text or reflection; every byte has its form in `codec`.

use bytes::Bytes;

use super::chance::Tasks;
use super::machine::SnapshotOf;
use crate::peer::PeerId;

openraft::declare_raft_types!(
    /// Our types.
    pub(in crate::ledger) Raft:
        D = Command,
        R = bool,
        NodeId = u64,
        Node = Voter,
        Entry = openraft::Entry<Raft>,
        SnapshotData = SnapshotOf,
        AsyncRuntime = Tasks,
);

/// A command, encoded once by the leader and passed on as it is.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::ledger) struct Command(pub(in crate::ledger) Bytes);

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

/// The peer that a member is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::ledger) struct Voter(pub(in crate::ledger) Option<PeerId>);

pub(super) type Entry = openraft::Entry<Raft>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type StorageError = openraft::StorageError<u64>;

/// The number of a peer among the members: the first eight bytes of its key.
pub(super) fn number(peer: &PeerId) -> u64 {
    let key = peer.public_key().as_bytes();
    let (first, _) = key.split_at(8);
    first
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
