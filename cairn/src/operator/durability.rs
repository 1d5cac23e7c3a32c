//! The three durability numbers, and what the layout survives, for `status`.
//!
//! Invariant: no number without what it takes for granted.

use std::collections::BTreeMap;

use engine::durability::{Assumptions, Durability, Observed, Survival};
use net::cluster::{DurabilityReport, packs_of};
use net::membership::PeerEntry;
use net::peer::PeerId;
use serde_json::{Value, json};

use crate::operator::{OperatorError, tend};
use crate::runtime::Runtime;

/// Looks where the shards are, as the drives say, and works out what that is worth.
pub(super) async fn report(runtime: &Runtime) -> Result<DurabilityReport, OperatorError> {
    let shared = runtime.ledger.shared();
    let given = Assumptions::default();
    let report = runtime.cluster.durability(&|| packs_of(&*shared), &given).await;
    report.map_err(tend::failed)
}

/// The report for programs. `members` are the ledger's, if they are known.
pub(super) fn report_json(runtime: &Runtime, report: &DurabilityReport, members: Option<&[PeerId]>) -> Value {
    let asked = runtime.cluster.peers();
    let answers = |peer: &PeerId| {
        let known = asked.iter().find(|known| known.id == *peer);
        known.is_none_or(|known| known.why_silent.is_none())
    };
    let stop_ledger = members.map(|members| stop_ledger(&runtime.peer_entries(), members, answers));
    let by_missing = report.by_missing.iter();
    json!({
        "packs": report.packs,
        "packs_by_missing_shards": by_missing
            .map(|(missing, packs)| json!({"missing": missing, "packs": packs}))
            .collect::<Vec<_>>(),
        "domains": domains(&report.survival, stop_ledger),
        "independent": chances(&report.independent),
        "with_domain_losses": chances(&report.with_domain_losses),
        "observed": seen(&report.observed),
    })
}

/// How many failure domains hold so many of the ledger's members that those which answer elsewhere are no majority.
fn stop_ledger(known: &[PeerEntry], members: &[PeerId], answers: impl Fn(&PeerId) -> bool) -> usize {
    let mut seats: BTreeMap<_, usize> = BTreeMap::new();
    for entry in known.iter().filter(|entry| members.contains(&entry.peer)) {
        *seats.entry(entry.domain_id()).or_default() += usize::from(answers(&entry.peer));
    }
    let answering: usize = seats.values().sum();
    let stops = |lost: &&usize| (answering - **lost) * 2 <= members.len();
    seats.values().filter(stops).count()
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
