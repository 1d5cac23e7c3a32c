//! Deleting packs on a collector's signed order, ending leases, and giving space back: on every drive of the layout.
//!
//! It decides nothing about what is garbage; the collector does. Who may order what is checked where the drives are, by each peer
//! for itself. Invariant: no rebuild puts a deleted shard back.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engine::pack::PackId;
use engine::placement::DriveWeight;
use scopes::{CollectorDelegation, DeleteOrder, Signed};

use super::remote::RemotePeer;
use super::{Cluster, Inner};
use crate::drives::{CompactReport, DeleteError, DeleteReport};
use crate::peer::{Answer, Purpose, Refusal, Request};

/// Bytes that one compaction step of a drive copies, so that puts are not held up.
const STEP_BYTES: u64 = 16 << 20;

impl Cluster {
    /// Accepts delete orders of a vault from the collector that its owner named. The caller checked the delegation's
    /// signature against the owner's key.
    pub fn trust_collector(&self, delegation: &Signed<CollectorDelegation>) {
        self.inner.own.trust_collector(delegation);
        match delegation.encode() {
            Ok(envelope) => {
                let mut known = self
                    .inner
                    .delegations
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                known.insert(delegation.statement().vault.0, Bytes::from(envelope));
            }
            Err(error) => tracing::error!(%error, "a delegation cannot be told to peers"),
        }
    }

    /// Deletes every shard of the packs that a collector's order names, on every drive that is there.
    pub async fn delete_packs(&self, order: &Signed<DeleteOrder>) -> Result<DeleteReport, DeleteError> {
        let inner = &self.inner;
        inner.own.admit(order)?;
        // Alone: a rebuild that is under way ends first, and none starts before the shards are gone.
        let _gate = inner.rebuild_gate.write().await;
        let mut deleted = inner.own.delete(order.statement()).await;
        let mut refused = false;
        if let Ok(envelope) = order.encode().map(Bytes::from) {
            let vault = order.statement().vault.0;
            let orders = inner.peers.iter().map(|peer| inner.order(peer, vault, &envelope));
            for report in futures::future::join_all(orders).await {
                deleted.report.shards += report.shards;
                deleted.report.refused += report.refused;
                deleted.report.failed += report.failed;
                refused |= report.refused > 0;
            }
        }
        // Which packs a peer would not delete it does not say: then all are left on the list.
        if !refused {
            let packs = order.statement().pack_ids().map(PackId);
            let gone = packs.filter(|pack| inner.own.drives.is_empty() || deleted.gone.contains(pack));
            gone.for_each(|pack| inner.missing.forget(pack));
        }
        Ok(deleted.report)
    }

    /// Refuses puts under leases below `lowest` on every drive from now on.
    pub async fn end_leases_below(&self, lowest: u64) {
        let inner = &self.inner;
        inner.lowest_lease.fetch_max(lowest, Ordering::Relaxed);
        let peers = inner.peers.iter().map(|peer| peer.end_leases_below(lowest));
        tokio::join!(
            inner.own.end_leases_below(lowest),
            futures::future::join_all(peers)
        );
    }

    /// Compacts drives' segments of which at least the part `min_garbage` (0 to 1) is garbage, drive by drive, until
    /// nothing more is to be gained or about `budget_bytes` were copied.
    pub async fn compact(&self, min_garbage: f64, budget_bytes: u64) -> CompactReport {
        let mut report = CompactReport::default();
        for place in &self.inner.places {
            let mut more = true;
            while more && report.copied_bytes < budget_bytes {
                let Ok(step) = place.compact(min_garbage, STEP_BYTES).await else {
                    break;
                };
                if step.damaged {
                    // Shards went of packs that only the ledger can name.
                    self.inner.own.changes.lost_shards();
                }
                report.copied_bytes += step.report.copied_bytes;
                report.freed_bytes += step.report.freed_bytes;
                more = step.more && step.report != CompactReport::default();
            }
        }
        report
    }

    /// Gives back the preallocated space of every drive.
    pub async fn trim(&self) {
        let trims = self.inner.places.iter().map(|place| place.trim());
        futures::future::join_all(trims).await;
        if !self.inner.peers.is_empty() {
            // What the peers said of their space is older.
            self.check_drives().await;
        }
    }

    /// The highest lease that any drive has seen, in a shard or as the lowest that it accepts: a new ledger's leases
    /// begin above it.
    pub fn highest_lease(&self) -> u64 {
        let highest = self.inner.places.iter().map(|place| place.highest_lease());
        highest.max().unwrap_or(0)
    }

    /// The layout's drives, for a caller that places something itself.
    pub fn layout(&self) -> Vec<DriveWeight> {
        self.inner.places.iter().map(|place| place.weight()).collect()
    }
}

impl Inner {
    /// Passes an order on to a peer, and the collector's delegation before it if the peer has not heard of it.
    async fn order(&self, peer: &RemotePeer, vault: [u8; 16], envelope: &Bytes) -> DeleteReport {
        let failed = DeleteReport {
            failed: 1,
            ..DeleteReport::default()
        };
        let send = |request, body: &Bytes| peer.line.call(Purpose::Collect, request, body.clone());
        let delegation = self
            .delegations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&vault)
            .cloned();
        let mut answer = send(Request::Delete, envelope).await;
        let is_refused = |answer: &Result<crate::peer::Reply, _>| {
            answer
                .as_ref()
                .is_ok_and(|reply| reply.answer == Answer::Refused(Refusal::BadOrder))
        };
        if is_refused(&answer)
            && let Some(delegation) = delegation
        {
            let _ = send(Request::Delegate, &delegation).await;
            answer = send(Request::Delete, envelope).await;
        }
        match answer.map(|reply| reply.answer) {
            Ok(Answer::Deleted {
                shards,
                refused,
                failed,
            }) => DeleteReport {
                shards,
                refused,
                failed,
            },
            Ok(answer) => {
                tracing::warn!(peer = %peer.line.peer, ?answer, "a peer did not carry out a delete order");
                failed
            }
            Err(error) => {
                tracing::warn!(%error, "a delete order did not reach a peer");
                failed
            }
        }
    }
}
