//! Is the header one that a mail program would write? From, Date, Message-ID, To, and what Received says of us.
//!
//! RFC 5322 §3.6 wants exactly one From and one Date; the rest is custom. None of it makes mail spam by itself, so all of
//! it is points, in one group with a cap. Reads the fields it needs, each up to a bound, and decodes them; never looks at
//! the body, at the Subject, or at a clock: what time it is comes with the facts. Nothing here is asked of anybody, and
//! so nothing can be unknown. Evidence names fields, and shows addresses, ids and dates; never a Subject.

mod received;

use std::time::Duration;

use mail::header::{self, Field};
use mail::{Address, Timestamp};
use mail_parser::MessageParser;
use policy::{Check, EndOfData, Findings, MessageFacts, Score, SymbolDef, Work};

use crate::groups::HEADER;
use crate::helo::claim::Ours;

macro_rules! symbol {
    ($name:ident, $tenths:literal, $meaning:literal) => {
        const $name: SymbolDef =
            SymbolDef::grouped(stringify!($name), Score::tenths($tenths), HEADER, $meaning);
    };
}

symbol!(FROM_MISSING, 25, "the header has no From");
symbol!(FROM_MULTIPLE, 35, "the header has more than one From: readers differ in which one they show");
symbol!(FROM_MALFORMED, 20, "From names no address");
symbol!(FROM_NAME_ADDRESS, 15, "the name shown in From is another domain's address");
symbol!(DATE_MISSING, 10, "the header has no Date");
symbol!(DATE_MALFORMED, 10, "Date is no date, or is there twice");
symbol!(DATE_PAST, 5, "Date is more than ten days ago");
symbol!(DATE_FUTURE, 20, "Date is more than a day ahead");
symbol!(MESSAGE_ID_MISSING, 5, "the header has no Message-ID");
symbol!(MESSAGE_ID_MALFORMED, 10, "Message-ID is none, or is there twice");
symbol!(TO_MISSING, 1, "neither To nor Cc is there");
symbol!(TO_UNDISCLOSED, 2, "To names nobody: undisclosed recipients");
symbol!(RECEIVED_FORGED, 40, "a Received field has been made up that names us");

/// Queues keep mail for five days, and some lists hold it for longer.
const PAST_SECONDS_MAX: u64 = 10 * 86_400;
/// The widest error of a time zone is a day.
const FUTURE_SECONDS_MAX: u64 = 86_400;
/// Longest field that is decoded, in octets.
const FIELD_BYTES_MAX: usize = 16 << 10;
/// Characters of a field that evidence shows.
const SHOWN_MAX: usize = 80;
/// Mailboxes of From that are looked at.
const MAILBOXES_MAX: usize = 32;

/// See above.
#[derive(Debug, Clone, Default)]
pub struct HeaderSanity {
    ours: Ours,
}

impl HeaderSanity {
    /// With our own names and addresses, by which forged Received fields are known.
    #[must_use]
    pub fn new(ours: Ours) -> Self {
        Self { ours }
    }
}

impl Check<EndOfData> for HeaderSanity {
    fn name(&self) -> &'static str {
        "header_sanity"
    }

    fn symbols(&self) -> Vec<SymbolDef> {
        vec![
            FROM_MISSING,
            FROM_MULTIPLE,
            FROM_MALFORMED,
            FROM_NAME_ADDRESS,
            DATE_MISSING,
            DATE_MALFORMED,
            DATE_PAST,
            DATE_FUTURE,
            MESSAGE_ID_MISSING,
            MESSAGE_ID_MALFORMED,
            TO_MISSING,
            TO_UNDISCLOSED,
            RECEIVED_FORGED,
        ]
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn run<'a>(&'a self, facts: &'a MessageFacts, found: &'a mut Findings) -> Work<'a> {
        Box::pin(async move {
            let fields = Named::read(&facts.header);
            from(&fields.from, facts.mail.reverse_path.is_null(), found);
            date(&fields.date, facts.at, found);
            message_id(&fields.message_id, found);
            to(&fields, found);
            for (number, field) in fields.received.iter().enumerate() {
                let told =
                    received::forged(&field.text(), number == 0, &self.ours, facts.mail.helo.connect.local);
                if let Some(evidence) = told {
                    found.saw(RECEIVED_FORGED.symbol, &evidence);
                    break;
                }
            }
        })
    }
}

/// The fields that matter.
#[derive(Default)]
struct Named<'a> {
    from: Vec<Field<'a>>,
    date: Vec<Field<'a>>,
    message_id: Vec<Field<'a>>,
    to: Vec<Field<'a>>,
    has_copy: bool,
    received: Vec<Field<'a>>,
}

impl<'a> Named<'a> {
    fn read(head: &'a [u8]) -> Self {
        let mut named = Self::default();
        for field in header::fields(head) {
            let name = field.name();
            let list = if name.eq_ignore_ascii_case("From") {
                &mut named.from
            } else if name.eq_ignore_ascii_case("Date") {
                &mut named.date
            } else if name.eq_ignore_ascii_case("Message-ID") {
                &mut named.message_id
            } else if name.eq_ignore_ascii_case("To") {
                &mut named.to
            } else if name.eq_ignore_ascii_case("Received") {
                &mut named.received
            } else {
                named.has_copy |= name.eq_ignore_ascii_case("Cc") || name.eq_ignore_ascii_case("Bcc");
                continue;
            };
            // Two say that there are several, but every hop has its Received.
            if list.len() < received::FIELDS_MAX {
                list.push(field);
            }
        }
        named
    }
}

/// A field as the parser wants it, when it is not too long.
fn short<'a>(field: &Field<'a>) -> Option<&'a [u8]> {
    Some(field.raw()).filter(|raw| raw.len() <= FIELD_BYTES_MAX)
}

/// What is shown of a field: where line ends are bare, the rest of the header is in it, the Subject too.
fn shown(field: &Field<'_>) -> String {
    field.text().chars().take_while(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

fn from(fields: &[Field<'_>], is_bounce: bool, found: &mut Findings) {
    match fields {
        [] => found.saw(FROM_MISSING.symbol, "no From"),
        [_] => {}
        several => found.saw(FROM_MULTIPLE.symbol, &format!("{} From fields", several.len())),
    }
    for field in fields {
        let parsed = short(field).and_then(|raw| MessageParser::new().parse_headers(raw));
        let mailboxes: Vec<(Option<String>, Address)> = parsed
            .as_ref()
            .and_then(|parsed| parsed.from())
            .into_iter()
            .flat_map(mail_parser::Address::iter)
            .filter_map(|one| {
                Some((one.name().map(ToOwned::to_owned), Address::parse(one.address()?.trim()).ok()?))
            })
            .take(MAILBOXES_MAX)
            .collect();
        // RFC 6854 §2.1 permits groups in From, which may be empty; no program of people writes them. Many that write
        // bounces say no more than MAILER-DAEMON.
        if mailboxes.is_empty() && !is_bounce {
            found.saw(FROM_MALFORMED.symbol, "no address in From");
        }
        for (name, address) in mailboxes {
            if let Some(shown) = name.as_deref().and_then(|name| other_address(name, &address)) {
                found.saw(FROM_NAME_ADDRESS.symbol, &format!("shows {shown}, is {address}"));
            }
        }
    }
}

/// An address of another organisation that a display name shows.
fn other_address(name: &str, real: &Address) -> Option<Address> {
    let ends = |c: char| c.is_whitespace() || "<>()[]{}\"',;:|".contains(c);
    let shown = name.split(ends).filter(|word| word.contains('@'));
    let mut shown = shown.filter_map(|word| Address::parse(word.trim_matches('.')).ok());
    // A word with an @ and no dot behind it is no address to people: `Joe @ work`.
    shown.find(|other| other.domain.as_str().contains('.') && organisation(other) != organisation(real))
}

fn organisation(address: &Address) -> &str {
    let domain = address.domain.as_str();
    psl::domain_str(domain).unwrap_or(domain)
}

fn date(fields: &[Field<'_>], now: Timestamp, found: &mut Findings) {
    let [field] = fields else {
        return if fields.is_empty() {
            found.saw(DATE_MISSING.symbol, "no Date");
        } else {
            found.saw(DATE_MALFORMED.symbol, &format!("{} Date fields", fields.len()));
        };
    };
    let parsed = short(field).and_then(|raw| MessageParser::new().parse_headers(raw));
    let seconds = parsed.as_ref().and_then(|parsed| parsed.date()).filter(|date| date.is_valid());
    let Some(seconds) = seconds.map(mail_parser::DateTime::to_timestamp) else {
        return found.saw(DATE_MALFORMED.symbol, &shown(field));
    };
    let now = i64::try_from(now.seconds()).unwrap_or(i64::MAX);
    let (ago, ahead) = (now.saturating_sub(seconds), seconds.saturating_sub(now));
    if u64::try_from(ago).is_ok_and(|ago| ago > PAST_SECONDS_MAX) {
        found.saw(DATE_PAST.symbol, &format!("{} days ago: {}", ago / 86_400, shown(field)));
    } else if u64::try_from(ahead).is_ok_and(|ahead| ahead > FUTURE_SECONDS_MAX) {
        found.saw(DATE_FUTURE.symbol, &format!("{} days ahead: {}", ahead / 86_400, shown(field)));
    }
}

fn message_id(fields: &[Field<'_>], found: &mut Findings) {
    match fields {
        [] => found.saw(MESSAGE_ID_MISSING.symbol, "no Message-ID"),
        [field] if is_message_id(&field.text()) => {}
        [field] => found.saw(MESSAGE_ID_MALFORMED.symbol, &shown(field)),
        several => found.saw(MESSAGE_ID_MALFORMED.symbol, &format!("{} Message-ID fields", several.len())),
    }
}

/// `<left@right>`, a comment behind it permitted (RFC 5322 §3.6.4). Tolerant within: Outlook writes `<!&!…==@a.test>`.
fn is_message_id(text: &str) -> bool {
    let Some((inside, behind)) = text.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
        return false;
    };
    let behind = behind.trim();
    let Some((left, right)) = inside.rsplit_once('@') else { return false };
    let fine = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && b != b'<');
    // RFC 6532 §3.2 permits UTF-8 on the left.
    let left_is_fine =
        !left.is_empty() && !left.contains(|c: char| c.is_whitespace() || c.is_control() || c == '<');
    left_is_fine && fine(right) && (behind.is_empty() || behind.starts_with('('))
}

fn to(fields: &Named<'_>, found: &mut Findings) {
    match fields.to.as_slice() {
        [] if !fields.has_copy => found.saw(TO_MISSING.symbol, "neither To nor Cc"),
        [field] => {
            let text = field.text();
            // RFC 5322 §3.4: a group with nobody in it.
            let is_empty_group =
                text.trim_end().strip_suffix(';').is_some_and(|text| text.trim_end().ends_with(':'));
            if text.is_empty() || (is_empty_group && !text.contains('@')) {
                found.saw(TO_UNDISCLOSED.symbol, &shown(field));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
