//! Packs: up to k x 2 MiB of sealed chunks of one scope, cut into k data lanes and coded into k + m shards
//! (FORMAT.md section 3).
//!
//! It knows nothing of keys, names or drives, and does not store anything: it turns chunks into shards, and says what
//! a pack is made of.
//!
//! Invariant: a [`PackSummary`] that verifies binds every byte of every shard, because the pack id is a hash over the
//! geometry and the shard hashes.

mod builder;
mod geometry;
mod lane;
#[cfg(test)]
mod tests;

pub use builder::{EndError, Pack, PackBuilder, PackFull, Placed};
pub use geometry::{
    BadCode, BadGeometry, CLEAR_HEADER_BYTES_MAX, Code, PackGeometry, PackId, PackSummary, ShardHash,
    TrailerPlace,
};
pub use lane::LanePool;

/// The longest sealed chunk, its tag included, in bytes.
pub const CHUNK_BYTES_MAX: usize = 65_536;
/// The authentication tag at the end of each sealed chunk, in bytes.
pub const TAG_BYTES: usize = 16;
/// The longest shard, in bytes.
pub const SHARD_BYTES_MAX: usize = 2_097_152;
