//! What is held of what an account has queued, with the real services over stores that fail where a test says so.

use mail::ReversePath;
use store::{MessageRecord, NewBody, NewMessage, Origin, QueueStore as _, RecipientRecord};

use super::*;
use crate::testing::House;

const CONFIGURATION: &str = "
hostname = \"mx.a.test\"
data_dir = \"data\"
[[listener]]
kind = \"mx\"
bind = [\"127.0.0.1:0\"]
[[domain]]
name = \"a.test\"
recipients = \"inline:{joe=x}\"
deliver = \"maildir:mail/{domain}/{local}/\"
";

const JOE: &str = "joe@a.test";

/// A message that this account has submitted waits in the queue.
async fn queued(house: &House, id: u64, account: &str) {
    let now = clock::now();
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
    let mut house = House::new(CONFIGURATION).await;
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
