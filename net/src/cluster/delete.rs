//! Deleting packs on a collector's signed order, and giving space back: on every drive of the layout.
//!
//! It decides nothing about what is garbage; the collector does. Who may order what is checked where the drives are, by each peer
//! for itself. Invariant: no rebuild puts a deleted shard back.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engine::pack::PackId;
use engine::placement::DriveWeight;
use scopes::{CollectorDelegation, DeleteOrder, Signed};

use super::remote::{RemotePeer, within};
use super::{Cluster, Inner};
use crate::drives::{CompactReport, DeleteError, DeleteReport};
use crate::entry::DriveId;
use crate::peer::{Answer, Purpose, Refusal, Request};

/// Bytes that one compaction step of a drive copies, so that puts are not held up, ...
const STEP_BYTES: u64 = 16 << 20;
/// ... and most steps of one drive in one go.
const STEPS_MAX: usize = 4_096;
/// How long a peer may take for an order: rebuilding waits meanwhile.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

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

    /// Deletes every shard of the packs that a collector's order names, on every drive that is there. An order that was taken is carried
    /// out, also if the caller goes away.
    pub async fn delete_packs(&self, order: &Signed<DeleteOrder>) -> Result<DeleteReport, DeleteError> {
        self.inner.own.admit(order, None)?;
        let (inner, order) = (Arc::clone(&self.inner), order.clone());
        let carried_out = tokio::spawn(async move { inner.carry_out(&order).await });
        Ok(carried_out.await.unwrap_or(DeleteReport {
            failed: 1,
            ..DeleteReport::default()
        }))
    }

    /// Compacts drives' segments of which at least the part `min_garbage` (0 to 1) is garbage, drive by drive, until
    /// nothing more is to be gained or about `budget_bytes` were copied.
    pub async fn compact(&self, min_garbage: f64, budget_bytes: u64) -> CompactReport {
        let mut report = CompactReport::default();
        for place in self.inner.layout().members() {
            let (mut more, mut steps) = (true, 0);
            // A peer that says there is more forever is asked again at the next collection.
            while more && report.copied_bytes < budget_bytes && steps < STEPS_MAX {
                steps += 1;
                let Ok(step) = place.compact(min_garbage, STEP_BYTES).await else {
                    break;
                };
                if step.damaged {
                    // Shards went of packs that only the ledger can name.
                    self.inner.own.changes.lost_shards();
                }
                report.copied_bytes = report.copied_bytes.saturating_add(step.report.copied_bytes);
                report.freed_bytes = report.freed_bytes.saturating_add(step.report.freed_bytes);
                more = step.more && step.report != CompactReport::default();
            }
        }
        report
    }

    /// Gives back the preallocated space of every drive.
    pub async fn trim(&self) {
        let layout = self.inner.layout();
        let trims = layout.members().map(|place| place.trim());
        futures::future::join_all(trims).await;
        if layout.has_peers() {
            // What the peers said of their space is older.
            self.check_drives().await;
        }
    }

    /// The highest lease that the drives have seen, in a shard or in what they were told of leases: a new ledger's leases
    /// begin above it. Of peers' drives as many are taken for liars as a pack has parity shards: a lease under which packs were
    /// acknowledged is known to more than that.
    pub fn highest_lease(&self) -> u64 {
        let layout = self.inner.layout();
        let places = layout.places();
        let own = places.iter().filter(|place| place.local().is_some());
        let own = own.map(|place| place.highest_lease()).max().unwrap_or(0);
        let peers = places
            .iter()
            .filter(|place| place.local().is_none() && place.is_present());
        let mut said: Vec<u64> = peers.map(|place| place.highest_lease()).collect();
        said.sort_unstable_by(|a, b| b.cmp(a));
        own.max(said.get(self.inner.code.parity()).copied().unwrap_or(0))
    }

    /// Of how many drives it has been heard how they are, be it that they are lost.
    pub fn heard(&self) -> usize {
        let own = self.inner.own.drives.len();
        let layout = self.inner.layout();
        let peers = layout.peers().iter().filter(|peer| peer.answers());
        own + peers.map(|peer| peer.members()).sum::<usize>()
    }

    /// Whether enough drives have been heard of for [`Self::highest_lease`] to mean something: always, unless they are peers'.
    pub fn has_heard_enough(&self) -> bool {
        !self.inner.layout().has_peers() || self.heard() > self.inner.code.parity()
    }

    /// The drives of the layout that are not there: what is ordered now does not reach them.
    pub fn absent_drives(&self) -> BTreeSet<DriveId> {
        let layout = self.inner.layout();
        let absent = layout.members().filter(|place| !place.is_present());
        absent.map(|place| place.id()).collect()
    }

    /// The drives of the layout that are not gone, for a caller that places something itself.
    pub fn layout(&self) -> Vec<DriveWeight> {
        let layout = self.inner.layout();
        layout.members().map(|place| place.weight()).collect()
    }
}

impl Inner {
    async fn carry_out(&self, order: &Signed<DeleteOrder>) -> DeleteReport {
        // Alone: a rebuild that is under way ends first, and none starts before the shards are gone.
        let _gate = self.rebuild_gate.write().await;
        let found = self.own.deletable(order.statement()).await;
        // Before the shards go: a read or a put that is under way must not bring a pack back. Without drives here, peers decide.
        if self.own.drives.is_empty() {
            let packs = order.statement().pack_ids().map(PackId);
            packs.for_each(|pack| self.missing.forget(pack.slot()));
        }
        for pack in &found.gone {
            self.missing.forget(pack.slot());
        }
        let mut report = self.own.delete(&found).await;
        if let Ok(envelope) = order.encode().map(Bytes::from) {
            let vault = order.statement().vault.0;
            let layout = self.layout();
            let members = layout.peers().iter().filter(|peer| peer.is_member());
            let orders = members.map(|peer| self.order(peer, vault, &envelope));
            for of_peer in futures::future::join_all(orders).await {
                report.shards = report.shards.saturating_add(of_peer.shards);
                report.refused = report.refused.saturating_add(of_peer.refused);
                report.failed = report.failed.saturating_add(of_peer.failed);
                report.away = report.away.saturating_add(of_peer.away);
            }
        }
        report
    }

    /// Passes an order on to a peer, and the collector's delegation before it if the peer has not heard of it.
    async fn order(&self, peer: &RemotePeer, vault: [u8; 16], envelope: &Bytes) -> DeleteReport {
        let failed = DeleteReport {
            failed: 1,
            ..DeleteReport::default()
        };
        // One that is away keeps its garbage until a later collection finds it.
        if !peer.drives().iter().any(|drive| drive.is_present()) {
            return DeleteReport {
                away: 1,
                ..DeleteReport::default()
            };
        }
        let send = |request, body: &Bytes| {
            let call = peer.line.call(Purpose::Collect, request, body.clone());
            within(peer.line.peer, ORDER_PATIENCE, call)
        };
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
                away: 0,
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
