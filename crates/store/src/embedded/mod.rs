//! The queue on one machine: a journal that is the truth, sled as the database over it.
//!
//! [`EmbeddedStore::enqueue`] answers when the journal has synced the message, together with all others that wait, and nothing
//! else is on that way. The index learns of a message only when it has grown old ([`crate::Settings::index_delay_millis`]); most never
//! do. Threads: the journal's committer, the keeper (owner of the index), two readers, and four for bodies in files.
//! Formats, states and what a crash leaves of each: `docs/queue-states.md`.
//!
//! Failures: a full disk refuses new mail and nothing else; a bad index ends the process's trust in it
//! ([`QueueStore::health`]), never the mail, and is made again at the next start; what is damaged is held and shown.

mod compaction;
mod core;
mod index;
mod keeper;
mod outline;
mod pack;
mod reader;
mod recovery;
mod row;
mod settling;
mod spool;
mod window;

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mail::{QueueId, Timestamp};
use tokio::sync::oneshot;

use self::core::{Admission, Core, lock};
use self::index::Index;
use self::keeper::{Job, Keeper, Skip};
use self::reader::Read;
pub use self::recovery::Recovery;
use self::row::Row;
use self::spool::Task;
use crate::Settings;
use crate::body::{BodyWriter, Kept};
use crate::codec::{self, BodyPlace, Checkpoint, SparseState, kind};
use crate::disk::Disk;
use crate::journal::{
    Durability, Journal, JournalError, JournalFigures, Payload, Position, Replay, SegmentInfo,
};
use crate::model::{MessageRecord, NewBody, NewMessage, QueueEntry, Settlement, StoredBody};
use crate::queue_store::{Page, Pending, QueueFigures, QueueStore, StoreError};

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal does not.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The system refused something else.
    #[error("{}: {error}", path.display())]
    Io {
        /// With which folder.
        path: std::path::PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
}

/// The queue in a folder. Dropping it stops it without writing down what only memory knows, as a crash does;
/// [`QueueStore::close`] stops it properly.
#[derive(Debug)]
pub struct EmbeddedStore {
    core: Arc<Core>,
    journal: Arc<Journal>,
    spool: Sender<Task>,
    readers: Sender<Read>,
    recovery: Arc<Mutex<Option<Recovery>>>,
    /// Silent, and then gone when all threads have ended.
    ended: Mutex<Receiver<()>>,
}

impl EmbeddedStore {
    /// Opens the queue in `folder`, making it if need be. Mail is accepted at once; what the folder holds is
    /// recovered meanwhile, and questions about it are answered when that is done.
    ///
    /// `disk` is used for the journal and for bodies; the index, which can always be made again, is sled's own affair and lies
    /// in the operating system's file system under the same name.
    ///
    /// # Errors
    /// The journal does not open, or a folder cannot be made.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, settings: Settings) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io { path: folder.to_owned(), error };
        let (jobs, waiting) = channel();
        let core = Arc::new(Core::new(settings, disk, folder, jobs));
        core.disk.create_folder(&core.spool).map_err(failed)?;
        let (journal, replay) =
            Journal::open(Arc::clone(&core.disk), &folder.join("journal"), &core.settings.journal)?;
        let journal = Arc::new(journal);
        let spooled = clean_spool(&core).map_err(failed)?;
        let current = journal.segments().last().map_or(0, |segment| segment.generation);
        core.window().start_at(current);
        let (alive, ended) = channel();
        let spool = spool::start(&core, &alive).map_err(failed)?;
        let readers = reader::start(&core, &journal, &spool, &alive).map_err(failed)?;
        let recovery = Arc::default();
        let start = Start {
            core: Arc::clone(&core),
            journal: Arc::clone(&journal),
            spool: spool.clone(),
            readers: readers.clone(),
            recovery: Arc::clone(&recovery),
        };
        let run = move || {
            start.run(&replay, spooled, &waiting);
            drop(alive);
        };
        std::thread::Builder::new().name("keeper".into()).spawn(run).map_err(failed)?;
        Ok(Self { core, journal, spool, readers, recovery, ended: Mutex::new(ended) })
    }

    /// What recovery found; `None` while it is at work, or when it failed ([`QueueStore::health`] then says why).
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        lock(&self.recovery).clone()
    }

    /// Writes to the index, makes a checkpoint and gives segments back now, rather than in a few seconds.
    pub fn tidy(&self) -> Pending<()> {
        self.ask(Job::Tidy)
    }

    /// The segments of the journal, the oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.journal.segments()
    }

    /// What the journal has done since opening.
    #[must_use]
    pub fn journal_figures(&self) -> JournalFigures {
        self.journal.figures()
    }

    /// Appends a message's record; the message is in the queue when that is durable.
    fn commit(
        core: &Arc<Core>,
        journal: &Journal,
        accepted: Accepted,
        body: BodyPlace,
        undo: impl FnOnce() + Send + 'static,
    ) {
        let Accepted { record, state, chunks, sender } = accepted;
        let encoded = codec::encode_head(&record, &state, body);
        let lengths = encoded.as_ref().map(|head| (u32::try_from(head.len()), record.recipients.len()));
        let (Ok(head), Ok((Ok(head_octets), recipients))) = (encoded.clone(), lengths) else {
            undo();
            return drop(sender.send(Err(StoreError::NotApplied("the envelope does not encode".into()))));
        };
        let row = Row {
            position: Position { generation: 0, offset: 0, len: 0 },
            head_octets,
            arrived: record.arrived,
            size: record.size,
            body_file: body != BodyPlace::Inline,
            wreck: false,
            recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
            state,
        };
        let mut slices = Vec::with_capacity(chunks.len() + 1);
        slices.push(head.clone());
        slices.extend(chunks.iter().cloned());
        let hot = (body == BodyPlace::Inline).then_some(chunks);
        let admission = Admission { id: record.id, row, head, hot, sender };
        let core = Arc::clone(core);
        let done = move |results: Vec<Result<_, _>>| {
            let result = results.into_iter().next();
            if matches!(
                result,
                Some(Err(crate::journal::AppendError::NotApplied(_) | crate::journal::AppendError::Full(_)))
            ) {
                undo();
            }
            core.admit(admission, result);
        };
        journal.append(vec![Payload { kind: kind::MESSAGE, slices }], Durability::Sync, Box::new(done));
    }

    /// Puts a body into a file of its own, then goes on as with any other.
    fn commit_file(&self, accepted: Accepted, body: NewBody) {
        let id = accepted.record.id;
        let (core, journal, spool) = (Arc::clone(&self.core), Arc::clone(&self.journal), self.spool.clone());
        let placed = move |placed| match placed {
            Ok(checksum) => {
                let undo = move || drop(spool.send(Task::Remove(id)));
                Self::commit(&core, &journal, accepted, BodyPlace::File { checksum }, undo);
            }
            Err(error) => drop(accepted.sender.send(Err(error))),
        };
        drop(self.spool.send(Task::Place { id, body, placed: Box::new(placed) }));
    }

    fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job) -> Pending<T> {
        if let Err(error) = self.core.open() {
            return Pending::ready(Err(error));
        }
        let (sender, pending) = Pending::channel();
        self.core.send(job(sender));
        pending
    }
}

/// A message on its way into the journal.
struct Accepted {
    record: MessageRecord,
    state: SparseState,
    chunks: Vec<Bytes>,
    sender: oneshot::Sender<Result<(), StoreError>>,
}

impl QueueStore for EmbeddedStore {
    fn enqueue(&self, message: NewMessage) -> Pending<()> {
        let NewMessage { record, body, next_attempt, hold } = message;
        if let Err(error) = self.core.room() {
            return Pending::ready(Err(error));
        }
        if self.core.window().overrides(record.id) {
            let what = format!("{} is queued already", record.id);
            return Pending::ready(Err(StoreError::NotApplied(what)));
        }
        let body = match body {
            NewBody::File(spooled) => match spooled.kept {
                Kept::Memory(chunks) => NewBody::Memory(chunks),
                Kept::File(_) => NewBody::File(spooled),
            },
            memory @ NewBody::Memory(_) => memory,
        };
        let (sender, pending) = Pending::channel();
        let state = SparseState::fresh(next_attempt, hold);
        let mut accepted = Accepted { record, state, chunks: Vec::new(), sender };
        match body {
            NewBody::Memory(chunks) if length(&chunks) <= self.core.settings.inline_max() => {
                accepted.chunks = chunks;
                Self::commit(&self.core, &self.journal, accepted, BodyPlace::Inline, || {});
            }
            large => self.commit_file(accepted, large),
        }
        pending
    }

    fn spool(&self, id: QueueId) -> Result<BodyWriter, StoreError> {
        self.core.room()?;
        BodyWriter::in_file(Arc::clone(&self.core.disk), &self.core.spool, id)
    }

    fn room(&self) -> Result<(), StoreError> {
        self.core.room()
    }

    fn settle(&self, settlements: Vec<Settlement>) -> Pending<Vec<Result<(), StoreError>>> {
        settling::settle(&self.core, &self.journal, &self.spool, settlements)
    }

    fn due(&self, now: Timestamp, limit: usize, skip: Skip) -> Pending<Vec<QueueEntry>> {
        self.ask(|answer| Job::Due { now, limit, skip, answer })
    }

    fn next_due(&self, now: Timestamp) -> Pending<Option<Timestamp>> {
        self.ask(|answer| Job::NextDue { now, answer })
    }

    fn get(&self, id: QueueId) -> Pending<QueueEntry> {
        let window = self.core.window();
        let young = window.get(id).map(|young| (young.row.clone(), young.head.clone()));
        drop(window);
        let at_hand = young.filter(|(_, head)| !head.is_empty());
        match at_hand.and_then(|(row, head)| reader::entry(&self.journal, id, &row, Some(&head)).ok()) {
            Some(entry) => Pending::ready(Ok(entry)),
            None => self.ask(|answer| Job::Get { id, answer }),
        }
    }

    fn read_body(&self, id: QueueId) -> Pending<StoredBody> {
        let window = self.core.window();
        let young = window.get(id).map(|young| (young.row.clone(), young.hot.clone()));
        drop(window);
        match young {
            Some((_, Some(chunks))) => Pending::ready(Ok(StoredBody::Memory(chunks))),
            Some((row, None)) => {
                let (answer, pending) = Pending::channel();
                drop(self.readers.send(Read::Body { id, row, answer }));
                pending
            }
            None => self.ask(|answer| Job::ReadBody { id, gone_from: None, answer }),
        }
    }

    fn list(&self, page: Page) -> Pending<Vec<QueueEntry>> {
        self.ask(|answer| Job::List { page, answer })
    }

    fn figures(&self) -> QueueFigures {
        self.core.window().figures()
    }

    fn health(&self) -> Result<(), String> {
        self.core.health()
    }

    fn close(&self) -> Pending<()> {
        if !self.core.close() {
            return Pending::ready(Ok(()));
        }
        let (answer, pending) = Pending::channel();
        self.core.send(Job::Close(answer));
        pending
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.core.close();
        self.core.send(Job::Stop);
        for _ in 0..spool::THREADS {
            drop(self.spool.send(Task::Stop));
        }
        for _ in 0..reader::THREADS {
            drop(self.readers.send(Read::Stop));
        }
        // A keeper that hangs in the index is left behind.
        let _ = lock(&self.ended).recv_timeout(self.core.settings.index_limit());
        self.journal.close();
    }
}

fn length(chunks: &[Bytes]) -> u64 {
    chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

/// Removes what was being written when the last process ended; gives the complete bodies that are there.
fn clean_spool(core: &Core) -> std::io::Result<Vec<QueueId>> {
    let mut complete = Vec::new();
    for entry in core.disk.list(&core.spool)? {
        if entry.name.ends_with(".part") {
            core.disk.remove(&core.spool.join(&entry.name))?;
        }
        complete.extend(entry.name.parse::<QueueId>());
    }
    Ok(complete)
}

/// Time between two looks for space, when a start finds the disk full.
const SPACE_EVERY: Duration = Duration::from_millis(200);

/// What the keeper's thread begins with.
struct Start {
    core: Arc<Core>,
    journal: Arc<Journal>,
    spool: Sender<Task>,
    readers: Sender<Read>,
    recovery: Arc<Mutex<Option<Recovery>>>,
}

impl Start {
    fn run(self, replay: &Replay, spooled: Vec<QueueId>, jobs: &Receiver<Job>) {
        let settings = &self.core.settings;
        let (cache, limit) = (settings.index_cache_bytes, settings.index_limit());
        let folder = &self.core.index_folder;
        while !self.core.index_has_room() {
            if self.core.open().is_err() {
                return;
            }
            std::thread::sleep(SPACE_EVERY);
        }
        let mut bad = None;
        let opened = Index::open(folder, cache, limit).or_else(|error| {
            index::move_aside(folder, now_millis())?;
            bad = Some(error.to_string());
            Index::open(folder, cache, limit)
        });
        let index = match opened {
            Ok(index) => index,
            Err(error) => return self.core.fail(format!("the index does not open: {error}")),
        };
        let mut keeper = Keeper {
            core: self.core,
            journal: self.journal,
            index,
            spool: self.spool,
            readers: self.readers,
            checkpoint: Checkpoint::default(),
            released: None,
            dirty: false,
            compaction: None,
            stuck: (0, 0),
            tidying: Vec::new(),
            ended: false,
        };
        let recovered = keeper.guarded_recovery(replay, spooled);
        *lock(&self.recovery) = recovered.map(|mut recovery| {
            recovery.rebuilt = bad.or(recovery.rebuilt);
            recovery
        });
        keeper.run(jobs);
    }
}

/// For the names of what is moved aside.
fn now_millis() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}
