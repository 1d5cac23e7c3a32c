//! The collector's plan: which packs are dead, and which are worth writing again.
//!
//! It moves and deletes nothing. `s3-gateway` carries the plan out: it moves live chunks, appends
//! ([`crate::commit::Commit::move_entries`], [`crate::commit::Commit::retire_packs`]) and orders the nodes to delete.
//! Packs that no entry names at all are not in the index; whoever lists the drives finds those.
//!
//! Invariants. Nothing is dead by elapsed time. A pack in the index is dead when no entry refers to it, nobody has it
//! pinned, the gateway that wrote it has ended or has nothing under way from before its entry, and the newest checkpoint settles every claim that it holds: a rebuild
//! must not lose an empty object or a copy because its claim went. Packs of the vault-wide scope are never moved, as
//! the next checkpoint replaces them.

use std::collections::{BTreeMap, HashSet};

use engine::pack::PackId;
use engine::slots::Sequence;
use scopes::ScopeId;

use crate::index::{Index, IndexError, PackUse};

#[cfg(test)]
mod tests;

/// What the collector may do at once, and when it is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// A pack is written again when less than so many percent of its chunk bytes are alive.
    pub live_percent_min: u8,
    /// Packs whose live bytes are less than so many percent of what a pack can hold are small.
    pub small_percent: u8,
    /// Small packs of a scope are merged when there are at least so many. At least 2.
    pub merge_packs_min: usize,
    /// The most live bytes to move in one plan.
    pub move_bytes_max: u64,
    /// The most packs of each list in one plan.
    pub packs_max: usize,
}

impl Thresholds {
    /// For the background: garbage up to about half again of what is alive, few rewrites.
    pub const BACKGROUND: Self = Self {
        live_percent_min: 60,
        small_percent: 25,
        merge_packs_min: 8,
        move_bytes_max: 256 << 20,
        packs_max: 1024,
    };

    /// For `gc`: garbage under a tenth.
    pub const THOROUGH: Self = Self {
        live_percent_min: 92,
        merge_packs_min: 2,
        ..Self::BACKGROUND
    };
}

/// What holds packs that nothing refers to yet.
#[derive(Debug, Clone, Copy)]
pub struct Holds<'a> {
    /// Packs that operations under way stand on.
    pub pinned: &'a HashSet<PackId>,
    /// The highest lease that was ever granted; packs of one above it are not touched.
    pub highest_lease: u64,
    /// The other gateways' leases that live, each with the sequence before which nothing that runs there relies on the ledger: a pack whose
    /// entry is newer may be named once more by an append that is on its way.
    pub horizons: &'a BTreeMap<u64, Sequence>,
}

impl Holds<'_> {
    /// Whether no append can name a pack of this lease and entry that does not already.
    fn is_settled(&self, lease: u64, sequence: Sequence) -> bool {
        let horizon = self.horizons.get(&lease);
        lease <= self.highest_lease && horizon.is_none_or(|horizon| sequence <= *horizon)
    }
}

/// A pack that the plan is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPack {
    /// Its scope.
    pub scope: ScopeId,
    /// The pack.
    pub id: PackId,
    /// The sequence of its entry, to expect when it is removed.
    pub sequence: Sequence,
    /// Live sealed bytes.
    pub live_bytes: u64,
    /// Bytes on its lanes.
    pub total_bytes: u64,
}

/// What to do next. Plan again after it was done, until the plan is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectPlan {
    /// To be removed from the ledger and then from the drives.
    pub dead_packs: Vec<PlannedPack>,
    /// To be written again for their garbage, most garbage first.
    pub repack: Vec<PlannedPack>,
    /// To be written together, scope by scope.
    pub merge: Vec<PlannedPack>,
    /// Packs without references that only wait for a checkpoint to settle their claims.
    pub waiting_for_checkpoint: u64,
    /// Bytes of chunks and trailers in those packs.
    pub waiting_bytes: u64,
    /// Whether there is more than fits one plan.
    pub more: bool,
}

impl CollectPlan {
    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.dead_packs.is_empty() && self.repack.is_empty() && self.merge.is_empty()
    }
}

/// Plans from the index as it is.
///
/// # Errors
/// [`IndexError`].
pub fn plan(index: &Index, holds: Holds<'_>, thresholds: Thresholds) -> Result<CollectPlan, IndexError> {
    let settled = index
        .checkpoint()?
        .map_or(Sequence(0), |checkpoint| checkpoint.value.through);
    let vault_wide = index.keyring().vault_wide();
    let mut plan = CollectPlan::default();
    let mut worst = Worst {
        packs: BTreeMap::new(),
        max: thresholds.packs_max,
        more: false,
    };
    let mut small: BTreeMap<ScopeId, Worst> = BTreeMap::new();
    index.packs(&mut |pack| {
        if holds.pinned.contains(&pack.id) || !holds.is_settled(pack.lease, pack.sequence) {
            return true;
        }
        if pack.references == 0 {
            if pack.sequence > settled {
                plan.waiting_for_checkpoint += 1;
                plan.waiting_bytes = plan.waiting_bytes.saturating_add(pack.total_bytes);
            } else if plan.dead_packs.len() < thresholds.packs_max {
                plan.dead_packs.push(planned(&pack));
            } else {
                plan.more = true;
            }
        } else if pack.scope != vault_wide {
            let chunk_bytes = pack.total_bytes.saturating_sub(pack.trailer_bytes);
            let live_bytes = pack.live_bytes.min(chunk_bytes);
            if below(live_bytes, thresholds.live_percent_min, chunk_bytes) {
                worst.offer(u64::MAX - (chunk_bytes - live_bytes), planned(&pack));
            } else if below(live_bytes, thresholds.small_percent, pack.capacity_bytes) {
                let of_scope = small.entry(pack.scope).or_insert_with(|| worst.like());
                of_scope.offer(live_bytes, planned(&pack));
            }
        }
        true
    })?;
    let mut budget = thresholds.move_bytes_max;
    plan.more |= worst.more;
    for pack in worst.packs.into_values() {
        plan.more |= !take(&mut budget, &mut plan.repack, pack);
    }
    for packs in small.into_values() {
        let together = worth_merging(
            packs.packs.into_values().collect(),
            thresholds.merge_packs_min.max(2),
        );
        let before = plan.merge.len();
        for pack in together {
            let taken = plan.merge.len() < thresholds.packs_max && take(&mut budget, &mut plan.merge, pack);
            plan.more |= !taken;
        }
        // One pack alone would only be copied.
        if plan.merge.len() == before + 1 {
            plan.merge.truncate(before);
        }
    }
    Ok(plan)
}

/// The packs with the lowest ranks, at most `max`.
struct Worst {
    packs: BTreeMap<(u64, PackId), PlannedPack>,
    max: usize,
    more: bool,
}

impl Worst {
    const fn like(&self) -> Self {
        Self {
            packs: BTreeMap::new(),
            max: self.max,
            more: false,
        }
    }

    fn offer(&mut self, rank: u64, pack: PlannedPack) {
        self.packs.insert((rank, pack.id), pack);
        if self.packs.len() > self.max {
            self.packs.pop_last();
            self.more = true;
        }
    }
}

/// The small packs, smallest first, up to where the next is larger than all before it together: so a byte is moved a
/// logarithmic number of times while a scope fills with small packs.
fn worth_merging(mut ascending: Vec<PlannedPack>, packs_min: usize) -> Vec<PlannedPack> {
    const ALWAYS_BYTES: u64 = 64 << 10;
    let mut before = 0u64;
    let fits = ascending.iter().position(|pack| {
        let too_large = pack.live_bytes > before.max(ALWAYS_BYTES);
        before = before.saturating_add(pack.live_bytes);
        too_large
    });
    ascending.truncate(fits.unwrap_or(ascending.len()));
    if ascending.len() < packs_min {
        Vec::new()
    } else {
        ascending
    }
}

/// Puts a pack on the list if its live bytes are within the budget. The first always is.
fn take(budget: &mut u64, list: &mut Vec<PlannedPack>, pack: PlannedPack) -> bool {
    let fits = pack.live_bytes <= *budget || list.is_empty();
    if fits {
        *budget = budget.saturating_sub(pack.live_bytes);
        list.push(pack);
    }
    fits
}

const fn below(part: u64, percent: u8, whole: u64) -> bool {
    (part as u128) * 100 < (whole as u128) * (percent as u128)
}

const fn planned(pack: &PackUse) -> PlannedPack {
    PlannedPack {
        scope: pack.scope,
        id: pack.id,
        sequence: pack.sequence,
        live_bytes: pack.live_bytes,
        total_bytes: pack.total_bytes,
    }
}
