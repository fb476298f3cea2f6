//! Random numbers that are the same for a seed on every machine and in every version.

use std::ops::Range;

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// What the script of this number is drawn with.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed);
        Self(dice.next() ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.next() % (range.end - range.start) as u64) as usize
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.within(0..from.len())].clone()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.within(0..100) < percent
    }
}
