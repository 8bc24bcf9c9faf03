//! What is surely not there, known without asking the thread that has the rows.
//!
//! Most mail is from strangers, and most of what is looked up about them is not there: each such question would wake a
//! thread and wait for it. Here each key that was ever written sets a few bits of a bounded table (a Bloom filter, with keys
//! hashed by a secret of this process); a key of which one bit is clear was not written. Keys that went leave their
//! bits, so that the table fills: then a second one is filled with what is there, a piece at a time, and takes its place.
//!
//! Never says that something is absent unless all that was found at the start has been seen, and nothing was lost from sight since;
//! in doubt the thread is asked. Whoever has written ([`Absent::note`] after the write went into the line) and then asks is
//! sent to the thread.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Bits of one table, a power of two: 256 KiB.
const BITS: u64 = 1 << 21;
/// Bits that a key sets.
const BITS_PER_KEY: u32 = 4;
/// Keys after which a table is made anew: then one question in fifty about what is absent is asked in vain.
const KEYS_MAX: u64 = 250_000;
/// Neither table says anything.
const NEITHER: u8 = 2;

/// See above.
#[derive(Debug)]
pub(super) struct Absent {
    hasher: RandomState,
    tables: [Bits; 2],
    /// Which table answers.
    answering: AtomicU8,
    /// So many keys in the table that answers call for another.
    full_at: AtomicU64,
}

#[derive(Debug)]
struct Bits {
    words: Box<[AtomicU64]>,
    /// Keys that changed it.
    keys: AtomicU64,
}

impl Default for Absent {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            tables: [Bits::new(), Bits::new()],
            answering: AtomicU8::new(NEITHER),
            full_at: AtomicU64::new(KEYS_MAX),
        }
    }
}

impl Absent {
    /// A key may be there from now on.
    pub(super) fn note(&self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        self.tables.iter().for_each(|table| table.set(hash));
    }

    /// True when this key was never written.
    pub(super) fn has_not(&self, key: &[u8]) -> bool {
        let answering = self.tables.get(usize::from(self.answering.load(Ordering::Acquire)));
        answering.is_some_and(|table| !table.has(self.hasher.hash_one(key)))
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.answering.store(NEITHER, Ordering::Release);
    }

    /// True when another table should be filled.
    pub(super) fn is_full(&self) -> bool {
        let answering = self.tables.get(usize::from(self.answering.load(Ordering::Acquire)));
        answering
            .is_some_and(|table| table.keys.load(Ordering::Relaxed) >= self.full_at.load(Ordering::Relaxed))
    }

    /// Clears the table that does not answer. Whoever does so then shows it all rows, with [`Self::note`], the first ones not before
    /// all that stood in line has been carried out, and ends with [`Self::complete`].
    pub(super) fn begin(&self) {
        self.other().clear();
    }

    /// All rows have been seen: the table that was being filled answers.
    pub(super) fn complete(&self) {
        let keys = self.other().keys.load(Ordering::Relaxed);
        // With so many rows the next one would be as full: wait until it has got much worse.
        self.full_at.store(KEYS_MAX.max(keys.saturating_mul(2)), Ordering::Relaxed);
        let next = u8::from(self.answering.load(Ordering::Acquire) == 0);
        self.answering.store(next, Ordering::Release);
    }

    /// As if it were full.
    #[cfg(test)]
    pub(super) fn fill_up(&self) {
        self.full_at.store(0, Ordering::Relaxed);
    }

    /// The table that does not answer.
    fn other(&self) -> &Bits {
        let [first, second] = &self.tables;
        if self.answering.load(Ordering::Acquire) == 0 { second } else { first }
    }
}

impl Bits {
    fn new() -> Self {
        let words = (0..BITS / u64::from(u64::BITS)).map(|_| AtomicU64::new(0)).collect();
        Self { words, keys: AtomicU64::new(0) }
    }

    /// The words of a hash, with the bit in each.
    fn places(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let step = (hash >> 32) | 1;
        (0..u64::from(BITS_PER_KEY)).filter_map(move |nth| {
            let bit = hash.wrapping_add(nth.wrapping_mul(step)) % BITS;
            let word = self.words.get(usize::try_from(bit / u64::from(u64::BITS)).ok()?)?;
            Some((word, 1 << (bit % u64::from(u64::BITS))))
        })
    }

    fn set(&self, hash: u64) {
        let mut is_new = false;
        for (word, bit) in self.places(hash) {
            // Most are set already, and looking is cheaper than writing.
            is_new |=
                word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        }
        if is_new {
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has(&self, hash: u64) -> bool {
        self.places(hash).all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.keys.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> [u8; 8] {
        number.to_be_bytes()
    }

    #[test]
    fn nothing_is_said_before_all_was_seen_and_after_it_was_lost_from_sight() {
        let absent = Absent::default();
        assert!(!absent.has_not(b"a"));
        absent.begin();
        absent.note(b"a");
        assert!(!absent.has_not(b"b"));
        absent.complete();
        assert!(absent.has_not(b"b") && !absent.has_not(b"a"));
        absent.forget();
        assert!(!absent.has_not(b"b"));
    }

    #[test]
    fn what_was_written_is_never_absent_through_tables_that_change() {
        let absent = Absent::default();
        absent.begin();
        absent.complete();
        for round in 0..4 {
            let first = round * 1_000;
            (first..first + 500).for_each(|number| absent.note(&key(number)));
            absent.begin();
            // Written while the other table is being filled.
            (first + 500..first + 1_000).for_each(|number| absent.note(&key(number)));
            // Rows that are still there.
            (first..first + 500).for_each(|number| absent.note(&key(number)));
            absent.complete();
            assert!((first..first + 1_000).all(|number| !absent.has_not(&key(number))));
            let forgotten = (0..first).filter(|number| absent.has_not(&key(*number))).count();
            assert!(
                u64::try_from(forgotten).is_ok_and(|forgotten| forgotten * 100 >= first * 99),
                "{forgotten} of {first}"
            );
        }
    }

    #[test]
    fn it_is_full_once_and_not_again_at_once_when_there_are_too_many_rows() {
        let absent = Absent::default();
        absent.begin();
        absent.complete();
        (0..KEYS_MAX - 10_000).for_each(|number| absent.note(&key(number)));
        assert!(!absent.is_full());
        (0..KEYS_MAX + 50_000).for_each(|number| absent.note(&key(number)));
        assert!(absent.is_full());
        let in_vain = (0..10_000).filter(|number| !absent.has_not(&key(1 << 40 | number))).count();
        assert!(in_vain < 800, "{in_vain} of 10,000 asked in vain");
        absent.begin();
        (0..KEYS_MAX + 50_000).for_each(|number| absent.note(&key(number)));
        absent.complete();
        assert!(!absent.is_full());
    }
}
