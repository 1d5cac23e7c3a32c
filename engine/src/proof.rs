//! Proofs that a shard is there: slices of it that verify against its BLAKE3 hash alone.
//!
//! A BLAKE3 hash is the root of a Merkle tree over 1 KiB leaves. A slice holds the leaves of a byte range and the
//! hashes beside the paths to them, in the order of the bao slice format; the 8-byte length that bao puts before them is
//! left out, because the verifier must take it from the pack's geometry anyway: **a slice from the middle does not
//! prove how long the shard is.**
//!
//! It does not choose what to ask: a challenge's offset must be one that nobody could predict.
//!
//! Invariant: bytes that [`verify_slice`] returns are the shard's bytes at that range.
//!
//! Source: BLAKE3 paper, section 2.1; bao specification 0.13, "slice".

use bao_tree::io::outboard::{EmptyOutboard, PreOrderMemOutboard};
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated};
use bao_tree::io::{BaoContentItem, round_up_to_chunks};
use bao_tree::{BaoTree, BlockSize, ByteRanges, ChunkRanges};

use crate::pack::{SHARD_BYTES_MAX, ShardHash};

#[cfg(test)]
mod tests;

/// The hash commits to the shard in leaves of so many bytes.
pub const LEAF_BYTES: usize = 1024;

/// Why a slice cannot be made or does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The range is empty or not inside the shard, or the shard is longer than any.
    #[error("{bytes} bytes at {offset} are not a range of a shard of {shard_bytes} bytes")]
    Range {
        /// Offset asked for, in bytes.
        offset: u32,
        /// Length asked for, in bytes.
        bytes: u32,
        /// Length of the shard, in bytes.
        shard_bytes: u64,
    },
    /// The slice is not of this shard, is cut short, or was changed.
    #[error("the slice does not verify against the shard's hash")]
    Mismatch,
    /// Bytes follow the slice.
    #[error("{bytes} bytes follow the slice")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// The slice of `shard` that proves `bytes` bytes at `offset`. Hashes the whole shard, once.
pub fn slice(shard: &[u8], offset: u32, bytes: u32) -> Result<Vec<u8>, ProofError> {
    let ranges = chunk_ranges(shard.len() as u64, offset, bytes)?;
    let outboard = PreOrderMemOutboard::create(shard, BlockSize::ZERO);
    let mut slice = Vec::new();
    encode_ranges_validated(shard, &outboard, &ranges, &mut slice).map_err(|_| ProofError::Mismatch)?;
    Ok(slice)
}

/// The `bytes` bytes at `offset` of the shard whose hash is `hash`, if `slice` proves them.
///
/// `shard_bytes` must come from a verified [`crate::pack::PackGeometry`], not from whoever made the slice.
pub fn verify_slice(
    hash: ShardHash,
    shard_bytes: u32,
    offset: u32,
    bytes: u32,
    slice: &[u8],
) -> Result<Vec<u8>, ProofError> {
    let ranges = chunk_ranges(u64::from(shard_bytes), offset, bytes)?;
    let outboard = EmptyOutboard {
        tree: BaoTree::new(u64::from(shard_bytes), BlockSize::ZERO),
        root: bao_tree::blake3::Hash::from_bytes(hash.0),
    };
    let mut rest = slice;
    let mut leaves = Vec::with_capacity((bytes as usize + 2 * LEAF_BYTES).min(slice.len()));
    for item in DecodeResponseIter::new(outboard.root, outboard.tree, &mut rest, &ranges) {
        if let BaoContentItem::Leaf(leaf) = item.map_err(|_| ProofError::Mismatch)? {
            leaves.extend_from_slice(&leaf.data);
        }
    }
    if !rest.is_empty() {
        return Err(ProofError::Trailing { bytes: rest.len() });
    }
    // The leaves are those that the range touches, so the range begins inside the first of them.
    let start = offset as usize % LEAF_BYTES;
    let proved = leaves.get(start..start + bytes as usize);
    proved.map(<[u8]>::to_vec).ok_or(ProofError::Mismatch)
}

fn chunk_ranges(shard_bytes: u64, offset: u32, bytes: u32) -> Result<ChunkRanges, ProofError> {
    let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(bytes));
    if bytes == 0 || end > shard_bytes || shard_bytes > SHARD_BYTES_MAX as u64 {
        return Err(ProofError::Range {
            offset,
            bytes,
            shard_bytes,
        });
    }
    Ok(round_up_to_chunks(&ByteRanges::from(start..end)))
}
