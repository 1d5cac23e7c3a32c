//! Erasure coding: parity of k lanes. Fails when the SIMD code is not what runs.

use benches::{Amount, Case, Stage, measures, noise};
use engine::erasure::{Coder, require_simd};
use engine::pack::Code;

/// Below this, in GB per CPU-second, the coder does not run its SIMD code: scalar makes 1.7, AVX2 at least 15.
const SIMD_GB_MIN: f64 = 5.0;
const GATE: &str = "encode 4+2, 1 MiB shards";

fn main() {
    let mut stage = Stage::new("code");
    let cases = [
        (GATE, "4+2", 1 << 20, Some(17.4)),
        ("encode 4+2, 256 KiB shards", "4+2", 256 << 10, Some(18.7)),
        ("encode 4+2, 64 KiB shards", "4+2", 64 << 10, Some(22.1)),
        ("encode 8+4, 1 MiB shards", "8+4", 1 << 20, Some(7.23)),
    ];
    for (name, code, shard_bytes, reference) in cases {
        let Ok(code) = code.parse::<Code>() else { continue };
        let lanes: Vec<Vec<u8>> = (0..code.data()).map(|_| noise(shard_bytes)).collect();
        let lanes: Vec<&[u8]> = lanes.iter().map(Vec::as_slice).collect();
        let coder = Coder::new(code);
        let mut parity = vec![vec![0; shard_bytes]; code.parity()];
        let bytes = (code.data() * shard_bytes) as u64;
        stage.case(Case::new(name, Amount::Bytes(bytes), reference), || {
            let mut parity: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
            coder.encode_into(&lanes, &mut parity);
        });
    }
    let encoded = stage.figure(GATE);
    stage.finish();
    let simd = cfg!(target_arch = "x86_64") && require_simd().is_ok();
    if let Some(encoded) = encoded.filter(|_| measures() && simd) {
        assert!(
            encoded >= SIMD_GB_MIN,
            "{GATE}: {encoded:.2} GB per CPU-second, at least {SIMD_GB_MIN} with AVX2: the scalar code is running"
        );
    }
}
