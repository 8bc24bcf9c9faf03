//! A report as a message of its own, ready for the store.
//!
//! RFC 3461 §6.2 and RFC 5321 §4.5.5: its reverse-path is null, so that it is never answered itself; its one recipient is
//! the reverse-path of the message it is about. RFC 3461 §4.3 for how much of that message it carries.

use bytes::Bytes;
use mail::dsn::{self, DsnAction, DsnInput, DsnRecipient, Original};
use mail::{BodyType, Notify, QueueId, Ret, ReversePath, Timestamp, header};
use store::{MessageRecord, NewBody, NewMessage, Origin, OriginKind, QueueEntry, RecipientRecord};

use super::{Report, ReportKind};
use crate::settings::Settings;

/// What a report is made with, besides the report.
#[derive(Debug, Clone, Copy)]
pub struct Composition<'a> {
    /// The message that it is about.
    pub entry: &'a QueueEntry,
    /// That message as received: all of it when [`wants_body`], otherwise its first `report_bytes_max` octets, or nothing
    /// when it cannot be read.
    pub original: &'a [u8],
    /// Our host name.
    pub hostname: &'a str,
    /// The report's own queue id, made by the caller.
    pub id: QueueId,
    /// When.
    pub now: Timestamp,
    /// The bounds and the lifetime.
    pub settings: &'a Settings,
}

/// True when the report is to carry the whole message (RFC 3461 §4.3: RET=FULL, and only of failures), as far as it is not
/// too large for that.
#[must_use]
pub fn wants_body(report: &Report, entry: &QueueEntry, settings: &Settings) -> bool {
    let size = usize::try_from(entry.record.size).unwrap_or(usize::MAX);
    report.kind == ReportKind::Failed
        && entry.record.ret == Some(Ret::Full)
        && size <= settings.report_bytes_max
}

/// The message that tells the sender; none when the report is suppressed or there is nobody to tell.
///
/// Its recipient is an address like any other: where it is one of ours, the caller follows its aliases.
#[must_use]
pub fn compose(report: &Report, with: &Composition<'_>) -> Option<NewMessage> {
    let record = &with.entry.record;
    // RFC 5321 §6.1: whatever was decided before, nothing is sent to a null reverse-path.
    let to = record.reverse_path.mailbox().filter(|_| report.suppressed.is_none())?;
    let body_at = header::body_offset(with.original);
    let whole = with.original.len() as u64 == record.size && wants_body(report, with.entry, with.settings);
    let shown = shown_header(with, body_at);
    let recipients: Vec<DsnRecipient<'_>> =
        report.recipients.iter().filter_map(|r| told(r, record)).collect();
    let input = DsnInput {
        action: action(report.kind),
        hostname: with.hostname,
        id: with.id,
        now: with.now,
        to,
        original: Original {
            id: record.id,
            arrived: record.arrived,
            expires: with.settings.expires_at(with.entry.runs_since()),
            envid: record.envid.as_deref(),
            smtputf8: record.smtputf8,
            header: &shown,
            body: if whole { with.original.get(body_at..) } else { None },
        },
        recipients: &recipients,
    };
    let content = dsn::build(&input);
    let record = record_for(with, to.clone(), dsn::needs_smtputf8(&input), &content);
    let body = NewBody::Memory(vec![Bytes::from(content)]);
    Some(NewMessage { record, body, next_attempt: with.now, hold: None })
}

/// Our trace lines and the header as received, whole fields only, within `report_bytes_max`.
fn shown_header(with: &Composition<'_>, body_at: usize) -> Vec<u8> {
    let mut shown = with.entry.record.trace.clone();
    let received = with.original.get(..body_at).unwrap_or_default();
    let complete = body_at < with.original.len() || with.original.len() as u64 == with.entry.record.size;
    let mut fields = header::fields(received).peekable();
    while let Some(field) = fields.next() {
        let cut_off = fields.peek().is_none() && !complete;
        if cut_off || shown.len() + field.raw().len() > with.settings.report_bytes_max {
            break;
        }
        shown.extend_from_slice(field.raw());
    }
    shown
}

fn told<'a>(reported: &'a super::Reported, record: &'a MessageRecord) -> Option<DsnRecipient<'a>> {
    let recipient =
        usize::try_from(reported.outcome.recipient).ok().and_then(|i| record.recipients.get(i))?;
    Some(DsnRecipient {
        // The sender knows the address that was written to, not where an alias led.
        address: recipient.accepted_as.as_ref().unwrap_or(&recipient.address),
        original: recipient.original.as_ref(),
        reply: &reported.outcome.reply,
        peer: reported.outcome.peer.as_deref(),
        at: reported.at,
        expired: reported.expired,
    })
}

fn action(kind: ReportKind) -> DsnAction {
    match kind {
        ReportKind::Failed => DsnAction::Failed,
        ReportKind::Delayed => DsnAction::Delayed,
        ReportKind::Delivered => DsnAction::Delivered,
        ReportKind::Relayed => DsnAction::Relayed,
    }
}

fn record_for(with: &Composition<'_>, to: mail::Address, smtputf8: bool, content: &[u8]) -> MessageRecord {
    // RFC 3461 §6.2: no report is wanted of a report.
    let recipient = RecipientRecord { notify: Notify::NEVER, ..RecipientRecord::new(to) };
    MessageRecord {
        origin: Origin::new(OriginKind::Report),
        body_type: if content.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
        smtputf8,
        size: content.len() as u64,
        ..MessageRecord::new(with.id, with.now, ReversePath::Null, vec![recipient])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounce::{Reported, Suppressed, decide};
    use crate::outcome::{DeliveryResult, Outcome};
    use crate::testing::{at, plain};
    use mail::{Address, OriginalRecipient, Reply};

    const ORIGINAL: &[u8] = b"From: s@b.test\r\nSubject: hello\r\n\r\nbody text\r\n";

    fn message() -> QueueEntry {
        let mut entry = plain(5, 2);
        entry.record.size = ORIGINAL.len() as u64;
        entry.record.trace = b"Received: by us\r\n".to_vec();
        entry
    }

    fn failed(entry: &QueueEntry) -> Report {
        let outcome = Outcome {
            recipient: 1,
            result: DeliveryResult::Failed,
            peer: Some("mx.a.test[192.0.2.1]:25".into()),
            reply: Reply::new(550, (5, 1, 1), "no such user"),
        };
        decide(entry, ReportKind::Failed, vec![Reported { outcome, expired: false, at: at(1) }]).remove(0)
    }

    fn composed(
        entry: &QueueEntry,
        report: &Report,
        original: &[u8],
        settings: &Settings,
    ) -> Option<(MessageRecord, String)> {
        let with = Composition { entry, original, hostname: "mx.test", id: QueueId(9), now: at(2), settings };
        let new = compose(report, &with)?;
        let NewBody::Memory(chunks) = new.body else { panic!("reports are small") };
        Some((new.record, String::from_utf8(chunks.concat()).unwrap()))
    }

    #[test]
    fn a_report_goes_to_the_sender_from_nobody() {
        let entry = message();
        let (record, text) = composed(&entry, &failed(&entry), ORIGINAL, &Settings::default()).unwrap();
        assert_eq!(record.reverse_path, ReversePath::Null);
        assert_eq!(record.recipients[0].address.to_string(), "sender@b.test");
        assert_eq!(record.recipients[0].notify, Notify::NEVER);
        assert_eq!((record.origin.kind, record.size), (OriginKind::Report, text.len() as u64));
        assert!(
            text.contains("Final-Recipient: rfc822; r1@a.test\r\n")
                && text.contains("550 5.1.1 no such user")
        );
        assert!(text.contains("Received: by us\r\nFrom: s@b.test\r\nSubject: hello\r\n"));
        assert!(!text.contains("body text"));
    }

    #[test]
    fn nobody_is_told_what_is_suppressed() {
        let mut entry = message();
        let report = failed(&entry);
        let hidden = Report { suppressed: Some(Suppressed::NotWanted), ..report.clone() };
        assert!(composed(&entry, &hidden, ORIGINAL, &Settings::default()).is_none());
        entry.record.reverse_path = ReversePath::Null;
        assert!(composed(&entry, &report, ORIGINAL, &Settings::default()).is_none());
    }

    #[test]
    fn the_whole_message_comes_back_only_when_asked_for_and_small() {
        let mut entry = message();
        entry.record.ret = Some(Ret::Full);
        let report = failed(&entry);
        let settings = Settings::default();
        assert!(wants_body(&report, &entry, &settings));
        assert!(composed(&entry, &report, ORIGINAL, &settings).unwrap().1.contains("\r\n\r\nbody text\r\n"));
        // Only a part could be read.
        assert!(!composed(&entry, &report, &ORIGINAL[..40], &settings).unwrap().1.contains("body"));
        // Only of failures.
        let delivered = Report { kind: ReportKind::Delivered, ..report.clone() };
        assert!(!wants_body(&delivered, &entry, &settings));
        let small = Settings { report_bytes_max: 40, ..settings };
        assert!(!wants_body(&report, &entry, &small));
        let text = composed(&entry, &report, ORIGINAL, &small).unwrap().1;
        assert!(
            text.contains("Received: by us\r\nFrom: s@b.test\r\n\r\n--"),
            "whole fields within the bound: {text}"
        );
    }

    #[test]
    fn a_field_that_was_cut_off_is_left_out() {
        let entry = message();
        let text = composed(&entry, &failed(&entry), &ORIGINAL[..24], &Settings::default()).unwrap().1;
        assert!(text.contains("From: s@b.test\r\n") && !text.contains("Subject: h"));
        assert!(composed(&entry, &failed(&entry), b"", &Settings::default()).is_some());
    }

    #[test]
    fn the_sender_sees_the_address_they_wrote_to() {
        let mut entry = message();
        entry.record.recipients[1].accepted_as = Some(Address::parse("info@a.test").unwrap());
        entry.record.recipients[1].original =
            Some(OriginalRecipient { kind: "rfc822".into(), address: "Info@a.test".into() });
        let text = composed(&entry, &failed(&entry), ORIGINAL, &Settings::default()).unwrap().1;
        assert!(text.contains("Final-Recipient: rfc822; info@a.test\r\n") && !text.contains("r1@a.test"));
        assert!(text.contains("Original-Recipient: rfc822; Info@a.test\r\n"));
    }

    #[test]
    fn unicode_makes_the_report_eight_bit() {
        let mut entry = message();
        entry.record.smtputf8 = true;
        entry.record.recipients[1].address = Address::parse("jörg@a.test").unwrap();
        let (record, _) = composed(&entry, &failed(&entry), ORIGINAL, &Settings::default()).unwrap();
        assert!(record.smtputf8 && record.body_type == BodyType::EightBitMime);
    }
}
