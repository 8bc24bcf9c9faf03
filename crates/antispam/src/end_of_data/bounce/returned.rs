//! The Message-IDs that a message quotes, answers or returns, wherever they stand.
//!
//! Reports return a header as an attached message, as a part of its own, below the text, quoted, or as HTML; so lines are
//! looked at, in the octets as they came and in every part that had to be decoded. The message's own Message-ID is left out.

use mail::header;
use mail_parser::{Encoding, Message, PartType};

use super::REFERENCES_MAX;

/// Octets of the longest Message-ID that is taken: a line of RFC 5322 §2.1.1.
const ID_BYTES_MAX: usize = 998;
/// Fields that name messages, by how their names end (`X-Original-Message-ID` too), in lower case.
const FIELDS: [&str; 3] = ["message-id", "in-reply-to", "references"];
/// Attached messages within attached messages whose decoded parts are looked at.
const DEPTH_MAX: usize = 3;

/// Message-IDs without brackets, in the order they stand, none twice. `octets` have line ends of one octet.
pub(super) fn references(octets: &[u8], parsed: Option<&Message<'_>>) -> Vec<String> {
    let mut found = Vec::new();
    let body = header::body_offset(octets);
    for field in header::fields(octets.get(..body).unwrap_or_default()) {
        // Its own header: what it answers, never its own name.
        if !field.is("Message-ID") && names_messages(field.name()) {
            take(&field.unfolded(), &mut found);
        }
    }
    lines(octets.get(body..).unwrap_or_default(), &mut found);
    if let Some(parsed) = parsed {
        decoded(parsed, 0, &mut found);
    }
    found
}

/// Looks into what had been encoded, where lines of the message do not show it.
fn decoded(message: &Message<'_>, depth: usize, found: &mut Vec<String>) {
    for part in &message.parts {
        match &part.body {
            PartType::Html(html) => lines(unescaped(html).as_bytes(), found),
            PartType::Message(inner) if depth < DEPTH_MAX => {
                if part.encoding != Encoding::None {
                    lines(inner.raw_message(), found);
                }
                decoded(inner, depth + 1, found);
            }
            PartType::Message(_) | PartType::Multipart(_) => {}
            _ if part.encoding != Encoding::None => lines(part.contents(), found),
            _ => {}
        }
    }
}

/// Tags end lines, and brackets are brackets.
fn unescaped(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    for (at, piece) in html.split('<').enumerate() {
        let text = if at == 0 { piece } else { piece.split_once('>').map_or("", |(_, text)| text) };
        out.push_str(text);
        out.push('\n');
    }
    out.replace("&lt;", "<").replace("&gt;", ">")
}

/// Finds the fields in a text, quoted ones too, with the lines that continue them.
fn lines(text: &[u8], found: &mut Vec<String>) {
    let mut in_field = false;
    for line in text.split(|octet| matches!(octet, b'\n' | b'\r')) {
        if found.len() >= REFERENCES_MAX {
            return;
        }
        let start = line.iter().position(|octet| !matches!(octet, b'>' | b'|' | b' ' | b'\t'));
        let bare = line.get(start.unwrap_or(line.len())..).unwrap_or_default();
        let continues =
            in_field && bare.starts_with(b"<") && line.first().is_some_and(|octet| *octet != b'<');
        let colon = bare.iter().position(|octet| *octet == b':');
        let name = colon.and_then(|colon| bare.get(..colon)).and_then(|name| std::str::from_utf8(name).ok());
        match name.map(str::trim) {
            Some(name) if names_messages(name) => {
                in_field = true;
                take(bare.get(name.len()..).unwrap_or_default(), found);
            }
            _ if continues => take(bare, found),
            // A name on a line of its own has its value on the next.
            _ => in_field = in_field && bare.is_empty(),
        }
    }
}

fn names_messages(name: &str) -> bool {
    FIELDS.iter().any(|ending| {
        let start = name.len().checked_sub(ending.len());
        let end = start.and_then(|start| name.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(ending))
            && !name.contains(|c: char| c.is_whitespace() || c == '<')
    })
}

/// Takes everything in angle brackets that has an `@`.
fn take(value: &[u8], found: &mut Vec<String>) {
    for piece in value.split(|octet| *octet == b'<').skip(1) {
        let id = piece.split(|octet| *octet == b'>').next().unwrap_or_default();
        let fits = id.len() <= ID_BYTES_MAX && id.contains(&b'@') && found.len() < REFERENCES_MAX;
        let Some(id) = std::str::from_utf8(id).ok().filter(|_| fits).map(str::trim) else { continue };
        if !found.iter().any(|known| known == id) {
            found.push(id.to_owned());
        }
    }
}
