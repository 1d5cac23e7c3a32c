//! All digests of one body, computed in one pass beside the stream: the MD5 that clients take for the ETag, the SHA-256 that a
//! signature covers, and an S3 checksum.
//!
//! Judges none of them; `body.rs` does. Invariant: every digest has taken the same bytes.

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::checksum::{Algorithm, Summer, Value};

/// Bytes of a block of MD5 and of SHA-256.
const BLOCK_BYTES: usize = 64;

/// What was computed over a body that passed every check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digests {
    /// The body's length in bytes, decoded.
    pub bytes: u64,
    /// MD5, when it was asked for.
    pub md5: Option<[u8; 16]>,
    /// SHA-256, when it was asked for.
    pub sha256: Option<[u8; 32]>,
    /// The S3 checksum, when there was one to compute.
    pub checksum: Option<Value>,
}

/// All digests of one body under way.
pub struct Hasher {
    bytes: u64,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    sum: Option<Summer>,
    /// Whether the SHA-256 is the checksum too.
    is_sum: bool,
}

impl Hasher {
    /// Starts; `md5` is for ETags and `Content-MD5`.
    pub fn new(md5: bool, algorithm: Option<Algorithm>) -> Self {
        let is_sum = algorithm == Some(Algorithm::Sha256);
        Self {
            bytes: 0,
            md5: md5.then(Md5::new),
            sha256: is_sum.then(Sha256::new),
            sum: algorithm.filter(|_| !is_sum).map(Summer::new),
            is_sum,
        }
    }

    /// Computes SHA-256 too, from the beginning.
    #[must_use]
    pub fn with_sha256(mut self) -> Self {
        self.sha256.get_or_insert_default();
        self
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match (&mut self.md5, &mut self.sha256) {
            (Some(md5), Some(sha256)) => by_turns(md5, sha256, self.bytes, bytes),
            (Some(md5), None) => md5.update(bytes),
            (None, Some(sha256)) => sha256.update(bytes),
            (None, None) => {}
        }
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
        self.bytes += bytes.len() as u64;
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digests of everything taken.
    pub fn finish(self) -> Digests {
        let sha256: Option<[u8; 32]> = self.sha256.map(|sha256| sha256.finalize().into());
        let as_sum = sha256.filter(|_| self.is_sum).map(|hash| Value {
            algorithm: Algorithm::Sha256,
            bytes: hash.to_vec(),
        });
        let checksum = as_sum.or_else(|| self.sum.map(Summer::finish));
        Digests {
            bytes: self.bytes,
            md5: self.md5.map(|md5| md5.finalize().into()),
            sha256,
            checksum,
        }
    }
}

/// Gives both digests the same bytes, block by block. Each step of MD5 waits for the one before, which leaves most of a processor
/// idle; a block of SHA-256 beside it fills that, and the two cost a sixth less than one after the other (docs/measurements.md).
fn by_turns(md5: &mut Md5, sha256: &mut Sha256, taken: u64, bytes: &[u8]) {
    // Up to where a block begins, so that neither digest has to keep a part of one.
    let begun = (taken % BLOCK_BYTES as u64) as usize;
    let head = (BLOCK_BYTES - begun) % BLOCK_BYTES;
    let (head, blocks) = bytes.split_at_checked(head).unwrap_or((bytes, &[]));
    for part in std::iter::once(head).chain(blocks.chunks(BLOCK_BYTES)) {
        md5.update(part);
        sha256.update(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digest_is_that_of_all_bytes_however_they_were_cut() {
        let bytes: Vec<u8> = (0..1_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        for cut in [1, 3, 63, 64, 65, 127, 128, 200, 999, 1_000] {
            for algorithm in [None, Some(Algorithm::Sha256), Some(Algorithm::Crc32c)] {
                let mut hasher = Hasher::new(true, algorithm).with_sha256();
                for part in bytes.chunks(cut) {
                    hasher.update(part);
                    hasher.update(&[]);
                }
                let summed = algorithm.map(|algorithm| {
                    let mut summer = Summer::new(algorithm);
                    summer.update(&bytes);
                    summer.finish()
                });
                let expected = Digests {
                    bytes: 1_000,
                    md5: Some(Md5::digest(&bytes).into()),
                    sha256: Some(Sha256::digest(&bytes).into()),
                    checksum: summed,
                };
                assert_eq!(hasher.finish(), expected, "{cut} {algorithm:?}");
            }
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_computed() {
        let mut hasher = Hasher::new(false, None);
        hasher.update(b"abc");
        let bytes_only = Digests {
            bytes: 3,
            ..Digests::default()
        };
        assert_eq!(hasher.finish(), bytes_only);
    }
}
