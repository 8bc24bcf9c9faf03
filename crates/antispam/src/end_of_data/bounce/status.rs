//! The fields of a delivery status report (RFC 3464 §2, RFC 6533 §3).
//!
//! Never fails: lines that are no fields are passed over, groups without a recipient are the report's own.

use mail::{EnhancedStatus, header};

use super::{RECIPIENTS_MAX, ReportedRecipient};

/// Reads the recipients of one message/delivery-status part, with line ends of one octet, and adds them.
pub(super) fn read(part: &[u8], recipients: &mut Vec<ReportedRecipient>) {
    let mut rest = part;
    while !rest.is_empty() && recipients.len() < RECIPIENTS_MAX {
        let mut group = Group::default();
        for field in header::fields(rest) {
            group.take(&field, recipients);
        }
        group.end(recipients);
        let end = header::fields_end(rest);
        // What is no field ends a group like an empty line: one line is passed over, and reading goes on.
        let tail = rest.get(end..).unwrap_or_default();
        let line = tail.iter().position(|octet| *octet == b'\n').map_or(tail.len(), |newline| newline + 1);
        rest = tail.get(line..).unwrap_or_default();
    }
}

/// The recipient that is being read.
#[derive(Default)]
struct Group {
    recipient: ReportedRecipient,
}

impl Group {
    fn take(&mut self, field: &header::Field<'_>, recipients: &mut Vec<ReportedRecipient>) {
        let text = field.text();
        let name = field.name().to_ascii_lowercase();
        match name.as_str() {
            "original-recipient" => self.recipient.original = address(&text),
            "final-recipient" => {
                // RFC 3464 §2.3: an empty line parts recipients; some leave it out.
                if self.recipient.last.is_some() {
                    self.end(recipients);
                }
                self.recipient.last = address(&text);
            }
            "action" => self.recipient.action = word(&text),
            "status" => self.recipient.status = status(&text),
            "diagnostic-code" => self.recipient.diagnostic = Some(untyped(&text).to_owned()),
            _ => {}
        }
    }

    fn end(&mut self, recipients: &mut Vec<ReportedRecipient>) {
        let mut recipient = std::mem::take(&mut self.recipient);
        let named = recipient.original.is_some() || recipient.last.is_some();
        if named && recipients.len() < RECIPIENTS_MAX {
            recipient.status = recipient.status.or_else(|| recipient.diagnostic.as_deref().and_then(status));
            recipients.push(recipient);
        }
    }
}

/// What stands behind `rfc822;`: the address, without brackets that do not belong there.
fn address(text: &str) -> Option<String> {
    let kind = text.split(';').next().unwrap_or_default().trim();
    let bare = untyped(text).trim_matches(|c: char| c.is_whitespace() || matches!(c, '<' | '>'));
    let decoded = if kind.eq_ignore_ascii_case("utf-8") { unitext(bare) } else { bare.to_owned() };
    (!decoded.is_empty()).then_some(decoded)
}

/// Without the type before the semicolon.
fn untyped(text: &str) -> &str {
    text.split_once(';').map_or(text, |(_, rest)| rest).trim()
}

/// RFC 6533 §3: `\x{e9}` stands for é.
fn unitext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x{") {
        out.push_str(before);
        let Some((hex, after)) = behind.split_once('}') else { break };
        out.extend(u32::from_str_radix(hex, 16).ok().and_then(char::from_u32));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.get(..end).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase)
}

/// The first thing in the text that is a status by RFC 3463 §2 (`5.1.1 (user unknown)`, `550 5.7.1 no`); without one, the
/// class of a reply that stands at the beginning.
fn status(text: &str) -> Option<EnhancedStatus> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let exact = words.map(|word| word.trim_matches('.')).find_map(|word| word.parse().ok());
    // RFC 3463 §3.1: X.0.0 says no more than the reply's first digit.
    let reply = text.split(|c: char| !c.is_ascii_digit()).next().filter(|code| code.len() == 3);
    exact.or_else(|| match reply?.as_bytes().first()? {
        b'4' => Some(EnhancedStatus(4, 0, 0)),
        b'5' => Some(EnhancedStatus(5, 0, 0)),
        _ => None,
    })
}
