//! The sealed chunks that are to be moved, read and checked.
//!
//! Invariant: what is handed out is what was stored. A chunk is checked by its tag; one that takes a customer's key, which
//! nobody has here, by the BLAKE3 hash of the whole shard that it lies in.

use super::super::packer::Run;
use super::super::{Inner, SessionError, decode_pack};
use bytes::Bytes;
use engine::pack::{CHUNK_BYTES_MAX, PackId, TAG_BYTES};
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
    ) -> Result<Run, SessionError> {
        let row = self.index.pack(&pack)?.ok_or(SessionError::Internal {
            what: "a pack without an entry",
        })?;
        let entry = decode_pack(&row.entry)?;
        let chunks = if part.customer {
            self.read_by_shards(&entry, extent).await?
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
        let sealed = self.cluster.read_lane(entry, lane, offset, bytes).await?.to_vec();
        if sealed.len() > TAG_BYTES && opens(&sealed) {
            return Ok(sealed);
        }
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

    /// The chunks of an extent out of shards that have their hashes, each shard read once.
    async fn read_by_shards(
        self: &Arc<Self>,
        entry: &PackEntry,
        extent: &Extent,
    ) -> Result<Vec<Vec<u8>>, SessionError> {
        let mut ranges = Vec::with_capacity(extent.chunks as usize);
        for index in extent.first_chunk..extent.end_chunk() {
            ranges.push(range_of(entry, extent, index)?);
        }
        // On each lane the extent's chunks lie one behind the other.
        let mut spans: BTreeMap<u8, LaneRange> = BTreeMap::new();
        for range in &ranges {
            let span = spans.entry(range.lane).or_insert(*range);
            span.bytes = (range.offset + range.bytes).saturating_sub(span.offset);
        }
        let mut lanes: BTreeMap<u8, (u32, Bytes)> = BTreeMap::new();
        for (lane, span) in spans {
            let verified = self.cluster.read_lane_verified(entry, span).await?;
            lanes.insert(lane, (span.offset, verified.bytes));
        }
        let chunk = |range: &LaneRange| {
            let (base, bytes) = lanes.get(&range.lane)?;
            let start = range.offset.checked_sub(*base)? as usize;
            Some(bytes.get(start..start + range.bytes as usize)?.to_vec())
        };
        ranges.iter().map(|range| chunk(range).ok_or(BEYOND)).collect()
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
