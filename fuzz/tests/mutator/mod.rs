//! Seeded mutations of corpus files: what a fuzzer without feedback does.

/// Draws mutations. One seed gives one sequence.
pub(super) struct Mutator(u64);

const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x0010_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 63,
    u64::MAX,
];

impl Mutator {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// splitmix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of the files, changed in one to four places.
    pub(super) fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus.get(self.below(corpus.len())).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(32)).min(input.len());
        match self.below(9) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                let value = self.next() as u8;
                if let Some(byte) = input.get_mut(at) {
                    *byte = value;
                }
            }
            2 => input.truncate(at),
            3 => drop(input.drain(at.min(end)..end)),
            4 => {
                let twice = input.get(at..end).unwrap_or_default().to_vec();
                drop(input.splice(at..at, twice));
            }
            5 => {
                let width = [1, 2, 4, 8].get(self.below(4)).copied().unwrap_or(1);
                let edge = EDGES
                    .get(self.below(EDGES.len()))
                    .copied()
                    .unwrap_or(0)
                    .to_le_bytes();
                let places = input.iter_mut().skip(at).take(width);
                places.zip(edge).for_each(|(byte, value)| *byte = value);
            }
            6 => {
                let other = corpus
                    .get(self.below(corpus.len()))
                    .map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            7 => {
                let more = self.below(16);
                let value = self.next() as u8;
                input.extend(std::iter::repeat_n(value, more));
            }
            _ => {
                // Text formats turn on a digit, a sign or a line end.
                let letter = b"0123456789abcdefF\n\r :;,=+-/%.\"{}[]"
                    .get(self.below(35))
                    .copied()
                    .unwrap_or(b'0');
                if let Some(byte) = input.get_mut(at) {
                    *byte = letter;
                }
            }
        }
    }
}
