//! What a layout survives, and how likely it loses something: pure figures over how packs lie on failure domains.
//!
//! It measures nothing and knows no drive; whoever has the pack entries adds each to a [`Survey`]. Invariants: every figure comes with the
//! assumptions under which it holds; probabilities are sums of positive terms, so that small ones are not lost in rounding.
//!
//! Sources: the time until more than m of n shards are missing at one time is that of a birth-death chain (Karlin and Taylor, "A First Course in
//! Stochastic Processes", 1975, chapter 4); losses of whole domains on top of it are a compound Poisson process.

use std::collections::BTreeMap;

use crate::pack::Code;
use crate::placement::DomainId;

mod survival;
#[cfg(test)]
mod tests;

pub use survival::{DomainLoss, Survival, can_write, drives_writing};

/// Most ways to lie on domains that are told apart.
const SHAPES_MAX: usize = 65_536;
const HOURS_PER_YEAR: f64 = 8_766.0;

/// What is taken for granted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumptions {
    /// The part of all drives (0 to 1) that fails for good within a year.
    pub drive_loss_per_year: f64,
    /// How long it takes on average until a lost shard is made again, detection included, in hours.
    pub repair_hours: f64,
    /// How often a failure domain is lost for good with all that is in it, times a year.
    pub domain_loss_per_year: f64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            drive_loss_per_year: 0.02,
            repair_hours: 24.0,
            domain_loss_per_year: 0.002,
        }
    }
}

/// How likely something is lost within a year.
#[derive(Debug, Clone, PartialEq)]
pub struct Durability {
    /// That a given pack, of average placement, is lost.
    pub pack_loss: f64,
    /// That any pack is lost.
    pub any_loss: f64,
    /// Under which assumptions.
    pub assumptions: String,
}

/// What was seen of lost shards.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Shards that were lost and made again.
    pub lost: u64,
    /// Years that shards were watched, all of them together.
    pub shard_years: f64,
    /// Shards lost per shard and year.
    pub rate: f64,
    /// What that rate is below with a confidence of 95 %.
    pub rate_at_most: f64,
    /// What was counted.
    pub assumptions: String,
}

/// How packs lie: as many shards as it takes to read, as are stored, and how many are there in each domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    need: usize,
    stored: usize,
    domains: Vec<(DomainId, usize)>,
}

impl Shape {
    fn present(&self) -> usize {
        self.domains.iter().map(|(_, shards)| shards).sum()
    }

    fn missing(&self) -> usize {
        self.stored - self.present()
    }

    /// Shards that may be missing.
    fn spare(&self) -> usize {
        self.stored.saturating_sub(self.need)
    }
}

/// How all packs lie.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    shapes: BTreeMap<Shape, u64>,
    packs: u64,
    left_out: u64,
}

impl Survey {
    /// Adds a pack: its code, and of each stored shard the domain that it is in, or none if it is missing.
    pub fn add(&mut self, code: Code, holders: impl Iterator<Item = Option<DomainId>>) {
        let mut domains: BTreeMap<DomainId, usize> = BTreeMap::new();
        let mut stored = 0;
        for holder in holders {
            stored += 1;
            if let Some(domain) = holder {
                *domains.entry(domain).or_default() += 1;
            }
        }
        // Implied shards are there without any drive.
        let implied = code.shards().saturating_sub(stored);
        let shape = Shape {
            need: code.data().saturating_sub(implied),
            stored,
            domains: domains.into_iter().collect(),
        };
        self.packs += 1;
        if self.shapes.len() >= SHAPES_MAX && !self.shapes.contains_key(&shape) {
            self.left_out += 1;
            return;
        }
        *self.shapes.entry(shape).or_default() += 1;
    }

    /// Packs that were added.
    pub fn packs(&self) -> u64 {
        self.packs
    }

    /// Packs that no figure is about, because they lie in too many different ways.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Packs by how many of their shards are missing.
    pub fn by_missing(&self) -> BTreeMap<usize, u64> {
        let mut by_missing = BTreeMap::new();
        for (shape, packs) in &self.shapes {
            *by_missing.entry(shape.missing()).or_default() += packs;
        }
        by_missing
    }

    /// Packs that cannot be read as they are.
    pub fn unreadable(&self) -> u64 {
        let unreadable = self
            .shapes
            .iter()
            .filter(|(shape, _)| shape.present() < shape.need);
        unreadable.map(|(_, packs)| packs).sum()
    }

    /// How likely packs are lost within a year if drives fail one by one and independently.
    pub fn independent(&self, given: &Assumptions) -> Durability {
        let (mut of_packs, mut of_all) = (0.0, Chances::default());
        for (shape, packs) in &self.shapes {
            let chain = Chain::new(shape, given);
            let (now, later) = (chain.falls_from(shape.missing()), chain.rate());
            of_packs += *packs as f64 * Chances { now, later }.within_a_year();
            of_all.add(*packs as f64, now, later);
        }
        Durability {
            pack_loss: self.mean(of_packs),
            any_loss: of_all.within_a_year(),
            assumptions: format!(
                "drives fail independently, {} % of them a year; a lost shard is made again after {} hours on average; no failure domain is lost as a whole",
                given.drive_loss_per_year * 100.0,
                given.repair_hours
            ),
        }
    }

    /// The same, with whole domains lost now and then, for the placement that there is.
    pub fn with_domain_losses(&self, given: &Assumptions) -> Durability {
        let (mut of_packs, mut of_all) = (0.0, Chances::default());
        let shocks = given.domain_loss_per_year.max(0.0);
        // Two that fall within one repair.
        let pairs = 2.0 * shocks * shocks * given.repair_hours / HOURS_PER_YEAR;
        // Of each domain, and each pair, how many packs its loss takes with it on average.
        let mut taken: BTreeMap<(DomainId, Option<DomainId>), f64> = BTreeMap::new();
        for (shape, packs) in &self.shapes {
            let packs = *packs as f64;
            let chain = Chain::new(shape, given);
            let (now, mut later) = (chain.falls_from(shape.missing()), chain.rate());
            of_all.add(packs, now, later);
            for (at, (one, shards)) in shape.domains.iter().enumerate() {
                let falls = chain.falls_with(shape.missing() + shards);
                later += shocks * falls;
                *taken.entry((*one, None)).or_default() += packs * falls;
                for (other, more) in shape.domains.iter().skip(at + 1) {
                    let falls = chain.falls_with(shape.missing() + shards + more);
                    later += pairs * falls;
                    *taken.entry((*one, Some(*other))).or_default() += packs * falls;
                }
            }
            of_packs += packs * Chances { now, later }.within_a_year();
        }
        for ((_, other), packs) in &taken {
            let rate = if other.is_some() { pairs } else { shocks };
            of_all.later += rate * packs.min(1.0);
        }
        Durability {
            pack_loss: self.mean(of_packs),
            any_loss: of_all.within_a_year(),
            assumptions: format!(
                "as above, and each failure domain that holds shards now is lost for good with everything in it {} times a year, independently of the others; at most two at one time",
                given.domain_loss_per_year
            ),
        }
    }

    fn mean(&self, sum: f64) -> f64 {
        let packs: u64 = self.shapes.values().sum();
        if packs == 0 { 0.0 } else { sum / packs as f64 }
    }
}

/// What was seen: shards lost and made again while `shard_years` went by.
pub fn observed(lost: u64, shard_years: f64) -> Observed {
    let per_year = |count: f64| {
        if shard_years > 0.0 {
            count / shard_years
        } else {
            f64::INFINITY
        }
    };
    Observed {
        lost,
        shard_years,
        rate: if lost == 0 { 0.0 } else { per_year(lost as f64) },
        rate_at_most: per_year(poisson_at_most(lost)),
        assumptions: "shards that this process found lost and made again since it started, over the shards that it watched; the bound holds with 95 % if shards are lost independently of one another".to_owned(),
    }
}

/// The mean of a Poisson distribution of which `count` or less is drawn with a chance of 5 %.
fn poisson_at_most(count: u64) -> f64 {
    let count = count.min(1 << 20);
    let chance = |mean: f64| -> f64 {
        // The logarithm of each term, so that large means do not underflow.
        let mut term = -mean;
        let mut sum = term.exp();
        for drawn in 1..=count {
            term += mean.ln() - (drawn as f64).ln();
            sum += term.exp();
        }
        sum
    };
    let (mut low, mut high) = (count as f64, count as f64 * 2.0 + 10.0);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if chance(middle) > 0.05 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The chance that it happens at once, and how often it happens later, times a year.
#[derive(Debug, Clone, Copy, Default)]
struct Chances {
    now: f64,
    later: f64,
}

impl Chances {
    /// That it happens to any of so many.
    fn add(&mut self, packs: f64, now: f64, later: f64) {
        // 1 - (1 - now)^packs, joined with what was there.
        let of_packs = -(packs * (-now.min(1.0)).ln_1p()).exp_m1();
        self.now += of_packs * (1.0 - self.now);
        self.later += packs * later;
    }

    /// 1 - (1 - now) e^-later, as a sum of positive terms.
    fn within_a_year(self) -> f64 {
        let later = -(-self.later).exp_m1();
        self.now + (1.0 - self.now) * later
    }
}

/// How many shards of a pack are missing, as time goes by: one more when a drive fails, one less when a shard was made again.
struct Chain {
    stored: usize,
    spare: usize,
    /// Failures of one drive in a year.
    fails: f64,
    /// Shards made again in a year, of each that is missing.
    mends: f64,
}

impl Chain {
    fn new(shape: &Shape, given: &Assumptions) -> Self {
        Self {
            stored: shape.stored,
            spare: shape.spare(),
            fails: -(-given.drive_loss_per_year.clamp(0.0, 1.0 - f64::EPSILON)).ln_1p(),
            mends: HOURS_PER_YEAR / given.repair_hours.max(f64::MIN_POSITIVE),
        }
    }

    /// How much sooner one of the missing shards is made again than another one goes, when so many are missing: its logarithm.
    fn ln_ratio(&self, missing: usize) -> f64 {
        let mends = self.mends * missing as f64;
        let fails = self.fails * (self.stored - missing) as f64;
        mends.ln() - fails.ln()
    }

    /// How often a pack that has all of its shards is lost, times a year: one over the mean time to it.
    fn rate(&self) -> f64 {
        // The mean time from j missing to j + 1: 1 / f(j) + m(j) / f(j) times that from j - 1, all of it positive.
        let (mut step, mut sum) = (0.0, 0.0);
        for missing in 0..=self.spare {
            let fails = self.fails * (self.stored - missing) as f64;
            step = (1.0 + self.mends * missing as f64 * step) / fails;
            sum += step;
        }
        1.0 / sum
    }

    /// The chance that a pack with so many shards missing is lost before it has all of them again.
    fn falls_from(&self, missing: usize) -> f64 {
        if missing > self.spare {
            return 1.0;
        }
        if missing == 0 || self.fails <= 0.0 {
            return 0.0;
        }
        // The ruin of a gambler: the sums of the products of m(l) / f(l) up to where it is and up to the end.
        let mut ln_product = 0.0;
        let products = (0..=self.spare).map(|at| {
            if at > 0 {
                ln_product += self.ln_ratio(at);
            }
            ln_product
        });
        let products: Vec<f64> = products.collect();
        let most = products.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = |products: &[f64]| products.iter().map(|ln| (ln - most).exp()).sum::<f64>();
        let (fell, _) = products.split_at(missing.min(products.len()));
        sum(fell) / sum(&products)
    }

    /// The same when these go at once, at any time: others may be missing just then.
    fn falls_with(&self, gone: usize) -> f64 {
        if gone > self.spare {
            return 1.0;
        }
        let others = self.stored - gone;
        let is_missing = self.fails / (self.fails + self.mends);
        // Binomial, term by term.
        let mut chance = (others as f64 * (-is_missing).ln_1p()).exp();
        let (mut falls, mut rest) = (0.0, 0.0);
        for missing in 0..=others {
            if gone + missing <= self.spare {
                falls += chance * self.falls_from(gone + missing);
            } else {
                rest += chance;
            }
            let next = (others - missing) as f64 / (missing + 1) as f64;
            chance *= next * is_missing / (1.0 - is_missing);
        }
        falls + rest
    }
}
