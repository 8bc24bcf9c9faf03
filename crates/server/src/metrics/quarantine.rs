//! Counters of quarantine: what has left it and how, and who was written to.

use prometheus::{IntCounter, IntGauge};

use super::labels::{LeftQuarantine, Row};
use super::{Definitions, Family, Metrics, family, with};

const LEFT: Family = family(
    "quarantine_left_total",
    "Messages that have left quarantine: released by an operator or a recipient, deleted by an operator, expired after [antispam.quarantine] days, displaced when there was too much.",
    &["how"],
);
const DIGESTS: Family = family(
    "quarantine_digests_total",
    "Letters to recipients about what is new in quarantine for them.",
    &[],
);

const KEPT: Family = family("quarantine_messages", "Messages in quarantine, counted once a minute.", &[]);
const KEPT_BYTES: Family = family(
    "quarantine_bytes",
    "Bytes of the messages in quarantine, as received, counted once a minute.",
    &[],
);

/// The families.
pub(super) struct Quarantine {
    left: Row<LeftQuarantine, IntCounter>,
    digests: IntCounter,
    kept: IntGauge,
    kept_bytes: IntGauge,
}

impl Quarantine {
    pub(super) fn new(d: &Definitions) -> Result<Self, prometheus::Error> {
        Ok(Self {
            left: d.counter_row(&LEFT)?,
            digests: d.counter(&DIGESTS)?,
            kept: d.gauge(&KEPT)?,
            kept_bytes: d.gauge(&KEPT_BYTES)?,
        })
    }
}

impl Metrics {
    /// A message has left quarantine.
    pub fn left_quarantine(&self, how: LeftQuarantine) {
        with(self.quarantine.left.at(how), IntCounter::inc);
    }

    /// So much is in quarantine.
    pub fn quarantine_holds(&self, messages: u64, bytes: u64) {
        self.quarantine.kept.set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.quarantine.kept_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A recipient was written to about what is in quarantine.
    pub fn quarantine_digest(&self) {
        self.quarantine.digests.inc();
    }
}
