use std::collections::HashSet;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use proptest::prelude::*;

use super::*;
use crate::testing::{SCOPE, assert_golden, cases, keyring, keyring_of, seeded};

/// Seals `plain` as a stream; returns its id and chunks.
fn seal(plain: &[u8], seed: u64) -> (StreamId, Vec<Vec<u8>>) {
    let mut sealer = StreamSealer::new(&keyring(), SCOPE, 1, FreshStream::draw(&mut seeded(seed)), None);
    let count = plain.len().div_ceil(CHUNK_PLAIN_BYTES);
    let mut chunks = Vec::new();
    for (index, piece) in plain.chunks(CHUNK_PLAIN_BYTES).enumerate() {
        let mut buf = piece.to_vec();
        assert_eq!(
            sealer.seal_next(&mut buf, index + 1 == count).unwrap(),
            index as u64
        );
        chunks.push(buf);
    }
    assert_eq!(sealer.plain_bytes(), plain.len() as u64);
    (sealer.id(), chunks)
}

fn opens(opener: &StreamOpener, index: u64, last: bool, chunk: &[u8]) -> bool {
    let mut buf = chunk.to_vec();
    let opened = opener.open_chunk(index, last, &mut buf);
    assert!(
        opened.is_ok() || buf.iter().all(|byte| *byte == 0),
        "refused bytes are left in the buffer"
    );
    opened.is_ok()
}

#[test]
fn a_sealed_chunk_is_the_golden_bytes() {
    let (stream, chunks) = seal(b"the plaintext of one chunk", 1);
    assert_golden("sealed-chunk.bin", &[&stream.0[..], &chunks[0]].concat());
}

#[test]
fn chunks_are_what_an_independent_aes_gcm_makes_of_the_formula() {
    let plain = vec![0x42; CHUNK_PLAIN_BYTES + 1000];
    let (stream, chunks) = seal(&plain, 2);
    let key = keyring().stream_key(SCOPE, 1, stream);
    let cipher = aes_gcm::Aes256Gcm::new(key.expose().into());
    for (index, (chunk, piece)) in chunks.iter().zip(plain.chunks(CHUNK_PLAIN_BYTES)).enumerate() {
        let index = index as u64;
        let nonce: [u8; 12] = [&index.to_le_bytes()[..], &[0; 4]].concat().try_into().unwrap();
        let aad = [
            &[0x22; 16][..],
            &SCOPE.0,
            &stream.0,
            &index.to_le_bytes(),
            &[u8::from(index == 1)],
        ]
        .concat();
        let expected = cipher
            .encrypt(
                &nonce.into(),
                Payload {
                    msg: piece,
                    aad: &aad,
                },
            )
            .unwrap();
        assert!(expected == *chunk, "chunk {index}");
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_stream_of_any_length_opens_again(bytes in 1usize..200_000, seed: u64) {
        let mut plain = vec![0; bytes];
        seeded(seed)(&mut plain);
        let (stream, chunks) = seal(&plain, seed);
        let opener = StreamOpener::new(&keyring(), SCOPE, 1, stream, None);
        let mut opened = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            let mut buf = chunk.clone();
            let plain_bytes = opener.open_chunk(index as u64, index + 1 == chunks.len(), &mut buf).unwrap();
            opened.extend_from_slice(&buf[..plain_bytes]);
        }
        prop_assert!(opened == plain);
    }

    #[test]
    fn no_flipped_bit_opens(at: prop::sample::Index, bit in 0u8..8) {
        let (stream, chunks) = seal(&[7; 5000], 3);
        let mut altered = chunks[0].clone();
        let at = at.index(altered.len());
        altered[at] ^= 1 << bit;
        prop_assert!(!opens(&StreamOpener::new(&keyring(), SCOPE, 1, stream, None), 0, true, &altered));
    }

    /// Attempts at parts, concurrent or repeated: whatever streams they draw and however many chunks each seals, no
    /// pair of key and nonce comes twice.
    #[test]
    fn no_key_and_nonce_pair_seals_twice(attempts in proptest::collection::vec((0u64..4, 1usize..4), 1..12), seed: u64) {
        let ring = keyring();
        let mut random = seeded(seed);
        let mut seen = HashSet::new();
        let mut open: Vec<(StreamSealer, usize)> = attempts
            .iter()
            .map(|(epoch, chunks)| (StreamSealer::new(&ring, SCOPE, *epoch, FreshStream::draw(&mut random), None), *chunks))
            .collect();
        // Interleaved, as concurrent uploads of one part are.
        while open.iter().any(|(_, left)| *left > 0) {
            for ((sealer, left), (epoch, _)) in open.iter_mut().zip(&attempts).filter(|((_, left), _)| *left > 0) {
                *left -= 1;
                let mut buf = vec![0; if *left == 0 { 10 } else { CHUNK_PLAIN_BYTES }];
                let index = sealer.seal_next(&mut buf, *left == 0).unwrap();
                let key = *ring.stream_key(SCOPE, *epoch, sealer.id()).expose();
                prop_assert!(seen.insert((key, index)));
            }
        }
    }
}

#[test]
fn a_customer_sealed_chunk_opens_with_that_key_alone_and_never_without() {
    let (right, wrong) = (CustomerKey::from_bytes([1; 32]), CustomerKey::from_bytes([2; 32]));
    let fresh = FreshStream::draw(&mut seeded(4));
    let mut sealer = StreamSealer::new(&keyring(), SCOPE, 1, fresh, Some(&right));
    let mut chunk = vec![7; 100];
    sealer.seal_next(&mut chunk, true).unwrap();
    let opener = |customer| StreamOpener::new(&keyring(), SCOPE, 1, sealer.id(), customer);
    assert!(opens(&opener(Some(&right)), 0, true, &chunk));
    assert!(!opens(&opener(Some(&wrong)), 0, true, &chunk));
    assert!(!opens(&opener(None), 0, true, &chunk));
    // And no customer's key opens what was sealed without one.
    let (stream, chunks) = seal(&[7; 100], 4);
    let opener = StreamOpener::new(&keyring(), SCOPE, 1, stream, Some(&right));
    assert!(!opens(&opener, 0, true, &chunks[0]));
}

#[test]
fn chunks_open_only_where_they_were_sealed() {
    let (stream, chunks) = seal(&vec![1; 2 * CHUNK_PLAIN_BYTES], 4);
    let (other, _) = seal(&vec![1; 2 * CHUNK_PLAIN_BYTES], 5);
    let opener = StreamOpener::new(&keyring(), SCOPE, 1, stream, None);
    assert!(opens(&opener, 0, false, &chunks[0]) && opens(&opener, 1, true, &chunks[1]));
    assert!(!opens(&opener, 1, false, &chunks[0]), "reordered");
    assert!(!opens(&opener, 0, false, &chunks[1]), "swapped");
    assert!(
        !opens(&opener, 0, true, &chunks[0]),
        "truncated at a chunk's edge"
    );
    assert!(!opens(&opener, 1, false, &chunks[1]), "said to go on");
    assert!(
        !opens(&opener, 1, true, &chunks[1][..chunks[1].len() - 1]),
        "cut short"
    );
    assert!(!opens(&opener, 1 << 32, true, &chunks[1]), "index beyond");
    let wrong = [
        StreamOpener::new(&keyring(), SCOPE, 1, other, None),
        StreamOpener::new(&keyring(), SCOPE, 2, stream, None),
        StreamOpener::new(&keyring(), ScopeId([1; 16]), 1, stream, None),
        StreamOpener::new(&keyring_of(9), SCOPE, 1, stream, None),
    ];
    assert!(wrong.iter().all(|opener| !opens(opener, 0, false, &chunks[0])));
}

#[test]
fn a_sealer_ends_with_its_last_chunk_and_with_any_error() {
    let sealer = |seed| StreamSealer::new(&keyring(), SCOPE, 1, FreshStream::draw(&mut seeded(seed)), None);
    let mut after_last = sealer(1);
    after_last.seal_next(&mut vec![0; 10], true).unwrap();
    assert_eq!(
        after_last.seal_next(&mut vec![0; 10], true),
        Err(SealError::Ended { chunks: 1 })
    );
    for (bytes, last) in [
        (10, false),
        (0, true),
        (CHUNK_PLAIN_BYTES + 1, true),
        (CHUNK_PLAIN_BYTES + 1, false),
    ] {
        let mut wrong = sealer(2);
        let refused = wrong.seal_next(&mut vec![0; bytes], last);
        assert_eq!(
            refused,
            Err(SealError::ChunkLength {
                got: bytes,
                need: CHUNK_PLAIN_BYTES,
                last
            })
        );
        assert!(matches!(
            wrong.seal_next(&mut vec![0; 10], true),
            Err(SealError::Ended { .. })
        ));
    }
    let mut full = sealer(3);
    full.next = STREAM_CHUNKS_MAX;
    assert!(matches!(
        full.seal_next(&mut vec![0; 10], true),
        Err(SealError::TooManyChunks { .. })
    ));
}

#[test]
fn sealing_a_buffer_with_room_does_not_move_it() {
    let mut sealer = StreamSealer::new(&keyring(), SCOPE, 1, FreshStream::draw(&mut seeded(1)), None);
    let mut buf = Vec::with_capacity(CHUNK_BYTES_MAX);
    buf.resize(CHUNK_PLAIN_BYTES, 1);
    let before = buf.as_ptr();
    sealer.seal_next(&mut buf, false).unwrap();
    assert_eq!((buf.as_ptr(), buf.len()), (before, CHUNK_BYTES_MAX));
}
