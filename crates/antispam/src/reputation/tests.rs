//! Means that decay, and a memory that is bounded and outlives a restart.

use std::net::Ipv4Addr;

use mail::ClientNetwork;
use store::MemoryState;

use super::*;
use crate::testing::NOW;

const DAY: u64 = 86_400_000;

fn reputation(state: &Arc<MemoryState>) -> Reputation {
    let state: Arc<dyn StateStore> = state.clone();
    Reputation::new(ReputationSettings::default(), Memory::new(state))
}

fn subject(name: &str) -> Subject {
    Subject::named(name).unwrap()
}

fn later(days: u64) -> Timestamp {
    Timestamp(NOW.0 + days * DAY)
}

fn network(number: u32) -> Subject {
    Subject::Network(ClientNetwork::of(Ipv4Addr::from(number << 8).into()))
}

#[test]
fn letters_lose_half_of_their_weight_in_every_half_life() {
    let memory = reputation(&Arc::default());
    let far = subject("far.test");
    for _ in 0..16 {
        memory.count(std::slice::from_ref(&far), Score::points(8), NOW);
    }
    for (days, letters, is_bad) in
        [(0, 16, true), (14, 8, true), (28, 4, true), (42, 2, true), (56, 1, false)]
    {
        let standing = memory.of(&far, later(days)).unwrap();
        assert_eq!(standing.letters(), letters, "{days}");
        assert_eq!(standing.average(), Score::points(8), "the mean stays");
        assert_eq!(standing.worth_thousandths() > 0, is_bad, "{days}");
    }
    // What is old gives way to what is new.
    for _ in 0..8 {
        memory.count(std::slice::from_ref(&far), Score::ZERO, later(28));
    }
    let standing = memory.of(&far, later(28)).unwrap();
    assert_eq!((standing.letters(), standing.average()), (12, Score::tenths(27)));
}

#[test]
fn the_more_letters_the_more_it_says_within_bounds() {
    let memory = reputation(&Arc::default());
    let far = subject("far.test");
    let mut before = 0;
    for number in 1..=300 {
        memory.count(std::slice::from_ref(&far), Score::points(500), NOW);
        let worth = memory.of(&far, NOW).unwrap().worth_thousandths();
        assert!(worth >= before && worth < 1000, "{number}: {worth}");
        assert_eq!(worth == 0, number < 2, "{number}: one says nothing");
        before = worth;
    }
    assert_eq!(memory.of(&far, NOW).unwrap().average(), Score::points(15), "bounded for each letter");
    for _ in 0..200 {
        memory.count(std::slice::from_ref(&far), Score::points(-1), NOW);
    }
    assert!(memory.of(&far, NOW).unwrap().average() < Score::points(5), "who changes is known for it");
}

#[test]
fn two_letters_are_two_some_days_later() {
    let memory = reputation(&Arc::default());
    let far = subject("far.test");
    memory.count(std::slice::from_ref(&far), Score::points(8), NOW);
    memory.count(std::slice::from_ref(&far), Score::points(8), Timestamp(NOW.0 + 1_000));
    for (days, says_something) in [(1, true), (5, true), (7, false)] {
        let standing = memory.of(&far, later(days)).unwrap();
        assert_eq!(standing.says_something(), says_something, "{days}: {} letters", standing.letters());
    }
}

#[tokio::test]
async fn who_was_seen_more_than_once_is_remembered_after_a_restart() {
    let state = Arc::new(MemoryState::default());
    let memory = reputation(&state);
    let (far, once, gone) = (subject("far.test"), subject("once.test"), subject("joe@gone.test"));
    for _ in 0..5 {
        memory.count(&[far.clone(), gone.clone()], Score::points(6), NOW);
    }
    memory.count(std::slice::from_ref(&once), Score::points(6), NOW);
    memory.save(NOW).await.unwrap();
    assert!(memory.forget(&gone, NOW).await.unwrap() && !memory.forget(&gone, NOW).await.unwrap());

    let again = reputation(&state);
    again.memory.load(NOW).await.unwrap();
    assert_eq!(again.of(&far, NOW), memory.of(&far, NOW));
    assert_eq!((again.of(&once, NOW), again.of(&gone, NOW)), (None, None));
    let lines = again.lines(&[], NOW);
    assert_eq!((lines.len(), lines[0].subject.as_str(), lines[0].letters), (1, "domain:far.test", 5));
    assert!(again.lines(&[once], NOW).is_empty());
}

#[test]
fn what_one_memory_tells_another_learns() {
    let memory = reputation(&Arc::default());
    let far = subject("far.test");
    for _ in 0..5 {
        memory.count(std::slice::from_ref(&far), Score::points(6), NOW);
    }
    let other = reputation(&Arc::default());
    other.memory.learn(&memory.lines(&[], NOW), NOW);
    assert_eq!(other.lines(&[], NOW), memory.lines(&[], NOW));
}

#[tokio::test]
async fn what_could_not_be_written_is_tried_again_and_off_is_off() {
    let state = Arc::new(MemoryState::default());
    let memory = reputation(&state);
    let far = subject("far.test");
    for _ in 0..2 {
        memory.count(std::slice::from_ref(&far), Score::ZERO, NOW);
    }
    state.close().await.unwrap();
    assert!(memory.save(NOW).await.is_err());
    assert_eq!(memory.memory.table().take_unsaved(NOW, 1).0.len(), 1);
    let off = Reputation::new(ReputationSettings { half_life_days: 0 }, memory.memory.clone());
    off.count(&[subject("other.test")], Score::ZERO, NOW);
    assert_eq!((off.of(&far, NOW), off.memory.len()), (None, 1));
}

#[tokio::test]
async fn memory_is_bounded_and_forgets_those_with_the_fewest_letters() {
    let state = Arc::new(MemoryState::default());
    let memory = reputation(&state);
    for _ in 0..9 {
        memory.count(&[network(1), network(2)], Score::ZERO, NOW);
    }
    memory.save(NOW).await.unwrap();
    let many = u32::try_from(SUBJECTS_MAX).unwrap();
    for number in 3..many + 10 {
        memory.count(&[network(number)], Score::ZERO, NOW);
    }
    assert!(memory.memory.len() <= SUBJECTS_MAX && memory.of(&network(1), NOW).is_some());
    assert!(memory.of(&network(3), NOW).is_none() && memory.of(&network(many + 9), NOW).is_some());
    // Long afterwards those that were kept are as old as others, and go with what was written down.
    for number in 0..many {
        let far_later = later(14 * 6);
        memory.count(&[network(many + 10 + number)], Score::ZERO, far_later);
    }
    assert!(memory.of(&network(1), NOW).is_none());
    memory.save(later(14 * 6)).await.unwrap();
    let page = state.scan(StateKey::new(NAMESPACE, ""), None, 10, NOW).await.unwrap();
    assert!(page.entries.is_empty(), "{page:?}");
}

#[test]
fn nonsense_is_not_read_back() {
    let mut value = Standing::decode(&[1; 25]).unwrap().encode();
    for (place, octet) in [(1, 0xff), (1, 0x7f), (0, 2)] {
        value[place] = octet;
        assert!(Standing::decode(&value).is_none(), "{place} {octet}");
    }
    assert!(Standing::decode(b"x").is_none());
}
