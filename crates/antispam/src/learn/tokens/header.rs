//! The header of a message: the subject's words, who is named, what fields look like, the way it came.
//!
//! Fields that are added at or after delivery are traces of a mailbox and not of the sender: they are not looked at, and no
//! verdict of another filter is.

use std::borrow::Cow;

use mail::header::{self, Field};
use mail_parser::{DateTime, HeaderName, MessageParser};

use super::super::feature::{Gathering, Kind};
use super::body::{cut, registrable};
use super::words::{shape, words};

/// Fields that are looked at.
pub(super) const FIELDS_MAX: usize = 200;
/// Longest field, in octets.
const FIELD_BYTES_MAX: usize = 4096;
/// Words of one field.
const FIELD_WORDS_MAX: usize = 30;
/// Addresses of one field.
const ADDRESSES_MAX: usize = 20;
/// Words of the names in one field.
const NAME_WORDS_MAX: usize = 20;
/// Longest tag of a list in a subject, in octets.
const TAG_BYTES_MAX: usize = 32;

/// Added at delivery or later, or by another filter.
const TRACES: [&str; 27] = [
    "status",
    "x-status",
    "x-keywords",
    "x-uid",
    "x-uidl",
    "delivered-to",
    "x-delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
    "x-sieve",
    "lines",
    "content-length",
    "return-path",
    "xref",
    "path",
    "newsgroups",
    "x-from-line",
    "x-loop",
    "x-folder",
    "replied",
    "forwarded",
    "x-account-key",
    "x-bogosity",
    "authentication-results",
    "received-spf",
    "x-virus-scanned",
];
/// Beginnings of such names.
const TRACE_PREFIXES: [&str; 7] =
    ["x-mozilla-", "x-gnus-", "x-evolution", "x-spam", "x-staffetta", "x-rspamd", "arc-"];

/// Fields of ordinary mail, whose order tells programs apart.
const KNOWN: [&str; 22] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "x-mailer",
    "user-agent",
    "reply-to",
    "in-reply-to",
    "references",
    "x-priority",
    "x-msmail-priority",
    "x-mimeole",
    "importance",
    "organization",
    "sender",
    "precedence",
    "list-unsubscribe",
];

/// Fields whose words tell the program that wrote them.
const PROGRAM: [&str; 12] = [
    "content-type",
    "x-mailer",
    "user-agent",
    "mime-version",
    "content-transfer-encoding",
    "x-priority",
    "importance",
    "x-msmail-priority",
    "organization",
    "content-disposition",
    "x-mimeole",
    "content-class",
];

/// Reads the header; gives the subject back without the tag of a list.
pub(super) fn read(head: &[u8], out: &mut Gathering) -> String {
    let mut subject = String::new();
    let mut previous: Option<&str> = None;
    for field in header::fields(head).take(FIELDS_MAX) {
        let name = field.name();
        let lower = name.to_ascii_lowercase();
        if is_trace(&lower) {
            continue;
        }
        let value = value(&field, &lower, out);
        let value = value.trim();
        match lower.as_str() {
            "received" => received(value, out),
            "subject" => {
                subject = without_tag(value);
                self::subject(&subject, out);
            }
            "from" | "to" | "cc" | "reply-to" | "sender" | "errors-to" => people(&lower, value, out),
            "message-id" => {
                let id = value
                    .split_once('@')
                    .map_or_else(|| shape(value), |(left, _)| shape(&format!("{left}@")));
                out.exact(Kind::Shape, "message-id", &id);
            }
            "date" => out.exact(Kind::Shape, "date", &date_shape(value)),
            _ => other(&lower, value, out),
        }
        if KNOWN.contains(&lower.as_str()) {
            out.exact(Kind::FieldName, "", name);
            if let Some(before) = previous {
                out.exact(Kind::FieldOrder, before, name);
            }
            previous = Some(name);
        }
    }
    subject
}

/// A field, its name in lower case, that says nothing of the sender.
pub(super) fn is_trace(name: &str) -> bool {
    TRACES.contains(&name) || TRACE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// When a message came: the date of its topmost Received field that has one, else its Date; 0 when there is none.
pub(super) fn seconds(message: &[u8]) -> u64 {
    let texts = |name: &'static str| {
        header::fields(message).take(FIELDS_MAX).filter(move |field| field.is(name)).map(|field| field.text())
    };
    let received = texts("received").filter_map(|text| Some(text.rsplit_once(';')?.1.to_owned()));
    let mut dates = received
        .chain(texts("date").map(Cow::into_owned))
        .filter_map(|text| DateTime::parse_rfc822(text.trim()));
    let date = dates.find(DateTime::is_valid);
    date.and_then(|date| u64::try_from(date.to_timestamp()).ok()).unwrap_or_default()
}

/// Reads the subject of an attached message.
pub(super) fn read_inner(head: &[u8], out: &mut Gathering) {
    let Some(subject) = header::find(head, "subject") else { return };
    let subject = decoded(&subject).unwrap_or_else(|| subject.text().into_owned());
    for word in words(&subject).take(FIELD_WORDS_MAX) {
        out.add(Kind::Word, word);
    }
}

/// What a field says: decoded where it is encoded.
fn value<'a>(field: &Field<'a>, name: &str, out: &mut Gathering) -> Cow<'a, str> {
    let octets = field.value();
    let octets = octets.get(..FIELD_BYTES_MAX).unwrap_or(octets);
    if memchr::memmem::find(octets, b"=?").is_some() {
        out.add_in(Kind::Shape, "encoded", name);
        if let Some(text) = decoded(field) {
            return Cow::Owned(cut(&text, FIELD_BYTES_MAX).to_owned());
        }
    }
    String::from_utf8_lossy(octets)
}

/// A field's value with its encoded words decoded (RFC 2047 §2).
fn decoded(field: &Field<'_>) -> Option<String> {
    let value = field.raw().get(field.name().len()..)?;
    let value = value.get(..2 * FIELD_BYTES_MAX).unwrap_or(value);
    // As what it is read does not depend on what it is called.
    let alone = [b"Subject", value].concat();
    let parsed = MessageParser::new().header_text(HeaderName::Subject).parse_headers(alone.as_slice())?;
    parsed.subject().map(ToOwned::to_owned)
}

/// A subject without the tag of a list: `Re: [staff] hello` is `Re: hello`.
fn without_tag(subject: &str) -> String {
    let reply = subject.find(':').filter(|at| {
        let word = subject.get(..*at).unwrap_or_default();
        ["re", "fw", "fwd"].iter().any(|reply| word.eq_ignore_ascii_case(reply))
    });
    let (before, rest) = subject.split_at_checked(reply.map_or(0, |at| at + 1)).unwrap_or(("", subject));
    let tagged = rest.trim_start();
    let behind = tagged.strip_prefix('[').and_then(|inside| inside.split_once(']'));
    match behind.filter(|(tag, _)| tag.len() <= TAG_BYTES_MAX) {
        Some((_, rest)) if before.is_empty() => rest.trim_start().to_owned(),
        Some((_, rest)) => format!("{before} {}", rest.trim_start()),
        None => subject.to_owned(),
    }
}

fn subject(subject: &str, out: &mut Gathering) {
    let all: Vec<&str> = words(subject).take(FIELD_WORDS_MAX).collect();
    for word in &all {
        out.add(Kind::Subject, word);
    }
    for pair in all.windows(2) {
        if let [first, second] = pair {
            out.add_in(Kind::SubjectPair, first, second);
        }
    }
    let mut letters = subject.chars().filter(|c| c.is_alphabetic()).peekable();
    if letters.peek().is_some() && letters.all(char::is_uppercase) {
        out.add(Kind::Shape, "subject in capitals");
    }
    if subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:")) {
        out.add(Kind::Shape, "subject replies");
    }
    if subject.trim_end().rsplit_once(char::is_whitespace).is_some_and(|(left, _)| left.ends_with("   ")) {
        out.add(Kind::Shape, "subject with a gap");
    }
    for sign in ["!", "?", "$"] {
        if subject.contains(sign) {
            out.exact(Kind::Shape, "subject", sign);
        }
    }
}

fn people(field: &str, value: &str, out: &mut Gathering) {
    let mut names = String::with_capacity(value.len());
    let mut found = 0;
    for piece in value.split_inclusive(|c: char| c.is_whitespace() || ",;<>()\"".contains(c)) {
        let word = piece.trim_matches(|c: char| c.is_whitespace() || ",;<>()\"'".contains(c));
        let Some((local, domain)) =
            word.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && domain.contains('.'))
        else {
            names.push_str(piece);
            continue;
        };
        found += 1;
        if found > ADDRESSES_MAX {
            break;
        }
        let domain = domain.to_ascii_lowercase();
        out.add_in(Kind::Address, field, word);
        out.add_in(Kind::AddressDomain, field, registrable(&domain));
        out.add_in(Kind::AddressTld, field, domain.rsplit('.').next().unwrap_or_default());
        out.exact(Kind::Shape, field, &shape(&local.to_ascii_lowercase()));
    }
    for word in words(&names).take(NAME_WORDS_MAX) {
        out.add_in(Kind::NameWord, field, word);
    }
    let names = names.replace(['<', '>'], "");
    out.exact(Kind::Shape, field, &format!(":{}", shape(names.trim())));
}

/// What a date looks like, whatever day it is.
fn date_shape(value: &str) -> String {
    let (day, rest) = value.split_once(',').map_or(("", value), |(day, rest)| (day, rest));
    format!("{},{}", shape(day), shape(rest))
}

fn other(name: &str, value: &str, out: &mut Gathering) {
    out.exact(Kind::Shape, name, &shape(value));
    let kind = if PROGRAM.contains(&name) { Kind::Value } else { Kind::Other };
    let parts = value.split(|c: char| !(c.is_alphanumeric() || "_.-/".contains(c)));
    for word in parts.filter(|word| word.len() > 1).take(FIELD_WORDS_MAX) {
        out.add_in(kind, name, word);
    }
}

fn received(value: &str, out: &mut Gathering) {
    let parts = value.split(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c)));
    for word in parts.filter(|word| word.len() > 2).take(FIELD_WORDS_MAX) {
        out.add(Kind::Received, word);
    }
    out.add(Kind::ReceivedShape, &hosts_as_one(value.split(';').next().unwrap_or_default()));
}

/// What a Received field looks like with every name of a host as `H`.
fn hosts_as_one(text: &str) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c))) {
        let word = piece.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c)));
        let behind = piece.get(word.len()..).unwrap_or_default();
        let ends_in_letters = word.rsplit_once('.').is_some_and(|(left, end)| {
            !left.is_empty() && !end.is_empty() && end.bytes().all(|octet| octet.is_ascii_alphabetic())
        });
        out.push_str(if ends_in_letters { "H" } else { word });
        out.push_str(behind);
    }
    shape(&out)
}
