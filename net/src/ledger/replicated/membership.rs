//! Beginning a ledger, who its members are, and the entries of all peers.
//!
//! Invariants: a ledger is begun once; a peer votes only after it has everything; what was begun to be changed is carried on whoever waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::slots::{Sequence, Write};
use openraft::RaftMetrics;

use super::super::Lineage;
use super::super::wire::{LedgerRefusal, LedgerReply};
use super::leading::{not_leader, while_leading};
use super::member::Member;
use super::propose::Proposal;
use super::raft::{Voter, number};
use crate::membership::PeerEntry;
use crate::peer::PeerId;

/// How often it is looked whether the first election is over, and how many times.
const BEGIN_LOOK: Duration = Duration::from_millis(20);
const BEGIN_TRIES: usize = 500;
/// How long a new member may take to have everything.
const LEARN_PATIENCE: Duration = Duration::from_secs(300);

impl Member {
    /// The ledger that it keeps a part of, [`ANY_LEDGER`](super::super::wire::ANY_LEDGER) while it keeps none.
    pub fn lineage(&self) -> Lineage {
        self.replica.lineage()
    }

    pub(super) async fn begin(
        &self,
        lineage: Lineage,
        after: Sequence,
    ) -> Result<LedgerReply, LedgerRefusal> {
        let own = BTreeMap::from([(number(&self.own), Voter(Some(self.own)))]);
        let is_new = self.raft.initialize(own).await.is_ok();
        if !is_new && self.replica.is_begun() {
            return Err(LedgerRefusal::Begun);
        }
        // One that was cut short before goes on here: what is begun already, the desk knows.
        for _ in 0..BEGIN_TRIES {
            let begun = self
                .propose(|reply| Proposal::Begin {
                    lineage,
                    after,
                    reply,
                })
                .await;
            match begun {
                Ok(()) => {
                    // So that every member that is taken in takes the copy: what it began with stands in no entry.
                    return match self.forget_entries().await {
                        true => Ok(LedgerReply::Done),
                        false => Err(LedgerRefusal::Busy),
                    };
                }
                // Its first election is under way.
                Err(LedgerRefusal::NotLeader { .. }) => {
                    tokio::time::sleep(BEGIN_LOOK).await;
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Err(LedgerRefusal::NotLeader { leader: None })
    }

    pub(super) async fn set_peer(&self, entry: &PeerEntry) -> Result<LedgerReply, LedgerRefusal> {
        let write = Write {
            address: PeerEntry::address(&entry.peer),
            value: Some(entry.encode().into()),
        };
        let written = self.propose(|reply| Proposal::Write { write, reply }).await;
        written.map(|()| LedgerReply::Done)
    }

    /// The peers of this member's copy, as old as it may be.
    pub(crate) async fn known_peers(&self) -> Result<Vec<PeerEntry>, LedgerRefusal> {
        self.replica
            .known_peers()
            .await
            .map_err(|_| LedgerRefusal::Failed)
    }

    pub(super) async fn peers(&self) -> Result<LedgerReply, LedgerRefusal> {
        self.not_aside()?;
        self.sharing.leads(&self.raft, &self.progress).await?;
        Ok(LedgerReply::Peers(self.known_peers().await?))
    }

    /// Who the members are, as the leader says: others may have been members once.
    pub(super) async fn members(self: &Arc<Self>) -> Result<LedgerReply, LedgerRefusal> {
        self.read_index().await?;
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        // While one membership gives way to another neither is told: whoever asks for one asks again.
        if let [_, next, ..] = membership.get_joint_config().as_slice() {
            tokio::spawn(Arc::clone(self).finish_change(next.clone()));
            return Err(LedgerRefusal::Busy);
        }
        Ok(members_of(&metrics))
    }

    /// The same as this member alone last heard, agreed on or not, also where nobody leads; while the membership changes those before and after it.
    pub(super) fn members_known(&self) -> Result<LedgerReply, LedgerRefusal> {
        if !self.replica.is_begun() {
            return Err(LedgerRefusal::NoLedger);
        }
        Ok(members_of(&self.raft.metrics().borrow()))
    }

    /// Carries a change to its end that the leader which began it did not: nobody else would, for who the members are is not told before.
    async fn finish_change(self: Arc<Self>, next: BTreeSet<u64>) {
        // One that is under way ends by itself.
        let Ok(_alone) = self.changing.try_lock() else {
            return;
        };
        if !self.votes() {
            return;
        }
        let changing = self.raft.change_membership(next, false);
        if let Ok(Err(error)) = while_leading(&self.raft, changing).await {
            tracing::warn!(%error, "a change of the ledger's members was not carried to its end");
        }
    }

    /// Whether this member is one still. One that was taken out leads until that is agreed on, and must change nothing more.
    fn votes(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let own = number(&self.own);
        let mut voters = metrics.membership_config.membership().voter_ids();
        voters.any(|voter| voter == own)
    }

    /// Has a peer follow, and waits until it has everything up to the entry that says so. By openraft's own waiting one that lacks a few
    /// hundred entries has everything, and one that never answered when there are no more than that.
    async fn learns(&self, id: u64, peer: PeerId) -> Result<(), LedgerRefusal> {
        let adding = self.raft.add_learner(id, Voter(Some(peer)), false);
        let added = adding.await.map_err(|_| not_leader(&self.raft))?.log_id;
        let mut metrics = self.raft.metrics();
        let has_it = metrics.wait_for(|now| {
            let progress = now.replication.as_ref().and_then(|all| all.get(&id));
            progress.copied().flatten() >= Some(added)
        });
        has_it.await.map(|_| ()).map_err(|_| LedgerRefusal::Failed)
    }

    /// Those that are new follow until they have everything, then all vote at once; those that are not named any more go.
    pub(super) async fn set_members(&self, peers: Vec<PeerId>) -> Result<LedgerReply, LedgerRefusal> {
        // Whoever asks again meanwhile does not wait in a row: what he wants may be old by then.
        let Ok(_alone) = self.changing.try_lock() else {
            return Err(LedgerRefusal::Busy);
        };
        let wanted: BTreeMap<u64, PeerId> = peers.iter().map(|peer| (number(peer), *peer)).collect();
        if wanted.len() < peers.len() || wanted.is_empty() {
            return Err(LedgerRefusal::Malformed);
        }
        // See `begin`: a crash may have come between.
        if self.agreement.purged().is_none() && !self.forget_entries().await {
            return Err(LedgerRefusal::Busy);
        }
        for (id, peer) in &wanted {
            let votes = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow();
                metrics
                    .membership_config
                    .membership()
                    .voter_ids()
                    .any(|voter| voter == *id)
            };
            if !votes {
                // One that follows already is waited for as well.
                let learning = while_leading(&self.raft, self.learns(*id, *peer));
                let learnt = tokio::time::timeout(LEARN_PATIENCE, learning).await;
                learnt.map_err(|_| LedgerRefusal::Busy)???;
            }
        }
        if !self.votes() {
            return Err(not_leader(&self.raft));
        }
        let ids: BTreeSet<u64> = wanted.into_keys().collect();
        let changing = self.raft.change_membership(ids, false);
        let changed = while_leading(&self.raft, changing).await?;
        changed.map_err(|_| not_leader(&self.raft))?;
        Ok(LedgerReply::Done)
    }
}

fn members_of(metrics: &RaftMetrics<u64, Voter>) -> LedgerReply {
    let membership = metrics.membership_config.membership();
    let peer = |id: u64| membership.get_node(&id).and_then(|voter| voter.0);
    let since = metrics.membership_config.log_id().as_ref();
    LedgerReply::Members {
        leader: metrics.current_leader.and_then(peer),
        voters: membership.voter_ids().filter_map(peer).collect(),
        learners: membership.learner_ids().filter_map(peer).collect(),
        since: since.map_or(0, |id| id.index),
    }
}
