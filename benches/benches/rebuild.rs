//! Reconstruction of lost data lanes from the shards that are left.

use benches::{Amount, Case, Stage, noise};
use engine::erasure::{Coder, Source};
use engine::pack::Code;

fn main() {
    let mut stage = Stage::new("rebuild");
    let coder = Coder::new(Code::DEFAULT);
    let cases = [
        ("2 of 4 lanes lost, 1 MiB shards", 1 << 20, Some(17.3)),
        ("2 of 4 lanes lost, 64 KiB ranges", 64 << 10, Some(23.2)),
    ];
    for (name, bytes, reference) in cases {
        let lanes: Vec<Vec<u8>> = (0..4).map(|_| noise(bytes)).collect();
        let lanes: Vec<&[u8]> = lanes.iter().map(Vec::as_slice).collect();
        let parity = coder.encode(&lanes, bytes);
        let shards = lanes.iter().copied().chain(parity.iter().map(Vec::as_slice));
        // Lanes 0 and 1 are lost.
        let sources: Vec<Source<'_>> = shards
            .enumerate()
            .map(|(index, shard)| {
                if index < 2 {
                    Source::Missing
                } else {
                    Source::Bytes(shard)
                }
            })
            .collect();
        let case = Case::new(name, Amount::Bytes(4 * bytes as u64), reference);
        let mut lost = vec![vec![0; bytes]; 2];
        stage.case(case, || {
            let mut outputs: Vec<&mut [u8]> = lost.iter_mut().map(Vec::as_mut_slice).collect();
            coder.reconstruct_into(&sources, &[0, 1], &mut outputs)
        });
    }
    stage.finish();
}
