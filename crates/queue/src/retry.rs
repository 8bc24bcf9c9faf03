//! When to try again: intervals that double, stretched by chance.
//!
//! RFC 5321 §4.5.4.1. Pure: chance comes from a seed, so that a simulation repeats exactly.

use std::time::Duration;

use crate::outcome::Trouble;
use crate::settings::Settings;

/// Chance from a seed: Steele, Lea and Flood's SplitMix64, whose 64 bits of state pass through every value.
///
/// Good enough to scatter retries; never to be used where somebody must not guess.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A duration between two others, both included, to the millisecond; `low` when they are the wrong way round.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_millis().saturating_add(1);
        // The upper half of a product is uniform over `span` without a division.
        let offset = u128::from(self.next()).saturating_mul(span) >> 64;
        low.saturating_add(Duration::from_millis(u64::try_from(offset).unwrap_or_default()))
    }
}

/// How long a message waits after its `attempts`th attempt (1 or more) ended with this trouble.
///
/// Within `retry_seconds_min` and `retry_seconds_max` for others' troubles; sooner for ours.
#[must_use]
pub fn interval(settings: &Settings, attempts: u32, trouble: Trouble, chance: &mut Chance) -> Duration {
    let (min, max) = match trouble {
        Trouble::Recipient | Trouble::Destination | Trouble::Dns => {
            (settings.retry_seconds_min, settings.retry_seconds_max)
        }
        Trouble::Local => {
            let min = (settings.retry_seconds_min / 5).max(1);
            (min, settings.retry_local_seconds_max.clamp(min, settings.retry_seconds_max.max(min)))
        }
    };
    scattered(settings, min, max, attempts, chance)
}

/// How long a destination is left alone the `times`th time in a row (1 or more).
#[must_use]
pub fn rest(settings: &Settings, times: u32, chance: &mut Chance) -> Duration {
    let max = settings.destination_retry_seconds_max.max(settings.retry_seconds_min);
    scattered(settings, settings.retry_seconds_min, max, times, chance)
}

/// `min`, doubled for every time but the first, scattered by the jitter, within `min` and `max` seconds.
fn scattered(settings: &Settings, min: u64, max: u64, times: u32, chance: &mut Chance) -> Duration {
    let doublings = times.saturating_sub(1).min(32);
    let base = min.saturating_mul(1 << doublings).min(max);
    let spread = Duration::from_secs(base).saturating_mul(percent(settings)) / 100;
    let (min, base, max) = (Duration::from_secs(min), Duration::from_secs(base), Duration::from_secs(max));
    // The range is cut before the draw, not the result after it: at the limits messages would gather again.
    chance.between(base.saturating_sub(spread).max(min), base.saturating_add(spread).min(max))
}

fn percent(settings: &Settings) -> u32 {
    u32::try_from(settings.retry_jitter_percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn intervals_double_from_min_to_max() {
        let settings = Settings { retry_jitter_percent: 0, ..Settings::default() };
        let mut chance = Chance::new(1);
        let seconds: Vec<u64> =
            (1..=8).map(|n| interval(&settings, n, Trouble::Destination, &mut chance).as_secs()).collect();
        assert_eq!(seconds, [300, 600, 1200, 2400, 4800, 9600, 14_400, 14_400]);
        let local: Vec<u64> =
            (1..=6).map(|n| interval(&settings, n, Trouble::Local, &mut chance).as_secs()).collect();
        assert_eq!(local, [60, 120, 240, 480, 900, 900]);
        let rests: Vec<u64> = (1..=5).map(|n| rest(&settings, n, &mut chance).as_secs()).collect();
        assert_eq!(rests, [300, 600, 1200, 1800, 1800]);
    }

    #[test]
    fn chance_scatters_over_the_whole_range_even_at_the_limits() {
        let settings = Settings::default();
        let mut chance = Chance::new(7);
        for (attempts, low, high) in [(1, 300.0, 360.0), (3, 960.0, 1440.0), (20, 11_520.0, 14_400.0)] {
            let drawn: Vec<f64> = (0..2000)
                .map(|_| interval(&settings, attempts, Trouble::Recipient, &mut chance).as_secs_f64())
                .collect();
            let (least, most) = drawn.iter().fold((f64::MAX, 0.0_f64), |(l, m), d| (l.min(*d), m.max(*d)));
            assert!(least >= low && most <= high, "{attempts}: {least}..{most}");
            let edge = (high - low) / 20.0;
            assert!(least < low + edge && most > high - edge, "{attempts}: {least}..{most}");
            assert!(drawn.iter().filter(|d| **d >= high - 0.001).count() < 20, "they gather at {high}");
        }
    }

    proptest! {
        #[test]
        fn no_number_overflows_or_leaves_the_bounds(min in 1u64..1_000_000, more in 0u64..10_000_000, percent in 0u64..200, n: u32, seed: u64) {
            let settings = Settings {
                retry_seconds_min: min, retry_seconds_max: min + more, retry_jitter_percent: percent, ..Settings::default()
            };
            let drawn = interval(&settings, n, Trouble::Destination, &mut Chance::new(seed));
            prop_assert!(drawn >= Duration::from_secs(min) && drawn <= Duration::from_secs(min + more));
        }
    }
}
