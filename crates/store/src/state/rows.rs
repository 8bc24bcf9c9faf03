//! Rows of the state store in sled.
//!
//! One tree: `k` + key holds when the row expires (8 octets, big endian, all ones for never) and its value; `x` +
//! namespace + when + key is the list of what expires; `v` is the version of all this. Both change in one batch of
//! sled's. Whoever calls guards against panics and measures the time. A page of sled's holds 17 rows at most, so that
//! [`super::VALUE_BYTES_MAX`] keeps each far below the size from which sled would put it into a file that it never syncs.

use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::rules::{self, Row, Rows, RowsFailed};
use crate::sled_db;

const ROW: u8 = b'k';
const EXPIRING: u8 = b'x';
const VERSION_KEY: &[u8] = b"v";
/// Of the format above.
const VERSION: &[u8] = b"1";
/// Of a row that is kept for good.
const NEVER: u64 = u64::MAX;

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
}

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
        Ok(Self { db, file: File::open(folder.join("db"))? })
    }

    /// Makes all that was written durable: sled's own flush does not reach the device.
    pub(super) fn flush(&self) -> Result<()> {
        self.db.flush()?;
        Ok(self.file.sync_data()?)
    }
}

impl Rows for SledRows {
    fn get(&self, key: &[u8]) -> Result<Option<Row>> {
        self.db.get(row_key(key))?.map(|value| decode(&value)).transpose()
    }

    fn replace(&mut self, key: &Bytes, old: Option<&Row>, new: Option<&Row>) -> Result<()> {
        let mut batch = sled::Batch::default();
        let (before, after) = (old.and_then(|row| row.expires), new.and_then(|row| row.expires));
        if before != after {
            before.inspect(|at| batch.remove(expiring_key(key, *at)));
            after.inspect(|at| batch.insert(expiring_key(key, *at), &[]));
        }
        match new {
            Some(row) => {
                let expires = row.expires.unwrap_or(NEVER).to_be_bytes();
                batch.insert(row_key(key), [&expires, &row.value[..]].concat());
            }
            None => batch.remove(row_key(key)),
        }
        Ok(self.db.apply_batch(batch)?)
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Row)>> {
        let prefix = row_key(prefix);
        let from = match after.map(row_key) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let mut rows = Vec::new();
        for found in self.db.range((from, Bound::Unbounded)).take(limit) {
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
        for key in self.db.scan_prefix(&prefix).keys().take(limit) {
            let key = key?;
            let (at, rest) =
                key.get(prefix.len()..).and_then(|rest| rest.split_first_chunk()).ok_or_else(damaged)?;
            found.push((u64::from_be_bytes(*at), Bytes::from([namespace, rest].concat())));
        }
        Ok(found)
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
