//! Who the peers are, as the ledger says: told to the cluster client, the address book and the layout file whenever that changes; and the
//! ledger has the members that `seats` chooses among them.
//!
//! It changes no peer's standing; whoever does is the operator. Invariants: the ledger's word is taken over whole; a place keeps its turn
//! for as long as its peer is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use engine::pack::Code;
use net::Cluster;
use net::cluster::Standing;
use net::ledger::FollowedLedger;
use net::ledger::wire::{LedgerCall, LedgerReply};
use net::membership::{PeerEntry, Role};
use net::peer::PeerId;
use s3_gateway::gateways::Gateways;

use super::seats::choose_members;
use super::{PeerNodes, described, settle};
use crate::data_dir::DataDir;
use crate::layout::{KnownPeer, Layout, LayoutError, PeerPlace};

/// How often it is looked whether the ledger says something new.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether other members would be better: one that did not answer then may answer now.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Follows the ledger's word until it is dropped.
pub(in crate::runtime) async fn follow(
    peers: Arc<PeerNodes>,
    ledger: FollowedLedger,
    cluster: Arc<Cluster>,
    data: Arc<DataDir>,
    gateways: Arc<Gateways>,
) {
    let mut settled = None;
    let mut without_copy = BTreeSet::new();
    // Where they are was asked of the ledger at the start already, and not yet written down.
    if let Err(error) = remember(&data, &peers.known()) {
        tracing::warn!(%error, "where the storage peers are could not be remembered");
    }
    loop {
        take_over(&peers, &ledger, &cluster, &data).await;
        settle::introduce_again(&peers).await;
        // One that lost everything knows nobody from whom it could take it again.
        let empty: BTreeSet<PeerId> = ledger.without_copy().into_iter().collect();
        let fresh: BTreeSet<PeerId> = empty.difference(&without_copy).copied().collect();
        if !fresh.is_empty() {
            settle::introduce_to(&peers, fresh).await;
        }
        without_copy = empty;
        let active = active(&peers.known());
        let is_settled = |(of, at): &(Vec<PeerId>, Instant)| *of == active && at.elapsed() < LOOK_AGAIN;
        // One of several gateways chooses.
        if gateways.does_background_work()
            && !settled.as_ref().is_some_and(is_settled)
            && settle_members(&peers, &ledger).await
        {
            settled = Some((active, Instant::now()));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Takes over what the copy of the ledger says of the peers, if it is something new.
pub(crate) async fn take_over(peers: &PeerNodes, ledger: &FollowedLedger, cluster: &Cluster, data: &DataDir) {
    let _once = peers.taking.lock().await;
    let mut said = match ledger.known_peers().await {
        Ok(said) => said,
        Err(error) => {
            tracing::warn!(%error, "who the storage peers are cannot be read; what was known of them stays");
            return;
        }
    };
    // Only an entry that says so makes anybody gone.
    let known = peers.known();
    let left_out = |entry: &&PeerEntry| !said.iter().any(|other| other.peer == entry.peer);
    let left_out: Vec<PeerEntry> = known.iter().filter(left_out).cloned().collect();
    said.extend(left_out);
    let said = peers.in_order(said);
    if said == known {
        return;
    }
    let configs: Vec<_> = said.iter().filter_map(PeerEntry::config).collect();
    if let Err(error) = cluster.set_peers(&configs).await {
        tracing::error!(%error, "who the storage peers are is not taken over");
        return;
    }
    peers.adopt(said.clone());
    // One that was taken in knows nobody yet whom it could ask.
    settle::introduce(peers).await;
    ledger.set_members(present(&said).map(|entry| entry.peer).collect());
    // Without it the next start calls them where they were.
    if let Err(error) = remember(data, &said) {
        tracing::warn!(%error, "where the storage peers are could not be remembered");
    }
}

impl PeerNodes {
    /// Notes what the ledger says.
    pub(super) fn adopt(&self, said: Vec<PeerEntry>) {
        self.addresses.take_over(&said);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Entries in the order of their places: those that were known first, and the new ones behind.
    pub(super) fn in_order(&self, mut said: Vec<PeerEntry>) -> Vec<PeerEntry> {
        let order: BTreeMap<PeerId, usize> = (self.known().iter().map(|entry| entry.peer).enumerate())
            .map(|(at, peer)| (peer, at))
            .collect();
        said.sort_by_key(|entry| (order.get(&entry.peer).copied().unwrap_or(usize::MAX), entry.peer));
        said
    }
}

/// Has the ledger the members that it is to have. Whether it has.
pub(super) async fn settle_members(peers: &PeerNodes, ledger: &FollowedLedger) -> bool {
    let Ok(LedgerReply::Members { voters, .. }) = ledger.ask(&LedgerCall::Members { as_known: false }).await
    else {
        return false;
    };
    // All are asked which ledger they keep, too: one with another cannot be taken in before it was reset.
    let (mut answering, _) = tokio::join!(described::answering(peers), ledger.members_as_known());
    for other in ledger.of_another() {
        answering.remove(&other);
    }
    let wanted = choose_members(&peers.known(), &voters, &answering, peers.members_max);
    if voters.len() == wanted.len() && wanted.iter().all(|member| voters.contains(member)) {
        return true;
    }
    // More than half of them have to agree to be the members.
    let there = wanted.iter().filter(|member| answering.contains(member)).count();
    !voters.is_empty() && there * 2 > wanted.len() && settle::set_members(ledger, wanted).await
}

/// Whether packs of `code` can lie on the drives of those that take part, without `without`: as many drives as shards, and no domain with
/// more of them than may be lost.
pub(crate) fn holds_packs(known: &[PeerEntry], code: Code, without: Option<&PeerId>) -> bool {
    let mut domains: BTreeMap<_, usize> = BTreeMap::new();
    let stays = |entry: &&PeerEntry| entry.standing == Standing::Active && Some(&entry.peer) != without;
    for entry in nodes(known).filter(stays) {
        *domains.entry(entry.domain_id()).or_default() += entry.drives.len();
    }
    let places = domains.values().map(|drives| (*drives).min(code.parity()));
    places.sum::<usize>() >= code.shards()
}

/// The storage peers among them.
pub(crate) fn nodes(known: &[PeerEntry]) -> impl Iterator<Item = &PeerEntry> {
    known.iter().filter(|entry| entry.role == Role::Node)
}

/// Those of them that were not removed.
pub(super) fn present(known: &[PeerEntry]) -> impl Iterator<Item = &PeerEntry> {
    nodes(known).filter(|entry| entry.standing != Standing::Gone)
}

fn active(known: &[PeerEntry]) -> Vec<PeerId> {
    let active = nodes(known).filter(|entry| entry.standing == Standing::Active);
    active.map(|entry| entry.peer).collect()
}

/// Writes into the layout file where they are; those that are gone and ran elsewhere are forgotten there.
fn remember(data: &DataDir, said: &[PeerEntry]) -> Result<(), LayoutError> {
    let Some(layout) = Layout::read(data)? else {
        return Ok(());
    };
    let mut peers = layout.peers.clone();
    for entry in nodes(said) {
        let Some(address) = entry.addresses.first().copied() else {
            continue;
        };
        let now = KnownPeer {
            id: entry.peer,
            address,
            domain: entry.domain.clone(),
            drives: entry.drives.clone(),
        };
        let is_it = |place: &&mut PeerPlace| place.known.as_ref().is_some_and(|known| known.id == entry.peer);
        match peers.iter_mut().find(is_it) {
            Some(place) => place.known = Some(now),
            None => peers.push(PeerPlace {
                directory: None,
                known: Some(now),
            }),
        }
    }
    let is_gone = |place: &PeerPlace| {
        let id = place.known.as_ref().map(|known| known.id);
        let entry = nodes(said).find(|entry| Some(entry.peer) == id);
        place.directory.is_none() && entry.is_some_and(|entry| entry.standing == Standing::Gone)
    };
    peers.retain(|place| !is_gone(place));
    if peers == layout.peers {
        return Ok(());
    }
    Layout { peers, ..layout }.write(data)
}

#[cfg(test)]
pub(super) mod tests {
    use net::peer::PeerKey;

    use super::*;

    pub(in super::super) fn entry(seed: u8, domain: &str) -> PeerEntry {
        PeerEntry {
            peer: PeerKey::from_seed(&[seed; 32]).id(),
            role: Role::Node,
            standing: Standing::Active,
            domain: domain.to_owned(),
            addresses: vec![([127, 0, 0, seed], 1).into()],
            drives: vec![[seed; 16]],
        }
    }

    /// Two peers on each of three sites.
    pub(in super::super) fn sites() -> Vec<PeerEntry> {
        ["a", "a", "b", "b", "c", "c"]
            .iter()
            .zip(1..)
            .map(|(domain, seed)| entry(seed, domain))
            .collect()
    }

    #[test]
    fn packs_need_as_many_drives_as_shards_and_enough_domains() {
        let known = sites();
        let code = Code::DEFAULT;
        assert!(holds_packs(&known, code, None));
        assert!(!holds_packs(&known, code, Some(&known[0].peer)));
        let two_sites: Vec<PeerEntry> = (1..=8)
            .map(|seed| entry(seed, if seed < 5 { "a" } else { "b" }))
            .collect();
        assert!(
            !holds_packs(&two_sites, code, None),
            "losing a site would lose packs"
        );
        let alone: Vec<PeerEntry> = (1..=7).map(|seed| entry(seed, "")).collect();
        assert!(holds_packs(&alone, code, Some(&alone[0].peer)));
    }
}
