//! What is counted, how far it leads, and what survives a restart.

use store::MemoryState;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(500_000 * HOUR_SECONDS + seconds)
}

fn network(text: &str) -> ClientNetwork {
    ClientNetwork::of(text.parse().unwrap())
}

fn settings() -> RateSettings {
    RateSettings {
        messages_per_hour_max: 10,
        connections_per_hour_max: 0,
        account_messages_per_hour_max: 10,
        account_new_recipients_per_hour_max: 10,
        account_bounces_per_hour_max: 5,
        ..RateSettings::default()
    }
}

#[test]
fn a_network_is_counted_as_one_and_over_the_turn_of_the_hour() {
    let (rates, settings) = (Rates::new(Arc::new(MemoryState::default())), settings());
    let over = |client: &str, seconds| {
        rates.client_over(&settings, network(client), &[Event::Failure, Event::Message], at(seconds))
    };
    for last in 1..=12 {
        assert_eq!(over("192.0.2.200", 3000).is_some(), last > 10, "{last}");
        let client = network(&format!("192.0.2.{last}"));
        rates.count_client(&settings, client, (Event::Message, 1), at(3000));
    }
    let told = over("192.0.2.200", 3599).unwrap();
    assert_eq!((told.event, told.count, told.limit), (Event::Message, 12, 10));
    assert_eq!(told.key, "antispam.rates.messages_per_hour_max");
    assert_eq!(over("198.51.100.1", 3599), None);
    // Five minutes into the next hour, eleven twelfths of the last one still count.
    assert_eq!(over("192.0.2.200", 3900).map(|over| over.count), Some(11));
    assert_eq!(over("192.0.2.200", 4800), None);
    assert_eq!(over("192.0.2.200", 3 * 3600), None);
}

#[tokio::test]
async fn no_limit_counts_and_costs_nothing() {
    let state = Arc::new(MemoryState::default());
    let (rates, settings) = (Rates::new(state.clone()), settings());
    rates.count_client(&settings, network("192.0.2.1"), (Event::Connection, 1_000_000), at(0));
    assert_eq!(rates.client_over(&settings, network("192.0.2.1"), &[Event::Connection], at(0)), None);
    rates.save(&settings, at(0)).await.unwrap();
    assert!(state.usage().iter().all(|(_, usage)| usage.entries == 0));
}

#[test]
fn an_account_is_slowed_then_held_then_locked() {
    let (rates, settings) = (Rates::new(Arc::new(MemoryState::default())), settings());
    let step = |account: &str| rates.standing(&settings, account, at(60)).map(|(step, _)| step);
    for number in 1..=45 {
        rates.count_account(&settings, "mara", (Event::NewRecipient, 1), at(60));
        let expected = match number {
            ..=10 => None,
            11..=20 => Some(Step::Slow),
            21..=40 => Some(Step::Hold),
            _ => Some(Step::Lock),
        };
        assert_eq!(step("mara"), expected, "{number}");
    }
    assert_eq!(step("john"), None);
    // An hour later it is over.
    assert_eq!(rates.standing(&settings, "mara", at(2 * 3600)), None);
    // Much mail alone is not taken for a break-in.
    rates.count_account(&settings, "john", (Event::Message, 1000), at(60));
    assert_eq!(step("john"), None);
    assert!(rates.account_over(&settings, "john", &[Event::Message], at(60)).is_some());
}

#[test]
fn bounces_from_outside_bring_nobody_to_be_locked() {
    let (rates, settings) = (Rates::new(Arc::new(MemoryState::default())), settings());
    let counted = std::thread::scope(|scope| {
        let some = || (0..50).filter(|_| rates.count_returned(&settings, "mara", at(0))).count();
        let threads = [scope.spawn(some), scope.spawn(some)];
        threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>()
    });
    assert_eq!(counted, 20);
    let (step, over) = rates.standing(&settings, "mara", at(0)).unwrap();
    assert_eq!((step, over.event, over.count), (Step::Hold, Event::Bounce, 20));
    rates.count_account(&settings, "mara", (Event::Bounce, 1), at(0));
    assert_eq!(rates.standing(&settings, "mara", at(0)).unwrap().0, Step::Lock);
}

#[tokio::test]
async fn what_was_counted_survives_a_restart_when_it_is_worth_it() {
    let state = Arc::new(MemoryState::default());
    let (rates, settings) = (Rates::new(state.clone()), settings());
    let (near, far) = (network("192.0.2.1"), network("198.51.100.1"));
    rates.count_client(&settings, near, (Event::Message, 9), at(100));
    rates.count_client(&settings, far, (Event::Failure, 9), at(100));
    rates.count_account(&settings, "mara", (Event::NewRecipient, 30), at(100));
    rates.save(&settings, at(100)).await.unwrap();
    rates.count_client(&settings, near, (Event::Message, 3), at(200));
    rates.save(&settings, at(200)).await.unwrap();
    rates.save(&settings, at(200)).await.unwrap();
    let entries: u64 = state.usage().iter().map(|(_, usage)| usage.entries).sum();
    assert_eq!(entries, 2, "nine of a thousand are not worth a write");

    let again = Rates::new(state.clone());
    again.load(at(3600)).await.unwrap();
    let over = again.client_over(&settings, near, &[Event::Message], at(3600)).unwrap();
    assert_eq!(over.count, 12);
    assert_eq!(again.standing(&settings, "mara", at(3600)).map(|(step, _)| step), Some(Step::Hold));
    assert_eq!(again.standing(&settings, "mara", at(7200)), None);

    // What cannot be written down is not forgotten.
    again.count_client(&settings, near, (Event::Message, 4), at(3700));
    state.close().await.unwrap();
    for _ in 0..2 {
        assert!(again.save(&settings, at(3700)).await.is_err());
    }
}

#[tokio::test]
async fn locks_last_until_they_are_lifted_and_then_all_is_forgotten() {
    let state = Arc::new(MemoryState::default());
    let (rates, settings) = (Rates::new(state.clone()), settings());
    rates.count_account(&settings, "mara", (Event::NewRecipient, 99), at(0));
    assert!(rates.is_news("mara", "slow", at(0)).await && !rates.is_news("mara", "slow", at(9)).await);
    let (_, over) = rates.standing(&settings, "mara", at(0)).unwrap();
    let lock =
        Lock { since_seconds: at(0).seconds(), event: over.event, count: over.count, limit: over.limit };
    assert!(rates.lock("mara", lock, at(0)).await.unwrap());
    assert!(!rates.lock("mara", lock, at(0)).await.unwrap(), "once");
    rates.save(&settings, at(0)).await.unwrap();

    let again = Rates::new(state.clone());
    let later = at(3600);
    again.load(later).await.unwrap();
    assert_eq!(again.locks().all(), [("mara".to_owned(), lock)]);
    assert!(!again.is_news("mara", "slow", at(10)).await, "told before the restart");
    assert!(again.standing(&settings, "mara", later).is_some());
    assert!(again.unlock("mara", later).await.unwrap());
    assert_eq!((again.locks().of("mara"), again.standing(&settings, "mara", later)), (None, None));
    assert!(!again.unlock("mara", later).await.unwrap());

    let third = Rates::new(state.clone());
    third.load(later).await.unwrap();
    assert_eq!((third.locks().all(), third.standing(&settings, "mara", later)), (Vec::new(), None));
    state.close().await.unwrap();
    assert!(third.load(later).await.is_err());
    assert!(third.lock("mara", lock, later).await.is_err());
    assert_eq!(third.locks().of("mara"), Some(lock), "it holds for as long as this runs");
    assert!(third.unlock("mara", later).await.is_err());
    assert!(third.is_news("mara", "hold", later).await, "better twice than never");
}

#[tokio::test]
async fn whose_mail_is_being_held_is_known_after_a_restart() {
    let now = Timestamp(1_795_309_323_000);
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::default());
    let rates = Rates::new(Arc::clone(&state));
    let lock = Lock { since_seconds: 1, event: Event::Bounce, count: 9, limit: 2 };
    rates.lock("locked@a.test", lock, now).await.unwrap();
    for account in ["done@a.test", "cut@a.test", "freed@a.test"] {
        rates.sweep_begins(account, now).await.unwrap();
    }
    rates.sweep_ends("done@a.test", now).await.unwrap();
    rates.unlock("freed@a.test", now).await.unwrap();
    let again = Rates::new(state);
    again.load(now).await.unwrap();
    let accounts: Vec<String> = again.to_be_held(now).await.unwrap().into_iter().collect();
    assert_eq!(accounts, ["cut@a.test", "locked@a.test"]);
}
