//! The queue in memory: for tests of whatever stands on a [`QueueStore`], and as the plainest reading of its rules.
//!
//! Nothing is durable, nothing is bounded, every result is there at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mail::{QueueId, Timestamp};

use crate::body::{BodyWriter, Kept};
use crate::model::{
    Hold, MessageState, NewBody, NewMessage, QueueEntry, RecipientStatus, Settlement, StoredBody,
};
use crate::queue_store::{Page, Pending, QueueFigures, QueueStore, StoreError};

/// A queue in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    messages: BTreeMap<QueueId, (QueueEntry, Vec<Bytes>)>,
    closed: bool,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask<T>(&self, answer: impl FnOnce(&mut Inner) -> Result<T, StoreError>) -> Pending<T> {
        let mut inner = self.lock();
        Pending::ready(if inner.closed { Err(closed()) } else { answer(&mut inner) })
    }
}

fn closed() -> StoreError {
    StoreError::NotApplied("the store is closed".into())
}

impl Inner {
    fn add(&mut self, message: NewMessage) -> Result<(), StoreError> {
        let NewMessage { record, body, next_attempt, hold } = message;
        if self.messages.contains_key(&record.id) {
            return Err(StoreError::NotApplied(format!("{} is queued already", record.id)));
        }
        let chunks = match body {
            NewBody::Memory(chunks) => chunks,
            NewBody::File(spooled) => match spooled.kept {
                Kept::Memory(chunks) => chunks,
                Kept::File(_) => return Err(StoreError::NotApplied("the body is of another store".into())),
            },
        };
        let recipients = vec![RecipientStatus::default(); record.recipients.len()];
        let state =
            MessageState { hold, attempts: 0, next_attempt, warned: false, released: None, recipients };
        self.messages.insert(record.id, (QueueEntry { record, state }, chunks));
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<(), StoreError> {
        let (entry, _) = self.messages.get_mut(&settlement.id).ok_or(StoreError::Absent)?;
        for change in &settlement.changes {
            entry.state.apply(change);
        }
        if entry.state.is_settled() {
            self.messages.remove(&settlement.id);
        }
        Ok(())
    }

    fn entries(&self) -> impl Iterator<Item = &QueueEntry> {
        self.messages.values().map(|(entry, _)| entry)
    }
}

impl QueueStore for MemoryStore {
    fn enqueue(&self, message: NewMessage) -> Pending<()> {
        self.ask(|inner| inner.add(message))
    }

    fn spool(&self, _: QueueId) -> Result<BodyWriter, StoreError> {
        if self.lock().closed { Err(closed()) } else { Ok(BodyWriter::in_memory()) }
    }

    fn room(&self) -> Result<(), StoreError> {
        if self.lock().closed { Err(closed()) } else { Ok(()) }
    }

    fn settle(&self, settlements: Vec<Settlement>) -> Pending<Vec<Result<(), StoreError>>> {
        self.ask(|inner| Ok(settlements.iter().map(|s| inner.settle(s)).collect()))
    }

    fn due(
        &self,
        now: Timestamp,
        limit: usize,
        skip: Box<dyn Fn(QueueId) -> bool + Send>,
    ) -> Pending<Vec<QueueEntry>> {
        self.ask(|inner| {
            let mut due: Vec<&QueueEntry> = inner
                .entries()
                .filter(|e| e.state.hold.is_none() && e.state.next_attempt <= now && !skip(e.record.id))
                .collect();
            due.sort_by_key(|e| (e.state.next_attempt, e.record.id));
            Ok(due.into_iter().take(limit).cloned().collect())
        })
    }

    fn next_due(&self, now: Timestamp) -> Pending<Option<Timestamp>> {
        self.ask(|inner| {
            let waiting = inner.entries().filter(|e| e.state.hold.is_none());
            Ok(waiting.map(|e| e.state.next_attempt).filter(|due| *due > now).min())
        })
    }

    fn get(&self, id: QueueId) -> Pending<QueueEntry> {
        self.ask(|inner| inner.messages.get(&id).map(|(entry, _)| entry.clone()).ok_or(StoreError::Absent))
    }

    fn read_body(&self, id: QueueId) -> Pending<StoredBody> {
        self.ask(|inner| {
            let found = inner.messages.get(&id).map(|(_, chunks)| StoredBody::Memory(chunks.clone()));
            found.ok_or(StoreError::Absent)
        })
    }

    fn list(&self, page: Page) -> Pending<Vec<QueueEntry>> {
        self.ask(|inner| {
            let entries = inner.entries().filter(|e| page.after.is_none_or(|after| e.record.id > after));
            Ok(entries.take(page.limit).cloned().collect())
        })
    }

    fn figures(&self) -> QueueFigures {
        let mut figures = QueueFigures::default();
        for entry in self.lock().entries() {
            match (entry.state.hold, entry.state.attempts) {
                (Some(_), _) => figures.held += 1,
                (None, 0) => figures.active += 1,
                (None, _) => figures.deferred += 1,
            }
            figures.damaged += u64::from(entry.state.hold == Some(Hold::Damaged));
            figures.bytes += entry.record.size;
            let arrived = entry.record.arrived;
            figures.oldest = Some(figures.oldest.map_or(arrived, |oldest| oldest.min(arrived)));
        }
        figures
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn close(&self) -> Pending<()> {
        self.lock().closed = true;
        Pending::ready(Ok(()))
    }
}
