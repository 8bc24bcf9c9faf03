//! The state store on one machine: sled in a folder of its own, apart from the queue's, on a thread of its own.
//!
//! All calls go to that thread, one after the other, and wait there in a bounded line. What fails or panics there is
//! moved aside (`bad-<n>` in the folder, the last one is kept to look at), and the same thread begins with nothing; one that
//! hangs is found by [`StateStore::tend`], left behind and replaced. That is told in notices and ends no process: what is
//! kept here can be learnt again. While the disk has less room than [`StateSettings::disk_free_bytes_min`] nothing is
//! written and, at a start, nothing opened.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mail::Timestamp;
use tokio::sync::oneshot;

use super::absent::Absent;
use super::rows::SledRows;
use super::rules::{self, RowsFailed, Table, Usages};
use super::{
    Each, StateEntry, StateKey, StateNotice, StatePage, StateSettings, StateStore, StateUsage, Write, Written,
};
use crate::disk::{Disk as _, RealDisk};
use crate::queue_store::{Pending, StoreError};

/// Requests that wait in line; more are refused.
const JOBS_MAX: usize = 4_096;
/// Expired entries that are removed in one go, between two requests.
const SWEEP_MAX: usize = 500;
/// Rows that are counted in one go after a start, between two requests.
const COUNT_MAX: usize = 500;
/// Rows that are looked at in one go for another table of what is absent, between two requests.
const LOOK_MAX: usize = 100;
/// So many times one process begins with nothing; when that does not help, it is not the data.
const ANEW_MAX: u32 = 3;
/// Time between two looks for space, while the disk is too full to open the database.
const SPACE_EVERY: Duration = Duration::from_millis(200);
/// Time between two looks around when there is nothing to do.
const IDLE: Duration = Duration::from_secs(60);

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked for. A job whose answer is dropped tells its asker [`StoreError::Unknown`].
enum Job {
    Get {
        keys: Vec<StateKey>,
        now: Timestamp,
        answer: Answer<Each<Option<StateEntry>>>,
    },
    Write {
        writes: Vec<Write>,
        now: Timestamp,
        answer: Answer<Each<Written>>,
    },
    Scan {
        prefix: StateKey,
        after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
        answer: Answer<StatePage>,
    },
    Sweep(Timestamp),
    Close(Answer<()>),
    #[cfg(test)]
    Do(Box<dyn FnOnce() + Send>),
}

/// The state store in a folder. Dropping it forgets what was not written down yet; [`StateStore::close`] stops it properly.
#[derive(Debug)]
pub struct EmbeddedState {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    /// The line, which the thread of the moment serves.
    line: Arc<Mutex<Receiver<Job>>>,
    /// That thread.
    watch: Mutex<Arc<Watch>>,
    closed: AtomicBool,
}

/// What outlives a thread.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    settings: StateSettings,
    usage: Usages,
    absent: Absent,
    notices: Mutex<Vec<StateNotice>>,
    /// How many times this process has begun with nothing.
    anew: AtomicU32,
    /// Why it does not any more.
    given_up: Mutex<Option<String>>,
}

/// A thread as the others see it.
#[derive(Debug, Default)]
struct Watch {
    /// Since when it has been at work on one thing.
    busy: Mutex<Option<Instant>>,
    /// It was left behind: when it wakes up, it has to go without touching anything.
    retired: AtomicBool,
    /// It waits for room on the disk.
    resting: AtomicBool,
}

impl EmbeddedState {
    /// Opens the store in `folder`, making it if need be, in the background: requests wait until that is done.
    ///
    /// # Errors
    /// The folder cannot be made, or there can be no thread.
    pub fn open(folder: &Path, settings: StateSettings) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            settings,
            usage: Usages::default(),
            absent: Absent::default(),
            notices: Mutex::default(),
            anew: AtomicU32::new(0),
            given_up: Mutex::default(),
        });
        let (jobs, line) = sync_channel(JOBS_MAX);
        let line = Arc::new(Mutex::new(line));
        let watch = Mutex::new(Hands::start(&shared, &line)?);
        Ok(Self { shared, jobs, line, watch, closed: AtomicBool::new(false) })
    }

    fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Pending<T> {
        let refused = |text: &str| Pending::ready(Err(StoreError::NotApplied(text.into())));
        if self.closed.load(Ordering::Acquire) {
            return refused("the store is closed");
        }
        let (answer, pending) = Pending::channel();
        match self.jobs.try_send(job(answer)) {
            Ok(()) => pending,
            Err(TrySendError::Full(_)) => refused("too many wait for the state store"),
            Err(TrySendError::Disconnected(_)) => refused("the state store has ended"),
        }
    }

    /// Leaves a thread behind that hangs, and has another one serve the line.
    fn replace(&self, watch: &mut Arc<Watch>) {
        let limit = self.shared.settings.operation_seconds_max;
        watch.retired.store(true, Ordering::Release);
        let reason = format!("it has been at work on one thing for more than {limit} s");
        self.shared.begin_anew(reason);
        match Hands::start(&self.shared, &self.line) {
            Ok(new) => *watch = new,
            Err(error) => self.shared.give_up(error.to_string()),
        }
    }
}

impl StateStore for EmbeddedState {
    fn get(&self, keys: Vec<StateKey>, now: Timestamp) -> Pending<Each<Option<StateEntry>>> {
        let absent = |key: &StateKey| self.shared.absent.has_not(key.as_bytes()) && rules::check(key).is_ok();
        if keys.iter().all(absent) && !self.closed.load(Ordering::Acquire) {
            return Pending::ready(Ok(vec![Ok(None); keys.len()]));
        }
        self.ask(|answer| Job::Get { keys, now, answer })
    }

    fn write(&self, writes: Vec<Write>, now: Timestamp) -> Pending<Each<Written>> {
        let keys: Vec<StateKey> = writes.iter().map(|write| write.key.clone()).collect();
        let pending = self.ask(|answer| Job::Write { writes, now, answer });
        // Behind the write in line: a table that was cleared meanwhile is not complete before the line was empty.
        keys.iter().for_each(|key| self.shared.absent.note(key.as_bytes()));
        pending
    }

    fn scan(
        &self,
        prefix: StateKey,
        after: Option<StateKey>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<StatePage> {
        self.ask(|answer| Job::Scan { prefix, after, limit, now, answer })
    }

    fn tend(&self, now: Timestamp) -> Vec<StateNotice> {
        if !self.closed.load(Ordering::Acquire) {
            let mut watch = lock(&self.watch);
            let busy = lock(&watch.busy).map(|since| since.elapsed());
            let hangs = busy.is_some_and(|busy| busy > self.shared.settings.operation_limit());
            if hangs && !watch.retired.load(Ordering::Acquire) {
                self.replace(&mut watch);
            }
            // When the line is full, there is no time for it now.
            let _ = self.jobs.try_send(Job::Sweep(now));
        }
        std::mem::take(&mut *lock(&self.shared.notices))
    }

    fn usage(&self) -> Vec<(String, StateUsage)> {
        self.shared.usage.list()
    }

    fn health(&self) -> Result<(), String> {
        if let Some(reason) = &*lock(&self.shared.given_up) {
            return Err(reason.clone());
        }
        if lock(&self.watch).resting.load(Ordering::Acquire) {
            return Err("the disk is too full for what antispam learns".into());
        }
        Ok(())
    }

    fn close(&self) -> Pending<()> {
        let (answer, pending) = Pending::channel();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Pending::ready(Ok(()));
        }
        match self.jobs.try_send(Job::Close(answer)) {
            Ok(()) => pending,
            // Nobody serves the line: there is nothing that could be written down.
            Err(_) => Pending::ready(Ok(())),
        }
    }
}

impl Shared {
    /// The folder of the database: of those that are there, the one with the highest number.
    fn current(&self) -> PathBuf {
        let number = self.numbered("db-").into_iter().max().unwrap_or(0);
        self.folder.join(format!("db-{number}"))
    }

    fn numbered(&self, prefix: &str) -> Vec<u64> {
        let names = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        names.filter_map(|e| e.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()).collect()
    }

    /// Moves the database out of the way of a new one, unless that makes no sense any more. The new one has another
    /// name, so that threads of the old one that still run do not write into it.
    fn begin_anew(&self, reason: String) {
        if self.anew.fetch_add(1, Ordering::AcqRel) >= ANEW_MAX {
            return self.give_up(reason);
        }
        let numbers = self.numbered("db-");
        let last = numbers.iter().max().copied().unwrap_or(0);
        for number in self.numbered("bad-") {
            drop(std::fs::remove_dir_all(self.folder.join(format!("bad-{number}"))));
        }
        let next = self.folder.join(format!("db-{}", last + 1));
        // First: what stays behind with a lower number is not looked at any more.
        if let Err(error) = std::fs::create_dir_all(next) {
            return self.give_up(format!("{reason}; and a new folder cannot be made: {error}"));
        }
        let bad = self.folder.join(format!("bad-{last}"));
        drop(std::fs::rename(self.folder.join(format!("db-{last}")), bad));
        for number in numbers.into_iter().filter(|number| *number < last) {
            drop(std::fs::remove_dir_all(self.folder.join(format!("db-{number}"))));
        }
        lock(&self.notices).push(StateNotice::Anew(reason));
    }

    fn has_given_up(&self) -> bool {
        lock(&self.given_up).is_some()
    }

    fn give_up(&self, reason: String) {
        self.absent.forget();
        lock(&self.notices).push(StateNotice::GivenUp(reason.clone()));
        *lock(&self.given_up) = Some(reason);
    }

    fn has_room(&self) -> bool {
        let least = self.settings.disk_free_bytes_min;
        RealDisk.space(&self.folder).map_or(true, |space| space.free >= least)
    }
}

/// How far another table of what is absent has come.
#[derive(Debug, PartialEq, Eq)]
enum Renewal {
    None,
    Wanted,
    /// All rows up to this one have been looked at.
    After(Option<Bytes>),
}

/// What the thread has.
struct Hands {
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    line: Arc<Mutex<Receiver<Job>>>,
}

impl Hands {
    fn start(shared: &Arc<Shared>, line: &Arc<Mutex<Receiver<Job>>>) -> std::io::Result<Arc<Watch>> {
        let watch = Arc::new(Watch::default());
        let hands = Self { shared: Arc::clone(shared), watch: Arc::clone(&watch), line: Arc::clone(line) };
        std::thread::Builder::new().name("state".into()).spawn(move || hands.run())?;
        Ok(watch)
    }

    fn run(self) {
        while !self.shared.has_given_up() {
            match self.serve() {
                Err(why) if !self.retired() => self.shared.begin_anew(why.to_string()),
                _ => return,
            }
        }
        while let Ok(job) = self.next_job() {
            refuse(job, &at_rest());
        }
    }

    fn retired(&self) -> bool {
        self.watch.retired.load(Ordering::Acquire)
    }

    fn next_job(&self) -> Result<Job, std::sync::mpsc::RecvError> {
        lock(&self.line).recv()
    }

    fn next(&self, within: Duration) -> Result<Job, RecvTimeoutError> {
        lock(&self.line).recv_timeout(within)
    }

    /// Serves until told to end; an error is the database's.
    fn serve(&self) -> Result<(), RowsFailed> {
        if !self.wait_for_room() {
            return Ok(());
        }
        let settings = &self.shared.settings;
        let rows = SledRows::open(&self.shared.current(), settings.cache_bytes, settings.operation_limit())?;
        let mut table = Table::new(rows, settings, self.shared.usage.clone());
        let absent = &self.shared.absent;
        absent.forget();
        // Before anything is written, so that a small store keeps its bounds from the first write on.
        let mut counting = !self.count_some(&mut table)?;
        let mut renewal = Renewal::None;
        let mut dirty: Option<Instant> = None;
        while !self.retired() {
            let flush_in = dirty.map(|since| settings.flush_every().saturating_sub(since.elapsed()));
            let wait =
                if counting || renewal != Renewal::None { Duration::ZERO } else { flush_in.unwrap_or(IDLE) };
            match self.next(wait) {
                Ok(Job::Close(answer)) => {
                    // A full disk has no room for it, and a database that meets one is of no use any more.
                    if self.shared.has_room() {
                        self.guard(|| table.rows.flush())?;
                    }
                    drop(table);
                    drop(answer.send(Ok(())));
                    return Ok(());
                }
                Ok(job) => {
                    if self.guard(|| self.carry_out(&mut table, job))? {
                        dirty.get_or_insert_with(Instant::now);
                    }
                    if renewal == Renewal::None && absent.is_full() {
                        renewal = Renewal::Wanted;
                    }
                }
                Err(RecvTimeoutError::Timeout) if counting => counting = !self.count_some(&mut table)?,
                Err(RecvTimeoutError::Timeout) => renewal = self.guard(|| self.renew(&table, renewal))?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if dirty.is_some_and(|since| since.elapsed() >= settings.flush_every()) {
                dirty = Some(Instant::now());
                if self.shared.has_room() {
                    self.guard(|| table.rows.flush())?;
                    dirty = None;
                }
            }
        }
        Ok(())
    }

    /// Counts some of what was found at the start; true when all is counted, and all that is not there is known.
    fn count_some(&self, table: &mut Table<SledRows>) -> Result<bool, RowsFailed> {
        let absent = &self.shared.absent;
        let all = self.guard(|| table.count_some(COUNT_MAX, |key| absent.note(key)))?;
        if all {
            absent.complete();
        }
        Ok(all)
    }

    /// The next step towards another table of what is absent. To be called when nothing waits in line.
    fn renew(&self, table: &Table<SledRows>, renewal: Renewal) -> Result<Renewal, RowsFailed> {
        let absent = &self.shared.absent;
        let after = match renewal {
            Renewal::None => return Ok(Renewal::None),
            Renewal::Wanted => {
                absent.begin();
                return Ok(Renewal::After(None));
            }
            Renewal::After(key) => key,
        };
        let last = table.show_some(after.as_ref(), LOOK_MAX, |key| absent.note(key))?;
        if last.is_none() {
            absent.complete();
            return Ok(Renewal::None);
        }
        Ok(Renewal::After(last))
    }

    /// Refuses what comes until the disk has room; false when it has to end before.
    fn wait_for_room(&self) -> bool {
        while !self.shared.has_room() {
            self.watch.resting.store(true, Ordering::Release);
            match self.next(SPACE_EVERY) {
                Ok(Job::Close(answer)) => {
                    drop(answer.send(Ok(())));
                    return false;
                }
                Ok(job) => refuse(job, &full()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.watch.resting.store(false, Ordering::Release);
        true
    }

    /// One step against the database; a panic is its failure too.
    fn guard<T>(&self, step: impl FnOnce() -> Result<T, RowsFailed>) -> Result<T, RowsFailed> {
        *lock(&self.watch.busy) = Some(Instant::now());
        let result = catch_unwind(AssertUnwindSafe(step));
        *lock(&self.watch.busy) = None;
        result.unwrap_or_else(|_| Err(RowsFailed("it panicked".into())))
    }

    /// Does what is asked; true when something was written.
    fn carry_out(&self, table: &mut Table<SledRows>, job: Job) -> Result<bool, RowsFailed> {
        // Whoever no longer listens has no use for the answer.
        match job {
            Job::Get { keys, now, answer } => drop(answer.send(Ok(table.get(keys, now)?))),
            Job::Scan { prefix, after, limit, now, answer } => {
                drop(answer.send(table.scan(&prefix, after.as_ref(), limit, now)?));
            }
            job @ Job::Write { .. } if !self.shared.has_room() => refuse(job, &full()),
            Job::Write { writes, now, answer } => {
                let mut results = Vec::with_capacity(writes.len());
                for write in writes {
                    self.shared.absent.note(write.key.as_bytes());
                    results.push(table.write(write, now)?);
                }
                drop(answer.send(Ok(results)));
                return Ok(true);
            }
            Job::Sweep(now) if self.shared.has_room() => return Ok(table.sweep(now, SWEEP_MAX)? > 0),
            Job::Sweep(_) | Job::Close(_) => {}
            #[cfg(test)]
            Job::Do(deed) => deed(),
        }
        Ok(false)
    }
}

fn full() -> StoreError {
    StoreError::Full("the disk is too full to remember anything".into())
}

fn at_rest() -> StoreError {
    StoreError::NotApplied("the state store cannot be used until restarted".into())
}

/// Answers with an error.
fn refuse(job: Job, error: &StoreError) {
    match job {
        Job::Write { writes, answer, .. } => drop(answer.send(Ok(vec![Err(error.clone()); writes.len()]))),
        Job::Get { answer, .. } => drop(answer.send(Err(error.clone()))),
        Job::Scan { answer, .. } => drop(answer.send(Err(error.clone()))),
        Job::Close(answer) => drop(answer.send(Ok(()))),
        Job::Sweep(_) => {}
        #[cfg(test)]
        Job::Do(_) => {}
    }
}

/// Takes a lock; what a panicking holder left is whole, because every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
