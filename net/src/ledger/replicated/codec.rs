//! Bytes of what members tell each other and keep: log ids, votes, entries, who the members are (FORMAT.md section 10).
//!
//! It decides nothing. Invariant: one value has one form, and whatever does not read whole is refused.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use engine::codec::{DecodeError, Reader, Writer};
use engine::slots::AppliedAppend;
use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership, StoredMembership, Vote};

use super::super::apply::{Change, Leader};
use super::super::frames::Lineage;
use super::raft::{Command, Entry, Voter};
use crate::peer::PeerId;

/// Most members, learners among them.
pub(super) const MEMBERS_MAX: usize = 64;
/// Most appends of one entry.
pub(super) const APPENDS_MAX: usize = 4_096;
/// The longest command.
pub(super) const COMMAND_BYTES_MAX: usize = 2 << 20;

pub(super) fn put_log_id(writer: &mut Writer, id: &LogId<u64>) {
    writer.u64(id.leader_id.term);
    writer.u64(id.leader_id.node_id);
    writer.u64(id.index);
}

pub(super) fn log_id(reader: &mut Reader<'_>) -> Result<LogId<u64>, DecodeError> {
    let leader = CommittedLeaderId::new(reader.u64()?, reader.u64()?);
    Ok(LogId::new(leader, reader.u64()?))
}

pub(super) fn put_vote(writer: &mut Writer, vote: &Vote<u64>) {
    writer.u64(vote.leader_id.term);
    writer.u64(vote.leader_id.node_id);
    writer.u8(u8::from(vote.committed));
}

pub(super) fn vote(reader: &mut Reader<'_>) -> Result<Vote<u64>, DecodeError> {
    let (term, member) = (reader.u64()?, reader.u64()?);
    Ok(match reader.bool("vote")? {
        true => Vote::new_committed(term, member),
        false => Vote::new(term, member),
    })
}

pub(super) fn put_membership(writer: &mut Writer, membership: &Membership<u64, Voter>) {
    writer.list_with(membership.get_joint_config(), |writer, config| {
        let ids: Vec<u64> = config.iter().copied().collect();
        writer.list_with(&ids, |writer, id| writer.u64(*id));
    });
    let nodes: Vec<_> = membership.nodes().collect();
    writer.list_with(&nodes, |writer, (id, voter)| {
        writer.u64(**id);
        writer.option_with(voter.0.as_ref(), |writer, peer| {
            writer.fixed(peer.public_key().as_bytes());
        });
    });
}

pub(super) fn membership(reader: &mut Reader<'_>) -> Result<Membership<u64, Voter>, DecodeError> {
    let configs: Vec<BTreeSet<u64>> = reader.list_with(2, |reader| {
        let ids: Vec<u64> = reader.list_with(MEMBERS_MAX, Reader::u64)?;
        let config: BTreeSet<u64> = ids.iter().copied().collect();
        match config.len() == ids.len() && config.iter().eq(&ids) {
            true => Ok(config),
            false => Err(bad("order of members", ids.len() as u64)),
        }
    })?;
    let listed: Vec<(u64, Voter)> = reader.list_with(MEMBERS_MAX, |reader| {
        let id = reader.u64()?;
        let peer = reader.option_with(|reader| {
            let key = reader.fixed()?;
            PeerId::from_bytes(&key).map_err(|_| bad("peer", id))
        })?;
        Ok::<_, DecodeError>((id, Voter(peer)))
    })?;
    let count = listed.len();
    let listed_ids: Vec<u64> = listed.iter().map(|(id, _)| *id).collect();
    let nodes: BTreeMap<u64, Voter> = listed.into_iter().collect();
    let in_order = nodes.keys().eq(listed_ids.iter());
    let known = in_order && configs.iter().flatten().all(|id| nodes.contains_key(id));
    if nodes.len() != count || !known {
        return Err(bad("list of members", count as u64));
    }
    Ok(Membership::new(configs, nodes))
}

pub(super) fn put_stored_membership(writer: &mut Writer, stored: &StoredMembership<u64, Voter>) {
    writer.option_with(stored.log_id().as_ref(), put_log_id);
    put_membership(writer, stored.membership());
}

pub(super) fn stored_membership(
    reader: &mut Reader<'_>,
) -> Result<StoredMembership<u64, Voter>, DecodeError> {
    let at = reader.option_with(log_id)?;
    Ok(StoredMembership::new(at, membership(reader)?))
}

/// The content of an entry behind its log id.
pub(super) fn put_payload(writer: &mut Writer, entry: &Entry) {
    match &entry.payload {
        EntryPayload::Blank => writer.u8(1),
        EntryPayload::Normal(command) => {
            writer.u8(2);
            writer.bytes(&command.0);
        }
        EntryPayload::Membership(membership) => {
            writer.u8(3);
            put_membership(writer, membership);
        }
    }
}

pub(super) fn payload(reader: &mut Reader<'_>) -> Result<EntryPayload<super::raft::Raft>, DecodeError> {
    Ok(match reader.u8()? {
        1 => EntryPayload::Blank,
        2 => {
            let command = reader.bytes(COMMAND_BYTES_MAX)?;
            EntryPayload::Normal(Command(Bytes::copy_from_slice(command)))
        }
        3 => EntryPayload::Membership(membership(reader)?),
        got => return Err(bad("payload of an entry", got.into())),
    })
}

pub(super) fn put_entry(writer: &mut Writer, entry: &Entry) {
    put_log_id(writer, &entry.log_id);
    put_payload(writer, entry);
}

pub(super) fn entry(reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry {
        log_id: log_id(reader)?,
        payload: payload(reader)?,
    })
}

/// Bytes that an entry takes on the wire, at most.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Blank => 32,
        EntryPayload::Normal(command) => command.0.len() + 48,
        EntryPayload::Membership(_) => 4_096,
    }
}

impl Command {
    /// Appends that `by` decided when `base` was the newest sequence, each encoded already.
    pub(super) fn appends(by: Leader, base: u64, appends: &[Vec<u8>]) -> Self {
        let bytes: usize = appends.iter().map(|append| append.len() + 5).sum();
        let mut writer = Writer::with_capacity(bytes + 48);
        writer.u8(1);
        writer.u64(by.term);
        writer.u64(by.member);
        writer.u64(base);
        writer.list_with(appends, |writer, append| writer.bytes(append));
        Self(writer.into_vec().into())
    }

    pub(super) fn records_through(sequence: u64) -> Self {
        let mut writer = Writer::new();
        writer.u8(2);
        writer.u64(sequence);
        Self(writer.into_vec().into())
    }

    pub(super) fn begin(lineage: &Lineage, after: u64) -> Self {
        let mut writer = Writer::new();
        writer.u8(3);
        writer.fixed(lineage);
        writer.u64(after);
        Self(writer.into_vec().into())
    }

    /// What it changes.
    pub(super) fn decode(&self) -> Result<Change, DecodeError> {
        let mut reader = Reader::new(&self.0);
        let change = match reader.u8()? {
            1 => Change::Appends {
                by: Leader {
                    term: reader.u64()?,
                    member: reader.u64()?,
                },
                base: reader.u64()?,
                appends: reader.list_with(APPENDS_MAX, |reader| {
                    AppliedAppend::decode(reader.bytes(COMMAND_BYTES_MAX)?)
                })?,
            },
            2 => Change::RecordsThrough(reader.u64()?),
            3 => Change::Begin {
                lineage: reader.fixed()?,
                after: reader.u64()?,
            },
            got => return Err(bad("command", got.into())),
        };
        reader.finish()?;
        Ok(change)
    }
}

pub(super) const fn bad(what: &'static str, got: u64) -> DecodeError {
    DecodeError::BadValue { what, got }
}
