//! Numbers that one seed repeats.

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
};

/// The seed of a run: `ATP_SEED`, or another one each time.
pub(crate) fn seed() -> u64 {
    let fresh = || RandomState::new().hash_one(0);
    env::var("ATP_SEED").map_or_else(|_| fresh(), |text| text.parse().expect("a seed"))
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
