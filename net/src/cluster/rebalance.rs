//! Rebalance: drives that joined take load from fuller ones, by moves toward where packs would be placed now.
//!
//! It moves nothing that stays on a drive for another reason; drives that drain or are gone are `replace`'s. Invariants: a move goes from a fuller
//! drive to an emptier one, by more than a threshold as far as is planned; no domain gets more shards of a pack than it may
//! lose; a plan is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::pack::PackId;
use engine::placement::{self, DomainId, DriveWeight};
use engine::slots::Address;
use futures::StreamExt;
use tokio::time::Instant;

use super::Cluster;
use super::holdings::{self, Holdings};
use super::layout::{Layout, Standing};
use super::moving::{MoveError, Moved, Mover, Placed, placed};
use super::place::Place;
use super::repair::Progress;
use super::replace::time_left;
use crate::entry::{DriveId, PackEntry};
use crate::ledger::Ledger;

/// Packs on their way at one time.
const AT_ONCE: usize = 8;
/// Moves of one plan.
const MOVES_MAX: usize = 65_536;

/// What a rebalance may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceOptions {
    /// Only say what would be moved.
    pub dry_run: bool,
    /// By how many thousandths of its capacity a drive must be fuller than another before something is moved to that.
    pub threshold_permille: u16,
    /// Bytes of shards that are moved at most.
    pub bytes_max: u64,
    /// Bytes a second that are read from drives and written to them, together.
    pub bytes_per_second: u64,
}

impl Default for RebalanceOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            threshold_permille: 50,
            bytes_max: u64::MAX,
            bytes_per_second: 64 << 20,
        }
    }
}

/// A shard that is to go from a fuller drive to an emptier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMove {
    /// The pack.
    pub pack: PackId,
    /// The shard's index.
    pub index: usize,
    /// Where it is.
    pub from: DriveId,
    /// Where it is to be.
    pub to: DriveId,
    /// Its bytes.
    pub bytes: u64,
    address: Address,
}

/// How full a drive is by what pack entries name on it, and how full it would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fullness {
    /// The drive.
    pub drive: DriveId,
    /// What it can hold, in bytes, about.
    pub capacity: u64,
    /// Bytes that entries name on it.
    pub before: u64,
    /// Bytes that they would name after the moves.
    pub after: u64,
}

/// What would be moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebalancePlan {
    /// The moves, pack by pack.
    pub moves: Vec<PlannedMove>,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there are more moves than one plan holds or may move.
    pub more: bool,
    /// The drives that take part.
    pub drives: Vec<Fullness>,
}

/// What a rebalance did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebalanceReport {
    /// The first plan; all that there is of a dry run.
    pub plan: RebalancePlan,
    /// Shards moved.
    pub shards_moved: u64,
    /// Their bytes.
    pub bytes_moved: u64,
    /// Packs that could not be moved now.
    pub failed: u64,
}

impl Cluster {
    /// Evens out how full drives are, or says what that would take. May be dropped at any time, and begun again.
    ///
    /// # Errors
    /// The ledger did not answer, or the lease has ended.
    pub async fn rebalance(
        &self,
        ledger: &Arc<dyn Ledger>,
        lease: u64,
        options: RebalanceOptions,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<RebalanceReport, MoveError> {
        let mover = Mover::new(&self.inner, ledger, lease, options.bytes_per_second);
        let mut report = RebalanceReport {
            plan: plan(&mover, options, options.bytes_max).await?,
            ..RebalanceReport::default()
        };
        if options.dry_run {
            return Ok(report);
        }
        let started = Instant::now();
        let (total, bytes) = (report.plan.moves.len() as u64, report.plan.bytes);
        let mut moves = report.plan.moves.clone();
        let mut show = |report: &RebalanceReport| {
            progress(Progress {
                done: report.shards_moved,
                total: total.max(report.shards_moved),
                shards_rebuilt: report.shards_moved,
                bytes_rebuilt: report.bytes_moved,
                seconds_left: time_left(started.elapsed(), report.bytes_moved, bytes),
            });
        };
        while !moves.is_empty() {
            let before = report.bytes_moved;
            carry_all(&mover, &moves, &mut report, &mut show).await?;
            let left = options.bytes_max.saturating_sub(report.bytes_moved);
            if report.bytes_moved == before || left == 0 {
                break;
            }
            moves = plan(&mover, options, left).await?.moves;
        }
        Ok(report)
    }
}

/// Makes the moves of a plan.
async fn carry_all(
    mover: &Mover,
    moves: &[PlannedMove],
    report: &mut RebalanceReport,
    show: &mut (dyn FnMut(&RebalanceReport) + Send),
) -> Result<(), MoveError> {
    let packs = moves.chunk_by(|a, b| a.pack == b.pack);
    let packs: Vec<Vec<PlannedMove>> = packs.map(<[PlannedMove]>::to_vec).collect();
    let carried = packs.into_iter().map(|moves| carry_planned(mover, moves));
    let mut carried = std::pin::pin!(futures::stream::iter(carried).buffer_unordered(AT_ONCE));
    while let Some(outcome) = carried.next().await {
        match outcome? {
            Moved::Done {
                copied,
                rebuilt,
                bytes,
            } => {
                report.shards_moved += copied + rebuilt;
                report.bytes_moved += bytes;
            }
            // Its entry changed meanwhile; the next plan tells.
            Moved::Changed => {}
            Moved::Busy | Moved::Unreadable | Moved::Failed => report.failed += 1,
        }
        show(report);
    }
    Ok(())
}

/// The drives that take part, with what is named on them as far as is planned.
struct Shelf {
    capacities: BTreeMap<DriveId, (DomainId, u64)>,
    weights: Vec<DriveWeight>,
    bytes: BTreeMap<DriveId, u64>,
}

impl Shelf {
    fn new(layout: &Layout, holdings: &Holdings) -> Self {
        let takes_part =
            |place: &&Place| place.standing() == Standing::Active && place.writable() && place.capacity() > 0;
        let places: Vec<&Place> = layout.places().iter().filter(takes_part).collect();
        let bytes_of = |place: &&Place| holdings.get(&place.id()).map_or(0, |holding| holding.bytes);
        let named = |place: &&Place| (place.id(), (place.domain(), place.capacity()));
        Self {
            capacities: places.iter().map(named).collect(),
            weights: places.iter().map(|place| place.weight()).collect(),
            bytes: places.iter().map(|place| (place.id(), bytes_of(place))).collect(),
        }
    }

    /// Thousandths of a drive's capacity; none if it takes no part.
    fn permille(&self, drive: &DriveId) -> Option<u64> {
        let (_, capacity) = self.capacities.get(drive)?;
        let bytes = self.bytes.get(drive).copied().unwrap_or(0);
        let permille = u128::from(bytes) * 1_000 / u128::from(*capacity).max(1);
        u64::try_from(permille).ok()
    }

    fn carry(&mut self, from: &DriveId, to: &DriveId, bytes: u64) {
        if let Some(held) = self.bytes.get_mut(from) {
            *held = held.saturating_sub(bytes);
        }
        if let Some(held) = self.bytes.get_mut(to) {
            *held = held.saturating_add(bytes);
        }
    }
}

/// Plans moves of at most so many bytes.
async fn plan(mover: &Mover, options: RebalanceOptions, bytes_max: u64) -> Result<RebalancePlan, MoveError> {
    let layout = mover.inner.layout();
    let mut held = Holdings::new();
    let mut stream = placed(&*mover.ledger).await?;
    while let Some(placed) = stream.next().await {
        holdings::add(&mut held, &placed?.entry);
    }
    let mut shelf = Shelf::new(&layout, &held);
    let mut plan = RebalancePlan::default();
    let mut stream = placed(&*mover.ledger).await?;
    while let Some(placed) = stream.next().await {
        let placed = placed?;
        let mut entry = placed.entry.clone();
        let bytes = u64::from(entry.summary.geometry.shard_bytes);
        while let Some((index, from, to)) = next_move(&shelf, &layout, &entry, options.threshold_permille) {
            if plan.moves.len() >= MOVES_MAX || plan.bytes.saturating_add(bytes) > bytes_max {
                plan.more = true;
                break;
            }
            shelf.carry(&from, &to, bytes);
            if let Some(drive) = entry.drives.get_mut(index) {
                *drive = to;
            }
            plan.bytes += bytes;
            plan.moves.push(PlannedMove {
                pack: entry.id(),
                index,
                from,
                to,
                bytes,
                address: placed.address,
            });
        }
        if plan.more {
            break;
        }
    }
    plan.drives = shelf
        .capacities
        .iter()
        .map(|(drive, (_, capacity))| Fullness {
            drive: *drive,
            capacity: *capacity,
            before: held.get(drive).map_or(0, |holding| holding.bytes),
            after: shelf.bytes.get(drive).copied().unwrap_or(0),
        })
        .collect();
    Ok(plan)
}

/// One move of a pack toward where it would be placed now, from its fullest drive that it would not be on.
fn next_move(
    shelf: &Shelf,
    layout: &Layout,
    entry: &PackEntry,
    threshold: u16,
) -> Option<(usize, DriveId, DriveId)> {
    let code = entry.summary.geometry.code;
    let wanted = (1..=code.parity())
        .find_map(|cap| placement::place(&entry.id(), code.shards(), &shelf.weights, cap).ok())?;
    let leaves = entry.stored().filter_map(|index| {
        let drive = entry.drive(index)?;
        let permille = shelf.permille(&drive).filter(|_| !wanted.contains(&drive))?;
        Some((permille, index, drive))
    });
    let (full, index, from) = leaves.max()?;
    let comes = wanted.iter().filter(|drive| !entry.drives.contains(drive));
    let comes = comes.filter(|drive| may_hold(layout, entry, &from, drive));
    let (empty, to) = comes
        .filter_map(|drive| Some((shelf.permille(drive)?, *drive)))
        .min()?;
    (full > empty.saturating_add(u64::from(threshold))).then_some((index, from, to))
}

/// Whether a pack may have a shard on `to` in the place of the one on `from`: the domain has no more than may be lost.
fn may_hold(layout: &Layout, entry: &PackEntry, from: &DriveId, to: &DriveId) -> bool {
    let domain_of = |drive: &DriveId| layout.place(drive).map(Place::domain);
    let Some(domain) = domain_of(to) else { return false };
    let others = entry.drives.iter().filter(|drive| *drive != from);
    let there = others.filter(|drive| domain_of(drive) == Some(domain)).count();
    there < entry.summary.geometry.code.parity()
}

/// Makes the moves of one pack, as far as its entry is still what they were planned for.
async fn carry_planned(mover: &Mover, moves: Vec<PlannedMove>) -> Result<Moved, MoveError> {
    let Some(first) = moves.first() else {
        return Ok(Moved::Changed);
    };
    let Some(placed) = mover
        .ledger
        .get(first.address)
        .await?
        .as_ref()
        .and_then(Placed::of)
    else {
        return Ok(Moved::Changed);
    };
    let drives = &placed.entry.drives;
    let holds = moves.iter().filter(|planned| {
        drives.get(planned.index) == Some(&planned.from)
            && !drives.contains(&planned.to)
            && mover.trusts(&planned.to)
    });
    let moves: Vec<_> = holds.map(|planned| (planned.index, planned.to)).collect();
    if moves.is_empty() {
        return Ok(Moved::Changed);
    }
    mover.carry(placed, &moves).await
}
