//! A table in a file: parsed when opened, and again when the file changes.
//!
//! At most once a second a look-up also has the file looked at from outside, and parsed if it has changed. That is done on
//! the blocking pool, and that look-up alone waits for it: others go on with the old contents, also when the file's disk
//! does not answer any more. Broken contents change nothing and are
//! remembered as [`Table::trouble`] until the file is good again. Contents are exchanged whole, so that a look-up never
//! sees half a file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use crate::{Answer, Contents, Entry, Lookup, Snapshot, Table, TableError, ValueCheck, source};

/// How often a file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a file's text becomes contents; the path is for error messages and for files named inside.
pub(crate) type Parse<C> = fn(&Path, &str) -> Result<C, TableError>;

/// A table in a file.
#[derive(Debug)]
pub(crate) struct FileTable<C>(Arc<Inner<C>>);

#[derive(Debug)]
struct Inner<C> {
    file: PathBuf,
    parse: Parse<C>,
    check: ValueCheck,
    contents: RwLock<Arc<C>>,
    opened: Instant,
    /// Milliseconds from `opened` to the next look at the file.
    next_look: AtomicU64,
    state: Mutex<State>,
    /// Held by whoever reads the file, which may take for ever; never waited for by a look-up.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// What the file looked like when it was last read, good or not.
    seen: Look,
    trouble: Option<TableError>,
}

/// A file from outside; `None` when it is not there.
type Look = Option<(u64, u64, i64, i64, i64, i64)>;

fn look(file: &Path) -> Look {
    let facts = fs::metadata(file).ok()?;
    Some((facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Contents> FileTable<C> {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(file: PathBuf, parse: Parse<C>) -> Result<Self, TableError> {
        Self::open_checked(file, parse, ValueCheck::default())
    }

    /// Reads the file, and has its values looked at; now and whenever it has changed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open_checked(
        file: PathBuf,
        parse: Parse<C>,
        check: ValueCheck,
    ) -> Result<Self, TableError> {
        let seen = look(&file);
        let contents = read(&file, parse, &check)?;
        Ok(Self(Arc::new(Inner {
            file,
            parse,
            check,
            contents: RwLock::new(Arc::new(contents)),
            opened: Instant::now(),
            next_look: AtomicU64::new(millis(LOOK_EVERY)),
            state: Mutex::new(State { seen, trouble: None }),
            reading: Mutex::new(()),
        })))
    }

    /// The contents, read again first where that is due.
    pub(crate) async fn current(&self) -> Arc<C> {
        if self.0.look_is_due() {
            let inner = Arc::clone(&self.0);
            match tokio::runtime::Handle::try_current() {
                // Broken contents are kept as trouble; this look-up is answered from the old ones.
                Ok(runtime) => drop(runtime.spawn_blocking(move || inner.look_again()).await),
                Err(_) => inner.look_again(),
            }
        }
        self.0.contents()
    }
}

impl<C: Contents> Inner<C> {
    fn contents(&self) -> Arc<C> {
        Arc::clone(&self.contents.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// True for one caller a second.
    fn look_is_due(&self) -> bool {
        let now = millis(self.opened.elapsed());
        let due = self.next_look.load(Ordering::Relaxed);
        let next = now + millis(LOOK_EVERY);
        now >= due && self.next_look.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Reads the file if it has changed, unless somebody is at it. Broken contents are kept as trouble.
    fn look_again(&self) {
        let reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            Err(TryLockError::Poisoned(reading)) => reading.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        drop(self.read_if_changed(&reading));
    }

    fn read_if_changed(&self, _reading: &MutexGuard<'_, ()>) -> Result<(), TableError> {
        // Looked at before it is read: a change in between is found the next time.
        let now = look(&self.file);
        if lock(&self.state).seen == now {
            return lock(&self.state).trouble.clone().map_or(Ok(()), Err);
        }
        let fresh = read(&self.file, self.parse, &self.check);
        let mut state = lock(&self.state);
        state.seen = now;
        match fresh {
            Ok(contents) => {
                *self.contents.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(contents);
                state.trouble = None;
                Ok(())
            }
            Err(error) => {
                state.trouble = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// The contents of a file as it is now.
fn read<C: Contents>(file: &Path, parse: Parse<C>, check: &ValueCheck) -> Result<C, TableError> {
    let contents = parse(file, &source::read(file)?)?;
    match check.first_wrong(&contents) {
        None => Ok(contents),
        Some((Entry { line, value, .. }, why)) => {
            Err(source::Line { number: line.unwrap_or_default(), text: value }.wrong(file, why))
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl<C: Contents> Table for FileTable<C> {
    fn lookup<'a>(&'a self, key: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            let contents = self.current().await;
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) if contents.may_take_long() => {
                    let key = key.to_owned();
                    let found = runtime.spawn_blocking(move || contents.find(&key)).await;
                    found.unwrap_or_else(|error| Answer::Unavailable(error.to_string()))
                }
                _ => contents.find(key),
            }
        })
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Box::pin(async move { Some(self.current().await as Arc<dyn Contents>) })
    }

    fn reload(&self) -> Result<(), TableError> {
        self.0.read_if_changed(&lock(&self.0.reading))
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.0.state).trouble.as_ref().map(ToString::to_string)
    }
}

#[cfg(test)]
impl<C: Contents> FileTable<C> {
    /// The next look-up looks at the file, as if a second had passed.
    pub(crate) fn make_look_due(&self) {
        self.0.next_look.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    async fn ask(table: &dyn Table, key: &str) -> Answer {
        table.lookup(key).await
    }

    fn found(text: &str) -> Answer {
        Answer::Found(text.to_owned())
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        fs::write(&file, "a 1\n").unwrap();
        let table = FileTable::open(file.clone(), text::parse).unwrap();
        assert_eq!(ask(&table, "a").await, found("1"));

        fs::write(&file, "a 22\n").unwrap();
        table.make_look_due();
        assert_eq!(ask(&table, "a").await, found("22"));
        assert_eq!(table.trouble(), None);

        fs::write(&file, "a 333\nbroken\n").unwrap();
        table.make_look_due();
        assert_eq!(ask(&table, "a").await, found("22"));
        assert!(table.trouble().unwrap().contains("t:2: "), "{:?}", table.trouble());
        assert!(table.reload().is_err(), "a reload by command tells of it again");

        fs::remove_file(&file).unwrap();
        table.make_look_due();
        assert_eq!(ask(&table, "a").await, found("22"));
        assert_eq!(ask(&table, "b").await, Answer::Absent);

        fs::write(&file, "b 4\n").unwrap();
        table.make_look_due();
        assert_eq!(ask(&table, "a").await, Answer::Absent);
        assert_eq!((ask(&table, "b").await, table.trouble()), (found("4"), None));
    }

    #[tokio::test]
    async fn a_value_that_is_refused_is_named_and_a_file_with_it_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        let check =
            || ValueCheck::new(|entry| if entry.value == "no" { Err("not no".into()) } else { Ok(()) });
        let open = || FileTable::open_checked(file.clone(), text::parse, check());
        fs::write(&file, "# two\na 1\nb no\n").unwrap();
        let refused = open().unwrap_err().to_string();
        assert!(refused.ends_with("t:3: not no: `no`"), "{refused}");
        fs::write(&file, "a 1\n").unwrap();
        let table = open().unwrap();
        fs::write(&file, "a 22\nb no\n").unwrap();
        table.make_look_due();
        assert_eq!(ask(&table, "a").await, found("1"));
        assert!(table.trouble().unwrap().ends_with("t:2: not no: `no`"), "{:?}", table.trouble());
        let inline = crate::open_checked(&"inline:{a=no}".parse().unwrap(), folder.path(), &check());
        assert!(inline.unwrap_err().to_string().contains("not no"));
    }

    /// A pipe that nobody writes to is read for ever, as a file on a server that is gone.
    #[tokio::test]
    async fn a_file_that_hangs_holds_up_one_look_up_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        fs::write(&file, "a 1\n").unwrap();
        let table = FileTable::open(file.clone(), text::parse).unwrap();
        fs::remove_file(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        table.make_look_due();
        let mut hangs = table.lookup("a");
        let waits = tokio::time::timeout(Duration::from_millis(50), &mut hangs).await;
        assert!(waits.is_err(), "{waits:?}");
        for _ in 0..3 {
            table.make_look_due();
            assert_eq!(ask(&table, "a").await, found("1"));
        }
        assert_eq!(table.trouble(), None);
        fs::write(&file, "a 22\n").unwrap();
        assert_eq!(hangs.await, found("22"));
    }

    #[tokio::test]
    async fn the_file_is_looked_at_once_a_second_and_by_command() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        fs::write(&file, "a 1\n").unwrap();
        let table = FileTable::open(file.clone(), text::parse).unwrap();
        table.make_look_due();
        assert!(table.0.look_is_due());
        assert!(!table.0.look_is_due(), "one caller has it");
        fs::write(&file, "a 22\n").unwrap();
        assert_eq!(table.reload(), Ok(()));
        assert_eq!(ask(&table, "a").await, found("22"));
    }
}
