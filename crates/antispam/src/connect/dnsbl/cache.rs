//! Answers of one list, for as long as they hold, bounded. Pure: time is passed in.
//!
//! Beside the resolver's cache because a list's answers must be forgotten when the list turns out to be broken, and
//! because listings are kept for times of our own. When it is full the oldest answer goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use mail::Timestamp;

use super::answer::Verdict;

/// See above.
#[derive(Debug)]
pub struct Cache<K> {
    entries_max: usize,
    entries: HashMap<K, Entry>,
    /// In the order they were put in, with the number they had then; a later number means that this one is outdated.
    order: VecDeque<(u64, K)>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    until: Timestamp,
    verdict: Verdict,
}

impl<K: Clone + Eq + Hash> Cache<K> {
    /// Holds `entries_max` answers; with 0 nothing is kept.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: HashMap::new(), order: VecDeque::new(), next: 0 }
    }

    /// The answer about this, if it still holds.
    #[must_use]
    pub fn get(&self, about: &K, now: Timestamp) -> Option<&Verdict> {
        self.entries.get(about).filter(|entry| now < entry.until).map(|entry| &entry.verdict)
    }

    /// Keeps an answer for some time.
    pub fn put(&mut self, about: K, verdict: Verdict, now: Timestamp, time: Duration) {
        if self.entries_max == 0 || time.is_zero() {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.entries.insert(about.clone(), Entry { number, until: now.plus(time), verdict });
        self.order.push_back((number, about));
        while self.entries.len() > self.entries_max || self.order.len() > self.entries_max.saturating_mul(2) {
            let Some((number, about)) = self.order.pop_front() else { break };
            if self.entries.get(&about).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&about);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// Answers that are kept, outdated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_answer_ends_with_its_time() {
        let mut cache = Cache::new(10);
        let start = Timestamp::from_seconds(1_000);
        cache.put(ip(1), Verdict::NotListed, start, MINUTE);
        assert_eq!(cache.get(&ip(1), Timestamp::from_seconds(1_059)), Some(&Verdict::NotListed));
        assert_eq!(cache.get(&ip(1), Timestamp::from_seconds(1_060)), None);
        assert_eq!(cache.get(&ip(2), start), None);
        cache.put(ip(3), Verdict::NotListed, start, Duration::ZERO);
        assert_eq!(cache.get(&ip(3), start), None);
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn the_oldest_answer_goes_first() {
        let mut cache = Cache::new(2);
        let now = Timestamp::from_seconds(1);
        for last in [1, 2, 1, 3] {
            cache.put(ip(last), Verdict::NotListed, now, MINUTE);
        }
        // 1 was put in again after 2.
        assert_eq!([1, 2, 3].map(|last| cache.get(&ip(last), now).is_some()), [true, false, true]);
    }

    proptest! {
        #[test]
        fn it_never_grows_over_its_bound(puts in proptest::collection::vec(any::<u8>(), 0..300), max in 0_usize..9) {
            let mut cache = Cache::new(max);
            for last in puts {
                cache.put(ip(last), Verdict::NotListed, Timestamp::from_seconds(1), MINUTE);
                prop_assert!(cache.len() <= max && cache.order.len() <= 2 * max);
                prop_assert!(max == 0 || cache.get(&ip(last), Timestamp::from_seconds(1)).is_some());
            }
        }
    }
}
