//! Who was written to a moment ago: what writes to the same people again and again asks the store once.
//!
//! A generation of pairs fills until it is full or ten minutes old, then it takes the place of the one before: so what is
//! here is twenty minutes old at most, and what the store has lost meanwhile is remembered anew soon. Kept are hashes by a
//! secret of this process.
//!
//! Pure; time is passed in.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use mail::Timestamp;
use store::StateKey;

/// Pairs of a generation.
const PAIRS_MAX: usize = 2_048;
/// How long a generation fills.
const GENERATION_SECONDS: u64 = 600;

/// See above.
#[derive(Debug, Default)]
pub(super) struct Lately {
    hasher: RandomState,
    /// When the latest generation was begun, in seconds.
    begun: u64,
    latest: HashSet<u64>,
    before: HashSet<u64>,
}

impl Lately {
    /// True when all of these were noted a moment ago.
    pub(super) fn has_all(&mut self, keys: &[StateKey], now: Timestamp) -> bool {
        self.turn(now);
        keys.iter().all(|key| {
            let hash = self.hasher.hash_one(key);
            self.latest.contains(&hash) || self.before.contains(&hash)
        })
    }

    /// These are in the store, for about as long as they can be.
    pub(super) fn note(&mut self, keys: &[StateKey], now: Timestamp) {
        self.turn(now);
        for key in keys {
            if self.latest.len() >= PAIRS_MAX {
                self.begin(now);
            }
            self.latest.insert(self.hasher.hash_one(key));
        }
    }

    fn turn(&mut self, now: Timestamp) {
        let age = now.seconds().abs_diff(self.begun);
        if age >= GENERATION_SECONDS {
            self.begin(now);
        }
        if age >= 2 * GENERATION_SECONDS {
            self.before = HashSet::new();
        }
    }

    fn begin(&mut self, now: Timestamp) {
        self.before = std::mem::take(&mut self.latest);
        self.begun = now.seconds();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    fn keys(names: impl IntoIterator<Item = u32>) -> Vec<StateKey> {
        names.into_iter().map(|name| StateKey::new("test", name.to_be_bytes())).collect()
    }

    fn later(seconds: u64) -> Timestamp {
        Timestamp(NOW.0 + seconds * 1000)
    }

    #[test]
    fn what_was_noted_is_there_for_ten_minutes_at_least_and_twenty_at_most() {
        let mut lately = Lately::default();
        assert!(!lately.has_all(&keys([1]), NOW));
        lately.note(&keys([1]), NOW);
        lately.note(&keys([2]), later(599));
        for (at, first, second) in
            [(0, true, true), (600, true, true), (1_198, true, true), (1_200, false, false)]
        {
            assert_eq!(lately.has_all(&keys([1]), later(at)), first, "{at}");
            assert_eq!(lately.has_all(&keys([2]), later(at)), second, "{at}");
        }
        assert!(!lately.has_all(&keys([1, 3]), NOW));
        lately.note(&keys([1]), later(2_000));
        assert!(!lately.has_all(&keys([1]), later(5_000)), "and not after a long rest");
        assert!(!lately.has_all(&keys([1]), NOW), "nor when the clock was set back");
    }

    #[test]
    fn it_is_bounded() {
        let mut lately = Lately::default();
        let many = u32::try_from(PAIRS_MAX).unwrap() * 5;
        lately.note(&keys(0..many), NOW);
        assert!(lately.latest.len() <= PAIRS_MAX && lately.before.len() <= PAIRS_MAX);
        assert!(lately.has_all(&keys([many - 1]), NOW) && !lately.has_all(&keys([0]), NOW));
    }
}
