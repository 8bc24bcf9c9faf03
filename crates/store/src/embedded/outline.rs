//! What is known in memory of every pack of the index: where it begins, how full it is, and when its rows are due.
//!
//! This is all that grows with the queue: some 100 octets for a pack, which is a few for each message. The due
//! list is not stored: packs in the order of their first due row tell which of them have to be looked at, and the rows of
//! those that were looked at are remembered, up to [`LISTED_MAX`]. Nothing here does I/O or can fail.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use mail::{QueueId, Timestamp};

/// Rows whose due times are remembered, 16 octets each.
const LISTED_MAX: usize = 100_000;

/// The rows of a pack that are not held, in the order in which they are due.
pub(crate) type DueList = Arc<[(Timestamp, QueueId)]>;

/// What is known of one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Octets of it.
    pub(crate) octets: usize,
    /// When the first and the last of its rows that are not held are due.
    pub(crate) due: Option<(Timestamp, Timestamp)>,
}

/// All packs.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    packs: BTreeMap<QueueId, Summary>,
    /// By their first due row; with the time of their last one.
    due: BTreeMap<(Timestamp, QueueId), Timestamp>,
    lists: HashMap<QueueId, DueList>,
    listed: usize,
}

impl Outline {
    /// Takes note of a pack under this key.
    pub(crate) fn set(&mut self, key: QueueId, summary: Summary) {
        self.remove(key);
        self.packs.insert(key, summary);
        if let Some((first, last)) = summary.due {
            self.due.insert((first, key), last);
        }
    }

    /// There is no such pack any more.
    pub(crate) fn remove(&mut self, key: QueueId) {
        if let Some((first, _)) = self.packs.remove(&key).and_then(|known| known.due) {
            self.due.remove(&(first, key));
        }
        self.listed -= self.lists.remove(&key).map_or(0, |list| list.len());
    }

    /// The pack that has the row of this message, if any has.
    pub(crate) fn pack_of(&self, id: QueueId) -> Option<QueueId> {
        self.packs.range(..=id).next_back().map(|(key, _)| *key)
    }

    /// The pack after this one.
    pub(crate) fn after(&self, key: QueueId) -> Option<QueueId> {
        self.packs.range((Bound::Excluded(key), Bound::Unbounded)).next().map(|(key, _)| *key)
    }

    /// Octets of a pack.
    pub(crate) fn octets_of(&self, key: QueueId) -> usize {
        self.packs.get(&key).map_or(0, |summary| summary.octets)
    }

    /// How many packs there are.
    pub(crate) fn len(&self) -> usize {
        self.packs.len()
    }

    /// The first pack.
    pub(crate) fn first(&self) -> Option<QueueId> {
        self.packs.first_key_value().map(|(key, _)| *key)
    }

    /// The pack with the earliest due row, of those behind `place` in that order.
    pub(crate) fn next_by_due(&self, place: Option<(Timestamp, QueueId)>) -> Option<(Timestamp, QueueId)> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.due.range((from, Bound::Unbounded)).next().map(|(place, _)| *place)
    }

    /// The first row due after `now` of packs that have none due before; and the packs that have both.
    pub(crate) fn around(&self, now: Timestamp) -> (Option<Timestamp>, Vec<QueueId>) {
        let place = (now, QueueId(u64::MAX));
        let both = self.due.range(..=place).filter(|(_, last)| **last > now).map(|((_, key), _)| *key);
        (self.next_by_due(Some(place)).map(|(at, _)| at), both.collect())
    }

    /// What is remembered of a pack's rows.
    pub(crate) fn list(&self, key: QueueId) -> Option<DueList> {
        self.lists.get(&key).cloned()
    }

    /// Remembers a pack's rows, and forgets all others when that is too much.
    pub(crate) fn remember(&mut self, key: QueueId, list: &DueList) {
        if self.listed + list.len() > LISTED_MAX {
            self.lists.clear();
            self.listed = 0;
        }
        self.listed += list.len();
        self.listed -= self.lists.insert(key, Arc::clone(list)).map_or(0, |old| old.len());
    }
}
