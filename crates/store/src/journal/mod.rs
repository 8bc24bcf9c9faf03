//! The journal: an append-only sequence of segment files, the truth about the queue. Format and recovery:
//! `docs/queue-states.md`.
//!
//! [`Journal::append`] hands payloads to the committer thread, which writes and syncs for all who wait (group
//! commit) and then answers; nothing is acknowledged before its sync. Opening begins a fresh segment at once
//! and gives a [`Replay`] over the older ones, which may take its time on another thread. The journal does
//! not know what a payload means. All calls may block on the disk, except `append`.
//!
//! Failures: a failed write or sync refuses its batch durably and begins a new segment; while that cannot be
//! done everything is refused, and each attempt tries again. Damage found on reading is a [`ReplayItem`], not
//! an error: the rest goes on.

mod committer;
mod error;
mod figures;
mod folder;
mod frame;
mod replay;
mod settings;
#[cfg(test)]
mod tests;
mod window;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::disk::{Disk, is_full};
use committer::{Committer, Queue, Request};
use figures::Figures;
use folder::Folder;
use frame::{CLOSING_MARK, FRAME_HEADER_BYTES, FrameHeader};
use writer::Writer;

pub use error::{AppendError, JournalError, ReadError};
pub use figures::JournalFigures;
pub use replay::{DamageReason, Replay, ReplayItem};
pub use settings::Settings;

/// Where a record's frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Generation of the segment.
    pub generation: u64,
    /// Where in it the frame begins.
    pub offset: u32,
    /// Octets of the payload.
    pub len: u32,
}

/// What is to be appended: its kind (1 to 255, the caller's) and its octets in any number of slices, which
/// are not copied together.
#[derive(Debug, Clone)]
pub struct Payload {
    /// What it is.
    pub kind: u8,
    /// Its octets, at most [`Settings::payload_bytes_max`] in all.
    pub slices: Vec<Bytes>,
}

impl Payload {
    fn length(&self) -> Option<u32> {
        u32::try_from(self.slices.iter().map(Bytes::len).sum::<usize>()).ok()
    }
}

/// A record as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: u8,
    /// Its octets.
    pub payload: Bytes,
}

/// When an append is answered, and how far it may go into the reserve for a full disk. None is answered
/// before it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced at once: new mail.
    Sync,
    /// Synced at once, and may use the reserve: copies that will free older segments.
    Reserved,
    /// Written soon, synced with the next batch or within this time, and may use the reserve: changes of
    /// state.
    Lazy {
        /// At most so long.
        within: Duration,
    },
}

/// Called once, on the committer thread, with a result for each payload in order. It must be quick.
pub type Done = Box<dyn FnOnce(Vec<Result<Position, AppendError>>) + Send>;

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its generation: a later segment has a higher one.
    pub generation: u64,
    /// Octets in use; the size of the file for segments of an earlier process.
    pub bytes: u32,
    /// It will not be written any more.
    pub sealed: bool,
    /// [`Journal::recycle`] was called, and older segments are still needed.
    pub released: bool,
}

/// An open journal. Dropping it closes it.
pub struct Journal {
    folder: Arc<Folder>,
    queue: Arc<Queue>,
    figures: Arc<Figures>,
    lazy_write: Duration,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("segments", &self.segments().len())
            .field("figures", &self.figures())
            .finish()
    }
}

impl Journal {
    /// Opens the journal in this folder, making it if need be, and begins a fresh segment. What earlier
    /// processes left is not read here, but by the [`Replay`].
    ///
    /// A full disk does not prevent opening: appends are then refused until there is room.
    ///
    /// # Errors
    /// Another process has it, a later version wrote it, or the system refused.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        settings: &Settings,
    ) -> Result<(Self, Replay), JournalError> {
        let failed = |what| move |error| JournalError::Io { what, path: path.to_path_buf(), error };
        let (folder, older) = Folder::open(disk, path, settings)?;
        let folder = Arc::new(folder);
        let mut writer = Writer::new(Arc::clone(&folder), settings);
        match writer.ready() {
            Err(error) if !is_full(&error) => return Err(failed("cannot begin a segment")(error)),
            _ => {}
        }
        let (queue, figures) = (Arc::new(Queue::default()), Arc::new(Figures::default()));
        let committer = Committer::new(writer, Arc::clone(&queue), Arc::clone(&figures), settings);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || committer.run());
        let committer = Mutex::new(Some(thread.map_err(failed("cannot start the committer"))?));
        let lazy_write = settings.lazy_write();
        Ok((Self { folder, queue, figures, lazy_write, committer }, Replay::new(older)))
    }

    /// Hands payloads over, in order, and returns at once. Each has its own result; `done` gets them when all
    /// are durable or refused.
    pub fn append(&self, payloads: Vec<Payload>, durability: Durability, done: Done) {
        if payloads.iter().any(|p| p.kind == CLOSING_MARK) {
            return refuse(done, payloads.len(), "kind 0 is the journal's own");
        }
        let write_by = match durability {
            Durability::Lazy { within } => Some(Instant::now() + self.lazy_write.min(within)),
            Durability::Sync | Durability::Reserved => None,
        };
        if let Err(request) = self.queue.push(Request { payloads, durability, write_by, done }) {
            refuse(request.done, request.payloads.len(), "the journal is closed");
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Its segment is gone, the record is damaged, or the system refused.
    pub fn read(&self, position: Position) -> Result<Record, ReadError> {
        let Position { generation, offset, len } = position;
        let (file, size) = self.folder.file(generation).ok_or(ReadError::Gone(generation))?;
        let damaged = || match self.folder.file(generation) {
            Some(_) => ReadError::Damaged { generation, offset },
            None => ReadError::Gone(generation),
        };
        let frame_len = FRAME_HEADER_BYTES.checked_add(len).filter(|l| *l <= size).ok_or_else(damaged)?;
        let mut frame = vec![0; frame_len as usize];
        file.read_at(offset.into(), &mut frame).map_err(|error| ReadError::Io { generation, error })?;
        let header = FrameHeader::decode(&frame).ok_or_else(damaged)?;
        if header.life.generation != generation
            || header.length != len
            || !FrameHeader::verifies(&frame, offset)
        {
            return Err(damaged());
        }
        let payload = Bytes::from(frame).slice(FRAME_HEADER_BYTES as usize..);
        Ok(Record { kind: header.kind, payload })
    }

    /// Reads `position.len` octets behind the header of the frame there, **unchecked**: a part of a record
    /// that has a checksum of its own, or what is left of a damaged one. Gives less where the file ends.
    ///
    /// # Errors
    /// The segment is gone, or the system refused.
    pub fn read_unchecked(&self, position: Position) -> Result<Bytes, ReadError> {
        let Position { generation, offset, len } = position;
        let (file, size) = self.folder.file(generation).ok_or(ReadError::Gone(generation))?;
        let from = offset.saturating_add(FRAME_HEADER_BYTES).min(size);
        let mut octets = vec![0; len.min(size - from) as usize];
        let read = file.read_at(from.into(), &mut octets);
        octets.truncate(read.map_err(|error| ReadError::Io { generation, error })?);
        Ok(octets.into())
    }

    /// All segments, the oldest first. The last that is not sealed is being written.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.folder.segments()
    }

    /// Nothing in this segment is needed any more, not even to find the index out of date.
    ///
    /// Segments are given back strictly in order of age, so that a settlement never vanishes before its
    /// message: this one waits (`released`) until all older ones have been released. To free the space behind
    /// an old segment that still holds a little, copy that forward ([`Durability::Reserved`]) and release it.
    /// Blocks while folders are synced.
    ///
    /// # Errors
    /// The system refused; the next call tries again.
    pub fn recycle(&self, generation: u64) -> Result<(), JournalError> {
        self.folder.release(generation)
    }

    /// What has been done since opening.
    #[must_use]
    pub fn figures(&self) -> JournalFigures {
        self.figures.read()
    }

    /// Writes, syncs and answers all that waits, and stops. Later appends are refused. Must not be called
    /// from a `done`.
    pub fn close(&self) {
        self.queue.close();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = committer {
            // A panic in there has been reported already.
            drop(thread.join());
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

fn refuse(done: Done, payloads: usize, why: &str) {
    done(vec![Err(AppendError::NotApplied(why.into())); payloads]);
}
