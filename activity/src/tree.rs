//! The Merkle tree's state: what must be in memory to grow it, to sign its root and to make any proof.
//!
//! In memory: the right edge (one hash per set bit of the size), the leaf hashes of the unfinished level-0 tile (at
//! most 255), and the hashes of all tiles from level 1 up: one per full tile below, 32 bytes per 256 leaves, so
//! 125 KB per million. Leaf hashes of finished tiles are not kept; whoever asks for a proof brings the one or two
//! leaf tiles it touches ([`LeafTile`]), read again from the log.
//!
//! The invariant: `tiles[l]` holds the roots of all full tiles of level l, in order, and `edge` the roots of the
//! maximal full subtrees, largest first. Source: c2sp.org/tlog-tiles; RFC 6962 sections 2.1.1 and 2.1.2.

use crate::merkle::{EMPTY_ROOT, Hash, node_hash};

/// Hashes in a full tile: a tile stands for a subtree of height 8.
pub const TILE_WIDTH: u64 = 256;

const TILE_HEIGHT: u32 = 8;

/// The leaf hashes of one level-0 tile, full or cut short.
#[derive(Clone, Debug)]
pub struct LeafTile {
    /// Which tile: leaves from `number` x 256.
    pub number: u64,
    /// Its leaf hashes from the first.
    pub hashes: Vec<Hash>,
}

/// Something asked for that is not in the tree, or a leaf tile that a proof needs and that was not brought.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("node {index} of level {level} is not in a tree of {size} leaves")]
pub struct OutOfRange {
    /// Level above the leaves.
    pub level: u32,
    /// Index in that level.
    pub index: u64,
    /// The size of the tree.
    pub size: u64,
}

/// A growing tree. See the module's comment for what it keeps.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    size: u64,
    edge: Vec<Hash>,
    tiles: Vec<Vec<Hash>>,
    tail: Vec<Hash>,
}

impl Tree {
    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf, by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.tail.push(leaf);
        let mut hash = leaf;
        let mut level = 0;
        // A binary counter: each trailing set bit of the size is a full subtree that the new one completes.
        while self.size >> level & 1 == 1 {
            let Some(left) = self.edge.pop() else { break };
            hash = node_hash(&left, &hash);
            level += 1;
            if level % TILE_HEIGHT == 0 {
                self.keep_tile_root(level, hash);
            }
        }
        self.edge.push(hash);
        self.size += 1;
        if self.size.is_multiple_of(TILE_WIDTH) {
            self.tail.clear();
        }
    }

    fn keep_tile_root(&mut self, level: u32, hash: Hash) {
        let above = (level / TILE_HEIGHT - 1) as usize;
        if self.tiles.len() <= above {
            self.tiles.resize_with(above + 1, Vec::new);
        }
        if let Some(row) = self.tiles.get_mut(above) {
            row.push(hash);
        }
    }

    /// The root of the whole tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev();
        let Some(smallest) = edge.next() else {
            return EMPTY_ROOT;
        };
        edge.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The leaf hashes of the unfinished level-0 tile.
    #[must_use]
    pub fn tail(&self) -> LeafTile {
        LeafTile {
            number: self.size / TILE_WIDTH,
            hashes: self.tail.clone(),
        }
    }

    /// `width` hashes of tile `number` at `level` >= 1, which are in memory.
    ///
    /// # Errors
    /// When the tile does not have so many.
    pub fn tile(&self, level: u32, number: u64, width: u64) -> Result<&[Hash], OutOfRange> {
        let missing = OutOfRange {
            level,
            index: number,
            size: self.size,
        };
        let row = level
            .checked_sub(1)
            .and_then(|above| self.tiles.get(above as usize))
            .ok_or(missing)?;
        let first = number.checked_mul(TILE_WIDTH).ok_or(missing)?;
        slice(row, first, width).ok_or(missing)
    }

    /// The root of full level-0 tile `number`: what a leaf tile that was read again must hash to.
    #[must_use]
    pub fn leaf_tile_root(&self, number: u64) -> Option<Hash> {
        self.tiles.first()?.get(usize::try_from(number).ok()?).copied()
    }

    /// The level-0 tiles that a proof from `place` (an index or an old size) in a tree of `size` leaves touches. A
    /// proof finds the unfinished tile in memory; bringing it as well is right when the tree may grow meanwhile.
    #[must_use]
    pub fn leaf_tiles_touched(&self, place: u64, size: u64) -> Vec<u64> {
        let mut numbers = vec![place / TILE_WIDTH, size / TILE_WIDTH];
        numbers.dedup();
        numbers.retain(|number| number * TILE_WIDTH < size.min(self.size));
        numbers
    }

    /// The inclusion proof of the leaf at `index` in the tree of the first `size` leaves, sibling first.
    ///
    /// # Errors
    /// When index or size are beyond the tree, or a leaf tile is missing.
    pub fn inclusion_proof(
        &self,
        index: u64,
        size: u64,
        leaves: &[LeafTile],
    ) -> Result<Vec<Hash>, OutOfRange> {
        if size > self.size || index >= size {
            return Err(OutOfRange {
                level: 0,
                index,
                size: self.size.min(size),
            });
        }
        let (mut low, mut count) = (0, size);
        let mut proof = Vec::new();
        while count > 1 {
            let left = left_count(count);
            if index - low < left {
                proof.push(self.range(low + left, count - left, leaves)?);
                count = left;
            } else {
                proof.push(self.range(low, left, leaves)?);
                low += left;
                count -= left;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// The proof that the tree of `old` leaves is a prefix of that of `new` leaves. Empty when they are the same.
    ///
    /// # Errors
    /// When `old` is 0 (nothing to prove) or sizes are beyond the tree, or a leaf tile is missing.
    pub fn consistency_proof(
        &self,
        old: u64,
        new: u64,
        leaves: &[LeafTile],
    ) -> Result<Vec<Hash>, OutOfRange> {
        if new > self.size || old > new || old == 0 {
            return Err(OutOfRange {
                level: 0,
                index: old,
                size: self.size.min(new),
            });
        }
        let (mut low, mut count, mut shared) = (0, new, old);
        let mut old_is_a_subtree = true;
        let mut proof = Vec::new();
        while shared != count {
            let left = left_count(count);
            if shared <= left {
                proof.push(self.range(low + left, count - left, leaves)?);
                count = left;
            } else {
                proof.push(self.range(low, left, leaves)?);
                low += left;
                count -= left;
                shared -= left;
                old_is_a_subtree = false;
            }
        }
        if !old_is_a_subtree {
            proof.push(self.range(low, count, leaves)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The hash of the subtree over `count` leaves from `low`, which is aligned as RFC 6962 splits the tree.
    fn range(&self, low: u64, count: u64, leaves: &[LeafTile]) -> Result<Hash, OutOfRange> {
        if count.is_power_of_two() {
            return self.node(count.trailing_zeros(), low / count, leaves);
        }
        let left = left_count(count);
        Ok(node_hash(
            &self.range(low, left, leaves)?,
            &self.range(low + left, count - left, leaves)?,
        ))
    }

    /// The root of the full subtree `index` at `level`, folded from the nearest tile hashes below it.
    fn node(&self, level: u32, index: u64, leaves: &[LeafTile]) -> Result<Hash, OutOfRange> {
        let missing = OutOfRange {
            level,
            index,
            size: self.size,
        };
        let (tile_level, height) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let (first, width) = (index << height, 1 << height);
        let hashes = if tile_level == 0 {
            let (number, offset) = (first / TILE_WIDTH, first % TILE_WIDTH);
            let row = if number == self.size / TILE_WIDTH {
                &self.tail
            } else {
                &leaves
                    .iter()
                    .find(|tile| tile.number == number)
                    .ok_or(missing)?
                    .hashes
            };
            slice(row, offset, width)
        } else {
            self.tiles
                .get(tile_level as usize - 1)
                .and_then(|row| slice(row, first, width))
        };
        hashes.and_then(fold).ok_or(missing)
    }
}

/// The root over hashes of full subtrees, whose count is a power of two; `None` for no hashes.
pub(crate) fn fold(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| {
                if let [l, r] = pair {
                    node_hash(l, r)
                } else {
                    EMPTY_ROOT
                }
            })
            .collect();
    }
    row.first().copied()
}

fn slice(row: &[Hash], first: u64, width: u64) -> Option<&[Hash]> {
    let first = usize::try_from(first).ok()?;
    row.get(first..first.checked_add(usize::try_from(width).ok()?)?)
}

/// The leaves of the left subtree of a tree of `count` >= 2: the largest power of two below `count`.
fn left_count(count: u64) -> u64 {
    1 << (63 - (count - 1).leading_zeros())
}
