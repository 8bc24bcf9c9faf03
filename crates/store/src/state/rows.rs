//! Rows of the state store in sled.
//!
//! One tree: `k` + key holds when the row expires (8 octets, big endian, all ones for never) and its value; `x` +
//! namespace + when + key is the list of what expires; `v` is the version of all this. Both change in one batch of
//! sled's. What is written is gathered in memory and handed to sled in larger batches: sled writes to its file for each batch,
//! and a counter that is counted up a hundred times becomes one row. Readers see both, laid over each other; a crash
//! forgets what was not handed over, as it forgets what sled had not synced. Whoever calls guards against panics and measures the time. A page of sled's holds 17 rows at most, so that
//! [`super::VALUE_BYTES_MAX`] keeps each far below the size from which sled would put it into a file that it never syncs.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::fs::File;
use std::iter::Peekable;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use sled::IVec;

use super::rules::{self, Row, Rows, RowsFailed};
use crate::sled_db;

const ROW: u8 = b'k';
const EXPIRING: u8 = b'x';
const VERSION_KEY: &[u8] = b"v";
/// Of the format above.
const VERSION: &[u8] = b"1";
/// Of a row that is kept for good.
const NEVER: u64 = u64::MAX;
/// Octets of keys and values that are gathered before they are handed to sled: some hundred verdicts, and some
/// milliseconds of work for those who wait in line meanwhile.
const GATHERED_BYTES_MAX: usize = 512 << 10;
/// What a gathered row takes beside its key and value, in octets.
const GATHERED_OVERHEAD_BYTES: usize = 64;

type Result<T> = std::result::Result<T, RowsFailed>;

impl From<sled::Error> for RowsFailed {
    fn from(error: sled::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for RowsFailed {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The open database.
#[derive(Debug)]
pub(super) struct SledRows {
    db: sled::Db,
    file: File,
    gathered: Gathered,
    gathered_bytes: usize,
}

/// Sled's keys with what they are to hold; none where they are to go.
type Gathered = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl SledRows {
    /// Opens what is in `folder`, or makes it, within `limit`.
    pub(super) fn open(folder: &Path, cache_bytes: u64, limit: Duration) -> Result<Self> {
        let db = sled_db::open(folder, cache_bytes, limit).map_err(RowsFailed)?;
        match db.get(VERSION_KEY)? {
            Some(version) if version == VERSION => {}
            Some(_) => return Err(RowsFailed("it is of another version".into())),
            None if db.iter().next().is_none() => drop(db.insert(VERSION_KEY, VERSION)?),
            None => return Err(RowsFailed("its version is missing".into())),
        }
        let file = File::open(folder.join("db"))?;
        Ok(Self { db, file, gathered: Gathered::new(), gathered_bytes: 0 })
    }

    /// Makes all that was written durable: sled's own flush does not reach the device.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.hand_over()?;
        self.db.flush()?;
        Ok(self.file.sync_data()?)
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let size = |key: &[u8], value: &Option<Vec<u8>>| {
            GATHERED_OVERHEAD_BYTES + key.len() + value.as_ref().map_or(0, Vec::len)
        };
        self.gathered_bytes += size(&key, &value);
        match self.gathered.entry(key) {
            btree_map::Entry::Vacant(entry) => drop(entry.insert(value)),
            btree_map::Entry::Occupied(mut entry) => {
                let before = entry.insert(value);
                let freed = size(entry.key(), &before);
                self.gathered_bytes = self.gathered_bytes.saturating_sub(freed);
            }
        }
    }

    /// Gives sled what was gathered, in one batch: a row and its place in the list of what expires stay together.
    fn hand_over(&mut self) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in std::mem::take(&mut self.gathered) {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.gathered_bytes = 0;
        Ok(self.db.apply_batch(batch)?)
    }

    /// What is there from a key of sled's on, in order.
    fn walk(&self, from: Bound<Vec<u8>>) -> Walk<'_> {
        let gathered = self.gathered.range((from.clone(), Bound::Unbounded)).peekable();
        Walk { kept: self.db.range((from, Bound::Unbounded)).peekable(), gathered }
    }
}

impl Rows for SledRows {
    fn get(&self, key: &[u8]) -> Result<Option<Row>> {
        let key = row_key(key);
        match self.gathered.get(&key) {
            Some(gathered) => gathered.as_deref().map(decode).transpose(),
            None => self.db.get(key)?.map(|value| decode(&value)).transpose(),
        }
    }

    fn replace(&mut self, key: &Bytes, old: Option<&Row>, new: Option<&Row>) -> Result<()> {
        let (before, after) = (old.and_then(|row| row.expires), new.and_then(|row| row.expires));
        if before != after {
            if let Some(at) = before {
                self.set(expiring_key(key, at), None);
            }
            if let Some(at) = after {
                self.set(expiring_key(key, at), Some(Vec::new()));
            }
        }
        let value = new.map(|row| {
            let expires = row.expires.unwrap_or(NEVER).to_be_bytes();
            [&expires, &row.value[..]].concat()
        });
        self.set(row_key(key), value);
        if self.gathered_bytes > GATHERED_BYTES_MAX { self.hand_over() } else { Ok(()) }
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>> {
        let prefix = row_key(prefix);
        let from = match after.map(row_key) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let mut rows = Vec::new();
        for found in self.walk(from).take(limit) {
            let (key, value) = found?;
            if !key.starts_with(&prefix) {
                break;
            }
            let key = key.get(1..).unwrap_or_default();
            rows.push((Bytes::copy_from_slice(key), decode(&value)?));
        }
        Ok(rows)
    }

    fn soonest(&self, namespace: &[u8], limit: usize) -> Result<Vec<(u64, Bytes)>> {
        let prefix = [&[EXPIRING], namespace].concat();
        let mut found = Vec::new();
        for row in self.walk(Bound::Included(prefix.clone())).take(limit) {
            let (key, _) = row?;
            let Some(rest) = key.strip_prefix(prefix.as_slice()) else { break };
            let (at, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
            found.push((u64::from_be_bytes(*at), Bytes::from([namespace, rest].concat())));
        }
        Ok(found)
    }
}

/// Sled's rows with the gathered ones laid over them.
struct Walk<'a> {
    kept: Peekable<sled::Iter>,
    gathered: Peekable<btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>>,
}

impl Iterator for Walk<'_> {
    type Item = Result<(IVec, IVec)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.kept.peek(), self.gathered.peek()) {
                (Some(Ok((kept, _))), Some((gathered, _))) => kept[..].cmp(gathered),
                (Some(_), _) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            if order == Ordering::Less {
                return self.kept.next().map(|found| Ok(found?));
            }
            if order == Ordering::Equal {
                // Outdated.
                drop(self.kept.next());
            }
            if let Some((key, Some(value))) = self.gathered.next() {
                return Some(Ok((key.as_slice().into(), value.as_slice().into())));
            }
        }
    }
}

fn row_key(key: &[u8]) -> Vec<u8> {
    [&[ROW], key].concat()
}

fn expiring_key(key: &[u8], at: u64) -> Vec<u8> {
    let namespace = rules::namespace_of(key);
    let rest = key.get(namespace.len()..).unwrap_or_default();
    [&[EXPIRING], &namespace[..], &at.to_be_bytes(), rest].concat()
}

fn decode(value: &[u8]) -> Result<Row> {
    let (expires, value) = value.split_first_chunk().ok_or_else(damaged)?;
    let expires = Some(u64::from_be_bytes(*expires)).filter(|at| *at != NEVER);
    Ok(Row { value: Bytes::copy_from_slice(value), expires })
}

fn damaged() -> RowsFailed {
    RowsFailed("a row does not decode".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn open(folder: &Path) -> SledRows {
        SledRows::open(folder, 1 << 20, Duration::from_secs(30)).unwrap()
    }

    fn row(value: u8, expires: Option<u64>) -> Row {
        Row { value: Bytes::copy_from_slice(&[value]), expires }
    }

    /// All rows, when they expire, and their keys as scans give them.
    type Seen = (Vec<(Bytes, Row)>, Vec<(u64, Bytes)>, Vec<Bytes>);

    /// Everything that a reader can see.
    fn seen(rows: &SledRows) -> Seen {
        let all = rows.page(b"t/", None, 1_000).unwrap();
        let mut paged = Vec::new();
        while let page = rows.page(b"t/", paged.last().map(|key: &Bytes| &key[..]), 3).unwrap()
            && !page.is_empty()
        {
            paged.extend(page.into_iter().map(|(key, _)| key));
        }
        for (key, row) in &all {
            assert_eq!(rows.get(key).unwrap().as_ref(), Some(row));
        }
        (all, rows.soonest(b"t/", 1_000).unwrap(), paged)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Where a row is, in memory or handed over, nobody can tell.
        #[test]
        fn what_is_gathered_reads_as_what_was_handed_over(
            steps in proptest::collection::vec((0_u8..12, proptest::option::of((any::<u8>(), proptest::option::of(1_u64..5))), any::<bool>()), 1..80),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut rows = open(folder.path());
            let mut model: BTreeMap<Bytes, Row> = BTreeMap::new();
            for (name, new, hand_over) in steps {
                let key = Bytes::from(format!("t/{name}"));
                let new = new.map(|(value, expires)| row(value, expires));
                let old = rows.get(&key).unwrap();
                prop_assert_eq!(old.as_ref(), model.get(&key));
                rows.replace(&key, old.as_ref(), new.as_ref()).unwrap();
                match new {
                    Some(new) => drop(model.insert(key, new)),
                    None => drop(model.remove(&key)),
                }
                if hand_over {
                    rows.hand_over().unwrap();
                }
            }
            let before = seen(&rows);
            let expected: Vec<_> = model.clone().into_iter().collect();
            prop_assert_eq!(&before.0, &expected);
            prop_assert_eq!(before.2.len(), expected.len());
            let mut expiring: Vec<_> = model.into_iter().filter_map(|(key, row)| Some((row.expires?, key))).collect();
            expiring.sort();
            prop_assert_eq!(&before.1, &expiring);
            rows.hand_over().unwrap();
            prop_assert!(rows.gathered.is_empty() && rows.gathered_bytes == 0);
            prop_assert_eq!(seen(&rows), before);
        }
    }

    #[test]
    fn what_is_gathered_is_bounded_and_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = open(folder.path());
        let key = Bytes::from_static(b"t/counter");
        for n in 0..1_000_u64 {
            let old = rows.get(&key).unwrap();
            let new = Row { value: Bytes::copy_from_slice(&n.to_be_bytes()), expires: Some(9) };
            rows.replace(&key, old.as_ref(), Some(&new)).unwrap();
        }
        assert_eq!(rows.gathered.len(), 2, "the row, and when it expires");
        assert!(rows.gathered_bytes < 400, "{}", rows.gathered_bytes);
        for n in 0..1_000 {
            let new = Row { value: Bytes::from(vec![0; 4_096]), expires: None };
            rows.replace(&Bytes::from(format!("t/{n}")), None, Some(&new)).unwrap();
            assert!(rows.gathered_bytes <= GATHERED_BYTES_MAX + 5_000);
        }
        assert_eq!(rows.page(b"t/", None, 2_000).unwrap().len(), 1_001);
    }
}
