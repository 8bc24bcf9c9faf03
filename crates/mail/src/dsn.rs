//! Delivery status notifications: what the sender is told, for people and for programs.
//!
//! Builds the whole message as text: a plain explanation, the machine-readable status, and the original or its header.
//! RFC 3464 for the status, RFC 6522 for the three parts, RFC 6533 where addresses are not ASCII, RFC 3461 §6 for what is
//! copied from the envelope, RFC 3834 for the marks of an automatic answer. The words of the remote host stand in it
//! verbatim; [`explain`] adds a sentence of cause and one of remedy.
//!
//! Never decides whether a report is due, and never sends one: its envelope must have the null reverse-path
//! (RFC 5321 §4.5.5). Cannot fail: what the original has that cannot be shown is left out or escaped.

pub mod explain;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::address::Address;
use crate::envelope::OriginalRecipient;
use crate::header;
use crate::queue_id::QueueId;
use crate::reply::{EnhancedStatus, Reply};
use crate::time::Timestamp;

/// Longest line that is written of a peer's words, in octets (RFC 5322 §2.1.1 forbids more than 998).
const WORDS_BYTES_MAX: usize = 900;

/// How many message ids of the original's thread are kept.
const REFERENCES_MAX: usize = 20;

/// What happened to the recipients (RFC 3464 §2.3.3). One report is about one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DsnAction {
    /// Given up.
    Failed,
    /// Not yet delivered, still being tried.
    Delayed,
    /// In the mailbox.
    Delivered,
    /// Handed to a server that makes no reports on success.
    Relayed,
}

/// All that a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct DsnInput<'a> {
    /// What it reports.
    pub action: DsnAction,
    /// Our host name: `Reporting-MTA`, and the domain of `MAILER-DAEMON`.
    pub hostname: &'a str,
    /// The report's own queue id; its Message-ID and boundaries are made of it.
    pub id: QueueId,
    /// The report's date.
    pub now: Timestamp,
    /// The original's reverse-path.
    pub to: &'a Address,
    /// The message that it is about.
    pub original: Original<'a>,
    /// Whom it is about; at least one.
    pub recipients: &'a [DsnRecipient<'a>],
}

/// The message that a report is about.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// Its queue id.
    pub id: QueueId,
    /// When we accepted it.
    pub arrived: Timestamp,
    /// When it will be given up.
    pub expires: Timestamp,
    /// ENVID of its envelope, decoded (RFC 3461 §4.4).
    pub envid: Option<&'a str>,
    /// Its sender's system understands UTF-8 headers and addresses (RFC 6531).
    pub smtputf8: bool,
    /// Its header, with or without the empty line; bounded by the caller.
    pub header: &'a [u8],
    /// Its body, when all of it is to be returned (RET=FULL, RFC 3461 §4.3).
    pub body: Option<&'a [u8]>,
}

/// One recipient in a report.
#[derive(Debug, Clone, Copy)]
pub struct DsnRecipient<'a> {
    /// Where it was sent.
    pub address: &'a Address,
    /// ORCPT of its envelope.
    pub original: Option<&'a OriginalRecipient>,
    /// The last reply: the remote host's, or ours where none spoke.
    pub reply: &'a Reply,
    /// The remote host as far as it was reached, such as `mx.a.test[192.0.2.1]:25`.
    pub peer: Option<&'a str>,
    /// When it was last tried.
    pub at: Timestamp,
    /// It is given up because its time is over.
    pub expired: bool,
}

/// The report as a message with CRLF lines, header and all.
#[must_use]
pub fn build(input: &DsnInput<'_>) -> Vec<u8> {
    let utf8 = needs_smtputf8(input);
    let text = human_text(input);
    let status = status_text(input, utf8);
    let returned = returned_part(&input.original);
    let boundary = boundary(input.id, &[text.as_bytes(), &status, &returned]);

    let mut out = Vec::with_capacity(text.len() + status.len() + returned.len() + 2048);
    write_header(&mut out, input, utf8, &boundary);
    let status_type = if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
    open_part(&mut out, &boundary, "text/plain; charset=utf-8", "Notification", text.as_bytes());
    out.extend_from_slice(text.as_bytes());
    open_part(&mut out, &boundary, status_type, "Delivery report", &status);
    out.extend_from_slice(&status);
    let (returned_type, description) = match (input.original.body.is_some(), utf8) {
        (true, false) => ("message/rfc822", "Undelivered message"),
        (true, true) => ("message/global", "Undelivered message"),
        (false, false) => ("text/rfc822-headers", "Message header"),
        (false, true) => ("message/global-headers", "Message header"),
    };
    open_part(&mut out, &boundary, returned_type, description, &returned);
    out.extend_from_slice(&returned);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

/// True when the report has UTF-8 where only RFC 6533 permits it: it must then be sent with SMTPUTF8.
///
/// Only a sender whose own message used SMTPUTF8 is sent such a report.
#[must_use]
pub fn needs_smtputf8(input: &DsnInput<'_>) -> bool {
    let recipient = |r: &DsnRecipient<'_>| {
        !r.address.is_ascii() || r.original.is_some_and(|original| !original.address.is_ascii())
    };
    input.original.smtputf8
        && (!input.to.is_ascii()
            || !input.original.header.is_ascii()
            || input.recipients.iter().any(recipient))
}

fn write_header(out: &mut Vec<u8>, input: &DsnInput<'_>, utf8: bool, boundary: &str) {
    let host = input.hostname;
    header::write_field(out, "Date", &[&input.now.rfc5322()]);
    header::write_field(out, "From", &["Mail Delivery System", &format!("<MAILER-DAEMON@{host}>")]);
    header::write_field(out, "To", &[&format!("<{}>", input.to)]);
    header::write_field(out, "Subject", &[&subject(input, utf8)]);
    header::write_field(out, "Message-ID", &[&format!("<{}@{host}>", input.id)]);
    write_thread(out, input.original.header);
    // RFC 3834 §5: no program shall answer this.
    header::write_field(out, "Auto-Submitted", &["auto-replied"]);
    header::write_field(out, "MIME-Version", &["1.0"]);
    // RFC 6522 §3; the report type stays the same with RFC 6533 §6.
    let boundary = format!("boundary=\"{boundary}\"");
    header::write_field(
        out,
        "Content-Type",
        &["multipart/report;", "report-type=delivery-status;", &boundary],
    );
    out.extend_from_slice(b"\r\nThis is a report in MIME format.\r\n");
}

/// What it is about, and the original's subject where it can be shown as it is.
fn subject(input: &DsnInput<'_>, utf8: bool) -> String {
    let what = match input.action {
        DsnAction::Failed => "Not delivered",
        DsnAction::Delayed => "Delayed",
        DsnAction::Delivered => "Delivered",
        DsnAction::Relayed => "Passed on",
    };
    let original = header::find(input.original.header, "Subject").map(|field| field.text().into_owned());
    match original.filter(|s| !s.is_empty() && s.len() <= 300 && (utf8 || s.is_ascii())) {
        Some(subject) => format!("{what}: {subject}"),
        None => format!("{what}: your message"),
    }
}

/// RFC 5322 §3.6.4: the report answers the original, so that it is shown beside it.
fn write_thread(out: &mut Vec<u8>, original: &[u8]) {
    let ids_of = |name: &str| -> Vec<String> {
        let text = header::find(original, name).map(|field| field.text().into_owned()).unwrap_or_default();
        text.split_whitespace().filter(|word| is_message_id(word)).map(str::to_owned).collect()
    };
    let Some(id) = ids_of("Message-ID").into_iter().next() else { return };
    let mut references = ids_of("References");
    references.drain(..references.len().saturating_sub(REFERENCES_MAX));
    references.push(id.clone());
    header::write_field(out, "In-Reply-To", &[&id]);
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    header::write_field(out, "References", &references);
}

fn is_message_id(word: &str) -> bool {
    let inner = word.strip_prefix('<').and_then(|w| w.strip_suffix('>'));
    word.len() <= 255
        && inner.is_some_and(|w| w.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>'))
}

fn open_part(out: &mut Vec<u8>, boundary: &str, kind: &str, description: &str, content: &[u8]) {
    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
    header::write_field(out, "Content-Description", &[description]);
    header::write_field(out, "Content-Type", &[kind]);
    // RFC 6522 §3 wants seven bits where they suffice; RFC 2046 §5.2.1 permits no other encoding for messages.
    let encoding = if content.is_ascii() { "7bit" } else { "8bit" };
    header::write_field(out, "Content-Transfer-Encoding", &[encoding]);
    out.extend_from_slice(b"\r\n");
}

/// A text that stands in none of the parts.
fn boundary(id: QueueId, parts: &[&[u8]]) -> String {
    let stands_in =
        |text: &str| parts.iter().any(|part| part.windows(text.len()).any(|w| w == text.as_bytes()));
    // Each number that is passed over stands in the parts: there are fewer of them than octets.
    let mut number = 0_u64;
    loop {
        let candidate = format!("=_{id}.{number}");
        if !stands_in(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

/// The third part (RFC 6522 §3): the original, or its header.
fn returned_part(original: &Original<'_>) -> Vec<u8> {
    // Octets beyond ASCII stay as they came, labelled 8bit: they may be in any character set.
    let header = original.header.get(..header::fields_end(original.header)).unwrap_or_default();
    let mut out = Vec::with_capacity(header.len() + original.body.map_or(0, <[u8]>::len) + 4);
    out.extend_from_slice(header);
    if !header.is_empty() && !header.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    if let Some(body) = original.body {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
    }
    out
}

/// The second part (RFC 3464 §2; RFC 6533 §3).
fn status_text(input: &DsnInput<'_>, utf8: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut field = |name: &str, kind: &str, value: &str| {
        let value = if utf8 { Cow::Borrowed(value) } else { escaped(value) };
        header::write_field(&mut out, name, &[&format!("{kind}{value}")]);
    };
    if let Some(envid) = input.original.envid {
        field("Original-Envelope-Id", "", envid);
    }
    field("Reporting-MTA", "dns; ", input.hostname);
    // RFC 3464 §2.2.5. Unregistered fields have their X-.
    field("Arrival-Date", "", &input.original.arrived.rfc5322());
    field("X-Staffetta-Queue-ID", "", &input.original.id.to_string());
    for recipient in input.recipients {
        out.extend_from_slice(b"\r\n");
        write_recipient(&mut out, input, recipient, utf8);
    }
    out
}

/// One group of per-recipient fields (RFC 3464 §2.3), in the order of the RFC.
fn write_recipient(out: &mut Vec<u8>, input: &DsnInput<'_>, recipient: &DsnRecipient<'_>, utf8: bool) {
    let shown = |text: &str| if utf8 { text.to_owned() } else { escaped(text).into_owned() };
    if let Some(original) = recipient.original {
        let value = format!("{}; {}", shown(&original.kind), shown(&original.address));
        header::write_field(out, "Original-Recipient", &[&value]);
    }
    let address = recipient.address.to_string();
    // RFC 6533 §3: the address type says which alphabet it is in.
    let kind = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
    header::write_field(out, "Final-Recipient", &[&format!("{kind}; {}", shown(&address))]);
    let action = match input.action {
        DsnAction::Failed => "failed",
        DsnAction::Delayed => "delayed",
        DsnAction::Delivered => "delivered",
        DsnAction::Relayed => "relayed",
    };
    header::write_field(out, "Action", &[action]);
    header::write_field(out, "Status", &[&status(input.action, recipient).to_string()]);
    if let Some(host) = recipient.peer.and_then(host_of) {
        header::write_field(out, "Remote-MTA", &[&format!("dns; {}", shown(host))]);
    }
    write_diagnostic(out, recipient, utf8);
    header::write_field(out, "Last-Attempt-Date", &[&recipient.at.rfc5322()]);
    if input.action == DsnAction::Delayed {
        header::write_field(out, "Will-Retry-Until", &[&input.original.expires.rfc5322()]);
    }
}

/// RFC 3464 §2.3.4. The code of the actual trouble is preferred to "expired" (RFC 3463 §3.5, X.4.7).
fn status(action: DsnAction, recipient: &DsnRecipient<'_>) -> EnhancedStatus {
    match (recipient.reply.enhanced, action) {
        (Some(enhanced), _) => enhanced,
        (None, DsnAction::Delivered | DsnAction::Relayed) => EnhancedStatus(2, 0, 0),
        (None, DsnAction::Delayed) => EnhancedStatus(4, 0, 0),
        (None, DsnAction::Failed) if recipient.expired => EnhancedStatus(4, 4, 7),
        (None, DsnAction::Failed) => EnhancedStatus(5, 0, 0),
    }
}

/// RFC 3464 §2.3.6: the words verbatim, a folded line for each line of the reply.
fn write_diagnostic(out: &mut Vec<u8>, recipient: &DsnRecipient<'_>, utf8: bool) {
    // RFC 3464 §2.3.6: `smtp` when a remote server said it; words of our own have a type of their own.
    let kind = if recipient.peer.is_some() { "smtp" } else { "x-staffetta" };
    out.extend_from_slice(format!("Diagnostic-Code: {kind};").as_bytes());
    let mut first = true;
    for line in reply_lines(recipient.reply) {
        let line = if utf8 { Cow::Borrowed(line.as_str()) } else { escaped(&line) };
        out.extend_from_slice(if first { b" " } else { b"\r\n\t" });
        // No words of a peer can forge a field or a boundary.
        out.extend(cut(&line).bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }));
        first = false;
    }
    out.extend_from_slice(b"\r\n");
}

/// The reply as it came over the wire, without line ends.
fn reply_lines(reply: &Reply) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut texts = reply.text.split('\n').peekable();
    while let Some(text) = texts.next() {
        let dash = if texts.peek().is_some() { '-' } else { ' ' };
        let enhanced = reply.enhanced.map(|e| format!("{e} ")).unwrap_or_default();
        lines.push(format!("{}{dash}{enhanced}{text}", reply.code));
    }
    lines
}

/// A line that is not too long for a message.
fn cut(line: &str) -> &str {
    let mut end = line.len().min(WORDS_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default()
}

/// RFC 6533 §3: `\x{HEX}` for what ASCII has not.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) };
    Cow::Owned(text.chars().map(escape).collect())
}

/// The name in `mx.a.test[192.0.2.1]:25`, or the address where there is no name.
fn host_of(peer: &str) -> Option<&str> {
    let end = match peer.strip_prefix('[') {
        Some(_) => peer.find(']').map(|i| i + 1),
        None => peer.find(['[', ':']),
    };
    peer.get(..end.unwrap_or(peer.len())).filter(|host| !host.is_empty())
}

/// The first part (RFC 6522 §3): what happened, why, and what to do.
fn human_text(input: &DsnInput<'_>) -> String {
    let mut text = Text::default();
    let several = input.recipients.len() > 1;
    let whom = if several { "these recipients" } else { "this recipient" };
    text.paragraph(&format!("This is the mail server {}.", input.hostname));
    match input.action {
        DsnAction::Failed => text.paragraph(&format!(
            "Your message could not be delivered to {whom}, and will not be tried again."
        )),
        DsnAction::Delayed => text.paragraph(&format!(
            "Your message has not reached {whom} yet. You need not do anything: it will be tried again until {}, and you \
             will be told if it cannot be delivered by then.",
            input.original.expires.rfc5322()
        )),
        DsnAction::Delivered => text.paragraph(&format!("Your message was delivered to {whom}, as you wanted to know.")),
        DsnAction::Relayed => text.paragraph(&format!(
            "Your message was handed on for {whom} to a mail server that does not report deliveries. You will hear of {} \
             again only if something goes wrong.",
            if several { "them" } else { "it" }
        )),
    }
    for recipient in input.recipients {
        recipient_text(&mut text, input.action, recipient);
    }
    let returned =
        if input.original.body.is_some() { "The message is attached." } else { "Its header is attached." };
    text.paragraph(&format!(
        "The message was accepted here on {} with the queue id {}. {returned}",
        input.original.arrived.rfc5322(),
        input.original.id
    ));
    text.0
}

fn recipient_text(text: &mut Text, action: DsnAction, recipient: &DsnRecipient<'_>) {
    text.verbatim("", &format!("<{}>", recipient.address));
    if matches!(action, DsnAction::Failed | DsnAction::Delayed) {
        let explanation = explain::explain(status(action, recipient), recipient.reply.code);
        let expired = if recipient.expired { "It was tried until its time was over. " } else { "" };
        let remedy = if action == DsnAction::Failed { explanation.remedy } else { "" };
        text.paragraph_tight(&format!("{expired}{} {remedy}", explanation.cause));
        text.paragraph_tight(&match recipient.peer {
            Some(peer) => format!("In the words of {peer}:"),
            None => "In the words of this server:".to_owned(),
        });
    }
    for line in reply_lines(recipient.reply) {
        text.verbatim("    ", &line);
    }
    text.0.push_str("\r\n");
}

/// Plain text in lines that fit any screen.
#[derive(Default)]
struct Text(String);

impl Text {
    const COLUMNS: usize = 76;

    /// Words, wrapped, and an empty line.
    fn paragraph(&mut self, words: &str) {
        self.paragraph_tight(words);
        self.0.push_str("\r\n");
    }

    fn paragraph_tight(&mut self, words: &str) {
        let mut column = 0;
        for word in words.split_whitespace() {
            let width = word.chars().count();
            if column > 0 && column + 1 + width > Self::COLUMNS {
                self.0.push_str("\r\n");
                column = 0;
            } else if column > 0 {
                self.0.push(' ');
                column += 1;
            }
            self.0.extend(word.chars().map(printable));
            column += width;
        }
        self.0.push_str("\r\n");
    }

    /// One line as it is.
    fn verbatim(&mut self, indent: &str, line: &str) {
        self.0.push_str(indent);
        self.0.extend(cut(line).chars().map(printable));
        self.0.push_str("\r\n");
    }
}

fn printable(c: char) -> char {
    if c.is_control() { '?' } else { c }
}
