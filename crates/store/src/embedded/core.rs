//! What all threads of the engine share: the window, the room on the disk, and whether the engine is well.
//!
//! Nothing here waits for a disk while it holds a lock, except the question for free space, asked ten times a second
//! at most. Locks are taken one at a time; poisoned ones are used on: what they guard is changed in single steps.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mail::QueueId;
use tokio::sync::oneshot;

use super::index;
use super::keeper::Job;
use super::row::Row;
use super::window::Window;
use crate::Settings;
use crate::disk::{Disk, RealDisk};
use crate::journal::{AppendError, Payload, Position};
use crate::queue_store::StoreError;

/// How long an answer about free space holds.
const SPACE_HOLDS: Duration = Duration::from_millis(100);

/// Octets that must be free for the index to be written: it takes space in pieces of half a megabyte, and an index that
/// finds none is of no use any more.
const INDEX_ROOM: u64 = 4 << 20;

/// The shared state.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) disk: Arc<dyn Disk>,
    /// Bodies in files of their own.
    pub(crate) spool: PathBuf,
    /// sled's folder.
    pub(crate) index_folder: PathBuf,
    pub(crate) jobs: Sender<Job>,
    window: Mutex<Window>,
    /// Held while changes are applied and appended, so that both happen in one order.
    settling: Mutex<()>,
    /// Messages that are durable, whose acknowledgement waits until the window has room.
    acknowledgements: Mutex<Vec<oneshot::Sender<Result<(), StoreError>>>>,
    /// The index writer has been asked to make room.
    crowded: AtomicBool,
    unwritten: Mutex<Unwritten>,
    /// For tests: the index finds no room.
    #[cfg(test)]
    pub(crate) no_room: AtomicBool,
    space: Mutex<Option<(Instant, Result<(), StoreError>)>>,
    /// Since when the index has been at work on one thing.
    busy: Mutex<Option<Instant>>,
    /// Somebody is about to say why in `failed`.
    failing: AtomicBool,
    failed: OnceLock<String>,
    closed: AtomicBool,
}

/// What becomes a row and a young message when the journal has it.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) id: QueueId,
    /// The row; its position is not known yet.
    pub(crate) row: Row,
    pub(crate) head: Bytes,
    pub(crate) hot: Option<Vec<Bytes>>,
    pub(crate) sender: oneshot::Sender<Result<(), StoreError>>,
}

impl Core {
    pub(crate) fn new(
        settings: Settings,
        disk: Arc<dyn Disk>,
        folder: &std::path::Path,
        jobs: Sender<Job>,
    ) -> Self {
        Self {
            settings,
            disk,
            spool: folder.join("spool"),
            index_folder: folder.join("index"),
            jobs,
            window: Mutex::default(),
            settling: Mutex::default(),
            acknowledgements: Mutex::default(),
            crowded: AtomicBool::new(false),
            unwritten: Mutex::default(),
            #[cfg(test)]
            no_room: AtomicBool::new(false),
            space: Mutex::default(),
            busy: Mutex::default(),
            failing: AtomicBool::new(false),
            failed: OnceLock::new(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn window(&self) -> MutexGuard<'_, Window> {
        lock(&self.window)
    }

    /// Whoever applies changes and appends them holds this meanwhile.
    pub(crate) fn settling(&self) -> MutexGuard<'_, ()> {
        lock(&self.settling)
    }

    /// Where the body of a message is, when it is a file.
    pub(crate) fn body_path(&self, id: QueueId) -> PathBuf {
        self.spool.join(id.to_string())
    }

    /// The journal has answered: the message is in the queue from now on, or it never was.
    pub(crate) fn admit(&self, admission: Admission, result: Option<Result<Position, AppendError>>) {
        let Admission { id, mut row, head, hot, sender } = admission;
        let position = match result {
            Some(Ok(position)) => position,
            Some(Err(error)) => return drop(sender.send(Err(error.into()))),
            None => return drop(sender.send(Err(StoreError::Unknown("the journal gave no result".into())))),
        };
        row.position = position;
        let pending_max = self.pending_bytes_max();
        let mut window = self.window();
        window.admit(id, (row, head), hot, self.settings.hot_bytes_max, Instant::now());
        // Half of the room is for those that come while the index writes.
        let (crowded, full) = (window.is_over(pending_max / 2), window.is_over(pending_max));
        drop(window);
        if full && self.failed.get().is_none() {
            lock(&self.acknowledgements).push(sender);
        } else {
            drop(sender.send(Ok(())));
        }
        if crowded && !self.crowded.swap(true, Ordering::AcqRel) {
            self.send(Job::MakeRoom);
        }
    }

    /// Bound of the window, in octets.
    pub(crate) fn pending_bytes_max(&self) -> usize {
        usize::try_from(self.settings.pending_bytes_max).unwrap_or(usize::MAX)
    }

    /// The index writer has made room: answers those who waited for it.
    pub(crate) fn room_made(&self) {
        self.crowded.store(false, Ordering::Release);
        let over = self.window().is_over(self.pending_bytes_max()) && self.failed.get().is_none();
        if !over {
            for sender in std::mem::take(&mut *lock(&self.acknowledgements)) {
                drop(sender.send(Ok(())));
            }
        }
    }

    /// Asks the keeper for something; when it has stopped, whoever waits for the answer is told so by its silence.
    pub(crate) fn send(&self, job: Job) {
        drop(self.jobs.send(job));
    }

    /// `Err` once the store has been closed.
    pub(crate) fn open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::NotApplied("the store is closed".into()));
        }
        Ok(())
    }

    /// Whether new mail can be taken at all.
    pub(crate) fn room(&self) -> Result<(), StoreError> {
        self.open()?;
        let now = Instant::now();
        let mut space = lock(&self.space);
        if let Some((at, known)) = &*space
            && now.saturating_duration_since(*at) < SPACE_HOLDS
        {
            return known.clone();
        }
        let known = self.ask_space();
        *space = Some((now, known.clone()));
        known
    }

    /// False while the disk is so full that the index is better left alone: messages wait in the window and in the
    /// journal until there is space again.
    pub(crate) fn index_has_room(&self) -> bool {
        #[cfg(test)]
        if self.no_room.load(Ordering::Acquire) {
            return false;
        }
        // The index is always in the operating system's file system.
        let folder = self.index_folder.parent().unwrap_or(&self.index_folder);
        RealDisk.space(folder).map_or(true, |space| space.free >= INDEX_ROOM)
    }

    /// Changes of state that no disk has taken yet.
    pub(crate) fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        lock(&self.unwritten)
    }

    /// True while nothing more should be delivered: what becomes of it could be noted nowhere but in memory, and
    /// that has its bounds.
    pub(crate) fn holds_deliveries(&self) -> bool {
        let unwritten = !self.unwritten().is_empty();
        let crowded = self.window().is_over(self.pending_bytes_max());
        unwritten || (crowded && !self.index_has_room())
    }

    fn ask_space(&self) -> Result<(), StoreError> {
        let unwritten = !self.unwritten().is_empty();
        if unwritten || !self.index_has_room() {
            return Err(StoreError::Full(format!("there is no room in {}", self.spool.display())));
        }
        let least = self.settings.disk_free_bytes_min;
        match self.disk.space(&self.spool) {
            Ok(space) if space.free < least => Err(StoreError::Full(format!(
                "{} octets are free in {}, and disk_free_bytes_min is {least}",
                space.free,
                self.spool.display()
            ))),
            // What cannot be asked is found out by writing.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Sets the store closed; true when it was open.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// The index begins with something.
    pub(crate) fn index_busy(&self) {
        *lock(&self.busy) = Some(Instant::now());
    }

    /// The index is done with it.
    pub(crate) fn index_idle(&self) {
        *lock(&self.busy) = None;
    }

    /// The index is of no use any more: it goes out of the way, so that the next start makes it anew.
    pub(crate) fn fail(&self, reason: String) {
        if !self.failing.swap(true, Ordering::AcqRel) {
            // First, because whoever learns of the failure ends the process. If it cannot be moved it is found bad again
            // at the next start.
            drop(index::move_aside(&self.index_folder, super::now_millis()));
            drop(self.failed.set(reason));
            self.room_made();
        }
    }

    /// `Err` when the engine cannot be relied on.
    pub(crate) fn health(&self) -> Result<(), String> {
        let limit = self.settings.index_limit();
        let busy = lock(&self.busy).map(|since| since.elapsed());
        if busy.is_some_and(|busy| busy > limit) {
            self.fail(format!("the index has been at work on one thing for more than {} s", limit.as_secs()));
        }
        self.failed.get().map_or(Ok(()), |reason| Err(reason.clone()))
    }
}

/// What the journal had no room for: changes of state that are in force in memory. New ones queue up behind them, so that
/// each message's stay in order. Bounded by what is in delivery: nothing more is delivered meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    pub(crate) payloads: Vec<Payload>,
    /// Bodies that may go when all that is written.
    pub(crate) files: Vec<QueueId>,
    /// Some are on their way.
    pub(crate) trying: bool,
}

impl Unwritten {
    pub(crate) fn is_empty(&self) -> bool {
        self.payloads.is_empty() && !self.trying
    }
}

impl From<AppendError> for StoreError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotApplied(text) => Self::NotApplied(text),
            AppendError::Full(text) => Self::Full(text),
            AppendError::Unknown(text) => Self::Unknown(text),
        }
    }
}

/// Takes a lock; what a panicking holder left is whole, because every change is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One result for each item of a batch.
type Results = Vec<Result<(), StoreError>>;

/// The results of a batch whose items are answered in several places.
#[derive(Debug)]
pub(crate) struct Gather {
    results: Mutex<Results>,
    parts: AtomicUsize,
    sender: Mutex<Option<oneshot::Sender<Result<Results, StoreError>>>>,
}

impl Gather {
    /// For so many items, answered in `parts` places.
    pub(crate) fn new(
        items: usize,
        parts: usize,
        sender: oneshot::Sender<Result<Results, StoreError>>,
    ) -> Arc<Self> {
        let unknown = StoreError::Unknown("no answer".into());
        let results = Mutex::new(vec![Err(unknown); items]);
        Arc::new(Self { results, parts: AtomicUsize::new(parts), sender: Mutex::new(Some(sender)) })
    }

    /// Sets the result of some items.
    pub(crate) fn set(&self, items: impl IntoIterator<Item = usize>, result: &Result<(), StoreError>) {
        let mut results = lock(&self.results);
        for item in items {
            if let Some(slot) = results.get_mut(item) {
                slot.clone_from(result);
            }
        }
    }

    /// There is one place more than was known.
    pub(crate) fn one_more(&self) {
        self.parts.fetch_add(1, Ordering::AcqRel);
    }

    /// One place is done; the last one sends the answer.
    pub(crate) fn part_done(&self) {
        if self.parts.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(sender) = lock(&self.sender).take()
        {
            drop(sender.send(Ok(std::mem::take(&mut *lock(&self.results)))));
        }
    }
}
