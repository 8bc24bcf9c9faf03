//! The counters themselves: two hours of them in memory, bounded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mail::{ClientNetwork, Timestamp};
use store::StateKey;

use super::{Event, HOUR_SECONDS, NAMESPACE};

/// Counters of one hour that are kept in memory; then those with the least counted are forgotten.
pub(super) const COUNTERS_MAX: usize = 200_000;
/// A counter is written down when what was added to it is at least this part of its limit.
const SAVED_PARTS: u64 = 16;

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Network(ClientNetwork),
    Account(Arc<str>),
}

/// What is to be added to the store.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) hour: u64,
    pub(super) event: Event,
    pub(super) subject: Subject,
    pub(super) amount: u64,
}

type Key = (Subject, Event);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    total: u64,
    unsaved: u64,
}

/// This hour's, and those of the one before.
#[derive(Debug, Default)]
pub(super) struct Counters {
    hour: u64,
    now: HashMap<Key, Count>,
    before: HashMap<Key, Count>,
    /// What was told within this hour.
    told: HashSet<String>,
}

impl Counters {
    pub(super) fn add(&mut self, subject: &Subject, (event, amount): (Event, u64), now: Timestamp) {
        self.turn(now);
        make_room(&mut self.now);
        let count = self.now.entry((subject.clone(), event)).or_default();
        count.total = count.total.saturating_add(amount);
        count.unsaved = count.unsaved.saturating_add(amount);
    }

    /// All of this hour, and of the one before the share that still lies within the last sixty minutes.
    pub(super) fn sum(&mut self, subject: &Subject, event: Event, now: Timestamp) -> u64 {
        self.turn(now);
        let key = (subject.clone(), event);
        let of = |counts: &HashMap<Key, Count>| counts.get(&key).map_or(0, |count| count.total);
        let left = HOUR_SECONDS - now.seconds() % HOUR_SECONDS;
        of(&self.now).saturating_add(of(&self.before).saturating_mul(left) / HOUR_SECONDS)
    }

    pub(super) fn is_news(&mut self, who: &str, what: &str, now: Timestamp) -> bool {
        self.turn(now);
        if self.told.len() >= COUNTERS_MAX {
            self.told.clear();
        }
        self.told.insert(format!("{what}/{who}"))
    }

    pub(super) fn forget(&mut self, account: &str) {
        let others = |(subject, _): &Key, _: &mut Count| !matches!(subject, Subject::Account(name) if **name == *account);
        self.now.retain(others);
        self.before.retain(others);
        let behind = format!("/{account}");
        self.told.retain(|told| !told.ends_with(&behind));
    }

    /// What was counted before a restart; `rest`: the key as in the store.
    pub(super) fn load(&mut self, rest: &[u8], total: u64, now: Timestamp) {
        self.turn(now);
        let Some((hour, key)) = parsed(rest) else { return };
        let counts = match self.hour.checked_sub(hour) {
            Some(0) => &mut self.now,
            Some(1) => &mut self.before,
            _ => return,
        };
        make_room(counts);
        let count = counts.entry(key).or_default();
        count.total = count.total.saturating_add(total);
    }

    /// What is worth writing down, given the limits.
    pub(super) fn take_unsaved(&mut self, limit: impl Fn(&Subject, Event) -> u64) -> Vec<Due> {
        let mut due = Vec::new();
        let hour = self.hour;
        for (hour, counts) in [(hour, &mut self.now), (hour.saturating_sub(1), &mut self.before)] {
            for ((subject, event), count) in counts.iter_mut().filter(|(_, count)| count.unsaved > 0) {
                if count.unsaved.saturating_mul(SAVED_PARTS) >= limit(subject, *event) {
                    let amount = std::mem::take(&mut count.unsaved);
                    due.push(Due { hour, event: *event, subject: subject.clone(), amount });
                }
            }
        }
        due
    }

    /// Takes back what could not be written down.
    pub(super) fn give_back(&mut self, due: &[Due]) {
        for Due { hour, event, subject, amount } in due {
            let counts = match self.hour.checked_sub(*hour) {
                Some(0) => &mut self.now,
                Some(1) => &mut self.before,
                _ => continue,
            };
            if let Some(count) = counts.get_mut(&(subject.clone(), *event)) {
                count.unsaved = count.unsaved.saturating_add(*amount);
            }
        }
    }

    /// A new hour: this one becomes the one before. A clock that goes back a little changes nothing.
    fn turn(&mut self, now: Timestamp) {
        let hour = now.seconds() / HOUR_SECONDS;
        if hour > self.hour {
            let last = std::mem::take(&mut self.now);
            self.before = if hour == self.hour + 1 { last } else { HashMap::new() };
            self.told.clear();
            self.hour = hour;
        }
    }
}

/// Forgets who did least, a quarter at least, when all places are taken.
fn make_room(counts: &mut HashMap<Key, Count>) {
    let mut least = 1;
    while counts.len() >= COUNTERS_MAX || (least > 1 && counts.len() > COUNTERS_MAX / 4 * 3) {
        counts.retain(|_, count| count.total > least);
        least = least.saturating_mul(2);
    }
}

/// `<hour>/<event>/<network or account>`.
pub(super) fn key(hour: u64, event: Event, subject: &Subject) -> StateKey {
    let event = event.as_str();
    StateKey::new(
        NAMESPACE,
        match subject {
            Subject::Network(network) => format!("{hour}/{event}/net:{network}"),
            Subject::Account(account) => format!("{hour}/{event}/account:{account}"),
        },
    )
}

fn parsed(rest: &[u8]) -> Option<(u64, Key)> {
    let text = std::str::from_utf8(rest).ok()?;
    let mut parts = text.splitn(3, '/');
    let (hour, event, who) = (parts.next()?.parse().ok()?, Event::named(parts.next()?)?, parts.next()?);
    let subject = match who.split_once(':')? {
        ("net", network) => {
            let address = network.rsplit_once('/')?.0.parse().ok()?;
            Subject::Network(ClientNetwork::of(address))
        }
        ("account", account) => Subject::Account(account.into()),
        _ => return None,
    };
    Some((hour, (subject, event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u32) -> Subject {
        Subject::Network(ClientNetwork::of(std::net::Ipv4Addr::from(number << 8).into()))
    }

    #[test]
    fn keys_are_read_back() {
        let v6 = Subject::Network(ClientNetwork::of("2001:db8::1".parse().unwrap()));
        for subject in [network(7), v6, Subject::Account("a/b:c@example.test".into())] {
            let key = key(500_000, Event::NewRecipient, &subject);
            assert_eq!(parsed(key.rest()), Some((500_000, (subject, Event::NewRecipient))));
        }
        for other in ["told/slow/a@b.test", "x", "1/nothing/net:192.0.2.0/24", "1/bounce/net:x"] {
            assert_eq!(parsed(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn memory_is_bounded_and_forgets_who_did_least() {
        let mut counters = Counters::default();
        let now = Timestamp::from_seconds(500_000 * HOUR_SECONDS);
        counters.add(&network(0), (Event::Connection, 50), now);
        for number in 1..=u32::try_from(COUNTERS_MAX).unwrap() + 10 {
            counters.add(&network(number), (Event::Connection, 1), now);
        }
        assert!(counters.now.len() <= COUNTERS_MAX);
        assert_eq!(counters.sum(&network(0), Event::Connection, now), 50);
        // Even if all did the same.
        let mut all: HashMap<Key, Count> = (0..u32::try_from(COUNTERS_MAX).unwrap())
            .map(|number| ((network(number), Event::Message), Count { total: 9, unsaved: 0 }))
            .collect();
        make_room(&mut all);
        assert!(all.len() < COUNTERS_MAX);
    }
}
