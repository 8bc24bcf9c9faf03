//! An index that panics or hangs: it is out of the way, the engine says so, and no mail is lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mail::{Address, QueueId, Timestamp};

use super::*;
use crate::codec::wreck_entry;
use crate::disk::RealDisk;
use crate::model::{MessageRecord, NewBody, NewMessage, RecipientRecord};
use crate::{EmbeddedStore, QueueStore, Settings};

fn open(folder: &Path, settings: Settings) -> EmbeddedStore {
    EmbeddedStore::open(Arc::new(RealDisk), folder, settings).unwrap()
}

fn settings() -> Settings {
    Settings { disk_free_bytes_min: 0, ..Settings::default() }
}

fn message(n: u64) -> NewMessage {
    let entry = wreck_entry(QueueId(n), Timestamp(n), 3, SparseState::fresh(Timestamp(n), None));
    let address = Address::parse("r@b.test").unwrap();
    let recipients = entry.record.recipients.into_iter();
    let recipients = recipients.map(|r| RecipientRecord { address: address.clone(), ..r }).collect();
    let record = MessageRecord { recipients, ..entry.record };
    let body = NewBody::Memory(vec!["abc".into()]);
    NewMessage { record, body, next_attempt: Timestamp(n), hold: None }
}

/// Waits until the engine says that it is not well.
fn trouble(store: &EmbeddedStore) -> String {
    loop {
        match store.health() {
            Ok(()) => std::thread::yield_now(),
            Err(trouble) => return trouble,
        }
    }
}

fn is_aside(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("index.bad-"))
}

#[test]
fn a_panic_ends_the_use_of_the_index_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), settings());
    store.enqueue(message(1)).wait().unwrap();
    store.tidy().wait().unwrap();
    store.core.send(Job::Panic);
    assert_eq!(trouble(&store), "the index panicked");
    assert!(is_aside(folder.path()) && !store.core.index_folder.exists());
    // What can be done without it goes on; the rest is told that it cannot be known.
    store.enqueue(message(2)).wait().unwrap();
    assert_eq!(store.get(QueueId(2)).wait().unwrap().record.id, QueueId(2));
    assert!(matches!(store.get(QueueId(1)).wait(), Err(StoreError::Unknown(_))));
    store.close().wait().unwrap();
    drop(store);
    let store = open(folder.path(), settings());
    let list = store.list(Page { after: None, limit: 10 }).wait().unwrap();
    assert_eq!(list.iter().map(|e| e.record.id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.health(), Ok(()));
}

#[test]
fn an_index_that_works_on_one_thing_for_too_long_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, _waiting) = std::sync::mpsc::channel();
    let settings = Settings { index_seconds_max: 0, ..settings() };
    let core = Core::new(settings, Arc::new(RealDisk), folder.path(), jobs);
    std::fs::create_dir(&core.index_folder).unwrap();
    core.index_busy();
    core.index_idle();
    assert_eq!(core.health(), Ok(()));
    core.index_busy();
    let trouble = std::iter::repeat_with(|| core.health()).find_map(std::result::Result::err).unwrap();
    assert!(trouble.contains("for more than 0 s"));
    core.index_idle();
    assert_eq!(core.health(), Err(trouble), "for good");
    assert!(is_aside(folder.path()));
}

#[test]
fn an_index_that_does_not_open_in_time_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Settings { index_seconds_max: 0, ..settings() });
    let trouble = trouble(&store);
    assert!(trouble.contains("open") || trouble.contains("0 s"), "{trouble}");
    store.enqueue(message(2)).wait().unwrap();
}

#[test]
fn acknowledgements_do_not_wait_for_an_index_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Settings { pending_bytes_max: 0, ..settings() });
    store.enqueue(message(1)).wait().unwrap();
    store.core.send(Job::Panic);
    trouble(&store);
    store.enqueue(message(2)).wait().unwrap();
}

fn delivered(n: u64) -> Settlement {
    Settlement { id: QueueId(n), changes: vec![Change::Deleted] }
}

fn deferred(n: u64, until: u64) -> Settlement {
    let changes = vec![Change::Retry { next_attempt: Timestamp(until), attempts: 1 }];
    Settlement { id: QueueId(n), changes }
}

fn ids(store: &EmbeddedStore) -> Vec<u64> {
    let list = store.list(Page { after: None, limit: 100 }).wait().unwrap();
    list.iter().map(|entry| entry.record.id.0).collect()
}

fn due(store: &EmbeddedStore, now: u64) -> Vec<u64> {
    let due = store.due(Timestamp(now), 100, Box::new(|_| false)).wait().unwrap();
    due.iter().map(|entry| entry.record.id.0).collect()
}

/// A queue whose messages 1 to 5 are in the index, which finds no room from now on.
fn without_room(folder: &Path, settings: Settings) -> EmbeddedStore {
    let store = open(folder, settings);
    for n in 1..=5 {
        store.enqueue(message(n)).wait().unwrap();
    }
    store.tidy().wait().unwrap();
    store.core.no_room.store(true, Ordering::Release);
    store
}

/// An answer about room holds for a moment.
fn wait_until_full(store: &EmbeddedStore) {
    while !matches!(store.room(), Err(StoreError::Full(_))) {
        std::thread::yield_now();
    }
}

/// Waits until what had no room is written.
fn room_again(store: &EmbeddedStore) {
    store.core.no_room.store(false, Ordering::Release);
    store.core.unwritten().trying = false;
    while store.core.holds_deliveries() || store.room().is_err() {
        std::thread::yield_now();
    }
    store.tidy().wait().unwrap();
}

#[test]
fn without_room_the_index_is_not_written_and_nothing_is_forgotten() {
    for room_returns in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = without_room(folder.path(), settings());
        let results = store.settle(vec![delivered(1), deferred(2, 900), delivered(9), delivered(3)]);
        let absent = Err(StoreError::Absent);
        assert_eq!(results.wait().unwrap(), [Ok(()), Ok(()), absent.clone(), Ok(())]);
        // Changed twice, and changed after it ended.
        let results = store.settle(vec![deferred(2, 950), delivered(1)]);
        assert_eq!(results.wait().unwrap(), [Ok(()), absent.clone()]);
        assert_eq!((ids(&store), due(&store, 100)), (vec![2, 4, 5], vec![4, 5]));
        assert_eq!(store.next_due(Timestamp(100)).wait().unwrap(), Some(Timestamp(950)));
        assert_eq!(store.get(QueueId(2)).wait().unwrap().state.attempts, 1);
        assert_eq!(store.get(QueueId(3)).wait().unwrap_err(), StoreError::Absent);
        assert!(store.read_body(QueueId(2)).wait().is_ok());
        let figures = store.figures();
        assert_eq!((figures.active, figures.deferred), (2, 1));
        // The disk is full for new mail too, and the rows are as they were.
        wait_until_full(&store);
        assert!(matches!(store.enqueue(message(7)).wait(), Err(StoreError::Full(_))));
        assert_eq!(store.health(), Ok(()));
        if room_returns {
            room_again(&store);
            assert_eq!(ids(&store), [2, 4, 5]);
            assert_eq!(store.settle(vec![delivered(2)]).wait().unwrap(), [Ok(())]);
            assert_eq!(store.settle(vec![deferred(4, 800)]).wait().unwrap(), [Ok(())]);
        } else {
            // Asks for what would write: nothing does.
            assert!(matches!(store.tidy().wait(), Err(StoreError::Full(_))));
            store.close().wait().unwrap();
        }
        drop(store);
        let store = open(folder.path(), settings());
        let expected: &[u64] = if room_returns { &[4, 5] } else { &[2, 4, 5] };
        assert_eq!(ids(&store), expected);
        let waits = if room_returns { QueueId(4) } else { QueueId(2) };
        assert_eq!(store.get(waits).wait().unwrap().state.attempts, 1);
        let figures = store.figures();
        assert_eq!((figures.active + figures.deferred, figures.deferred), (expected.len() as u64, 1));
        assert_eq!(store.recovery().unwrap().rebuilt, None);
    }
}

#[test]
fn a_crowded_window_without_room_holds_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let store = without_room(folder.path(), Settings { pending_bytes_max: 1_000, ..settings() });
    assert_eq!(due(&store, 100), [1, 2, 3, 4, 5]);
    store.settle(vec![deferred(1, 200), deferred(2, 200)]).wait().unwrap();
    assert_eq!(due(&store, 100), Vec::<u64>::new());
    let again = store.next_due(Timestamp(100)).wait().unwrap();
    assert_eq!(again, Some(Timestamp(100).plus(HOLD)));
    // What is in delivery is noted still.
    store.settle(vec![delivered(3)]).wait().unwrap();
    room_again(&store);
    assert_eq!(due(&store, 300), [4, 5, 1, 2]);
}

#[test]
fn what_the_journal_has_no_room_for_is_written_later_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = without_room(folder.path(), settings());
    // As if an earlier one had found no room.
    store.core.unwritten().trying = true;
    for settlement in [deferred(1, 500), deferred(1, 600), delivered(2)] {
        let results = store.settle(vec![settlement]).wait().unwrap();
        assert!(matches!(results.first(), Some(Err(StoreError::Unknown(_)))), "{results:?}");
    }
    // In force, and nothing more is delivered or taken.
    assert_eq!(ids(&store), [1, 3, 4, 5]);
    assert_eq!(due(&store, 1_000), Vec::<u64>::new());
    wait_until_full(&store);
    room_again(&store);
    assert_eq!(due(&store, 100), [3, 4, 5]);
    // As after a crash: the journal has it all.
    drop(store);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let store = open(folder.path(), settings());
    assert_eq!((ids(&store), due(&store, 599)), (vec![1, 3, 4, 5], vec![3, 4, 5]));
    assert_eq!(due(&store, 600), [3, 4, 5, 1]);
}
