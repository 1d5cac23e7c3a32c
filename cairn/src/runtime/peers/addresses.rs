//! Where peers answer, as far as this process was told: the address book of its one QUIC port.
//!
//! Invariant: nobody is dialled whom neither the layout, the ledger nor the operator named.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use net::membership::PeerEntry;
use net::peer::PeerId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Addresses(RwLock<HashMap<PeerId, SocketAddr>>);

impl Addresses {
    pub(super) fn of(&self, peer: &PeerId) -> Option<SocketAddr> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(peer).copied()
    }

    pub(super) fn add(&self, peer: PeerId, address: SocketAddr) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(peer, address);
    }

    /// Takes over what the ledger says. Whoever is not in it keeps the address that it had.
    pub(super) fn take_over(&self, entries: &[PeerEntry]) {
        for entry in entries {
            if let Some(address) = entry.addresses.first() {
                self.add(entry.peer, *address);
            }
        }
    }

    /// The address to call all of them from: this machine's alone if they are all on it.
    pub(super) fn reached_from(&self) -> IpAddr {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_v4 = known.values().all(SocketAddr::is_ipv4);
        match (is_v4, known.values().all(|address| address.ip().is_loopback())) {
            (true, true) => Ipv4Addr::LOCALHOST.into(),
            (true, false) => Ipv4Addr::UNSPECIFIED.into(),
            (false, _) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}
