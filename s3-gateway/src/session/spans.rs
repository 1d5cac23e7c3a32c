//! Where the chunks of a read lie: as few ranges of lanes as their order allows.
//!
//! Reads nothing. Invariant: a chunk's bytes are in one range, behind those of the chunks before it there.

use net::LaneRange;

/// Chunks joined into as few lane ranges as their order allows.
#[derive(Default)]
pub(super) struct Spans {
    pub(super) ranges: Vec<LaneRange>,
    /// For each chunk, in order: its range.
    pub(super) of_chunk: Vec<usize>,
}

impl Spans {
    pub(super) fn add(&mut self, lane: u8, offset: u32, bytes: u32) {
        let joined = self
            .ranges
            .iter_mut()
            .enumerate()
            .rev()
            .find(|(_, range)| range.lane == lane);
        if let Some((index, range)) = joined
            && range.offset.checked_add(range.bytes) == Some(offset)
        {
            self.of_chunk.push(index);
            range.bytes += bytes;
            return;
        }
        self.of_chunk.push(self.ranges.len());
        self.ranges.push(LaneRange { lane, offset, bytes });
    }
}
