//! The three durability numbers, and what the layout survives, for `status`.
//!
//! Invariant: no number without what it takes for granted.

use engine::durability::{Assumptions, Durability, Observed, Survival};
use net::cluster::packs_of;
use serde_json::{Value, json};

use crate::operator::{OperatorError, tend};
use crate::runtime::Runtime;

/// Looks where the shards are, as the drives say.
pub(super) async fn durability(runtime: &Runtime) -> Result<Value, OperatorError> {
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
        "domains": domains(&report.survival),
        "independent": chances(&report.independent),
        "with_domain_losses": chances(&report.with_domain_losses),
        "observed": seen(&report.observed),
    }))
}

/// What the loss of any one failure domain does.
fn domains(survival: &Survival) -> Value {
    let domains = &survival.domains;
    let stop_reads = domains.iter().filter(|lost| lost.packs_unreadable > 0).count();
    json!({
        "count": domains.len(),
        "whose_loss_stops_reads": stop_reads,
        "whose_loss_stops_writes": domains.iter().filter(|lost| !lost.writes).count(),
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
