//! The rules that all engines of one machine keep: what a write does, what has expired, who gives way when there is no room.
//!
//! They stand on [`Rows`], a sorted map with a list of what expires when. Nothing here waits, reads a clock or knows
//! where rows are kept; only rows can fail, and then the engine is of no use any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mail::Timestamp;

use super::{
    Each, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, Op, PAGE_ENTRIES_MAX, StateEntry, StateKey, StatePage,
    StateSettings, StateUsage, VALUE_BYTES_MAX, Write, Written,
};
use crate::queue_store::StoreError;

/// Namespaces that there can be: they are named by the program, never by a peer.
const NAMESPACES_MAX: usize = 64;
/// Entries that give way for one write at once; seldom more than one has to.
const GIVE_WAY_AT_ONCE: usize = 16;
/// Rows that a scan looks at for each entry that it may give: the rest have expired.
const LOOKS_PER_ENTRY: usize = 4;
/// What an entry costs beside its key and its value, in octets: about what its place in both lists takes.
const OVERHEAD_BYTES: u64 = 64;

/// Entries that give way for one write at most: the largest one finds room among the smallest.
const GIVE_WAY_MAX: usize = 112;

/// The rows cannot be relied on any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct RowsFailed(pub(super) String);

type Result<T> = std::result::Result<T, RowsFailed>;

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) value: Bytes,
    /// Seconds since 1970.
    pub(super) expires: Option<u64>,
}

/// A sorted map of rows, and the list of those that expire.
pub(super) trait Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Row>>;

    /// Puts `new` in the place of `old`, in the list of what expires as well, both or neither.
    fn replace(&mut self, key: &Bytes, old: Option<&Row>, new: Option<&Row>) -> Result<()>;

    /// Rows whose key begins with `prefix`, those after `after` only, in order, at most `limit`.
    fn page(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>>;

    /// Those in a namespace (its slash included) that expire soonest: when, and which; at most `limit`.
    fn soonest(&self, namespace: &[u8], limit: usize) -> Result<Vec<(u64, Bytes)>>;
}

/// How far the counting of what was found at the start has come.
#[derive(Debug, PartialEq, Eq)]
enum Counted {
    /// Up to this key.
    To(Bytes),
    All,
}

/// How much each namespace holds, its slash included in the name. Shared, so that it can be read without asking the owner of
/// the rows; held for a moment only.
#[derive(Debug, Clone, Default)]
pub(super) struct Usages(Arc<Mutex<BTreeMap<Bytes, StateUsage>>>);

impl Usages {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, StateUsage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With the names of the namespaces.
    pub(super) fn list(&self) -> Vec<(String, StateUsage)> {
        let name = |namespace: &Bytes| {
            let name = namespace.strip_suffix(b"/").unwrap_or(namespace);
            String::from_utf8_lossy(name).into_owned()
        };
        self.lock().iter().map(|(namespace, usage)| (name(namespace), *usage)).collect()
    }
}

/// Rows with the rules upon them.
#[derive(Debug)]
pub(super) struct Table<R> {
    pub(super) rows: R,
    limits: (u64, u64),
    usage: Usages,
    counted: Counted,
}

impl<R: Rows> Table<R> {
    /// Upon rows that may hold something; they are counted by [`Self::count_some`].
    pub(super) fn new(rows: R, settings: &StateSettings, usage: Usages) -> Self {
        let limits = (settings.namespace_entries_max, settings.namespace_bytes_max);
        usage.lock().clear();
        Self { rows, limits, usage, counted: Counted::To(Bytes::new()) }
    }

    pub(super) fn get(&self, keys: Vec<StateKey>, now: Timestamp) -> Result<Each<Option<StateEntry>>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(match check(&key) {
                Err(error) => Err(error),
                Ok(_) => Ok(self.alive(&key, now)?.map(|row| entry(key, row))),
            });
        }
        Ok(found)
    }

    /// The row of a key unless it has expired.
    fn alive(&self, key: &StateKey, now: Timestamp) -> Result<Option<Row>> {
        Ok(self.rows.get(&key.0)?.filter(|row| !expired(row, now)))
    }

    pub(super) fn write(&mut self, write: Write, now: Timestamp) -> Result<Item> {
        let Write { key, op, ttl_seconds } = write;
        let namespace = match check(&key) {
            Ok(namespace) => namespace,
            Err(error) => return Ok(Err(error)),
        };
        let old = self.rows.get(&key.0)?;
        let alive = old.as_ref().filter(|row| !expired(row, now));
        let expires = ttl_seconds.map(|ttl| now.seconds().saturating_add(ttl));
        let (row, done) = match op {
            Op::Put(value) => (Some(Row { value, expires }), Written::Applied),
            Op::PutIfAbsent(value) if alive.is_none() => (Some(Row { value, expires }), Written::Applied),
            Op::CompareAndSet { expected, value } if alive.map(|row| &row.value) == expected.as_ref() => {
                (Some(Row { value, expires }), Written::Applied)
            }
            Op::PutIfAbsent(_) | Op::CompareAndSet { .. } => {
                return Ok(Ok(Written::Refused(alive.cloned().map(|row| entry(key, row)))));
            }
            Op::Delete => (None, Written::Applied),
            Op::Add(delta) => match add(alive, delta, expires) {
                Some((row, total)) => (Some(row), Written::Total(total)),
                None => return Ok(Err(StoreError::NotApplied("it is not a counter".into()))),
            },
        };
        if let Some(row) = &row
            && let Err(error) = self.make_room(&namespace, &key.0, old.as_ref(), row)?
        {
            return Ok(Err(error));
        }
        self.replace(&namespace, &key.0, old.as_ref(), row.as_ref())?;
        Ok(Ok(done))
    }

    /// Sees to it that a row can be taken in.
    fn make_room(
        &mut self,
        namespace: &Bytes,
        key: &Bytes,
        old: Option<&Row>,
        new: &Row,
    ) -> Result<std::result::Result<(), StoreError>> {
        if new.value.len() > VALUE_BYTES_MAX {
            let text = format!("a value of {} octets is too long", new.value.len());
            return Ok(Err(StoreError::NotApplied(text)));
        }
        let known = self.usage.lock();
        if !known.contains_key(namespace) && known.len() >= NAMESPACES_MAX {
            return Ok(Err(StoreError::NotApplied("there are too many namespaces".into())));
        }
        drop(known);
        if self.fits(namespace, key, old, new) {
            return Ok(Ok(()));
        }
        let life = new.expires.unwrap_or(u64::MAX);
        for _ in 0..GIVE_WAY_MAX / GIVE_WAY_AT_ONCE {
            let mut is_stuck = true;
            for (expires, other) in self.rows.soonest(namespace, GIVE_WAY_AT_ONCE)? {
                if expires >= life {
                    break;
                }
                if other == *key {
                    continue;
                }
                let row = self.rows.get(&other)?;
                self.replace(namespace, &other, row.as_ref(), None)?;
                if self.fits(namespace, key, old, new) {
                    return Ok(Ok(()));
                }
                is_stuck = false;
            }
            if is_stuck {
                break;
            }
        }
        let name = String::from_utf8_lossy(namespace).into_owned();
        Ok(Err(StoreError::Full(format!("{name} is full of what lives longer"))))
    }

    fn fits(&self, namespace: &Bytes, key: &Bytes, old: Option<&Row>, new: &Row) -> bool {
        let usage = self.usage.lock().get(namespace).copied().unwrap_or_default();
        let more = u64::from(old.is_none());
        let freed = old.map_or(0, |row| cost(key, row));
        let bytes = usage.bytes.saturating_add(cost(key, new)).saturating_sub(freed);
        // What does not make it larger is always welcome.
        (usage.entries + more <= self.limits.0 || more == 0)
            && (bytes <= self.limits.1 || bytes <= usage.bytes)
    }

    fn replace(
        &mut self,
        namespace: &Bytes,
        key: &Bytes,
        old: Option<&Row>,
        new: Option<&Row>,
    ) -> Result<()> {
        if old.is_none() && new.is_none() {
            return Ok(());
        }
        self.rows.replace(key, old, new)?;
        if matches!(&self.counted, Counted::To(place) if key > place) {
            // It is counted when the counting comes there.
            self.usage.lock().entry(namespace.clone()).or_default();
            return Ok(());
        }
        let mut usages = self.usage.lock();
        let usage = usages.entry(namespace.clone()).or_default();
        if let Some(row) = old {
            usage.entries = usage.entries.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(cost(key, row));
        }
        if let Some(row) = new {
            usage.entries += 1;
            usage.bytes += cost(key, row);
        }
        Ok(())
    }

    pub(super) fn scan(
        &self,
        prefix: &StateKey,
        after: Option<&StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Result<std::result::Result<StatePage, StoreError>> {
        if let Err(error) = check(prefix) {
            return Ok(Err(error));
        }
        let limit = limit.clamp(1, PAGE_ENTRIES_MAX);
        let looks = limit * LOOKS_PER_ENTRY;
        let mut page = StatePage::default();
        let mut after = after.map(|key| key.0.clone());
        let mut seen = 0;
        // In pieces, so that what is read ahead for nothing stays small.
        while seen < looks && page.entries.len() < limit {
            let want = (limit - page.entries.len()).min(looks - seen);
            let rows = self.rows.page(&prefix.0, after.as_deref(), want)?;
            let end = rows.len() < want;
            seen += rows.len();
            after = rows.last().map(|(key, _)| key.clone()).or(after);
            let alive = rows.into_iter().filter(|(_, row)| !expired(row, now));
            page.entries.extend(alive.map(|(key, row)| entry(StateKey(key), row)));
            if end {
                return Ok(Ok(page));
            }
        }
        page.next = after.map(StateKey);
        Ok(Ok(page))
    }

    /// Removes what has expired, at most `limit` entries; gives how many.
    pub(super) fn sweep(&mut self, now: Timestamp, limit: usize) -> Result<usize> {
        let mut removed = 0;
        let namespaces: Vec<Bytes> = self.usage.lock().keys().cloned().collect();
        for namespace in namespaces {
            for (expires, key) in self.rows.soonest(&namespace, limit.saturating_sub(removed))? {
                if expires > now.seconds() {
                    break;
                }
                let row = self.rows.get(&key)?;
                self.replace(&namespace, &key, row.as_ref(), None)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Counts the next rows of those that were found at the start, at most `limit`, and shows their keys; true when all are
    /// counted.
    pub(super) fn count_some(&mut self, limit: usize, mut seen: impl FnMut(&[u8])) -> Result<bool> {
        let Counted::To(place) = &self.counted else { return Ok(true) };
        let rows = self.rows.page(b"", Some(place), limit)?;
        let mut usages = self.usage.lock();
        for (key, row) in &rows {
            seen(key);
            let usage = usages.entry(namespace_of(key)).or_default();
            usage.entries += 1;
            usage.bytes += cost(key, row);
        }
        drop(usages);
        self.counted = match rows.into_iter().nth(limit.saturating_sub(1)) {
            Some((key, _)) => Counted::To(key),
            None => Counted::All,
        };
        Ok(self.counted == Counted::All)
    }

    /// Shows the next keys of all, at most `limit`; gives the last one, after which to go on, or none at the end.
    pub(super) fn show_some(
        &self,
        after: Option<&Bytes>,
        limit: usize,
        seen: impl FnMut(&Bytes),
    ) -> Result<Option<Bytes>> {
        let rows = self.rows.page(b"", after.map(|key| &key[..]), limit)?;
        rows.iter().map(|(key, _)| key).for_each(seen);
        Ok(rows.into_iter().nth(limit.saturating_sub(1)).map(|(key, _)| key))
    }
}

/// What becomes of one item.
pub(super) type Item = std::result::Result<Written, StoreError>;

/// The counter that a value is.
pub(super) fn total(value: &[u8]) -> Option<i64> {
    value.try_into().map(i64::from_be_bytes).ok()
}

fn add(old: Option<&Row>, delta: i64, expires: Option<u64>) -> Option<(Row, i64)> {
    let (sum, until) = match old {
        None => (delta, expires),
        Some(row) => {
            let longer = row.expires.zip(expires).map(|(a, b)| a.max(b));
            (total(&row.value)?.saturating_add(delta), longer)
        }
    };
    Some((Row { value: Bytes::copy_from_slice(&sum.to_be_bytes()), expires: until }, sum))
}

fn expired(row: &Row, now: Timestamp) -> bool {
    row.expires.is_some_and(|expires| expires <= now.seconds())
}

fn entry(key: StateKey, row: Row) -> StateEntry {
    StateEntry { key, value: row.value, expires: row.expires.map(Timestamp::from_seconds) }
}

fn cost(key: &[u8], row: &Row) -> u64 {
    key.len() as u64 + row.value.len() as u64 + OVERHEAD_BYTES
}

/// The namespace of a key, its slash included.
pub(super) fn namespace_of(key: &[u8]) -> Bytes {
    let end = key.iter().position(|octet| *octet == b'/').map_or(key.len(), |slash| slash + 1);
    Bytes::copy_from_slice(key.get(..end).unwrap_or_default())
}

/// The namespace of a key that may be used.
pub(super) fn check(key: &StateKey) -> std::result::Result<Bytes, StoreError> {
    let refused = |text: String| Err(StoreError::NotApplied(text));
    if key.0.len() > KEY_BYTES_MAX {
        return refused(format!("a key of {} octets is too long", key.0.len()));
    }
    let namespace = namespace_of(&key.0);
    let Some(name) = namespace.strip_suffix(b"/").filter(|n| (1..=NAMESPACE_BYTES_MAX).contains(&n.len()))
    else {
        return refused("a key needs a namespace".into());
    };
    let allowed = |octet: &u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if !name.iter().all(allowed) {
        return refused(format!("{} is no name of a namespace", String::from_utf8_lossy(name)));
    }
    Ok(namespace)
}
