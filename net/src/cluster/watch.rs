//! What runs beside the cluster client: each second it asks the peers how their drives are, and heals what can be healed.
//!
//! The drives of this machine have a checker of their own. Invariants: all of it holds the cluster only weakly, so it ends with
//! it; a peer that does not answer keeps the others waiting for a few seconds at most.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::{Cluster, Inner};
use crate::drives::Changes;

/// How often peers are asked, and the list of what is missing is gone through.
const EVERY: Duration = Duration::from_secs(1);
/// How long whoever needs all peers waits for those that do not answer.
const PEERS_WAIT: Duration = Duration::from_secs(8);
/// How long a round of questions waits for the slowest peer.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Starts both on the current runtime.
pub(super) fn spawn(inner: &Arc<Inner>) {
    tokio::spawn(watch(Arc::downgrade(inner)));
    tokio::spawn(heal(Arc::downgrade(inner), Arc::clone(&inner.own.changes)));
}

async fn watch(weak: Weak<Inner>) {
    let mut since = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = weak
            .upgrade()
            .filter(|inner| !inner.closing.load(Ordering::Acquire))
        else {
            return;
        };
        if inner.missing.wants_census() {
            inner.own.changes.lost_shards();
        }
        poll_peers(&inner, false).await;
        inner.note_lost();
        inner.note_watched(since.elapsed());
        since = Instant::now();
    }
}

/// Asks every peer. One that is being asked already is passed over, or asked again after that: what it said may be older than
/// this call.
pub(super) async fn poll_peers(inner: &Arc<Inner>, ask_again: bool) {
    let mut polls = tokio::task::JoinSet::new();
    let layout = inner.layout();
    for peer in layout.peers().iter().filter(|peer| peer.is_member()) {
        let (inner, peer) = (Arc::clone(inner), Arc::clone(peer));
        polls.spawn(async move {
            let alone = Arc::clone(&peer.polling);
            let _alone = match ask_again {
                true => alone.lock_owned().await,
                false => match alone.try_lock_owned() {
                    Ok(alone) => alone,
                    Err(_) => return,
                },
            };
            let changed = peer.poll(&inner.known_leases().accepted).await;
            if changed.lost {
                // What it still holds, only a census tells.
                inner.own.changes.lost_shards();
            }
            if changed.back {
                inner.own.changes.came_back();
            }
        });
    }
    let all = async { while polls.join_next().await.is_some() {} };
    // What takes longer is dropped with the set, and asked anew in the next round.
    let _ = tokio::time::timeout(WAIT_MAX, all).await;
}

/// Waits a while for peers that do not answer: one that has just started is not reached at once by everybody who called it before.
pub(super) async fn wait_for_peers(inner: &Arc<Inner>) {
    let began = Instant::now();
    loop {
        poll_peers(inner, true).await;
        let layout = inner.layout();
        let mut members = layout.peers().iter().filter(|peer| peer.is_member());
        if members.all(|peer| peer.answers()) || began.elapsed() > PEERS_WAIT {
            return;
        }
        tokio::time::sleep(EVERY / 4).await;
    }
}

async fn heal(weak: Weak<Inner>, changes: Arc<Changes>) {
    let mut healed = None;
    loop {
        // Either a second passes or a read found something to heal.
        let _ = tokio::time::timeout(EVERY, changes.heal.notified()).await;
        let Some(inner) = weak.upgrade() else { return };
        healed = inner.heal_round(healed, true).await;
    }
}

impl Cluster {
    /// Looks at every drive now, as the checkers do each second. Waits a few seconds at most for one that does not answer.
    pub async fn check_drives(&self) {
        tokio::join!(self.inner.own.check(true), poll_peers(&self.inner, true));
    }

    /// Heals what can be healed now, as it is done each second.
    pub async fn heal(&self) {
        let mut after = None;
        loop {
            after = self.inner.heal_round(after, false).await;
            if after.is_none() {
                return;
            }
        }
    }
}
