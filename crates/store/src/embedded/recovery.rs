//! From what lies on disk to a queue that is served: opening the index, replaying the journal into it, counting.
//!
//! Runs on the keeper's thread while new mail is accepted already. With a good index only the journal from the last
//! checkpoint on is read. An index that does not open, has lost what it had written, knows of a journal that does not exist,
//! or disagrees with itself is moved aside and made again from the whole journal. Recovered messages become visible when all is
//! read: before, it is not known which of them have ended. Memory: at most [`TOUCHED_MAX`] rows at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use bytes::Bytes;
use mail::{QueueId, Timestamp};

use super::index::{self, Edit, Index, IndexError};
use super::keeper::Keeper;
use super::row::Row;
use super::spool::Task;
use crate::codec::{self, BodyPlace, Brief, Checkpoint, SparseState, Wreck, kind};
use crate::journal::{DamageReason, Durability, Payload, Position, Replay, ReplayItem};
use crate::model::{Hold, Settlement};

/// Rows, and changes to them, that are kept in memory before they are written to the index.
const TOUCHED_MAX: usize = 20_000;
/// Octets of a damaged stretch that are kept.
const WRECK_BYTES_MAX: u32 = 1 << 20;

/// What is damaged, and what is doubtful.
type Reports = (Vec<String>, Vec<String>);
type Result<T> = std::result::Result<T, IndexError>;

/// What recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Messages in the queue.
    pub messages: u64,
    /// Why the index was made again; `None` when it was good, or there was nothing to recover.
    pub rebuilt: Option<String>,
    /// One sentence for each damaged part of the journal; what was there is held.
    pub damage: Vec<String>,
    /// One sentence for each part of a last batch that is not whole: it was being written when the power failed, and nobody
    /// was told that it is stored, or it was damaged since. Nothing is held for it.
    pub doubtful: Vec<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// A row that the replay has touched.
#[derive(Debug, Default)]
struct Touched {
    /// As it is now; none when the message has ended.
    row: Option<Row>,
    /// As the index has it.
    indexed: Option<Row>,
}

/// One reading of the journal.
struct Reading<'a> {
    keeper: &'a mut Keeper,
    /// The index was good and is brought up to date, rather than made anew.
    resumed: Option<Checkpoint>,
    touched: HashMap<QueueId, Touched>,
    /// What `touched` weighs, in rows and changes.
    weight: usize,
    /// Arrival of the last message read: the best guess for one that cannot be read.
    arrived: Timestamp,
    wrecks: Vec<Wreck>,
    reports: Reports,
}

impl Keeper {
    /// Brings the index up to date with what earlier processes left, or makes it anew. `spooled` are the bodies in files that
    /// were there at the start.
    pub(super) fn recover(&mut self, replay: &Replay, spooled: Vec<QueueId>) -> Result<Recovery> {
        let begun = Instant::now();
        let (mut recovery, resumed) = (Recovery::default(), self.index.last_checkpoint()?);
        let core = Arc::clone(&self.core);
        let first = match (self.index.survey(|| core.index_busy()), resumed) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(checkpoint)) => self.resume(replay.clone(), checkpoint),
            (Ok(()), None) if replay.segments_left() == 0 => self.reread(replay.clone(), None),
            (Ok(()), None) => Err(IndexError("it has no checkpoint".into())),
        };
        (recovery.damage, recovery.doubtful) = match first {
            Ok(reports) => reports,
            Err(error) => {
                recovery.rebuilt = Some(error.to_string());
                self.begin_anew()?;
                self.reread(replay.clone(), None)?
            }
        };
        self.sweep(spooled)?;
        self.make_checkpoint()?;
        let figures = self.core.window().figures();
        recovery.messages = figures.active + figures.deferred + figures.held;
        recovery.millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(recovery)
    }

    fn resume(&mut self, replay: Replay, checkpoint: Checkpoint) -> Result<Reports> {
        let current = self.core.window().first_generation();
        if checkpoint.generation >= current {
            return Err(IndexError("it knows of a later journal than this one".into()));
        }
        self.checkpoint = checkpoint;
        let replay = replay.starting_at(checkpoint.generation, checkpoint.offset);
        self.reread(replay, Some(checkpoint))
    }

    /// Moves the bad index aside and opens an empty one.
    fn begin_anew(&mut self) -> Result<()> {
        index::move_aside(&self.core.index_folder, super::now_millis())?;
        let settings = &self.core.settings;
        self.index =
            Index::open(&self.core.index_folder, settings.index_cache_bytes, settings.index_limit())?;
        self.checkpoint = Checkpoint::default();
        self.core.window().forget_stock();
        Ok(())
    }

    fn reread(&mut self, replay: Replay, resumed: Option<Checkpoint>) -> Result<Reports> {
        let mut reading = Reading {
            keeper: self,
            resumed,
            touched: HashMap::new(),
            weight: 0,
            arrived: Timestamp::default(),
            wrecks: Vec::new(),
            reports: Reports::default(),
        };
        for item in replay {
            reading.item(item)?;
            if reading.weight >= TOUCHED_MAX {
                reading.write_down()?;
            }
        }
        reading.keep_wrecks()?;
        reading.write_down()?;
        let reports = reading.reports;
        self.take_stock()?;
        Ok(reports)
    }

    /// Counts what the index has.
    fn take_stock(&mut self) -> Result<()> {
        let mut rows = Vec::with_capacity(1_000);
        let mut all = self.index.briefs();
        loop {
            rows.clear();
            for found in all.by_ref().take(1_000) {
                rows.push(found?.1);
            }
            if rows.is_empty() {
                break;
            }
            self.core.index_busy();
            let mut window = self.core.window();
            rows.iter().for_each(|row| window.count(row));
        }
        drop(all);
        self.note_oldest()
    }

    /// Removes bodies that no message refers to: their senders were never answered 250, or they were delivered.
    fn sweep(&mut self, spooled: Vec<QueueId>) -> Result<()> {
        for id in spooled {
            if self.row(id)?.is_none() {
                drop(self.spool.send(Task::Remove(id)));
            }
        }
        Ok(())
    }
}

impl Reading<'_> {
    fn item(&mut self, item: ReplayItem) -> Result<()> {
        self.keeper.core.index_busy();
        match item {
            ReplayItem::Damage { generation, offset, len, reason } => {
                self.damaged(generation, offset, len, reason)
            }
            ReplayItem::Record { position, kind, payload } => match kind {
                kind::MESSAGE => self.message(position, &payload),
                kind::SETTLEMENT => match codec::decode_settlements(&payload) {
                    Ok(settlements) => settlements.iter().try_for_each(|s| self.settle(s)),
                    Err(_) => self.unreadable(position),
                },
                kind::FINISHED => match codec::decode_finished(&payload) {
                    Ok(ids) => ids.into_iter().try_for_each(|id| self.finish(id)),
                    Err(_) => self.unreadable(position),
                },
                kind::CHECKPOINT => self.checkpoint(&payload),
                kind::WRECK => match codec::decode(&payload) {
                    Ok(wreck) => self.wreck(position, &wreck),
                    Err(_) => self.unreadable(position),
                },
                // A later version wrote it; what it says is not known, and it is not a message.
                _ => self.unreadable(position),
            },
        }
    }

    /// What is known of a message.
    fn touch(&mut self, id: QueueId) -> Result<&mut Touched> {
        if !self.touched.contains_key(&id) {
            let indexed = self.keeper.index.get(id)?;
            self.weight += 1 + indexed.as_ref().map_or(0, |row| row.state.touched.len());
            self.touched.insert(id, Touched { row: indexed.clone(), indexed });
        }
        Ok(self.touched.entry(id).or_default())
    }

    fn message(&mut self, position: Position, payload: &Bytes) -> Result<()> {
        let Ok(head) = codec::decode_head::<Brief>(payload) else { return self.unreadable(position) };
        let Some(row) = row_of(&head, position, payload) else { return self.unreadable(position) };
        self.arrived = row.arrived;
        let resumed = self.resumed.is_some();
        let touched = self.touch(head.record.id)?;
        match &mut touched.row {
            // The index saw more than the journal could tell: changes that did not reach the disk in time.
            Some(known) if resumed && touched.indexed.is_some() => {
                if position > known.position {
                    (known.position, known.head_octets, known.wreck) = (position, row.head_octets, false);
                }
            }
            // Copied forward: the later record counts.
            known => *known = Some(row),
        }
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<()> {
        self.weight += settlement.changes.len();
        let touched = self.touch(settlement.id)?;
        if touched.row.as_mut().is_some_and(|row| row.apply(settlement)) {
            touched.row = None;
        }
        Ok(())
    }

    fn finish(&mut self, id: QueueId) -> Result<()> {
        match self.touched.get_mut(&id) {
            // It came and went: nothing of it need be remembered.
            Some(touched) if touched.indexed.is_none() => {
                self.touched.remove(&id);
            }
            _ => self.touch(id)?.row = None,
        }
        Ok(())
    }

    fn checkpoint(&mut self, payload: &[u8]) -> Result<()> {
        let said: Checkpoint = codec::decode(payload)?;
        match self.resumed {
            Some(had) if said.epoch > had.epoch => Err(IndexError("it has lost what it had written".into())),
            Some(_) => Ok(()),
            // Epochs go on rising when the index is made anew.
            None => {
                let known = &mut self.keeper.checkpoint;
                known.epoch = known.epoch.max(said.epoch);
                Ok(())
            }
        }
    }

    /// A damaged stretch: what can be read of it is held under its name, the rest under one that we make.
    fn damaged(&mut self, generation: u64, offset: u32, len: u32, reason: DamageReason) -> Result<()> {
        let before = self.resumed.is_some_and(|from| (generation, offset) < (from.generation, from.offset));
        if before {
            return Ok(());
        }
        let report = format!("journal segment {generation}, offset {offset}, {len} octets: {reason}");
        match reason {
            DamageReason::Doubtful => {
                self.reports.1.push(report);
                return Ok(());
            }
            DamageReason::Header => {
                self.reports.0.push(report);
                return Ok(());
            }
            DamageReason::Record | DamageReason::Unreadable | DamageReason::Cut | DamageReason::Missing => {
                self.reports.0.push(report);
            }
        }
        let position = Position { generation, offset, len: len.min(WRECK_BYTES_MAX) };
        let stretch = self.keeper.journal.read_unchecked(position).unwrap_or_default();
        let salvaged = codec::salvage(&stretch, usize::try_from(offset).unwrap_or_default());
        if salvaged.is_empty() {
            let id = codec::wreck_id(generation, offset);
            return self.hold(Wreck { id, reason: reason.to_string(), octets: stretch.to_vec() }, None);
        }
        for found in salvaged {
            let (id, octets) = (found.head.record.id, found.octets.to_vec());
            let brief = codec::decode_head::<Brief>(&octets).ok();
            self.hold(Wreck { id, reason: reason.to_string(), octets }, brief.as_ref())?;
        }
        Ok(())
    }

    /// A record that is whole and yet says nothing that we understand.
    fn unreadable(&mut self, position: Position) -> Result<()> {
        self.damaged(position.generation, position.offset, position.len, DamageReason::Record)
    }

    /// Holds what is damaged, unless a whole record of it is known.
    fn hold(&mut self, wreck: Wreck, head: Option<&Brief>) -> Result<()> {
        let (position, arrived) = (Position { generation: 0, offset: 0, len: 0 }, self.arrived);
        let row = wreck_row(&wreck, head, position, arrived);
        let touched = self.touch(wreck.id)?;
        if touched.row.is_none() {
            touched.row = Some(row);
            self.wrecks.push(wreck);
        }
        Ok(())
    }

    /// A damaged record that an earlier start has copied out of its segment.
    fn wreck(&mut self, position: Position, wreck: &Wreck) -> Result<()> {
        self.wrecks.retain(|known| known.id != wreck.id);
        let head = codec::decode_head::<Brief>(&wreck.octets).ok();
        let row = wreck_row(wreck, head.as_ref(), position, self.arrived);
        let touched = self.touch(wreck.id)?;
        match &mut touched.row {
            Some(known) if known.wreck => known.position = known.position.max(position),
            known @ None => *known = Some(row),
            Some(_) => {}
        }
        Ok(())
    }

    /// Copies what is damaged into the current segment, so that the damaged ones can be given back.
    fn keep_wrecks(&mut self) -> Result<()> {
        let alive = |id: &QueueId| self.touched.get(id).is_some_and(|touched| touched.row.is_some());
        let wrecks: Vec<Wreck> = self.wrecks.iter().filter(|wreck| alive(&wreck.id)).cloned().collect();
        let mut payloads = Vec::with_capacity(wrecks.len());
        for wreck in &wrecks {
            payloads.push(Payload { kind: kind::WRECK, slices: vec![codec::encode(wreck)?] });
        }
        if payloads.is_empty() {
            return Ok(());
        }
        let (sender, receiver) = channel();
        let done = move |results| drop(sender.send(results));
        self.keeper.journal.append(payloads, Durability::Reserved, Box::new(done));
        // Without a copy it is held all the same, and found again at the next start.
        for (wreck, result) in wrecks.iter().zip(receiver.recv().unwrap_or_default()) {
            if let (Ok(position), Some(row)) = (result, self.touch(wreck.id)?.row.as_mut()) {
                row.position = position;
                self.keeper.core.window().reached(position);
            }
        }
        Ok(())
    }

    /// Writes what was touched to the index.
    fn write_down(&mut self) -> Result<()> {
        // Rows whose wrecks have no copy yet are needed again.
        let kept: BTreeSet<QueueId> = self.wrecks.iter().map(|wreck| wreck.id).collect();
        let mut edits = Vec::with_capacity(self.touched.len());
        self.weight = 0;
        for (id, touched) in std::mem::take(&mut self.touched) {
            if let (true, Some(row)) = (kept.contains(&id), &touched.row) {
                self.touched.insert(id, Touched { row: Some(row.clone()), indexed: Some(row.clone()) });
            }
            match (touched.row, touched.indexed) {
                (Some(row), old) if old.as_ref() != Some(&row) => edits.push(Edit::Put { id, row, old }),
                (None, Some(old)) => edits.push(Edit::Remove { id, old }),
                _ => {}
            }
        }
        self.keeper.write(&mut edits)
    }
}

/// The row of a message whose record lies at `position`.
fn row_of(head: &Brief, position: Position, payload: &[u8]) -> Option<Row> {
    Some(Row {
        position,
        head_octets: u32::try_from(codec::head_octets(payload).ok()?).ok()?,
        arrived: head.record.arrived,
        size: head.record.size,
        body_file: matches!(head.body, BodyPlace::File { .. }),
        wreck: false,
        recipients: u32::try_from(head.record.recipients.len()).ok()?,
        state: head.state.clone(),
    })
}

/// The row under which something damaged is held.
fn wreck_row(wreck: &Wreck, head: Option<&Brief>, position: Position, arrived: Timestamp) -> Row {
    let (arrived, size, recipients) = match head {
        Some(head) => (head.record.arrived, head.record.size, head.record.recipients.len()),
        None => (arrived, wreck.octets.len() as u64, 1),
    };
    let state = head.map_or_else(|| SparseState::fresh(arrived, None), |head| head.state.clone());
    Row {
        position,
        head_octets: 0,
        arrived,
        size,
        body_file: false,
        wreck: true,
        recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
        state: SparseState { hold: Some(Hold::Damaged), ..state },
    }
}
