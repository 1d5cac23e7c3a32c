use proptest::prelude::*;

use super::*;

fn shard(bytes: usize) -> Vec<u8> {
    let mut shard = vec![0; bytes];
    blake3::Hasher::new()
        .update(b"shard")
        .finalize_xof()
        .fill(&mut shard);
    shard
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_slice_proves_its_range_and_no_changed_slice_does(
        bytes in prop_oneof![1usize..3000, 1usize..100_000], from: prop::sample::Index, to: prop::sample::Index,
        flip: prop::sample::Index, bit in 0u8..8,
    ) {
        let shard = shard(bytes);
        let (a, b) = (from.index(bytes), to.index(bytes));
        let (from, to) = (a.min(b), a.max(b) + 1);
        let (offset, length) = (from as u32, (to - from) as u32);
        let hash = ShardHash::of(&shard);
        let good = slice(&shard, offset, length).unwrap();
        let verify = |slice: &[u8]| verify_slice(hash, bytes as u32, offset, length, slice);
        prop_assert_eq!(verify(&good), Ok(shard[from..to].to_vec()));
        let mut bad = good.clone();
        bad[flip.index(good.len())] ^= 1 << bit;
        prop_assert_eq!(verify(&bad), Err(ProofError::Mismatch));
        prop_assert_eq!(verify(&good[..flip.index(good.len())]), Err(ProofError::Mismatch));
        bad.clone_from(&good);
        bad.push(0);
        prop_assert_eq!(verify(&bad), Err(ProofError::Trailing { bytes: 1 }));
        let other = ShardHash::of(b"another shard");
        prop_assert_eq!(verify_slice(other, bytes as u32, offset, length, &good), Err(ProofError::Mismatch));
    }

    #[test]
    fn hostile_slices_do_not_verify(input in proptest::collection::vec(any::<u8>(), 0..5000), length: u32, offset: u32) {
        let hash = ShardHash([7; 32]);
        prop_assert!(verify_slice(hash, length, offset, 1, &input).is_err());
        prop_assert!(verify_slice(hash, 100_000, 50_000, 100, &input).is_err());
    }
}

#[test]
fn a_slice_of_one_byte_costs_one_leaf_and_the_path_to_it() {
    let shard = shard(SHARD_BYTES_MAX);
    let slice = slice(&shard, 1_000_000, 1).unwrap();
    // 2,048 leaves: eleven levels of two hashes each.
    assert_eq!(slice.len(), LEAF_BYTES + 11 * 64);
    let proved = verify_slice(
        ShardHash::of(&shard),
        SHARD_BYTES_MAX as u32,
        1_000_000,
        1,
        &slice,
    );
    assert_eq!(proved, Ok(vec![shard[1_000_000]]));
}

#[test]
fn ranges_outside_the_shard_are_refused() {
    let shard = shard(5000);
    for (offset, bytes) in [(0, 0), (5000, 1), (4999, 2), (u32::MAX, u32::MAX)] {
        let error = ProofError::Range {
            offset,
            bytes,
            shard_bytes: 5000,
        };
        assert_eq!(slice(&shard, offset, bytes), Err(error));
        assert_eq!(
            verify_slice(ShardHash::of(&shard), 5000, offset, bytes, &[]),
            Err(error)
        );
    }
    let too_long = verify_slice(ShardHash([0; 32]), u32::MAX, 0, 1, &[]);
    assert!(matches!(too_long, Err(ProofError::Range { .. })));
}

/// A change in a later version of the crate would silently make old and new nodes disagree.
#[test]
fn the_slice_format_is_pinned() {
    let made = slice(&shard(5000), 2048, 1).unwrap();
    let mut expected = Vec::new();
    let shard = shard(5000);
    let leaf = |at: usize| &shard[at * 1024..(at * 1024 + 1024).min(5000)];
    let leaf_hash = |at: usize| {
        use bao_tree::blake3::hazmat::HasherExt;
        let mut hasher = bao_tree::blake3::Hasher::new();
        hasher.set_input_offset(at as u64 * 1024);
        hasher.update(leaf(at));
        hasher.finalize_non_root()
    };
    let parent = |left: &[u8; 32], right: &[u8; 32]| {
        bao_tree::blake3::hazmat::merge_subtrees_non_root(left, right, bao_tree::blake3::hazmat::Mode::Hash)
    };
    let hashes: Vec<[u8; 32]> = (0..5).map(leaf_hash).collect();
    let (left, right) = (parent(&hashes[0], &hashes[1]), parent(&hashes[2], &hashes[3]));
    expected.extend_from_slice(&parent(&left, &right));
    expected.extend_from_slice(&hashes[4]);
    expected.extend_from_slice(&left);
    expected.extend_from_slice(&right);
    expected.extend_from_slice(&hashes[2]);
    expected.extend_from_slice(&hashes[3]);
    expected.extend_from_slice(leaf(2));
    assert_eq!(made, expected);
}
