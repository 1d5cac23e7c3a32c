//! Hashes: BLAKE3 of shards, and the MD5 and SHA-256 that S3 clients make unavoidable.

use benches::{Amount, Case, Stage, noise};
use md5::Md5;
use sha2::{Digest, Sha256};

fn main() {
    let mut stage = Stage::new("hash");
    let shard = noise(2 << 20);
    let (chunk, _) = shard.split_at(64 << 10);
    let (bytes, chunk_bytes) = (Amount::Bytes(2 << 20), Amount::Bytes(64 << 10));
    stage.case(Case::new("BLAKE3, 64 KiB", chunk_bytes, Some(6.43)), || {
        blake3::hash(chunk)
    });
    stage.case(Case::new("BLAKE3, 2 MiB", bytes, Some(6.37)), || {
        blake3::hash(&shard)
    });
    stage.case(Case::new("SHA-256, 2 MiB", bytes, Some(1.79)), || {
        Sha256::digest(&shard)
    });
    // The reference gives MD5 as 1.5 CPU-s per GiB.
    stage.case(Case::new("MD5, 2 MiB", bytes, Some(0.72)), || Md5::digest(&shard));
    stage.finish();
}
