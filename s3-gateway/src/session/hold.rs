//! Holding the packs of what is about to be read, so that the collector neither moves nor retires them under the reader.
//!
//! Reads no object. Invariant: the packs are held first and looked for in the view afterwards; the collector retires no pack
//! that is held, so what is found then stays until the hold is dropped. What the collector moved before is looked up again.

use super::pins::ReadHold;
use super::{Inner, SessionError, Stored};
use engine::pack::PackId;
use net::cluster::Cause;
use scopes::ScopeId;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use vault::object::{Manifest, PackRef, Part};
use vault::seal::CHUNK_PLAIN_BYTES;

/// How often an object is looked up again because the collector moved it.
const LOOKUPS_MAX: usize = 16;
/// Packs that are looked up one by one rather than through the object that names them.
const SINGLY_MAX: usize = 4;

/// What is to be read.
#[derive(Clone)]
pub(crate) enum Source {
    /// An object as it was found.
    Object(Box<Stored>),
    /// Streams of the gateway's own, or of a reader who holds their packs already.
    Manifest(Manifest),
}

impl Inner {
    /// The manifest of what is to be read, resolved, and a hold on its packs that `range` lies in. An object that the collector
    /// moved meanwhile is found again.
    ///
    /// # Errors
    /// [`SessionError::NoSuchKey`] when the object was deleted meanwhile and its bytes are gone, [`SessionError::Busy`] when it
    /// was overwritten, [`SessionError::Conflict`] when a stream's packs are gone.
    pub(crate) async fn hold(
        self: &Arc<Self>,
        scope: ScopeId,
        source: Source,
        range: &Range<u64>,
        cause: Cause,
    ) -> Result<(Manifest, ReadHold), SessionError> {
        let mut stored = match source {
            Source::Object(stored) => *stored,
            Source::Manifest(manifest) => {
                let manifest = self.resolve(scope, manifest, cause).await?;
                let held = self.try_hold(scope, packs_of(&manifest, range), None)?;
                return Ok((manifest, held.ok_or(SessionError::Conflict { attempts: 1 })?));
            }
        };
        for _ in 0..LOOKUPS_MAX {
            let manifest = match self.resolve(scope, stored.object.manifest.clone(), cause).await {
                Err(SessionError::Conflict { .. }) => None,
                resolved => Some(resolved?),
            };
            if let Some(manifest) = manifest
                && let Some(hold) = self.try_hold(scope, packs_of(&manifest, range), Some(&stored))?
            {
                return Ok((manifest, hold));
            }
            stored = match self.again(scope, &stored)? {
                Some(now) => now,
                None if self.index.object(scope, &stored.object.key)?.is_some() => {
                    return Err(SessionError::Busy);
                }
                None => return Err(SessionError::NoSuchKey),
            };
        }
        Err(SessionError::Busy)
    }

    /// Holds packs if all of them are still there.
    fn try_hold(
        &self,
        scope: ScopeId,
        packs: Vec<PackId>,
        of: Option<&Stored>,
    ) -> Result<Option<ReadHold>, SessionError> {
        let many = packs.len() > SINGLY_MAX;
        let Some(hold) = self.pins.hold(packs.clone()) else {
            return Ok(None);
        };
        if let Some(stored) = of.filter(|_| many) {
            // What an entry refers to is never retired.
            if self.stands(scope, stored)?.is_some() {
                self.check_loaded()?;
                return Ok(Some(hold));
            }
        }
        for id in &packs {
            if self.index.pack(id)?.is_none() {
                self.check_loaded()?;
                return Ok(None);
            }
        }
        // Looked at last: what is held before the view is emptied is kept, and what is not must not be taken for found.
        self.check_loaded()?;
        Ok(Some(hold))
    }
}

/// The packs that a range of a manifest lies in, each once.
fn packs_of(manifest: &Manifest, range: &Range<u64>) -> Vec<PackId> {
    let parts = match manifest {
        Manifest::Inline(parts) => parts.as_slice(),
        Manifest::Indirect { stream, .. } => std::slice::from_ref(&**stream),
    };
    let mut packs = HashSet::new();
    let mut start = 0u64;
    for part in parts {
        let end = start.saturating_add(part.plaintext_bytes);
        if start < range.end && range.start < end {
            add_packs(
                part,
                range.start.saturating_sub(start)..range.end - start,
                &mut packs,
            );
        }
        start = end;
    }
    packs.into_iter().collect()
}

/// The packs of the chunks that a range of a part lies in.
fn add_packs(part: &Part, range: Range<u64>, packs: &mut HashSet<PackId>) {
    let first = range.start / CHUNK_PLAIN_BYTES as u64;
    let end = range.end.div_ceil(CHUNK_PLAIN_BYTES as u64);
    for extent in &part.extents {
        if let PackRef::Id(id) = extent.pack
            && extent.first_chunk < end
            && first < extent.end_chunk()
        {
            packs.insert(id);
        }
    }
}
