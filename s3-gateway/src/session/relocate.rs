//! Moving live chunks out of packs that are mostly garbage or small, without opening them for good: the sealed bytes go into
//! new packs as they are, and only manifests change.
//!
//! Invariant: a chunk is moved only after its tag was checked, and an entry changes only if it still is what was read.

use super::collect::GcReport;
use super::commit::{Submitted, Urgency, detached, written};
use super::packer::{MakeClaim, Packed, Run, Submission};
use super::put::{CLAIM_HEAD_BYTES, ClaimGuard, ClaimHead};
use super::stream::chunks_of_pack;
use super::{Bucket, Inner, SessionError, decode_pack, fill_random};
use engine::pack::{PackId, TAG_BYTES};
use engine::slots::Address;
use futures::stream::{self, StreamExt};
use net::{LaneRange, PackEntry};
use scopes::ScopeId;
use std::collections::HashMap;
use std::sync::Arc;
use vault::claim::ClaimValue;
use vault::collect::PlannedPack;
use vault::commit::{Commit, Moved};
use vault::index::{Owner, Stored as Row};
use vault::object::{Extent, Manifest, Object, PackRef, Part};
use vault::seal::StreamOpener;

/// Entries of a pack that one plan moves; a pack with more is left as it is.
const REFS_MAX: usize = 100_000;
/// Entries on the move at the same time: they share the packs that they go to.
const TOGETHER_MAX: usize = 128;

impl Inner {
    /// Moves everything alive out of these packs; the next plan finds them dead. Returns those that were left alone, because
    /// something in them cannot be moved now.
    pub(crate) async fn move_packs(
        self: &Arc<Self>,
        packs: &[PlannedPack],
        report: &mut GcReport,
    ) -> Result<Vec<PackId>, SessionError> {
        let mut work: HashMap<Address, Vec<PackId>> = HashMap::new();
        let mut left = Vec::new();
        for pack in packs {
            let refs = self.index.refs_of_pack(&pack.id, REFS_MAX + 1)?;
            if refs.len() > REFS_MAX {
                left.push(pack.id);
                continue;
            }
            for (address, _) in refs {
                work.entry(address).or_default().push(pack.id);
            }
        }
        let moves = work.into_iter().map(|(address, packs)| {
            let inner = Arc::clone(self);
            async move {
                let of_entry = packs.clone();
                let moved = detached(async move { inner.move_entry(address, &of_entry).await }).await;
                (packs, moved)
            }
        });
        let mut moves = stream::iter(moves).buffer_unordered(TOGETHER_MAX);
        while let Some((of_entry, moved)) = moves.next().await {
            match moved? {
                Some(bytes) => report.bytes_moved += bytes,
                None => left.extend(of_entry),
            }
        }
        Ok(left)
    }

    /// Moves one entry's chunks out of the packs. None: it cannot be moved now.
    async fn move_entry(
        self: &Arc<Self>,
        address: Address,
        packs: &[PackId],
    ) -> Result<Option<u64>, SessionError> {
        let Some(Owner::Object(row)) = self.index.owner(&address)? else {
            return Ok(None);
        };
        let Manifest::Inline(parts) = &row.value.manifest else {
            return Ok(None);
        };
        let scope = ScopeId(address.scope);
        let Some(bucket) = self.bucket_of(scope)? else {
            return Ok(None);
        };
        let wanted = parts.iter().flat_map(|part| &part.extents);
        let kib: u64 = wanted
            .filter(|extent| from_any(extent, packs))
            .map(|extent| extent.sealed_bytes() >> 10)
            .sum();
        let room = u32::try_from(kib + 1).unwrap_or(u32::MAX).min(super::MOVING_KIB);
        let _room = self.moving.acquire_many(room).await;
        let mut moving = Moving::default();
        for (number, part) in parts.iter().enumerate() {
            for (nth, extent) in part.extents.iter().enumerate() {
                let PackRef::Id(id) = extent.pack else { continue };
                if packs.contains(&id) {
                    moving.runs.push(self.read_run(scope, part, extent, id).await?);
                    moving.of.push((number, nth));
                }
            }
        }
        if moving.of.is_empty() {
            // Moved or overwritten since the plan was made.
            return Ok(Some(0));
        }
        let bytes = moving.bytes();
        let moved = self.rewrite(address, &bucket, &row, moving).await?;
        Ok(moved.then_some(bytes))
    }

    fn bucket_of(&self, scope: ScopeId) -> Result<Option<Bucket>, SessionError> {
        match self.index.bucket_of_scope(scope)? {
            Some(name) => Ok(Some(self.find_bucket(&name)?)),
            None => Ok(None),
        }
    }

    /// The sealed chunks of an extent, each checked.
    async fn read_run(
        self: &Arc<Self>,
        scope: ScopeId,
        part: &Part,
        extent: &Extent,
        pack: PackId,
    ) -> Result<Run, SessionError> {
        let row = self.index.pack(&pack)?.ok_or(SessionError::Internal {
            what: "a pack without an entry",
        })?;
        let entry = decode_pack(&row.entry)?;
        let opener = StreamOpener::new(&self.keyring, scope, part.epoch, part.stream);
        let mut chunks = Vec::with_capacity(extent.chunks as usize);
        for index in extent.first_chunk..extent.end_chunk() {
            let last = index + 1 == part.chunks();
            let bytes = if index + 1 == extent.end_chunk() {
                extent.last_chunk_bytes
            } else {
                engine::pack::CHUNK_BYTES_MAX as u32
            };
            chunks.push(
                self.read_chunk(&entry, extent, index, bytes, (&opener, last))
                    .await?,
            );
        }
        Ok(Run {
            first_chunk: extent.first_chunk,
            chunks,
        })
    }

    async fn read_chunk(
        self: &Arc<Self>,
        entry: &PackEntry,
        extent: &Extent,
        index: u64,
        bytes: u32,
        (opener, last): (&StreamOpener, bool),
    ) -> Result<Vec<u8>, SessionError> {
        let beyond = SessionError::Internal {
            what: "a chunk beyond its pack",
        };
        let place = extent.place(index).ok_or(beyond.clone())?;
        let (lane, offset) = place.on(entry.summary.geometry.code.data() as u8).ok_or(beyond)?;
        let sealed = self.cluster.read_lane(entry, lane, offset, bytes).await?.to_vec();
        let opens = |sealed: &[u8]| opener.open_chunk(index, last, &mut sealed.to_vec()).is_ok();
        if sealed.len() > TAG_BYTES && opens(&sealed) {
            return Ok(sealed);
        }
        let range = LaneRange { lane, offset, bytes };
        let verified = self
            .cluster
            .read_lane_verified(entry, range)
            .await?
            .bytes
            .to_vec();
        if opens(&verified) {
            return Ok(verified);
        }
        Err(SessionError::Internal {
            what: "a chunk that does not open though its shards verify",
        })
    }

    /// Packs the runs anew and changes the entry. False when the entry changed meanwhile.
    async fn rewrite(
        self: &Arc<Self>,
        address: Address,
        bucket: &Bucket,
        row: &Row<Object>,
        mut moving: Moving,
    ) -> Result<bool, SessionError> {
        let mut operation = [0; 16];
        fill_random(&mut operation);
        let (head, guard): (ClaimHead, ClaimGuard) = ClaimHead::new(self, operation, address, bucket.epoch);
        let mut pins = Vec::new();
        let mut known: Vec<Option<Vec<Extent>>> = vec![None; moving.runs.len()];
        let full = chunks_of_pack(self.code.data()) / 2;
        for (run, known) in moving.runs.iter_mut().zip(&mut known) {
            // A long run goes into a pack of its own, and only the claim into a shared one.
            if run.chunks.len() > full {
                let chunks = std::mem::take(&mut run.chunks);
                let own = Run {
                    first_chunk: run.first_chunk,
                    chunks,
                };
                let packed = super::packer::write_own(self, bucket.scope, bucket.epoch, vec![own]).await?;
                *known = Some(packed.extents.into_iter().flatten().collect());
                pins.push(packed.pin);
            }
        }
        let open: Vec<Run> = moving
            .runs
            .into_iter()
            .filter(|run| !run.chunks.is_empty())
            .collect();
        let chunks: usize = open.iter().map(|run| run.chunks.len()).sum();
        let (object, of) = (row.value.clone(), moving.of);
        let (claimed, claimed_of, claimed_known) = (object.clone(), of.clone(), known.clone());
        let claim_bytes_max = CLAIM_HEAD_BYTES + object.encode().len() + 56 * (chunks + 2 * of.len());
        let claim: MakeClaim = Box::new(move |extents| {
            head.claim(ClaimValue::Object(relocated(
                claimed,
                &claimed_of,
                claimed_known,
                extents,
            )))
        });
        let room = super::budget::Room::none();
        let packer = self.packer(bucket.scope, &bucket.name, bucket.epoch);
        let Packed { pin, extents } = packer
            .submit(Submission {
                runs: open,
                claim: Some(claim),
                claim_bytes_max,
                room,
            })
            .await?;
        pins.push(pin);
        let object = relocated(object, &of, known, &extents);
        let moved = Moved {
            address,
            sequence: row.sequence,
            epoch: bucket.epoch,
            value: object.encode(),
        };
        let append = Commit::new(&self.keyring, operation, self.lease).move_entries(
            &[moved],
            &written(bucket.scope, &pins),
            &mut fill_random,
        )?;
        let submitted = self.submit(append, &pins, Urgency::Frees).await?;
        drop(guard);
        Ok(matches!(submitted, Submitted::Applied(_)))
    }
}

fn from_any(extent: &Extent, packs: &[PackId]) -> bool {
    matches!(extent.pack, PackRef::Id(id) if packs.contains(&id))
}

/// Runs on the move, and the (part, extent) that each was.
#[derive(Default)]
struct Moving {
    runs: Vec<Run>,
    of: Vec<(usize, usize)>,
}

impl Moving {
    fn bytes(&self) -> u64 {
        self.runs
            .iter()
            .flat_map(|run| &run.chunks)
            .map(|chunk| chunk.len() as u64)
            .sum()
    }
}

/// The object with its moved extents in place of the old ones. `known` are those of runs packed before; the others are in
/// `extents`, in order.
fn relocated(
    mut object: Object,
    of: &[(usize, usize)],
    known: Vec<Option<Vec<Extent>>>,
    extents: &[Vec<Extent>],
) -> Object {
    let mut shared = extents.iter().cloned();
    let mut new: HashMap<(usize, usize), Vec<Extent>> = HashMap::new();
    for (place, known) in of.iter().zip(known) {
        let of_run = known.or_else(|| shared.next());
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
