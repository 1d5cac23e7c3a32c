//! A byte range of an object on its way out: chunks read lane by lane, opened, and released in order.
//!
//! Decides no access and parses no header. Invariants: a byte is released only after its chunk's tag was checked; the last
//! bytes are released only after the read's record is in the activity log, and a read that ends early after it released some
//! leaves a record that says so. Packs are held from before the first byte to the last, see `hold.rs`.

use super::customer::CustomerKeyError;
use super::hold::Source;
use super::pins::ReadHold;
use super::record::Note;
use super::spans::Spans;
use super::{Bucket, Caller, Inner, Session, SessionError, Stored, decode_pack};
use crate::errors::Refusal;
use activity::Purpose;
use bytes::{Bytes, BytesMut};
use engine::pack::PackId;
use futures::stream::{self, BoxStream, StreamExt};
use net::cluster::Cause;
use net::{Cluster, LaneRange, PackEntry};
use scopes::ScopeId;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinHandle;
use vault::customer::CustomerKey;
use vault::object::{ChunkAt, Manifest, Part};
use vault::seal::StreamOpener;

/// Plaintext on its way out.
pub type ReadStream = BoxStream<'static, Result<Bytes, SessionError>>;

/// Chunks read in one go: 2 MiB, a quarter of a full pack of four lanes.
const WINDOW_CHUNKS: usize = 32;

impl Session {
    /// The bytes `range` of an object, as a stream of pieces of up to 65,520 bytes. Nothing is read before the stream is polled.
    /// What lies beyond the object's end is left out. `key` is the customer's, which [`Session::check_key`] found right.
    pub fn read(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        stored: &Stored,
        key: Option<CustomerKey>,
        range: Range<u64>,
    ) -> ReadStream {
        let note = Note {
            operation: "GetObject",
            scope: Some(bucket.name.clone()),
            bytes: range.end.saturating_sub(range.start),
            status: "ok".into(),
            purpose: Purpose::Read,
            result: Some(stored.manifest_hash()),
        };
        let recorded = Recorded {
            caller: caller.clone(),
            note,
        };
        let start = Start {
            inner: Arc::clone(&self.inner),
            scope: bucket.scope,
            source: Source::Object(Box::new(stored.clone())),
            range,
            key,
            cause: caller.reading(),
            recorded: Some(recorded),
        };
        start.stream()
    }

    /// An object's manifest with its parts in it, read from its own stream where they are many.
    ///
    /// # Errors
    /// When the drives cannot be read.
    pub async fn manifest(
        &self,
        caller: &Caller,
        bucket: &Bucket,
        stored: &Stored,
    ) -> Result<Manifest, SessionError> {
        let source = Source::Object(Box::new(stored.clone()));
        let (manifest, _hold) = self
            .inner
            .hold(bucket.scope, source, &(0..0), caller.reading())
            .await?;
        Ok(manifest)
    }
}

impl Inner {
    /// All bytes of a part's stream, which must be small enough to hold: a manifest's stream, a checkpoint's page.
    pub(crate) async fn read_part(
        self: &Arc<Self>,
        scope: ScopeId,
        part: Part,
        cause: Cause,
    ) -> Result<Vec<u8>, SessionError> {
        let total = part.plaintext_bytes;
        let mut all = Vec::new();
        let mut pieces = self.read_raw(scope, Manifest::Inline(vec![part]), 0..total, cause);
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    /// A byte range without a record of its own.
    pub(crate) fn read_raw(
        self: &Arc<Self>,
        scope: ScopeId,
        manifest: Manifest,
        range: Range<u64>,
        cause: Cause,
    ) -> ReadStream {
        self.read_source(scope, Source::Manifest(manifest), range, (None, cause))
    }

    /// A byte range of an object without a record, as it is now if the collector moved it meanwhile.
    pub(crate) fn read_object(
        self: &Arc<Self>,
        bucket: &Bucket,
        stored: &Stored,
        range: Range<u64>,
        (key, cause): (Option<CustomerKey>, Cause),
    ) -> ReadStream {
        let source = Source::Object(Box::new(stored.clone()));
        self.read_source(bucket.scope, source, range, (key, cause))
    }

    fn read_source(
        self: &Arc<Self>,
        scope: ScopeId,
        source: Source,
        range: Range<u64>,
        (key, cause): (Option<CustomerKey>, Cause),
    ) -> ReadStream {
        let start = Start {
            inner: Arc::clone(self),
            scope,
            source,
            range,
            key,
            cause,
            recorded: None,
        };
        start.stream()
    }

    /// The parts list that a manifest's stream holds, while the entries of its packs may not be in the view yet.
    pub(crate) async fn read_parts_list(
        self: &Arc<Self>,
        scope: ScopeId,
        stream: Part,
        packs: &Arc<HashMap<PackId, PackEntry>>,
    ) -> Result<Manifest, SessionError> {
        let total = stream.plaintext_bytes;
        let manifest = Manifest::Inline(vec![stream]);
        let fetcher = Fetcher {
            inner: Arc::clone(self),
            scope,
            key: None,
            cause: Cause::upkeep(),
            known: Some(Arc::clone(packs)),
            _hold: None,
        };
        let chunks = manifest.chunks(0..total).map_err(|_| HOLES)?;
        let mut listed = Vec::new();
        // Not looked up again: the view waits for this very read.
        for piece in fetcher
            .fetch_as_known(&chunks.collect::<Vec<_>>(), fetcher.cause)
            .await?
        {
            listed.extend_from_slice(&piece);
        }
        Manifest::decode_parts(&listed).map_err(|_| HOLES)
    }

    /// The parts of a manifest, read from its own stream where it is indirect.
    pub(crate) async fn resolve(
        self: &Arc<Self>,
        scope: ScopeId,
        manifest: Manifest,
        cause: Cause,
    ) -> Result<Manifest, SessionError> {
        let stream = match manifest {
            Manifest::Inline(_) => return Ok(manifest),
            Manifest::Indirect { stream, .. } => *stream,
        };
        let listed = Box::pin(self.read_part(scope, stream, cause)).await?;
        Manifest::decode_parts(&listed).map_err(|_| SessionError::Internal {
            what: "a manifest that does not decode",
        })
    }
}

struct Recorded {
    caller: Caller,
    note: Note,
}

struct Start {
    inner: Arc<Inner>,
    scope: ScopeId,
    source: Source,
    range: Range<u64>,
    /// The customer's, where the object takes one.
    key: Option<CustomerKey>,
    cause: Cause,
    recorded: Option<Recorded>,
}

impl Start {
    fn stream(self) -> ReadStream {
        stream::once(self.open())
            .flat_map(|reader| match reader {
                Ok(reader) => stream::unfold(reader, Reader::step).boxed(),
                Err(error) => stream::once(async move { Err(error) }).boxed(),
            })
            .boxed()
    }

    async fn open(self) -> Result<Reader, SessionError> {
        let (manifest, hold) = self
            .inner
            .hold(self.scope, self.source, &self.range, self.cause)
            .await?;
        // Checked once here, so that a bad manifest is an error before the first byte.
        let mut chunks = manifest.chunks(self.range.clone()).map_err(|_| HOLES)?;
        let window: Vec<ChunkAt> = chunks.by_ref().take(WINDOW_CHUNKS).collect();
        let next = chunks.next().map_or(self.range.end, |chunk| {
            chunk.plaintext_offset + chunk.wanted.start as u64
        });
        let fetcher = Arc::new(Fetcher {
            inner: self.inner,
            scope: self.scope,
            key: self.key,
            cause: self.cause,
            known: None,
            _hold: Some(hold),
        });
        let first = if window.is_empty() {
            VecDeque::new()
        } else {
            fetcher.fetch(window).await?
        };
        let mut reader = Reader {
            fetcher,
            manifest,
            range: next..self.range.end,
            ready: first,
            ahead: None,
            recorded: self.recorded,
            released: 0,
        };
        reader.look_ahead();
        Ok(reader)
    }
}

struct Reader {
    fetcher: Arc<Fetcher>,
    manifest: Manifest,
    /// What no window was fetched for yet.
    range: Range<u64>,
    ready: VecDeque<Bytes>,
    ahead: Option<JoinHandle<Result<VecDeque<Bytes>, SessionError>>>,
    /// Taken when the record was written.
    recorded: Option<Recorded>,
    /// Bytes that went out.
    released: u64,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            ahead.abort();
        }
        self.ended_early("aborted".into());
    }
}

impl Reader {
    async fn step(mut self) -> Option<(Result<Bytes, SessionError>, Self)> {
        if self.ready.is_empty()
            && let Some(ahead) = self.ahead.take()
        {
            match ahead.await {
                Ok(Ok(ready)) => self.ready = ready,
                Ok(Err(error)) => return Some(self.failed(error)),
                Err(_) => {
                    return Some(self.failed(SessionError::Internal {
                        what: "a reader stopped",
                    }));
                }
            }
            self.look_ahead();
        }
        let last = self.ready.len() <= 1 && self.ahead.is_none();
        if last
            && let Some(Recorded { caller, note }) = self.recorded.take()
            && let Err(error) = self.fetcher.inner.record_now(&caller, note).await
        {
            return Some(self.failed(error));
        }
        let piece = self.ready.pop_front()?;
        self.released += piece.len() as u64;
        Some((Ok(piece), self))
    }

    /// After an error nothing more is released, and the record says how far the read came.
    fn failed(mut self, error: SessionError) -> (Result<Bytes, SessionError>, Self) {
        self.ready.clear();
        self.ended_early(Refusal::from(&error).code);
        self.range.start = self.range.end;
        (Err(error), self)
    }

    /// Writes down a read that released less than was asked for. One that released nothing is its caller's to write down.
    fn ended_early(&mut self, status: Cow<'static, str>) {
        if let Some(Recorded { caller, note }) = self.recorded.take()
            && self.released > 0
        {
            let bytes = self.released;
            self.fetcher.inner.record_lossy(
                &caller,
                Note {
                    bytes,
                    status,
                    ..note
                },
            );
        }
    }

    /// Starts fetching the next window while the present one is being sent.
    fn look_ahead(&mut self) {
        if self.range.start >= self.range.end {
            return;
        }
        let Ok(mut chunks) = self.manifest.chunks(self.range.clone()) else {
            return;
        };
        let window: Vec<ChunkAt> = chunks.by_ref().take(WINDOW_CHUNKS).collect();
        self.range.start = chunks.next().map_or(self.range.end, |chunk| {
            chunk.plaintext_offset + chunk.wanted.start as u64
        });
        if !window.is_empty() {
            let fetcher = Arc::clone(&self.fetcher);
            self.ahead = Some(tokio::spawn(async move { fetcher.fetch(window).await }));
        }
    }
}

struct Fetcher {
    inner: Arc<Inner>,
    scope: ScopeId,
    /// The customer's, where the object takes one.
    key: Option<CustomerKey>,
    /// What is read for.
    cause: Cause,
    /// Pack entries that come before those of the view.
    known: Option<Arc<HashMap<PackId, PackEntry>>>,
    /// Keeps the packs from the collector until the last fetch has ended.
    _hold: Option<ReadHold>,
}

const HOLES: SessionError = SessionError::Internal {
    what: "a manifest with holes",
};

impl Fetcher {
    /// Reads and opens chunks, and gives the wanted bytes of each, in order. What cannot be read is looked up once more: its shards may
    /// have been moved since.
    async fn fetch(&self, window: Vec<ChunkAt>) -> Result<VecDeque<Bytes>, SessionError> {
        let before = self.inner.applied();
        match self.fetch_as_known(&window, self.cause).await {
            Err(error) => {
                if self.inner.catch_up().await.is_err() || self.inner.applied() == before {
                    return Err(error);
                }
                self.fetch_as_known(&window, self.cause.again()).await
            }
            fetched => fetched,
        }
    }

    async fn fetch_as_known(
        &self,
        window: &[ChunkAt],
        cause: Cause,
    ) -> Result<VecDeque<Bytes>, SessionError> {
        let cluster = self.inner.cluster_for(cause);
        let mut ready = VecDeque::with_capacity(window.len());
        for same_pack in window.chunk_by(|a, b| a.pack == b.pack) {
            let Some(first) = same_pack.first() else { continue };
            let entry = self.entry(&first.pack)?;
            ready.extend(self.fetch_pack(&cluster, &entry, same_pack).await?);
        }
        Ok(ready)
    }

    fn entry(&self, pack: &PackId) -> Result<PackEntry, SessionError> {
        if let Some(entry) = self.known.as_ref().and_then(|known| known.get(pack)) {
            return Ok(entry.clone());
        }
        let row = self.inner.index.pack(pack)?;
        // One that another gateway has retired is there for as long as it is held.
        let entry = row.map(|row| row.entry).or_else(|| self.inner.pins.kept(pack));
        let entry = entry.ok_or(SessionError::Internal {
            what: "a pack without an entry",
        })?;
        decode_pack(&entry)
    }

    async fn fetch_pack(
        &self,
        cluster: &Cluster,
        entry: &PackEntry,
        chunks: &[ChunkAt],
    ) -> Result<Vec<Bytes>, SessionError> {
        let lanes = entry.summary.geometry.code.data() as u8;
        let mut spans = Spans::default();
        for chunk in chunks {
            let (lane, offset) = chunk.place.on(lanes).ok_or(SessionError::Internal {
                what: "a chunk beyond its pack",
            })?;
            spans.add(lane, offset, chunk.sealed_bytes);
        }
        let read = cluster.read_lanes(entry, &spans.ranges).await?;
        let mut buffers: Vec<BytesMut> = read.into_iter().map(into_mut).collect();
        let mut pieces = Vec::with_capacity(chunks.len());
        for (chunk, span) in chunks.iter().zip(&spans.of_chunk) {
            let sealed = buffers
                .get_mut(*span)
                .and_then(|buffer| split_chunk(buffer, chunk.sealed_bytes));
            let sealed = sealed.ok_or(SessionError::Internal { what: "a short read" })?;
            pieces.push(self.open(cluster, (entry, lanes), chunk, sealed).await?);
        }
        Ok(pieces)
    }

    async fn open(
        &self,
        cluster: &Cluster,
        (entry, lanes): (&PackEntry, u8),
        chunk: &ChunkAt,
        mut sealed: BytesMut,
    ) -> Result<Bytes, SessionError> {
        let key = self.key.as_ref().filter(|_| chunk.customer);
        if chunk.customer && key.is_none() {
            return Err(CustomerKeyError::Missing.into());
        }
        let keyring = &self.inner.keyring;
        let opener = StreamOpener::new(keyring, self.scope, chunk.epoch, chunk.stream, key);
        let opened = match opener.open_chunk(chunk.index, chunk.last, &mut sealed) {
            Ok(bytes) => bytes,
            Err(_) => {
                // Some shard lies. Find out which, and read around it.
                let (lane, offset) = chunk.place.on(lanes).ok_or(SessionError::Internal {
                    what: "a chunk beyond its pack",
                })?;
                let range = LaneRange {
                    lane,
                    offset,
                    bytes: chunk.sealed_bytes,
                };
                let verified = cluster.read_lane_verified(entry, range).await?;
                sealed = into_mut(verified.bytes);
                opener
                    .open_chunk(chunk.index, chunk.last, &mut sealed)
                    .map_err(|_| SessionError::Internal {
                        what: "a chunk that does not open though its shards verify",
                    })?
            }
        };
        sealed.truncate(opened);
        if chunk.wanted.end > sealed.len() {
            return Err(SessionError::Internal {
                what: "a chunk shorter than its manifest says",
            });
        }
        Ok(sealed.freeze().slice(chunk.wanted.clone()))
    }
}

fn into_mut(bytes: Bytes) -> BytesMut {
    // Without a copy when nobody else holds the buffer, which is so for everything just read.
    bytes
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()))
}

/// Takes a chunk's bytes off the front of its span's buffer; chunks of a span come in order and without gaps.
fn split_chunk(buffer: &mut BytesMut, bytes: u32) -> Option<BytesMut> {
    (buffer.len() >= bytes as usize).then(|| buffer.split_to(bytes as usize))
}
