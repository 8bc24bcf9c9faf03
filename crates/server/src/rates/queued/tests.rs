//! What is held of what an account has queued, with the real services over stores that fail where a test says so.

use std::sync::atomic::Ordering;

use antispam::connect::rates;
use antispam::connect::rates::locks::Lock;
use mail::ReversePath;
use store::{MessageRecord, NewBody, NewMessage, Origin, QueueStore as _, RecipientRecord};

use super::*;
use crate::testing::House;

const JOE: &str = "joe@a.test";

/// A message that this account has submitted waits in the queue.
async fn queued(house: &House, id: u64, account: &str) {
    queued_at(house, id, account, clock::now()).await;
}

async fn queued_at(house: &House, id: u64, account: &str, now: Timestamp) {
    let to = vec![RecipientRecord::new("x@far.test".parse().unwrap())];
    let origin = Origin { account: Some(account.to_owned()), ..Origin::new(OriginKind::Submission) };
    let record = MessageRecord { origin, ..MessageRecord::new(QueueId(id), now, ReversePath::Null, to) };
    let body = NewBody::Memory(vec!["Subject: x\r\n\r\nx\r\n".into()]);
    house.store.enqueue(NewMessage { record, body, next_attempt: now, hold: None }).await.unwrap();
}

/// The messages that are on hold.
async fn held(house: &House) -> Vec<u64> {
    let all = house.all().await.into_iter();
    all.filter(|entry| entry.state.hold == Some(Hold::Operator)).map(|entry| entry.record.id.0).collect()
}

/// The next message of which the runner hears that it is on hold; none when it hears nothing.
async fn told(house: &mut House) -> Option<u64> {
    let told = tokio::time::timeout(Duration::from_secs(600), house.letters.recv()).await;
    match told {
        Ok(Some(Message::Event(Event::Held(id)))) => Some(id.0),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_on_hold_is_not_delivered_although_others_could_not_be_held() {
    let mut house = House::new("").await;
    for id in 1..=3 {
        queued(&house, id, JOE).await;
    }
    queued(&house, 4, "ann@a.test").await;
    house.store.unsettled.lock().unwrap().insert(QueueId(2));
    hold(&house.current.get().shared, JOE);
    for id in [1, 3] {
        assert_eq!(told(&mut house).await, Some(id));
    }
    assert_eq!(held(&house).await, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_held_keeps_nothing_behind_it_on_its_way() {
    let last = PAGE as u64 + 1;
    for at_start in [false, true] {
        let mut house = House::new("").await;
        for id in 1..=last {
            queued(&house, id, if id == 1 || id == last { JOE } else { "ann@a.test" }).await;
        }
        house.store.unsettled.lock().unwrap().insert(QueueId(1));
        let shared = Arc::clone(&house.current.get().shared);
        if at_start {
            locked(&house, JOE).await;
            hold_at_start(&shared).await;
        } else {
            hold(&shared, JOE);
            assert_eq!(told(&mut house).await, Some(last));
        }
        let entry = house.store.get(QueueId(last)).await.unwrap();
        assert_eq!(entry.state.hold, Some(Hold::Operator), "at start: {at_start}");
    }
}

/// A lock of an account, as it was written down before the last stop.
async fn locked(house: &House, account: &str) {
    let lock = Lock { since_seconds: 1, event: rates::Event::NewRecipient, count: 9, limit: 3 };
    // By another than the house's, which is to find it in the store.
    rates::Rates::new(Arc::clone(&house.state) as _).lock(account, lock, clock::now()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_start_all_is_held_before_there_is_a_runner() {
    let mut house = House::new("").await;
    locked(&house, JOE).await;
    for (id, account) in [(1, JOE), (2, "ann@a.test"), (3, JOE)] {
        queued(&house, id, account).await;
    }
    hold_at_start(&house.current.get().shared).await;
    assert_eq!(held(&house).await, [1, 3]);
    assert_eq!(told(&mut house).await, None);
}

#[tokio::test(start_paused = true)]
async fn when_it_is_not_known_whose_mail_to_hold_it_is_asked_until_it_is() {
    let mut house = House::new("").await;
    locked(&house, JOE).await;
    for (id, account) in [(1, JOE), (2, "ann@a.test"), (3, JOE)] {
        queued(&house, id, account).await;
    }
    let shared = Arc::clone(&house.current.get().shared);
    house.state.failing_scans.store(5, Ordering::Relaxed);
    super::super::load(&shared).await;
    hold_at_start(&shared).await;
    assert_eq!(held(&house).await, [0; 0], "the start does not wait for ever");
    // What has arrived in the meantime is as suspicious; what an operator has released meanwhile is not.
    queued(&house, 4, JOE).await;
    let released = vec![Change::Held(Hold::Operator), Change::Released { next_attempt: clock::now() }];
    let released = Settlement { id: QueueId(3), changes: released };
    house.store.settle(vec![released]).await.unwrap();
    // One message cannot be held at first.
    house.store.unsettled.lock().unwrap().insert(QueueId(1));
    assert_eq!(told(&mut house).await, Some(4));
    assert!(shared.rates.locks().of(JOE).is_some(), "and the account is locked again");
    house.store.unsettled.lock().unwrap().clear();
    assert_eq!(told(&mut house).await, Some(1));
    assert_eq!(held(&house).await, [1, 4]);
    assert_eq!(told(&mut house).await, None);
    assert_eq!(house.state.failing_scans.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_account_that_is_not_locked_has_sent_since_the_start_goes_on() {
    let mut house = House::new("").await;
    rates::Rates::new(Arc::clone(&house.state) as _).sweep_begins(JOE, clock::now()).await.unwrap();
    queued(&house, 1, JOE).await;
    let shared = Arc::clone(&house.current.get().shared);
    house.state.failing_scans.store(1, Ordering::Relaxed);
    hold_at_start(&shared).await;
    queued_at(&house, 2, JOE, clock::now().plus(Duration::from_secs(60))).await;
    assert_eq!(told(&mut house).await, Some(1));
    assert_eq!(told(&mut house).await, None);
    assert_eq!(held(&house).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_it_to_the_next_start() {
    let mut house = House::new("").await;
    locked(&house, JOE).await;
    queued(&house, 1, JOE).await;
    let shared = Arc::clone(&house.current.get().shared);
    house.state.failing_scans.store(1, Ordering::Relaxed);
    hold_at_start(&shared).await;
    shared.stopping.send_replace(true);
    assert_eq!(told(&mut house).await, None);
    assert_eq!(held(&house).await, [0; 0]);
    hold_at_start(&shared).await;
    assert_eq!(held(&house).await, [1]);
}
