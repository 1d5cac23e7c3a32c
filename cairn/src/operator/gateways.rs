//! The gateways that serve the cluster: admitted, shown, and let go.
//!
//! Invariants: the lease of one that may still serve is not ended by mistake; the records that a lost one left in the ledger stand in this one's
//! activity log before anybody lets them go.

use engine::slots::{LeaseEntry, LeaseState};
use net::cluster::Standing;
use net::ledger::lease::{self, Changed};
use net::ledger::{FollowedLedger, Ledger as _};
use net::membership::{PeerEntry, Role};
use net::peer::PeerId;
use s3_gateway::gateways::GatewayRow;
use serde_json::{Value, json};

use crate::operator::nodes::{cluster_of, refused, set_peer, set_standing, standing_name};
use crate::operator::tend::failed;
use crate::operator::{ErrorCode, OperatorError};
use crate::runtime::Runtime;
use crate::runtime::peers::PeerNodes;

/// `node admit --gateway`.
pub(super) async fn admit(runtime: &Runtime, gateway: &str) -> Result<Value, OperatorError> {
    let (peers, ledger) = cluster_of(runtime)?;
    let id: PeerId = gateway.parse().map_err(|_| {
        refused(format!(
            "{gateway} is no gateway's id: it reads ed25519:…, as its `cairn gateway --cluster` prints"
        ))
    })?;
    if runtime.peers.as_ref().is_some_and(|peers| {
        let mut nodes = peers.nodes().iter();
        nodes.any(|node| node.place.directory.is_some())
    }) {
        return Err(refused(
            "the storage peers of this store run as children of this process, and answer nobody elsewhere: it takes no second gateway".to_owned(),
        ));
    }
    let known = peers.known();
    let before = known.iter().find(|entry| entry.peer == id);
    if before.is_some_and(|entry| entry.role == Role::Node) {
        return Err(refused(format!("{id} is a storage peer of this cluster")));
    }
    let entry = PeerEntry {
        peer: id,
        role: Role::Gateway,
        standing: Standing::Active,
        domain: String::new(),
        addresses: Vec::new(),
        drives: Vec::new(),
    };
    let is_new = before.is_none_or(|before| before.standing == Standing::Gone);
    set_peer(runtime, peers, ledger, entry).await?;
    Ok(json!({"peer_id": id.to_string(), "new": is_new}))
}

/// `node remove` of a gateway: its key is shut out, its lease ends, and what its operations left in the ledger for its activity log is taken into
/// this one's.
pub(super) async fn remove(
    runtime: &Runtime,
    (peers, ledger): (&PeerNodes, &FollowedLedger),
    entry: PeerEntry,
    lost: bool,
) -> Result<Value, OperatorError> {
    let id = entry.peer;
    let name = id.to_string();
    let leases = ledger.leases();
    let held = leases.live().iter().chain(leases.lost());
    let held: Vec<(u64, LeaseEntry)> = held
        .filter(|(_, entry)| entry.holder_name() == name)
        .map(|(number, entry)| (*number, entry.clone()))
        .collect();
    if let Some((number, _)) = held.iter().find(|(_, entry)| entry.state == LeaseState::Live)
        && !lost
    {
        return Err(refused(format!(
            "{id} holds lease {number} and may be serving: stop it first, which ends the lease; if it will not come back, say --lost"
        )));
    }
    if entry.standing != Standing::Gone {
        set_standing(runtime, peers, ledger, entry, Standing::Gone).await?;
    }
    for (number, entry) in &held {
        let lose = |entry: &LeaseEntry| {
            (entry.state == LeaseState::Live).then(|| LeaseEntry {
                state: LeaseState::Lost,
                ..entry.clone()
            })
        };
        let changed = lease::change(ledger, runtime.lease, *number, lose).await;
        if changed.map_err(failed)? == Changed::Ended {
            let message = "the lease of this gateway has ended: it was removed itself";
            return Err(OperatorError::new(ErrorCode::Failed, message));
        }
        let accepted = ledger.leases().accepted();
        runtime.cluster.end_leases(runtime.lease, &accepted).await;
        let adopted = runtime.gateways.adopt(*number, entry.records()).await;
        adopted.map_err(failed)?;
    }
    Ok(json!({
        "peer_id": name,
        "standing": standing_name(Standing::Gone),
        "leases_ended": held.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
    }))
}

/// The gateways whose leases live, for `status`.
pub(super) fn rows(runtime: &Runtime) -> Vec<Value> {
    let row = |row: &GatewayRow| {
        let peer = row.holder.split(' ').next().unwrap_or_default();
        json!({
            "peer_id": peer.parse::<PeerId>().ok().map(|peer| peer.to_string()),
            "holder": row.holder,
            "lease": row.lease,
            "this": row.is_own,
            "background_work": row.works,
            "silent": row.is_silent,
            "holds_collection_back": row.holds_back,
            "holds_records_back": row.holds_records,
        })
    };
    runtime.gateways.rows().iter().map(row).collect()
}
