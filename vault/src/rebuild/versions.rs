//! Which version of each object comes out of a rebuild as the current one, and which beside it.
//!
//! A claim says that a version was about to become current; it does not say what became of the one before. Versions of a bucket
//! that keeps them each have an id, and so each comes out; the null version has one place, and the latest of it does.
//!
//! Invariant: a key that has any version comes out with one current version, the newest, and each version comes out once.

use std::collections::HashMap;

use engine::slots::{Address, EntryKind, Sequence};
use scopes::ScopeId;
use zeroize::Zeroizing;

use super::{FoundClaim, RebuiltEntry, Source, hint, order, replaces};
use crate::claim::ClaimValue;
use crate::keys::Keyring;
use crate::object::{Object, VersionRef};

/// Claims of objects, by the address of their current version.
#[derive(Debug)]
pub(super) struct Versions {
    keyring: Keyring,
    of_key: HashMap<Address, OfKey>,
}

/// What is known of one key that has claims.
#[derive(Debug, Default)]
struct OfKey {
    /// The latest claim of each version.
    claims: Vec<(VersionRef, FoundClaim)>,
    /// The version that stands as the current one, once that is decided.
    current: Option<VersionRef>,
}

impl OfKey {
    fn take(&mut self, version: VersionRef) -> Option<FoundClaim> {
        let at = self.claims.iter().position(|(of, _)| *of == version)?;
        Some(self.claims.swap_remove(at).1)
    }

    fn newest(&self) -> Option<VersionRef> {
        let newest = self.claims.iter().max_by_key(|(_, found)| order(found));
        newest.map(|(version, _)| *version)
    }
}

impl Versions {
    pub(super) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            of_key: HashMap::new(),
        }
    }

    /// Weighs a claim of an object. Says whether another operation claims the same version.
    pub(super) fn add(&mut self, found: FoundClaim) -> bool {
        let (ClaimValue::Object(object) | ClaimValue::Version(object)) = &found.claim.value else {
            return false;
        };
        let address = self.keyring.object_address(found.scope, object.key.as_bytes());
        let version = VersionRef::of(object);
        let claims = &mut self.of_key.entry(address).or_default().claims;
        let Some((_, held)) = claims.iter_mut().find(|(of, _)| *of == version) else {
            claims.push((version, found));
            return false;
        };
        let contested = held.claim.operation != found.claim.operation;
        if order(&found) > order(held) {
            *held = found;
        }
        contested
    }

    /// Weighs an entry of the checkpoint against the claims: what comes out in its place, if anything does yet. The current
    /// version of a key comes before those beside it, as addresses do.
    pub(super) fn weigh(
        &mut self,
        address: Address,
        sequence: Sequence,
        object: Object,
        source: Source,
    ) -> Option<RebuiltEntry> {
        let scope = ScopeId(address.scope);
        let version = VersionRef::of(&object);
        let home = self.keyring.object_address(scope, object.key.as_bytes());
        let Some(of_key) = self.of_key.get_mut(&home) else {
            return Some(entry(address, object, source));
        };
        let value = ClaimValue::Object(object.clone());
        if address.kind == EntryKind::ObjectCurrent {
            let newest = of_key
                .claims
                .iter()
                .map(|(_, found)| found)
                .max_by_key(|found| order(found));
            if newest.is_none_or(|found| !replaces(found, sequence, Some(&value))) {
                // Its own claim, if there is one, says no more than it does.
                of_key.take(version);
                of_key.current = Some(version);
                return Some(entry(address, object, source));
            }
            of_key.current = of_key.newest();
        }
        let claimed = of_key.claims.iter().find(|(of, _)| *of == version);
        let replaced = match claimed {
            Some((_, found)) => of_key.current == Some(version) || replaces(found, sequence, Some(&value)),
            None => of_key.current == Some(version),
        };
        if replaced {
            return None;
        }
        of_key.take(version);
        let superseded = match address.kind {
            EntryKind::ObjectCurrent => sequence,
            _ => object.superseded,
        };
        let kept = Object { superseded, ..object };
        Some(entry(self.keyring.kept_address(scope, &kept), kept, source))
    }

    /// What the claims alone bring back.
    pub(super) fn into_entries(self) -> Vec<RebuiltEntry> {
        let mut entries = Vec::new();
        for (home, mut of_key) in self.of_key {
            let current = of_key.current.or_else(|| of_key.newest());
            of_key.claims.sort_by_key(|(_, found)| order(found));
            for (version, found) in of_key.claims {
                let source = Source::Claim {
                    pack: found.pack,
                    clock_ms: found.claim.clock_ms,
                };
                let (ClaimValue::Object(object) | ClaimValue::Version(object)) = found.claim.value else {
                    continue;
                };
                let is_current = current == Some(version);
                let superseded = match object.superseded {
                    _ if is_current => Sequence(0),
                    // Above what it replaced, whose place it took later than its writer looked; below what replaced it.
                    Sequence(0) => Sequence(hint(&object).saturating_add(1)),
                    known => known,
                };
                let object = Object { superseded, ..object };
                let address = if is_current {
                    home
                } else {
                    self.keyring.kept_address(found.scope, &object)
                };
                entries.push(RebuiltEntry {
                    epoch: found.claim.epoch,
                    ..entry(address, object, source)
                });
            }
        }
        entries.sort_by_key(|entry| entry.address);
        entries
    }
}

fn entry(address: Address, object: Object, source: Source) -> RebuiltEntry {
    RebuiltEntry {
        address,
        epoch: object.manifest.epoch(),
        value: Zeroizing::new(object.encode()),
        source,
    }
}
