//! Metrics of scanners, milters among them: they keep their own figures, which are copied here before they are shown. Label values are the names
//! in the configuration, and a closed set of ends.
//!
//! Figures of scanners begin anew at each reload; counters do not. What was counted between the last copy and a reload is
//! lost.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use antispam::remote::{End, Status};
use prometheus::{IntCounterVec, IntGaugeVec};

use super::lists::grown;
use super::{Definitions, Family, family};

const ASKED: Family = family(
    "scanner_askings_total",
    "Messages that a scanner was to look at, by how that ended.",
    &["scanner", "result"],
);
const IS_ASKED: Family = family(
    "scanner_asked",
    "1 while a scanner is asked, 0 while it is left alone because it does not answer.",
    &["scanner"],
);

/// The families, and what was copied last.
pub(super) struct Scanners {
    asked: IntCounterVec,
    is_asked: IntGaugeVec,
    copied: Mutex<HashMap<(String, &'static str), u64>>,
}

impl Scanners {
    pub(super) fn new(d: &Definitions) -> Result<Self, prometheus::Error> {
        Ok(Self {
            asked: d.register(IntCounterVec::new(ASKED.opts(), ASKED.labels)?)?,
            is_asked: d.register(IntGaugeVec::new(IS_ASKED.opts(), IS_ASKED.labels)?)?,
            copied: Mutex::default(),
        })
    }

    /// Copies how all scanners do now. Scanners that are gone keep their counters and lose their gauge.
    pub(super) fn copy(&self, all: &[Status]) {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_asked.reset();
        for status in all {
            let scanner = status.scanner.as_str();
            for (end, now) in &status.ends {
                let before = copied.insert((status.scanner.clone(), end.as_str()), *now).unwrap_or_default();
                if let Ok(counter) = self.asked.get_metric_with_label_values(&[scanner, end.as_str()]) {
                    counter.inc_by(grown(*now, before));
                }
            }
            if let Ok(gauge) = self.is_asked.get_metric_with_label_values(&[scanner]) {
                gauge.set(i64::from(status.is_asked));
            }
        }
        // A scanner that comes back after a reload without it has begun to count anew.
        copied.retain(|(scanner, _), _| all.iter().any(|status| status.scanner == *scanner));
    }
}

/// A scanner, for the reference.
pub(super) fn sample() -> Vec<Status> {
    let ends = End::ALL.map(|end| (end, 0)).to_vec();
    vec![Status { scanner: "scanner".to_owned(), is_asked: true, ends }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn counters_of_scanners_outlive_a_reload() {
        let metrics = Metrics::new().unwrap();
        let status = |count| {
            let mut all = sample();
            all[0].ends[0].1 = count;
            all[0].is_asked = count != 2;
            all
        };
        let value = |series: &str| {
            let text = metrics.render();
            let series = format!("staffetta_scanner_{series} ");
            text.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
        };
        metrics.scanners(&status(7));
        metrics.scanners(&status(2));
        let answered = "askings_total{result=\"answered\",scanner=\"scanner\"}";
        assert_eq!(value(answered).as_deref(), Some("9"));
        assert_eq!(value("askings_total{result=\"lost\",scanner=\"scanner\"}").as_deref(), Some("0"));
        assert_eq!(value("asked{scanner=\"scanner\"}").as_deref(), Some("0"));
        metrics.scanners(&[]);
        assert_eq!(value("asked{scanner=\"scanner\"}"), None);
        assert_eq!(value(answered).as_deref(), Some("9"));
    }
}
