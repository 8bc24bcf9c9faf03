//! The state store in memory: for tests of whatever stands on a [`StateStore`], and for programs that run once.
//!
//! Bounded as every engine is; nothing is durable; every result is there at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mail::Timestamp;

use super::rules::{Row, Rows, RowsFailed, Table, Usages};
use super::{
    Each, StateEntry, StateKey, StateNotice, StatePage, StateSettings, StateStore, StateUsage, Write, Written,
};
use crate::queue_store::{Pending, StoreError};

/// Expired entries that one call of [`StateStore::tend`] removes.
const SWEEP_MAX: usize = 1_000;

/// A state store in memory.
#[derive(Debug)]
pub struct MemoryState {
    /// The table, and whether it is closed.
    table: Mutex<(Table<Map>, bool)>,
    usage: Usages,
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new(&StateSettings::default())
    }
}

impl MemoryState {
    /// An empty one.
    #[must_use]
    pub fn new(settings: &StateSettings) -> Self {
        let usage = Usages::default();
        let mut table = Table::new(Map::default(), settings, usage.clone());
        // There is nothing to count, and a map does not fail.
        let _ = table.count_some(1, |_| ());
        Self { table: Mutex::new((table, false)), usage }
    }

    fn lock(&self) -> MutexGuard<'_, (Table<Map>, bool)> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(
        &self,
        answer: impl FnOnce(&mut Table<Map>) -> Result<Result<T, StoreError>, RowsFailed>,
    ) -> Pending<T> {
        let (table, closed) = &mut *self.lock();
        if *closed {
            return Pending::ready(Err(StoreError::NotApplied("the store is closed".into())));
        }
        Pending::ready(answer(table).unwrap_or_else(|error| Err(StoreError::Unknown(error.to_string()))))
    }
}

impl StateStore for MemoryState {
    fn get(&self, keys: Vec<StateKey>, now: Timestamp) -> Pending<Each<Option<StateEntry>>> {
        self.ask(|table| table.get(keys, now).map(Ok))
    }

    fn write(&self, writes: Vec<Write>, now: Timestamp) -> Pending<Each<Written>> {
        self.ask(|table| {
            writes.into_iter().map(|write| table.write(write, now)).collect::<Result<_, _>>().map(Ok)
        })
    }

    fn scan(
        &self,
        prefix: StateKey,
        after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<StatePage> {
        self.ask(|table| table.scan(&prefix, after.as_ref(), limit, now))
    }

    fn tend(&self, now: Timestamp) -> Vec<StateNotice> {
        // A map does not fail.
        let _ = self.lock().0.sweep(now, SWEEP_MAX);
        Vec::new()
    }

    fn usage(&self) -> Vec<(String, StateUsage)> {
        self.usage.list()
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn close(&self) -> Pending<()> {
        self.lock().1 = true;
        Pending::ready(Ok(()))
    }
}

/// Rows in memory.
#[derive(Debug, Default)]
struct Map {
    rows: BTreeMap<Bytes, Row>,
    /// Namespace, when, which.
    expiring: BTreeMap<Bytes, BTreeSet<(u64, Bytes)>>,
}

impl Rows for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Row>, RowsFailed> {
        Ok(self.rows.get(key).cloned())
    }

    fn replace(&mut self, key: &Bytes, old: Option<&Row>, new: Option<&Row>) -> Result<(), RowsFailed> {
        let namespace = super::rules::namespace_of(key);
        let list = self.expiring.entry(namespace).or_default();
        if let Some(expires) = old.and_then(|row| row.expires) {
            list.remove(&(expires, key.clone()));
        }
        list.extend(new.and_then(|row| row.expires).map(|expires| (expires, key.clone())));
        match new {
            Some(row) => drop(self.rows.insert(key.clone(), row.clone())),
            None => drop(self.rows.remove(key)),
        }
        Ok(())
    }

    fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Row)>, RowsFailed> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let rows = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    fn soonest(&self, namespace: &[u8], limit: usize) -> Result<Vec<(u64, Bytes)>, RowsFailed> {
        let list = self.expiring.get(namespace).into_iter().flatten();
        Ok(list.take(limit).cloned().collect())
    }
}
