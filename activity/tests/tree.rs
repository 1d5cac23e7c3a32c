//! The tree against an independent implementation of RFC 6962 and tlog-tiles (the `tlog_tiles` crate).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::RefCell;

use activity::merkle::{EMPTY_ROOT, Hash, leaf_hash, root_from_inclusion};
use activity::{LeafTile, TILE_WIDTH, Tree};
use tlog_tiles::{HashReader, Tile, TileHashReader, TileReader};

fn leaf(number: u64) -> Hash {
    leaf_hash(&number.to_be_bytes())
}

fn leaf_tile(number: u64) -> LeafTile {
    let first = number * TILE_WIDTH;
    LeafTile {
        number,
        hashes: (first..first + TILE_WIDTH).map(leaf).collect(),
    }
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..size {
        tree.push(leaf(number));
    }
    tree
}

/// The other implementation's own store of every node.
#[derive(Default)]
struct Reference(RefCell<Vec<tlog_tiles::Hash>>);

impl HashReader for Reference {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let stored = self.0.borrow();
        Ok(indexes
            .iter()
            .map(|index| stored[usize::try_from(*index).unwrap()])
            .collect())
    }
}

fn reference(size: u64) -> Reference {
    let reference = Reference::default();
    for number in 0..size {
        let new = tlog_tiles::stored_hashes(number, &number.to_be_bytes(), &reference).unwrap();
        reference.0.borrow_mut().extend(new);
    }
    reference
}

const SIZE: u64 = 1_300;
const SIZES: [u64; 14] = [1, 2, 3, 7, 8, 255, 256, 257, 511, 512, 700, 1_024, 1_299, SIZE];

#[test]
fn every_root_is_the_reference_root() {
    let reference = reference(SIZE);
    let mut tree = Tree::default();
    assert_eq!(tree.root(), EMPTY_ROOT);
    for size in 1..=SIZE {
        tree.push(leaf(size - 1));
        assert_eq!(
            tree.root(),
            tlog_tiles::tree_hash(size, &reference).unwrap().0,
            "size {size}"
        );
    }
}

#[test]
fn every_inclusion_proof_is_the_reference_proof_and_holds() {
    let (tree, reference) = (tree(SIZE), reference(SIZE));
    for size in SIZES {
        let root = tlog_tiles::tree_hash(size, &reference).unwrap();
        for index in (0..size)
            .step_by(if size > 300 { 37 } else { 1 })
            .chain([size - 1])
        {
            let leaves: Vec<_> = tree
                .leaf_tiles_touched(index, size)
                .into_iter()
                .map(leaf_tile)
                .collect();
            let proof = tree.inclusion_proof(index, size, &leaves).unwrap();
            let expected = tlog_tiles::prove_record(size, index, &reference).unwrap();
            assert_eq!(
                proof,
                expected.iter().map(|hash| hash.0).collect::<Vec<_>>(),
                "{index} of {size}"
            );
            assert_eq!(
                root_from_inclusion(leaf(index), index, size, &proof),
                Some(root.0)
            );
            tlog_tiles::check_record(&expected, size, root, index, tlog_tiles::Hash(leaf(index))).unwrap();
        }
    }
}

#[test]
fn an_inclusion_proof_holds_for_its_own_place_only() {
    let tree = tree(90);
    for size in [1, 2, 5, 64, 65, 90] {
        for index in 0..size {
            let proof = tree.inclusion_proof(index, size, &[]).unwrap();
            let root = root_from_inclusion(leaf(index), index, size, &proof);
            for other in (0..size + 2).filter(|other| *other != index) {
                assert_ne!(
                    root_from_inclusion(leaf(index), other, size, &proof),
                    root,
                    "{index} as {other} of {size}"
                );
            }
            let mut longer = proof.clone();
            longer.push(leaf(0));
            assert_ne!(root_from_inclusion(leaf(index), index, size, &longer), root);
            if !proof.is_empty() {
                assert_ne!(root_from_inclusion(leaf(index), index, size, &proof[1..]), root);
            }
        }
    }
}

#[test]
fn every_consistency_proof_holds_for_the_reference() {
    let (tree, reference) = (tree(SIZE), reference(SIZE));
    for new in SIZES {
        for old in SIZES.into_iter().filter(|old| *old <= new) {
            let leaves: Vec<_> = tree
                .leaf_tiles_touched(old, new)
                .into_iter()
                .map(leaf_tile)
                .collect();
            let proof = tree.consistency_proof(old, new, &leaves).unwrap();
            let proof = proof.into_iter().map(tlog_tiles::Hash).collect();
            let root = |size| tlog_tiles::tree_hash(size, &reference).unwrap();
            tlog_tiles::check_tree(&proof, new, root(new), old, root(old)).unwrap();
        }
    }
}

#[test]
fn what_is_not_in_the_tree_is_an_error() {
    let tree = tree(300);
    assert!(tree.inclusion_proof(300, 300, &[]).is_err());
    assert!(tree.inclusion_proof(0, 301, &[]).is_err());
    assert!(tree.inclusion_proof(0, 0, &[]).is_err());
    assert!(
        tree.inclusion_proof(0, 300, &[]).is_err(),
        "its leaf tile was not brought"
    );
    assert!(
        tree.inclusion_proof(299, 300, &[]).is_ok(),
        "the unfinished tile is in memory"
    );
    assert!(tree.consistency_proof(0, 300, &[]).is_err());
    assert!(tree.consistency_proof(301, 300, &[]).is_err());
    assert!(tree.tile(1, 0, 1).is_ok());
    assert!(tree.tile(1, 0, 2).is_err());
    assert!(tree.tile(0, 0, 1).is_err(), "leaf tiles are read from the log");
    assert!(tree.tile(1, u64::MAX, 1).is_err());
    assert!(tree.tile(2, 0, 1).is_err());
}

/// Serves our tiles to the other implementation, which checks each against the root.
struct Tiles(Tree);

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let width = u64::from(tile.width());
            if tile.level() > 0 {
                return self
                    .0
                    .tile(tile.level().into(), tile.level_index(), width)
                    .unwrap()
                    .concat();
            }
            let first = tile.level_index() * TILE_WIDTH;
            (first..first + width).flat_map(leaf).collect()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

#[test]
fn the_tiles_prove_themselves_to_the_reference() {
    const LARGE: u64 = 70_000;
    let tiles = Tiles(tree(LARGE));
    let root = tlog_tiles::Hash(tiles.0.root());
    let reader = TileHashReader::new(LARGE, root, &tiles);
    for index in [0, 255, 256, 65_535, 65_536, 69_888, LARGE - 1] {
        let proof = tlog_tiles::prove_record(LARGE, index, &reader).unwrap();
        tlog_tiles::check_record(&proof, LARGE, root, index, tlog_tiles::Hash(leaf(index))).unwrap();
        let leaves: Vec<_> = tiles
            .0
            .leaf_tiles_touched(index, LARGE)
            .into_iter()
            .map(leaf_tile)
            .collect();
        let ours = tiles.0.inclusion_proof(index, LARGE, &leaves).unwrap();
        assert_eq!(ours, proof.iter().map(|hash| hash.0).collect::<Vec<_>>());
    }
}
