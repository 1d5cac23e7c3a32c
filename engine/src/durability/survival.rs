//! What may be lost such that everything can still be read, and new packs be written.
//!
//! Invariant: what is said to be survived is survived in the worst case; what is not may be by luck.

use std::collections::BTreeMap;

use super::Survey;
use crate::pack::Code;
use crate::placement::{DomainId, durable_needed};

/// What happens when a failure domain is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainLoss {
    /// The domain.
    pub domain: DomainId,
    /// Packs that could not be read then.
    pub packs_unreadable: u64,
    /// Whether new packs could be written.
    pub writes: bool,
}

/// What a layout survives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survival {
    /// Any so many drives may be lost, and everything can be read; none if something cannot be read now.
    pub drives_reading: Option<usize>,
    /// Any so many drives may be lost, and new packs can be written; none if they cannot be now.
    pub drives_writing: Option<usize>,
    /// What the loss of each domain does.
    pub domains: Vec<DomainLoss>,
}

impl Survey {
    /// What these packs, and a layout of these drives, survive: of each drive that may get shards its domain and whether it is there. `code`
    /// is that of new packs.
    pub fn survival(&self, code: Code, drives: &[(DomainId, bool)]) -> Survival {
        let spare = self
            .shapes
            .keys()
            .map(|shape| shape.present().checked_sub(shape.need));
        // No pack, no limit but the number of drives.
        let drives_reading = spare.min().unwrap_or(Some(drives.len()));
        let mut domains: BTreeMap<DomainId, usize> = BTreeMap::new();
        for (domain, present) in drives {
            *domains.entry(*domain).or_default() += usize::from(*present);
        }
        for shape in self.shapes.keys() {
            for (domain, _) in &shape.domains {
                domains.entry(*domain).or_default();
            }
        }
        let of_domain = |domain: &DomainId| {
            let left = drives.iter().map(|(of, present)| (*of, *present && of != domain));
            DomainLoss {
                domain: *domain,
                packs_unreadable: self.unreadable_without(domain),
                writes: can_write(code, &left.collect::<Vec<_>>()),
            }
        };
        Survival {
            drives_reading,
            drives_writing: drives_writing(code, drives),
            domains: domains.keys().map(of_domain).collect(),
        }
    }

    fn unreadable_without(&self, domain: &DomainId) -> u64 {
        let unreadable = self.shapes.iter().filter(|(shape, _)| {
            let there = shape.domains.iter().filter(|(of, _)| of != domain);
            there.map(|(_, shards)| shards).sum::<usize>() < shape.need
        });
        unreadable.map(|(_, packs)| packs).sum()
    }
}

/// Whether a pack can be placed on these drives, and be acknowledged by those that are there.
pub fn can_write(code: Code, drives: &[(DomainId, bool)]) -> bool {
    let mut of_domain: BTreeMap<DomainId, (usize, usize)> = BTreeMap::new();
    for (domain, present) in drives {
        let (all, there) = of_domain.entry(*domain).or_default();
        *all += 1;
        *there += usize::from(*present);
    }
    let domains: Vec<(usize, usize)> = of_domain.into_values().collect();
    (1..=code.parity()).any(|cap| {
        let all: usize = domains.iter().map(|(all, _)| *all.min(&cap)).sum();
        let there: usize = domains.iter().map(|(_, there)| *there.min(&cap)).sum();
        let most = domains
            .iter()
            .map(|(_, there)| *there.min(&cap))
            .max()
            .unwrap_or(0);
        let durable = there.min(code.shards());
        all >= code.shards() && durable >= durable_needed(code) && durable.saturating_sub(most) >= code.data()
    })
}

/// How many of these drives may be lost at worst, each with its domain and whether it is there, such that packs can be written; `None` if they cannot be now.
pub fn drives_writing(code: Code, drives: &[(DomainId, bool)]) -> Option<usize> {
    if !can_write(code, drives) {
        return None;
    }
    let mut all_of: BTreeMap<DomainId, usize> = BTreeMap::new();
    let mut present_of: BTreeMap<DomainId, usize> = BTreeMap::new();
    for (domain, present) in drives {
        *all_of.entry(*domain).or_default() += 1;
        *present_of.entry(*domain).or_default() += usize::from(*present);
    }
    // Under each cap the worst losses are in the domains that hold fewest: each lost one there is one less.
    let mut present: Vec<usize> = present_of.into_values().collect();
    present.sort_unstable();
    let survives = |lost: usize| {
        (1..=code.parity()).any(|cap| {
            let placed: usize = all_of.values().map(|all| *all.min(&cap)).sum();
            let mut left = lost;
            let there: Vec<usize> = present
                .iter()
                .map(|there| {
                    let gone = (*there).min(left);
                    left -= gone;
                    there - gone
                })
                .collect();
            let durable: usize = there.iter().map(|there| *there.min(&cap)).sum();
            let durable = durable.min(code.shards());
            // At worst the fullest domain is one of those that are left.
            let most = present.last().copied().unwrap_or(0).min(cap);
            placed >= code.shards()
                && durable >= durable_needed(code)
                && durable.saturating_sub(most) >= code.data()
        })
    };
    (0..=drives.len()).take_while(|lost| survives(*lost)).last()
}
