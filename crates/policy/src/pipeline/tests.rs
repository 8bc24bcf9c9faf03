//! Checks that answer, hang, break down and give up, under a clock that stands still until all wait.

use std::net::IpAddr;

use mail::Timestamp;

use super::*;
use crate::check::Work;
use crate::facts::{BeforeGreeting, ConnectFacts, Door};

fn facts(trusted: bool) -> ConnectFacts {
    ConnectFacts {
        session: "S1".into(),
        at: Timestamp::from_seconds(1),
        client: IpAddr::from([192, 0, 2, 9]),
        port: 4711,
        local: None,
        door: Door::Mx,
        trusted,
        known: false,
        before_greeting: BeforeGreeting::NotWatched,
        auth: AuthFacts::default(),
    }
}

#[derive(Clone, Copy)]
enum Does {
    Answers(u64),
    Hangs,
    Panics,
    GivesUp,
}

struct Probe(&'static str, Does);

impl Check<Connect> for Probe {
    fn name(&self) -> &str {
        self.0
    }
    fn symbols(&self) -> Vec<SymbolDef> {
        vec![SymbolDef::new("SEEN", Score::points(1), "seen")]
    }
    fn budget(&self) -> Duration {
        Duration::from_secs(2)
    }
    fn run<'a>(&'a self, _: &'a ConnectFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            found.saw("SEEN", self.0);
            match self.1 {
                Does::Answers(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Does::Hangs => std::future::pending().await,
                Does::Panics => panic!("a mistake of the check {}", self.0),
                Does::GivesUp => found.unfinished("SERVFAIL"),
            }
        })
    }
}

fn checks(all: &[(&'static str, Does)], settings: CheckSettings) -> Checks<Connect> {
    let mut checks = Checks::default();
    for (name, does) in all {
        checks.add(Arc::new(Probe(name, *does)), settings);
    }
    checks
}

fn symbols(report: &StageReport) -> Vec<String> {
    report.findings.iter().map(|f| format!("{} {}", f.symbol, f.evidence)).collect()
}

#[tokio::test(start_paused = true)]
async fn all_checks_wait_at_once_and_report_in_their_own_order() {
    let checks =
        checks(&[("slow", Does::Answers(900)), ("quick", Does::Answers(10))], CheckSettings::default());
    let report = checks.run(&facts(false), Duration::from_secs(30)).await;
    assert_eq!(symbols(&report), ["SEEN slow", "SEEN quick"]);
    assert_eq!(report.took, Duration::from_millis(900));
    assert_eq!(report.times.iter().map(|t| t.micros).collect::<Vec<_>>(), [900_000, 10_000]);
    assert!(report.findings.iter().all(|f| f.scope == Scope::Session));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_costs_its_budget_and_says_so() {
    let checks = checks(&[("hangs", Does::Hangs), ("quick", Does::Answers(10))], CheckSettings::default());
    let report = checks.run(&facts(false), Duration::from_secs(30)).await;
    assert_eq!(
        symbols(&report),
        ["SEEN hangs", "HANGS_TIMEOUT not finished after 2000 ms", "SEEN quick"],
        "what it had found before stays"
    );
    assert_eq!(report.took, Duration::from_secs(2));
    assert!(report.unfinished.is_empty(), "ignored by default");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_before_a_budget_that_is_longer() {
    let report = checks(
        &[("hangs", Does::Hangs)],
        CheckSettings { budget_ms: Some(60_000), ..CheckSettings::default() },
    )
    .run(&facts(false), Duration::from_millis(700))
    .await;
    assert_eq!(report.took, Duration::from_millis(700));
    assert_eq!(report.times[0].end, CheckEnd::OutOfTime);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_costs_nobody_else() {
    let checks = checks(&[("breaks", Does::Panics), ("quick", Does::Answers(10))], CheckSettings::default());
    let report = checks.run(&facts(false), Duration::from_secs(30)).await;
    assert_eq!(symbols(&report), ["SEEN breaks", "BREAKS_TIMEOUT broke down", "SEEN quick"]);
    assert_eq!(report.times[0].end, CheckEnd::BrokeDown);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_is_told_and_answered_as_the_operator_wants() {
    let settings = CheckSettings {
        on_unknown: Some(OnUnknown::Tempfail),
        mode: Some(Mode::Tag),
        ..CheckSettings::default()
    };
    let report =
        checks(&[("asks", Does::GivesUp)], settings).run(&facts(false), Duration::from_secs(30)).await;
    assert_eq!(symbols(&report), ["SEEN asks", "ASKS_TIMEOUT SERVFAIL"]);
    assert_eq!(
        report.unfinished,
        [Unfinished { check: "asks".into(), mode: Mode::Tag, certain: false, scope: Scope::Session }]
    );
    assert!(report.findings.iter().all(|f| f.mode == Mode::Tag));
}

#[tokio::test(start_paused = true)]
async fn checks_judge_strangers_only_unless_they_say_otherwise() {
    let checks = checks(&[("quick", Does::Answers(1))], CheckSettings::default());
    assert!(checks.run(&facts(true), Duration::from_secs(1)).await.times.is_empty());
    assert_eq!(checks.run(&facts(false), Duration::from_secs(1)).await.times.len(), 1);
}

#[test]
fn the_symbols_of_a_pipeline_include_what_is_said_when_it_hangs() {
    let connect = checks(&[("probe", Does::Hangs)], CheckSettings::default());
    let pipeline = Pipeline { connect, ..Pipeline::default() };
    let names: Vec<String> = pipeline.symbols().iter().map(|def| def.symbol.to_string()).collect();
    assert_eq!(names, ["SEEN", "PROBE_TIMEOUT"]);
}
