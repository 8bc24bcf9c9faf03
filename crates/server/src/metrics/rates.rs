//! Counters of limits: who was asked to come back, accounts that were slowed, held and locked.

use antispam::connect::rates::{Event, Step};
use prometheus::{IntCounter, IntGauge};

use super::labels::{Grid, Limited, Row};
use super::{Definitions, Family, family, signed, with};

const LIMITED: Family = family(
    "rate_limited_total",
    "Replies that asked a client or an account to come back because it did too much within an hour, by what.",
    &["who", "event"],
);
const STEPS: Family = family(
    "account_steps_total",
    "Accounts that look broken into: slowed, their mail held, locked; at most once an hour for each.",
    &["step"],
);
const LOCKED: Family = family("accounts_locked", "Accounts that are locked now.", &[]);

/// The families.
pub(super) struct Rates {
    limited: Grid<Limited, Event, IntCounter>,
    steps: Row<Step, IntCounter>,
    locked: IntGauge,
}

impl Rates {
    pub(super) fn new(d: &Definitions) -> Result<Self, prometheus::Error> {
        Ok(Self {
            limited: d.counter_grid(&LIMITED)?,
            steps: d.counter_row(&STEPS)?,
            locked: d.gauge(&LOCKED)?,
        })
    }

    pub(super) fn limited(&self, who: Limited, event: Event) {
        with(self.limited.at(who, event), IntCounter::inc);
    }

    pub(super) fn step(&self, step: Step) {
        with(self.steps.at(step), IntCounter::inc);
    }

    pub(super) fn locked(&self, count: u64) {
        self.locked.set(signed(count));
    }
}
