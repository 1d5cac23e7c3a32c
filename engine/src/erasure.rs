//! Systematic Reed-Solomon over GF(2^8): parity from data lanes, and lost shards from any k others (FORMAT.md
//! section 3). The only module that names `reed-solomon-erasure`.
//!
//! It does not know what a shard holds and cannot tell a wrong byte from a right one: callers verify by hash first.
//!
//! The crate gives the code's matrices and the SIMD multiply; the loop over shards is here, in windows that stay in the
//! first-level cache, and it skips shards that are known to be zeros. The matrix rows are read off the crate by coding
//! unit vectors: coding is linear byte by byte, so the coded unit vector of input j is column j of the matrix.
//!
//! Invariant: the parity is byte for byte what the crate itself computes (a test compares them), so shards outlive this
//! module.
//!
//! Source: Plank, "A tutorial on Reed-Solomon coding for fault-tolerance in RAID-like systems", 1997, with the 2003
//! correction (systematic Vandermonde matrix).

use std::time::Duration;

use reed_solomon_erasure::galois_8::{ReedSolomon, mul_slice, mul_slice_xor};

use crate::pack::Code;

#[cfg(test)]
mod tests;

/// Bytes coded at a time: a window of each output and one input lie in a 32 KiB first-level cache together for codes
/// of few parity shards, and in the second level for the rest.
const WINDOW_BYTES: usize = 8 * 1024;

/// What is known of one shard, or of one equal byte range of each shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// Not at hand.
    Missing,
    /// An implied shard: zeros.
    Zeros,
    /// Its bytes.
    Bytes(&'a [u8]),
}

/// Why shards cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconstructError {
    /// Fewer than k shards are at hand.
    #[error("{have} shards are at hand, {need} are needed")]
    NotEnoughShards {
        /// Shards at hand, implied ones included.
        have: usize,
        /// The code's k.
        need: usize,
    },
    /// Not one source per shard.
    #[error("{got} sources for {need} shards")]
    Sources {
        /// The code's k + m.
        need: usize,
        /// Sources given.
        got: usize,
    },
    /// A source is not of the length that was announced.
    #[error("shard {index} has {got} bytes, not {need}")]
    Length {
        /// Which shard.
        index: usize,
        /// The announced length in bytes.
        need: usize,
        /// Its length in bytes.
        got: usize,
    },
    /// Not one output for each wanted shard, or they differ in length.
    #[error("the outputs are not {need} buffers of {bytes} bytes each")]
    Outputs {
        /// Shards that are wanted.
        need: usize,
        /// Bytes of the first output.
        bytes: usize,
    },
    /// A wanted index is beyond the code's shards.
    #[error("shard {index} is wanted of {shards}")]
    Wanted {
        /// The index.
        index: usize,
        /// The code's k + m.
        shards: usize,
    },
}

/// This CPU lacks an instruction set that the SIMD code was compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this CPU has no {missing}; Cairn's erasure code needs an x86-64 processor of 2013 or later (Haswell or Excavator), \
     and a virtual machine must pass its features through (for example `-cpu host`)"
)]
pub struct CpuTooOld {
    /// The instruction set that is missing.
    pub missing: &'static str,
}

/// Checks at run time that the SIMD code can run here. To be called once at start, before any [`Coder`] codes.
///
/// On x86-64 the crate's C code is compiled for Haswell, whatever machine builds it, and has no dispatch of its own: on
/// an older CPU it would die of an illegal instruction. On other architectures the baseline suffices.
pub fn require_simd() -> Result<(), CpuTooOld> {
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("AVX2", std::is_x86_feature_detected!("avx2")),
            ("BMI1", std::is_x86_feature_detected!("bmi1")),
            ("BMI2", std::is_x86_feature_detected!("bmi2")),
            ("FMA", std::is_x86_feature_detected!("fma")),
            ("LZCNT", std::is_x86_feature_detected!("lzcnt")),
            ("MOVBE", std::is_x86_feature_detected!("movbe")),
            ("POPCNT", std::is_x86_feature_detected!("popcnt")),
        ];
        require_all(&features)
    }
    #[cfg(not(target_arch = "x86_64"))]
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn require_all(features: &[(&'static str, bool)]) -> Result<(), CpuTooOld> {
    match features.iter().find(|(_, present)| !present) {
        None => Ok(()),
        Some((missing, _)) => Err(CpuTooOld { missing }),
    }
}

/// A code made ready. Making one inverts a matrix: keep it. It can be shared between threads.
pub struct Coder {
    code: Code,
    /// m rows of k coefficients: parity p is the sum of row p times the data shards.
    parity_rows: Vec<Vec<u8>>,
    matrices: ReedSolomon,
}

impl std::fmt::Debug for Coder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coder")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

impl Coder {
    /// Makes a code ready.
    #[expect(
        clippy::expect_used,
        reason = "Code admits 1 to 32 data and 2 to 32 parity shards, which the crate takes"
    )]
    pub fn new(code: Code) -> Self {
        let matrices =
            ReedSolomon::new(code.data(), code.parity()).expect("every Code is in the crate's range");
        let mut shards = units(code.data());
        shards.resize(code.shards(), vec![0; code.data()]);
        matrices
            .encode(&mut shards)
            .expect("k + m shards of k bytes each");
        let parity_rows = shards.split_off(code.data());
        Self {
            code,
            parity_rows,
            matrices,
        }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The m parity shards of `shard_bytes` bytes over `lanes`. A lane shorter than that counts as padded with zeros,
    /// an empty one costs nothing; lanes beyond the k-th and bytes beyond `shard_bytes` are ignored.
    pub fn encode(&self, lanes: &[&[u8]], shard_bytes: usize) -> Vec<Vec<u8>> {
        let mut parity = vec![vec![0; shard_bytes]; self.code.parity()];
        self.encode_into(
            lanes,
            &mut parity.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
        );
        parity
    }

    /// As [`Self::encode`], into m buffers of one length, whatever they held before.
    pub fn encode_into(&self, lanes: &[&[u8]], parity: &mut [&mut [u8]]) {
        let shard_bytes = parity.first().map_or(0, |shard| shard.len());
        combine(&self.parity_rows, lanes, parity, shard_bytes);
    }

    /// The shards at the indices of `wanted`, in that order, from any k others. Works as well on an equal byte range of
    /// each shard, `bytes` long. Only what is wanted is computed; a wanted shard that is at hand is copied.
    pub fn reconstruct(
        &self,
        bytes: usize,
        sources: &[Source<'_>],
        wanted: &[usize],
    ) -> Result<Vec<Vec<u8>>, ReconstructError> {
        self.check(bytes, sources, wanted)?;
        let mut outputs = vec![vec![0; bytes]; wanted.len()];
        let mut windows: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.reconstruct_into(sources, wanted, &mut windows)?;
        Ok(outputs)
    }

    /// As [`Self::reconstruct`], into one buffer for each wanted shard, all of one length, whatever they held before.
    pub fn reconstruct_into(
        &self,
        sources: &[Source<'_>],
        wanted: &[usize],
        outputs: &mut [&mut [u8]],
    ) -> Result<(), ReconstructError> {
        if wanted.is_empty() && outputs.is_empty() {
            return Ok(());
        }
        let bytes = outputs.first().map_or(0, |output| output.len());
        self.check(bytes, sources, wanted)?;
        if outputs.len() != wanted.len() || outputs.iter().any(|output| output.len() != bytes) {
            return Err(ReconstructError::Outputs {
                need: wanted.len(),
                bytes,
            });
        }
        let (mut missing, mut windows) = (Vec::new(), Vec::new());
        for (index, output) in wanted.iter().zip(outputs) {
            match sources.get(*index) {
                Some(Source::Zeros) => output.fill(0),
                Some(Source::Bytes(shard)) => output.copy_from_slice(shard),
                _ => {
                    missing.push(*index);
                    windows.push(&mut **output);
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let chosen = self.choose(sources)?;
        let bytes_of = |index: &usize| match sources.get(*index) {
            Some(Source::Bytes(shard)) => shard,
            _ => &[][..],
        };
        let inputs: Vec<&[u8]> = chosen.iter().map(bytes_of).collect();
        combine(&self.rows(&chosen, &missing), &inputs, &mut windows, bytes);
        Ok(())
    }

    fn check(&self, bytes: usize, sources: &[Source<'_>], wanted: &[usize]) -> Result<(), ReconstructError> {
        let shards = self.code.shards();
        if sources.len() != shards {
            return Err(ReconstructError::Sources {
                need: shards,
                got: sources.len(),
            });
        }
        for (index, source) in sources.iter().enumerate() {
            if let Source::Bytes(shard) = source
                && shard.len() != bytes
            {
                return Err(ReconstructError::Length {
                    index,
                    need: bytes,
                    got: shard.len(),
                });
            }
        }
        match wanted.iter().find(|index| **index >= shards) {
            Some(index) => Err(ReconstructError::Wanted {
                index: *index,
                shards,
            }),
            None => Ok(()),
        }
    }

    /// The k shards to compute from, in index order: those of zeros first, because they cost nothing, then the lowest
    /// indices, because more data shards make simpler rows.
    fn choose(&self, sources: &[Source<'_>]) -> Result<Vec<usize>, ReconstructError> {
        let of = |wanted: fn(&Source<'_>) -> bool| {
            sources
                .iter()
                .enumerate()
                .filter(move |(_, source)| wanted(source))
                .map(|(index, _)| index)
        };
        let zeros = of(|source| matches!(source, Source::Zeros));
        let bytes = of(|source| matches!(source, Source::Bytes(_)));
        let mut chosen: Vec<usize> = zeros.chain(bytes).collect();
        if chosen.len() < self.code.data() {
            return Err(ReconstructError::NotEnoughShards {
                have: chosen.len(),
                need: self.code.data(),
            });
        }
        chosen.truncate(self.code.data());
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// For each missing index its row of k coefficients over the chosen shards: the crate reconstructs the missing
    /// shards of a pack of k bytes a shard, in which the j-th chosen shard is the j-th unit vector.
    #[expect(
        clippy::expect_used,
        reason = "k distinct rows of this matrix are always invertible, and k are given"
    )]
    fn rows(&self, chosen: &[usize], missing: &[usize]) -> Vec<Vec<u8>> {
        let mut shards: Vec<Option<Vec<u8>>> = vec![None; self.code.shards()];
        for (index, unit) in chosen.iter().zip(units(self.code.data())) {
            if let Some(shard) = shards.get_mut(*index) {
                *shard = Some(unit);
            }
        }
        self.matrices
            .reconstruct(&mut shards)
            .expect("k shards of k bytes each are given");
        missing
            .iter()
            .filter_map(|index| shards.get(*index).cloned().flatten())
            .collect()
    }
}

/// The unit vectors of length `count`.
fn units(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|one| (0..count).map(|at| u8::from(at == one)).collect())
        .collect()
}

/// Sets each output to the sum of its row's coefficients times the inputs, each padded with zeros or cut to `bytes`, the
/// length of every output.
fn combine(rows: &[Vec<u8>], inputs: &[&[u8]], outputs: &mut [&mut [u8]], bytes: usize) {
    let mut start = 0;
    while start < bytes {
        let end = bytes.min(start + WINDOW_BYTES);
        let part = |input: &&'_ [u8]| input.len().clamp(start, end) - start;
        let mut used = inputs
            .iter()
            .enumerate()
            .filter(|(_, input)| part(input) > 0)
            .peekable();
        // A whole window of the first input overwrites what the outputs held; otherwise they begin as zeros.
        let mut overwrite = used.peek().is_some_and(|(_, input)| part(input) == end - start);
        if !overwrite {
            outputs
                .iter_mut()
                .filter_map(|output| output.get_mut(start..end))
                .for_each(|window| window.fill(0));
        }
        for (column, input) in used {
            let Some(input) = input.get(start..start + part(input)) else {
                continue;
            };
            for (row, output) in rows.iter().zip(outputs.iter_mut()) {
                let output = output.get_mut(start..start + input.len());
                let (Some(factor), Some(output)) = (row.get(column), output) else {
                    continue;
                };
                if overwrite {
                    mul_slice(*factor, input, output);
                } else {
                    mul_slice_xor(*factor, input, output);
                }
            }
            overwrite = false;
        }
        start = end;
    }
}

/// How long it takes to encode `rounds` packs of `shard_bytes` per lane, for a bench or a start-up check to print. The
/// clock is passed in. Data bytes coded are `rounds` x k x `shard_bytes`.
pub fn measure_encode(
    coder: &Coder,
    shard_bytes: usize,
    rounds: u32,
    now: impl Fn() -> Duration,
) -> Duration {
    let lane: Vec<u8> = (0..shard_bytes).map(|at| (at % 251) as u8).collect();
    let lanes: Vec<&[u8]> = (0..coder.code.data()).map(|_| lane.as_slice()).collect();
    let start = now();
    for _ in 0..rounds {
        std::hint::black_box(coder.encode(std::hint::black_box(&lanes), shard_bytes));
    }
    now().saturating_sub(start)
}
