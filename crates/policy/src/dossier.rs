//! What a session has brought so far, kept by what it counts for: the session, the transaction, one recipient.
//!
//! Only keeps; nothing is scored or decided here. Bounded: a session of a thousand messages holds no more than one of ten.

use mail::Address;

use crate::check::{DnsAnswer, Finding};
use crate::pipeline::{CheckEnd, CheckTime, StageReport, Unfinished};
use crate::ruling::Ruling;
use crate::stage::Scope;

/// Findings that are kept for a session, a transaction or a recipient, each; further ones are counted.
pub const FINDINGS_MAX: usize = 512;
/// Rulings that are kept for each; further ones are left out, the first ones stay.
pub const RULINGS_MAX: usize = 512;
/// DNS answers that are kept for each; further ones are counted.
pub const DNS_ANSWERS_MAX: usize = 256;
/// Times of checks that are kept for each, one for a check at a stage.
pub const TIMES_MAX: usize = 128;

/// What a session has brought so far.
#[derive(Debug, Clone, Default)]
pub struct Dossier {
    session: Part,
    transaction: Part,
    recipients: Vec<(Address, Part)>,
}

#[derive(Debug, Clone, Default)]
struct Part {
    findings: Vec<Finding>,
    rulings: Vec<Ruling>,
    unfinished: Vec<Unfinished>,
    dns: Vec<DnsAnswer>,
    times: Vec<CheckTime>,
    left_out: usize,
}

/// What counts for a transaction, or for one of its recipients.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// The symbols that were seen.
    pub findings: Vec<&'a Finding>,
    /// What decides alone.
    pub rulings: Vec<&'a Ruling>,
    /// Checks whose not finishing is to be answered 451.
    pub unfinished: Vec<&'a Unfinished>,
}

impl Dossier {
    /// What a stage has brought. What counts for a recipient only is taken for the transaction's: see
    /// [`Self::add_recipient`].
    pub fn add(&mut self, report: StageReport) {
        let natural = report.stage.scope();
        self.file(Part::of(report), natural);
    }

    /// True when something was found that decides alone, about anybody.
    #[must_use]
    pub fn has_rulings(&self) -> bool {
        let recipients = self.recipients.iter().map(|(_, part)| part);
        recipients.chain([&self.session, &self.transaction]).any(|part| !part.rulings.is_empty())
    }

    /// What RCPT has brought for one recipient, whose number among the recipients is given back.
    pub fn add_recipient(&mut self, address: Address, report: StageReport) -> usize {
        let mut part = Part::of(report);
        let own = part.take_own();
        self.file(part, Scope::Recipient);
        self.recipients.push((address, own));
        self.recipients.len() - 1
    }

    /// More of one recipient, by its number.
    pub fn add_to_recipient(&mut self, number: usize, report: StageReport) {
        let mut part = Part::of(report);
        let own = part.take_own();
        self.file(part, Scope::Recipient);
        if let Some((_, part)) = self.recipients.get_mut(number) {
            own.findings.into_iter().for_each(|finding| part.add_finding(finding));
            own.rulings.into_iter().for_each(|ruling| part.add_ruling(ruling));
            own.unfinished.into_iter().for_each(|one| part.add_unfinished(one));
        }
    }

    /// The recipient was refused: what counted for it alone is forgotten. Those after it move up.
    pub fn forget_recipient(&mut self, number: usize) {
        if number < self.recipients.len() {
            self.recipients.remove(number);
        }
    }

    /// The transaction is over: what counted for it is forgotten.
    pub fn end_transaction(&mut self) {
        self.transaction = Part::default();
        self.recipients.clear();
    }

    /// The recipients, in their order.
    pub fn recipients(&self) -> impl ExactSizeIterator<Item = &Address> {
        self.recipients.iter().map(|(address, _)| address)
    }

    /// What counts for the transaction whoever the recipient is, or, with a number, for that recipient.
    #[must_use]
    pub fn evidence(&self, recipient: Option<usize>) -> Evidence<'_> {
        let own = recipient.and_then(|number| self.recipients.get(number)).map(|(_, part)| part);
        let mut evidence = Evidence::default();
        for part in [&self.session, &self.transaction].into_iter().chain(own) {
            evidence.findings.extend(&part.findings);
            evidence.rulings.extend(&part.rulings);
            evidence.unfinished.extend(&part.unfinished);
        }
        evidence
    }

    /// The DNS answers of the session and the transaction.
    pub fn dns(&self) -> impl Iterator<Item = &DnsAnswer> {
        self.session.dns.iter().chain(&self.transaction.dns)
    }

    /// How long the checks took; of a check that ran for each recipient, the longest.
    pub fn times(&self) -> impl Iterator<Item = &CheckTime> {
        self.session.times.iter().chain(&self.transaction.times)
    }

    /// How much was found beyond the bounds.
    #[must_use]
    pub fn left_out(&self) -> usize {
        let own: usize = self.recipients.iter().map(|(_, part)| part.left_out).sum();
        self.session.left_out + self.transaction.left_out + own
    }

    /// Puts what counts for the session there, and the rest into the transaction. `natural`: what the stage it was found at
    /// counts for.
    fn file(&mut self, part: Part, natural: Scope) {
        let Part { findings, rulings, unfinished, dns, times, left_out } = part;
        for finding in findings {
            let Some(only) = finding.only.clone() else {
                self.part(finding.scope).add_finding(finding);
                continue;
            };
            for number in only.iter() {
                if let Some((_, part)) = self.recipients.get_mut(*number) {
                    part.add_finding(finding.clone());
                }
            }
        }
        for ruling in rulings {
            self.part(ruling.scope).add_ruling(ruling);
        }
        for one in unfinished {
            self.part(one.scope).add_unfinished(one);
        }
        for answer in dns {
            self.part(natural).add_dns(answer);
        }
        for time in times {
            self.part(time.stage.scope()).add_time(time);
        }
        self.part(natural).left_out += left_out;
    }

    fn part(&mut self, scope: Scope) -> &mut Part {
        match scope {
            Scope::Session => &mut self.session,
            Scope::Transaction | Scope::Recipient => &mut self.transaction,
        }
    }
}

impl Part {
    fn of(report: StageReport) -> Self {
        let StageReport { findings, rulings, dns, times, unfinished, left_out, .. } = report;
        Self { findings, rulings, unfinished, dns, times, left_out }
    }

    /// Takes out what counts for one recipient only.
    fn take_own(&mut self) -> Self {
        let (own, findings) =
            std::mem::take(&mut self.findings).into_iter().partition(|f| f.scope == Scope::Recipient);
        let (own_rulings, rulings) =
            std::mem::take(&mut self.rulings).into_iter().partition(|r| r.scope == Scope::Recipient);
        let (own_unfinished, unfinished) =
            std::mem::take(&mut self.unfinished).into_iter().partition(|u| u.scope == Scope::Recipient);
        (self.findings, self.rulings, self.unfinished) = (findings, rulings, unfinished);
        Self { findings: own, rulings: own_rulings, unfinished: own_unfinished, ..Self::default() }
    }

    /// The same thing seen again is one thing.
    fn add_finding(&mut self, finding: Finding) {
        if self.findings.contains(&finding) {
            return;
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    fn add_ruling(&mut self, ruling: Ruling) {
        if self.rulings.contains(&ruling) {
            return;
        }
        if self.rulings.len() < RULINGS_MAX {
            self.rulings.push(ruling);
        } else {
            self.left_out += 1;
        }
    }

    fn add_unfinished(&mut self, one: Unfinished) {
        if self.unfinished.len() < RULINGS_MAX && !self.unfinished.contains(&one) {
            self.unfinished.push(one);
        }
    }

    fn add_dns(&mut self, answer: DnsAnswer) {
        if self.dns.contains(&answer) {
            return;
        }
        if self.dns.len() < DNS_ANSWERS_MAX {
            self.dns.push(answer);
        } else {
            self.left_out += 1;
        }
    }

    fn add_time(&mut self, time: CheckTime) {
        let same = |other: &&mut CheckTime| other.stage == time.stage && other.check == time.check;
        if let Some(there) = self.times.iter_mut().find(same) {
            there.micros = there.micros.max(time.micros);
            if there.end == CheckEnd::Finished {
                there.end = time.end;
            }
        } else if self.times.len() < TIMES_MAX {
            self.times.push(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;

    fn report(stage: Stage, findings: Vec<Finding>) -> StageReport {
        let natural = stage.scope();
        let findings = findings.into_iter().map(|f| Finding { scope: f.scope.max(natural), ..f }).collect();
        StageReport { findings, ..StageReport::new(stage) }
    }

    fn names(dossier: &Dossier, recipient: Option<usize>) -> Vec<String> {
        dossier.evidence(recipient).findings.iter().map(|f| f.symbol.to_string()).collect()
    }

    #[test]
    fn each_thing_counts_for_as_long_as_its_stage_says() {
        let address = |text: &str| Address::parse(text).unwrap();
        let mut dossier = Dossier::default();
        dossier.add(report(Stage::Connect, vec![Finding::new("C")]));
        dossier.add(report(Stage::Mail, vec![Finding::new("M")]));
        let probing = Finding::new("PROBING").counts_for(Scope::Session);
        let a =
            dossier.add_recipient(address("a@x.test"), report(Stage::Rcpt, vec![Finding::new("A"), probing]));
        let b = dossier.add_recipient(address("b@x.test"), report(Stage::Rcpt, vec![Finding::new("B")]));
        assert_eq!(names(&dossier, Some(a)), ["C", "PROBING", "M", "A"]);
        assert_eq!(names(&dossier, Some(b)), ["C", "PROBING", "M", "B"]);
        assert_eq!(names(&dossier, None), ["C", "PROBING", "M"]);
        let all = Finding::new("ALL").counts_for(Scope::Transaction);
        dossier.add_to_recipient(b, report(Stage::Rcpt, vec![Finding::new("MORE"), all]));
        assert_eq!(names(&dossier, Some(b)), ["C", "PROBING", "M", "ALL", "B", "MORE"]);
        dossier.forget_recipient(a);
        assert_eq!(names(&dossier, Some(0)), ["C", "PROBING", "M", "ALL", "B", "MORE"]);
        dossier.end_transaction();
        assert_eq!(names(&dossier, Some(0)), ["C", "PROBING"]);
    }

    #[test]
    fn what_is_found_after_data_may_count_for_some_recipients_alone() {
        let mut dossier = Dossier::default();
        for name in ["a@x.test", "b@x.test"] {
            dossier.add_recipient(Address::parse(name).unwrap(), report(Stage::Rcpt, Vec::new()));
        }
        let some = Finding::new("SOME").only_for([1, 7]);
        dossier.add(report(Stage::EndOfData, vec![some, Finding::new("ALL")]));
        assert_eq!(names(&dossier, Some(0)), ["ALL"]);
        assert_eq!(names(&dossier, Some(1)), ["ALL", "SOME"]);
        assert_eq!(names(&dossier, None), ["ALL"]);
    }

    #[test]
    fn what_dns_said_of_a_client_is_told_of_all_its_mail() {
        let answers = |stage, question: &str| StageReport {
            dns: vec![DnsAnswer::new(question, "127.0.0.2")],
            ..StageReport::new(stage)
        };
        let mut dossier = Dossier::default();
        dossier.add(answers(Stage::Connect, "client A"));
        dossier.end_transaction();
        dossier.add(answers(Stage::EndOfData, "link A"));
        assert_eq!(dossier.dns().count(), 2);
        dossier.end_transaction();
        let left: Vec<&str> = dossier.dns().map(|answer| answer.question.as_str()).collect();
        assert_eq!(left, ["client A"]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_counted() {
        let mut dossier = Dossier::default();
        for number in 0..FINDINGS_MAX + 7 {
            let finding = Finding::new("S").evidence(&number.to_string());
            dossier.add(report(Stage::Connect, vec![finding.clone(), finding]));
        }
        assert_eq!(dossier.evidence(None).findings.len(), FINDINGS_MAX);
        assert_eq!(dossier.left_out(), 14);
    }

    #[test]
    fn of_a_check_that_runs_for_each_recipient_the_longest_time_is_kept() {
        let time = |micros, end| CheckTime { check: "grey".into(), stage: Stage::Rcpt, micros, end };
        let mut dossier = Dossier::default();
        for (micros, end) in [(5, CheckEnd::Finished), (9, CheckEnd::OutOfTime), (7, CheckEnd::Finished)] {
            dossier.add(StageReport { times: vec![time(micros, end)], ..StageReport::new(Stage::Rcpt) });
        }
        assert_eq!(dossier.times().collect::<Vec<_>>(), [&time(9, CheckEnd::OutOfTime)]);
    }
}
