//! The window's books: what it counts, what it lets go of, and what happens to a message on its way to the index.

#![allow(clippy::cast_possible_truncation, reason = "the numbers are small")]

use std::time::Duration;

use super::*;
use crate::codec::SparseState;
use crate::model::{Change, Hold};

fn row(n: u64, size: u64) -> Row {
    Row {
        position: Position { generation: 1 + n / 100, offset: 4_096 * (n as u32 % 100), len: 1_000 },
        head_octets: 500,
        arrived: Timestamp(n),
        size,
        body_file: false,
        wreck: false,
        recipients: 1,
        state: SparseState::fresh(Timestamp(1_000 + n), None),
    }
}

fn admit(window: &mut Window, n: u64, size: u64, now: Instant) {
    let hot = Some(vec![Bytes::from(vec![0; size as usize])]);
    window.admit(QueueId(n), (row(n, size), Bytes::from_static(&[0; 500])), hot, 1_000, now);
}

fn settle(window: &mut Window, n: u64, change: Change) -> Settled {
    window.settle(&Settlement { id: QueueId(n), changes: vec![change] })
}

fn is_hot(window: &Window, n: u64) -> bool {
    window.get(QueueId(n)).is_some_and(|young| young.hot.is_some())
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    let (mut window, now) = (Window::default(), Instant::now());
    for n in 0..200 {
        admit(&mut window, n, 100, now);
    }
    assert_eq!(window.live(1), Live { messages: 100, bytes: 100_000 });
    settle(&mut window, 7, Change::Held(Hold::Operator));
    settle(&mut window, 8, Change::Retry { next_attempt: Timestamp(5), attempts: 1 });
    for n in 0..200 {
        assert!(matches!(settle(&mut window, n, Change::Deleted), Settled::Finished { indexed: false, .. }));
    }
    assert_eq!(settle(&mut window, 7, Change::Deleted), Settled::Elsewhere);
    assert_eq!(window.figures(), QueueFigures::default());
    assert_eq!((window.live_bytes(), window.hot_bytes, window.bytes), (0, 0, 0));
    assert!(window.due.is_empty() && window.live.is_empty() && !window.is_over(0));
}

#[test]
fn the_oldest_hot_bodies_cool_first() {
    let (mut window, now) = (Window::default(), Instant::now());
    for n in 0..5 {
        admit(&mut window, n, 300, now);
    }
    let hot: Vec<u64> = (0..5).filter(|n| is_hot(&window, *n)).collect();
    assert_eq!((hot, window.hot_bytes), (vec![2, 3, 4], 900));
    settle(&mut window, 3, Change::Deleted);
    admit(&mut window, 5, 300, now);
    assert!(is_hot(&window, 2) && window.hot_bytes == 900);
    admit(&mut window, 6, 5_000, now);
    assert_eq!((window.hot_bytes, window.hot.len()), (0, 0), "larger than all the room there is");
}

#[test]
fn the_aged_leave_and_so_do_the_oldest_when_it_is_crowded() {
    let (mut window, now) = (Window::default(), Instant::now());
    let later = now + Duration::from_secs(1);
    for n in 0..10 {
        admit(&mut window, n, 10, if n < 3 { now } else { later });
    }
    let aged: Vec<u64> = window.leave(later, usize::MAX, 100).iter().map(|l| l.id.0).collect();
    assert_eq!(aged, [0, 1, 2]);
    let each = window.bytes / 10;
    let crowded: Vec<u64> = window.leave(now, each * 5, 100).iter().map(|l| l.id.0).collect();
    assert_eq!(crowded, [0, 1, 2, 3, 4]);
    assert_eq!(window.leave(later, 0, 4).len(), 4);
}

#[test]
fn a_message_that_changes_on_its_way_to_the_index_stays_young() {
    let (mut window, now) = (Window::default(), Instant::now());
    for n in 0..3 {
        admit(&mut window, n, 10, now);
    }
    let leaving = window.leave(now + Duration::from_secs(1), usize::MAX, 100);
    assert!(leaving.iter().all(|l| !l.indexed));
    settle(&mut window, 1, Change::Warned);
    let ended = settle(&mut window, 2, Change::Deleted);
    assert_eq!(ended, Settled::Finished { body_file: false, indexed: true });
    assert!(window.get(QueueId(2)).is_none() && window.overrides(QueueId(2)));
    assert_eq!(window.left(&leaving), [QueueId(2)]);
    assert!(!window.overrides(QueueId(0)) && window.get(QueueId(1)).is_some());
    let again = window.leave(now + Duration::from_secs(1), usize::MAX, 100);
    assert_eq!(again.iter().map(|l| (l.id.0, l.indexed)).collect::<Vec<_>>(), [(1, true)]);
    window.forget(QueueId(2));
    assert!(!window.overrides(QueueId(2)));
    assert_eq!(window.figures().active, 2, "those that the index has are counted on");
}

#[test]
fn the_journal_is_needed_from_the_first_young_message_on() {
    let (mut window, now) = (Window::default(), Instant::now());
    window.start_at(1);
    assert_eq!(window.replay_from(), (1, 0));
    for n in [110, 5, 20] {
        admit(&mut window, n, 10, now);
    }
    assert_eq!(window.replay_from(), (1, 5 * 4_096));
    settle(&mut window, 5, Change::Deleted);
    assert_eq!(window.replay_from(), (1, 20 * 4_096));
    settle(&mut window, 20, Change::Deleted);
    settle(&mut window, 110, Change::Deleted);
    assert_eq!(window.replay_from(), (2, 10 * 4_096 + 1_000), "behind the last record");
}

#[test]
fn an_ended_message_whose_row_is_still_there_keeps_the_journal() {
    let (mut window, now) = (Window::default(), Instant::now());
    admit(&mut window, 5, 10, now);
    admit(&mut window, 6, 10, now);
    window.leave(now + Duration::from_secs(1), usize::MAX, 1);
    settle(&mut window, 5, Change::Deleted);
    assert_eq!(window.replay_from(), (1, 5 * 4_096));
    window.forget(QueueId(5));
    assert_eq!(window.replay_from(), (1, 6 * 4_096));
}
