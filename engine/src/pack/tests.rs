use proptest::prelude::*;

use super::*;
use crate::codec::{DecodeError, Reader, Writer};
use crate::disk::DIRECT_ALIGN;
use crate::erasure::{Coder, Source};

fn encoded(summary: &PackSummary) -> Vec<u8> {
    let mut writer = Writer::new();
    summary.encode(&mut writer);
    writer.into_vec()
}

fn small_pack() -> Pack {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    builder.place(&[1; 100]).unwrap();
    builder
        .finish(&Coder::new(Code::DEFAULT), Some(&[2; 40]))
        .unwrap()
}

#[test]
fn codes_are_written_in_one_way() {
    assert_eq!("4+2".parse(), Ok(Code::DEFAULT));
    assert_eq!("32+32".parse::<Code>().unwrap().to_string(), "32+32");
    for bad in [
        "", "4", "4+", "+2", "4+1", "0+2", "33+2", "4+33", "04+2", "4++2", "4+2 ", "4-2", "257+2",
    ] {
        assert_eq!(bad.parse::<Code>(), Err(BadCode), "{bad}");
    }
}

#[test]
fn a_stream_goes_round_robin_over_the_lanes() {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    for chunk in 0..128u32 {
        let placed = builder.place(&vec![chunk as u8; CHUNK_BYTES_MAX]).unwrap();
        assert_eq!(u32::from(placed.lane), chunk % 4);
        assert_eq!(placed.offset, chunk / 4 * 65_536);
    }
    assert!(!builder.room_for(1));
    assert_eq!(builder.place(&[0]), None);
    assert_eq!(builder.data_bytes(), 4 * SHARD_BYTES_MAX);
    let pack = builder.finish(&Coder::new(Code::DEFAULT), None).unwrap();
    pack.summary.verify().unwrap();
    assert!(pack.shards.iter().all(|shard| shard.len() == SHARD_BYTES_MAX));
}

#[test]
fn one_small_chunk_costs_one_lane_and_the_parity() {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    assert!(builder.is_empty());
    assert_eq!(builder.place(&[9; 4112]), Some(Placed { lane: 0, offset: 0 }));
    let pack = builder.finish(&Coder::new(Code::DEFAULT), None).unwrap();
    let lengths: Vec<usize> = pack.shards.iter().map(|shard| shard.len()).collect();
    assert_eq!(lengths, [4112, 0, 0, 0, 4112, 4112]);
    assert_eq!(
        (0..6).filter(|index| pack.is_implied(*index)).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(pack.summary.geometry.stored_bytes(), 3 * 4112);
    assert_eq!(pack.summary.hashes[1], ShardHash::of(&[0; 4112]));
}

#[test]
fn a_trailer_alone_and_nothing_at_all_are_packs() {
    let coder = Coder::new(Code::DEFAULT);
    let pack = PackBuilder::new(Code::DEFAULT)
        .finish(&coder, Some(&[5; 70]))
        .unwrap();
    assert_eq!(
        pack.summary.geometry.trailer,
        Some(TrailerPlace {
            lane: 0,
            offset: 0,
            bytes: 70
        })
    );
    let pack = PackBuilder::new(Code::DEFAULT).finish(&coder, None).unwrap();
    assert_eq!(pack.summary.geometry.shard_bytes, 1);
    pack.summary.verify().unwrap();
    // A coder for another code is replaced, not used.
    let other = Coder::new(Code::new(2, 2).unwrap());
    let same = PackBuilder::new(Code::DEFAULT).finish(&other, None).unwrap();
    assert_eq!(same.summary, pack.summary);
}

#[test]
fn a_trailer_that_does_not_fit_is_refused_and_can_be_foreseen() {
    let code = Code::new(1, 2).unwrap();
    let mut builder = PackBuilder::new(code);
    assert!(builder.room_for_with_trailer(SHARD_BYTES_MAX - 10, 10));
    assert!(!builder.room_for_with_trailer(SHARD_BYTES_MAX - 10, 11));
    assert!(!builder.room_for_with_trailer(SHARD_BYTES_MAX + 1, 0));
    builder.place(&vec![1; SHARD_BYTES_MAX - 10]).unwrap();
    let error = builder.finish(&Coder::new(code), Some(&[0; 11])).unwrap_err();
    assert_eq!(error, PackFull { need: 11, room: 10 });
}

#[test]
fn a_chunk_that_comes_in_pieces_lies_where_a_whole_one_would() {
    let chunks: Vec<Vec<u8>> = (0..9_u8).map(|n| vec![n; 1000 + usize::from(n)]).collect();
    let mut whole = PackBuilder::new(Code::DEFAULT);
    let mut pieces = PackBuilder::new(Code::DEFAULT);
    for chunk in &chunks {
        let at = whole.place(chunk).unwrap();
        assert!(pieces.begin(chunk.len()));
        assert!(!pieces.begin(1), "one at a time");
        assert_eq!(pieces.place(b"between"), None);
        let (plain, extra) = chunk.split_at(chunk.len() - 16);
        for piece in plain.chunks(300) {
            assert_eq!(pieces.extend(piece), piece.len());
        }
        assert_eq!(pieces.begun_bytes(), Some(plain.len()));
        let sealed = pieces.end(16, |bytes| {
            assert_eq!(&bytes[plain.len()..], &[0; 16]);
            bytes[plain.len()..].copy_from_slice(extra);
            Ok::<_, BadCode>(())
        });
        assert_eq!(sealed, Ok(at));
        assert_eq!(pieces.placed(at, chunk.len()), Some(&chunk[..]));
    }
    let coder = Coder::new(Code::DEFAULT);
    let (whole, pieces) = (
        whole.finish(&coder, None).unwrap(),
        pieces.finish(&coder, None).unwrap(),
    );
    assert_eq!(whole.summary, pieces.summary);
}

#[test]
fn a_chunk_that_fails_or_is_abandoned_leaves_the_lane_as_it_was() {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    assert_eq!(builder.end(0, |_| Ok::<_, BadCode>(())), Err(EndError::NotBegun));
    assert!(builder.begin(10));
    assert_eq!(builder.extend(&[1; 11]), 10);
    let too_long = EndError::TooLong { got: 12, limit: 10 };
    assert_eq!(builder.end(2, |_| Ok::<_, BadCode>(())), Err(too_long));
    assert!(builder.begin(10));
    builder.extend(&[1; 9]);
    assert_eq!(builder.end(1, |_| Err(BadCode)), Err(EndError::Sealing(BadCode)));
    assert!(builder.begin(10));
    builder.extend(&[1; 9]);
    assert_eq!(builder.abandon(), [1; 9]);
    assert!(builder.is_empty() && builder.begun_bytes().is_none());
    assert!(!builder.begin(SHARD_BYTES_MAX + 1));
    assert!(builder.begin(10));
    builder.extend(&[1; 9]);
    let pack = builder.finish(&Coder::new(Code::DEFAULT), None).unwrap();
    assert!(
        pack.shards[0].is_empty(),
        "a chunk that never ended is no part of the pack"
    );
}

#[test]
fn a_small_pack_takes_little_memory() {
    let mut builder = PackBuilder::new(Code::DEFAULT);
    builder.place(&[0; 4112]).unwrap();
    let pack = builder.finish(&Coder::new(Code::DEFAULT), None).unwrap();
    for shard in pack.shards.into_iter().filter(|shard| !shard.is_empty()) {
        assert!(shard.try_into_mut().unwrap().capacity() <= 8192);
    }
}

#[test]
fn buffers_go_back_to_their_pool_and_what_they_held_is_not_seen_again() {
    let coder = Coder::new(Code::DEFAULT);
    let pool = LanePool::new(6);
    let fill = |pool: &LanePool, byte: u8, bytes: usize| {
        let mut builder = PackBuilder::with_pool(Code::DEFAULT, pool);
        for lane in 0..4 {
            let placed = builder.place(&vec![byte; bytes - lane]).unwrap();
            assert_eq!(usize::from(placed.lane), lane);
        }
        builder.finish(&coder, None).unwrap()
    };
    let first = fill(&pool, 0xff, SHARD_BYTES_MAX);
    let at_page = |shard: &bytes::Bytes| shard.as_ptr().align_offset(DIRECT_ALIGN) == 0;
    assert!(
        first.shards.iter().all(at_page),
        "drives write them around the page cache"
    );
    let copy = first.shards[0].clone();
    assert_eq!(pool.spare(), 0);
    drop(first);
    assert_eq!(pool.spare(), 5);
    drop(copy);
    assert_eq!(pool.spare(), 6);
    // The same pack, from used and from fresh memory.
    let again = fill(&pool, 1, 1_200_000);
    assert_eq!(pool.spare(), 0);
    let fresh = fill(&LanePool::new(0), 1, 1_200_000);
    assert_eq!(again.summary, fresh.summary);
    assert_eq!(again.shards, fresh.shards);
    // A pack that is given up gives its lanes back too, and a pool keeps no more than it may.
    let mut builder = PackBuilder::with_pool(Code::DEFAULT, &pool);
    builder.place(&vec![1; 1_200_000]).unwrap();
    drop((again, builder, fill(&pool, 2, 1_200_000)));
    assert_eq!(pool.spare(), 6);
}

#[test]
fn a_short_pack_of_known_length_takes_no_full_lanes() {
    let pool = LanePool::new(6);
    let mut builder = PackBuilder::with_pool(Code::DEFAULT, &pool);
    let (chunks, bytes) = (14, 65_536);
    builder.expect_chunks(chunks, bytes);
    for chunk in 0..chunks {
        builder.place(&vec![chunk as u8; bytes]).unwrap();
    }
    let pack = builder.finish(&Coder::new(Code::DEFAULT), None).unwrap();
    let at_page = |shard: &bytes::Bytes| shard.as_ptr().align_offset(DIRECT_ALIGN) == 0;
    assert!(pack.shards.iter().all(at_page));
    assert!(pack.shards.iter().all(|shard| shard.len() == 4 * bytes));
    drop(pack);
    assert_eq!(pool.spare(), 0, "no buffer of 2 MiB was taken");
}

#[test]
fn every_changed_byte_of_a_clear_header_changes_the_id_or_is_refused() {
    let summary = small_pack().summary;
    let good = encoded(&summary);
    assert_eq!(PackSummary::decode(&mut Reader::new(&good)), Ok(summary.clone()));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        if let Ok(other) = PackSummary::decode(&mut Reader::new(&bad)) {
            assert_ne!(other.id, summary.id, "byte {at}");
            other.verify().unwrap();
        }
    }
    let other_id = PackSummary {
        id: PackId([0; 32]),
        ..summary
    };
    assert_eq!(other_id.verify(), Err(BadGeometry::Id));
}

#[test]
fn geometries_that_break_a_rule_are_refused() {
    let good = small_pack().summary.geometry;
    good.check().unwrap();
    let place = good.trailer.unwrap();
    let longer = good.shard_bytes + 1;
    let over = SHARD_BYTES_MAX as u32 + 1;
    for bad in [
        PackGeometry {
            lane_bytes: vec![1; 3],
            ..good.clone()
        },
        PackGeometry {
            shard_bytes: longer,
            ..good.clone()
        },
        PackGeometry {
            shard_bytes: over,
            lane_bytes: vec![over; 4],
            trailer: None,
            ..good.clone()
        },
        PackGeometry {
            trailer: Some(TrailerPlace { lane: 4, ..place }),
            ..good.clone()
        },
        PackGeometry {
            trailer: Some(TrailerPlace {
                offset: u32::MAX,
                ..place
            }),
            ..good.clone()
        },
        PackGeometry {
            trailer: Some(TrailerPlace { bytes: 0, ..place }),
            ..good.clone()
        },
        PackGeometry {
            trailer: Some(TrailerPlace {
                bytes: place.bytes - 1,
                ..place
            }),
            ..good.clone()
        },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    let mut writer = Writer::new();
    good.encode(&mut writer);
    let mut bytes = writer.into_vec();
    bytes[2] = 1;
    let refused = PackGeometry::decode(&mut Reader::new(&bytes));
    assert_eq!(
        refused,
        Err(DecodeError::BadValue {
            what: "code",
            got: 0x0401
        })
    );
}

/// The rule of FORMAT.md, written the long way, for a pack whose chunks all have room.
fn lane_by_the_rule(lanes: &[usize], parity: usize, largest: usize, bytes: usize) -> usize {
    let total: usize = lanes.iter().sum::<usize>() + bytes;
    let mut best = (usize::MAX, 0);
    for spread in 1..=lanes.len() {
        let even = total / spread + usize::from(!total.is_multiple_of(spread));
        let ends = lanes[..spread].iter().min().unwrap() + bytes;
        best = best.min(((spread + parity) * even.max(largest).max(ends), spread));
    }
    let mut chosen = 0;
    for lane in 0..best.1 {
        if lanes[lane] < lanes[chosen] {
            chosen = lane;
        }
    }
    chosen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_lie_where_they_were_placed_and_survive_loss(
        data in 1u8..=8, parity in 2u8..=4,
        sizes in proptest::collection::vec(17usize..20_000, 1..40),
        trailer in proptest::option::of(1usize..5000),
    ) {
        let code = Code::new(data, parity).unwrap();
        let coder = Coder::new(code);
        let mut builder = PackBuilder::new(code);
        let mut lanes = vec![0; code.data()];
        let (mut placed, mut largest) = (Vec::new(), 0);
        for (number, size) in sizes.iter().enumerate() {
            let chunk = vec![number as u8 + 1; *size];
            let at = builder.place(&chunk).unwrap();
            prop_assert_eq!(usize::from(at.lane), lane_by_the_rule(&lanes, code.parity(), largest, *size));
            largest = largest.max(*size);
            lanes[usize::from(at.lane)] += size;
            placed.push((at, chunk));
        }
        let trailer = trailer.map(|bytes| vec![255; bytes]);
        let pack = builder.finish(&coder, trailer.as_deref()).unwrap();
        let geometry = &pack.summary.geometry;
        pack.summary.verify().unwrap();
        if let (Some(place), Some(bytes)) = (geometry.trailer, trailer) {
            placed.push((Placed { lane: place.lane, offset: place.offset }, bytes));
        }
        let length = geometry.shard_bytes as usize;
        // Lose the first m shards.
        let sources: Vec<Source<'_>> = pack.shards.iter().enumerate().map(|(index, shard)| {
            if pack.is_implied(index) { Source::Zeros }
            else if index < code.parity() { Source::Missing }
            else { Source::Bytes(shard) }
        }).collect();
        let wanted: Vec<usize> = (0..code.shards()).collect();
        let shards = coder.reconstruct(length, &sources, &wanted).unwrap();
        for (index, shard) in shards.iter().enumerate() {
            prop_assert_eq!(Some(ShardHash::of(shard)), pack.summary.hash(index));
        }
        for (at, chunk) in placed {
            let from = at.offset as usize;
            prop_assert_eq!(&shards[usize::from(at.lane)][from..from + chunk.len()], &chunk[..]);
        }
    }
}

#[test]
fn an_expected_trailer_makes_no_lane_longer_than_the_others() {
    let code = Code::DEFAULT;
    let mut builder = PackBuilder::new(code);
    builder.expect_trailer(40_000);
    for _ in 0..100 {
        builder.place(&[1; 4_000]).expect("room");
    }
    let pack = builder
        .finish(&Coder::new(code), Some(&[2; 40_000]))
        .expect("room for the trailer");
    let lanes = &pack.summary.geometry.lane_bytes;
    let (longest, total) = (*lanes.iter().max().unwrap(), lanes.iter().sum::<u32>());
    assert_eq!(total, 440_000);
    assert!(longest <= total / 4 + 4_000, "{lanes:?}");
}

#[test]
fn full_chunks_go_round_the_lanes() {
    for (data, parity) in [(4, 2), (8, 4), (2, 2), (10, 4), (1, 2)] {
        let mut builder = PackBuilder::new(Code::new(data, parity).unwrap());
        let chunk = vec![7; CHUNK_BYTES_MAX];
        for number in 0..u32::from(data) * 32 {
            let placed = builder.place(&chunk).expect("room");
            let row = number / u32::from(data) * CHUNK_BYTES_MAX as u32;
            assert_eq!(
                (u32::from(placed.lane), placed.offset),
                (number % u32::from(data), row),
                "{data}+{parity}: {number}"
            );
        }
        assert!(builder.place(&[1]).is_none());
    }
}
