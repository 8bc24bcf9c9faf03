//! One scene for each rule. The simulation in `tests/` covers what only many messages and much time show.

use std::sync::Arc;

use mail::{Notify, QueueId, Reply, ReversePath, Timestamp};
use proptest::prelude::*;
use store::{Change, QueueEntry, RecipientState};

use super::*;
use crate::bounce::Suppressed;
use crate::testing::{START, at, entry, plain};

fn outcome(recipient: u32, result: DeliveryResult) -> Outcome {
    let reply = match result {
        DeliveryResult::Failed => Reply::new(550, (5, 1, 1), "no such user"),
        DeliveryResult::Deferred(_) => Reply::new(451, (4, 3, 2), "not now"),
        _ => Reply::new(250, (2, 0, 0), "ok"),
    };
    Outcome { recipient, result, peer: Some("mx.a.test[192.0.2.1]:25".into()), reply }
}

const DOWN: DeliveryResult = DeliveryResult::Deferred(Trouble::Destination);
const BUSY: DeliveryResult = DeliveryResult::Deferred(Trouble::Recipient);

/// A scheduler and what it said.
struct Bench {
    scheduler: Scheduler,
    now: Timestamp,
    /// Answers every [`Action::Load`] at once: nothing there.
    store_is_empty: bool,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let mut bench = Self { scheduler: Scheduler::new(settings, 42), now: START, store_is_empty: true };
        let limit = bench.scheduler.settings.active_max;
        assert_eq!(bench.say(Event::Tick).first(), Some(&Action::Load { limit }));
        bench
    }

    /// Everything but [`Action::Wake`].
    fn say(&mut self, event: Event) -> Vec<Action> {
        self.scheduler.handle(event, self.now);
        let said = std::iter::from_fn(|| self.scheduler.poll());
        let said: Vec<Action> = said.filter(|a| !matches!(a, Action::Wake(_))).collect();
        if self.store_is_empty && said.iter().any(|a| matches!(a, Action::Load { .. })) {
            self.say(Event::Loaded { count: 0, next_due: None });
        }
        said
    }

    /// Admits it with every recipient to one destination.
    fn admit(&mut self, entry: &QueueEntry, destination: &str) -> Vec<Action> {
        let all = 0..u32::try_from(entry.record.recipients.len()).unwrap();
        let destinations = all.map(|i| (i, destination.into())).collect();
        self.say(Event::Admitted { entry: Arc::new(entry.clone()), destinations, unroutable: Vec::new() })
    }

    fn finish(&mut self, id: u64, destination: &str, outcomes: Vec<Outcome>) -> Vec<Action> {
        self.say(Event::Finished { id: QueueId(id), destination: destination.into(), outcomes })
    }
}

fn dispatches(actions: &[Action]) -> Vec<(u64, &str, Vec<u32>)> {
    let dispatch = |a| match a {
        &Action::Dispatch { id, ref destination, ref recipients } => {
            Some((id.0, &**destination, recipients.clone()))
        }
        _ => None,
    };
    actions.iter().filter_map(dispatch).collect()
}

fn reports(actions: &[Action]) -> Vec<&Report> {
    actions
        .iter()
        .flat_map(|a| if let Action::Finish { reports, .. } = a { &reports[..] } else { &[] })
        .collect()
}

fn changes(actions: &[Action]) -> Vec<&Change> {
    actions
        .iter()
        .flat_map(|a| if let Action::Finish { settlement, .. } = a { &settlement.changes[..] } else { &[] })
        .collect()
}

fn retry_of(actions: &[Action]) -> Option<(Timestamp, u32)> {
    changes(actions).iter().find_map(|c| match c {
        Change::Retry { next_attempt, attempts } => Some((*next_attempt, *attempts)),
        _ => None,
    })
}

fn states(entry: &QueueEntry, actions: &[Action]) -> Vec<RecipientState> {
    let mut state = entry.state.clone();
    changes(actions).iter().for_each(|c| state.apply(c));
    state.recipients.iter().map(|r| r.state).collect()
}

#[test]
fn a_delivery_that_succeeds_is_settled_and_forgotten() {
    let mut bench = Bench::new(|_| ());
    let message = plain(1, 1);
    assert_eq!(dispatches(&bench.admit(&message, "a")), [(1, "a", vec![0])]);
    let end = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(states(&message, &end), [RecipientState::Delivered]);
    assert!(reports(&end).is_empty());
    assert_eq!(end.last(), Some(&Action::Forget(QueueId(1))));
    assert_eq!(bench.scheduler.figures(), Figures { destinations: 1, ..Figures::default() });
}

#[test]
fn recipients_go_together_by_destination_and_at_most_so_many_in_a_job() {
    let mut bench = Bench::new(|s| s.recipients_per_job = 2);
    let destinations = [(0, "a"), (1, "b"), (2, "a"), (3, "a")].map(|(i, d)| (i, d.into())).to_vec();
    let entry = Arc::new(plain(1, 4));
    let out = bench.say(Event::Admitted { entry, destinations, unroutable: Vec::new() });
    assert_eq!(dispatches(&out), [(1, "a", vec![0, 2]), (1, "b", vec![1]), (1, "a", vec![3])]);
    for (destination, recipients) in [("a", vec![3]), ("b", vec![1]), ("a", vec![0, 2])] {
        assert!(bench.scheduler.is_active(QueueId(1)));
        bench.finish(
            1,
            destination,
            recipients.into_iter().map(|i| outcome(i, DeliveryResult::Delivered)).collect(),
        );
    }
    assert!(!bench.scheduler.is_active(QueueId(1)));
}

#[test]
fn a_delivery_is_on_record_before_the_rest_of_the_message_ends() {
    let mut bench = Bench::new(|_| ());
    let message = plain(1, 2);
    let destinations = vec![(0, "a".into()), (1, "b".into())];
    bench.say(Event::Admitted { entry: Arc::new(message.clone()), destinations, unroutable: Vec::new() });
    let first = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(states(&message, &first), [RecipientState::Delivered, RecipientState::Pending]);
    assert!(!first.contains(&Action::Forget(QueueId(1))));
}

#[test]
fn a_deferred_message_is_due_again_after_the_interval_of_its_attempt() {
    for (before, low, high) in [(0, 300, 360), (2, 960, 1440), (30, 11_520, 14_400)] {
        let mut bench = Bench::new(|s| s.warn_seconds = 0);
        let mut message = plain(1, 1);
        message.state.attempts = before;
        bench.admit(&message, "a");
        let end = bench.finish(1, "a", vec![outcome(0, BUSY)]);
        let (next, attempts) = retry_of(&end).unwrap();
        assert_eq!(attempts, before + 1);
        assert!(next >= at(low) && next <= at(high), "{next}");
        assert_eq!(states(&message, &end), [RecipientState::Pending]);
        assert_eq!(end.last(), Some(&Action::Forget(QueueId(1))));
    }
}

#[test]
fn what_cannot_be_routed_is_judged_at_once() {
    let mut bench = Bench::new(|_| ());
    let unroutable =
        vec![outcome(0, DeliveryResult::Failed), outcome(1, DeliveryResult::Deferred(Trouble::Local))];
    let message = plain(1, 3);
    let out =
        bench.say(Event::Admitted { entry: Arc::new(message.clone()), destinations: Vec::new(), unroutable });
    // The third was forgotten by the router: that is trouble of ours, not a reason to lose it.
    assert_eq!(
        states(&message, &out),
        [RecipientState::Failed, RecipientState::Pending, RecipientState::Pending]
    );
    let (next, _) = retry_of(&out).unwrap();
    assert!(next >= at(60) && next <= at(72), "our own troubles are retried soon: {next}");
    assert_eq!(reports(&out).len(), 1);
}

#[test]
fn a_recipient_that_is_named_twice_or_has_ended_is_tried_once() {
    let mut bench = Bench::new(|_| ());
    let mut message = plain(1, 3);
    message.state.recipients[2].state = RecipientState::Delivered;
    let destinations =
        [(0, "a"), (1, "a"), (0, "b"), (2, "a"), (9, "a")].map(|(i, d)| (i, d.into())).to_vec();
    let unroutable = [1, 1, 2, 9].map(|i| outcome(i, DeliveryResult::Failed)).to_vec();
    let out = bench.say(Event::Admitted { entry: Arc::new(message), destinations, unroutable });
    assert_eq!(dispatches(&out), [(1, "a", vec![0])]);
    let end = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(reports(&end)[0].recipients.len(), 1);
    assert_eq!(changes(&end).len(), 2);
}

// invariant: I3
#[test]
fn a_null_reverse_path_is_never_answered() {
    let all = Notify { explicit: true, success: true, failure: true, delay: true };
    let mut message = entry(1, &[all; 4]);
    message.record.reverse_path = ReversePath::Null;
    let mut bench = Bench::new(|_| ());
    bench.admit(&message, "a");
    bench.now = at(20_000);
    let results = [DeliveryResult::Delivered, DeliveryResult::Relayed, DeliveryResult::Failed, BUSY];
    let end = bench.finish(1, "a", (0..4).zip(results).map(|(i, r)| outcome(i, r)).collect());
    let told = reports(&end);
    assert!(told.iter().all(|r| r.suppressed == Some(Suppressed::NullReversePath)), "{told:?}");
    // The failure alone is told, as suppressed.
    assert_eq!(
        told.iter().map(|r| (r.kind, r.recipients.len())).collect::<Vec<_>>(),
        [(ReportKind::Failed, 1)]
    );
    // Nor when its time is over.
    message.state.recipients[3].state = RecipientState::Pending;
    message.record.id = QueueId(2);
    bench.now = at(432_000);
    bench.admit(&message, "a");
    let end = bench.finish(2, "a", (0..4).map(|i| outcome(i, DOWN)).collect());
    assert!(reports(&end).iter().all(|r| r.suppressed == Some(Suppressed::NullReversePath)));
    assert_eq!(reports(&end).len(), 1);
}

// invariant: I2
#[test]
fn every_failed_recipient_is_in_one_report_that_goes_before_its_settlement() {
    let quiet = Notify::NEVER;
    let message = entry(1, &[Notify::default(), quiet, Notify::default(), quiet]);
    let mut bench = Bench::new(|_| ());
    bench.now = at(432_000);
    bench.admit(&message, "a");
    // Two are refused for good, two are too old.
    let results = [DeliveryResult::Failed, DeliveryResult::Failed, BUSY, BUSY];
    let end = bench.finish(1, "a", (0..4).zip(results).map(|(i, r)| outcome(i, r)).collect());
    assert_eq!(states(&message, &end), [RecipientState::Failed; 4]);
    let [Action::Finish { settlement, reports }, Action::Forget(_)] = &end[..] else { panic!("{end:?}") };
    let told: Vec<_> = reports
        .iter()
        .flat_map(|r| r.recipients.iter().map(move |who| (who.outcome.recipient, who.expired, r.suppressed)))
        .collect();
    let not_wanted = Some(Suppressed::NotWanted);
    assert_eq!(told, [(0, false, None), (2, true, None), (1, false, not_wanted), (3, true, not_wanted)]);
    assert!(reports.iter().all(|r| r.kind == ReportKind::Failed));
    // Where the reports cannot be stored, nothing is settled as failed.
    let instead = bounce::without_reports(settlement.clone(), 1, at(432_300));
    assert_eq!(instead.changes, [Change::Retry { next_attempt: at(432_300), attempts: 1 }]);
}

#[test]
fn success_is_reported_to_who_asked_unless_the_next_server_does() {
    let asks = Notify { explicit: true, success: true, failure: false, delay: false };
    let message = entry(1, &[asks, asks, asks, Notify::default()]);
    let mut bench = Bench::new(|_| ());
    bench.admit(&message, "a");
    let results = [DeliveryResult::Delivered, DeliveryResult::Relayed, DeliveryResult::RelayedWithDsn];
    let mut outcomes: Vec<Outcome> = (0..3).zip(results).map(|(i, r)| outcome(i, r)).collect();
    outcomes.push(outcome(3, DeliveryResult::Delivered));
    let end = bench.finish(1, "a", outcomes);
    let told: Vec<_> = reports(&end)
        .iter()
        .map(|r| (r.kind, r.recipients.iter().map(|who| who.outcome.recipient).collect::<Vec<_>>()))
        .collect();
    assert_eq!(told, [(ReportKind::Delivered, vec![0]), (ReportKind::Relayed, vec![1])]);
    assert_eq!(states(&message, &end), [RecipientState::Delivered; 4]);
}

#[test]
fn the_sender_is_warned_once_and_in_time() {
    let mut bench = Bench::new(|s| s.warn_seconds = 320);
    let mut message = entry(1, &[Notify::default(), Notify::NEVER]);
    bench.admit(&message, "a");
    let first = bench.finish(1, "a", vec![outcome(0, BUSY), outcome(1, BUSY)]);
    assert!(reports(&first).is_empty());
    let (next, _) = retry_of(&first).unwrap();
    assert!(next <= at(320), "the next attempt is not after the warning is due: {next}");

    bench.now = at(320);
    bench.admit(&message, "a");
    let second = bench.finish(1, "a", vec![outcome(0, BUSY), outcome(1, BUSY)]);
    let told = reports(&second);
    assert_eq!((told.len(), told[0].kind, told[0].recipients.len()), (1, ReportKind::Delayed, 1));
    assert!(changes(&second).contains(&&Change::Warned));

    message.state.warned = true;
    bench.now = at(700);
    bench.admit(&message, "a");
    let third = bench.finish(1, "a", vec![outcome(0, BUSY), outcome(1, BUSY)]);
    assert!(reports(&third).is_empty() && retry_of(&third).is_some());
}

#[test]
fn the_last_attempt_is_made_when_the_time_is_over_not_later() {
    let mut bench = Bench::new(|s| s.warn_seconds = 0);
    let mut message = plain(1, 1);
    message.state.attempts = 40;
    bench.now = at(431_000);
    bench.admit(&message, "a");
    let end = bench.finish(1, "a", vec![outcome(0, BUSY)]);
    assert_eq!(retry_of(&end), Some((at(432_000), 41)));
}

#[test]
fn a_destination_that_fails_is_left_alone_then_probed() {
    let mut bench = Bench::new(|_| ());
    for id in 1..=8 {
        bench.admit(&plain(id, 1), "a");
    }
    assert_eq!(bench.scheduler.figures().in_flight, 5);
    bench.finish(1, "a", vec![outcome(0, DOWN)]);
    bench.finish(2, "a", vec![outcome(0, DOWN)]);
    // The limit is halved twice: nothing new was begun.
    assert_eq!(bench.scheduler.figures().in_flight, 3);
    let third = bench.finish(3, "a", vec![outcome(0, DOWN)]);
    assert!(dispatches(&third).is_empty());
    assert_eq!(bench.scheduler.figures().resting, 1);
    // What waited has left, without an attempt on its account, and with the reason on record.
    let left: Vec<_> = third.iter().filter(|a| matches!(a, Action::Forget(_))).collect();
    assert_eq!(left, [3, 6, 7, 8].map(|id| Action::Forget(QueueId(id))).iter().collect::<Vec<_>>());
    let words = format!("{third:?}");
    assert!(words.contains("the destination failed moments ago: not now"), "{words}");
    assert!(changes(&third).iter().any(|c| matches!(c, Change::Retry { attempts: 0, .. })));
    // What was running may still fail: the rest is not prolonged.
    let until = bench.scheduler.destinations().next().unwrap().resting_until;
    bench.finish(4, "a", vec![outcome(0, DOWN)]);
    bench.finish(5, "a", vec![outcome(0, DOWN)]);
    assert_eq!(bench.scheduler.destinations().next().unwrap().resting_until, until);
    let new = bench.admit(&plain(9, 1), "a");
    assert!(dispatches(&new).is_empty());
    assert!(retry_of(&new).unwrap().0 >= until.unwrap());

    // After the rest: one at a time, until one succeeds.
    bench.now = until.unwrap();
    let probes = [10, 11, 12].map(|id| dispatches(&bench.admit(&plain(id, 1), "a")).len());
    assert_eq!(probes, [1, 0, 0]);
    let well = bench.finish(10, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(dispatches(&well).len(), 2);
    assert_eq!(bench.scheduler.figures().resting, 0);
}

#[test]
fn a_probe_that_fails_makes_the_rest_longer() {
    let mut bench = Bench::new(|s| s.destination_failures_max = 1);
    let mut rests = Vec::new();
    for id in 1..=4 {
        bench.admit(&plain(id, 1), "a");
        bench.finish(id, "a", vec![outcome(0, DOWN)]);
        let until = bench.scheduler.destinations().next().unwrap().resting_until.unwrap();
        rests.push(until.since(bench.now).as_secs());
        bench.now = until;
    }
    for (rest, (low, high)) in rests.iter().zip([(300, 360), (480, 720), (960, 1440), (1440, 1800)]) {
        assert!((low..=high).contains(rest), "{rests:?}");
    }
}

#[test]
fn a_destination_that_answers_some_recipients_is_slowed_but_not_left_alone() {
    let mut bench = Bench::new(|s| s.destination_failures_max = 1);
    bench.admit(&plain(1, 2), "a");
    bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered), outcome(1, DOWN)]);
    let status = bench.scheduler.destinations().next().unwrap();
    assert_eq!((status.concurrency, status.resting_until), (2, None));
}

#[test]
fn our_own_trouble_is_not_held_against_a_destination() {
    let mut bench = Bench::new(|s| s.destination_failures_max = 1);
    bench.admit(&plain(1, 1), "a");
    bench.finish(1, "a", vec![outcome(0, DeliveryResult::Deferred(Trouble::Local))]);
    let status = bench.scheduler.destinations().next().unwrap();
    assert_eq!((status.concurrency, status.resting_until), (5, None));
}

#[test]
fn a_destination_that_is_well_takes_more_and_more_up_to_its_limit() {
    let mut bench = Bench::new(|_| ());
    (1..=300).for_each(|id| drop(bench.admit(&plain(id, 1), "a")));
    let mut seen = vec![bench.scheduler.figures().in_flight];
    for id in 1..=250 {
        bench.finish(id, "a", vec![outcome(0, DeliveryResult::Delivered)]);
        seen.push(bench.scheduler.figures().in_flight);
    }
    assert!(seen.windows(2).all(|w| w[1] <= w[0] + 1), "one more at a time");
    assert_eq!((seen[0], seen[5], seen[11], seen.iter().max()), (5, 6, 7, Some(&20)));
}

#[test]
fn maildirs_take_their_own_number_from_the_start() {
    let mut bench = Bench::new(|s| s.maildir_deliveries_max = 30);
    (1..=100).for_each(|id| drop(bench.admit(&plain(id, 1), "maildir:/srv/{local}/")));
    let mut seen = vec![bench.scheduler.figures().in_flight];
    for id in 1..=70 {
        bench.finish(id, "maildir:/srv/{local}/", vec![outcome(0, DeliveryResult::Delivered)]);
        seen.push(bench.scheduler.figures().in_flight);
    }
    assert!(seen.iter().all(|in_flight| *in_flight == 30), "{seen:?}");
}

#[test]
fn destinations_take_turns() {
    let mut bench = Bench::new(|s| s.deliveries_max = 1);
    for id in 1..=4 {
        bench.admit(&plain(id, 1), "busy");
    }
    for id in 5..=6 {
        bench.admit(&plain(id, 1), "quiet");
    }
    let mut order = vec![1];
    let mut key = "busy".to_owned();
    while let Some(&last) = order.last() {
        let out = bench.finish(last, &key, vec![outcome(0, DeliveryResult::Delivered)]);
        let Some((id, next, _)) = dispatches(&out).into_iter().next() else { break };
        key = next.to_owned();
        order.push(id);
    }
    assert_eq!(order, [1, 2, 5, 3, 6, 4]);
}

#[test]
fn a_long_list_does_not_hold_up_others_at_its_destination() {
    let mut bench = Bench::new(|s| {
        s.recipients_per_job = 1;
        s.deliveries_max = 1;
    });
    for (id, recipients) in [(9, 1), (1, 10), (2, 1)] {
        bench.admit(&plain(id, recipients), "a");
    }
    let next = bench.finish(9, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(dispatches(&next), [(1, "a", vec![0])]);
    let next = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(dispatches(&next), [(2, "a", vec![0])]);
}

#[test]
fn the_window_is_bounded_and_what_found_no_room_is_asked_for_later() {
    let mut bench = Bench::new(|s| s.active_max = 4);
    bench.store_is_empty = false;
    (1..=4).for_each(|id| drop(bench.admit(&plain(id, 1), "a")));
    assert!(!bench.scheduler.has_room());
    assert_eq!(bench.admit(&plain(5, 1), "a"), [Action::Forget(QueueId(5))]);
    let done = |bench: &mut Bench, id| bench.finish(id, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    let first = done(&mut bench, 1);
    assert!(!first.iter().any(|a| matches!(a, Action::Load { .. })));
    // Room for one, but older mail waits in the store: nobody overtakes it.
    assert_eq!(bench.admit(&plain(6, 1), "a"), [Action::Forget(QueueId(6))]);
    assert!(done(&mut bench, 2).contains(&Action::Load { limit: 2 }));
    assert_eq!(dispatches(&bench.admit(&plain(5, 1), "a")).len(), 1);
    // The store had as many as we asked for: there may be more.
    bench.say(Event::Loaded { count: 2, next_due: None });
    assert!(done(&mut bench, 3).contains(&Action::Load { limit: 2 }));
}

#[test]
fn recipients_fill_the_window_too() {
    let mut bench = Bench::new(|s| s.active_recipients_max = 10);
    assert_eq!(dispatches(&bench.admit(&plain(1, 50), "a")).len(), 1);
    assert_eq!(bench.admit(&plain(2, 1), "a"), [Action::Forget(QueueId(2))]);
}

#[test]
fn an_answer_of_the_store_from_before_a_message_ended_does_not_revive_it() {
    let mut bench = Bench::new(|_| ());
    bench.store_is_empty = false;
    bench.admit(&plain(1, 1), "a");
    bench.now = at(11);
    assert!(bench.say(Event::Tick).contains(&Action::Load { limit: 1999 }));
    bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert_eq!(bench.admit(&plain(1, 1), "a"), [Action::Forget(QueueId(1))]);
    // Nor one that was held or deleted meanwhile.
    bench.say(Event::Held(QueueId(2)));
    bench.say(Event::Deleted(QueueId(3)));
    for id in [2, 3] {
        assert_eq!(bench.admit(&plain(id, 1), "a"), [Action::Forget(QueueId(id))]);
    }
    bench.say(Event::Loaded { count: 1, next_due: None });
    assert_eq!(dispatches(&bench.admit(&plain(2, 1), "a")).len(), 1);
}

#[test]
fn a_message_is_worked_on_once() {
    let mut bench = Bench::new(|_| ());
    bench.admit(&plain(1, 1), "a");
    assert_eq!(bench.admit(&plain(1, 1), "a"), []);
    assert_eq!(bench.scheduler.figures().in_flight, 1);
    // Outcomes of something else change nothing.
    assert_eq!(bench.finish(1, "b", vec![outcome(0, DeliveryResult::Delivered)]), []);
    assert_eq!(bench.finish(7, "a", vec![outcome(0, DeliveryResult::Delivered)]), []);
    assert_eq!(bench.scheduler.figures().in_flight, 1);
}

#[test]
fn a_recipient_without_an_outcome_is_deferred() {
    let mut bench = Bench::new(|_| ());
    let message = plain(1, 3);
    bench.admit(&message, "a");
    let stray = vec![outcome(2, DeliveryResult::Delivered), outcome(9, DeliveryResult::Failed)];
    let end = bench.finish(1, "a", stray);
    assert_eq!(
        states(&message, &end),
        [RecipientState::Pending, RecipientState::Pending, RecipientState::Delivered]
    );
    assert!(retry_of(&end).is_some() && reports(&end).is_empty());
}

#[test]
fn a_held_message_finishes_what_runs_and_leaves() {
    let mut bench = Bench::new(|s| s.deliveries_max = 1);
    let message = plain(1, 2);
    let destinations = vec![(0, "a".into()), (1, "b".into())];
    bench.say(Event::Admitted { entry: Arc::new(message.clone()), destinations, unroutable: Vec::new() });
    assert_eq!(bench.say(Event::Held(QueueId(1))), []);
    let end = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Failed)]);
    assert_eq!(states(&message, &end), [RecipientState::Failed, RecipientState::Pending]);
    assert_eq!(reports(&end).len(), 1);
    assert_eq!(end.last(), Some(&Action::Forget(QueueId(1))));
    assert!(dispatches(&end).is_empty());
    // Held while only waiting: it leaves at once.
    bench.admit(&plain(2, 1), "a");
    bench.admit(&plain(3, 1), "a");
    assert_eq!(bench.say(Event::Held(QueueId(3))), [Action::Forget(QueueId(3))]);
    // Offered although held: refused.
    let mut held = plain(4, 1);
    held.state.hold = Some(store::Hold::Operator);
    assert_eq!(bench.admit(&held, "c"), [Action::Forget(QueueId(4))]);
}

#[test]
fn a_deleted_message_is_not_reported() {
    let mut bench = Bench::new(|_| ());
    bench.admit(&plain(1, 1), "a");
    assert_eq!(bench.say(Event::Deleted(QueueId(1))), []);
    assert_eq!(bench.finish(1, "a", vec![outcome(0, DeliveryResult::Failed)]), [Action::Forget(QueueId(1))]);
}

#[test]
fn a_delivery_that_is_lost_does_not_keep_its_message() {
    let mut bench = Bench::new(|_| ());
    let message = plain(1, 1);
    bench.admit(&message, "a");
    bench.now = at(7_201);
    let swept = bench.say(Event::Tick);
    assert!(retry_of(&swept).is_some() && swept.contains(&Action::Forget(QueueId(1))), "{swept:?}");
    assert_eq!(bench.scheduler.figures().in_flight, 0);
    assert_eq!(bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]), []);
}

#[test]
fn a_slow_destination_gives_its_places_up_when_others_wait() {
    let mut bench = Bench::new(|s| s.active_max = 100);
    (1..=100).for_each(|id| drop(bench.admit(&plain(id, 1), "slow")));
    bench.now = at(40);
    // Nobody else waits: they may stay.
    assert!(bench.say(Event::Tick).iter().all(|a| !matches!(a, Action::Forget(_))));
    // Others do: five at a time that take 40 seconds and more are seven in a minute.
    assert_eq!(bench.admit(&plain(200, 1), "fast"), [Action::Forget(QueueId(200))]);
    bench.now = at(50);
    let swept = bench.say(Event::Tick);
    let left = swept.iter().filter(|a| matches!(a, Action::Forget(_))).count();
    assert_eq!(left, 100 - 5 - 6);
    assert!(swept.iter().any(|a| matches!(a, Action::Load { .. })), "and the store is asked at once");
    let mut times: Vec<_> = changes(&swept)
        .iter()
        .filter_map(|c| {
            if let Change::Retry { next_attempt, attempts: 0 } = c { Some(*next_attempt) } else { None }
        })
        .collect();
    times.sort();
    assert!(times[0] >= at(110) && times[times.len() - 1] <= at(170), "{times:?}");
    assert_eq!(dispatches(&bench.admit(&plain(200, 1), "fast")).len(), 1);
    // The next one for the slow destination is sent back at once.
    assert!(retry_of(&bench.admit(&plain(201, 1), "slow")).is_some());
}

#[test]
fn an_operator_can_have_a_message_or_a_destination_tried_at_once() {
    let resting = || {
        let mut bench = Bench::new(|s| s.destination_failures_max = 1);
        bench.admit(&plain(1, 1), "a");
        bench.finish(1, "a", vec![outcome(0, DOWN)]);
        assert!(dispatches(&bench.admit(&plain(2, 1), "a")).is_empty());
        bench
    };
    for scope in
        [RetryScope::All, RetryScope::Destination("a".into()), RetryScope::Messages(vec![QueueId(3)])]
    {
        let mut bench = resting();
        bench.store_is_empty = false;
        let out = bench.say(Event::Retry(scope.clone()));
        assert!(out.iter().any(|a| matches!(a, Action::Load { .. })), "{scope:?}");
        assert_eq!(dispatches(&bench.admit(&plain(3, 1), "a")).len(), 1, "{scope:?}");
    }
    let mut bench = resting();
    bench.say(Event::Retry(RetryScope::Messages(vec![QueueId(99), QueueId(3)])));
    // It was not in the store: that is not remembered for ever.
    assert!(dispatches(&bench.admit(&plain(3, 1), "a")).is_empty());
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut bench = Bench::new(|s| s.destination_failures_max = 1);
    bench.now = at(90 * 86_400);
    bench.admit(&plain(1, 1), "a");
    bench.finish(1, "a", vec![outcome(0, DOWN)]);
    bench.now = at(100);
    let out = bench.say(Event::Tick);
    assert!(out.iter().any(|a| matches!(a, Action::Load { .. })), "{out:?}");
    let until = bench.scheduler.destinations().next().unwrap().resting_until.unwrap();
    assert!(until <= at(1_900), "{until}");
}

#[test]
fn after_stop_nothing_new_begins() {
    let mut bench = Bench::new(|s| s.deliveries_max = 1);
    bench.admit(&plain(1, 1), "a");
    bench.admit(&plain(2, 1), "a");
    assert_eq!(bench.say(Event::Stop), []);
    assert_eq!(bench.admit(&plain(3, 1), "a"), [Action::Forget(QueueId(3))]);
    let end = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Delivered)]);
    assert!(dispatches(&end).is_empty() && end.contains(&Action::Forget(QueueId(1))));
}

#[test]
fn idle_destinations_are_forgotten_and_busy_ones_are_not() {
    let mut bench = Bench::new(|s| s.destinations_max = 10);
    bench.admit(&plain(1, 1), "busy");
    for id in 2..500 {
        let key = format!("d{id}");
        bench.admit(&plain(id, 1), &key);
        bench.finish(id, &key, vec![outcome(0, DeliveryResult::Delivered)]);
        assert!(bench.scheduler.figures().destinations <= 10);
    }
    assert!(bench.scheduler.destinations().any(|d| &*d.key == "busy" && d.in_flight == 1));
}

#[test]
fn the_clock_is_asked_for_when_something_is_to_come() {
    let mut bench = Bench::new(|_| ());
    let wake = |bench: &mut Bench, event| {
        bench.scheduler.handle(event, bench.now);
        std::iter::from_fn(|| bench.scheduler.poll())
            .filter_map(|a| if let Action::Wake(t) = a { Some(t) } else { None })
            .last()
    };
    bench.admit(&plain(1, 1), "a");
    bench.finish(1, "a", vec![outcome(0, BUSY)]);
    // The store is asked every ten seconds even if nothing is known to be due.
    bench.now = at(10);
    bench.store_is_empty = false;
    assert_eq!(bench.say(Event::Tick), [Action::Load { limit: 2000 }]);
    let next = wake(&mut bench, Event::Loaded { count: 0, next_due: Some(at(13)) });
    assert_eq!(next, Some(at(13)));
    assert_eq!(wake(&mut bench, Event::Tick), None, "the time is named once");
}

#[test]
fn a_message_whose_time_is_over_does_not_wait_for_its_turn_for_ever() {
    let mut bench = Bench::new(|s| s.deliveries_max = 1);
    bench.admit(&plain(1, 1), "a");
    let message = plain(2, 2);
    let destinations = vec![(0, "a".into()), (1, "b".into())];
    bench.say(Event::Admitted { entry: Arc::new(message.clone()), destinations, unroutable: Vec::new() });
    bench.scheduler.settings.delivery_seconds_max = 1_000_000;
    bench.now = at(432_900);
    assert!(
        !bench.say(Event::Tick).contains(&Action::Forget(QueueId(2))),
        "it is still owed its last attempt"
    );
    bench.now = at(432_911);
    let swept = bench.say(Event::Tick);
    assert_eq!(states(&message, &swept), [RecipientState::Failed; 2]);
    assert!(reports(&swept)[0].recipients.iter().all(|r| r.expired));
    assert!(swept.contains(&Action::Forget(QueueId(2))));
    assert_eq!(bench.scheduler.figures().waiting, 0);
}

#[test]
fn what_is_released_has_its_whole_time_and_warning_from_then_on() {
    let mut bench = Bench::new(|settings| settings.retry_jitter_percent = 0);
    bench.now = at(2_000_000);
    let mut message = plain(1, 1);
    message.state.released = Some(bench.now);
    bench.admit(&message, "a");
    let deferred = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Deferred(Trouble::Recipient))]);
    assert_eq!(retry_of(&deferred), Some((at(2_000_300), 1)));
    assert!(reports(&deferred).is_empty(), "{deferred:?}");
    bench.now = at(2_432_000);
    bench.admit(&message, "a");
    let ended = bench.finish(1, "a", vec![outcome(0, DeliveryResult::Deferred(Trouble::Recipient))]);
    assert!(reports(&ended)[0].recipients.iter().all(|r| r.expired), "{ended:?}");
}

/// Anything a confused runner might say.
#[derive(Debug, Clone)]
enum Noise {
    Admit { id: u64, keys: Vec<u8>, unroutable: bool },
    Finish { nth: usize, result: u8, short: bool },
    Stray { id: u64, key: u8 },
    Held(u64),
    Deleted(u64),
    Retry(u64),
    Loaded(usize),
    Pass(u64),
    Back(u64),
}

fn noise() -> impl Strategy<Value = Noise> {
    let id = 1..12_u64;
    prop_oneof![
        4 => (id.clone(), proptest::collection::vec(0..4_u8, 1..6), any::<bool>())
            .prop_map(|(id, keys, unroutable)| Noise::Admit { id, keys, unroutable }),
        6 => (any::<usize>(), 0..8_u8, any::<bool>()).prop_map(|(nth, result, short)| Noise::Finish { nth, result, short }),
        1 => (id.clone(), 0..4_u8).prop_map(|(id, key)| Noise::Stray { id, key }),
        1 => id.clone().prop_map(Noise::Held),
        1 => id.clone().prop_map(Noise::Deleted),
        1 => id.prop_map(Noise::Retry),
        1 => (0..100_usize).prop_map(Noise::Loaded),
        2 => (0..500_000_u64).prop_map(Noise::Pass),
        1 => (0..500_000_u64).prop_map(Noise::Back),
    ]
}

fn result_of(number: u8) -> DeliveryResult {
    match number {
        0 => DeliveryResult::Delivered,
        1 => DeliveryResult::Relayed,
        2 => DeliveryResult::Failed,
        3 => DeliveryResult::Deferred(Trouble::Local),
        4 => DeliveryResult::Deferred(Trouble::Dns),
        5 => DeliveryResult::Discarded,
        6 => BUSY,
        _ => DOWN,
    }
}

/// Plays the noise, and then ends all that runs: whatever was said, nothing may be left over.
fn play(noises: Vec<Noise>) {
    let mut bench = Bench::new(|s| {
        (s.active_max, s.deliveries_max, s.recipients_per_job, s.destination_failures_max) = (6, 7, 2, 2);
        s.delivery_seconds_max = u64::MAX / 1000;
    });
    bench.store_is_empty = false;
    let mut flying: Vec<(u64, String, Vec<u32>)> = Vec::new();
    let take = |flying: &mut Vec<(u64, String, Vec<u32>)>, said: Vec<Action>| {
        for (id, destination, recipients) in dispatches(&said) {
            let again = flying.iter().any(|(i, _, r)| *i == id && r.iter().any(|r| recipients.contains(r)));
            assert!(!again, "{id} {recipients:?} dispatched twice at once");
            flying.push((id, destination.to_owned(), recipients));
        }
    };
    for noise in noises {
        let event = match noise {
            Noise::Admit { id, keys, unroutable } => {
                let destinations =
                    (0..).zip(&keys).map(|(i, k): (u32, _)| (i, format!("d{k}").into())).collect();
                let unroutable =
                    if unroutable { vec![outcome(0, DeliveryResult::Failed)] } else { Vec::new() };
                Event::Admitted { entry: Arc::new(plain(id, keys.len())), destinations, unroutable }
            }
            Noise::Finish { nth, result, short } if !flying.is_empty() => {
                let (id, destination, mut recipients) = flying.remove(nth % flying.len());
                recipients.truncate(if short { 1 } else { recipients.len() });
                let outcomes = recipients.into_iter().map(|i| outcome(i, result_of(result))).collect();
                Event::Finished { id: QueueId(id), destination: destination.into(), outcomes }
            }
            Noise::Stray { id, key }
                if !flying.iter().any(|(i, d, _)| *i == id && *d == format!("d{key}")) =>
            {
                let destination = format!("d{key}").into();
                Event::Finished { id: QueueId(id), destination, outcomes: vec![outcome(0, DOWN)] }
            }
            Noise::Held(id) => Event::Held(QueueId(id)),
            Noise::Deleted(id) => Event::Deleted(QueueId(id)),
            Noise::Retry(id) => Event::Retry(RetryScope::Messages(vec![QueueId(id)])),
            Noise::Loaded(count) => Event::Loaded { count, next_due: None },
            Noise::Pass(seconds) => {
                bench.now = bench.now.plus(Duration::from_secs(seconds));
                Event::Tick
            }
            Noise::Back(seconds) => {
                bench.now = Timestamp(bench.now.0.saturating_sub(seconds * 1000));
                Event::Tick
            }
            Noise::Finish { .. } | Noise::Stray { .. } => Event::Retry(RetryScope::All),
        };
        let said = bench.say(event);
        take(&mut flying, said);
        let figures = bench.scheduler.figures();
        assert_eq!(figures.in_flight as usize, flying.len());
        assert!(figures.active <= 6 && figures.in_flight <= 7, "{figures:?}");
    }
    while let Some((id, destination, recipients)) = flying.pop() {
        let outcomes = recipients.into_iter().map(|i| outcome(i, DeliveryResult::Delivered)).collect();
        let said = bench.finish(id, &destination, outcomes);
        take(&mut flying, said);
    }
    let figures = bench.scheduler.figures();
    assert_eq!((figures.active, figures.recipients, figures.waiting, figures.in_flight), (0, 0, 0, 0));
}

proptest! {
    #[test]
    fn no_order_of_events_leaves_anything_behind(noises in proptest::collection::vec(noise(), 0..120)) {
        play(noises);
    }
}
