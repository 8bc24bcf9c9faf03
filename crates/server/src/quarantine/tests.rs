//! Age and letters, with the real services over a queue in memory, whose messages may have come at any time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use antispam::quarantine::token::{Claim, local_part};
use mail::{Address, Disposition, QueueId, ReversePath, Timestamp};
use store::{Hold, MessageRecord, NewBody, NewMessage, RecipientRecord, RecipientState, StoreError};

use super::bounds::{self, Tally};
use super::digest;
use super::release::{self, Asked, Release};
use crate::admin::{ControlError, Order};
use crate::assemble;
use crate::clock;
use crate::control::Daemon;
use crate::reload::ReloadHandle;
use crate::runner::Message;
use crate::testing::House;

const QUARANTINE: &str = "
[antispam.quarantine]
days = 10
digest_times_utc = [\"06:00\"]
";

async fn house() -> House {
    House::new(QUARANTINE).await
}

fn days_ago(days: u64) -> Timestamp {
    Timestamp(clock::now().0 - days * 86_400_000)
}

impl House {
    async fn keep(&self, id: u64, days: u64, hold: Hold, recipients: &[&str]) {
        self.keep_for(id, days, hold, (recipients, false)).await;
    }

    /// As [`Self::keep`]; the second of the pair: for a score alone.
    async fn keep_for(&self, id: u64, days: u64, hold: Hold, (recipients, may_release): (&[&str], bool)) {
        let recipients = recipients.iter().map(|address| RecipientRecord {
            may_release,
            disposition: Disposition::Quarantine,
            ..RecipientRecord::new(address.parse().unwrap())
        });
        let arrived = days_ago(days);
        let record = MessageRecord::new(QueueId(id), arrived, ReversePath::Null, recipients.collect());
        let body = NewBody::Memory(vec![format!("Subject: number {id}\r\n\r\ntext\r\n").into()]);
        let message = NewMessage { record, body, next_attempt: arrived, hold: Some(hold) };
        self.current.get().shared.store.enqueue(message).await.unwrap();
    }

    /// The letters that were put into the queue: to whom, and their text.
    async fn told(&mut self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        while let Ok(message) = self.letters.try_recv() {
            let Message::Admit(admission) = message else { continue };
            let store = Arc::clone(&self.current.get().shared.store);
            let text = crate::stored::beginning(&*store, admission.entry.record.id, 1 << 20).await.unwrap();
            let to = &admission.entry.record.recipients[0].address;
            told.push((to.to_string(), String::from_utf8(text).unwrap()));
        }
        told
    }
}

#[tokio::test]
async fn what_is_over_goes_and_nothing_else() {
    let house = house().await;
    house.keep(1, 11, Hold::Quarantine, &["joe@a.test"]).await;
    house.keep(2, 9, Hold::Quarantine, &["joe@a.test"]).await;
    house.keep(3, 11, Hold::Operator, &["joe@a.test"]).await;
    house.keep(4, 11, Hold::Damaged, &["joe@a.test"]).await;
    let daemon = Daemon::new(house.current.clone(), ReloadHandle::new().0);
    daemon.expire(&house.all().await).await;
    let left: Vec<u64> = house.all().await.iter().map(|entry| entry.record.id.0).collect();
    assert_eq!(left, [2, 3, 4]);
    let text = house.current.get().shared.metrics.render();
    assert!(text.contains("staffetta_quarantine_left_total{how=\"expired\"} 1"), "{text}");
}

#[tokio::test]
async fn everybody_of_ours_is_told_once_of_what_is_new() {
    let mut house = house().await;
    house.keep(1, 3, Hold::Quarantine, &["joe@a.test"]).await;
    house.keep(2, 0, Hold::Quarantine, &["joe@a.test", "ann@a.test", "x@far.test", "gone@a.test"]).await;
    house.keep(3, 0, Hold::Operator, &["joe@a.test"]).await;
    let services = house.current.get();
    let now = clock::now();
    assert_eq!(digest::send(&services, now).await, Ok(2));
    let told = house.told().await;
    let to: Vec<&str> = told.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(to, ["ann@a.test", "joe@a.test"], "nobody elsewhere, nobody who does not exist");
    for (_, text) in &told {
        assert!(text.contains("Subject: number 2") && text.contains("1 message was"), "{text}");
        assert!(!text.contains("number 1") && !text.contains("number 3"), "old, or no quarantine: {text}");
    }
    assert_eq!(digest::send(&services, now.plus(Duration::from_secs(60))).await, Ok(0));
    house.keep(4, 0, Hold::Quarantine, &["ann@a.test"]).await;
    assert_eq!(digest::send(&services, now.plus(Duration::from_secs(86_400))).await, Ok(1));
    assert_eq!(house.told().await[0].0, "ann@a.test");
    services.shared.state.close().await.unwrap();
    assert!(digest::send(&services, now).await.is_err(), "nobody is told twice for want of a memory");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_of_later_and_what_has_gone_is_not() {
    let mut house = house().await;
    for id in 1..=2 {
        house.keep(id, 0, Hold::Quarantine, &["joe@a.test"]).await;
    }
    let services = house.current.get();
    let says = |id: u64, why: StoreError| house.store.unread.lock().unwrap().insert(QueueId(id), why);
    says(1, StoreError::NotApplied("the test says so".into()));
    assert_eq!(digest::send(&services, clock::now()).await, Ok(0), "half a letter would hide the other");
    for id in 1..=2 {
        says(id, StoreError::Absent);
    }
    assert_eq!(digest::send(&services, clock::now()).await, Ok(0), "nothing is left to be told");
    house.store.unread.lock().unwrap().remove(&QueueId(1));
    assert_eq!(digest::send(&services, clock::now()).await, Ok(1));
    let told = house.told().await;
    assert!(told[0].1.contains("1 message was") && told[0].1.contains("Subject: number 1"), "{told:?}");
}

#[tokio::test]
async fn letters_are_due_once_after_each_time_of_day() {
    let house = house().await;
    let services = house.current.get();
    // 2026-11-22 01:02:03 UTC: the last six o'clock is of the day before.
    let night = Timestamp(1_795_309_323_000);
    let later = |hours: u64| night.plus(Duration::from_secs(hours * 3600));
    let due = |now| digest::is_due(&services, now);
    assert_eq!(due(night).await, Ok(false), "the first time is the next one");
    assert_eq!(due(later(4)).await, Ok(false));
    assert_eq!(due(later(5)).await, Ok(true));
    assert_eq!(due(later(9)).await, Ok(true), "it stays due until it is done");
    assert_eq!(digest::send(&services, later(9)).await, Ok(0));
    assert_eq!(due(later(10)).await, Ok(false));
    assert_eq!(due(later(29)).await, Ok(true));
}

impl House {
    /// The address in a letter by which its recipient has this message released.
    async fn release_address(&mut self, to: &str, id: u64) -> Address {
        digest::send(&self.current.get(), clock::now()).await.unwrap();
        let told = self.told().await;
        let (_, text) = told.iter().find(|(recipient, _)| recipient == to).unwrap();
        let entry = text.split("\r\n\r\n").find(|part| part.contains(&format!("number {id}\r\n"))).unwrap();
        let link = entry.split("<mailto:").nth(1).and_then(|rest| rest.split('?').next()).unwrap();
        link.parse().unwrap()
    }

    async fn asked(&self, address: &Address) -> Option<Asked> {
        release::asked(&self.current.get(), address, clock::now()).await
    }
}

#[tokio::test]
async fn a_recipient_releases_its_own_copy_and_nobody_elses() {
    let mut house = house().await;
    house.keep_for(1, 0, Hold::Quarantine, (&["joe@a.test", "ann@a.test"], true)).await;
    let [joe, ann]: [Address; 2] = ["joe@a.test", "ann@a.test"].map(|text| text.parse().unwrap());
    let by_joe = house.release_address("joe@a.test", 1).await;
    let own = Release { id: QueueId(1), recipient: joe.clone() };
    assert_eq!(house.asked(&by_joe).await, Some(Asked::For(own)));
    let steward = house.current.get().shared.steward.clone();
    assert_eq!(steward.release(QueueId(1), joe.clone()).await, Ok(true));
    // The copy has a name of its own; the letter that tells of it follows.
    let all = house.all().await;
    let free: Vec<_> =
        all.iter().filter(|entry| entry.state.hold.is_none() && entry.record.size == 0).collect();
    assert_eq!(free.len(), 1, "{all:?}");
    assert_eq!(free[0].record.recipients.len(), 1);
    assert_eq!(free[0].record.recipients[0].address, joe);
    let kept = house.current.get().shared.store.get(QueueId(1)).await.unwrap();
    assert_eq!(kept.state.hold, Some(Hold::Quarantine), "ann's copy stays where it is");
    assert_eq!(kept.state.recipients[1].state, RecipientState::Pending);
    assert_eq!(house.asked(&by_joe).await, Some(Asked::Nothing), "once");
    assert_eq!(steward.release(QueueId(1), joe).await, Ok(false));
    // The last one is released as it is.
    assert_eq!(steward.release(QueueId(1), ann).await, Ok(true));
    let entry = house.current.get().shared.store.get(QueueId(1)).await.unwrap();
    assert!(entry.state.hold.is_none() && entry.state.released.is_some());
    let text = house.current.get().shared.metrics.render();
    assert!(text.contains("staffetta_quarantine_left_total{how=\"released_by_recipient\"} 2"), "{text}");
}

#[tokio::test]
async fn an_operator_releases_one_copy_whatever_keeps_it_back() {
    let mut house = house().await;
    house.keep_for(1, 0, Hold::Quarantine, (&["joe@a.test", "ann@a.test"], false)).await;
    house.keep(2, 0, Hold::Operator, &["joe@a.test"]).await;
    let [joe, ann]: [Address; 2] = ["Joe@a.test", "ann@a.test"].map(|text| text.parse().unwrap());
    let steward = house.current.get().shared.steward.clone();
    assert_eq!(steward.release_to(QueueId(1), joe.clone()).await, Ok(()));
    let Ok(Message::Admit(admission)) = house.letters.try_recv() else { panic!("the runner was not told") };
    let copy = &admission.entry.record;
    assert_eq!(copy.recipients.iter().map(|r| r.address.to_string()).collect::<Vec<_>>(), ["joe@a.test"]);
    assert!(house.letters.try_recv().is_err(), "nobody is told but by the message");
    let kept = house.current.get().shared.store.get(QueueId(1)).await.unwrap();
    assert_eq!(kept.state.hold, Some(Hold::Quarantine), "ann's copy stays where it is");
    let states: Vec<_> = kept.state.recipients.iter().map(|status| status.state).collect();
    assert_eq!(states, [RecipientState::Delivered, RecipientState::Pending]);
    for id in [1, 2] {
        let said = steward.release_to(QueueId(id), joe.clone()).await.unwrap_err().to_string();
        assert!(said.contains("not kept back for <Joe@a.test>"), "once, and out of quarantine alone: {said}");
    }
    assert_eq!(steward.release_to(QueueId(3), joe).await, Err(ControlError::Absent));
    // The last one is released as it is.
    assert_eq!(steward.release_to(QueueId(1), ann).await, Ok(()));
    let entry = house.current.get().shared.store.get(QueueId(1)).await.unwrap();
    assert!(entry.state.hold.is_none() && entry.state.released.is_some());
    let text = house.current.get().shared.metrics.render();
    assert!(text.contains("staffetta_quarantine_left_total{how=\"released\"} 2"), "{text}");
}

#[tokio::test]
async fn a_copy_is_delivered_although_the_first_message_still_counts_it() {
    let mut house = house().await;
    house.keep_for(1, 0, Hold::Quarantine, (&["joe@a.test", "ann@a.test"], true)).await;
    house.store.unsettled.lock().unwrap().insert(QueueId(1));
    let steward = house.current.get().shared.steward.clone();
    assert!(steward.release(QueueId(1), "joe@a.test".parse().unwrap()).await.is_err());
    // It is in the queue: without a word to the runner it would lie there until somebody looks.
    let Ok(Message::Admit(admission)) = house.letters.try_recv() else { panic!("the runner was not told") };
    let copy = &admission.entry.record;
    assert_ne!(copy.id, QueueId(1));
    assert_eq!(copy.recipients.iter().map(|r| r.address.to_string()).collect::<Vec<_>>(), ["joe@a.test"]);
    assert_eq!(house.all().await.len(), 2);
    assert!(house.letters.try_recv().is_err(), "nobody is told of what has failed");
}

#[tokio::test]
async fn only_what_a_score_keeps_back_is_the_recipients_to_release() {
    let mut house = house().await;
    house.keep_for(1, 0, Hold::Quarantine, (&["joe@a.test"], true)).await;
    house.keep_for(2, 0, Hold::Quarantine, (&["joe@a.test"], false)).await;
    house.keep_for(3, 0, Hold::Operator, (&["joe@a.test"], true)).await;
    let good = house.release_address("joe@a.test", 1).await;
    let services = house.current.get();
    let joe: Address = "joe@a.test".parse().unwrap();
    for id in [2, 3] {
        let keys = &services.judge.marks().keys;
        let made = local_part(keys, (QueueId(id), 0), &joe.domain, clock::now()).unwrap();
        let address: Address = format!("{made}@a.test").parse().unwrap();
        assert_eq!(
            house.asked(&address).await,
            Some(Asked::Nothing),
            "a good check, and yet not his to release"
        );
        assert_eq!(services.shared.steward.release(QueueId(id), joe.clone()).await, Ok(false));
    }
    let said = good.to_string();
    assert_eq!(house.asked(&"joe@a.test".parse().unwrap()).await, None, "an ordinary address");
    let elsewhere: Address = said.replace("@a.test", "@far.test").parse().unwrap();
    assert_eq!(house.asked(&elsewhere).await, None);
    let late = Timestamp(clock::now().0 + 11 * 86_400_000);
    assert_eq!(release::asked(&services, &good, late).await, Some(Asked::Nothing), "its days are over");
}

#[tokio::test]
async fn nothing_is_read_for_an_address_that_we_have_not_made() {
    let mut house = house().await;
    house.keep_for(1, 0, Hold::Quarantine, (&["joe@a.test", "ann@a.test"], true)).await;
    let good = house.release_address("joe@a.test", 1).await;
    let reads = || house.store.gets.load(Ordering::Relaxed);
    let before = reads();
    let local = good.local.as_str();
    for at in "release-".len()..local.len() {
        let other = if local.get(at..=at) == Some("0") { "1" } else { "0" };
        let mut forged = local.to_owned();
        forged.replace_range(at..=at, other);
        if Claim::read(&forged).is_some() {
            let forged: Address = format!("{forged}@a.test").parse().unwrap();
            assert_eq!(house.asked(&forged).await, Some(Asked::Nothing), "{forged}");
        }
    }
    assert_eq!(reads(), before);
    assert!(matches!(house.asked(&good).await, Some(Asked::For(_))));
    assert_eq!(reads(), before + 1);
}

#[tokio::test]
async fn orders_that_meet_are_carried_out_one_after_the_other() {
    let house = house().await;
    let steward = house.current.get().shared.steward.clone();
    for id in 1..=50 {
        house.keep_for(id, 11, Hold::Quarantine, (&["joe@a.test"], true)).await;
    }
    let mut orders = tokio::task::JoinSet::new();
    for id in (1..=50).map(QueueId) {
        let (a, b, c) = (steward.clone(), steward.clone(), steward.clone());
        orders.spawn(async move { a.expire(id).await == Ok(true) });
        orders.spawn(async move { b.release(id, "joe@a.test".parse().unwrap()).await == Ok(true) });
        orders.spawn(async move { c.steer(Order::Release, id).await.is_ok() });
    }
    let done = orders.join_all().await.into_iter().filter(|done| *done).count();
    assert_eq!(done, 50, "each message has left quarantine once, one way or another");
    let text = house.current.get().shared.metrics.render();
    let left = text.lines().filter(|line| line.starts_with("staffetta_quarantine_left_total"));
    let sum: f64 = left.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert!((sum - 50.0).abs() < 0.5, "{text}");
}

#[tokio::test]
async fn letters_are_the_same_however_many_recipients_are_gathered_at_a_time() {
    for (bytes_max, walks) in [(0, 2), (900, 2), (1_300, 2), (1 << 20, 1)] {
        let mut house = house().await;
        for id in 1..=7 {
            let to: &[&str] = match id % 3 {
                0 => &["joe@a.test"],
                1 => &["ann@a.test", "joe@a.test"],
                _ => &["ann@a.test"],
            };
            house.keep(id, 0, Hold::Quarantine, to).await;
        }
        let services = house.current.get();
        assert_eq!(digest::send_by(&services, clock::now(), bytes_max).await, Ok(2));
        let told = house.told().await;
        let subjects: Vec<(&str, bool)> =
            told.iter().map(|(to, text)| (to.as_str(), text.contains("5 messages were"))).collect();
        assert_eq!(subjects, [("ann@a.test", true), ("joe@a.test", true)], "{told:?}");
        assert_eq!(house.store.walks.swap(0, Ordering::Relaxed), walks, "with {bytes_max} octets");
        assert_eq!(digest::send_by(&services, clock::now(), bytes_max).await, Ok(0));
    }
}

#[tokio::test]
async fn thousands_of_recipients_are_gathered_in_one_walk() {
    let house = house().await;
    let many: Vec<String> = (0..3_000).map(|number| format!("u{number}@a.test")).collect();
    let to: Vec<&str> = many.iter().map(String::as_str).chain(["joe@a.test"]).collect();
    house.keep(1, 0, Hold::Quarantine, &to).await;
    assert_eq!(digest::send(&house.current.get(), clock::now()).await, Ok(1), "the others do not exist");
    assert_eq!(house.store.walks.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn of_too_much_the_oldest_goes_and_it_is_told() {
    let house = house().await;
    for id in 1..=8 {
        house.keep(id, 0, Hold::Quarantine, &["joe@a.test"]).await;
    }
    house.keep(9, 0, Hold::Operator, &["joe@a.test"]).await;
    let mut services = Arc::clone(&house.current.get());
    let mut config = (*services.config).clone();
    config.antispam.quarantine.messages_max = 5;
    let loaded = config::Loaded { config, ..(*house.loaded).clone() };
    services = assemble::services(&loaded, Arc::clone(&services.shared)).await.unwrap();
    let mut tally = Tally::default();
    tally.add(&house.all().await, &services.config.antispam.quarantine, clock::now());
    bounds::keep_within(&services, tally).await;
    let left: Vec<u64> = house.all().await.iter().map(|entry| entry.record.id.0).collect();
    assert_eq!(left, [4, 5, 6, 7, 8, 9], "what an operator holds is no quarantine");
    let text = services.shared.metrics.render();
    assert!(text.contains("staffetta_quarantine_left_total{how=\"displaced\"} 3"), "{text}");
    assert!(text.contains("staffetta_quarantine_messages 8"), "{text}");
}
