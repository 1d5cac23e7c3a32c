//! The hashes of an RFC 6962 tree, and the check of an inclusion proof.
//!
//! Making proofs is [`crate::Tree`]'s work. Everything here is total: a proof of any length over any index ends in an
//! answer. Source: RFC 6962 section 2.1; RFC 9162 section 2.1.3.2 for the check.

use sha2::{Digest, Sha256};

/// A SHA-256 hash: of a leaf, an inner node or a root.
pub type Hash = [u8; 32];

/// The root of the tree without leaves: the hash of nothing.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The most hashes that an inclusion proof in a tree of u64 size can have.
pub const PROOF_HASHES_MAX: usize = 64;

/// `SHA-256(00 ‖ data)`.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(data)
        .finalize()
        .into()
}

/// `SHA-256(01 ‖ left ‖ right)`.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The root that `proof` leads to from the leaf at `index` of a tree of `size` leaves; `None` when a proof of this
/// length cannot be one for that place. The caller compares the root.
#[must_use]
pub fn root_from_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let mut node = index;
    let mut last = size - 1;
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}
