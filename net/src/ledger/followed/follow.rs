//! The copy behind the members: each next append as soon as one member has applied it, or all of it anew.
//!
//! Invariant: appends are applied in order and without a gap, and only those of the ledger that the copy is of.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::apply::{Agreed, Change, Leader};
use super::super::fetch::{AskError, fetch};
use super::super::wire::{APPENDS_MAX, LedgerCall, LedgerRefusal, LedgerReply};
use super::super::{Ledger, LedgerError};
use super::{Inner, REST};
use crate::peer::PeerId;
use bytes::Bytes;
use engine::slots::Sequence;

/// How long a member holds a question until there is something to tell. Each answer says that the members are there.
const WAIT: Duration = Duration::from_millis(500);
/// ... and how long its answer may take. The copy has to be with the next leader before the only holder of a lease may no longer answer
/// reads by itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long somebody is looked for who takes the word of which records need not be kept.
const LET_GO_PATIENCE: Duration = Duration::from_secs(2);

/// Asks every second whether whoever leads still does, so that the only holder of a lease may answer reads by himself meanwhile.
/// Whatever else a member answers proves nothing: it may be cut off itself.
pub(super) async fn keep_heard(weak: Weak<Inner>) {
    loop {
        tokio::time::sleep(HEARD_EVERY).await;
        let Some(inner) = weak.upgrade() else { return };
        if inner.lease.load(Ordering::Acquire) > 0 {
            let sent = Instant::now();
            if let Ok(index) = inner.fresh_index().await
                && inner.applied(index).await.is_ok()
            {
                inner.heard_at(sent);
            }
        }
    }
}

/// Tells the members which records need not be kept any more, again until they have heard it.
pub(super) async fn let_go(weak: Weak<Inner>, mut wanted: watch::Receiver<Sequence>) {
    while wanted.changed().await.is_ok() {
        loop {
            let through = *wanted.borrow_and_update();
            let Some(inner) = weak.upgrade() else { return };
            let told = inner
                .ask_leader(&LedgerCall::RecordsThrough(through), LET_GO_PATIENCE)
                .await;
            drop(inner);
            if told.is_ok() {
                break;
            }
            tokio::time::sleep(HEARD_EVERY).await;
        }
        // Each word is an entry of its own, for which appends wait.
        tokio::time::sleep(LET_GO_EVERY).await;
    }
}

/// Runs as long as the ledger is there.
pub(super) async fn follow(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let next = { inner.members().next(0) };
        let Some(member) = next else {
            drop(inner);
            tokio::time::sleep(REST).await;
            continue;
        };
        if let Err(why) = step(&inner, member).await {
            tracing::debug!(%member, %why, "the ledger cannot be followed there");
            {
                let mut members = inner.members();
                match why {
                    AskError::Member(LedgerRefusal::NotLeader { leader }) => members.refer_to(leader),
                    // Noted when it answered.
                    AskError::Member(LedgerRefusal::OtherLedger | LedgerRefusal::NoLedger) => {}
                    _ => members.lost(member),
                }
                // Another one is asked the next time.
                let turn = 1.min(members.known.len());
                members.known.rotate_left(turn);
            }
            drop(inner);
            tokio::time::sleep(REST).await;
        }
    }
}

async fn step(inner: &Arc<Inner>, member: PeerId) -> Result<(), AskError> {
    // Not the copy's newest append: a page may have been applied in part, and is applied again from its beginning.
    let from = Sequence(inner.replica.mark().map_or(0, |mark| mark.sequence));
    let call = LedgerCall::Tail {
        lineage: inner.replica.lineage(),
        from,
        max: APPENDS_MAX as u16,
        wait_ms: WAIT.as_millis() as u16,
    };
    match inner.ask_member(member, &call, PATIENCE).await? {
        LedgerReply::Tail {
            records_through,
            appends,
        } => {
            let known = inner.replica.copy().status().records_through;
            let mut agreed = Vec::new();
            if !appends.is_empty() {
                agreed.push(Change::Appends {
                    by: NOBODY,
                    base: from.0,
                    appends,
                });
            }
            if records_through > Sequence(known) {
                agreed.push(Change::RecordsThrough(records_through.0));
            }
            apply(inner, agreed).await
        }
        LedgerReply::Compacted => {
            match inner.replica.is_begun() {
                true => {
                    tracing::info!(%member, "the copy of the ledger is too old to follow, and is taken anew")
                }
                false => tracing::info!(%member, "a first copy of the ledger is taken"),
            }
            let received = fetch(&inner.transport, member, &inner.replica).await?;
            Ok(inner.replica.replace(received).await?)
        }
        _ => Err(AskError::Nonsense),
    }
}

/// How often the members are told at most which records need not be kept. That they keep them a little longer is no harm.
const LET_GO_EVERY: Duration = Duration::from_secs(2);
/// How often it is asked who leads.
const HEARD_EVERY: Duration = Duration::from_millis(700);

/// Nothing is staged in a copy that follows.
const NOBODY: Leader = Leader { term: 0, member: 0 };

async fn apply(inner: &Arc<Inner>, changes: Vec<Change>) -> Result<(), AskError> {
    if changes.is_empty() {
        return Ok(());
    }
    let agree = |change| Agreed {
        change,
        state: Bytes::new(),
    };
    let applied = inner
        .replica
        .apply(changes.into_iter().map(agree).collect())
        .await?;
    match applied.iter().all(|applied| *applied) {
        true => Ok(()),
        false => Err(LedgerError::Read(std::io::ErrorKind::InvalidData).into()),
    }
}
