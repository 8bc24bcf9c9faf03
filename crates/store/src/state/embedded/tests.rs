//! What the embedded engine adds to what all do: starts, damage, hangs, a full disk.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn key(name: &str) -> StateKey {
    StateKey::new("test", name)
}

fn put(store: &EmbeddedState, name: &str) -> Result<Written, StoreError> {
    let write = Write::put(key(name), "x", 100);
    store.write(vec![write], Timestamp(0)).wait()?.remove(0)
}

fn has(store: &EmbeddedState, name: &str) -> bool {
    store.get(vec![key(name)], Timestamp(0)).wait().unwrap().remove(0).unwrap().is_some()
}

fn open(folder: &Path) -> EmbeddedState {
    EmbeddedState::open(folder, StateSettings::default()).unwrap()
}

fn folders(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn deed(store: &EmbeddedState, deed: impl FnOnce() + Send + 'static) {
    store.jobs.send(Job::Do(Box::new(deed))).unwrap();
}

#[test]
fn what_was_closed_is_there_again_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..1_200 {
        put(&store, &n.to_string()).unwrap();
    }
    store.close().wait().unwrap();
    let store = open(folder.path());
    assert!(has(&store, "1199"));
    put(&store, "new").unwrap();
    store.write(vec![Write::delete(key("7"))], Timestamp(0)).wait().unwrap();
    // Counted between requests, in a while.
    let end = Instant::now() + Duration::from_secs(20);
    while store.usage().first().is_none_or(|(_, usage)| usage.entries != 1_200) && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(store.usage().first().unwrap().1.entries, 1_200);
    assert_eq!(store.tend(Timestamp(0)), []);
}

#[test]
fn a_panic_begins_anew_and_serves_those_in_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "old").unwrap();
    deed(&store, || panic!("as sled does"));
    assert_eq!(put(&store, "new"), Ok(Written::Applied));
    assert!(has(&store, "new") && !has(&store, "old"));
    assert_eq!(store.tend(Timestamp(0)), [StateNotice::Anew("it panicked".into())]);
    assert_eq!(store.tend(Timestamp(0)), []);
    assert_eq!(folders(folder.path()), ["bad-0", "db-1"]);
    assert_eq!(store.health(), Ok(()));
    // The next start takes the new one.
    store.close().wait().unwrap();
    let store = open(folder.path());
    assert!(has(&store, "new"));
}

#[test]
fn what_hangs_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "old").unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel();
    deed(&store, move || {
        begin.send(()).unwrap();
        let _ = released.recv();
    });
    begun.recv().unwrap();
    assert_eq!(store.tend(Timestamp(0)), []);
    let in_line = store.get(vec![key("old")], Timestamp(0));
    let long_ago = Instant::now().checked_sub(Duration::from_secs(31)).unwrap();
    *lock(&lock(&store.watch).busy) = Some(long_ago);
    let notices = store.tend(Timestamp(0));
    let reason = "it has been at work on one thing for more than 30 s";
    assert_eq!(notices, [StateNotice::Anew(reason.into())]);
    assert_eq!(in_line.wait().unwrap(), [Ok(None)]);
    assert_eq!(put(&store, "new"), Ok(Written::Applied));
    // It wakes up, and touches nothing.
    drop(release);
    assert!(has(&store, "new"));
    assert_eq!(folders(folder.path()), ["bad-0", "db-1"]);
}

#[test]
fn what_always_fails_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for _ in 0..ANEW_MAX {
        deed(&store, || panic!("as sled does"));
    }
    assert_eq!(put(&store, "a"), Ok(Written::Applied));
    deed(&store, || panic!("as sled does"));
    assert!(matches!(put(&store, "a"), Err(StoreError::NotApplied(_) | StoreError::Unknown(_))));
    let notices = store.tend(Timestamp(0));
    assert_eq!(notices.len(), 4);
    assert_eq!(notices.last(), Some(&StateNotice::GivenUp("it panicked".into())));
    assert!(store.health().is_err());
    assert!(matches!(put(&store, "a"), Err(StoreError::NotApplied(_))));
    store.close().wait().unwrap();
}

#[test]
fn a_damaged_database_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "old").unwrap();
    store.close().wait().unwrap();
    drop(store);
    let conf = folder.path().join("db-0/conf");
    std::fs::write(&conf, b"what is this").unwrap();
    let store = open(folder.path());
    assert!(!has(&store, "old"));
    let notices = store.tend(Timestamp(0));
    assert!(matches!(notices.first(), Some(StateNotice::Anew(_))), "{notices:?}");
    assert_eq!(put(&store, "new"), Ok(Written::Applied));
}

#[test]
fn a_full_disk_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StateSettings { disk_free_bytes_min: u64::MAX, ..StateSettings::default() };
    let store = EmbeddedState::open(folder.path(), settings).unwrap();
    assert!(matches!(put(&store, "a"), Err(StoreError::Full(_))));
    assert!(matches!(store.get(vec![key("a")], Timestamp(0)).wait(), Err(StoreError::Full(_))));
    assert!(store.health().unwrap_err().contains("too full"));
    assert_eq!(folders(folder.path()), Vec::<String>::new());
    store.close().wait().unwrap();
}

#[test]
fn what_was_never_written_is_answered_without_the_thread_and_what_stands_in_line_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "old").unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    deed(&store, move || {
        let _ = released.recv();
    });
    assert!(!has(&store, "never"));
    let bad = StateKey::new("Test", "never");
    let asked = store.get(vec![bad], Timestamp(0));
    let writing = store.write(vec![Write::put(key("new"), "x", 100)], Timestamp(0));
    let reading = store.get(vec![key("never"), key("new"), key("old")], Timestamp(0));
    drop(release);
    assert!(matches!(asked.wait().unwrap().as_slice(), [Err(StoreError::NotApplied(_))]));
    assert_eq!(writing.wait().unwrap(), [Ok(Written::Applied)]);
    let found: Vec<_> = reading.wait().unwrap().into_iter().map(|found| found.unwrap().is_some()).collect();
    assert_eq!(found, [false, true, true]);
    store.close().wait().unwrap();
    assert!(matches!(store.get(vec![key("never")], Timestamp(0)).wait(), Err(StoreError::NotApplied(_))));
    // What is found at a start is seen before anything is said to be absent.
    let store = open(folder.path());
    assert!(has(&store, "old") && has(&store, "new") && !has(&store, "never"));
}

#[test]
fn a_table_of_what_is_absent_is_made_anew_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..400 {
        put(&store, &format!("old{n}")).unwrap();
    }
    let gone: Vec<_> = (0..400).filter(|n| n % 2 == 0).map(|n| key(&format!("old{n}"))).collect();
    store.write(gone.iter().cloned().map(Write::delete).collect(), Timestamp(0)).wait().unwrap();
    let absent = &store.shared.absent;
    assert!(gone.iter().all(|key| !absent.has_not(key.as_bytes())), "what went leaves its bits");
    absent.fill_up();
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..500 {
                    let name = format!("{writer}-{n}");
                    put(store, &name).unwrap();
                    assert!(has(store, &name));
                }
            });
        }
    });
    let end = Instant::now() + Duration::from_secs(20);
    while gone.iter().any(|key| !absent.has_not(key.as_bytes())) && Instant::now() < end {
        assert!(has(&store, "old1"));
    }
    assert!(gone.iter().all(|key| absent.has_not(key.as_bytes())), "it was not made anew");
    for writer in 0..3 {
        assert!((0..500).all(|n| has(&store, &format!("{writer}-{n}"))));
    }
    assert!((0..400).all(|n| has(&store, &format!("old{n}")) == (n % 2 == 1)));
}
