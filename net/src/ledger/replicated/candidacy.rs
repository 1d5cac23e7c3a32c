//! Whether this member may stand for election: only while more than half of the voters hear of no leader.
//!
//! openraft lets whoever has heard of no leader for a while raise the term, and a leader that meets a higher term steps down. So a member that
//! was frozen or cut off would depose, coming back, a leader whom everybody else hears, and nothing could be written until another is elected. Here
//! it asks the others first (Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 9.6). And a leader that hears from no
//! majority any more falls silent, so that those who still hear it alone do not keep it in its place (section 6.2).
//!
//! It elects nobody: openraft draws the times, asks for votes and counts them. Invariant: an answer given here promises nothing and is remembered
//! by nobody; it decides only whether openraft's own election may begin.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use openraft::{RaftMetrics, ServerState};
use tokio::time::Instant;

use super::aside::{Aside, Why};
use super::member::RaftOf;
use super::network::{Network, TellReply, Told};
use super::raft::Voter;

/// A leader was not heard of for so many heartbeats: it may be gone. Elections begin after seven.
const QUIET_HEARTBEATS: u32 = 3;
/// So many looks in a row have to find that, so that a process that was frozen hears first what came in meanwhile.
const LOOKS: u32 = 2;
/// A leader that no majority has answered for so many heartbeats is alone, if so many looks find that.
const ALONE_HEARTBEATS: u32 = 6;
const ALONE_LOOKS: u32 = 4;

/// See the module.
pub(super) struct Candidacy {
    heartbeat: Duration,
    heard: Mutex<Option<Instant>>,
    /// Since when this member leads, as far as was looked.
    leads_since: Mutex<Option<Instant>>,
}

impl Candidacy {
    pub(super) fn new(heartbeat: Duration) -> Self {
        Self {
            heartbeat,
            heard: Mutex::default(),
            leads_since: Mutex::default(),
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether this member leads.
    fn note_leading(&self, leads: bool) {
        let mut since = self.leads_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = leads.then(|| since.unwrap_or_else(Instant::now));
    }

    /// Notes that a leader that this member follows has spoken.
    pub(super) fn note_leader(&self) {
        *self.last() = Some(Instant::now());
    }

    /// For how long a leader may be quiet yet; `None` once it has been for too long.
    fn quiet_for_yet(&self) -> Option<Duration> {
        let limit = self.heartbeat * QUIET_HEARTBEATS;
        let quiet = (*self.last())?.elapsed();
        limit.checked_sub(quiet).filter(|left| !left.is_zero())
    }

    /// Whether this member hears of a leader, or leads and is heard itself.
    pub(super) fn hears_leader(&self, raft: &RaftOf, aside: &Aside) -> bool {
        let metrics = raft.metrics().borrow().clone();
        match metrics.state {
            ServerState::Leader => !aside.is_silent() && !self.is_alone(&metrics),
            _ => self.quiet_for_yet().is_some(),
        }
    }

    /// Whether a leader was answered by no majority for long.
    fn is_alone(&self, metrics: &RaftMetrics<u64, Voter>) -> bool {
        // One that no majority has ever answered is quiet since it leads.
        let since = *self.leads_since.lock().unwrap_or_else(PoisonError::into_inner);
        let led = since.map_or(Duration::ZERO, |since| since.elapsed());
        let quiet = metrics.millis_since_quorum_ack.map_or(led, Duration::from_millis);
        let voters = metrics.membership_config.membership().voter_ids().count();
        voters > 1 && quiet > self.heartbeat * ALONE_HEARTBEATS
    }
}

/// Lets openraft's elections begin, or not, until its Raft has ended.
pub(super) async fn watch(raft: RaftOf, network: Network, aside: Arc<Aside>, candidacy: Arc<Candidacy>) {
    // A member that has just begun has nothing to catch up with that came in before.
    let (mut quiet, mut alone) = (LOOKS - 1, 0);
    loop {
        let metrics = raft.metrics().borrow().clone();
        if metrics.running_state.is_err() {
            return;
        }
        let leads = metrics.state == ServerState::Leader;
        candidacy.note_leading(leads);
        let yet = candidacy.quiet_for_yet();
        quiet = if leads || yet.is_some() { 0 } else { quiet + 1 };
        alone = if leads && candidacy.is_alone(&metrics) {
            alone + 1
        } else {
            0
        };
        if alone >= ALONE_LOOKS {
            aside.begin(Why::Alone);
            alone = 0;
        }
        let stands =
            quiet >= LOOKS && !aside.is_silent() && nobody_leads(&metrics, &network, &candidacy).await;
        raft.runtime_config().elect(stands);
        tokio::time::sleep(yet.filter(|_| !leads).unwrap_or(candidacy.heartbeat)).await;
    }
}

/// Whether more than half of the voters, of both memberships while they change, say that they hear of no leader.
async fn nobody_leads(metrics: &RaftMetrics<u64, Voter>, network: &Network, candidacy: &Candidacy) -> bool {
    let own = metrics.id;
    let membership = metrics.membership_config.membership();
    let asked = membership.voter_ids().filter(|voter| *voter != own).map(|voter| {
        let peer = membership.get_node(&voter).and_then(|node| node.0);
        async move {
            let told = Told::LeaderHeard { by: own };
            let reply = network.tell(peer?, &told, candidacy.heartbeat).await;
            matches!(reply, Ok(TellReply::LeaderHeard(false))).then_some(voter)
        }
    });
    let mut without: BTreeSet<u64> = join_all(asked).await.into_iter().flatten().collect();
    // One may have spoken while the others were asked.
    if candidacy.quiet_for_yet().is_some() {
        return false;
    }
    without.insert(own);
    let configs = membership.get_joint_config();
    let agrees = |voters: &BTreeSet<u64>| voters.intersection(&without).count() * 2 > voters.len();
    !configs.is_empty() && configs.iter().all(agrees)
}
