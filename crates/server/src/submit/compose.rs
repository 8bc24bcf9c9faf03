//! Makes a message of what a program gives to `sendmail`: line ends, recipients from the header, what is missing.
//!
//! Follows Postfix's sendmail(1) where programs rely on it:
//! * lines end in CRLF, whatever they came with; without `-i` a line with a single dot ends the message;
//! * a leading `From ` line of an mbox is dropped; a first line that is no field has an empty line put before it;
//! * with `-t`, recipients are those of To, Cc and Bcc; **when there is any Resent-To, Resent-Cc or Resent-Bcc, those
//!   alone** (RFC 5322 §3.6.6: the block that was put on top describes this sending);
//! * Bcc and Resent-Bcc are removed in any case;
//! * a missing From (or Resent-From, when the message is resent) is made of the user's name;
//! * names without a domain get this host's.
//!
//! Date and Message-ID are added at intake, as for every submission. Never touches the body but for its line ends.

use std::io::{BufRead, ErrorKind};

use mail::header::{self, Field};

use super::addresses;

/// A message from a program is at most this long; the server's own limit is usually smaller.
pub const MESSAGE_BYTES_MAX: u64 = 256 << 20;

/// Why no message could be made. The program's fault: `EX_DATAERR`.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Standard input failed.
    #[error("the message could not be read: {0}")]
    Read(#[from] std::io::Error),
    /// With `-t`, and no address in the header.
    #[error("no recipients: neither in the header (To, Cc, Bcc) nor on the command line")]
    NoRecipients,
}

/// Who sends, for what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author<'a> {
    /// The envelope sender, or the user's own address: becomes From where there is none. Empty for the null reverse-path.
    pub address: &'a str,
    /// A name to go with it.
    pub full_name: Option<&'a str>,
    /// The domain of names that have none.
    pub host: &'a str,
}

/// Reads a message, up to its end or, where `dot_ends` says so, up to a line with a single dot.
///
/// # Errors
/// What reading failed with; `FileTooLarge` beyond [`MESSAGE_BYTES_MAX`].
pub fn read(input: &mut dyn BufRead, dot_ends: bool) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    let mut is_first = true;
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(message);
        }
        while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            line.pop();
        }
        if dot_ends && line == b"." {
            return Ok(message);
        }
        if std::mem::take(&mut is_first) && line.starts_with(b"From ") {
            continue;
        }
        message.extend_from_slice(&line);
        message.extend_from_slice(b"\r\n");
        if message.len() as u64 > MESSAGE_BYTES_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
    }
}

/// The recipients that the header names.
///
/// # Errors
/// [`ComposeError::NoRecipients`].
pub fn recipients(message: &[u8]) -> Result<Vec<String>, ComposeError> {
    let of = |names: [&str; 3]| -> Vec<String> {
        let wanted = header::fields(message).filter(|field| names.iter().any(|name| field.is(name)));
        wanted.flat_map(|field| addresses::find(&field.text())).map(|found| found.text).collect()
    };
    let resent = of(["Resent-To", "Resent-Cc", "Resent-Bcc"]);
    let found = if resent.is_empty() { of(["To", "Cc", "Bcc"]) } else { resent };
    if found.is_empty() { Err(ComposeError::NoRecipients) } else { Ok(found) }
}

/// The message ready to be sent: see the top of this file.
#[must_use]
pub fn finish(message: &[u8], author: &Author<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 256);
    let (mut has_from, mut has_resent_from, mut is_resent) = (false, false, false);
    for field in header::fields(message) {
        has_from |= field.is("From");
        has_resent_from |= field.is("Resent-From");
        is_resent |= field.name().to_ascii_lowercase().starts_with("resent-");
    }
    if is_resent && !has_resent_from {
        push_from(&mut out, "Resent-From", author);
    }
    for field in header::fields(message) {
        if !field.is("Bcc") && !field.is("Resent-Bcc") {
            push_field(&mut out, &field, author.host);
        }
    }
    if !has_from {
        push_from(&mut out, "From", author);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.get(header::body_offset(message)..).unwrap_or_default());
    out
}

/// Fields whose names without a domain mean somebody here.
const ADDRESS_FIELDS: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
    "Disposition-Notification-To",
    "Errors-To",
    "Return-Receipt-To",
];

fn push_field(out: &mut Vec<u8>, field: &Field<'_>, host: &str) {
    let holds_addresses = ADDRESS_FIELDS.iter().any(|name| field.is(name));
    let text = holds_addresses.then(|| std::str::from_utf8(field.value()).ok()).flatten();
    match text.and_then(|text| addresses::qualify(text, host)) {
        Some(value) => {
            out.extend_from_slice(field.name().as_bytes());
            out.push(b':');
            out.extend_from_slice(if value.starts_with([' ', '\t', '\r']) { b"" } else { b" " });
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(field.raw()),
    }
}

fn push_from(out: &mut Vec<u8>, name: &str, author: &Author<'_>) {
    // RFC 3834 §3: what has the null reverse-path comes from the mail system itself.
    let address = if author.address.is_empty() {
        format!("MAILER-DAEMON@{}", author.host)
    } else {
        author.address.to_owned()
    };
    let line = match author.full_name.map(display_name) {
        Some(full_name) => format!("{name}: {full_name} <{address}>\r\n"),
        None => format!("{name}: {address}\r\n"),
    };
    out.extend_from_slice(line.as_bytes());
}

/// A display name (RFC 5322 §3.2.5), in quotes where it needs them; raw UTF-8 where it is not ASCII (RFC 6532).
fn display_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let needs_quotes = name
        .chars()
        .any(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !" !#$%&'*+-/=?^_`{|}~".contains(c));
    if needs_quotes { format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")) } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHOR: Author<'static> =
        Author { address: "anna@mx.test", full_name: Some("Anna Rossi"), host: "mx.test" };

    fn made(input: &str) -> String {
        let message = read(&mut input.as_bytes(), true).unwrap();
        String::from_utf8(finish(&message, &AUTHOR)).unwrap()
    }

    #[test]
    fn lines_end_in_crlf_and_a_dot_ends_the_message_unless_told() {
        assert_eq!(read(&mut &b"a\nb\r\n.\nc"[..], true).unwrap(), b"a\r\nb\r\n");
        assert_eq!(read(&mut &b"a\n.\nc"[..], false).unwrap(), b"a\r\n.\r\nc\r\n");
        assert_eq!(read(&mut &b"..\n.x\n"[..], true).unwrap(), b"..\r\n.x\r\n");
        assert_eq!(
            read(&mut &b"From a Mon Jan 1\nSubject: x\n\nFrom b\n"[..], true).unwrap(),
            b"Subject: x\r\n\r\nFrom b\r\n"
        );
    }

    #[test]
    fn a_first_line_that_is_no_field_begins_the_body() {
        assert_eq!(
            made("not a header\nbody\n"),
            "From: Anna Rossi <anna@mx.test>\r\n\r\nnot a header\r\nbody\r\n"
        );
        assert_eq!(made(""), "From: Anna Rossi <anna@mx.test>\r\n\r\n");
    }

    #[test]
    fn bcc_is_removed_and_everything_else_stays_as_it_was() {
        let input = "From: b@c.test\nTo: d@e.test,\n\tF <f@g.test>\nBCC: secret@h.test,\n more@h.test\nX:y\n\nBcc: body\n";
        let want = "From: b@c.test\r\nTo: d@e.test,\r\n\tF <f@g.test>\r\nX:y\r\n\r\nBcc: body\r\n";
        assert_eq!(made(input), want);
    }

    #[test]
    fn what_cron_writes_gets_this_hosts_name() {
        let input = "From: root (Cron Daemon)\nTo: anna\nSubject: Cron <root@box> job\n\nx\n";
        let want = "From: root@mx.test (Cron Daemon)\r\nTo: anna@mx.test\r\nSubject: Cron <root@box> job\r\n\r\nx\r\n";
        assert_eq!(made(input), want);
    }

    #[test]
    fn recipients_come_from_to_cc_and_bcc() {
        let list =
            |text: &str| recipients(&read(&mut text.as_bytes(), true).unwrap()).map_err(|e| e.to_string());
        let input = "To: a@b.test, \"c d\" <c@d.test>\nCc: g: h@i.test;\nBcc: bcc\nX-To: no@no.test\n\nTo: body@no.test\n";
        assert_eq!(list(input).unwrap(), ["a@b.test", "c@d.test", "h@i.test", "bcc"]);
        assert!(list("Subject: x\n\n").unwrap_err().contains("no recipients"));
        assert!(list("To: undisclosed-recipients:;\n\n").is_err());
    }

    #[test]
    fn a_resent_message_goes_to_its_resent_recipients_alone() {
        let input = "From: x@y.test\nTo: old@b.test\nBcc: old2@b.test\nResent-To: new@c.test\nResent-Bcc: hid@c.test\n\n.\n";
        let message = read(&mut input.as_bytes(), false).unwrap();
        assert_eq!(recipients(&message).unwrap(), ["new@c.test", "hid@c.test"]);
        let text = made(input);
        assert!(text.starts_with("Resent-From: Anna Rossi <anna@mx.test>\r\nFrom: x@y.test\r\n"), "{text}");
        assert!(!text.contains("Bcc") && !text.contains("hid@"), "{text}");
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (name, want) in [
            ("Anna Rossi", "Anna Rossi"),
            ("J. Q. Public", "\"J. Q. Public\""),
            ("a \"b\" \\", "\"a \\\"b\\\" \\\\\""),
            ("Jörg", "Jörg"),
            ("x\r\nBcc: y", "\"x  Bcc: y\""),
        ] {
            assert_eq!(display_name(name), want);
        }
        let null = Author { address: "", full_name: None, host: "mx.test" };
        assert_eq!(finish(b"\r\nx\r\n", &null), b"From: MAILER-DAEMON@mx.test\r\n\r\nx\r\n");
    }

    #[test]
    fn bytes_that_are_no_utf8_pass_through() {
        let message = b"From: a@b.test\r\nTo: \xff <c>\r\n\r\n\xfe\r\n";
        assert_eq!(finish(message, &AUTHOR), message);
    }
}
