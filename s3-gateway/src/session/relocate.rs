//! Moving live chunks out of packs that are mostly garbage or small, without opening them for good: the sealed bytes go into
//! new packs as they are, and only manifests change.
//!
//! Invariant: a chunk is moved only after it was checked (`relocate/runs.rs`), and an entry changes only if it still is what
//! was read.

mod runs;

use super::claims::{CLAIM_HEAD_BYTES, ClaimGuard, ClaimHead};
use super::collect::GcReport;
use super::commit::{Submitted, Urgency, detached, written};
use super::packer::{self, Run};
use super::pins::Pin;
use super::stream::chunks_of_pack;
use super::{Bucket, Inner, SessionError, fill_random};
use engine::pack::{PackBuilder, PackId};
use engine::slots::{Address, EntryKind, Sequence};
use net::cluster::{Cause, PutSpace};
use runs::Shards;
use scopes::ScopeId;
use std::collections::HashMap;
use std::sync::Arc;
use vault::claim::{ClaimValue, TrailerBuilder};
use vault::collect::PlannedPack;
use vault::commit::{Commit, Moved};
use vault::index::{Owner, Stored as Row};
use vault::object::{Extent, MANIFEST_INLINE_BYTES_MAX, Manifest, Object, PackRef};

/// Entries of a pack that one plan moves; a pack with more is left as it is.
const REFS_MAX: usize = 100_000;
/// Entries that one append changes.
const BATCH_ENTRIES_MAX: usize = 1_024;
/// How often an append is tried again without the entries that changed meanwhile.
const RETRIES_MAX: usize = 8;
/// The most bytes of one extent in a manifest.
const EXTENT_BYTES_MAX: usize = 56;

impl Inner {
    /// Moves everything alive out of these packs; the next plan finds them dead. Returns those that were left alone, because
    /// something in them cannot be moved now.
    pub(crate) async fn move_packs(
        self: &Arc<Self>,
        packs: &[PlannedPack],
        report: &mut GcReport,
    ) -> Result<Vec<PackId>, SessionError> {
        let mut left = Vec::new();
        for of_scope in packs.chunk_by(|a, b| a.scope == b.scope) {
            let Some(first) = of_scope.first() else { continue };
            let Some(bucket) = self.bucket_of(first.scope)? else {
                left.extend(of_scope.iter().map(|pack| pack.id));
                continue;
            };
            let mut filling = Filling::new(self, &bucket);
            let mut shards = Shards::default();
            for (address, of_entry) in self.entries_of(of_scope, &mut left)? {
                match self.read_entry(address, &of_entry, &mut shards).await {
                    Ok(Read::Gone) => {}
                    Ok(Read::Fixed) => left.extend(of_entry),
                    Ok(Read::Moving(entry)) => {
                        report.bytes_moved += entry.bytes();
                        filling.add(*entry).await?;
                    }
                    Err(SessionError::Fenced) => return Err(SessionError::Fenced),
                    // What cannot be read now is left to repair; it must not keep the rest from being collected.
                    Err(error) => {
                        tracing::warn!(%error, "packs that cannot be read were left as they are");
                        report.incomplete = true;
                        left.extend(of_entry);
                    }
                }
            }
            filling.write().await?;
            left.append(&mut filling.left);
        }
        Ok(left)
    }

    /// The entries that refer to these packs, each with those of the packs that it refers to. Those of a pack come one after
    /// another, so that its shards are read once for all of them.
    fn entries_of(
        &self,
        packs: &[PlannedPack],
        left: &mut Vec<PackId>,
    ) -> Result<Vec<(Address, Vec<PackId>)>, SessionError> {
        let mut entries: Vec<(Address, Vec<PackId>)> = Vec::new();
        let mut known: HashMap<Address, usize> = HashMap::new();
        for pack in packs {
            let refs = self.index.refs_of_pack(&pack.id, REFS_MAX + 1)?;
            if refs.len() > REFS_MAX {
                left.push(pack.id);
                continue;
            }
            for (address, _) in refs {
                let at = *known.entry(address).or_insert(entries.len());
                match entries.get_mut(at) {
                    Some((_, of_entry)) => of_entry.push(pack.id),
                    None => entries.push((address, vec![pack.id])),
                }
            }
        }
        Ok(entries)
    }

    /// Reads and checks the chunks of one entry that lie in the packs.
    async fn read_entry(
        self: &Arc<Self>,
        address: Address,
        packs: &[PackId],
        shards: &mut Shards,
    ) -> Result<Read, SessionError> {
        let row = match self.index.owner(&address)? {
            Some(Owner::Object(row)) => row,
            Some(_) => return Ok(Read::Fixed),
            None => return Ok(Read::Gone),
        };
        let Manifest::Inline(parts) = &row.value.manifest else {
            return Ok(Read::Fixed);
        };
        let scope = ScopeId(address.scope);
        let mut moving = Moving {
            address,
            row: row.clone(),
            runs: Vec::new(),
            of: Vec::new(),
            known: Vec::new(),
        };
        let within = |extent: &&Extent| matches!(extent.pack, PackRef::Id(id) if packs.contains(&id));
        let extents = parts.iter().flat_map(|part| &part.extents);
        // Each run may take an extent more than before. What would not fit is known before anything of it is read.
        if moving.row.value.encode().len() + EXTENT_BYTES_MAX * extents.filter(within).count()
            > MANIFEST_INLINE_BYTES_MAX
        {
            return Ok(Read::Fixed);
        }
        for (number, part) in parts.iter().enumerate() {
            for (nth, extent) in part.extents.iter().enumerate() {
                let PackRef::Id(id) = extent.pack else { continue };
                if packs.contains(&id) {
                    let run = self.read_run(scope, part, extent, id, shards).await?;
                    moving.runs.push(run);
                    moving.of.push((number, nth));
                    moving.known.push(None);
                }
            }
        }
        // Moved or overwritten since the plan was made: nothing of it lies there any more.
        Ok(if moving.of.is_empty() {
            Read::Gone
        } else {
            Read::Moving(Box::new(moving))
        })
    }

    fn bucket_of(&self, scope: ScopeId) -> Result<Option<Bucket>, SessionError> {
        match self.index.bucket_of_scope(scope)? {
            Some(name) => Ok(Some(self.find_bucket(&name)?)),
            None => Ok(None),
        }
    }
}

/// What reading an entry's chunks gave.
enum Read {
    /// Nothing to move any more.
    Gone,
    /// It cannot be moved: a part of an upload, a checkpoint, an indirect manifest.
    Fixed,
    Moving(Box<Moving>),
}

/// An entry on the move.
struct Moving {
    address: Address,
    row: Row<Object>,
    /// Its runs of chunks in the packs that are emptied.
    runs: Vec<Run>,
    /// The (part, extent) that each run was.
    of: Vec<(usize, usize)>,
    /// Where a run lies now, if it went into a pack of its own.
    known: Vec<Option<Vec<Extent>>>,
}

impl Moving {
    /// The packs that it is moved out of.
    fn packs(&self) -> impl Iterator<Item = PackId> {
        let parts = match &self.row.value.manifest {
            Manifest::Inline(parts) => parts.as_slice(),
            Manifest::Indirect { .. } => &[],
        };
        let extents = self
            .of
            .iter()
            .filter_map(|(number, nth)| parts.get(*number)?.extents.get(*nth));
        extents.filter_map(|extent| match extent.pack {
            PackRef::Id(id) => Some(id),
            PackRef::This => None,
        })
    }

    fn bytes(&self) -> u64 {
        self.runs
            .iter()
            .flat_map(|run| &run.chunks)
            .map(|chunk| chunk.len() as u64)
            .sum()
    }

    fn chunks(&self) -> usize {
        self.runs.iter().map(|run| run.chunks.len()).sum()
    }

    /// About so many bytes its claim will have.
    fn claim_bytes(&self) -> usize {
        64 + self.row.value.encode().len()
    }

    /// At most so many bytes its claim will have.
    fn claim_bytes_max(&self) -> usize {
        CLAIM_HEAD_BYTES
            + self.row.value.encode().len()
            + EXTENT_BYTES_MAX * (self.chunks() + 2 * self.of.len())
    }

    /// The object with its moved extents in place of the old ones; `extents` are those of the runs that are not known, in order.
    fn relocated(&self, extents: &[Vec<Extent>]) -> Object {
        let mut object = self.row.value.clone();
        let mut shared = extents.iter().cloned();
        let mut new: HashMap<(usize, usize), Vec<Extent>> = HashMap::new();
        for (place, known) in self.of.iter().zip(&self.known) {
            let of_run = known.clone().or_else(|| shared.next());
            new.insert(*place, of_run.unwrap_or_default());
        }
        if let Manifest::Inline(parts) = &mut object.manifest {
            for (number, part) in parts.iter_mut().enumerate() {
                let old = std::mem::take(&mut part.extents);
                for (nth, extent) in old.into_iter().enumerate() {
                    match new.remove(&(number, nth)) {
                        Some(moved) => part.extents.extend(moved),
                        None => part.extents.push(extent),
                    }
                }
            }
        }
        object
    }
}

/// A pack being filled with entries on the move, so that what was small comes out large.
struct Filling<'a> {
    inner: &'a Arc<Inner>,
    bucket: &'a Bucket,
    operation: [u8; 16],
    entries: Vec<Moving>,
    /// The packs of its entries' own; never those of an entry that is not among `entries`.
    pins: Vec<Pin>,
    bytes: usize,
    claim_bytes: usize,
    /// Packs of entries that were left as they are.
    left: Vec<PackId>,
}

impl<'a> Filling<'a> {
    fn new(inner: &'a Arc<Inner>, bucket: &'a Bucket) -> Self {
        let mut operation = [0; 16];
        fill_random(&mut operation);
        Self {
            inner,
            bucket,
            operation,
            entries: Vec::new(),
            pins: Vec::new(),
            bytes: 0,
            claim_bytes: 0,
            left: Vec::new(),
        }
    }

    async fn add(&mut self, mut entry: Moving) -> Result<(), SessionError> {
        let lanes = self.inner.code.data();
        // Not among those of the batch yet: the batch may be written first, and without this entry.
        let mut pins = Vec::new();
        let alone = packer::fits(lanes, entry.bytes() as usize, entry.claim_bytes_max());
        for (run, known) in entry.runs.iter_mut().zip(&mut entry.known) {
            // A long run goes into a pack of its own, and only its claim into the shared one.
            if run.chunks.len() > chunks_of_pack(lanes) / 4 || !alone {
                let (mut chunks, mut first_chunk) = (std::mem::take(&mut run.chunks), run.first_chunk);
                let mut extents = Vec::new();
                // With room for a trailer in each.
                while !chunks.is_empty() {
                    let rest = chunks.split_off(chunks.len().min(chunks_of_pack(lanes) * 7 / 8));
                    let own = Run { first_chunk, chunks };
                    let why = (PutSpace::Headroom, Cause::upkeep());
                    let packed = packer::write_run(self.inner, self.bucket, &own, why).await?;
                    extents.extend(packed.extents.into_iter().flatten());
                    pins.push(packed.pin);
                    first_chunk = first_chunk.saturating_add(own.chunks.len() as u64);
                    chunks = rest;
                }
                *known = Some(extents);
            }
        }
        let (bytes, claim_bytes) = (entry.bytes() as usize, entry.claim_bytes_max());
        let full = !packer::fits(lanes, self.bytes + bytes, self.claim_bytes + claim_bytes)
            || self.entries.len() >= BATCH_ENTRIES_MAX;
        if full && !self.entries.is_empty() {
            self.write().await?;
        }
        self.bytes += bytes;
        self.claim_bytes += claim_bytes;
        self.pins.append(&mut pins);
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the pack and changes the entries that are still as they were read.
    async fn write(&mut self) -> Result<(), SessionError> {
        let entries = std::mem::take(&mut self.entries);
        let pins = std::mem::take(&mut self.pins);
        (self.bytes, self.claim_bytes) = (0, 0);
        if entries.is_empty() {
            return Ok(());
        }
        let (inner, bucket, operation) = (Arc::clone(self.inner), self.bucket.clone(), self.operation);
        fill_random(&mut self.operation);
        let left =
            detached(async move { inner.write_moved(&bucket, operation, entries, pins).await }).await?;
        self.left.extend(left);
        Ok(())
    }
}

/// An entry whose chunks lie elsewhere now: its address, the sequence it was read at, and its new value.
type Relocated = (Address, Sequence, Object);

impl Inner {
    /// Writes a batch's pack and changes its entries. Returns the packs of those that were left as they are, because their new
    /// manifests would not fit into their entries.
    async fn write_moved(
        self: &Arc<Self>,
        bucket: &Bucket,
        operation: [u8; 16],
        mut entries: Vec<Moving>,
        mut pins: Vec<Pin>,
    ) -> Result<Vec<PackId>, SessionError> {
        let mut builder = PackBuilder::with_pool(self.code, &self.lanes);
        let mut trailer = TrailerBuilder::new(&bucket.name);
        builder.expect_trailer(entries.iter().map(Moving::claim_bytes).sum());
        let mut guards: Vec<ClaimGuard> = Vec::with_capacity(entries.len());
        let mut moved = Vec::with_capacity(entries.len());
        let mut left = Vec::new();
        for entry in &mut entries {
            let runs: Vec<Run> = std::mem::take(&mut entry.runs)
                .into_iter()
                .filter(|run| !run.chunks.is_empty())
                .collect();
            let placed = packer::place(&mut builder, &runs);
            let extents = placed.ok_or(SessionError::Internal {
                what: "a pack that overflowed",
            })?;
            let object = entry.relocated(&extents);
            if !decodes_again(&object) {
                // What of it lies in the pack is garbage there, no more.
                left.extend(entry.packs());
                continue;
            }
            let (head, guard) = ClaimHead::new(self, operation, entry.address, bucket.epoch);
            let claimed = match entry.address.kind {
                EntryKind::ObjectVersion => ClaimValue::Version(object.clone()),
                _ => ClaimValue::Object(object.clone()),
            };
            trailer.push(&head.claim(claimed));
            guards.push(guard);
            moved.push((entry.address, entry.row.sequence, object));
        }
        if moved.is_empty() {
            return Ok(left);
        }
        let pin = packer::write(
            self,
            (bucket.scope, bucket.epoch),
            builder,
            Some(trailer),
            (PutSpace::Headroom, Cause::upkeep()),
        )
        .await?;
        let id = pin.entry().summary.id;
        pins.push(pin);
        moved
            .iter_mut()
            .for_each(|(_, _, object)| object.manifest.resolve_this_pack(id));
        self.append_moved(bucket, operation, moved, &pins).await?;
        Ok(left)
    }

    /// Changes the entries that are still as they were read.
    async fn append_moved(
        self: &Arc<Self>,
        bucket: &Bucket,
        operation: [u8; 16],
        mut moved: Vec<Relocated>,
        pins: &[Pin],
    ) -> Result<(), SessionError> {
        for _ in 0..RETRIES_MAX {
            let changes: Vec<Moved> = moved
                .iter()
                .map(|(address, sequence, object)| {
                    let value = object.encode();
                    Moved {
                        address: *address,
                        sequence: *sequence,
                        epoch: bucket.epoch,
                        value,
                    }
                })
                .collect();
            let append = Commit::new(&self.keyring, operation, self.lease).move_entries(
                &changes,
                &written(bucket.scope, pins),
                &mut fill_random,
            )?;
            if let Submitted::Applied(_) = self.submit(append, pins, Urgency::Frees).await? {
                return Ok(());
            }
            let mut still = Vec::with_capacity(moved.len());
            for (address, sequence, object) in moved {
                let now = self.index.owner(&address)?;
                if matches!(now, Some(Owner::Object(row)) if row.sequence == sequence) {
                    still.push((address, sequence, object));
                }
            }
            moved = still;
            if moved.is_empty() {
                return Ok(());
            }
        }
        // Too much goes on in this bucket right now; what was not moved stays where it is.
        Ok(())
    }
}

/// Whether an entry of this value can be read again, whatever the pack is that it calls "this pack".
fn decodes_again(object: &Object) -> bool {
    let mut resolved = object.clone();
    resolved.manifest.resolve_this_pack(PackId([0xff; 32]));
    Object::decode(&resolved.encode()).is_ok_and(|again| again == resolved)
}
