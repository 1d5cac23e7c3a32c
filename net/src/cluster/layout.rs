//! The layout: the places that there are, those of peers that joined, drain or went among them; changed while everything runs.
//!
//! It decides who is a member, not where shards go. Invariants: the layout is replaced whole, and whoever took it goes on with what it
//! took; a place keeps its number for as long as it is known, and no other gets it; the place of a peer that is gone stays known,
//! as lost for good, until nothing names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use engine::placement::DomainId;

use super::place::Place;
use super::remote::{Line, Operations, RemoteDrive, RemotePeer};
use super::{Cluster, Inner, watch};
use crate::entry::DriveId;
use crate::peer::{PeerId, Transport};

/// How a peer stands in the membership.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Standing {
    /// It takes part.
    #[default]
    Active = 0,
    /// It is to go: it is read from, its shards move away, and it gets a new one only where a pack could not be stored without.
    Draining = 1,
    /// It went for good: its shards count as lost and are made anew elsewhere.
    Gone = 2,
}

impl Standing {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Active,
            1 => Self::Draining,
            _ => Self::Gone,
        }
    }
}

/// A peer whose drives are places of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer.
    pub id: PeerId,
    /// What it fails together with: its site, its rack or itself.
    pub domain: DomainId,
    /// Its drives.
    pub drives: Vec<DriveId>,
    /// How it stands.
    pub standing: Standing,
}

/// Why a layout was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A drive is named twice, or is of this machine.
    #[error("two places of the layout are the same drive")]
    Twice,
    /// The cluster was opened without a way to peers.
    #[error("this layout was opened without a way to reach peers")]
    NoWay,
}

/// How peers are reached.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) operations: Arc<Operations>,
}

/// See the module.
pub(super) struct Layout {
    /// In the order of their numbers.
    places: Vec<Place>,
    by_id: BTreeMap<DriveId, usize>,
    peers: Vec<Arc<RemotePeer>>,
}

impl Layout {
    /// A layout; none if a drive is there twice.
    pub(super) fn new(mut places: Vec<Place>, peers: Vec<Arc<RemotePeer>>) -> Option<Self> {
        places.sort_unstable_by_key(Place::number);
        let ids = places.iter().enumerate();
        let by_id: BTreeMap<_, _> = ids.map(|(at, place)| (place.id(), at)).collect();
        (by_id.len() == places.len()).then_some(Self { places, by_id, peers })
    }

    /// Every place that is known, also of what is gone.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The places that are not gone.
    pub(super) fn members(&self) -> impl Iterator<Item = &Place> {
        let places = self.places.iter();
        places.filter(|place| place.standing() != Standing::Gone)
    }

    pub(super) fn place(&self, id: &DriveId) -> Option<&Place> {
        self.places.get(*self.by_id.get(id)?)
    }

    /// Every peer that is known, also those that are gone.
    pub(super) fn peers(&self) -> &[Arc<RemotePeer>] {
        &self.peers
    }

    pub(super) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// This layout with these peers: whoever is not among them any more is gone. None if a drive is named twice.
    pub(super) fn with(&self, configs: &[PeerConfig], way: &Way) -> Option<Self> {
        let own: Vec<Place> = self
            .places
            .iter()
            .filter(|place| place.local().is_some())
            .cloned()
            .collect();
        let named = configs.iter().flat_map(|config| &config.drives);
        let mut seen: BTreeSet<DriveId> = own.iter().map(Place::id).collect();
        let mut known_peers = BTreeSet::new();
        if !named.into_iter().all(|id| seen.insert(*id))
            || !configs.iter().all(|config| known_peers.insert(config.id))
        {
            return None;
        }
        let mut next = self.places.last().map_or(0, |place| place.number() + 1);
        let (mut places, mut peers) = (own, Vec::new());
        for config in configs {
            let known = self.peers.iter().find(|peer| peer.line.peer == config.id);
            let peer = known.map_or_else(|| Arc::new(RemotePeer::new(way.line(config.id))), Arc::clone);
            let before = peer.drives();
            let mut drives = Vec::with_capacity(config.drives.len());
            for id in &config.drives {
                let drive = before
                    .iter()
                    .find(|drive| drive.id == *id)
                    .cloned()
                    .unwrap_or_else(|| {
                        // A drive that another peer had keeps its number.
                        let number = self.place(id).map_or(next, Place::number);
                        next = next.max(number + 1);
                        Arc::new(RemoteDrive::new(
                            number,
                            *id,
                            config.domain,
                            Arc::clone(&peer.line),
                        ))
                    });
                drive.settle(config.domain, config.standing);
                drives.push(drive);
            }
            // What it had and has no more is gone, unless another has it.
            drives.extend(gone(&before, &seen));
            places.extend(drives.iter().cloned().map(Place::Remote));
            peer.set_drives(drives);
            peers.push(peer);
        }
        for peer in self
            .peers
            .iter()
            .filter(|peer| !known_peers.contains(&peer.line.peer))
        {
            let drives: Vec<_> = gone(&peer.drives(), &seen).collect();
            places.extend(drives.iter().cloned().map(Place::Remote));
            peer.set_drives(drives);
            peers.push(Arc::clone(peer));
        }
        peers.retain(|peer| !peer.drives().is_empty() || known_peers.contains(&peer.line.peer));
        Self::new(places, peers)
    }

    /// This layout without the places that are gone and not among these.
    fn without_gone(&self, named: &BTreeSet<DriveId>) -> Option<Self> {
        let stays = |id: &DriveId, standing| standing != Standing::Gone || named.contains(id);
        let places = self
            .places
            .iter()
            .filter(|place| stays(&place.id(), place.standing()));
        for peer in &self.peers {
            let drives = peer.drives();
            let left = drives.iter().filter(|drive| stays(&drive.id, drive.membership()));
            let left: Vec<_> = left.cloned().collect();
            if left.len() < drives.len() {
                peer.set_drives(left);
            }
        }
        let peers = self.peers.iter().filter(|peer| !peer.drives().is_empty());
        Self::new(places.cloned().collect(), peers.cloned().collect())
    }
}

/// Those of a peer's drives that nobody names any more, which are gone from now on.
fn gone<'a>(
    before: &'a [Arc<RemoteDrive>],
    named: &'a BTreeSet<DriveId>,
) -> impl Iterator<Item = Arc<RemoteDrive>> + 'a {
    before
        .iter()
        .filter(|drive| !named.contains(&drive.id))
        .map(|drive| {
            drive.settle(drive.domain(), Standing::Gone);
            Arc::clone(drive)
        })
}

impl Way {
    fn line(&self, peer: PeerId) -> Arc<Line> {
        Arc::new(Line {
            peer,
            transport: Arc::clone(&self.transport),
            operations: Arc::clone(&self.operations),
        })
    }
}

impl Inner {
    /// The layout of now.
    pub(super) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_layout(&self, layout: Layout) {
        *self.layout.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(layout);
    }

    /// Forgets the places that are gone and of which no pack entry names one.
    pub(super) async fn forget_gone(&self, named: &BTreeSet<DriveId>) {
        let _alone = self.changing.lock().await;
        let layout = self.layout();
        let mut places = layout.places().iter();
        if places.any(|place| place.standing() == Standing::Gone && !named.contains(&place.id()))
            && let Some(layout) = layout.without_gone(named)
        {
            self.set_layout(layout);
        }
    }
}

impl Cluster {
    /// Makes these the peers of the layout, and asks them how their drives are. A peer or a drive that is not named any more is gone;
    /// one that is named again is a member again.
    ///
    /// # Errors
    /// [`LayoutError`]; the layout is then as it was.
    pub async fn set_peers(&self, peers: &[PeerConfig]) -> Result<(), LayoutError> {
        let inner = &self.inner;
        let alone = inner.changing.lock().await;
        let way = inner.way.as_ref().ok_or(LayoutError::NoWay)?;
        let layout = inner.layout().with(peers, way).ok_or(LayoutError::Twice)?;
        inner.set_layout(layout);
        inner.layout_changes.fetch_add(1, Ordering::AcqRel);
        drop(alone);
        // What is gone is missing from now on, and what is back may be there.
        inner.own.changes.lost_shards();
        inner.own.changes.came_back();
        watch::poll_peers(inner, true).await;
        Ok(())
    }
}
