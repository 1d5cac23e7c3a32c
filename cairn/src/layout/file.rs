//! What `layout.json` looks like.
//!
//! Invariant: fields that are not known are refused, for they would be lost when it is written again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use net::DriveId;
use serde::{Deserialize, Serialize};

use super::{KnownPeer, PeerPlace};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LayoutFile {
    pub(super) format: u32,
    pub(super) cluster_id: String,
    pub(super) code: String,
    pub(super) drives: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) peers: Vec<PeerRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ledger_members: Option<usize>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) own_log: bool,
    pub(super) drives_made: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) directory: Option<PathBuf>,
    pub(super) known: Option<KnownRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownRow {
    pub(super) peer_id: String,
    pub(super) address: SocketAddr,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) domain: String,
    pub(super) drives: Vec<String>,
}

impl PeerRow {
    pub(super) fn of(peer: &PeerPlace, root: &Path) -> Self {
        let directory = peer.directory.as_deref();
        Self {
            directory: directory.map(|there| there.strip_prefix(root).unwrap_or(there).to_path_buf()),
            known: peer.known.as_ref().map(|known| KnownRow {
                peer_id: known.id.to_string(),
                address: known.address,
                domain: known.domain.clone(),
                drives: known.drives.iter().map(hex::encode).collect(),
            }),
        }
    }

    /// `None` if it is damaged.
    pub(super) fn read(self, root: &Path) -> Option<PeerPlace> {
        let known = match self.known {
            Some(row) => Some(row.read()?),
            None => None,
        };
        Some(PeerPlace {
            directory: self.directory.map(|there| root.join(there)),
            known,
        })
    }
}

impl KnownRow {
    pub(super) fn read(self) -> Option<KnownPeer> {
        let drive = |text: &String| DriveId::try_from(hex::decode(text).ok()?).ok();
        Some(KnownPeer {
            id: self.peer_id.parse().ok()?,
            address: self.address,
            domain: self.domain,
            drives: self.drives.iter().map(drive).collect::<Option<_>>()?,
        })
    }
}
