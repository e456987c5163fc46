//! Chance, from one seed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// SplitMix64: tiny, and the same numbers in every release of every library. Clones draw from one sequence.
#[derive(Clone)]
pub struct Random(Arc<Mutex<u64>>);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// 0 to `bound - 1`.
    pub fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// True in so many of a thousand draws.
    pub fn per_mille(&self, rate: u64) -> bool {
        self.below(1000) < rate
    }

    /// A time of at least `min_ms` and less than `max_ms`.
    pub fn millis(&self, min_ms: u64, max_ms: u64) -> Duration {
        Duration::from_millis(min_ms + self.below(max_ms - min_ms))
    }

    pub fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
