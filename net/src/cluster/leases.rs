//! Under which leases shards may be put: what the ledger says, told to every drive.
//!
//! It ends no lease; the ledger does. Invariants: a lease that was said to have ended stays so here, whatever is said later; a peer that was
//! not told is lost until it was.

use std::sync::PoisonError;

use engine::slots::AcceptedLeases;

use super::{Cluster, Inner};

/// What is known here of leases.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownLeases {
    /// Under which shards are taken.
    pub(super) accepted: AcceptedLeases,
    /// This gateway's own, once it has one.
    pub(super) own: Option<u64>,
}

impl KnownLeases {
    /// The lease under which a shard of a pack of `lease` is put again: its own, or one that drives still accept.
    pub(super) fn for_shard_of(&self, lease: u64) -> u64 {
        match self.accepted.accepts(lease) {
            true => lease,
            false => self.own.unwrap_or_else(|| self.accepted.lowest()),
        }
    }
}

impl Cluster {
    /// Takes over which leases the ledger accepts: puts under others are refused on every drive from now on. `own` is this gateway's.
    /// A peer that is away hears of it before it counts as there.
    pub async fn end_leases(&self, own: u64, said: &AcceptedLeases) {
        let accepted = {
            let mut known = self.inner.leases.write().unwrap_or_else(PoisonError::into_inner);
            known.own = Some(own);
            known.accepted = known.accepted.and(said);
            known.accepted.clone()
        };
        self.tell_of_leases(&accepted).await;
    }

    /// Refuses puts under leases below `lowest` on every drive from now on.
    pub async fn end_leases_below(&self, lowest: u64) {
        self.end_leases(lowest, &AcceptedLeases::at_least(lowest)).await;
    }

    /// Under which leases shards are taken, as far as is known here.
    pub fn accepted_leases(&self) -> AcceptedLeases {
        self.inner.known_leases().accepted
    }

    async fn tell_of_leases(&self, accepted: &AcceptedLeases) {
        let layout = self.inner.layout();
        let peers = layout.peers().iter().map(|peer| peer.end_leases(accepted));
        tokio::join!(
            self.inner.own.end_leases(accepted),
            futures::future::join_all(peers)
        );
    }
}

impl Inner {
    pub(super) fn known_leases(&self) -> KnownLeases {
        let known = self.leases.read();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
