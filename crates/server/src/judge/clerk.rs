//! Who writes down what the judge found and decided: in the daemon the log, the counters and the history; elsewhere, such
//! as `staffetta try`, whoever asks.
//!
//! A clerk never waits and never fails: a session does not depend on what is written about it.

use std::sync::Arc;

use mail::{Address, QueueId};
use policy::{Decision, MessageFacts, Score, StageReport, VerdictRecord};

use crate::learning::Class;
use crate::learning::teacher::Teacher;
use crate::maillog::{MailLog, VerdictLine};
use crate::metrics::Metrics;

use super::history::History;

/// Hears of all that a case comes to.
pub trait Clerk: Send + Sync {
    /// The checks of a stage have run.
    fn checked(&self, report: &StageReport);

    /// A recipient has passed, as far as is known before the message.
    fn passed(&self, _recipient: &Address, _decision: &Decision) {}

    /// A verdict.
    fn decided(&self, verdict: Told);

    /// A letter is sure to be this.
    fn learns(&self, _facts: &MessageFacts, _class: Class) {}
}

/// A verdict, and what is not in its record.
#[derive(Debug, Clone)]
pub struct Told {
    /// The verdict.
    pub record: VerdictRecord,
    /// The message, when there is one.
    pub id: Option<QueueId>,
    /// From which score on a message is marked, for the recipient that it speaks against most.
    pub required: Score,
    /// For how many days it is to be kept; 0 for not at all.
    pub days: u32,
}

/// The daemon's clerk.
pub struct Registrar {
    log: MailLog,
    metrics: Arc<Metrics>,
    history: Arc<History>,
    teacher: Teacher,
}

impl Registrar {
    /// A clerk who writes there.
    #[must_use]
    pub fn new(log: MailLog, metrics: Arc<Metrics>, history: Arc<History>, teacher: Teacher) -> Self {
        Self { log, metrics, history, teacher }
    }
}

impl Clerk for Registrar {
    fn checked(&self, report: &StageReport) {
        for time in &report.times {
            self.metrics.check(time);
        }
    }

    fn decided(&self, verdict: Told) {
        self.metrics.verdict(&verdict.record);
        let Told { record, id, required, days } = verdict;
        self.log.verdict(&VerdictLine { id, record: &record, required });
        self.history.keep(record, days);
    }

    fn learns(&self, facts: &MessageFacts, class: Class) {
        self.teacher.take(facts, class);
    }
}

/// Writes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoClerk;

impl Clerk for NoClerk {
    fn checked(&self, _: &StageReport) {}

    fn decided(&self, _: Told) {}
}
