//! The index over the journal: sled, and all that is known of its ways, in one file.
//!
//! One tree holds everything under keys of several kinds, so that one batch changes a message, its place in the due list
//! and its recipients together or not at all. Nothing here is on the way to an acknowledgement, and nothing here is the truth:
//! [`super::keeper`] runs all calls on one thread, guards them against panics and measures their time, and what is
//! lost is made again from the journal.
//!
//! sled 0.34's `flush` does not reach the device (`sync_file_range` only), so [`Index::checkpoint`] syncs the file as
//! well. It may panic in `open` on damage, and open silently with less than was written: hence the epoch.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail::{QueueId, Timestamp};

use super::row::{Row, key};
use crate::codec::{self, Checkpoint};
use crate::model::RecipientStatus;
use crate::sled_db;

/// The index cannot be relied on any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct IndexError(pub(crate) String);

impl From<sled::Error> for IndexError {
    fn from(error: sled::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<codec::Damaged> for IndexError {
    fn from(_: codec::Damaged) -> Self {
        Self("a row does not decode".into())
    }
}

impl From<std::io::Error> for IndexError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

type Result<T> = std::result::Result<T, IndexError>;

/// One change to the index.
#[derive(Debug)]
pub(crate) enum Edit {
    /// The row of a message, and the row that it replaces.
    Put { id: QueueId, row: Row, old: Option<Row> },
    /// The message is gone; the row that it had.
    Remove { id: QueueId, old: Row },
}

impl Edit {
    /// Which message it changes.
    pub(crate) fn id(&self) -> QueueId {
        match self {
            Self::Put { id, .. } | Self::Remove { id, .. } => *id,
        }
    }
}

/// The open index.
#[derive(Debug)]
pub(crate) struct Index {
    db: sled::Db,
    file: File,
}

impl Index {
    /// Opens the index in `folder`, or makes it, within `limit`.
    pub(crate) fn open(folder: &Path, cache_bytes: u64, limit: Duration) -> Result<Self> {
        let db = sled_db::open(folder, cache_bytes, limit).map_err(IndexError)?;
        Ok(Self { db, file: File::open(folder.join("db"))? })
    }

    /// The row of a message.
    pub(crate) fn get(&self, id: QueueId) -> Result<Option<Row>> {
        match self.db.get(key::message(id))? {
            None => Ok(None),
            Some(value) => self.whole(id, &value).map(Some),
        }
    }

    /// Decodes a row, and adds the recipients of a wide one.
    fn whole(&self, id: QueueId, value: &[u8]) -> Result<Row> {
        let mut row = Row::decode(value)?;
        if row.is_wide() {
            for found in self.db.scan_prefix(key::recipients(id)) {
                let (key, value) = found?;
                let index = key.last_chunk::<4>().map(|b| u32::from_be_bytes(*b)).ok_or(codec::Damaged)?;
                let status: RecipientStatus = codec::decode(&value)?;
                row.state.touched.push((index, status));
            }
        }
        Ok(row)
    }

    /// Makes all changes together.
    pub(crate) fn apply(&self, edits: impl IntoIterator<Item = Edit>) -> Result<()> {
        let mut batch = sled::Batch::default();
        for edit in edits {
            match edit {
                Edit::Put { id, row, old } => put(&mut batch, id, &row, old.as_ref())?,
                Edit::Remove { id, old } => remove(&mut batch, id, &old),
            }
        }
        Ok(self.db.apply_batch(batch)?)
    }

    /// Ids of messages that are due at `now`, the longest due first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = Result<(Timestamp, QueueId)>> {
        let from: &[u8] = &[key::DUE];
        let keys = self.db.range(from..=&key::due(now, QueueId(u64::MAX))[..]).keys();
        keys.map(|found| {
            let key = found?;
            let (at, id) = (key::due_at(&key), key::last_u64(&key));
            Ok((at.ok_or(codec::Damaged)?, QueueId(id.ok_or(codec::Damaged)?)))
        })
    }

    /// When the next message becomes due after `now`.
    pub(crate) fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let (from, to) = (key::due(now, QueueId(u64::MAX)), [key::DUE + 1]);
        match self.db.range(&from[..]..&to[..]).keys().next() {
            None => Ok(None),
            Some(found) => Ok(key::due_at(&found?)),
        }
    }

    /// Messages in the order of their ids, those after `after` only.
    pub(crate) fn rows(&self, after: Option<QueueId>) -> impl Iterator<Item = Result<(QueueId, Row)>> + '_ {
        let (from, to) = message_range(after);
        self.db.range(from.as_slice()..to.as_slice()).map(|found| {
            let (key, value) = found?;
            let id = QueueId(key::last_u64(&key).ok_or(codec::Damaged)?);
            Ok((id, self.whole(id, &value)?))
        })
    }

    /// Ids of messages in their order, those after `after` only.
    pub(crate) fn ids(&self, after: Option<QueueId>) -> impl Iterator<Item = Result<QueueId>> + use<> {
        let (from, to) = message_range(after);
        let keys = self.db.range(from.as_slice()..to.as_slice()).keys();
        keys.map(|found| Ok(QueueId(key::last_u64(&found?).ok_or(codec::Damaged)?)))
    }

    /// How many entries the due list has.
    pub(crate) fn count_due(&self) -> Result<u64> {
        let mut count = 0;
        for found in self.db.scan_prefix([key::DUE]).keys() {
            found?;
            count += 1;
        }
        Ok(count)
    }

    /// The last checkpoint.
    pub(crate) fn last_checkpoint(&self) -> Result<Option<Checkpoint>> {
        match self.db.get(key::CHECKPOINT)? {
            None => Ok(None),
            Some(value) => Ok(Some(codec::decode(&value)?)),
        }
    }

    /// Notes the checkpoint, and makes all that was applied before durable.
    pub(crate) fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.db.insert(key::CHECKPOINT, codec::encode(checkpoint)?.as_ref())?;
        self.db.flush()?;
        Ok(self.file.sync_all()?)
    }
}

/// Bounds of the keys of messages after `after`.
fn message_range(after: Option<QueueId>) -> (Vec<u8>, Vec<u8>) {
    let end = vec![key::MESSAGE + 1];
    match after {
        Some(QueueId(u64::MAX)) => (end.clone(), end),
        Some(QueueId(id)) => (key::message(QueueId(id + 1)).to_vec(), end),
        None => (vec![key::MESSAGE], end),
    }
}

fn put(batch: &mut sled::Batch, id: QueueId, row: &Row, old: Option<&Row>) -> Result<()> {
    let (due, old_due) = (row.due(), old.and_then(Row::due));
    if due != old_due {
        old_due.inspect(|at| batch.remove(&key::due(*at, id)));
        due.inspect(|at| batch.insert(&key::due(*at, id), &[]));
    }
    batch.insert(&key::message(id), row.encode()?);
    if row.is_wide() {
        let known = old.map(|row| row.state.touched.as_slice()).unwrap_or_default();
        for (index, status) in &row.state.touched {
            let same = known.binary_search_by_key(index, |(i, _)| *i).ok().and_then(|at| known.get(at));
            if same.is_none_or(|(_, known)| known != status) {
                batch.insert(&key::recipient(id, *index), codec::encode(status)?.as_ref());
            }
        }
    }
    Ok(())
}

fn remove(batch: &mut sled::Batch, id: QueueId, old: &Row) {
    old.due().inspect(|at| batch.remove(&key::due(*at, id)));
    batch.remove(&key::message(id));
    if old.is_wide() {
        for (index, _) in &old.state.touched {
            batch.remove(&key::recipient(id, *index));
        }
    }
}

/// Moves a bad index aside, out of the way of a new one; gives its new name. Older ones are removed: one is enough to
/// look at.
pub(crate) fn move_aside(folder: &Path, millis: u64) -> std::io::Result<PathBuf> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(parent)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("index.bad-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    let aside = folder.with_file_name(format!("index.bad-{millis}"));
    match std::fs::rename(folder, &aside) {
        // It never came to be.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(aside),
        renamed => renamed.map(|()| aside),
    }
}
