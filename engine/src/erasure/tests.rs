use proptest::prelude::*;

use super::*;

fn bytes_of(seed: u64, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parity_is_what_the_crate_itself_computes(
        data in 1u8..=12, parity in 2u8..=6, bytes in 1usize..20_000, seed: u64,
    ) {
        let code = Code::new(data, parity).unwrap();
        let coder = Coder::new(code);
        // Lanes of every length from none to all, the first one too, so that windows begin with no whole input.
        let lanes: Vec<Vec<u8>> = (0..code.data())
            .map(|lane| bytes_of(seed ^ lane as u64, (seed as usize ^ (lane * 7919)) % (bytes + 1)))
            .collect();
        let mut padded = lanes.clone();
        padded.iter_mut().for_each(|lane| lane.resize(bytes, 0));
        padded.resize(code.shards(), vec![0; bytes]);
        ReedSolomon::new(code.data(), code.parity()).unwrap().encode(&mut padded).unwrap();
        let lanes: Vec<&[u8]> = lanes.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(&coder.encode(&lanes, bytes), &padded[code.data()..]);
    }

    #[test]
    fn any_k_shards_give_every_other_and_any_range_of_it(
        data in 1u8..=10, parity in 2u8..=6, bytes in 1usize..3000, seed: u64, keep: prop::sample::Index,
        zero_lane: bool,
    ) {
        let code = Code::new(data, parity).unwrap();
        let coder = Coder::new(code);
        let mut shards: Vec<Vec<u8>> = (0..code.data()).map(|lane| bytes_of(seed ^ lane as u64, bytes)).collect();
        if zero_lane {
            shards[code.data() - 1] = vec![0; bytes];
        }
        let lanes: Vec<&[u8]> = shards.iter().map(Vec::as_slice).collect();
        let coded = coder.encode(&lanes, bytes);
        shards.extend(coded);
        // Keep k shards, picked by rotating and striding.
        let rotate = keep.index(code.shards());
        let kept: Vec<usize> = (0..code.data()).map(|at| (at + rotate) % code.shards()).collect();
        let (from, to) = (bytes / 3, bytes);
        let sources: Vec<Source<'_>> = shards.iter().enumerate().map(|(index, shard)| {
            if zero_lane && index == code.data() - 1 {
                Source::Zeros
            } else if kept.contains(&index) {
                Source::Bytes(&shard[from..to])
            } else {
                Source::Missing
            }
        }).collect();
        let wanted: Vec<usize> = (0..code.shards()).rev().collect();
        let got = coder.reconstruct(to - from, &sources, &wanted).unwrap();
        for (index, shard) in wanted.iter().zip(got) {
            prop_assert_eq!(&shard[..], &shards[*index][from..to]);
        }
    }
}

#[test]
fn too_few_shards_is_an_error_with_numbers() {
    let coder = Coder::new(Code::DEFAULT);
    let shard = [7u8; 10];
    let some = Source::Bytes(&shard);
    let none = Source::Missing;
    let sources = [some, none, Source::Zeros, none, none, some];
    assert_eq!(
        coder.reconstruct(10, &sources, &[1]),
        Err(ReconstructError::NotEnoughShards { have: 3, need: 4 })
    );
    // What is at hand needs no code.
    assert_eq!(
        coder.reconstruct(10, &sources, &[5, 2]),
        Ok(vec![vec![7; 10], vec![0; 10]])
    );
}

#[test]
fn wrong_numbers_of_shards_lengths_and_indices_are_errors() {
    let coder = Coder::new(Code::DEFAULT);
    let shard = [7u8; 10];
    let six = [Source::Bytes(&shard); 6];
    assert_eq!(
        coder.reconstruct(10, &six[..5], &[]),
        Err(ReconstructError::Sources { need: 6, got: 5 })
    );
    assert_eq!(
        coder.reconstruct(9, &six, &[]),
        Err(ReconstructError::Length {
            index: 0,
            need: 9,
            got: 10
        })
    );
    assert_eq!(
        coder.reconstruct(10, &six, &[6]),
        Err(ReconstructError::Wanted { index: 6, shards: 6 })
    );
    assert_eq!(coder.reconstruct(10, &six, &[]), Ok(vec![]));
    let (mut ten, mut nine) = ([0; 10], [0; 9]);
    assert_eq!(
        coder.reconstruct_into(&six, &[0, 1], &mut [&mut ten, &mut nine]),
        Err(ReconstructError::Outputs { need: 2, bytes: 10 })
    );
}

#[test]
fn an_old_cpu_is_named_in_a_sentence() {
    require_simd().unwrap();
    #[cfg(target_arch = "x86_64")]
    {
        let error = require_all(&[("AVX2", true), ("BMI2", false)]).unwrap_err();
        assert!(error.to_string().starts_with("this CPU has no BMI2; "), "{error}");
    }
}

#[test]
fn the_measurement_uses_the_clock_that_it_is_given() {
    let ticks = std::cell::Cell::new(0);
    let now = || {
        ticks.set(ticks.get() + 5);
        Duration::from_secs(ticks.get())
    };
    assert_eq!(
        measure_encode(&Coder::new(Code::DEFAULT), 4096, 2, now),
        Duration::from_secs(5)
    );
}
