//! The three durability numbers, and what the layout survives, for `status`.
//!
//! Invariant: no number without what it takes for granted.

use std::collections::BTreeMap;

use engine::durability::{Assumptions, Durability, Observed, Survival};
use net::cluster::packs_of;
use net::membership::PeerEntry;
use net::peer::PeerId;
use serde_json::{Value, json};

use crate::operator::{OperatorError, tend};
use crate::runtime::Runtime;

/// Looks where the shards are, as the drives say. `members` are the ledger's, if they are known.
pub(super) async fn durability(
    runtime: &Runtime,
    members: Option<&[PeerId]>,
) -> Result<Value, OperatorError> {
    let shared = runtime.ledger.shared();
    let given = Assumptions::default();
    let report = runtime.cluster.durability(&|| packs_of(&*shared), &given).await;
    let report = report.map_err(tend::failed)?;
    let by_missing = report.by_missing.iter();
    Ok(json!({
        "packs": report.packs,
        "packs_by_missing_shards": by_missing
            .map(|(missing, packs)| json!({"missing": missing, "packs": packs}))
            .collect::<Vec<_>>(),
        "domains": domains(&report.survival, stop_ledger(&runtime.peer_entries(), members)),
        "independent": chances(&report.independent),
        "with_domain_losses": chances(&report.with_domain_losses),
        "observed": seen(&report.observed),
    }))
}

/// How many failure domains hold so many of the ledger's members that the others are no majority.
fn stop_ledger(known: &[PeerEntry], members: Option<&[PeerId]>) -> Option<usize> {
    let members = members?;
    let mut seats: BTreeMap<_, usize> = BTreeMap::new();
    for entry in known.iter().filter(|entry| members.contains(&entry.peer)) {
        *seats.entry(entry.domain_id()).or_default() += 1;
    }
    let stops = |lost: &&usize| (members.len() - **lost) * 2 <= members.len();
    Some(seats.values().filter(stops).count())
}

/// What the loss of any one failure domain does.
fn domains(survival: &Survival, stop_ledger: Option<usize>) -> Value {
    let domains = &survival.domains;
    let stop_reads = domains.iter().filter(|lost| lost.packs_unreadable > 0).count();
    json!({
        "count": domains.len(),
        "whose_loss_stops_reads": stop_reads,
        "whose_loss_stops_writes": domains.iter().filter(|lost| !lost.writes).count(),
        "whose_loss_stops_the_ledger": stop_ledger,
    })
}

fn chances(durability: &Durability) -> Value {
    json!({
        "pack_loss_per_year": durability.pack_loss,
        "any_loss_per_year": durability.any_loss,
        "assumptions": durability.assumptions,
    })
}

fn seen(observed: &Observed) -> Value {
    // Without a bound before anything was watched.
    let bound = observed.rate_at_most.is_finite().then_some(observed.rate_at_most);
    json!({
        "shards_lost": observed.lost,
        "shard_years": observed.shard_years,
        "shard_losses_per_year": observed.rate,
        "shard_losses_per_year_at_most": bound,
        "assumptions": observed.assumptions,
    })
}
