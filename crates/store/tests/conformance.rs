//! What every engine of the queue does alike. Each test runs against each engine; a new engine is one more line at
//! the end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]

mod support;

use mail::Timestamp;
use store::{
    Change, Hold, MemoryStore, NewBody, NewMessage, Page, QueueFigures, QueueStore, RecipientState,
    Settlement, StoreError,
};
use support::*;

/// An engine, and what keeps its files.
struct Engine {
    store: Box<dyn QueueStore>,
    _folder: Option<tempfile::TempDir>,
}

impl std::ops::Deref for Engine {
    type Target = dyn QueueStore;
    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

fn memory() -> Engine {
    Engine { store: Box::new(MemoryStore::new()), _folder: None }
}

fn embedded_with(settings: &store::Settings) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    Engine { store: Box::new(open(folder.path(), settings)), _folder: Some(folder) }
}

fn embedded_young() -> Engine {
    embedded_with(&settings())
}

fn embedded_indexed() -> Engine {
    embedded_with(&settings_indexed())
}

fn what_is_stored_is_read_back(store: &Engine) {
    for (n, size) in [(1, 0), (2, 1), (3, 512), (4, 300_000)] {
        store.enqueue(message_to(n, 2, size)).wait().unwrap();
        let entry = store.get(id(n)).wait().unwrap();
        assert_eq!(entry.record, record(n, 2, size));
        assert_eq!(entry.state.recipients.len(), 2);
        assert_eq!((entry.state.attempts, entry.state.hold, entry.state.warned), (0, None, false));
        assert_eq!(entry.state.next_attempt, entry.record.arrived);
        assert_eq!(octets(store.read_body(id(n)).wait().unwrap()), body(n, size));
    }
}

fn a_large_body_streams_in(store: &Engine) {
    let expected = body(1, 700_000);
    let mut writer = store.spool(id(1)).unwrap();
    for chunk in expected.chunks(33_333) {
        writer.write(chunk).unwrap();
    }
    assert_eq!(writer.size(), 700_000);
    let spooled = writer.finish().unwrap();
    assert_eq!(spooled.size(), 700_000);
    let mut new = message_to(1, 1, 0);
    new.record.size = 700_000;
    store.enqueue(NewMessage { body: NewBody::File(spooled), ..new }).wait().unwrap();
    assert_eq!(octets(store.read_body(id(1)).wait().unwrap()), expected);
    settle(&**store, 1, vec![ended(0)]).unwrap();
    assert_eq!(store.read_body(id(1)).wait().unwrap_err(), StoreError::Absent);
}

fn a_body_that_is_dropped_leaves_its_name_free(store: &Engine) {
    let mut writer = store.spool(id(1)).unwrap();
    writer.write(&body(1, 100_000)).unwrap();
    drop(writer);
    drop(store.spool(id(1)).unwrap().finish().unwrap());
    store.spool(id(1)).unwrap();
}

fn what_is_not_there_is_absent(store: &Engine) {
    assert_eq!(store.get(id(1)).wait().unwrap_err(), StoreError::Absent);
    assert_eq!(store.read_body(id(1)).wait().unwrap_err(), StoreError::Absent);
    assert_eq!(settle(&**store, 1, vec![ended(0)]), Err(StoreError::Absent));
    assert_eq!(store.settle(vec![]).wait().unwrap(), vec![]);
    assert_eq!(store.next_due(Timestamp(0)).wait().unwrap(), None);
    assert!(due(&**store, u64::MAX, 10).is_empty());
}

fn a_batch_of_settlements_has_a_result_each(store: &Engine) {
    for n in [1, 2, 3] {
        store.enqueue(message(n)).wait().unwrap();
    }
    let settlement = |n, change| Settlement { id: id(n), changes: vec![change] };
    let batch = vec![settlement(1, ended(0)), settlement(9, ended(0)), settlement(2, retry(5_000_000, 1))];
    assert_eq!(store.settle(batch).wait().unwrap(), vec![Ok(()), Err(StoreError::Absent), Ok(())]);
    assert_eq!(store.get(id(1)).wait().unwrap_err(), StoreError::Absent);
    assert_eq!(store.get(id(2)).wait().unwrap().state.attempts, 1);
    assert_eq!(store.get(id(3)).wait().unwrap().state.attempts, 0);
}

fn settlements_of_one_message_in_one_batch_add_up(store: &Engine) {
    store.enqueue(message_to(1, 2, 10)).wait().unwrap();
    let one = |change| Settlement { id: id(1), changes: vec![change] };
    let batch = vec![one(ended(0)), one(retry(7_000_000, 3)), one(ended(1)), one(Change::Warned)];
    let results = store.settle(batch).wait().unwrap();
    assert_eq!(results, vec![Ok(()), Ok(()), Ok(()), Err(StoreError::Absent)]);
}

fn a_message_ends_with_its_last_recipient(store: &Engine) {
    for recipients in [1, 3, 8, 9, 40] {
        let n = recipients as u64;
        store.enqueue(message_to(n, recipients, 10)).wait().unwrap();
        for index in 0..recipients as u32 {
            let state = store.get(id(n)).wait().unwrap().state;
            let pending = state.recipients.iter().filter(|r| r.state == RecipientState::Pending).count();
            assert_eq!(pending, recipients - index as usize);
            settle(&**store, n, vec![ended(index)]).unwrap();
        }
        assert_eq!(store.get(id(n)).wait().unwrap_err(), StoreError::Absent);
    }
    assert_eq!(store.figures(), QueueFigures::default());
}

fn what_has_ended_stays_ended(store: &Engine) {
    store.enqueue(message_to(1, 12, 10)).wait().unwrap();
    settle(&**store, 1, vec![tried(4, "later"), ended(3)]).unwrap();
    settle(&**store, 1, vec![tried(3, "again"), tried(4, "again"), tried(99, "nobody")]).unwrap();
    let state = store.get(id(1)).wait().unwrap().state;
    assert_eq!(state.recipients[3].state, RecipientState::Delivered);
    assert_eq!(state.recipients[3].last.as_ref().unwrap().reply.code, 250);
    assert_eq!(state.recipients[4].last.as_ref().unwrap().reply.text, "again");
    assert_eq!(state.recipients.len(), 12);
}

fn due_gives_the_longest_due_first(store: &Engine) {
    for (n, at) in [(1, 5_000_000), (2, 3_000_000), (3, 4_000_000), (4, 9_000_000)] {
        store.enqueue(NewMessage { next_attempt: Timestamp(at), ..message(n) }).wait().unwrap();
    }
    assert_eq!(due(&**store, 5_000_000, 10), vec![id(2), id(3), id(1)]);
    assert_eq!(due(&**store, 4_999_999, 10), vec![id(2), id(3)]);
    assert_eq!(due(&**store, u64::MAX, 2), vec![id(2), id(3)]);
    assert!(due(&**store, u64::MAX, 0).is_empty());
    let skip = |n: u64| Box::new(move |id| id == support::id(n));
    let found = store.due(Timestamp(5_000_000), 2, skip(2)).wait().unwrap();
    assert_eq!(found.iter().map(|e| e.record.id).collect::<Vec<_>>(), vec![id(3), id(1)]);
    assert_eq!(store.next_due(Timestamp(0)).wait().unwrap(), Some(Timestamp(3_000_000)));
    assert_eq!(store.next_due(Timestamp(3_000_000)).wait().unwrap(), Some(Timestamp(4_000_000)));
    assert_eq!(store.next_due(Timestamp(9_000_000)).wait().unwrap(), None);
}

fn a_retry_moves_a_message_in_the_due_list(store: &Engine) {
    store.enqueue(message(1)).wait().unwrap();
    store.enqueue(message(2)).wait().unwrap();
    settle(&**store, 1, vec![tried(0, "busy"), retry(8_000_000, 1)]).unwrap();
    assert_eq!(due(&**store, 7_999_999, 10), vec![id(2)]);
    assert_eq!(due(&**store, 8_000_000, 10), vec![id(2), id(1)]);
    settle(&**store, 1, vec![retry(1_500_000, 2), Change::Warned]).unwrap();
    assert_eq!(due(&**store, 7_999_999, 10), vec![id(2), id(1)]);
    let state = store.get(id(1)).wait().unwrap().state;
    assert_eq!((state.attempts, state.warned), (2, true));
}

fn a_held_message_is_not_due(store: &Engine) {
    let held = NewMessage { hold: Some(Hold::Quarantine), ..message(1) };
    store.enqueue(held).wait().unwrap();
    store.enqueue(message(2)).wait().unwrap();
    settle(&**store, 2, vec![Change::Held(Hold::Operator)]).unwrap();
    assert!(due(&**store, u64::MAX, 10).is_empty());
    assert_eq!(store.next_due(Timestamp(0)).wait().unwrap(), None);
    assert_eq!(store.figures().held, 2);
    assert_eq!(store.get(id(1)).wait().unwrap().state.hold, Some(Hold::Quarantine));
    settle(&**store, 1, vec![Change::Released { next_attempt: Timestamp(4_000_000) }]).unwrap();
    assert_eq!(due(&**store, 4_000_000, 10), vec![id(1)]);
    assert_eq!((store.figures().held, store.figures().active), (1, 1));
    let runs_since = |n| store.get(id(n)).wait().unwrap().runs_since();
    assert_eq!(runs_since(1), Timestamp(4_000_000));
    // What was not on hold is only due at another time.
    settle(&**store, 1, vec![Change::Released { next_attempt: Timestamp(5_000_000) }]).unwrap();
    assert_eq!(runs_since(1), Timestamp(4_000_000));
    assert_eq!(runs_since(2), Timestamp(1_000_002));
}

fn a_deleted_message_is_gone(store: &Engine) {
    store.enqueue(message_to(1, 20, 100)).wait().unwrap();
    settle(&**store, 1, vec![ended(2), Change::Deleted]).unwrap();
    assert_eq!(store.get(id(1)).wait().unwrap_err(), StoreError::Absent);
    assert!(due(&**store, u64::MAX, 10).is_empty());
    assert_eq!(store.figures(), QueueFigures::default());
}

fn list_goes_through_the_queue_page_by_page(store: &Engine) {
    for n in [5, 3, 1, 4, 2] {
        store.enqueue(message(n)).wait().unwrap();
    }
    let page = |after, limit| {
        let list = store.list(Page { after, limit }).wait().unwrap();
        list.iter().map(|e| e.record.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), vec![id(1), id(2)]);
    assert_eq!(page(Some(id(2)), 2), vec![id(3), id(4)]);
    assert_eq!(page(Some(id(4)), 2), vec![id(5)]);
    assert!(page(Some(id(5)), 2).is_empty());
    assert!(page(Some(mail::QueueId(u64::MAX)), 2).is_empty());
    assert!(page(None, 0).is_empty());
}

fn figures_follow_every_change(store: &Engine) {
    assert_eq!(store.figures(), QueueFigures::default());
    for n in 1..=3 {
        store.enqueue(message_to(n, 1, 100)).wait().unwrap();
    }
    let oldest = Some(Timestamp(1_000_001));
    let figures = |active, deferred, held, oldest| {
        let bytes = 100 * (active + deferred + held);
        QueueFigures { active, deferred, held, bytes, oldest, ..QueueFigures::default() }
    };
    assert_eq!(store.figures(), figures(3, 0, 0, oldest));
    settle(&**store, 2, vec![retry(5_000_000, 1)]).unwrap();
    assert_eq!(store.figures(), figures(2, 1, 0, oldest));
    settle(&**store, 2, vec![Change::Held(Hold::Operator)]).unwrap();
    assert_eq!(store.figures(), figures(2, 0, 1, oldest));
    settle(&**store, 2, vec![Change::Held(Hold::Damaged)]).unwrap();
    assert_eq!(store.figures(), QueueFigures { damaged: 1, ..figures(2, 0, 1, oldest) });
    settle(&**store, 2, vec![Change::Released { next_attempt: Timestamp(1) }]).unwrap();
    assert_eq!(store.figures(), figures(2, 1, 0, oldest));
    settle(&**store, 2, vec![ended(0)]).unwrap();
    settle(&**store, 3, vec![ended(0)]).unwrap();
    assert_eq!(store.figures(), figures(1, 0, 0, oldest));
    settle(&**store, 1, vec![ended(0)]).unwrap();
    assert_eq!(store.figures(), QueueFigures::default());
}

fn many_writers_at_once(store: &Engine) {
    std::thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || {
                for n in (0..50).map(|i| writer * 1_000 + i) {
                    store.enqueue(message(n)).wait().unwrap();
                    if n % 2 == 0 {
                        settle(&**store, n, vec![ended(0)]).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(store.figures().active, 200);
    let list = store.list(Page { after: None, limit: 1_000 }).wait().unwrap();
    assert_eq!(list.len(), 200);
    assert!(list.iter().all(|e| (e.record.arrived.0 - 1_000_000) % 2 == 1));
    assert_eq!(due(&**store, u64::MAX, 1_000).len(), 200);
}

fn a_closed_store_takes_nothing(store: &Engine) {
    store.enqueue(message(1)).wait().unwrap();
    store.room().unwrap();
    store.close().wait().unwrap();
    assert!(matches!(store.enqueue(message(2)).wait(), Err(StoreError::NotApplied(_))));
    assert!(matches!(store.spool(id(3)), Err(StoreError::NotApplied(_))));
    assert!(matches!(store.room(), Err(StoreError::NotApplied(_))));
    assert!(matches!(store.list(Page { after: None, limit: 1 }).wait(), Err(StoreError::NotApplied(_))));
    store.close().wait().unwrap();
}

fn it_is_well(store: &Engine) {
    store.enqueue(message(1)).wait().unwrap();
    assert_eq!(store.health(), Ok(()));
}

/// Runs every test against one engine.
macro_rules! engine {
    ($engine:ident: $($test:ident)*) => {
        mod $engine {
            $(#[test]
            fn $test() {
                super::$test(&super::$engine());
            })*
        }
    };
}

/// Runs every test against every engine.
macro_rules! engines {
    ($($engine:ident)* ; $tests:tt) => { $(engines!(@one $engine $tests);)* };
    (@one $engine:ident ($($test:ident)*)) => { engine!($engine: $($test)*); };
}

engines!(memory embedded_young embedded_indexed; (
    what_is_stored_is_read_back
    a_large_body_streams_in
    a_body_that_is_dropped_leaves_its_name_free
    what_is_not_there_is_absent
    a_batch_of_settlements_has_a_result_each
    settlements_of_one_message_in_one_batch_add_up
    a_message_ends_with_its_last_recipient
    what_has_ended_stays_ended
    due_gives_the_longest_due_first
    a_retry_moves_a_message_in_the_due_list
    a_held_message_is_not_due
    a_deleted_message_is_gone
    list_goes_through_the_queue_page_by_page
    figures_follow_every_change
    many_writers_at_once
    a_closed_store_takes_nothing
    it_is_well
));
