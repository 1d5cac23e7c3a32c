//! One PUT body, or one attempt at a part, on its way in: sealed chunk by chunk, full packs written as they fill.
//!
//! Knows nothing of object keys. Invariant: nothing a stream wrote is visible until a ledger entry names it; a writer that is
//! dropped leaves only orphans for the collector.

use super::budget::Room;
use super::gather::{Gather, PLAIN_BYTES};
use super::packer::{Run, Submission};
use super::pins::Pin;
use super::{Bucket, Inner, Session, SessionError, fill_random, packer};
use bytes::Bytes;
use engine::pack::{CHUNK_BYTES_MAX, PackBuilder, SHARD_BYTES_MAX};
use futures::stream::{FuturesOrdered, StreamExt};
use net::cluster::Cause;
use scopes::ScopeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use vault::customer::{CustomerCheck, CustomerKey, CustomerSeal};
use vault::object::{Checksum, Extent, Part, StreamId, Upload};
use vault::seal::{FreshStream, StreamSealer};

/// Packs of one stream on their way to the drives at the same time.
const IN_FLIGHT_MAX: usize = 2;
/// How long a stream waits for room for its first chunk: little of it has been sent, so its client may well try again.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a stream waits for room later on.
const LATER_PATIENCE: Duration = Duration::from_secs(60);

/// With so many extents a stream shares packs no more: it would keep each of them, and what others left in it, from going.
const SHARED_EXTENTS_MAX: usize = 128;

type Written = Result<packer::Packed, SessionError>;

/// Takes a stream in. See the module.
pub struct StreamWriter {
    inner: Arc<Inner>,
    scope: ScopeId,
    name: String,
    epoch: u64,
    stream: StreamId,
    sealer: StreamSealer,
    /// Where it is sealed under a customer's key too.
    customer: Option<CustomerSeal>,
    bytes: u64,
    gather: Gather,
    /// Chunks sealed when it was last looked at.
    looked_chunks: u64,
    /// Whether little came between the last two looks.
    slow: bool,
    room: Room,
    in_flight: FuturesOrdered<JoinHandle<Written>>,
    pins: Vec<Pin>,
    extents: Vec<Extent>,
    cause: Cause,
}

/// A stream that ended well: what is durable already, and the tail that shares a pack with others.
pub struct FinishedStream {
    pub(crate) stream: StreamId,
    pub(crate) epoch: u64,
    pub(crate) customer: Option<CustomerSeal>,
    pub(crate) bytes: u64,
    pub(crate) pins: Vec<Pin>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) tail: Run,
    pub(crate) room: Room,
}

impl Session {
    /// Takes a new stream in for this bucket, to be sealed under the customer's key too if there is one. Refused at once when
    /// a write could not succeed.
    ///
    /// # Errors
    /// [`SessionError::NotWritable`], [`SessionError::QuotaExceeded`].
    pub async fn stream(
        &self,
        bucket: &Bucket,
        key: Option<&CustomerKey>,
    ) -> Result<StreamWriter, SessionError> {
        self.writable()?;
        self.inner.check_quota(0)?;
        StreamWriter::new(&self.inner, bucket, key, None)
    }

    /// As [`Self::stream`], for a part of an upload.
    ///
    /// # Errors
    /// [`SessionError::CustomerKey`] if it is not the upload's key; as for [`Self::stream`].
    pub async fn part_stream(
        &self,
        bucket: &Bucket,
        upload: &Upload,
        key: Option<&CustomerKey>,
    ) -> Result<StreamWriter, SessionError> {
        self.check_upload_key(bucket, upload, key)?;
        self.writable()?;
        self.inner.check_quota(0)?;
        StreamWriter::new(&self.inner, bucket, key, Some(upload))
    }
}

impl StreamWriter {
    /// A writer under the customer's key if there is one; of a part, for an upload that was begun with that key.
    pub(crate) fn new(
        inner: &Arc<Inner>,
        bucket: &Bucket,
        key: Option<&CustomerKey>,
        part_of: Option<&Upload>,
    ) -> Result<Self, SessionError> {
        let fresh = FreshStream::draw(&mut fill_random);
        let stream = fresh.id();
        let (keyring, scope) = (&inner.keyring, bucket.scope);
        let check = part_of.and_then(|upload| upload.customer);
        let seal = |key| match check {
            Some(check) => CustomerSeal::of_part(keyring, scope, check, key),
            None => CustomerSeal::new(keyring, scope, bucket.epoch, key, &mut fill_random),
        };
        Ok(Self {
            inner: Arc::clone(inner),
            scope: bucket.scope,
            epoch: bucket.epoch,
            stream,
            sealer: StreamSealer::new(&inner.keyring, bucket.scope, bucket.epoch, fresh, key),
            customer: key.map(seal),
            bytes: 0,
            gather: Gather::default(),
            looked_chunks: 0,
            slow: false,
            name: bucket.name.clone(),
            room: Room::none(),
            in_flight: FuturesOrdered::new(),
            pins: Vec::new(),
            extents: Vec::new(),
            cause: Cause::upkeep(),
        })
    }

    /// Written for this; without it, for nobody's operation.
    #[must_use]
    pub fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    /// Takes the next bytes of the stream. Waits when the upload budget or the drives are behind.
    ///
    /// # Errors
    /// When the drives refused what was written before, or [`SessionError::Busy`]; the stream is then of no use.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), SessionError> {
        let mut rest = bytes.as_ref();
        while !rest.is_empty() {
            if self.gather.plain_bytes() == PLAIN_BYTES {
                // More is coming, so the full chunk is not the last.
                self.seal(false).await?;
                self.spread()?;
            }
            let taken = self.gather.push(rest, rest.len() <= PLAIN_BYTES)?;
            self.bytes += taken as u64;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// To be called about once a second: when the budget is short, what a slow stream has gathered leaves, so that it does not keep
    /// room from others while it waits for its client. The more extents it has, the more has to be gathered before it does.
    ///
    /// # Errors
    /// When the drives refused what was written before; the stream is then of no use.
    pub async fn settle(&mut self) -> Result<(), SessionError> {
        let came = self.gather.sealed().saturating_sub(self.looked_chunks);
        self.looked_chunks = self.gather.sealed();
        self.slow = came < packer_share(self.inner.code.data()) as u64;
        let enough = self.gather.has_lanes() || self.gather.len() >= least_chunks(self.extents.len());
        if self.slow && enough && self.inner.budget.is_tight() {
            self.send_pack().await?;
        }
        Ok(())
    }

    /// Ends the stream: seals its last chunk and waits for its full packs.
    ///
    /// # Errors
    /// When the drives refused a pack.
    pub async fn finish(mut self) -> Result<FinishedStream, SessionError> {
        if self.bytes > 0 {
            self.seal(true).await?;
        }
        if self.gather.len() >= packer_share(self.inner.code.data()) {
            self.send_pack().await?;
        }
        while let Some(done) = self.in_flight.next().await {
            self.take(done)?;
        }
        Ok(FinishedStream {
            stream: self.stream,
            epoch: self.epoch,
            customer: self.customer,
            bytes: self.bytes,
            pins: self.pins,
            extents: self.extents,
            tail: self.gather.into_run()?,
            room: self.room,
        })
    }

    async fn seal(&mut self, last: bool) -> Result<(), SessionError> {
        // Lanes have room for a whole pack.
        if !self.gather.has_lanes() {
            let room = self.room_for_chunk(last).await?;
            self.room.merge(room);
        }
        self.gather.seal(&mut self.sealer, last)?;
        if self.gather.len() >= chunks_of_pack(self.inner.code.data()) {
            self.send_pack().await?;
        }
        Ok(())
    }

    /// Gives a stream that has shown to be long and is not slow the lanes of a whole pack, if there is memory to spare.
    fn spread(&mut self) -> Result<(), SessionError> {
        let data = self.inner.code.data();
        if self.slow || self.gather.has_lanes() || self.gather.sealed() < packer_share(data) as u64 {
            return Ok(());
        }
        let rest = chunks_of_pack(data) - self.gather.len();
        let Some(room) = self.inner.budget.try_chunks(rest) else {
            return Ok(());
        };
        self.room.merge(room);
        let mut builder = PackBuilder::with_pool(self.inner.code, &self.inner.lanes);
        builder.expect_full();
        self.gather.spread(builder)
    }

    /// Room for one more chunk. While others have taken it all, this stream's own packs on their way give some back; only when
    /// it has none does it give up what it gathered, as a short pack: it never waits for others while it holds room.
    async fn room_for_chunk(&mut self, last: bool) -> Result<Room, SessionError> {
        let first = self.gather.sealed() == 0;
        let whole = first && last;
        loop {
            if let Some(room) = self.inner.budget.try_chunk(whole) {
                return Ok(room);
            }
            if self.in_flight.is_empty() {
                if self.gather.len() == 0 {
                    let patience = if first { FIRST_PATIENCE } else { LATER_PATIENCE };
                    let room = self.inner.budget.chunk(whole, patience).await;
                    return room.ok_or(SessionError::Busy);
                }
                self.send_pack().await?;
            }
            if let Some(done) = self.in_flight.next().await {
                self.take(done)?;
            }
        }
    }

    /// Sends the chunks gathered so far on their way: as a pack of their own, or, where they are few and the stream does not lie
    /// in many packs yet, in one that slow streams share.
    async fn send_pack(&mut self) -> Result<(), SessionError> {
        if self.gather.len() == 0 {
            return Ok(());
        }
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            if let Some(done) = self.in_flight.next().await {
                self.take(done)?;
            }
        }
        let few = !self.gather.has_lanes()
            && self.gather.len() < packer_share(self.inner.code.data())
            && self.extents.len() < SHARED_EXTENTS_MAX;
        let gathered = self.gather.take();
        let room = std::mem::replace(&mut self.room, Room::none());
        if few {
            let submission = Submission::of_runs(vec![gathered.into_run()], room, self.cause);
            let packer = self.inner.packer(self.scope, &self.name, self.epoch);
            self.in_flight
                .push_back(tokio::spawn(async move { packer.submit(submission).await }));
            return Ok(());
        }
        let (inner, scope, epoch) = (Arc::clone(&self.inner), self.scope, self.epoch);
        let why = (inner.space_of(scope), self.cause);
        self.in_flight.push_back(tokio::spawn(async move {
            let own = gathered.pack(&inner)?;
            let packed = packer::write_own(&inner, (scope, epoch), own, why).await?;
            drop(room);
            Ok(packed)
        }));
        Ok(())
    }

    fn take(&mut self, done: Result<Written, tokio::task::JoinError>) -> Result<(), SessionError> {
        let packed = done.map_err(|_| SessionError::Internal {
            what: "a pack writer stopped",
        })??;
        self.pins.push(packed.pin);
        self.extents.extend(packed.extents.into_iter().flatten());
        Ok(())
    }
}

/// Chunks of a full pack of `lanes` lanes.
pub(crate) const fn chunks_of_pack(lanes: usize) -> usize {
    lanes * (SHARD_BYTES_MAX / CHUNK_BYTES_MAX)
}

/// From so many chunks on, a stream's tail is a pack of its own rather than a guest in a shared one: eight rows, so that an
/// uneven last row costs at most an eighth.
pub(crate) const fn packer_share(lanes: usize) -> usize {
    lanes * 8
}

/// The least chunks that leave a slow stream of so many extents at a time. At first each goes alone, so that a stream holds next to
/// nothing; but a long one must not come to have so many extents that the collector cannot move it (`relocate.rs`) or a claim
/// cannot name them.
const fn least_chunks(extents: usize) -> usize {
    match extents / SHARED_EXTENTS_MAX {
        0 => 1,
        1 => 8,
        2 => 16,
        _ => 32,
    }
}

impl FinishedStream {
    /// Plaintext bytes of the stream.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What stands in the stream's ETag, for the MD5 of its bytes and the number of the part that it is, or 0.
    pub(crate) fn etag(&self, number: u16, md5: &[u8; 16]) -> [u8; 16] {
        self.customer.as_ref().map_or(*md5, |seal| seal.etag(number, md5))
    }

    /// By what its customer's key is known again.
    pub(crate) fn check(&self) -> Option<CustomerCheck> {
        self.customer.as_ref().map(CustomerSeal::check)
    }

    /// The part as a manifest lists it, without the tail's extents.
    pub(crate) fn part(&self, number: u16, md5: Option<[u8; 16]>, checksum: Option<Checksum>) -> Part {
        Part {
            number,
            plaintext_bytes: self.bytes,
            stream: self.stream,
            epoch: self.epoch,
            customer: self.customer.is_some(),
            md5: md5.filter(|_| self.customer.is_none()),
            checksum,
            extents: self.extents.clone(),
        }
    }
}
