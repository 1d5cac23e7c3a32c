//! Which members a gateway knows of, and whom it asks next.
//!
//! It asks nobody itself. Invariant: somebody is asked as long as anybody is known.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::peer::PeerId;

/// How long nobody is believed who refers to a member that did not answer.
const SILENT_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub(super) struct Members {
    pub(super) known: Vec<PeerId>,
    pub(super) leader: Option<PeerId>,
    /// One that did not answer in time, and when: others may refer to it until they notice.
    silent: Option<(PeerId, Instant)>,
    /// Those that keep another ledger than this gateway's.
    pub(super) others: BTreeSet<PeerId>,
    /// Those that have no ledger at all.
    pub(super) empty: BTreeSet<PeerId>,
}

impl Members {
    pub(super) fn new(known: Vec<PeerId>) -> Self {
        Self {
            known,
            leader: None,
            silent: None,
            others: BTreeSet::new(),
            empty: BTreeSet::new(),
        }
    }

    fn silent_now(&self) -> Option<PeerId> {
        let lately = self.silent.filter(|(_, since)| since.elapsed() < SILENT_FOR);
        lately.map(|(member, _)| member)
    }

    /// Who is asked next: whoever leads, else the others by turns. One that did not answer just now is asked only if there is nobody else:
    /// to wait for it again would outlast an election.
    pub(super) fn next(&self, turn: usize) -> Option<PeerId> {
        let silent = self.silent_now();
        let count = self.known.len().max(1);
        let mut by_turns = self.known.iter().cycle().skip(turn % count).take(count);
        let first = by_turns.clone().next().copied();
        let other = by_turns
            .find(|member| Some(**member) != silent && !self.others.contains(member))
            .copied();
        self.leader.or(other).or(first)
    }

    /// Takes another member's word for who leads.
    pub(super) fn refer_to(&mut self, leader: Option<PeerId>) {
        let silent = self.silent_now();
        self.leader = leader.filter(|leader| Some(*leader) != silent);
    }

    /// Notes that a member answered out of the ledger that this gateway asks.
    pub(super) fn keeps_ours(&mut self, member: &PeerId) {
        self.others.remove(member);
        self.empty.remove(member);
    }

    /// Notes that it has none.
    pub(super) fn keeps_none(&mut self, member: PeerId) {
        self.others.remove(&member);
        self.empty.insert(member);
        self.leads_not(member);
    }

    /// Notes that a member keeps another ledger.
    pub(super) fn keeps_other(&mut self, member: PeerId) {
        self.empty.remove(&member);
        if self.others.insert(member) {
            tracing::error!(%member, "it keeps another ledger of this cluster than this gateway, and nothing of it is taken: one of the two was given up (docs/operating.md, Losing the ledger)");
        }
        self.leads_not(member);
    }

    /// Whoever else was found to lead meanwhile stays known.
    fn leads_not(&mut self, member: PeerId) {
        self.leader = self.leader.filter(|leader| *leader != member);
    }

    /// Takes over whom to ask.
    pub(super) fn set_known(&mut self, known: Vec<PeerId>) {
        self.others.retain(|other| known.contains(other));
        self.empty.retain(|empty| known.contains(empty));
        self.known = known;
    }

    /// Notes that a member did not answer.
    pub(super) fn lost(&mut self, member: PeerId) {
        self.leader = None;
        self.silent = Some((member, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::Members;
    use crate::peer::PeerKey;

    #[test]
    fn one_of_another_ledger_is_passed_over_and_named_until_it_answers_out_of_this_one() {
        let [first, second, stranger] = [1, 2, 3].map(|seed| PeerKey::from_seed(&[seed; 32]).id());
        let mut members = Members::new(vec![stranger, first, second]);
        members.leader = Some(first);
        members.keeps_other(stranger);
        assert_eq!(members.leader, Some(first), "nothing is known against it");
        members.refer_to(None);
        let asked: Vec<_> = (0..6).filter_map(|turn| members.next(turn)).collect();
        assert!(!asked.contains(&stranger) && asked.contains(&first) && asked.contains(&second));
        assert!(members.others.contains(&stranger));
        members.keeps_ours(&stranger);
        assert_eq!(members.next(0), Some(stranger));
        members.keeps_other(stranger);
        members.set_known(vec![first]);
        assert!(members.others.is_empty(), "it is no peer any more");
        members.set_known(vec![stranger]);
        members.keeps_other(stranger);
        assert_eq!(members.next(0), Some(stranger), "there is nobody else");
    }
}
