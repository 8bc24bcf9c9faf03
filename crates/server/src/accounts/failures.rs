//! Failed authentications per client network: they slow the next answer down, and in the end stop it.
//!
//! Counted by [`ClientNetwork`], so that a peer with a /64 is one peer. A count halves every [`Limits::half_life`]. The
//! table is bounded: when it is full the network with the lowest count gives way. Never blocks anything but
//! authentication. The caller passes the time in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mail::ClientNetwork;

/// How failures are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A failure is answered no earlier than this after it was asked, whatever took how long; doubled with each
    /// further failure up to [`Limits::delay_max`].
    pub delay_min: Duration,
    /// Longest delay.
    pub delay_max: Duration,
    /// From so many failures on, authentication is refused without being tried.
    pub failures_max: u32,
    /// A count halves in this time.
    pub half_life: Duration,
    /// At most so many networks are remembered.
    pub networks_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(8),
            failures_max: 30,
            half_life: Duration::from_secs(300),
            networks_max: 65_536,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Count {
    failures: f64,
    at: Instant,
}

/// The counts.
#[derive(Debug)]
pub struct Failures {
    limits: Limits,
    counts: Mutex<HashMap<ClientNetwork, Count>>,
}

impl Failures {
    /// No failures so far.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// True when this network has failed too often to be let try.
    #[must_use]
    pub fn is_blocked(&self, network: ClientNetwork, now: Instant) -> bool {
        // Rounded: the count fades from the first instant on.
        self.count(network, now) + 0.5 >= f64::from(self.limits.failures_max)
    }

    /// Counts a failure. Returns how long after the question its answer may be spoken.
    pub fn failed(&self, network: ClientNetwork, now: Instant) -> Duration {
        let failures = self.count(network, now) + 1.0;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= self.limits.networks_max && !counts.contains_key(&network) {
            make_room(&mut counts, self.limits.half_life, now);
        }
        counts.insert(network, Count { failures, at: now });
        drop(counts);
        let doublings = (failures - 1.0).clamp(0.0, 16.0);
        let seconds = self.limits.delay_min.as_secs_f64() * doublings.exp2();
        Duration::from_secs_f64(seconds).min(self.limits.delay_max)
    }

    fn count(&self, network: ClientNetwork, now: Instant) -> f64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&network).map_or(0.0, |count| faded(*count, self.limits.half_life, now))
    }
}

/// The count as it is now.
fn faded(count: Count, half_life: Duration, now: Instant) -> f64 {
    let age = now.saturating_duration_since(count.at).as_secs_f64();
    count.failures * (-age / half_life.as_secs_f64().max(0.001)).exp2()
}

/// Drops all that have faded away, and at least the lowest.
fn make_room(counts: &mut HashMap<ClientNetwork, Count>, half_life: Duration, now: Instant) {
    counts.retain(|_, count| faded(*count, half_life, now) >= 0.5);
    let lowest = counts
        .iter()
        .min_by(|a, b| faded(*a.1, half_life, now).total_cmp(&faded(*b.1, half_life, now)))
        .map(|(network, _)| *network);
    if let Some(network) = lowest {
        counts.remove(&network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u8) -> ClientNetwork {
        ClientNetwork::of(format!("192.0.{n}.1").parse().unwrap())
    }

    #[test]
    fn delays_double_up_to_a_bound_and_fade() {
        let failures = Failures::new(Limits::default());
        let start = Instant::now();
        let delays: Vec<u64> = (0..6).map(|_| failures.failed(network(1), start).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 8, 8]);
        assert_eq!(failures.failed(network(2), start).as_secs(), 1, "another network is another matter");
        let later = start + Duration::from_secs(300 * 20);
        assert_eq!(failures.failed(network(1), later).as_secs(), 1);
    }

    #[test]
    fn too_many_failures_block_until_they_fade() {
        let limits = Limits { failures_max: 4, ..Limits::default() };
        let failures = Failures::new(limits);
        let start = Instant::now();
        for _ in 0..4 {
            assert!(!failures.is_blocked(network(1), start));
            failures.failed(network(1), start);
        }
        assert!(failures.is_blocked(network(1), start));
        assert!(!failures.is_blocked(network(2), start));
        assert!(!failures.is_blocked(network(1), start + limits.half_life));
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_worst() {
        let failures = Failures::new(Limits { networks_max: 8, failures_max: 2, ..Limits::default() });
        let now = Instant::now();
        failures.failed(network(200), now);
        failures.failed(network(200), now);
        for n in 0..100 {
            failures.failed(network(n), now);
        }
        assert!(failures.counts.lock().unwrap().len() <= 8);
        assert!(failures.is_blocked(network(200), now));
    }
}
