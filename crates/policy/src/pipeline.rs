//! Runs the checks of a stage: all at once, in the session's own task, under one deadline.
//!
//! Never judges. A check that does not finish, or breaks down, adds its `*_TIMEOUT` symbol and what it had found before;
//! the session goes on. What comes back is in the order of the checks, whichever was faster (invariant I5). The one file
//! of this crate that knows a clock: the runtime's, for budgets and for the time each check took.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::auth::AuthFacts;
use crate::check::{Check, CheckSettings, DnsAnswer, Finding, Findings, OnUnknown};
use crate::mode::Mode;
use crate::ruling::{Ruling, bounded_to};
use crate::score::Score;
use crate::stage::{Connect, EndOfData, Helo, Mail, Rcpt, Scope, Stage, StageMarker};
use crate::symbol::{SymbolDef, timeout_symbol};

/// Longest name of a check that records keep, in octets.
const CHECK_BYTES_MAX: usize = 64;

/// All checks, by stage.
#[derive(Default)]
pub struct Pipeline {
    /// Asked when a connection is there.
    pub connect: Checks<Connect>,
    /// Asked at HELO.
    pub helo: Checks<Helo>,
    /// Asked at MAIL.
    pub mail: Checks<Mail>,
    /// Asked at RCPT.
    pub rcpt: Checks<Rcpt>,
    /// Asked after DATA.
    pub end_of_data: Checks<EndOfData>,
}

impl Pipeline {
    /// Every symbol that any check may add, each check's `*_TIMEOUT` among them; for [`crate::ScoreBook`].
    #[must_use]
    pub fn symbols(&self) -> Vec<SymbolDef> {
        let mut all = self.connect.symbols();
        all.extend(self.helo.symbols());
        all.extend(self.mail.symbols());
        all.extend(self.rcpt.symbols());
        all.extend(self.end_of_data.symbols());
        all
    }
}

/// The checks of one stage.
pub struct Checks<S: StageMarker> {
    all: Vec<Entry<S>>,
}

struct Entry<S: StageMarker> {
    check: Arc<dyn Check<S>>,
    settings: CheckSettings,
}

impl<S: StageMarker> Default for Checks<S> {
    fn default() -> Self {
        Self { all: Vec::new() }
    }
}

impl<S: StageMarker> Checks<S> {
    /// One more check, as it is set up.
    pub fn add(&mut self, check: Arc<dyn Check<S>>, settings: CheckSettings) {
        self.all.push(Entry { check, settings });
    }

    /// Those of these names alone, in their order.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        let wanted = self.all.iter().filter(|entry| names.contains(&entry.check.name()));
        let all = wanted.map(|entry| Entry { check: Arc::clone(&entry.check), settings: entry.settings });
        Self { all: all.collect() }
    }

    /// The names of the checks, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|entry| entry.check.name())
    }

    /// Every symbol that these checks may add.
    #[must_use]
    pub fn symbols(&self) -> Vec<SymbolDef> {
        let mut all = Vec::new();
        for entry in &self.all {
            all.extend(entry.check.symbols());
            all.push(SymbolDef {
                symbol: timeout_symbol(entry.check.name()),
                score: Score::ZERO,
                group: None,
                meaning: format!("the check {} did not finish", entry.check.name()).into(),
            });
        }
        all
    }

    /// Asks all checks that apply, at once, and waits for them, at most for `deadline` in all.
    pub async fn run(&self, facts: &S::Facts, deadline: Duration) -> StageReport {
        let started = Instant::now();
        let applying = self.all.iter().enumerate().filter(|(_, entry)| entry.applies(facts));
        let running: FuturesUnordered<_> = applying
            .map(|(at, entry)| async move { (at, entry.run(facts, started, deadline).await) })
            .collect();
        let mut done: Vec<(usize, Run)> = running.collect().await;
        done.sort_by_key(|(at, _)| *at);
        let mut report = StageReport::new(S::STAGE);
        for (_, run) in done {
            report.take(run);
        }
        report.took = started.elapsed();
        report
    }
}

/// What one check has brought.
struct Run {
    name: String,
    found: Findings,
    end: CheckEnd,
    took: Duration,
    mode: Mode,
    tempfail: bool,
    certain: bool,
}

impl<S: StageMarker> Entry<S> {
    /// A check that breaks down when it is asked whether it applies is run, and breaks down there, where it is seen.
    fn applies(&self, facts: &S::Facts) -> bool {
        std::panic::catch_unwind(AssertUnwindSafe(|| self.check.applies(facts))).unwrap_or(true)
    }

    async fn run(&self, facts: &S::Facts, started: Instant, deadline: Duration) -> Run {
        let budget = self.settings.budget_ms.map_or_else(|| self.check.budget(), Duration::from_millis);
        let mut found = Findings::default();
        let work = AssertUnwindSafe(async { self.check.run(facts, &mut found).await }).catch_unwind();
        let end = match timeout_at(started + budget.min(deadline), work).await {
            Ok(Ok(())) => CheckEnd::Finished,
            Ok(Err(_)) => CheckEnd::BrokeDown,
            Err(_) => CheckEnd::OutOfTime,
        };
        let end =
            if found.unfinished.is_some() && end == CheckEnd::Finished { CheckEnd::Unknown } else { end };
        let on_unknown = self.settings.on_unknown.unwrap_or_else(|| self.check.on_unknown());
        let mode = self.settings.mode.unwrap_or_default();
        Run {
            name: bounded_to(self.check.name(), CHECK_BYTES_MAX),
            found,
            end,
            took: started.elapsed(),
            mode,
            tempfail: end != CheckEnd::Finished && on_unknown == OnUnknown::Tempfail,
            certain: self.check.is_certain(),
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckEnd {
    /// It found out what it wanted to know.
    Finished,
    /// It says itself that it could not find out.
    Unknown,
    /// Its budget or the deadline was over.
    OutOfTime,
    /// It panicked: a mistake in the program, which cost this check alone.
    BrokeDown,
}

impl CheckEnd {
    /// Its name in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unknown => "unknown",
            Self::OutOfTime => "out_of_time",
            Self::BrokeDown => "broke_down",
        }
    }
}

/// How long a check took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckTime {
    /// Its name.
    pub check: String,
    /// The stage it was asked at.
    pub stage: Stage,
    /// From the start of the stage to its end, in microseconds.
    pub micros: u64,
    /// How it ended.
    pub end: CheckEnd,
}

/// A check that did not finish, and whose operator wants the client to come back then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its name.
    pub check: String,
    /// How much it may do.
    pub mode: Mode,
    /// It acts in every mode.
    pub certain: bool,
    /// What it counts for: as its stage has it.
    pub scope: Scope,
}

/// What a stage has brought.
#[derive(Debug, Clone)]
pub struct StageReport {
    /// Which.
    pub stage: Stage,
    /// The symbols, in the order of the checks.
    pub findings: Vec<Finding>,
    /// What decides alone.
    pub rulings: Vec<Ruling>,
    /// What DNS said.
    pub dns: Vec<DnsAnswer>,
    /// How long each check took.
    pub times: Vec<CheckTime>,
    /// Checks whose not finishing is to be answered 451.
    pub unfinished: Vec<Unfinished>,
    /// What authentication found: to be put into the facts of the stages to come.
    pub learnt: AuthFacts,
    /// What was found beyond the bounds, and so is not here.
    pub left_out: usize,
    /// How long all took together.
    pub took: Duration,
}

impl StageReport {
    /// Nothing found, at this stage.
    #[must_use]
    pub fn new(stage: Stage) -> Self {
        Self {
            stage,
            findings: Vec::new(),
            rulings: Vec::new(),
            dns: Vec::new(),
            times: Vec::new(),
            unfinished: Vec::new(),
            learnt: AuthFacts::default(),
            left_out: 0,
            took: Duration::ZERO,
        }
    }

    fn take(&mut self, run: Run) {
        let Run { name, found, end, took, mode, tempfail, certain } = run;
        let Findings { findings, rulings, dns, learnt, unfinished, left_out } = found;
        let natural = self.stage.scope();
        let settle = |finding: Finding| Finding { scope: finding.scope.max(natural), mode, ..finding };
        self.findings.extend(findings.into_iter().map(settle));
        self.rulings.extend(rulings.into_iter().map(|r| Ruling { scope: r.scope.max(natural), mode, ..r }));
        if end != CheckEnd::Finished {
            let why = unfinished.unwrap_or_else(|| reason(end, took));
            self.findings.push(settle(Finding::new(timeout_symbol(&name)).evidence(&why)));
        }
        if tempfail {
            self.unfinished.push(Unfinished { check: name.clone(), mode, certain, scope: natural });
        }
        self.dns.extend(dns);
        self.learnt.learn(learnt);
        self.left_out += left_out;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.times.push(CheckTime { check: name, stage: self.stage, micros, end });
    }
}

fn reason(end: CheckEnd, took: Duration) -> String {
    match end {
        CheckEnd::BrokeDown => "broke down".to_owned(),
        _ => format!("not finished after {} ms", took.as_millis()),
    }
}

#[cfg(test)]
mod tests;
