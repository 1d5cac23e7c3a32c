//! The copy behind the members: each next append as soon as one member has applied it, or all of it anew.
//!
//! Invariant: appends are applied in order and without a gap, and only those of the ledger that the copy is of.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use engine::slots::Sequence;
use tokio::time::Instant;

use super::super::apply::{Agreed, Change, Leader};
use super::super::fetch::{AskError, ask, fetch};
use super::super::wire::{APPENDS_MAX, LedgerCall, LedgerRefusal, LedgerReply};
use super::super::{Ledger, LedgerError};
use super::{Inner, REST};
use crate::peer::PeerId;

/// How long a member holds a question until there is something to tell. Each answer says that the members are there.
const WAIT: Duration = Duration::from_millis(500);
/// ... and how long its answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs as long as the ledger is there.
pub(super) async fn follow(weak: Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        let leader = { inner.members().clone() };
        let Some(member) = leader.leader.or_else(|| leader.known.first().copied()) else {
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
    let from = inner.replica.copy().position();
    let call = LedgerCall::Tail {
        lineage: inner.replica.lineage(),
        from,
        max: APPENDS_MAX as u16,
        wait_ms: WAIT.as_millis() as u16,
    };
    let sent = Instant::now();
    match ask(&inner.transport, member, &call, PATIENCE).await? {
        LedgerReply::Tail {
            records_through,
            appends,
        } => {
            inner.heard_at(sent);
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
            tracing::info!(%member, "the copy of the ledger is too old to follow, and is taken anew");
            let received = fetch(&inner.transport, member, &inner.replica).await?;
            Ok(inner.replica.replace(received).await?)
        }
        _ => Err(AskError::Nonsense),
    }
}

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
