//! The packer of a scope: tails of streams and claims from many requests share packs, one group commit at a time.
//!
//! Not used for full packs of a long stream (`stream.rs` writes those itself). Invariant: a submission is answered only when
//! the pack that holds its chunks and its claims is durable by the acknowledgement rule, or with an error.

use super::budget::Room;
use super::pins::Pin;
use super::{Bucket, Inner, SessionError};
use engine::pack::{CHUNK_BYTES_MAX, PackBuilder, Placed, SHARD_BYTES_MAX};
use net::cluster::{Cause, PutSpace};
use scopes::ScopeId;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};
use vault::claim::{Claim, TrailerBuilder};
use vault::object::{Extent, ExtentBuilder, PackRef};

/// Submissions that wait at one packer.
const QUEUE_MAX: usize = 1_024;
/// Packs of one scope whose shards are on their way at the same time; more submissions gather meanwhile.
const IN_FLIGHT_MAX: usize = 2;
/// The most claims' bytes in one trailer.
const TRAILER_BYTES_MAX: usize = SHARD_BYTES_MAX / 2;

/// Whether chunks of so many bytes in all and a trailer with so many bytes of claims fit into one pack. Chunks are spread over the
/// lanes so that none is ahead of another by more than a chunk; sealing and padding add at most an eighth to a trailer.
pub(crate) const fn fits(lanes: usize, chunk_bytes: usize, claim_bytes: usize) -> bool {
    let fullest_lane = chunk_bytes / lanes + 2 * CHUNK_BYTES_MAX;
    claim_bytes <= TRAILER_BYTES_MAX && fullest_lane + claim_bytes + claim_bytes / 8 + 256 <= SHARD_BYTES_MAX
}

/// Makes the claim, given the extents ("this pack") of each run of chunks.
pub(crate) type MakeClaim = Box<dyn FnOnce(&[Vec<Extent>]) -> Claim + Send>;

/// Consecutive sealed chunks of one stream.
pub(crate) struct Run {
    /// The first one's index in its stream.
    pub(crate) first_chunk: u64,
    /// The chunks.
    pub(crate) chunks: Vec<Vec<u8>>,
}

/// What a request hands in: runs of chunks that fill no pack of their own, and the claim for the entry.
pub(crate) struct Submission {
    /// The chunks.
    pub(crate) runs: Vec<Run>,
    /// The claim to go into the trailer.
    pub(crate) claim: Option<MakeClaim>,
    /// At most so many bytes the claim will have.
    pub(crate) claim_bytes_max: usize,
    /// The budget that the chunks hold; given back when the pack is durable.
    pub(crate) room: Room,
    /// What it is written for.
    pub(crate) cause: Cause,
}

impl Submission {
    /// Chunks without a claim.
    pub(crate) const fn of_runs(runs: Vec<Run>, room: Room, cause: Cause) -> Self {
        Self {
            runs,
            claim: None,
            claim_bytes_max: 0,
            room,
            cause,
        }
    }
}

/// What a submission gets: the pack and where in it the chunks lie.
pub(crate) struct Packed {
    pub(crate) pin: Pin,
    /// One list for each run.
    pub(crate) extents: Vec<Vec<Extent>>,
}

type Reply = oneshot::Sender<Result<Packed, SessionError>>;

/// The way to one scope's packer.
#[derive(Clone)]
pub(crate) struct Packer {
    queue: mpsc::Sender<(Submission, Reply)>,
}

/// A pack being filled.
struct Open {
    builder: PackBuilder,
    trailer: TrailerBuilder,
    claim_bytes: usize,
    rooms: Room,
    /// That of the first submission: a pack goes under one operation, whoever shares it.
    cause: Option<Cause>,
    waiting: Vec<(Vec<Vec<Extent>>, Reply)>,
}

impl Packer {
    /// Starts the packer of a scope. It ends when every handle to it is gone.
    pub(crate) fn start(inner: &Arc<Inner>, scope: ScopeId, name: String, epoch: u64) -> Self {
        let (queue, submissions) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(Arc::downgrade(inner), scope, name, epoch, submissions));
        Self { queue }
    }

    /// Whether it takes nothing more, as its task has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Hands in chunks and a claim, and waits until they are durable.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Packed, SessionError> {
        let (reply, answer) = oneshot::channel();
        let gone = SessionError::Internal {
            what: "the packer has stopped",
        };
        self.queue
            .send((submission, reply))
            .await
            .map_err(|_| gone.clone())?;
        answer.await.map_err(|_| gone)?
    }
}

async fn run(
    inner: std::sync::Weak<Inner>,
    scope: ScopeId,
    name: String,
    epoch: u64,
    mut submissions: mpsc::Receiver<(Submission, Reply)>,
) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match submissions.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let Some(inner) = inner.upgrade() else { return };
        let mut open = Open::new(&inner, &name);
        if let Err((submission, reply)) = open.add(first) {
            // It does not fit into an empty pack: a defect of the caller, refused rather than looped on.
            drop(submission);
            let _ = reply.send(Err(SessionError::Internal {
                what: "a submission larger than a pack",
            }));
            continue;
        }
        // While earlier packs are on their way, gather; once one may go, take what is there and go.
        let permit = loop {
            tokio::select! {
                biased;
                permit = Arc::clone(&in_flight).acquire_owned() => break permit.ok(),
                more = submissions.recv(), if next.is_none() => match more {
                    Some(more) => next = open.add(more).err(),
                    None => break Arc::clone(&in_flight).acquire_owned().await.ok(),
                },
            }
        };
        while next.is_none() {
            match submissions.try_recv() {
                Ok(more) => next = open.add(more).err(),
                Err(_) => break,
            }
        }
        tokio::spawn(async move {
            open.flush(&inner, scope, epoch).await;
            drop(permit);
        });
    }
}

impl Open {
    fn new(inner: &Inner, name: &str) -> Self {
        Self {
            builder: PackBuilder::with_pool(inner.code, &inner.lanes),
            trailer: TrailerBuilder::new(name),
            claim_bytes: name.len() + 16,
            rooms: Room::none(),
            cause: None,
            waiting: Vec::new(),
        }
    }

    /// Adds a submission, or gives it back when it does not fit.
    fn add(&mut self, (mut submission, reply): (Submission, Reply)) -> Result<(), (Submission, Reply)> {
        let claim_bytes = self.claim_bytes + submission.claim_bytes_max + 16;
        let bytes: usize = submission
            .runs
            .iter()
            .flat_map(|run| &run.chunks)
            .map(Vec::len)
            .sum();
        if !fits(
            self.builder.code().data(),
            self.builder.data_bytes() + bytes,
            claim_bytes,
        ) {
            return Err((submission, reply));
        }
        // Without claims there is no trailer, and chunks that go round the lanes evenly are one extent.
        if submission.claim.is_some() || self.trailer.claims() > 0 {
            self.builder.expect_trailer(claim_bytes);
        }
        let Some(extents) = place(&mut self.builder, &submission.runs) else {
            // `fits` leaves room for this; what was placed of it is garbage in this pack, no more.
            return Err((submission, reply));
        };
        if let Some(claim) = submission.claim.take() {
            self.trailer.push(&claim(&extents));
        }
        self.claim_bytes = claim_bytes;
        self.cause.get_or_insert(submission.cause);
        self.rooms
            .merge(std::mem::replace(&mut submission.room, Room::none()));
        self.waiting.push((extents, reply));
        Ok(())
    }

    async fn flush(self, inner: &Arc<Inner>, scope: ScopeId, epoch: u64) {
        let Self {
            builder,
            trailer,
            waiting,
            rooms,
            cause,
            ..
        } = self;
        let result = write(
            inner,
            (scope, epoch),
            builder,
            Some(trailer),
            (inner.space_of(scope), cause.unwrap_or(Cause::upkeep())),
        )
        .await;
        drop(rooms);
        for (mut extents, reply) in waiting {
            let answer = match &result {
                Ok(pin) => {
                    let id = pin.entry().summary.id;
                    extents
                        .iter_mut()
                        .flatten()
                        .for_each(|extent| extent.resolve_this_pack(id));
                    Ok(Packed {
                        pin: pin.clone(),
                        extents,
                    })
                }
                Err(error) => Err(error.clone()),
            };
            // A requester that went away drops its pin; the last one makes the pack an orphan.
            let _ = reply.send(answer);
        }
    }
}

/// Places runs of chunks in a pack; none if they do not fit.
pub(crate) fn place(builder: &mut PackBuilder, runs: &[Run]) -> Option<Vec<Vec<Extent>>> {
    // A code has at most 32 lanes.
    let lanes = builder.code().data() as u8;
    let mut all = Vec::with_capacity(runs.len());
    for run in runs {
        let mut extents = ExtentBuilder::new(lanes, run.first_chunk);
        for chunk in &run.chunks {
            let Placed { lane, offset } = builder.place(chunk)?;
            extents.push(PackRef::This, lane, offset, chunk.len() as u32);
        }
        all.push(extents.finish());
    }
    Some(all)
}

impl Inner {
    /// What space packs of a scope may take: checkpoints go into the vault-wide one, and without them nothing is collected.
    pub(crate) fn space_of(&self, scope: ScopeId) -> PutSpace {
        if scope == self.vault_scope() {
            PutSpace::Headroom
        } else {
            PutSpace::Free
        }
    }
}

/// Codes a filled pack, with its sealed trailer, and puts its shards on the drives.
pub(crate) async fn write(
    inner: &Arc<Inner>,
    (scope, epoch): (ScopeId, u64),
    builder: PackBuilder,
    trailer: Option<TrailerBuilder>,
    (space, cause): (PutSpace, Cause),
) -> Result<Pin, SessionError> {
    let sealed = match trailer.filter(|trailer| trailer.claims() > 0) {
        Some(trailer) => Some(trailer.seal(&inner.keyring, scope, epoch, &mut super::fill_random)?),
        None => None,
    };
    write_sealed(inner, scope, (builder, sealed), (space, cause)).await
}

async fn write_sealed(
    inner: &Arc<Inner>,
    scope: ScopeId,
    (builder, sealed): (PackBuilder, Option<Vec<u8>>),
    (space, cause): (PutSpace, Cause),
) -> Result<Pin, SessionError> {
    let coder = Arc::clone(&inner.coder);
    let finish = move || builder.finish(&coder, sealed.as_deref());
    let coding = inner.coding.acquire().await;
    // Coding a full pack takes milliseconds, a small one microseconds: neither holds up the other tasks.
    let pack = tokio::task::block_in_place(finish).map_err(|_| SessionError::Internal {
        what: "a pack that overflowed",
    })?;
    drop(coding);
    let entry = inner.cluster.plan(&pack, inner.vault.0, inner.lease)?;
    let pin = inner.pins.pin(entry.clone());
    let cluster = inner.cluster_for(cause);
    cluster.put_planned(pack, &entry, scope.0, space).await?;
    Ok(pin)
}

/// Writes the pack of a run that was moved, which has a trailer that names nothing: its salt makes it another pack than the one that a
/// second gateway would make of the same chunks, and delete when it finds that it came too late. The run leaves room for it.
pub(crate) async fn write_run(
    inner: &Arc<Inner>,
    bucket: &Bucket,
    run: &Run,
    why: (PutSpace, Cause),
) -> Result<Packed, SessionError> {
    let (scope, epoch) = (bucket.scope, bucket.epoch);
    // No room is kept for the trailer, so that the chunks go round the lanes evenly and are one extent.
    let mut builder = PackBuilder::with_pool(inner.code, &inner.lanes);
    let trailer = TrailerBuilder::new(&bucket.name);
    let sealed = trailer.seal(&inner.keyring, scope, epoch, &mut super::fill_random)?;
    let placed = place(&mut builder, std::slice::from_ref(run));
    let mut extents = placed.ok_or(SessionError::Internal {
        what: "a pack that overflowed",
    })?;
    let pin = write_sealed(inner, scope, (builder, Some(sealed)), why).await?;
    let id = pin.entry().summary.id;
    extents
        .iter_mut()
        .flatten()
        .for_each(|extent| extent.resolve_this_pack(id));
    Ok(Packed { pin, extents })
}

/// Writes a filled pack of one run, without claims; where the run lies in it is given.
pub(crate) async fn write_own(
    inner: &Arc<Inner>,
    (scope, epoch): (ScopeId, u64),
    (builder, mut extents): (PackBuilder, Vec<Extent>),
    why: (PutSpace, Cause),
) -> Result<Packed, SessionError> {
    let pin = write(inner, (scope, epoch), builder, None, why).await?;
    let id = pin.entry().summary.id;
    extents.iter_mut().for_each(|extent| extent.resolve_this_pack(id));
    Ok(Packed {
        pin,
        extents: vec![extents],
    })
}
