//! A message on its way in: in memory while it is small and there is room, else in a file of its own.
//!
//! Room is taken once before the first octet (waiting, if need be) and grown only without waiting, so that sessions can
//! never wait for one another. Writing to the file happens on the blocking pool, a room's worth at a time. A failure is remembered
//! and told at the end of data, because the client does not listen before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail::QueueId;
use store::{BodyWriter, NewBody, QueueStore, StoreError};

use tokio::time::timeout;

use crate::limits::{BodyRoom, Room};

/// First room for a body of unknown size, octets.
const FIRST_ROOM: usize = 16 * 1024;
/// How long a message waits for room before its sender is told to come back: clients wait two minutes for 354
/// (RFC 5321 §4.5.3.2.4).
const ROOM_TIME: Duration = Duration::from_secs(60);

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
    /// Waits for room and opens a sink; none when there is no room for a minute. `declared` is SIZE= of MAIL, in octets.
    pub async fn open(
        store: Arc<dyn QueueStore>,
        room: &BodyRoom,
        id: QueueId,
        declared: Option<u64>,
        (inline_max, head_max): (usize, usize),
    ) -> Option<Self> {
        let first =
            declared.and_then(|d| usize::try_from(d).ok()).unwrap_or(FIRST_ROOM).clamp(1024, FIRST_ROOM);
        let room = timeout(ROOM_TIME, room.take(first)).await.ok()?;
        Some(Self {
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
        })
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

#[cfg(test)]
mod tests {
    use store::MemoryStore;

    use super::*;

    const BOUNDS: (usize, usize) = (64 * 1024, 4 * 1024);

    async fn sink(room: &BodyRoom) -> BodySink {
        let store: Arc<dyn QueueStore> = Arc::new(MemoryStore::new());
        BodySink::open(store, room, QueueId(1), None, BOUNDS).await.expect("room")
    }

    fn chunk(octets: usize) -> Bytes {
        Bytes::from(vec![b'x'; octets])
    }

    #[tokio::test]
    async fn small_messages_stay_in_memory_and_keep_their_room_until_they_are_stored() {
        let room = BodyRoom::new(1 << 20);
        let mut sink = sink(&room).await;
        for _ in 0..10 {
            sink.push(chunk(4096)).await;
        }
        let body = sink.finish().await.unwrap();
        assert_eq!(body.bytes, 40_960);
        assert!(matches!(&body.body, NewBody::Memory(chunks) if chunks.len() == 10));
        assert!(room.taken() >= 40_960, "{}", room.taken());
        drop(body);
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test]
    async fn large_messages_go_to_a_file_and_keep_their_beginning() {
        let room = BodyRoom::new(1 << 20);
        let mut sink = sink(&room).await;
        for _ in 0..40 {
            sink.push(chunk(4096)).await;
        }
        let body = sink.finish().await.unwrap();
        assert!(matches!(&body.body, NewBody::File(file) if file.size() == 163_840));
        assert_eq!(body.head.iter().map(Bytes::len).sum::<usize>(), 4096);
    }

    #[tokio::test]
    async fn without_room_to_grow_a_message_goes_to_a_file_instead_of_waiting() {
        let room = BodyRoom::new(32 * 1024);
        let (mut one, mut other) = (sink(&room).await, sink(&room).await);
        for _ in 0..8 {
            one.push(chunk(4096)).await;
            other.push(chunk(4096)).await;
        }
        for sink in [one, other] {
            assert!(matches!(sink.finish().await.unwrap().body, NewBody::File(_)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_for_a_minute_is_told_so() {
        let room = BodyRoom::new(16 * 1024);
        let _taken = sink(&room).await;
        let store: Arc<dyn QueueStore> = Arc::new(MemoryStore::new());
        assert!(BodySink::open(store, &room, QueueId(2), None, BOUNDS).await.is_none());
    }
}
