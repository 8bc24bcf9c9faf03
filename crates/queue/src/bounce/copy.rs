//! What is kept of a message whose failure nobody can be told: a copy for the recipients that failed, for an operator to see
//! and to release.
//!
//! Only its record is made here. Its recipients want no report, so that a copy that fails, or whose time is over, ends
//! there and leaves no copy of its own.

use mail::{Notify, QueueId, Timestamp};
use store::{MessageRecord, QueueEntry, RecipientRecord};

use super::Report;

/// The record of the copy, for the recipients of the report.
#[must_use]
pub fn record(entry: &QueueEntry, report: &Report, id: QueueId, now: Timestamp) -> MessageRecord {
    let failed = report.recipients.iter().map(|reported| reported.outcome.recipient);
    let failed = failed.filter_map(|index| entry.record.recipients.get(usize::try_from(index).ok()?));
    let recipients = failed.map(|recipient| RecipientRecord {
        notify: Notify::NEVER,
        may_release: false,
        ..recipient.clone()
    });
    let recipients = recipients.collect();
    MessageRecord { id, arrived: now, recipients, ..entry.record.clone() }
}

#[cfg(test)]
mod tests {
    use store::SenderProof;

    use super::*;
    use crate::bounce::{ReportKind, Reported, Suppressed, decide};
    use crate::outcome::{DeliveryResult, Outcome};
    use crate::testing::{at, entry};

    fn reported(index: u32) -> Reported {
        let reply = mail::Reply::new(550, (5, 1, 1), "no such user");
        let outcome = Outcome { recipient: index, result: DeliveryResult::Failed, peer: None, reply };
        Reported { outcome, expired: false, at: at(10) }
    }

    #[test]
    fn an_unproven_sender_is_told_nothing_and_the_copy_ends_quietly() {
        let mut message = entry(1, &[Notify::default(), Notify::NEVER, Notify::default()]);
        message.record.origin.sender = SenderProof::Unproven;
        let told = decide(&message, ReportKind::Failed, (0..3).map(reported).collect());
        let why: Vec<_> = told.iter().map(|report| (report.suppressed, report.recipients.len())).collect();
        assert_eq!(why, [(Some(Suppressed::UnprovenSender), 2), (Some(Suppressed::NotWanted), 1)]);
        for kind in [ReportKind::Delayed, ReportKind::Delivered, ReportKind::Relayed] {
            assert!(decide(&message, kind, vec![reported(0)]).is_empty(), "{kind:?}");
        }
        let copy = record(&message, &told[0], QueueId(2), at(20));
        let addresses: Vec<_> = copy.recipients.iter().map(|r| r.address.to_string()).collect();
        assert_eq!(addresses, ["r0@a.test", "r2@a.test"]);
        let copy = QueueEntry::new(copy, at(20));
        let again = decide(&copy, ReportKind::Failed, (0..2).map(reported).collect());
        assert!(again.iter().all(|report| report.suppressed == Some(Suppressed::NotWanted)), "{again:?}");
    }

    #[test]
    fn who_is_proven_or_was_never_asked_is_told() {
        for sender in [SenderProof::Proven, SenderProof::NotAsked] {
            let mut message = entry(1, &[Notify::default()]);
            message.record.origin.sender = sender;
            let told = decide(&message, ReportKind::Failed, vec![reported(0)]);
            assert!(matches!(told.as_slice(), [report] if report.suppressed.is_none()), "{sender:?}");
        }
    }
}
