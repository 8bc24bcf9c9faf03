//! A message on its way in: in memory while it is small and there is room, else in a file of its own.
//!
//! Room is taken once before the first octet (waiting, if need be) and grown only without waiting, so that sessions can
//! never wait for one another. Writing to the file happens on the blocking pool, a room's worth at a time. A failure is remembered
//! and told at the end of data, because the client does not listen before.

use std::sync::Arc;

use bytes::Bytes;
use mail::QueueId;
use store::{BodyWriter, NewBody, QueueStore, StoreError};

use crate::limits::{BodyRoom, Room};

/// First room for a body of unknown size, octets.
const FIRST_ROOM: usize = 16 * 1024;

/// One message on its way in.
pub struct BodySink {
    store: Arc<dyn QueueStore>,
    id: QueueId,
    /// Octets up to which a body stays in memory.
    inline_max: usize,
    /// Octets of the header that are kept beside a body in a file.
    head_max: usize,
    chunks: Vec<Bytes>,
    gathered: usize,
    head: Vec<Bytes>,
    head_bytes: usize,
    bytes: u64,
    room: Option<Room>,
    writer: Option<BodyWriter>,
    failed: Option<StoreError>,
}

/// A message that has come in whole.
#[derive(Debug)]
pub struct ReceivedBody {
    /// Its octets.
    pub body: NewBody,
    /// The beginning, at least the whole header (or as much as the header limit allows).
    pub head: Vec<Bytes>,
    /// Octets in all.
    pub bytes: u64,
    /// The room it holds in memory: to be kept until it is durable.
    pub room: Option<Room>,
}

impl BodySink {
    /// Waits for room and opens a sink. `declared` is SIZE= of MAIL, in octets.
    pub async fn open(
        store: Arc<dyn QueueStore>,
        room: &BodyRoom,
        id: QueueId,
        declared: Option<u64>,
        (inline_max, head_max): (usize, usize),
    ) -> Self {
        let first =
            declared.and_then(|d| usize::try_from(d).ok()).unwrap_or(FIRST_ROOM).clamp(1024, FIRST_ROOM);
        let room = room.take(first).await;
        Self {
            store,
            id,
            inline_max,
            head_max,
            chunks: Vec::new(),
            gathered: 0,
            head: Vec::new(),
            head_bytes: 0,
            bytes: 0,
            room,
            writer: None,
            failed: None,
        }
    }

    /// Takes the next octets. Never fails here: see [`Self::finish`].
    pub async fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len() as u64;
        if self.failed.is_some() {
            return;
        }
        self.gathered += chunk.len();
        self.chunks.push(chunk);
        if self.writer.is_none() && !self.fits_in_memory() {
            self.spill();
        }
        if self.writer.is_some() && self.gathered >= self.room.as_ref().map_or(FIRST_ROOM, Room::bytes) {
            self.write_out().await;
        }
    }

    /// True while the body is small and its room covers it, or can grow to.
    fn fits_in_memory(&mut self) -> bool {
        if self.gathered > self.inline_max {
            return false;
        }
        let Some(room) = &mut self.room else { return false };
        let covered = room.bytes();
        covered >= self.gathered || room.grow((self.gathered - covered).max(covered).min(self.inline_max))
    }

    /// From memory to a file: the header stays at hand, for it is looked at once more.
    fn spill(&mut self) {
        for chunk in &self.chunks {
            if self.head_bytes >= self.head_max {
                break;
            }
            let take = chunk.len().min(self.head_max - self.head_bytes);
            self.head.push(chunk.slice(..take));
            self.head_bytes += take;
        }
        match self.store.spool(self.id) {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: StoreError) {
        self.failed = Some(error);
        self.writer = None;
        self.chunks = Vec::new();
        self.gathered = 0;
        self.room = None;
    }

    async fn write_out(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        let chunks = std::mem::take(&mut self.chunks);
        self.gathered = 0;
        let written = tokio::task::spawn_blocking(move || {
            for chunk in &chunks {
                writer.write(chunk)?;
            }
            Ok(writer)
        })
        .await;
        match written {
            Ok(Ok(writer)) => self.writer = Some(writer),
            Ok(Err(error)) => self.fail(error),
            Err(panic) => self.fail(StoreError::NotApplied(panic.to_string())),
        }
    }

    /// The whole message, or why it could not be kept.
    ///
    /// # Errors
    /// What the store said while the body came in.
    pub async fn finish(mut self) -> Result<ReceivedBody, StoreError> {
        if self.writer.is_some() {
            self.write_out().await;
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (bytes, room) = (self.bytes, self.room);
        let Some(writer) = self.writer else {
            return Ok(ReceivedBody {
                head: self.chunks.clone(),
                body: NewBody::Memory(self.chunks),
                bytes,
                room,
            });
        };
        let spooled = tokio::task::spawn_blocking(move || writer.finish())
            .await
            .unwrap_or_else(|panic| Err(StoreError::NotApplied(panic.to_string())))?;
        Ok(ReceivedBody { head: self.head, body: NewBody::File(spooled), bytes, room })
    }
}
