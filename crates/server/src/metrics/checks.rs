//! Counters of checks and symbols: label values come from the score book and the pipeline, and are laid out when these are
//! made, at the start and at each reload. What was not laid out is not counted, so nothing a peer says makes a series.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use policy::{CheckEnd, CheckTime};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec};

use super::{Definitions, Family, family};

/// Seconds that a check takes.
const CHECK_BOUNDS: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 3.0, 10.0];

const SECONDS: Family = family("check_seconds", "How long a check took.", &["check"]);
const UNFINISHED: Family = family(
    "checks_unfinished_total",
    "Checks that ran out of time, broke down, or could not find out what they wanted to know.",
    &["check"],
);
const SYMBOLS: Family =
    family("symbols_total", "Verdicts in which a symbol was found, with its score or without.", &["symbol"]);

/// The families, and their series by name.
pub(super) struct Checks {
    seconds: HistogramVec,
    unfinished: IntCounterVec,
    symbols: IntCounterVec,
    series: RwLock<Series>,
}

#[derive(Default)]
struct Series {
    checks: HashMap<String, (Histogram, IntCounter)>,
    symbols: HashMap<String, IntCounter>,
}

impl Checks {
    pub(super) fn new(d: &Definitions) -> Result<Self, prometheus::Error> {
        let opts = HistogramOpts::from(SECONDS.opts()).buckets(CHECK_BOUNDS.to_vec());
        Ok(Self {
            seconds: d.register(HistogramVec::new(opts, SECONDS.labels)?)?,
            unfinished: d.register(IntCounterVec::new(UNFINISHED.opts(), UNFINISHED.labels)?)?,
            symbols: d.register(IntCounterVec::new(SYMBOLS.opts(), SYMBOLS.labels)?)?,
            series: RwLock::default(),
        })
    }

    /// Lays out what is not there yet; what is there stays, as counters must.
    pub(super) fn lay_out<'a>(
        &self,
        checks: impl Iterator<Item = &'a str>,
        symbols: impl Iterator<Item = &'a str>,
    ) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        for check in checks {
            let pair = (
                self.seconds.get_metric_with_label_values(&[check]),
                self.unfinished.get_metric_with_label_values(&[check]),
            );
            if let (Ok(seconds), Ok(unfinished)) = pair {
                series.checks.insert(check.to_owned(), (seconds, unfinished));
            }
        }
        for symbol in symbols {
            if let Ok(counter) = self.symbols.get_metric_with_label_values(&[symbol]) {
                series.symbols.insert(symbol.to_owned(), counter);
            }
        }
    }

    pub(super) fn ran(&self, time: &CheckTime) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((seconds, unfinished)) = series.checks.get(&time.check) {
            seconds.observe(time.micros as f64 / 1e6);
            if time.end != CheckEnd::Finished {
                unfinished.inc();
            }
        }
    }

    pub(super) fn seen<'a>(&self, symbols: impl Iterator<Item = &'a str>) {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        for symbol in symbols {
            if let Some(counter) = series.symbols.get(symbol) {
                counter.inc();
            }
        }
    }
}
