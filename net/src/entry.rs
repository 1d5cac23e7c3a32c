//! The pack entry of the ledger: what a pack is made of and which drives hold its shards, in the clear, so that repair
//! needs no vault key (FORMAT.md section 6, kind 6).
//!
//! It does not say whether the shards are there; drives do. Invariant: a decoded entry names one drive for every shard
//! of its code, no drive twice, and its pack id is the one that its geometry and hashes give.

#[cfg(test)]
pub(crate) mod tests;

use engine::codec::{DecodeError, Reader, Writer};
use engine::pack::{PackId, PackSummary};

const VERSION: u8 = 1;

/// A drive's id, random, 16 bytes.
pub type DriveId = [u8; 16];

/// Where a pack lies. Kind 6 of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEntry {
    /// Id, geometry and shard hashes.
    pub summary: PackSummary,
    /// The vault whose data it is.
    pub vault: [u8; 16],
    /// The lease under which it was written.
    pub lease: u64,
    /// One drive for each shard, in shard order, implied shards included.
    pub drives: Vec<DriveId>,
}

impl PackEntry {
    /// The pack's id.
    pub fn id(&self) -> PackId {
        self.summary.id
    }

    /// The drive that shard `index` is assigned to.
    pub fn drive(&self, index: usize) -> Option<DriveId> {
        self.drives.get(index).copied()
    }

    /// The indexes of the shards that are stored: all but the implied ones.
    pub fn stored(&self) -> impl Iterator<Item = usize> + '_ {
        let geometry = &self.summary.geometry;
        (0..geometry.code.shards()).filter(|index| !geometry.is_implied(*index))
    }

    /// The value of the ledger entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(128 + 52 * self.drives.len());
        writer.u8(VERSION);
        writer.fixed(&self.vault);
        writer.fixed(&self.summary.id.0);
        writer.u64(self.lease);
        self.summary.encode(&mut writer);
        for drive in &self.drives {
            writer.fixed(drive);
        }
        writer.into_vec()
    }

    /// Reads the value of a ledger entry and checks it.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        reader.version(VERSION)?;
        let vault = reader.fixed()?;
        let id = PackId(reader.fixed()?);
        let lease = reader.u64()?;
        let summary = PackSummary::decode(&mut reader)?;
        if summary.id != id {
            return Err(bad("pack id", &id.0));
        }
        let drives = (0..summary.geometry.code.shards())
            .map(|_| reader.fixed())
            .collect::<Result<Vec<DriveId>, _>>()?;
        reader.finish()?;
        let mut sorted = drives.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find_map(|pair| match pair {
            [left, right] if left == right => Some(*left),
            _ => None,
        }) {
            return Err(bad("drive id (named twice)", &twice));
        }
        Ok(Self {
            summary,
            vault,
            lease,
            drives,
        })
    }
}

fn bad(what: &'static str, bytes: &[u8]) -> DecodeError {
    let head = bytes.first_chunk::<8>().copied().unwrap_or_default();
    DecodeError::BadValue {
        what,
        got: u64::from_be_bytes(head),
    }
}
