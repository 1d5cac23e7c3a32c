//! Which ledger it is that a gateway asks: once it has written in one, that and no other.
//!
//! A ledger that was given up may come back with a member that nobody reset. Invariant: nothing is asked of a member of another ledger, or
//! taken from it, once the copy is pinned.

use std::time::Duration;

use engine::slots::Sequence;

use super::super::fetch::{AskError, ask};
use super::super::wire::{LedgerCall, LedgerRefusal, LedgerReply};
use super::super::{LedgerError, Lineage};
use super::{ANSWER_PATIENCE, FollowedLedger, Inner, PATIENCE, REST};
use crate::peer::PeerId;

impl FollowedLedger {
    /// Settles that the copy is of the ledger that whoever leads answers for, and of no other from now on.
    ///
    /// # Errors
    /// Nobody leads, the copy is of another one, or it cannot be noted.
    pub async fn pin(&self) -> Result<(), LedgerError> {
        let (index, lineage) = self.inner.fresh_index_of().await?;
        self.inner.applied(index).await?;
        self.inner.replica.pin(lineage)
    }

    /// Those that kept another ledger when they were asked last.
    pub fn of_another(&self) -> Vec<PeerId> {
        self.inner.members().others.iter().copied().collect()
    }

    /// Those that had no copy of any ledger when they were asked last, members that lost theirs among them.
    pub fn without_copy(&self) -> Vec<PeerId> {
        self.inner.members().empty.iter().copied().collect()
    }

    /// Who the members are as those that answer last heard, also where nobody leads; `None` if nobody says. All are asked, so it is known then who of
    /// them keeps another ledger.
    pub async fn members_as_known(&self) -> Option<Vec<PeerId>> {
        let known = self.inner.members().known.clone();
        let call = LedgerCall::Members { as_known: true };
        let asked = known
            .into_iter()
            .map(|member| self.inner.ask_member(member, &call, ANSWER_PATIENCE));
        let said = futures::future::join_all(asked).await.into_iter().flatten();
        let of_reply = |reply| match reply {
            LedgerReply::Members { voters, since, .. } => Some((since, voters)),
            _ => None,
        };
        let newest = said.filter_map(of_reply).max_by_key(|(since, _)| *since);
        newest.map(|(_, voters)| voters)
    }
}

impl Inner {
    /// Asks one member, and notes which ledger it keeps.
    pub(super) async fn ask_member(
        &self,
        member: PeerId,
        call: &LedgerCall,
        patience: Duration,
    ) -> Result<LedgerReply, AskError> {
        let of = self.replica.pinned();
        let asked = ask(&self.transport, member, (&of, call), patience).await;
        match &asked {
            Err(AskError::Member(LedgerRefusal::OtherLedger)) => self.members().keeps_other(member),
            Err(AskError::Member(LedgerRefusal::NoLedger)) => self.members().keeps_none(member),
            // Before it was looked at, or of whatever was asked.
            Err(AskError::Member(LedgerRefusal::NotAllowed | LedgerRefusal::Malformed)) => {}
            Ok(_) | Err(AskError::Member(_)) => self.members().keeps_ours(&member),
            Err(_) => {}
        }
        asked
    }

    /// The same, and the ledger of which it is, as the copy is.
    pub(super) async fn fresh_index_of(&self) -> Result<(Sequence, Lineage), LedgerError> {
        match self.ask_leader(&LedgerCall::ReadIndex, PATIENCE).await? {
            // Of another ledger than the copy is of it says nothing; the copy is being taken anew.
            LedgerReply::Index { sequence, lineage } if lineage == self.replica.lineage() => {
                Ok((sequence, lineage))
            }
            _ => {
                tokio::time::sleep(REST).await;
                Err(LedgerError::Unreachable)
            }
        }
    }
}
