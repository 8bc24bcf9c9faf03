//! The thread that owns the index: all that reads or writes it goes through here, one thing after the other.
//!
//! It moves messages from the window to the index, answers what the window alone cannot, makes checkpoints, and gives
//! journal segments back. Every step is guarded: a panic or an error of the index ends its use ([`Core::fail`]), a hang is seen by
//! [`Core::health`]; the journal and the window go on, so that nothing that was accepted is lost, and the next start
//! makes the index anew. It never writes a message's record and never says that a message is durable.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use mail::{QueueId, Timestamp};
use tokio::sync::oneshot;

use super::compaction::{Compaction, Copied};
use super::core::{Core, Gather};
use super::index::{Edit, Index, IndexError};
use super::reader::{self, Read};
use super::recovery::Recovery;
use super::row::Row;
use super::settling;
use super::spool::Task;
use crate::codec::{self, Checkpoint, SparseState, kind};
use crate::journal::{Durability, Journal, Payload, Position, Replay};
use crate::model::{Change, Hold, QueueEntry, Settlement, StoredBody};
use crate::queue_store::{Page, Pending, StoreError};

/// How often the keeper looks around when nobody asks for anything.
const TICK: Duration = Duration::from_millis(250);
/// How soon what is due is asked for again while deliveries are held.
const HOLD: Duration = Duration::from_secs(1);
/// So many messages leave the window together.
const BATCH_MAX: usize = 1_000;
/// So many changes go to the index at a time.
const TOGETHER_MAX: usize = 256;

type Answer<T> = oneshot::Sender<std::result::Result<T, StoreError>>;
type Result<T> = std::result::Result<T, IndexError>;
/// Messages that are being worked on.
pub(crate) type Skip = Box<dyn Fn(QueueId) -> bool + Send>;

/// What the keeper is asked for. A job whose answer is dropped tells its asker that the store has stopped.
pub(crate) enum Job {
    /// The window is crowded.
    MakeRoom,
    /// A message ended in the window after the index got a row of it.
    Forget(QueueId),
    /// Changes to messages that the window does not know; with their places in the batch.
    Settle {
        items: Vec<(usize, Settlement)>,
        gather: Arc<Gather>,
    },
    Due {
        now: Timestamp,
        limit: usize,
        skip: Skip,
        answer: Answer<Vec<QueueEntry>>,
    },
    NextDue {
        now: Timestamp,
        answer: Answer<Option<Timestamp>>,
    },
    Get {
        id: QueueId,
        answer: Answer<QueueEntry>,
    },
    /// `gone_from`: it was looked for there, and the segment had been given back.
    ReadBody {
        id: QueueId,
        gone_from: Option<Position>,
        answer: Answer<StoredBody>,
    },
    List {
        page: Page,
        answer: Answer<Vec<QueueEntry>>,
    },
    /// A record or a body turned out to be damaged.
    Damaged(QueueId),
    /// The journal has the checkpoint, or could not take it.
    Checkpointed(Checkpoint, bool),
    /// The journal has copies of messages.
    Copied(Copied),
    /// Make a checkpoint now, and answer when all is done that follows from it.
    Tidy(Answer<()>),
    /// Write everything down, answer, and end.
    Close(Answer<()>),
    /// End.
    Stop,
    #[cfg(test)]
    Panic,
}

/// A message as far as it can be read.
struct Found {
    entry: QueueEntry,
    /// Why it cannot be read for now.
    trouble: Option<StoreError>,
}

/// The keeper's state.
pub(crate) struct Keeper {
    pub(super) core: Arc<Core>,
    pub(super) journal: Arc<Journal>,
    pub(super) index: Index,
    pub(super) spool: Sender<Task>,
    pub(super) readers: Sender<Read>,
    /// The last checkpoint that the index has.
    pub(super) checkpoint: Checkpoint,
    /// The last checkpoint that the journal has as well: segments before it may go.
    pub(super) released: Option<Checkpoint>,
    /// The index has changed since the last checkpoint.
    pub(super) dirty: bool,
    pub(super) compaction: Option<Compaction>,
    /// A segment out of which not everything could be read, and how many times that was tried.
    pub(super) stuck: (u64, u32),
    /// Those who wait until the journal is tidy.
    pub(super) tidying: Vec<Answer<()>>,
    /// Messages have ended of which the index, without room, still has rows.
    pub(super) ended: bool,
}

impl Keeper {
    /// Serves until told to end.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut next_tick = Instant::now();
        let mut next_checkpoint = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_tick {
                settling::retry(&self.core, &self.journal, &self.spool);
                let has_room = self.core.index_has_room();
                if has_room {
                    self.guard(Self::forget_ended);
                    self.guard(Self::flush_aged);
                }
                next_tick = now + TICK;
                if has_room && now >= next_checkpoint {
                    self.guard(Self::make_checkpoint);
                    next_checkpoint = now + self.core.settings.checkpoint_every();
                }
            }
            match jobs.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Job::Close(answer)) => {
                    settling::retry(&self.core, &self.journal, &self.spool);
                    // What waits in the journal is answered first, and comes to the window by that.
                    self.journal.close();
                    if self.core.index_has_room() {
                        self.guard(Self::write_all);
                    }
                    drop(answer.send(Ok(())));
                    return;
                }
                Ok(job) => {
                    self.guard(|keeper| keeper.serve(job));
                    if self.released == Some(self.checkpoint) && self.compaction.is_none() {
                        self.tidying.drain(..).for_each(|answer| drop(answer.send(Ok(()))));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Runs one step against the index, unless that has failed; a panic or an error in it is its end.
    fn guard(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) {
        if self.core.health().is_err() {
            return self.core.room_made();
        }
        self.core.index_busy();
        let result = catch_unwind(AssertUnwindSafe(|| step(self)));
        self.core.index_idle();
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.core.fail(format!("the index failed: {error}")),
            Err(_) => self.core.fail("the index panicked".into()),
        }
        if self.core.health().is_err() {
            self.tidying.clear();
        }
    }

    /// [`Keeper::recover`]; what goes wrong in it ends the use of the index.
    pub(crate) fn guarded_recovery(&mut self, replay: &Replay, spooled: Vec<QueueId>) -> Option<Recovery> {
        let mut recovery = None;
        self.guard(|keeper| {
            recovery = Some(keeper.recover(replay, spooled)?);
            Ok(())
        });
        recovery
    }

    fn serve(&mut self, job: Job) -> Result<()> {
        match job {
            Job::MakeRoom if self.core.index_has_room() => self.flush_aged(),
            Job::MakeRoom => {
                self.core.room_made();
                Ok(())
            }
            Job::Forget(_) if !self.core.index_has_room() => {
                self.ended = true;
                Ok(())
            }
            Job::Forget(id) => self.forget(id),
            Job::Settle { items, gather } => self.settle(items, gather),
            Job::Due { answer, .. } if self.core.holds_deliveries() => reply(answer, Ok(Vec::new())),
            Job::NextDue { now, answer } if self.core.holds_deliveries() => {
                reply(answer, Ok(Some(now.plus(HOLD))))
            }
            Job::Due { now, limit, skip, answer } => {
                let due = self.due(now, limit, &*skip)?;
                reply(answer, Ok(due))
            }
            Job::NextDue { now, answer } => {
                let young = self.core.window().next_due(now);
                let next = [young, self.index.next_due(now)?].into_iter().flatten().min();
                reply(answer, Ok(next))
            }
            Job::Get { id, answer } => {
                let entry = self.entry(id)?.ok_or(StoreError::Absent);
                reply(answer, entry.and_then(|found| found.trouble.map_or(Ok(found.entry), Err)))
            }
            Job::ReadBody { id, gone_from, answer } => self.read_body(id, gone_from, answer),
            Job::List { page, answer } => {
                let list = self.list(&page)?;
                reply(answer, Ok(list))
            }
            Job::Damaged(id) => self.hold_damaged(id),
            Job::Checkpointed(checkpoint, true) => {
                self.released = Some(checkpoint);
                self.give_back()
            }
            Job::Checkpointed(_, false) => {
                // The index has it; the next one that the journal can take will do.
                self.dirty = true;
                self.tidying.clear();
                Ok(())
            }
            Job::Copied(_) if !self.core.index_has_room() => {
                // They are found where they were; it begins again after the next checkpoint.
                self.compaction = None;
                Ok(())
            }
            Job::Copied(copied) => self.copied(copied),
            Job::Tidy(answer) if !self.core.index_has_room() => {
                reply(answer, Err(StoreError::Full("the index has no room".into())))
            }
            Job::Tidy(answer) => {
                self.tidying.push(answer);
                self.flush(Instant::now() + TICK)?;
                self.make_checkpoint()
            }
            Job::Close(_) | Job::Stop => Ok(()),
            #[cfg(test)]
            Job::Panic => panic!("as sled does"),
        }
    }

    /// The row of a message, wherever it is.
    pub(super) fn row(&self, id: QueueId) -> Result<Option<Row>> {
        {
            let window = self.core.window();
            if window.overrides(id) {
                return Ok(window.get(id).map(|young| young.row.clone()));
            }
        }
        self.index.get(id)
    }

    /// A message, wherever it is. One whose record is damaged is shown as such, and held from now on; so is, without
    /// being held, one whose record cannot be read for now.
    fn entry(&mut self, id: QueueId) -> Result<Option<Found>> {
        // Reading many from a slow disk is not a hang.
        self.core.index_busy();
        let young = {
            let window = self.core.window();
            window.get(id).map(|young| (young.row.clone(), Some(young.head.clone())))
        };
        let found = match young {
            Some(young) => Some(young),
            None => self.row(id)?.map(|row| (row, None)),
        };
        let Some((row, head)) = found else { return Ok(None) };
        let error = match reader::entry(&self.journal, id, &row, head.as_deref()) {
            Ok(entry) => return Ok(Some(Found { entry, trouble: None })),
            Err(error) => error,
        };
        if error.is_lasting() {
            self.hold_damaged(id)?;
        }
        let state = SparseState { hold: Some(Hold::Damaged), ..row.state };
        let entry = codec::wreck_entry(id, row.arrived, row.size, state);
        let trouble = if error.is_lasting() { None } else { Some(StoreError::NotApplied(error.to_string())) };
        Ok(Some(Found { entry, trouble }))
    }

    fn due(
        &mut self,
        now: Timestamp,
        limit: usize,
        skip: &dyn Fn(QueueId) -> bool,
    ) -> Result<Vec<QueueEntry>> {
        let young: Vec<(Timestamp, QueueId)> = self.core.window().due(now).collect();
        let mut found: Vec<_> = young.into_iter().filter(|(_, id)| !skip(*id)).take(limit).collect();
        let mut indexed = 0;
        for due in self.index.due(now) {
            let (at, id) = due?;
            if indexed >= limit {
                break;
            }
            if !skip(id) && !self.core.window().overrides(id) {
                found.push((at, id));
                indexed += 1;
            }
        }
        found.sort_unstable();
        let mut entries = Vec::with_capacity(found.len().min(limit));
        for (_, id) in found.into_iter().take(limit) {
            entries.extend(self.entry(id)?.map(|found| found.entry).filter(|e| e.state.hold.is_none()));
        }
        Ok(entries)
    }

    fn list(&mut self, page: &Page) -> Result<Vec<QueueEntry>> {
        let mut ids: Vec<QueueId> = self.core.window().ids(page.after).take(page.limit).collect();
        let mut indexed = 0;
        for found in self.index.ids(page.after) {
            let id = found?;
            if indexed >= page.limit {
                break;
            }
            if !self.core.window().overrides(id) {
                ids.push(id);
                indexed += 1;
            }
        }
        ids.sort_unstable();
        let mut entries = Vec::with_capacity(ids.len().min(page.limit));
        for id in ids.into_iter().take(page.limit) {
            entries.extend(self.entry(id)?.map(|found| found.entry));
        }
        Ok(entries)
    }

    fn read_body(
        &mut self,
        id: QueueId,
        gone_from: Option<Position>,
        answer: Answer<StoredBody>,
    ) -> Result<()> {
        match self.row(id)? {
            None => reply(answer, Err(StoreError::Absent)),
            Some(row) if gone_from == Some(row.position) => {
                let what = format!("the journal segment of {id} is missing");
                drop(answer.send(Err(StoreError::Damaged(what))));
                self.hold_damaged(id)
            }
            Some(row) => {
                drop(self.readers.send(Read::Body { id, row, answer }));
                Ok(())
            }
        }
    }

    /// Changes messages that the index has, by taking them back into the window: the index has no room, or an earlier change
    /// to one of them found it so.
    fn settle_aside(&mut self, items: Vec<(usize, Settlement)>, gather: &Arc<Gather>) -> Result<()> {
        for (_, settlement) in &items {
            let id = settlement.id;
            if self.core.window().overrides(id) {
                continue;
            }
            if let Some(row) = self.index.get(id)? {
                self.core.window().adopt(id, row, Instant::now());
            }
        }
        gather.one_more();
        let absent = settling::settle_young(&self.core, &self.journal, &self.spool, items, gather);
        gather.set(absent.into_iter().map(|(place, _)| place), &Err(StoreError::Absent));
        gather.part_done();
        Ok(())
    }

    /// Changes messages that the index has.
    fn settle(&mut self, items: Vec<(usize, Settlement)>, gather: Arc<Gather>) -> Result<()> {
        let taken_back = |(_, settlement): &(usize, Settlement)| self.core.window().overrides(settlement.id);
        if !self.core.index_has_room() || items.iter().any(taken_back) {
            return self.settle_aside(items, &gather);
        }
        let (mut places, mut changes, mut finished, mut edits) = (vec![], vec![], vec![], vec![]);
        let (mut files, mut changed) = (Vec::new(), BTreeSet::new());
        for (place, settlement) in items {
            let id = settlement.id;
            if !changed.insert(id) {
                // An earlier item of this batch has changed the same message.
                self.write(&mut edits)?;
            }
            let Some(old) = self.index.get(id)? else {
                gather.set([place], &Err(StoreError::Absent));
                continue;
            };
            places.push(place);
            let mut row = old.clone();
            let ended = row.apply(&settlement);
            let mut window = self.core.window();
            window.discount(&old);
            if ended {
                files.extend(old.body_file.then_some(id));
                finished.push(id);
                edits.push(Edit::Remove { id, old });
            } else {
                window.count(&row);
                changes.push(settlement);
                edits.push(Edit::Put { id, row, old: Some(old) });
            }
        }
        self.write(&mut edits)?;
        if places.is_empty() {
            gather.part_done();
            return Ok(());
        }
        let written = settling::Written { changes, finished, files };
        settling::append(&self.core, &self.journal, &self.spool, written, move |result| {
            gather.set(places, &result);
            gather.part_done();
        });
        Ok(())
    }

    /// Applies edits to the index, in the order of their messages, and those to one message in their own order.
    pub(super) fn write(&mut self, edits: &mut Vec<Edit>) -> Result<()> {
        edits.sort_by_key(Edit::id);
        let mut edits = edits.drain(..).peekable();
        while edits.peek().is_some() {
            self.index.apply(edits.by_ref().take(TOGETHER_MAX))?;
            self.core.index_busy();
            self.dirty = true;
        }
        Ok(())
    }

    /// Removes the row of a message that ended in the window.
    fn forget(&mut self, id: QueueId) -> Result<()> {
        if let Some(old) = self.index.get(id)? {
            self.write(&mut vec![Edit::Remove { id, old }])?;
        }
        self.core.window().forget(id);
        Ok(())
    }

    /// Removes the rows of messages that ended while the index had no room.
    fn forget_ended(&mut self) -> Result<()> {
        if std::mem::take(&mut self.ended) {
            let ended = self.core.window().ended();
            for id in ended {
                self.forget(id)?;
            }
        }
        Ok(())
    }

    /// Puts a damaged message on hold, so that it stays visible and nobody tries it again and again.
    fn hold_damaged(&mut self, id: QueueId) -> Result<()> {
        if settling::hold_young(&self.core, &self.journal, &self.spool, id) {
            return Ok(());
        }
        if self.row(id)?.is_none_or(|row| row.state.hold == Some(Hold::Damaged)) {
            return Ok(());
        }
        let settlement = Settlement { id, changes: vec![Change::Held(Hold::Damaged)] };
        // At once, so that whoever asks next sees it.
        let (sender, _) = Pending::channel();
        self.settle(vec![(0, settlement)], Gather::new(1, 1, sender))
    }

    /// Moves what is no longer young to the index, and more when the window is crowded.
    fn flush_aged(&mut self) -> Result<()> {
        let now = Instant::now();
        let before = now.checked_sub(self.core.settings.index_delay()).unwrap_or(now);
        self.flush(before)
    }

    fn flush(&mut self, before: Instant) -> Result<()> {
        let half = self.core.pending_bytes_max() / 2;
        let crowded = self.core.window().is_over(half);
        let bytes_max = if crowded { half / 4 * 3 } else { usize::MAX };
        while self.core.index_has_room() {
            let leaving = self.core.window().leave(before, bytes_max, BATCH_MAX);
            if leaving.is_empty() {
                break;
            }
            let mut edits = Vec::with_capacity(leaving.len());
            for young in &leaving {
                let old = if young.indexed { self.index.get(young.id)? } else { None };
                edits.push(Edit::Put { id: young.id, row: young.row.clone(), old });
            }
            self.write(&mut edits)?;
            let ended = self.core.window().left(&leaving);
            for id in ended {
                self.forget(id)?;
            }
            self.core.room_made();
            self.core.index_busy();
        }
        self.core.room_made();
        self.note_oldest()
    }

    /// Reads from the index what the figures say of the oldest message.
    pub(super) fn note_oldest(&mut self) -> Result<()> {
        let oldest = self.index.rows(None).next().transpose()?.map(|(_, row)| row.arrived);
        self.core.window().oldest_indexed = oldest;
        Ok(())
    }

    /// Makes what the index has taken in durable, and notes up to where it needs the journal no more.
    pub(super) fn make_checkpoint(&mut self) -> Result<()> {
        let (generation, offset) = self.core.window().replay_from();
        let moved = (generation, offset) != (self.checkpoint.generation, self.checkpoint.offset);
        if self.dirty || moved {
            let checkpoint = Checkpoint { epoch: self.checkpoint.epoch + 1, generation, offset };
            self.index.checkpoint(&checkpoint)?;
            self.checkpoint = checkpoint;
            self.dirty = false;
            let core = Arc::clone(&self.core);
            let payload = Payload { kind: kind::CHECKPOINT, slices: vec![codec::encode(&checkpoint)?] };
            self.journal.append(
                vec![payload],
                Durability::Reserved,
                Box::new(move |results| {
                    let taken = results.iter().all(std::result::Result::is_ok);
                    core.send(Job::Checkpointed(checkpoint, taken));
                }),
            );
        }
        self.give_back()
    }

    /// Writes everything down.
    fn write_all(&mut self) -> Result<()> {
        self.flush(Instant::now() + TICK)?;
        let (generation, offset) = self.core.window().replay_from();
        let epoch = self.checkpoint.epoch + 1;
        self.index.checkpoint(&Checkpoint { epoch, generation, offset })
    }
}

fn reply<T>(answer: Answer<T>, result: std::result::Result<T, StoreError>) -> Result<()> {
    // Whoever no longer listens has no use for it.
    drop(answer.send(result));
    Ok(())
}

#[cfg(test)]
mod tests;
