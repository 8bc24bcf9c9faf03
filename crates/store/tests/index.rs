//! The index may vanish, go bad, or lag behind: the queue is the same afterwards. And damage in the journal: held, shown,
//! and the rest goes on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mail::{QueueId, Timestamp};
use store::{Change, EmbeddedStore, Hold, Page, QueueEntry, QueueStore, Settings, StoreError};
use support::*;
use tempfile::TempDir;

/// The queue that all these tests begin with: 60 messages came, every third is left, one in two of those with one of its
/// two recipients ended and a retry noted; one is held.
fn fill(store: &EmbeddedStore) {
    for n in 0..60 {
        store.enqueue(message_to(n, if n == 30 { 20 } else { 2 }, 2_000)).wait().unwrap();
        match n % 3 {
            0 if n % 2 == 0 => {
                settle(store, n, vec![ended(1), tried(0, "later"), retry(5_000_000 + n, 1)]).unwrap();
            }
            0 => {}
            _ => settle(store, n, vec![ended(0), ended(1)]).unwrap(),
        }
    }
    settle(store, 33, vec![Change::Held(Hold::Operator), Change::Warned]).unwrap();
}

fn everything(store: &EmbeddedStore) -> Vec<QueueEntry> {
    store.list(Page { after: None, limit: 1_000 }).wait().unwrap()
}

/// Compares the queue with what [`fill`] left.
fn check(store: &EmbeddedStore) {
    let list = everything(store);
    let ids: Vec<QueueId> = list.iter().map(|e| e.record.id).collect();
    assert_eq!(ids, (0..60).filter(|n| n % 3 == 0).map(id).collect::<Vec<_>>());
    for entry in &list {
        let n = entry.record.arrived.0 - 1_000_000;
        let recipients = if n == 30 { 20 } else { 2 };
        assert_eq!(entry.record, record(n, recipients, 2_000));
        assert_eq!(octets(store.read_body(id(n)).wait().unwrap()), body(n, 2_000));
        assert_eq!(entry.state.hold, (n == 33).then_some(Hold::Operator));
        assert_eq!(entry.state.warned, n == 33);
        if n % 2 == 0 {
            assert_eq!((entry.state.attempts, entry.state.next_attempt), (1, Timestamp(5_000_000 + n)));
            assert_eq!(entry.state.recipients[0].last.as_ref().unwrap().reply.text, "later");
        } else {
            assert_eq!((entry.state.attempts, entry.state.next_attempt), (0, entry.record.arrived));
        }
    }
    let figures = store.figures();
    assert_eq!((figures.active, figures.deferred, figures.held), (9, 10, 1));
    assert_eq!((figures.bytes, figures.oldest), (40_000, Some(Timestamp(1_000_000))));
    assert_eq!(due(store, u64::MAX, 100).len(), 19);
    assert_eq!(store.next_due(Timestamp(5_000_000)).wait().unwrap(), Some(Timestamp(5_000_006)));
    assert_eq!(store.health(), Ok(()));
}

/// Why the index was made again, once recovery is done.
fn rebuilt(store: &EmbeddedStore) -> Option<String> {
    everything(store);
    store.recovery().unwrap().rebuilt
}

/// A filled queue in a folder, all of it in the index, closed.
fn filled() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &settings());
    fill(&store);
    store.tidy().wait().unwrap();
    store.close().wait().unwrap();
    folder
}

fn aside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("index.bad-")).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { drop(std::fs::copy(entry.path(), to)) }
    }
}

#[test]
fn a_closed_queue_opens_with_its_index() {
    let folder = filled();
    for _ in 0..3 {
        let store = open(folder.path(), &settings());
        assert_eq!(rebuilt(&store), None);
        assert_eq!(store.recovery().unwrap().messages, 20);
        check(&store);
        store.close().wait().unwrap();
    }
    assert!(aside(folder.path()).is_empty());
}

#[test]
fn a_queue_that_was_not_closed_is_brought_up_to_date_from_the_journal() {
    for settings in [settings(), settings_indexed()] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), &settings);
        fill(&store);
        drop(store);
        let store = open(folder.path(), &settings);
        assert_eq!(rebuilt(&store), None);
        check(&store);
    }
}

#[test]
fn a_missing_index_is_made_again() {
    let folder = filled();
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let store = open(folder.path(), &settings());
    assert!(rebuilt(&store).is_some());
    check(&store);
}

#[test]
fn a_damaged_index_is_moved_aside_and_made_again_or_was_not_needed() {
    let good = filled();
    let octets = std::fs::read(good.path().join("index/db")).unwrap();
    let mut moved = 0;
    for at in (0..octets.len()).step_by(octets.len() / 12) {
        let folder = tempfile::tempdir().unwrap();
        copy(good.path(), folder.path());
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("index/db")).unwrap();
        let zeros = vec![0x55; 4_096.min(octets.len() - at)];
        file.write_all_at(&zeros, at as u64).unwrap();
        let store = open(folder.path(), &settings());
        check(&store);
        moved += usize::from(rebuilt(&store).is_some());
        assert_eq!(rebuilt(&store).is_some(), !aside(folder.path()).is_empty(), "at {at}");
    }
    assert!(moved > 0);
}

#[test]
fn a_truncated_index_is_noticed() {
    let folder = filled();
    let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("index/db")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let store = open(folder.path(), &settings());
    check(&store);
}

#[test]
fn an_index_that_went_back_in_time_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &settings());
    store.enqueue(message(100)).wait().unwrap();
    store.tidy().wait().unwrap();
    let old = tempfile::tempdir().unwrap();
    copy(&folder.path().join("index"), old.path());
    settle(&store, 100, vec![ended(0)]).unwrap();
    fill(&store);
    store.tidy().wait().unwrap();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    copy(old.path(), &folder.path().join("index"));
    let store = open(folder.path(), &settings());
    let why = rebuilt(&store).unwrap();
    assert!(why.contains("lost"), "{why}");
    check(&store);
}

#[test]
fn an_index_of_another_journal_is_noticed() {
    let folder = filled();
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let store = open(folder.path(), &settings());
    let why = rebuilt(&store).unwrap();
    assert!(why.contains("later journal"), "{why}");
    assert!(everything(&store).is_empty());
}

#[test]
fn mail_is_accepted_and_delivered_while_recovery_has_not_begun() {
    let folder = filled();
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let store = open(folder.path(), &settings());
    store.enqueue(message(100)).wait().unwrap();
    assert_eq!(octets(store.read_body(id(100)).wait().unwrap()), body(100, 512));
    settle(&store, 100, vec![ended(0)]).unwrap();
    check(&store);
}

/// The journal's segments, the oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    segments.sort();
    segments
}

/// Changes an octet of the first place in the journal where these octets are.
fn hurt(folder: &Path, octets: &[u8], offset: usize) {
    for path in segments(folder) {
        let content = std::fs::read(&path).unwrap();
        if let Some(at) = content.windows(octets.len()).position(|window| window == octets) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            return file.write_all_at(&[content[at + offset] ^ 1], (at + offset) as u64).unwrap();
        }
    }
    unreachable!("the octets are in the journal");
}

#[test]
fn a_damaged_body_is_held_under_its_own_name_and_the_rest_goes_on() {
    for index in [true, false] {
        let folder = filled();
        hurt(folder.path(), &body(6, 2_000), 1_000);
        if !index {
            std::fs::remove_dir_all(folder.path().join("index")).unwrap();
        }
        let store = open(folder.path(), &settings());
        assert!(matches!(store.read_body(id(6)).wait(), Err(StoreError::Damaged(_))));
        let entry = store.get(id(6)).wait().unwrap();
        assert_eq!((entry.record, entry.state.hold), (record(6, 2, 2_000), Some(Hold::Damaged)));
        assert!(!due(&store, u64::MAX, 100).contains(&id(6)));
        assert_eq!((everything(&store).len(), store.figures().held), (20, 2), "index: {index}");
        assert_eq!(store.figures().damaged, 1);
        assert_eq!(store.recovery().unwrap().damage.len(), usize::from(!index));
        // It stays so, until an operator throws it away.
        store.tidy().wait().unwrap();
        drop(store);
        let store = open(folder.path(), &settings());
        assert_eq!(store.get(id(6)).wait().unwrap().state.hold, Some(Hold::Damaged));
        settle(&store, 6, vec![Change::Deleted]).unwrap();
        drop(store);
        std::fs::remove_dir_all(folder.path().join("index")).unwrap();
        let store = open(folder.path(), &settings());
        assert_eq!((everything(&store).len(), store.figures().held), (19, 1));
    }
}

#[test]
fn a_damaged_envelope_is_held_under_a_name_of_ours() {
    let folder = filled();
    hurt(folder.path(), b"s6@a.test", 1);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let check = |store: &EmbeddedStore| {
        let list = everything(store);
        assert_eq!(list.len(), 20);
        let wreck = &list[0];
        assert!(wreck.record.reverse_path.is_null() && wreck.record.id < id(0));
        assert_eq!(wreck.state.hold, Some(Hold::Damaged));
        assert_eq!(wreck.record.recipients[0].address, address("damaged@record.invalid"));
        assert!(matches!(store.read_body(wreck.record.id).wait(), Err(StoreError::Damaged(_))));
        assert_eq!(store.figures().held, 2);
        wreck.record.id
    };
    let store = open(folder.path(), &settings());
    let wreck = check(&store);
    store.tidy().wait().unwrap();
    drop(store);
    let store = open(folder.path(), &settings());
    assert_eq!(check(&store), wreck);
    // Released by mistake, it is found damaged again.
    let release = |id, change| store.settle(vec![store::Settlement { id, changes: vec![change] }]).wait();
    assert_eq!(release(wreck, Change::Released { next_attempt: Timestamp(0) }).unwrap(), vec![Ok(())]);
    assert!(matches!(store.read_body(wreck).wait(), Err(StoreError::Damaged(_))));
    assert_eq!(store.get(wreck).wait().unwrap().state.hold, Some(Hold::Damaged));
    assert_eq!(release(wreck, Change::Deleted).unwrap(), vec![Ok(())]);
    drop(store);
    let store = open(folder.path(), &settings());
    assert_eq!((everything(&store).len(), store.figures().held), (19, 1));
}

#[test]
fn damage_does_not_hold_its_segment_for_ever() {
    let small = Settings {
        journal: store::journal::Settings { segment_bytes: 64 << 10, ..settings().journal },
        ..settings()
    };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &small);
    fill(&store);
    store.tidy().wait().unwrap();
    store.close().wait().unwrap();
    drop(store);
    hurt(folder.path(), &body(0, 2_000), 500);
    let oldest = segments(folder.path())[0].clone();
    let store = open(folder.path(), &small);
    for n in 200..400 {
        store.enqueue(message_to(n, 1, 9_000)).wait().unwrap();
        settle(&store, n, vec![ended(0)]).unwrap();
    }
    store.tidy().wait().unwrap();
    assert!(!oldest.exists(), "{:?}", store.segments());
    assert_eq!(store.get(id(0)).wait().unwrap().state.hold, Some(Hold::Damaged));
    assert_eq!(store.get(id(0)).wait().unwrap().record, record(0, 2, 2_000));
    assert_eq!(everything(&store).len(), 20);
}

#[test]
fn a_large_body_that_is_gone_or_changed_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &settings());
    for n in [1, 2, 3] {
        store.enqueue(message_to(n, 1, 300_000)).wait().unwrap();
    }
    let path = |n| folder.path().join("spool").join(id(n).to_string());
    std::fs::remove_file(path(1)).unwrap();
    std::fs::write(path(2), body(9, 300_000)).unwrap();
    for n in [1, 2] {
        assert!(matches!(store.read_body(id(n)).wait(), Err(StoreError::Damaged(_))));
        assert_eq!(store.get(id(n)).wait().unwrap().state.hold, Some(Hold::Damaged));
    }
    assert_eq!(octets(store.read_body(id(3)).wait().unwrap()), body(3, 300_000));
    assert_eq!((store.figures().held, store.figures().active), (2, 1));
}

#[test]
fn memory_and_journal_stay_small_when_a_backlog_comes_and_goes() {
    let tight = Settings {
        pending_bytes_max: 64 << 10,
        journal: store::journal::Settings { segment_bytes: 256 << 10, ..settings().journal },
        ..settings()
    };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &tight);
    // One message stays for ever, hundreds come and go: its segments do not pile up behind it.
    for n in 0..600 {
        store.enqueue(message_to(n, 1, 4_000)).wait().unwrap();
        if n > 0 {
            settle(&store, n, vec![ended(0)]).unwrap();
        }
    }
    store.tidy().wait().unwrap();
    assert!(store.segments().len() <= 6, "{:?}", store.segments());
    assert_eq!(octets(store.read_body(id(0)).wait().unwrap()), body(0, 4_000));
    drop(store);
    let store = open(folder.path(), &tight);
    assert_eq!(everything(&store).len(), 1);
}
