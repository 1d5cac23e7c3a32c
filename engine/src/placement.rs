//! Which drive holds which shard: weighted rendezvous hashing with a cap per failure domain; and when a write may be
//! acknowledged (DESIGN section 5).
//!
//! It knows nothing of which drives answer: a pack's drives are chosen from the whole layout, and once written in its
//! ledger entry they change only by [`replace`].
//!
//! Invariants: no drive holds two shards of a pack, no domain more than its cap; the same input gives the same drives on
//! every machine; a drive that goes away moves only its own shards.
//!
//! A drive's score for a pack is weight / -ln(u), where u in (0, 1] is a hash of both; the highest scores win, so a
//! drive wins in proportion to its weight. The logarithm is taken in fixed point, in integers only: a platform's `ln` is
//! not the same to the last bit everywhere, and scores are compared by cross-multiplication, which is exact. (The base
//! of the logarithm cancels out.)
//!
//! Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998; Schindelhauer and Schomaker,
//! "Weighted distributed hash tables", 2005 (the logarithmic method).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::pack::{Code, PackId};

#[cfg(test)]
mod tests;

/// The id of a drive.
pub type DriveId = [u8; 16];
/// The id of a failure domain: what fails together. With one process, each drive is its own.
pub type DomainId = [u8; 16];

/// Fractional bits of the fixed-point logarithm. With 6 integer bits and 64 bits of weight, products fit a `u128`.
const FRACTION_BITS: u32 = 56;

/// A drive that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriveWeight {
    /// The drive.
    pub drive: DriveId,
    /// What it fails together with.
    pub domain: DomainId,
    /// Its capacity in bytes, or any other weight. A drive of none is not chosen.
    pub capacity: u64,
}

/// Why a pack's shards cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlacementError {
    /// Too few drives, or too many of them in one domain.
    #[error(
        "{need} shards need as many drives, at most {max_per_domain} in one failure domain; {have} qualify"
    )]
    NotEnoughDrives {
        /// Drives that can be used together under the cap.
        have: usize,
        /// Shards to be placed.
        need: usize,
        /// The cap.
        max_per_domain: usize,
    },
    /// A drive is listed twice, or holds two shards already.
    #[error("a drive is listed twice")]
    DuplicateDrive,
}

/// The drives of a pack's `shards` shards, in shard order, no more than `max_per_domain` in one domain.
///
/// With a cap of m, losing any one domain leaves k shards.
pub fn place(
    pack: &PackId,
    shards: usize,
    drives: &[DriveWeight],
    max_per_domain: usize,
) -> Result<Vec<DriveId>, PlacementError> {
    fill(pack, &vec![None; shards], drives, max_per_domain)
}

/// A pack's drives after some of them went away for good: each shard on a drive that is still among `drives` stays; the
/// others get the drives that [`place`] would now choose.
///
/// A shard whose drive is in a domain over the cap stays too: moving it is for a rebalance, not for a repair.
pub fn replace(
    pack: &PackId,
    placed: &[DriveId],
    drives: &[DriveWeight],
    max_per_domain: usize,
) -> Result<Vec<DriveId>, PlacementError> {
    let known: BTreeSet<DriveId> = drives.iter().map(|drive| drive.drive).collect();
    let kept: Vec<Option<DriveId>> = placed
        .iter()
        .map(|drive| Some(*drive).filter(|drive| known.contains(drive)))
        .collect();
    fill(pack, &kept, drives, max_per_domain)
}

/// How many shards must be durable before a write is acknowledged: k + ceil(m / 2).
pub fn durable_needed(code: Code) -> usize {
    code.data() + code.parity().div_ceil(2)
}

/// Whether a write may be acknowledged when its durable shards (implied ones on present drives count) lie in these
/// domains, one for each shard: enough of them, and k of them outside any one domain.
pub fn ack_rule(code: Code, durable: &[DomainId]) -> bool {
    let mut of_domain: BTreeMap<&DomainId, usize> = BTreeMap::new();
    for domain in durable {
        *of_domain.entry(domain).or_default() += 1;
    }
    let most = of_domain.values().copied().max().unwrap_or(0);
    durable.len() >= durable_needed(code) && durable.len() - most >= code.data()
}

/// Fills the empty places with the highest-scoring drives that are free and under their domain's cap.
///
/// Drives under a cap per domain and a total are the independent sets of a matroid, so taking the best first gives the
/// best set, and a drive that goes away changes that set by one drive.
fn fill(
    pack: &PackId,
    kept: &[Option<DriveId>],
    drives: &[DriveWeight],
    max_per_domain: usize,
) -> Result<Vec<DriveId>, PlacementError> {
    let mut ranked: Vec<(u64, &DriveWeight)> = drives
        .iter()
        .map(|drive| (distance(pack, &drive.drive), drive))
        .collect();
    ranked.sort_unstable_by(|a, b| by_score(*a, *b));

    let mut taken = BTreeSet::new();
    let listed: BTreeMap<&DriveId, &DomainId> =
        drives.iter().map(|drive| (&drive.drive, &drive.domain)).collect();
    if listed.len() != drives.len() || !kept.iter().flatten().all(|drive| taken.insert(*drive)) {
        return Err(PlacementError::DuplicateDrive);
    }
    let mut of_domain: BTreeMap<&DomainId, usize> = BTreeMap::new();
    for drive in &taken {
        if let Some(domain) = listed.get(drive) {
            *of_domain.entry(domain).or_default() += 1;
        }
    }
    let mut free = ranked.into_iter().filter(|(_, drive)| {
        let in_domain = of_domain.entry(&drive.domain).or_default();
        let usable = drive.capacity > 0 && *in_domain < max_per_domain && !taken.contains(&drive.drive);
        *in_domain += usize::from(usable);
        usable
    });
    let placed: Vec<DriveId> = kept
        .iter()
        .map_while(|place| place.or_else(|| free.next().map(|(_, drive)| drive.drive)))
        .collect();
    if placed.len() < kept.len() {
        let have = kept.iter().flatten().count() + newly(kept, &placed);
        return Err(PlacementError::NotEnoughDrives {
            have,
            need: kept.len(),
            max_per_domain,
        });
    }
    Ok(placed)
}

/// How many of the placed drives fill an empty place.
fn newly(kept: &[Option<DriveId>], placed: &[DriveId]) -> usize {
    kept.iter()
        .zip(placed)
        .filter(|(place, _)| place.is_none())
        .count()
}

/// Higher score first; the drive id decides between equal ones.
fn by_score(a: (u64, &DriveWeight), b: (u64, &DriveWeight)) -> Ordering {
    let (score_a, score_b) = (
        u128::from(a.1.capacity) * u128::from(b.0),
        u128::from(b.1.capacity) * u128::from(a.0),
    );
    score_b.cmp(&score_a).then_with(|| a.1.drive.cmp(&b.1.drive))
}

/// -log2(u) in fixed point, at least 1, for the u in (0, 1] that pack and drive hash to.
fn distance(pack: &PackId, drive: &DriveId) -> u64 {
    let hash = blake3::keyed_hash(&pack.0, drive);
    let mut first = [0; 8];
    first
        .iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(to, from)| *to = *from);
    let u = u128::from(u64::from_le_bytes(first)) + 1;
    ((64u64 << FRACTION_BITS) - log2(u)).max(1)
}

/// log2(x) in fixed point, rounded down, for 1 <= x <= 2^64: the integer part is the place of the highest bit, and each
/// squaring of the rest yields one more bit.
fn log2(x: u128) -> u64 {
    let whole = 127 - x.leading_zeros().min(127);
    let mut log = u64::from(whole);
    // x / 2^whole, in [1, 2), with 63 fractional bits.
    let mut rest = if whole > 63 {
        x >> (whole - 63)
    } else {
        x << (63 - whole)
    };
    for _ in 0..FRACTION_BITS {
        rest = (rest * rest) >> 63;
        let bit = rest >> 64;
        rest >>= bit;
        log = (log << 1) | bit as u64;
    }
    log
}
