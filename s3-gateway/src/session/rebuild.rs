//! Rebuilding a vault's ledger entries from its drives and its root key alone: the newest index checkpoint and the claims
//! written since.
//!
//! Reads no ledger and opens no object. Invariants: every entry that goes into the new ledger names packs that were found on
//! the drives, under the drives they were found on; no credential but the owner's root key comes
//! back in force, and no object without a bucket.

mod batch;
mod doubts;
mod pages;

use super::{Progress, SessionError};
use batch::Batch;
use doubts::Doubts;
use engine::pack::PackId;
use engine::slots::{EntryKind, Sequence};
use net::cluster::{Cause, ListedPage, StoredPack};
use net::{Cluster, LaneRange, Ledger, PackEntry};
use pages::CheckpointPages;
use scopes::ScopeId;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use vault::checkpoint::CheckpointPointer;
use vault::claim::{ClaimValue, Trailer};
use vault::keys::{Keyring, pack_address};
use vault::object::{Manifest, PackRef};
use vault::rebuild::{ClaimSet, FoundClaim, RebuiltEntry, newest_checkpoint};
use vault::seal::StreamOpener;

/// Packs listed from the drives in one go.
const PAGE_PACKS: usize = 512;
/// How often a page is asked for that a drive did not answer.
const PAGE_TRIES: usize = 5;
/// How far a new ledger begins above the newest claim.
const SEQUENCE_MARGIN: u64 = 1 << 32;

/// What a rebuild brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Packs of the vault found on the drives.
    pub packs: u64,
    /// Packs of too few shards to be read while every drive is there: cut off by a crash before they were acknowledged.
    pub packs_cut_off: u64,
    /// Trailers that could not be read or opened; claims in them are lost.
    pub trailers_lost: u64,
    /// When that checkpoint was written, ms since 1970. Whatever was deleted later may be back; without a checkpoint, whatever
    /// was ever deleted.
    pub checkpoint_ms: Option<u64>,
    /// Entries out of the newest checkpoint.
    pub from_checkpoint: u64,
    /// Entries out of later claims: each may have been deleted since it was written.
    pub maybe_undeleted: u64,
    /// Current objects brought back.
    pub objects: u64,
    /// Buckets brought back.
    pub buckets: u64,
    /// Of these, buckets made for objects whose own bucket has no entry: it was deleted, or replaced by another of its name.
    pub buckets_made: Vec<String>,
    /// Access key ids that the checkpoint knows as in force. Whether they were revoked since cannot be known, so they came back
    /// revoked, and other credentials are to be made in their place.
    pub credentials_revoked: Vec<String>,
    /// Access key ids of the owner's credentials, which are in force as they were at the checkpoint.
    pub root_credentials: Vec<String>,
}

/// What a rebuild works with.
pub struct RebuildParts {
    /// The vault's keys.
    pub keyring: Keyring,
    /// The drives.
    pub cluster: Arc<Cluster>,
    /// The new, empty ledger.
    pub ledger: Arc<dyn Ledger>,
    /// A lease of the new ledger, above every lease on the drives (see [`marks`]).
    pub lease: u64,
}

/// What a new ledger must begin above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// The highest lease that any drive remembers.
    pub lease: u64,
    /// The highest sequence that claims and checkpoints remember.
    pub sequence: u64,
}

/// Looks through the drives for what a new ledger of these vaults must begin above.
///
/// # Errors
/// When the drives cannot be read.
pub async fn marks(cluster: &Arc<Cluster>, keyrings: &[Keyring]) -> Result<Marks, SessionError> {
    let mut marks = Marks {
        lease: cluster.highest_lease(),
        sequence: 0,
    };
    for keyring in keyrings {
        let drives = Drives { keyring, cluster };
        let mut sequence = 0;
        drives
            .each_pack(
                |_| true,
                &mut RebuildReport::default(),
                async |_, _, found: Found| {
                    for found in found.claims {
                        let through = match &found.claim.value {
                            ClaimValue::Checkpoint(pointer) => pointer.through,
                            _ => found.claim.after,
                        };
                        // A claim's own append came at some sequence above its `after`, below that of any later claim.
                        sequence = through.0.max(found.claim.after.0).max(sequence);
                    }
                    Ok(())
                },
            )
            .await?;
        marks.sequence = marks.sequence.max(sequence);
    }
    // Appends behind the newest claim (deletions leave none) may have gone on for a while.
    marks.sequence = marks.sequence.saturating_add(SEQUENCE_MARGIN);
    Ok(marks)
}

/// Fills an empty ledger with a vault's entries.
///
/// # Errors
/// When the drives or the ledger fail. The ledger is then incomplete and must be thrown away.
pub async fn rebuild_vault(
    parts: RebuildParts,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<RebuildReport, SessionError> {
    let rebuild = Rebuild { parts };
    rebuild.run(progress).await
}

struct Rebuild {
    parts: RebuildParts,
}

/// What a pack's trailer says.
#[derive(Default)]
struct Found {
    /// The name of the pack's scope.
    scope_name: Option<String>,
    claims: Vec<FoundClaim>,
}

/// The drives as one vault reads them without a ledger.
struct Drives<'a> {
    keyring: &'a Keyring,
    cluster: &'a Arc<Cluster>,
}

impl Drives<'_> {
    /// Shows `visit` every pack of the vault that `wanted` takes, with its claims.
    async fn each_pack(
        &self,
        wanted: impl Fn(&StoredPack) -> bool,
        report: &mut RebuildReport,
        mut visit: impl AsyncFnMut(PackEntry, ScopeId, Found) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let all_there = self.cluster.present() == self.cluster.layout().len();
        let mut after = None;
        loop {
            let vault = self.keyring.vault().0;
            let page = self.page(vault, after).await;
            let all_there = all_there && !page.incomplete;
            for pack in self.cluster.stored_packs(vault, page.packs).await {
                if !wanted(&pack) {
                    continue;
                }
                // What it claims was never acknowledged, and must not take the place of what was.
                if all_there && !pack.is_readable() {
                    report.packs_cut_off += 1;
                    continue;
                }
                let Some(entry) = self.cluster.entry_of(&pack) else {
                    report.trailers_lost += 1;
                    continue;
                };
                report.packs += 1;
                let found = match self.claims(&entry, ScopeId(pack.scope)).await {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::warn!(pack = %entry.summary.id, %error, "a pack's claims cannot be read");
                        report.trailers_lost += 1;
                        Found::default()
                    }
                };
                visit(entry, ScopeId(pack.scope), found).await?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The next page, asked for again for a while if a drive that is there did not answer.
    async fn page(&self, vault: [u8; 16], after: Option<PackId>) -> ListedPage {
        let mut tries = 0;
        loop {
            let page = self.cluster.listed_packs(vault, after, PAGE_PACKS).await;
            let all_there = self.cluster.present() == self.cluster.layout().len();
            tries += 1;
            if !page.incomplete || !all_there || tries >= PAGE_TRIES {
                return page;
            }
        }
    }

    /// The ids of the vault's packs that can be read, if every drive is there to say so.
    async fn readable(&self) -> Option<HashSet<PackId>> {
        if self.cluster.present() != self.cluster.layout().len() {
            return None;
        }
        let mut readable = HashSet::new();
        let mut after = None;
        loop {
            let vault = self.keyring.vault().0;
            let page = self.page(vault, after).await;
            if page.incomplete {
                return None;
            }
            let stored = self.cluster.stored_packs(vault, page.packs).await;
            let own = stored.iter().filter(|pack| pack.is_readable());
            readable.extend(own.map(|pack| pack.summary.id));
            match page.next {
                Some(next) => after = Some(next),
                None => return Some(readable),
            }
        }
    }

    async fn claims(&self, entry: &PackEntry, scope: ScopeId) -> Result<Found, SessionError> {
        let Some(place) = &entry.summary.geometry.trailer else {
            return Ok(Found::default());
        };
        let range = LaneRange {
            lane: place.lane,
            offset: place.offset,
            bytes: place.bytes,
        };
        let id = entry.summary.id;
        let sealed = self
            .cluster
            .because(Cause::upkeep())
            .read_lane(entry, range.lane, range.offset, range.bytes)
            .await?;
        let trailer = match Trailer::open(self.keyring, scope, id, &sealed) {
            Ok(trailer) => trailer,
            Err(_) => {
                let verified = self
                    .cluster
                    .because(Cause::upkeep())
                    .read_lane_verified(entry, range)
                    .await?;
                Trailer::open(self.keyring, scope, id, &verified.bytes).map_err(|_| {
                    SessionError::Internal {
                        what: "a trailer that does not open",
                    }
                })?
            }
        };
        let of_pack = |claim| FoundClaim {
            pack: id,
            scope,
            claim,
        };
        Ok(Found {
            scope_name: Some(trailer.scope_name),
            claims: trailer.claims.into_iter().map(of_pack).collect(),
        })
    }
}

/// Whether the packs that a claim names can be read. One whose packs are not there was never acknowledged, or its entry is gone.
fn are_there(found: &FoundClaim, readable: Option<&HashSet<PackId>>) -> bool {
    let packs = found.claim.value.packs();
    readable.is_none_or(|ids| packs.iter().all(|id| ids.contains(id)))
}

impl Rebuild {
    async fn run(&self, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<RebuildReport, SessionError> {
        let mut report = RebuildReport::default();
        let drives = Drives {
            keyring: &self.parts.keyring,
            cluster: &self.parts.cluster,
        };
        let wide = self.parts.keyring.vault_wide();
        let (mut packs, mut wide_claims) = (HashMap::new(), Vec::new());
        drives
            .each_pack(
                |pack| pack.scope == wide.0,
                &mut report,
                async |entry: PackEntry, _: ScopeId, found: Found| {
                    packs.insert(entry.summary.id, entry);
                    wide_claims.extend(found.claims);
                    Ok(())
                },
            )
            .await?;
        // One whose packs are partly gone is passed over for the next older one.
        let whole = |found: &FoundClaim| match &found.claim.value {
            ClaimValue::Checkpoint(pointer) => {
                pointer.stream.extents.iter().all(|extent| match extent.pack {
                    PackRef::Id(id) => packs.contains_key(&id),
                    PackRef::This => false,
                })
            }
            _ => false,
        };
        let pointer = newest_checkpoint(wide_claims.into_iter().filter(whole));
        let through = pointer.as_ref().map_or(Sequence(0), |pointer| pointer.through);
        let readable = drives.readable().await;
        let mut claims = ClaimSet::since(through, &self.parts.keyring);
        let mut batch = Batch::new(&self.parts);
        let mut doubts = Doubts::new(&self.parts.keyring);
        report = RebuildReport {
            checkpoint_ms: pointer.as_ref().map(|pointer| pointer.written_ms),
            ..RebuildReport::default()
        };
        let note = |done: u64, note: &str| Progress {
            done,
            total: 0,
            unit: "packs",
            note: note.to_owned(),
        };
        let mut seen = 0;
        drives
            .each_pack(
                |_| true,
                &mut report,
                async |entry: PackEntry, scope: ScopeId, found: Found| {
                    seen += 1;
                    if seen % 256 == 0 {
                        progress(note(seen, "reading claims"));
                    }
                    doubts.note_name(scope, found.scope_name);
                    let there = found
                        .claims
                        .into_iter()
                        .filter(|found| are_there(found, readable.as_ref()));
                    there.for_each(|claim| claims.add(claim));
                    batch
                        .put(pack_address(scope, &entry.summary.id), entry.encode().into())
                        .await
                },
            )
            .await?;
        self.merge((claims, pointer, packs), &mut doubts, &mut batch, &mut report)
            .await?;
        for bucket in doubts.missing_buckets() {
            report.buckets += 1;
            report.buckets_made.push(bucket.name.clone());
            batch.put_bucket(&bucket).await?;
        }
        (report.credentials_revoked, report.root_credentials) = doubts.into_credentials();
        batch.flush().await?;
        progress(note(report.packs, "done"));
        Ok(report)
    }

    /// Streams the checkpoint through the claims into the ledger.
    async fn merge(
        &self,
        (claims, pointer, packs): (ClaimSet, Option<CheckpointPointer>, HashMap<PackId, PackEntry>),
        doubts: &mut Doubts<'_>,
        batch: &mut Batch<'_>,
        report: &mut RebuildReport,
    ) -> Result<(), SessionError> {
        let (pages, mut incoming) = mpsc::channel::<Result<Vec<u8>, SessionError>>(4);
        let (out, mut entries) = mpsc::channel::<RebuiltEntry>(256);
        let reader = async move {
            if let Some(pointer) = pointer {
                let sent = self.read_checkpoint(pointer, &packs, &pages).await;
                if let Err(error) = sent {
                    let _ = pages.send(Err(error)).await;
                }
            }
        };
        let merging = tokio::task::spawn_blocking(move || {
            let checkpoint = CheckpointPages::new(&mut incoming);
            claims.merge(checkpoint, &mut |entry| {
                out.blocking_send(entry).map_err(|_| SessionError::Internal {
                    what: "the rebuild stopped",
                })
            })
        });
        let wide = self.parts.keyring.checkpoint_address();
        // It owns its end of the channel, so that an error here ends the merge and the reader too.
        let (report_of, batch_of) = (&mut *report, &mut *batch);
        let writer = async move {
            while let Some(entry) = entries.recv().await {
                report_of.objects += u64::from(entry.address.kind == EntryKind::ObjectCurrent);
                report_of.buckets += u64::from(entry.address.kind == EntryKind::Bucket);
                // Pack entries were written as the drives have them now; the checkpoint this came from is of the old ledger.
                if entry.address.kind != EntryKind::Pack
                    && entry.address != wide
                    && let Some(entry) = doubts.weigh(entry)
                {
                    batch_of.put_rebuilt(&entry).await?;
                }
            }
            Ok::<(), SessionError>(())
        };
        let ((), written) = tokio::join!(reader, writer);
        written?;
        let merged = merging.await.map_err(|_| SessionError::Internal {
            what: "the rebuild stopped",
        })??;
        report.from_checkpoint = merged.from_checkpoint;
        report.maybe_undeleted = merged.from_claims;
        Ok(())
    }

    /// Reads and opens the checkpoint's stream, chunk by chunk.
    async fn read_checkpoint(
        &self,
        pointer: CheckpointPointer,
        packs: &HashMap<PackId, PackEntry>,
        pages: &mpsc::Sender<Result<Vec<u8>, SessionError>>,
    ) -> Result<(), SessionError> {
        let holes = SessionError::Internal {
            what: "a checkpoint with holes",
        };
        let wide = self.parts.keyring.vault_wide();
        let total = pointer.stream.plaintext_bytes;
        let manifest = Manifest::Inline(vec![pointer.stream]);
        for chunk in manifest.chunks(0..total).map_err(|_| holes.clone())? {
            let entry = packs.get(&chunk.pack).ok_or(holes.clone())?;
            let lanes = entry.summary.geometry.code.data() as u8;
            let (lane, offset) = chunk.place.on(lanes).ok_or(holes.clone())?;
            let opener = StreamOpener::new(&self.parts.keyring, wide, chunk.epoch, chunk.stream, None);
            let mut sealed = self
                .parts
                .cluster
                .because(Cause::upkeep())
                .read_lane(entry, lane, offset, chunk.sealed_bytes)
                .await?
                .to_vec();
            let opened = match opener.open_chunk(chunk.index, chunk.last, &mut sealed) {
                Ok(opened) => opened,
                Err(_) => {
                    let range = LaneRange {
                        lane,
                        offset,
                        bytes: chunk.sealed_bytes,
                    };
                    sealed = self
                        .parts
                        .cluster
                        .because(Cause::upkeep())
                        .read_lane_verified(entry, range)
                        .await?
                        .bytes
                        .to_vec();
                    opener
                        .open_chunk(chunk.index, chunk.last, &mut sealed)
                        .map_err(|_| holes.clone())?
                }
            };
            sealed.truncate(opened);
            if pages.send(Ok(sealed)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl super::Session {
    /// Writes down that this vault's ledger was rebuilt.
    ///
    /// # Errors
    /// When the activity log has failed or is far behind.
    pub async fn note_rebuild(&self) -> Result<(), SessionError> {
        let note = super::record::Note::of(crate::operations::VAULT_REBUILD, None, activity::Purpose::Repair);
        self.inner.record_own(note).await
    }
}
