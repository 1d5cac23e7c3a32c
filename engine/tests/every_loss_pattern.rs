//! Whatever m shards of a pack are lost, the rest give every one back bit for bit; m + 1 lost is an error with numbers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use engine::erasure::{Coder, ReconstructError, Source};
use engine::pack::{Code, Pack, PackBuilder, ShardHash};

const SEED: u64 = 0x00c0_ffee;

/// A pack with lanes of unequal length and, for `empty_lanes` of them, none.
fn pack(coder: &Coder, empty_lanes: usize) -> Pack {
    let mut builder = PackBuilder::new(coder.code());
    for lane in 0..coder.code().data() - empty_lanes {
        let mut chunk = vec![0; 5000 - 100 * lane];
        blake3::Hasher::new()
            .update(&SEED.to_le_bytes())
            .update(&[lane as u8])
            .finalize_xof()
            .fill(&mut chunk);
        builder.place(&chunk).unwrap();
    }
    let pack = builder.finish(coder, None).unwrap();
    let implied = (0..coder.code().shards())
        .filter(|index| pack.is_implied(*index))
        .count();
    assert_eq!(implied, empty_lanes);
    pack
}

/// What is left of a pack when the shards in `lost` (a bit for each) are gone, the implied ones among them too.
fn left(pack: &Pack, lost: u32) -> Vec<Source<'_>> {
    let of = |(index, shard)| match (lost & (1u32 << index) != 0, pack.is_implied(index)) {
        (true, _) => Source::Missing,
        (false, true) => Source::Zeros,
        (false, false) => Source::Bytes(shard),
    };
    pack.shards
        .iter()
        .map(|shard| &shard[..])
        .enumerate()
        .map(of)
        .collect()
}

fn indices(mask: u32) -> Vec<usize> {
    (0..32).filter(|index| mask & (1u32 << index) != 0).collect()
}

fn check(coder: &Coder, pack: &Pack, lost: u32) {
    let shard_bytes = pack.summary.geometry.shard_bytes as usize;
    let wanted = indices(lost);
    let result = coder.reconstruct(shard_bytes, &left(pack, lost), &wanted);
    if wanted.len() > coder.code().parity() {
        let have = coder.code().shards() - wanted.len();
        let need = coder.code().data();
        assert_eq!(
            result,
            Err(ReconstructError::NotEnoughShards { have, need }),
            "{lost:b}"
        );
        return;
    }
    let shards = result.unwrap();
    assert_eq!(shards.len(), wanted.len());
    for (index, shard) in wanted.iter().zip(&shards) {
        if pack.is_implied(*index) {
            assert!(shard.iter().all(|byte| *byte == 0), "{lost:b}");
        } else {
            assert!(shard[..] == pack.shards[*index][..], "shard {index} of {lost:b}");
        }
        assert_eq!(
            Some(ShardHash::of(shard)),
            pack.summary.hash(*index),
            "shard {index} of {lost:b}"
        );
    }
}

#[test]
fn every_pattern_of_4_and_2_up_to_three_lost_gives_the_bytes_or_the_numbers() {
    let coder = Coder::new(Code::DEFAULT);
    for empty_lanes in 0..=3 {
        let pack = pack(&coder, empty_lanes);
        for lost in (0..1u32 << 6).filter(|mask| mask.count_ones() <= 3) {
            check(&coder, &pack, lost);
        }
    }
}

#[test]
fn a_sample_of_patterns_of_8_and_4_up_to_five_lost_gives_the_bytes_or_the_numbers() {
    let coder = Coder::new(Code::new(8, 4).unwrap());
    let pack = pack(&coder, 1);
    let patterns: Vec<u32> = (0..1u32 << 12).filter(|mask| mask.count_ones() <= 5).collect();
    assert_eq!(patterns.len(), 1 + 12 + 66 + 220 + 495 + 792);
    // Every third, from a start that takes all sizes in.
    for lost in patterns.into_iter().step_by(3) {
        check(&coder, &pack, lost);
    }
}
