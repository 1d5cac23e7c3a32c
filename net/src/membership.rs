//! Who the cluster's peers are: an entry of the ledger for each, in the clear (FORMAT.md section 6, kind 9).
//!
//! It says where a peer is and what it may be asked for; whether it is there, it says itself. Invariant: an entry binds addresses
//! and drives to a key; nothing that is not in it is dialled or trusted.

use std::net::SocketAddr;

use engine::codec::{DecodeError, Reader, Writer};
use engine::placement::DomainId;
use engine::slots::{Address, EntryKind, LEASE_SCOPE};

use crate::cluster::{PeerConfig, Standing};
use crate::entry::DriveId;
use crate::peer::PeerId;
use crate::peer::message::DRIVES_MAX;

const VERSION: u8 = 1;
/// Most addresses of a peer.
pub const ADDRESSES_MAX: usize = 8;
/// The longest name of a failure domain, in bytes.
pub const DOMAIN_BYTES_MAX: usize = 64;
/// Most peers of a cluster.
pub const PEERS_MAX: usize = 1_024;

/// What a peer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It stores shards, and may be a member of the ledger.
    Node = 1,
    /// It writes and reads for vaults.
    Gateway = 2,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// Its key.
    pub peer: PeerId,
    /// What it is for.
    pub role: Role,
    /// How it stands.
    pub standing: Standing,
    /// What it fails together with, by name: its site or rack. Empty: nothing but itself.
    pub domain: String,
    /// Where it answers, at most [`ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// Its drives.
    pub drives: Vec<DriveId>,
}

impl PeerEntry {
    /// Where its entry stands.
    pub fn address(peer: &PeerId) -> Address {
        let mut slot = [0; 16];
        let key = peer.public_key().as_bytes();
        slot.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        Address {
            scope: LEASE_SCOPE,
            kind: EntryKind::Peer,
            slot,
        }
    }

    /// What it fails together with.
    pub fn domain_id(&self) -> DomainId {
        let mut hasher = blake3::Hasher::new_derive_key("cairn v1 failure domain");
        match self.domain.is_empty() {
            true => hasher.update(&[1]).update(self.peer.public_key().as_bytes()),
            false => hasher.update(&[2]).update(self.domain.as_bytes()),
        };
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        id
    }

    /// What the cluster client is told of it; none of one that stores nothing.
    pub fn config(&self) -> Option<PeerConfig> {
        (self.role == Role::Node).then(|| PeerConfig {
            id: self.peer,
            domain: self.domain_id(),
            drives: self.drives.clone(),
            standing: self.standing,
        })
    }

    /// The value of the ledger entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.put(&mut writer);
        writer.into_vec()
    }

    /// Reads the value of a ledger entry.
    ///
    /// # Errors
    /// What does not read whole.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let entry = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(entry)
    }

    pub(crate) fn put(&self, writer: &mut Writer) {
        writer.u8(VERSION);
        writer.fixed(self.peer.public_key().as_bytes());
        writer.u8(self.role as u8);
        writer.u8(self.standing as u8);
        writer.string(&self.domain);
        writer.list_with(&self.addresses, |writer, address| {
            writer.string(&address.to_string())
        });
        writer.list_with(&self.drives, |writer, drive| writer.fixed(drive));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.version(VERSION)?;
        let peer = PeerId::from_bytes(&reader.fixed()?).map_err(|_| bad("peer", 0))?;
        let role = match reader.u8()? {
            1 => Role::Node,
            2 => Role::Gateway,
            got => return Err(bad("role of a peer", got.into())),
        };
        let standing = match reader.u8()? {
            0 => Standing::Active,
            1 => Standing::Draining,
            2 => Standing::Gone,
            got => return Err(bad("standing of a peer", got.into())),
        };
        Ok(Self {
            peer,
            role,
            standing,
            domain: reader.string(DOMAIN_BYTES_MAX)?.to_owned(),
            addresses: reader.list_with(ADDRESSES_MAX, |reader| {
                let text = reader.string(64)?;
                let address: Option<SocketAddr> = text.parse().ok();
                // One form only: what parses must print the same.
                let address = address.filter(|address| address.to_string() == text);
                address.ok_or(bad("address of a peer", text.len() as u64))
            })?,
            drives: reader.list_with(DRIVES_MAX, |reader| reader.fixed())?,
        })
    }
}

const fn bad(what: &'static str, got: u64) -> DecodeError {
    DecodeError::BadValue { what, got }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerKey;

    fn entry(seed: u8) -> PeerEntry {
        PeerEntry {
            peer: PeerKey::from_seed(&[seed; 32]).id(),
            role: Role::Node,
            standing: Standing::Draining,
            domain: "site a".to_owned(),
            addresses: vec!["[::1]:7400".parse().unwrap(), "10.0.0.1:7400".parse().unwrap()],
            drives: vec![[1; 16], [2; 16]],
        }
    }

    #[test]
    fn entries_read_back_and_nothing_else_does() {
        let bytes = entry(1).encode();
        assert_eq!(PeerEntry::decode(&bytes).unwrap(), entry(1));
        for at in 0..bytes.len() {
            assert!(PeerEntry::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut other = bytes.clone();
            other[at] ^= 1;
            if let Ok(read) = PeerEntry::decode(&other) {
                assert_eq!(read.encode(), other, "byte {at}");
            }
        }
    }

    #[test]
    fn peers_of_one_named_domain_fail_together_and_others_alone() {
        let nameless = |seed| PeerEntry {
            domain: String::new(),
            ..entry(seed)
        };
        assert_eq!(entry(1).domain_id(), entry(2).domain_id());
        assert_ne!(nameless(1).domain_id(), nameless(2).domain_id());
        assert_ne!(nameless(1).domain_id(), entry(1).domain_id());
    }
}
