//! A map from hashes to the numbers of their packs, of eight octets for each.
//!
//! Most are in one list in order, a number behind its hash in one word; the latest are in a small map beside it, and are merged into
//! the list, in place, when they are an eighth of it. A hash table would take half as much again, and twice as much while it
//! grows.
//!
//! Pure, and bounded by whoever fills it.

use std::collections::HashMap;

use super::Hash;

/// The latest hashes are that many before they are merged, at least.
const LATEST_MIN: usize = 1_024;
/// They are this part of all others, at most.
const LATEST_PART: usize = 8;
/// Bits of a number.
const NUMBER_BITS: u32 = u16::BITS;

/// See above.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// In order, no hash twice.
    list: Vec<u64>,
    /// What is here counts, whatever the list says.
    latest: HashMap<Hash, u16>,
}

impl Known {
    /// How many there are; what is in both counts twice.
    pub(super) fn len(&self) -> usize {
        self.list.len() + self.latest.len()
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<u16> {
        if let Some(number) = self.latest.get(hash) {
            return Some(*number);
        }
        let wanted = word(*hash, 0);
        let place = self.list.partition_point(|word| *word < wanted);
        let found = *self.list.get(place)?;
        (key(found) == key(wanted)).then(|| number(found))
    }

    pub(super) fn insert(&mut self, hash: Hash, number: u16) {
        self.latest.insert(hash, number);
        if self.latest.len() > LATEST_MIN.max(self.list.len() / LATEST_PART) {
            self.merge();
        }
    }

    /// Keeps those in packs with such numbers.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u16) -> bool) {
        // Else what a later number stands for might come to light again.
        self.merge();
        self.list.retain(|word| keep(number(*word)));
        if self.list.capacity() / 4 > self.list.len() {
            self.list.shrink_to(self.list.len() * 2);
        }
    }

    /// Merges from the end on, so that nothing is overwritten that is still to be moved.
    fn merge(&mut self) {
        let mut latest: Vec<u64> = self.latest.drain().map(|(hash, number)| word(hash, number)).collect();
        latest.sort_unstable();
        let (mut old, mut place) = (self.list.len(), self.list.len() + latest.len());
        self.list.reserve_exact(latest.len());
        self.list.resize(place, 0);
        while let (Some(new), Some(next)) = (latest.last().copied(), place.checked_sub(1)) {
            let before = old.checked_sub(1).and_then(|at| self.list.get(at).copied());
            // Of a hash that is there twice, the later one comes first.
            let moved = match before.filter(|before| key(*before) >= key(new)) {
                Some(before) => {
                    old -= 1;
                    before
                }
                None => {
                    latest.pop();
                    new
                }
            };
            if let Some(to) = self.list.get_mut(next) {
                *to = moved;
            }
            place = next;
        }
        self.list.dedup_by_key(|word| key(*word));
    }
}

fn word(hash: Hash, number: u16) -> u64 {
    let hash = hash.iter().fold(0, |word, octet| word << 8 | u64::from(*octet));
    hash << NUMBER_BITS | u64::from(number)
}

fn key(word: u64) -> u64 {
    word >> NUMBER_BITS
}

fn number(word: u64) -> u16 {
    let [.., high, low] = word.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u16),
        Forget(u16),
        Merge,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (any::<u8>(), 0..9_u16).prop_map(|(hash, number)| Step::Insert(hash, number)),
            1 => (0..9_u16).prop_map(Step::Forget),
            1 => Just(Step::Merge),
        ]
    }

    /// Small ones are next to each other, large ones far apart.
    fn hash(name: u8) -> Hash {
        [name & 0x80, 0, 0, 0, name & 0x10, name]
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(step(), 0..300)) {
            let (mut known, mut model) = (Known::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(name, number) => {
                        known.insert(hash(name), number);
                        model.insert(hash(name), number);
                    }
                    Step::Forget(gone) => {
                        known.retain(|number| number != gone);
                        model.retain(|_, number| *number != gone);
                    }
                    Step::Merge => {
                        known.merge();
                        prop_assert_eq!(known.len(), model.len());
                        prop_assert!(known.list.is_sorted_by(|a, b| key(*a) < key(*b)));
                    }
                }
                prop_assert!(known.len() >= model.len());
                for name in 0..=255 {
                    prop_assert_eq!(known.get(&hash(name)), model.get(&hash(name)).copied());
                }
            }
        }
    }

    #[test]
    fn many_are_kept_in_order_with_little_beside() {
        let mut known = Known::default();
        let hash = |n: u64| -> Hash {
            let [_, _, hash @ ..] = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            hash
        };
        for n in 0..100_000 {
            known.insert(hash(n), 7);
        }
        assert_eq!(known.len(), 100_000);
        assert!(known.latest.len() <= 100_000 / LATEST_PART);
        assert!(known.list.capacity() <= 100_000);
        assert!((0..100_000).all(|n| known.get(&hash(n)) == Some(7)));
        assert!((100_000..200_000).all(|n| known.get(&hash(n)).is_none()));
        known.retain(|_| false);
        assert_eq!((known.len(), known.list.capacity()), (0, 0));
    }
}
