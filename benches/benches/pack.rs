//! Packs: chunks placed, padded, coded and hashed.

use benches::{Amount, Case, Stage, noise};
use engine::erasure::Coder;
use engine::pack::{CHUNK_BYTES_MAX, Code, LanePool, PackBuilder};

fn main() {
    let mut stage = Stage::new("pack");
    let coder = Coder::new(Code::DEFAULT);
    let pool = LanePool::new(6);
    let chunk = noise(CHUNK_BYTES_MAX);
    let small = noise(4112);
    let cases: [(&str, &[u8], u64, Option<f64>); 3] = [
        // Coding at 17.4 GB/s, and BLAKE3 at 6.37 GB/s over 1.5 times the bytes, leave 3.4.
        ("a full pack: 128 chunks of 64 KiB", &chunk, 128, Some(3.4)),
        ("64 objects of 4 KiB", &small, 64, None),
        ("one object of 4 KiB", &small, 1, None),
    ];
    for (name, chunk, chunks, reference) in cases {
        let bytes = Amount::Bytes(chunks * chunk.len() as u64);
        stage.case(Case::new(name, bytes, reference), || {
            let mut builder = PackBuilder::with_pool(Code::DEFAULT, &pool);
            for _ in 0..chunks {
                assert!(builder.place(chunk).is_some());
            }
            builder.finish(&coder, None)
        });
    }
    stage.finish();
}
