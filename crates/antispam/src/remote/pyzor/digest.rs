//! What Pyzor knows a message by: a digest of some of its lines, the same as `pyzor digest` prints. Pure.
//!
//! The text of all parts is cut into lines, of which all that is individual is taken away: long words, addresses, links,
//! white space. Six lines are left, three from a fifth of the way and three from three fifths. SHA-1, since that is what
//! everybody's servers hold; nothing here is kept secret or proven by it.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::html;
use crate::normalised::shallow;

/// How deep messages within messages are read.
const DEPTH_MAX: usize = 20;
/// Characters from which on a word is individual.
const LONG_WORD_CHARS: usize = 10;
/// Characters below which a line says nothing.
const LINE_CHARS_MIN: usize = 8;
/// Messages of no more lines than that are digested whole.
const WHOLE_LINES_MAX: usize = 4;
/// Where lines are taken: so many percent of the way, and so many.
const PLACES: [(usize, usize); 2] = [(20, 3), (60, 3)];
/// The same as the protocol writes it.
pub(super) const PLACES_TEXT: &str = "20,3,60,3";

/// The lines that are digested. None: there is nothing to know it by.
#[must_use]
pub(crate) fn lines(message: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(parsed) = MessageParser::default().parse(shallow(message)) {
        gather(&parsed, DEPTH_MAX, &mut lines);
    }
    if lines.len() <= WHOLE_LINES_MAX {
        return lines;
    }
    let chosen = PLACES.iter().flat_map(|(percent, count)| {
        let first = percent * lines.len() / 100;
        lines.get(first..).unwrap_or_default().iter().take(*count)
    });
    chosen.cloned().collect()
}

/// Lines of a message and of those that it holds, `depth` deep.
fn gather(message: &Message<'_>, depth: usize, lines: &mut Vec<String>) {
    for part in &message.parts {
        let text = match &part.body {
            PartType::Message(inner) if depth > 0 => {
                gather(inner, depth - 1, lines);
                continue;
            }
            PartType::Multipart(_) | PartType::Message(_) => continue,
            // Blocks of fields, without text.
            _ if is(part, "message", "delivery-status") => continue,
            // Of other kinds too, when they hold a message: its fields are not text. It is taken as it stands there, coded.
            _ if is(part, "message", "") => {
                let inner = MessageParser::default().parse(raw(message, part)).filter(|_| depth > 0);
                if let Some(inner) = inner {
                    gather(&inner, depth - 1, lines);
                }
                continue;
            }
            PartType::Text(text) if is(part, "text", "html") => html::text(text),
            PartType::Html(text) => html::text(text),
            PartType::Text(text) => text.as_ref().to_owned(),
            PartType::Binary(_) | PartType::InlineBinary(_) => {
                String::from_utf8_lossy(raw(message, part)).into_owned()
            }
        };
        let all = text.split(is_line_end).map(normalised);
        lines.extend(all.filter(|line| line.chars().count() >= LINE_CHARS_MIN));
    }
}

/// The digest of these lines, in hexadecimal.
#[must_use]
pub(crate) fn of(lines: &[String]) -> String {
    hex(lines.concat().as_bytes())
}

/// SHA-1 in hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(40);
    for octet in digest(&SHA1_FOR_LEGACY_USE_ONLY, octets).as_ref() {
        // A String takes all that is written to it.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// A part as it stands in the message, coded.
fn raw<'a>(message: &'a Message<'_>, part: &MessagePart<'_>) -> &'a [u8] {
    let range = part.raw_body_offset() as usize..part.raw_end_offset() as usize;
    message.raw_message().get(range).unwrap_or_default()
}

/// Of this type; of any subtype when that is empty.
fn is(part: &MessagePart<'_>, kind: &str, subtype: &str) -> bool {
    part.content_type().is_some_and(|have| {
        let same = have.subtype().is_some_and(|have| have.eq_ignore_ascii_case(subtype));
        have.ctype().eq_ignore_ascii_case(kind) && (same || subtype.is_empty())
    })
}

/// A line without what is individual, and without white space.
fn normalised(line: &str) -> String {
    line.split(is_space).map(without_individual).collect()
}

fn without_individual(word: &str) -> &str {
    if word.chars().count() >= LONG_WORD_CHARS || is_address(word) {
        return "";
    }
    word.get(..link_start(word)).unwrap_or(word)
}

/// An `@` with something before and behind it.
fn is_address(word: &str) -> bool {
    let mut inside = word.chars();
    inside.next();
    inside.next_back();
    inside.as_str().contains('@')
}

/// Where letters, a colon and something more begin; the end of the word when they do not.
fn link_start(word: &str) -> usize {
    let mut start = None;
    for (at, c) in word.char_indices() {
        match (c, start) {
            (':', Some(start)) if at + 1 < word.len() => return start,
            (c, None) if is_letter(c) => start = Some(at),
            (c, Some(_)) if !is_letter(c) => start = None,
            _ => {}
        }
    }
    word.len()
}

/// Letters of ASCII, and what counts as one of them when case does not matter.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '\u{130}' | '\u{131}' | '\u{17f}' | '\u{212a}')
}

/// The reference takes separators of files, groups, records and units for white space too.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_what_is_individual() {
        for (line, want) in [
            ("Hello dear friend", "Hellodearfriend"),
            ("write to joe@x.de now", "writetonow"),
            ("@joe joe@ a@b @@a", "@joejoe@"),
            ("see http://x.y or (ftp:z) a: :b 1a:c", "seeor(a::b1"),
            ("0123456789 012345678", "012345678"),
            ("\u{1c}a\u{a0}b\u{2003}c\td", "abcd"),
        ] {
            assert_eq!(normalised(line), want, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_it_is_it_has_lines_or_none(rest in "((Content-Type: (text/html|message/rfc822|multipart/mixed; boundary=b|application/x)|--b|--b--|Content-Transfer-Encoding: base64|[ -~\u{e9}]{0,12})?(\n|\n\n)){0,12}") {
            let lines = lines(rest.as_bytes());
            proptest::prop_assert!(lines.len() <= 6 && lines.iter().all(|line| !line.contains(is_space)));
        }
    }

    #[test]
    fn a_long_message_is_known_by_six_lines() {
        let mut text = String::from("Subject: x\r\n\r\n");
        for number in 0..20 {
            let _ = write!(text, "line of text {number:02}\r\nshort\r\n");
        }
        let numbers: Vec<String> =
            [4, 5, 6, 12, 13, 14].iter().map(|n| format!("lineoftext{n:02}")).collect();
        assert_eq!(lines(text.as_bytes()), numbers);
        assert_eq!(lines(b"Subject: x\r\n\r\nshort\r\n"), Vec::<String>::new());
        let places = PLACES.map(|(percent, count)| format!("{percent},{count}")).join(",");
        assert_eq!(places, PLACES_TEXT);
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
