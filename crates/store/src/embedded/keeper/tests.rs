//! An index that panics or hangs: it is out of the way, the engine says so, and no mail is lost.

use std::path::Path;
use std::sync::Arc;

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
