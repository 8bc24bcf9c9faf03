//! Metrics of DNS lists: the lists keep their own figures, which are copied here before they are shown. Label values are the
//! names in the configuration, without a key.
//!
//! Figures of lists begin anew at each reload; counters do not. What was counted between the last copy and a reload is lost.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use antispam::connect::dnsbl::lists::{Figures, Status};
use prometheus::{IntCounterVec, IntGaugeVec};

use super::{Definitions, Family, family};

const ANSWERS: Family = family(
    "dnsbl_answers_total",
    "Answers of DNS lists about clients, those from memory among them; unknown are questions without an answer.",
    &["list", "family", "answer"],
);
const SUSPENSIONS: Family = family(
    "dnsbl_suspensions_total",
    "How often a DNS list was suspended; `staffetta dnsbl status` says why.",
    &["list", "family"],
);
const HEALTHY: Family = family(
    "dnsbl_healthy",
    "1 while a DNS list is asked, 0 while it is suspended or was not tested yet.",
    &["list", "family"],
);

/// The families, and what was copied last.
pub(super) struct Lists {
    answers: IntCounterVec,
    suspensions: IntCounterVec,
    healthy: IntGaugeVec,
    copied: Mutex<HashMap<(String, String), Figures>>,
}

impl Lists {
    pub(super) fn new(d: &Definitions) -> Result<Self, prometheus::Error> {
        Ok(Self {
            answers: d.register(IntCounterVec::new(ANSWERS.opts(), ANSWERS.labels)?)?,
            suspensions: d.register(IntCounterVec::new(SUSPENSIONS.opts(), SUSPENSIONS.labels)?)?,
            healthy: d.register(IntGaugeVec::new(HEALTHY.opts(), HEALTHY.labels)?)?,
            copied: Mutex::default(),
        })
    }

    /// Copies how all lists do now. Lists that are gone keep their counters and lose their gauge.
    pub(super) fn copy(&self, all: &[Status]) {
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        self.healthy.reset();
        for status in all {
            let (list, family) = (status.list.as_str(), status.family.as_str());
            let now = status.figures;
            let key = (status.list.clone(), status.family.clone());
            let before = copied.insert(key, now).unwrap_or_default();
            for (answer, now, before) in [
                ("listed", now.listed, before.listed),
                ("not_listed", now.not_listed, before.not_listed),
                ("unknown", now.unknown, before.unknown),
            ] {
                if let Ok(counter) = self.answers.get_metric_with_label_values(&[list, family, answer]) {
                    counter.inc_by(grown(now, before));
                }
            }
            if let Ok(counter) = self.suspensions.get_metric_with_label_values(&[list, family]) {
                counter.inc_by(grown(now.suspensions, before.suspensions));
            }
            if let Ok(gauge) = self.healthy.get_metric_with_label_values(&[list, family]) {
                gauge.set(i64::from(status.state == "healthy"));
            }
        }
        // A list that comes back after a reload without it has begun to count anew.
        copied.retain(|(list, family), _| all.iter().any(|s| s.list == *list && s.family == *family));
    }
}

/// A list, for the reference.
pub(super) fn sample() -> Vec<Status> {
    let of = |family: &str| Status {
        list: "list".to_owned(),
        family: family.to_owned(),
        state: "unproven".to_owned(),
        since: None,
        why: None,
        why_label: None,
        probe_at: mail::Timestamp(0),
        figures: Figures::default(),
        kept: 0,
    };
    vec![of("ipv4"), of("ipv6")]
}

/// How much has come since the last copy; less than before is a new beginning.
pub(super) fn grown(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn status(list: &str, state: &str, listed: u64) -> Status {
        let figures = Figures { listed, suspensions: listed / 10, ..Figures::default() };
        let mut status = sample().remove(0);
        status.list = list.to_owned();
        status.state = state.to_owned();
        status.figures = figures;
        status
    }

    #[test]
    fn counters_of_lists_outlive_a_reload_and_gauges_do_not() {
        let metrics = Metrics::new().unwrap();
        let value = |name: &str, list: &str, more: &str| {
            let series = format!("staffetta_dnsbl_{name}{{{more}family=\"ipv4\",list=\"{list}\"}} ");
            let text = metrics.render();
            text.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
        };
        metrics.lists(&[status("a.test", "unproven", 0)]);
        assert_eq!(value("answers_total", "a.test", "answer=\"unknown\",").as_deref(), Some("0"));
        assert_eq!(value("suspensions_total", "a.test", "").as_deref(), Some("0"));
        metrics.lists(&[status("a.test", "healthy", 20), status("b.test", "suspended", 1)]);
        // After a reload.
        metrics.lists(&[status("a.test", "healthy", 3)]);
        assert_eq!(value("answers_total", "a.test", "answer=\"listed\",").as_deref(), Some("23"));
        assert_eq!(value("answers_total", "b.test", "answer=\"listed\",").as_deref(), Some("1"));
        assert_eq!(value("suspensions_total", "a.test", "").as_deref(), Some("2"));
        assert_eq!(value("healthy", "a.test", "").as_deref(), Some("1"));
        assert_eq!(value("healthy", "b.test", ""), None);
    }
}
