//! Counters of quarantine: what has left it and how, and who was written to.

use prometheus::IntCounter;

use super::labels::{LeftQuarantine, Row};
use super::{Definitions, Family, Metrics, family, with};

const LEFT: Family = family(
    "quarantine_left_total",
    "Messages that have left quarantine: released by an operator or a recipient, deleted by an operator, expired after [antispam.quarantine] days.",
    &["how"],
);
const DIGESTS: Family = family(
    "quarantine_digests_total",
    "Letters to recipients about what is new in quarantine for them.",
    &[],
);

/// The families.
pub(super) struct Quarantine {
    left: Row<LeftQuarantine, IntCounter>,
    digests: IntCounter,
}

impl Quarantine {
    pub(super) fn new(d: &Definitions) -> Result<Self, prometheus::Error> {
        Ok(Self { left: d.counter_row(&LEFT)?, digests: d.counter(&DIGESTS)? })
    }
}

impl Metrics {
    /// A message has left quarantine.
    pub fn left_quarantine(&self, how: LeftQuarantine) {
        with(self.quarantine.left.at(how), IntCounter::inc);
    }

    /// A recipient was written to about what is in quarantine.
    pub fn quarantine_digest(&self) {
        self.quarantine.digests.inc();
    }
}
