//! Who is told what: which outcomes become a report, and which are kept from the sender and why.
//!
//! Decides; [`message`] puts a decided report into a message, whose words are `mail::dsn`'s. The runner stores it.
//! RFC 3461 §5.2 and §6, RFC 5321 §4.5.5 and §6.1.
//! Nothing is ever answered to a null reverse-path (invariant I3), and a failure that is not reported is still told as a
//! suppressed [`Report`], so that it leaves a log line and a count (invariant I2).

pub mod copy;
pub mod message;

use mail::{Notify, QueueId, Timestamp};
use store::{Change, QueueEntry, RecipientState, SenderProof, Settlement};

use crate::outcome::Outcome;

/// Recipients of one message that share a fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The message they were recipients of.
    pub id: QueueId,
    /// Their fate.
    pub kind: ReportKind,
    /// Who, and what happened to each; never empty.
    pub recipients: Vec<Reported>,
    /// Nobody is told, for this reason: a log line and a count remain. `None`: a message goes to the sender.
    pub suppressed: Option<Suppressed>,
}

/// What a report is about (RFC 3464 §2.3.3 `Action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReportKind {
    /// `failed`: given up.
    Failed,
    /// `delayed`: still being tried.
    Delayed,
    /// `delivered`: in the mailbox.
    Delivered,
    /// `relayed`: handed to a server that makes no reports.
    Relayed,
}

/// One recipient in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What happened last.
    pub outcome: Outcome,
    /// It was given up because its time was over, not because anybody refused it for good.
    pub expired: bool,
    /// When that was.
    pub at: Timestamp,
}

/// Why a failure is not reported to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suppressed {
    /// The message came from `<>`: it is a report itself, or wants no answer (RFC 5321 §4.5.5).
    NullReversePath,
    /// The sender asked for no report of failures (NOTIFY, RFC 3461 §4.1).
    NotWanted,
    /// Nothing proves that the reverse-path is the sender's own: a report would go to somebody who has sent nothing.
    UnprovenSender,
}

/// The reports that these recipients' common fate calls for: at most one that is sent and one that is suppressed.
///
/// Suppressed ones are made for failures only: nobody need know that a delay or a success was not reported.
#[must_use]
pub fn decide(entry: &QueueEntry, kind: ReportKind, recipients: Vec<Reported>) -> Vec<Report> {
    let id = entry.record.id;
    // RFC 5321 §6.1: a message with a null reverse-path is never answered.
    if entry.record.reverse_path.is_null() {
        return report(id, kind, recipients, Some(Suppressed::NullReversePath)).into_iter().collect();
    }
    let (wanted, unwanted): (Vec<_>, Vec<_>) =
        recipients.into_iter().partition(|r| wants(notify(entry, r.outcome.recipient), kind));
    // Of success too: whoever forges a sender can ask for reports of it (NOTIFY=SUCCESS).
    let unproven = entry.record.origin.sender == SenderProof::Unproven;
    let sent = report(id, kind, wanted, unproven.then_some(Suppressed::UnprovenSender));
    sent.into_iter().chain(report(id, kind, unwanted, Some(Suppressed::NotWanted))).collect()
}

fn report(
    id: QueueId,
    kind: ReportKind,
    recipients: Vec<Reported>,
    suppressed: Option<Suppressed>,
) -> Option<Report> {
    let told = suppressed.is_none() || kind == ReportKind::Failed;
    (told && !recipients.is_empty()).then_some(Report { id, kind, recipients, suppressed })
}

/// RFC 3461 §4.1, §5.2: which of the three keywords asks for this kind.
fn wants(notify: Notify, kind: ReportKind) -> bool {
    match kind {
        ReportKind::Failed => notify.failure,
        ReportKind::Delayed => notify.delay,
        ReportKind::Delivered | ReportKind::Relayed => notify.success,
    }
}

/// True when a warning of this kind could ever go out for one of these recipients.
pub(crate) fn would_report(
    entry: &QueueEntry,
    kind: ReportKind,
    mut recipients: impl Iterator<Item = u32>,
) -> bool {
    !entry.record.reverse_path.is_null()
        && entry.record.origin.sender != SenderProof::Unproven
        && recipients.any(|index| wants(notify(entry, index), kind))
}

fn notify(entry: &QueueEntry, recipient: u32) -> Notify {
    let record = usize::try_from(recipient).ok().and_then(|i| entry.record.recipients.get(i));
    record.map(|r| r.notify).unwrap_or_default()
}

/// What to settle when the reports of a [`crate::Action::Finish`] could not be stored: deliveries stay delivered, failures
/// and the warning are taken back, and the message is due again at `next_attempt`, so that they are reported then.
#[must_use]
pub fn without_reports(settlement: Settlement, attempts: u32, next_attempt: Timestamp) -> Settlement {
    let failed =
        |c: &Change| matches!(c, Change::Recipient { status, .. } if status.state == RecipientState::Failed);
    let mut changes = settlement.changes;
    changes.retain(|c| !failed(c) && !matches!(c, Change::Warned | Change::Retry { .. }));
    changes.push(Change::Retry { next_attempt, attempts });
    Settlement { id: settlement.id, changes }
}
