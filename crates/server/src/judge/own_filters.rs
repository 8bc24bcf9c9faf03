//! What filters of domains and accounts have said goes to their own recipients, and what the shared one has said to all others.
//!
//! A recipient has the one or the other, never both. Nobody's copy, and nobody's points, tell what another's filter thinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use antispam::end_of_data::bayes;
use antispam::end_of_data::own_filters::{Heard, Spoken};
use antispam::learn::Filters;
use delivery::Router;
use mail::Address;
use policy::{CheckTime, MessageFacts, Stage, StageReport};

use super::Judge;

/// Their name in records and metrics.
pub(super) const NAME: &str = "own_filters";

impl Judge {
    /// Whose mailbox each recipient leads to, by the ends of its aliases: nobody's when there are several. Empty when nobody
    /// has a filter of his own.
    pub async fn mailboxes<'a>(
        &self,
        router: &Router,
        finals: impl Iterator<Item = &'a [Address]>,
    ) -> Vec<Option<Address>> {
        let mut mailboxes = Vec::new();
        if self.own_filters.kind() == Filters::Shared {
            return mailboxes;
        }
        for ends in finals {
            mailboxes.push(match ends {
                [only] => router.mailbox_of(only).await,
                _ => None,
            });
        }
        mailboxes
    }

    /// Asks them, within `time_max`; with how long that took. None when there is nobody to ask.
    pub(super) async fn ask_own_filters(
        &self,
        facts: &MessageFacts,
        mailboxes: &[Option<Address>],
        time_max: Duration,
    ) -> Option<(Heard, CheckTime)> {
        let started = Instant::now();
        let mut heard = self.own_filters.ask(facts, mailboxes, time_max).await?;
        // How much the classifier may do holds for all its filters.
        let mode = self.settings.check.get(bayes::NAME).and_then(|check| check.mode).unwrap_or_default();
        for finding in heard.spoken.iter_mut().flat_map(|spoken| &mut spoken.findings) {
            finding.mode = mode;
        }
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let took = CheckTime { check: NAME.to_owned(), stage: Stage::EndOfData, micros, end: heard.end };
        Some((heard, took))
    }
}

/// What each recipient is to hear, instead of what the shared filter has said to all so many.
pub(super) fn told_apart(report: &mut StageReport, own: Option<Heard>, recipients: usize) {
    let spoken = own.map(|own| own.spoken).unwrap_or_default();
    if spoken.is_empty() {
        return;
    }
    let others: Arc<[usize]> =
        (0..recipients).filter(|number| spoken.iter().all(|one| !one.recipients.contains(number))).collect();
    for finding in report.findings.iter_mut().filter(|finding| bayes::is_told(&finding.symbol)) {
        finding.only = Some(Arc::clone(&others));
    }
    for Spoken { recipients, findings } in spoken {
        let recipients: Arc<[usize]> = recipients.into();
        report.findings.extend(findings.into_iter().map(|finding| finding.only_for(Arc::clone(&recipients))));
    }
}

#[cfg(test)]
mod tests {
    use policy::{CheckEnd, Finding};

    use super::*;

    #[test]
    fn each_recipient_hears_one_filter() {
        let shared = ["BAYES_50", "SPF_FAIL"].map(Finding::new).to_vec();
        let account = ["BAYES_99", "BAYES_ACCOUNT"].map(Finding::new).to_vec();
        let spoken = vec![
            Spoken { recipients: vec![0, 2], findings: account },
            Spoken { recipients: vec![3], findings: vec![Finding::new("BAYES_00")] },
        ];
        let mut report = StageReport { findings: shared, ..StageReport::new(Stage::EndOfData) };
        told_apart(&mut report, None, 5);
        assert!(report.findings.iter().all(|finding| finding.only.is_none()));
        told_apart(&mut report, Some(Heard { spoken, end: CheckEnd::Finished }), 5);
        let hears = |number: usize| -> Vec<&str> {
            let is_told =
                |finding: &&Finding| finding.only.as_ref().is_none_or(|only| only.contains(&number));
            report.findings.iter().filter(is_told).map(|finding| finding.symbol.as_str()).collect()
        };
        for number in [0, 2] {
            assert_eq!(hears(number), ["SPF_FAIL", "BAYES_99", "BAYES_ACCOUNT"]);
        }
        assert_eq!(hears(3), ["SPF_FAIL", "BAYES_00"]);
        for number in [1, 4] {
            assert_eq!(hears(number), ["BAYES_50", "SPF_FAIL"]);
        }
    }
}
