//! What kind of automatic message this is: a bounce, a disposition notification, an automatic reply, a feedback report, or
//! an ordinary letter; and what it tells of the message it is about.
//!
//! Reads octets and nothing else: no clock, no DNS, no state. It never decides what is done with the message. Recognised
//! are reports that follow RFC 3464 and RFC 6533, and by several signs together those of the many programs that do not;
//! RFC 8098 (dispositions), RFC 3834 (automatic replies), RFC 5965 (feedback). What is malformed is passed over: nothing a
//! peer sends makes it fail, and every loop ends at a named limit.

mod returned;
mod signs;
mod status;

use mail::{Address, header};
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders};

use crate::normalised::normalised;

/// Octets of a message that are looked at; what comes behind them is not.
pub const ANALYSED_BYTES_MAX: usize = 1 << 20;
/// Recipients that are read from one report.
pub const RECIPIENTS_MAX: usize = 256;
/// Message-IDs that are taken from one message.
pub const REFERENCES_MAX: usize = 64;

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// None of the others.
    Ordinary,
    /// It tells that mail was not delivered, is late, or was delivered.
    Bounce,
    /// It tells what a recipient did with the mail (RFC 8098).
    Disposition,
    /// An automatic reply, such as one of a vacation (RFC 3834).
    AutoReply,
    /// It tells that a recipient complained (RFC 5965).
    Feedback,
}

impl Kind {
    /// Its name in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Bounce => "bounce",
            Self::Disposition => "disposition",
            Self::AutoReply => "auto_reply",
            Self::Feedback => "feedback",
        }
    }
}

/// What was read from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// What it is.
    pub kind: Kind,
    /// It has the fields of RFC 3464 §2, from which the recipients were read.
    pub follows_rfc3464: bool,
    /// The recipients the report is about, at most [`RECIPIENTS_MAX`]; only of those that follow RFC 3464.
    pub recipients: Vec<ReportedRecipient>,
    /// Message-IDs without brackets that it quotes, answers or returns, at most [`REFERENCES_MAX`], none twice. Its own is
    /// not among them.
    pub references: Vec<String>,
}

/// What a delivery status report says of one recipient (RFC 3464 §2.3). Peer's words, bounded by the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportedRecipient {
    /// `Original-Recipient`, without its type; as the sender wrote it.
    pub original: Option<String>,
    /// `Final-Recipient`, without its type; what it became on the way.
    pub last: Option<String>,
    /// `Action`, in lower case: failed, delayed, delivered, relayed, expanded.
    pub action: Option<String>,
    /// `Status` (RFC 3463), or the one in the diagnostic when there is no such field.
    pub status: Option<mail::EnhancedStatus>,
    /// `Diagnostic-Code`, without its type.
    pub diagnostic: Option<String>,
}

impl ReportedRecipient {
    /// Whom the sender had written to: the original recipient, or the final one when no other is named.
    #[must_use]
    pub fn addressed(&self) -> Option<Address> {
        [&self.original, &self.last].into_iter().flatten().find_map(|text| Address::parse(text).ok())
    }
}

/// Looks at a message as received. `null_sender`: its reverse-path is `<>`.
#[must_use]
pub fn recognise(message: &[u8], null_sender: bool) -> Recognised {
    let octets = normalised(message, ANALYSED_BYTES_MAX);
    let parsed = MessageParser::default().parse(&octets);
    let Some(parsed) = parsed else {
        return Recognised {
            kind: Kind::Ordinary,
            follows_rfc3464: false,
            recipients: Vec::new(),
            references: returned::references(&octets, None),
        };
    };
    let mut recipients = status_of(&parsed);
    let kind = if recipients.is_empty() { kind_of(&parsed, &octets, null_sender) } else { Kind::Bounce };
    if kind == Kind::Bounce && recipients.is_empty() {
        // The MIME around it is broken, or another program has wrapped the report: the fields are what counts.
        status::read(octets.get(header::body_offset(&octets)..).unwrap_or_default(), &mut recipients);
    }
    let follows_rfc3464 = !recipients.is_empty();
    let references = returned::references(&octets, Some(&parsed));
    Recognised { kind, follows_rfc3464, recipients, references }
}

/// The recipients of all parts that tell a delivery status. Not those inside of attached messages: a forwarded report is
/// not one itself.
fn status_of(parsed: &Message<'_>) -> Vec<ReportedRecipient> {
    let mut recipients = Vec::new();
    for part in parsed.parts.iter().filter(|part| is_delivery_status(part)) {
        status::read(part.contents(), &mut recipients);
    }
    recipients
}

fn kind_of(parsed: &Message<'_>, octets: &[u8], null_sender: bool) -> Kind {
    let declared = report_type(parsed);
    match declared.as_deref() {
        Some("delivery-status") => return Kind::Bounce,
        Some("disposition-notification") => return Kind::Disposition,
        Some("feedback-report") => return Kind::Feedback,
        _ => {}
    }
    for part in &parsed.parts {
        match subtype_of_message(part).as_deref() {
            Some("delivery-status" | "global-delivery-status") => return Kind::Bounce,
            Some("disposition-notification" | "global-disposition-notification") => return Kind::Disposition,
            Some("feedback-report") => return Kind::Feedback,
            _ => {}
        }
    }
    signs::kind(parsed, octets, null_sender)
}

fn is_delivery_status(part: &MessagePart<'_>) -> bool {
    matches!(subtype_of_message(part).as_deref(), Some("delivery-status" | "global-delivery-status"))
}

/// `y` of `Content-Type: message/y`, in lower case.
fn subtype_of_message(part: &MessagePart<'_>) -> Option<String> {
    let content_type = part.content_type()?;
    let message = content_type.ctype().eq_ignore_ascii_case("message");
    message.then(|| content_type.subtype().unwrap_or_default().to_ascii_lowercase())
}

/// `report-type` of a multipart/report (RFC 6522 §3), in lower case.
fn report_type(parsed: &Message<'_>) -> Option<String> {
    let content_type = parsed.parts.first()?.content_type()?;
    let report = content_type.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"));
    let kind = content_type.attribute("report-type")?;
    report.then(|| kind.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
