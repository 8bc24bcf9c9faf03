//! The index over the journal: sled, and all that is known of its ways, in one file.
//!
//! One tree holds everything under keys of several kinds, so that one batch changes a message and its recipients together or
//! not at all. Messages lie in packs of a few dozen ([`super::pack`]), of which a short summary is in memory
//! ([`super::outline`]): it is made by [`Index::survey`], without which nothing is found. Nothing here is on the way to an
//! acknowledgement, and nothing here is the truth: [`super::keeper`] runs all calls on one thread, guards them against panics
//! and measures their time, and what is lost is made again from the journal.
//!
//! sled 0.34's `flush` does not reach the device (`sync_file_range` only), so [`Index::checkpoint`] syncs the file as
//! well. It may panic in `open` on damage, and open silently with less than was written: hence the epoch. It keeps every
//! page in memory that was looked at, until 64 more looks at pages of the same 256th of them: hence [`Index::calm`].

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mail::{QueueId, Timestamp};

use super::outline::{DueList, Outline, Summary};
use super::pack::{self, Rows};
use super::row::{GROUP_RECIPIENTS, Row, key};
use crate::codec::{self, Checkpoint};
use crate::model::RecipientStatus;
use crate::sled_db;

/// So many changed packs are one batch of sled's: what a batch replaces stays in memory until it ends, whole pages
/// of it, so that large ones take hundreds of megabytes.
const TOGETHER_MAX: usize = 32;
/// A pack with less than this takes the next one in, if both together leave a quarter of the room.
const SPARSE_OCTETS: usize = pack::OCTETS_MAX / 4;
/// Keys that are looked up before their pages are let go of.
const USED_MAX: usize = 64;
/// So many looks at each of them: two pages of each 256th stay beyond what sled was told to keep.
const LOOKS: usize = 32;
/// So few packs may all stay in memory.
const FEW_PACKS: usize = if cfg!(test) { 4 } else { 4_096 };
/// Packs that lie in one page of sled's at least, when they came one after the other.
const NEIGHBOURS: usize = 8;

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
    outline: RefCell<Outline>,
    /// Fronts of keys that were looked up lately.
    used: RefCell<BTreeSet<[u8; 9]>>,
}

impl Index {
    /// Opens the index in `folder`, or makes it, within `limit`.
    pub(crate) fn open(folder: &Path, cache_bytes: u64, limit: Duration) -> Result<Self> {
        let db = sled_db::open(folder, cache_bytes, limit).map_err(IndexError)?;
        let file = File::open(folder.join("db"))?;
        Ok(Self { db, file, outline: RefCell::default(), used: RefCell::default() })
    }

    /// Learns what an index that was there before has, and checks that it is in order; `alive` is called now and then.
    pub(crate) fn survey(&self, alive: impl Fn()) -> Result<()> {
        let mut before = None;
        for found in self.db.scan_prefix([key::PACK]) {
            let (key, octets) = found?;
            let key = QueueId(key::last_u64(&key).ok_or(codec::Damaged)?);
            let (summary, last) = summary(key, &octets)?;
            if before.is_some_and(|before| before >= key) {
                return Err(IndexError("its packs are not in order".into()));
            }
            before = Some(last);
            self.outline.borrow_mut().set(key, summary);
            self.use_key(key::pack(key))?;
            alive();
        }
        Ok(())
    }

    /// The octets of the pack under this key.
    fn pack(&self, key: QueueId) -> Result<sled::IVec> {
        let octets = self.db.get(key::pack(key))?;
        self.use_key(key::pack(key))?;
        octets.ok_or_else(|| IndexError("it has lost a pack".into()))
    }

    /// The row of a message.
    pub(crate) fn get(&self, id: QueueId) -> Result<Option<Row>> {
        let Some(key) = self.outline.borrow().pack_of(id) else { return Ok(None) };
        match pack::find(key, &self.pack(key)?, id)? {
            None => Ok(None),
            Some(octets) => self.whole(id, octets).map(Some),
        }
    }

    /// Decodes a row, and adds the recipients of a wide one.
    fn whole(&self, id: QueueId, octets: &[u8]) -> Result<Row> {
        let mut row = Row::decode(octets)?;
        if row.is_wide() {
            for found in self.db.scan_prefix(key::recipients(id)) {
                let group: Vec<(u32, RecipientStatus)> = codec::decode(&found?.1)?;
                row.state.touched.extend(group);
            }
            self.use_key(key::recipients(id))?;
        }
        Ok(row)
    }

    /// Makes all changes: those to one message together, and in their order.
    pub(crate) fn apply(&self, edits: impl IntoIterator<Item = Edit>) -> Result<()> {
        let mut edits: Vec<Edit> = edits.into_iter().collect();
        edits.sort_by_key(Edit::id);
        let mut changes = Changes { index: self, batch: sled::Batch::default(), packs: 0, open: None };
        for edit in edits {
            changes.turn_to(edit.id())?;
            match edit {
                Edit::Put { id, row, old } => {
                    changes.set(id, Some(row.encode()?));
                    put_recipients(&mut changes.batch, id, &row, old.as_ref())?;
                }
                Edit::Remove { id, old } => {
                    changes.set(id, None);
                    groups(&old).for_each(|(group, _)| changes.batch.remove(&key::group(id, group)));
                }
            }
        }
        changes.close()?;
        changes.write()
    }

    /// Ids of messages that are due at `now`, the longest due first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = Result<(Timestamp, QueueId)>> + '_ {
        let (mut found, mut place) = (BinaryHeap::new(), None);
        let mut next = move || loop {
            let earliest = found.peek().map(|Reverse((at, _))| *at);
            let pack = self.outline.borrow().next_by_due(place).filter(|(at, _)| *at <= now);
            match pack {
                // A pack whose first is not later may have one that comes before.
                Some((at, key)) if earliest.is_none_or(|earliest| at <= earliest) => {
                    place = Some((at, key));
                    let list = self.due_list(key)?;
                    found.extend(list.iter().take_while(|(at, _)| *at <= now).map(|due| Reverse(*due)));
                }
                _ => return Ok(found.pop().map(|Reverse(due)| due)),
            }
        };
        std::iter::from_fn(move || next().transpose())
    }

    /// When the next message becomes due after `now`.
    pub(crate) fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let (mut next, packs) = self.outline.borrow().around(now);
        for key in packs {
            let list = self.due_list(key)?;
            let behind = list.partition_point(|(at, _)| *at <= now);
            let first = list.get(behind).map(|(at, _)| *at);
            next = [next, first].into_iter().flatten().min();
        }
        Ok(next)
    }

    /// The rows of a pack that are not held, in the order in which they are due.
    fn due_list(&self, key: QueueId) -> Result<DueList> {
        if let Some(list) = self.outline.borrow().list(key) {
            return Ok(list);
        }
        let mut list = Vec::new();
        for row in pack::rows(key, &self.pack(key)?) {
            let (id, row) = row?;
            list.extend(Row::decode_brief(row)?.due().map(|at| (at, id)));
        }
        list.sort_unstable();
        let list = DueList::from(list);
        self.outline.borrow_mut().remember(key, &list);
        Ok(list)
    }

    /// Messages in the order of their ids, those after `after` only.
    pub(crate) fn rows(&self, after: Option<QueueId>) -> impl Iterator<Item = Result<(QueueId, Row)>> + '_ {
        self.each(after, |id, octets| self.whole(id, octets))
    }

    /// Messages in the order of their ids, without what has happened to their recipients.
    pub(crate) fn briefs(&self) -> impl Iterator<Item = Result<(QueueId, Row)>> + '_ {
        self.each(None, |_, octets| Ok(Row::decode_brief(octets)?))
    }

    /// Ids of messages in their order, those after `after` only.
    pub(crate) fn ids(&self, after: Option<QueueId>) -> impl Iterator<Item = Result<QueueId>> + '_ {
        self.each(after, |_, _| Ok(())).map(|found| Ok(found?.0))
    }

    /// What `read` makes of every row after `after`, in order; a pack at a time.
    fn each<'a, T: 'a>(
        &'a self,
        after: Option<QueueId>,
        read: impl Fn(QueueId, &[u8]) -> Result<T> + 'a,
    ) -> impl Iterator<Item = Result<(QueueId, T)>> + 'a {
        let outline = self.outline.borrow();
        let mut next = after.and_then(|after| outline.pack_of(after)).or_else(|| outline.first());
        drop(outline);
        let mut pack = move || {
            let Some(key) = next else { return Ok(None) };
            next = self.outline.borrow().after(key);
            let octets = self.pack(key)?;
            let rows =
                pack::rows(key, &octets).filter(|row| !matches!(row, Ok((id, _)) if Some(*id) <= after));
            let rows = rows.map(|row| row.map_err(IndexError::from));
            let rows: Vec<_> = rows.map(|row| row.and_then(|(id, row)| Ok((id, read(id, row)?)))).collect();
            Ok(Some(rows))
        };
        let packs = std::iter::from_fn(move || pack().unwrap_or_else(|error| Some(vec![Err(error)])));
        packs.flatten()
    }

    /// Takes note that the page of a key was looked at.
    fn use_key(&self, key: [u8; 9]) -> Result<()> {
        if self.outline.borrow().len() <= FEW_PACKS {
            return Ok(());
        }
        let mut used = self.used.borrow_mut();
        used.insert(key);
        if used.len() < USED_MAX {
            return Ok(());
        }
        self.calm(std::mem::take(&mut *used))
    }

    /// Has sled look at its cache: it keeps the last 64 pages of each 256th of all beyond what it was told to keep,
    /// 16,384 in all, until it has seen 64 more looks there. A look at a page that is in memory costs half
    /// a microsecond.
    fn calm(&self, used: BTreeSet<[u8; 9]>) -> Result<()> {
        let mut last: Option<([u8; 9], usize)> = None;
        for key in used {
            // Its neighbours' page is most likely its own.
            let beside =
                last.filter(|(last, skipped)| *skipped + 1 < NEIGHBOURS && self.are_neighbours(last, &key));
            if let Some((_, skipped)) = beside {
                last = Some((key, skipped + 1));
                continue;
            }
            for _ in 0..LOOKS {
                self.db.contains_key(key)?;
            }
            last = Some((key, 0));
        }
        Ok(())
    }

    /// True when one pack follows the other.
    fn are_neighbours(&self, first: &[u8; 9], second: &[u8; 9]) -> bool {
        let id = |key: &[u8; 9]| key::last_u64(key).map(QueueId);
        let next = id(first).and_then(|id| self.outline.borrow().after(id));
        first.first() == second.first() && next.is_some() && next == id(second)
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

/// Packs and recipients that are being changed together.
struct Changes<'a> {
    index: &'a Index,
    batch: sled::Batch,
    /// Packs in the batch.
    packs: usize,
    open: Option<Opened>,
}

/// A pack that is being changed.
#[derive(Default)]
struct Opened {
    /// Its key; none when it is new.
    key: Option<QueueId>,
    /// The key of the next one.
    until: Option<QueueId>,
    rows: Rows,
}

impl Changes<'_> {
    /// Opens the pack where a message belongs, which is not before the one that is open; that is closed, or grows.
    fn turn_to(&mut self, id: QueueId) -> Result<()> {
        while let Some(open) = &self.open {
            if open.until.is_none_or(|until| id < until) {
                return Ok(());
            }
            if !self.take_next()? {
                self.close()?;
            }
        }
        if self.packs >= TOGETHER_MAX {
            self.write()?;
        }
        let mut open = Opened::default();
        let outline = self.index.outline.borrow();
        // What comes before all others goes to the first.
        open.key = outline.pack_of(id).or_else(|| outline.first());
        open.until = open.key.and_then(|key| outline.after(key));
        drop(outline);
        if let Some(key) = open.key {
            open.rows.extend(key, &self.index.pack(key)?)?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Sets or removes a row of the open pack.
    fn set(&mut self, id: QueueId, row: Option<Vec<u8>>) {
        if let Some(open) = &mut self.open {
            open.rows.set(id, row);
        }
    }

    /// Lets a sparse pack take in the next one; false when it is not sparse, or both are too much.
    fn take_next(&mut self) -> Result<bool> {
        let Some(open) = self.open.as_mut().filter(|open| open.rows.octets() < SPARSE_OCTETS) else {
            return Ok(false);
        };
        let Some(next) = open.until else { return Ok(false) };
        let known = self.index.outline.borrow().octets_of(next);
        if open.rows.octets() + known > pack::OCTETS_MAX / 4 * 3 {
            return Ok(false);
        }
        open.rows.extend(next, &self.index.pack(next)?)?;
        self.batch.remove(&key::pack(next));
        let mut outline = self.index.outline.borrow_mut();
        outline.remove(next);
        open.until = outline.after(next);
        Ok(true)
    }

    /// Puts the open pack into the batch, as one or as several.
    fn close(&mut self) -> Result<()> {
        while self.take_next()? {}
        let Some(open) = self.open.take() else { return Ok(()) };
        let packs = open.rows.packs(open.key.unwrap_or(QueueId(u64::MAX)), open.until.is_none());
        let mut outline = self.index.outline.borrow_mut();
        if let Some(key) = open.key {
            outline.remove(key);
            self.batch.remove(&key::pack(key));
        }
        for (key, octets) in packs {
            outline.set(key, summary(key, &octets)?.0);
            self.batch.insert(&key::pack(key), octets);
            self.packs += 1;
        }
        Ok(())
    }

    /// Makes the changes.
    fn write(&mut self) -> Result<()> {
        self.packs = 0;
        Ok(self.index.db.apply_batch(std::mem::take(&mut self.batch))?)
    }
}

/// What is to be known of a pack, and the id of its last row.
fn summary(key: QueueId, octets: &[u8]) -> Result<(Summary, QueueId)> {
    let (mut due, mut last) = (None, key);
    for row in pack::rows(key, octets) {
        let (id, row) = row?;
        last = id;
        if let Some(at) = Row::decode_brief(row)?.due() {
            due = Some(
                due.map_or((at, at), |(first, last): (Timestamp, Timestamp)| (first.min(at), last.max(at))),
            );
        }
    }
    Ok((Summary { octets: octets.len(), due }, last))
}

/// What happened to the recipients of a wide message, in the groups in which the index has it.
fn groups(row: &Row) -> impl Iterator<Item = (u32, &[(u32, RecipientStatus)])> {
    let touched = if row.is_wide() { row.state.touched.as_slice() } else { &[] };
    let number = |(index, _): &(u32, RecipientStatus)| index / GROUP_RECIPIENTS;
    let groups = touched.chunk_by(move |a, b| number(a) == number(b));
    groups.filter_map(move |group| Some((number(group.first()?), group)))
}

/// Writes the groups of recipients that have changed.
fn put_recipients(batch: &mut sled::Batch, id: QueueId, row: &Row, old: Option<&Row>) -> Result<()> {
    let mut known: BTreeMap<_, _> = old.into_iter().flat_map(groups).collect();
    for (group, statuses) in groups(row) {
        if known.remove(&group) != Some(statuses) {
            batch.insert(&key::group(id, group), codec::encode(&statuses)?.as_ref());
        }
    }
    known.into_keys().for_each(|group| batch.remove(&key::group(id, group)));
    Ok(())
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

#[cfg(test)]
mod tests;
