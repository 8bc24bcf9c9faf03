//! Gives files that operators do not trust a harmless name: what a double click would start is only looked at then.
//!
//! Both fields that name a part are written anew: it is an attachment of octets, and is called as before with
//! [`SUFFIX`] behind. What is in it stays as it came; a file in an archive has its archive renamed. Changes are edits that
//! are stored beside the message. They break signatures over it: that is the operator's choice. RFC 2045 §5, RFC 2183,
//! RFC 2231 §4.

use std::collections::BTreeSet;

use mail::header;
use store::Edit;

use super::inspect::Inspected;
use super::kinds;
use super::settings::Matcher;
use crate::letter::{Letter, Part};

/// What is put behind a name.
pub const SUFFIX: &str = ".renamed";
/// Characters of a name that are kept.
const NAME_CHARS_MAX: usize = 120;
/// Octets of a name that is written in percent signs; a line has at most 998 (RFC 5322 §2.1.1).
const ENCODED_BYTES_MAX: usize = 700;

/// The changes to a letter, for all its files that one of these matches.
#[must_use]
pub fn edits(letter: &Letter, inspected: &Inspected, matchers: &[Matcher]) -> Vec<Edit> {
    let hit = |file: &&super::inspect::Inspectable| matchers.iter().any(|one| one.matches(file));
    let parts: BTreeSet<usize> = inspected.files.iter().filter(hit).map(|file| file.part).collect();
    parts
        .iter()
        .flat_map(|number| letter.parts.get(*number).map(|part| of_part(letter, part)).unwrap_or_default())
        .collect()
}

/// Leaves out the changes that others want to make to what is changed here: an operator's table must not bring a name back.
#[must_use]
pub fn over(edits: Vec<Edit>, others: Vec<Edit>) -> Vec<Edit> {
    let is_free = |other: &Edit| {
        edits.iter().all(|edit| match (edit, other) {
            (Edit::Field { number, .. }, Edit::Field { number: other, .. }) => number != other,
            (Edit::Body { offset, length, .. }, Edit::Body { offset: from, length: more, .. }) => {
                offset + length <= *from || from + more <= *offset
            }
            _ => true,
        })
    };
    let others: Vec<Edit> = others.into_iter().filter(is_free).collect();
    others.into_iter().chain(edits).collect()
}

fn of_part(letter: &Letter, part: &Part) -> Vec<Edit> {
    let is_primary = part.header.start == 0;
    let fields = header::fields(letter.header(part)).enumerate();
    let named = fields.filter(|(_, field)| field.is("Content-Type") || field.is("Content-Disposition"));
    let mut with = new_fields(part);
    let edits = named.map(|(number, field)| {
        // The first is where both stand; the others go.
        let with = std::mem::take(&mut with);
        if is_primary {
            return Edit::Field { number: u32::try_from(number).unwrap_or(u32::MAX), with };
        }
        let range = field.range();
        let offset = part.header.start + range.start;
        Edit::Body { offset: offset as u64, length: (range.end - range.start) as u64, with }
    });
    edits.collect()
}

fn new_fields(part: &Part) -> Vec<u8> {
    let name = harmless(part.names.first().map_or("attachment", String::as_str));
    let plain: String = name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect();
    let mut text = format!(
        "Content-Type: application/octet-stream;\r\n\tname=\"{plain}\"\r\n\
         Content-Disposition: attachment;\r\n\tfilename=\"{plain}\""
    );
    if plain != name {
        text.push_str(&format!(";\r\n\tfilename*=utf-8''{}", encoded(&name)));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The name with the suffix behind, without what has a meaning in a field, in a path, or for the direction of writing.
fn harmless(name: &str) -> String {
    let acts = |c: char| c.is_control() || kinds::is_turning(c) || "\"\\/:*?<>|".contains(c);
    let kept: String = name.chars().filter(|c| !acts(*c)).take(NAME_CHARS_MAX).collect();
    format!("{}{SUFFIX}", kept.trim().trim_end_matches('.'))
}

/// RFC 2231 §4, RFC 5987 §3.2.1. What is too long is cut within the name.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    let stem = name.strip_suffix(SUFFIX).unwrap_or(name);
    for c in stem.chars() {
        let octets = c.to_string();
        let word: String = octets
            .bytes()
            .map(|octet| match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(octet).to_string(),
                octet => format!("%{octet:02X}"),
            })
            .collect();
        if out.len() + word.len() + SUFFIX.len() > ENCODED_BYTES_MAX {
            break;
        }
        out.push_str(&word);
    }
    out + SUFFIX
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::edits::{BodyPiece, body_pieces, edited};

    use super::*;

    /// The message as it will be delivered.
    fn renamed(message: &str, entries: &[&str]) -> String {
        let octets = Bytes::copy_from_slice(message.as_bytes());
        let letter = Letter::read(&octets);
        let matchers: Vec<Matcher> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
        let edits = edits(&letter, &Inspected::of(&letter), &matchers);
        let head = header::body_offset(&octets);
        let mut out = edited(&octets.slice(..head), &edits).concat();
        for piece in body_pieces(head as u64..octets.len() as u64, &edits) {
            match piece {
                BodyPiece::New(bytes) => out.extend_from_slice(&bytes),
                BodyPiece::Received(range) => {
                    let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
                    out.extend_from_slice(&octets[from..to]);
                }
            }
        }
        String::from_utf8(out).unwrap()
    }

    const TWO: &str = "Subject: a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n\
        --b\r\nContent-Type: application/x-msdownload;\r\n name=\"run.exe\"\r\nContent-Transfer-Encoding: base64\r\n\
        Content-Disposition: inline; filename*0=\"ru\";\r\n filename*1=\"n.exe\"\r\n\r\nTVqQAAMAAAA=\r\n\
        --b\r\nContent-Type: text/csv; name=good.csv\r\n\r\n1,2\r\n--b--\r\n";

    #[test]
    fn both_fields_that_name_a_file_are_written_anew_and_nothing_else() {
        let want = "--b\r\nContent-Type: application/octet-stream;\r\n\tname=\"run.exe.renamed\"\r\n\
            Content-Disposition: attachment;\r\n\tfilename=\"run.exe.renamed\"\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nTVqQAAMAAAA=\r\n--b\r\nContent-Type: text/csv; name=good.csv\r\n";
        for entries in [&["exe"][..], &["is:executable"], &["application/x-msdownload"], &["zip", "*.exe"]] {
            let got = renamed(TWO, entries);
            assert!(got.contains(want), "{entries:?}: {got}");
            assert!(got.starts_with(
                "Subject: a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n"
            ));
            assert!(!got.contains("msdownload") && !got.contains("filename*"), "{got}");
            // There is nothing to do a second time.
            assert_eq!(renamed(&got, &["exe"]), got);
        }
        assert_eq!(renamed(TWO, &["scr"]), TWO);
        assert_eq!(renamed(TWO, &[]), TWO);
    }

    #[test]
    fn a_letter_that_is_a_file_is_renamed_in_its_own_header() {
        let one = "Content-Type: application/zip\r\nSubject: a\r\nContent-Disposition: attachment; filename=x.zip\r\n\r\nPK\r\n";
        let want = "Content-Type: application/octet-stream;\r\n\tname=\"x.zip.renamed\"\r\n\
            Content-Disposition: attachment;\r\n\tfilename=\"x.zip.renamed\"\r\nSubject: a\r\n\r\nPK\r\n";
        assert_eq!(renamed(one, &["zip"]), want);
    }

    #[test]
    fn names_are_kept_as_far_as_they_are_harmless() {
        let named = |name: &str| {
            let part = Part { names: vec![name.to_owned()], ..Part::default() };
            let text = String::from_utf8(new_fields(&part)).unwrap();
            assert!(text.lines().all(|line| line.len() < 998), "{text}");
            text.lines().skip(3).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named("a\"; x=\"b.exe\r\n."), ["filename=\"a; x=b.exe.renamed\""]);
        assert_eq!(named("\u{202e}cod.exe"), ["filename=\"cod.exe.renamed\""]);
        assert_eq!(
            named("Jörg.scr"),
            ["filename=\"J_rg.scr.renamed\";", "filename*=utf-8''J%C3%B6rg.scr.renamed"]
        );
        let long = named(&"ü".repeat(500));
        assert!(long[1].ends_with("%BC.renamed") && long[1].len() < 730, "{long:?}");
        let nameless = String::from_utf8(new_fields(&Part::default())).unwrap();
        assert!(nameless.contains("name=\"attachment.renamed\""), "{nameless}");
    }

    #[test]
    fn a_table_does_not_bring_a_name_back() {
        let body = |offset, length| Edit::Body { offset, length, with: b"x".to_vec() };
        let field = |number| Edit::Field { number, with: Vec::new() };
        let own = vec![body(10, 5), field(2)];
        let others = vec![
            body(5, 5),
            body(8, 3),
            body(12, 1),
            body(15, 2),
            field(1),
            field(2),
            Edit::Remove("a".into()),
        ];
        let want = vec![body(5, 5), body(15, 2), field(1), Edit::Remove("a".into()), body(10, 5), field(2)];
        assert_eq!(over(own, others), want);
    }
}
