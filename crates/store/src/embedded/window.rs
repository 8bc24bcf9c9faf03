//! The young messages: what the engine keeps in memory until the index has it, or until it is delivered.
//!
//! Most mail lives for milliseconds. It comes here when its record is durable and leaves when it is settled, without
//! ever touching the index. What is older than [`crate::Settings::index_delay_millis`] is moved to the index, and what
//! is more than [`crate::Settings::pending_bytes_max`] at once. Nothing here does I/O or reads a clock; one lock guards it all,
//! held for microseconds.
//!
//! Memory: a young message costs its head (about 1 KiB), its row, and its body as long as that is hot; all bounded
//! by settings. Per queued message that is not young, nothing: only per segment of the journal, 40 octets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use mail::{QueueId, Timestamp};

use super::row::{Class, Row};
use crate::journal::Position;
use crate::model::Settlement;
use crate::queue_store::QueueFigures;

/// What a young message costs beside its head and its touched recipients, in octets: its row, its places in the maps.
const OVERHEAD_BYTES: usize = 512;
/// What a touched recipient costs, about.
const TOUCHED_BYTES: usize = 256;

/// A young message.
#[derive(Debug)]
pub(crate) struct Young {
    pub(crate) row: Row,
    /// The encoded head, as the payload begins; empty when it has to be read from the journal.
    pub(crate) head: Bytes,
    /// The body, while it is hot.
    pub(crate) hot: Option<Vec<Bytes>>,
    /// When it came.
    pub(crate) since: Instant,
    /// From here on the journal has what the index does not know of it.
    unindexed: (u64, u32),
    /// Counts its changes, so that the index writer sees that what it wrote is no longer true.
    version: u32,
    /// The index has a row of it, or is getting one: whoever ends it must remove that.
    indexed: bool,
    /// It has ended, and stays here only until the index has forgotten it.
    finished: bool,
}

/// What [`Window::settle`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Changed, and still in the queue.
    Changed,
    /// Ended.
    Finished {
        /// Its body's file is to be removed once that is durable.
        body_file: bool,
        /// The index must forget it.
        indexed: bool,
    },
    /// Not here; the index may know it.
    Elsewhere,
}

/// A young message on its way to the index.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) id: QueueId,
    pub(crate) row: Row,
    /// The index has an older row of it.
    pub(crate) indexed: bool,
    version: u32,
}

/// Live messages of a journal segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// All young messages, and the figures of the whole queue.
#[derive(Debug, Default)]
pub(crate) struct Window {
    messages: BTreeMap<QueueId, Young>,
    due: BTreeSet<(Timestamp, QueueId)>,
    /// Ids with a hot body, oldest first; some may have gone since.
    hot: VecDeque<QueueId>,
    hot_bytes: u64,
    bytes: usize,
    figures: QueueFigures,
    live: BTreeMap<u64, Live>,
    /// Arrival of the oldest message in the index.
    pub(crate) oldest_indexed: Option<Timestamp>,
    /// Behind the last record of which the window knows.
    watermark: (u64, u32),
    /// The first segment of this process.
    first_generation: u64,
}

impl Window {
    /// Takes a message whose record has just become durable. `hot_bytes_max` bounds the bodies kept in memory.
    pub(crate) fn admit(
        &mut self,
        id: QueueId,
        (row, head): (Row, Bytes),
        hot: Option<Vec<Bytes>>,
        hot_bytes_max: u64,
        now: Instant,
    ) {
        self.count(&row);
        self.reached(row.position);
        self.due.extend(row.due().map(|at| (at, id)));
        self.bytes += cost(&row, &head);
        if hot.is_some() {
            self.hot_bytes += row.size;
            self.hot.push_back(id);
        }
        let unindexed = (row.position.generation, row.position.offset);
        let young =
            Young { row, head, hot, since: now, unindexed, version: 0, indexed: false, finished: false };
        self.messages.insert(id, young);
        self.cool(hot_bytes_max);
    }

    /// Takes back a message that the index has, because it is going to change while the index cannot be written. It is
    /// counted already.
    pub(crate) fn adopt(&mut self, id: QueueId, row: Row, now: Instant) {
        let (head, unindexed) = (Bytes::new(), self.watermark);
        self.due.extend(row.due().map(|at| (at, id)));
        self.bytes += cost(&row, &head);
        let young =
            Young { row, head, hot: None, since: now, unindexed, version: 0, indexed: true, finished: false };
        self.messages.insert(id, young);
    }

    /// Messages that have ended, of which the index still has a row.
    pub(crate) fn ended(&self) -> Vec<QueueId> {
        self.messages.iter().filter(|(_, young)| young.finished).map(|(id, _)| *id).collect()
    }

    /// Lets go of the oldest hot bodies.
    fn cool(&mut self, hot_bytes_max: u64) {
        while let Some(id) = self.hot.front() {
            match self.messages.get_mut(id).filter(|young| young.hot.is_some()) {
                Some(_) if self.hot_bytes <= hot_bytes_max => return,
                Some(young) => {
                    young.hot = None;
                    self.hot_bytes = self.hot_bytes.saturating_sub(young.row.size);
                }
                None => {}
            }
            self.hot.pop_front();
        }
    }

    /// A young message, unless it has ended.
    pub(crate) fn get(&self, id: QueueId) -> Option<&Young> {
        self.messages.get(&id).filter(|young| !young.finished)
    }

    /// True when the index's row of this message, if there is one, is not to be looked at.
    pub(crate) fn overrides(&self, id: QueueId) -> bool {
        self.messages.contains_key(&id)
    }

    /// Applies changes to a young message.
    pub(crate) fn settle(&mut self, settlement: &Settlement) -> Settled {
        let id = settlement.id;
        let Some(young) = self.messages.get_mut(&id).filter(|young| !young.finished) else {
            return Settled::Elsewhere;
        };
        let (class, due, old_cost) = (young.row.class(), young.row.due(), cost(&young.row, &young.head));
        let finished = young.row.apply(settlement);
        young.version = young.version.wrapping_add(1);
        let (body_file, indexed) = (young.row.body_file, young.indexed);
        if due != young.row.due() || finished {
            if let Some(at) = due {
                self.due.remove(&(at, id));
            }
            self.due.extend(young.row.due().filter(|_| !finished).map(|at| (at, id)));
        }
        if finished {
            self.discount_parts(id, class);
            self.finish(id, indexed);
            return Settled::Finished { body_file, indexed };
        }
        self.bytes = (self.bytes + cost(&young.row, &young.head)).saturating_sub(old_cost);
        let now = young.row.class();
        tally(&mut self.figures, class, false);
        tally(&mut self.figures, now, true);
        Settled::Changed
    }

    /// Takes an ended message out of the figures; `class` is where it counted before it ended.
    fn discount_parts(&mut self, id: QueueId, class: Class) {
        let Some(young) = self.messages.get(&id) else { return };
        tally(&mut self.figures, class, false);
        self.figures.bytes = self.figures.bytes.saturating_sub(young.row.size);
        let position = young.row.position;
        self.unlive(position);
    }

    fn finish(&mut self, id: QueueId, indexed: bool) {
        if indexed {
            if let Some(young) = self.messages.get_mut(&id) {
                young.finished = true;
                if young.hot.take().is_some() {
                    self.hot_bytes = self.hot_bytes.saturating_sub(young.row.size);
                }
            }
        } else {
            self.forget(id);
        }
    }

    /// Drops a message without touching the figures: it has ended, or the index has it.
    pub(crate) fn forget(&mut self, id: QueueId) {
        let Some(young) = self.messages.remove(&id) else { return };
        self.bytes = self.bytes.saturating_sub(cost(&young.row, &young.head));
        if young.hot.is_some() {
            self.hot_bytes = self.hot_bytes.saturating_sub(young.row.size);
        }
        if let Some(at) = young.row.due() {
            self.due.remove(&(at, id));
        }
        if self.messages.is_empty() {
            self.hot.clear();
        }
    }

    /// Chooses messages that go to the index: those that came before `before`, and the oldest while there are
    /// more than `bytes_max` octets; at most `limit`.
    pub(crate) fn leave(&mut self, before: Instant, bytes_max: usize, limit: usize) -> Vec<Leaving> {
        let mut excess = self.bytes.saturating_sub(bytes_max);
        let mut leaving = Vec::new();
        for (id, young) in &mut self.messages {
            if leaving.len() >= limit {
                break;
            }
            if young.finished || (young.since >= before && excess == 0) {
                continue;
            }
            excess = excess.saturating_sub(cost(&young.row, &young.head));
            let (row, indexed, version) = (young.row.clone(), young.indexed, young.version);
            young.indexed = true;
            leaving.push(Leaving { id: *id, row, indexed, version });
        }
        leaving
    }

    /// The index has them: drops those that did not change meanwhile. Gives those that ended meanwhile.
    pub(crate) fn left(&mut self, leaving: &[Leaving]) -> Vec<QueueId> {
        let mut ended = Vec::new();
        for Leaving { id, version, .. } in leaving {
            match self.messages.get(id) {
                Some(young) if young.finished => ended.push(*id),
                Some(young) if young.version == *version => self.forget(*id),
                _ => {}
            }
        }
        ended
    }

    /// True when the young messages take more than `bytes_max` octets.
    pub(crate) fn is_over(&self, bytes_max: usize) -> bool {
        self.bytes > bytes_max
    }

    /// Young messages that are due at `now`, the longest due first.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, QueueId)> + '_ {
        self.due.range(..=(now, QueueId(u64::MAX))).copied()
    }

    /// When the next young message becomes due after `now`.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let after = std::ops::Bound::Excluded((now, QueueId(u64::MAX)));
        self.due.range((after, std::ops::Bound::Unbounded)).next().map(|(at, _)| *at)
    }

    /// Ids of young messages after `after`, in order.
    pub(crate) fn ids(&self, after: Option<QueueId>) -> impl Iterator<Item = QueueId> + '_ {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = self.messages.range((from, std::ops::Bound::Unbounded));
        range.filter(|(_, young)| !young.finished).map(|(id, _)| *id)
    }

    /// Counts a message that is in the queue.
    pub(crate) fn count(&mut self, row: &Row) {
        tally(&mut self.figures, row.class(), true);
        self.figures.bytes += row.size;
        let live = self.live.entry(row.position.generation).or_default();
        live.messages += 1;
        live.bytes += u64::from(row.position.len);
    }

    /// A message that was counted has left the queue.
    pub(crate) fn discount(&mut self, row: &Row) {
        tally(&mut self.figures, row.class(), false);
        self.figures.bytes = self.figures.bytes.saturating_sub(row.size);
        self.unlive(row.position);
    }

    fn unlive(&mut self, position: Position) {
        if let Some(live) = self.live.get_mut(&position.generation) {
            live.messages = live.messages.saturating_sub(1);
            live.bytes = live.bytes.saturating_sub(position.len.into());
            if live.messages == 0 {
                self.live.remove(&position.generation);
            }
        }
    }

    /// What is live in a segment.
    pub(crate) fn live(&self, generation: u64) -> Live {
        self.live.get(&generation).copied().unwrap_or_default()
    }

    /// Octets that are live in all segments.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.values().map(|live| live.bytes).sum()
    }

    /// The window knows of the record there, and of all before it.
    pub(crate) fn reached(&mut self, position: Position) {
        let behind = (position.generation, position.offset.saturating_add(position.len));
        self.watermark = self.watermark.max(behind);
    }

    /// Sets the place behind which new records come.
    pub(crate) fn start_at(&mut self, generation: u64) {
        self.watermark = self.watermark.max((generation, 0));
        self.first_generation = generation;
    }

    /// The first segment of this process: all that recovery reads is older.
    pub(crate) fn first_generation(&self) -> u64 {
        self.first_generation
    }

    /// Takes back what was counted of older messages: the index from which they were counted was bad.
    pub(crate) fn forget_stock(&mut self) {
        self.figures = QueueFigures::default();
        self.live.clear();
        let rows: Vec<Row> =
            self.messages.values().filter(|y| !y.finished).map(|young| young.row.clone()).collect();
        rows.iter().for_each(|row| self.count(row));
    }

    /// The place in the journal before which nothing is needed that the index has not got.
    pub(crate) fn replay_from(&self) -> (u64, u32) {
        self.messages
            .values()
            .map(|young| young.unindexed)
            .min()
            .unwrap_or(self.watermark)
            .min(self.watermark)
    }

    /// The figures of the whole queue.
    pub(crate) fn figures(&self) -> QueueFigures {
        let young = self.messages.values().find(|young| !young.finished).map(|young| young.row.arrived);
        let oldest = [young, self.oldest_indexed].into_iter().flatten().min();
        let empty = self.figures.active + self.figures.deferred + self.figures.held == 0;
        QueueFigures { oldest: if empty { None } else { oldest }, ..self.figures }
    }
}

/// Counts one more in a class, or one less.
fn tally(figures: &mut QueueFigures, class: Class, more: bool) {
    let step = |figure: &mut u64| *figure = if more { *figure + 1 } else { figure.saturating_sub(1) };
    match class {
        Class::Active => step(&mut figures.active),
        Class::Deferred => step(&mut figures.deferred),
        Class::Held => step(&mut figures.held),
        Class::Damaged => {
            step(&mut figures.held);
            step(&mut figures.damaged);
        }
    }
}

fn cost(row: &Row, head: &Bytes) -> usize {
    head.len() + row.state.touched.len() * TOUCHED_BYTES + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
