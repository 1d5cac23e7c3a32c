//! The streaming examples of the S3 API reference, cut everywhere, and every lie a framed body can tell.

use super::*;
use crate::auth::signing::SigningKey;

const SIGNED: [&str; 4] = [
    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
];
const SIGNED_TRAILER: [&str; 4] = [
    "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
];
const TRAILER_SIGNATURE: &str = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

fn signer(seed: &str) -> ChunkSigner {
    let secret = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let key = SigningKey::derive(secret, "20130524", "us-east-1", "s3");
    let mut bytes = [0; 32];
    hex::decode_to_slice(seed, &mut bytes).unwrap();
    ChunkSigner::new(
        key,
        "20130524T000000Z".into(),
        "20130524/us-east-1/s3/aws4_request".into(),
        bytes,
    )
}

fn framed(signatures: &[&str; 4], end: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (bytes, signature) in [65536_usize, 1024, 0].into_iter().zip(&signatures[1..]) {
        body.extend_from_slice(format!("{bytes:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'a', bytes));
        if bytes > 0 {
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(end.as_bytes());
    body
}

fn signed_trailer_body() -> Vec<u8> {
    let end =
        format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n");
    framed(&SIGNED_TRAILER, &end)
}

type Outcome = (usize, Result<Vec<(String, String)>, ChunkError>);

/// Feeds a body in portions; returns how many bytes were released and how it ended.
fn run(payload: Payload, seed: &str, body: &[u8], portion: usize) -> Outcome {
    let mut decoder = Decoder::new(payload, signer(seed)).unwrap();
    let mut released = 0;
    for part in body.chunks(portion) {
        let mut input = Bytes::copy_from_slice(part);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(bytes)) => released += bytes.len(),
                Ok(None) => break,
                Err(error) => return (released, Err(error)),
            }
        }
        assert!(input.is_empty());
    }
    (released, decoder.finish())
}

#[test]
fn the_published_examples_decode_in_any_portions() {
    for portion in [1, 7, 1000, 65_626, 1 << 20] {
        let body = framed(&SIGNED, "\r\n");
        assert_eq!(body.len(), 66_824);
        assert_eq!(
            run(Payload::SignedChunks, SIGNED[0], &body, portion),
            (66_560, Ok(vec![]))
        );
        let trailers = vec![("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())];
        let outcome = run(
            Payload::SignedChunksTrailer,
            SIGNED_TRAILER[0],
            &signed_trailer_body(),
            portion,
        );
        assert_eq!(outcome, (66_560, Ok(trailers)));
        let unsigned = b"4\r\nWiki\r\n5\r\npedia\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        let trailers = vec![("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())];
        assert_eq!(
            run(Payload::UnsignedChunksTrailer, SIGNED[0], unsigned, portion),
            (9, Ok(trailers))
        );
    }
}

#[test]
fn no_byte_of_a_chunk_is_released_before_its_signature_holds() {
    // Byte 100 lies in the first chunk, byte 65,800 in the second.
    for (at, released) in [(100, 0), (65_800, 65_536)] {
        for portion in [64, 1 << 20] {
            let mut body = framed(&SIGNED, "\r\n");
            body[at] ^= 1;
            let outcome = run(Payload::SignedChunks, SIGNED[0], &body, portion);
            assert_eq!(outcome, (released, Err(ChunkError::Signature)));
        }
    }
}

#[test]
fn swapped_chunks_and_a_foreign_seed_are_noticed() {
    let [seed, a, b, end] = SIGNED;
    let body = framed(&[seed, b, a, end], "\r\n");
    assert_eq!(
        run(Payload::SignedChunks, seed, &body, 1 << 20),
        (0, Err(ChunkError::Signature))
    );
    let body = framed(&SIGNED, "\r\n");
    assert_eq!(
        run(Payload::SignedChunks, a, &body, 1 << 20),
        (0, Err(ChunkError::Signature))
    );
}

#[test]
fn a_body_cut_off_anywhere_is_an_error() {
    let body = framed(&SIGNED, "\r\n");
    for end in (0..body.len()).step_by(997).chain(body.len() - 90..body.len()) {
        let (_, outcome) = run(Payload::SignedChunks, SIGNED[0], &body[..end], 1 << 20);
        assert_eq!(outcome, Err(ChunkError::Truncated), "cut at {end}");
    }
    let body = signed_trailer_body();
    for end in body.len() - 200..body.len() {
        let (_, outcome) = run(
            Payload::SignedChunksTrailer,
            SIGNED_TRAILER[0],
            &body[..end],
            1 << 20,
        );
        assert_eq!(outcome, Err(ChunkError::Truncated), "cut at {end}");
    }
}

#[test]
fn changed_missing_and_added_trailers_are_refused() {
    let outcome = |end: String| {
        let body = framed(&SIGNED_TRAILER, &end);
        run(Payload::SignedChunksTrailer, SIGNED_TRAILER[0], &body, 1 << 20)
            .1
            .unwrap_err()
    };
    let signature = format!("x-amz-trailer-signature:{TRAILER_SIGNATURE}\r\n\r\n");
    assert_eq!(
        outcome(format!("x-amz-checksum-crc32c:sOO8/A==\r\n{signature}")),
        ChunkError::Signature
    );
    assert_eq!(
        outcome("x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n".into()),
        ChunkError::Signature
    );
    assert_eq!(outcome(signature.clone()), ChunkError::Signature);
    assert_eq!(outcome("\r\n".into()), ChunkError::Signature);
    let added = format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-meta-a:b\r\n{signature}");
    assert_eq!(outcome(added), ChunkError::Signature);
    let body = framed(&SIGNED, "x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n");
    let (_, error) = run(Payload::SignedChunks, SIGNED[0], &body, 1 << 20);
    assert!(matches!(error, Err(ChunkError::Framing { .. })));
}

#[test]
fn broken_framing_is_refused() {
    let unsigned = |body: &str| run(Payload::UnsignedChunksTrailer, SIGNED[0], body.as_bytes(), 3).1;
    for body in [
        "x\r\n",
        "\r\n",
        "4\nWiki\r\n0\r\n\r\n",
        "4\r\nWikipedia\r\n0\r\n\r\n",
        "-4\r\nWiki\r\n0\r\n\r\n",
        "11111111111111111\r\n",
        "4;chunk-signature=00\r\nWiki\r\n0\r\n\r\n",
        "0\r\nno-colon\r\n\r\n",
        "0\r\n\r\nmore",
        "0\r\na:b\r\nA:c\r\n\r\n",
    ] {
        assert!(
            matches!(unsigned(body), Err(ChunkError::Framing { .. })),
            "{body:?}: {:?}",
            unsigned(body)
        );
    }
    assert!(matches!(
        unsigned(&"1".repeat(5000)),
        Err(ChunkError::Framing { .. })
    ));
    let many: String = (0..100).map(|i| format!("t{i}:v\r\n")).collect();
    assert!(matches!(
        unsigned(&format!("0\r\n{many}\r\n")),
        Err(ChunkError::Framing { .. })
    ));
    let signed = |body: &str| run(Payload::SignedChunks, SIGNED[0], body.as_bytes(), 100).1;
    assert_eq!(signed("4\r\nWiki\r\n0\r\n\r\n"), Err(ChunkError::Signature));
    let large = format!("1000001;chunk-signature={}\r\n", SIGNED[1]);
    assert_eq!(
        signed(&large),
        Err(ChunkError::TooLarge {
            bytes: SIGNED_CHUNK_BYTES_MAX + 1
        })
    );
}
