//! Rebuilding a vault's entries from the newest checkpoint and the claims found on the drives.
//!
//! Pure: it reads no drive. The caller opens trailers, feeds claims, streams the checkpoint through and gets the
//! entries to seal and append.
//!
//! Invariant: every acknowledged write since the checkpoint is in some claim and comes out, unless a later claim for
//! the same slot does. Deletions leave no claim, so what comes out may have been deleted since, and is reported.

use std::collections::HashMap;

use engine::pack::PackId;
use engine::slots::{Address, EntryKind, Sequence};
use scopes::ScopeId;
use zeroize::Zeroizing;

use crate::checkpoint::{CheckpointEntry, CheckpointPointer};
use crate::claim::{Claim, ClaimValue};
use crate::keys::{FIRST_EPOCH, Keyring};
use crate::object::Object;

#[cfg(test)]
mod tests;
mod versions;

use versions::Versions;

/// A claim and the pack that it was found in, "this pack" resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundClaim {
    /// The pack.
    pub pack: PackId,
    /// The pack's scope.
    pub scope: ScopeId,
    /// The claim.
    pub claim: Claim,
}

/// Where a rebuilt entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The checkpoint.
    Checkpoint,
    /// A claim: written after the checkpoint, and possibly deleted since.
    Claim {
        /// The pack whose trailer holds it.
        pack: PackId,
        /// The writer's clock, in ms since 1970.
        clock_ms: u64,
    },
}

/// An entry of the new ledger, in the clear: the caller seals the value under the epoch, if its kind is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltEntry {
    /// Where it stands.
    pub address: Address,
    /// The epoch to seal it under.
    pub epoch: u64,
    /// The plaintext value.
    pub value: Zeroizing<Vec<u8>>,
    /// Where it comes from.
    pub source: Source,
}

/// What a rebuild did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Entries out of the checkpoint.
    pub from_checkpoint: u64,
    /// Entries out of claims; each of them may have been deleted since it was written.
    pub from_claims: u64,
    /// Claims that the checkpoint had settled.
    pub settled: u64,
    /// Slots with claims of more than one operation, where the later was taken. One that was refused by the ledger and
    /// never acknowledged cannot be told from one that was applied.
    pub contested: u64,
}

/// The newest of the checkpoints that the claims name, if any: highest `through`, then latest.
pub fn newest_checkpoint(claims: impl IntoIterator<Item = FoundClaim>) -> Option<CheckpointPointer> {
    let pointers = claims.into_iter().filter_map(|found| match found.claim.value {
        ClaimValue::Checkpoint(pointer) => Some(pointer),
        _ => None,
    });
    pointers.max_by_key(|pointer| (pointer.through, pointer.written_ms))
}

/// The claims since a checkpoint, the latest for each entry. It holds what was written since, never the whole vault
/// if there is a checkpoint.
#[derive(Debug)]
pub struct ClaimSet {
    through: Sequence,
    latest: HashMap<Address, FoundClaim>,
    versions: Versions,
    report: RebuildReport,
}

impl ClaimSet {
    /// Claims of a vault since the checkpoint that goes `through` this; 0 when there is none.
    pub fn since(through: Sequence, keyring: &Keyring) -> Self {
        Self {
            through,
            latest: HashMap::new(),
            versions: Versions::new(keyring.clone()),
            report: RebuildReport::default(),
        }
    }

    /// Weighs one claim. The order in which claims come does not matter.
    pub fn add(&mut self, found: FoundClaim) {
        let Ok(kind) = EntryKind::try_from(found.claim.value.kind()) else {
            return;
        };
        if found.claim.after < self.through {
            self.report.settled += 1;
            return;
        }
        if kind.is_object() {
            self.report.contested += u64::from(self.versions.add(found));
            return;
        }
        let address = Address {
            scope: found.scope.0,
            kind,
            slot: found.claim.slot,
        };
        match self.latest.entry(address) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(found);
            }
            std::collections::hash_map::Entry::Occupied(mut held) => {
                if held.get().claim.operation != found.claim.operation {
                    self.report.contested += 1;
                }
                if order(&found) > order(held.get()) {
                    held.insert(found);
                }
            }
        }
    }

    /// Streams the checkpoint's entries through and hands out the merged entries: those of the checkpoint that no
    /// later claim replaces, then the claims.
    ///
    /// # Errors
    /// The first error of `checkpoint` or of `emit`.
    pub fn merge<E>(
        mut self,
        checkpoint: impl IntoIterator<Item = Result<CheckpointEntry, E>>,
        emit: &mut dyn FnMut(RebuiltEntry) -> Result<(), E>,
    ) -> Result<RebuildReport, E> {
        for entry in checkpoint {
            let entry = entry?;
            let kept = ClaimValue::decode(entry.address.kind as u8, &entry.value).ok();
            if let Some(ClaimValue::Object(object) | ClaimValue::Version(object)) = kept {
                let source = Source::Checkpoint;
                if let Some(entry) = self.versions.weigh(entry.address, entry.sequence, object, source) {
                    self.report.from_checkpoint += 1;
                    emit(entry)?;
                }
                continue;
            }
            let held = self.latest.get(&entry.address);
            if held.is_some_and(|found| replaces(found, entry.sequence, kept.as_ref())) {
                continue;
            }
            self.latest.remove(&entry.address);
            self.report.from_checkpoint += 1;
            emit(RebuiltEntry {
                address: entry.address,
                epoch: kept.map_or(FIRST_EPOCH, |value| value.epoch()),
                value: entry.value,
                source: Source::Checkpoint,
            })?;
        }
        let mut claims: Vec<(Address, FoundClaim)> = self.latest.into_iter().collect();
        claims.sort_by_key(|(address, _)| *address);
        for (address, found) in claims {
            self.report.from_claims += 1;
            emit(RebuiltEntry {
                address,
                epoch: found.claim.epoch,
                value: Zeroizing::new(found.claim.value.encode()),
                source: Source::Claim {
                    pack: found.pack,
                    clock_ms: found.claim.clock_ms,
                },
            })?;
        }
        for entry in self.versions.into_entries() {
            self.report.from_claims += 1;
            emit(entry)?;
        }
        Ok(self.report)
    }
}

/// When an object's version came to be, which is the ledger's sequence that its id begins with, and how often it was amended. A
/// claim that the collector wrote when it moved a version's bytes says what the version was when it was read.
fn age(value: &ClaimValue) -> (u64, u64) {
    match value {
        ClaimValue::Object(object) | ClaimValue::Version(object) => (hint(object), object.amendments),
        _ => (0, 0),
    }
}

/// The sequence that the writer of a version had seen.
fn hint(object: &Object) -> u64 {
    let first = object.version.0.first_chunk::<8>();
    first.map_or(0, |first| u64::from_be_bytes(*first))
}

/// The order of claims for one address: the version's age, what the writer had seen, its clock; the rest only makes it total.
fn order(found: &FoundClaim) -> ((u64, u64), Sequence, u64, u64, [u8; 16], [u8; 32]) {
    let claim = &found.claim;
    (
        age(&claim.value),
        claim.after,
        claim.clock_ms,
        claim.value.made_ms(),
        claim.operation,
        found.pack.0,
    )
}

/// Whether a claim is later than the checkpoint's entry. One whose writer had seen the entry is. Otherwise the entry
/// may be this very claim's, or have come before or after it, and what both say about when they were made decides.
fn replaces(found: &FoundClaim, sequence: Sequence, kept: Option<&ClaimValue>) -> bool {
    if let Some(kept) = kept {
        match age(&found.claim.value).cmp(&age(kept)) {
            std::cmp::Ordering::Less => return false,
            std::cmp::Ordering::Greater => return true,
            std::cmp::Ordering::Equal => {}
        }
    }
    found.claim.after >= sequence || kept.is_some_and(|kept| found.claim.value.made_ms() > kept.made_ms())
}
