//! Changes inputs at random, from a seed: what `cargo test` does instead of an engine.

/// Longest input that is made, in bytes. Every reader's bound is either below this, or has tests of its own.
pub const INPUT_MAX: usize = 8 * 1024;
/// Most changes of one input.
const CHANGES_MAX: usize = 4;

/// Makes inputs from others. The same seed makes the same ones.
pub struct Mutator<'a> {
    state: u64,
    inputs: &'a [Vec<u8>],
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// Makes inputs from these and these words. There must be at least one input.
    pub fn new(seed: u64, inputs: &'a [Vec<u8>], words: &'a [&'a str]) -> Mutator<'a> {
        assert!(!inputs.is_empty(), "nothing to change");
        Mutator {
            state: seed,
            inputs,
            words,
        }
    }

    /// A number below `end`, or 0. `SplitMix64` (Steele, Lea and Flood, 2014).
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(bits % end.max(1)).unwrap_or_default()
    }

    /// A range of this many bytes or fewer.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = start + self.below(length - start + 1);
        start..end
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let place = self.range(input.len());
        match self.below(6) {
            0 => {
                let byte = u8::try_from(self.below(256)).unwrap_or_default();
                drop(input.splice(place.start..place.start, [byte]));
            }
            1 => drop(input.drain(place)),
            2 => {
                let copy = input[place.clone()].to_vec();
                drop(input.splice(place.end..place.end, copy));
            }
            3 => {
                let other = &self.inputs[self.below(self.inputs.len())];
                let part = self.range(other.len());
                drop(input.splice(place, other[part].iter().copied()));
            }
            _ if self.words.is_empty() => {}
            4 => {
                let word = self.words[self.below(self.words.len())];
                drop(input.splice(place.start..place.start, word.bytes()));
            }
            _ => {
                let word = self.words[self.below(self.words.len())];
                drop(input.splice(place, word.bytes()));
            }
        }
        input.truncate(INPUT_MAX);
    }
}

impl Iterator for Mutator<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.inputs[self.below(self.inputs.len())].clone();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input);
        }
        Some(input)
    }
}
