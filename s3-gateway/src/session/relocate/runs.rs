//! The sealed chunks that are to be moved, read and checked.
//!
//! Invariant: what is handed out is what was stored. A chunk is checked by its tag; one that takes a customer's key, which
//! nobody has here, by the BLAKE3 hash of the whole shard that it lies in.

use super::super::packer::Run;
use super::super::{Inner, SessionError, decode_pack};
use bytes::Bytes;
use engine::pack::{CHUNK_BYTES_MAX, PackId, TAG_BYTES};
use net::cluster::Cause;
use net::{LaneRange, PackEntry};
use scopes::ScopeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use vault::object::{Extent, Part};
use vault::seal::StreamOpener;

const BEYOND: SessionError = SessionError::Internal {
    what: "a chunk beyond its pack",
};

impl Inner {
    /// The sealed chunks of an extent, each checked.
    pub(super) async fn read_run(
        self: &Arc<Self>,
        scope: ScopeId,
        part: &Part,
        extent: &Extent,
        pack: PackId,
        shards: &mut Shards,
    ) -> Result<Run, SessionError> {
        let row = self.index.pack(&pack)?.ok_or(SessionError::Internal {
            what: "a pack without an entry",
        })?;
        let entry = decode_pack(&row.entry)?;
        let chunks = if part.customer {
            self.read_by_shards(&entry, extent, shards).await?
        } else {
            let opener = StreamOpener::new(&self.keyring, scope, part.epoch, part.stream, None);
            let mut chunks = Vec::with_capacity(extent.chunks as usize);
            for index in extent.first_chunk..extent.end_chunk() {
                let range = range_of(&entry, extent, index)?;
                let last = index + 1 == part.chunks();
                let opens = |sealed: &[u8]| opener.open_chunk(index, last, &mut sealed.to_vec()).is_ok();
                chunks.push(self.read_by_tag(&entry, range, opens).await?);
            }
            chunks
        };
        Ok(Run {
            first_chunk: extent.first_chunk,
            chunks,
        })
    }

    /// A chunk that `opens`.
    async fn read_by_tag(
        self: &Arc<Self>,
        entry: &PackEntry,
        range: LaneRange,
        opens: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, SessionError> {
        let LaneRange { lane, offset, bytes } = range;
        let cluster = self.cluster_for(Cause::upkeep());
        let sealed = cluster.read_lane(entry, lane, offset, bytes).await?.to_vec();
        if sealed.len() > TAG_BYTES && opens(&sealed) {
            return Ok(sealed);
        }
        let verified = cluster.read_lane_verified(entry, range).await?.bytes.to_vec();
        if opens(&verified) {
            return Ok(verified);
        }
        Err(SessionError::Internal {
            what: "a chunk that does not open though its shards verify",
        })
    }

    /// The chunks of an extent out of shards that have their hashes.
    async fn read_by_shards(
        self: &Arc<Self>,
        entry: &PackEntry,
        extent: &Extent,
        shards: &mut Shards,
    ) -> Result<Vec<Vec<u8>>, SessionError> {
        let mut chunks = Vec::with_capacity(extent.chunks as usize);
        for index in extent.first_chunk..extent.end_chunk() {
            let range = range_of(entry, extent, index)?;
            let lane = shards.lane(self, entry, range.lane).await?;
            let (start, bytes) = (range.offset as usize, range.bytes as usize);
            chunks.push(lane.get(start..start + bytes).ok_or(BEYOND)?.to_vec());
        }
        Ok(chunks)
    }
}

/// The lanes of one pack out of shards that have their hashes: those of the pack that was read last, so that a pack of many small
/// streams is read once and not once for each of them. Never more than one pack's.
#[derive(Default)]
pub(super) struct Shards {
    pack: Option<PackId>,
    lanes: BTreeMap<u8, Bytes>,
}

impl Shards {
    async fn lane(&mut self, inner: &Inner, entry: &PackEntry, lane: u8) -> Result<Bytes, SessionError> {
        if self.pack != Some(entry.summary.id) {
            self.lanes.clear();
            self.pack = Some(entry.summary.id);
        }
        if let Some(bytes) = self.lanes.get(&lane) {
            return Ok(bytes.clone());
        }
        let lanes = &entry.summary.geometry.lane_bytes;
        let whole = LaneRange {
            lane,
            offset: 0,
            bytes: lanes.get(usize::from(lane)).copied().ok_or(BEYOND)?,
        };
        let verified = inner
            .cluster_for(Cause::upkeep())
            .read_lane_verified(entry, whole)
            .await?;
        self.lanes.insert(lane, verified.bytes.clone());
        Ok(verified.bytes)
    }
}

/// Where a chunk of an extent lies in its pack.
fn range_of(entry: &PackEntry, extent: &Extent, index: u64) -> Result<LaneRange, SessionError> {
    let bytes = if index + 1 == extent.end_chunk() {
        extent.last_chunk_bytes
    } else {
        CHUNK_BYTES_MAX as u32
    };
    let place = extent.place(index).ok_or(BEYOND)?;
    let (lane, offset) = place.on(entry.summary.geometry.code.data() as u8).ok_or(BEYOND)?;
    Ok(LaneRange { lane, offset, bytes })
}
