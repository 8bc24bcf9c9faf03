//! Finds the parts of a message: RFC 2045, RFC 2046 §5.
//!
//! One pass over the octets, without recursion. A line is a boundary when it is two hyphens and one that is open, white
//! space or two hyphens behind it; which end what is within the one they belong to.

use mail::header;
use mail_parser::{ContentType, MessageParser, MimeHeaders};
use memchr::{memchr, memmem};

use super::{DEPTH_MAX, Encoding, FIELD_BYTES_MAX, Fault, Letter, NAME_CHARS_MAX, PARTS_MAX, Part};

/// Longest boundary, in octets; RFC 2046 §5.1.1 permits 70.
const BOUNDARY_BYTES_MAX: usize = 256;

/// A multipart that is not ended.
struct Open {
    boundary: Vec<u8>,
    /// Which part it is.
    part: usize,
    is_digest: bool,
    has_parts: bool,
}

/// What a part's fields say.
struct Described {
    part: Part,
    boundary: Option<Vec<u8>>,
    is_multipart: bool,
    is_message: bool,
}

struct Walker<'a> {
    octets: &'a [u8],
    letter: &'a mut Letter,
    open: Vec<Open>,
    /// Parts whose end has not come, in their order.
    unended: Vec<usize>,
}

/// Fills in the parts of `letter`, and what is wrong with them.
pub(super) fn walk(octets: &[u8], letter: &mut Letter) {
    let mut walker = Walker { octets, letter, open: Vec::new(), unended: Vec::new() };
    let mut next = Some((0, 0, false));
    while let Some((at, depth, in_digest)) = next {
        next = walker.entity(at, depth, in_digest);
    }
    if !walker.open.is_empty() {
        let never = walker.open.iter().any(|open| !open.has_parts);
        walker.letter.fault(if never { Fault::NoParts } else { Fault::Unclosed });
    }
}

impl<'a> Walker<'a> {
    fn from(&self, at: usize) -> &'a [u8] {
        let octets: &'a [u8] = self.octets;
        octets.get(at..).unwrap_or_default()
    }

    /// Reads the part that begins at `at`; where the next one begins, how deep it is, and whether in a digest.
    fn entity(&mut self, at: usize, depth: usize, in_digest: bool) -> Option<(usize, usize, bool)> {
        if self.letter.parts.len() >= PARTS_MAX {
            self.letter.fault(Fault::TooManyParts);
            self.open.clear();
            return None;
        }
        let length = self.header_length(at);
        self.letter.units += length as u64;
        let Described { mut part, boundary, is_multipart, is_message } =
            describe(self.from(at).get(..length).unwrap_or_default(), in_digest, self.letter);
        let begins = at + length;
        part.depth = depth;
        part.header = at..begins;
        part.body = begins..self.octets.len();
        let holds_parts = is_multipart || is_message;
        if holds_parts && part.encoding != Encoding::None {
            self.letter.fault(Fault::EncodedParts);
        }
        let number = self.letter.parts.len();
        let is_digest = part.media == "multipart/digest";
        self.letter.parts.push(part);
        self.unended.push(number);
        if holds_parts && depth >= DEPTH_MAX {
            self.letter.fault(Fault::TooDeep);
        } else if is_message {
            return Some((begins, depth + 1, false));
        } else if let Some(boundary) = boundary {
            self.open.push(Open { boundary, part: number, is_digest, has_parts: false });
        } else if is_multipart {
            self.letter.fault(Fault::NoBoundary);
        }
        self.next_boundary(begins)
    }

    /// The header of the part at `at` with its empty line; it ends at a boundary too.
    fn header_length(&self, at: usize) -> usize {
        let rest = self.from(at);
        let looks_ended = |field: &header::Field<'_>| {
            field.raw().starts_with(b"--")
                && self.open.iter().any(|open| closes(field.raw(), &open.boundary).is_some())
        };
        match header::fields(rest).find(looks_ended) {
            Some(field) => field.range().start,
            None => header::body_offset(rest),
        }
    }

    /// Looks for the next line that is a boundary, and ends the parts that end there.
    fn next_boundary(&mut self, from: usize) -> Option<(usize, usize, bool)> {
        let mut at = from;
        while !self.open.is_empty() {
            let line = self.line_of_hyphens(at)?;
            let rest = self.from(line);
            let length = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let text = rest.get(..length).unwrap_or_default();
            self.letter.units += (length.min(BOUNDARY_BYTES_MAX) * self.open.len()) as u64;
            at = line + length;
            let found = self
                .open
                .iter()
                .enumerate()
                .rev()
                .find_map(|(level, open)| Some((level, closes(text, &open.boundary)?)));
            let Some((level, is_last)) = found else { continue };
            self.end_bodies(level, line);
            if self.open.len() > level + 1 {
                let never = self.open.iter().skip(level + 1).any(|open| !open.has_parts);
                self.letter.fault(if never { Fault::NoParts } else { Fault::Unclosed });
            }
            self.open.truncate(level + usize::from(!is_last));
            let Some(open) = self.open.last_mut().filter(|_| !is_last) else { continue };
            open.has_parts = true;
            let (holder, is_digest) = (open.part, open.is_digest);
            let depth = self.letter.parts.get(holder).map_or(0, |part| part.depth) + 1;
            return Some((at, depth, is_digest));
        }
        None
    }

    /// The next line at or behind `at` that begins with two hyphens; `at` is where a line begins.
    fn line_of_hyphens(&mut self, at: usize) -> Option<usize> {
        let rest = self.octets.get(at..)?;
        let found = if rest.starts_with(b"--") {
            Some(0)
        } else {
            memmem::find(rest, b"\n--").map(|found| found + 1)
        };
        self.letter.units += found.unwrap_or(rest.len()) as u64;
        found.map(|found| at + found)
    }

    /// Parts within that multipart, and not ended yet, end before the line at `line`. The line end before a boundary belongs
    /// to it (RFC 2046 §5.1.1).
    fn end_bodies(&mut self, level: usize, line: usize) {
        let Some(holder) = self.open.get(level).map(|open| open.part) else { return };
        let before = self.octets.get(..line).unwrap_or_default();
        let before = before.strip_suffix(b"\n").unwrap_or(before);
        let end = before.strip_suffix(b"\r").unwrap_or(before).len();
        while let Some(number) = self.unended.pop_if(|number| *number > holder) {
            if let Some(part) = self.letter.parts.get_mut(number) {
                part.body.end = end.max(part.body.start);
            }
        }
    }
}

/// Whether a line, with its end, is this boundary, and the last of its kind.
fn closes(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (rest, is_last) = rest.strip_prefix(b"--").map_or((rest, false), |rest| (rest, true));
    // RFC 2046 §5.1.1: nothing but white space behind it; what stands behind the last one is not looked at by anybody.
    let is_blank = rest.iter().all(u8::is_ascii_whitespace);
    (is_blank || is_last).then_some(is_last)
}

/// What the fields of a part say. Only those of MIME are read, each up to a bound; the first of each kind.
fn describe(head: &[u8], in_digest: bool, letter: &mut Letter) -> Described {
    const WANTED: [&str; 3] = ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"];
    let mut seen = [false; WANTED.len()];
    let mut fields = Vec::new();
    for field in header::fields(head) {
        let wanted = WANTED.iter().zip(&mut seen).find(|(name, _)| field.is(name));
        let Some((_, seen)) = wanted else { continue };
        if std::mem::replace(seen, true) {
            letter.fault(Fault::FieldTwice);
        } else {
            fields.extend_from_slice(field.raw().get(..FIELD_BYTES_MAX).unwrap_or(field.raw()));
            if !fields.ends_with(b"\n") {
                fields.extend_from_slice(b"\r\n");
            }
        }
    }
    fields.extend_from_slice(b"\r\n");
    let mut part =
        Part { media: if in_digest { "message/rfc822" } else { "text/plain" }.to_owned(), ..Part::default() };
    let mut boundary = None;
    if let Some(parsed) = MessageParser::new().with_mime_headers().parse_headers(fields.as_slice()) {
        if let Some(declared) = parsed.content_type() {
            part.media = media(declared);
            part.charset = declared.attribute("charset").map(bounded);
            boundary = declared.attribute("boundary").map(|text| text.trim_end().as_bytes().to_vec());
        }
        let disposition = parsed.content_disposition();
        part.is_attachment =
            disposition.is_some_and(|disposition| disposition.c_type.eq_ignore_ascii_case("attachment"));
        let names = [
            disposition.and_then(|disposition| disposition.attribute("filename")),
            parsed.content_type().and_then(|declared| declared.attribute("name")),
        ];
        part.names = names.into_iter().flatten().map(bounded).filter(|name| !name.is_empty()).collect();
        part.names.dedup();
        part.encoding = encoding(parsed.content_transfer_encoding(), letter);
        part.transfer_encoding =
            parsed.content_transfer_encoding().map(bounded).unwrap_or_default().to_ascii_lowercase();
    }
    let is_multipart = part.media.starts_with("multipart/");
    let is_message = part.is_message();
    let boundary =
        boundary.filter(|text| is_multipart && !text.is_empty() && text.len() <= BOUNDARY_BYTES_MAX);
    Described { part, boundary, is_multipart, is_message }
}

fn media(declared: &ContentType<'_>) -> String {
    let sub = declared.subtype().unwrap_or_default();
    bounded(&format!("{}/{sub}", declared.ctype())).to_ascii_lowercase()
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect::<String>().trim().to_owned()
}

fn encoding(text: Option<&str>, letter: &mut Letter) -> Encoding {
    let Some(text) = text.map(str::trim) else { return Encoding::None };
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if is("base64") {
        Encoding::Base64
    } else if is("quoted-printable") {
        Encoding::QuotedPrintable
    } else {
        if !["7bit", "8bit", "binary", ""].iter().any(|name| is(name)) {
            letter.fault(Fault::UnknownEncoding);
        }
        Encoding::None
    }
}
