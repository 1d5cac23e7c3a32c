//! What pack entries name on each drive: whether a drain is done, how full drives are by what counts.
//!
//! It asks no drive. Invariant: what no entry names is not counted, and a drive that is not counted holds nothing that anybody needs.

use std::collections::BTreeMap;

use futures::StreamExt;

use super::repair::PackStream;
use super::{Cluster, Inner};
use crate::entry::{DriveId, PackEntry};
use crate::ledger::LedgerError;
use crate::peer::PeerId;

/// What entries name on one drive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// Shards that are assigned to it, implied ones, which have no bytes, among them.
    pub assigned: u64,
    /// Shards that it is to store.
    pub stored: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What entries name, by drive. Drives of which nothing is named are left out.
pub type Holdings = BTreeMap<DriveId, Holding>;

/// How far a peer's drain is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrainState {
    /// What entries still name on its drives.
    pub left: Holding,
}

impl DrainState {
    /// Whether nothing is left there that anybody needs: the peer may go.
    pub fn is_done(&self) -> bool {
        self.left == Holding::default()
    }
}

/// Adds what an entry names.
pub(super) fn add(holdings: &mut Holdings, entry: &PackEntry) {
    let geometry = &entry.summary.geometry;
    for (index, drive) in entry.drives.iter().enumerate() {
        let holding = holdings.entry(*drive).or_default();
        holding.assigned += 1;
        if !geometry.is_implied(index) {
            holding.stored += 1;
            holding.bytes += u64::from(geometry.shard_bytes);
        }
    }
}

impl Inner {
    pub(super) async fn holdings(&self, packs: &PackStream<'_>) -> Result<Holdings, LedgerError> {
        let mut holdings = Holdings::new();
        let mut stream = packs();
        while let Some(entry) = stream.next().await {
            add(&mut holdings, &entry?);
        }
        Ok(holdings)
    }
}

impl Cluster {
    /// What these packs' entries name on each drive, also on drives that nobody knows.
    ///
    /// # Errors
    /// The ledger did not give its packs.
    pub async fn holdings(&self, packs: &PackStream<'_>) -> Result<Holdings, LedgerError> {
        self.inner.holdings(packs).await
    }

    /// How far the drain of a peer is. Of a peer that is not known any more nothing is left.
    ///
    /// # Errors
    /// The ledger did not give its packs.
    pub async fn drain_state(
        &self,
        packs: &PackStream<'_>,
        peer: &PeerId,
    ) -> Result<DrainState, LedgerError> {
        let holdings = self.inner.holdings(packs).await?;
        let layout = self.inner.layout();
        let of_peer = layout.peers().iter().filter(|known| known.line.peer == *peer);
        let mut state = DrainState::default();
        for drive in of_peer.flat_map(|peer| peer.drives().to_vec()) {
            let holding = holdings.get(&drive.id).copied().unwrap_or_default();
            state.left.assigned += holding.assigned;
            state.left.stored += holding.stored;
            state.left.bytes += holding.bytes;
        }
        Ok(state)
    }
}
