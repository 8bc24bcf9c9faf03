//! A message on its way in: in memory while it is small and there is room, else in a file of its own.
//!
//! Room is taken once before the first octet (waiting, if need be) and grown only without waiting, so that sessions can
//! never wait for one another. Writing to the file happens on the blocking pool, a room's worth at a time. A failure is remembered
//! and told at the end of data, because the client does not listen before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail::{QueueId, header};
use store::{BodyWriter, NewBody, QueueStore, StoreError};

use tokio::time::timeout;

use crate::limits::{BodyRoom, Room};

/// First room for a body of unknown size, and the room of one that goes to a file, octets.
const FIRST_ROOM: usize = 16 * 1024;
/// How long a message waits for room before its sender is told to come back: clients wait two minutes for 354
/// (RFC 5321 §4.5.3.2.4).
const ROOM_TIME: Duration = Duration::from_secs(60);
/// First room while room is scarce, octets.
const SCARCE_ROOM: usize = 4 * 1024;

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
    bytes: u64,
    room: Option<Room>,
    /// It goes to a file, which is made with the first write.
    spilled: bool,
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
        let first_max = if room.is_scarce() { SCARCE_ROOM } else { FIRST_ROOM };
        let first =
            declared.and_then(|d| usize::try_from(d).ok()).unwrap_or(first_max).clamp(1024, first_max);
        let room = timeout(ROOM_TIME, room.take(first)).await.ok()?;
        Some(Self {
            store,
            id,
            inline_max,
            head_max,
            chunks: Vec::new(),
            gathered: 0,
            bytes: 0,
            room,
            spilled: false,
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
        self.spilled = self.spilled || !self.fits_in_memory();
        if self.spilled && self.gathered >= self.room.as_ref().map_or(FIRST_ROOM, Room::bytes) {
            self.write_out().await;
            // What is in the file needs no room: the rest passes through a little.
            if let Some(room) = &mut self.room {
                room.shrink(FIRST_ROOM);
            }
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

    fn fail(&mut self, error: StoreError) {
        self.failed = Some(error);
        self.writer = None;
        self.chunks = Vec::new();
        self.gathered = 0;
        self.room = None;
    }

    async fn write_out(&mut self) {
        let (writer, store, id) = (self.writer.take(), Arc::clone(&self.store), self.id);
        let chunks = std::mem::take(&mut self.chunks);
        self.gathered = 0;
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.map_or_else(|| store.spool(id), Ok)?;
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
        if self.spilled && self.failed.is_none() {
            self.write_out().await;
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let (bytes, room) = (self.bytes, self.room.take());
        let Some(writer) = self.writer else {
            return Ok(ReceivedBody {
                head: self.chunks.clone(),
                body: NewBody::Memory(self.chunks),
                bytes,
                room,
            });
        };
        let head_max = self.head_max;
        let finished = tokio::task::spawn_blocking(move || {
            let spooled = writer.finish()?;
            let head = head_of(spooled.pieces(), head_max)?;
            Ok((head, spooled))
        });
        let (head, spooled) =
            finished.await.unwrap_or_else(|panic| Err(StoreError::NotApplied(panic.to_string())))?;
        Ok(ReceivedBody { head, body: NewBody::File(spooled), bytes, room })
    }
}

/// The pieces with the header of a body in a file: read back at the end, so that thousands of long headers that trickle in
/// take no memory meanwhile.
fn head_of(
    pieces: impl Iterator<Item = std::io::Result<Bytes>>,
    head_max: usize,
) -> Result<Vec<Bytes>, StoreError> {
    let mut head = Vec::new();
    for piece in pieces {
        head.extend_from_slice(&piece.map_err(|error| StoreError::NotApplied(error.to_string()))?);
        if head.len() >= head_max || header::body_offset(&head) < head.len() {
            break;
        }
    }
    head.truncate(head_max);
    Ok(vec![head.into()])
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

    fn sink_of(store: &Arc<dyn QueueStore>, room: &BodyRoom) -> impl Future<Output = BodySink> {
        let id = QueueId::from_parts(1_000_000, 0);
        let (store, room) = (Arc::clone(store), room.clone());
        async move { BodySink::open(store, &room, id, None, (1 << 18, 1 << 19)).await.unwrap() }
    }

    /// A second From: far down in a long header is seen, however little memory there was.
    #[tokio::test]
    async fn a_long_header_is_whole_when_the_body_went_to_a_file() {
        let store: Arc<dyn QueueStore> = Arc::new(MemoryStore::new());
        let room = BodyRoom::new(8 * 1024);
        let mut sink = sink_of(&store, &room).await;
        let field = format!("X-Filler: {}\r\n", "x".repeat(60));
        for _ in 0..4_000 {
            sink.push(Bytes::from(field.clone())).await;
        }
        sink.push(Bytes::from_static(b"From: the.second@example.test\r\n\r\ntext\r\n")).await;
        assert!(room.taken() <= 8 * 1024);
        let received = sink.finish().await.unwrap();
        assert!(matches!(received.body, NewBody::File(_)));
        let head = received.head.concat();
        assert!(header::find(&head, "From").is_some(), "cut after {} octets", head.len());
    }

    #[tokio::test]
    async fn slow_large_bodies_leave_room_for_others() {
        let store: Arc<dyn QueueStore> = Arc::new(MemoryStore::new());
        let room = BodyRoom::new(1 << 20);
        let mut slow = Vec::new();
        for _ in 0..40 {
            let mut sink = sink_of(&store, &room).await;
            for _ in 0..15 {
                sink.push(Bytes::from(vec![b'x'; 16 * 1024])).await;
            }
            slow.push(sink);
        }
        assert!(!room.is_scarce() || room.taken() < 1 << 20, "{} octets are taken", room.taken());
        // Does not wait: there is room.
        let mut small = sink_of(&store, &room).await;
        small.push(Bytes::from_static(b"Subject: a\r\n\r\ntext\r\n")).await;
        assert!(matches!(small.finish().await.unwrap().body, NewBody::Memory(_)));
        for sink in slow {
            assert_eq!(sink.finish().await.unwrap().bytes, 15 * 16 * 1024);
        }
    }
}
