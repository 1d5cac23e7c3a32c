//! Which peers take part in the ledger.
//!
//! It asks and changes nobody: who is there and who answers is told to it. Invariants: an odd number of members; one that takes part and is only
//! silent stays; whoever is taken in answers.

use std::collections::BTreeSet;

use net::cluster::Standing;
use net::membership::PeerEntry;
use net::peer::PeerId;

use super::membership::nodes;

/// The members that a ledger with these voters is to have, an odd number of at most `max`: voters stay as long as they take part and their domain has
/// not too many, those that do not answer go first when there are too many, and whoever is taken in answers and comes from the domain that has the
/// fewest.
pub(super) fn choose_members(
    known: &[PeerEntry],
    voters: &[PeerId],
    answering: &BTreeSet<PeerId>,
    max: usize,
) -> Vec<PeerId> {
    let takes_part = |entry: &&PeerEntry| entry.standing == Standing::Active;
    let active: Vec<&PeerEntry> = nodes(known).filter(takes_part).collect();
    let size = active.len().min(max);
    let size = size - usize::from(size > 0 && size.is_multiple_of(2));
    let (mut chosen, mut others): (Vec<&PeerEntry>, Vec<&PeerEntry>) =
        active.into_iter().partition(|entry| voters.contains(&entry.peer));
    chosen.sort_by_key(|entry| !answering.contains(&entry.peer));
    chosen.truncate(size);
    others.retain(|entry| answering.contains(&entry.peer));
    while chosen.len() < size {
        let next = (0..others.len()).min_by_key(|at| others.get(*at).map(|entry| seats(entry, &chosen)));
        let Some(next) = next else { break };
        chosen.push(others.remove(next));
    }
    spread(&mut chosen, &mut others);
    chosen.into_iter().map(|entry| entry.peer).collect()
}

/// Gives seats of a domain that has too many to answering peers of domains that have fewer by two or more, so that no domain's loss takes more
/// members with it than it must. One that does not answer goes first.
fn spread<'a>(chosen: &mut [&'a PeerEntry], others: &mut Vec<&'a PeerEntry>) {
    loop {
        // Among equals the last: those that answer stand first.
        let most = (0..chosen.len()).max_by_key(|at| chosen.get(*at).map(|entry| seats(entry, chosen)));
        let fewest = (0..others.len()).min_by_key(|at| others.get(*at).map(|entry| seats(entry, chosen)));
        let (Some(most), Some(fewest)) = (most, fewest) else {
            return;
        };
        let (Some(goes), Some(comes)) = (chosen.get(most), others.get(fewest)) else {
            return;
        };
        if seats(goes, chosen) < seats(comes, chosen) + 2 {
            return;
        }
        if let Some(seat) = chosen.get_mut(most) {
            *seat = others.remove(fewest);
        }
    }
}

/// How many of the chosen are in the domain of `entry`.
fn seats(entry: &PeerEntry, chosen: &[&PeerEntry]) -> usize {
    let domain = entry.domain_id();
    chosen.iter().filter(|other| other.domain_id() == domain).count()
}

#[cfg(test)]
mod tests {
    use super::super::membership::tests::sites;
    use super::*;

    fn numbers(known: &[PeerEntry], members: &[PeerId]) -> Vec<usize> {
        let number = |member: &PeerId| known.iter().position(|entry| entry.peer == *member).unwrap();
        members.iter().map(number).collect()
    }

    fn all(known: &[PeerEntry]) -> BTreeSet<PeerId> {
        known.iter().map(|entry| entry.peer).collect()
    }

    #[test]
    fn three_members_of_three_sites_are_one_of_each() {
        let known = sites();
        assert_eq!(
            numbers(&known, &choose_members(&known, &[], &all(&known), 3)),
            [0, 2, 4]
        );
        assert_eq!(choose_members(&known, &[], &all(&known), 5).len(), 5);
        assert_eq!(
            choose_members(&known[..4], &[], &all(&known), 5).len(),
            3,
            "an even number is one too many"
        );
        assert_eq!(choose_members(&[], &[], &BTreeSet::new(), 5), []);
    }

    #[test]
    fn members_stay_while_they_take_part_and_one_that_does_not_is_replaced_at_its_site() {
        let mut known = sites();
        let voters = [known[1].peer, known[3].peer, known[5].peer];
        assert_eq!(
            numbers(&known, &choose_members(&known, &voters, &all(&known), 3)),
            [1, 3, 5]
        );
        known[3].standing = Standing::Draining;
        assert_eq!(
            numbers(&known, &choose_members(&known, &voters, &all(&known), 3)),
            [1, 5, 2]
        );
    }

    #[test]
    fn nobody_who_does_not_answer_is_taken_in_and_such_voters_are_the_first_to_go() {
        let known = sites();
        let mut answering = all(&known);
        answering.remove(&known[4].peer);
        let chosen = choose_members(&known, &[], &answering, 3);
        assert_eq!(numbers(&known, &chosen), [0, 2, 5]);
        let voters: Vec<PeerId> = known[..5].iter().map(|entry| entry.peer).collect();
        answering.remove(&known[0].peer);
        let fewer = choose_members(&known, &voters, &answering, 3);
        assert_eq!(numbers(&known, &fewer), [1, 2, 5]);
        let as_many = choose_members(&known, &voters, &answering, 5);
        assert_eq!(as_many.len(), 5, "one that is only silent stays");
    }

    #[test]
    fn a_seat_moves_to_a_domain_that_has_none_when_another_has_two() {
        let known = sites();
        // The member at c was removed before anybody else was there, and its seat went to a.
        let voters = [known[0].peer, known[1].peer, known[2].peer];
        let mut answering = all(&known);
        let chosen = choose_members(&known, &voters, &answering, 3);
        assert_eq!(numbers(&known, &chosen), [0, 4, 2]);
        answering.remove(&known[0].peer);
        let chosen = choose_members(&known, &voters, &answering, 3);
        assert_eq!(
            numbers(&known, &chosen),
            [1, 2, 4],
            "the one that is silent gives way"
        );
        answering.remove(&known[4].peer);
        answering.remove(&known[5].peer);
        let chosen = choose_members(&known, &voters, &answering, 3);
        assert_eq!(
            numbers(&known, &chosen),
            [1, 2, 0],
            "nobody at c answers: it stays as it is"
        );
    }
}
