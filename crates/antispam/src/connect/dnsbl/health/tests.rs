//! The life of a list, told in answers and hours.

use super::*;
use proptest::prelude::*;

const SILENT: Probe = Probe::Unknown(ListFailure::Silent);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn settings() -> HealthSettings {
    HealthSettings { listed_sample_min: 10, ..HealthSettings::default() }
}

fn listed() -> Verdict {
    Verdict::Listed(vec![Ipv4Addr::new(127, 0, 0, 2)])
}

fn healthy(now: u64) -> Health {
    let mut health = Health::default();
    assert_eq!(health.probed(Probe::Passed, at(now), &settings()), None);
    assert!(health.is_healthy());
    health
}

#[test]
fn a_list_is_not_asked_before_it_is_proven() {
    let health = Health::default();
    assert!(!health.is_healthy());
    assert_eq!(health.probe_at(), at(0));
    let mut silent = Health::default();
    let change = silent.probed(SILENT, at(5), &settings());
    assert_eq!(change, Some(Change::Suspended(Why::Silent(ListFailure::Silent))));
}

#[test]
fn probes_are_judged_by_both_entries() {
    let (none, unknown) = (Verdict::NotListed, Verdict::Unknown(ListFailure::ServFail));
    let blocked = Verdict::Unusable(Ipv4Addr::new(127, 255, 255, 254));
    let failed = |why| Probe::Failed(why);
    for (two, one, probe) in [
        (listed(), none.clone(), Probe::Passed),
        (listed(), listed(), failed(Why::ListsEverything)),
        (unknown.clone(), listed(), failed(Why::ListsEverything)),
        (none.clone(), none.clone(), failed(Why::TestEntryMissing)),
        (none.clone(), unknown.clone(), failed(Why::TestEntryMissing)),
        (blocked.clone(), blocked.clone(), failed(Why::Unusable(Ipv4Addr::new(127, 255, 255, 254)))),
        (listed(), blocked, failed(Why::Unusable(Ipv4Addr::new(127, 255, 255, 254)))),
        (unknown.clone(), none, Probe::Unknown(ListFailure::ServFail)),
        (listed(), unknown, Probe::Unknown(ListFailure::ServFail)),
    ] {
        assert_eq!(Probe::of(&two, &one), probe, "{two:?} {one:?}");
    }
}

#[test]
fn a_healthy_list_is_probed_every_hour_and_a_failure_suspends_it_until_it_passes() {
    let mut health = healthy(0);
    assert_eq!(health.probe_at(), at(3_600));
    let gone = Change::Suspended(Why::TestEntryMissing);
    assert_eq!(health.probed(Probe::Failed(Why::TestEntryMissing), at(3_600), &settings()), Some(gone));
    assert_eq!(health.probe_at(), at(3_660));
    // The same trouble is told once, another one again.
    assert_eq!(health.probed(Probe::Failed(Why::TestEntryMissing), at(3_660), &settings()), None);
    let all = Some(Change::Suspended(Why::ListsEverything));
    assert_eq!(health.probed(Probe::Failed(Why::ListsEverything), at(3_720), &settings()), all);
    assert_eq!(health.probed(SILENT, at(3_800), &settings()), None);
    assert_eq!(health.probed(Probe::Passed, at(4_000), &settings()), Some(Change::Recovered));
    assert!(health.is_healthy());
}

#[test]
fn a_suspended_list_is_probed_ever_less_often_but_every_hour() {
    let mut health = healthy(0);
    health.probed(Probe::Failed(Why::TestEntryMissing), at(0), &settings());
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let now = health.probe_at();
        health.probed(Probe::Failed(Why::TestEntryMissing), now, &settings());
        pauses.push(health.probe_at().since(now).as_secs());
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
}

#[test]
fn one_unusable_answer_suspends_at_once() {
    let mut health = healthy(0);
    let code = Ipv4Addr::new(127, 255, 255, 255);
    let change = health.answered(&Verdict::Unusable(code), at(10), &settings());
    assert_eq!(change, Some(Change::Suspended(Why::Unusable(code))));
    // Answers that were under way then say nothing new.
    assert_eq!(health.answered(&Verdict::Unusable(code), at(11), &settings()), None);
    assert_eq!(health.answered(&listed(), at(11), &settings()), None);
}

#[test]
fn a_list_that_lists_too_many_is_kept_out_longer_each_time() {
    let mut health = healthy(0);
    let mut now = 0;
    let mut holds = Vec::new();
    for _ in 0..7 {
        let changes: Vec<_> = (0..10).map(|_| health.answered(&listed(), at(now), &settings())).collect();
        assert_eq!(changes[9], Some(Change::Suspended(Why::ListsTooMany { percent: 100 })));
        assert!(changes[..9].iter().all(Option::is_none));
        let suspended = now;
        // It passes its probes all the time.
        while !health.is_healthy() {
            now = health.probe_at().seconds();
            health.probed(Probe::Passed, at(now), &settings());
        }
        holds.push((now - suspended) / 3_600);
    }
    assert_eq!(holds, [1, 2, 4, 8, 16, 24, 24]);
    // A day of good conduct, and the record is clean.
    health.probed(Probe::Passed, at(now + 86_400), &settings());
    let suspended = now + 86_400;
    let changes = (0..10).filter_map(|_| health.answered(&listed(), at(suspended), &settings())).count();
    assert_eq!(changes, 1);
    health.probed(Probe::Passed, at(suspended + 3_600), &settings());
    assert!(health.is_healthy(), "one hour again");
}

#[test]
fn a_list_that_has_most_clients_is_believed() {
    let mut health = healthy(0);
    for client in 0..10_000_u32 {
        let verdict = if client % 20 == 19 { Verdict::NotListed } else { listed() };
        assert_eq!(health.answered(&verdict, at(1), &HealthSettings::default()), None, "{client}");
    }
    // And one that dies after a long life is found out soon.
    let mut health = healthy(0);
    let answer = |health: &mut Health, verdict| health.answered(&verdict, at(1), &HealthSettings::default());
    (0..100_000).for_each(|_| assert_eq!(answer(&mut health, Verdict::NotListed), None));
    let needed = (0..10_000).position(|_| answer(&mut health, listed()).is_some());
    assert!(needed.is_some_and(|clients| clients < 3_000), "{needed:?}");
}

#[test]
fn silence_about_clients_brings_a_probe_and_silent_probes_a_suspension() {
    let mut health = healthy(0);
    let unknown = Verdict::Unknown(ListFailure::Silent);
    for second in 1..5 {
        assert_eq!(health.answered(&unknown, at(second), &settings()), None);
    }
    assert_eq!(health.probe_at(), at(3_600));
    health.answered(&unknown, at(5), &settings());
    assert_eq!(health.probe_at(), at(5));
    let silent = Some(Change::Suspended(Why::Silent(ListFailure::Silent)));
    assert_eq!(health.probed(SILENT, at(5), &settings()), silent);
    assert_eq!(health.probed(Probe::Passed, at(200), &settings()), Some(Change::Recovered));

    // Where no client waits, one lost probe is nothing.
    let mut quiet = healthy(0);
    assert_eq!(quiet.probed(SILENT, at(3_600), &settings()), None);
    assert!(quiet.is_healthy() && quiet.probe_at() == at(3_660));
    assert_eq!(quiet.probed(SILENT, at(3_660), &settings()), None);
    assert_eq!(quiet.probed(SILENT, at(3_720), &settings()), silent);
}

#[test]
fn an_answer_ends_the_count_of_silences() {
    let mut health = healthy(0);
    for second in 1..100 {
        let unknown = second % 5 != 0;
        let verdict = if unknown { Verdict::Unknown(ListFailure::Silent) } else { Verdict::NotListed };
        health.answered(&verdict, at(second), &settings());
    }
    assert_eq!(health.probe_at(), at(3_600));
}

proptest! {
    /// Whatever happens: it is never asked unless the last thing that was proven is good, and a probe always comes
    /// within an hour and never for ever at once.
    #[test]
    fn it_always_comes_back(steps in proptest::collection::vec((0_u8..8, 1_u64..5_000), 0..200)) {
        let mut health = Health::default();
        let mut now = 0;
        for (kind, seconds) in steps {
            now += seconds;
            let before = health.is_healthy();
            let change = match kind {
                0 => health.probed(Probe::Passed, at(now), &settings()),
                1 => health.probed(Probe::Failed(Why::ListsEverything), at(now), &settings()),
                2 => health.probed(SILENT, at(now), &settings()),
                3 => health.answered(&Verdict::Unusable(Ipv4Addr::LOCALHOST), at(now), &settings()),
                4 => health.answered(&Verdict::Unknown(ListFailure::Refused), at(now), &settings()),
                5 => health.answered(&Verdict::NotListed, at(now), &settings()),
                _ => health.answered(&listed(), at(now), &settings()),
            };
            if before != health.is_healthy() && before {
                prop_assert!(matches!(change, Some(Change::Suspended(_))));
            }
            prop_assert!(health.probe_at().since(at(now)) <= Duration::from_secs(86_400));
        }
        for _ in 0..30 {
            let due = health.probe_at().max(at(now));
            now = due.seconds();
            health.probed(Probe::Passed, due, &settings());
        }
        prop_assert!(health.is_healthy());
    }
}
