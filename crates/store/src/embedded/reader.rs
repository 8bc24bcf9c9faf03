//! Reading records and bodies back, on threads of their own: a slow disk must not hold up the index.
//!
//! Everything read is checked: records by the journal's checksum and the head's own, bodies in files by size and checksum.
//! What does not pass is [`StoreError::Damaged`], and the message is held.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use mail::QueueId;
use tokio::sync::oneshot;

use super::core::{Core, lock};
use super::keeper::Job;
use super::row::Row;
use super::settling;
use super::spool::Task;
use crate::body::checksum_of;
use crate::codec::{self, BodyPlace, Damaged, Head, Wreck};
use crate::disk::Open;
use crate::journal::{Journal, Position, ReadError};
use crate::model::{QueueEntry, StoredBody};
use crate::queue_store::StoreError;

/// Threads that read. Two, so that one body on a slow part of the disk does not hold up all others.
pub(crate) const THREADS: usize = 2;

/// What the threads are asked for.
pub(crate) enum Read {
    /// The body of a message.
    Body { id: QueueId, row: Row, answer: oneshot::Sender<Result<StoredBody, StoreError>> },
    /// End.
    Stop,
}

/// Starts the threads, which let go of `alive` when they have ended.
pub(crate) fn start(
    core: &Arc<Core>,
    journal: &Arc<Journal>,
    spool: &Sender<Task>,
    alive: &Sender<()>,
) -> std::io::Result<Sender<Read>> {
    let (sender, reads) = channel();
    let reads = Arc::new(Mutex::new(reads));
    for _ in 0..THREADS {
        let (core, journal, reads) = (Arc::clone(core), Arc::clone(journal), Arc::clone(&reads));
        let (spool, alive) = (spool.clone(), alive.clone());
        let run = move || {
            serve(&core, &journal, &spool, &reads);
            drop(journal);
            drop(alive);
        };
        std::thread::Builder::new().name("read".into()).spawn(run)?;
    }
    Ok(sender)
}

fn serve(core: &Arc<Core>, journal: &Journal, spool: &Sender<Task>, reads: &Mutex<Receiver<Read>>) {
    loop {
        let next = lock(reads).recv();
        let Ok(Read::Body { id, row, answer }) = next else { return };
        let result = match body(core, journal, id, &row) {
            // Copied forward since the row was looked up: the keeper knows where it is now.
            Err(BodyError::Gone) => {
                core.send(Job::ReadBody { id, gone_from: Some(row.position), answer });
                continue;
            }
            Err(BodyError::Store(error)) => Err(error),
            Ok(body) => Ok(body),
        };
        if matches!(result, Err(StoreError::Damaged(_))) && !settling::hold_young(core, journal, spool, id) {
            core.send(Job::Damaged(id));
        }
        drop(answer.send(result));
    }
}

/// Why a body cannot be given.
enum BodyError {
    /// Its segment has been given back.
    Gone,
    Store(StoreError),
}

impl From<ReadError> for BodyError {
    /// A record that is damaged stays so; a disk that does not answer now may answer later.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Gone(_) => Self::Gone,
            ReadError::Damaged { .. } => Self::Store(StoreError::Damaged(error.to_string())),
            ReadError::Io { .. } => Self::Store(StoreError::NotApplied(error.to_string())),
        }
    }
}

fn body(core: &Core, journal: &Journal, id: QueueId, row: &Row) -> Result<StoredBody, BodyError> {
    let damaged = |what: &str| BodyError::Store(StoreError::Damaged(format!("the record of {id} {what}")));
    if row.wreck {
        return Err(damaged("is damaged"));
    }
    if row.body_file {
        return file_body(core, journal, id, row);
    }
    let payload = journal.read(row.position)?.payload;
    let head = usize::try_from(row.head_octets).unwrap_or(usize::MAX);
    if head > payload.len() {
        return Err(damaged("is too short"));
    }
    Ok(StoredBody::Memory(vec![payload.slice(head..)]))
}

fn file_body(core: &Core, journal: &Journal, id: QueueId, row: &Row) -> Result<StoredBody, BodyError> {
    let path = core.body_path(id);
    let failed = |what: String| format!("{}: {what}", path.display());
    let damaged = |what: String| BodyError::Store(StoreError::Damaged(failed(what)));
    let head = match head(journal, row) {
        Ok(head) => head,
        Err(EntryError::Read(error)) => return Err(error.into()),
        Err(EntryError::Damaged(error)) => return Err(damaged(error.to_string())),
    };
    let file = match core.disk.open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(damaged("the body is missing".into()));
        }
        Err(error) => return Err(BodyError::Store(StoreError::NotApplied(failed(error.to_string())))),
    };
    let (checksum, size) = checksum_of(&*file).map_err(|e| damaged(e.to_string()))?;
    if size != row.size || head.body != (BodyPlace::File { checksum }) {
        return Err(damaged("the body has changed on disk".into()));
    }
    Ok(StoredBody::File { path, size })
}

/// Why an entry cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Damaged(#[from] Damaged),
}

impl EntryError {
    /// True when reading again will not help.
    pub(crate) fn is_lasting(&self) -> bool {
        !matches!(self, Self::Read(ReadError::Io { .. }))
    }
}

/// The head of a message, from the journal.
pub(crate) fn head(journal: &Journal, row: &Row) -> Result<Head, EntryError> {
    let front = journal.read_unchecked(Position { len: row.head_octets, ..row.position })?;
    Ok(codec::decode_head(&front)?)
}

/// A message as the queue shows it; `head` when it is at hand.
pub(crate) fn entry(
    journal: &Journal,
    id: QueueId,
    row: &Row,
    head_at_hand: Option<&[u8]>,
) -> Result<QueueEntry, EntryError> {
    let recipients = usize::try_from(row.recipients).map_err(|_| Damaged)?;
    if row.wreck {
        let wreck: Wreck = codec::decode(&journal.read(row.position)?.payload)?;
        return Ok(match codec::decode_head::<Head>(&wreck.octets) {
            Ok(head) => QueueEntry { record: head.record, state: row.state.clone().expand(recipients) },
            Err(_) => codec::wreck_entry(id, row.arrived, row.size, row.state.clone()),
        });
    }
    let head = match head_at_hand.filter(|octets| !octets.is_empty()) {
        Some(octets) => codec::decode_head::<Head>(octets)?,
        None => head(journal, row)?,
    };
    if head.record.id != id {
        return Err(Damaged.into());
    }
    Ok(QueueEntry { record: head.record, state: row.state.clone().expand(recipients) })
}
